//! Blocks that are on their way to the writer: readable, not yet durable.
//!
//! Bounded by the queue. A block leaves when its index row is committed, so a reader that does not
//! find it here and looks in the index afterwards misses nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::ipld::Multihash;

/// The pending blocks of a store.
#[derive(Debug, Default)]
pub(super) struct Pending {
    blocks: Mutex<HashMap<Multihash, Waiting>>,
    /// Number of blocks: most reads meet none and take no lock.
    count: AtomicUsize,
}

/// A block on its way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) data: Bytes,
    /// The sessions that put it.
    pub(super) sessions: Vec<u64>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<Multihash, Waiting>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no block is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// The bytes of a pending block.
    pub(super) fn get(&self, hash: &Multihash) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        self.lock().get(hash).map(|waiting| waiting.data.clone())
    }

    /// Makes `session` wait for a block that is already on its way; `false` when it is not.
    pub(super) fn join(&self, hash: &Multihash, session: u64) -> bool {
        match self.lock().get_mut(hash) {
            Some(waiting) => {
                waiting.sessions.push(session);
                true
            }
            None => false,
        }
    }

    /// Adds a block and calls `enqueue` under the same lock: who finds a block here and flushes
    /// comes after it in the queue. A block that is here already is joined instead.
    pub(super) fn add<E>(
        &self,
        hash: &Multihash,
        waiting: Waiting,
        enqueue: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut blocks = self.lock();
        if let Some(already) = blocks.get_mut(hash) {
            already.sessions.extend(waiting.sessions);
            return Ok(());
        }
        enqueue()?;
        blocks.insert(hash.clone(), waiting);
        self.count.store(blocks.len(), Ordering::Release);
        Ok(())
    }

    /// Removes blocks; returns the sessions that waited for each.
    pub(super) fn remove<'a>(&self, hashes: impl Iterator<Item = &'a Multihash>) -> Vec<Vec<u64>> {
        let mut blocks = self.lock();
        let sessions = hashes
            .map(|hash| blocks.remove(hash).map(|waiting| waiting.sessions).unwrap_or_default())
            .collect();
        self.count.store(blocks.len(), Ordering::Release);
        sessions
    }
}
