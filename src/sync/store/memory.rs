//! A store in memory: for tests, the simulator, and whoever needs no disk.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Bound;

use super::{Cursor, Store};
use crate::sync::clock::Hlc;
use crate::sync::hash::{Digest, Key, Rid};
use crate::sync::keys::Author;
use crate::sync::record::{Kind, Record};
use crate::sync::tree::{Prefix, Summary};

/// Everything in maps. A clone is a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    records: BTreeMap<Key, (Record, Rid)>,
    leaves: BTreeMap<(Kind, Key), Digest>,
    rids: BTreeMap<Rid, Key>,
    authored: BTreeSet<(Author, Hlc, Key)>,
    /// When a record may go: tombstones by time, live ones by expiry in milliseconds.
    ends: BTreeSet<(Kind, u64, Key)>,
    buckets: BTreeMap<(Kind, Prefix), Summary>,
    values: BTreeMap<String, Vec<u8>>,
}

/// When a record ends, in the unit of its kind; never for most.
fn end_of(record: &Record) -> Option<u64> {
    match record.live() {
        Some(live) => live.expire_ms,
        None => Some(record.hlc().0),
    }
}

impl Memory {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, by key.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().map(|(record, _)| record)
    }
}

impl Store for Memory {
    type Error = Infallible;

    fn get(&self, key: &Key) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(key).map(|(record, _)| record.clone()))
    }

    fn find(&self, rid: &Rid) -> Result<Option<Record>, Infallible> {
        self.rids.get(rid).map_or(Ok(None), |key| self.get(key))
    }

    fn leaves(
        &self,
        kind: Kind,
        prefix: &Prefix,
        visit: &mut dyn FnMut(Key, Digest),
    ) -> Result<(), Infallible> {
        let (first, last) = prefix.range();
        self.leaves
            .range((kind, first)..=(kind, last))
            .for_each(|((_, key), digest)| visit(*key, *digest));
        Ok(())
    }

    fn authored(
        &self,
        after: &Cursor,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), Infallible> {
        let from = Bound::Excluded((after.author, after.hlc, after.key));
        for (author, _, key) in self.authored.range((from, Bound::Unbounded)) {
            if *author != after.author {
                break;
            }
            let Some((record, _)) = self.records.get(key) else { continue };
            if !visit(record.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn next_author(&self, after: Option<&Author>) -> Result<Option<Author>, Infallible> {
        let from = match after {
            Some(author) => Bound::Excluded((*author, Hlc(u64::MAX), Key([0xff; 32]))),
            None => Bound::Unbounded,
        };
        Ok(self.authored.range((from, Bound::Unbounded)).next().map(|(author, ..)| *author))
    }

    fn collectable(
        &self,
        tombs: Hlc,
        expire_ms: u64,
        limit: usize,
    ) -> Result<Vec<Key>, Infallible> {
        let first = Key([0; 32]);
        let last = Key([0xff; 32]);
        let tombs = self.ends.range((Kind::Tomb, 0, first)..=(Kind::Tomb, tombs.0, last));
        let live = self.ends.range((Kind::Live, 0, first)..(Kind::Live, expire_ms, first));
        Ok(tombs.chain(live).map(|(_, _, key)| *key).take(limit).collect())
    }

    fn put(&mut self, record: &Record, rid: &Rid) -> Result<(), Infallible> {
        self.remove(&record.key())?;
        let key = record.key();
        self.leaves.insert((record.kind(), key), record.digest());
        self.rids.insert(*rid, key);
        self.authored.insert((record.author(), record.hlc(), key));
        if let Some(end) = end_of(record) {
            self.ends.insert((record.kind(), end, key));
        }
        self.records.insert(key, (record.clone(), *rid));
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<(), Infallible> {
        if let Some((record, rid)) = self.records.remove(key) {
            self.leaves.remove(&(record.kind(), *key));
            self.rids.remove(&rid);
            self.authored.remove(&(record.author(), record.hlc(), *key));
            if let Some(end) = end_of(&record) {
                self.ends.remove(&(record.kind(), end, *key));
            }
        }
        Ok(())
    }

    fn buckets(
        &self,
        kind: Kind,
        visit: &mut dyn FnMut(Prefix, Summary),
    ) -> Result<(), Infallible> {
        self.buckets
            .iter()
            .filter(|((of, _), _)| *of == kind)
            .for_each(|((_, prefix), summary)| visit(*prefix, *summary));
        Ok(())
    }

    fn set_bucket(
        &mut self,
        kind: Kind,
        prefix: &Prefix,
        summary: Summary,
    ) -> Result<(), Infallible> {
        if summary.count == 0 {
            self.buckets.remove(&(kind, *prefix));
        } else {
            self.buckets.insert((kind, *prefix), summary);
        }
        Ok(())
    }

    fn clear_buckets(&mut self, kind: Kind) -> Result<(), Infallible> {
        self.buckets.retain(|(of, _), _| *of != kind);
        Ok(())
    }

    fn value(&self, name: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.values.get(name).cloned())
    }

    fn set_value(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), Infallible> {
        match value {
            Some(value) => self.values.insert(name.to_owned(), value.to_vec()),
            None => self.values.remove(name),
        };
        Ok(())
    }

    fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Infallible> {
        Ok(self
            .values
            .range(prefix.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect())
    }
}

#[cfg(test)]
impl Memory {
    /// Leaves without records: for measuring trees.
    pub(in crate::sync) fn fill_leaves(&mut self, leaves: impl IntoIterator<Item = (Key, Digest)>) {
        self.leaves.extend(leaves.into_iter().map(|(key, digest)| ((Kind::Live, key), digest)));
    }
}
