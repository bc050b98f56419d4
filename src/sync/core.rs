//! One member's replicated pinset: what it holds, whom it knows, and what it does at each event.
//!
//! Pure: [`Core::step`] takes the time and an event and returns actions; it reads and writes the
//! [`Store`] it is given and nothing else. A step is one transaction of the store, and its actions
//! are for after the commit: what is told is durable. When a step fails, or its transaction does
//! not commit, this value is ahead of the store; open a new one. Nothing here spawns, waits, or
//! asks for the time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::clock::{Clock, Hlc};
use super::hash::{Hash, Key, Rid};
use super::keys::{Author, Group, Sign};
use super::message::{Coverage, Message, Roots, Status};
use super::record::{Kind, Record};
use super::sketch::Sketch;
use super::store::Store;
use super::tree::Tree;
use super::vector::Vector;

mod author;
mod floor;
mod known;
mod links;
mod members;
mod merge;
mod random;
mod rules;
mod saved;
mod serve;
mod session;

pub use author::{NotReady, Op};
pub use known::Known;
use links::Link;
use members::Member;
use merge::Breaker;
use random::Random;
pub(super) use rules::{Mutant, Rules};
#[cfg(test)]
pub(super) use saved::claims;

/// The share of a member that says nothing else.
pub const WEIGHT: u32 = 1;

/// The time, as the service reads it at each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, in Unix milliseconds; it may jump.
    pub wall_ms: u64,
    /// Milliseconds since some point in the past; it never goes back.
    pub mono_ms: u64,
}

/// A peer, by its binary peer id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(Arc<[u8]>);

impl Peer {
    /// The peer with this binary peer id.
    #[must_use]
    pub fn new(id: &[u8]) -> Self {
        Self(id.into())
    }

    /// Its binary peer id.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer(")?;
        super::hash::write_hex(self.0.get(..4).unwrap_or(&self.0), f)?;
        f.write_str(")")
    }
}

/// Periods, sizes, and what this node is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The binary peer id of this node.
    pub peer: Vec<u8>,
    /// Its addresses: binary multiaddrs.
    pub addresses: Vec<Vec<u8>>,
    /// Where the author key is not the key of the peer id.
    pub binding: Option<super::message::Binding>,
    /// Which secret the group uses; raised by a rotation.
    pub epoch: u64,
    /// Between two of its hellos.
    pub hello_ms: u64,
    /// From a change to the first announcement, which are then further and further apart.
    pub announce_ms_min: u64,
    /// Between two announcements when nothing changes.
    pub announce_ms_max: u64,
    /// Between two exchanges of session vectors when nothing else needs one, and the grain of
    /// vectors and floors.
    pub vector_ms: u64,
    /// A member that was silent for longer does not hold up the collection of tombstones.
    pub lease_ms: u64,
    /// Tombstones stay this long after every active member has seen them.
    pub keep_ms: u64,
    /// A question that is not answered for so long has failed.
    pub request_ms_max: u64,
    /// Changes of one author within an hour that are carried out without delay, at least.
    pub breaker_min: u32,
    /// Cells of the sketch in memory; 0 leaves differences to the trees.
    pub sketch_cells: usize,
}

impl Config {
    /// The defaults for a node with this binary peer id.
    #[must_use]
    pub fn new(peer: Vec<u8>) -> Self {
        const MINUTE_MS: u64 = 60_000;
        const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
        Self {
            peer,
            addresses: Vec::new(),
            binding: None,
            epoch: 0,
            hello_ms: 40_000,
            announce_ms_min: 2_000,
            announce_ms_max: 2 * MINUTE_MS,
            vector_ms: 10 * MINUTE_MS,
            lease_ms: 30 * DAY_MS,
            keep_ms: DAY_MS,
            request_ms_max: 30_000,
            breaker_min: 1_000,
            sketch_cells: 65_536,
        }
    }
}

/// What happens to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection to a peer of the group is there.
    Connected(Peer),
    /// The last one is gone.
    Disconnected(Peer),
    /// A message of a peer: over a stream, or opened gossip that the peer signed.
    Received(Peer, Vec<u8>),
    /// Time has passed; see [`Core::wake_at_ms`].
    Tick,
}

/// Why a record took the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// This node's user.
    Local,
    /// A member.
    Member(Author),
    /// It was removed so long ago, or ended, that nobody needs the record any more.
    Collected,
    /// A peer that had seen it has it no more, and its tombstone is collected.
    Removed,
}

/// A record that took the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// What was there.
    pub before: Option<Record>,
    /// What is there now.
    pub after: Option<Record>,
    /// Why.
    pub cause: Cause,
    /// Too much goes at once: the content is to be kept for a time all the same.
    pub held: bool,
}

/// What is wrong, for the log and for whoever counts a peer's sins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A peer sent what is no message, or a record that is not signed.
    Misbehaved(Peer, &'static str),
    /// Our clock is this far from the members', in milliseconds.
    ClockIsOff(i64),
    /// Another node runs with our author key; neither makes records any more.
    Cloned,
    /// A peer's removals need a second one to say the same before they are followed.
    Withheld(Peer, u32),
    /// What was stored contradicted itself; the trees were built anew, nothing is claimed.
    Rebuilt,
}

/// What a step wants done, in this order, after its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a message to a connected peer.
    Send(Peer, Vec<u8>),
    /// Seal a message and gossip it.
    Broadcast(Vec<u8>),
    /// The pinset has changed.
    Changed(Box<Change>),
    /// A session with a peer has brought both to the same records.
    InSync(Peer),
    /// For the log.
    Warn(Warning),
}

/// How much a node may believe of what it finds in its store at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The store is the one that was last written.
    Trusted,
    /// It may be an old copy: nothing is authored before a member was heard.
    Suspect,
}

/// Whether this node may make records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authoring {
    Ready,
    MustAsk,
    Cloned,
}

/// One member's replicated pinset.
#[derive(Debug, Clone)]
pub struct Core<K> {
    keys: K,
    group: Group,
    config: Config,
    rules: Rules,
    random: Random,
    boot_nonce: u64,
    status: Status,
    weight: u32,
    authoring: Authoring,
    /// None of our own records can be missing here: only then may we say how far we have come.
    is_whole: bool,
    /// A peer was connected at some time: others may have our records.
    has_met: bool,

    clock: Clock,
    /// What is durable of the clock: it may claim up to here.
    clock_limit: Hlc,
    vector: Vector,
    floor: Hlc,
    /// The highest floor that this node has signed in a hello.
    voted: Hlc,
    live: Tree,
    tomb: Tree,
    sketch: Sketch,

    members: BTreeMap<Author, Member>,
    links: BTreeMap<Peer, Link>,
    breaker: Breaker,
    /// Live roots that peers had when they lacked much of ours.
    withheld: BTreeMap<Peer, Hash>,
    outbox: Vec<Record>,
    /// Own hellos with another nonce: another node with our key.
    foreign_nonce: Option<(u64, u64)>,

    next_request: u64,
    flush_at_ms: Option<u64>,
    hello_at_ms: u64,
    announce_at_ms: u64,
    announce_gap_ms: u64,
    vector_at_ms: u64,
    floor_at_ms: u64,
    unsaved: saved::Unsaved,
    actions: Vec<Action>,
}

/// What a core is opened with.
#[derive(Debug)]
pub struct Options<K> {
    /// Signs and checks signatures.
    pub keys: K,
    /// The keys of the group.
    pub group: Group,
    /// Periods and sizes.
    pub config: Config,
    /// 32 random bytes, from which all further randomness comes.
    pub seed: [u8; 32],
    /// How much of the store to believe.
    pub start: Start,
}

impl<K: Sign> Core<K> {
    /// Opens the pinset in `store`.
    ///
    /// What is stored is checked: when the buckets do not give the stored roots, the trees are
    /// built anew and the node claims to have seen nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open<S: Store>(options: Options<K>, store: &mut S, now: Now) -> Result<Self, S::Error> {
        Self::open_with(options, Rules::default(), store, now)
    }

    pub(super) fn open_with<S: Store>(
        options: Options<K>,
        rules: Rules,
        store: &mut S,
        now: Now,
    ) -> Result<Self, S::Error> {
        let Options { keys, group, config, seed, start } = options;
        let mut random = Random::new(seed);
        let boot_nonce = random.next();
        let mut core = Self {
            keys,
            group,
            rules,
            boot_nonce,
            status: Status::default(),
            weight: WEIGHT,
            authoring: Authoring::Ready,
            is_whole: true,
            has_met: false,
            clock: Clock::default(),
            clock_limit: Hlc(0),
            vector: Vector::default(),
            floor: Hlc(0),
            voted: Hlc(0),
            live: Tree::load(Kind::Live, store)?,
            tomb: Tree::load(Kind::Tomb, store)?,
            sketch: Sketch::new(config.sketch_cells),
            members: BTreeMap::new(),
            links: BTreeMap::new(),
            breaker: Breaker::default(),
            withheld: BTreeMap::new(),
            outbox: Vec::new(),
            foreign_nonce: None,
            next_request: random.next() >> 1,
            flush_at_ms: None,
            hello_at_ms: now.mono_ms,
            announce_at_ms: now.mono_ms + config.announce_ms_min,
            announce_gap_ms: config.announce_ms_min,
            vector_at_ms: now.mono_ms + random.below(config.vector_ms),
            floor_at_ms: now.mono_ms,
            unsaved: saved::Unsaved::default(),
            actions: Vec::new(),
            random,
            config,
        };
        core.load(store, now)?;
        if start == Start::Suspect && core.rules.keeps(Mutant::R10) {
            core.authoring = Authoring::MustAsk;
            core.is_whole = false;
            core.unsaved.whole = true;
        }
        core.fill_sketch(store)?;
        core.save(store)?;
        Ok(core)
    }

    /// Takes one event and says what to do. See the module on transactions.
    ///
    /// # Errors
    /// When the store fails.
    pub fn step<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        event: Event,
    ) -> Result<Vec<Action>, S::Error> {
        match event {
            Event::Connected(peer) => self.connected(peer, now),
            Event::Disconnected(peer) => self.disconnected(&peer),
            Event::Received(peer, bytes) => self.received(store, now, &peer, &bytes)?,
            Event::Tick => {}
        }
        self.tick(store, now)?;
        self.save(store)?;
        Ok(std::mem::take(&mut self.actions))
    }

    fn received<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        from: &Peer,
        bytes: &[u8],
    ) -> Result<(), S::Error> {
        let message = match Message::decode(bytes) {
            Ok((epoch, message)) if epoch == self.config.epoch => message,
            Ok(_) => return Ok(()),
            Err(_) => {
                self.blame(from, "no message");
                return Ok(());
            }
        };
        match message {
            Message::Hello(hello) => {
                self.heard_hello(from, *hello, now);
                Ok(())
            }
            Message::Update(update) => self.heard_update(store, now, from, update),
            Message::Fetch(fetch) => self.serve(store, now, from, fetch),
            Message::Reply(reply) => self.heard_reply(store, now, from, reply),
        }
    }

    fn blame(&mut self, peer: &Peer, why: &'static str) {
        self.warn(Warning::Misbehaved(peer.clone(), why));
    }

    fn warn(&mut self, warning: Warning) {
        self.actions.push(Action::Warn(warning));
    }

    fn send(&mut self, to: &Peer, message: &Message) {
        let bytes = message.encode(self.config.epoch);
        self.actions.push(Action::Send(to.clone(), bytes));
    }

    /// This node's author key.
    #[must_use]
    pub fn author(&self) -> Author {
        self.keys.author()
    }

    /// The trees.
    #[must_use]
    pub fn roots(&self) -> Roots {
        Roots {
            live: self.live.root(),
            tomb: self.tomb.root(),
            live_count: self.live.count(),
            tomb_count: self.tomb.count(),
            floor: self.floor,
        }
    }

    /// The session vector.
    #[must_use]
    pub fn vector(&self) -> &Vector {
        &self.vector
    }

    /// Whether records can be made: the store was trusted, or a member was asked.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.authoring == Authoring::Ready
    }

    /// What the next hellos say of the content that this node holds.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// What the next hellos say of this node's share of the content against others'; 0: nothing new.
    pub fn set_weight(&mut self, weight: u32) {
        self.weight = weight;
    }

    /// What the next hellos say of where this node is: binary multiaddrs.
    pub fn set_addresses(&mut self, addresses: Vec<Vec<u8>>) {
        self.config.addresses = addresses;
    }

    /// Bytes of memory that the trees and the sketch take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.live.memory_bytes()
            + self.tomb.memory_bytes()
            + self.sketch.len() * size_of::<super::sketch::Cell>()
    }

    fn rid(&self, record: &Record) -> Rid {
        Rid::of(&self.group.rid_key, &record.digest())
    }

    fn tree(&self, kind: Kind) -> &Tree {
        match kind {
            Kind::Live => &self.live,
            Kind::Tomb => &self.tomb,
        }
    }

    /// The time below which none of our later records will be; durable with this step. 0 while
    /// records of ours may be missing.
    fn claim(&mut self, now: Now) -> Hlc {
        if !self.is_whole {
            return Hlc(0);
        }
        let claim = self.clock.claim(now.wall_ms);
        self.reserve();
        claim
    }

    /// Makes what the clock has reached durable with this step, and some more, so that not every
    /// claim writes.
    fn reserve(&mut self) {
        const AHEAD_MS: u64 = 60_000;
        if self.clock.last() > self.clock_limit {
            self.clock_limit = Hlc::at(self.clock.last().ms() + AHEAD_MS);
            self.unsaved.clock = true;
        }
    }

    fn coverage(&mut self, now: Now) -> Coverage {
        let node_hlc = self.claim(now);
        let mut vector = self.vector.clone();
        vector.raise(self.keys.author(), node_hlc);
        Coverage { vector, node_hlc }
    }
}

#[cfg(test)]
mod tests;
