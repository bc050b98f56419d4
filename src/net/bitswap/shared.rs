//! What the tasks of Bitswap share: the state of client and engine, and the peers with a connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indexmap::IndexMap;
use libp2p::swarm::{ConnectionId, Stream};
use libp2p_identity::PeerId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::behaviour::{Inbound, OpenError, Opening};
use super::client::{Action, Client, Event};
use super::engine::Engine;
use super::message::{Entry, Version};
use crate::ipld::{Block, Cid};

/// Bytes of messages from one peer that are being read, checked or stored.
const PEER_BYTES: usize = 8 << 20;
/// Streams that have come and wait for their task; more are refused.
pub(super) const INBOUND_MAX: usize = 1024;
/// Batches of blocks that wait to be stored, all peers together; their bytes are bounded by peer.
pub(super) const ARRIVALS_MAX: usize = 64;
/// Searches for providers that wait to be begun.
pub(super) const SEARCHES_MAX: usize = 64;
/// Peers that wait to be dropped.
pub(super) const DROPS_MAX: usize = 64;
/// How long a peer that was dropped is not spoken with, and how many are remembered.
const BAN: Duration = Duration::from_secs(600);
const BANNED_MAX: usize = 1024;

/// The blocks of this node, as Bitswap sees them.
pub trait Blocks: Send + Sync + 'static {
    /// The size of a block, if it is here.
    fn size(&self, cid: &Cid) -> Option<u64>;
    /// The bytes of a block, if it is here and whole.
    fn get(&self, cid: &Cid) -> Option<Bytes>;
    /// Changes when blocks have come.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Blocks that were wanted and have come: hashed, and not stored yet.
#[derive(Debug)]
pub struct Arrivals {
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Room that they take until they are stored and this is dropped.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What has been exchanged since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) blocks_received: AtomicU64,
    pub(super) data_received: AtomicU64,
    pub(super) dup_blocks_received: AtomicU64,
    pub(super) dup_data_received: AtomicU64,
    pub(super) messages_received: AtomicU64,
    pub(super) blocks_sent: AtomicU64,
    pub(super) data_sent: AtomicU64,
}

/// What the tasks and the handles share.
pub(super) struct Shared {
    pub(super) blocks: Arc<dyn Blocks>,
    pub(super) client: Mutex<Client>,
    pub(super) engine: Mutex<Engine>,
    links: Mutex<HashMap<PeerId, Arc<Link>>>,
    banned: Mutex<HashMap<PeerId, Instant>>,
    /// Peers whose tasks are to be started.
    pub(super) new_links: Mutex<Vec<Arc<Link>>>,
    pub(super) has_new_links: Notify,
    /// The client may have got something to wait for.
    pub(super) stirred: Notify,
    /// Blocks that peers wait for may have come unnoticed.
    pub(super) recheck: Notify,
    pub(super) channels: Channels,
    pub(super) counters: Counters,
    pub(super) sessions: AtomicU64,
}

/// Where things go that others take care of.
pub(super) struct Channels {
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) arrivals: mpsc::Sender<Arrivals>,
    pub(super) searches: mpsc::Sender<Cid>,
    pub(super) drops: mpsc::Sender<PeerId>,
}

/// A peer with a connection.
pub(super) struct Link {
    pub(super) peer: PeerId,
    connections: Mutex<Vec<(ConnectionId, mpsc::Sender<Opening>)>>,
    /// Whether client and engine know of it.
    is_known: AtomicBool,
    /// What it is to be told of wants; what was said before is replaced.
    pub(super) outbox: Mutex<IndexMap<Cid, Entry>>,
    pub(super) has_wants: Notify,
    pub(super) has_blocks: Notify,
    pub(super) room: Arc<Semaphore>,
    pub(super) gone: CancellationToken,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics with one of these locks held; what they guard is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(blocks: Arc<dyn Blocks>, channels: Channels) -> Self {
        Self {
            blocks,
            client: Mutex::default(),
            engine: Mutex::default(),
            links: Mutex::default(),
            banned: Mutex::default(),
            new_links: Mutex::default(),
            has_new_links: Notify::new(),
            stirred: Notify::new(),
            recheck: Notify::new(),
            channels,
            counters: Counters::default(),
            sessions: AtomicU64::new(0),
        }
    }

    /// A connection is about to be there.
    pub(super) fn connection(&self, peer: PeerId, id: ConnectionId, opener: mpsc::Sender<Opening>) {
        let mut links = lock(&self.links);
        // Connections that were refused after all leave links that nobody can use.
        links.retain(|_, link| {
            link.is_known.load(Ordering::Relaxed)
                || lock(&link.connections).iter().any(|(_, opener)| !opener.is_closed())
        });
        let link = links.entry(peer).or_insert_with(|| Arc::new(Link::new(peer)));
        lock(&link.connections).push((id, opener));
    }

    /// A connection is there.
    pub(super) fn connected(&self, peer: PeerId) {
        if self.is_banned(&peer) {
            // A full channel means that many are being dropped: the peer comes to its turn when
            // it opens a stream.
            let _ = self.channels.drops.try_send(peer);
            return;
        }
        let Some(link) = self.link(&peer) else { return };
        if link.is_known.swap(true, Ordering::Relaxed) {
            return;
        }
        lock(&self.engine).connected(peer);
        lock(&self.new_links).push(link);
        self.has_new_links.notify_one();
        self.step(Event::Connected(peer));
    }

    /// A connection has gone.
    pub(super) fn disconnected(&self, peer: PeerId, id: ConnectionId, remaining: usize) {
        let Some(link) = self.link(&peer) else { return };
        lock(&link.connections).retain(|(other, _)| *other != id);
        if remaining > 0 {
            return;
        }
        link.gone.cancel();
        lock(&self.links).remove(&peer);
        self.forget(&peer);
    }

    pub(super) fn forget(&self, peer: &PeerId) {
        lock(&self.engine).disconnected(peer);
        self.step(Event::Disconnected(*peer));
    }

    /// A peer has opened a stream.
    pub(super) fn inbound(&self, inbound: Inbound) {
        if let Err(error) = self.channels.inbound.try_send(inbound) {
            tracing::debug!(%error, "bitswap: a stream is refused");
        }
    }

    pub(super) fn link(&self, peer: &PeerId) -> Option<Arc<Link>> {
        lock(&self.links).get(peer).cloned()
    }

    /// How many peers are connected.
    #[cfg(test)]
    pub(super) fn links(&self) -> usize {
        let links = lock(&self.links);
        links.values().filter(|link| link.is_known.load(Ordering::Relaxed)).count()
    }

    pub(super) fn is_banned(&self, peer: &PeerId) -> bool {
        lock(&self.banned).get(peer).is_some_and(|until| *until > Instant::now())
    }

    fn ban(&self, peer: PeerId) {
        tracing::warn!(%peer, "bitswap: dropping a peer that sends blocks nobody asked for");
        let now = Instant::now();
        let mut banned = lock(&self.banned);
        banned.retain(|_, until| *until > now);
        if banned.len() < BANNED_MAX {
            banned.insert(peer, now + BAN);
        }
        drop(banned);
        let _ = self.channels.drops.try_send(peer);
    }

    pub(super) fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.engine)
    }

    /// How many wants are worth having at the same time.
    pub(super) fn window(&self) -> usize {
        lock(&self.client).window()
    }

    /// Tells the client what happened and does what it says, but for the blocks that are wanted,
    /// which are returned.
    pub(super) fn step(&self, event: Event) -> Vec<Block> {
        let mut delivered = Vec::new();
        let mut dropped = Vec::new();
        let mut client = lock(&self.client);
        let was_idle = client.is_idle();
        for action in client.step(Instant::now(), event) {
            match action {
                // Under the lock of the client, so that a peer is told in the right order.
                Action::Send(peer, entry) => self.tell(&peer, entry),
                Action::Deliver(block) => delivered.push(block),
                Action::FindProviders(cid) => {
                    // A full channel means that searches are slow: this one comes again.
                    let _ = self.channels.searches.try_send(cid);
                }
                Action::Drop(peer) => dropped.push(peer),
            }
        }
        let is_stirred = was_idle && !client.is_idle();
        drop(client);
        if is_stirred {
            self.stirred.notify_one();
        }
        for peer in dropped {
            self.ban(peer);
            self.forget(&peer);
        }
        delivered
    }

    fn tell(&self, peer: &PeerId, entry: Entry) {
        let Some(link) = self.link(peer) else { return };
        lock(&link.outbox).insert(entry.cid.clone(), entry);
        link.has_wants.notify_one();
    }
}

impl Link {
    fn new(peer: PeerId) -> Self {
        Self {
            peer,
            connections: Mutex::default(),
            is_known: AtomicBool::new(false),
            outbox: Mutex::default(),
            has_wants: Notify::new(),
            has_blocks: Notify::new(),
            room: Arc::new(Semaphore::new(PEER_BYTES)),
            gone: CancellationToken::new(),
        }
    }

    /// Opens a stream.
    pub(super) async fn open(&self) -> Result<(Stream, Version), OpenError> {
        let gone = || OpenError::Failed("the connection is gone".to_owned());
        let opener = lock(&self.connections).last().map(|(_, opener)| opener.clone());
        let (reply, stream) = oneshot::channel();
        opener.ok_or_else(gone)?.send(reply).await.map_err(|_| gone())?;
        stream.await.map_err(|_| gone())?
    }
}
