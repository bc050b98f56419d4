//! The libp2p network: connections with the other members, and what is known of them.
//!
//! Responsible for: the swarm addresses, the swarm key's cipher, dialling and being dialled, filters
//! and limits, who is connected and what they say of themselves, how many bytes went where, and
//! streams for the protocols of the layers above. Not for: blocks, pins, records; it carries bytes
//! that it does not decode.
//!
//! One task, the [`Service`], owns libp2p's swarm. [`Network`] is a handle: what it tells is read from
//! state that the service writes, and what it asks for goes over a bounded channel. Nothing here is
//! on disk.

mod address;
mod announce;
mod behaviour;
pub mod bitswap;
mod channel;
mod complaints;
mod dial;
mod gate;
mod gossip;
mod inner;
mod introduction;
mod invite;
mod kad;
mod keeper;
mod limits;
mod mask;
mod members;
mod meter;
mod mounts;
mod opening;
mod peers;
mod ping;
mod relay;
mod service;
mod swarm_key;
mod tcp;
mod transport;

pub use address::{
    AddressError, parse_multiaddr, parse_peer, parse_peer_id, split_peer, with_port,
};
pub use announce::Announce;
pub use channel::Channels;
pub use dial::DialFailure;
pub use gossip::{GossipError, GossipOptions, Message, Subscription};
pub use invite::{Invite, InviteError, VARIABLE as JOIN_VARIABLE};
pub use kad::{Approach, Provided, Search, Step, Table};
pub use keeper::{Keeper, Watermarks};
pub use libp2p::{Stream, StreamProtocol};
pub use libp2p_identity::{Keypair, PeerId};
pub use libp2p_stream::Control;
pub use limits::{Limit, Limits, Resources, Scope, Use};
pub use mask::{Mask, MaskError};
pub use meter::Bandwidth;
pub use mounts::Mounted;
pub use multiaddr::Multiaddr;
pub use peers::{Connection, Direction, Identified, Peer, PeerEvent};
pub use ping::Pinger;
pub use relay::{Reachability, RelayOptions, RelayService};
pub use service::Service;
pub use swarm_key::{SwarmKey, SwarmKeyError};
pub use tcp::bind;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::swarm::Swarm;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, oneshot};

use behaviour::Behaviour;
use dial::Dials;
use gate::Gate;
use inner::{Inner, Own};
use meter::Meter;
use mounts::Mounts;
use service::Command;
use tcp::{multiaddr_of, tcp_socket};

/// What the names of the protocols and topics begin with that only this program speaks.
pub const OWN_PROTOCOLS: &str = "/pinmesh/";

/// Commands that may wait for the service.
const COMMANDS_MAX: usize = 256;

/// How long a connection without streams is kept: for ever, as far as libp2p is asked. Members of a
/// network stay connected; who has too many connections closes some.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long [`Network::disconnect`] waits for a peer to take the last bytes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long [`Network::connect_identified`] waits for a peer to say who it is.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a network is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this node is.
    pub keypair: Keypair,
    /// The key of the private network; `None` only on a node that was asked to be public.
    pub swarm_key: Option<SwarmKey>,
    /// What the node calls itself.
    pub agent: String,
    /// `Addresses.Swarm`; what is no plain TCP address is passed over, with one warning.
    pub listen: Vec<Multiaddr>,
    /// `Swarm.AddrFilters`.
    pub filters: Vec<Mask>,
    /// `Peering.Peers`.
    pub peering: Vec<(PeerId, Vec<Multiaddr>)>,
    /// What others are told of where this node is.
    pub announce: Announce,
    /// Whether peers on the local network are looked for with mDNS.
    pub mdns: bool,
    /// How publish and subscribe is set up, if it is.
    pub gossip: Option<GossipOptions>,
    /// What the network may use.
    pub limits: Limits,
    /// How relays are used.
    pub relay: RelayOptions,
}

/// Why the network cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address is taken, or not ours.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address of the config.
        address: Multiaddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The key pair, or the system, is of no use for connections.
    #[error("the network cannot be set up: {0}")]
    Transport(#[source] std::io::Error),
    /// Publish and subscribe cannot be set up.
    #[error("publish and subscribe cannot be set up: {0}")]
    Gossip(String),
}

/// A handle to the network of a node that is online; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Inner>,
    commands: mpsc::Sender<Command>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics with a lock held; what is in a poisoned one is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// Binds the swarm addresses. With `bitswap` its streams are part of the connections.
    ///
    /// # Errors
    /// When one of them cannot be bound, or the key pair is of no use.
    pub async fn start(
        mut options: Options,
        bitswap: Option<bitswap::Behaviour>,
    ) -> Result<(Self, Service), Error> {
        let bound = bind_all(&options.listen)?;
        let listening: Vec<Multiaddr> =
            bound.iter().map(|(socket, _)| multiaddr_of(*socket)).collect();
        let peer_id = options.keypair.public().to_peer_id();
        let filters = std::mem::take(&mut options.filters);
        let (gate, meter) =
            (Arc::new(Gate::new(filters, options.limits.descriptors)), Meter::default());
        let (relay_transport, relay) = libp2p::relay::client::new(peer_id);
        let transport = transport::build(transport::Parts {
            keypair: options.keypair.clone(),
            swarm_key: options.swarm_key.as_ref().map(SwarmKey::psk),
            gate: Arc::clone(&gate),
            meter: meter.clone(),
            relay: relay_transport,
            bound,
        })
        .map_err(Error::Transport)?;
        let set_up = |gossip| gossip::set_up(&options.keypair, gossip).map_err(Error::Gossip);
        let (gossip_behaviour, gossip) = options.gossip.as_ref().map(set_up).transpose()?.unzip();
        let is_private = options.swarm_key.is_some();
        let mounts = Mounts::default();
        let behaviour = Behaviour::new(behaviour::Parts {
            keypair: &options.keypair,
            agent: &options.agent,
            limits: options.limits,
            mdns: options.mdns,
            gossip: gossip_behaviour,
            bitswap,
            relay,
            mounts: mounts.clone(),
            relaying: &options.relay,
            is_private,
        });
        let reservations = relay::Reservations::new(&options.relay);
        let streams = behaviour.streams.new_control();
        let mut swarm = Swarm::new(transport, behaviour, peer_id, swarm_config());
        listening.iter().try_for_each(|address| listen(&mut swarm, address))?;
        let own = Own { peer_id, listening, gate, meter, streams, mounts };
        let inner = Arc::new(Inner::new(options, own));
        for table in Table::ALL {
            table.of(swarm.behaviour_mut()).knows(table, Arc::clone(&inner));
        }
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let service = Service {
            swarm,
            commands: receiver,
            inner: Arc::clone(&inner),
            dials: Dials::default(),
            lookups: kad::Lookups::default(),
            closing: Vec::new(),
            complaints: complaints::Complaints::default(),
            reservations,
            gossip,
        };
        Ok((Self { inner, commands }, service))
    }

    /// Whether publish and subscribe is set up.
    #[must_use]
    pub fn has_gossip(&self) -> bool {
        self.inner.has_gossip
    }

    /// Who this node is.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer_id
    }

    /// The addresses that are bound, as they were asked for, with their ports.
    #[must_use]
    pub fn listening(&self) -> &[Multiaddr] {
        &self.inner.listening
    }

    /// The same with one address per interface where all were asked for; sorted by text.
    #[must_use]
    pub fn interface_addresses(&self) -> Vec<Multiaddr> {
        self.inner.interface_addresses()
    }

    /// The addresses that others are told, those at relays among them; sorted by text.
    #[must_use]
    pub fn announced(&self) -> Vec<Multiaddr> {
        self.inner.announced()
    }

    /// The filters in force.
    #[must_use]
    pub fn filters(&self) -> Vec<Mask> {
        self.inner.gate.filters()
    }

    /// Adds a filter; one that is there is there once. Connections that are open stay.
    pub fn add_filter(&self, mask: Mask) {
        self.inner.gate.add(mask);
    }

    /// Removes a filter, if it is there.
    pub fn remove_filter(&self, mask: Mask) {
        self.inner.gate.retain(|other| *other != mask);
    }

    /// Removes all filters.
    pub fn clear_filters(&self) {
        self.inner.gate.retain(|_| false);
    }

    /// The peers that the node keeps to, with their addresses.
    #[must_use]
    pub fn peering(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let peering = self.inner.peering();
        let peers = peering.iter();
        peers.map(|(peer, addresses)| (*peer, addresses.iter().cloned().collect())).collect()
    }

    /// Keeps to a peer from now on, or knows more addresses of it.
    pub fn add_peering(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.inner.peering().entry(peer).or_default().extend(addresses);
        self.inner.wanted.notify_one();
    }

    /// Keeps to a peer no longer.
    pub fn remove_peering(&self, peer: PeerId) {
        self.inner.peering().remove(&peer);
    }

    /// Every peer whose addresses are known, this node among them; ordered by peer id.
    #[must_use]
    pub fn known_addresses(&self) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let mut known: BTreeMap<PeerId, Vec<Multiaddr>> =
            self.peering().into_iter().filter(|(_, addresses)| !addresses.is_empty()).collect();
        let named = lock(&self.inner.bootstrap).clone().into_iter();
        let named = named.map(|(peer, addresses)| (peer, addresses.into_iter().collect()));
        let peers = self.inner.peers();
        let heard = peers.known().map(|(peer, addresses)| (*peer, addresses));
        for (peer, addresses) in named.chain(heard) {
            let all: &mut Vec<Multiaddr> = known.entry(peer).or_default();
            all.extend(addresses);
            all.sort_by_key(Multiaddr::to_string);
            all.dedup();
        }
        drop(peers);
        known.insert(self.inner.peer_id, self.interface_addresses());
        known
    }

    /// Where a peer may be, as far as it is known.
    #[must_use]
    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.inner.dialable(peer, Vec::new())
    }

    /// Remembers addresses at which a peer may be; they are tried when it is dialled.
    pub fn add_addresses(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.inner.peers().learn(peer, addresses);
    }

    /// Everybody who is connected, by peer id.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.inner.peers().all()
    }

    /// A peer that is connected.
    #[must_use]
    pub fn peer(&self, peer: &PeerId) -> Option<Peer> {
        self.inner.peers().get(peer)
    }

    /// Whether a peer is connected.
    #[must_use]
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.inner.peers().is_connected(peer)
    }

    /// What happens to peers from now on. Who lags is told so and reads [`Self::peers`] again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.inner.events.subscribe()
    }

    /// Opens streams to connected peers, and accepts those of a protocol. Opening one to a peer that
    /// is not connected dials it without knowing where it is: ask [`Self::connect`] first.
    #[must_use]
    pub fn streams(&self) -> Control {
        self.inner.streams.clone()
    }

    /// Accepts streams of `protocol` until it is unmounted; `None` when it is mounted already. A
    /// protocol that the node itself speaks stays with the node.
    #[must_use]
    pub fn mount(&self, protocol: StreamProtocol) -> Option<Mounted> {
        self.inner.mounts.mount(protocol)
    }

    /// Accepts streams of `protocol` no longer; those that are open go on.
    pub fn unmount(&self, protocol: &str) {
        self.inner.mounts.unmount(protocol);
    }

    /// Opens a stream to a peer that is connected.
    ///
    /// # Errors
    /// When the peer is not connected or does not speak the protocol.
    pub async fn open_stream(
        &self,
        peer: PeerId,
        protocol: StreamProtocol,
    ) -> std::io::Result<Stream> {
        if !self.is_connected(&peer) {
            let text = "not connected";
            return Err(std::io::Error::new(std::io::ErrorKind::NotConnected, text));
        }
        self.streams().open_stream(peer, protocol).await.map_err(std::io::Error::other)
    }

    /// Connects to a peer, at the addresses given and those that are known. At once when it is
    /// connected.
    ///
    /// # Errors
    /// When no address leads to the peer.
    pub async fn connect(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<(), DialFailure> {
        if self.is_connected(&peer) {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Connect { peer, addresses, reply };
        self.commands.send(command).await.map_err(|_| DialFailure::Stopped)?;
        answer.await.map_err(|_| DialFailure::Stopped)?
    }

    /// Connects to a peer and waits a moment for it to say who it is.
    ///
    /// # Errors
    /// When no address leads to the peer.
    pub async fn connect_identified(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<(), DialFailure> {
        let mut events = self.events();
        self.connect(peer, addresses).await?;
        let identified = async {
            while self.peer(&peer).is_some_and(|peer| peer.identified.is_none()) {
                match events.recv().await {
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
        };
        // A peer that does not say who it is is connected nevertheless.
        let _ = tokio::time::timeout(IDENTIFY_TIMEOUT, identified).await;
        Ok(())
    }

    /// Closes the connections with a peer, or those at an address; whether there was one.
    pub async fn disconnect(&self, peer: PeerId, address: Option<&Multiaddr>) -> bool {
        let connections = self.inner.peers().connections(&peer, address);
        if connections.is_empty() {
            return false;
        }
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Disconnect { connections, reply }).await.is_err() {
            return false;
        }
        // A peer that does not take the last bytes is let go by itself.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
        true
    }

    /// Bytes over all streams.
    #[must_use]
    pub fn bandwidth(&self) -> Bandwidth {
        self.inner.meter.total()
    }

    /// Bytes over the streams with a peer; kept for a while after it has gone.
    #[must_use]
    pub fn bandwidth_of_peer(&self, peer: &PeerId) -> Bandwidth {
        self.inner.meter.of_peer(peer)
    }

    /// Bytes over the streams of a protocol.
    #[must_use]
    pub fn bandwidth_of_protocol(&self, name: &str) -> Bandwidth {
        self.inner.meter.of_protocol(name)
    }
}

fn swarm_config() -> libp2p::swarm::Config {
    libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT)
}

/// Listens on an address that is bound.
fn listen(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<(), Error> {
    let listening = swarm.listen_on(address.clone());
    listening.map(drop).map_err(|error| Error::Listen {
        address: address.clone(),
        source: std::io::Error::other(error),
    })
}

/// Binds the plain TCP addresses; tells of the others.
fn bind_all(addresses: &[Multiaddr]) -> Result<Vec<(SocketAddr, TcpListener)>, Error> {
    let mut bound = Vec::new();
    let mut passed_over = Vec::new();
    for address in addresses {
        let Some(socket) = tcp_socket(address) else {
            passed_over.push(address.to_string());
            continue;
        };
        let failed = |source| Error::Listen { address: address.clone(), source };
        let listener = bind(socket).map_err(failed)?;
        bound.push((listener.local_addr().map_err(failed)?, listener));
    }
    if !passed_over.is_empty() {
        let addresses = passed_over.join(", ");
        tracing::warn!(%addresses, "not listened on: the network speaks TCP only");
    }
    Ok(bound)
}

#[cfg(test)]
mod tests;
