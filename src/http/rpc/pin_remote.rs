//! `pin/remote/*`: kubo core/commands/pin/remotepin.go.

use futures_util::StreamExt as _;
use serde::Serialize;

use super::call::CidEncoder;
use super::pin::check_name;
use super::tabwriter::align;
use super::value::Omit;
use super::{Error, Reply, Request, Value};
use crate::ipld::Cid;
use crate::ipld::path::cid_from_arg;
use crate::ipld::quote::{escape_unprintable, quote};
use crate::node::pin_remote::{PinCount, RemoteService};
use crate::psa::{Filter, RemotePin, Service, Status};

/// A pin, alone or in a list.
#[derive(Debug, Serialize)]
#[serde(rename = "RemotePinOutput", rename_all = "PascalCase")]
struct RemotePinOutput {
    status: String,
    cid: String,
    name: String,
    #[serde(skip)]
    is_listed: bool,
}

impl Value for RemotePinOutput {
    fn text(&self) -> Option<Result<String, Error>> {
        let Self { status, cid, name, is_listed } = self;
        Some(Ok(if *is_listed {
            format!("{cid}\t{status}\t{}\n", escape_unprintable(name))
        } else {
            align(&format!("CID:\t{cid}\nName:\t{name}\nStatus:\t{status}\n"), 0)
        }))
    }
}

impl RemotePinOutput {
    fn new(pin: RemotePin, encoder: &CidEncoder, is_listed: bool) -> Self {
        // A service may say anything; what is no CID is an empty one, as in Kubo.
        let cid = Cid::parse(&pin.cid).map_or_else(|_| "b".to_owned(), |cid| encoder.encode(&cid));
        let status = pin.status.map_or_else(String::new, |status| status.as_str().to_owned());
        Self { status, cid, name: pin.name, is_listed }
    }
}

/// `pin/remote/add`.
pub(super) async fn add(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let service = service(&request)?;
    let cid = request.resolve(request.arg(0)).await?.cid;
    let name = request.options.string("name").to_owned();
    check_name(&name)?;
    let background = request.options.bool("background");
    // From here on the error says what remains on the service.
    let service = service.until(request.deadline.take_over());
    let node = request.node;
    let pin = node.pin_remotely(&service, cid, name, background).await?;
    let output = RemotePinOutput::new(pin, &encoder, false);
    Ok(Reply::many(futures_util::stream::iter([Ok(output)])))
}

/// `pin/remote/ls`.
pub(super) async fn ls(request: Request) -> Result<Reply, Error> {
    let service = service(&request)?.until(request.deadline.take_over());
    let encoder = request.cid_encoder()?;
    let pins = request.node.remote_pins(service, filter(&request)?);
    Ok(Reply::many(pins.map(move |pin| Ok(RemotePinOutput::new(pin?, &encoder, true)))))
}

/// `pin/remote/rm`.
pub(super) async fn rm(request: Request) -> Result<Reply, Error> {
    let service = service(&request)?.until(request.deadline.take_over());
    if let Some(argument) = request.args.first() {
        return Err(Error::new(format!("unexpected argument {}", quote(argument))));
    }
    let filter = filter(&request).map_err(|error| {
        Error::new(format!("error while listing remote pins: {}", error.message()))
    })?;
    let force = request.options.bool("force");
    request.node.unpin_remotely(service, filter, force).await?;
    Ok(Reply::Nothing)
}

/// The service that the request names.
fn service(request: &Request) -> Result<Service, Error> {
    let name = request.options.opt_string("service");
    let name = name.ok_or_else(|| Error::new("a service name must be passed"))?;
    Ok(request.node.remote_service(name)?)
}

/// The pins that the request means.
fn filter(request: &Request) -> Result<Filter, Error> {
    let options = &request.options;
    let name = options.string("name").to_owned();
    check_name(&name)?;
    let cids: Result<Vec<Cid>, Error> = options
        .list("cid")
        .iter()
        .map(|text| {
            cid_from_arg(text).map_err(|error| {
                Error::new(format!("CID {} cannot be parsed: {error}", quote(text)))
            })
        })
        .collect();
    let cids = cids?;
    let statuses: Result<Vec<Status>, Error> = options
        .list("status")
        .iter()
        .map(|text| {
            let status = Status::parse(text);
            status.ok_or_else(|| Error::new(format!("status {} is not valid", quote(text))))
        })
        .collect();
    Ok(Filter { cids, name, statuses: statuses? })
}

/// `pin/remote/service/add`.
pub(super) async fn add_service(request: Request) -> Result<Reply, Error> {
    let (name, key) = (request.arg(0).to_owned(), request.arg(2).to_owned());
    request.node.add_remote_service(name, request.arg(1), key).await?;
    Ok(Reply::Nothing)
}

/// `pin/remote/service/rm`.
pub(super) async fn rm_service(request: Request) -> Result<Reply, Error> {
    if request.args.len() != 1 {
        return Err(Error::new("expecting one argument: name"));
    }
    request.node.remove_remote_service(request.arg(0).to_owned()).await?;
    Ok(Reply::Nothing)
}

#[derive(Debug, Serialize)]
#[serde(rename = "PinServicesList", rename_all = "PascalCase")]
struct PinServicesList {
    remote_services: Vec<ServiceDetails>,
}

#[derive(Debug, Serialize)]
#[serde(rename = "ServiceDetails", rename_all = "PascalCase")]
struct ServiceDetails {
    service: String,
    api_endpoint: String,
    stat: Omit<Option<Stat>>,
}

#[derive(Debug, Serialize)]
#[serde(rename = "Stat", rename_all = "PascalCase")]
struct Stat {
    status: String,
    pin_count: Omit<Option<Counts>>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename = "PinCount", rename_all = "PascalCase")]
struct Counts {
    queued: i32,
    pinning: i32,
    pinned: i32,
    failed: i32,
}

impl From<PinCount> for Counts {
    fn from(count: PinCount) -> Self {
        let PinCount { queued, pinning, pinned, failed } = count;
        Self { queued, pinning, pinned, failed }
    }
}

impl Value for PinServicesList {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut text = String::new();
        for ServiceDetails { service, api_endpoint, stat } in &self.remote_services {
            text.push_str(&format!("{service}\t{api_endpoint}"));
            if let Some(stat) = &stat.0 {
                let shown = match stat.pin_count.0 {
                    None => stat.status.clone(),
                    Some(Counts { queued, pinning, pinned, failed }) => {
                        format!("{queued}/{pinning}/{pinned}/{failed}")
                    }
                };
                text.push_str(&format!("\t{shown}"));
            }
            text.push('\n');
        }
        Some(Ok(align(&text, 1)))
    }
}

/// `pin/remote/service/ls`. Unlike Kubo's it asks several services at once.
pub(super) async fn ls_services(request: Request) -> Result<Reply, Error> {
    let services = request.node.remote_services();
    let mut stats: Vec<Option<Stat>> = services.iter().map(|_| None).collect();
    if request.options.bool("stat") {
        // A service that is too slow is as good as none; the list itself does not fail.
        let due = request.deadline.take_over();
        let counts = request.node.count_remote_pins(&services, due).await;
        let stat = |count: Option<PinCount>| Stat {
            status: if count.is_some() { "valid" } else { "invalid" }.to_owned(),
            pin_count: Omit(count.map(Counts::from)),
        };
        stats = counts.into_iter().map(|count| Some(stat(count))).collect();
    }
    let details = services.into_iter().zip(stats).map(|(service, stat)| {
        let RemoteService { name, endpoint } = service;
        ServiceDetails { service: name, api_endpoint: endpoint, stat: Omit(stat) }
    });
    Ok(Reply::one(PinServicesList { remote_services: details.collect() }))
}
