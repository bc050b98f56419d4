//! What the node speaks over its connections: one field for each protocol of libp2p. What is our
//! own goes over [`libp2p_stream`] and is not here.

use std::time::Duration;

use libp2p::connection_limits::ConnectionLimits;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{connection_limits, identify, ping};
use libp2p_identity::Keypair;

/// The protocol version that Kubo tells.
const PROTOCOL_VERSION: &str = "ipfs/0.1.0";

/// How often a peer is asked again who it is.
const IDENTIFY_EVERY: Duration = Duration::from_secs(5 * 60);

/// Connections with one peer: two that dial each other at once make two.
const CONNECTIONS_PER_PEER_MAX: u32 = 8;

/// Connections that are being made, in each direction. One that comes in costs memory before it
/// has shown that it has the key.
const PENDING_MAX: u32 = 256;

/// The protocols. To add one: a field here, made in [`Behaviour::new`]; a file with what it is asked
/// and what becomes of its events; an arm in `service.rs` for each.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) streams: libp2p_stream::Behaviour,
}

impl Behaviour {
    pub(super) fn new(keypair: &Keypair, agent: &str, connections_in_max: u32) -> Self {
        let identify =
            identify::Config::new_with_signed_peer_record(PROTOCOL_VERSION.to_owned(), keypair)
                .with_agent_version(agent.to_owned())
                .with_interval(IDENTIFY_EVERY)
                .with_push_listen_addr_updates(true)
                // Addresses are remembered by the handle, for every protocol.
                .with_cache_size(0);
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_MAX))
            .with_max_pending_outgoing(Some(PENDING_MAX))
            .with_max_established_incoming(Some(connections_in_max))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        Self {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::default(),
            streams: libp2p_stream::Behaviour::new(),
        }
    }
}
