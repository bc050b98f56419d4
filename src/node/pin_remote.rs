//! Pins on remote services: which services there are, and what they are asked.
//!
//! The services are in the config, `Pinning.RemoteServices`, as Kubo keeps them, with their keys;
//! keys leave it only for the service itself. Nothing else is kept: a pin is the service's.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::produce::produce;
use super::{Error, Node};
use crate::ipld::Cid;
use crate::ipld::quote::quote;
use crate::net;
use crate::psa::{Filter, LIMIT_DEFAULT, NewPin, RemotePin, Service, Status, check_endpoint};

/// Where the services are in the config.
const SERVICES: &str = "Pinning.RemoteServices";

/// How often a service is asked whether it has pinned.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// How many services are asked at once for their counts.
const SERVICES_AT_ONCE: usize = 8;

/// How many pins wait for the reader.
const PINS_AHEAD: usize = 16;

/// A service of the config, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteService {
    /// Its name.
    pub name: String,
    /// Where its API begins.
    pub endpoint: String,
}

/// How many pins a service has, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PinCount {
    /// Waiting.
    pub queued: i32,
    /// Being fetched.
    pub pinning: i32,
    /// Kept.
    pub pinned: i32,
    /// Not to be had.
    pub failed: i32,
}

impl Node {
    /// The services, by name.
    #[must_use]
    pub fn remote_services(&self) -> Vec<RemoteService> {
        let config = self.config();
        let mut services: Vec<RemoteService> = config
            .value(SERVICES)
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, service)| RemoteService {
                name: name.clone(),
                endpoint: api_text(service, "Endpoint").to_owned(),
            })
            .collect();
        services.sort_by(|one, two| one.name.cmp(&two.name));
        services
    }

    /// Adds a service.
    ///
    /// # Errors
    /// When there is one of that name, or the endpoint is none.
    pub async fn add_remote_service(
        &self,
        name: String,
        endpoint: &str,
        key: String,
    ) -> Result<(), Error> {
        let endpoint = check_endpoint(endpoint).map_err(Error::failed)?.to_string();
        let service = json!({
            "API": {"Endpoint": endpoint, "Key": key},
            "Policies": {"MFS": {"Enable": false, "PinName": "", "RepinInterval": ""}},
        });
        self.change_services(move |services| {
            if services.contains_key(&name) {
                return Err(Error::failed("service already present"));
            }
            services.insert(name, service);
            Ok(())
        })
        .await
    }

    /// Removes a service; one that is not there is no error.
    ///
    /// # Errors
    /// When the config cannot be written.
    pub async fn remove_remote_service(&self, name: String) -> Result<(), Error> {
        self.change_services(move |services| {
            services.shift_remove(&name);
            Ok(())
        })
        .await
    }

    async fn change_services(
        &self,
        change: impl FnOnce(&mut Map<String, Value>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.on_disk(move |node| {
            node.repo().change_config_key(SERVICES, |old| {
                let mut services = old.as_object().cloned().unwrap_or_default();
                change(&mut services)?;
                Ok::<_, Error>(Value::Object(services))
            })
        })
        .await
    }

    /// The service of that name.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached like that.
    pub fn remote_service(&self, name: &str) -> Result<Service, Error> {
        if name.is_empty() {
            return Err(Error::failed("remote pinning service name not specified"));
        }
        let config = self.config();
        let service = config.value(SERVICES).get(name);
        let service = service.ok_or_else(|| Error::failed("service not known"))?;
        let (endpoint, key) = (api_text(service, "Endpoint"), api_text(service, "Key"));
        Service::new(self.http_client().clone(), endpoint, key).map_err(Error::failed)
    }

    /// How many pins each service has, in the order given; `None` for one that does not say.
    pub async fn count_remote_pins(
        &self,
        services: &[RemoteService],
        due: Option<Instant>,
    ) -> Vec<Option<PinCount>> {
        let known: Vec<Option<Service>> = services
            .iter()
            .map(|service| Some(self.remote_service(&service.name).ok()?.until(due)))
            .collect();
        let counts = futures_util::stream::iter(known).map(count_pins);
        counts.buffered(SERVICES_AT_ONCE).collect().await
    }

    /// Asks `service` to pin, tells its delegates where this node is, and waits until it has
    /// pinned, unless that is `background`'s business.
    ///
    /// # Errors
    /// When the service refuses or fails.
    pub async fn pin_remotely(
        &self,
        service: &Service,
        cid: Cid,
        name: String,
        background: bool,
    ) -> Result<RemotePin, Error> {
        let is_here = self.store().has(cid.hash())?;
        // Somebody who asks this node for the DAG must get it.
        let origins = match self.announced_addresses().filter(|_| is_here) {
            Some(addresses) => {
                let own = self.peer_id();
                addresses.into_iter().map(|address| format!("{address}/p2p/{own}")).collect()
            }
            None => Vec::new(),
        };
        let pin = NewPin { cid, name, origins };
        let pin = service.add(&pin).await.map_err(Error::failed)?;
        self.greet_delegates(&pin.delegates).await?;
        if background { Ok(pin) } else { wait_until_pinned(service, &pin.request_id).await }
    }

    /// Connects to those who fetch for a service. One who cannot be reached may yet find us.
    async fn greet_delegates(&self, delegates: &[String]) -> Result<(), Error> {
        for delegate in delegates {
            let Ok(address) = net::parse_multiaddr(delegate) else {
                tracing::warn!("returned delegate is an invalid multiaddr: {delegate}");
                continue;
            };
            let (place, peer) = net::split_peer(address).map_err(Error::failed)?;
            let Some(network) = self.network() else { continue };
            let places = if place.is_empty() { Vec::new() } else { vec![place] };
            if let Err(error) = network.connect(peer, places).await {
                tracing::info!("error connecting to remote pin delegate {delegate}: {error}");
            }
        }
        Ok(())
    }

    /// The pins of `service` that are meant, the newest first.
    pub fn remote_pins(
        &self,
        service: Service,
        filter: Filter,
    ) -> impl Stream<Item = Result<RemotePin, Error>> + use<> {
        produce(PINS_AHEAD, move |pins| async move {
            let mut before = None;
            loop {
                let page = service.list(&filter, before.as_deref(), LIMIT_DEFAULT).await;
                let page = page.map_err(Error::failed)?;
                before = Service::next_before(&page).map_err(Error::failed)?;
                for pin in page.pins {
                    pins.send(pin).await;
                }
                if before.is_none() {
                    return Ok(());
                }
            }
        })
    }

    /// Removes the pins of `service` that are meant; several only when that is wanted.
    ///
    /// # Errors
    /// When they are several and must not be, or the service fails.
    pub async fn unpin_remotely(
        &self,
        service: Service,
        filter: Filter,
        several: bool,
    ) -> Result<(), Error> {
        let pins = self.remote_pins(service.clone(), filter);
        let ids: Result<Vec<String>, Error> = pins.map_ok(|pin| pin.request_id).try_collect().await;
        let ids = ids
            .map_err(|error| Error::Failed(format!("error while listing remote pins: {error}")))?;
        if ids.len() > 1 && !several {
            return Err(Error::failed(
                "multiple remote pins are matching this query, add --force to confirm the bulk \
                 removal",
            ));
        }
        for id in ids {
            service.remove(&id).await.map_err(|error| {
                let id = quote(&id);
                Error::Failed(format!("removing pin identified by requestid={id} failed: {error}"))
            })?;
        }
        Ok(())
    }
}

/// How many pins a service has; `None` when it does not say.
async fn count_pins(service: Option<Service>) -> Option<PinCount> {
    let service = service?;
    let count = async |status| {
        let filter = Filter { statuses: vec![status], ..Filter::default() };
        service.list(&filter, None, 1).await.map(|page| page.count)
    };
    let (queued, pinning, pinned, failed) = tokio::try_join!(
        count(Status::Queued),
        count(Status::Pinning),
        count(Status::Pinned),
        count(Status::Failed),
    )
    .ok()?;
    Some(PinCount { queued, pinning, pinned, failed })
}

/// A text of the `API` of a service.
fn api_text<'a>(service: &'a Value, key: &str) -> &'a str {
    service.get("API").and_then(|api| api.get(key)).and_then(Value::as_str).unwrap_or_default()
}

async fn wait_until_pinned(service: &Service, request_id: &str) -> Result<RemotePin, Error> {
    let id = quote(request_id);
    loop {
        let pin = service.pin(request_id).await.map_err(|error| {
            Error::Failed(format!(
                "failed to check pin status for requestid={id} due to error: {error}"
            ))
        })?;
        if pin.request_id != request_id {
            let other = quote(&pin.request_id);
            return Err(Error::Failed(format!(
                "failed to check pin status for requestid={id}, remote service sent unexpected \
                 requestid={other}"
            )));
        }
        match pin.status {
            Some(Status::Pinned) => return Ok(pin),
            Some(Status::Failed) => {
                return Err(Error::Failed(format!("remote service failed to pin requestid={id}")));
            }
            _ => {}
        }
        let interrupted = || {
            Error::Failed(format!(
                "waiting for pin interrupted, requestid={id} remains on remote service"
            ))
        };
        let pause = tokio::time::sleep(POLL_EVERY);
        match service.deadline() {
            None => pause.await,
            Some(due) => tokio::time::timeout_at(due, pause).await.map_err(|_| interrupted())?,
        }
    }
}
