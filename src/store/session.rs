//! Write sessions: put blocks, protect them from collection, wait until they are durable.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::ipld::{self, Block, Cid, Multihash, hash};

use super::frame::{self, Header};
use super::guard::Touch;
use super::pending::Waiting;
use super::queue::{Item, Put};
use super::{Error, Inner, index};

/// Room in the queue that a block takes besides its bytes.
const BLOCK_OVERHEAD: usize = 256;

/// Protects from collection everything put or touched through it, until it is dropped.
///
/// Hold it until what you stored is reachable from a committed pin.
#[must_use = "blocks are protected only while the session lives"]
#[derive(Debug)]
pub struct Session {
    store: Arc<Inner>,
    id: u64,
}

impl Session {
    pub(super) fn new(store: Arc<Inner>) -> Self {
        let id = store.shared.guard.open();
        Self { store, id }
    }

    /// Stores a block; waits for room in the queue. The block is readable at once and durable
    /// after [`Session::flush`]. A block that is stored already is not written again.
    ///
    /// # Errors
    /// When its CID may not name a block, it is too large, the index cannot be read, or an earlier
    /// block of this session could not be written.
    pub async fn put(&self, block: Block) -> Result<(), Error> {
        self.put_many(vec![block]).await
    }

    /// As [`Session::put`], for many blocks.
    ///
    /// # Errors
    /// As [`Session::put`]; blocks before the one that failed may have been stored.
    pub async fn put_many(&self, blocks: Vec<Block>) -> Result<(), Error> {
        self.store.shared.guard.is_dirty(self.id)?;
        for block in self.admit(blocks)? {
            self.enqueue(block).await?;
        }
        Ok(())
    }

    /// Returns when everything put before is durable.
    ///
    /// # Errors
    /// When something that this session put or relied on could not be written; nothing of what a
    /// successful flush acknowledged is lost.
    pub async fn flush(&self) -> Result<(), Error> {
        let shared = &self.store.shared;
        if !shared.guard.is_dirty(self.id)? {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        shared.queue.push(Item::Flush(reply))?;
        answer.await.map_err(|_| Error::Closed)??;
        shared.guard.set_clean(self.id)
    }

    /// Protects a block that is stored; `false` when it is not.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn touch(&self, hash: &Multihash) -> Result<bool, Error> {
        if hash.code() == hash::IDENTITY {
            return Ok(true);
        }
        let reader = self.store.shared.pool.get()?;
        self.touch_with(&reader, hash)
    }

    /// As [`Session::touch`], with a connection of the caller.
    pub(super) fn touch_with(
        &self,
        reader: &index::Connection,
        hash: &Multihash,
    ) -> Result<bool, Error> {
        if self.join(hash) {
            return Ok(true);
        }
        Ok(self.find(reader, hash)?.is_some())
    }

    /// Protects ids before it is looked whether their blocks are there; returns those that are
    /// being deleted.
    pub(super) fn touch_first(&self, ids: &[u64]) -> Vec<u64> {
        self.store.shared.guard.touch_first(self.id, ids)
    }

    /// Waits, at the next flush, for a block that is already on its way; `false` when it is not.
    fn join(&self, hash: &Multihash) -> bool {
        let shared = &self.store.shared;
        if shared.pending.is_empty() {
            return false;
        }
        // First, so that a commit which fails in between fails this session too.
        shared.guard.set_dirty(self.id);
        shared.pending.join(hash, self.id)
    }

    /// The row of a stored block, protected.
    fn find(
        &self,
        reader: &index::Connection,
        hash: &Multihash,
    ) -> Result<Option<index::Entry>, Error> {
        let guard = &self.store.shared.guard;
        loop {
            let epoch = guard.epoch();
            let Some(entry) = index::find(reader, hash)?.filter(|e| e.location.is_some()) else {
                return Ok(None);
            };
            match guard.touch(self.id, entry.id, epoch) {
                Touch::Protected => return Ok(Some(entry)),
                Touch::Deleting => return Ok(None),
                Touch::Stale => {}
            }
        }
    }

    /// The blocks that must be written; the others are protected.
    fn admit(&self, mut blocks: Vec<Block>) -> Result<Vec<Block>, Error> {
        let shared = &self.store.shared;
        blocks.retain(|block| block.cid.hash().code() != hash::IDENTITY);
        if let Some(Block { cid, data }) =
            blocks.iter().find(|block| block.data.len() > frame::DATA_LEN_MAX)
        {
            return Err(Error::TooLarge { cid: cid.clone(), len: data.len() });
        }
        blocks.retain(|block| !self.join(block.cid.hash()));
        if blocks.is_empty() {
            return Ok(blocks);
        }
        let reader = shared.pool.get()?;
        let mut absent = Vec::with_capacity(blocks.len());
        for block in blocks {
            let damaged = self.is_damaged(block.cid.hash());
            let entry = self.find(&reader, block.cid.hash())?;
            if entry.is_none_or(|entry| entry.damaged || damaged) {
                absent.push(block);
            }
        }
        Ok(absent)
    }

    /// Whether a reader found the block damaged and the index does not say so yet. To be asked
    /// before the index is.
    fn is_damaged(&self, hash: &Multihash) -> bool {
        let found = &self.store.shared.found_damaged;
        found.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    async fn enqueue(&self, block: Block) -> Result<(), Error> {
        let Block { cid, data } = block;
        let shared = &self.store.shared;
        let links = links_of(&cid, &data);
        let header = Header::block(cid.hash(), cid.codec(), &data);
        let links_bytes = links.as_ref().map_or(0, |links| links.len() * size_of::<Cid>());
        let weight = (data.len() + links_bytes + BLOCK_OVERHEAD).min(shared.options.queue_bytes);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = Arc::clone(&shared.room);
        let permit = room.acquire_many_owned(weight).await.map_err(|_| Error::Closed)?;
        shared.guard.set_dirty(self.id);
        let waiting = Waiting { data: data.clone(), sessions: vec![self.id] };
        let put = Put { header, data, links, _permit: permit };
        shared.pending.add(cid.hash(), waiting, || shared.queue.push(Item::Put(put)))
    }
}

/// The links to record; `None` when the bytes are no block of their codec.
fn links_of(cid: &Cid, data: &Bytes) -> Option<Vec<Cid>> {
    ipld::links(cid.codec(), data).ok()
}

impl Drop for Session {
    fn drop(&mut self) {
        self.store.shared.guard.close(self.id);
    }
}
