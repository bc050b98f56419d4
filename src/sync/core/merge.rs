//! Taking records: which one is the state of its key, and what leaves with the one before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Action, Author, Cause, Change, Core, Hlc, Mutant, Now, Peer, Sign, Store};
use crate::sync::clock::FUTURE_MS_MAX;
use crate::sync::hash::Key;
use crate::sync::record::{Kind, Record};
use crate::sync::vector::AUTHORS_MAX;

/// How long a removal counts towards the breaker.
const BREAKER_MS: u64 = 3_600_000;

/// Keys whose place in the trees has changed within a step.
#[derive(Debug, Default)]
pub(super) struct Batch {
    live: BTreeSet<Key>,
    tomb: BTreeSet<Key>,
}

impl Batch {
    fn touch(&mut self, kind: Kind, key: Key) {
        match kind {
            Kind::Live => self.live.insert(key),
            Kind::Tomb => self.tomb.insert(key),
        };
    }
}

/// Counts the pins that each author removes within an hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    removed: BTreeMap<Author, VecDeque<(u64, u32)>>,
}

impl Breaker {
    /// Counts `count` removals; whether `author` is over `max` within the hour.
    pub(super) fn count(&mut self, author: Author, count: u32, max: u32, now: Now) -> bool {
        if self.removed.len() >= AUTHORS_MAX {
            self.removed.retain(|_, removed| {
                removed.back().is_some_and(|(at_ms, _)| is_recent(*at_ms, now))
            });
        }
        let removed = self.removed.entry(author).or_default();
        removed.retain(|(at_ms, _)| is_recent(*at_ms, now));
        // One entry a second at most: an hour's worth is bounded.
        match removed.back_mut().filter(|(at_ms, _)| now.mono_ms.saturating_sub(*at_ms) < 1_000) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => removed.push_back((now.mono_ms, count)),
        }
        removed.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() > u64::from(max)
    }
}

fn is_recent(at_ms: u64, now: Now) -> bool {
    now.mono_ms.saturating_sub(at_ms) < BREAKER_MS
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// It is the state of its key now, or was collected at once.
    Taken,
    /// It was there.
    Known,
    /// What is there outranks it, or it was removed and its tombstone collected.
    Outranked,
    /// It is malformed or not signed.
    Refused,
}

impl<K: Sign> Core<K> {
    /// Takes the records of a peer.
    pub(super) fn merge_all<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        from: &Peer,
        records: Vec<Record>,
    ) -> Result<bool, S::Error> {
        let mut batch = Batch::default();
        let mut all_taken = true;
        for record in records {
            if self.merge(store, now, &record, &mut batch)? == Merged::Refused {
                all_taken = false;
                self.blame(from, "a record that is not signed, or from the far future");
            }
        }
        self.settle(store, now, batch)?;
        Ok(all_taken)
    }

    fn merge<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        record: &Record,
        batch: &mut Batch,
    ) -> Result<Merged, S::Error> {
        let current = store.get(&record.key())?;
        if let Some(current) = &current {
            if current.digest() == record.digest() {
                return Ok(Merged::Known);
            }
            if self.rules.keeps(Mutant::R2) && current.rank() >= record.rank() {
                return Ok(Merged::Outranked);
            }
        } else if self.was_removed(record) {
            return Ok(Merged::Outranked);
        }
        let latest = self.clock.wall_ms(now.wall_ms).saturating_add(FUTURE_MS_MAX);
        if record.hlc().ms() > latest || !record.is_signed(&self.keys, &self.group.id) {
            return Ok(Merged::Refused);
        }
        self.clock.saw(record.seen(), now.wall_ms);
        self.reserve();
        self.remember(record.author(), None, now);
        self.replace(store, now, (current, record), batch)?;
        Ok(Merged::Taken)
    }

    /// Whether an absent record was here, removed, and its tombstone collected.
    fn was_removed(&self, record: &Record) -> bool {
        // Our own time is not in our vector, unless a member has told it.
        let is_own = self.is_whole && record.author() == self.keys.author();
        self.rules.keeps(Mutant::R4)
            && record.hlc() <= self.floor
            && (is_own || self.vector.covers(&record.author(), record.hlc()))
    }

    /// Puts a record in the place of another one.
    pub(super) fn replace<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        (before, record): (Option<Record>, &Record),
        batch: &mut Batch,
    ) -> Result<(), S::Error> {
        let author = record.author();
        let removes = before.as_ref().is_some_and(|before| before.kind() == Kind::Live)
            && record.kind() == Kind::Tomb;
        let is_remote = author != self.keys.author();
        let held = removes && is_remote && {
            let max = self.breaker_max();
            self.breaker.count(author, 1, max, now) && self.rules.keeps(Mutant::R9)
        };
        let cause = if is_remote { Cause::Member(author) } else { Cause::Local };
        let after = (!self.is_over(record, now)).then(|| record.clone());
        self.change(store, (before, after), (cause, held), batch)
    }

    /// Whether a record would be collected at once.
    fn is_over(&self, record: &Record, now: Now) -> bool {
        match record.live() {
            Some(live) => live.expire_ms.is_some_and(|end_ms| end_ms < self.expiry_end_ms()),
            None => record.hlc() <= self.tombs_end(now),
        }
    }

    /// How many pins an author may remove within an hour before their content is held.
    pub(super) fn breaker_max(&self) -> u32 {
        self.config.breaker_min.max(self.live.count() / 100)
    }

    /// Forgets the record of a key.
    pub(super) fn forget<S: Store>(
        &mut self,
        store: &mut S,
        key: &Key,
        cause: Cause,
        batch: &mut Batch,
    ) -> Result<(), S::Error> {
        match store.get(key)? {
            Some(before) => self.change(store, (Some(before), None), (cause, false), batch),
            None => Ok(()),
        }
    }

    /// The one place where records come and go.
    fn change<S: Store>(
        &mut self,
        store: &mut S,
        (before, after): (Option<Record>, Option<Record>),
        (cause, held): (Cause, bool),
        batch: &mut Batch,
    ) -> Result<(), S::Error> {
        let Some(key) = after.as_ref().or(before.as_ref()).map(Record::key) else { return Ok(()) };
        if let Some(before) = &before {
            let rid = self.rid(before);
            self.sketch.remove(&rid);
            batch.touch(before.kind(), key);
        }
        match &after {
            Some(after) => {
                let rid = self.rid(after);
                self.sketch.insert(&rid);
                batch.touch(after.kind(), key);
                store.put(after, &rid)?;
            }
            None => store.remove(&key)?,
        }
        let change = Change { key, before, after, cause, held };
        self.actions.push(Action::Changed(Box::new(change)));
        Ok(())
    }

    /// Brings the trees up to date with what was changed.
    pub(super) fn settle<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        batch: Batch,
    ) -> Result<(), S::Error> {
        if batch.live.is_empty() && batch.tomb.is_empty() {
            return Ok(());
        }
        self.live.refresh(store, batch.live)?;
        self.tomb.refresh(store, batch.tomb)?;
        self.unsaved.roots = true;
        self.announce_gap_ms = self.config.announce_ms_min;
        self.announce_at_ms = self.announce_at_ms.min(now.mono_ms + self.config.announce_ms_min);
        Ok(())
    }

    /// Drops what a peer lacks although it has seen it: it was removed, and the tombstone
    /// collected. `floor` is one that the members have certified.
    pub(super) fn was_removed_at(
        &self,
        record: &Record,
        floor: Hlc,
        vector: &crate::sync::Vector,
    ) -> bool {
        self.rules.keeps(Mutant::R3)
            && record.hlc() <= floor
            && vector.covers(&record.author(), record.hlc())
    }
}
