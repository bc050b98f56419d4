//! Single blocks: put, get, stat, remove.
//!
//! Owns no state. A put is acknowledged ([`BlockPut::commit`]) when its blocks are durable and, if
//! asked for, pinned; what a crash leaves of an unacknowledged batch is garbage for the collector.

use bytes::Bytes;

use super::pinset::Change;
use super::{Error, Node, Reach};
use crate::ipld::{Block, Cid, Prefix, hash};
use crate::store::Session;

/// The largest block that other nodes take.
pub const SOFT_BYTES_MAX: usize = 2 << 20;
/// Bytes of blocks that wait for one commit.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Blocks that wait for one commit.
const BATCH_BLOCKS_MAX: usize = 1024;

/// How a stored block may be too big.
pub const TOO_BIG: &str = "produced block is over 2MiB: big blocks can't be exchanged with other \
     peers. consider using UnixFS for automatic chunking of bigger files, or pass \
     --allow-big-block to override";

/// Puts blocks in batches: one flush and one pin transaction for many.
#[derive(Debug)]
pub struct BlockPut {
    node: Node,
    prefix: Prefix,
    pin: bool,
    /// Protects the batch from the collector until its pins are durable.
    session: Session,
    batch: Vec<Block>,
    bytes: usize,
}

impl Node {
    /// Begins to put blocks that are named by `prefix`; with `pin` each is pinned recursively.
    pub fn put_blocks(&self, prefix: Prefix, pin: bool) -> BlockPut {
        let session = self.store().session();
        BlockPut { node: self.clone(), prefix, pin, session, batch: Vec::new(), bytes: 0 }
    }

    /// The content of a block.
    pub async fn get_block(&self, cid: &Cid, reach: Reach) -> Result<Bytes, Error> {
        Ok(self.exchange().get(cid, reach).await?)
    }

    /// The size of a block; fetches it when it is not here.
    pub async fn block_size(&self, cid: &Cid, reach: Reach) -> Result<u64, Error> {
        if let Some(size) = self.store().size(cid.hash())? {
            return Ok(size);
        }
        Ok(self.get_block(cid, reach).await?.len() as u64)
    }
}

impl BlockPut {
    /// Names a block and adds it to the batch.
    ///
    /// # Errors
    /// When there is no such name, or none that blocks may have.
    pub fn push(&mut self, data: Bytes) -> Result<Cid, Error> {
        let cid = self.name(&data)?;
        self.push_named(cid.clone(), data)?;
        Ok(cid)
    }

    /// The CID of a block.
    ///
    /// # Errors
    /// When the hash function does not give one.
    pub fn name(&self, data: &[u8]) -> Result<Cid, Error> {
        Ok(self.prefix.sum(data)?)
    }

    /// Adds a block that has been named.
    ///
    /// # Errors
    /// When blocks may not have that name.
    pub fn push_named(&mut self, cid: Cid, data: Bytes) -> Result<(), Error> {
        hash::validate(cid.hash())?;
        self.bytes += data.len();
        self.batch.push(Block { cid, data });
        Ok(())
    }

    /// Whether the batch is as large as it should get.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES_MAX || self.batch.len() >= BATCH_BLOCKS_MAX
    }

    /// Whether nothing waits for a commit.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Makes the batch durable, then its pins.
    pub async fn commit(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let pins = self.pin.then(|| recursive_pins(&batch));
        self.session.put_many(batch).await?;
        self.session.flush().await?;
        if let Some(pins) = pins {
            self.node.pinset().change(pins).await?;
        }
        // What is acknowledged and not pinned is the collector's to judge.
        self.session = self.node.store().session();
        Ok(())
    }
}

fn recursive_pins(batch: &[Block]) -> Vec<Change> {
    batch.iter().map(|block| Change::recursive(block.cid.clone(), String::new())).collect()
}
