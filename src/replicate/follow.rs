//! What follows for this node from what the group says of a pin.
//!
//! Each function is called in the transaction of its cause, and leaves the local pins, the queue
//! and the ends of pins in agreement with it.

use rusqlite::params;

use super::Error;
use super::lane::{self, Lane};
use super::place::{Holders, Roster, holders};
use super::row::{self, End, Row, State, array, read_cid, signed, unsigned};
use crate::db::{Connection, Transaction};
use crate::ipld::{Cid, codec};
use crate::pins::{self, Mode, Pin};
use crate::sync::core::Change;
use crate::sync::hash::Key;
use crate::sync::record::{self, Live, Record};

/// How long what was removed in a mass stays, in milliseconds.
const HELD_MS: u64 = 24 * 3600 * 1000;
/// Peers noted as likely to have a pin.
const PEERS_MAX: usize = 4;

/// What the group says of a pin.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its key.
    pub key: &'a Key,
    /// Its CID, in either of its versions.
    pub cid: &'a Cid,
    /// The record that is the state of the key; a tombstone, or none, means that it is removed.
    pub record: Option<&'a Record>,
    /// It was removed together with so much that the content is kept for a day.
    pub held: bool,
}

impl<'a> Subject<'a> {
    /// What a change says; `None` for one that says nothing.
    #[must_use]
    pub fn of(change: &'a Change) -> Option<Self> {
        let record = change.after.as_ref();
        let cid = record.or(change.before.as_ref())?.cid();
        Some(Self { key: &change.key, cid, record, held: change.held })
    }
}

/// Makes the queue and the local pins agree with what the group says of one pin. `now_ms` is the
/// time in Unix milliseconds.
///
/// Both versions of a dag-pb CID are one pin: locally it has the mode, the name and the version
/// that the record says. To do it again changes nothing.
///
/// # Errors
/// When the database fails.
pub fn follow(
    tx: &Transaction<'_>,
    subject: &Subject<'_>,
    roster: &Roster,
    now_ms: u64,
) -> Result<(), Error> {
    let Subject { key, cid, record, held } = *subject;
    let live = record.and_then(|record| Some((record, record.live()?)));
    let Some((record, live)) = live.filter(|(_, live)| !is_over(live, now_ms)) else {
        let keep_ms = live.and_then(|(_, live)| live.hold_until_ms);
        let held_ms = held.then(|| now_ms.saturating_add(HELD_MS));
        let until_ms = keep_ms.max(row::end(tx, key)?.keep_ms).max(held_ms);
        return gone(tx, key, cid, until_ms.filter(|until_ms| *until_ms > now_ms), now_ms);
    };
    let end = End { ends_ms: live.expire_ms, keep_ms: live.hold_until_ms };
    row::set_end(tx, key, record.cid(), end)?;
    let wanted = Wanted { record, live, roster, now_ms };
    let pins = local_pins(tx, cid)?;
    let holders = holders(live, key, roster);
    let is_ours = holders.include(&roster.own);
    if is_ours || (roster.takes_nothing() && !pins.is_empty()) {
        wanted.have(tx, &pins, &holders)
    } else if pins.is_empty() {
        row::delete(tx, key)
    } else {
        wanted.hand_off(tx, &holders)
    }
}

/// Notes a pin that this node's user has made: it is whole here, in the versions and modes that the
/// user chose.
///
/// # Errors
/// When the database fails.
pub fn note_own(tx: &Transaction<'_>, subject: &Subject<'_>) -> Result<(), Error> {
    let Some((record, live)) = subject.record.and_then(|record| Some((record, record.live()?)))
    else {
        return Ok(());
    };
    let end = End { ends_ms: live.expire_ms, keep_ms: live.hold_until_ms };
    row::set_end(tx, subject.key, record.cid(), end)?;
    row::delete(tx, subject.key)
}

/// Whether the time of a pin has passed.
fn is_over(live: &Live, now_ms: u64) -> bool {
    live.expire_ms.is_some_and(|end_ms| end_ms <= now_ms)
}

/// How much of a DAG is kept here for a record. There are no local pins down to a depth: all is
/// kept, which is more than asked for and not less.
fn local_mode(mode: record::Mode) -> Mode {
    match mode {
        record::Mode::Recursive | record::Mode::Depth(1..) => Mode::Recursive,
        record::Mode::Direct | record::Mode::Depth(0) => Mode::Direct,
    }
}

/// A CID in all its versions.
fn versions(cid: &Cid) -> impl Iterator<Item = Cid> {
    let first = Cid::new_v0(cid.hash().clone()).filter(|_| cid.codec() == codec::DAG_PB);
    [Some(cid.to_v1()), first].into_iter().flatten()
}

/// The local pins of a key.
fn local_pins(c: &Connection, cid: &Cid) -> Result<Vec<Pin>, Error> {
    let mut found = Vec::new();
    for cid in versions(cid) {
        for mode in [Mode::Recursive, Mode::Direct] {
            found.extend(pins::find(c, &cid, mode)?);
        }
    }
    Ok(found)
}

/// Makes this the one local pin of its key.
pub(super) fn pin(tx: &Transaction<'_>, cid: &Cid, mode: Mode, name: &str) -> Result<(), Error> {
    unpin(tx, cid)?;
    Ok(pins::add(tx, cid, mode, name)?)
}

/// Removes the local pins of a key.
fn unpin(tx: &Transaction<'_>, cid: &Cid) -> Result<(), Error> {
    for cid in versions(cid) {
        pins::delete(tx, &cid, Mode::Recursive)?;
        pins::delete(tx, &cid, Mode::Direct)?;
    }
    Ok(())
}

/// A pin that the group has.
struct Wanted<'a> {
    record: &'a Record,
    live: &'a Live,
    roster: &'a Roster,
    now_ms: u64,
}

impl Wanted<'_> {
    /// This node holds it: either it is whole here, or it is queued.
    fn have(&self, tx: &Transaction<'_>, pins: &[Pin], holders: &Holders<'_>) -> Result<(), Error> {
        let (key, cid) = (self.record.key(), self.record.cid());
        let mode = local_mode(self.live.mode);
        let is_here = pins.iter().any(|pin| pin.mode == Mode::Recursive || pin.mode == mode);
        if is_here {
            let is_so =
                |pin: &Pin| pin.mode == mode && pin.cid == *cid && pin.name == self.live.name;
            if pins.len() != 1 || !pins.iter().all(is_so) {
                pin(tx, cid, mode, &self.live.name)?;
            }
            return row::delete(tx, &key);
        }
        let before = row::row(tx, &key)?.filter(|row| !row.state.is_unpin());
        if before.as_ref().is_some_and(|row| row.digest == self.record.digest()) {
            return Ok(());
        }
        // What is known of the blocks stays so when only the record is another.
        let done = before.filter(|row| row.mode == mode);
        let home = Lane::of(self.record, self.live, self.now_ms);
        let row = Row {
            home,
            lane: home,
            turn_ms: lane::turn_ms(self.live, self.now_ms),
            since_ms: done.as_ref().map_or(self.now_ms, |row| row.since_ms),
            blocks: done.as_ref().map_or(0, |row| row.blocks),
            bytes: done.as_ref().map_or(0, |row| row.bytes),
            peers: self.peers(holders),
            ..self.row(State::Queued)
        };
        row::put(tx, &row)
    }

    /// Others hold it; what is here goes when enough of them do.
    fn hand_off(&self, tx: &Transaction<'_>, holders: &Holders<'_>) -> Result<(), Error> {
        let most = match holders {
            Holders::All => u32::MAX,
            Holders::These(holders) => u32::try_from(holders.len()).unwrap_or(u32::MAX),
        };
        let least = self.live.replication_min.filter(|least| *least > 0);
        let needed = least.or(self.live.replication_max).unwrap_or(1).min(most).max(1);
        let row = Row { needed, ..self.row(State::UnpinQueued) };
        let before = row::unpin_row(tx, &self.record.key())?;
        let is_known = before.is_some_and(|before| {
            before.state == row.state && before.digest == row.digest && before.needed == needed
        });
        if is_known { Ok(()) } else { row::put(tx, &row) }
    }

    fn row(&self, state: State) -> Row {
        Row {
            key: self.record.key(),
            cid: self.record.cid().clone(),
            mode: local_mode(self.live.mode),
            name: self.live.name.clone(),
            digest: self.record.digest(),
            state,
            home: Lane::Bulk,
            lane: Lane::Bulk,
            turn_ms: self.now_ms,
            next_at_ms: None,
            attempts: 0,
            since_ms: self.now_ms,
            size_bytes: self.live.size_bytes,
            blocks: 0,
            bytes: 0,
            error: String::new(),
            peers: Vec::new(),
            origins: self.live.origins.clone(),
            needed: 0,
        }
    }

    /// Who may have it: who pinned it, and those who were chosen to hold it.
    fn peers(&self, holders: &Holders<'_>) -> Vec<Vec<u8>> {
        let author = self.roster.peer_of(&self.record.author());
        let others = match holders {
            Holders::All => &[],
            Holders::These(holders) => holders.as_slice(),
        };
        let mut peers: Vec<Vec<u8>> = Vec::new();
        for peer in author.into_iter().chain(others.iter().map(|holder| holder.peer.as_slice())) {
            if peer != self.roster.own && !peers.iter().any(|known| known == peer) {
                peers.push(peer.to_vec());
            }
        }
        peers.truncate(PEERS_MAX);
        peers
    }
}

/// The pin is not the group's any more: what is here goes, at once or at `until_ms`.
fn gone(
    tx: &Transaction<'_>,
    key: &Key,
    cid: &Cid,
    until_ms: Option<u64>,
    now_ms: u64,
) -> Result<(), Error> {
    row::set_end(tx, key, cid, End::default())?;
    let before = row::unpin_row(tx, key)?.filter(|row| row.state == State::UnpinHeld);
    let before_ms = before.as_ref().and_then(|row| row.next_at_ms);
    // What is held already stays so: that the tombstone is collected says nothing new.
    let until_ms = until_ms.max(before_ms.filter(|until_ms| *until_ms > now_ms));
    let Some(until_ms) = until_ms else {
        unpin(tx, cid)?;
        return row::delete(tx, key);
    };
    let pins = local_pins(tx, cid)?;
    let Some(pin) = pins.into_iter().next() else { return row::delete(tx, key) };
    if before_ms == Some(until_ms) {
        return Ok(());
    }
    row::put(tx, &Row { next_at_ms: Some(until_ms), ..held(key, pin, now_ms) })
}

fn held(key: &Key, pin: Pin, now_ms: u64) -> Row {
    Row {
        key: *key,
        cid: pin.cid,
        mode: pin.mode,
        name: pin.name,
        digest: crate::sync::hash::Digest([0; 32]),
        state: State::UnpinHeld,
        home: Lane::Bulk,
        lane: Lane::Bulk,
        turn_ms: now_ms,
        next_at_ms: None,
        attempts: 0,
        since_ms: now_ms,
        size_bytes: None,
        blocks: 0,
        bytes: 0,
        error: String::new(),
        peers: Vec::new(),
        origins: Vec::new(),
        needed: 0,
    }
}

/// Unpins what is held after its removal, one pin or all, without waiting; how many.
///
/// # Errors
/// When the database fails.
pub fn release(tx: &Transaction<'_>, key: Option<&Key>) -> Result<u64, Error> {
    let rows = match key {
        Some(key) => Vec::from_iter(row::unpin_row(tx, key)?),
        None => row::page(tx, &[State::UnpinHeld], None, usize::MAX)?,
    };
    let rows = rows.into_iter().filter(|row| row.state == State::UnpinHeld);
    drop_all(tx, rows)
}

/// Unpins at most `limit` pins whose time has passed, and as many of those that were held long
/// enough; how many. Called by the service when [`next_end`] says so.
///
/// # Errors
/// When the database fails.
pub fn remove_ended(tx: &Transaction<'_>, now_ms: u64, limit: usize) -> Result<u64, Error> {
    let mut removed = drop_all(tx, row::due(tx, State::UnpinHeld, now_ms, limit)?)?;
    for (key, cid, keep_ms) in ended(tx, now_ms, limit)? {
        let until_ms = keep_ms.filter(|until_ms| *until_ms > now_ms);
        gone(tx, &key, &cid, until_ms, now_ms)?;
        removed += 1;
    }
    Ok(removed)
}

/// When [`remove_ended`] has something to do next, in Unix milliseconds.
///
/// # Errors
/// When the database cannot be read.
pub fn next_end(c: &Connection) -> Result<Option<u64>, Error> {
    let sql = "SELECT min(at) FROM (
           SELECT min(ends) AS at FROM replicate_end WHERE ends IS NOT NULL
           UNION ALL
           SELECT min(next_at) FROM replicate WHERE next_at IS NOT NULL AND state = 4)";
    let next: Option<i64> = c.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(next.map(unsigned))
}

fn ended(c: &Connection, now_ms: u64, limit: usize) -> Result<Vec<(Key, Cid, Option<u64>)>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT key, cid, keep FROM replicate_end WHERE ends <= ?1 ORDER BY ends LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![signed(now_ms), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key = Key(array(row.get_ref(0)?.as_blob().ok(), "key")?);
        found.push((key, read_cid(row, 1)?, row.get::<_, Option<i64>>(2)?.map(unsigned)));
    }
    Ok(found)
}

/// Unpins what others hold by now: `holders` says how many others are known to hold a pin whole,
/// and pins of which it knows nothing stay. How many went.
///
/// # Errors
/// When the database fails.
pub fn hand_off(
    tx: &Transaction<'_>,
    mut holders: impl FnMut(&Row) -> Option<u32>,
) -> Result<u64, Error> {
    const PAGE_ROWS: usize = 256;
    let (mut after, mut removed) = (None, 0);
    loop {
        let rows = row::page(tx, &[State::UnpinQueued], after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { return Ok(removed) };
        after = Some(last.key);
        let held = rows.into_iter().filter(|row| holders(row) >= Some(row.needed));
        removed += drop_all(tx, held)?;
    }
}

/// Unpins the pins of rows, and deletes the rows.
fn drop_all(tx: &Transaction<'_>, rows: impl IntoIterator<Item = Row>) -> Result<u64, Error> {
    let mut count = 0;
    for row in rows {
        unpin(tx, &row.cid)?;
        row::delete(tx, &row.key)?;
        count += 1;
    }
    Ok(count)
}
