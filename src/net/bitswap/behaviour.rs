//! The streams of Bitswap on the connections of the swarm.
//!
//! Responsible for: accepting streams, opening them, and telling the service who is connected. Not
//! for what goes over them. Its own behaviour and not `libp2p-stream`, which drops a stream that
//! comes while the one before is being taken; Kubo opens one for every message, several at a time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
    FromSwarm, NetworkBehaviour, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p_identity::PeerId;
use tokio::sync::{mpsc, oneshot};

use super::message::Version;
use super::shared::Shared;

/// Streams that a connection may be asked for at the same time; it opens one after the other.
const OPENING_MAX: usize = 4;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The peer does not speak Bitswap.
    #[error("the peer does not speak bitswap")]
    Unsupported,
    /// The connection failed, or is gone.
    #[error("no stream to the peer: {0}")]
    Failed(String),
}

/// A request for a stream.
pub(super) type Opening = oneshot::Sender<Result<(Stream, Version), OpenError>>;

/// A stream that a peer has opened.
pub(super) struct Inbound {
    pub(super) peer: PeerId,
    pub(super) stream: Stream,
}

/// Bitswap, as a part of a swarm's behaviour.
pub struct Behaviour {
    shared: Arc<Shared>,
    /// Peers whose connections are to be closed.
    drops: mpsc::Receiver<PeerId>,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour").finish_non_exhaustive()
    }
}

impl Behaviour {
    pub(super) fn new(shared: Arc<Shared>, drops: mpsc::Receiver<PeerId>) -> Self {
        Self { shared, drops }
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId) -> Handler {
        let (sender, openings) = mpsc::channel(OPENING_MAX);
        self.shared.connection(peer, connection, sender);
        Handler { peer, shared: Arc::clone(&self.shared), openings, opening: VecDeque::new() }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, .. }) => {
                self.shared.connected(peer_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                remaining_established,
                ..
            }) => {
                self.shared.disconnected(peer_id, connection_id, remaining_established);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.drops.poll_recv(cx) {
            Poll::Ready(Some(peer_id)) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All })
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The streams of one connection.
pub struct Handler {
    peer: PeerId,
    shared: Arc<Shared>,
    openings: mpsc::Receiver<Opening>,
    /// Who waits for the streams that are being negotiated; they come in order.
    opening: VecDeque<Opening>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Versions;
    type OutboundProtocol = Versions;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(Versions, ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        // One at a time: what comes back does not say which request it answers.
        if self.opening.is_empty()
            && let Poll::Ready(Some(opening)) = self.openings.poll_recv(cx)
        {
            self.opening.push_back(opening);
            let protocol = SubstreamProtocol::new(Versions, ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, _),
                ..
            }) => self.shared.inbound(Inbound { peer: self.peer, stream }),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => {
                if let Some(opening) = self.opening.pop_front() {
                    // Who asked may have gone.
                    let _ = opening.send(Ok(protocol));
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                if let Some(opening) = self.opening.pop_front() {
                    let _ = opening.send(Err(match error {
                        StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                        StreamUpgradeError::Timeout => OpenError::Failed("timed out".to_owned()),
                        StreamUpgradeError::Io(error) => OpenError::Failed(error.to_string()),
                        StreamUpgradeError::Apply(never) => match never {},
                    }));
                }
            }
            _ => {}
        }
    }
}

/// The negotiation of a version, the newest first.
#[derive(Debug, Clone, Copy)]
pub struct Versions;

impl UpgradeInfo for Versions {
    type Info = StreamProtocol;
    type InfoIter = std::array::IntoIter<StreamProtocol, 4>;

    fn protocol_info(&self) -> Self::InfoIter {
        Version::PROTOCOLS.map(|(name, _)| StreamProtocol::new(name)).into_iter()
    }
}

impl InboundUpgrade<Stream> for Versions {
    type Output = (Stream, Version);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, name: Self::Info) -> Self::Future {
        ready(Ok((stream, version(&name))))
    }
}

impl OutboundUpgrade<Stream> for Versions {
    type Output = (Stream, Version);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, stream: Stream, name: Self::Info) -> Self::Future {
        ready(Ok((stream, version(&name))))
    }
}

fn version(name: &StreamProtocol) -> Version {
    let known = Version::PROTOCOLS.iter().find(|(known, _)| *known == name.as_ref());
    known.map_or(Version::V1_0, |(_, version)| *version)
}
