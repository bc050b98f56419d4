//! Leaves of one file, hashed on the blocking pool and given back in order.
//!
//! Bytes in flight are bounded; small files are hashed where they are, because a thread costs more
//! than they do.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::LazyLock;

use tokio::task::JoinHandle;

use crate::unixfs::chunk::Chunk;
use crate::unixfs::import::{ImportError, ImportOptions, Leaf, leaf};

/// Bytes of chunks that go to a thread together, at least: some 300 microseconds.
const BATCH_BYTES: usize = 512 * 1024;
/// Chunks that do, at most: each becomes a block with a cost of its own.
const BATCH_CHUNKS: usize = 1024;
/// Bytes that are being hashed or wait for it, whatever the cores.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Up to so many bytes are hashed at once: some tens of microseconds.
const INLINE_BYTES: usize = 64 * 1024;

/// Asked once: the answer is read from files.
static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));

type Leaves = Result<Vec<Leaf>, ImportError>;

pub(super) struct Hashing {
    options: ImportOptions,
    batch: Vec<Chunk>,
    batch_bytes: usize,
    running: VecDeque<(usize, JoinHandle<Leaves>)>,
    running_bytes: usize,
    /// More tasks would only wait for each other.
    running_max: usize,
}

impl Hashing {
    pub(super) fn new(options: ImportOptions) -> Self {
        Self {
            options,
            batch: Vec::new(),
            batch_bytes: 0,
            running: VecDeque::new(),
            running_bytes: 0,
            // One more than can run, so that none waits for the task that reads.
            running_max: *CORES + 1,
        }
    }

    /// Adds a chunk; [`Self::next_full`] says when to stop.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.batch_bytes += chunk.len();
        self.batch.push(chunk);
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_CHUNKS {
            self.spawn();
        }
    }

    fn spawn(&mut self) {
        let chunks = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        let options = self.options;
        let task = tokio::task::spawn_blocking(move || hash_all(&options, chunks));
        self.running_bytes += bytes;
        self.running.push_back((bytes, task));
    }

    /// The next leaves when too much is in flight, or when they are there anyway.
    pub(super) async fn next_full(&mut self) -> Option<Leaves> {
        let (_, first) = self.running.front()?;
        let is_full = self.running.len() >= self.running_max || self.running_bytes >= WINDOW_BYTES;
        if !is_full && !first.is_finished() {
            return None;
        }
        self.join().await
    }

    /// The next leaves, `None` when there are no more.
    pub(super) async fn next(&mut self) -> Option<Leaves> {
        if !self.batch.is_empty() {
            if self.running.is_empty() && self.batch_bytes <= INLINE_BYTES {
                self.batch_bytes = 0;
                let chunks = std::mem::take(&mut self.batch);
                return Some(hash_all(&self.options, chunks));
            }
            self.spawn();
        }
        self.join().await
    }

    async fn join(&mut self) -> Option<Leaves> {
        let (bytes, task) = self.running.pop_front()?;
        self.running_bytes -= bytes;
        match task.await {
            Ok(leaves) => Some(leaves),
            // The runtime is going down, or the task panicked: let the panic go on.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn hash_all(options: &ImportOptions, chunks: Vec<Chunk>) -> Leaves {
    chunks.into_iter().map(|chunk| leaf(options, chunk)).collect()
}
