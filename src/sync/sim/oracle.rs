//! What must be true: computed from every record that was ever made, by no rule but the order.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Ranks};
use crate::sync::core::{Cause, Change, Op, claims};
use crate::sync::hash::{Digest, Key};
use crate::sync::record::{Body, Kind, Record, Version};
use crate::sync::store::{Memory, Store};
use crate::sync::{Author, Hlc, Vector};

/// Removals of one author at one node within an hour, before they must be held.
const BREAKER_MAX: usize = 3;

/// Every record that was made.
#[derive(Clone)]
pub(super) struct History {
    records: BTreeMap<Key, Vec<Record>>,
    /// Records that no node could know of at some time, for a disk was lost. They may come back,
    /// from a message that was under way or an old copy, or not; a removal among them may not hold.
    lost: BTreeSet<Digest>,
    /// The highest rank that each node has had, by key.
    seen: Vec<Ranks>,
    /// The highest floor that did not wait for an author, by its number.
    passed: Vec<Hlc>,
    /// When each node saw an author remove a pin.
    removals: BTreeMap<(usize, Author), Vec<u64>>,
}

/// What one node can know of the past: what is on its disk, and what it claims of what is not.
pub(super) struct Knowledge<'a> {
    disk: &'a Memory,
    author: Author,
    floor: Hlc,
    vector: Vector,
    is_whole: bool,
}

impl<'a> Knowledge<'a> {
    pub(super) fn of(author: Author, disk: &'a Memory) -> Self {
        let Ok((floor, vector, is_whole)) = claims(disk);
        Self { disk, author, floor, vector, is_whole }
    }

    /// That of a node which has to distrust its disk.
    pub(super) fn without_claims(self) -> Self {
        Self { vector: Vector::default(), is_whole: false, ..self }
    }

    /// Whether the node has the record, or what replaced it, or can say that it was collected.
    fn has_known(&self, record: &Record) -> bool {
        let Ok(held) = self.disk.get(&record.key());
        match held {
            Some(held) => held.rank() >= record.rank(),
            None => {
                let is_covered = self.vector.covers(&record.author(), record.hlc())
                    || (self.is_whole && record.author() == self.author);
                record.hlc() <= self.floor && is_covered
            }
        }
    }
}

impl History {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            lost: BTreeSet::new(),
            seen: vec![Ranks::new(); nodes],
            passed: vec![Hlc(0); nodes],
            removals: BTreeMap::new(),
        }
    }

    /// Takes note of a change at a node.
    pub(super) fn note(&mut self, node: usize, change: &Change, now_ms: u64) -> Result<(), Fault> {
        self.check_breaker(node, change, now_ms)?;
        let Some(record) = &change.after else {
            return Ok(());
        };
        let records = self.records.entry(record.key()).or_default();
        if !records.contains(record) {
            records.push(record.clone());
        }
        let seen = self.seen[node].get(&record.key());
        // A late tombstone where there is no record changes no list.
        let matters = record.kind() == Kind::Live || change.before.is_some();
        if matters && seen.is_some_and(|seen| *seen > record.rank()) && !self.was_passed_by(record)
        {
            return Err(format!(
                "node {node} took {record:?} although it had seen a higher one, for {:?}",
                change.cause
            ));
        }
        let seen = self.seen[node].entry(record.key()).or_insert(record.rank());
        *seen = (*seen).max(record.rank());
        Ok(())
    }

    fn check_breaker(&mut self, node: usize, change: &Change, now_ms: u64) -> Result<(), Fault> {
        let removes = change.before.as_ref().is_some_and(|before| before.kind() == Kind::Live)
            && change.after.as_ref().is_none_or(|after| after.kind() == Kind::Tomb);
        let Cause::Member(author) = change.cause else { return Ok(()) };
        if !removes {
            return Ok(());
        }
        let removals = self.removals.entry((node, author)).or_default();
        removals.retain(|at_ms| now_ms - at_ms < 3_600_000);
        removals.push(now_ms);
        if removals.len() > 2 * BREAKER_MAX && !change.held {
            return Err(format!("node {node} follows mass removal by {author:?}"));
        }
        Ok(())
    }

    /// Who has changed a pin sees the change.
    pub(super) fn check_own_write(&self, disk: &Memory, op: &Op) -> Result<(), Fault> {
        let (Op::Pin(cid, _) | Op::Unpin(cid, _)) = op;
        let Ok(found) = disk.get(&Key::of(cid));
        let holds = match (op, found.as_ref().map(Record::body)) {
            (Op::Pin(_, live), Some(Body::Live(found))) => found == live.as_ref(),
            (Op::Pin(..), _) => false,
            (Op::Unpin(..), found) => !matches!(found, Some(Body::Live(_))),
        };
        if holds { Ok(()) } else { Err(format!("{op:?} was acknowledged and has no effect")) }
    }

    /// Marks what no node knows of any more: a disk was lost, or what it claimed.
    pub(super) fn lose(&mut self, nodes: &[Knowledge<'_>]) {
        for record in self.records.values().flatten() {
            if !nodes.iter().any(|node| node.has_known(record)) {
                self.lost.insert(record.digest());
            }
        }
    }

    /// A node has started anew: what it counted before is gone.
    pub(super) fn forget_removals(&mut self, node: usize) {
        self.removals.retain(|(other, _), _| *other != node);
    }

    /// A node has another disk now, and may take again what it had seen.
    pub(super) fn forget_seen(&mut self, node: usize) {
        self.seen[node].clear();
    }

    /// The list of a node must be the highest record of each key.
    pub(super) fn check_list(&self, disk: &Memory) -> Result<(), Fault> {
        for (key, records) in &self.records {
            let Ok(found) = disk.get(key);
            let found = found.filter(|record| record.kind() == Kind::Live);
            let mut sure = records.iter().filter(|record| !self.lost.contains(&record.digest()));
            let Some(best) = sure.by_ref().max_by_key(|record| record.rank()) else { continue };
            let expected = Some(best).filter(|best| best.kind() == Kind::Live);
            if found.as_ref().map(Record::digest) == expected.map(Record::digest) {
                continue;
            }
            let above: Vec<&Record> = records
                .iter()
                .filter(|record| {
                    self.lost.contains(&record.digest()) && record.rank() > best.rank()
                })
                .collect();
            match &found {
                // What was lost came back.
                Some(found) if above.iter().any(|record| record.digest() == found.digest()) => {}
                None if above.iter().any(|record| record.kind() == Kind::Tomb) => {}
                // Its author had changed it, unseen by those who made a floor without it.
                Some(found) if self.was_passed_by(found) => {}
                Some(found) => return Err(format!("has {found:?}, not {best:?}")),
                None => return Err(format!("lost {best:?}")),
            }
        }
        Ok(())
    }

    /// A node raised its floor, having waited for `active` members and itself.
    pub(super) fn note_floor(&mut self, floor: Hlc, active: &[Author]) {
        for (number, passed) in self.passed.iter_mut().enumerate() {
            if !active.iter().any(|author| usize::from(author.0[0]) == number) {
                *passed = (*passed).max(floor);
            }
        }
    }

    /// Whether a floor was made above this record, or above what it removes, without its author:
    /// because the author was silent for the lease, or nobody had heard of it.
    fn was_passed_by(&self, record: &Record) -> bool {
        let is_below = |version: &Version| {
            let passed = self.passed.get(usize::from(version.author.0[0]));
            passed.is_some_and(|passed| version.hlc <= *passed)
        };
        let removed = match record.body() {
            Body::Live(_) => None,
            Body::Tomb(tombstone) => Some(&tombstone.observed),
        };
        is_below(&record.version()) || removed.is_some_and(is_below)
    }
}
