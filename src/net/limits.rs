//! What the network may use, and what it uses: `swarm resources`.
//!
//! Every number that is told as a limit is enforced: descriptors by the [`super::tcp`] transport,
//! connections by libp2p's connection limits, streams by the [`super::meter`]. Memory has no limit
//! of its own and is not counted; it is bounded by those of connections and streams.

use std::collections::BTreeMap;

use libp2p_identity::PeerId;

use super::{Direction, Network, Peer, lock};

/// What the network may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sockets, those that listen not counted.
    pub descriptors: u32,
    /// Connections that others opened.
    pub connections_in: u32,
}

impl Limits {
    /// How many of the connections that others open may be on their way.
    pub(super) fn pending_in(&self) -> u32 {
        self.connections_in / PENDING_SHARE
    }
}

/// What is on its way may use this part of everything, as in Kubo.
const PENDING_SHARE: u32 = 4;

/// Streams of a protocol, in each direction. One that is not in the list has no limit but that of
/// its connection: what it may cost is the business of its own module.
const PROTOCOLS: [(&str, u32); 7] = [
    ("/ipfs/id/1.0.0", 2048),
    ("/ipfs/id/push/1.0.0", 2048),
    ("/ipfs/ping/1.0.0", 2048),
    ("/libp2p/autonat/1.0.0", 128),
    ("/libp2p/circuit/relay/0.2.0/hop", 128),
    ("/libp2p/circuit/relay/0.2.0/stop", 128),
    ("/libp2p/dcutr", 128),
];

/// Kubo's names for what serves the protocols.
const SERVICES: [(&str, &[&str]); 5] = [
    ("libp2p.autonat", &["/libp2p/autonat/1.0.0"]),
    ("libp2p.holepunch", &["/libp2p/dcutr"]),
    ("libp2p.identify", &["/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"]),
    ("libp2p.ping", &["/ipfs/ping/1.0.0"]),
    ("libp2p.relay/v2", &["/libp2p/circuit/relay/0.2.0/hop", "/libp2p/circuit/relay/0.2.0/stop"]),
];

/// How many streams of a protocol may be open in a direction.
pub(super) fn streams_max(protocol: &str) -> Option<u32> {
    PROTOCOLS.iter().find(|(name, _)| *name == protocol).map(|(_, limit)| *limit)
}

/// How much of something may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// As much as there is.
    #[default]
    Unlimited,
    /// What the scopes around this one leave.
    Default,
    /// Nothing.
    BlockAll,
    /// So much.
    AtMost(u64),
}

/// A limit and what is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// How much may be used.
    pub limit: Limit,
    /// How much is.
    pub used: u64,
}

/// What a part of the network may use, and uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Bytes; not counted.
    pub memory: Use,
    /// Sockets.
    pub descriptors: Use,
    /// Connections: all, those that came in, those that went out.
    pub connections: [Use; 3],
    /// Streams in the same order.
    pub streams: [Use; 3],
}

/// What the network and its parts may use, and use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// Everything.
    pub system: Scope,
    /// What is on its way to become a connection.
    pub transient: Scope,
    /// By what serves the streams.
    pub services: BTreeMap<String, Scope>,
    /// By what the streams speak.
    pub protocols: BTreeMap<String, Scope>,
    /// By who is at the other end, or was dialled lately.
    pub peers: BTreeMap<PeerId, Scope>,
}

/// What came in and what went out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) inbound: u64,
    pub(super) outbound: u64,
}

impl Count {
    fn uses(self, limits: [Limit; 3]) -> [Use; 3] {
        let [all, inbound, outbound] = limits;
        [
            Use { limit: all, used: self.inbound.saturating_add(self.outbound) },
            Use { limit: inbound, used: self.inbound },
            Use { limit: outbound, used: self.outbound },
        ]
    }

    fn add(&mut self, other: Self) {
        self.inbound = self.inbound.saturating_add(other.inbound);
        self.outbound = self.outbound.saturating_add(other.outbound);
    }
}

impl Network {
    /// What the network may use, and uses now.
    #[must_use]
    pub fn resources(&self) -> Resources {
        let limits = self.inner.limits;
        let mut resources = Resources::default();
        let (mut connections, mut streams) = (Count::default(), Count::default());
        for peer in lock(&self.inner.recent_dials).keys() {
            resources.peers.insert(*peer, peer_scope(Count::default(), Count::default()));
        }
        for peer in self.peers() {
            let (of_peer, its_streams) = counted(&peer);
            connections.add(of_peer);
            streams.add(its_streams);
            resources.peers.insert(peer.id, peer_scope(of_peer, its_streams));
        }
        let pending = self.inner.pending();
        let sockets = self.inner.gate.sockets();
        let of = |limit: u32| Limit::AtMost(u64::from(limit));
        let three = |inbound| [Limit::Unlimited, inbound, Limit::Unlimited];
        resources.system = Scope {
            memory: Use::default(),
            descriptors: Use { limit: of(limits.descriptors), used: sockets },
            connections: connections.uses(three(of(limits.connections_in))),
            streams: streams.uses([Limit::Unlimited; 3]),
        };
        let waiting = pending.inbound.saturating_add(pending.outbound);
        resources.transient = Scope {
            memory: Use::default(),
            descriptors: Use { limit: of(limits.descriptors), used: waiting },
            connections: pending.uses(three(of(limits.pending_in()))),
            streams: Count::default().uses([Limit::Unlimited; 3]),
        };
        for (name, limit) in PROTOCOLS {
            let scope = stream_scope(self.inner.meter.streams_of(name), u64::from(limit));
            resources.protocols.insert(name.to_owned(), scope);
        }
        for (name, protocols) in SERVICES {
            let mut count = Count::default();
            protocols.iter().for_each(|name| count.add(self.inner.meter.streams_of(name)));
            let limit = protocols.iter().filter_map(|name| streams_max(name)).map(u64::from).sum();
            resources.services.insert(name.to_owned(), stream_scope(count, limit));
        }
        resources
    }
}

/// The connections and the streams of a peer.
fn counted(peer: &Peer) -> (Count, Count) {
    let (mut connections, mut streams) = (Count::default(), Count::default());
    for connection in &peer.connections {
        match connection.direction {
            Direction::Inbound => connections.inbound += 1,
            Direction::Outbound => connections.outbound += 1,
        }
        let inbound = connection.streams_in.min(connection.streams.len());
        streams.inbound += inbound as u64;
        streams.outbound += (connection.streams.len() - inbound) as u64;
    }
    (connections, streams)
}

fn peer_scope(connections: Count, streams: Count) -> Scope {
    let sockets = connections.inbound.saturating_add(connections.outbound);
    Scope {
        memory: Use { limit: Limit::Default, used: 0 },
        descriptors: Use { limit: Limit::Default, used: sockets },
        connections: connections.uses([Limit::Default; 3]),
        streams: streams.uses([Limit::Default; 3]),
    }
}

/// A scope that has streams and nothing else.
fn stream_scope(streams: Count, limit: u64) -> Scope {
    let none = Use { limit: Limit::BlockAll, used: 0 };
    let each = Limit::AtMost(limit);
    Scope {
        memory: Use::default(),
        descriptors: none,
        connections: [none; 3],
        streams: streams.uses([Limit::AtMost(limit.saturating_mul(2)), each, each]),
    }
}
