//! The repo as a whole: its size, checking every block, collecting garbage.
//!
//! Owns no state. What a crash leaves of a collection is a smaller collection.

use std::path::PathBuf;
use std::time::Duration;

use super::{Error, Node, Reach, blocking, hold};
use crate::gc;
use crate::ipld::{Cid, Multihash, codec};
use crate::store::Verified;

/// The version of the repo, as Kubo counts: `fs-repo@18`.
pub const VERSION: u32 = 18;

/// Blocks checked in one turn on the blocking pool.
const VERIFY_BLOCKS: usize = 256;

/// How large the repo is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Bytes of the blocks on disk.
    pub bytes_on_disk: u64,
    /// `Datastore.StorageMax`.
    pub storage_max: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its version.
    pub version: u32,
}

/// What the check of a block came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is what its name says.
    Whole,
    /// It is not.
    Corrupt {
        /// Its name, as CIDv1 raw.
        cid: Cid,
        /// What is wrong.
        reason: String,
        /// Whether it has been removed, if it was to be.
        removed: Option<Result<Heal, String>>,
    },
}

/// Whether a removed block has been fetched again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heal {
    /// It was not to be.
    No,
    /// It has.
    Healed,
    /// It could not be had.
    Failed(String),
}

impl Node {
    /// How large the repo is.
    ///
    /// # Errors
    /// When the sizes cannot be read, or the config holds no size.
    pub async fn repo_stat(&self) -> Result<Stat, Error> {
        let store = self.store().clone();
        let stats = blocking(move || Ok(store.stats()?)).await?;
        Ok(Stat {
            bytes_on_disk: stats.bytes_on_disk,
            storage_max: self.repo().config().storage_max()?,
            blocks: stats.blocks,
            path: self.repo().path().to_owned(),
            version: VERSION,
        })
    }

    /// Removes every block that neither a pin, nor one that is being fetched, nor the mutable file
    /// system keeps, while everything else goes on. Dropping the collection ends it.
    #[must_use]
    pub fn collect_garbage(&self) -> Collecting {
        Collecting(gc::run(self.store(), &self.pins(), self.collection_roots()))
    }

    /// The service that collects garbage by itself, by `Datastore` in the config.
    ///
    /// # Errors
    /// When the config holds no size, or no period.
    pub(super) fn garbage_service(&self) -> Result<gc::Service, Error> {
        let config = self.repo().config();
        let nanos = u64::try_from(config.gc_period_nanos()?).unwrap_or_default();
        let options = gc::Options {
            storage_max: config.storage_max()?,
            watermark_percent: u64::try_from(config.storage_gc_watermark()).unwrap_or_default(),
            period: Duration::from_nanos(nanos),
        };
        let roots = self.collection_roots();
        Ok(gc::Service::new(self.store().clone(), self.pins(), options, roots))
    }

    /// What a collection keeps beside the pins.
    fn collection_roots(&self) -> impl Fn() -> gc::Roots + Send + Sync + use<> {
        let (mfs, db, store) = (self.mfs().clone(), self.db().clone(), self.store().clone());
        move || gc::Roots { kept: mfs.roots(), partial: hold::unfinished_roots(&db, &store) }
    }

    /// Reads and hashes every block. With `drop` corrupt ones are removed, and with a
    /// `heal_timeout` (zero: none) fetched again.
    pub fn verify_blocks(&self, drop: bool, heal_timeout: Option<Duration>) -> BlockCheck {
        let blocks: Blocks = Box::new(self.store().verify());
        let checked = Vec::new().into_iter();
        BlockCheck { node: self.clone(), drop, heal_timeout, blocks: Some(blocks), checked }
    }
}

/// A collection that is under way: see [`Node::collect_garbage`].
#[derive(Debug)]
pub struct Collecting(gc::Run);

impl Collecting {
    /// The next block that was removed, as CIDv1 raw, or what went wrong; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Cid, String>> {
        let removed = self.0.next().await?;
        Some(match removed {
            Ok(hash) => Ok(Cid::new_v1(codec::RAW, hash)),
            Err(error) => Err(error.to_string()),
        })
    }
}

type Blocks = Box<dyn Iterator<Item = Result<Verified, crate::store::Error>> + Send>;

/// A check of every block: see [`Node::verify_blocks`].
pub struct BlockCheck {
    node: Node,
    drop: bool,
    heal_timeout: Option<Duration>,
    /// `None` after the last.
    blocks: Option<Blocks>,
    checked: std::vec::IntoIter<Verified>,
}

impl BlockCheck {
    /// What the check of the next block came to; `None` after the last.
    ///
    /// # Errors
    /// When blocks cannot be listed or read at all.
    pub async fn next(&mut self) -> Result<Option<Outcome>, Error> {
        loop {
            match self.checked.next() {
                Some(Verified::Whole(_)) => return Ok(Some(Outcome::Whole)),
                Some(Verified::Corrupt { hash, reason }) => {
                    return Ok(Some(self.mend(hash, reason).await));
                }
                None => {}
            }
            let Some(mut blocks) = self.blocks.take() else { return Ok(None) };
            let (blocks, checked) = blocking(move || {
                let checked = blocks.by_ref().take(VERIFY_BLOCKS).collect::<Result<Vec<_>, _>>()?;
                let more = checked.len() == VERIFY_BLOCKS;
                Ok((more.then_some(blocks), checked))
            })
            .await?;
            self.blocks = blocks;
            self.checked = checked.into_iter();
        }
    }

    async fn mend(&mut self, hash: Multihash, reason: String) -> Outcome {
        let cid = Cid::new_v1(codec::RAW, hash.clone());
        let removed = if self.drop { Some(self.replace(&cid, hash).await) } else { None };
        Outcome::Corrupt { cid, reason, removed }
    }

    async fn replace(&mut self, cid: &Cid, hash: Multihash) -> Result<Heal, String> {
        self.node.store().delete_many(vec![hash]).await.map_err(|error| error.to_string())?;
        let Some(timeout) = self.heal_timeout else { return Ok(Heal::No) };
        let fetch = self.node.get_block(cid, Reach::Network);
        let fetched = if timeout.is_zero() {
            fetch.await.map_err(|error| error.to_string())
        } else {
            match tokio::time::timeout(timeout, fetch).await {
                Ok(fetched) => fetched.map_err(|error| error.to_string()),
                Err(_) => Err("context deadline exceeded".to_owned()),
            }
        };
        Ok(fetched.map_or_else(Heal::Failed, |_| Heal::Healed))
    }
}
