//! The task that brings this node's records and those of the other members together.
//!
//! It gives the core what happens (peers that come and go, their messages, the time), many events in
//! one transaction, and does what the core wants after the commit. Whatever fails is tried again:
//! the protocol finds by itself what a lost message would have brought.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::changes;
use super::ledger::{Entry, Glance, Ledger, Own, to_peer};
use crate::net::{
    Channels, Message as Gossip, Multiaddr, Network, PeerEvent, PeerId, StreamProtocol,
    Subscription,
};
use crate::node::{Error, Node, hold};
use crate::replicate::{Holder, Roster};
use crate::sync::Author;
use crate::sync::core::{Action, Event, Peer, WEIGHT, Warning};
use crate::sync::hash::Hash;
use crate::sync::message;

/// What members speak over streams.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/pinmesh/sync/1.0.0");
/// Where members gossip.
const TOPIC: &str = "/pinmesh/sync/1.0.0";
/// Which secret of the group is in use: they are not changed yet.
const EPOCH: u64 = 0;

/// Events that are taken in one transaction.
const EVENTS_AT_ONCE: usize = 64;
/// The core is not woken more often than this.
const WAKE_GAP: Duration = Duration::from_millis(2);
/// How long to wait after a transaction that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How often it is looked at where this node is and what it holds.
const OWN_EVERY: Duration = Duration::from_secs(5);
/// Members that were silent for so long leave their share to others, in milliseconds.
const OUT_AFTER_MS: u64 = 6 * 3600 * 1000;
/// Messages of one connection that are none, after which it is closed.
const SINS_MAX: u32 = 16;

/// See the module.
pub(in crate::node) struct Service {
    ledger: Ledger,
    network: Option<Network>,
    /// The peers that the core knows to be connected.
    linked: BTreeSet<PeerId>,
    /// Messages that were none, of each connected peer.
    sins: BTreeMap<PeerId, u32>,
    /// The roster that the content has followed.
    placed: Arc<Roster>,
    node: Node,
    /// Of which opening of the core `linked` is true.
    openings: u64,
    is_renewed: bool,
}

/// How this node hears others.
struct Ears {
    channels: Channels,
    gossip: Subscription,
}

impl Service {
    /// For the records in `ledger` of `node`, and the members in its network.
    pub(in crate::node) fn new(node: Node, ledger: Ledger) -> Self {
        Self {
            ledger,
            network: node.network().cloned(),
            node,
            placed: Arc::default(),
            linked: BTreeSet::new(),
            sins: BTreeMap::new(),
            openings: 0,
            is_renewed: false,
        }
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// When another such task runs in the same network.
    pub(in crate::node) async fn run(mut self, stop: CancellationToken) -> Result<(), String> {
        match self.network.clone() {
            Some(network) => self.run_online(&network, stop).await,
            None => self.run_alone(stop).await,
        }
    }

    /// Without a network there is nothing to hear; what is due is done all the same.
    async fn run_alone(&mut self, stop: CancellationToken) -> Result<(), String> {
        let mut glance = self.ledger.glance();
        let mut tick = true;
        while !stop.is_cancelled() {
            let events = if tick { vec![Event::Tick] } else { Vec::new() };
            self.take(events).await;
            drop(self.ledger.take_actions());
            let wake = self.wake_at(*glance.borrow_and_update());
            tick = tokio::select! {
                () = stop.cancelled() => false,
                () = tokio::time::sleep_until(wake) => true,
                Ok(()) = glance.changed() => false,
            };
        }
        Ok(())
    }

    async fn run_online(
        &mut self,
        network: &Network,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let channels = Channels::new(network.clone(), PROTOCOL, message_bytes_max())?;
        let gossip = network.subscribe(TOPIC.to_owned()).await;
        let gossip = gossip.map_err(|error| error.to_string())?;
        let mut ears = Ears { channels, gossip };
        let mut peers = network.events();
        let mut glance = self.ledger.glance();
        let mut own = tokio::time::interval(OWN_EVERY);
        let mut events = vec![Event::Tick];
        loop {
            self.take(std::mem::take(&mut events)).await;
            self.perform(network, &mut ears.channels).await;
            if self.openings != glance.borrow().openings {
                // A core that was opened anew knows of nobody.
                self.openings = glance.borrow().openings;
                self.linked.clear();
                events.extend(self.link_all(network));
                if !events.is_empty() {
                    continue;
                }
            }
            let wake = self.wake_at(*glance.borrow_and_update());
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                messages = ears.channels.next(EVENTS_AT_ONCE) => {
                    for (peer, bytes) in messages {
                        events.extend(self.link(network, peer));
                        if self.linked.contains(&peer) {
                            log_message("received", &peer, &bytes);
                            events.push(Event::Received(to_peer(&peer), bytes));
                        }
                    }
                }
                message = ears.gossip.next() => match message {
                    Some(message) => events.extend(self.open(network, &message)),
                    None => return Ok(()),
                },
                event = peers.recv() => match event {
                    Ok(PeerEvent::Connected(_)) => {}
                    Ok(PeerEvent::Identified(peer)) => {
                        if network.speaks(&peer, PROTOCOL.as_ref()) {
                            events.extend(self.link(network, peer));
                        }
                    }
                    Ok(PeerEvent::Disconnected(peer)) => {
                        ears.channels.close(&peer);
                        events.extend(self.unlink(&peer));
                    }
                    Err(RecvError::Lagged(_)) => events.extend(self.relink(network)),
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = tokio::time::sleep_until(wake) => events.push(Event::Tick),
                _ = own.tick() => self.tell_own(network).await,
                Ok(()) = glance.changed() => {}
            }
        }
    }

    /// Gives the core what has happened, and does what its state allows for now.
    async fn take(&mut self, events: Vec<Event>) {
        let taken = async {
            if !events.is_empty() {
                let step = |entry: &mut Entry<'_>| {
                    events.into_iter().try_for_each(|event| entry.step(event))
                };
                self.ledger.write(step).await?;
            }
            if self.ledger.glance().borrow().is_ready {
                if !self.is_renewed {
                    self.ledger.renew_generation().await?;
                    self.is_renewed = true;
                }
                while self.ledger.has_unrecorded()?
                    && self.ledger.write(changes::record_waiting).await?
                {}
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = taken.await {
            tracing::error!(%error, "the pinset could not be brought forward");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    fn wake_at(&self, glance: Glance) -> Instant {
        let wait_ms = glance.wake_at_ms.saturating_sub(self.ledger.now().mono_ms);
        Instant::now() + Duration::from_millis(wait_ms).max(WAKE_GAP)
    }

    /// Tells the core that a peer is connected, unless it knows.
    fn link(&mut self, network: &Network, peer: PeerId) -> Option<Event> {
        let is_new = network.is_connected(&peer) && self.linked.insert(peer);
        is_new.then(|| Event::Connected(to_peer(&peer)))
    }

    fn unlink(&mut self, peer: &PeerId) -> Option<Event> {
        self.sins.remove(peer);
        self.linked.remove(peer).then(|| Event::Disconnected(to_peer(peer)))
    }

    fn link_all(&mut self, network: &Network) -> Vec<Event> {
        let members: Vec<PeerId> = network.peers().into_iter().map(|peer| peer.id).collect();
        let members = members.into_iter().filter(|id| network.speaks(id, PROTOCOL.as_ref()));
        members.filter_map(|peer| self.link(network, peer)).collect()
    }

    /// After events were missed.
    fn relink(&mut self, network: &Network) -> Vec<Event> {
        let gone: Vec<PeerId> =
            self.linked.iter().filter(|peer| !network.is_connected(peer)).copied().collect();
        let mut events: Vec<Event> = gone.iter().filter_map(|peer| self.unlink(peer)).collect();
        events.extend(self.link_all(network));
        events
    }

    /// Opens what was gossiped.
    fn open(&mut self, network: &Network, message: &Gossip) -> Option<Event> {
        if message.author == network.peer_id() {
            return None;
        }
        match self.ledger.group().open(EPOCH, TOPIC, &message.data) {
            Ok(bytes) => {
                log_message("heard", &message.author, &bytes);
                Some(Event::Received(to_peer(&message.author), bytes))
            }
            Err(error) => {
                tracing::debug!(peer = %message.author, %error, "gossip that cannot be opened");
                None
            }
        }
    }

    /// Does what the core wants done.
    async fn perform(&mut self, network: &Network, channels: &mut Channels) {
        for action in self.ledger.take_actions() {
            match action {
                Action::Send(peer, bytes) => {
                    if let Some(peer) = peer_id(&peer) {
                        log_message("sent", &peer, &bytes);
                        channels.send(peer, bytes);
                    }
                }
                Action::Broadcast(bytes) => self.broadcast(network, &bytes).await,
                Action::InSync(peer) => {
                    let peer = peer_id(&peer).map(|peer| peer.to_string());
                    tracing::debug!(?peer, "the same records as a member");
                }
                Action::Warn(warning) => self.warn(network, warning).await,
                // The transaction has followed it.
                Action::Changed(_) => {}
            }
        }
    }

    async fn broadcast(&self, network: &Network, bytes: &[u8]) {
        let nonce = rand::rng().random();
        let sealed = self.ledger.group().seal(EPOCH, TOPIC, nonce, bytes);
        let Ok(sealed) = sealed else { return };
        log_message("gossiped", &network.peer_id(), bytes);
        if let Err(error) = network.publish(TOPIC.to_owned(), sealed).await {
            tracing::debug!(%error, "gossip was not taken");
        }
    }

    async fn warn(&mut self, network: &Network, warning: Warning) {
        match warning {
            Warning::Misbehaved(peer, why) => {
                let Some(peer) = peer_id(&peer) else { return };
                tracing::warn!(%peer, "a member sent {why}");
                let sins = self.sins.entry(peer).or_default();
                *sins += 1;
                if *sins >= SINS_MAX {
                    network.disconnect(peer, None).await;
                }
            }
            Warning::ClockIsOff(ms) => {
                let seconds = ms / 1000;
                tracing::warn!("this clock is {seconds} s behind those of the other members");
            }
            Warning::Cloned => tracing::error!(
                "another node runs with this node's key: neither records its pins until one stops"
            ),
            Warning::Withheld(peer, count) => {
                let peer = peer_id(&peer).map(|peer| peer.to_string());
                tracing::warn!(
                    ?peer,
                    "a member lacks {count} pins that are here: they stay until a second member \
                     says so too"
                );
            }
            Warning::Rebuilt => tracing::warn!(
                "the stored pinset contradicted itself: it was built anew from its records, and is \
                 compared with the other members"
            ),
        }
    }

    /// Says where this node is and what it holds, in its next hellos; and lets the content follow
    /// when other members may hold it than before.
    async fn tell_own(&mut self, network: &Network) {
        let told = async {
            let counts = self.ledger.counts()?;
            let (live, live_root) = {
                let glance = self.ledger.glance();
                let roots = glance.borrow().roots;
                (u64::from(roots.live_count), roots.live)
            };
            let free_bytes = hold::room_bytes(&self.node).unwrap_or_default();
            let used_bytes = self.node.store().stats()?.bytes_on_disk;
            let missing = counts.missing();
            let status = message::Status {
                pinned: live.saturating_sub(missing),
                queued: counts.queued + counts.disk_full,
                fetching: counts.fetching,
                failing: counts.failing,
                stalled: counts.stalled,
                missing,
                free_bytes,
                used_bytes,
                complete_at: (missing == 0).then_some(live_root),
            };
            let is_full = self.ledger.queue().is_full();
            let addresses = network.announced();
            let addresses = addresses.iter().take(message::ADDRESSES_MAX);
            let addresses = addresses.map(Multiaddr::to_vec).collect();
            let roster = Arc::new(self.roster(network, is_full));
            self.ledger.set_own(Own { addresses, status, is_full }, Arc::clone(&roster));
            if *roster != *self.placed {
                self.placed = Arc::clone(&roster);
                self.place_anew().await?;
            }
            while self.ledger.has_ended()? && self.ledger.write(changes::remove_ended).await? {}
            if counts.unpin_queued > 0 {
                let complete = self.complete_members(&live_root);
                self.ledger.write(move |entry| entry.hand_off(&complete)).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = told.await {
            tracing::warn!(%error, "what this node holds could not be told");
        }
    }

    /// Who may hold content: this node, and every member that has said hello.
    fn roster(&self, network: &Network, is_full: bool) -> Roster {
        let own = Holder {
            peer: network.peer_id().to_bytes(),
            author: self.ledger.author(),
            weight: if is_full { 0 } else { WEIGHT },
            tags: Vec::new(),
            is_out: false,
        };
        let now = self.ledger.now();
        let others = self.ledger.inspect(|core| {
            let members = core.members().filter_map(|(author, hello)| Some((author, hello?)));
            let holder = |(author, hello): (Author, &message::Hello)| Holder {
                peer: hello.peer.clone(),
                author,
                weight: hello.weight,
                tags: hello.tags.clone(),
                is_out: core.heard_ago_ms(&author, now).is_none_or(|ago_ms| ago_ms > OUT_AFTER_MS),
            };
            members.map(holder).collect::<Vec<_>>()
        });
        let mut members = vec![own];
        members.extend(others.unwrap_or_default());
        members.sort_by(|a, b| a.peer.cmp(&b.peer));
        Roster { own: network.peer_id().to_bytes(), members }
    }

    /// The members that hold all that they are to hold of this list of pins.
    fn complete_members(&self, live_root: &Hash) -> BTreeSet<Vec<u8>> {
        let complete = self.ledger.inspect(|core| {
            let hellos = core.members().filter_map(|(_, hello)| hello);
            let complete = hellos.filter(|hello| hello.status.complete_at == Some(*live_root));
            complete.map(|hello| hello.peer.clone()).collect()
        });
        complete.unwrap_or_default()
    }

    /// Lets every pin that not all members hold follow the roster.
    async fn place_anew(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = move |entry: &mut Entry<'_>| entry.place_some(after);
            after = self.ledger.write(page).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

fn peer_id(peer: &Peer) -> Option<PeerId> {
    PeerId::from_bytes(peer.as_bytes()).ok()
}

fn message_bytes_max() -> usize {
    [
        message::HELLO_LEN_MAX,
        message::UPDATE_LEN_MAX,
        message::FETCH_LEN_MAX,
        message::REPLY_LEN_MAX,
    ]
    .into_iter()
    .max()
    .unwrap_or_default()
}

/// Logs a message as a line of JSON.
fn log_message(how: &str, peer: &PeerId, bytes: &[u8]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    match message::Message::decode(bytes) {
        Ok((_, message)) => tracing::debug!(%peer, "{how} {message}"),
        Err(error) => tracing::debug!(%peer, %error, "{how} {} bytes", bytes.len()),
    }
}
