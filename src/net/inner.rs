//! The state of a network, which the service writes and the handle reads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use libp2p_identity::PeerId;
use libp2p_stream::Control;
use multiaddr::Multiaddr;
use tokio::sync::{Notify, broadcast};

use super::gate::Gate;
use super::limits::{self, Limits};
use super::meter::Meter;
use super::mounts::Mounts;
use super::peers::{PeerEvent, Peers};
use super::relay::{Reachability, RelayOptions};
use super::tcp::{expand, multiaddr_of, tcp_socket};
use super::{Announce, Options, Table, lock};

/// Events that a consumer may be behind before it misses some.
const EVENTS_MAX: usize = 1024;

/// How long a peer that was dialled has a place in the accounts, and how many have.
const RECENT: Duration = Duration::from_secs(60);
const RECENT_MAX: usize = 1024;

/// See the module.
pub(super) struct Inner {
    pub(super) peer_id: PeerId,
    pub(super) listening: Vec<Multiaddr>,
    pub(super) gate: Arc<Gate>,
    pub(super) meter: Meter,
    pub(super) events: broadcast::Sender<PeerEvent>,
    pub(super) streams: Control,
    pub(super) mounts: Mounts,
    pub(super) is_private: bool,
    pub(super) has_gossip: bool,
    pub(super) limits: Limits,
    /// Connections that are being made.
    pub(super) pending_in: AtomicU32,
    pub(super) pending_out: AtomicU32,
    /// Held for moments only, never across an await.
    pub(super) recent_dials: Mutex<HashMap<PeerId, Instant>>,
    pub(super) announce: Announce,
    pub(super) relay: RelayOptions,
    /// Held for moments only, never across an await.
    pub(super) reachability: Mutex<Reachability>,
    /// The addresses at relays. Held for moments only, never across an await.
    pub(super) relayed: Mutex<Vec<Multiaddr>>,
    /// Told when other peers are to be connected.
    pub(super) wanted: Notify,
    /// Held for moments only, never across an await.
    pub(super) bootstrap: Mutex<BTreeMap<PeerId, BTreeSet<Multiaddr>>>,
    /// Held for moments only, never across an await.
    pub(super) peering: Mutex<BTreeMap<PeerId, BTreeSet<Multiaddr>>>,
    /// Held for moments only, never across an await.
    pub(super) peers: Mutex<Peers>,
    /// The peers that lookups begin with. Held for moments only, never across an await.
    pub(super) tables: Mutex<HashSet<(Table, PeerId)>>,
}

/// What of a network is made before its state.
pub(super) struct Own {
    pub(super) peer_id: PeerId,
    pub(super) listening: Vec<Multiaddr>,
    pub(super) gate: Arc<Gate>,
    pub(super) meter: Meter,
    pub(super) streams: Control,
    pub(super) mounts: Mounts,
}

impl Inner {
    /// The state of a network that is about to start.
    pub(super) fn new(options: Options, own: Own) -> Self {
        let peering =
            options.peering.into_iter().map(|(peer, found)| (peer, found.into_iter().collect()));
        Self {
            peer_id: own.peer_id,
            listening: own.listening,
            gate: own.gate,
            meter: own.meter,
            events: broadcast::channel(EVENTS_MAX).0,
            streams: own.streams,
            mounts: own.mounts,
            is_private: options.swarm_key.is_some(),
            has_gossip: options.gossip.is_some(),
            limits: options.limits,
            pending_in: AtomicU32::new(0),
            pending_out: AtomicU32::new(0),
            recent_dials: Mutex::default(),
            announce: options.announce,
            reachability: Mutex::new(options.relay.reachability.unwrap_or_default()),
            relayed: Mutex::default(),
            relay: options.relay,
            wanted: Notify::new(),
            bootstrap: Mutex::default(),
            peering: Mutex::new(peering.collect()),
            peers: Mutex::default(),
            tables: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("peer_id", &self.peer_id).finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn peers(&self) -> MutexGuard<'_, Peers> {
        lock(&self.peers)
    }

    pub(super) fn peering(&self) -> MutexGuard<'_, BTreeMap<PeerId, BTreeSet<Multiaddr>>> {
        lock(&self.peering)
    }

    /// A peer is dialled, at addresses that somebody gave.
    pub(super) fn dialled(&self, peer: PeerId, addresses: &[Multiaddr]) {
        let now = Instant::now();
        let mut recent = lock(&self.recent_dials);
        recent.retain(|_, at| now.duration_since(*at) < RECENT);
        if recent.len() < RECENT_MAX {
            recent.insert(peer, now);
        }
        drop(recent);
        if peer != self.peer_id {
            self.peers().learn(peer, addresses.to_vec());
        }
    }

    pub(super) fn interface_addresses(&self) -> Vec<Multiaddr> {
        let sockets = self.listening.iter().filter_map(tcp_socket);
        let mut found: Vec<Multiaddr> = sockets.flat_map(expand).map(multiaddr_of).collect();
        found.sort_by_key(Multiaddr::to_string);
        found.dedup();
        found
    }

    pub(super) fn announced(&self) -> Vec<Multiaddr> {
        let mut own = self.interface_addresses();
        own.extend(lock(&self.relayed).iter().cloned());
        self.announce.announced(own)
    }

    /// What others are told of where a peer is, or this node.
    pub(super) fn told_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        if *peer == self.peer_id { self.announced() } else { self.peers().addresses(peer) }
    }

    /// The connections that are being made.
    pub(super) fn pending(&self) -> limits::Count {
        limits::Count {
            inbound: u64::from(self.pending_in.load(Ordering::Relaxed)),
            outbound: u64::from(self.pending_out.load(Ordering::Relaxed)),
        }
    }

    /// The addresses to try for a peer: those given, then those that are known.
    pub(super) fn dialable(&self, peer: &PeerId, mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let peering = self.peering().get(peer).cloned().unwrap_or_default();
        let bootstrap = lock(&self.bootstrap).get(peer).cloned().unwrap_or_default();
        let relays = self.relays_wanted().iter().filter(|(relay, _)| relay == peer);
        let relays = relays.flat_map(|(_, addresses)| addresses.iter().cloned());
        let known = self.peers().addresses(peer);
        for address in known.into_iter().chain(peering).chain(bootstrap).chain(relays) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}
