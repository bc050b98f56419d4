//! Bitswap at work: the tasks that read and write streams, around the state of client and engine.
//!
//! Three tasks a peer: one for each stream that it opens, one that tells it what is wanted, one that
//! sends it what it wants. State is behind two locks, held for moments and never across an await;
//! of both at a time, never. Bounded: a peer has [`PEER_BYTES`] of messages in memory, read or
//! being stored, and two messages being written; the messages to a slow peer are small.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indexmap::IndexMap;
use libp2p::swarm::{ConnectionId, Stream};
use libp2p_identity::PeerId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::behaviour::{Inbound, OpenError, Opening};
use super::client::{self, Action, Client, Event};
use super::engine::{Batch, Engine};
use super::message::{Entry, Message, Payload, Presence, Version, WantType};
use super::wire;
use crate::ipld::{Block, Cid, hash};

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
/// Wants in one message.
const ENTRIES_MAX: usize = 4096;
/// Bytes of blocks in one message: at first, at least, and at most to a peer that is fast.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_BYTES_MIN: usize = 32 << 10;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A message that takes longer to write is followed by a smaller one, and the other way round.
const SLOW_WRITE: Duration = Duration::from_millis(500);
const FAST_WRITE: Duration = Duration::from_millis(100);
/// A stream of ours that was not used for so long is closed.
const IDLE_STREAM: Duration = Duration::from_secs(60);
/// Between attempts to open a stream.
const REOPEN_DELAY: Duration = Duration::from_millis(500);
/// Wants that are looked up on the calling thread.
const INLINE_LOOKUPS: usize = 16;
/// Of the time, looking for blocks that peers wait for takes a twentieth at most.
const RECHECK_SHARE: u32 = 20;
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
    client: Mutex<Client>,
    engine: Mutex<Engine>,
    links: Mutex<HashMap<PeerId, Arc<Link>>>,
    banned: Mutex<HashMap<PeerId, Instant>>,
    /// Peers whose tasks are to be started.
    new_links: Mutex<Vec<Arc<Link>>>,
    has_new_links: Notify,
    /// The client may have got something to wait for.
    stirred: Notify,
    /// Blocks that peers wait for may have come unnoticed.
    recheck: Notify,
    channels: Channels,
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
struct Link {
    peer: PeerId,
    connections: Mutex<Vec<(ConnectionId, mpsc::Sender<Opening>)>>,
    /// Whether client and engine know of it.
    is_known: AtomicBool,
    /// What it is to be told of wants; what was said before is replaced.
    outbox: Mutex<IndexMap<Cid, Entry>>,
    has_wants: Notify,
    has_blocks: Notify,
    room: Arc<Semaphore>,
    gone: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    fn forget(&self, peer: &PeerId) {
        lock(&self.engine).disconnected(peer);
        self.step(Event::Disconnected(*peer));
    }

    /// A peer has opened a stream.
    pub(super) fn inbound(&self, inbound: Inbound) {
        if let Err(error) = self.channels.inbound.try_send(inbound) {
            tracing::debug!(%error, "bitswap: a stream is refused");
        }
    }

    fn link(&self, peer: &PeerId) -> Option<Arc<Link>> {
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
    async fn open(&self) -> Result<(Stream, Version), OpenError> {
        let gone = || OpenError::Failed("the connection is gone".to_owned());
        let opener = lock(&self.connections).last().map(|(_, opener)| opener.clone());
        let (reply, stream) = oneshot::channel();
        opener.ok_or_else(gone)?.send(reply).await.map_err(|_| gone())?;
        stream.await.map_err(|_| gone())?
    }
}

/// The tasks of Bitswap.
pub struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) inbound: mpsc::Receiver<Inbound>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Speaks with peers until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(tell_the_time(Arc::clone(&self.shared)));
        tasks.spawn(watch_the_store(Arc::clone(&self.shared)));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(inbound) = self.inbound.recv() => {
                    tasks.spawn(read_stream(Arc::clone(&self.shared), inbound));
                }
                () = self.shared.has_new_links.notified() => {
                    for link in std::mem::take(&mut *lock(&self.shared.new_links)) {
                        tasks.spawn(tell_wants(Arc::clone(&self.shared), Arc::clone(&link)));
                        tasks.spawn(send_blocks(Arc::clone(&self.shared), link));
                    }
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        tasks.shutdown().await;
    }
}

/// Lets the client notice what does not happen, while it wants something.
async fn tell_the_time(shared: Arc<Shared>) {
    loop {
        if lock(&shared.client).is_idle() {
            shared.stirred.notified().await;
        }
        tokio::time::sleep(client::TICK).await;
        shared.step(Event::Tick);
    }
}

/// Looks for blocks that peers wait for, when blocks have come.
async fn watch_the_store(shared: Arc<Shared>) {
    let mut changes = shared.blocks.changes();
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = shared.recheck.notified() => {}
        }
        let absent = lock(&shared.engine).absent();
        if absent.is_empty() {
            continue;
        }
        let began = Instant::now();
        let blocks = Arc::clone(&shared.blocks);
        let found = tokio::task::spawn_blocking(move || {
            let look = |cid: Cid| blocks.size(&cid).map(|size| (cid, size));
            let look_all = |cids: Vec<Cid>| cids.into_iter().filter_map(look).collect::<Vec<_>>();
            absent.into_iter().map(|(peer, cids)| (peer, look_all(cids))).collect::<Vec<_>>()
        });
        // It fails when the runtime goes down.
        let Ok(found) = found.await else { return };
        for (peer, blocks) in found {
            if lock(&shared.engine).found(&peer, blocks)
                && let Some(link) = shared.link(&peer)
            {
                link.has_blocks.notify_one();
            }
        }
        tokio::time::sleep(began.elapsed() * RECHECK_SHARE).await;
    }
}

/// Reads the messages of a stream.
async fn read_stream(shared: Arc<Shared>, inbound: Inbound) {
    let Inbound { peer, mut stream } = inbound;
    let Some(link) = shared.link(&peer).filter(|_| !shared.is_banned(&peer)) else { return };
    let read = async {
        while let Some(len) = wire::read_len(&mut stream).await? {
            let room = u32::try_from(len.max(1)).unwrap_or(u32::MAX);
            let room = Arc::clone(&link.room).acquire_many_owned(room).await;
            let room = room.map_err(io::Error::other)?;
            let body = wire::read_body(&mut stream, len).await?;
            let message = Message::decode(&body).map_err(io::Error::other)?;
            receive(&shared, &link, message, room).await;
        }
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        () = link.gone.cancelled() => {}
        done = read => {
            if let Err(error) = done {
                tracing::debug!(%peer, %error, "bitswap: a stream ends early");
            }
        }
    }
}

/// Takes in a message.
async fn receive(shared: &Shared, link: &Link, message: Message, room: OwnedSemaphorePermit) {
    let Message { entries, full, blocks, presences, .. } = message;
    shared.counters.messages_received.fetch_add(1, Ordering::Relaxed);
    if !entries.is_empty() || full {
        take_wants(shared, link, entries, full).await;
    }
    if blocks.is_empty() && presences.is_empty() {
        return;
    }
    let blocks = take_blocks(shared, link.peer, blocks, presences);
    if !blocks.is_empty() {
        // Fails when the node is going down.
        let _ = shared.channels.arrivals.send(Arrivals { blocks, _room: room }).await;
    }
}

/// Checks the blocks of a message and returns those that are wanted.
fn take_blocks(
    shared: &Shared,
    from: PeerId,
    blocks: Vec<Payload>,
    presences: Vec<Presence>,
) -> Vec<Block> {
    let named: Vec<Block> = blocks.into_iter().filter_map(name).collect();
    let counters = &shared.counters;
    let bytes = |blocks: &[Block]| blocks.iter().map(|block| block.data.len() as u64).sum::<u64>();
    counters.blocks_received.fetch_add(named.len() as u64, Ordering::Relaxed);
    counters.data_received.fetch_add(bytes(&named), Ordering::Relaxed);
    let came: Vec<Cid> = named.iter().map(|block| block.cid.clone()).collect();
    let wanted = shared.step(Event::Message { from, blocks: named, presences });
    if wanted.len() < came.len() {
        // Few, and mostly here already: somebody else was faster.
        let taken: Vec<_> = wanted.iter().map(|block| block.cid.hash()).collect();
        for cid in came.iter().filter(|cid| !taken.contains(&cid.hash())) {
            if let Some(size) = shared.blocks.size(cid) {
                counters.dup_blocks_received.fetch_add(1, Ordering::Relaxed);
                counters.dup_data_received.fetch_add(size, Ordering::Relaxed);
            }
        }
    }
    let mut engine = lock(&shared.engine);
    wanted.iter().for_each(|block| engine.received(&from, block.data.len() as u64));
    drop(engine);
    wanted
}

/// The block with its CID, if there is a CID for it.
fn name(payload: Payload) -> Option<Block> {
    let cid = payload.prefix.sum(&payload.data).ok()?;
    let is_fine = hash::validate(cid.hash()).is_ok() && cid.hash().code() != hash::IDENTITY;
    is_fine.then_some(Block { cid, data: payload.data })
}

/// Takes in what a peer wants.
async fn take_wants(shared: &Shared, link: &Link, entries: Vec<Entry>, full: bool) {
    let changes = shared.blocks.changes();
    let blocks = Arc::clone(&shared.blocks);
    let look = move |entry: Entry| {
        let size = if entry.cancel { None } else { blocks.size(&entry.cid) };
        (entry, size)
    };
    let entries = if entries.len() <= INLINE_LOOKUPS {
        entries.into_iter().map(look).collect()
    } else {
        let looked = tokio::task::spawn_blocking(move || entries.into_iter().map(look).collect());
        // It fails when the runtime goes down.
        let Ok(entries) = looked.await else { return };
        entries
    };
    if lock(&shared.engine).receive(&link.peer, full, entries) {
        link.has_blocks.notify_one();
    }
    if changes.has_changed().unwrap_or_default() {
        // What was looked for may have come between the look and the note.
        shared.recheck.notify_one();
    }
}

/// Tells a peer what is wanted, as long as it is connected.
async fn tell_wants(shared: Arc<Shared>, link: Arc<Link>) {
    let tell = async {
        let mut stream: Option<(Stream, Version)> = None;
        loop {
            if lock(&link.outbox).is_empty() {
                let woken = tokio::time::timeout(IDLE_STREAM, link.has_wants.notified());
                if woken.await.is_err() {
                    stream = None;
                    link.has_wants.notified().await;
                }
                continue;
            }
            let (writer, version) = match &mut stream {
                Some(stream) => stream,
                None => match link.open().await {
                    Ok(opened) => {
                        shared.step(Event::Speaks(link.peer, opened.1));
                        stream.insert(opened)
                    }
                    Err(OpenError::Unsupported) => return shared.forget(&link.peer),
                    Err(error) => {
                        tracing::debug!(peer = %link.peer, %error, "bitswap: cannot tell wants");
                        tokio::time::sleep(REOPEN_DELAY).await;
                        continue;
                    }
                },
            };
            let entries = take_entries(&link, *version);
            let message = Message { entries, ..Message::default() };
            if let Err(error) = wire::write(writer, &message.encode(*version)).await {
                tracing::debug!(peer = %link.peer, %error, "bitswap: wants were not taken");
                stream = None;
                put_back(&link, message.entries);
                tokio::time::sleep(REOPEN_DELAY).await;
            }
        }
    };
    tokio::select! {
        () = link.gone.cancelled() => {}
        () = tell => {}
    }
}

fn take_entries(link: &Link, version: Version) -> Vec<Entry> {
    let mut outbox = lock(&link.outbox);
    let count = outbox.len().min(ENTRIES_MAX);
    let mut entries: Vec<Entry> = outbox.drain(..count).map(|(_, entry)| entry).collect();
    drop(outbox);
    if !version.knows_have() {
        for entry in &mut entries {
            entry.want = WantType::Block;
        }
    }
    entries
}

/// Entries that were not sent after all; what has changed since is newer.
fn put_back(link: &Link, entries: Vec<Entry>) {
    let mut outbox = lock(&link.outbox);
    for entry in entries {
        outbox.entry(entry.cid.clone()).or_insert(entry);
    }
}

/// What is to be written next, and which blocks are in it.
struct Outgoing {
    message: Message,
    blocks: u64,
    bytes: u64,
}

/// Sends a peer what it wants, as long as it is connected.
async fn send_blocks(shared: Arc<Shared>, link: Arc<Link>) {
    let send = async {
        let mut stream: Option<(Stream, Version)> = None;
        let mut budget = BATCH_BYTES;
        let mut next = None;
        loop {
            if next.is_none() {
                next = prepare(&shared, &link, budget).await;
            }
            let Some(outgoing) = next.take() else {
                let woken = tokio::time::timeout(IDLE_STREAM, link.has_blocks.notified());
                if woken.await.is_err() {
                    stream = None;
                    link.has_blocks.notified().await;
                }
                continue;
            };
            let began = Instant::now();
            // The next message is read from the store while this one is written.
            let written;
            (written, next) = tokio::join!(
                write_message(&link, &mut stream, &outgoing.message),
                prepare(&shared, &link, budget)
            );
            match written {
                Ok(()) => {
                    let counters = &shared.counters;
                    counters.blocks_sent.fetch_add(outgoing.blocks, Ordering::Relaxed);
                    counters.data_sent.fetch_add(outgoing.bytes, Ordering::Relaxed);
                }
                Err(OpenError::Unsupported) => return,
                Err(error) => {
                    tracing::debug!(peer = %link.peer, %error, "bitswap: blocks were not taken");
                    stream = None;
                }
            }
            budget = match began.elapsed() {
                took if took > SLOW_WRITE => (budget / 2).max(BATCH_BYTES_MIN),
                took if took < FAST_WRITE => (budget * 2).min(BATCH_BYTES_MAX),
                _ => budget,
            };
        }
    };
    tokio::select! {
        () = link.gone.cancelled() => {}
        () = send => {}
    }
}

async fn write_message(
    link: &Link,
    stream: &mut Option<(Stream, Version)>,
    message: &Message,
) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Failed(error.to_string());
    if let Some((writer, version)) = stream {
        let pieces = message.encode(*version);
        if wire::write(writer, &pieces).await.is_ok() {
            return Ok(());
        }
        *stream = None;
    }
    // Once more, on a new stream: the other side may have closed the old one.
    let (writer, version) = stream.insert(link.open().await?);
    wire::write(writer, &message.encode(*version)).await.map_err(failed)
}

/// Reads what a peer is to get next; `None` when there is nothing for it.
async fn prepare(shared: &Shared, link: &Link, budget: usize) -> Option<Outgoing> {
    loop {
        let batch = lock(&shared.engine).next(&link.peer, budget)?;
        let Batch { blocks, haves, mut dont_haves, pending_bytes } = batch;
        let store = Arc::clone(&shared.blocks);
        let read = move || -> Vec<(Cid, bool, Option<Bytes>)> {
            let read = |(cid, tell): (Cid, bool)| {
                let data = store.get(&cid);
                (cid, tell, data)
            };
            blocks.into_iter().map(read).collect()
        };
        // It fails when the runtime goes down.
        let read = tokio::task::spawn_blocking(read).await.ok()?;
        let vanished = read.iter().filter(|(.., data)| data.is_none()).map(|(cid, ..)| cid);
        let here = read.iter().filter_map(|(cid, _, data)| Some((cid, data.as_ref()?)));
        let mut engine = lock(&shared.engine);
        engine.vanished(&link.peer, vanished);
        engine.sent(&link.peer, here.map(|(cid, data)| (cid, data.len() as u64)));
        drop(engine);
        let (mut blocks, mut bytes) = (Vec::with_capacity(read.len()), 0);
        for (cid, tell, data) in read {
            match data {
                Some(data) => {
                    bytes += data.len() as u64;
                    blocks.push(Payload { prefix: cid.prefix(), data });
                }
                None if tell => dont_haves.push(cid),
                None => {}
            }
        }
        let haves = haves.into_iter().map(|cid| Presence { cid, has: true });
        let dont_haves = dont_haves.into_iter().map(|cid| Presence { cid, has: false });
        let presences = haves.chain(dont_haves).collect();
        let pending_bytes = i32::try_from(pending_bytes).unwrap_or(i32::MAX);
        let message = Message { blocks, presences, pending_bytes, ..Message::default() };
        if !message.is_empty() {
            let blocks = message.blocks.len() as u64;
            return Some(Outgoing { message, blocks, bytes });
        }
    }
}
