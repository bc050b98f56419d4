//! Who waits for which block.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Error;
use crate::ipld::{Cid, Multihash};
use crate::store;

/// One that waits for a block.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: u64,
    /// The address of its session, while that lives.
    pub(super) session: usize,
    pub(super) cid: Cid,
    pub(super) kept: Arc<store::Session>,
    pub(super) reply: oneshot::Sender<Result<Bytes, Error>>,
}

/// The waiters by the block that they wait for. Locked for moments only.
#[derive(Debug, Default)]
pub(super) struct Wants(Mutex<HashMap<Multihash, Vec<Waiter>>>);

impl Wants {
    fn lock(&self) -> MutexGuard<'_, HashMap<Multihash, Vec<Waiter>>> {
        // No code panics with the lock held; a poisoned map is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, waiter: Waiter) {
        self.lock().entry(waiter.cid.hash().clone()).or_default().push(waiter);
    }

    /// Removes a waiter; whether its session waits for the block no longer.
    pub(super) fn remove(&self, hash: &Multihash, id: u64, session: usize) -> bool {
        let mut wants = self.lock();
        // Who has got its block is not here any more, and neither is the want.
        let Some(waiters) = wants.get_mut(hash) else { return false };
        waiters.retain(|waiter| waiter.id != id);
        let is_last = !waiters.iter().any(|waiter| waiter.session == session);
        if waiters.is_empty() {
            wants.remove(hash);
        }
        is_last
    }

    /// What keeps a block that is wanted, for the first who wants it.
    pub(super) fn keeper(&self, hash: &Multihash) -> Option<Arc<store::Session>> {
        self.lock().get(hash)?.first().map(|waiter| Arc::clone(&waiter.kept))
    }

    /// Takes all that wait for a block.
    pub(super) fn take(&self, hash: &Multihash) -> Vec<Waiter> {
        self.lock().remove(hash).unwrap_or_default()
    }

    /// A CID for each block that is waited for.
    pub(super) fn wanted(&self) -> Vec<Cid> {
        let wants = self.lock();
        wants.values().filter_map(|waiters| Some(waiters.first()?.cid.clone())).collect()
    }

    /// What is wanted, in the order of the bytes.
    pub(super) fn list(&self) -> Vec<Cid> {
        let wants = self.lock();
        let cids = wants.values().flatten().map(|waiter| &waiter.cid);
        let sorted: BTreeSet<&Cid> = cids.collect();
        sorted.into_iter().cloned().collect()
    }
}
