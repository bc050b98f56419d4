//! `routing/*`, `dht/query`, `bitswap/reprovide`: kubo core/commands/routing.go, dht.go.
//!
//! What a node answers that has no peers to ask.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use super::swarm::AddressInfo;
use super::{Error, Reply, Request, Value};
use crate::ipld::path::cid_from_arg;
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
            (QUERY_ERROR, true) => text.push_str(&format!("error: {}\n", self.extra)),
            _ => {}
        }
        Some(Ok(text))
    }
}

/// `routing/findprovs`: this node is the one provider it can know.
pub(super) async fn find_providers(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    if request.options.int("num-providers") <= 0 {
        return Err(Error::new("number of providers must be greater than 0"));
    }
    let cid = cid_from_arg(request.arg(0)).map_err(|error| Error::new(error.to_string()))?;
    let verbose = request.options.bool("verbose");
    let found = request.node.local_provider(&cid)?.map(|provider| QueryEvent {
        extra: String::new(),
        id: String::new(),
        responses: Some(vec![provider.into()]),
        kind: PROVIDER,
        verbose,
    });
    Ok(Reply::all(found))
}

/// `routing/findpeer`: the two tables are asked, and both are empty.
pub(super) async fn find_peer(request: Request) -> Result<Reply, Error> {
    request.node.check_find_peer(request.arg(0))?;
    let verbose = request.options.bool("verbose");
    let not_found = "routing: not found";
    let events = [EMPTY_TABLE, EMPTY_TABLE, not_found].map(|text| Ok(failure(text, verbose)));
    let end = [Err(Error::new(not_found))];
    Ok(Reply::many(futures_util::stream::iter(events.into_iter().chain(end))))
}

/// `dht/query`.
pub(super) async fn query(request: Request) -> Result<Reply, Error> {
    if !request.node.is_online() {
        return Err(Error::new("routing service is not a DHT"));
    }
    Node::parse_peer_id(request.arg(0)).map_err(|_| Error::client("invalid peer ID"))?;
    let verbose = request.options.bool("verbose");
    let items = [Ok(failure(EMPTY_TABLE, verbose)), Err(Error::new(EMPTY_TABLE))];
    Ok(Reply::many(futures_util::stream::iter(items)))
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
pub(super) async fn provide(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    if request.node.config_flag("Provide.Enabled") == Some(false) {
        return Err(Error::new("invalid configuration: Provide.Enabled is set to 'false'"));
    }
    Err(Error::new("cannot provide, no connected peers"))
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
    let (id, responses) = (String::new(), None);
    QueryEvent { extra: text.to_owned(), id, responses, kind: QUERY_ERROR, verbose }
}
