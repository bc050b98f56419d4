//! Sessions: this node asks a peer until both have the same records, or neither can say more.
//!
//! A session asks for what the peer has and we lack: first by session vector, then, if the trees
//! still differ, by sketch, and where that fails by walking down the trees. Records are taken as
//! they come; a session that breaks off has done no harm and is begun again. What we have and the
//! peer lacks is pushed at the end, if it is not more than a few messages, or was removed there;
//! the rest the peer asks for in a session of its own. Only a complete comparison raises the vector.

use std::collections::BTreeSet;

use super::author::in_updates;
use super::merge::Batch;
use super::{Action, Cause, Core, Mutant, Now, Peer, Sign, Store, Warning};
use crate::sync::hash::{Digest, Hash, Key, Rid, first};
use crate::sync::message::{
    Answer, Ask, CELLS_MAX, CUT_BITS, Coverage, Fetch, Message, Part, RANGES_MAX, REPLY_LEN_MAX,
    RIDS_MAX, Reply, Roots,
};
use crate::sync::record::{Kind, Record};
use crate::sync::sketch::{Cell, Difference, FIRST_CELLS, peel};
use crate::sync::store::Cursor;
use crate::sync::tree::Prefix;

/// Records that a session pushes; more are left to a session of the peer.
const PUSH_MAX: usize = 1024;
/// What a session remembers of one kind, names or ranges; beyond, it goes on in the next one.
const TODO_MAX: usize = 65_536;
/// Sketches that are tried before the trees are walked.
const SKETCHES_MAX: u32 = 3;

/// What was asked last.
#[derive(Debug, Clone)]
enum Stage {
    Vector,
    Sketch,
    Cells,
    Ranges(Vec<(Kind, Prefix)>),
    Records(Vec<Rid>),
}

/// A session that this node has begun.
#[derive(Debug, Clone)]
pub(super) struct Session {
    request: u64,
    ends_at_ms: u64,
    nonce: [u8; 16],
    stage: Stage,
    /// What the peer had seen before the first record was compared.
    coverage: Option<Coverage>,
    /// Its trees then.
    roots: Roots,
    /// Ranges that differ and are not looked into yet.
    ranges: Vec<(Kind, Prefix)>,
    /// What the peer has and we lack, to be asked for.
    needed: Vec<Rid>,
    /// What we have and the peer lacks, unless it has another record of the key.
    ours: Vec<(Key, Digest)>,
    /// Keys of which the peer has sent its record.
    theirs: BTreeSet<Key>,
    cells: Vec<Cell>,
    sketches: u32,
    /// Something was left out: the vector must not be raised.
    is_partial: bool,
}

impl Session {
    pub(super) fn ends_at_ms(&self) -> u64 {
        self.ends_at_ms
    }
}

impl<K: Sign> Core<K> {
    pub(super) fn begin_session(&mut self, peer: &Peer, now: Now) {
        let nonce = self.random.nonce();
        let Some(link) = self.links.get_mut(peer) else { return };
        link.due_at_ms = None;
        // Who was equal a moment ago differs by little.
        let by_sketch = link.was_equal && self.config.sketch_cells > 0;
        link.session = Some(Session {
            request: 0,
            ends_at_ms: 0,
            nonce,
            stage: Stage::Vector,
            coverage: None,
            roots: Roots::default(),
            ranges: Vec::new(),
            needed: Vec::new(),
            ours: Vec::new(),
            theirs: BTreeSet::new(),
            cells: Vec::new(),
            sketches: 0,
            is_partial: false,
        });
        if by_sketch {
            self.ask_sketch(peer, now);
        } else {
            self.ask_vector(peer, None, now);
        }
    }

    pub(super) fn end_late_sessions(&mut self, now: Now) {
        let is_late = |session: &Session| session.ends_at_ms <= now.mono_ms;
        let late: Vec<Peer> = self
            .links
            .iter()
            .filter(|(_, link)| link.session.as_ref().is_some_and(is_late))
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in late {
            self.end_session(&peer, now, true);
        }
    }

    fn session(&mut self, peer: &Peer) -> Option<&mut Session> {
        self.links.get_mut(peer)?.session.as_mut()
    }

    fn ask(&mut self, peer: &Peer, stage: Stage, ask: Ask, now: Now) {
        self.next_request = self.next_request.wrapping_add(1);
        let (request, roots) = (self.next_request, self.roots());
        let ends_at_ms = now.mono_ms + self.config.request_ms_max;
        let Some(session) = self.session(peer) else { return };
        session.request = request;
        session.ends_at_ms = ends_at_ms;
        session.stage = stage;
        let fetch = Fetch { request, roots, bytes_max: REPLY_LEN_MAX as u32, ask };
        self.send(peer, &Message::Fetch(fetch));
    }

    fn ask_vector(&mut self, peer: &Peer, after: Option<Cursor>, now: Now) {
        let mut vector = self.vector.clone();
        // Our own records come back from a member when our store was lost.
        if self.is_whole {
            vector.raise(self.keys.author(), self.clock.last());
        }
        self.ask(peer, Stage::Vector, Ask::Vector { vector, after }, now);
    }

    fn ask_sketch(&mut self, peer: &Peer, now: Now) {
        let cells = self.sketch.cells(0, FIRST_CELLS).to_vec();
        let count = self.sketch.count();
        self.ask(peer, Stage::Sketch, Ask::Sketch { cells, count }, now);
    }

    /// Compares the trees, after the vector has given what it can.
    fn ask_difference(&mut self, peer: &Peer, now: Now) {
        if self.config.sketch_cells > 0 {
            self.ask_sketch(peer, now);
        } else {
            self.ask_ranges_from_the_root(peer, now);
        }
    }

    fn ask_ranges_from_the_root(&mut self, peer: &Peer, now: Now) {
        let Some(session) = self.session(peer) else { return };
        session.ranges = Kind::ALL.into_iter().map(|kind| (kind, Prefix::ALL)).collect();
        session.needed.clear();
        session.ours.clear();
        self.ask_ranges(peer, now);
    }

    fn ask_ranges(&mut self, peer: &Peer, now: Now) {
        let Some(session) = self.session(peer) else { return };
        // The last ones first: depth before breadth keeps the list short.
        let keep = session.ranges.len().saturating_sub(RANGES_MAX);
        let ranges = session.ranges.split_off(keep);
        let nonce = session.nonce;
        let ask = Ask::Ranges { nonce, ranges: ranges.clone() };
        self.ask(peer, Stage::Ranges(ranges), ask, now);
    }

    pub(super) fn heard_reply<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        from: &Peer,
        reply: Reply,
    ) -> Result<(), S::Error> {
        let Reply { request, roots, answer } = reply;
        let Some(link) = self.links.get_mut(from) else { return Ok(()) };
        link.roots = Some(roots);
        let Some(session) = &mut link.session else { return Ok(()) };
        if session.request != request {
            return Ok(());
        }
        let stage = std::mem::replace(&mut session.stage, Stage::Vector);
        match (stage, answer) {
            (_, Answer::Busy(wait_ms)) => {
                self.end_session(from, now, false);
                if let Some(link) = self.links.get_mut(from) {
                    link.due_at_ms = Some(now.mono_ms + u64::from(wait_ms));
                }
                Ok(())
            }
            (Stage::Sketch | Stage::Cells | Stage::Ranges(_), Answer::Equal(coverage)) => {
                self.note_coverage(from, coverage, roots);
                self.end_complete(from, now);
                Ok(())
            }
            (Stage::Vector, Answer::Page { records, next, coverage }) => {
                if let Some(coverage) = coverage {
                    self.note_coverage(from, coverage, roots);
                }
                self.take(store, now, from, records)?;
                self.heard_page(store, now, from, (next, &roots))
            }
            (Stage::Sketch, Answer::Difference { records, more, want, coverage }) => {
                self.note_coverage(from, coverage, roots);
                self.take(store, now, from, records)?;
                self.note_difference(store, from, Difference { first: want, second: more })?;
                self.go_on(store, now, from)
            }
            (Stage::Sketch | Stage::Cells, Answer::Cells { from: at, cells, coverage, .. }) => {
                self.note_coverage(from, coverage, roots);
                self.heard_cells(store, now, from, (at, cells))
            }
            (Stage::Ranges(ranges), Answer::Ranges { parts, coverage })
                if parts.len() == ranges.len() =>
            {
                self.note_coverage(from, coverage, roots);
                for ((kind, prefix), part) in ranges.iter().zip(parts) {
                    self.compare(store, from, (*kind, prefix), part)?;
                }
                self.go_on(store, now, from)
            }
            (Stage::Records(asked), Answer::Records { records, seen }) => {
                self.heard_records(store, now, from, (&asked, records, seen))
            }
            _ => {
                self.end_session(from, now, true);
                Ok(())
            }
        }
    }

    /// Keeps what the peer had seen at the beginning: what it has seen since may have changed what
    /// was compared before.
    fn note_coverage(&mut self, peer: &Peer, coverage: Coverage, roots: Roots) {
        let broken = !self.rules.keeps(Mutant::R5);
        if broken {
            self.unsaved.vector |= self.vector.join(&coverage.vector);
        }
        if let Some(session) = self.session(peer)
            && session.coverage.is_none()
        {
            session.coverage = Some(coverage);
            session.roots = roots;
        }
    }

    fn take<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        peer: &Peer,
        records: Vec<Record>,
    ) -> Result<(), S::Error> {
        if let Some(session) = self.session(peer) {
            if session.theirs.len() < TODO_MAX {
                session.theirs.extend(records.iter().map(Record::key));
            } else {
                session.is_partial = true;
            }
        }
        if !self.merge_all(store, now, peer, records)?
            && let Some(session) = self.session(peer)
        {
            session.is_partial = true;
        }
        Ok(())
    }

    fn heard_page<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        peer: &Peer,
        (next, theirs): (Option<Cursor>, &Roots),
    ) -> Result<(), S::Error> {
        if next.is_some() {
            // What a vector brings is not remembered: the trees are compared afterwards.
            if let Some(session) = self.session(peer) {
                session.theirs.clear();
            }
            self.ask_vector(peer, next, now);
            return Ok(());
        }
        if theirs.same_state(&self.roots()) {
            self.end_complete(peer, now);
            return Ok(());
        }
        let Some(coverage) = self.session(peer).and_then(|session| session.coverage.clone()) else {
            self.end_session(peer, now, true);
            return Ok(());
        };
        let news = beyond(store, &coverage, PUSH_MAX + 1)?;
        if news.len() > PUSH_MAX {
            // The peer will ask for these itself; then is the time to compare.
            self.end_session(peer, now, false);
            if let Some(link) = self.links.get_mut(peer) {
                link.due_at_ms = Some(now.mono_ms + self.config.announce_ms_min);
            }
            let announcement = self.update(now, Vec::new());
            self.send(peer, &announcement);
            return Ok(());
        }
        self.push(peer, news, now);
        self.ask_difference(peer, now);
        Ok(())
    }

    fn push(&mut self, peer: &Peer, records: Vec<Record>, now: Now) {
        for records in in_updates(records) {
            let update = self.update(now, records);
            self.send(peer, &update);
        }
    }

    /// Remembers what is to be asked for and what the peer lacks, by names.
    fn note_difference<S: Store>(
        &mut self,
        store: &S,
        peer: &Peer,
        difference: Difference,
    ) -> Result<(), S::Error> {
        let mut ours = Vec::new();
        for rid in difference.first.iter().take(TODO_MAX) {
            ours.extend(store.find(rid)?.map(|record| (record.key(), record.digest())));
        }
        if let Some(session) = self.session(peer) {
            session.is_partial |=
                difference.second.len() > TODO_MAX || difference.first.len() > TODO_MAX;
            session.needed.extend(difference.second.into_iter().take(TODO_MAX));
            session.ours.extend(ours);
        }
        Ok(())
    }

    fn heard_cells<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        peer: &Peer,
        (at, cells): (u32, Vec<Cell>),
    ) -> Result<(), S::Error> {
        let len_max = self.sketch.len();
        let Some(session) = self.links.get_mut(peer).and_then(|link| link.session.as_mut()) else {
            return Ok(());
        };
        session.sketches += 1;
        if at as usize == session.cells.len() {
            session.cells.extend(cells);
            session.cells.truncate(len_max);
        }
        let have = session.cells.len();
        if let Some(difference) = peel(self.sketch.cells(0, have), &session.cells) {
            session.cells = Vec::new();
            self.note_difference(store, peer, difference)?;
            return self.go_on(store, now, peer);
        }
        let to = (have * 2).min(have + CELLS_MAX).min(len_max);
        if session.sketches < SKETCHES_MAX && to > have && have > 0 {
            let (from, to) = (have as u32, to as u32);
            self.ask(peer, Stage::Cells, Ask::Cells { from, to }, now);
        } else {
            session.cells = Vec::new();
            self.ask_ranges_from_the_root(peer, now);
        }
        Ok(())
    }

    /// Compares what a peer says of a range with what we have in it.
    fn compare<S: Store>(
        &mut self,
        store: &S,
        peer: &Peer,
        (kind, prefix): (Kind, &Prefix),
        part: Part,
    ) -> Result<(), S::Error> {
        match part {
            Part::Hashes(theirs) => {
                let ours = self.tree(kind).parts(store, prefix, CUT_BITS)?;
                let Some(session) = self.session(peer) else { return Ok(()) };
                let mut parts = vec![*prefix];
                for _ in 0..CUT_BITS {
                    parts = parts.iter().flat_map(|p| [p.half(false), p.half(true)]).collect();
                }
                for ((part, ours), theirs) in parts.into_iter().zip(ours).zip(theirs) {
                    if short(&session.nonce, &ours.hash) != theirs && part != *prefix {
                        if session.ranges.len() < TODO_MAX {
                            session.ranges.push((kind, part));
                        } else {
                            session.is_partial = true;
                        }
                    }
                }
            }
            Part::Names(theirs) => {
                let theirs: BTreeSet<Rid> = theirs.into_iter().collect();
                let rid_key = self.group.rid_key;
                let Some(session) = self.session(peer) else { return Ok(()) };
                let mut ours = BTreeSet::new();
                let mut is_full = false;
                let lacking = &mut session.ours;
                store.leaves(kind, prefix, &mut |key, digest| {
                    let rid = Rid::of(&rid_key, &digest);
                    if theirs.contains(&rid) {
                        ours.insert(rid);
                    } else if lacking.len() < TODO_MAX {
                        lacking.push((key, digest));
                    } else {
                        is_full = true;
                    }
                })?;
                session.is_partial |= is_full;
                session.needed.extend(theirs.difference(&ours));
            }
        }
        Ok(())
    }

    fn heard_records<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        peer: &Peer,
        (asked, records, seen): (&[Rid], Vec<Record>, u32),
    ) -> Result<(), S::Error> {
        let seen = seen as usize;
        if seen == 0 || seen > asked.len() {
            self.end_session(peer, now, true);
            return Ok(());
        }
        let found: BTreeSet<Rid> = records.iter().map(|record| self.rid(record)).collect();
        if let Some(session) = self.session(peer) {
            let (answered, left) = asked.split_at(seen);
            // What is gone was replaced, by a record that this session may not see.
            session.is_partial |= answered.iter().any(|rid| !found.contains(rid));
            session.needed.extend(left);
        }
        self.take(store, now, peer, records)?;
        self.go_on(store, now, peer)
    }

    /// Asks for the next thing, or ends.
    fn go_on<S: Store>(&mut self, store: &mut S, now: Now, peer: &Peer) -> Result<(), S::Error> {
        let Some(session) = self.session(peer) else { return Ok(()) };
        if session.needed.len() >= RIDS_MAX
            || (session.ranges.is_empty() && !session.needed.is_empty())
        {
            let keep = session.needed.len().saturating_sub(RIDS_MAX);
            let rids = session.needed.split_off(keep);
            let ask = Ask::Records { rids: rids.clone() };
            self.ask(peer, Stage::Records(rids), ask, now);
            return Ok(());
        }
        if !session.ranges.is_empty() {
            self.ask_ranges(peer, now);
            return Ok(());
        }
        self.settle_ours(store, now, peer)?;
        if self.session(peer).is_some_and(|session| session.is_partial) {
            self.end_session(peer, now, false);
            if let Some(link) = self.links.get_mut(peer) {
                link.due_at_ms = Some(now.mono_ms + self.config.announce_ms_min);
            }
        } else {
            self.end_complete(peer, now);
        }
        Ok(())
    }

    /// Pushes what the peer lacks, and drops what was removed there.
    fn settle_ours<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        peer: &Peer,
    ) -> Result<(), S::Error> {
        let certified = self.certified(now);
        let Some(session) = self.session(peer) else { return Ok(()) };
        let Some(coverage) = session.coverage.clone() else { return Ok(()) };
        let ours = std::mem::take(&mut session.ours);
        let theirs = std::mem::take(&mut session.theirs);
        let (roots, is_partial) = (session.roots, session.is_partial);
        let floor = roots.floor.min(certified);
        let (mut pushes, mut drops) = (Vec::new(), Vec::new());
        for (key, digest) in ours {
            let Some(record) = store.get(&key)?.filter(|record| record.digest() == digest) else {
                continue;
            };
            if !theirs.contains(&key) && self.was_removed_at(&record, floor, &coverage.vector) {
                // Not all of the peer's records are known: it may have another one of the key.
                if !is_partial {
                    drops.push(record);
                }
            } else if pushes.len() < PUSH_MAX {
                pushes.push(record);
            }
        }
        let live = drops.iter().filter(|record| record.kind() == Kind::Live).count() as u32;
        if live > 0 && !self.may_drop(peer, &roots.live, live, now) {
            self.warn(Warning::Withheld(peer.clone(), live));
            if let Some(session) = self.session(peer) {
                session.is_partial = true;
            }
        } else {
            let mut batch = Batch::default();
            for record in drops {
                self.forget(store, &record.key(), Cause::Removed, &mut batch)?;
            }
            self.settle(store, now, batch)?;
        }
        self.push(peer, pushes, now);
        Ok(())
    }

    /// Whether a peer that has removed `count` of our pins is believed: many need a second peer
    /// with the same pins.
    fn may_drop(&mut self, peer: &Peer, live: &Hash, count: u32, now: Now) -> bool {
        let Some(author) = self.author_of(peer) else { return false };
        let max = self.breaker_max();
        if !self.rules.keeps(Mutant::R9) || !self.breaker.count(author, count, max, now) {
            return true;
        }
        let same = |(other, root): (&Peer, &Hash)| other != peer && root == live;
        let told = self.links.iter().filter_map(|(other, link)| Some((other, link.roots?.live)));
        let is_attested = self.withheld.iter().any(same)
            || told.into_iter().any(|(other, root)| same((other, &root)));
        self.withheld.insert(peer.clone(), *live);
        is_attested
    }

    /// Ends a session in which everything of the peer was compared.
    fn end_complete(&mut self, peer: &Peer, now: Now) {
        let me = self.keys.author();
        let coverage = self.session(peer).and_then(|session| session.coverage.take());
        if let Some(coverage) = coverage {
            if self.authoring == super::Authoring::MustAsk {
                self.clock.lift(coverage.vector.get(&me));
                self.authoring = super::Authoring::Ready;
                self.reserve();
            }
            self.unsaved.whole |= !self.is_whole;
            self.is_whole = true;
            self.unsaved.vector |= self.vector.join(&coverage.vector);
            if let Some(author) = self.author_of(peer) {
                self.unsaved.vector |= self.vector.raise(author, coverage.node_hlc);
            }
        }
        if let Some(link) = self.links.get_mut(peer) {
            link.was_equal = true;
        }
        self.end_session(peer, now, false);
        self.actions.push(Action::InSync(peer.clone()));
    }
}

/// A short hash that nobody can prepare who does not know the nonce.
pub(super) fn short(nonce: &[u8; 16], hash: &Hash) -> [u8; 8] {
    let mut key = [0; 32];
    key.iter_mut().zip(nonce).for_each(|(to, from)| *to = *from);
    first(blake3::keyed_hash(&key, hash).as_bytes())
}

/// At most `limit` records that a vector does not cover.
fn beyond<S: Store>(store: &S, coverage: &Coverage, limit: usize) -> Result<Vec<Record>, S::Error> {
    let mut records = Vec::new();
    let mut author = store.next_author(None)?;
    while let Some(current) = author {
        let after =
            Cursor { author: current, hlc: coverage.vector.get(&current), key: Key([0xff; 32]) };
        store.authored(&after, &mut |record| {
            records.push(record);
            records.len() < limit
        })?;
        if records.len() >= limit {
            break;
        }
        author = store.next_author(Some(&current))?;
    }
    Ok(records)
}
