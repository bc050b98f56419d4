//! Makes the index agree with the packs: from their tail at open, from all of them on demand.
//!
//! Frames are replayed in the order in which they were written. What does not check out at the end
//! of the last segment is a torn write and is cut off; elsewhere it is damage: a block whose name
//! is readable is recorded as damaged, so that it is reported and not missing, and unreadable
//! bytes are skipped up to the next frame.

use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::ipld::buffer::Buffer;
use crate::ipld::{self, Cid, Multihash};

use super::Error;
use super::frame::{self, HASH_LEN_MAX, HEADER_LEN, Header, Kind, MAGIC};
use super::index::{self, Location, Progress};
use super::rows::{Rows, Stored};
use super::segments::{self, Segments};

/// Data replayed in one transaction; bounds the links held in memory.
const COMMIT_BYTES: u64 = 16 << 20;
/// Rows in one transaction.
const COMMIT_ROWS: usize = 20_000;
/// Bytes searched at a time for the next frame.
const SEARCH_BYTES: usize = 1 << 20;

/// A frame, or what is there instead.
#[derive(Debug)]
pub(super) enum Scanned {
    /// A frame whose header checks out.
    Frame { header: Header, offset: u64 },
    /// Bytes that are no frame, up to the next one.
    Junk { len: u64 },
    /// No frame follows.
    End,
}

/// Reads the frames of one segment.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    file: &'a File,
    offset: u64,
    len: u64,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(file: &'a File, offset: u64) -> io::Result<Self> {
        Ok(Self { file, offset, len: file.metadata()?.len() })
    }

    /// What is at the present offset; moves behind it.
    pub(super) fn next(&mut self) -> io::Result<Scanned> {
        if self.offset >= self.len {
            return Ok(Scanned::End);
        }
        if let Some(header) = self.header_at(self.offset)? {
            let offset = self.offset;
            self.offset += header.frame_len();
            return Ok(Scanned::Frame { header, offset });
        }
        match self.search()? {
            Some(found) => {
                let len = found - self.offset;
                self.offset = found;
                Ok(Scanned::Junk { len })
            }
            None => Ok(Scanned::End),
        }
    }

    /// Data of a frame just returned.
    pub(super) fn data(&self, header: &Header, offset: u64) -> io::Result<Buffer> {
        segments::read_at(self.file, offset + header.len() as u64, header.data_len as usize)
    }

    fn header_at(&self, offset: u64) -> io::Result<Option<Header>> {
        let left = self.len.saturating_sub(offset);
        let len = (HEADER_LEN + HASH_LEN_MAX).min(usize::try_from(left).unwrap_or(usize::MAX));
        let header = Header::parse(&segments::read_at(self.file, offset, len)?);
        Ok(header.filter(|header| header.frame_len() <= left))
    }

    /// The offset of the next frame after the present offset.
    fn search(&self) -> io::Result<Option<u64>> {
        let finder = memchr::memmem::Finder::new(&MAGIC);
        let mut start = self.offset + 1;
        while start + (HEADER_LEN as u64) <= self.len {
            let left = usize::try_from(self.len - start).unwrap_or(usize::MAX);
            let bytes = segments::read_at(self.file, start, left.min(SEARCH_BYTES))?;
            for position in finder.find_iter(&bytes) {
                let candidate = start + position as u64;
                if self.header_at(candidate)?.is_some() {
                    return Ok(Some(candidate));
                }
            }
            // A magic across the edge of two reads is found by the second.
            start += (bytes.len().saturating_sub(MAGIC.len() - 1)).max(1) as u64;
        }
        Ok(None)
    }
}

/// Replays the packs from where the index is complete, and cuts off a torn tail.
///
/// Returns where the packs end now.
pub(super) fn catch_up(c: &mut Connection, packs: &Segments) -> Result<Progress, Error> {
    let numbers = packs.list().map_err(|error| Error::io("list", packs.path(0), error))?;
    let mut replay = Replay::new(index::progress(c)?);
    let first = replay.progress.segment;
    for number in numbers.iter().copied().filter(|number| *number >= first) {
        if number > replay.progress.segment {
            replay.progress.segment = number;
            replay.progress.offset = 0;
        }
        let is_last = Some(&number) == numbers.last();
        replay.segment(c, packs, is_last)?;
    }
    Ok(replay.progress)
}

/// Marks the blocks that the index knows in packs that are gone or were cut short, which no crash
/// does: they are reported as damaged, and written again when they are put again.
pub(super) fn mark_lost(c: &mut Connection, packs: &Segments) -> Result<(), Error> {
    let numbers = packs.list().map_err(|error| Error::io("list", packs.path(0), error))?;
    for segment in index::segment_stats(c)? {
        if segment.blocks > 0 && numbers.binary_search(&segment.number).is_err() {
            let path = packs.path(segment.number);
            tracing::error!(path = %path.display(), blocks = segment.blocks, "a pack is missing");
            index::mark_damaged_after(c, segment.number, 0)?;
        }
    }
    let Progress { segment, offset, next_id } = index::progress(c)?;
    if segment == 0 {
        return Ok(());
    }
    let len = match packs.get(segment).and_then(|file| file.metadata()) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(Error::io("open", packs.path(segment), error)),
    };
    if len < offset {
        tracing::error!(path = %packs.path(segment).display(), lost = offset - len, "a pack was cut");
        index::mark_damaged_after(c, segment, len)?;
        // What was there stays known as lost: nothing is written in its place.
        let next = numbers.last().copied().unwrap_or(segment).max(segment) + 1;
        index::set_progress(c, Progress { segment: next, offset: 0, next_id })?;
    }
    Ok(())
}

/// Removes the files of an index that is to be built anew.
pub(super) fn remove_index(path: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", Path::new(&name), error));
            }
            _ => {}
        }
    }
    Ok(())
}

struct Replay {
    progress: Progress,
    rows: Rows,
    /// Frames of the next transaction.
    frames: Vec<Read>,
    bytes: u64,
}

/// A frame that was read.
struct Read {
    header: Header,
    offset: u64,
    damaged: bool,
    /// Of a block; `None`: not known.
    links: Option<Vec<Cid>>,
    /// Of a frame of tombstones.
    deleted: Vec<Multihash>,
}

impl Read {
    fn new(header: Header, offset: u64, data: &[u8]) -> Self {
        let damaged = crc32c::crc32c(data) != header.data_crc;
        let (mut links, mut deleted) = (None, Vec::new());
        match header.kind {
            _ if damaged => {}
            Kind::Block(_) => links = ipld::links(header.codec, data).ok(),
            Kind::Tombstones => deleted = frame::tombstones(data).collect(),
        }
        Self { header, offset, damaged, links, deleted }
    }

    fn end(&self) -> u64 {
        self.offset + self.header.frame_len()
    }
}

impl Replay {
    fn new(progress: Progress) -> Self {
        let rows = Rows::new(progress.next_id);
        Self { progress, rows, frames: Vec::new(), bytes: 0 }
    }

    fn segment(&mut self, c: &mut Connection, packs: &Segments, last: bool) -> Result<(), Error> {
        let path = packs.path(self.progress.segment);
        let failed = |error| Error::io("read", &path, error);
        let file = packs.get(self.progress.segment).map_err(failed)?;
        let mut scanner = Scanner::new(&file, self.progress.offset).map_err(failed)?;
        // Where the last frame ended that checked out, data included.
        let mut end_good = self.progress.offset;
        loop {
            match scanner.next().map_err(failed)? {
                Scanned::Frame { header, offset } => {
                    let data = scanner.data(&header, offset).map_err(failed)?;
                    let read = Read::new(header, offset, &data);
                    if !read.damaged {
                        end_good = read.end();
                    }
                    self.bytes += read.header.frame_len();
                    self.frames.push(read);
                }
                Scanned::Junk { len } => {
                    tracing::warn!(path = %path.display(), len, "unreadable bytes in a pack");
                }
                Scanned::End => break,
            }
            let is_full = self.bytes >= COMMIT_BYTES || self.frames.len() >= COMMIT_ROWS;
            // Frames after the last good one may be a torn tail: kept back until one is good.
            if is_full && self.frames.last().is_some_and(|read| read.end() == end_good) {
                self.commit(c, &path, end_good)?;
            }
        }
        if last {
            self.frames.retain(|read| read.end() <= end_good);
            let len = file.metadata().map_err(failed)?.len();
            if len > end_good {
                let torn = len - end_good;
                tracing::warn!(path = %path.display(), torn, "cut a torn write off a pack");
                file.set_len(end_good).and_then(|()| file.sync_all()).map_err(failed)?;
            }
        }
        self.commit(c, &path, end_good)
    }

    fn commit(&mut self, c: &mut Connection, path: &Path, end: u64) -> Result<(), Error> {
        let tx = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let segment = self.progress.segment;
        for read in self.frames.drain(..) {
            let Read { header, offset, damaged, links, deleted } = read;
            match &header.kind {
                Kind::Block(hash) => {
                    let location = Location { segment, offset, length: header.data_len };
                    let (codec, links) = (header.codec, links.as_deref());
                    self.rows.store(&tx, &Stored { hash, codec, location, links, damaged })?;
                }
                Kind::Tombstones if damaged => {
                    tracing::warn!(path = %path.display(), offset, "unreadable tombstones");
                }
                Kind::Tombstones => {
                    for hash in deleted {
                        if let Some(entry) = index::find(&tx, &hash)? {
                            self.rows.delete(&tx, &hash, entry.id, entry.location)?;
                        }
                    }
                }
            }
        }
        self.rows.finish(&tx)?;
        self.progress.offset = end;
        self.progress.next_id = self.rows.next_id;
        index::set_progress(&tx, self.progress)?;
        tx.commit()?;
        self.bytes = 0;
        Ok(())
    }
}
