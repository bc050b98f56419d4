//! Connections over relays: being reached by one, and being one.
//!
//! A node that others cannot dial reserves a place with peers that relay, and tells others of the
//! addresses there; one that can be dialled relays for others. A relayed connection is wrapped in
//! the swarm key's cipher end to end, as go-libp2p does it: a relay without the key reads nothing.
//! The two ends of one try to connect directly (`dcutr`).
//!
//! Owns the reservations. Not for: what goes over a relayed connection.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::swarm::Swarm;
use libp2p::{autonat, relay};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use super::behaviour::Behaviour;
use super::{Direction, Inner, Network, Peer, lock};

/// What a relay speaks with those that reserve a place.
const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";

/// Relays at which a place is wanted, when the config names none: as in go-libp2p.
const RELAYS_WANTED: usize = 2;

/// How long a relay that gave no place, or took it back, is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether others can dial this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reachability {
    /// Nobody has said so yet.
    #[default]
    Unknown,
    /// They can.
    Public,
    /// They cannot.
    Private,
}

/// `Swarm.RelayService`: what is given to others.
#[derive(Debug, Clone, Copy)]
pub struct RelayService {
    /// Peers that have a place at once.
    pub reservations: usize,
    /// How long one is kept without being renewed.
    pub reservation_ttl: Duration,
    /// Connections of one peer that are relayed at once.
    pub circuits: usize,
    /// How long one is relayed.
    pub circuit_time: Duration,
    /// Bytes that are relayed in each direction.
    pub circuit_bytes: u64,
}

/// How relays are used.
#[derive(Debug, Clone, Default)]
pub struct RelayOptions {
    /// `None`: this node relays for nobody.
    pub service: Option<RelayService>,
    /// Whether a place at relays is wanted while others cannot dial this node.
    pub is_client: bool,
    /// The relays for it; any peer that relays when there are none.
    pub relays: Vec<(PeerId, Vec<Multiaddr>)>,
    /// Whether the ends of a relayed connection try to connect directly.
    pub hole_punching: bool,
    /// Whether others can dial this node, when the config says so; otherwise peers find out.
    pub reachability: Option<Reachability>,
}

/// What relays for others.
pub(super) fn service(own: PeerId, options: RelayService) -> relay::Behaviour {
    let config = relay::Config {
        max_reservations: options.reservations,
        reservation_duration: options.reservation_ttl,
        // The whole is bounded by what each of those may have that hold a reservation.
        max_circuits: options.reservations.saturating_mul(options.circuits),
        max_circuits_per_peer: options.circuits,
        max_circuit_duration: options.circuit_time,
        max_circuit_bytes: options.circuit_bytes,
        // As go-libp2p: the numbers above, and no rates.
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    };
    relay::Behaviour::new(own, config)
}

/// Whether an address leads over a relay.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The places at relays.
#[derive(Debug)]
pub(super) struct Reservations {
    is_client: bool,
    relays: Vec<PeerId>,
    open: HashMap<ListenerId, PeerId>,
    /// Relays that are left alone. Bounded by those that are connected.
    failed: HashMap<PeerId, Instant>,
}

impl Reservations {
    pub(super) fn new(options: &RelayOptions) -> Self {
        Self {
            is_client: options.is_client,
            relays: options.relays.iter().map(|(peer, _)| *peer).collect(),
            open: HashMap::new(),
            failed: HashMap::new(),
        }
    }

    /// Reserves what is missing, and gives up what is not needed any more.
    pub(super) fn tend(&mut self, swarm: &mut Swarm<Behaviour>, inner: &Inner) {
        let reachability = inner.found(swarm.behaviour().autonat.nat_status());
        if !self.is_client || reachability == Reachability::Unknown {
            return;
        }
        if reachability == Reachability::Public {
            // Each is told of as a listener that has closed.
            for id in self.open.keys() {
                swarm.remove_listener(*id);
            }
            return;
        }
        self.failed.retain(|_, at| at.elapsed() < RETRY_AFTER);
        let wanted = if self.relays.is_empty() { RELAYS_WANTED } else { self.relays.len() };
        let missing = wanted.saturating_sub(self.open.len());
        if missing == 0 {
            return;
        }
        let peers = inner.peers().all();
        let candidates = peers.iter().filter(|peer| self.is_candidate(&peer.id));
        let places: Vec<_> = candidates.filter_map(place).take(missing).collect();
        for (relay, address) in places {
            match swarm.listen_on(address.clone()) {
                Ok(id) => drop(self.open.insert(id, relay)),
                Err(error) => {
                    tracing::debug!(%address, %error, "no place at a relay");
                    self.failed.insert(relay, Instant::now());
                }
            }
        }
    }

    fn is_candidate(&self, peer: &PeerId) -> bool {
        let is_named = self.relays.is_empty() || self.relays.contains(peer);
        let is_used = self.open.values().any(|relay| relay == peer);
        is_named && !is_used && !self.failed.contains_key(peer)
    }

    /// A listener has closed; whether it was a place at a relay.
    pub(super) fn closed(&mut self, id: ListenerId) -> bool {
        let Some(relay) = self.open.remove(&id) else { return false };
        self.failed.insert(relay, Instant::now());
        true
    }
}

/// Where a place can be had with a peer, when it relays and is connected directly.
fn place(peer: &Peer) -> Option<(PeerId, Multiaddr)> {
    let said = peer.identified.as_ref()?;
    if !said.protocols.iter().any(|name| name == HOP) {
        return None;
    }
    let direct = || peer.connections.iter().filter(|open| !is_relayed(&open.address));
    direct().next()?;
    let dialled = direct().find(|open| open.direction == Direction::Outbound);
    let address = match dialled {
        Some(open) => open.address.clone(),
        None => said.addresses.iter().find(|address| !is_relayed(address))?.clone(),
    };
    Some((peer.id, address.with(Protocol::P2p(peer.id)).with(Protocol::P2pCircuit)))
}

impl Inner {
    /// Whether others can dial this node: as the config says, or else as peers have found.
    fn found(&self, status: autonat::v1::NatStatus) -> Reachability {
        let found = self.relay.reachability.unwrap_or(match status {
            autonat::v1::NatStatus::Public(_) => Reachability::Public,
            autonat::v1::NatStatus::Private => Reachability::Private,
            autonat::v1::NatStatus::Unknown => Reachability::Unknown,
        });
        let before = std::mem::replace(&mut *lock(&self.reachability), found);
        if before != found {
            // Relays are dialled from now on, or no longer.
            self.wanted.notify_one();
        }
        found
    }

    /// The relays that the config names, while they are needed.
    pub(super) fn relays_wanted(&self) -> &[(PeerId, Vec<Multiaddr>)] {
        let is_needed = self.relay.is_client && *lock(&self.reachability) == Reachability::Private;
        if is_needed { &self.relay.relays } else { &[] }
    }
}

impl Network {
    /// Whether others can dial this node, as far as is known.
    #[must_use]
    pub fn reachability(&self) -> Reachability {
        *lock(&self.inner.reachability)
    }
}

#[cfg(test)]
mod tests;
