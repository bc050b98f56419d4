//! The blockstore: blocks in append-only packs, and an index of them.
//!
//! Responsible for: keeping the bytes that were put under their multihash, knowing the children of
//! every block without reading it, and giving back what is deleted. Not for: which blocks are
//! worth keeping (`pins`, `gc`), nor for checking that bytes fit their CID: whoever makes a
//! [`Block`](crate::ipld::Block) has hashed it.
//!
//! One writer thread owns the packs and the index (`writer`); readers use connections of their own
//! and wait for nobody (`read`). Sessions protect blocks from deletion (`guard`).
//! A crash leaves a torn frame at most, at the end of the last segment: it is cut off at the next
//! open, and the index catches up with the packs (`recover`). `docs/storage-format.md` has the
//! bytes and the argument.

mod children;
mod compact;
mod error;
mod frame;
mod guard;
mod index;
mod pending;
mod queue;
mod read;
mod recover;
mod rows;
mod segments;
mod session;
mod verify;
mod walk;
mod writer;

pub use children::Format;
pub use compact::{Collection, Compacted, Watch};
pub use error::Error;
pub use session::Session;
pub use verify::Verified;
pub use walk::{Marks, Node, Problem, Walk};

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex as SyncMutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{Mutex, Semaphore, oneshot, watch};

use crate::db::{self, Pool};
use crate::ipld::{Cid, Multihash, hash};

use guard::Guard;
use index::Progress;
use pending::Pending;
use queue::{Item, Queue};
use segments::Segments;
use writer::Writer;

/// Read connections to the index; a read lasts microseconds.
const READERS_MAX: usize = 16;
/// Page cache of a read connection.
const READER_CACHE_KIB: u32 = 2048;
/// Rows read at a time by a listing.
const PAGE_ROWS: usize = 512;
/// Blocks deleted in one commit: bounds how long a put waits behind it.
const DELETE_ROWS_MAX: usize = 512;

/// How a store behaves; the default is right for a node.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment that has grown to this size is followed by a new one.
    pub segment_bytes: u64,
    /// Bytes of blocks that may wait for the writer.
    pub queue_bytes: usize,
    /// Bytes of blocks in one commit, about.
    pub commit_bytes_max: usize,
    /// How long blocks wait for more to share their commit, when nobody waits for them.
    pub commit_linger: Duration,
    /// Segments with fewer dead bytes are not rewritten.
    pub compact_dead_bytes_min: u64,
    /// Bytes that may still be appended to packs, to act a full disk; `None`: as the disk allows.
    pub room: Option<Arc<AtomicU64>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            queue_bytes: 16 << 20,
            commit_bytes_max: 8 << 20,
            commit_linger: Duration::from_millis(5),
            compact_dead_bytes_min: 1 << 20,
            room: None,
        }
    }
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Blocks in the index.
    pub blocks: u64,
    /// Bytes of the packs and the index.
    pub bytes_on_disk: u64,
}

/// A handle to the blockstore; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What the writer and the readers share.
#[derive(Debug)]
struct Shared {
    options: Options,
    segments: Segments,
    pool: Pool,
    pending: Pending,
    guard: Guard,
    queue: Queue,
    /// Blocks found damaged that the index does not yet call so.
    found_damaged: SyncMutex<HashSet<Multihash>>,
    /// Room in the queue, in bytes.
    room: Arc<Semaphore>,
    /// Counts the commits of puts.
    commits: watch::Sender<u64>,
    index_path: PathBuf,
}

/// Ends the writer when the last handle is dropped.
#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    /// Held by the one collection that runs.
    collecting: Arc<Mutex<()>>,
}

impl Store {
    /// Opens, or creates, the store in `repo_dir`: `blocks/` and `index.sqlite`.
    ///
    /// Repairs what a crash left; builds the index anew when it is missing or damaged.
    ///
    /// # Errors
    /// When the files cannot be opened, read or repaired.
    pub fn open(repo_dir: &Path, options: Options) -> Result<Self, Error> {
        let blocks = repo_dir.join("blocks");
        let segments =
            Segments::new(blocks.clone()).map_err(|error| Error::io("open", blocks, error))?;
        let index_path = repo_dir.join("index.sqlite");
        let (connection, progress) = match open_index(&index_path, &segments) {
            Err(Error::Index(db::Error::Corrupt(error))) => {
                tracing::warn!(%error, "the block index is damaged");
                rebuild(&index_path, &segments)?
            }
            opened => opened?,
        };
        let shared = Arc::new(Shared {
            segments,
            pool: Pool::new(&index_path, READERS_MAX, READER_CACHE_KIB),
            pending: Pending::default(),
            guard: Guard::default(),
            queue: Queue::default(),
            found_damaged: SyncMutex::default(),
            room: Arc::new(Semaphore::new(options.queue_bytes)),
            commits: watch::Sender::new(0),
            index_path,
            options,
        });
        let writer = Writer::new(Arc::clone(&shared), connection, progress)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| Error::io("start the writer of", repo_dir, error))?;
        let collecting = Arc::default();
        Ok(Self { inner: Arc::new(Inner { shared, writer: Some(thread), collecting }) })
    }

    /// Builds the index of the store in `repo_dir`, which must not be open, anew from its packs.
    ///
    /// # Errors
    /// When the packs cannot be read or the index cannot be written.
    pub fn rebuild_index(repo_dir: &Path) -> Result<(), Error> {
        let blocks = repo_dir.join("blocks");
        let segments =
            Segments::new(blocks.clone()).map_err(|error| Error::io("open", blocks, error))?;
        rebuild(&repo_dir.join("index.sqlite"), &segments).map(|_| ())
    }

    /// Whether the block is stored. Always, for an identity multihash.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn has(&self, hash: &Multihash) -> Result<bool, Error> {
        self.size(hash).map(|size| size.is_some())
    }

    /// The size of the block, if it is stored.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn size(&self, hash: &Multihash) -> Result<Option<u64>, Error> {
        let shared = &self.inner.shared;
        if hash.code() == hash::IDENTITY {
            return Ok(Some(hash.digest().len() as u64));
        }
        if let Some(data) = shared.pending.get(hash) {
            return Ok(Some(data.len() as u64));
        }
        let entry = shared.pool.with(|c| index::find(c, hash))?;
        Ok(entry.and_then(|entry| entry.location).map(|location| u64::from(location.length)))
    }

    /// The bytes of the block, checked against their checksum, if it is stored.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes are damaged; others when they cannot be read.
    pub fn get(&self, cid: &Cid) -> Result<Option<Bytes>, Error> {
        self.inner.shared.get(cid)
    }

    /// The children of the block in link order, duplicates kept, if it is stored. Reads no block
    /// unless it was put under another codec or a recorded child has been deleted.
    ///
    /// # Errors
    /// [`Error::Links`] when the bytes are no block of the CID's codec; others as [`Store::get`].
    pub fn children(&self, cid: &Cid) -> Result<Option<Vec<Cid>>, Error> {
        self.inner.shared.children(cid)
    }

    /// Every stored block and its size, in the order in which they came; constant memory. Blocks
    /// that come or go meanwhile may be listed or not.
    pub fn iterate(&self) -> impl Iterator<Item = Result<(Multihash, u64), Error>> + Send + use<> {
        let rows = self.rows();
        rows.filter_map(|row| match row {
            Ok(row) => row.location.map(|location| Ok((row.hash, u64::from(location.length)))),
            Err(error) => Some(Err(error)),
        })
    }

    /// The blocks that came after the one with the id `after`, with their ids, in the order in
    /// which they came; all of them after 0. A block that was known as a link before keeps the id
    /// that it had as such.
    pub fn iterate_after(
        &self,
        after: u64,
    ) -> impl Iterator<Item = Result<(u64, Multihash), Error>> + Send + use<> {
        self.rows_after(after).filter_map(|row| match row {
            Ok(row) => row.location.map(|_| Ok((row.id, row.hash))),
            Err(error) => Some(Err(error)),
        })
    }

    /// Every row of the index, ghosts too.
    fn rows(&self) -> impl Iterator<Item = Result<index::Listed, Error>> + Send + use<> {
        self.rows_after(0)
    }

    fn rows_after(
        &self,
        after: u64,
    ) -> impl Iterator<Item = Result<index::Listed, Error>> + Send + use<> {
        let shared = Arc::clone(&self.inner.shared);
        let mut page = Vec::new().into_iter();
        let mut after = Some(after);
        std::iter::from_fn(move || {
            if let Some(row) = page.next() {
                return Some(Ok(row));
            }
            let from = after?;
            match shared.pool.with(|c| index::list(c, from, PAGE_ROWS)) {
                Ok(rows) => {
                    after = rows.last().map(|row| row.id);
                    page = rows.into_iter();
                    page.next().map(Ok)
                }
                Err(error) => {
                    after = None;
                    Some(Err(error))
                }
            }
        })
    }

    /// Begins a session: see [`Session`].
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.inner))
    }

    /// Deletes blocks; returns those that were stored. A block that a live session has put or
    /// touched stays.
    ///
    /// # Errors
    /// When the deletion cannot be written; blocks before that may have been deleted.
    pub async fn delete_many(&self, hashes: Vec<Multihash>) -> Result<Vec<Multihash>, Error> {
        self.delete_slices(hashes, None).await
    }

    async fn delete_slices(
        &self,
        hashes: Vec<Multihash>,
        watch: Option<u64>,
    ) -> Result<Vec<Multihash>, Error> {
        let mut deleted = Vec::new();
        for slice in hashes.chunks(DELETE_ROWS_MAX) {
            let slice = slice.to_vec();
            let answer = self.job(move |writer| writer.delete(&slice, watch))?;
            deleted.extend(answer.await.map_err(|_| Error::Closed)??);
        }
        Ok(deleted)
    }

    /// Whether a collection is under way.
    #[must_use]
    pub fn is_collecting(&self) -> bool {
        self.inner.collecting.try_lock().is_err()
    }

    /// Changes each time that blocks have been committed: for whoever waits for one.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.shared.commits.subscribe()
    }

    /// How much the store holds.
    ///
    /// # Errors
    /// When the index or the packs cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        let shared = &self.inner.shared;
        let segments = shared.pool.with(index::segment_stats)?;
        let packs = shared.segments.bytes();
        let packs = packs.map_err(|error| Error::io("list", shared.segments.path(0), error))?;
        let index = std::fs::metadata(&shared.index_path).map_or(0, |metadata| metadata.len());
        let blocks = segments.iter().map(|segment| segment.blocks).sum();
        Ok(Stats { blocks, bytes_on_disk: packs + index })
    }

    /// Runs `job` on the writer thread, after what is queued; the answer comes by the channel.
    fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Error> {
        let (reply, answer) = oneshot::channel();
        let run = move |writer: &mut Writer| {
            // A caller that has gone away wants nothing done.
            if !reply.is_closed() {
                let _ = reply.send(job(writer));
            }
        };
        self.inner.shared.queue.push(Item::Job(Box::new(run)))?;
        Ok(answer)
    }
}

impl Drop for Inner {
    /// Ends the writer after it has written what is queued.
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has logged it, and has nothing left to do.
            let _ = writer.join();
        }
    }
}

fn open_index(path: &Path, segments: &Segments) -> Result<(Connection, Progress), Error> {
    let Some(mut connection) = index::open(path)? else {
        tracing::warn!("the block index is of another version");
        return rebuild(path, segments);
    };
    recover::mark_lost(&mut connection, segments)?;
    let progress = recover::catch_up(&mut connection, segments)?;
    Ok((connection, progress))
}

fn rebuild(path: &Path, segments: &Segments) -> Result<(Connection, Progress), Error> {
    tracing::info!("building the block index from the packs");
    recover::remove_index(path)?;
    let connection = index::open(path)?;
    let mut connection = connection.ok_or(rusqlite::Error::InvalidQuery)?;
    let progress = recover::catch_up(&mut connection, segments)?;
    Ok((connection, progress))
}

#[cfg(test)]
mod tests;
