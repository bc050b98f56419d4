//! Changes of pins, and what of them is recorded.

use rusqlite::params;

use super::ledger::Entry;
use super::options::{self, PinOptions};
use crate::db::{self, Transaction};
use crate::ipld::{Cid, codec};
use crate::node::{Error, first_start};
use crate::pins::{self, Mode, Pin};
use crate::sync::Record;
use crate::sync::core::Op;

/// Changes that are recorded in one transaction, of those that wait for it.
const UNRECORDED_AT_ONCE: u32 = 512;

/// A change of a pin.
#[derive(Debug, Clone)]
pub(in crate::node) enum Change {
    /// Pin what is whole here.
    Add {
        /// What.
        cid: Cid,
        /// How much of it.
        mode: Mode,
        /// Its name, or empty.
        name: String,
        /// What else the group is told.
        options: PinOptions,
    },
    /// Remove a pin.
    Remove {
        /// Of what.
        cid: Cid,
        /// Whether a recursive one may go.
        recursive: bool,
    },
    /// Pin `to` recursively under the name of `from`.
    Update {
        /// What is pinned recursively.
        from: Cid,
        /// What is to be.
        to: Cid,
        /// Whether the pin of `from` goes.
        unpin: bool,
    },
}

impl Change {
    /// A recursive pin without more to say.
    pub(in crate::node) fn recursive(cid: Cid, name: String) -> Self {
        Self::Add { cid, mode: Mode::Recursive, name, options: PinOptions::default() }
    }
}

/// A pin that has changed, and what its record says beside what the local pin does.
type Touched = (Cid, PinOptions);

/// Makes changes and their records.
pub(super) fn make(entry: &mut Entry<'_>, changes: &[Change]) -> Result<(), Error> {
    let mut touched = Vec::with_capacity(changes.len());
    for change in changes {
        match (change, make_local(entry.transaction(), change, &mut touched)) {
            // Pinned by the group, and not here: not yet, or not at all.
            (Change::Remove { cid, .. }, Err(Error::Pins(pins::Error::NotPinned)))
                if entry.is_pinned(cid)? =>
            {
                touched.push((cid.clone(), PinOptions::default()));
            }
            (_, made) => made?,
        }
    }
    if entry.may_record()? {
        return record(entry, &touched);
    }
    remember(entry.transaction(), &touched)
}

/// Makes changes whose records are made later.
pub(super) fn make_unrecorded(tx: &Transaction<'_>, changes: &[Change]) -> Result<(), Error> {
    let mut touched = Vec::with_capacity(changes.len());
    changes.iter().try_for_each(|change| make_local(tx, change, &mut touched))?;
    remember(tx, &touched)
}

fn make_local(
    tx: &Transaction<'_>,
    change: &Change,
    touched: &mut Vec<Touched>,
) -> Result<(), Error> {
    match change {
        Change::Add { cid, mode, name, options } => {
            pins::add(tx, cid, *mode, name)?;
            touched.push((cid.clone(), options.clone()));
        }
        Change::Remove { cid, recursive } => {
            pins::remove(tx, cid, *recursive)?;
            touched.push((cid.clone(), PinOptions::default()));
        }
        Change::Update { from, to, unpin } => {
            pins::update(tx, from, to, *unpin)?;
            if from != to {
                let update_from = Some(from.to_string());
                touched.push((to.clone(), PinOptions { update_from, ..PinOptions::default() }));
                touched.extend(unpin.then(|| (from.clone(), PinOptions::default())));
            }
        }
    }
    Ok(())
}

fn record(entry: &mut Entry<'_>, touched: &[Touched]) -> Result<(), Error> {
    let mut ops = Vec::with_capacity(touched.len());
    for (cid, options) in touched {
        let current = entry.record(cid)?;
        let current = current.as_ref().and_then(|record| record.live());
        ops.push(match local(entry.transaction(), cid)? {
            Some(pin) => {
                let live = Box::new(options::live(current, &pin, options));
                Op::Pin(pin.cid, live)
            }
            None => Op::Unpin(cid.clone(), None),
        });
    }
    entry.author(&ops)
}

/// The local pin of a CID or of its other spelling: the group has one pin for both.
fn local(tx: &Transaction<'_>, cid: &Cid) -> Result<Option<Pin>, Error> {
    for spelling in spellings(cid) {
        if let Some(pin) = pins::get(tx, &spelling)? {
            return Ok(Some(pin));
        }
    }
    Ok(None)
}

/// A CID, and as the other version where it has one.
pub(super) fn spellings(cid: &Cid) -> impl Iterator<Item = Cid> {
    let v1 = cid.to_v1();
    let other = if v1 != *cid {
        Some(v1)
    } else if cid.codec() == codec::DAG_PB {
        Cid::new_v0(cid.hash().clone())
    } else {
        None
    };
    std::iter::once(cid.clone()).chain(other)
}

/// Keeps what has changed until it can be recorded.
fn remember(tx: &Transaction<'_>, touched: &[Touched]) -> Result<(), Error> {
    for (cid, options) in touched {
        let options = serde_json::to_string(options).map_err(Error::failed)?;
        tx.prepare_cached(
            "INSERT INTO pinset_unrecorded (cid, options) VALUES (?1, ?2)
             ON CONFLICT (cid) DO UPDATE SET options = excluded.options",
        )
        .and_then(|mut statement| statement.execute(params![cid.to_bytes(), options]))
        .map_err(db::Error::from)?;
    }
    Ok(())
}

/// Keeps every local pin to be recorded: the group has none of them. The empty directory of a fresh
/// repository is every node's own.
pub(super) fn remember_all(tx: &Transaction<'_>) -> Result<(), Error> {
    let empty_directory = first_start::empty_directory()?;
    tx.execute(
        "INSERT INTO pinset_unrecorded (cid, options) SELECT DISTINCT cid, '{}' FROM pins
         WHERE cid <> ?1 ON CONFLICT (cid) DO NOTHING",
        [empty_directory.to_bytes()],
    )
    .map_err(db::Error::from)?;
    Ok(())
}

/// How many changes wait to be recorded.
pub(super) fn count_unrecorded(c: &db::Connection) -> Result<u64, db::Error> {
    let mut statement = c.prepare_cached("SELECT count(*) FROM pinset_unrecorded")?;
    let count: i64 = statement.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Records some of the changes that wait for it; whether there are more.
pub(super) fn record_waiting(entry: &mut Entry<'_>) -> Result<bool, Error> {
    let waiting = waiting(entry.transaction()).map_err(Error::from)?;
    let is_full = waiting.len() == UNRECORDED_AT_ONCE as usize;
    if waiting.is_empty() || !entry.may_record()? {
        return Ok(false);
    }
    let mut touched = Vec::with_capacity(waiting.len());
    for (bytes, options) in waiting {
        forget(entry.transaction(), &bytes)?;
        if let Ok(cid) = Cid::from_bytes(&bytes) {
            touched.push((cid, serde_json::from_str(&options).unwrap_or_default()));
        }
    }
    record(entry, &touched)?;
    Ok(is_full)
}

/// Removes pins of the group whose time has passed: those that this node has made, and, after a
/// while, those of others too, which may be gone. Some at a time; whether there are more.
pub(super) fn remove_ended(entry: &mut Entry<'_>) -> Result<bool, Error> {
    if !entry.may_record()? {
        return Ok(false);
    }
    let ended = entry.ended(UNRECORDED_AT_ONCE as usize)?;
    let unpin = |record: &Record| Op::Unpin(record.cid().clone(), Some("expired".to_owned()));
    entry.author(&ended.iter().map(unpin).collect::<Vec<_>>())?;
    Ok(ended.len() == UNRECORDED_AT_ONCE as usize)
}

fn waiting(tx: &Transaction<'_>) -> Result<Vec<(Vec<u8>, String)>, db::Error> {
    let mut statement =
        tx.prepare_cached("SELECT cid, options FROM pinset_unrecorded ORDER BY cid LIMIT ?1")?;
    let rows = statement.query_map([UNRECORDED_AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn forget(tx: &Transaction<'_>, cid: &[u8]) -> Result<(), db::Error> {
    tx.prepare_cached("DELETE FROM pinset_unrecorded WHERE cid = ?1")?.execute([cid])?;
    Ok(())
}
