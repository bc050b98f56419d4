//! The node and its peers: addresses, filters, peering, and looking for others.
//!
//! Joins the network with the config that remembers its filters, and puts what the network knows
//! into text.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::about::PROTOCOLS;
use super::version::OWN_AGENT;
use super::{Error, Node};
use crate::net::{self, Bandwidth, Mask, Multiaddr, Network, PeerId, Resources};

/// A peer and where it is, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddresses {
    /// The peer id.
    pub id: String,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// A connection with a peer, as text.
#[derive(Debug, Clone)]
pub struct SwarmConnection {
    /// Where the peer is.
    pub address: String,
    /// Its id.
    pub peer: String,
    /// Whether the peer opened it.
    pub is_inbound: bool,
    /// How long a packet takes there and back, when that is known.
    pub latency: Option<Duration>,
    /// What its streams speak.
    pub streams: Vec<String>,
    /// Who the peer says it is.
    pub identity: PeerIdentity,
}

/// What a peer says of itself, as text; what it has not said is empty.
#[derive(Debug, Clone, Default)]
pub struct PeerIdentity {
    /// The public key: base64 of libp2p's protobuf.
    pub public_key: String,
    /// Where it is, with its id, sorted.
    pub addresses: Vec<String>,
    /// Its program and version.
    pub agent: String,
    /// What it speaks, sorted.
    pub protocols: Vec<String>,
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

    /// A text of the config, when it is set.
    #[must_use]
    pub fn config_text(&self, path: &str) -> Option<String> {
        self.repo().config().text(path).map(str::to_owned)
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

    pub(super) fn online(&self) -> Result<&Network, Error> {
        self.network().ok_or(Error::CommandOffline)
    }

    fn reachable(&self) -> Result<&Network, Error> {
        self.network().ok_or(Error::ActionOffline)
    }

    /// The open connections, by address.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn swarm_peers(&self) -> Result<Vec<SwarmConnection>, Error> {
        let network = self.reachable()?;
        let mut all = Vec::new();
        for peer in network.peers() {
            let identified = self.peer_identity(&peer.id, peer.identified.as_deref());
            all.extend(peer.connections.into_iter().map(|connection| SwarmConnection {
                address: connection.address.to_string(),
                peer: peer.id.to_string(),
                is_inbound: connection.direction == net::Direction::Inbound,
                latency: peer.latency,
                streams: connection.streams,
                identity: identified.clone(),
            }));
        }
        all.sort_by(|one, two| one.address.cmp(&two.address));
        Ok(all)
    }

    /// What is known of a peer, whether or not it has said so itself.
    pub(super) fn peer_identity(
        &self,
        peer: &PeerId,
        said: Option<&net::Identified>,
    ) -> PeerIdentity {
        let known = self.network().map(Network::known_addresses).unwrap_or_default();
        let mut addresses: Vec<String> = known
            .get(peer)
            .into_iter()
            .flatten()
            .map(|address| format!("{address}/p2p/{peer}"))
            .collect();
        if addresses.is_empty() {
            addresses.push(format!("/p2p/{peer}"));
        }
        addresses.sort();
        let key = said.map(|said| STANDARD.encode(&said.public_key));
        PeerIdentity {
            public_key: key.or_else(|| crate::repo::inlined_public_key(peer)).unwrap_or_default(),
            addresses,
            agent: said.map(|said| clean(&said.agent)).unwrap_or_default(),
            protocols: said.map(shown).unwrap_or_default(),
        }
    }

    /// What the network may use, and uses.
    ///
    /// # Errors
    /// On a node that is offline.
    pub fn swarm_resources(&self) -> Result<Resources, Error> {
        Ok(self.online()?.resources())
    }

    /// Bytes over the streams with a peer, of a protocol, or all of them; `None` on a node that is
    /// offline.
    ///
    /// # Errors
    /// When `peer` is no peer id.
    pub fn bandwidth(
        &self,
        peer: Option<&str>,
        protocol: Option<&str>,
    ) -> Result<Option<Bandwidth>, Error> {
        let peer = peer.map(net::parse_peer_id).transpose().map_err(Error::failed)?;
        Ok(self.network().map(|network| match (peer, protocol) {
            (Some(peer), _) => network.bandwidth_of_peer(&peer),
            (None, Some(protocol)) => network.bandwidth_of_protocol(protocol),
            (None, None) => network.bandwidth(),
        }))
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
    pub async fn swarm_connect(&self, addresses: &[String]) -> Result<Vec<String>, Error> {
        let network = self.reachable()?;
        let mut done = Vec::new();
        for (peer, places) in grouped(peers_at(addresses)?) {
            match network.connect_identified(peer, places).await {
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
    pub async fn swarm_disconnect(&self, addresses: &[String]) -> Result<Vec<String>, Error> {
        let network = self.reachable()?;
        let mut lines = Vec::new();
        for (place, peer) in peers_at(addresses)? {
            let outcome = if place.is_empty() {
                let was_connected = network.let_go(peer).await;
                if was_connected { "success" } else { "failure: not connected" }
            } else {
                let was_there = network.let_go_at(peer, &place).await;
                if was_there { "success" } else { "failure: conn not found" }
            };
            lines.push(format!("disconnect {peer} {outcome}"));
        }
        Ok(lines)
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
        let addresses = addresses.iter().map(|address| net::parse_multiaddr(address));
        let mut named = Vec::new();
        for address in addresses.collect::<Result<Vec<_>, _>>().map_err(Error::failed)? {
            named.push(net::split_peer(address).map_err(Error::failed)?);
        }
        let peers = grouped(named);
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

/// Characters of a foreign text that are shown.
const SHOWN_CHARS_MAX: usize = 128;

/// A text of another node with what would steer a terminal replaced: kubo
/// core/commands/cmdutils/sanitize.go.
fn clean(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() || is_format(c) { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = text.chars().map(shown).collect();
    text.trim().chars().take(SHOWN_CHARS_MAX).collect()
}

/// Unicode's class Cf: characters that are not seen and change how others are.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
        | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// What a peer speaks. Of a node of this program what it says itself when it is asked: Kubo's clients
/// see Kubo's list, and not what members speak among each other for their pins.
fn shown(said: &net::Identified) -> Vec<String> {
    let is_own = said.agent.contains(OWN_AGENT);
    let mut shown: Vec<String> = said
        .protocols
        .iter()
        .filter(|name| !name.starts_with(net::OWN_PROTOCOLS))
        .filter(|name| !is_own || PROTOCOLS.contains(&name.as_str()))
        .map(|name| clean(name))
        .collect();
    shown.sort();
    shown
}

/// The addresses of each peer, peers in the order in which they are named first.
fn grouped(named: Vec<(Multiaddr, PeerId)>) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let mut peers: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
    for (place, peer) in named {
        let index = peers.iter().position(|(known, _)| *known == peer).unwrap_or_else(|| {
            peers.push((peer, Vec::new()));
            peers.len() - 1
        });
        let places = peers.get_mut(index).filter(|_| !place.is_empty());
        places.into_iter().for_each(|(_, places)| places.push(place.clone()));
    }
    peers
}

fn masks(filters: &[String]) -> Result<Vec<Mask>, Error> {
    filters.iter().map(|filter| Mask::parse(filter).map_err(Error::failed)).collect()
}

fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(Multiaddr::to_string).collect()
}
