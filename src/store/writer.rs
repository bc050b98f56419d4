//! The one thread that writes packs and index.
//!
//! Every change takes the same three steps: frames are appended to the active segment, the segment
//! is synced, and one index transaction records them and how far the index is complete. Only then
//! is anyone answered. What fails before the end is undone: the segment is cut back to where it
//! was, so nothing that was not acknowledged stays and nothing that was is touched.
//! A crash after the sync leaves frames that the next open reads from the tail.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use crate::db::fail;
use crate::ipld::Multihash;
use crate::ipld::buffer::Buffer;

use super::frame::{self, Header, Kind};
use super::index::{self, Entry, Location, Progress, SegmentStats};
use super::queue::{Batch, Limits, Put};
use super::rows::{Rows, Stored};
use super::{Error, Shared};

/// The writer's state.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: Connection,
    rows: Rows,
    active: Active,
}

/// The segment that grows.
#[derive(Debug)]
struct Active {
    number: u32,
    file: Arc<File>,
    len: u64,
    /// A sync failed: what the kernel still holds of this file is unknown, so nothing more is
    /// written to it.
    suspect: bool,
}

/// Where a frame was appended.
#[derive(Debug, Clone, Copy)]
struct Place {
    segment: u32,
    offset: u64,
}

/// A row to delete.
#[derive(Debug, Clone, Copy)]
struct Doomed<'a> {
    id: u64,
    hash: &'a Multihash,
    /// `None`: a ghost.
    location: Option<Location>,
}

/// A frame to copy to the active segment.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) header: Header,
    /// Where it is now.
    pub(super) location: Location,
    /// The whole frame.
    pub(super) bytes: Buffer,
}

impl Writer {
    /// A writer that appends to the segment at which `progress` ends.
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Connection,
        progress: Progress,
    ) -> Result<Self, Error> {
        let number = progress.segment.max(1);
        let opened = match shared.segments.get(number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => shared.segments.create(number),
            opened => opened,
        };
        let file =
            opened.map_err(|error| Error::io("open", shared.segments.path(number), error))?;
        let len = if progress.segment == 0 { 0 } else { progress.offset };
        let active = Active { number, file, len, suspect: false };
        Ok(Self { shared, connection, rows: Rows::new(progress.next_id), active })
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Also after a panic: nobody may wait for a writer that is gone.
        let _abandon = Abandon(&shared);
        let options = &shared.options;
        let limits = Limits { bytes: options.commit_bytes_max, linger: options.commit_linger };
        while let Some(batch) = shared.queue.next(limits) {
            match batch {
                Batch::Commit { puts, flushes } => self.commit(&puts, flushes),
                Batch::Job(job) => job(&mut self),
            }
        }
    }

    fn commit(&mut self, puts: &[Put], flushes: Vec<oneshot::Sender<Result<(), Error>>>) {
        let result = if puts.is_empty() { Ok(Vec::new()) } else { self.store(puts) };
        let hashes = puts.iter().filter_map(|put| match &put.header.kind {
            Kind::Block(hash) => Some(hash),
            Kind::Tombstones => None,
        });
        let sessions = self.shared.pending.remove(hashes);
        let answer = match result {
            Ok(ids) => {
                self.shared.guard.stored(ids.into_iter().zip(sessions));
                if !puts.is_empty() {
                    self.shared.commits.send_modify(|count| *count += 1);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, blocks = puts.len(), "blocks could not be stored");
                self.shared.guard.fail_dirty(&error);
                Err(error)
            }
        };
        for flush in flushes {
            // A caller that has gone away wants no answer.
            let _ = flush.send(answer.clone());
        }
    }

    /// Writes and indexes blocks; returns their ids.
    fn store(&mut self, puts: &[Put]) -> Result<Vec<u64>, Error> {
        let mut headers = Vec::with_capacity(puts.len() * 64);
        puts.iter().for_each(|put| put.header.append_to(&mut headers));
        let mut rest = headers.as_slice();
        let mut slices = Vec::with_capacity(puts.len() * 2);
        for put in puts {
            let (header, after) = rest.split_at_checked(put.header.len()).unwrap_or((rest, &[]));
            rest = after;
            slices.extend([IoSlice::new(header), IoSlice::new(&put.data)]);
        }
        self.log(&mut slices, |c, rows, place| {
            let mut offset = place.offset;
            let mut ids = Vec::with_capacity(puts.len());
            for put in puts {
                let Kind::Block(hash) = &put.header.kind else { continue };
                let length = put.header.data_len;
                ids.push(rows.store(
                    c,
                    &Stored {
                        hash,
                        codec: put.header.codec,
                        location: Location { segment: place.segment, offset, length },
                        links: put.links.as_deref(),
                        damaged: false,
                    },
                )?);
                offset += put.header.frame_len();
            }
            Ok(ids)
        })
    }

    /// Deletes blocks that neither a session nor the watch protects; returns those that were there.
    pub(super) fn delete(
        &mut self,
        hashes: &[Multihash],
        watch: Option<u64>,
    ) -> Result<Vec<Multihash>, Error> {
        let mut rows: Vec<Doomed<'_>> = Vec::with_capacity(hashes.len());
        for hash in hashes {
            if let Some(Entry { id, location: Some(location), .. }) =
                index::find(&self.connection, hash)?
            {
                rows.push(Doomed { id, hash, location: Some(location) });
            }
        }
        rows.sort_unstable_by_key(|row| row.id);
        rows.dedup_by_key(|row| row.id);
        self.delete_rows(rows, watch)
    }

    /// Deletes rows for a collection, ghosts too, but those that it must spare; returns the blocks.
    pub(super) fn sweep(
        &mut self,
        rows: &[(u64, Multihash)],
        watch: u64,
    ) -> Result<Vec<Multihash>, Error> {
        let mut doomed = Vec::with_capacity(rows.len());
        for (id, hash) in rows {
            // A row that has gone since may have come back under another id.
            if let Some(location) = index::location_of(&self.connection, *id)? {
                doomed.push(Doomed { id: *id, hash, location });
            }
        }
        self.delete_rows(doomed, Some(watch))
    }

    fn delete_rows(
        &mut self,
        mut rows: Vec<Doomed<'_>>,
        watch: Option<u64>,
    ) -> Result<Vec<Multihash>, Error> {
        let ids: Vec<u64> = rows.iter().map(|row| row.id).collect();
        let deleting = self.shared.guard.begin_delete(&ids, watch);
        rows.retain(|row| deleting.contains(row.id));
        let result = self.log_deletion(&rows);
        self.shared.guard.end_delete();
        result
    }

    fn log_deletion(&mut self, doomed: &[Doomed<'_>]) -> Result<Vec<Multihash>, Error> {
        let stored = || doomed.iter().filter(|row| row.location.is_some());
        let names: Vec<u8> = stored().flat_map(|row| row.hash.as_bytes()).copied().collect();
        let apply = |c: &Connection, rows: &mut Rows, _: Place| {
            doomed.iter().try_for_each(|row| rows.delete(c, row.hash, row.id, row.location))
        };
        if doomed.is_empty() {
            return Ok(Vec::new());
        }
        if names.is_empty() {
            self.log(&mut [], apply)?;
        } else {
            let mut header = Vec::new();
            Header::tombstones(&names).append_to(&mut header);
            self.log(&mut [IoSlice::new(&header), IoSlice::new(&names)], apply)?;
        }
        Ok(stored().map(|row| row.hash.clone()).collect())
    }

    /// Copies frames of a segment to the active one, those that are still needed; returns the
    /// bytes copied.
    pub(super) fn copy(&mut self, frames: &[Copied], oldest: bool) -> Result<u64, Error> {
        let mut needed = Vec::new();
        for frame in frames {
            match &frame.header.kind {
                Kind::Block(hash) => {
                    let entry = index::find(&self.connection, hash)?;
                    let live = entry.filter(|entry| entry.location == Some(frame.location));
                    let bytes = Cow::Borrowed(&*frame.bytes);
                    needed.extend(live.map(|entry| (bytes, Some((frame, hash, entry)))));
                }
                // Before the oldest segment there is nothing that they could keep dead.
                Kind::Tombstones if oldest => {}
                Kind::Tombstones => {
                    let bytes = self.still_dead(frame)?;
                    needed.extend(bytes.map(|bytes| (Cow::Owned(bytes), None)));
                }
            }
        }
        if needed.is_empty() {
            return Ok(0);
        }
        let mut slices: Vec<IoSlice<'_>> =
            needed.iter().map(|(bytes, _)| IoSlice::new(bytes)).collect();
        let copied = slices.iter().map(|slice| slice.len() as u64).sum();
        self.log(&mut slices, |c, rows, place| {
            let mut offset = place.offset;
            for (bytes, row) in &needed {
                if let Some((frame, hash, entry)) = row {
                    let to = Location { segment: place.segment, offset, ..frame.location };
                    rows.relocate(c, hash, *entry, to)?;
                }
                offset += bytes.len() as u64;
            }
            Ok(())
        })?;
        Ok(copied)
    }

    /// The frame of those tombstones whose blocks have not been stored again: one of a block that
    /// has would, copied behind it, delete it when the index is rebuilt.
    fn still_dead(&self, frame: &Copied) -> Result<Option<Vec<u8>>, Error> {
        let mut names = Vec::new();
        for hash in frame::tombstones(frame.bytes.get(frame.header.len()..).unwrap_or_default()) {
            let entry = index::find(&self.connection, &hash)?;
            if entry.is_none_or(|entry| entry.location.is_none()) {
                names.extend_from_slice(hash.as_bytes());
            }
        }
        if names.is_empty() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        Header::tombstones(&names).append_to(&mut bytes);
        bytes.extend_from_slice(&names);
        Ok(Some(bytes))
    }

    /// Marks a block whose bytes were found damaged: putting it again writes it again.
    pub(super) fn mark_damaged(
        &mut self,
        hash: &Multihash,
        location: Location,
    ) -> Result<(), Error> {
        self.connection
            .prepare_cached(
                "UPDATE blocks SET damaged = 1 WHERE hash = ?1 AND segment = ?2 AND offset = ?3",
            )?
            .execute((hash.as_bytes(), location.segment, location.offset.cast_signed()))?;
        self.shared.found_damaged.lock().unwrap_or_else(PoisonError::into_inner).remove(hash);
        Ok(())
    }

    /// Acts a disk that is full for the index: it may have no more than so many pages.
    #[cfg(test)]
    pub(super) fn limit_index(&mut self, pages_max: u32) -> rusqlite::Result<()> {
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages_max}"), [], |_| Ok(()))
    }

    /// Spares, for a watch, every id assigned from now on; returns the first.
    pub(super) fn spare_new(&mut self, watch: u64) -> u64 {
        self.shared.guard.set_floor(watch, self.rows.next_id);
        self.rows.next_id
    }

    /// Live blocks of every segment but the active one.
    pub(super) fn sealed(&self) -> Result<Vec<SegmentStats>, Error> {
        let counted: HashMap<u32, SegmentStats> = index::segment_stats(&self.connection)?
            .into_iter()
            .map(|stats| (stats.number, stats))
            .collect();
        let numbers = self
            .shared
            .segments
            .list()
            .map_err(|error| Error::io("list", self.shared.segments.path(0), error))?;
        let stats =
            numbers.into_iter().filter(|number| *number != self.active.number).map(|number| {
                let none = SegmentStats { number, blocks: 0, bytes_live: 0 };
                counted.get(&number).copied().unwrap_or(none)
            });
        Ok(stats.collect())
    }

    /// Bytes of the active segment, and how many of them live blocks take.
    pub(super) fn active_use(&self) -> Result<(u64, u64), Error> {
        let stats = index::segment_stats(&self.connection)?;
        let live = stats.iter().find(|stats| stats.number == self.active.number);
        Ok((self.active.len, live.map_or(0, |stats| stats.bytes_live)))
    }

    /// Removes a segment unless something in it is needed; whether it is gone.
    pub(super) fn remove_segment(&mut self, number: u32) -> Result<bool, Error> {
        let sealed = self.sealed()?;
        if !sealed.iter().any(|segment| segment.number == number && segment.blocks == 0) {
            return Ok(false);
        }
        self.connection.execute("DELETE FROM segments WHERE number = ?1", [number])?;
        // Makes the index durable: it must not go back to when this segment was needed.
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        fail::point("compact-before-unlink");
        let path = self.shared.segments.path(number);
        self.shared.segments.remove(number).map_err(|error| Error::io("remove", path, error))?;
        fail::point("compact-after-unlink");
        Ok(true)
    }

    /// Begins a new segment.
    pub(super) fn roll(&mut self) -> Result<(), Error> {
        fail::point("store-before-roll");
        let number = self.active.number + 1;
        let path = self.shared.segments.path(number);
        let file = match self.shared.segments.create(number) {
            // Left by a roll that failed half-way: it was never written to.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.shared.segments.get(number)
            }
            created => created,
        };
        let file = file.map_err(|error| Error::io("create", path, error))?;
        self.active = Active { number, file, len: 0, suspect: false };
        Ok(())
    }

    /// Appends `slices`, syncs, and records them with `apply`: all of it or nothing.
    fn log<R>(
        &mut self,
        slices: &mut [IoSlice<'_>],
        apply: impl FnOnce(&Connection, &mut Rows, Place) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if self.active.suspect || self.active.len >= self.shared.options.segment_bytes {
            self.roll()?;
        }
        let next_id = self.rows.next_id;
        let place = Place { segment: self.active.number, offset: self.active.len };
        let result = self
            .append(slices)
            .and_then(|written| Ok((self.record(place, written, apply)?, written)));
        match result {
            Ok((value, written)) => {
                self.active.len += written;
                fail::point("store-after-index");
                Ok(value)
            }
            Err(error) => {
                self.rows.reset(next_id);
                self.cut_back();
                Err(error)
            }
        }
    }

    /// Removes what a failed commit appended.
    fn cut_back(&mut self) {
        if let Err(error) = self.active.file.set_len(self.active.len) {
            // Later frames overwrite it; a restart before that cuts it by its checksum.
            tracing::warn!(%error, segment = self.active.number, "cannot cut back a segment");
        }
    }

    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> Result<u64, Error> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total == 0 {
            return Ok(0);
        }
        let path = self.shared.segments.path(self.active.number);
        let mut file = &*self.active.file;
        file.seek(SeekFrom::Start(self.active.len))
            .and_then(|_| self.write_all(&mut file, slices, total))
            .map_err(|error| Error::io("write", &path, error))?;
        fail::point("store-before-sync");
        file.sync_data().map_err(|error| {
            self.active.suspect = true;
            Error::io("sync", &path, error)
        })?;
        fail::point("store-before-index");
        Ok(total as u64)
    }

    fn write_all(
        &self,
        file: &mut &File,
        mut slices: &mut [IoSlice<'_>],
        total: usize,
    ) -> io::Result<()> {
        let room = self.shared.options.room.as_deref();
        if fail::is_armed("store-mid-frame") {
            write_part(file, slices, total / 2)?;
            std::process::abort();
        }
        if let Some(room) = room {
            let left = room.load(Ordering::SeqCst);
            if left < total as u64 {
                write_part(file, slices, usize::try_from(left).unwrap_or(0))?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            room.fetch_sub(total as u64, Ordering::SeqCst);
        }
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn record<R>(
        &mut self,
        place: Place,
        written: u64,
        apply: impl FnOnce(&Connection, &mut Rows, Place) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = apply(&tx, &mut self.rows, place)?;
        self.rows.finish(&tx)?;
        let offset = place.offset + written;
        let next_id = self.rows.next_id;
        index::set_progress(&tx, Progress { segment: place.segment, offset, next_id })?;
        fail::point("store-before-index-commit");
        tx.commit()?;
        Ok(value)
    }
}

/// Writes the first `len` bytes of `slices`: a frame that was cut.
fn write_part(file: &mut &File, slices: &[IoSlice<'_>], mut len: usize) -> io::Result<()> {
    for slice in slices {
        let part = slice.get(..len.min(slice.len())).unwrap_or_default();
        file.write_all(part)?;
        len -= part.len();
    }
    Ok(())
}

/// Lets nobody wait for a writer that has ended.
struct Abandon<'a>(&'a Shared);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.queue.abandon();
        self.0.room.close();
    }
}
