//! What this node wants, whom it asks, and what it does with the answers.
//!
//! Pure: [`Client::step`] is told what happened and when, and says what to do. A want belongs to
//! sessions, one for each request of a user. The first want of a session is asked of the connected
//! peers by WANT-HAVE, the most useful ones first; who has it becomes a source of the session, and
//! what follows is asked of the least busy source by WANT-BLOCK, while the other peers are tried
//! with one WANT-HAVE each. A DONT_HAVE, silence, a lost connection or a block that nobody asked for
//! moves wants to other peers; a want that nobody answers is asked again from time to time, of
//! every peer that comes, and of the providers that a search finds.
//!
//! Bounded: wants are opened as far as the blocks under way are expected to fit [`WINDOW_BYTES`],
//! and no peer is told more than [`TOLD_MAX`]. A block is handed up only if it is wanted.

mod peer;
mod tick;
mod want;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use libp2p_identity::PeerId;

use super::message::{Entry, Presence, Version, WantType};
use crate::ipld::{Block, Cid, Multihash};
use peer::Peer;
use want::Want;

/// Bytes of blocks that may be under way, as the sizes of those that came let expect.
const WINDOW_BYTES: usize = 24 << 20;
/// Wants that may be under way, whatever their size.
const WINDOW_MIN: usize = 16;
const WINDOW_MAX: usize = 1000;
/// Wants that a peer is told of at the same time; one that is told more forgets some.
const TOLD_MAX: usize = 1000;
/// Blocks asked of one peer at the same time: the rest is for WANT-HAVE.
const BLOCKS_ASKED_MAX: usize = 768;
/// Peers that are asked first by a session that knows no source.
const FIRST_WAVE: usize = 2;
/// When the others are asked, too.
const WAVE_DELAY: Duration = Duration::from_millis(50);
/// A peer that owes answers and gives none for so long is asked for nothing more.
const PATIENCE: Duration = Duration::from_secs(5);
/// An ask is given up when it is so old and the peer has answered later ones.
const ASK_AGE_MAX: Duration = Duration::from_secs(10);
/// How long nobody must have answered a want before providers are searched.
const SEARCH_DELAY: Duration = Duration::from_secs(1);
const SEARCH_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// When a want that nobody has is asked of everybody again, at first.
const RETRY_DELAY: Duration = Duration::from_secs(10);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// How often a client with wants is to be told the time.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// DONT_HAVEs in a row after which a peer is no source of a session any more.
const MISSES_MAX: u32 = 8;

/// A session: wants that belong together, most likely to be found with the same peers.
pub(crate) type SessionId = u64;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    Connected(PeerId),
    Disconnected(PeerId),
    /// What a peer speaks; until it is known it is taken for the newest.
    Speaks(PeerId, Version),
    Want(SessionId, Cid),
    /// A session has lost interest.
    Forget(SessionId, Multihash),
    Close(SessionId),
    /// A block came into the store by another way.
    Stored(Multihash),
    /// A message; the CIDs of the blocks are computed from their bytes.
    Message {
        from: PeerId,
        blocks: Vec<Block>,
        presences: Vec<Presence>,
    },
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell a peer of a want, or that it is none any more.
    Send(PeerId, Entry),
    /// A wanted block, under the CID by which it was wanted.
    Deliver(Block),
    /// Nobody who is connected has this.
    FindProviders(Cid),
    /// A peer sends what nobody asked for.
    Drop(PeerId),
}

/// A peer that had something for a session.
#[derive(Debug)]
struct Source {
    peer: PeerId,
    misses: u32,
}

#[derive(Debug, Default)]
struct Session {
    wants: HashSet<Multihash>,
    /// Wants that nobody was asked for yet.
    queue: VecDeque<Multihash>,
    sources: Vec<Source>,
    /// Peers that were tried, or are sources.
    tried: HashSet<PeerId>,
    search_at: Option<Instant>,
    search_interval: Duration,
}

/// The wants of this node.
#[derive(Debug)]
pub(crate) struct Client {
    peers: HashMap<PeerId, Peer>,
    wants: HashMap<Multihash, Want>,
    sessions: HashMap<SessionId, Session>,
    /// Sessions with a queue, whose turn it is first.
    turns: VecDeque<SessionId>,
    /// Wants that somebody owes an answer for.
    busy: usize,
    /// The size of a block, expected from those that came.
    block_bytes: usize,
    wanted: u64,
    /// What is to be done after this step.
    out: Vec<Action>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            peers: HashMap::new(),
            wants: HashMap::new(),
            sessions: HashMap::new(),
            turns: VecDeque::new(),
            busy: 0,
            block_bytes: 256 << 10,
            wanted: 0,
            out: Vec::new(),
        }
    }
}

impl Client {
    /// Goes on: what is to be done after `event`.
    pub(crate) fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Connected(peer) => self.connected(now, peer),
            Event::Disconnected(peer) => self.disconnected(now, peer),
            Event::Speaks(peer, version) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.knows_have = version.knows_have();
                }
            }
            Event::Want(session, cid) => self.want(now, session, cid),
            Event::Forget(session, hash) => self.forget(session, &hash),
            Event::Close(session) => self.close(session),
            Event::Stored(hash) => self.done(&hash, None),
            Event::Message { from, blocks, presences } => {
                self.message(now, from, blocks, presences);
            }
            Event::Tick => self.tick(now),
        }
        self.open_more(now);
        std::mem::take(&mut self.out)
    }

    /// Whether there is anything that time could change.
    pub(crate) fn is_idle(&self) -> bool {
        self.wants.is_empty()
    }

    /// How many blocks are expected to fit what may be under way.
    pub(crate) fn window(&self) -> usize {
        (WINDOW_BYTES / self.block_bytes.max(1)).clamp(WINDOW_MIN, WINDOW_MAX)
    }

    fn want(&mut self, now: Instant, id: SessionId, cid: Cid) {
        let hash = cid.hash().clone();
        let session = self.sessions.entry(id).or_default();
        if !session.wants.insert(hash.clone()) {
            return;
        }
        if session.queue.is_empty() {
            self.turns.push_back(id);
        }
        session.queue.push_back(hash.clone());
        let order = self.wanted;
        let want = self.wants.entry(hash).or_insert_with(|| Want::new(cid, order, now));
        want.sessions.push(id);
        self.wanted += 1;
    }

    fn forget(&mut self, id: SessionId, hash: &Multihash) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.wants.remove(hash);
        }
        let Some(want) = self.wants.get_mut(hash) else { return };
        want.sessions.retain(|other| *other != id);
        if want.sessions.is_empty() {
            self.done(hash, None);
        }
    }

    fn close(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.turns.retain(|other| *other != id);
        for hash in session.wants {
            self.forget(id, &hash);
        }
    }

    /// A want has ended; whoever was told of it is told so, but for who sent the block.
    fn done(&mut self, hash: &Multihash, from: Option<PeerId>) {
        let Some(want) = self.wants.remove(hash) else { return };
        self.busy -= usize::from(want.is_busy());
        for id in &want.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.wants.remove(hash);
            }
        }
        for ask in &want.asked {
            if let Some(peer) = self.peers.get_mut(&ask.peer) {
                peer.unasked(ask.want);
            }
        }
        for told in want.told {
            let Some(peer) = self.peers.get_mut(&told) else { continue };
            peer.ended(hash);
            if Some(told) != from {
                self.out.push(Action::Send(told, Entry::cancel(want.cid.clone())));
            }
        }
    }

    fn connected(&mut self, now: Instant, id: PeerId) {
        if self.peers.contains_key(&id) {
            return;
        }
        self.peers.insert(id, Peer::new(now));
        // Who comes late is asked for what nobody has.
        for hash in self.unanswered(|_| true) {
            self.place(now, &hash);
            self.ask(now, &hash, id, WantType::Have);
        }
    }

    fn disconnected(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        for session in self.sessions.values_mut() {
            session.tried.remove(&id);
        }
        for hash in peer.told() {
            let Some(want) = self.wants.get_mut(hash) else { continue };
            let was_busy = want.is_busy();
            want.gone(&id);
            self.busy -= usize::from(was_busy && !want.is_busy());
            self.place(now, hash);
        }
    }

    fn message(
        &mut self,
        now: Instant,
        from: PeerId,
        blocks: Vec<Block>,
        presences: Vec<Presence>,
    ) {
        for block in blocks {
            self.block(now, from, block);
        }
        for Presence { cid, has } in presences {
            if has {
                self.has(now, from, cid.hash());
            } else {
                self.lacks(now, from, cid.hash());
            }
        }
    }

    fn block(&mut self, now: Instant, from: PeerId, block: Block) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let hash = block.cid.hash();
        let Some(want) = self.wants.get(hash) else {
            if !peer.knew(hash) {
                self.struck(now, from);
            }
            return;
        };
        let size = block.data.len();
        self.block_bytes = (self.block_bytes * 15 + size.max(64)) / 16;
        peer.useful(now, want.asked_at(&from));
        let (cid, sessions) = (want.cid.clone(), want.sessions.clone());
        self.done(&hash.clone(), Some(from));
        self.out.push(Action::Deliver(Block { cid, data: block.data }));
        for session in sessions {
            self.is_source(now, session, from);
        }
    }

    fn has(&mut self, now: Instant, from: PeerId, hash: &Multihash) {
        let Some(want) = self.wants.get_mut(hash).filter(|want| want.told.contains(&from)) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.answered(now, want.asked_at(&from));
        let sessions = want.sessions.clone();
        // A HAVE says nothing new where the block was asked for.
        if want.asks_block_of(&from) {
            return;
        }
        self.answered(&from, hash);
        if let Some(want) = self.wants.get_mut(hash) {
            want.lacking.retain(|peer| *peer != from);
            if !want.holders.contains(&from) {
                want.holders.push(from);
            }
        }
        self.place(now, hash);
        for session in sessions {
            self.is_source(now, session, from);
        }
    }

    fn lacks(&mut self, now: Instant, from: PeerId, hash: &Multihash) {
        let Some(want) = self.wants.get(hash).filter(|want| want.told.contains(&from)) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.answered(now, want.asked_at(&from));
        }
        for session in &want.sessions {
            let Some(session) = self.sessions.get_mut(session) else { continue };
            if let Some(source) = session.sources.iter_mut().find(|s| s.peer == from) {
                source.misses += 1;
            }
            session.sources.retain(|source| source.misses < MISSES_MAX);
        }
        self.given_up(now, from, hash);
    }

    /// A want is not to be had from a peer, or not soon.
    fn given_up(&mut self, now: Instant, id: PeerId, hash: &Multihash) {
        self.answered(&id, hash);
        if let Some(want) = self.wants.get_mut(hash) {
            want.holders.retain(|peer| *peer != id);
            if !want.lacking.contains(&id) {
                want.lacking.push(id);
            }
        }
        self.place(now, hash);
    }

    /// A peer owes no answer for a want any more.
    fn answered(&mut self, id: &PeerId, hash: &Multihash) {
        let Some(want) = self.wants.get_mut(hash) else { return };
        let Some(ask) = want.unask(id) else { return };
        self.busy -= usize::from(!want.is_busy());
        if let Some(peer) = self.peers.get_mut(id) {
            peer.unasked(ask.want);
        }
    }

    /// A peer had something for a session: its other wants may be there, too.
    fn is_source(&mut self, now: Instant, id: SessionId, peer: PeerId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(source) = session.sources.iter_mut().find(|source| source.peer == peer) {
            source.misses = 0;
            return;
        }
        session.sources.push(Source { peer, misses: 0 });
        session.tried.insert(peer);
        for hash in self.unanswered(|want| want.sessions.contains(&id)) {
            if let Some(want) = self.wants.get_mut(&hash) {
                want.lacking.clear();
            }
            self.place(now, &hash);
        }
    }

    /// A peer sent a block that it was not asked for.
    fn struck(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.struck() {
            self.out.push(Action::Drop(id));
        }
        self.stalled(now, id);
    }

    /// A peer is not to be relied on for now: what it owes is asked of others.
    fn stalled(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.is_stalled = true;
        let told: Vec<Multihash> = peer.told().cloned().collect();
        for hash in told {
            if self.wants.get(&hash).is_some_and(|want| want.asked_at(&id).is_some()) {
                self.given_up(now, id, &hash);
            }
        }
    }

    fn unanswered(&self, belongs: impl Fn(&Want) -> bool) -> Vec<Multihash> {
        let wants = self.wants.iter();
        let open = wants.filter(|(_, want)| want.is_open && !want.is_busy() && belongs(want));
        open.map(|(hash, _)| hash.clone()).collect()
    }

    /// Opens wants, a session after the other, as long as there is room.
    fn open_more(&mut self, now: Instant) {
        let window = self.window();
        let mut passed = 0;
        while self.busy < window && passed < self.turns.len() {
            let Some(id) = self.turns.pop_front() else { return };
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let is_full = !session.sources.is_empty() && {
                let live = session.sources.iter().filter_map(|s| self.peers.get(&s.peer));
                let mut live = live.filter(|peer| !peer.is_stalled).peekable();
                live.peek().is_some() && live.all(Peer::is_full)
            };
            if is_full {
                self.turns.push_back(id);
                passed += 1;
                continue;
            }
            passed = 0;
            let hash = session.queue.pop_front();
            if !session.queue.is_empty() {
                self.turns.push_back(id);
            }
            let Some(hash) = hash else { continue };
            if let Some(want) = self.wants.get_mut(&hash).filter(|want| !want.is_open) {
                want.opened(now);
                self.place(now, &hash);
            }
        }
    }

    /// Asks somebody for the block of a want, unless somebody owes it.
    fn place(&mut self, now: Instant, hash: &Multihash) {
        let Some(want) = self.wants.get(hash).filter(|want| want.is_open) else { return };
        if want.asks_block() {
            return;
        }
        if let Some(holder) = self.best(want.holders.iter()) {
            self.ask(now, hash, holder, WantType::Block);
            return;
        }
        if want.lacking.is_empty() {
            let sessions = want.sessions.iter().filter_map(|id| self.sessions.get(id));
            let sources = sessions.flat_map(|session| session.sources.iter());
            if let Some(source) = self.best(sources.map(|source| &source.peer)) {
                self.ask(now, hash, source, WantType::Block);
                self.try_another(now, hash);
                return;
            }
        }
        let most = if want.lacking.is_empty() { FIRST_WAVE } else { usize::MAX };
        self.ask_around(now, hash, most);
    }

    /// The least busy of some peers that can be relied on; of equals, the most useful.
    fn best<'a>(&self, ids: impl Iterator<Item = &'a PeerId>) -> Option<PeerId> {
        let peers = ids.filter_map(|id| self.peers.get(id).map(|peer| (id, peer)));
        let usable = peers.filter(|(_, peer)| !peer.is_stalled && !peer.is_full());
        let best = usable.min_by_key(|(_, peer)| (peer.blocks_asked, u64::MAX - peer.blocks));
        best.map(|(id, _)| *id)
    }

    /// Asks one more peer whether it has what the session is about.
    fn try_another(&mut self, now: Instant, hash: &Multihash) {
        let Some(id) = self.wants.get(hash).and_then(|want| want.sessions.first()) else { return };
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.tried.len() >= self.peers.len() {
            return;
        }
        let mut untried = self.peers.iter().filter(|(id, _)| !session.tried.contains(*id));
        let Some(other) = untried.find(|(_, peer)| peer.knows_have).map(|(id, _)| *id) else {
            return;
        };
        session.tried.insert(other);
        self.ask(now, hash, other, WantType::Have);
    }

    /// Asks peers that were not told of a want whether they have it, the most useful first.
    fn ask_around(&mut self, now: Instant, hash: &Multihash, most: usize) {
        let Some(want) = self.wants.get_mut(hash) else { return };
        let peers = self.peers.iter().filter(|(id, _)| !want.told.contains(*id));
        let mut peers: Vec<(u64, PeerId)> = peers.map(|(id, peer)| (peer.blocks, *id)).collect();
        want.wave_at = (peers.len() > most).then_some(now + WAVE_DELAY);
        peers.sort_unstable_by_key(|(blocks, _)| u64::MAX - blocks);
        for (_, peer) in peers.into_iter().take(most) {
            self.ask(now, hash, peer, WantType::Have);
        }
    }

    fn ask(&mut self, now: Instant, hash: &Multihash, id: PeerId, wanted: WantType) {
        let Some(want) = self.wants.get_mut(hash).filter(|want| !want.is_asked(&id, wanted)) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        // Who does not know HAVE is asked for the block, if nobody else is.
        let wanted = match wanted {
            WantType::Have if !peer.knows_have && want.asks_block() => return,
            WantType::Have if !peer.knows_have => WantType::Block,
            wanted => wanted,
        };
        if !peer.tell(now, hash, wanted) {
            return;
        }
        let was_busy = want.is_busy();
        if let Some(before) = want.ask(now, id, wanted) {
            peer.unasked(before.want);
        }
        self.busy += usize::from(!was_busy);
        self.out.push(Action::Send(id, want.entry(wanted)));
    }
}
