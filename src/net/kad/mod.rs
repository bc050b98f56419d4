//! Kademlia inside the network: who provides a block, where a peer is, and records of names.
//!
//! Responsible for: libp2p's Kademlia under both names of Kubo: that of a LAN, always as a server, and
//! that of a WAN, as a server where this node tells of a public address (a Kubo with one keeps other
//! public nodes in its second table only); what others ask it to keep ([`store`]), in bounded memory;
//! lookups for the layers above, in both tables, and their steps ([`steps`]); and telling others what this node provides
//! ([`provide`]). Not for: deciding what is provided, or which records this node keeps for good.
//! Everything here is forgotten with the process.

mod provide;
mod steps;
mod store;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use libp2p::StreamProtocol;
use libp2p::kad::{
    self, Behaviour, Caching, Config, Event, GetProvidersOk, GetRecordOk, InboundRequest, Mode,
    QueryId, QueryResult, Quorum, Record, RecordKey, StoreInserts,
};
use libp2p_identity::{PeerId, PublicKey};
use multiaddr::Multiaddr;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use super::peers::{ip_of, without_peer};
use super::relay::is_relayed;
use super::service::Command;
use super::{Inner, Network};
use crate::ipld::Multihash;
use crate::ipns::{self, Name};
use steps::Steps;
use store::Store;

pub use provide::Provided;
pub(super) use steps::Kademlia;
pub use steps::Step;

/// The two tables of Kubo's nodes. Each has its own peers and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Nodes in one LAN, and in a private network that is one.
    Lan,
    /// Nodes with public addresses.
    Wan,
}

impl Table {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Lan, Self::Wan];

    /// What its nodes speak.
    pub(super) const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Lan => StreamProtocol::new("/ipfs/lan/kad/1.0.0"),
            Self::Wan => StreamProtocol::new("/ipfs/kad/1.0.0"),
        }
    }

    /// Its state machine.
    pub(super) fn of(self, behaviour: &mut super::behaviour::Behaviour) -> &mut Kademlia {
        match self {
            Self::Lan => &mut behaviour.kademlia_lan,
            Self::Wan => &mut behaviour.kademlia_wan,
        }
    }
}

/// How many peers a record is given to: Kademlia's `k`.
const REPLICAS: usize = 20;

/// How long others' records are kept: Kubo's, for records of both kinds.
const KEEP: Duration = Duration::from_secs(48 * 3600);

/// How long a lookup takes at most.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Lookups that run at once; more are refused.
const LOOKUPS_MAX: usize = 512;

/// Providers that wait for whoever asked, and steps.
const PROVIDERS_AHEAD: usize = 64;
const STEPS_AHEAD: usize = 1024;

/// Makes the protocol's state machine.
pub(super) fn behaviour(own: PeerId, table: Table) -> Kademlia {
    let mut config = Config::new(table.protocol());
    config
        .set_query_timeout(LOOKUP_TIMEOUT)
        // What others want kept is looked at first.
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_record_ttl(Some(KEEP))
        .set_provider_record_ttl(Some(KEEP))
        // Who publishes does so again; nobody does it for others.
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_caching(Caching::Disabled);
    let mut kademlia = Behaviour::with_config(own, Store::new(), config);
    kademlia.set_mode(Some(match table {
        Table::Lan => Mode::Server,
        Table::Wan => Mode::Client,
    }));
    Kademlia::new(kademlia)
}

/// These addresses are told to others from now on: with a public one, public nodes may ask.
pub(super) fn announced(wan: &mut Kademlia, addresses: &[Multiaddr]) {
    let is_public = addresses.iter().any(is_public_place);
    wan.set_mode(Some(if is_public { Mode::Server } else { Mode::Client }));
}

/// Whether an address is that of a node that can be dialled from anywhere.
pub(super) fn is_public_place(address: &Multiaddr) -> bool {
    ip_of(address).is_some_and(is_public) && !is_relayed(address)
}

/// Whether an address can be reached from anywhere.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let is_shared = matches!(ip.octets(), [100, 64..128, ..]);
            let is_local = ip.is_loopback() || ip.is_private() || ip.is_link_local();
            !(is_local || is_shared || ip.is_unspecified() || ip.is_multicast())
        }
        IpAddr::V6(ip) => {
            let is_local = ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local();
            !(is_local || ip.is_unspecified() || ip.is_multicast())
        }
    }
}

/// Peers and where they are.
type Places = Vec<(PeerId, Vec<Multiaddr>)>;

/// A search for providers whose steps are told. Dropping it ends the search.
#[derive(Debug)]
pub struct Search {
    /// Who provides; ends when nobody else is found.
    pub providers: mpsc::Receiver<PeerId>,
    /// What the search does; ends with it.
    pub steps: mpsc::Receiver<Step>,
}

/// A search for the peers closest to a key whose steps are told.
#[derive(Debug)]
pub struct Approach {
    /// What the search does; ends with it.
    pub steps: mpsc::Receiver<Step>,
    replies: Vec<oneshot::Receiver<Places>>,
}

impl Approach {
    /// The peers that were found, once the steps have ended.
    pub async fn found(self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        drop(self.steps);
        let mut found = Places::new();
        for reply in self.replies {
            for (peer, addresses) in reply.await.unwrap_or_default() {
                if found.iter().all(|(known, _)| *known != peer) {
                    found.push((peer, addresses));
                }
            }
        }
        found
    }
}

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Lookup {
    Providers { key: Vec<u8>, found: mpsc::Sender<PeerId>, steps: Option<Steps> },
    Closest { key: Vec<u8>, reply: oneshot::Sender<Places>, steps: Option<Steps> },
    Values { key: Vec<u8>, enough: usize, reply: oneshot::Sender<Vec<Bytes>> },
    Put { key: Vec<u8>, value: Vec<u8>, reply: oneshot::Sender<bool> },
}

/// Somebody who waits for a lookup.
#[derive(Debug)]
enum Waiting {
    Providers(mpsc::Sender<PeerId>),
    Closest(oneshot::Sender<Places>),
    Values { found: Vec<Bytes>, enough: usize, reply: oneshot::Sender<Vec<Bytes>> },
    Put(oneshot::Sender<bool>),
}

/// The lookups that run. Dropping one's entry tells whoever waits that there is no more.
#[derive(Debug, Default)]
pub(super) struct Lookups(HashMap<(Table, QueryId), Waiting>);

impl Lookups {
    /// Begins a lookup.
    pub(super) fn begin(&mut self, table: Table, kademlia: &mut Kademlia, lookup: Lookup) {
        if self.0.len() >= LOOKUPS_MAX {
            tracing::debug!("a lookup was refused: too many run");
            return;
        }
        let (id, waiting) = match lookup {
            Lookup::Providers { key, found, steps } => {
                let id = kademlia.get_providers(key.into());
                steps.into_iter().for_each(|steps| kademlia.watch(id, steps));
                (id, Waiting::Providers(found))
            }
            Lookup::Closest { key, reply, steps } => {
                let id = kademlia.get_closest_peers(key);
                steps.into_iter().for_each(|steps| kademlia.watch(id, steps));
                (id, Waiting::Closest(reply))
            }
            Lookup::Values { key, enough, reply } => {
                let waiting = Waiting::Values { found: Vec::new(), enough, reply };
                (kademlia.get_record(key.into()), waiting)
            }
            Lookup::Put { key, value, reply } => {
                let record = Record::new(key, value);
                match kademlia.put_record(record, Quorum::One) {
                    Ok(id) => (id, Waiting::Put(reply)),
                    Err(error) => {
                        tracing::debug!(?error, "a record was not put");
                        return;
                    }
                }
            }
        };
        self.0.insert((table, id), waiting);
    }

    /// A lookup has come further.
    fn progress(
        &mut self,
        id: (Table, QueryId),
        kademlia: &mut Kademlia,
        result: QueryResult,
        last: bool,
    ) {
        let Some(waiting) = self.0.get_mut(&id) else { return };
        let goes_on = match (waiting, result) {
            (Waiting::Providers(found), QueryResult::GetProviders(Ok(result))) => {
                let providers = match result {
                    GetProvidersOk::FoundProviders { providers, .. } => providers,
                    GetProvidersOk::FinishedWithNoAdditionalRecord { .. } => Default::default(),
                };
                // One who does not keep up has enough; one who has gone wants no more.
                providers.into_iter().all(|peer| found.try_send(peer).is_ok()) && !found.is_closed()
            }
            (
                Waiting::Values { found, enough, .. },
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(record))),
            ) => {
                found.push(record.record.value.into());
                found.len() < *enough
            }
            (Waiting::Closest(_), QueryResult::GetClosestPeers(result)) => {
                let peers = match result {
                    Ok(found) => found.peers,
                    Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                if let Some(Waiting::Closest(reply)) = self.0.remove(&id) {
                    let peers = peers
                        .into_iter()
                        .map(|peer| (peer.peer_id, bare(peer.peer_id, peer.addrs)));
                    // Whoever asked may have gone.
                    let _ = reply.send(peers.collect());
                }
                return;
            }
            (Waiting::Put(_), QueryResult::PutRecord(result)) => {
                if let Some(Waiting::Put(reply)) = self.0.remove(&id) {
                    let _ = reply.send(result.is_ok());
                }
                return;
            }
            _ => true,
        };
        if goes_on && !last {
            return;
        }
        if let Some(Waiting::Values { found, reply, .. }) = self.0.remove(&id) {
            let _ = reply.send(found);
        }
        if let Some(mut query) = kademlia.query_mut(&id.1) {
            query.finish();
        }
    }

    /// Something has happened.
    pub(super) fn event(
        &mut self,
        table: Table,
        kademlia: &mut Kademlia,
        inner: &Inner,
        event: Event,
    ) {
        match event {
            Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.progress((table, id), kademlia, result, step.last);
            }
            Event::InboundRequest { request } => inbound(kademlia, request),
            Event::RoutingUpdated { peer, old_peer, addresses, .. } => {
                let mut tables = inner.tables();
                tables.insert((table, peer));
                old_peer.iter().for_each(|old| {
                    tables.remove(&(table, *old));
                });
                drop(tables);
                inner.peers().learn(peer, bare(peer, addresses.into_vec()));
            }
            _ => {}
        }
    }
}

/// The addresses of a peer without its id.
fn bare(peer: PeerId, addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    addresses.into_iter().filter_map(|address| without_peer(address, peer)).collect()
}

/// A peer has said who it is: one that speaks the protocol is asked from now on.
pub(super) fn identified(table: Table, kademlia: &mut Kademlia, inner: &Inner, peer: &PeerId) {
    let Some(state) = inner.peers().get(peer) else { return };
    let Some(said) = state.identified else { return };
    if !said.protocols.iter().any(|name| name == table.protocol().as_ref()) {
        if kademlia.remove_peer(peer).is_some() {
            inner.tables().remove(&(table, *peer));
        }
        return;
    }
    for address in inner.peers().addresses(peer) {
        kademlia.add_address(peer, address);
    }
}

/// A peer asks for something to be kept.
fn inbound(kademlia: &mut Kademlia, request: InboundRequest) {
    match request {
        InboundRequest::AddProvider { record: Some(record) } => {
            if let Err(error) = kad::store::RecordStore::add_provider(kademlia.store_mut(), record)
            {
                tracing::debug!(?error, "a provider was not kept");
            }
        }
        InboundRequest::PutRecord { source, record: Some(record), .. } => {
            let known = kad::store::RecordStore::get(kademlia.store_mut(), &record.key);
            let known = known.map(|known| known.into_owned().value);
            if !is_wanted(record.key.as_ref(), &record.value, known.as_deref()) {
                tracing::debug!(%source, "a record was refused");
                return;
            }
            if let Err(error) = kad::store::RecordStore::put(kademlia.store_mut(), record) {
                tracing::debug!(?error, "a record was not kept");
            }
        }
        _ => {}
    }
}

/// Whether a record is valid for its key, and better than the one that is known.
fn is_wanted(key: &[u8], value: &[u8], known: Option<&[u8]>) -> bool {
    if let Some(peer) = key.strip_prefix(b"/pk/") {
        let public = PublicKey::try_decode_protobuf(value);
        return public.is_ok_and(|public| public.to_peer_id().to_bytes() == peer);
    }
    let Some(name) = Name::from_routing_key(key) else { return false };
    let now = OffsetDateTime::now_utc();
    let valid = |bytes: &[u8]| {
        let record = ipns::Record::decode(&Bytes::copy_from_slice(bytes)).ok()?;
        record.validate(&name, now).is_ok().then_some(record)
    };
    match (valid(value), known.and_then(valid)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(new), Some(known)) => ipns::is_better(&new, &known).unwrap_or(false),
    }
}

impl Inner {
    /// The peers that lookups begin with.
    pub(super) fn tables(&self) -> std::sync::MutexGuard<'_, HashSet<(Table, PeerId)>> {
        self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Network {
    /// The peers in a routing table, ordered by their ids.
    #[must_use]
    pub fn routing_table(&self, table: Table) -> Vec<PeerId> {
        let tables = self.inner.tables();
        let mut peers: Vec<PeerId> = tables
            .iter()
            .filter(|(in_table, _)| *in_table == table)
            .map(|(_, peer)| *peer)
            .collect();
        peers.sort();
        peers
    }

    /// Whether there is anybody whom a lookup would ask.
    #[must_use]
    pub fn can_look_up(&self) -> bool {
        !self.inner.tables().is_empty()
    }

    /// Looks for peers that provide the block of this hash; the channel ends when nobody else is
    /// found. Dropping it ends the search. Where a peer is, [`Network::connect`] knows.
    pub async fn find_providers(&self, hash: &Multihash) -> mpsc::Receiver<PeerId> {
        let (found, providers) = mpsc::channel(PROVIDERS_AHEAD);
        self.begin_search(hash, &found, None).await;
        providers
    }

    /// The same with its steps.
    pub async fn search_providers(&self, hash: &Multihash) -> Search {
        let (found, providers) = mpsc::channel(PROVIDERS_AHEAD);
        let (told, steps) = mpsc::channel(STEPS_AHEAD);
        self.begin_search(hash, &found, Some(told)).await;
        Search { providers, steps }
    }

    async fn begin_search(
        &self,
        hash: &Multihash,
        found: &mpsc::Sender<PeerId>,
        steps: Option<Steps>,
    ) {
        for table in Table::ALL {
            let (key, found, steps) = (hash.as_bytes().to_vec(), found.clone(), steps.clone());
            self.look_up(table, Lookup::Providers { key, found, steps }).await;
        }
    }

    /// Looks for the peers whose ids are closest to a key, in each of these tables.
    pub async fn approach(&self, key: &[u8], tables: &[Table]) -> Approach {
        let (told, steps) = mpsc::channel(STEPS_AHEAD);
        let mut replies = Vec::with_capacity(tables.len());
        for table in tables {
            let (reply, answer) = oneshot::channel();
            let lookup = Lookup::Closest { key: key.to_vec(), reply, steps: Some(told.clone()) };
            self.look_up(*table, lookup).await;
            replies.push(answer);
        }
        Approach { steps, replies }
    }

    /// The peers whose ids are closest to a key, and where they are.
    pub async fn closest_peers(&self, key: Vec<u8>) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.approach(&key, &Table::ALL).await.found().await
    }

    /// What others keep under a key, at most `enough` of it: not looked at yet.
    pub async fn find_values(&self, key: Vec<u8>, enough: usize) -> Vec<Bytes> {
        let enough = enough.max(1);
        let asked = |reply| Lookup::Values { key: key.clone(), enough, reply };
        let [mut lan, wan] = self.look_up_both(asked).await.map(Option::unwrap_or_default);
        lan.extend(wan);
        lan
    }

    /// Gives a value to the peers closest to its key; whether one took it.
    pub async fn put_value(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let asked = |reply| Lookup::Put { key: key.clone(), value: value.clone(), reply };
        self.look_up_both(asked).await.contains(&Some(true))
    }

    /// Asks both tables at once; `None` where nothing was answered.
    async fn look_up_both<T>(
        &self,
        asked: impl Fn(oneshot::Sender<T>) -> Lookup,
    ) -> [Option<T>; 2] {
        let [(to_lan, lan), (to_wan, wan)] = [oneshot::channel(), oneshot::channel()];
        self.look_up(Table::Lan, asked(to_lan)).await;
        self.look_up(Table::Wan, asked(to_wan)).await;
        let (lan, wan) = futures_util::join!(lan, wan);
        [lan.ok(), wan.ok()]
    }

    async fn look_up(&self, table: Table, lookup: Lookup) {
        // With the service gone, whoever waits is told by the end of its channel.
        let _ = self.commands.send(Command::LookUp(table, lookup)).await;
    }
}

/// A key as Kademlia's store knows it.
fn record_key(bytes: &[u8]) -> RecordKey {
    RecordKey::new(&bytes)
}

#[cfg(test)]
mod tests;
