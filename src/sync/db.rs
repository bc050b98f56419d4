//! The store of a core in `state.sqlite`: its tables, and the trait over one transaction.
//!
//! Owns the tables `sync_*`. A [`Tables`] lives within one transaction of [`crate::db::Db::write`],
//! so that a step of the core and what its caller writes with it (the local pin, queue rows) are
//! committed together or not at all. A crash leaves the last commit; the core compares buckets and
//! roots when it opens.

use rusqlite::{OptionalExtension, params};

use super::clock::Hlc;
use super::hash::{Digest, Key, Rid};
use super::keys::Author;
use super::record::{Kind, Record};
use super::store::{Cursor, Store};
use super::tree::{Prefix, Summary};
use crate::db::{self, Connection, Schema, Transaction};

/// The tables of this module. Times are 64 bits without a sign; SQLite keeps them with the highest
/// bit turned over, which keeps their order. Most records never end and are not in `sync_end`.
///
/// Keys and digests stand apart from the records: hashing a bucket reads a page of them and not
/// twenty pages of records.
pub const SCHEMA: Schema = Schema {
    owner: "sync",
    migrations: &["
     CREATE TABLE sync_leaf (
       kind INTEGER NOT NULL,
       key BLOB NOT NULL,
       digest BLOB NOT NULL,
       PRIMARY KEY (kind, key)
     ) WITHOUT ROWID;
     CREATE TABLE sync_record (
       key BLOB PRIMARY KEY,
       rid BLOB NOT NULL,
       author BLOB NOT NULL,
       hlc INTEGER NOT NULL,
       record BLOB NOT NULL
     ) WITHOUT ROWID;
     CREATE INDEX sync_record_rid ON sync_record (rid);
     CREATE INDEX sync_record_author ON sync_record (author, hlc, key);
     CREATE TABLE sync_end (
       kind INTEGER NOT NULL,
       time INTEGER NOT NULL,
       key BLOB NOT NULL,
       PRIMARY KEY (kind, time, key)
     ) WITHOUT ROWID;
     CREATE TABLE sync_bucket (
       kind INTEGER NOT NULL,
       prefix BLOB NOT NULL,
       bits INTEGER NOT NULL,
       hash BLOB NOT NULL,
       count INTEGER NOT NULL,
       PRIMARY KEY (kind, prefix, bits)
     ) WITHOUT ROWID;
     CREATE TABLE sync_value (
       name TEXT PRIMARY KEY,
       value BLOB NOT NULL
     ) WITHOUT ROWID"],
};

/// Why the tables could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("sync: {0}")]
    Db(#[from] db::Error),
    /// A row holds what was never written there.
    #[error("the table {0} is damaged")]
    Damaged(&'static str),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The tables, within a transaction.
#[derive(Debug)]
pub struct Tables<'a>(&'a Transaction<'a>);

impl<'a> Tables<'a> {
    /// The tables of a database that was opened with [`SCHEMA`].
    #[must_use]
    pub fn new(tx: &'a Transaction<'a>) -> Self {
        Self(tx)
    }

    /// Forgets everything: what is here belongs to another group.
    ///
    /// # Errors
    /// When the database fails.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.0.execute_batch(
            "DELETE FROM sync_leaf; DELETE FROM sync_record; DELETE FROM sync_end;
             DELETE FROM sync_bucket; DELETE FROM sync_value;",
        )?;
        Ok(())
    }
}

/// A value of the core, or of the service around it, on the connection of the caller.
///
/// # Errors
/// When the database fails.
pub fn value(c: &Connection, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut statement = c.prepare_cached("SELECT value FROM sync_value WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// The record of a key, on the connection of the caller.
///
/// # Errors
/// When the database fails, or the record is damaged.
pub fn get(c: &Connection, key: &Key) -> Result<Option<Record>, Error> {
    let mut statement = c.prepare_cached("SELECT record FROM sync_record WHERE key = ?1")?;
    let bytes: Option<Vec<u8>> = statement.query_row([key.0], |row| row.get(0)).optional()?;
    bytes.map(|bytes| record(&bytes)).transpose()
}

/// At most `limit` live records after a key, in the order of keys, on the connection of the caller.
///
/// # Errors
/// When the database fails, or a record is damaged.
pub fn live_page(c: &Connection, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT record FROM sync_leaf JOIN sync_record USING (key)
         WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
    )?;
    let after: &[u8] = after.map_or(&[], |key| &key.0);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![Kind::Live.number(), after, limit])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row.get_ref(0)?.as_blob().unwrap_or_default())?);
    }
    Ok(records)
}

/// The live pins next to a key that has none: the last before it and the first after it.
///
/// # Errors
/// When the database fails.
pub fn live_neighbours(c: &Connection, key: &Key) -> Result<(Option<Key>, Option<Key>), Error> {
    let find = |sql| -> Result<Option<Key>, Error> {
        let mut statement = c.prepare_cached(sql)?;
        let key: Option<Vec<u8>> = statement.query_row([key.0], |row| row.get(0)).optional()?;
        key.map(|key| Ok(Key(array(&key, "sync_leaf")?))).transpose()
    };
    let before =
        find("SELECT key FROM sync_leaf WHERE kind = 0 AND key < ?1 ORDER BY key DESC LIMIT 1")?;
    let after = find("SELECT key FROM sync_leaf WHERE kind = 0 AND key > ?1 ORDER BY key LIMIT 1")?;
    Ok((before, after))
}

/// At most `limit` live records whose pins have ended: those of `own` at `now_ms`, those of others
/// at `others_ms`; on the connection of the caller.
///
/// # Errors
/// When the database fails, or a record is damaged.
pub fn ended(
    c: &Connection,
    own: &Author,
    (now_ms, others_ms): (u64, u64),
    limit: usize,
) -> Result<Vec<Record>, Error> {
    let mut statement = c.prepare_cached(
        "SELECT record FROM sync_end JOIN sync_record USING (key)
         WHERE kind = ?1 AND time <= ?2 AND (author = ?3 OR time <= ?4) ORDER BY time LIMIT ?5",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (now, others) = (to_sql(now_ms), to_sql(others_ms));
    let mut rows = statement.query(params![Kind::Live.number(), now, own.0, others, limit])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row.get_ref(0)?.as_blob().unwrap_or_default())?);
    }
    Ok(records)
}

const SIGN: u64 = 1 << 63;

fn to_sql(time: u64) -> i64 {
    (time ^ SIGN).cast_signed()
}

fn array<const N: usize>(bytes: &[u8], table: &'static str) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::Damaged(table))
}

fn record(bytes: &[u8]) -> Result<Record, Error> {
    Record::decode(bytes).map_err(|_| Error::Damaged("sync_record"))
}

/// When a record may go, in the unit of its kind.
fn end_of(record: &Record) -> Option<u64> {
    match record.live() {
        Some(live) => live.expire_ms,
        None => Some(record.hlc().0),
    }
}

impl Store for Tables<'_> {
    type Error = Error;

    fn get(&self, key: &Key) -> Result<Option<Record>, Error> {
        get(self.0, key)
    }

    fn find(&self, rid: &Rid) -> Result<Option<Record>, Error> {
        let mut statement =
            self.0.prepare_cached("SELECT record FROM sync_record WHERE rid = ?1")?;
        let bytes: Option<Vec<u8>> = statement.query_row([rid.0], |row| row.get(0)).optional()?;
        bytes.map(|bytes| record(&bytes)).transpose()
    }

    fn leaves(
        &self,
        kind: Kind,
        prefix: &Prefix,
        visit: &mut dyn FnMut(Key, Digest),
    ) -> Result<(), Error> {
        let (first, last) = prefix.range();
        let mut statement = self.0.prepare_cached(
            "SELECT key, digest FROM sync_leaf WHERE kind = ?1 AND key BETWEEN ?2 AND ?3
             ORDER BY key",
        )?;
        let mut rows = statement.query(params![kind.number(), first.0, last.0])?;
        while let Some(row) = rows.next()? {
            let key = array(row.get_ref(0)?.as_blob().unwrap_or_default(), "sync_leaf")?;
            let digest = array(row.get_ref(1)?.as_blob().unwrap_or_default(), "sync_leaf")?;
            visit(Key(key), Digest(digest));
        }
        Ok(())
    }

    fn authored(&self, after: &Cursor, visit: &mut dyn FnMut(Record) -> bool) -> Result<(), Error> {
        let mut statement = self.0.prepare_cached(
            "SELECT record FROM sync_record
             WHERE author = ?1 AND (hlc, key) > (?2, ?3) ORDER BY hlc, key",
        )?;
        let mut rows =
            statement.query(params![after.author.0, to_sql(after.hlc.0), after.key.0])?;
        while let Some(row) = rows.next()? {
            if !visit(record(row.get_ref(0)?.as_blob().unwrap_or_default())?) {
                break;
            }
        }
        Ok(())
    }

    fn next_author(&self, after: Option<&Author>) -> Result<Option<Author>, Error> {
        let after: &[u8] = after.map_or(&[], |author| &author.0);
        let mut statement = self.0.prepare_cached(
            "SELECT author FROM sync_record WHERE author > ?1 ORDER BY author LIMIT 1",
        )?;
        let author: Option<Vec<u8>> = statement.query_row([after], |row| row.get(0)).optional()?;
        author.map(|author| Ok(Author(array(&author, "sync_record")?))).transpose()
    }

    fn collectable(&self, tombs: Hlc, expire_ms: u64, limit: usize) -> Result<Vec<Key>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.0.prepare_cached(
            "SELECT key FROM (
               SELECT kind, key FROM sync_end WHERE kind = 1 AND time <= ?1
               UNION ALL
               SELECT kind, key FROM sync_end WHERE kind = 0 AND time < ?2
             ) ORDER BY kind DESC LIMIT ?3",
        )?;
        let mut rows = statement.query(params![to_sql(tombs.0), to_sql(expire_ms), limit])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(Key(array(row.get_ref(0)?.as_blob().unwrap_or_default(), "sync_end")?));
        }
        Ok(keys)
    }

    fn put(&mut self, record: &Record, rid: &Rid) -> Result<(), Error> {
        self.remove(&record.key())?;
        let (key, kind) = (record.key().0, record.kind().number());
        self.0
            .prepare_cached("INSERT INTO sync_leaf (kind, key, digest) VALUES (?1, ?2, ?3)")?
            .execute(params![kind, key, record.digest().0])?;
        self.0
            .prepare_cached(
                "INSERT INTO sync_record (key, rid, author, hlc, record)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                key,
                rid.0,
                record.author().0,
                to_sql(record.hlc().0),
                record.as_bytes()
            ])?;
        if let Some(end) = end_of(record) {
            self.0
                .prepare_cached("INSERT INTO sync_end (kind, time, key) VALUES (?1, ?2, ?3)")?
                .execute(params![kind, to_sql(end), key])?;
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<(), Error> {
        let Some(before) = self.get(key)? else { return Ok(()) };
        let kind = before.kind().number();
        self.0
            .prepare_cached("DELETE FROM sync_leaf WHERE kind = ?1 AND key = ?2")?
            .execute(params![kind, key.0])?;
        self.0.prepare_cached("DELETE FROM sync_record WHERE key = ?1")?.execute([key.0])?;
        if let Some(end) = end_of(&before) {
            self.0
                .prepare_cached("DELETE FROM sync_end WHERE kind = ?1 AND time = ?2 AND key = ?3")?
                .execute(params![kind, to_sql(end), key.0])?;
        }
        Ok(())
    }

    fn buckets(&self, kind: Kind, visit: &mut dyn FnMut(Prefix, Summary)) -> Result<(), Error> {
        let mut statement = self.0.prepare_cached(
            "SELECT prefix, bits, hash, count FROM sync_bucket WHERE kind = ?1
             ORDER BY prefix, bits",
        )?;
        let mut rows = statement.query([kind.number()])?;
        while let Some(row) = rows.next()? {
            let key = Key(array(row.get_ref(0)?.as_blob().unwrap_or_default(), "sync_bucket")?);
            let hash = array(row.get_ref(2)?.as_blob().unwrap_or_default(), "sync_bucket")?;
            let prefix = Prefix::of(&key, row.get::<_, u16>(1)?.into());
            visit(prefix, Summary { hash, count: row.get(3)? });
        }
        Ok(())
    }

    fn set_bucket(&mut self, kind: Kind, prefix: &Prefix, summary: Summary) -> Result<(), Error> {
        if summary.count == 0 {
            self.0
                .prepare_cached(
                    "DELETE FROM sync_bucket WHERE kind = ?1 AND prefix = ?2 AND bits = ?3",
                )?
                .execute(params![kind.number(), prefix.key.0, prefix.bits])?;
            return Ok(());
        }
        self.0
            .prepare_cached(
                "INSERT INTO sync_bucket (kind, prefix, bits, hash, count)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (kind, prefix, bits)
                 DO UPDATE SET hash = excluded.hash, count = excluded.count",
            )?
            .execute(params![
                kind.number(),
                prefix.key.0,
                prefix.bits,
                summary.hash,
                summary.count
            ])?;
        Ok(())
    }

    fn clear_buckets(&mut self, kind: Kind) -> Result<(), Error> {
        self.0
            .prepare_cached("DELETE FROM sync_bucket WHERE kind = ?1")?
            .execute([kind.number()])?;
        Ok(())
    }

    fn value(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        value(self.0, name)
    }

    fn set_value(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), Error> {
        match value {
            Some(value) => self
                .0
                .prepare_cached(
                    "INSERT INTO sync_value (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![name, value])?,
            None => {
                self.0.prepare_cached("DELETE FROM sync_value WHERE name = ?1")?.execute([name])?
            }
        };
        Ok(())
    }

    fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut statement = self.0.prepare_cached(
            "SELECT name, value FROM sync_value
             WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
        )?;
        let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests;
