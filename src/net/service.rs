//! The task that owns the swarm: it runs commands of the handle and turns what happens into the
//! state that everybody reads. It never waits for anybody: channels to others are bounded, and who
//! does not keep up misses events and is told so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::relay::Status;
use libp2p::swarm::{ConnectionId, DialError, Swarm, SwarmEvent};
use libp2p::{identify, mdns, ping};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::complaints::Complaints;
use super::dial::{DialFailure, Dials};
use super::gossip::{Ask, Gossip};
use super::kad::{self, Table};
use super::lock;
use super::peers::{Direction, Opened, PeerEvent, without_peer};
use super::relay::{Reachability, Reservations, is_relayed};

/// How often rates are worked out.
const TICK: Duration = Duration::from_secs(1);

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    /// Be connected to a peer.
    Connect {
        peer: PeerId,
        /// Tried along with those that are known.
        addresses: Vec<Multiaddr>,
        reply: oneshot::Sender<Result<(), DialFailure>>,
    },
    /// Ask the routing table.
    LookUp(Table, kad::Lookup),
    /// Close the connections with a peer, or the one at an address.
    Disconnect {
        connections: Vec<ConnectionId>,
        /// Answered when they are closed.
        reply: oneshot::Sender<()>,
    },
    /// Something about topics.
    Gossip(Ask),
}

/// Owns the swarm and runs it.
pub struct Service {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) inner: Arc<Inner>,
    pub(super) dials: Dials,
    pub(super) lookups: kad::Lookups,
    pub(super) closing: Vec<Closing>,
    pub(super) complaints: Complaints,
    pub(super) reservations: Reservations,
    /// Together with `gossip` of the behaviour, or not at all.
    pub(super) gossip: Option<Gossip>,
}

/// Connections that somebody waits to see closed. Bounded by the connections.
pub(super) struct Closing {
    connections: Vec<ConnectionId>,
    reply: oneshot::Sender<()>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("dials", &self.dials).finish_non_exhaustive()
    }
}

impl Service {
    /// Runs the network until `shutdown`; the connections are closed when it returns.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                now = tick.tick() => {
                    let seconds = now.duration_since(last).as_secs_f64();
                    last = now;
                    if seconds > 0.0 {
                        self.inner.meter.tick(seconds);
                    }
                    self.with_gossip(Gossip::tidy);
                    self.reservations.tend(&mut self.swarm, &self.inner);
                }
                // The handle keeps a sender: the channel ends with the last of them.
                Some(command) = self.commands.recv() => self.command(command),
                event = self.swarm.select_next_some() => self.event(event),
            }
            self.count_pending();
        }
    }

    /// Keeps the number of connections that are being made readable for everybody.
    fn count_pending(&self) {
        let network = self.swarm.network_info();
        let counters = network.connection_counters();
        self.inner.pending_in.store(counters.num_pending_incoming(), Ordering::Relaxed);
        self.inner.pending_out.store(counters.num_pending_outgoing(), Ordering::Relaxed);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Connect { peer, addresses, reply } => {
                self.inner.dialled(peer, &addresses);
                let addresses = self.inner.dialable(&peer, addresses);
                self.dials.connect(&mut self.swarm, peer, addresses, reply);
            }
            // Dropping what cannot be asked tells who waits for the reply.
            Command::Gossip(ask) => {
                self.with_gossip(|gossip, behaviour| gossip.ask(behaviour, ask));
            }
            Command::LookUp(table, lookup) => {
                let kademlia = table.of(self.swarm.behaviour_mut());
                self.lookups.begin(table, kademlia, lookup);
            }
            Command::Disconnect { mut connections, reply } => {
                connections.retain(|id| self.swarm.close_connection(*id));
                if !connections.is_empty() {
                    self.closing.push(Closing { connections, reply });
                }
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.opened(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.closed(&peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                if let DialError::Transport(tried) = &error {
                    for (address, error) in tried {
                        self.complaints.of_dial(address, error);
                    }
                }
                tracing::debug!(?peer_id, %error, "a peer could not be dialled");
                self.dials.failed(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                self.complaints.of_incoming(&send_back_addr, &error);
                tracing::debug!(address = %send_back_addr, %error, "a connection failed");
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.announce();
            }
            SwarmEvent::NewExternalAddrOfPeer { peer_id, address } => {
                let address = without_peer(address, peer_id);
                self.inner.peers().learn(peer_id, address.into_iter().collect());
            }
            SwarmEvent::ExternalAddrConfirmed { address }
                if self.inner.announce.hides(&address) =>
            {
                self.swarm.remove_external_address(&address);
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a swarm connection could not be accepted");
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason }
                if self.reservations.closed(listener_id) =>
            {
                tracing::debug!(?addresses, ?reason, "a place at a relay is gone");
                self.announce();
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "a swarm address is not listened on any more");
            }
            _ => {}
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            }) => {
                self.identified(peer_id, connection_id, info);
                for table in Table::ALL {
                    let kademlia = table.of(self.swarm.behaviour_mut());
                    kad::identified(table, kademlia, &self.inner, &peer_id);
                }
                self.tell(PeerEvent::Identified(peer_id));
            }
            BehaviourEvent::KademliaLan(event) => self.looked_up(Table::Lan, event),
            BehaviourEvent::KademliaWan(event) => self.looked_up(Table::Wan, event),
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Ping(ping::Event { peer, result, .. }) => match result {
                Ok(round_trip) => self.inner.peers().measured(&peer, round_trip),
                Err(error) => tracing::debug!(%peer, %error, "a peer did not answer a ping"),
            },
            BehaviourEvent::Streams(()) => {}
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.discovered(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(_))
            | BehaviourEvent::Autonat(_)
            | BehaviourEvent::Reachability(_)
            | BehaviourEvent::DialBack(_)
            | BehaviourEvent::Relay(_)
            | BehaviourEvent::RelayService(_) => {}
            BehaviourEvent::HolePunching(event) => match event.result {
                Ok(_) => tracing::debug!(peer = %event.remote_peer_id, "directly connected"),
                Err(error) => {
                    tracing::debug!(peer = %event.remote_peer_id, %error, "stays relayed");
                }
            },
            BehaviourEvent::Gossip(event) => {
                self.with_gossip(|gossip, behaviour| gossip.event(behaviour, event));
            }
            BehaviourEvent::Bitswap(never) | BehaviourEvent::Mounts(never) => match never {},
        }
    }

    fn looked_up(&mut self, table: Table, event: libp2p::kad::Event) {
        let kademlia = table.of(self.swarm.behaviour_mut());
        self.lookups.event(table, kademlia, &self.inner, event);
    }

    fn identified(&mut self, peer: PeerId, id: ConnectionId, said: identify::Info) {
        let mut peers = self.inner.peers();
        peers.identified(peer, id, said);
        if self.inner.is_private {
            peers.admit(&peer);
        }
    }

    /// Peers on the local network, with their ids behind their addresses.
    fn discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let found = found
            .into_iter()
            .filter_map(|(peer, address)| Some((peer, vec![without_peer(address, peer)?])));
        self.inner.add_members(found.collect());
    }

    /// Tells the protocols which addresses others are told.
    fn announce(&mut self) {
        let own: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        let relayed = own.iter().filter(|address| is_relayed(address)).cloned();
        let relayed = relayed.filter_map(|place| without_peer(place, self.inner.peer_id));
        *lock(&self.inner.relayed) = relayed.collect();
        let now = self.inner.announce.announced(own);
        self.offer_to_relay(&now);
        kad::announced(&mut self.swarm.behaviour_mut().kademlia_wan, &now);
        let before: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        for address in before.iter().filter(|address| !now.contains(address)) {
            self.swarm.remove_external_address(address);
        }
        for address in now.into_iter().filter(|address| !before.contains(address)) {
            self.swarm.add_external_address(address);
        }
    }

    /// Relays for others, in a private network always, otherwise where anybody can come.
    fn offer_to_relay(&mut self, announced: &[Multiaddr]) {
        let Some(service) = self.swarm.behaviour_mut().relay_service.as_mut() else { return };
        let is_reachable = match self.inner.relay.reachability {
            Some(reachability) => reachability == Reachability::Public,
            None => self.inner.is_private || announced.iter().any(kad::is_public_place),
        };
        service.set_status(Some(if is_reachable { Status::Enable } else { Status::Disable }));
    }

    fn opened(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let remote = endpoint.get_remote_address();
        let direction = if endpoint.is_dialer() { Direction::Outbound } else { Direction::Inbound };
        let streams = self.inner.meter.take(peer, remote);
        let place = match endpoint {
            // Who came over a relay is there; of its own address nothing is known.
            ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr,
            _ => remote,
        };
        let address = without_peer(place.clone(), peer).unwrap_or_else(|| place.clone());
        if direction == Direction::Outbound {
            self.inner.peers().reached(peer, address.clone());
        }
        let opened = Opened { id, address, direction, streams };
        if self.inner.peers().opened(peer, opened) {
            self.tell(PeerEvent::Connected(peer));
        }
        self.dials.connected(&peer);
    }

    fn closed(&mut self, peer: &PeerId, id: ConnectionId) {
        if self.inner.peers().closed(peer, id) {
            self.tell(PeerEvent::Disconnected(*peer));
        }
        for closing in &mut self.closing {
            closing.connections.retain(|other| *other != id);
        }
        for closing in self.closing.extract_if(.., |closing| closing.connections.is_empty()) {
            // Who waited may have stopped waiting.
            let _ = closing.reply.send(());
        }
    }

    fn with_gossip(&mut self, work: impl FnOnce(&mut Gossip, &mut super::gossip::Behaviour)) {
        let behaviour = self.swarm.behaviour_mut().gossip.as_mut();
        if let (Some(gossip), Some(behaviour)) = (&mut self.gossip, behaviour) {
            work(gossip, behaviour);
        }
    }

    fn tell(&self, event: PeerEvent) {
        // Nobody listening is no error.
        let _ = self.inner.events.send(event);
    }
}
