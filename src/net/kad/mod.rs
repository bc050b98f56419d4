//! Kademlia inside the network: who provides a block, where a peer is, and records of names.
//!
//! Responsible for: libp2p's Kademlia under the name that Kubo's nodes of a LAN speak, always as a
//! server; what others ask it to keep ([`store`]), in bounded memory; lookups for the layers above;
//! and telling others what this node provides ([`provide`]). Not for: deciding what is provided, or
//! which records this node keeps for good. Everything here is forgotten with the process.

mod provide;
mod store;

use std::collections::{BTreeSet, HashMap};
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

use super::peers::without_peer;
use super::service::Command;
use super::{Inner, Network};
use crate::ipld::Multihash;
use crate::ipns::{self, Name};
use store::Store;

pub use provide::Provided;

/// What Kubo's nodes speak in a LAN, and in a private network that is one.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/lan/kad/1.0.0");

/// How many peers a record is given to: Kademlia's `k`.
const REPLICAS: usize = 20;

/// How long others' records are kept: Kubo's, for records of both kinds.
const KEEP: Duration = Duration::from_secs(48 * 3600);

/// How long a lookup takes at most.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Lookups that run at once; more are refused.
const LOOKUPS_MAX: usize = 512;

/// Providers that wait for whoever asked.
const PROVIDERS_AHEAD: usize = 64;

/// The protocol's state machine.
pub(super) type Kademlia = Behaviour<Store>;

/// Makes the protocol's state machine.
pub(super) fn behaviour(own: PeerId) -> Kademlia {
    let mut config = Config::new(PROTOCOL);
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
    kademlia.set_mode(Some(Mode::Server));
    kademlia
}

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Lookup {
    Providers { key: Vec<u8>, found: mpsc::Sender<PeerId> },
    Closest { key: Vec<u8>, reply: oneshot::Sender<Vec<(PeerId, Vec<Multiaddr>)>> },
    Values { key: Vec<u8>, enough: usize, reply: oneshot::Sender<Vec<Bytes>> },
    Put { key: Vec<u8>, value: Vec<u8>, reply: oneshot::Sender<bool> },
}

/// Somebody who waits for a lookup.
#[derive(Debug)]
enum Waiting {
    Providers(mpsc::Sender<PeerId>),
    Closest(oneshot::Sender<Vec<(PeerId, Vec<Multiaddr>)>>),
    Values { found: Vec<Bytes>, enough: usize, reply: oneshot::Sender<Vec<Bytes>> },
    Put(oneshot::Sender<bool>),
}

/// The lookups that run. Dropping one's entry tells whoever waits that there is no more.
#[derive(Debug, Default)]
pub(super) struct Lookups(HashMap<QueryId, Waiting>);

impl Lookups {
    /// Begins a lookup.
    pub(super) fn begin(&mut self, kademlia: &mut Kademlia, lookup: Lookup) {
        if self.0.len() >= LOOKUPS_MAX {
            tracing::debug!("a lookup was refused: too many run");
            return;
        }
        let (id, waiting) = match lookup {
            Lookup::Providers { key, found } => {
                (kademlia.get_providers(key.into()), Waiting::Providers(found))
            }
            Lookup::Closest { key, reply } => {
                (kademlia.get_closest_peers(key), Waiting::Closest(reply))
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
        self.0.insert(id, waiting);
    }

    /// A lookup has come further.
    fn progress(&mut self, kademlia: &mut Kademlia, id: QueryId, result: QueryResult, last: bool) {
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
        if let Some(mut query) = kademlia.query_mut(&id) {
            query.finish();
        }
    }

    /// Something has happened.
    pub(super) fn event(&mut self, kademlia: &mut Kademlia, inner: &Inner, event: Event) {
        match event {
            Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.progress(kademlia, id, result, step.last);
            }
            Event::InboundRequest { request } => inbound(kademlia, request),
            Event::RoutingUpdated { peer, old_peer, addresses, .. } => {
                let mut table = inner.table();
                table.insert(peer);
                old_peer.iter().for_each(|old| {
                    table.remove(old);
                });
                drop(table);
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
pub(super) fn identified(kademlia: &mut Kademlia, inner: &Inner, peer: &PeerId) {
    let Some(state) = inner.peers().get(peer) else { return };
    let Some(said) = state.identified else { return };
    if !said.protocols.iter().any(|name| name == PROTOCOL.as_ref()) {
        if kademlia.remove_peer(peer).is_some() {
            inner.table().remove(peer);
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
    pub(super) fn table(&self) -> std::sync::MutexGuard<'_, BTreeSet<PeerId>> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Network {
    /// The peers in the routing table.
    #[must_use]
    pub fn routing_table(&self) -> Vec<PeerId> {
        self.inner.table().iter().copied().collect()
    }

    /// Looks for peers that provide the block of this hash; the channel ends when nobody else is
    /// found. Dropping it ends the search. Where a peer is, [`Network::connect`] knows.
    pub async fn find_providers(&self, hash: &Multihash) -> mpsc::Receiver<PeerId> {
        let (found, providers) = mpsc::channel(PROVIDERS_AHEAD);
        let key = hash.as_bytes().to_vec();
        self.look_up(Lookup::Providers { key, found }).await;
        providers
    }

    /// The peers whose ids are closest to a key, and where they are.
    pub async fn closest_peers(&self, key: Vec<u8>) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let (reply, answer) = oneshot::channel();
        self.look_up(Lookup::Closest { key, reply }).await;
        answer.await.unwrap_or_default()
    }

    /// What others keep under a key, at most `enough` of it: not looked at yet.
    pub async fn find_values(&self, key: Vec<u8>, enough: usize) -> Vec<Bytes> {
        let (reply, answer) = oneshot::channel();
        self.look_up(Lookup::Values { key, enough: enough.max(1), reply }).await;
        answer.await.unwrap_or_default()
    }

    /// Gives a value to the peers closest to its key; whether one took it.
    pub async fn put_value(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let (reply, answer) = oneshot::channel();
        self.look_up(Lookup::Put { key, value, reply }).await;
        answer.await.unwrap_or(false)
    }

    async fn look_up(&self, lookup: Lookup) {
        // With the service gone, whoever waits is told by the end of its channel.
        let _ = self.commands.send(Command::LookUp(lookup)).await;
    }
}

/// A key as Kademlia's store knows it.
fn record_key(bytes: &[u8]) -> RecordKey {
    RecordKey::new(&bytes)
}

#[cfg(test)]
mod tests;
