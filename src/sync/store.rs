//! What the core keeps: records, buckets, and a few values, behind one trait.
//!
//! Whoever implements it makes everything between two calls of the core one transaction: records,
//! trees, vector and floor are all kept or none. When a call fails, or its transaction does not
//! commit, the core in memory is ahead of the store and must be opened anew.

use super::clock::Hlc;
use super::hash::{Digest, Key, Rid};
use super::keys::Author;
use super::record::{Kind, Record};
use super::tree::{Prefix, Summary};

mod memory;

pub use memory::Memory;

/// Where a reader of one author's records has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Whose records.
    pub author: Author,
    /// The time of the last one.
    pub hlc: Hlc,
    /// Its key.
    pub key: Key,
}

/// The store of a core. Readers call back in the order of keys, and stop when told `false`.
pub trait Store {
    /// Why it cannot be read or written.
    type Error;

    /// The record of a key.
    ///
    /// # Errors
    /// When the store fails; so for all below.
    fn get(&self, key: &Key) -> Result<Option<Record>, Self::Error>;
    /// The record with a short name.
    ///
    /// # Errors
    /// When the store fails.
    fn find(&self, rid: &Rid) -> Result<Option<Record>, Self::Error>;
    /// Keys and digests of a range.
    ///
    /// # Errors
    /// When the store fails.
    fn leaves(
        &self,
        kind: Kind,
        prefix: &Prefix,
        visit: &mut dyn FnMut(Key, Digest),
    ) -> Result<(), Self::Error>;
    /// The records of the cursor's author after it, by time and then by key.
    ///
    /// # Errors
    /// When the store fails.
    fn authored(
        &self,
        after: &Cursor,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), Self::Error>;
    /// The next author with records; the first one after `None`.
    ///
    /// # Errors
    /// When the store fails.
    fn next_author(&self, after: Option<&Author>) -> Result<Option<Author>, Self::Error>;
    /// At most `limit` tombstones of times up to `tombs`, and then live records that end before
    /// `expire_ms`.
    ///
    /// # Errors
    /// When the store fails.
    fn collectable(
        &self,
        tombs: Hlc,
        expire_ms: u64,
        limit: usize,
    ) -> Result<Vec<Key>, Self::Error>;
    /// Makes `record` the one of its key.
    ///
    /// # Errors
    /// When the store fails.
    fn put(&mut self, record: &Record, rid: &Rid) -> Result<(), Self::Error>;
    /// Forgets the record of a key.
    ///
    /// # Errors
    /// When the store fails.
    fn remove(&mut self, key: &Key) -> Result<(), Self::Error>;

    /// The buckets of a tree, upper ones first among those of one path.
    ///
    /// # Errors
    /// When the store fails.
    fn buckets(
        &self,
        kind: Kind,
        visit: &mut dyn FnMut(Prefix, Summary),
    ) -> Result<(), Self::Error>;
    /// Keeps a bucket; forgets it when it is empty.
    ///
    /// # Errors
    /// When the store fails.
    fn set_bucket(
        &mut self,
        kind: Kind,
        prefix: &Prefix,
        summary: Summary,
    ) -> Result<(), Self::Error>;
    /// Forgets all buckets of a tree.
    ///
    /// # Errors
    /// When the store fails.
    fn clear_buckets(&mut self, kind: Kind) -> Result<(), Self::Error>;

    /// A value by its name.
    ///
    /// # Errors
    /// When the store fails.
    fn value(&self, name: &str) -> Result<Option<Vec<u8>>, Self::Error>;
    /// Keeps a value; forgets it for `None`.
    ///
    /// # Errors
    /// When the store fails.
    fn set_value(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), Self::Error>;
    /// The values whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// When the store fails.
    fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Self::Error>;
}
