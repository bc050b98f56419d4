//! The queue: a row for each pin of this node's share that is not simply whole here.
//!
//! Owns the table `replicate`. A crash leaves a change made or not made.

use rusqlite::{OptionalExtension as _, ToSql, named_params, params, params_from_iter};

use super::Error;
use super::lane::Lane;
use crate::db::{Connection, Transaction};
use crate::ipld::Cid;
use crate::pins::Mode;
use crate::sync::hash::{Digest, Key};

/// Where a pin stands. The names of most are IPFS Cluster's; unpinning and its failure are not
/// among them, since what is unpinned goes in the transaction that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// The last try failed; it is tried again.
    Failed,
    /// So many tries failed that it is only probed.
    Stalled,
    /// It is larger than what the disk can take.
    DiskFull,
    /// It was removed, and stays for a time: too much went at once, or its content was to be kept.
    UnpinHeld,
    /// Others shall hold it; it stays until enough of them do.
    UnpinQueued,
    /// It is being fetched.
    Fetching,
    /// It is whole here.
    Pinned,
    /// Others hold it.
    Remote,
    /// Its time is over.
    Expired,
}

impl State {
    /// All.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Failed,
        Self::Stalled,
        Self::DiskFull,
        Self::UnpinHeld,
        Self::UnpinQueued,
        Self::Fetching,
        Self::Pinned,
        Self::Remote,
        Self::Expired,
    ];

    /// Its name: IPFS Cluster's, where it has one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "pin_queued",
            Self::Failed => "pin_error",
            Self::Stalled => "stalled",
            Self::DiskFull => "disk_full",
            Self::UnpinHeld => "unpin_held",
            Self::UnpinQueued => "unpin_queued",
            Self::Fetching => "pinning",
            Self::Pinned => "pinned",
            Self::Remote => "remote",
            Self::Expired => "expired",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Its number in the table; none for those that rows are never in.
    fn number(self) -> Option<u8> {
        Some(match self {
            Self::Queued => 0,
            Self::Failed => 1,
            Self::Stalled => 2,
            Self::DiskFull => 3,
            Self::UnpinHeld => 4,
            Self::UnpinQueued => 5,
            Self::Fetching | Self::Pinned | Self::Remote | Self::Expired => return None,
        })
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == Some(number))
    }

    /// Whether the pin is to go, and not to come.
    #[must_use]
    pub fn is_unpin(self) -> bool {
        matches!(self, Self::UnpinHeld | Self::UnpinQueued)
    }
}

/// A pin that is not simply whole here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Key,
    /// What is pinned, as the author of the record wrote it.
    pub cid: Cid,
    /// How much of it.
    pub mode: Mode,
    /// Its name.
    pub name: String,
    /// Of the record that asked for this.
    pub digest: Digest,
    /// Where it stands.
    pub state: State,
    /// Where it would be had nothing failed.
    pub home: Lane,
    /// Who it waits with.
    pub lane: Lane,
    /// Its place among those; Unix milliseconds.
    pub turn_ms: u64,
    /// Nothing is done before; Unix milliseconds. `None`: at any time.
    pub next_at_ms: Option<u64>,
    /// Tries that failed since it came or was last asked for.
    pub attempts: u32,
    /// Since when it waits; Unix milliseconds.
    pub since_ms: u64,
    /// Bytes of the whole, if the record says so.
    pub size_bytes: Option<u64>,
    /// Blocks that were here when it was last looked at.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the last try failed with; empty when none did.
    pub error: String,
    /// Who may have it: binary peer ids, best first.
    pub peers: Vec<Vec<u8>>,
    /// Where it was first: binary multiaddrs.
    pub origins: Vec<Vec<u8>>,
    /// Others that must hold it before it goes from here.
    pub needed: u32,
}

/// How many rows there are of which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// [`State::Queued`].
    pub queued: u64,
    /// [`State::Fetching`].
    pub fetching: u64,
    /// [`State::Failed`].
    pub failing: u64,
    /// [`State::Stalled`].
    pub stalled: u64,
    /// [`State::DiskFull`].
    pub disk_full: u64,
    /// [`State::UnpinHeld`].
    pub unpin_held: u64,
    /// [`State::UnpinQueued`].
    pub unpin_queued: u64,
}

impl Counts {
    /// Pins of this node's share that are not whole here.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.queued + self.fetching + self.failing + self.stalled + self.disk_full
    }

    pub(super) fn of(&mut self, state: State) -> Option<&mut u64> {
        Some(match state {
            State::Queued => &mut self.queued,
            State::Fetching => &mut self.fetching,
            State::Failed => &mut self.failing,
            State::Stalled => &mut self.stalled,
            State::DiskFull => &mut self.disk_full,
            State::UnpinHeld => &mut self.unpin_held,
            State::UnpinQueued => &mut self.unpin_queued,
            State::Pinned | State::Remote | State::Expired => return None,
        })
    }
}

/// How many rows there are of which state. What is being fetched counts as what it was before;
/// [`super::Queue::counts`] knows better.
///
/// # Errors
/// When the database cannot be read.
pub fn counts(c: &Connection) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    let mut statement = c.prepare_cached("SELECT state, count(*) FROM replicate GROUP BY state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let state = State::from_number(row.get(0)?).ok_or(Error::Damaged("state"))?;
        if let Some(count) = counts.of(state) {
            *count = unsigned(row.get(1)?);
        }
    }
    Ok(counts)
}

const COLUMNS: &str = "key, cid, mode, name, digest, state, home, lane, turn, next_at, attempts, \
     since, size, blocks, bytes, error, peers, origins, needed";

/// The row of a pin. As [`counts`] does, it knows nothing of what is being fetched.
///
/// # Errors
/// When the database cannot be read.
pub fn row(c: &Connection, key: &Key) -> Result<Option<Row>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM replicate WHERE key = ?1");
    let mut statement = c.prepare_cached(&sql)?;
    let mut rows = statement.query([key.0])?;
    rows.next()?.map(read).transpose()
}

/// At most `limit` rows in the order of their keys, of those after `after`; of the states given, or
/// of all when none is. As [`counts`] does, it knows nothing of what is being fetched.
///
/// # Errors
/// When the database cannot be read.
pub fn page(
    c: &Connection,
    states: &[State],
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    let numbers: Vec<u8> = states.iter().filter_map(|state| state.number()).collect();
    if numbers.is_empty() && !states.is_empty() {
        return Ok(Vec::new());
    }
    let among = match numbers.is_empty() {
        true => String::new(),
        false => {
            let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
            format!("AND state IN ({})", numbers.join(","))
        }
    };
    let sql =
        format!("SELECT {COLUMNS} FROM replicate WHERE key > ?1 {among} ORDER BY key LIMIT ?2");
    let after: &[u8] = after.map_or(&[], |key| &key.0);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    collect(c, &sql, params![after, limit])
}

/// The first rows of a lane whose turn it is.
pub(super) fn ready(c: &Connection, lane: Lane, limit: usize) -> Result<Vec<Row>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM replicate INDEXED BY replicate_ready
         WHERE lane = ?1 AND next_at IS NULL AND state < 4 ORDER BY turn LIMIT ?2"
    );
    collect(c, &sql, params![lane.number(), i64::try_from(limit).unwrap_or(i64::MAX)])
}

/// The rows of these states that wait no longer, the longest overdue first.
pub(super) fn due(
    c: &Connection,
    state: State,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM replicate INDEXED BY replicate_waiting
         WHERE next_at <= ?1 AND state = ?2 ORDER BY next_at LIMIT ?3"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    collect(c, &sql, params![signed(now_ms), state.number(), limit])
}

/// When the next row that waits is due, in Unix milliseconds.
pub(super) fn next_due(c: &Connection) -> Result<Option<u64>, Error> {
    let sql = "SELECT min(next_at) FROM replicate WHERE next_at IS NOT NULL";
    let next: Option<i64> = c.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(next.map(unsigned))
}

/// What failed goes as if it had come so much later: it must not stand before what is new.
const AGAIN_LATER_MS: u64 = 600_000;
/// The same in SQL, from now on.
const AGAIN: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER) + 600000";
/// Pins that a member who comes may have as well as another: so many are tried again at once.
const WOKEN_MAX: u32 = 1000;

/// Lets those whose wait is over take their turn; how many.
pub(super) fn promote(tx: &Transaction<'_>, now_ms: u64, limit: usize) -> Result<usize, Error> {
    let sql = "UPDATE replicate SET next_at = NULL, turn = ?2 WHERE key IN (
           SELECT key FROM replicate WHERE next_at <= ?1 AND state < 4 ORDER BY next_at LIMIT ?3)";
    let turn_ms = now_ms.saturating_add(AGAIN_LATER_MS);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(tx.prepare_cached(sql)?.execute(params![signed(now_ms), signed(turn_ms), limit])?)
}

/// Has no row wait for longer than it would from now on: the clock may have been ahead.
pub(super) fn right_clock(tx: &Transaction<'_>, now_ms: u64, most_ms: u64) -> Result<(), Error> {
    let latest = signed(now_ms.saturating_add(most_ms));
    tx.prepare_cached("UPDATE replicate SET next_at = ?1 WHERE next_at > ?1 AND state < 4")?
        .execute([latest])?;
    Ok(())
}

/// Has what failed tried again at once, with all its attempts before it; one pin or all. How many.
///
/// # Errors
/// When the database fails.
pub fn recover(tx: &Transaction<'_>, key: Option<&Key>) -> Result<u64, Error> {
    let changed = match key {
        Some(key) => {
            let sql = "UPDATE replicate SET state = 0, next_at = NULL, attempts = 0, lane = home
                 WHERE state BETWEEN 1 AND 3 AND key = ?1";
            tx.prepare_cached(sql)?.execute([key.0])?
        }
        None => {
            let sql = format!(
                "UPDATE replicate SET state = 0, next_at = NULL, attempts = 0, lane = home,
                   turn = {AGAIN} WHERE state BETWEEN 1 AND 3"
            );
            tx.prepare_cached(&sql)?.execute([])?
        }
    };
    Ok(changed as u64)
}

/// Has what failed tried again, now that a peer has come: what that one is known to have as if it
/// were new, and some of the rest in the lane in which it is. How many.
///
/// # Errors
/// When the database fails.
pub fn wake_failed(tx: &Transaction<'_>, peer: &[u8]) -> Result<u64, Error> {
    let known = format!(
        "UPDATE replicate SET state = 0, next_at = NULL, attempts = 0, lane = home, turn = {AGAIN}
         WHERE state BETWEEN 1 AND 2 AND instr(peers, ?1) > 0"
    );
    let known = tx.prepare_cached(&known)?.execute([peer])?;
    let others = format!(
        "UPDATE replicate SET next_at = NULL, turn = {AGAIN} WHERE key IN (
           SELECT key FROM replicate WHERE next_at IS NOT NULL AND state BETWEEN 1 AND 2
           ORDER BY next_at LIMIT {WOKEN_MAX})"
    );
    let others = tx.prepare_cached(&others)?.execute([])?;
    Ok((known + others) as u64)
}

/// Has what the disk could not take tried again.
pub(super) fn wake_full(tx: &Transaction<'_>) -> Result<usize, Error> {
    let sql = "UPDATE replicate SET next_at = NULL WHERE state = 3 AND next_at IS NOT NULL";
    Ok(tx.prepare_cached(sql)?.execute([])?)
}

/// The CIDs of at most `limit` pins that are to be fetched, in the order of their keys: what is
/// here of them must not be collected.
///
/// # Errors
/// When the database cannot be read.
pub fn unfinished(
    c: &Connection,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<(Key, Cid)>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT key, cid FROM replicate WHERE key > ?1 AND state < 4 ORDER BY key LIMIT ?2",
    )?;
    let after: &[u8] = after.map_or(&[], |key| &key.0);
    let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((Key(array(row.get_ref(0)?.as_blob().ok(), "key")?), read_cid(row, 1)?));
    }
    Ok(found)
}

/// Puts a row in the place of the one of its key.
pub(super) fn put(tx: &Transaction<'_>, row: &Row) -> Result<(), Error> {
    let state = row.state.number().ok_or(Error::Damaged("state"))?;
    let sql = format!(
        "INSERT OR REPLACE INTO replicate ({COLUMNS}) VALUES (:key, :cid, :mode, :name, :digest,
         :state, :home, :lane, :turn, :next_at, :attempts, :since, :size, :blocks, :bytes, :error,
         :peers, :origins, :needed)"
    );
    tx.prepare_cached(&sql)?.execute(named_params! {
        ":key": row.key.0,
        ":cid": row.cid.to_bytes(),
        ":mode": mode_number(row.mode),
        ":name": row.name,
        ":digest": row.digest.0,
        ":state": state,
        ":home": row.home.number(),
        ":lane": row.lane.number(),
        ":turn": signed(row.turn_ms),
        ":next_at": row.next_at_ms.map(signed),
        ":attempts": row.attempts,
        ":since": signed(row.since_ms),
        ":size": row.size_bytes.map(signed),
        ":blocks": signed(row.blocks),
        ":bytes": signed(row.bytes),
        ":error": row.error,
        ":peers": join(&row.peers),
        ":origins": join(&row.origins),
        ":needed": row.needed,
    })?;
    Ok(())
}

/// Deletes the row of a key, if there is one.
pub(super) fn delete(tx: &Transaction<'_>, key: &Key) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM replicate WHERE key = ?1")?.execute([key.0])?;
    Ok(())
}

/// Notes how far a fetch has come.
pub(super) fn set_progress(
    tx: &Transaction<'_>,
    key: &Key,
    blocks: u64,
    bytes: u64,
) -> Result<(), Error> {
    tx.prepare_cached("UPDATE replicate SET blocks = ?2, bytes = ?3 WHERE key = ?1")?
        .execute(params![key.0, signed(blocks), signed(bytes)])?;
    Ok(())
}

fn collect(c: &Connection, sql: &str, params: &[&dyn ToSql]) -> Result<Vec<Row>, Error> {
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(params))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &rusqlite::Row<'_>) -> Result<Row, Error> {
    let mode = match row.get(2)? {
        0 => Mode::Recursive,
        1 => Mode::Direct,
        _ => return Err(Error::Damaged("mode")),
    };
    let lane = |at| -> Result<Lane, Error> {
        Lane::from_number(row.get(at)?).ok_or(Error::Damaged("lane"))
    };
    Ok(Row {
        key: Key(array(row.get_ref(0)?.as_blob().ok(), "key")?),
        cid: read_cid(row, 1)?,
        mode,
        name: row.get(3)?,
        digest: Digest(array(row.get_ref(4)?.as_blob().ok(), "digest")?),
        state: State::from_number(row.get(5)?).ok_or(Error::Damaged("state"))?,
        home: lane(6)?,
        lane: lane(7)?,
        turn_ms: unsigned(row.get(8)?),
        next_at_ms: row.get::<_, Option<i64>>(9)?.map(unsigned),
        attempts: row.get(10)?,
        since_ms: unsigned(row.get(11)?),
        size_bytes: row.get::<_, Option<i64>>(12)?.map(unsigned),
        blocks: unsigned(row.get(13)?),
        bytes: unsigned(row.get(14)?),
        error: row.get(15)?,
        peers: split(row.get_ref(16)?.as_blob().ok(), "peers")?,
        origins: split(row.get_ref(17)?.as_blob().ok(), "origins")?,
        needed: row.get(18)?,
    })
}

fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Recursive => 0,
        Mode::Direct => 1,
    }
}

/// A CID in a column.
pub(super) fn read_cid(row: &rusqlite::Row<'_>, at: usize) -> Result<Cid, Error> {
    let bytes = row.get_ref(at)?.as_blob().unwrap_or_default();
    Cid::from_bytes(bytes).map_err(|_| Error::Damaged("cid"))
}

/// Bytes of a fixed number in a column.
pub(super) fn array<const N: usize>(
    bytes: Option<&[u8]>,
    column: &'static str,
) -> Result<[u8; N], Error> {
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Error::Damaged(column))
}

/// A number as SQLite keeps it; what does not fit is as good as the largest that does.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as it was before.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Short byte strings in one: each behind its length of two bytes.
fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        let Ok(length) = u16::try_from(part.len()) else { continue };
        joined.extend(length.to_be_bytes());
        joined.extend(part);
    }
    joined
}

fn split(joined: Option<&[u8]>, column: &'static str) -> Result<Vec<Vec<u8>>, Error> {
    let damaged = Error::Damaged(column);
    let mut rest = joined.ok_or_else(|| damaged.clone())?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(|| damaged.clone())?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (part, after) = after.split_at_checked(length).ok_or_else(|| damaged.clone())?;
        parts.push(part.to_vec());
        rest = after;
    }
    Ok(parts)
}

/// The row of a key, if there is one that says something else than that the pin is to come.
pub(super) fn unpin_row(c: &Connection, key: &Key) -> Result<Option<Row>, Error> {
    Ok(row(c, key)?.filter(|row| row.state.is_unpin()))
}

/// The end of a pin, and until when its content is kept: Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct End {
    pub(super) ends_ms: Option<u64>,
    pub(super) keep_ms: Option<u64>,
}

/// What is known of the end of a pin.
pub(super) fn end(c: &Connection, key: &Key) -> Result<End, Error> {
    let mut statement = c.prepare_cached("SELECT ends, keep FROM replicate_end WHERE key = ?1")?;
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<End> {
        let (ends, keep): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok(End { ends_ms: ends.map(unsigned), keep_ms: keep.map(unsigned) })
    };
    Ok(statement.query_row([key.0], read).optional()?.unwrap_or_default())
}

/// Notes the end of a pin.
pub(super) fn set_end(tx: &Transaction<'_>, key: &Key, cid: &Cid, new: End) -> Result<(), Error> {
    if end(tx, key)? == new {
        return Ok(());
    }
    if new == End::default() {
        tx.prepare_cached("DELETE FROM replicate_end WHERE key = ?1")?.execute([key.0])?;
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO replicate_end (key, cid, ends, keep) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        key.0,
        cid.to_bytes(),
        new.ends_ms.map(signed),
        new.keep_ms.map(signed)
    ])?;
    Ok(())
}
