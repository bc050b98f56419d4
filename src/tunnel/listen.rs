//! The two kinds of listeners.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;
use tokio_util::sync::CancellationToken;

use super::endpoint::{self, Connection};
use super::{Endpoint, Error, Kind, Listener, Made, Tunnels, address_of, copy};
use crate::net::{Mounted, PeerId, Stream, StreamProtocol};

/// How long a peer may take to be reached and to accept a stream, as in Kubo (`p2p/local.go`).
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when the system has no place for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Tunnels {
    /// Takes connections at `at` to `protocol` of `peer`.
    ///
    /// # Errors
    /// When the protocol cannot be asked for, and when the address cannot be listened on.
    pub async fn forward(
        &self,
        protocol: &str,
        at: &Endpoint,
        peer: PeerId,
    ) -> Result<Made, Error> {
        let name = StreamProtocol::try_from_owned(protocol.to_owned());
        let name = name.map_err(|_| Error::Protocol(protocol.to_owned()))?;
        let (listener, listen) = at.listen().await?;
        let key = listen.to_string();
        let target = address_of(peer);
        let listed = Listener { protocol: protocol.to_owned(), listen, target };
        let made = self.register(Kind::Forwards, key, listed)?;
        let (tunnels, closed) = (self.clone(), made.closed.clone());
        let accept = async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = tunnels.accept(listener, name, peer) => {}
            }
        };
        self.started(made, accept).await
    }

    /// Takes the streams of `protocol` to `target`; with `reports_peer`, a line with the id of the
    /// peer goes before them.
    ///
    /// # Errors
    /// When the protocol has a listener.
    pub async fn serve(
        &self,
        protocol: &str,
        target: Endpoint,
        reports_peer: bool,
    ) -> Result<Made, Error> {
        let listed = Listener {
            protocol: protocol.to_owned(),
            listen: address_of(self.network.peer_id()),
            target: target.address.clone(),
        };
        let made = self.register(Kind::Serves, protocol.to_owned(), listed)?;
        let Ok(name) = StreamProtocol::try_from_owned(protocol.to_owned()) else {
            tracing::warn!(%protocol, "no peer can open a stream of it: it does not begin with /");
            return Ok(made);
        };
        let Some(mounted) = self.network.mount(name) else {
            made.close();
            return Err(Error::Taken);
        };
        let served = Served { protocol: protocol.to_owned(), target, reports_peer };
        let take = self.clone().take(mounted, served, made.closed.clone());
        self.started(made, take).await
    }

    /// Starts what a listener does.
    async fn started(
        &self,
        made: Made,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Made, Error> {
        match self.start(Box::pin(run)).await {
            Ok(()) => Ok(made),
            Err(error) => {
                made.close();
                Err(error)
            }
        }
    }

    async fn accept(self, listener: TcpListener, name: StreamProtocol, peer: PeerId) {
        loop {
            let connection = match listener.accept().await {
                Ok((connection, _)) => connection,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (tunnels, name) = (self.clone(), name.clone());
            let job = Box::pin(async move {
                if let Err(error) = tunnels.forwarded(connection, &name, peer).await {
                    tracing::warn!(%peer, protocol = %name, %error, "a connection is not forwarded");
                }
            });
            if self.start(job).await.is_err() {
                return;
            }
        }
    }

    /// A connection that came in.
    async fn forwarded(
        &self,
        connection: TcpStream,
        name: &StreamProtocol,
        peer: PeerId,
    ) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let origin = endpoint::address_of(connection.peer_addr()?);
        let open = async {
            self.network.connect(peer, Vec::new()).await.map_err(io::Error::other)?;
            self.network.open_stream(peer, name.clone()).await
        };
        let stream = tokio::time::timeout(OPEN_TIMEOUT, open).await.map_err(io::Error::other)??;
        let carrying = self.carry(name.as_ref(), origin, address_of(peer));
        carry(&carrying.reset, Connection::Tcp(connection), stream).await;
        Ok(())
    }

    async fn take(self, mut mounted: Mounted, served: Served, closed: CancellationToken) {
        loop {
            let next = tokio::select! {
                () = closed.cancelled() => None,
                next = mounted.recv() => next,
            };
            let Some((peer, stream)) = next else { return };
            let (tunnels, served) = (self.clone(), served.clone());
            let job = Box::pin(async move {
                if let Err(error) = tunnels.served(&served, peer, stream).await {
                    let target = &served.target.address;
                    tracing::warn!(%peer, protocol = %served.protocol, %target, %error,
                                   "a stream is not taken to its target");
                }
            });
            if self.start(job).await.is_err() {
                return;
            }
        }
    }

    /// A stream that a peer opened. On an error it is dropped, which resets it.
    async fn served(&self, served: &Served, peer: PeerId, stream: Stream) -> io::Result<()> {
        let mut connection = served.target.dial().await?;
        if served.reports_peer {
            let line = format!("{peer}\n");
            match &mut connection {
                Connection::Tcp(tcp) => tcp.write_all(line.as_bytes()).await?,
                Connection::Udp(udp) => drop(udp.send(line.as_bytes()).await?),
            }
        }
        let target = served.target.address.clone();
        let carrying = self.carry(&served.protocol, address_of(peer), target);
        carry(&carrying.reset, connection, stream).await;
        Ok(())
    }
}

/// What a listener that serves was told.
#[derive(Debug, Clone)]
struct Served {
    protocol: String,
    target: Endpoint,
    reports_peer: bool,
}

/// Carries until both ends are done, one breaks off, or the connection is to be reset.
async fn carry(reset: &CancellationToken, connection: Connection, stream: Stream) {
    tokio::select! {
        () = reset.cancelled() => {}
        done = copy::both_ways(connection, stream.compat()) => {
            if let Err(error) = done {
                tracing::debug!(%error, "a connection over a stream broke off");
            }
        }
    }
}
