//! The local pinset: which DAGs (recursive) and blocks (direct) are to be kept, and their names.
//!
//! Responsible for: the table `pins`, Kubo's rules for changing it, and what is pinned indirectly.
//! Not for: fetching what is to be pinned. Who adds a pin holds a store session that protects the
//! DAG, and flushes it first: a committed pin never speaks of blocks that are not durable.
//! A crash leaves a change made or not made.

mod indirect;

pub use indirect::Indirect;

use rusqlite::{OptionalExtension, Row, params};

use crate::db::{self, Connection, Db, Schema, Transaction};
use crate::ipld::Cid;
use crate::store::{self, Store};

/// The table of this module.
///
/// In the order of the key, a mode is listed by the text of its CIDs without sorting.
pub const SCHEMA: Schema = Schema {
    owner: "pins",
    migrations: &["CREATE TABLE pins (
       mode INTEGER NOT NULL,
       text TEXT NOT NULL,
       cid BLOB NOT NULL,
       name TEXT NOT NULL,
       PRIMARY KEY (mode, text)
     ) WITHOUT ROWID"],
};

/// Pins read at a time by a listing.
const PAGE_PINS: usize = 256;

/// How much of a DAG a pin keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// All of it.
    Recursive,
    /// Its root block.
    Direct,
}

impl Mode {
    fn number(self) -> i64 {
        match self {
            Self::Recursive => 0,
            Self::Direct => 1,
        }
    }
}

/// A pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What is pinned.
    pub cid: Cid,
    /// How much of it.
    pub mode: Mode,
    /// Its name; often empty.
    pub name: String,
    /// The CID as text: base58btc for version 0, base32 for version 1.
    pub text: String,
}

/// Why a pin operation failed. The texts are those of boxo's pinner.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A direct pin of what is pinned recursively.
    #[error("{0} already pinned recursively")]
    AlreadyRecursive(Cid),
    /// A non-recursive unpin of a recursive pin.
    #[error("{0} is pinned recursively")]
    IsRecursive(Cid),
    /// Nothing to unpin.
    #[error("not pinned or pinned indirectly")]
    NotPinned,
    /// An update of what is not pinned.
    #[error("'from' cid was not recursively pinned already")]
    FromNotPinned,
    /// An update to what is pinned.
    #[error("'to' cid was already recursively pinned")]
    ToAlreadyPinned,
    /// A block below a recursive pin is not stored.
    #[error("ipld: could not find {0}")]
    Missing(Cid),
    /// The database failed.
    #[error("pins: {0}")]
    Db(#[from] db::Error),
    /// The blockstore failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

/// What an update will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Both CIDs are the same one, and pinned.
    Nothing,
    /// The new root must be complete before [`Pins::update`] is called.
    Proceed,
}

/// The pinset. Cloning the handle is cheap.
#[derive(Debug, Clone)]
pub struct Pins {
    db: Db,
    store: Store,
}

impl Pins {
    /// The pinset in `db`, which was opened with [`SCHEMA`], of blocks in `store`.
    #[must_use]
    pub fn new(db: Db, store: Store) -> Self {
        Self { db, store }
    }

    /// Pins `cid`; replaces the name of a pin of the same mode. A recursive pin replaces a direct
    /// one.
    ///
    /// # Errors
    /// [`Error::AlreadyRecursive`] for a direct pin; or when the database fails.
    pub async fn add(&self, cid: Cid, mode: Mode, name: String) -> Result<(), Error> {
        self.db.write(move |tx| add(tx, &cid, mode, &name)).await
    }

    /// As [`Pins::add`], all or none.
    ///
    /// # Errors
    /// As [`Pins::add`].
    pub async fn add_many(&self, pins: Vec<(Cid, Mode, String)>) -> Result<(), Error> {
        let write = move |tx: &Transaction<'_>| {
            pins.iter().try_for_each(|(cid, mode, name)| add(tx, cid, *mode, name))
        };
        self.db.write(write).await
    }

    /// Unpins `cid`, whichever its mode; only a direct pin unless `recursive`.
    ///
    /// # Errors
    /// [`Error::NotPinned`], [`Error::IsRecursive`]; or when the database fails.
    pub async fn remove(&self, cid: Cid, recursive: bool) -> Result<(), Error> {
        self.db.write(move |tx| remove(tx, &cid, recursive)).await
    }

    /// Returns when every change begun before is committed, also those whose callers have gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(&self) -> Result<(), Error> {
        self.db.write(|_| Ok(())).await
    }

    /// What [`Pins::update`] would do; to be asked before the new DAG is fetched.
    ///
    /// # Errors
    /// [`Error::FromNotPinned`], [`Error::ToAlreadyPinned`]; or when the database fails.
    pub fn check_update(&self, from: &Cid, to: &Cid) -> Result<Update, Error> {
        self.db.read(|c| check_update(c, from, to)).map(|(update, _)| update)
    }

    /// Pins `to` recursively under the name of `from`, which is unpinned if `unpin`.
    ///
    /// # Errors
    /// As [`Pins::check_update`].
    pub async fn update(&self, from: Cid, to: Cid, unpin: bool) -> Result<(), Error> {
        self.db.write(move |tx| update(tx, &from, &to, unpin)).await
    }

    /// The pin of `cid` of this mode.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get_mode(&self, cid: &Cid, mode: Mode) -> Result<Option<Pin>, Error> {
        self.db.read(|c| find(c, cid, mode))
    }

    /// The pin of `cid`; the recursive one, if there are two.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get(&self, cid: &Cid) -> Result<Option<Pin>, Error> {
        self.db.read(|c| get(c, cid))
    }

    /// At most `limit` pins of a mode whose CID as text comes after `after`, in that order, and
    /// whose name contains `name`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn page(
        &self,
        mode: Mode,
        after: &str,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Pin>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT text, cid, name FROM pins WHERE mode = ?1 AND text > ?2
                 AND (?3 IS NULL OR instr(name, ?3) > 0) ORDER BY text LIMIT ?4",
            )?;
            let rows = statement
                .query_map(params![mode.number(), after, name, limit], |row| read_pin(row, mode))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The pins of a mode in the order of their CIDs as text; constant memory, no lock held
    /// between two pins. `name` keeps those whose name contains it.
    pub fn iterate(
        &self,
        mode: Mode,
        name: Option<String>,
    ) -> impl Iterator<Item = Result<Pin, Error>> + Send + use<> {
        let pins = self.clone();
        let mut page = Vec::new().into_iter();
        let mut after = Some(String::new());
        std::iter::from_fn(move || {
            if let Some(pin) = page.next() {
                return Some(Ok(pin));
            }
            let from = after.take()?;
            match pins.page(mode, &from, name.as_deref(), PAGE_PINS) {
                Ok(next) => {
                    after = next.last().map(|pin| pin.text.clone());
                    page = next.into_iter();
                    page.next().map(Ok)
                }
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// The CIDs of the pins of a mode, many at a time.
    pub fn cids(&self, mode: Mode) -> impl Iterator<Item = Result<Vec<Cid>, Error>> + Send + use<> {
        let pins = self.clone();
        let mut after = Some(String::new());
        std::iter::from_fn(move || {
            let from = after.take()?;
            match pins.page(mode, &from, None, PAGE_PINS) {
                Ok(page) => {
                    after = Some(page.last()?.text.clone());
                    Some(Ok(page.into_iter().map(|pin| pin.cid).collect()))
                }
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// All pins in the order of their CIDs as text, the recursive one of two alone.
    pub fn iterate_all(
        &self,
        name: Option<String>,
    ) -> impl Iterator<Item = Result<Pin, Error>> + Send + use<> {
        let mut recursive = self.iterate(Mode::Recursive, name.clone()).peekable();
        let mut direct = self.iterate(Mode::Direct, name).peekable();
        std::iter::from_fn(move || {
            let (Some(Ok(first)), Some(Ok(second))) = (recursive.peek(), direct.peek()) else {
                return recursive.next().or_else(|| direct.next());
            };
            if first.text == second.text {
                direct.next();
                return recursive.next();
            }
            if first.text < second.text { recursive.next() } else { direct.next() }
        })
    }

    /// Number of pins of a mode.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count(&self, mode: Mode) -> Result<u64, Error> {
        self.db.read(|c| {
            let mut statement = c.prepare_cached("SELECT count(*) FROM pins WHERE mode = ?1")?;
            let count: i64 = statement.query_row([mode.number()], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
    }
}

/// As [`Pins::add`], in the transaction of the caller.
///
/// # Errors
/// As [`Pins::add`].
pub fn add(tx: &Transaction<'_>, cid: &Cid, mode: Mode, name: &str) -> Result<(), Error> {
    match mode {
        Mode::Recursive => delete(tx, cid, Mode::Direct)?,
        Mode::Direct if find(tx, cid, Mode::Recursive)?.is_some() => {
            return Err(Error::AlreadyRecursive(cid.clone()));
        }
        Mode::Direct => {}
    }
    put(tx, cid, mode, name)
}

/// As [`Pins::remove`], in the transaction of the caller.
///
/// # Errors
/// As [`Pins::remove`].
pub fn remove(tx: &Transaction<'_>, cid: &Cid, recursive: bool) -> Result<(), Error> {
    if find(tx, cid, Mode::Recursive)?.is_some() {
        if !recursive {
            return Err(Error::IsRecursive(cid.clone()));
        }
    } else if find(tx, cid, Mode::Direct)?.is_none() {
        return Err(Error::NotPinned);
    }
    delete(tx, cid, Mode::Recursive)?;
    delete(tx, cid, Mode::Direct)
}

/// As [`Pins::update`], in the transaction of the caller.
///
/// # Errors
/// As [`Pins::update`].
pub fn update(tx: &Transaction<'_>, from: &Cid, to: &Cid, unpin: bool) -> Result<(), Error> {
    let (Update::Proceed, name) = check_update(tx, from, to)? else { return Ok(()) };
    put(tx, to, Mode::Recursive, &name)?;
    if unpin {
        delete(tx, from, Mode::Recursive)?;
    }
    Ok(())
}

/// As [`Pins::get`], on the connection of the caller.
///
/// # Errors
/// When the database cannot be read.
pub fn get(c: &Connection, cid: &Cid) -> Result<Option<Pin>, Error> {
    Ok(match find(c, cid, Mode::Recursive)? {
        Some(pin) => Some(pin),
        None => find(c, cid, Mode::Direct)?,
    })
}

fn check_update(c: &Connection, from: &Cid, to: &Cid) -> Result<(Update, String), Error> {
    let pin = find(c, from, Mode::Recursive)?.ok_or(Error::FromNotPinned)?;
    if from == to {
        return Ok((Update::Nothing, pin.name));
    }
    match find(c, to, Mode::Recursive)? {
        Some(_) => Err(Error::ToAlreadyPinned),
        None => Ok((Update::Proceed, pin.name)),
    }
}

fn put(tx: &Transaction<'_>, cid: &Cid, mode: Mode, name: &str) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO pins (mode, text, cid, name) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (mode, text) DO UPDATE SET name = excluded.name",
    )?
    .execute(params![mode.number(), cid.to_string(), cid.to_bytes(), name])?;
    Ok(())
}

/// Removes the pin of `cid` of this mode, if there is one.
///
/// # Errors
/// When the database fails.
pub fn delete(tx: &Transaction<'_>, cid: &Cid, mode: Mode) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM pins WHERE mode = ?1 AND text = ?2")?
        .execute(params![mode.number(), cid.to_string()])?;
    Ok(())
}

/// The pin of `cid` of this mode, as a transaction or a reader sees it.
///
/// # Errors
/// When the database cannot be read.
pub fn find(c: &Connection, cid: &Cid, mode: Mode) -> Result<Option<Pin>, Error> {
    let mut statement =
        c.prepare_cached("SELECT text, cid, name FROM pins WHERE mode = ?1 AND text = ?2")?;
    let found = statement
        .query_row(params![mode.number(), cid.to_string()], |row| read_pin(row, mode))
        .optional()?;
    Ok(found)
}

fn read_pin(row: &Row<'_>, mode: Mode) -> rusqlite::Result<Pin> {
    let cid = Cid::from_bytes(row.get_ref(1)?.as_blob()?).map_err(|error| {
        let kind = rusqlite::types::Type::Blob;
        rusqlite::Error::FromSqlConversionFailure(1, kind, Box::new(error))
    })?;
    Ok(Pin { cid, mode, name: row.get(2)?, text: row.get(0)? })
}

#[cfg(test)]
mod tests;
