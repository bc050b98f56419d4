//! Collection: delete what is not marked, then rewrite segments that are mostly dead.
//!
//! Nothing stops meanwhile. Deletions and copies go to the writer in slices, between commits of
//! blocks. Ids assigned after the start, and what sessions touched since, are spared.
//! A crash leaves a collection that did less: a copied frame is in two segments, of which the
//! index knows the newer.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roaring::RoaringTreemap;
use tokio::sync::OwnedMutexGuard;

use crate::db::fail;
use crate::ipld::Multihash;

use super::frame::Kind;
use super::index::{self, Location, SegmentStats};
use super::recover::{Scanned, Scanner};
use super::writer::{Copied, Writer};
use super::{DELETE_ROWS_MAX, Error, Marks, Store, segments};

/// Bytes copied in one commit: bounds how long a put waits behind it.
const COPY_BYTES_MAX: usize = 4 << 20;
/// How long a slice of a sweep should keep the writer, and with it every put: slices become larger
/// on a disk that syncs quickly, and smaller on one that does not.
const SWEEP_TIME: Duration = Duration::from_millis(15);
/// The smallest slice; below it there is hardly anything but the sync.
const SWEEP_ROWS_MIN: usize = 128;
/// The largest.
const SWEEP_ROWS_MAX: usize = 8192;

/// Notices what is stored or touched while it lives.
#[must_use = "what is stored or touched meanwhile is noticed only while this lives"]
#[derive(Debug)]
pub struct Watch {
    store: Store,
    number: u64,
    /// Ids from here on were assigned since.
    floor: u64,
}

/// The one collection that runs on a store; dropping it ends the protection of what is new.
#[must_use = "what is stored or touched meanwhile is protected only while this lives"]
#[derive(Debug)]
pub struct Collection {
    store: Store,
    watch: Watch,
    _turn: OwnedMutexGuard<()>,
}

/// What a rewriting of segments did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments removed.
    pub segments: u64,
    /// Bytes of live frames copied.
    pub bytes_copied: u64,
}

impl Store {
    /// Begins a collection; waits for one that runs. List what is to be kept afterwards: what is
    /// stored or touched from now on is spared.
    ///
    /// # Errors
    /// When the store is being closed.
    pub async fn collection(&self) -> Result<Collection, Error> {
        let turn = Arc::clone(&self.inner.collecting).lock_owned().await;
        let watch = self.watch().await?;
        Ok(Collection { store: self.clone(), watch, _turn: turn })
    }

    /// Begins a watch: look afterwards whether something is to be kept, then delete it with
    /// [`Watch::delete_many`].
    ///
    /// # Errors
    /// When the store is being closed.
    pub async fn watch(&self) -> Result<Watch, Error> {
        let number = self.inner.shared.guard.begin_watch();
        let mut watch = Watch { store: self.clone(), number, floor: 0 };
        let floor = self.job(move |writer| writer.spare_new(number))?;
        watch.floor = floor.await.map_err(|_| Error::Closed)?;
        Ok(watch)
    }
}

impl Watch {
    /// As [`Store::delete_many`], but what was stored or touched since the watch began stays.
    ///
    /// # Errors
    /// As [`Store::delete_many`].
    pub async fn delete_many(&self, hashes: Vec<Multihash>) -> Result<Vec<Multihash>, Error> {
        self.store.delete_slices(hashes, Some(self.number)).await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.store.inner.shared.guard.end_watch(self.number);
    }
}

impl Collection {
    /// Deletes every block that is not in `marks`, slice by slice; `removed` gets each slice and
    /// says whether to go on. Blocks the thread.
    ///
    /// # Errors
    /// When the index cannot be read or a deletion cannot be written.
    pub fn sweep(
        &self,
        marks: Marks,
        mut removed: impl FnMut(Vec<Multihash>) -> bool,
    ) -> Result<(), Error> {
        let live = marks.ids();
        let mut after = 0;
        let mut rows_max = DELETE_ROWS_MAX;
        loop {
            let rows = self.slice(&live, after, rows_max)?;
            let Some(last) = rows.last().map(|(id, _)| *id) else { return Ok(()) };
            after = last;
            let watch = self.watch.number;
            let (deleted, took) = self.run(move |writer| {
                let began = Instant::now();
                (writer.sweep(&rows, watch), began.elapsed())
            })?;
            let deleted = deleted?;
            if took < SWEEP_TIME / 2 {
                rows_max = (2 * rows_max).min(SWEEP_ROWS_MAX);
            } else if took > SWEEP_TIME {
                rows_max = (rows_max / 2).max(SWEEP_ROWS_MIN);
            }
            fail::point("gc-after-slice");
            if !removed(deleted) {
                return Ok(());
            }
        }
    }

    /// Whether nobody else uses the store any more.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        // Its own handle, and that of its watch.
        Arc::strong_count(&self.store.inner) == 2
    }

    /// The next unmarked rows after `after`, about `rows_max` of them.
    fn slice(
        &self,
        live: &RoaringTreemap,
        mut after: u64,
        rows_max: usize,
    ) -> Result<Vec<(u64, Multihash)>, Error> {
        let mut slice = Vec::new();
        let pool = &self.store.inner.shared.pool;
        while slice.len() < rows_max {
            let rows = pool.with(|c| index::list(c, after, rows_max))?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            let dead =
                rows.into_iter().filter(|row| row.id < self.watch.floor && !live.contains(row.id));
            slice.extend(dead.map(|row| (row.id, row.hash)));
            if after >= self.watch.floor {
                break;
            }
        }
        Ok(slice)
    }

    /// Rewrites segments of which less than half is live, as long as `copy_max` bytes suffice;
    /// `go_on` is asked before each slice. Blocks the thread.
    ///
    /// # Errors
    /// When a segment cannot be read, or its copy cannot be written.
    pub fn compact(&self, copy_max: u64, go_on: impl Fn() -> bool) -> Result<Compacted, Error> {
        let dead_min = self.store.inner.shared.options.compact_dead_bytes_min;
        let sealed = self.run(move |writer| {
            let (len, live) = writer.active_use()?;
            if is_wasteful(len, live, dead_min) {
                writer.roll()?;
            }
            writer.sealed()
        })??;
        let mut done = Compacted::default();
        let mut oldest = true;
        for segment in sealed {
            if done.bytes_copied + segment.bytes_live > copy_max {
                oldest = false;
                continue;
            }
            if self.rewrite(segment, oldest, &go_on, &mut done)? {
                done.segments += 1;
            } else {
                oldest = false;
            }
            if !go_on() {
                break;
            }
        }
        Ok(done)
    }

    /// Rewrites one segment if it is worth it; whether it is gone.
    fn rewrite(
        &self,
        stats: SegmentStats,
        oldest: bool,
        go_on: &impl Fn() -> bool,
        done: &mut Compacted,
    ) -> Result<bool, Error> {
        let shared = &self.store.inner.shared;
        let number = stats.number;
        let failed = |error| Error::io("read", shared.segments.path(number), error);
        let file = shared.segments.get(number).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let is_empty = oldest && stats.blocks == 0;
        if !is_empty && !is_wasteful(len, stats.bytes_live, shared.options.compact_dead_bytes_min) {
            return Ok(false);
        }
        let mut scanner = Scanner::new(&file, 0).map_err(failed)?;
        let mut is_end = false;
        while !is_end {
            if !go_on() {
                return Ok(false);
            }
            let (frames, end) = self.frames(&mut scanner, number, &file)?;
            is_end = end;
            if !frames.is_empty() {
                done.bytes_copied += self.run(move |writer| writer.copy(&frames, oldest))??;
                fail::point("compact-after-copy");
            }
        }
        self.run(move |writer| writer.remove_segment(number))?
    }

    /// The next frames of a segment that may be needed; whether they are the last.
    fn frames(
        &self,
        scanner: &mut Scanner<'_>,
        segment: u32,
        file: &std::fs::File,
    ) -> Result<(Vec<Copied>, bool), Error> {
        let shared = &self.store.inner.shared;
        let failed = |error: io::Error| Error::io("read", shared.segments.path(segment), error);
        let reader = shared.pool.get()?;
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes < COPY_BYTES_MAX {
            let (header, offset) = match scanner.next().map_err(failed)? {
                Scanned::Frame { header, offset } => (header, offset),
                Scanned::Junk { .. } => continue,
                Scanned::End => return Ok((frames, true)),
            };
            let location = Location { segment, offset, length: header.data_len };
            if let Kind::Block(hash) = &header.kind {
                let entry = index::find(&reader, hash)?;
                if entry.is_none_or(|entry| entry.location != Some(location)) {
                    continue;
                }
            }
            let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
            let frame = segments::read_at(file, offset, len).map_err(failed)?;
            bytes += len;
            frames.push(Copied { header, location, bytes: frame });
        }
        Ok((frames, false))
    }

    /// Runs `job` on the writer thread and waits for it.
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.store.job(job)?.blocking_recv().map_err(|_| Error::Closed)
    }
}

/// Whether less than half of a segment is live, and enough is dead to be worth the copying.
fn is_wasteful(len: u64, live: u64, dead_min: u64) -> bool {
    len.saturating_sub(live) >= dead_min && live < len / 2
}
