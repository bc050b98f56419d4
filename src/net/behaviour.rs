//! What the node speaks over its connections: one field for each protocol of libp2p. What is our
//! own goes over [`libp2p_stream`] and is not here.

use std::time::Duration;

use libp2p::connection_limits::ConnectionLimits;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{autonat, connection_limits, dcutr, identify, mdns, ping, relay};
use libp2p_identity::Keypair;

use super::kad::{self, Kademlia, Table};
use super::limits::Limits;
use super::mounts::{self, Mounts};
use super::relay::{RelayOptions, service};
use super::{bitswap, gossip};

/// The protocol version that Kubo tells.
const PROTOCOL_VERSION: &str = "ipfs/0.1.0";

/// How often a peer is asked again who it is.
const IDENTIFY_EVERY: Duration = Duration::from_secs(5 * 60);

/// Connections with one peer: two that dial each other at once make two.
const CONNECTIONS_PER_PEER_MAX: u32 = 8;

/// Connections that this node is making.
const PENDING_OUT_MAX: u32 = 256;

/// The protocols. To add one: a field here, made in [`Behaviour::new`]; a file with what it is asked
/// and what becomes of its events; an arm in `service.rs` for each.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kademlia_lan: Kademlia,
    pub(super) kademlia_wan: Kademlia,
    pub(super) streams: libp2p_stream::Behaviour,
    /// Behind those of the node itself: theirs is a name that both have.
    pub(super) mounts: mounts::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) gossip: Toggle<gossip::Behaviour>,
    /// Behind the limits: a connection that they refuse is none to it.
    pub(super) bitswap: Toggle<bitswap::Behaviour>,
    /// Answers who asks whether it can be reached, and asks the same of peers at public addresses.
    pub(super) autonat: autonat::v1::Behaviour,
    pub(super) reachability: autonat::v2::client::Behaviour,
    pub(super) dial_back: autonat::v2::server::Behaviour,
    /// Makes connections over relays, and accepts those that come so.
    pub(super) relay: relay::client::Behaviour,
    /// Relays for others.
    pub(super) relay_service: Toggle<relay::Behaviour>,
    /// Makes relayed connections direct ones.
    pub(super) hole_punching: Toggle<dcutr::Behaviour>,
}

/// What the behaviour is made of.
pub(super) struct Parts<'a> {
    pub(super) keypair: &'a Keypair,
    pub(super) agent: &'a str,
    pub(super) limits: Limits,
    pub(super) mdns: bool,
    pub(super) gossip: Option<gossip::Behaviour>,
    pub(super) bitswap: Option<bitswap::Behaviour>,
    /// Belongs to the relay's transport.
    pub(super) relay: relay::client::Behaviour,
    pub(super) mounts: Mounts,
    pub(super) relaying: &'a RelayOptions,
    pub(super) is_private: bool,
}

impl Behaviour {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts { keypair, agent, limits: most, mdns, gossip, bitswap, relay, mounts, .. } =
            parts;
        let (own, relaying) = (keypair.public().to_peer_id(), parts.relaying);
        let identify =
            identify::Config::new_with_signed_peer_record(PROTOCOL_VERSION.to_owned(), keypair)
                .with_agent_version(agent.to_owned())
                .with_interval(IDENTIFY_EVERY)
                .with_push_listen_addr_updates(true)
                // What is told of them are the external addresses, which the service sets.
                .with_hide_listen_addrs(true)
                // Addresses are remembered by the handle, for every protocol.
                .with_cache_size(0);
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(most.pending_in()))
            .with_max_pending_outgoing(Some(PENDING_OUT_MAX))
            .with_max_established_incoming(Some(most.connections_in))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        Self {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::default(),
            kademlia_lan: kad::behaviour(own, Table::Lan),
            kademlia_wan: kad::behaviour(own, Table::Wan),
            streams: libp2p_stream::Behaviour::new(),
            mounts: mounts::Behaviour(mounts),
            autonat: autonat::v1::Behaviour::new(own, reachability(parts.is_private)),
            reachability: autonat::v2::client::Behaviour::default(),
            dial_back: autonat::v2::server::Behaviour::default(),
            relay,
            relay_service: relaying.service.map(|options| service(own, options)).into(),
            hole_punching: relaying.hole_punching.then(|| dcutr::Behaviour::new(own)).into(),
            mdns: Toggle::from(mdns.then(|| local_discovery(keypair)).flatten()),
            gossip: gossip.into(),
            bitswap: bitswap.into(),
        }
    }
}

/// In a private network the members are those who can say whether they reach this node, at whichever
/// addresses; in the public one only public addresses count.
fn reachability(is_private: bool) -> autonat::v1::Config {
    autonat::v1::Config { only_global_ips: !is_private, ..autonat::v1::Config::default() }
}

/// mDNS, as Kubo speaks it; none where the system does not let us.
fn local_discovery(keypair: &Keypair) -> Option<mdns::tokio::Behaviour> {
    let own = keypair.public().to_peer_id();
    let made = mdns::tokio::Behaviour::new(mdns::Config::default(), own);
    made.inspect_err(|error| tracing::error!(%error, "no discovery with mDNS")).ok()
}
