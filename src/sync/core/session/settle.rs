//! The end of a comparison: what the peer lacks is pushed, what was removed there is dropped, and
//! what it has seen is seen here too.

use super::super::author::in_updates;
use super::super::merge::Batch;
use super::super::{Action, Authoring, Cause, Core, Mutant, Now, Peer, Sign, Store, Warning};
use super::PUSH_MAX;
use crate::sync::hash::{Hash, Key};
use crate::sync::message::Coverage;
use crate::sync::record::{Kind, Record};
use crate::sync::store::Cursor;

impl<K: Sign> Core<K> {
    pub(super) fn push(&mut self, peer: &Peer, records: Vec<Record>, now: Now) {
        for records in in_updates(records) {
            let update = self.update(now, records);
            self.send(peer, &update);
        }
    }

    /// Pushes what the peer lacks, and drops what was removed there.
    pub(super) fn settle_ours<S: Store>(
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
    pub(super) fn may_drop(&mut self, peer: &Peer, live: &Hash, count: u32, now: Now) -> bool {
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
    pub(super) fn end_complete(&mut self, peer: &Peer, now: Now) {
        let me = self.keys.author();
        let session = self.session(peer);
        let told =
            session.and_then(|session| Some((session.coverage.take()?, session.roots.floor)));
        if let Some((coverage, floor)) = told {
            if self.authoring == Authoring::MustAsk {
                self.clock.lift(coverage.vector.get(&me));
                self.authoring = Authoring::Ready;
                self.reserve();
            }
            self.unsaved.whole |= !self.is_whole;
            self.is_whole = true;
            self.unsaved.vector |= self.vector.join(&coverage.vector);
            if let Some(author) = self.author_of(peer) {
                self.unsaved.vector |= self.vector.raise(author, coverage.node_hlc);
            }
            self.adopt_floor(floor, now);
        }
        if let Some(link) = self.links.get_mut(peer) {
            link.was_equal = true;
        }
        self.end_session(peer, now, false);
        self.actions.push(Action::InSync(peer.clone()));
    }
}

/// At most `limit` records that a vector does not cover.
pub(super) fn beyond<S: Store>(
    store: &S,
    coverage: &Coverage,
    limit: usize,
) -> Result<Vec<Record>, S::Error> {
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
