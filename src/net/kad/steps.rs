//! What passes between the tables and the connections.
//!
//! libp2p tells of a lookup's results only; here its steps are told: whom it dials and asks, and what
//! it is answered. And who is asked for a peer names it when it knows where it is, as Kubo does,
//! whether or not that peer is in a table; libp2p alone does not even name itself.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::{self, Event, QueryId};
use libp2p::swarm::behaviour::DialFailure;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::mpsc;

use super::store::Store;
use super::{Table, bare, is_public_place};
use crate::net::dial;

/// A step of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A table is empty: the lookup in it ends before it begins.
    NobodyToAsk,
    /// A peer has to be dialled before it can be asked.
    Dialling(PeerId),
    /// It could not be reached, and why.
    NotReached(PeerId, String),
    /// A peer is asked.
    Asking(PeerId),
    /// It answered with peers closer to what is looked for.
    Answered(PeerId, Vec<(PeerId, Vec<Multiaddr>)>),
    /// It did not answer, and why.
    NotAnswered(PeerId, String),
}

/// Where the steps of a lookup go. One who does not keep up misses some.
pub(super) type Steps = mpsc::Sender<Step>;

type Inner = kad::Behaviour<Store>;
type Question = THandlerInEvent<Inner>;
type Answer = THandlerOutEvent<Inner>;

/// The protocol's state machine.
pub(in crate::net) struct Kademlia {
    inner: Inner,
    /// Bounded as the lookups are.
    watched: HashMap<QueryId, Watched>,
    /// Who asks for a peer, until the answer is on its way: at once.
    asked: Vec<(PeerId, Answer)>,
    /// Where peers are.
    places: Option<(Table, Arc<crate::net::Inner>)>,
}

/// A lookup whose steps are told.
struct Watched {
    steps: Steps,
    /// Who may be asked, as far as is known.
    heard: HashSet<PeerId>,
    dialling: HashSet<PeerId>,
}

impl Watched {
    fn tell(&self, step: Step) {
        if let Err(mpsc::error::TrySendError::Full(step)) = self.steps.try_send(step) {
            tracing::debug!(?step, "a step of a lookup was not told: nobody takes it");
        }
    }
}

impl Deref for Kademlia {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Kademlia {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Kademlia {
    pub(super) fn new(inner: Inner) -> Self {
        Self { inner, watched: HashMap::new(), asked: Vec::new(), places: None }
    }

    /// Knows from now on where peers are.
    pub(in crate::net) fn knows(&mut self, table: Table, places: Arc<crate::net::Inner>) {
        self.places = Some((table, places));
    }

    /// A peer asks for another.
    fn asked(&mut self, asking: PeerId, request: &Answer) {
        let Answer::FindNodeReq { key, request_id } = request else { return };
        if PeerId::from_bytes(key).is_ok_and(|wanted| wanted != asking) {
            let request = Answer::FindNodeReq { key: key.clone(), request_id: *request_id };
            self.asked.push((asking, request));
        }
    }

    /// A peer is about to be answered: the one that it asks for is named.
    fn answering(&mut self, asking: PeerId, answer: &mut Question) {
        let Question::FindNodeRes { closer_peers, request_id } = answer else { return };
        let of_this = |(peer, request): &(PeerId, Answer)| {
            let Answer::FindNodeReq { request_id: id, .. } = request else { return false };
            *peer == asking && id == request_id
        };
        let Some(index) = self.asked.iter().position(of_this) else { return };
        let (_, Answer::FindNodeReq { key, .. }) = self.asked.swap_remove(index) else { return };
        let (Ok(wanted), Some((table, places))) = (PeerId::from_bytes(&key), &self.places) else {
            return;
        };
        if closer_peers.iter().any(|peer| peer.node_id == wanted) {
            return;
        }
        let mut multiaddrs = places.told_of(&wanted);
        multiaddrs.retain(|address| *table == Table::Lan || is_public_place(address));
        if !multiaddrs.is_empty() {
            let connection_ty = kad::ConnectionType::Connected;
            closer_peers.push(kad::KadPeer { node_id: wanted, multiaddrs, connection_ty });
        }
    }

    /// Tells the steps of a lookup from now on, until it ends.
    pub(super) fn watch(&mut self, id: QueryId, steps: Steps) {
        let known = self.inner.kbuckets().flat_map(|bucket| {
            bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>()
        });
        let heard: HashSet<PeerId> = known.collect();
        let watched = Watched { steps, heard, dialling: HashSet::new() };
        if watched.heard.is_empty() {
            watched.tell(Step::NobodyToAsk);
        }
        self.watched.insert(id, watched);
    }

    /// A peer is dialled: for those lookups that know of it, as the state machine does not say for
    /// which.
    fn dialling(&mut self, peer: PeerId) {
        for watched in self.watched.values_mut() {
            if watched.heard.contains(&peer) && watched.dialling.insert(peer) {
                watched.tell(Step::Dialling(peer));
            }
        }
    }

    fn not_reached(&mut self, peer: PeerId, error: &DialError) {
        // It is being dialled, or there already.
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        for watched in self.watched.values_mut() {
            if watched.dialling.remove(&peer) {
                watched.tell(Step::NotReached(peer, dial::failure(peer, &[], error).to_string()));
            }
        }
    }

    /// A peer is connected: what it was to be asked goes over with the connection, and does not come
    /// by again.
    fn reached(&mut self, peer: PeerId) {
        for watched in self.watched.values_mut() {
            if watched.dialling.remove(&peer) {
                watched.tell(Step::Asking(peer));
            }
        }
    }

    fn asking(&mut self, peer: PeerId, question: &Question) {
        let (Question::FindNodeReq { query_id, .. }
        | Question::GetProvidersReq { query_id, .. }
        | Question::GetRecord { query_id, .. }) = question
        else {
            return;
        };
        if let Some(watched) = self.watched.get(query_id) {
            watched.tell(Step::Asking(peer));
        }
    }

    fn answered(&mut self, peer: PeerId, answer: &Answer) {
        let (id, closer) = match answer {
            Answer::FindNodeRes { closer_peers, query_id }
            | Answer::GetProvidersRes { closer_peers, query_id, .. }
            | Answer::GetRecordRes { closer_peers, query_id, .. } => (query_id, Ok(closer_peers)),
            Answer::QueryError { error, query_id } => (query_id, Err(error.to_string())),
            _ => return,
        };
        let Some(watched) = self.watched.get_mut(id) else { return };
        let step = match closer {
            Err(error) => Step::NotAnswered(peer, error),
            Ok(closer) => {
                watched.heard.extend(closer.iter().map(|peer| peer.node_id));
                let closer = closer
                    .iter()
                    .map(|peer| (peer.node_id, bare(peer.node_id, peer.multiaddrs.clone())));
                Step::Answered(peer, closer.collect())
            }
        };
        watched.tell(step);
    }
}

impl NetworkBehaviour for Kademlia {
    type ConnectionHandler = THandler<Inner>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), error, .. }) => {
                self.not_reached(*peer, error);
            }
            FromSwarm::ConnectionEstablished(connection) => self.reached(connection.peer_id),
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.answered(peer, &event);
        self.asked(peer, &event);
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let mut polled = self.inner.poll(context);
        match &mut polled {
            Poll::Ready(ToSwarm::Dial { opts }) => {
                opts.get_peer_id().into_iter().for_each(|peer| self.dialling(peer));
            }
            Poll::Ready(ToSwarm::NotifyHandler { peer_id, event, .. }) => {
                self.asking(*peer_id, event);
                self.answering(*peer_id, event);
            }
            Poll::Ready(ToSwarm::GenerateEvent(Event::OutboundQueryProgressed {
                id,
                step,
                ..
            })) if step.last => {
                self.watched.remove(id);
            }
            _ => {}
        }
        polled
    }
}
