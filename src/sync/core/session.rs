//! Sessions: this node asks a peer until both have the same records, or neither can say more.
//!
//! A session asks for what the peer has and we lack: first by session vector, then, if the trees
//! still differ, by sketch, and where that fails by walking down the trees. Records are taken as
//! they come; a session that breaks off has done no harm and is begun again. What we have and the
//! peer lacks is pushed at the end, if it is not more than a few messages, or was removed there;
//! the rest the peer asks for in a session of its own. Only a complete comparison raises the vector.

use std::collections::BTreeSet;

use super::{Core, Mutant, Now, Peer, Sign, Store};
use crate::sync::hash::{Digest, Key, Rid};
use crate::sync::message::{
    Answer, Ask, Coverage, Fetch, Message, RANGES_MAX, REPLY_LEN_MAX, RIDS_MAX, Reply, Roots,
};
use crate::sync::record::{Kind, Record};
use crate::sync::sketch::{Cell, Difference, FIRST_CELLS};
use crate::sync::store::Cursor;
use crate::sync::tree::Prefix;

mod compare;
mod settle;

pub(super) use compare::short;
use settle::beyond;

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
}
