//! The routing system as commands use it: providers of a block, where a peer is, the peers closest
//! to a key, and announcing by hand.
//!
//! Owns no state. What the network finds is joined with what this node knows of itself.

use std::collections::HashSet;

use futures_util::Stream;
use tokio::sync::mpsc;

use super::traverse::Traversal;
use super::{Error, Node, PeerAddresses, Reach};
use crate::ipld::{Cid, hash};
use crate::net::{self, Multiaddr, Network, PeerId, Table};

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

/// What a search for a peer has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundPeer {
    /// It is here.
    Found(PeerAddresses),
    /// Nobody knows it.
    NotFound,
    /// There is nobody to ask.
    NobodyToAsk,
}

impl Node {
    fn routing(&self) -> Result<&Network, Error> {
        self.network().ok_or(Error::CommandOffline)
    }

    /// The nodes that provide a block, this one first when it does; at most `count`.
    ///
    /// # Errors
    /// On a node that is offline, or when the store fails.
    pub async fn find_providers(
        &self,
        cid: &Cid,
        count: usize,
    ) -> Result<impl Stream<Item = PeerAddresses> + Send + use<>, Error> {
        let network = self.routing()?.clone();
        let own = self.local_provider(cid)?;
        let found = match !network.can_look_up() {
            true => None,
            false => Some(network.find_providers(cid.hash()).await),
        };
        let search =
            Search { seen: HashSet::from([network.peer_id()]), network, own, found, count };
        Ok(futures_util::stream::unfold(search, Search::next))
    }

    /// Where a peer is.
    ///
    /// # Errors
    /// When `id` is no peer id, or this node's, and on a node that is offline.
    pub async fn find_peer(&self, id: &str) -> Result<FoundPeer, Error> {
        self.check_find_peer(id)?;
        let network = self.routing()?;
        let peer = net::parse_peer_id(id).map_err(Error::failed)?;
        if network.is_connected(&peer) {
            let addresses = network.addresses(&peer);
            return Ok(FoundPeer::Found(peer_addresses(peer, &addresses)));
        }
        if !network.can_look_up() {
            return Ok(FoundPeer::NobodyToAsk);
        }
        let closest = network.closest_peers(peer.to_bytes()).await;
        let found = closest.into_iter().find(|(other, _)| *other == peer);
        Ok(match found.filter(|(_, addresses)| !addresses.is_empty()) {
            Some((peer, addresses)) => FoundPeer::Found(peer_addresses(peer, &addresses)),
            None => FoundPeer::NotFound,
        })
    }

    /// The peers whose ids are closest to that of a peer; `None` when there is nobody to ask.
    ///
    /// # Errors
    /// When `id` is no peer id, and on a node that is offline.
    pub async fn closest_peers(&self, id: &str) -> Result<Option<Vec<String>>, Error> {
        let network = self.routing()?;
        let peer = net::parse_peer_id(id).map_err(Error::failed)?;
        if !network.can_look_up() {
            return Ok(None);
        }
        let closest = network.closest_peers(peer.to_bytes()).await;
        Ok(Some(closest.into_iter().map(|(peer, _)| peer.to_string()).collect()))
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

/// A search for providers.
struct Search {
    network: Network,
    seen: HashSet<PeerId>,
    own: Option<PeerAddresses>,
    found: Option<mpsc::Receiver<PeerId>>,
    count: usize,
}

impl Search {
    async fn next(mut self) -> Option<(PeerAddresses, Self)> {
        self.count = self.count.checked_sub(1)?;
        if let Some(own) = self.own.take() {
            return Some((own, self));
        }
        loop {
            let peer = self.found.as_mut()?.recv().await?;
            if self.seen.insert(peer) {
                let addresses = self.network.addresses(&peer);
                return Some((peer_addresses(peer, &addresses), self));
            }
        }
    }
}
