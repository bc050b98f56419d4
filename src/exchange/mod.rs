//! Getting blocks: from the store first, else from the network.
//!
//! Responsible for: where a block comes from, what is wanted now, and that blocks which come from
//! peers are stored before anybody is told of them. Not for: walking DAGs. A [`Session`] is what one
//! request of a user wants: its wants are asked of the same peers, what it fetched is kept from the
//! collector while it lives, and dropping it takes back what it still wants.
//!
//! [`Exchange`] is a handle; the list of wants lives in memory and ends with the process. The
//! [`Service`] stores what comes, in batches; a crash leaves what the store promises.

mod arrival;
mod wants;

pub use arrival::Service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::ipld::{Block, Cid, Multihash, hash};
use crate::net::bitswap::{self, Arrivals};
use crate::store::{self, Store};
use wants::{Waiter, Wants};

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
    /// `None` on a node that is offline.
    bitswap: Option<bitswap::Handle>,
    wants: Wants,
    waiters: AtomicU64,
}

/// The blocks of a store, as peers see them.
#[derive(Debug)]
pub struct Served(pub Store);

impl bitswap::Blocks for Served {
    fn size(&self, cid: &Cid) -> Option<u64> {
        self.0.size(cid.hash()).unwrap_or_else(|error| {
            tracing::warn!(%cid, %error, "a block that a peer wants cannot be looked up");
            None
        })
    }

    fn get(&self, cid: &Cid) -> Option<Bytes> {
        self.0.get(cid).unwrap_or_else(|error| {
            tracing::warn!(%cid, %error, "a block that a peer wants cannot be read");
            None
        })
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.commits()
    }
}

/// The wants of one request.
#[derive(Debug, Clone)]
pub struct Session {
    exchange: Exchange,
    /// `None` where the network is not asked.
    bitswap: Option<Arc<bitswap::Session>>,
    /// Keeps what was fetched from the collector.
    kept: Arc<store::Session>,
}

/// A want that is waited for; dropping it takes it back.
struct Want<'a> {
    session: &'a Session,
    hash: Multihash,
    id: u64,
}

impl Exchange {
    /// An exchange over `store`, which asks peers by `bitswap` when the node is online.
    #[must_use]
    pub fn new(store: Store, bitswap: Option<bitswap::Handle>) -> Self {
        let (wants, waiters) = (Wants::default(), AtomicU64::new(0));
        Self { inner: Arc::new(Inner { store, bitswap, wants, waiters }) }
    }

    /// What stores the blocks that come from peers; to be run.
    #[must_use]
    pub fn service(&self, arrivals: tokio::sync::mpsc::Receiver<Arrivals>) -> Service {
        Service::new(self.clone(), arrivals)
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The exchange with peers; none on a node that is offline.
    #[must_use]
    pub fn bitswap(&self) -> Option<&bitswap::Handle> {
        self.inner.bitswap.as_ref()
    }

    /// Begins a session.
    pub fn session(&self, reach: Reach) -> Session {
        self.session_keeping(reach, Arc::new(self.inner.store.session()))
    }

    /// Begins a session whose blocks are kept from the collector by `kept`.
    #[must_use]
    pub fn session_keeping(&self, reach: Reach, kept: Arc<store::Session>) -> Session {
        let bitswap = self.inner.bitswap.as_ref().filter(|_| reach == Reach::Network);
        let bitswap = bitswap.map(|bitswap| Arc::new(bitswap.session()));
        Session { exchange: self.clone(), bitswap, kept }
    }

    /// The block of `cid`, by a session of its own.
    ///
    /// Reads on the calling thread: a block in the page cache takes microseconds, less than
    /// handing it to another thread; the runtime has more workers than cores for those that are
    /// not. With [`Reach::Network`], on a node that is online, an absent block is waited for until
    /// a peer sends it, somebody stores it, or the future is dropped.
    ///
    /// # Errors
    /// When the block is not to be had, or is corrupt.
    pub async fn get(&self, cid: &Cid, reach: Reach) -> Result<Bytes, Error> {
        if let Some(data) = self.inner.store.get(cid)? {
            return Ok(data);
        }
        self.session(reach).fetch(cid).await
    }

    /// Makes the block of `cid` present in the store, like [`Exchange::get`] without reading it.
    ///
    /// # Errors
    /// As [`Exchange::get`].
    pub async fn ensure(&self, cid: &Cid, reach: Reach) -> Result<(), Error> {
        if self.inner.store.has(cid.hash())? {
            return Ok(());
        }
        self.session(reach).fetch(cid).await.map(drop)
    }

    /// What is wanted from the network now, each CID once, in the order of their bytes.
    #[must_use]
    pub fn wantlist(&self) -> Vec<Cid> {
        self.inner.wants.list()
    }
}

impl Session {
    /// Whether the network is asked for what is not here.
    #[must_use]
    pub fn asks_network(&self) -> bool {
        self.bitswap.is_some()
    }

    /// How many blocks are worth being waited for at the same time.
    #[must_use]
    pub fn window(&self) -> usize {
        self.exchange.inner.bitswap.as_ref().map_or(1, bitswap::Handle::window)
    }

    /// The block of `cid`; as [`Exchange::get`].
    ///
    /// # Errors
    /// As [`Exchange::get`].
    pub async fn get(&self, cid: &Cid) -> Result<Bytes, Error> {
        if let Some(data) = self.exchange.inner.store.get(cid)? {
            return Ok(data);
        }
        self.fetch(cid).await
    }

    /// The block of `cid`, which is most likely not here.
    ///
    /// # Errors
    /// As [`Exchange::get`].
    pub async fn fetch(&self, cid: &Cid) -> Result<Bytes, Error> {
        let Some(bitswap) = &self.bitswap else { return Err(Error::NotFound(cid.clone())) };
        // Peers may not answer for a block without bytes; Kubo never does.
        if hash::verify(cid.hash(), &[]).unwrap_or_default() {
            self.kept.put(Block { cid: cid.clone(), data: Bytes::new() }).await?;
            return Ok(Bytes::new());
        }
        let (reply, block) = oneshot::channel();
        let id = self.exchange.inner.waiters.fetch_add(1, Ordering::Relaxed);
        let session = Arc::as_ptr(bitswap) as usize;
        let waiter = Waiter { id, session, cid: cid.clone(), kept: Arc::clone(&self.kept), reply };
        self.exchange.inner.wants.add(waiter);
        let _want = Want { session: self, hash: cid.hash().clone(), id };
        // Noted before looking again: what is stored in between is not missed.
        if let Some(data) = self.exchange.inner.store.get(cid)? {
            return Ok(data);
        }
        bitswap.want(cid);
        block.await.map_err(|_| store::Error::Closed)?
    }
}

impl Drop for Want<'_> {
    fn drop(&mut self) {
        let Some(bitswap) = &self.session.bitswap else { return };
        let session = Arc::as_ptr(bitswap) as usize;
        if self.session.exchange.inner.wants.remove(&self.hash, self.id, session) {
            bitswap.forget(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::ipld::codec;

    fn raw(data: &'static [u8]) -> Block {
        let digest = hash::digest(hash::SHA2_256, data, None).unwrap();
        Block { cid: Cid::new_v1(codec::RAW, digest), data: Bytes::from_static(data) }
    }

    fn exchange(online: bool) -> (tempfile::TempDir, Exchange) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), store::Options::default()).unwrap();
        let parts = bitswap::new(Arc::new(Served(store.clone())));
        let exchange = Exchange::new(store, online.then_some(parts.handle));
        tokio::spawn(exchange.service(parts.arrivals).run(CancellationToken::new()));
        (dir, exchange)
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

    #[tokio::test]
    async fn a_block_without_bytes_is_known_and_stored() {
        let (_dir, exchange) = exchange(true);
        let empty = raw(b"");
        assert_eq!(exchange.get(&empty.cid, Reach::Network).await.unwrap(), empty.data);
        assert!(exchange.store().has(empty.cid.hash()).unwrap());
    }

    #[tokio::test]
    async fn two_who_want_the_same_get_it_and_one_that_gives_up_disturbs_nobody() {
        let (_dir, exchange) = exchange(true);
        let block = raw(b"shared");
        let session = exchange.session(Reach::Network);
        let (one, two) = (session.get(&block.cid), session.get(&block.cid));
        tokio::pin!(one);
        {
            tokio::pin!(two);
            let both = async { tokio::join!(one.as_mut(), two.as_mut()) };
            assert!(tokio::time::timeout(Duration::from_millis(1), both).await.is_err());
        }
        assert_eq!(exchange.wantlist(), std::slice::from_ref(&block.cid));
        let session = exchange.store().session();
        session.put(block.clone()).await.unwrap();
        assert_eq!(one.await.unwrap(), block.data);
    }
}
