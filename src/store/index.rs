//! `index.sqlite`: multihash to dense id, place in the packs, and children.
//!
//! A cache of the packs: `progress` says up to which frame it is complete, and what follows that
//! frame is read again at open. Ids are never used twice, so that a recorded child id whose row is
//! gone stands for nothing and not for another block.
//!
//! A row without `segment` is a ghost: a child that is named by a stored block but not stored.

use std::path::Path;
use std::time::Duration;

pub(super) use rusqlite::Connection;
use rusqlite::{OptionalExtension, Row};

use crate::ipld::Multihash;

use super::{Error, frame};

/// Version of the tables; another one means: build the index anew from the packs.
const FORMAT: u32 = 1;
/// Page cache of the writer.
const CACHE_KIB: i64 = 4096;
/// Pages in the WAL before they are written to the file: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4096;

const SCHEMA: &str = "
CREATE TABLE blocks (
  id INTEGER PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  segment INTEGER,
  offset INTEGER,
  length INTEGER,
  codec INTEGER,
  damaged INTEGER NOT NULL DEFAULT 0,
  children BLOB
);
CREATE TABLE segments (
  number INTEGER PRIMARY KEY,
  blocks INTEGER NOT NULL,
  bytes_live INTEGER NOT NULL
);
CREATE TABLE progress (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  segment INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  next_id INTEGER NOT NULL
);
INSERT INTO progress VALUES (1, 0, 0, 1);
";

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// A row of a multihash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// `None`: a ghost.
    pub(super) location: Option<Location>,
    /// The bytes are known to be damaged: putting the block again writes it again.
    pub(super) damaged: bool,
}

/// The links of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) codec: u64,
    /// `None`: not known, the bytes must be decoded.
    pub(super) children: Option<Vec<u8>>,
}

/// Up to where the index is complete, and the next free id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) next_id: u64,
}

/// Live blocks of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentStats {
    pub(super) number: u32,
    pub(super) blocks: u64,
    pub(super) bytes_live: u64,
}

/// Opens the index for writing, and creates its tables when it is new.
///
/// Returns `None` for an index of another format, which must be built anew.
pub(super) fn open(path: &Path) -> Result<Option<Connection>, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 32 << 20)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(32);
    let format: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format == 0 {
        connection.execute_batch(&format!("BEGIN;{SCHEMA}PRAGMA user_version={FORMAT};COMMIT"))?;
    } else if format != FORMAT {
        return Ok(None);
    }
    Ok(Some(connection))
}

fn location(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Location>> {
    let Some(segment) = row.get::<_, Option<u32>>(first)? else { return Ok(None) };
    let offset = row.get::<_, i64>(first + 1)?.cast_unsigned();
    Ok(Some(Location { segment, offset, length: row.get(first + 2)? }))
}

/// The row of `hash`.
pub(super) fn find(c: &Connection, hash: &Multihash) -> Result<Option<Entry>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT id, segment, offset, length, damaged FROM blocks WHERE hash = ?1",
    )?;
    let entry = statement
        .query_row([hash.as_bytes()], |row| {
            let id = row.get::<_, i64>(0)?.cast_unsigned();
            Ok(Entry { id, location: location(row, 1)?, damaged: row.get(4)? })
        })
        .optional()?;
    Ok(entry)
}

/// Where the block of an id is; the outer `None`: there is no such row.
pub(super) fn location_of(c: &Connection, id: u64) -> Result<Option<Option<Location>>, Error> {
    let mut statement =
        c.prepare_cached("SELECT segment, offset, length FROM blocks WHERE id = ?1")?;
    Ok(statement.query_row([id.cast_signed()], |row| location(row, 0)).optional()?)
}

/// Runs `read` on one snapshot: a lock less for each statement.
pub(super) fn snapshot<T>(
    c: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    c.prepare_cached("BEGIN")?.execute([])?;
    let result = read(c);
    c.prepare_cached("COMMIT")?.execute([])?;
    result
}

/// The multihash of an id.
pub(super) fn hash_of(c: &Connection, id: u64) -> Result<Option<Multihash>, Error> {
    let mut statement = c.prepare_cached("SELECT hash FROM blocks WHERE id = ?1")?;
    let hash = statement.query_row([id.cast_signed()], |row| read_hash(row, 0)).optional()?;
    Ok(hash)
}

/// The row of an id: whether its block is stored, and the links recorded for it.
pub(super) fn recorded(c: &Connection, id: u64) -> Result<Option<Option<Recorded>>, Error> {
    let mut statement =
        c.prepare_cached("SELECT codec, children, segment IS NOT NULL FROM blocks WHERE id = ?1")?;
    let recorded = statement
        .query_row([id.cast_signed()], |row| {
            Ok(if row.get(2)? { Some(read_recorded(row)?) } else { None })
        })
        .optional()?;
    Ok(recorded)
}

/// The links recorded for a stored block.
pub(super) fn recorded_by_hash(c: &Connection, h: &Multihash) -> Result<Option<Recorded>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT codec, children FROM blocks WHERE hash = ?1 AND segment IS NOT NULL",
    )?;
    let recorded = statement.query_row([h.as_bytes()], read_recorded).optional()?;
    Ok(recorded)
}

fn read_recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let codec = row.get::<_, i64>(0)?.cast_unsigned();
    Ok(Recorded { codec, children: row.get(1)? })
}

/// Reads a multihash column; what is none is a damaged index.
pub(super) fn read_hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Multihash> {
    let bytes = row.get_ref(column)?.as_blob()?;
    Multihash::from_bytes(bytes).map_err(|error| {
        let kind = rusqlite::types::Type::Blob;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: u64,
    pub(super) hash: Multihash,
    /// `None`: a ghost.
    pub(super) location: Option<Location>,
}

/// At most `limit` rows of ids above `after`, ascending.
pub(super) fn list(c: &Connection, after: u64, limit: usize) -> Result<Vec<Listed>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT id, hash, segment, offset, length FROM blocks WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map((after.cast_signed(), limit), |row| {
        let id = row.get::<_, i64>(0)?.cast_unsigned();
        Ok(Listed { id, hash: read_hash(row, 1)?, location: location(row, 2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How far the index is complete.
pub(super) fn progress(c: &Connection) -> Result<Progress, Error> {
    let sql = "SELECT segment, offset, next_id FROM progress";
    let progress = c.query_row(sql, [], |row| {
        Ok(Progress {
            segment: row.get(0)?,
            offset: row.get::<_, i64>(1)?.cast_unsigned(),
            next_id: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    })?;
    Ok(progress)
}

/// Records how far the index is complete.
pub(super) fn set_progress(c: &Connection, progress: Progress) -> Result<(), Error> {
    c.prepare_cached("UPDATE progress SET segment = ?1, offset = ?2, next_id = ?3")?.execute((
        progress.segment,
        progress.offset.cast_signed(),
        progress.next_id.cast_signed(),
    ))?;
    Ok(())
}

/// Marks the blocks of a segment whose frames end after `len` as damaged.
pub(super) fn mark_damaged_after(c: &Connection, segment: u32, len: u64) -> Result<(), Error> {
    c.execute(
        "UPDATE blocks SET damaged = 1
         WHERE segment = ?1 AND offset + ?2 + length(hash) + length > ?3",
        (segment, frame::HEADER_LEN as i64, len.cast_signed()),
    )?;
    Ok(())
}

/// Adds to the counts of live blocks of a segment.
pub(super) fn add_live(c: &Connection, number: u32, blocks: i64, bytes: i64) -> Result<(), Error> {
    c.prepare_cached(
        "INSERT INTO segments (number, blocks, bytes_live) VALUES (?1, ?2, ?3)
         ON CONFLICT (number) DO UPDATE SET blocks = blocks + excluded.blocks,
         bytes_live = bytes_live + excluded.bytes_live",
    )?
    .execute((number, blocks, bytes))?;
    Ok(())
}

/// The live blocks of every segment that has had any.
pub(super) fn segment_stats(c: &Connection) -> Result<Vec<SegmentStats>, Error> {
    let mut statement =
        c.prepare_cached("SELECT number, blocks, bytes_live FROM segments ORDER BY number")?;
    let rows = statement.query_map([], |row| {
        let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.max(0));
        Ok(SegmentStats {
            number: row.get(0)?,
            blocks: count(1)?.cast_unsigned(),
            bytes_live: count(2)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
