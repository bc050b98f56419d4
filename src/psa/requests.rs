//! The pins that others asked this node for, as a service of the Pinning Service API.
//!
//! Responsible for: the table `pin_requests`, its statuses and its listing. Not for: the pins
//! themselves, which are the node's. Every change is one transaction; a crash leaves a request as it
//! was before or after. What was being worked on when the process ended is queued again by
//! [`Requests::resume`].

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Row, params, params_from_iter};

use super::message::{Matching, NewRequest, Query};
use super::{Status, message};
use crate::db::{Connection, Db, Error, Schema, Transaction};
use crate::ipld::Cid;

/// The table of this module. Times are milliseconds since 1970.
///
/// `holds` says whether the pin of the node is there because of the request, and has to go with it;
/// not decided while null. A request that `replaced_by` names keeps its pin until the other has its
/// own; one that `is_released` only waits for its pin to go. Neither is shown.
pub const SCHEMA: Schema = Schema {
    owner: "pin_requests",
    migrations: &["CREATE TABLE pin_requests (
       id TEXT NOT NULL PRIMARY KEY,
       owner TEXT NOT NULL,
       created INTEGER NOT NULL UNIQUE,
       cid TEXT NOT NULL,
       name TEXT NOT NULL,
       folded_name TEXT NOT NULL,
       origins TEXT NOT NULL,
       meta TEXT NOT NULL,
       status INTEGER NOT NULL,
       error TEXT NOT NULL DEFAULT '',
       attempts INTEGER NOT NULL DEFAULT 0,
       next_at INTEGER NOT NULL,
       holds INTEGER,
       replaced_by TEXT,
       is_released INTEGER NOT NULL DEFAULT 0
     ) WITHOUT ROWID;
     CREATE INDEX pin_requests_shown ON pin_requests (owner, created)
       WHERE replaced_by IS NULL AND is_released = 0;
     CREATE INDEX pin_requests_due ON pin_requests (next_at)
       WHERE status = 0 AND replaced_by IS NULL AND is_released = 0;
     CREATE INDEX pin_requests_cid ON pin_requests (cid);
     CREATE INDEX pin_requests_released ON pin_requests (id) WHERE is_released = 1;
     CREATE INDEX pin_requests_replaced ON pin_requests (replaced_by)
       WHERE replaced_by IS NOT NULL"],
};

/// Which requests are shown.
const SHOWN: &str = "replaced_by IS NULL AND is_released = 0";

/// What is read of a request.
const COLUMNS: &str = "id, status, created, cid, name, origins, meta, error, attempts";

/// A request to queue.
#[derive(Debug, Clone)]
pub struct Insert {
    /// Whose it is.
    pub owner: String,
    /// Its name.
    pub id: String,
    /// What is asked for.
    pub request: NewRequest,
    /// The request in whose place it is, which then is shown no longer.
    pub replaces: Option<String>,
    /// The time: milliseconds since 1970.
    pub now_ms: i64,
}

/// A request, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub id: String,
    /// How far it is.
    pub status: Status,
    /// When it was made: milliseconds since 1970, no two alike.
    pub created_ms: i64,
    /// The root, as text.
    pub cid: String,
    /// The name; empty without one.
    pub name: String,
    /// Multiaddrs of peers that have the DAG.
    pub origins: Vec<String>,
    /// What the client wants to have remembered.
    pub meta: BTreeMap<String, String>,
    /// What the last attempt failed with; empty when there is nothing to say.
    pub error: String,
    /// Attempts that came to nothing.
    pub attempts: u32,
}

/// A pin of the node that a request leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The request.
    pub id: String,
    /// The root, as text.
    pub cid: String,
    /// Whether the pin has to go: it came with the request, as far as it came, and no other asks for
    /// it.
    pub is_last: bool,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The DAG is pinned.
    Pinned,
    /// It cannot be.
    Failed(String),
    /// It may be, not before this time.
    Later(String, i64),
}

/// The requests. Cloning the handle is cheap.
#[derive(Debug, Clone)]
pub struct Requests {
    db: Db,
}

impl Requests {
    /// The requests in `db`, which was opened with [`SCHEMA`].
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Queues a request. `None` when that which it replaces is not there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert(&self, new: Insert) -> Result<Option<Request>, Error> {
        let write = move |tx: &Transaction<'_>| {
            let Insert { owner, id, request, replaces, now_ms } = new;
            if let Some(old) = &replaces {
                if get(tx, &owner, old)?.is_none() {
                    return Ok(None);
                }
                let sql = "UPDATE pin_requests SET replaced_by = ?2
                           WHERE id = ?1 OR replaced_by = ?1";
                tx.prepare_cached(sql)?.execute([old, &id])?;
            }
            insert(tx, &owner, &id, &request, now_ms)?;
            get(tx, &owner, &id)
        };
        self.db.write(write).await
    }

    /// A request of `owner`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get(&self, owner: &str, id: &str) -> Result<Option<Request>, Error> {
        self.db.read(|connection| get(connection, owner, id))
    }

    /// The newest requests of `owner` that are meant, and how many there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self, owner: &str, query: &Query) -> Result<(u64, Vec<Request>), Error> {
        let (condition, mut values) = condition(owner, query);
        self.db.read(|connection| {
            let sql = format!("SELECT count(*) FROM pin_requests WHERE {condition}");
            let mut statement = connection.prepare_cached(&sql)?;
            let count: i64 = statement.query_row(params_from_iter(&values), |row| row.get(0))?;
            let sql = format!(
                "SELECT {COLUMNS} FROM pin_requests WHERE {condition}
                 ORDER BY created DESC LIMIT ?"
            );
            values.push(i64::from(query.limit).into());
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(&values), read)?;
            Ok((u64::try_from(count).unwrap_or(0), rows.collect::<Result<_, _>>()?))
        })
    }

    /// Shows a request no longer; its pin goes with the next [`Self::released`]. Tells whether there
    /// was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove(&self, owner: String, id: String) -> Result<bool, Error> {
        let write = move |tx: &Transaction<'_>| {
            if get(tx, &owner, &id)?.is_none() {
                return Ok(false);
            }
            let sql = "UPDATE pin_requests SET is_released = 1 WHERE id = ?1 OR replaced_by = ?1";
            tx.prepare_cached(sql)?.execute([&id])?;
            Ok(true)
        };
        self.db.write(write).await
    }

    /// Queues again what was being worked on when the process ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resume(&self) -> Result<(), Error> {
        let write = |tx: &Transaction<'_>| {
            let sql = "UPDATE pin_requests SET status = ?2, next_at = 0 WHERE status = ?1";
            tx.execute(sql, [number(Status::Pinning), number(Status::Queued)])?;
            Ok(())
        };
        self.db.write(write).await
    }

    /// Takes at most `limit` requests whose time has come, those that wait longest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take(&self, limit: usize, now_ms: i64) -> Result<Vec<Request>, Error> {
        let write = move |tx: &Transaction<'_>| {
            let sql = format!(
                "SELECT {COLUMNS} FROM pin_requests WHERE status = 0 AND {SHOWN} AND next_at <= ?1
                 ORDER BY next_at LIMIT ?2"
            );
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut statement = tx.prepare_cached(&sql)?;
            let rows = statement.query_map(params![now_ms, limit], read)?;
            let taken: Vec<Request> = rows.collect::<Result<_, _>>()?;
            let sql = "UPDATE pin_requests SET status = ?2 WHERE id = ?1";
            let mut statement = tx.prepare_cached(sql)?;
            for request in &taken {
                statement.execute(params![request.id, number(Status::Pinning)])?;
            }
            Ok(taken)
        };
        self.db.write(write).await
    }

    /// When the next request is due.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn next_due(&self) -> Result<Option<i64>, Error> {
        self.db.read(|connection| {
            let sql = format!("SELECT min(next_at) FROM pin_requests WHERE status = 0 AND {SHOWN}");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })
    }

    /// Decides, when that has not been, whether the pin is the request's: it is, unless somebody
    /// else has pinned the DAG before. Tells what was decided.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hold(&self, id: String, is_pinned: bool) -> Result<bool, Error> {
        let write = move |tx: &Transaction<'_>| {
            let sql = "UPDATE pin_requests SET holds = NOT ?2 OR EXISTS (
                         SELECT 1 FROM pin_requests AS other
                         WHERE other.cid = pin_requests.cid AND other.holds = 1)
                       WHERE id = ?1 AND holds IS NULL";
            tx.prepare_cached(sql)?.execute(params![id, is_pinned])?;
            let mut statement =
                tx.prepare_cached("SELECT holds FROM pin_requests WHERE id = ?1")?;
            Ok(statement.query_row([&id], |row| row.get(0)).optional()?.unwrap_or(false))
        };
        self.db.write(write).await
    }

    /// Notes what an attempt came to. What a pinned request replaces is released.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(&self, id: String, outcome: Outcome) -> Result<(), Error> {
        let write = move |tx: &Transaction<'_>| {
            let (status, error, next_at) = match outcome {
                Outcome::Pinned => (Status::Pinned, String::new(), 0),
                Outcome::Failed(error) => (Status::Failed, error, 0),
                Outcome::Later(error, at) => (Status::Queued, error, at),
            };
            let sql = "UPDATE pin_requests
                       SET status = ?2, error = ?3, next_at = ?4, attempts = attempts + 1
                       WHERE id = ?1";
            let values = params![id, number(status), error, next_at];
            tx.prepare_cached(sql)?.execute(values)?;
            if status == Status::Pinned {
                let sql = "UPDATE pin_requests SET is_released = 1 WHERE replaced_by = ?1";
                tx.prepare_cached(sql)?.execute([&id])?;
            }
            Ok(())
        };
        self.db.write(write).await
    }

    /// The requests whose pins have to be looked after, in no order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn released(&self) -> Result<Vec<Released>, Error> {
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, cid, holds IS 1 AND status IN (1, 2) AND NOT EXISTS (
                   SELECT 1 FROM pin_requests AS other
                   WHERE other.cid = pin_requests.cid AND other.is_released = 0)
                 FROM pin_requests WHERE is_released = 1",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(Released { id: row.get(0)?, cid: row.get(1)?, is_last: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Forgets a request that was released.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, id: String) -> Result<(), Error> {
        let write = move |tx: &Transaction<'_>| {
            tx.prepare_cached("DELETE FROM pin_requests WHERE id = ?1 AND is_released = 1")?
                .execute([id])?;
            Ok(())
        };
        self.db.write(write).await
    }
}

fn insert(
    tx: &Transaction<'_>,
    owner: &str,
    id: &str,
    request: &NewRequest,
    now_ms: i64,
) -> Result<(), Error> {
    // Pages begin where the one before ended, by this time: no two may be alike.
    let last: Option<i64> = tx
        .prepare_cached("SELECT max(created) FROM pin_requests")?
        .query_row([], |row| row.get(0))?;
    let created = last.map_or(now_ms, |last| now_ms.max(last.saturating_add(1)));
    let sql = "INSERT INTO pin_requests
                 (id, owner, created, cid, name, folded_name, origins, meta, status, next_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    tx.prepare_cached(sql)?.execute(params![
        id,
        owner,
        created,
        request.pin.cid.to_string(),
        request.pin.name,
        request.pin.name.to_lowercase(),
        serde_json::json!(request.pin.origins).to_string(),
        serde_json::json!(request.meta).to_string(),
        number(Status::Queued),
        now_ms,
    ])?;
    Ok(())
}

fn get(connection: &Connection, owner: &str, id: &str) -> Result<Option<Request>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM pin_requests WHERE id = ?1 AND owner = ?2 AND {SHOWN}");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([id, owner], read).optional()?)
}

/// What the rows of a listing have to fulfil, and the values in it.
fn condition(owner: &str, query: &Query) -> (String, Vec<Value>) {
    let mut sql = format!("owner = ? AND {SHOWN}");
    let mut values: Vec<Value> = vec![owner.to_owned().into()];
    let mut one_of = |column: &str, wanted: Vec<Value>| {
        if !wanted.is_empty() {
            let marks = vec!["?"; wanted.len()].join(", ");
            sql.push_str(&format!(" AND {column} IN ({marks})"));
            values.extend(wanted);
        }
    };
    one_of("cid", query.cids.iter().map(Cid::to_string).map(Value::from).collect());
    one_of("status", query.statuses.iter().map(|status| number(*status).into()).collect());
    if let Some(name) = &query.name {
        let (wanted, folded) = (name.clone(), name.to_lowercase());
        let (test, value) = match query.matching {
            Matching::Exact => ("name = ?", wanted),
            Matching::Iexact => ("folded_name = ?", folded),
            Matching::Partial => ("instr(name, ?) > 0", wanted),
            Matching::Ipartial => ("instr(folded_name, ?) > 0", folded),
        };
        sql.push_str(&format!(" AND {test}"));
        values.push(value.into());
    }
    for (test, time) in [("created < ?", query.before_ms), ("created > ?", query.after_ms)] {
        if let Some(time) = time {
            sql.push_str(&format!(" AND {test}"));
            values.push(time.into());
        }
    }
    for (key, value) in &query.meta {
        sql.push_str(" AND EXISTS (SELECT 1 FROM json_each(meta) WHERE key = ? AND value = ?)");
        values.extend([Value::from(key.clone()), Value::from(value.clone())]);
    }
    (sql, values)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Request> {
    let json = |index| {
        let text: String = row.get(index)?;
        serde_json::from_str::<serde_json::Value>(&text).map_err(|error| {
            let kind = rusqlite::types::Type::Text;
            rusqlite::Error::FromSqlConversionFailure(index, kind, Box::new(error))
        })
    };
    Ok(Request {
        id: row.get(0)?,
        status: status(row.get(1)?),
        created_ms: row.get(2)?,
        cid: row.get(3)?,
        name: row.get(4)?,
        origins: message::texts(&json(5)?),
        meta: message::text_map(&json(6)?),
        error: row.get(7)?,
        attempts: row.get(8)?,
    })
}

fn number(status: Status) -> i64 {
    match status {
        Status::Queued => 0,
        Status::Pinning => 1,
        Status::Pinned => 2,
        Status::Failed => 3,
    }
}

fn status(number: i64) -> Status {
    let known = Status::ALL.into_iter().find(|status| self::number(*status) == number);
    known.unwrap_or(Status::Failed)
}
