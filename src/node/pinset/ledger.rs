//! The core of the replicated pinset, kept in step with its tables.
//!
//! Owns the one [`Core`] of the process. It is touched only within a write of the state database
//! and lives in memory only as far as its tables are committed: after a write that failed it is
//! dropped, and opened again by the next one. What it wants done is handed on after the commit.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{broadcast, watch};

use super::generation::Generation;
use super::log::{self, Journal};
use super::{changes, follow};
use crate::db::{Connection, Db, Transaction};
use crate::ipld::Cid;
use crate::net::{PeerId, SwarmKey};
use crate::node::{Error, blocking};
use crate::replicate::{self, Counts, Queue, Roster, Subject};
use crate::repo::{Identity, Repo};
use crate::sync::core::{Action, Config, Core, Event, NotReady, Now, Op, Options, Start, WEIGHT};
use crate::sync::db::Tables;
use crate::sync::hash::{Hash, Key};
use crate::sync::keys::Sign as _;
use crate::sync::message::{Binding, Proof, Roots, Status};
use crate::sync::store::Store as _;
use crate::sync::{Author, Group, Kind, Record, Signer, db as tables};

/// Of which group the records are.
const GROUP: &str = "service/group";
/// The number that [`Generation`] compares.
const GENERATION: &str = "service/generation";
/// What other members' pins outlast their end at most before this node removes them, in
/// milliseconds.
const OTHERS_END_MS: u64 = 3600 * 1000;
/// The author key of a node whose identity is no Ed25519 key.
const AUTHOR_FILE: &str = "pinset-author";

/// Who this node is, and in which group.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Basis<'a> {
    /// Where its author key is, when that is one of its own.
    pub(in crate::node) repo: &'a Repo,
    /// Its key pair.
    pub(in crate::node) identity: &'a Identity,
    /// The key of the group.
    pub(in crate::node) key: &'a SwarmKey,
    /// Whether its database is taken for the one that was written last, whatever it looks like.
    pub(in crate::node) is_trusted: bool,
}

/// What is said how often, where it is not the default.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::node) struct Intervals {
    /// Between two hellos, in milliseconds.
    pub(in crate::node) hello_ms: Option<u64>,
    /// Between two announcements when nothing changes, in milliseconds, at most.
    pub(in crate::node) update_ms: Option<u64>,
}

/// What this node tells others of itself.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Own {
    /// Where it is: binary multiaddrs.
    pub(in crate::node) addresses: Vec<Vec<u8>>,
    /// What it holds.
    pub(in crate::node) status: Status,
    /// Whether it takes nothing new.
    pub(in crate::node) is_full: bool,
}

impl Own {
    fn tell(&self, core: &mut Core<Signer>) {
        core.set_addresses(self.addresses.clone());
        core.set_status(self.status);
        core.set_weight(if self.is_full { 0 } else { WEIGHT });
    }
}

/// What can be seen of the core at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Glance {
    /// The trees.
    pub(in crate::node) roots: Roots,
    /// When something is due, in milliseconds of [`Ledger::now`].
    pub(in crate::node) wake_at_ms: u64,
    /// Whether records can be made.
    pub(in crate::node) is_ready: bool,
    /// How often the core was opened; it knows of connections since then only.
    pub(in crate::node) openings: u64,
}

/// The records of the group. Cloning the handle is cheap.
#[derive(Debug, Clone)]
pub(in crate::node) struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    group: Group,
    seed: [u8; 32],
    author: Author,
    config: Config,
    generation: Generation,
    queue: Queue,
    started: Instant,
    started_wall_ms: u64,
    /// Held within a write, for milliseconds; by others for moments.
    state: Mutex<State>,
    glance: watch::Sender<Glance>,
}

#[derive(Debug)]
struct State {
    core: Option<Core<Signer>>,
    openings: u64,
    /// A write has begun and not ended: when the next one finds it so, it panicked.
    is_ahead: bool,
    /// The database is the one that was written last, or a member was heard since.
    is_trusted: bool,
    own: Own,
    roster: Arc<Roster>,
    /// Pins of the group have changed in the transaction that is open.
    has_changes: bool,
    /// What is to be done after the commit, and how much of it there was when the write began.
    actions: Vec<Action>,
    actions_before: usize,
    /// What is to be done now.
    committed: VecDeque<Action>,
    /// Changes of pins, for people; and how many waited when the write began.
    journal: Journal,
    noted_before: usize,
}

impl Ledger {
    /// The records of a group, in `db`; `queue` is woken when they change. Nothing is read before
    /// the first write.
    ///
    /// # Errors
    /// When the author key cannot be read or made.
    pub(in crate::node) fn new(
        db: Db,
        basis: Basis<'_>,
        queue: Queue,
        intervals: Intervals,
    ) -> Result<Self, Error> {
        let Basis { repo, identity, key, is_trusted } = basis;
        let group = Group::derive(&key.psk());
        let seed = author_seed(repo, identity)?;
        let author = signer(&seed)?.author();
        let mut config = Config::new(identity.peer_id().to_bytes());
        config.hello_ms = intervals.hello_ms.unwrap_or(config.hello_ms);
        if let Some(update_ms) = intervals.update_ms {
            config.announce_ms_max = update_ms;
            config.announce_ms_min = config.announce_ms_min.min(update_ms);
        }
        if identity.keypair().clone().try_into_ed25519().is_err() {
            config.binding = Some(binding(identity, &group, &author)?);
        }
        let empty = Glance { roots: Roots::default(), wake_at_ms: 0, is_ready: false, openings: 0 };
        Ok(Self(Arc::new(Inner {
            db,
            group,
            seed,
            author,
            config,
            generation: Generation::new(repo.clone()),
            queue,
            started: Instant::now(),
            started_wall_ms: wall_ms(),
            state: Mutex::new(State {
                core: None,
                openings: 0,
                is_ahead: false,
                is_trusted,
                own: Own::default(),
                roster: Arc::default(),
                has_changes: false,
                actions: Vec::new(),
                actions_before: 0,
                committed: VecDeque::new(),
                journal: Journal::default(),
                noted_before: 0,
            }),
            glance: watch::channel(empty).0,
        })))
    }

    /// The keys of the group.
    pub(in crate::node) fn group(&self) -> &Group {
        &self.0.group
    }

    /// The key that signs this node's records.
    pub(in crate::node) fn author(&self) -> Author {
        self.0.author
    }

    /// What fetches the content that this node is to hold.
    pub(in crate::node) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// The time, for the core.
    pub(in crate::node) fn now(&self) -> Now {
        self.0.now()
    }

    /// What can be seen of the core, and when that changes.
    pub(in crate::node) fn glance(&self) -> watch::Receiver<Glance> {
        self.0.glance.subscribe()
    }

    /// Takes what is to be done now.
    pub(in crate::node) fn take_actions(&self) -> VecDeque<Action> {
        std::mem::take(&mut self.lock().committed)
    }

    /// What this node tells others of itself, and who may hold content.
    pub(in crate::node) fn set_own(&self, own: Own, roster: Arc<Roster>) {
        let mut state = self.lock();
        if let Some(core) = &mut state.core {
            own.tell(core);
        }
        (state.own, state.roster) = (own, roster);
    }

    /// Looks at the core, when it is open. Waits while a write is at it, some milliseconds.
    pub(in crate::node) fn inspect<T>(&self, look: impl FnOnce(&Core<Signer>) -> T) -> Option<T> {
        self.lock().core.as_ref().map(look)
    }

    /// The changes that are remembered from a number on, and what comes after them.
    pub(super) fn listen(
        &self,
        number: u64,
    ) -> (Vec<Arc<log::Entry>>, broadcast::Receiver<Arc<log::Entry>>) {
        self.lock().journal.listen(number)
    }

    /// What this node tells others of the content that it holds.
    pub(in crate::node) fn own_status(&self) -> Status {
        self.lock().own.status
    }

    /// Looks at the core; opens it if need be.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(in crate::node) async fn look<T, F>(&self, look: F) -> Result<T, Error>
    where
        F: Fn(&Core<Signer>) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        let (ledger, at_once) = (self.clone(), look.clone());
        // A write may be at it.
        let seen = blocking(move || Ok(ledger.lock().core.as_ref().map(at_once))).await?;
        match seen {
            Some(seen) => Ok(seen),
            None => self.write(move |entry| Ok(look(entry.core()?))).await,
        }
    }

    /// Runs `work` in a transaction with the core: both are kept, or neither.
    ///
    /// # Errors
    /// What `work` returns, or when the commit fails: then nothing of it was kept.
    pub(in crate::node) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Entry<'_>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let (during, after) = (self.clone(), self.clone());
        let write = move |tx: &Transaction<'_>| during.run(tx, work);
        self.0.db.write_then(write, move |is_committed| after.settle(is_committed)).await
    }

    fn run<T>(
        &self,
        tx: &Transaction<'_>,
        work: impl FnOnce(&mut Entry<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.lock();
        if state.is_ahead {
            state.undo();
        }
        state.is_ahead = true;
        state.actions_before = state.actions.len();
        state.noted_before = state.journal.pending();
        let mut entry = Entry { tx, inner: &self.0, state: &mut state, is_touched: false };
        let result = work(&mut entry);
        if result.is_err() && entry.is_touched {
            state.undo();
        }
        state.is_ahead = false;
        result
    }

    /// After the transaction, on the thread that writes.
    fn settle(&self, is_committed: bool) {
        let mut state = self.lock();
        if !is_committed {
            state.core = None;
            state.has_changes = false;
            state.actions.clear();
            state.journal.undo(0);
            return;
        }
        if std::mem::take(&mut state.has_changes) {
            self.0.queue.wake();
        }
        let mut actions = std::mem::take(&mut state.actions);
        state.committed.extend(actions.drain(..));
        let Some(roots) = state.core.as_ref().map(Core::roots) else { return };
        state.journal.commit(&roots.live);
        let Some(core) = &state.core else { return };
        let glance = Glance {
            roots,
            wake_at_ms: core.wake_at_ms(),
            is_ready: core.is_ready(),
            openings: state.openings,
        };
        let has_actions = !state.committed.is_empty();
        self.0.glance.send_if_modified(|seen| {
            if seen.roots.live != glance.roots.live {
                log_roots(&glance.roots);
            }
            let is_new = *seen != glance;
            *seen = glance;
            is_new || has_actions
        });
    }

    /// Gives the database a new number, and the file beside it, once the core may be trusted: from
    /// now on an older copy of either is known for what it is.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub(in crate::node) async fn renew_generation(&self) -> Result<(), Error> {
        let inside = self.0.db.read(generation)?;
        let next: u64 = rand::random();
        let known: Vec<u64> = inside.into_iter().chain([next]).collect();
        self.0.generation.write(&known)?;
        self.write(move |entry| {
            entry.tables().set_value(GENERATION, Some(&next.to_be_bytes()))?;
            Ok(())
        })
        .await?;
        self.0.generation.write(&[next])?;
        self.lock().is_trusted = true;
        Ok(())
    }

    /// What is to be fetched, by its state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(in crate::node) fn counts(&self) -> Result<Counts, Error> {
        Ok(self.0.db.read(|c| self.0.queue.counts(c))?)
    }

    /// Whether the time of a pin has passed that this node is to remove.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(in crate::node) fn has_ended(&self) -> Result<bool, Error> {
        Ok(!self.0.db.read(|c| self.0.ended(c, 1))?.is_empty())
    }

    /// Whether changes wait to be recorded.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(in crate::node) fn has_unrecorded(&self) -> Result<bool, Error> {
        Ok(self.0.db.read(changes::count_unrecorded)? > 0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves in there is dropped by the next write.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn ended(&self, c: &Connection, limit: usize) -> Result<Vec<Record>, Error> {
        let now_ms = self.now().wall_ms;
        let times = (now_ms, now_ms.saturating_sub(OTHERS_END_MS));
        Ok(tables::ended(c, &self.author, times, limit)?)
    }

    fn now(&self) -> Now {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Not from zero on: members were heard before this start.
        Now { wall_ms: wall_ms(), mono_ms: self.started_wall_ms.saturating_add(ms) }
    }
}

impl State {
    /// Forgets what is ahead of the tables.
    fn undo(&mut self) {
        self.core = None;
        self.actions.truncate(self.actions_before);
        self.journal.undo(self.noted_before);
    }
}

/// A transaction with the core.
pub(in crate::node) struct Entry<'a> {
    tx: &'a Transaction<'a>,
    inner: &'a Inner,
    state: &'a mut State,
    /// The core may be ahead of the tables if this transaction fails.
    is_touched: bool,
}

impl<'a> Entry<'a> {
    /// The transaction.
    pub(in crate::node) fn transaction(&self) -> &'a Transaction<'a> {
        self.tx
    }

    fn tables(&self) -> Tables<'a> {
        Tables::new(self.tx)
    }

    /// The record of a CID, whichever its kind.
    pub(in crate::node) fn record(&self, cid: &Cid) -> Result<Option<Record>, Error> {
        Ok(self.tables().get(&Key::of(cid))?)
    }

    /// Whether the group has it pinned.
    pub(in crate::node) fn is_pinned(&self, cid: &Cid) -> Result<bool, Error> {
        Ok(self.record(cid)?.is_some_and(|record| record.kind() == Kind::Live))
    }

    /// Records of pins whose time has passed, which this node is to remove.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::node) fn ended(&self, limit: usize) -> Result<Vec<Record>, Error> {
        self.inner.ended(self.tx, limit)
    }

    /// Whether a record can be made now.
    pub(in crate::node) fn may_record(&mut self) -> Result<bool, Error> {
        Ok(self.core()?.is_ready())
    }

    /// The trees, and what shows that the live one has a key; `None`: it has not.
    pub(super) fn prove(&mut self, key: &Key) -> Result<(Roots, Option<Proof>), Error> {
        let tables = self.tables();
        let core = self.core()?;
        Ok((core.roots(), core.prove(&tables, key)?))
    }

    /// Makes records.
    ///
    /// # Errors
    /// When a pin is over a cap, or no record can be made after all.
    pub(in crate::node) fn author(&mut self, ops: &[Op]) -> Result<(), Error> {
        let (now, mut tables) = (self.inner.now(), self.tables());
        let made = self.core()?.author_all(&mut tables, now, ops)?;
        let actions = made.map_err(|error| match error {
            NotReady::Malformed(_) => Error::InvalidArgument(error.to_string()),
            _ => Error::failed(error),
        })?;
        self.take(actions)
    }

    /// Gives the core an event.
    pub(in crate::node) fn step(&mut self, event: Event) -> Result<(), Error> {
        if let Event::Connected(peer) = &event {
            // It may have what nobody had.
            self.state.has_changes |= replicate::wake_failed(self.tx, peer.as_bytes())? > 0;
        }
        let (now, mut tables) = (self.inner.now(), self.tables());
        let actions = self.core()?.step(&mut tables, now, event)?;
        self.take(actions)
    }

    /// Unpins what others are to hold instead of this node, as far as enough of them do: `complete`
    /// are the peers that hold all that they are to hold.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::node) fn hand_off(&mut self, complete: &BTreeSet<Vec<u8>>) -> Result<(), Error> {
        let (tx, roster) = (self.tx, Arc::clone(&self.state.roster));
        let count = |row: &replicate::Row| {
            let record = tables::get(tx, &row.key).ok()??;
            let holders = replicate::holders(record.live()?, &row.key, &roster);
            let count = complete.iter().filter(|peer| holders.include(peer)).count();
            u32::try_from(count).ok()
        };
        replicate::hand_off(tx, count)?;
        Ok(())
    }

    /// Lets a page of the pins that not all members hold follow the roster; where it goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::node) fn place_some(&mut self, after: Option<Key>) -> Result<Option<Key>, Error> {
        const PAGE_RECORDS: usize = 512;
        let records = tables::live_page(self.tx, after.as_ref(), PAGE_RECORDS)?;
        let now_ms = self.inner.now().wall_ms;
        for record in &records {
            let (key, cid) = (record.key(), record.cid());
            let has_places = record
                .live()
                .is_some_and(|live| live.replication_max.is_some() || !live.tags.is_empty());
            if has_places {
                let subject = Subject { key: &key, cid, record: Some(record), held: false };
                replicate::follow(self.tx, &subject, &self.state.roster, now_ms)?;
                self.state.has_changes = true;
            }
        }
        let is_page = records.len() == PAGE_RECORDS;
        Ok(records.last().map(Record::key).filter(|_| is_page))
    }

    fn take(&mut self, actions: Vec<Action>) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Changed(change) => {
                    let now_ms = self.inner.now().wall_ms;
                    follow::follow(self.tx, &change, &self.state.roster, now_ms)?;
                    self.state.has_changes = true;
                    self.state.journal.note(&change, now_ms);
                }
                action => self.state.actions.push(action),
            }
        }
        Ok(())
    }

    /// The core, opened if need be.
    fn core(&mut self) -> Result<&mut Core<Signer>, Error> {
        self.is_touched = true;
        let core = match self.state.core.take() {
            Some(core) => core,
            None => self.open()?,
        };
        Ok(self.state.core.insert(core))
    }

    fn open(&mut self) -> Result<Core<Signer>, Error> {
        let mut tables = self.tables();
        let group = &self.inner.group;
        if tables.value(GROUP)?.as_deref() != Some(&group.id) {
            // The pins stay, and become pins of this group.
            tables.clear()?;
            tables.set_value(GROUP, Some(&group.id))?;
            changes::remember_all(self.tx)?;
        }
        let start = match self.state.is_trusted {
            true => Start::Trusted,
            false => self.inner.generation.start(generation(self.tx)?)?,
        };
        let config = self.inner.config.clone();
        let keys = signer(&self.inner.seed)?;
        let seed = rand::random();
        let options = Options { keys, group: group.clone(), config, seed, start };
        let mut core = Core::open(options, &mut tables, self.inner.now())?;
        self.state.own.tell(&mut core);
        self.state.openings += 1;
        Ok(core)
    }
}

fn generation(c: &Connection) -> Result<Option<u64>, Error> {
    let bytes = tables::value(c, GENERATION)?;
    Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes))
}

/// The live root as people see it.
pub(in crate::node) fn root_text(root: &Hash) -> String {
    let mut text = String::with_capacity(2 + 2 * root.len());
    text.push_str("0x");
    root.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    text
}

fn log_roots(roots: &Roots) {
    tracing::info!("pins:{} root:{}", roots.live_count, root_text(&roots.live));
}

/// The wall clock, in Unix milliseconds.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn signer(seed: &[u8; 32]) -> Result<Signer, Error> {
    Signer::from_seed(seed).map_err(Error::failed)
}

/// The private key of this node's records: that of its identity, or one of its own.
fn author_seed(repo: &Repo, identity: &Identity) -> Result<[u8; 32], Error> {
    if let Ok(keypair) = identity.keypair().clone().try_into_ed25519() {
        let secret = keypair.secret();
        return secret.as_ref().try_into().map_err(|_| Error::failed("an Ed25519 key"));
    }
    if let Some(content) = repo.read_own_file(AUTHOR_FILE)? {
        return content.as_slice().try_into().map_err(|_| {
            let path = repo.path().join(AUTHOR_FILE);
            Error::failed(format!("{} is no author key: 32 bytes", path.display()))
        });
    }
    let seed: [u8; 32] = rand::random();
    repo.write_own_file(AUTHOR_FILE, &seed)?;
    Ok(seed)
}

/// Binds the author key to the peer id.
fn binding(identity: &Identity, group: &Group, author: &Author) -> Result<Binding, Error> {
    let message = Binding::message(&group.id, author);
    let signature = identity.keypair().sign(&message).map_err(Error::failed)?;
    Ok(Binding { public_key: identity.keypair().public().encode_protobuf(), signature })
}

/// A peer of the core's.
pub(in crate::node) fn to_peer(peer: &PeerId) -> crate::sync::core::Peer {
    crate::sync::core::Peer::new(&peer.to_bytes())
}
