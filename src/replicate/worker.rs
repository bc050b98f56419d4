//! The work: takes rows whose turn it is, has them fetched, and makes the pins.
//!
//! Owns what is under way. Completions are committed many at a time: while one transaction is
//! written, the next is gathered. A fetch that nobody's blocks come for holds no place that another
//! could use, and gives up after a while; so one CID that cannot be had delays no other.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::lane::{self, Lane};
use super::places::{Places, cost};
use super::queue::{Progress, Queue};
use super::row::{self, Row, State};
use super::{Error, follow};
use crate::db::{Db, Transaction};
use crate::ipld::Cid;
use crate::pins::Mode;
use crate::sync::hash::Key;

/// Rows read at a time beyond those that are under way.
const READ_AHEAD_ROWS: usize = 64;
/// Rows whose wait is over that one transaction lets take their turn.
const PROMOTED_MAX: usize = 4096;
/// Pins that end in one transaction.
const ENDED_MAX: usize = 512;
/// The wall clock is looked at again after this at the latest: it may have been set.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// After a failure of the database.
const PAUSE: Duration = Duration::from_secs(5);
/// What is too large for the disk is tried again after this, in milliseconds.
const FULL_MS: u64 = 5 * 60_000;
/// Bytes of an error that are kept.
const ERROR_LEN_MAX: usize = 512;

/// What is to be held.
#[derive(Debug, Clone)]
pub struct Task {
    /// What.
    pub cid: Cid,
    /// How much of it.
    pub mode: Mode,
    /// Who may have it: binary peer ids, best first.
    pub peers: Vec<Vec<u8>>,
    /// Where it was first: binary multiaddrs.
    pub origins: Vec<Vec<u8>>,
    /// Where what is here is to be counted.
    pub progress: Progress,
}

/// Why content is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no room for it.
    #[error("the disk is full")]
    DiskFull,
    /// It cannot be had, or is no DAG.
    #[error("{0}")]
    Failed(String),
}

/// Where content comes from and stays; the node's.
pub trait Content: Send + Sync + 'static {
    /// Keeps what was fetched from the collector while it lives.
    type Guard: Send + 'static;

    /// Makes all of a task's blocks present and durable. Dropping the future ends it; the blocks
    /// that came stay.
    fn hold(&self, task: Task) -> impl Future<Output = Result<Self::Guard, Failure>> + Send;

    /// Bytes that may still be fetched; `None` when that is not known.
    fn room_bytes(&self) -> Option<u64>;

    /// A pin is durable.
    fn pinned(&self, cid: &Cid);
}

/// How long things take.
#[derive(Debug, Clone)]
pub struct Options {
    /// A fetch that made no progress for so long lends its place to others.
    pub grace: Duration,
    /// One that made none for so long gives up.
    pub patience: Duration,
    /// The same in [`Lane::Stalled`].
    pub probe_patience: Duration,
    /// How often it is looked how far they are.
    pub look: Duration,
    /// How often that is written down.
    pub save: Duration,
    /// For how long it is known how much room there is.
    pub room: Duration,
    /// How often a full disk is looked at.
    pub full: Duration,
    /// Fetches without progress at the same time; of more, the longest without gives up.
    pub idle_max: usize,
    /// The wall clock in Unix milliseconds.
    pub now_ms: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: Duration::from_millis(250),
            patience: Duration::from_secs(60),
            probe_patience: Duration::from_secs(20),
            look: Duration::from_millis(100),
            save: Duration::from_secs(5),
            room: Duration::from_secs(1),
            full: Duration::from_secs(10),
            idle_max: 256,
            now_ms: wall_ms,
        }
    }
}

fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The task that fetches.
#[derive(Debug)]
pub struct Service<C: Content> {
    db: Db,
    content: Arc<C>,
    queue: Queue,
    options: Options,

    places: Places,
    /// Read from the table, not yet begun.
    waiting: [VecDeque<Row>; 4],
    /// Whether the table has no more rows of the lane.
    is_last: [bool; 4],
    /// The table may say something else by now.
    is_stale: bool,
    /// The same of what is under way.
    may_be_unwanted: bool,
    /// When the next row that waits is due, in Unix milliseconds.
    due_ms: Option<u64>,
    fetches: JoinSet<Result<C::Guard, Failure>>,
    running: HashMap<Key, Running>,
    /// Which fetch a task is.
    tasks: HashMap<Id, Key>,
    /// To be committed.
    done: Vec<Done<C::Guard>>,
    /// What is being committed.
    committing: Vec<Key>,
    looked_at: Instant,
    saved_at: Instant,
    room: Option<u64>,
    room_at: Option<Instant>,
    paused_until: Option<Instant>,
}

/// A fetch that is under way.
#[derive(Debug)]
struct Running {
    row: Row,
    progress: Progress,
    abort: AbortHandle,
    /// Blocks and bytes when it was last looked.
    seen: (u64, u64),
    saved: (u64, u64),
    moved_at: Instant,
    /// It has lent its place.
    is_idle: bool,
}

impl Running {
    fn done(&self) -> (u64, u64) {
        (self.progress.nodes(), self.progress.bytes())
    }

    /// What it is expected to need still: the rest, or as much again when that is not known.
    fn reserved(&self) -> u64 {
        let here = self.progress.bytes();
        self.row.size_bytes.map_or(here, |size| size.saturating_sub(here))
    }
}

/// What came of a fetch.
#[derive(Debug)]
struct Done<G> {
    row: Row,
    done: (u64, u64),
    result: Result<G, Failure>,
}

type Commit<G> = BoxFuture<'static, (Result<Vec<Cid>, Error>, Vec<Done<G>>)>;

impl<C: Content> Service<C> {
    /// Fetches what the tables of `db` say to `content`; `queue` wakes it.
    pub fn new(db: Db, content: C, queue: Queue, options: Options) -> Self {
        let now = Instant::now();
        Self {
            db,
            content: Arc::new(content),
            queue,
            options,
            places: Places::default(),
            waiting: Default::default(),
            is_last: [false; 4],
            is_stale: true,
            may_be_unwanted: false,
            due_ms: None,
            fetches: JoinSet::new(),
            running: HashMap::new(),
            tasks: HashMap::new(),
            done: Vec::new(),
            committing: Vec::new(),
            looked_at: now,
            saved_at: now,
            room: None,
            room_at: None,
            paused_until: None,
        }
    }

    /// Works until `stop` resolves. What is under way then is dropped, and has its turn again.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.work() => {}
        }
        self.running.keys().for_each(|key| self.queue.end(key));
    }

    async fn work(&mut self) {
        let queue = self.queue.clone();
        if let Err(error) = self.right_clock().await {
            self.pause(&error);
        }
        let mut commit: Option<Commit<C::Guard>> = None;
        loop {
            if let Err(error) = self.begin_more() {
                self.pause(&error);
            }
            if commit.is_none() {
                commit = self.commit();
            }
            let timer = self.timer();
            tokio::select! {
                () = queue.woken() => (self.is_stale, self.may_be_unwanted) = (true, true),
                Some(ended) = self.fetches.join_next_with_id(), if !self.fetches.is_empty() => {
                    self.ended(ended);
                    while let Some(ended) = self.fetches.try_join_next_with_id() {
                        self.ended(ended);
                    }
                }
                (result, done) = async { match &mut commit {
                    Some(commit) => commit.await,
                    None => std::future::pending().await,
                } } => {
                    commit = None;
                    self.committed(result, done);
                }
                () = tokio::time::sleep_until(timer) => {
                    if let Err(error) = self.look().await {
                        self.pause(&error);
                    }
                }
            }
        }
    }

    /// A clock that was ahead must not have rows wait for it.
    async fn right_clock(&mut self) -> Result<(), Error> {
        let now_ms = (self.options.now_ms)();
        self.db.write(move |tx| row::right_clock(tx, now_ms, lane::RETRY_MS_MAX)).await
    }

    fn pause(&mut self, error: &Error) {
        tracing::error!(%error, "pins cannot be taken from the queue, or put into it");
        self.paused_until = Some(Instant::now() + PAUSE);
        self.is_stale = true;
    }

    /// When there is something to look at next.
    fn timer(&self) -> Instant {
        let now = Instant::now();
        let mut next = now + LOOK_MAX;
        if !self.running.is_empty() {
            next = next.min(self.looked_at + self.options.look);
        }
        if self.queue.is_full() {
            next = next.min(now + self.options.full);
        }
        if let Some(due_ms) = self.due_ms {
            let wait_ms = due_ms.saturating_sub((self.options.now_ms)());
            next = next.min(now + Duration::from_millis(wait_ms).min(LOOK_MAX));
        }
        match self.paused_until {
            Some(until) => next.max(until),
            None => next,
        }
    }

    /// Begins what there is room for.
    fn begin_more(&mut self) -> Result<(), Error> {
        if self.paused_until.is_some_and(|until| until > Instant::now()) {
            return Ok(());
        }
        self.paused_until = None;
        if std::mem::take(&mut self.is_stale) {
            self.waiting = Default::default();
            self.is_last = [false; 4];
            self.due_ms = self.db.read(|c| {
                let (due, end) = (row::next_due(c)?, follow::next_end(c)?);
                Ok::<_, Error>(due.into_iter().chain(end).min())
            })?;
        }
        loop {
            let mut first = Vec::with_capacity(4);
            for lane in Lane::ALL {
                first.extend(self.first_cost(lane)?.map(|cost| (lane, cost)));
            }
            let Some(lane) = self.places.next(first) else { return Ok(()) };
            if !self.has_room() {
                return Ok(());
            }
            if let Some(row) = self.waiting(lane).and_then(VecDeque::pop_front) {
                self.begin(row);
            }
        }
    }

    /// What the next of a lane takes of its places.
    fn first_cost(&mut self, lane: Lane) -> Result<Option<u32>, Error> {
        let at = usize::from(lane.number());
        let is_empty = self.waiting(lane).is_none_or(|waiting| waiting.is_empty());
        if is_empty && self.is_last.get(at) == Some(&false) && self.places.has_room(lane, 1) {
            self.read(lane)?;
        }
        let first = self.waiting(lane).and_then(|waiting| waiting.front());
        Ok(first.map(|row| cost(row.size_bytes)))
    }

    fn waiting(&mut self, lane: Lane) -> Option<&mut VecDeque<Row>> {
        self.waiting.get_mut(usize::from(lane.number()))
    }

    /// Reads the next rows of a lane, but for those under way.
    fn read(&mut self, lane: Lane) -> Result<(), Error> {
        let under_way = self.running.len() + self.done.len() + self.committing.len();
        let limit = under_way + READ_AHEAD_ROWS;
        let mut rows = self.db.read(|c| row::ready(c, lane, limit))?;
        if let Some(is_last) = self.is_last.get_mut(usize::from(lane.number())) {
            *is_last = rows.len() < limit;
        }
        rows.retain(|row| {
            !self.running.contains_key(&row.key)
                && !self.committing.contains(&row.key)
                && !self.done.iter().any(|done| done.row.key == row.key)
        });
        if let Some(waiting) = self.waiting(lane) {
            *waiting = rows.into();
        }
        Ok(())
    }

    /// Whether there is room on the disk beyond what is expected.
    fn has_room(&mut self) -> bool {
        if self.room_at.is_none_or(|at| at.elapsed() > self.options.room) {
            self.room = self.content.room_bytes();
            self.room_at = Some(Instant::now());
        }
        let is_full = self.room == Some(0);
        if is_full != self.queue.is_full() {
            if is_full {
                tracing::warn!("the disk is full: pins of the group wait for room");
            }
            self.queue.set_full(is_full);
            self.queue.changed();
        }
        !is_full
    }

    fn begin(&mut self, row: Row) {
        let reserved: u64 = self.running.values().map(Running::reserved).sum();
        let needs = row.size_bytes.unwrap_or_default().saturating_sub(row.bytes);
        if self.room.is_some_and(|room| needs > room.saturating_sub(reserved)) {
            let done = (row.blocks, row.bytes);
            self.done.push(Done { row, done, result: Err(Failure::DiskFull) });
            return;
        }
        let progress = Progress::default();
        let task = Task {
            cid: row.cid.clone(),
            mode: row.mode,
            peers: row.peers.clone(),
            origins: row.origins.clone(),
            progress: progress.clone(),
        };
        let content = Arc::clone(&self.content);
        let abort = self.fetches.spawn(async move { content.hold(task).await });
        self.tasks.insert(abort.id(), row.key);
        self.places.take(row.lane, cost(row.size_bytes));
        self.queue.begin(row.key, progress.clone());
        let running = Running {
            progress,
            abort,
            seen: (0, 0),
            saved: (row.blocks, row.bytes),
            moved_at: Instant::now(),
            is_idle: false,
            row,
        };
        self.running.insert(running.row.key, running);
    }

    /// A task has ended.
    fn ended(&mut self, ended: Result<(Id, Result<C::Guard, Failure>), JoinError>) {
        let (id, result) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(Failure::Failed("the fetch panicked".to_owned()))),
        };
        // Those that were told to end have been dealt with.
        if let Some(key) = self.tasks.remove(&id)
            && let Some(running) = self.leave(&key)
        {
            let done = running.done();
            self.done.push(Done { row: running.row, done, result });
        }
    }

    /// Takes a fetch from those under way.
    fn leave(&mut self, key: &Key) -> Option<Running> {
        let running = self.running.remove(key)?;
        self.tasks.remove(&running.abort.id());
        if !running.is_idle {
            self.places.give(running.row.lane, cost(running.row.size_bytes));
        }
        Some(running)
    }

    fn give_up(&mut self, key: &Key, why: &str) {
        let Some(running) = self.leave(key) else { return };
        running.abort.abort();
        let done = running.done();
        self.done.push(Done { row: running.row, done, result: Err(Failure::Failed(why.into())) });
    }

    /// Writes what has ended, all in one transaction.
    fn commit(&mut self) -> Option<Commit<C::Guard>> {
        if self.done.is_empty() || self.paused_until.is_some() {
            return None;
        }
        let done = std::mem::take(&mut self.done);
        self.committing = done.iter().map(|done| done.row.key).collect();
        let now_ms = (self.options.now_ms)();
        let outcomes: Vec<Outcome> = done.iter().map(|done| Outcome::of(done, now_ms)).collect();
        let db = self.db.clone();
        let commit = async move {
            let write = move |tx: &Transaction<'_>| {
                let mut pinned = Vec::new();
                for outcome in outcomes {
                    match outcome.apply(tx) {
                        // One damaged row must not keep the others.
                        Err(error @ Error::Damaged(_)) => tracing::error!(%error, "a pin"),
                        applied => pinned.extend(applied?),
                    }
                }
                Ok(pinned)
            };
            // What is done keeps its blocks from the collector until the pins are durable.
            (db.write(write).await, done)
        };
        Some(commit.boxed())
    }

    fn committed(&mut self, result: Result<Vec<Cid>, Error>, done: Vec<Done<C::Guard>>) {
        for key in self.committing.drain(..) {
            self.queue.end(&key);
        }
        match result {
            Ok(pinned) => pinned.iter().for_each(|cid| self.content.pinned(cid)),
            Err(error) => {
                self.done.extend(done);
                self.pause(&error);
            }
        }
        self.is_stale = true;
        self.queue.changed();
    }

    /// Looks at what is under way, and lets what waited long enough take its turn.
    async fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.looked_at = now;
        self.look_at_progress(now);
        if self.may_be_unwanted {
            self.drop_unwanted()?;
            self.may_be_unwanted = false;
        }
        if now.duration_since(self.saved_at) >= self.options.save {
            self.saved_at = now;
            self.save().await?;
        }
        if self.queue.is_full() && self.has_room() {
            self.db.write(row::wake_full).await?;
            self.is_stale = true;
        }
        let now_ms = (self.options.now_ms)();
        if self.due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            let write = move |tx: &Transaction<'_>| {
                row::promote(tx, now_ms, PROMOTED_MAX)?;
                follow::remove_ended(tx, now_ms, ENDED_MAX)
            };
            if self.db.write(write).await? > 0 {
                self.queue.changed();
            }
            self.is_stale = true;
        }
        Ok(())
    }

    /// Who does not move lends its place, and gives up in the end.
    fn look_at_progress(&mut self, now: Instant) {
        let mut idle = Vec::new();
        let mut over = Vec::new();
        for (key, running) in &mut self.running {
            let done = running.done();
            let cost = cost(running.row.size_bytes);
            if done != running.seen {
                (running.seen, running.moved_at) = (done, now);
                if std::mem::take(&mut running.is_idle) {
                    self.places.take_back(running.row.lane, cost);
                }
                continue;
            }
            let patience = match running.row.lane {
                Lane::Stalled => self.options.probe_patience,
                _ => self.options.patience,
            };
            let still = now.duration_since(running.moved_at);
            if still >= patience {
                over.push(*key);
            } else if still >= self.options.grace {
                if !std::mem::replace(&mut running.is_idle, true) {
                    self.places.give(running.row.lane, cost);
                }
                // Of what is only probed first.
                idle.push((Reverse(running.row.lane), running.moved_at, *key));
            }
        }
        let surplus = idle.len().saturating_sub(self.options.idle_max);
        idle.sort_unstable();
        over.extend(idle.into_iter().take(surplus).map(|(.., key)| key));
        for key in over {
            self.give_up(&key, "no peer sent any of its blocks");
        }
    }

    /// Ends what is not wanted any more, or not so.
    fn drop_unwanted(&mut self) -> Result<(), Error> {
        let running = &self.running;
        let unwanted = self.db.read(|c| {
            let mut unwanted = Vec::new();
            for (key, running) in running {
                let row = row::row(c, key)?.filter(|row| !row.state.is_unpin());
                if row.is_none_or(|row| row.mode != running.row.mode) {
                    unwanted.push(*key);
                }
            }
            Ok::<_, Error>(unwanted)
        })?;
        for key in unwanted {
            if let Some(running) = self.leave(&key) {
                running.abort.abort();
                self.queue.end(&key);
                self.is_stale = true;
            }
        }
        Ok(())
    }

    /// Writes down how far they are.
    async fn save(&mut self) -> Result<(), Error> {
        let mut moved = Vec::new();
        for (key, running) in &mut self.running {
            let done = running.done();
            // A second try counts from the start: it is not worse off for that.
            let done = (done.0.max(running.row.blocks), done.1.max(running.row.bytes));
            if std::mem::replace(&mut running.saved, done) != done {
                moved.push((*key, done));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let write = move |tx: &Transaction<'_>| {
            moved.iter().try_for_each(|(key, done)| row::set_progress(tx, key, done.0, done.1))
        };
        self.db.write(write).await
    }
}

/// What is written of a fetch that ended.
struct Outcome {
    row: Row,
    done: (u64, u64),
    now_ms: u64,
    failure: Option<Failure>,
}

impl Outcome {
    fn of<G>(done: &Done<G>, now_ms: u64) -> Self {
        let failure = done.result.as_ref().err().cloned();
        Self { row: done.row.clone(), done: done.done, now_ms, failure }
    }

    /// Makes the pin, or notes the failure; if that is still what is wanted. Returns what was
    /// pinned.
    fn apply(self, tx: &Transaction<'_>) -> Result<Option<Cid>, Error> {
        let current = row::row(tx, &self.row.key)?.filter(|row| !row.state.is_unpin());
        let Some(current) = current else { return Ok(None) };
        let Some(failure) = self.failure else {
            if self.row.mode == Mode::Direct && current.mode == Mode::Recursive {
                return Ok(None);
            }
            follow::pin(tx, &current.cid, current.mode, &current.name)?;
            row::delete(tx, &current.key)?;
            return Ok(Some(current.cid));
        };
        // What was asked for anew meanwhile has its own tries.
        if current.digest != self.row.digest {
            return Ok(None);
        }
        let (blocks, bytes) = (current.blocks.max(self.done.0), current.bytes.max(self.done.1));
        let mut error = failure.to_string();
        error.truncate(error.floor_char_boundary(ERROR_LEN_MAX));
        let row = Row { blocks, bytes, error, ..current };
        row::put(tx, &failed(row, &failure, self.now_ms))?;
        Ok(None)
    }
}

/// A row after a failure.
fn failed(row: Row, failure: &Failure, now_ms: u64) -> Row {
    match failure {
        // That is no attempt: it says nothing of who has it.
        Failure::DiskFull => {
            Row { state: State::DiskFull, next_at_ms: Some(now_ms.saturating_add(FULL_MS)), ..row }
        }
        Failure::Failed(_) => {
            let attempts = row.attempts.saturating_add(1);
            let is_stalled = attempts >= lane::STALLED_ATTEMPTS;
            let wait_ms = lane::retry_ms(attempts, rand::random());
            Row {
                state: if is_stalled { State::Stalled } else { State::Failed },
                lane: row.home.after(attempts),
                attempts,
                next_at_ms: Some(now_ms.saturating_add(wait_ms)),
                ..row
            }
        }
    }
}

#[cfg(test)]
mod tests;
