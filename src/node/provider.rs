//! Telling the network what this node provides, as `Provide.Strategy` says: what is new at once,
//! and everything again from time to time, because other nodes forget.
//!
//! Responsible for: which blocks are announced, and when. Not for: to whom (`net::kad`). Owns the
//! queue of what is new, which is bounded: what does not fit is announced by the next round. A crash
//! loses the queue; the round after the start makes up for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::traverse::links;
use super::walk::{Step, Walk};
use super::{Error, Node, blocking};
use crate::ipld::{Cid, Multihash};
use crate::net::{Network, PeerEvent};
use crate::pins::Mode;
use crate::store::Store;

/// Roots that wait to be announced.
const QUEUE_MAX: usize = 4096;
/// Hashes that are announced at once.
const BATCH: usize = 4096;
/// How long new blocks are collected before they are announced together.
const GATHER: Duration = Duration::from_millis(100);
/// Kubo's `Provide.DHT.Interval`: 22 hours. Records are kept for 48.
pub const INTERVAL_NANOS: i64 = 22 * 3600 * 1_000_000_000;
/// How often the mutable file system is announced while it changes: each time, all of it is.
const MFS_EVERY: Duration = Duration::from_secs(60);
/// Pins read at a time.
const PAGE_PINS: usize = 256;

/// Which blocks are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Strategy {
    scope: Scope,
    /// What of the mutable file system is here, too.
    mfs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Every block that is stored.
    All,
    /// What pins keep.
    Pinned,
    /// The roots of recursive pins, and direct pins.
    Roots,
    /// Nothing for a pin's sake.
    Nothing,
}

impl Strategy {
    /// By Kubo's name; `None` for one that announces nothing.
    fn parse(name: &str) -> Option<Self> {
        if matches!(name, "" | "all" | "flat") {
            return Some(Self { scope: Scope::All, mfs: false });
        }
        let has = |wanted| name.split('+').any(|part| part == wanted);
        let mfs = has("mfs");
        let scope = match (has("pinned"), has("roots")) {
            (true, _) => Scope::Pinned,
            (false, true) => Scope::Roots,
            (false, false) => Scope::Nothing,
        };
        (mfs || scope != Scope::Nothing).then_some(Self { scope, mfs })
    }
}

/// What has been announced so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Roots that wait.
    pub queued: u64,
    /// Blocks that were announced, those that were so before counted again.
    pub keys: u64,
    /// Records that other nodes took.
    pub records: u64,
    /// Blocks of which nobody took a record.
    pub failed: u64,
    /// Blocks of the last whole round.
    pub scheduled: u64,
}

#[derive(Debug, Default)]
struct Counters {
    keys: AtomicU64,
    records: AtomicU64,
    failed: AtomicU64,
    scheduled: AtomicU64,
}

/// A handle to the queue; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Handle {
    roots: mpsc::Sender<Cid>,
    counters: Arc<Counters>,
}

impl Handle {
    /// Announces what hangs below a root, as far as the strategy says so. Never waits.
    fn offer(&self, root: &Cid) {
        if self.roots.try_send(root.clone()).is_err() {
            tracing::debug!(%root, "not announced at once: too much waits");
        }
    }

    fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let waiting = QUEUE_MAX.saturating_sub(self.roots.capacity());
        Counts {
            queued: waiting as u64,
            keys: read(&self.counters.keys),
            records: read(&self.counters.records),
            failed: read(&self.counters.failed),
            scheduled: read(&self.counters.scheduled),
        }
    }
}

impl Node {
    /// What has been announced; zeros on a node that announces nothing.
    #[must_use]
    pub fn provided(&self) -> Counts {
        self.0.provider.as_ref().map(Handle::counts).unwrap_or_default()
    }

    /// Announces a root that is kept from now on, and what is below it, soon.
    pub(super) fn announce_root(&self, root: &Cid) {
        if let Some(provider) = &self.0.provider {
            provider.offer(root);
        }
    }
}

/// The queue of a node that announces what it provides, and its other end.
pub(super) fn queue() -> (Handle, Queue) {
    let (roots, receiver) = mpsc::channel(QUEUE_MAX);
    let counters = Arc::<Counters>::default();
    let handle = Handle { roots, counters: Arc::clone(&counters) };
    (handle, Queue { roots: receiver, counters })
}

/// What [`Service`] reads.
#[derive(Debug)]
pub(super) struct Queue {
    roots: mpsc::Receiver<Cid>,
    counters: Arc<Counters>,
}

/// The task that announces.
#[derive(Debug)]
pub(super) struct Service {
    node: Node,
    network: Network,
    queue: Queue,
    strategy: Strategy,
    /// `None`: nothing is announced again.
    interval: Option<Duration>,
    /// The id of the last row of the store that was looked at.
    cursor: u64,
    /// The root of the mutable file system that was announced last, and when to look at it again.
    announced_mfs: Option<Cid>,
    mfs_due: Option<Instant>,
    next_round: Option<Instant>,
    had_keepers: bool,
}

impl Service {
    /// The task, unless the config says that nothing is announced.
    pub(super) fn new(node: Node, network: Network, queue: Queue) -> Option<Self> {
        let config = node.config();
        let name = config.text("Provide.Strategy").unwrap_or_default().to_owned();
        let strategy = Strategy::parse(&name)?;
        let nanos = config.nanos("Provide.DHT.Interval").unwrap_or(INTERVAL_NANOS);
        let interval = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0);
        Some(Self {
            node,
            network,
            queue,
            strategy,
            interval: interval.map(Duration::from_nanos),
            cursor: 0,
            announced_mfs: None,
            mfs_due: None,
            next_round: None,
            had_keepers: false,
        })
    }

    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut events = self.network.events();
        let mut commits = self.node.store().commits();
        loop {
            let (round, mfs) = (self.next_round, self.mfs_due);
            let step = async {
                tokio::select! {
                    root = self.queue.roots.recv() => {
                        match root {
                            Some(root) => self.root(root).await,
                            None => std::future::pending().await,
                        }
                    }
                    _ = commits.changed() => {
                        tokio::time::sleep(GATHER).await;
                        commits.mark_unchanged();
                        self.new_blocks().await
                    }
                    event = events.recv() => self.peers(&event).await,
                    () = until(round) => self.round().await,
                    () = until(mfs) => self.mfs().await,
                }
            };
            let done = tokio::select! {
                () = &mut stop => return,
                done = step => done,
            };
            if let Err(error) = done {
                tracing::warn!("blocks could not be announced: {error}");
            }
        }
    }

    /// Somebody came or went: with the first that keeps records, everything is announced.
    async fn peers(
        &mut self,
        event: &Result<PeerEvent, broadcast::error::RecvError>,
    ) -> Result<(), Error> {
        if let Err(broadcast::error::RecvError::Closed) = event {
            return std::future::pending().await;
        }
        let has_keepers = self.network.has_record_keepers();
        if has_keepers && !std::mem::replace(&mut self.had_keepers, has_keepers) {
            return self.round().await;
        }
        self.had_keepers = has_keepers;
        Ok(())
    }

    /// A root is kept from now on.
    async fn root(&mut self, root: Cid) -> Result<(), Error> {
        if !self.had_keepers {
            return Ok(());
        }
        match self.strategy.scope {
            Scope::Nothing => Ok(()),
            Scope::Roots => self.announce(vec![root.hash().clone()]).await,
            Scope::All | Scope::Pinned => self.below(root).await,
        }
    }

    /// Blocks have been stored.
    async fn new_blocks(&mut self) -> Result<(), Error> {
        if self.strategy.mfs {
            self.mfs_due.get_or_insert_with(|| Instant::now() + MFS_EVERY);
        }
        if self.strategy.scope != Scope::All || !self.had_keepers {
            return Ok(());
        }
        loop {
            let (store, after) = (self.node.store().clone(), self.cursor);
            let batch = blocking(move || {
                let rows = store.iterate_after(after).take(BATCH);
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            });
            let batch = batch.await?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            self.cursor = *last;
            self.announce(batch.into_iter().map(|(_, hash)| hash).collect()).await?;
        }
    }

    /// Announces everything.
    async fn round(&mut self) -> Result<(), Error> {
        self.next_round = self.interval.map(|interval| Instant::now() + interval);
        let before = self.queue.counters.keys.load(Ordering::Relaxed);
        if self.strategy.mfs {
            self.announced_mfs = None;
            self.mfs().await?;
        }
        match self.strategy.scope {
            Scope::Nothing => {}
            Scope::All => {
                self.cursor = 0;
                self.new_blocks().await?;
            }
            scope @ (Scope::Pinned | Scope::Roots) => {
                for mode in [Mode::Recursive, Mode::Direct] {
                    self.pinned(mode, scope).await?;
                }
            }
        }
        let counters = &self.queue.counters;
        let keys = counters.keys.load(Ordering::Relaxed).saturating_sub(before);
        counters.scheduled.store(keys, Ordering::Relaxed);
        Ok(())
    }

    /// Announces what of the mutable file system is here, if it has changed.
    async fn mfs(&mut self) -> Result<(), Error> {
        self.mfs_due = None;
        let Some(root) = self.node.mfs().roots().into_iter().next() else { return Ok(()) };
        if !self.had_keepers || self.announced_mfs.as_ref() == Some(&root) {
            return Ok(());
        }
        self.announced_mfs = Some(root.clone());
        self.below(root).await
    }

    async fn pinned(&mut self, mode: Mode, scope: Scope) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let pins = self.node.pins().page(mode, &after, None, PAGE_PINS)?;
            let Some(last) = pins.last() else { return Ok(()) };
            after.clone_from(&last.text);
            if scope == Scope::Pinned && mode == Mode::Recursive {
                for pin in pins {
                    self.below(pin.cid).await?;
                }
            } else {
                let hashes = pins.into_iter().map(|pin| pin.cid.hash().clone()).collect();
                self.announce(hashes).await?;
            }
        }
    }

    /// Announces a DAG as far as it is here.
    async fn below(&mut self, root: Cid) -> Result<(), Error> {
        let mut walk = Some(Walk::new(root));
        while let Some(part) = walk.take() {
            let store = self.node.store().clone();
            let (hashes, rest) = blocking(move || some_of(&store, part)).await?;
            walk = rest;
            self.announce(hashes).await?;
        }
        Ok(())
    }

    async fn announce(&self, hashes: Vec<Multihash>) -> Result<(), Error> {
        if hashes.is_empty() {
            return Ok(());
        }
        let announced = self.network.provide(&hashes).await;
        let counters = &self.queue.counters;
        let count = if announced.peers > 0 { &counters.keys } else { &counters.failed };
        count.fetch_add(hashes.len() as u64, Ordering::Relaxed);
        counters.records.fetch_add(announced.records, Ordering::Relaxed);
        Ok(())
    }
}

/// The next blocks of a walk that are here, and the rest of the walk. What is not here has nothing
/// below it.
fn some_of(store: &Store, mut walk: Walk) -> Result<(Vec<Multihash>, Option<Walk>), Error> {
    let mut hashes = Vec::new();
    while hashes.len() < BATCH {
        let mut is_here = false;
        let step = walk.step(|cid| {
            let found = links(store, cid).unwrap_or_else(|error| {
                tracing::debug!(%cid, %error, "not announced");
                None
            });
            is_here = found.is_some();
            Ok::<_, Error>(Some(found.map(|(links, _)| links).unwrap_or_default()))
        })?;
        match step {
            Step::Visited(cid) if is_here => hashes.push(cid.hash().clone()),
            Step::Visited(_) => {}
            Step::Missing(_) | Step::Done => return Ok((hashes, None)),
        }
    }
    Ok((hashes, Some(walk)))
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_those_of_kubo() {
        for (name, scope, mfs) in [
            ("", Scope::All, false),
            ("all", Scope::All, false),
            ("pinned", Scope::Pinned, false),
            ("roots", Scope::Roots, false),
            ("mfs", Scope::Nothing, true),
            ("pinned+mfs", Scope::Pinned, true),
        ] {
            assert_eq!(Strategy::parse(name), Some(Strategy { scope, mfs }), "{name}");
        }
        assert_eq!(Strategy::parse("nothing"), None);
    }
}
