//! `routing/*`, `dht/query`, `bitswap/reprovide`: kubo core/commands/routing.go, dht.go.
//!
//! Of a query's events only its results are told, and why it failed; whom it asks on the way is not.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::swarm::AddressInfo;
use super::{Error, Reply, Request, Value};
use crate::ipld::path::cid_from_arg;
use crate::node::routing::FoundPeer;
use crate::node::{self, Node, PeerAddresses};

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

impl QueryEvent {
    fn new(kind: i32, verbose: bool) -> Self {
        Self { extra: String::new(), id: String::new(), responses: None, kind, verbose }
    }

    fn of_peer(kind: i32, peer: PeerAddresses, verbose: bool) -> Self {
        Self { responses: Some(vec![peer.into()]), ..Self::new(kind, verbose) }
    }
}

/// The `Type` of the event that ends a search.
const FINAL_PEER: i32 = 2;
/// The `Type` of an error event.
const QUERY_ERROR: i32 = 3;
/// The `Type` of a provider event.
const PROVIDER: i32 = 4;

impl Value for QueryEvent {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut text = String::new();
        if self.verbose {
            let now = time::OffsetDateTime::now_utc();
            let (h, m, s, ms) = now.time().as_hms_milli();
            text.push_str(&format!("{h:02}:{m:02}:{s:02}.{ms:03}: "));
        }
        match (self.kind, self.verbose) {
            (PROVIDER, verbose) => {
                for peer in self.responses.iter().flatten() {
                    let label = if verbose { "provider: " } else { "" };
                    text.push_str(&format!("{label}{}\n", peer.id));
                    let addresses = peer.addresses.iter().filter(|_| verbose);
                    addresses.for_each(|address| text.push_str(&format!("\t{address}\n")));
                }
            }
            (FINAL_PEER, _) => match &self.responses {
                Some(peers) => peers
                    .iter()
                    .flat_map(|peer| &peer.addresses)
                    .for_each(|address| text.push_str(&format!("{address}\n"))),
                None => text.push_str(&format!("{}\n", self.id)),
            },
            (QUERY_ERROR, true) => text.push_str(&format!("error: {}\n", self.extra)),
            _ => {}
        }
        Some(Ok(text))
    }
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
    let found = request.node.find_providers(&cid, count).await?;
    let events = found.map(move |provider| Ok(QueryEvent::of_peer(PROVIDER, provider, verbose)));
    Ok(Reply::many(events))
}

/// `routing/findpeer`.
pub(super) async fn find_peer(request: Request) -> Result<Reply, Error> {
    let verbose = request.options.bool("verbose");
    let not_found = "routing: not found";
    let failures: &[&str] = match request.node.find_peer(request.arg(0)).await? {
        FoundPeer::Found(peer) => {
            return Ok(Reply::all([QueryEvent::of_peer(FINAL_PEER, peer, verbose)]));
        }
        FoundPeer::NotFound => &[not_found],
        // Kubo has two tables, and both are empty.
        FoundPeer::NobodyToAsk => &[EMPTY_TABLE, EMPTY_TABLE, not_found],
    };
    let events: Vec<_> = failures.iter().map(|text| Ok(failure(text, verbose))).collect();
    let end = [Err(Error::new(not_found))];
    Ok(Reply::many(stream::iter(events.into_iter().chain(end))))
}

/// `dht/query`.
pub(super) async fn query(request: Request) -> Result<Reply, Error> {
    if !request.node.is_online() {
        return Err(Error::new("routing service is not a DHT"));
    }
    Node::parse_peer_id(request.arg(0)).map_err(|_| Error::client("invalid peer ID"))?;
    let verbose = request.options.bool("verbose");
    let Some(closest) = request.node.closest_peers(request.arg(0)).await? else {
        let items = [Ok(failure(EMPTY_TABLE, verbose)), Err(Error::new(EMPTY_TABLE))];
        return Ok(Reply::many(stream::iter(items)));
    };
    let event = move |id| QueryEvent { id, ..QueryEvent::new(FINAL_PEER, verbose) };
    Ok(Reply::all(closest.into_iter().map(event)))
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

/// What go-libp2p-kad-dht says of a routing table without peers.
const EMPTY_TABLE: &str = "failed to find any peer in table";

fn failure(text: &str, verbose: bool) -> QueryEvent {
    QueryEvent { extra: text.to_owned(), ..QueryEvent::new(QUERY_ERROR, verbose) }
}
