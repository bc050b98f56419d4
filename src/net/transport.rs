//! How a connection is made: TCP, the swarm key's cipher when there is one, Noise, Yamux.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{AsyncRead, AsyncWrite};
use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::pnet::{PnetConfig, PnetError, PreSharedKey};
use libp2p::{dns, noise, relay, yamux};
use libp2p_identity::{Keypair, PeerId};
use tokio::net::TcpListener;

use super::gate::Gate;
use super::meter::Meter;
use super::opening::{Expect, Mismatch, Opening};
use super::tcp::{Socket, Tcp};

/// How long keys and multiplexer may take to be agreed on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams that may be open on a connection. Each may hold 256 KiB that nobody reads: with this,
/// 64 MiB for a peer that does its worst.
const STREAMS_PER_CONNECTION_MAX: usize = 256;

/// What the transport is made of.
pub(super) struct Parts {
    /// The node's key pair.
    pub(super) keypair: Keypair,
    /// The key of the private network; without one the network is public.
    pub(super) swarm_key: Option<[u8; 32]>,
    /// Asked before each connection.
    pub(super) gate: Arc<Gate>,
    /// Counts what goes over the streams.
    pub(super) meter: Meter,
    /// Connections that peers relay. They are wrapped in the swarm key's cipher as others are: the
    /// relay cannot read them, and who lacks the key cannot come in by one.
    pub(super) relay: relay::client::Transport,
    /// The sockets that will be listened on.
    pub(super) bound: Vec<(SocketAddr, TcpListener)>,
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Builds the transport.
///
/// # Errors
/// When the key pair cannot sign.
pub(super) fn build(parts: Parts) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let Parts { keypair, swarm_key, gate, meter, relay, bound } = parts;
    let noise = noise::Config::new(&keypair).map_err(io::Error::other)?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_PER_CONNECTION_MAX);
    let key = swarm_key.map(PreSharedKey::new);
    let relay = relay.map(|socket, _| -> Box<dyn Bytes> { Box::new(socket) });
    let sockets = sockets(Tcp::new(gate, bound))?;
    let sockets = sockets.map(|socket, _| -> Box<dyn Bytes> { Box::new(socket) });
    let transport = relay
        .or_transport(sockets)
        .map(|socket, _| socket.into_inner())
        .and_then(move |socket, _| protect(socket, key))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .map(move |(peer, muxer), endpoint| {
            let muxer = meter.measure(peer, endpoint.get_remote_address(), muxer);
            (peer, StreamMuxerBox::new(muxer))
        });
    Ok(Transport::boxed(transport))
}

/// Plain connections; names are resolved when the system says how.
fn sockets(tcp: Tcp) -> io::Result<Boxed<Socket>> {
    if let Err(error) = dns::tokio::Transport::system(()) {
        tracing::warn!(%error, "names in addresses of peers cannot be resolved");
        return Ok(tcp.boxed());
    }
    Ok(dns::tokio::Transport::system(tcp)?.boxed())
}

/// Wraps a connection in the cipher of the swarm key, and checks that the other side did so too.
async fn protect(socket: Box<dyn Bytes>, key: Option<PreSharedKey>) -> io::Result<Box<dyn Bytes>> {
    let Some(key) = key else {
        return Ok(Box::new(Opening::new(socket, Expect::Plain)));
    };
    let socket = Opening::new(socket, Expect::Nonce);
    let socket = PnetConfig::new(key).handshake(socket).await.map_err(|error| {
        let (PnetError::HandshakeError(error) | PnetError::IoError(error)) = error;
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return io::Error::new(error.kind(), Mismatch::Closed);
        }
        error
    })?;
    Ok(Box::new(Opening::new(socket, Expect::Decrypted)))
}
