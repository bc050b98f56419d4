//! The routing system as commands use it: providers of a block, where a peer is, the peers closest
//! to a key, and announcing by hand.
//!
//! Owns no state. What the network finds is joined with what this node knows of itself, and told
//! along with the steps of the search, as Kubo tells them.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::Stream;

use super::produce::{Sink, produce};
use super::traverse::Traversal;
use super::{Error, Node, PeerAddresses, Reach};
use crate::ipld::{Cid, Multihash, hash};
use crate::net::{self, Multiaddr, Network, PeerId, Step, Table};

/// A peer of the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedPeer {
    /// Its id.
    pub id: String,
    /// Whether it is connected.
    pub is_connected: bool,
    /// What it calls itself; empty when it is not known.
    pub agent: String,
    /// How many bits its place has in common with that of this node.
    pub bucket: usize,
}

/// What happens while the routing system is asked, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoutingEvent {
    /// A peer has to be dialled before it can be asked.
    Dialling(String),
    /// A peer is asked.
    Asking(String),
    /// A peer named others, which are closer to what is looked for.
    Answered(String, Vec<PeerAddresses>),
    /// Something failed: with a peer, or with the search itself.
    Failed(Option<String>, String),
    /// Somebody provides the block.
    Provider(PeerAddresses),
    /// The peer that was looked for is here.
    Here(PeerAddresses),
    /// One of the peers closest to the key.
    Closest(String),
}

/// Events that may wait for the reader.
const EVENTS_AHEAD: usize = 16;

/// What go-libp2p-kad-dht says of a routing table without peers.
const EMPTY_TABLE: &str = "failed to find any peer in table";

/// What go-libp2p says of a peer that nobody knows.
const NOT_FOUND: &str = "routing: not found";

impl Node {
    fn routing(&self) -> Result<&Network, Error> {
        self.network().ok_or(Error::CommandOffline)
    }

    /// The nodes that provide a block, this one first when it does, at most `count`; and how they
    /// are looked for.
    ///
    /// # Errors
    /// On a node that is offline, or when the store fails.
    pub fn find_providers(
        &self,
        cid: &Cid,
        count: usize,
    ) -> Result<impl Stream<Item = Result<RoutingEvent, Error>> + use<>, Error> {
        let (network, own) = (self.routing()?.clone(), self.local_provider(cid)?);
        let hash = cid.hash().clone();
        Ok(produce(EVENTS_AHEAD, move |events| async move {
            search_providers(&network, &hash, own, count, &events).await;
            Ok(())
        }))
    }

    /// Where a peer is, and how it is looked for.
    ///
    /// # Errors
    /// When `id` is no peer id, or this node's, and on a node that is offline. The stream ends with
    /// one when nobody knows the peer.
    pub fn find_peer(
        &self,
        id: &str,
    ) -> Result<impl Stream<Item = Result<RoutingEvent, Error>> + use<>, Error> {
        self.check_find_peer(id)?;
        let network = self.routing()?.clone();
        let peer = net::parse_peer_id(id).map_err(Error::failed)?;
        Ok(produce(EVENTS_AHEAD, move |events| async move {
            match search_peer(&network, peer, Some(&events)).await {
                Some(addresses) => {
                    events.send(RoutingEvent::Here(peer_addresses(peer, &addresses))).await;
                    Ok(())
                }
                None => {
                    events.send(RoutingEvent::Failed(None, NOT_FOUND.to_owned())).await;
                    Err(Error::failed(NOT_FOUND))
                }
            }
        }))
    }

    /// Where a peer is; at most `limit` is spent on it.
    pub(super) async fn look_up_peer(
        &self,
        peer: PeerId,
        limit: Duration,
    ) -> Result<Vec<Multiaddr>, Error> {
        let search = tokio::time::timeout(limit, search_peer(self.routing()?, peer, None));
        match search.await {
            Ok(Some(addresses)) => Ok(addresses),
            Ok(None) => Err(Error::failed(NOT_FOUND)),
            Err(_) => Err(Error::failed("context deadline exceeded")),
        }
    }

    /// The peers whose ids are closest to that of a peer, and how they are looked for: among the
    /// public nodes when any is known, as Kubo does, otherwise in the LAN.
    ///
    /// # Errors
    /// When `id` is no peer id, and on a node that is offline. The stream ends with one when there
    /// is nobody to ask.
    pub fn closest_peers(
        &self,
        id: &str,
    ) -> Result<impl Stream<Item = Result<RoutingEvent, Error>> + use<>, Error> {
        let network = self.routing()?.clone();
        let peer = net::parse_peer_id(id).map_err(Error::failed)?;
        Ok(produce(EVENTS_AHEAD, move |events| async move {
            let has_wan = !network.routing_table(Table::Wan).is_empty();
            let table = if has_wan { Table::Wan } else { Table::Lan };
            let mut approach = network.approach(&peer.to_bytes(), &[table]).await;
            let mut is_empty = false;
            while let Some(step) = approach.steps.recv().await {
                is_empty |= step == Step::NobodyToAsk;
                events.send(event_of(step)).await;
            }
            for (peer, _) in approach.found().await {
                events.send(RoutingEvent::Closest(peer.to_string())).await;
            }
            if is_empty { Err(Error::failed(EMPTY_TABLE)) } else { Ok(()) }
        }))
    }

    /// Whether any peer is connected.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.network().is_some_and(|network| !network.peers().is_empty())
    }

    /// How many connected peers keep records.
    #[must_use]
    pub fn record_keepers(&self) -> usize {
        let count = |network: &Network| {
            let keepers = [Table::Lan, Table::Wan].map(|table| network.record_keepers(table));
            keepers.iter().flatten().collect::<HashSet<_>>().len()
        };
        self.network().map_or(0, count)
    }

    /// Checks that a block may be announced: it is here.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_provided(&self, cid: &Cid) -> Result<(), Error> {
        if self.store().has(cid.hash())? {
            return Ok(());
        }
        Err(Error::Failed(format!("block {cid} not found locally, cannot provide")))
    }

    /// Announces blocks now, with all that is below them when it is `recursive`; gives back what
    /// was announced that was not in `seen`.
    ///
    /// # Errors
    /// On a node that is offline, or when a block below is not here.
    pub async fn announce_now(
        &self,
        root: &Cid,
        recursive: bool,
        seen: &mut HashSet<Cid>,
    ) -> Result<Vec<Cid>, Error> {
        let network = self.routing()?.clone();
        let mut announced = Vec::new();
        if !recursive {
            if seen.insert(root.clone()) {
                announced.push(root.clone());
                network.provide(&[root.hash().clone()]).await;
            }
            return Ok(announced);
        }
        let mut walk = Traversal::new(self, root.clone(), Reach::Local);
        while let Some(visits) = walk.next().await? {
            let new: Vec<Cid> = visits
                .into_iter()
                .map(|visit| visit.cid)
                .filter(|cid| seen.insert(cid.clone()))
                .collect();
            let hashes: Vec<_> = new.iter().map(|cid| cid.hash().clone()).collect();
            network.provide(&hashes).await;
            announced.extend(new);
        }
        Ok(announced)
    }

    /// The peers of the routing table: of the one of nodes with `public` addresses, or of the other.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn routing_table(&self, public: bool) -> Result<Vec<RoutedPeer>, Error> {
        let network = self.routing()?;
        let own = place(&network.peer_id())?;
        let row = |peer: PeerId| {
            let connected = network.peer(&peer);
            let said = connected.as_ref().and_then(|peer| peer.identified.as_ref());
            let place = place(&peer)?;
            let same = own.iter().zip(&place).take_while(|(a, b)| a == b).count();
            let differ = own.get(same).zip(place.get(same)).map_or(0, |(a, b)| a ^ b);
            Ok(RoutedPeer {
                id: peer.to_string(),
                is_connected: connected.is_some(),
                agent: said.map(|said| said.agent.clone()).unwrap_or_default(),
                bucket: same * 8 + differ.leading_zeros() as usize,
            })
        };
        let table = if public { Table::Wan } else { Table::Lan };
        network.routing_table(table).into_iter().map(row).collect()
    }
}

/// Where a peer is in the space of keys: the hash of its id.
fn place(peer: &PeerId) -> Result<Vec<u8>, Error> {
    Ok(hash::digest(hash::SHA2_256, &peer.to_bytes(), None)?.digest().to_vec())
}

fn peer_addresses(peer: PeerId, addresses: &[Multiaddr]) -> PeerAddresses {
    let addresses = addresses.iter().map(Multiaddr::to_string).collect();
    PeerAddresses { id: peer.to_string(), addresses }
}

fn event_of(step: Step) -> RoutingEvent {
    match step {
        Step::NobodyToAsk => RoutingEvent::Failed(None, EMPTY_TABLE.to_owned()),
        Step::Dialling(peer) => RoutingEvent::Dialling(peer.to_string()),
        Step::Asking(peer) => RoutingEvent::Asking(peer.to_string()),
        Step::Answered(peer, closer) => {
            let closer = closer.iter().map(|(peer, addresses)| peer_addresses(*peer, addresses));
            RoutingEvent::Answered(peer.to_string(), closer.collect())
        }
        Step::NotReached(peer, why) | Step::NotAnswered(peer, why) => {
            RoutingEvent::Failed(Some(peer.to_string()), why)
        }
    }
}

/// Tells who provides a block, and how it is found out. Who cannot be asked is passed over, as Kubo
/// does, which asks two tables of which one may be empty.
async fn search_providers(
    network: &Network,
    hash: &Multihash,
    own: Option<PeerAddresses>,
    count: usize,
    events: &Sink<RoutingEvent>,
) {
    let mut left = count;
    let mut seen = HashSet::from([network.peer_id()]);
    if let Some(own) = own {
        events.send(RoutingEvent::Provider(own)).await;
        left = left.saturating_sub(1);
    }
    if left == 0 {
        return;
    }
    let net::Search { mut providers, mut steps } = network.search_providers(hash).await;
    while left > 0 {
        let step = tokio::select! {
            Some(peer) = providers.recv() => {
                if seen.insert(peer) {
                    let found = peer_addresses(peer, &network.addresses(&peer));
                    events.send(RoutingEvent::Provider(found)).await;
                    left -= 1;
                }
                continue;
            }
            Some(step) = steps.recv() => step,
            else => return,
        };
        match step {
            Step::NobodyToAsk | Step::NotReached(..) | Step::NotAnswered(..) => {}
            step => events.send(event_of(step)).await,
        }
    }
}

/// Looks for a peer in both tables; where it is, when anybody knows it.
async fn search_peer(
    network: &Network,
    peer: PeerId,
    events: Option<&Sink<RoutingEvent>>,
) -> Option<Vec<Multiaddr>> {
    if network.is_connected(&peer) {
        return Some(network.addresses(&peer));
    }
    let mut approach = network.approach(&peer.to_bytes(), &Table::ALL).await;
    let mut found: Vec<Multiaddr> = Vec::new();
    while let Some(step) = approach.steps.recv().await {
        if let Step::Answered(_, closer) = &step {
            let named = closer.iter().filter(|(named, _)| *named == peer);
            found.extend(named.flat_map(|(_, addresses)| addresses.iter().cloned()));
        }
        // Kubo says nothing of those that do not answer here.
        let is_told = !matches!(step, Step::NotAnswered(..));
        if let Some(events) = events.filter(|_| is_told) {
            events.send(event_of(step)).await;
        }
    }
    let closest = approach.found().await;
    let named = closest.into_iter().filter(|(named, _)| *named == peer);
    found.extend(named.flat_map(|(_, addresses)| addresses));
    if !found.is_empty() {
        found.extend(network.addresses(&peer));
        found.sort_by_key(Multiaddr::to_string);
        found.dedup();
    }
    (!found.is_empty()).then_some(found)
}
