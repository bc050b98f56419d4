//! `swarm/*`: kubo core/commands/swarm.go.

use std::collections::BTreeMap;

use serde::Serialize;

use super::id::Identity;
use super::options::Options;
use super::value::{Int, Omit};
use super::{Error, Reply, Request, Value};
use crate::config::duration;
use crate::ipld::quote::quote;
use crate::node::{PeerAddresses, SwarmConnection};

/// A list of texts, a line each.
#[derive(Debug, Serialize)]
#[serde(rename = "stringList", rename_all = "PascalCase")]
pub(super) struct Strings {
    strings: Option<Vec<String>>,
}

impl Strings {
    /// A list that is `[]` when it is empty.
    pub(super) fn new(strings: Vec<String>) -> Self {
        Self { strings: Some(strings) }
    }

    /// A list that is `null` when it is empty: one that Kubo never made.
    pub(super) fn or_null(strings: Vec<String>) -> Self {
        Self { strings: (!strings.is_empty()).then_some(strings) }
    }
}

impl Value for Strings {
    fn text(&self) -> Option<Result<String, Error>> {
        let lines = self.strings.iter().flatten();
        Some(Ok(lines.map(|line| format!("{}\n", escape(line))).collect()))
    }
}

/// The text with what is not printable escaped, as Kubo protects terminals.
fn escape(text: &str) -> String {
    let quoted = quote(text);
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(&quoted).replace("\\\"", "\"")
}

#[derive(Debug, Serialize)]
#[serde(rename = "connInfos", rename_all = "PascalCase")]
struct Peers {
    peers: Option<Vec<Peer>>,
}

#[derive(Debug, Serialize)]
#[serde(rename = "connInfo", rename_all = "PascalCase")]
struct Peer {
    addr: Omit<String>,
    peer: Omit<String>,
    latency: Omit<String>,
    muxer: Omit<String>,
    direction: Omit<Int>,
    streams: Omit<Vec<Stream>>,
    identify: Identity,
}

#[derive(Debug, Serialize)]
#[serde(rename = "streamInfo", rename_all = "PascalCase")]
struct Stream {
    protocol: String,
}

/// What to show of each peer.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    streams: bool,
    latency: bool,
    direction: bool,
    identify: bool,
}

impl Wanted {
    fn of(options: &Options) -> Self {
        let wants = |name| options.bool("verbose") || options.bool(name);
        Self {
            streams: wants("streams"),
            latency: wants("latency"),
            direction: wants("direction"),
            identify: wants("identify"),
        }
    }

    fn show(self, connection: SwarmConnection) -> Peer {
        let latency = || {
            let nanos = connection.latency.map_or(0, |latency| latency.as_nanos());
            let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
            if nanos == 0 { "n/a".to_owned() } else { duration::format(nanos) }
        };
        let direction = if connection.is_inbound { INBOUND } else { OUTBOUND };
        let mut streams = Vec::new();
        if self.streams {
            streams.extend(connection.streams.iter().map(|name| Stream { protocol: name.clone() }));
            streams.sort_by(|one, two| one.protocol.cmp(&two.protocol));
        }
        Peer {
            latency: Omit(if self.latency { latency() } else { String::new() }),
            muxer: Omit(String::new()),
            direction: Omit(Int(if self.direction { direction } else { 0 })),
            streams: Omit(streams),
            identify: if self.identify {
                Identity::of_peer(connection.peer.clone(), connection.identity)
            } else {
                Identity::default()
            },
            addr: Omit(connection.address),
            peer: Omit(connection.peer),
        }
    }
}

/// Go-libp2p's `network.Direction`.
const INBOUND: i64 = 1;
const OUTBOUND: i64 = 2;

impl Value for Peers {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(self.peers.iter().flatten().map(Peer::text).collect()))
    }
}

impl Peer {
    fn text(&self) -> String {
        let mut text = format!("{}/p2p/{}", self.addr.0, self.peer.0);
        if !self.latency.0.is_empty() {
            text.push_str(&format!(" {}", self.latency.0));
        }
        match self.direction.0 {
            Int(INBOUND) => text.push_str(" inbound"),
            Int(OUTBOUND) => text.push_str(" outbound"),
            Int(_) => {}
        }
        text.push('\n');
        for stream in &self.streams.0 {
            let name = &stream.protocol;
            let name = if name.is_empty() { "<no protocol name>" } else { name };
            text.push_str(&format!("  {name}\n"));
        }
        text
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "addrMap", rename_all = "PascalCase")]
struct Addresses {
    addrs: BTreeMap<String, Vec<String>>,
}

impl Value for Addresses {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut text = String::new();
        for (peer, addresses) in &self.addrs {
            text.push_str(&format!("{peer} ({})\n", addresses.len()));
            addresses.iter().for_each(|address| text.push_str(&format!("\t{address}\n")));
        }
        Some(Ok(text))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "addrInfos", rename_all = "PascalCase")]
struct Peering {
    peers: Vec<AddressInfo>,
}

/// A peer and its addresses: go-libp2p core/peer `AddrInfo`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename = "peer.AddrInfo")]
pub(super) struct AddressInfo {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "Addrs")]
    pub(super) addresses: Vec<String>,
}

impl From<PeerAddresses> for AddressInfo {
    fn from(peer: PeerAddresses) -> Self {
        Self { id: peer.id, addresses: peer.addresses }
    }
}

impl Value for Peering {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut text = String::new();
        for peer in &self.peers {
            text.push_str(&format!("{}\n", peer.id));
            peer.addresses.iter().for_each(|address| text.push_str(&format!("\t{address}\n")));
        }
        Some(Ok(text))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "peeringResult")]
struct PeeringResult {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Status")]
    status: &'static str,
    #[serde(skip)]
    action: &'static str,
}

impl Value for PeeringResult {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{} {} {}\n", self.action, self.id, self.status)))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "swarmAddrsAutoNATResult")]
struct Reachability {
    reachability: &'static str,
}

impl Value for Reachability {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("AutoNAT V2 reachability: {}\n", self.reachability)))
    }
}

/// `swarm/peers`.
pub(super) async fn peers(request: Request) -> Result<Reply, Error> {
    let wanted = Wanted::of(&request.options);
    let connections = request.node.swarm_peers()?.into_iter();
    let peers: Vec<Peer> = connections.map(|connection| wanted.show(connection)).collect();
    Ok(Reply::one(Peers { peers: (!peers.is_empty()).then_some(peers) }))
}

/// `swarm/addrs`.
pub(super) async fn addrs(request: Request) -> Result<Reply, Error> {
    Ok(Reply::one(Addresses { addrs: request.node.swarm_known_addresses()? }))
}

/// `swarm/addrs/local`.
pub(super) async fn addrs_local(request: Request) -> Result<Reply, Error> {
    let addresses = request.node.swarm_local_addresses(request.options.bool("id"))?;
    Ok(Reply::one(Strings::or_null(addresses)))
}

/// `swarm/addrs/listen`.
pub(super) async fn addrs_listen(request: Request) -> Result<Reply, Error> {
    Ok(Reply::one(Strings::or_null(request.node.swarm_listening()?)))
}

/// `swarm/addrs/autonat`: nobody can have told us.
pub(super) async fn addrs_autonat(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    Ok(Reply::one(Reachability { reachability: "Unknown" }))
}

/// `swarm/connect`.
pub(super) async fn connect(mut request: Request) -> Result<Reply, Error> {
    let addresses = request.all_args().await?;
    Ok(Reply::one(Strings::new(request.node.swarm_connect(&addresses).await?)))
}

/// `swarm/disconnect`.
pub(super) async fn disconnect(mut request: Request) -> Result<Reply, Error> {
    let addresses = request.all_args().await?;
    Ok(Reply::one(Strings::new(request.node.swarm_disconnect(&addresses).await?)))
}

/// `swarm/filters`.
pub(super) async fn filters(request: Request) -> Result<Reply, Error> {
    Ok(Reply::one(Strings::or_null(request.node.swarm_filters()?)))
}

/// `swarm/filters/add`.
pub(super) async fn filters_add(mut request: Request) -> Result<Reply, Error> {
    let filters = request.all_args().await?;
    Ok(Reply::one(Strings::new(request.node.add_swarm_filters(&filters)?)))
}

/// `swarm/filters/rm`.
pub(super) async fn filters_rm(mut request: Request) -> Result<Reply, Error> {
    let filters = request.all_args().await?;
    if filters.first().is_some_and(|first| first == "all" || first == "*") {
        return Ok(Reply::one(Strings::or_null(request.node.clear_swarm_filters()?)));
    }
    Ok(Reply::one(Strings::new(request.node.remove_swarm_filters(&filters)?)))
}

/// `swarm/peering/add`.
pub(super) async fn peering_add(request: Request) -> Result<Reply, Error> {
    let ids = request.node.add_peering(&request.args)?.into_iter();
    Ok(Reply::all(ids.map(|id| PeeringResult { id, status: "success", action: "add" })))
}

/// `swarm/peering/ls`.
pub(super) async fn peering_ls(request: Request) -> Result<Reply, Error> {
    let peers = request.node.peering()?.into_iter().map(AddressInfo::from).collect();
    Ok(Reply::one(Peering { peers }))
}

/// `swarm/peering/rm`.
pub(super) async fn peering_rm(request: Request) -> Result<Reply, Error> {
    let results = request.args.into_iter().map(move |id| {
        let id = request.node.remove_peering(&id)?;
        Ok(PeeringResult { id, status: "success", action: "remove" })
    });
    Ok(Reply::many(futures_util::stream::iter(results.collect::<Vec<_>>())))
}
