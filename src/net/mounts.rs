//! Protocols that users mount on this node (`p2p/listen`): the streams that peers open for them.
//!
//! Responsible for: which protocols are accepted at the moment, and handing their streams to who
//! mounted them. Not for what goes over them, nor for opening streams. Its own behaviour and not
//! `libp2p-stream`, which drops a stream that comes while the one before is being taken.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, InboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p_identity::PeerId;
use tokio::sync::mpsc;

/// What Kubo tells its peers it mounts protocols under, whether or not it does.
const ROOT: StreamProtocol = StreamProtocol::new("/x/");

/// Streams of one protocol that may wait to be taken; one more is reset.
const WAITING_MAX: usize = 256;

/// Streams of a mounted protocol, as peers open them; it ends when the protocol is unmounted.
/// Dropping it unmounts the protocol, too.
pub type Mounted = mpsc::Receiver<(PeerId, Stream)>;

/// Who takes the streams of a protocol.
type Taker = mpsc::Sender<(PeerId, Stream)>;

/// What is mounted. Cloning it is cheap.
#[derive(Clone, Default)]
pub(super) struct Mounts {
    /// Held for moments only, never across an await.
    takers: Arc<Mutex<HashMap<StreamProtocol, Taker>>>,
}

impl Mounts {
    /// Accepts streams of `protocol` from now on; `None` when somebody does already.
    pub(super) fn mount(&self, protocol: StreamProtocol) -> Option<Mounted> {
        let mut takers = super::lock(&self.takers);
        takers.retain(|_, taker| !taker.is_closed());
        if takers.contains_key(&protocol) {
            return None;
        }
        let (taker, mounted) = mpsc::channel(WAITING_MAX);
        takers.insert(protocol, taker);
        Some(mounted)
    }

    /// Accepts streams of `protocol` no longer.
    pub(super) fn unmount(&self, protocol: &str) {
        super::lock(&self.takers).retain(|name, _| name.as_ref() != protocol);
    }

    fn protocols(&self) -> Vec<StreamProtocol> {
        let mut takers = super::lock(&self.takers);
        takers.retain(|_, taker| !taker.is_closed());
        let others = takers.keys().filter(|name| **name != ROOT).cloned();
        std::iter::once(ROOT).chain(others).collect()
    }

    /// Hands a stream over. Dropping it resets it, as Kubo does with one for which nobody listens.
    fn arrived(&self, peer: PeerId, protocol: &StreamProtocol, stream: Stream) {
        let taker = super::lock(&self.takers).get(protocol).cloned();
        if let Some(taker) = taker
            && let Err(error) = taker.try_send((peer, stream))
        {
            tracing::warn!(%peer, %protocol, %error, "a stream is reset: nobody takes it");
        }
    }
}

/// The mounted protocols, as a part of a swarm's behaviour.
pub(super) struct Behaviour(pub(super) Mounts);

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler { peer, mounts: self.0.clone() })
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler { peer, mounts: self.0.clone() })
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// The streams of one connection.
pub(super) struct Handler {
    peer: PeerId,
    mounts: Mounts,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Names;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(Names(self.mounts.protocols()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
            protocol: (stream, name),
            ..
        }) = event
        {
            self.mounts.arrived(self.peer, &name, stream);
        }
    }
}

/// The negotiation of one of the names that are mounted.
#[derive(Debug)]
pub(super) struct Names(Vec<StreamProtocol>);

impl UpgradeInfo for Names {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Names {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, name: Self::Info) -> Self::Future {
        ready(Ok((stream, name)))
    }
}
