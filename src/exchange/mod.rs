//! Getting blocks: from the store first, else from the network.
//!
//! Responsible for: where a block comes from, and what is wanted now. Not for: walking DAGs, or
//! keeping blocks from the collector. [`Exchange`] is a handle; the list of wants lives in memory
//! and ends with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::ipld::Cid;
use crate::store::{self, Store};

/// How far a request for a block goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To the store.
    Local,
    /// To the network too, when the node is online.
    Network,
}

/// Why there is no block.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It is not in the store, and the network was not to be asked.
    #[error("block was not found locally (offline): ipld: could not find {0}")]
    NotFound(Cid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A handle to the exchange; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Exchange {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    online: bool,
    /// What is wanted, and by how many requests. Held for moments only.
    wants: Mutex<BTreeMap<Cid, usize>>,
}

/// A want; dropping it takes it back.
struct Want<'a> {
    exchange: &'a Exchange,
    cid: &'a Cid,
}

impl Exchange {
    /// An exchange over `store`, which asks the network only when the node is `online`.
    #[must_use]
    pub fn new(store: Store, online: bool) -> Self {
        Self { inner: Arc::new(Inner { store, online, wants: Mutex::default() }) }
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The block of `cid`.
    ///
    /// Reads on the calling thread: a block in the page cache takes microseconds, less than
    /// handing it to another thread; the runtime has more workers than cores for those that are
    /// not. With [`Reach::Network`], on a node that is online, an absent block is waited for until
    /// somebody stores it or the future is dropped.
    ///
    /// # Errors
    /// When the block is not to be had, or is corrupt.
    pub async fn get(&self, cid: &Cid, reach: Reach) -> Result<Bytes, Error> {
        if let Some(data) = self.inner.store.get(cid)? {
            return Ok(data);
        }
        self.fetch(cid, reach).await
    }

    /// Makes the block of `cid` present in the store, like [`Exchange::get`] without reading it.
    ///
    /// # Errors
    /// As [`Exchange::get`].
    pub async fn ensure(&self, cid: &Cid, reach: Reach) -> Result<(), Error> {
        if self.inner.store.has(cid.hash())? {
            return Ok(());
        }
        self.fetch(cid, reach).await.map(drop)
    }

    /// What is wanted from the network now, each CID once, in the order of their bytes.
    #[must_use]
    pub fn wantlist(&self) -> Vec<Cid> {
        self.wants().keys().cloned().collect()
    }

    async fn fetch(&self, cid: &Cid, reach: Reach) -> Result<Bytes, Error> {
        if reach == Reach::Local || !self.inner.online {
            return Err(Error::NotFound(cid.clone()));
        }
        let _want = self.want(cid);
        // Subscribed before looking again: what is stored in between is not missed.
        let mut commits = self.inner.store.commits();
        loop {
            commits.mark_unchanged();
            if let Some(data) = self.inner.store.get(cid)? {
                return Ok(data);
            }
            if commits.changed().await.is_err() {
                return Err(store::Error::Closed.into());
            }
        }
    }

    fn want<'a>(&'a self, cid: &'a Cid) -> Want<'a> {
        *self.wants().entry(cid.clone()).or_default() += 1;
        Want { exchange: self, cid }
    }

    fn wants(&self) -> MutexGuard<'_, BTreeMap<Cid, usize>> {
        // No code panics with the lock held; a poisoned map is a whole one.
        self.inner.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Want<'_> {
    fn drop(&mut self) {
        let mut wants = self.exchange.wants();
        if let Some(count) = wants.get_mut(self.cid) {
            *count -= 1;
            if *count == 0 {
                wants.remove(self.cid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ipld::{Block, codec, hash};

    fn raw(data: &'static [u8]) -> Block {
        let digest = hash::digest(hash::SHA2_256, data, None).unwrap();
        Block { cid: Cid::new_v1(codec::RAW, digest), data: Bytes::from_static(data) }
    }

    fn exchange(online: bool) -> (tempfile::TempDir, Exchange) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), store::Options::default()).unwrap();
        (dir, Exchange::new(store, online))
    }

    #[tokio::test]
    async fn an_absent_block_is_an_error_at_once_where_the_network_is_not_asked() {
        let block = raw(b"absent");
        for (online, reach) in [(true, Reach::Local), (false, Reach::Network)] {
            let (_dir, exchange) = exchange(online);
            let error = exchange.get(&block.cid, reach).await.unwrap_err();
            let text = format!(
                "block was not found locally (offline): ipld: could not find {}",
                block.cid
            );
            assert_eq!(error.to_string(), text);
        }
    }

    #[tokio::test]
    async fn a_want_is_listed_while_it_waits_and_answered_by_a_put() {
        let (_dir, exchange) = exchange(true);
        let block = raw(b"late");
        let getting = exchange.get(&block.cid, Reach::Network);
        tokio::pin!(getting);
        let waited = tokio::time::timeout(Duration::from_millis(1), getting.as_mut()).await;
        assert!(waited.is_err());
        assert_eq!(exchange.wantlist(), std::slice::from_ref(&block.cid));
        let session = exchange.store().session();
        session.put(block.clone()).await.unwrap();
        session.flush().await.unwrap();
        assert_eq!(getting.await.unwrap(), block.data);
        assert!(exchange.wantlist().is_empty());
    }

    #[tokio::test]
    async fn a_want_that_is_dropped_is_taken_back() {
        let (_dir, exchange) = exchange(true);
        let block = raw(b"never");
        let getting = exchange.get(&block.cid, Reach::Network);
        let waited = tokio::time::timeout(Duration::from_millis(1), getting).await;
        assert!(waited.is_err());
        assert!(exchange.wantlist().is_empty());
    }
}
