//! `routing/*`, `dht/query`, `bitswap/reprovide`: kubo core/commands/routing.go, dht.go.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;

use super::swarm::AddressInfo;
use super::{Error, Reply, Request, Value};
use crate::ipld::path::cid_from_arg;
use crate::node::routing::RoutingEvent;
use crate::node::{self, Node};

/// An event of a query: go-libp2p core/routing `QueryEvent`, whose JSON has its keys sorted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename = "routing.QueryEvent")]
struct QueryEvent {
    #[serde(rename = "Extra")]
    extra: String,
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Responses")]
    responses: Option<Vec<AddressInfo>>,
    #[serde(rename = "Type")]
    kind: i32,
    #[serde(skip)]
    verbose: bool,
}

/// The `Type` of an event.
const SENDING_QUERY: i32 = 0;
const PEER_RESPONSE: i32 = 1;
const FINAL_PEER: i32 = 2;
const QUERY_ERROR: i32 = 3;
const PROVIDER: i32 = 4;
const DIALING_PEER: i32 = 7;

impl QueryEvent {
    fn of(event: RoutingEvent, verbose: bool) -> Self {
        let (kind, (id, responses, extra)) = match event {
            RoutingEvent::Dialling(id) => (DIALING_PEER, (id, None, String::new())),
            RoutingEvent::Asking(id) => (SENDING_QUERY, (id, None, String::new())),
            RoutingEvent::Answered(id, peers) => (PEER_RESPONSE, (id, Some(peers), String::new())),
            RoutingEvent::Failed(id, why) => (QUERY_ERROR, (id.unwrap_or_default(), None, why)),
            RoutingEvent::Closest(id) => (FINAL_PEER, (id, None, String::new())),
            RoutingEvent::Here(peer) => {
                (FINAL_PEER, (String::new(), Some(vec![peer]), String::new()))
            }
            RoutingEvent::Provider(peer) => {
                (PROVIDER, (String::new(), Some(vec![peer]), String::new()))
            }
        };
        let responses = responses.map(|peers| peers.into_iter().map(AddressInfo::from).collect());
        Self { extra, id, responses, kind, verbose }
    }

    /// What is printed of it without the time.
    fn line(&self) -> String {
        let Self { id, extra, responses, .. } = self;
        let peers = responses.as_deref().unwrap_or_default();
        let mut text = String::new();
        match (self.kind, self.verbose) {
            (PROVIDER, false) => peers.iter().for_each(|peer| text += &format!("{}\n", peer.id)),
            (PROVIDER, true) => {
                for peer in peers {
                    text += &format!("provider: {}\n", peer.id);
                    peer.addresses.iter().for_each(|address| text += &format!("\t{address}\n"));
                }
            }
            (FINAL_PEER, _) if responses.is_none() => text = format!("{id}\n"),
            (FINAL_PEER, _) => {
                let addresses = peers.iter().flat_map(|peer| &peer.addresses);
                addresses.for_each(|address| text += &format!("{address}\n"));
            }
            (SENDING_QUERY, true) => text = format!("* querying {id}\n"),
            (PEER_RESPONSE, true) => {
                text = format!("* {id} says use ");
                peers.iter().for_each(|peer| text += &format!("{} ", peer.id));
                text.push('\n');
            }
            (QUERY_ERROR, true) => text = format!("error: {extra}\n"),
            (DIALING_PEER, true) => text = format!("dialing peer: {id}\n"),
            _ => {}
        }
        text
    }
}

impl Value for QueryEvent {
    fn text(&self) -> Option<Result<String, Error>> {
        let line = self.line();
        if !self.verbose {
            return Some(Ok(line));
        }
        let now = time::OffsetDateTime::now_utc();
        let (h, m, s, ms) = now.time().as_hms_milli();
        Some(Ok(format!("{h:02}:{m:02}:{s:02}.{ms:03}: {line}")))
    }
}

/// The events of a query as they are told.
fn told(
    events: impl Stream<Item = Result<RoutingEvent, node::Error>> + Send + 'static,
    verbose: bool,
) -> Reply {
    Reply::many(events.map(move |event| Ok(QueryEvent::of(event?, verbose))))
}

/// `routing/findprovs`.
pub(super) async fn find_providers(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    let count = usize::try_from(request.options.int("num-providers")).unwrap_or_default();
    if count == 0 {
        return Err(Error::new("number of providers must be greater than 0"));
    }
    let cid = cid_from_arg(request.arg(0)).map_err(|error| Error::new(error.to_string()))?;
    let verbose = request.options.bool("verbose");
    Ok(told(request.node.find_providers(&cid, count)?, verbose))
}

/// `routing/findpeer`.
pub(super) async fn find_peer(request: Request) -> Result<Reply, Error> {
    let verbose = request.options.bool("verbose");
    Ok(told(request.node.find_peer(request.arg(0))?, verbose))
}

/// `dht/query`.
pub(super) async fn query(request: Request) -> Result<Reply, Error> {
    if !request.node.is_online() {
        return Err(Error::new("routing service is not a DHT"));
    }
    Node::parse_peer_id(request.arg(0)).map_err(|_| Error::client("invalid peer ID"))?;
    let verbose = request.options.bool("verbose");
    Ok(told(request.node.closest_peers(request.arg(0))?, verbose))
}

/// The event that `routing/get` and `routing/put` emit: the same, in the order of Go's struct.
#[derive(Debug, Clone, Serialize)]
#[serde(rename = "routing.QueryEvent")]
struct ValueEvent {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Type")]
    kind: i32,
    #[serde(rename = "Responses")]
    responses: Option<Vec<AddressInfo>>,
    #[serde(rename = "Extra")]
    extra: String,
    /// What the text of `routing/get` is; that of `routing/put` is whose value it was.
    #[serde(skip)]
    value: Option<Bytes>,
}

/// The `Type` of a value event.
const VALUE: i32 = 5;

impl Value for ValueEvent {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{}\n", self.id)))
    }

    fn raw_text(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
}

/// `routing/get`.
pub(super) async fn get(request: Request) -> Result<Reply, Error> {
    let value = request.node.routing_record(request.arg(0)).await?;
    let extra = STANDARD.encode(&value);
    let (id, responses) = (String::new(), None);
    let value = Some(value);
    Ok(Reply::all([ValueEvent { id, kind: VALUE, responses, extra, value }]))
}

/// `routing/put`.
pub(super) async fn put(mut request: Request) -> Result<Reply, Error> {
    let record = super::key::read(&mut request, RECORD_BYTES_MAX, "the value is too long").await?;
    let key = request.arg(0);
    let name = Node::ipns_name(key)?;
    let allow_offline = request.options.bool("allow-offline");
    let put = request.node.put_routing_record(key, record, allow_offline).await;
    put.map_err(|error| match error {
        node::Error::ActionOffline => {
            Error::new("can't put while offline: pass `--allow-offline` to override")
        }
        error => error.into(),
    })?;
    let (extra, responses) = (String::new(), None);
    let (id, value) = (name.peer_id, None);
    Ok(Reply::all([ValueEvent { id, kind: VALUE, responses, extra, value }]))
}

/// As much of a value as is read; records are far shorter.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// `routing/provide`.
pub(super) async fn provide(mut request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    if request.node.config_flag("Provide.Enabled") == Some(false) {
        return Err(Error::new("invalid configuration: Provide.Enabled is set to 'false'"));
    }
    if !request.node.has_peers() {
        return Err(Error::new("cannot provide, no connected peers"));
    }
    let recursive = request.options.bool("recursive");
    let mut cids = Vec::new();
    for text in request.all_args().await? {
        let cid = cid_from_arg(&text).map_err(|error| Error::new(error.to_string()))?;
        request.node.check_provided(&cid)?;
        cids.push(cid);
    }
    let mut seen = HashSet::new();
    for cid in &cids {
        request.node.announce_now(cid, recursive, &mut seen).await?;
    }
    Ok(Reply::all(std::iter::empty::<QueryEvent>()))
}

/// `routing/reprovide`, `bitswap/reprovide`.
pub(super) async fn reprovide(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    if request.node.config_flag("Provide.Enabled") == Some(false) {
        return Err(Error::new("invalid configuration: Provide.Enabled is set to 'false'"));
    }
    if request.node.config_nanos("Provide.DHT.Interval") == Some(0) {
        return Err(Error::new("invalid configuration: Provide.DHT.Interval is set to '0'"));
    }
    Err(Error::new(
        "manual reprovide is not available with the sweep provider; set \
         Provide.DHT.SweepEnabled=false to use the legacy provider, or run 'ipfs provide stat \
         --all' to monitor the sweep schedule",
    ))
}
