//! The node and its peers: addresses, filters, peering, and looking for others.
//!
//! Joins the network with the config that remembers its filters. Everything that would need a
//! connection answers what a node without peers answers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Error, Node};
use crate::net::{self, Mask, Multiaddr, Network, PeerId};

/// A peer and where it is, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddresses {
    /// The peer id.
    pub id: String,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// What `ping` is asked to reach.
#[derive(Debug, Clone)]
pub struct PingTarget {
    peer: PeerId,
    has_address: bool,
}

impl PingTarget {
    /// The peer id.
    #[must_use]
    pub fn id(&self) -> String {
        self.peer.to_string()
    }

    /// Whether the call said where the peer is.
    #[must_use]
    pub fn has_address(&self) -> bool {
        self.has_address
    }
}

impl Node {
    /// Who this node is.
    #[must_use]
    pub fn peer_id(&self) -> String {
        self.repo().config().peer_id().to_owned()
    }

    /// A bool of the config, when it is set.
    #[must_use]
    pub fn config_flag(&self, path: &str) -> Option<bool> {
        self.repo().config().flag(path)
    }

    /// A number of the config, when it is set.
    #[must_use]
    pub fn config_integer(&self, path: &str) -> Option<i64> {
        self.repo().config().integer(path)
    }

    /// A duration of the config in nanoseconds, when it is set.
    #[must_use]
    pub fn config_nanos(&self, path: &str) -> Option<i64> {
        self.repo().config().nanos(path)
    }

    /// What is wanted from the network now.
    #[must_use]
    pub fn wantlist(&self) -> Vec<crate::ipld::Cid> {
        self.exchange().wantlist()
    }

    /// Whether the node is part of a network.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.network().is_some()
    }

    /// Fails where a command needs a node that is online.
    ///
    /// # Errors
    /// [`Error::CommandOffline`].
    pub fn require_online(&self) -> Result<(), Error> {
        self.online().map(drop)
    }

    fn online(&self) -> Result<&Network, Error> {
        self.network().ok_or(Error::CommandOffline)
    }

    fn reachable(&self) -> Result<&Network, Error> {
        self.network().ok_or(Error::ActionOffline)
    }

    /// The peers that are connected: none, before there is a transport.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn swarm_peers(&self) -> Result<Vec<PeerAddresses>, Error> {
        self.reachable().map(|_| Vec::new())
    }

    /// Every peer whose addresses are known, by peer id.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn swarm_known_addresses(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let known = self.reachable()?.known_addresses();
        Ok(known.into_iter().map(|(peer, found)| (peer.to_string(), texts(&found))).collect())
    }

    /// The addresses that others can use.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn swarm_local_addresses(&self, with_id: bool) -> Result<Vec<String>, Error> {
        let network = self.reachable()?;
        let mut addresses = texts(&network.interface_addresses());
        if with_id {
            let id = network.peer_id();
            addresses.iter_mut().for_each(|address| address.push_str(&format!("/p2p/{id}")));
        }
        Ok(addresses)
    }

    /// The addresses that are listened on.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn swarm_listening(&self) -> Result<Vec<String>, Error> {
        let mut addresses = texts(&self.reachable()?.interface_addresses());
        // A circuit relay address is part of every libp2p host with a relay transport.
        addresses.push("/p2p-circuit".to_owned());
        addresses.sort();
        Ok(addresses)
    }

    /// Connects to each peer that the addresses name, in order.
    ///
    /// # Errors
    /// When an address names no peer, and at the first peer that cannot be reached.
    pub fn swarm_connect(&self, addresses: &[String]) -> Result<Vec<String>, Error> {
        let network = self.reachable()?;
        let peers = peers_at(addresses)?;
        let mut done = Vec::new();
        for (_, peer) in peers {
            match network.connect(peer) {
                Ok(()) => done.push(format!("connect {peer} success")),
                Err(error) => {
                    return Err(Error::Failed(format!("connect {peer} failure: {error}")));
                }
            }
        }
        Ok(done)
    }

    /// Closes the connections that the addresses name; says for each whether it did.
    ///
    /// # Errors
    /// When an address names no peer.
    pub fn swarm_disconnect(&self, addresses: &[String]) -> Result<Vec<String>, Error> {
        self.reachable()?;
        let line = |(place, peer): (Multiaddr, PeerId)| {
            let reason = if place.is_empty() { "not connected" } else { "conn not found" };
            format!("disconnect {peer} failure: {reason}")
        };
        Ok(peers_at(addresses)?.into_iter().map(line).collect())
    }

    /// The filters in force.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn swarm_filters(&self) -> Result<Vec<String>, Error> {
        Ok(self.online()?.filters().iter().map(Mask::to_string).collect())
    }

    /// Adds filters, and remembers them in `Swarm.AddrFilters`; gives back those that were new.
    ///
    /// # Errors
    /// When one is none, or the config cannot be written.
    pub fn add_swarm_filters(&self, filters: &[String]) -> Result<Vec<String>, Error> {
        let network = self.online()?;
        if filters.is_empty() {
            return Err(Error::Failed("no filters to add".to_owned()));
        }
        let masks = masks(filters)?;
        masks.into_iter().for_each(|mask| network.add_filter(mask));
        let mut kept = self.repo().config().address_filters();
        let mut added = Vec::new();
        for filter in filters {
            if !kept.contains(filter) {
                kept.push(filter.clone());
                added.push(filter.clone());
            }
        }
        self.set_address_filters(kept)?;
        Ok(added)
    }

    /// Removes filters; gives back those that the config held.
    ///
    /// # Errors
    /// When one is none, or the config cannot be written.
    pub fn remove_swarm_filters(&self, filters: &[String]) -> Result<Vec<String>, Error> {
        let network = self.online()?;
        let masks = masks(filters)?;
        masks.into_iter().for_each(|mask| network.remove_filter(mask));
        let kept = self.repo().config().address_filters();
        let (removed, kept) = kept.into_iter().partition(|filter| filters.contains(filter));
        self.set_address_filters(kept)?;
        Ok(removed)
    }

    /// Removes every filter; gives back those that the config held.
    ///
    /// # Errors
    /// When the config cannot be written.
    pub fn clear_swarm_filters(&self) -> Result<Vec<String>, Error> {
        self.online()?.clear_filters();
        let removed = self.repo().config().address_filters();
        self.set_address_filters(Vec::new())?;
        Ok(removed)
    }

    fn set_address_filters(&self, filters: Vec<String>) -> Result<(), Error> {
        if self.repo().config().address_filters() == filters {
            return Ok(());
        }
        let value = Value::Array(filters.into_iter().map(Value::String).collect());
        Ok(self.repo().set_config_key("Swarm.AddrFilters", value)?)
    }

    /// Keeps to the peers that the addresses name, until the process ends; gives back their ids.
    ///
    /// # Errors
    /// When an address names no peer.
    pub fn add_peering(&self, addresses: &[String]) -> Result<Vec<String>, Error> {
        let mut peers: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
        let addresses = addresses.iter().map(|address| net::parse_multiaddr(address));
        for address in addresses.collect::<Result<Vec<_>, _>>().map_err(Error::failed)? {
            let (place, peer) = net::split_peer(address).map_err(Error::failed)?;
            let index = peers.iter().position(|(known, _)| *known == peer);
            let index = index.unwrap_or_else(|| {
                peers.push((peer, Vec::new()));
                peers.len() - 1
            });
            let places = peers.get_mut(index).filter(|_| !place.is_empty());
            places.into_iter().for_each(|(_, places)| places.push(place.clone()));
        }
        let network = self.online()?;
        let ids = peers.iter().map(|(peer, _)| peer.to_string()).collect();
        peers.into_iter().for_each(|(peer, places)| network.add_peering(peer, places));
        Ok(ids)
    }

    /// The peers that the node keeps to.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn peering(&self) -> Result<Vec<PeerAddresses>, Error> {
        let peers = self.online()?.peering().into_iter();
        Ok(peers
            .map(|(peer, found)| PeerAddresses { id: peer.to_string(), addresses: texts(&found) })
            .collect())
    }

    /// Keeps to a peer no longer; gives back its id.
    ///
    /// # Errors
    /// When `id` is no peer id.
    pub fn remove_peering(&self, id: &str) -> Result<String, Error> {
        let network = self.online()?;
        let peer = net::parse_peer_id(id).map_err(Error::failed)?;
        network.remove_peering(peer);
        Ok(peer.to_string())
    }

    /// Reads what `ping` is asked to reach.
    ///
    /// # Errors
    /// When it is no peer, or this node.
    pub fn ping_target(&self, text: &str) -> Result<PingTarget, Error> {
        let network = self.online()?;
        let (place, peer) = net::parse_peer(text).map_err(|error| {
            Error::Failed(format!("failed to parse peer address '{text}': {error}"))
        })?;
        if peer == network.peer_id() {
            return Err(Error::Failed("error: can't ping self".to_owned()));
        }
        let known = network.known_addresses().contains_key(&peer);
        Ok(PingTarget { peer, has_address: place.is_some() || known })
    }

    /// Looks for a peer that `routing/findpeer` names: without peers it is never found.
    ///
    /// # Errors
    /// When `id` is no peer id, or this node's.
    pub fn check_find_peer(&self, id: &str) -> Result<(), Error> {
        let network = self.online()?;
        let peer = net::parse_peer_id(id).map_err(Error::failed)?;
        if peer == network.peer_id() {
            let text = "finding your own node in the DHT is currently not supported";
            return Err(Error::Failed(text.to_owned()));
        }
        Ok(())
    }

    /// This node, when it holds the block: what it knows of its providers.
    ///
    /// # Errors
    /// When the store fails.
    pub fn local_provider(&self, cid: &crate::ipld::Cid) -> Result<Option<PeerAddresses>, Error> {
        let network = self.online()?;
        if !self.store().has(cid.hash())? {
            return Ok(None);
        }
        let addresses = texts(&network.interface_addresses());
        Ok(Some(PeerAddresses { id: network.peer_id().to_string(), addresses }))
    }

    /// Checks a peer id; gives it back as it is usually written.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_peer_id(text: &str) -> Result<String, Error> {
        net::parse_peer_id(text).map(|peer| peer.to_string()).map_err(Error::failed)
    }
}

/// The peers that the addresses name, each with the rest of its address.
fn peers_at(addresses: &[String]) -> Result<Vec<(Multiaddr, PeerId)>, Error> {
    let mut peers = Vec::new();
    for text in addresses {
        let address = net::parse_multiaddr(text).map_err(Error::failed)?;
        let shown = address.to_string();
        let found = net::split_peer(address)
            .map_err(|_| Error::Failed(format!("found no ipfs peers at {shown}")))?;
        peers.push(found);
    }
    Ok(peers)
}

fn masks(filters: &[String]) -> Result<Vec<Mask>, Error> {
    filters.iter().map(|filter| Mask::parse(filter).map_err(Error::failed)).collect()
}

fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(Multiaddr::to_string).collect()
}
