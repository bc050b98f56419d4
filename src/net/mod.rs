//! The node's place in the network: its addresses, its filters, the peers it keeps to.
//!
//! Responsible for: binding the swarm addresses, so that what the node says it listens on is true,
//! and the state that `swarm/*` shows. Connections are not spoken on yet: one that comes in is
//! closed, and dialling fails with a clear error. Not for: blocks, pins, records.
//! [`Network`] is a handle; the sockets belong to the [`Service`]. Nothing here is on disk.

mod address;
mod invite;
mod mask;
mod swarm_key;

pub use address::{AddressError, parse_multiaddr, parse_peer, parse_peer_id, split_peer};
pub use invite::{Invite, InviteError, VARIABLE as JOIN_VARIABLE};
pub use libp2p_identity::PeerId;
pub use mask::{Mask, MaskError};
pub use multiaddr::Multiaddr;
pub use swarm_key::{SwarmKey, SwarmKeyError};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multiaddr::Protocol;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

/// What a network is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this node is.
    pub peer_id: PeerId,
    /// `Addresses.Swarm`; what is no plain TCP address is passed over.
    pub listen: Vec<Multiaddr>,
    /// `Swarm.AddrFilters`.
    pub filters: Vec<Mask>,
    /// `Peering.Peers`.
    pub peering: Vec<(PeerId, Vec<Multiaddr>)>,
    /// The key of the private network; `None` only on a node that was asked to be public.
    pub swarm_key: Option<SwarmKey>,
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
    /// There is no transport.
    #[error("this version of pinmesh speaks no libp2p: it cannot dial {0}")]
    NoTransport(PeerId),
}

/// A handle to the network of a node that is online; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    peer_id: PeerId,
    listening: Vec<Multiaddr>,
    /// Held for moments only, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    filters: Vec<Mask>,
    peering: BTreeMap<PeerId, BTreeSet<Multiaddr>>,
}

/// The listening sockets.
#[derive(Debug)]
pub struct Service {
    listeners: Vec<TcpListener>,
}

impl Network {
    /// Binds the swarm addresses.
    ///
    /// # Errors
    /// When one of them cannot be bound.
    pub async fn start(options: Options) -> Result<(Self, Service), Error> {
        let mut listeners = Vec::new();
        let mut listening = Vec::new();
        for address in &options.listen {
            let Some(socket) = tcp_socket(address) else { continue };
            let failed = |source| Error::Listen { address: address.clone(), source };
            let listener = bind(socket).map_err(failed)?;
            listening.push(multiaddr_of(listener.local_addr().map_err(failed)?));
            listeners.push(listener);
        }
        let mut state = State { filters: options.filters, ..State::default() };
        for (peer, addresses) in options.peering {
            state.peering.entry(peer).or_default().extend(addresses);
        }
        let inner = Inner { peer_id: options.peer_id, listening, state: Mutex::new(state) };
        Ok((Self { inner: Arc::new(inner) }, Service { listeners }))
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
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let own: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
        let mut found: Vec<Multiaddr> =
            self.inner.listening.iter().flat_map(|address| expand(address, &own)).collect();
        found.sort_by_key(Multiaddr::to_string);
        found.dedup();
        found
    }

    /// The filters in force.
    #[must_use]
    pub fn filters(&self) -> Vec<Mask> {
        self.state().filters.clone()
    }

    /// Adds a filter; one that is there is there once.
    pub fn add_filter(&self, mask: Mask) {
        let mut state = self.state();
        if !state.filters.contains(&mask) {
            state.filters.push(mask);
        }
    }

    /// Removes a filter, if it is there.
    pub fn remove_filter(&self, mask: Mask) {
        self.state().filters.retain(|other| *other != mask);
    }

    /// Removes all filters.
    pub fn clear_filters(&self) {
        self.state().filters.clear();
    }

    /// The peers that the node keeps to, with their addresses.
    #[must_use]
    pub fn peering(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let state = self.state();
        let peers = state.peering.iter();
        peers.map(|(peer, addresses)| (*peer, addresses.iter().cloned().collect())).collect()
    }

    /// Keeps to a peer from now on, or knows more addresses of it.
    pub fn add_peering(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.state().peering.entry(peer).or_default().extend(addresses);
    }

    /// Keeps to a peer no longer.
    pub fn remove_peering(&self, peer: PeerId) {
        self.state().peering.remove(&peer);
    }

    /// Every peer whose addresses are known, this node among them; ordered by peer id.
    #[must_use]
    pub fn known_addresses(&self) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let mut known: BTreeMap<PeerId, Vec<Multiaddr>> =
            self.peering().into_iter().filter(|(_, addresses)| !addresses.is_empty()).collect();
        known.insert(self.inner.peer_id, self.interface_addresses());
        known
    }

    /// Opens a connection to a peer.
    ///
    /// # Errors
    /// Always: there is no transport yet.
    pub fn connect(&self, peer: PeerId) -> Result<(), Error> {
        Err(Error::NoTransport(peer))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics with the lock held; a poisoned state is a whole one.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Closes each connection that comes in, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let accepting = self.listeners.iter().map(accept);
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = futures_util::future::join_all(accepting) => {}
        }
    }
}

/// How many connections may wait to be accepted, as the runtime's own `bind` has it.
const BACKLOG: u32 = 1024;

/// Listens on an address. An IPv6 one takes no IPv4 connections: the default config has a listener
/// of its own for them, on the same port.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => drop(connection),
            Err(error) => {
                tracing::warn!(%error, "a swarm connection could not be accepted");
                // Out of descriptors, most likely: trying again at once would burn a core.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// The socket of a plain TCP address.
fn tcp_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = ip_of(&parts.next()?)?;
    let Protocol::Tcp(port) = parts.next()? else { return None };
    parts.next().is_none().then_some(SocketAddr::new(ip, port))
}

fn ip_of(part: &Protocol<'_>) -> Option<IpAddr> {
    match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(*ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn multiaddr_of(socket: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(socket.ip().into()).with(Protocol::Tcp(socket.port()))
}

/// One address per interface of the same family, when `address` means all of them.
fn expand(address: &Multiaddr, interfaces: &[IpAddr]) -> Vec<Multiaddr> {
    let Some(socket) = tcp_socket(address).filter(|socket| socket.ip().is_unspecified()) else {
        return vec![address.clone()];
    };
    let same_family = interfaces.iter().filter(|ip| ip.is_ipv4() == socket.is_ipv4());
    same_family
        .filter(|ip| !is_link_local(**ip))
        .map(|ip| multiaddr_of(SocketAddr::new(*ip, socket.port())))
        .collect()
}

/// Addresses that mean nothing without an interface: a peer could not use them.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(listen: &[&str]) -> Options {
        Options {
            peer_id: PeerId::random(),
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            filters: Vec::new(),
            peering: Vec::new(),
            swarm_key: Some(SwarmKey::generate().unwrap()),
        }
    }

    #[tokio::test]
    async fn both_families_listen_on_one_port() {
        let (four, _four) = Network::start(options(&["/ip4/0.0.0.0/tcp/0"])).await.unwrap();
        let six = four.listening()[0].to_string().replace("/ip4/0.0.0.0", "/ip6/::");
        let (six, _six) = Network::start(options(&[&six])).await.unwrap();
        assert_eq!(six.listening().len(), 1);
    }

    #[tokio::test]
    async fn what_is_listened_on_is_bound_and_what_cannot_be_is_passed_over() {
        let asked = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
        let (network, service) = Network::start(options(&asked)).await.unwrap();
        let [address] = network.listening() else { panic!("{:?}", network.listening()) };
        let socket = tcp_socket(address).unwrap();
        assert_ne!(socket.port(), 0);
        let taken = Network::start(options(&[&address.to_string()])).await;
        assert!(matches!(taken, Err(Error::Listen { .. })));

        let shutdown = CancellationToken::new();
        let running = tokio::spawn(service.run(shutdown.clone()));
        let mut connection = tokio::net::TcpStream::connect(socket).await.unwrap();
        let read = tokio::io::AsyncReadExt::read(&mut connection, &mut [0; 1]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "closed, not spoken on");
        shutdown.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn filters_and_peering_are_kept_once_each() {
        let (network, _service) = Network::start(options(&[])).await.unwrap();
        let mask = Mask::parse("/ip4/10.0.0.0/ipcidr/8").unwrap();
        network.add_filter(mask);
        network.add_filter(mask);
        assert_eq!(network.filters(), [mask]);
        network.remove_filter(mask);
        assert!(network.filters().is_empty());

        let peer = PeerId::random();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        network.add_peering(peer, vec![]);
        network.add_peering(peer, vec![address.clone(), address.clone()]);
        assert_eq!(network.peering(), [(peer, vec![address])]);
        network.remove_peering(peer);
        assert!(network.peering().is_empty());
    }
}
