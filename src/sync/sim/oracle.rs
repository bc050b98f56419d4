//! What must be true: computed from every record that was ever made, by no rule but the order.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Ranks};
use crate::sync::Author;
use crate::sync::core::{Cause, Change, Op};
use crate::sync::hash::{Digest, Key};
use crate::sync::record::{Body, Kind, Record};
use crate::sync::store::{Memory, Store};

/// Removals of one author at one node within an hour, before they must be held.
const BREAKER_MAX: usize = 3;

/// Every record that was made.
#[derive(Clone)]
pub(super) struct History {
    records: BTreeMap<Key, Vec<Record>>,
    /// Records that were on one disk only, which was lost. They may come back or not.
    lost: BTreeSet<Digest>,
    /// The highest rank that each node has had, by key.
    seen: Vec<Ranks>,
    /// When each node saw an author remove a pin.
    removals: BTreeMap<(usize, Author), Vec<u64>>,
}

impl History {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            lost: BTreeSet::new(),
            seen: vec![Ranks::new(); nodes],
            removals: BTreeMap::new(),
        }
    }

    /// Takes note of a change at a node.
    pub(super) fn note(
        &mut self,
        node: usize,
        change: &Change,
        now_ms: u64,
        lapsed: &[bool],
    ) -> Result<(), Fault> {
        self.check_breaker(node, change, now_ms)?;
        let Some(record) = &change.after else {
            return Ok(());
        };
        let records = self.records.entry(record.key()).or_default();
        if !records.contains(record) {
            records.push(record.clone());
        }
        let seen = self.seen[node].get(&record.key());
        if seen.is_some_and(|seen| *seen > record.rank()) && !has_lapsed(record, lapsed) {
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

    /// Marks what was on `disk`, or was replaced there, and is on no other one.
    pub(super) fn lose(&mut self, disk: &Memory, held: &[&Memory]) {
        for record in disk.records() {
            let ranks = held.iter().filter_map(|other| {
                let Ok(other) = other.get(&record.key());
                other.map(|other| other.rank())
            });
            let highest = ranks.max();
            let made = self.records.get(&record.key()).into_iter().flatten();
            let lost = made.filter(|made| {
                made.rank() <= record.rank() && highest.is_none_or(|held| made.rank() > held)
            });
            self.lost.extend(lost.map(Record::digest));
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
    pub(super) fn check_list(&self, disk: &Memory, lapsed: &[bool]) -> Result<(), Fault> {
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
                // A member that was silent for too long had changed it, unseen.
                Some(found) if has_lapsed(found, lapsed) => {}
                Some(found) => return Err(format!("has {found:?}, not {best:?}")),
                None => return Err(format!("lost {best:?}")),
            }
        }
        Ok(())
    }
}

fn has_lapsed(record: &Record, lapsed: &[bool]) -> bool {
    lapsed.get(usize::from(record.author().0[0])).copied().unwrap_or_default()
}
