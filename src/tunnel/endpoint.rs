//! The end of a tunnel that is no stream of libp2p: a port of TCP or UDP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};

use super::Error;
use crate::net::Multiaddr;
use multiaddr::Protocol;

/// A port of a host.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// As it was given.
    pub address: Multiaddr,
    /// The port.
    pub port: u16,
    host: Host,
    is_udp: bool,
}

#[derive(Debug, Clone)]
enum Host {
    Ip(IpAddr),
    /// A name, and which of its addresses are wanted.
    Name(String, fn(&SocketAddr) -> bool),
}

/// A connection to an endpoint.
pub(super) enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Endpoint {
    /// What a multiaddr names.
    ///
    /// # Errors
    /// When it is not a host and a port of TCP or UDP.
    pub fn new(address: Multiaddr) -> Result<Self, Error> {
        let port = |part| matches!(part, Protocol::Tcp(_) | Protocol::Udp(_));
        if !address.iter().any(port) {
            return Err(Error::NoPort);
        }
        let mut parts = address.iter();
        let host = match parts.next() {
            Some(Protocol::Ip4(ip)) => Host::Ip(ip.into()),
            Some(Protocol::Ip6(ip)) => Host::Ip(ip.into()),
            Some(Protocol::Dns(name)) => Host::Name(name.into_owned(), |_| true),
            Some(Protocol::Dns4(name)) => Host::Name(name.into_owned(), SocketAddr::is_ipv4),
            Some(Protocol::Dns6(name)) => Host::Name(name.into_owned(), SocketAddr::is_ipv6),
            _ => return Err(Error::NoEndpoint(address)),
        };
        match (parts.next(), parts.next()) {
            (Some(Protocol::Tcp(port)), None) => {
                Ok(Self { host, port, is_udp: false, address: address.clone() })
            }
            (Some(Protocol::Udp(port)), None) => {
                Ok(Self { host, port, is_udp: true, address: address.clone() })
            }
            _ => Err(Error::NoEndpoint(address.clone())),
        }
    }

    /// Opens a connection.
    pub(super) async fn dial(&self) -> io::Result<Connection> {
        let found = self.lookup().await?;
        if !self.is_udp {
            let stream = TcpStream::connect(found.as_slice()).await?;
            stream.set_nodelay(true)?;
            return Ok(Connection::Tcp(stream));
        }
        let is_ipv6 = found.first().is_some_and(SocketAddr::is_ipv6);
        let any = if is_ipv6 { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(found.as_slice()).await?;
        Ok(Connection::Udp(socket))
    }

    /// Takes connections. Also the address with the port that it has got, when it asked for any.
    pub(super) async fn listen(&self) -> Result<(TcpListener, Multiaddr), Error> {
        if self.is_udp {
            return Err(Error::Datagrams(self.address.clone()));
        }
        let failed = |source| Error::Listen { address: self.address.clone(), source };
        let found = self.lookup().await.map_err(failed)?;
        let listener = TcpListener::bind(found.as_slice()).await.map_err(failed)?;
        let address = address_of(listener.local_addr().map_err(failed)?);
        Ok((listener, address))
    }

    async fn lookup(&self) -> io::Result<Vec<SocketAddr>> {
        let (name, wanted) = match &self.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name, wanted) => (name, wanted),
        };
        let found: Vec<_> = lookup_host((name.as_str(), self.port)).await?.filter(wanted).collect();
        if found.is_empty() {
            let text = format!("{name} has no address of that kind");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(found)
    }
}

/// The multiaddr of a TCP socket.
pub(super) fn address_of(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}
