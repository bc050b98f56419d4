//! Pings that somebody asked for. Those that only keep the latency known are libp2p's own.

use std::io;
use std::time::{Duration, Instant};

use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{Stream, StreamProtocol};
use libp2p_identity::PeerId;

use super::Network;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

/// Bytes that go there and back.
const PING_BYTES: usize = 32;

/// How long a peer may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream over which a peer answers pings.
#[derive(Debug)]
pub struct Pinger {
    network: Network,
    peer: PeerId,
    stream: Stream,
}

impl Network {
    /// Opens a stream to ping a peer that is connected.
    ///
    /// # Errors
    /// When the peer is not connected, or does not answer pings.
    pub async fn pinger(&self, peer: PeerId) -> io::Result<Pinger> {
        let opening = self.open_stream(peer, PROTOCOL);
        let stream =
            tokio::time::timeout(PING_TIMEOUT, opening).await.map_err(|_| timed_out())??;
        Ok(Pinger { network: self.clone(), peer, stream })
    }
}

impl Pinger {
    /// Sends random bytes and waits for them; how long that took.
    ///
    /// # Errors
    /// When the connection breaks, the peer takes too long, or answers with other bytes. The pinger
    /// is of no use then.
    pub async fn ping(&mut self) -> io::Result<Duration> {
        let took = tokio::time::timeout(PING_TIMEOUT, self.round_trip())
            .await
            .map_err(|_| timed_out())??;
        self.network.inner.peers().measured(&self.peer, took);
        Ok(took)
    }

    async fn round_trip(&mut self) -> io::Result<Duration> {
        let sent: [u8; PING_BYTES] = rand::random();
        let mut received = [0; PING_BYTES];
        let start = Instant::now();
        self.stream.write_all(&sent).await?;
        self.stream.flush().await?;
        self.stream.read_exact(&mut received).await?;
        if sent != received {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "ping packet was incorrect"));
        }
        Ok(start.elapsed())
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "context deadline exceeded")
}
