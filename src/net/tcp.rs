//! The TCP transport: listening sockets, accepted and dialled connections.
//!
//! libp2p's own shares its listening ports with every process of the same user (`SO_REUSEPORT`), so
//! that a second daemon on the same port would start and take half of the connections. This one
//! does not, and it asks the [`Gate`] before anything is said on a connection.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{AsyncRead, AsyncWrite, FutureExt as _};
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::tcp::tokio::TcpStream;
use multiaddr::{Multiaddr, Protocol};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Interval, MissedTickBehavior, Sleep};

use super::gate::{Filtered, Gate, Slot};

/// How many connections may wait to be accepted, as the runtime's own `bind` has it.
const BACKLOG: u32 = 1024;

/// How often the interfaces are looked at, where all of them are listened on.
const INTERFACES_EVERY: Duration = Duration::from_secs(30);

/// How long nothing is accepted after the system refused to: out of descriptors, most likely, and
/// trying again at once would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may take to answer the first packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Event = TransportEvent<Ready<io::Result<Socket>>, io::Error>;

/// A connected socket, as long as it is one of those that there may be.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    _slot: Slot,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

/// Listens on an address. An IPv6 one takes no IPv4 connections: the default config has a listener
/// of its own for them, on the same port.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
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

/// The socket of a plain TCP address, whether or not it says who is there.
pub(super) fn tcp_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = ip_of(&parts.next()?)?;
    let Protocol::Tcp(port) = parts.next()? else { return None };
    match (parts.next(), parts.next()) {
        (None | Some(Protocol::P2p(_)), None) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

pub(super) fn multiaddr_of(socket: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(socket.ip().into()).with(Protocol::Tcp(socket.port()))
}

fn ip_of(part: &Protocol<'_>) -> Option<IpAddr> {
    match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(*ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// One address per interface of the same family, when `socket` means all of them.
pub(super) fn expand(socket: SocketAddr) -> Vec<SocketAddr> {
    if !socket.ip().is_unspecified() {
        return vec![socket];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own = interfaces.iter().map(if_addrs::Interface::ip);
    let mut found: Vec<SocketAddr> = own
        .filter(|ip| ip.is_ipv4() == socket.is_ipv4() && !is_link_local(*ip))
        .map(|ip| SocketAddr::new(ip, socket.port()))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Addresses that mean nothing without an interface: a peer could not use them.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The transport; see the module.
pub(super) struct Tcp {
    gate: Arc<Gate>,
    /// Bound, and waiting for [`Transport::listen_on`] to name them.
    bound: Vec<(SocketAddr, TcpListener)>,
    listeners: Vec<Listening>,
    events: VecDeque<Event>,
}

struct Listening {
    id: ListenerId,
    socket: SocketAddr,
    listener: TcpListener,
    shown: Vec<SocketAddr>,
    /// Ticks where all interfaces are listened on.
    interfaces: Option<Interval>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Tcp {
    /// A transport that listens on what is bound already, once it is asked to.
    pub(super) fn new(gate: Arc<Gate>, bound: Vec<(SocketAddr, TcpListener)>) -> Self {
        Self { gate, bound, listeners: Vec::new(), events: VecDeque::new() }
    }
}

impl Transport for Tcp {
    type Output = Socket;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Socket>>;
    type Dial = BoxFuture<'static, io::Result<Socket>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        let Some(socket) = tcp_socket(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let bound = self.bound.iter().position(|(bound, _)| *bound == socket);
        let listener = match bound {
            Some(index) => self.bound.swap_remove(index).1,
            None => bind(socket).map_err(TransportError::Other)?,
        };
        let socket = listener.local_addr().map_err(TransportError::Other)?;
        let interfaces = socket.ip().is_unspecified().then(|| {
            let mut interval = tokio::time::interval(INTERFACES_EVERY);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let mut listening =
            Listening { id, socket, listener, shown: Vec::new(), interfaces, pause: None };
        listening.look_at_interfaces(&mut self.events);
        self.listeners.push(listening);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(index) = self.listeners.iter().position(|listening| listening.id == id) else {
            return false;
        };
        self.listeners.swap_remove(index);
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        true
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let socket = tcp_socket(&address)
            .filter(|socket| socket.port() != 0 && !socket.ip().is_unspecified());
        let Some(socket) = socket else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        if !self.gate.allows(socket.ip()) {
            return Err(TransportError::Other(io::Error::other(Filtered)));
        }
        let slot =
            self.gate.slot().map_err(|full| TransportError::Other(io::Error::other(full)))?;
        Ok(dial(socket, slot).boxed())
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Event> {
        let this = self.get_mut();
        for listening in &mut this.listeners {
            listening.poll_interfaces(context, &mut this.events);
        }
        if let Some(event) = this.events.pop_front() {
            return Poll::Ready(event);
        }
        for listening in &mut this.listeners {
            if let Poll::Ready(event) = listening.poll_accept(context, &this.gate) {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }
}

async fn dial(socket: SocketAddr, slot: Slot) -> io::Result<Socket> {
    let connecting = tokio::net::TcpStream::connect(socket);
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))??;
    connection.set_nodelay(true)?;
    Ok(Socket { stream: TcpStream(connection), _slot: slot })
}

impl Listening {
    fn poll_interfaces(&mut self, context: &mut Context<'_>, events: &mut VecDeque<Event>) {
        let mut is_time = false;
        while let Some(interval) = &mut self.interfaces
            && interval.poll_tick(context).is_ready()
        {
            is_time = true;
        }
        if is_time {
            self.look_at_interfaces(events);
        }
    }

    /// Tells which addresses have come and gone.
    fn look_at_interfaces(&mut self, events: &mut VecDeque<Event>) {
        let now = expand(self.socket);
        let listener_id = self.id;
        for socket in now.iter().filter(|socket| !self.shown.contains(socket)) {
            let listen_addr = multiaddr_of(*socket);
            events.push_back(TransportEvent::NewAddress { listener_id, listen_addr });
        }
        for socket in self.shown.iter().filter(|socket| !now.contains(socket)) {
            let listen_addr = multiaddr_of(*socket);
            events.push_back(TransportEvent::AddressExpired { listener_id, listen_addr });
        }
        self.shown = now;
    }

    fn poll_accept(&mut self, context: &mut Context<'_>, gate: &Arc<Gate>) -> Poll<Event> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match std::task::ready!(self.listener.poll_accept(context)) {
                Ok((connection, remote)) => {
                    if let Some(event) = self.accepted(connection, remote, gate) {
                        return Poll::Ready(event);
                    }
                }
                Err(error) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                    return Poll::Ready(TransportEvent::ListenerError {
                        listener_id: self.id,
                        error,
                    });
                }
            }
        }
    }

    /// The event of a connection; none for one that is filtered, one too many or already gone.
    fn accepted(
        &self,
        connection: tokio::net::TcpStream,
        remote: SocketAddr,
        gate: &Arc<Gate>,
    ) -> Option<Event> {
        if !gate.allows(remote.ip()) {
            tracing::debug!(%remote, "a connection from a filtered address was refused");
            return None;
        }
        let full = |error: &super::gate::Full| tracing::debug!(%remote, %error, "refused");
        let slot = gate.slot().inspect_err(full).ok()?;
        let local = connection.local_addr().ok()?;
        connection.set_nodelay(true).ok()?;
        Some(TransportEvent::Incoming {
            listener_id: self.id,
            upgrade: ready(Ok(Socket { stream: TcpStream(connection), _slot: slot })),
            local_addr: multiaddr_of(local),
            send_back_addr: multiaddr_of(remote),
        })
    }
}
