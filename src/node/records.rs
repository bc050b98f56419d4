//! IPNS records that are kept: those that this node has published, and the best known of any name.
//!
//! Owns the tables `ipns_published` and `ipns_records`. What was published is what the next sequence
//! number follows from and what is published again; it is written in one transaction with the
//! record that is served, so a crash leaves both or neither.

use bytes::Bytes;
use libp2p_identity::Keypair;
use rusqlite::{OptionalExtension as _, params};
use time::OffsetDateTime;

use super::Error;
use crate::db::{self, Db, Schema, Transaction};
use crate::ipns::{Contents, Name, Record, is_better};

/// The tables of this module. A name is the multihash of its key.
pub(super) const SCHEMA: Schema = Schema {
    owner: "ipns",
    migrations: &["CREATE TABLE ipns_published (
       name BLOB NOT NULL PRIMARY KEY,
       record BLOB NOT NULL
     ) WITHOUT ROWID;
     CREATE TABLE ipns_records (
       name BLOB NOT NULL PRIMARY KEY,
       record BLOB NOT NULL
     ) WITHOUT ROWID"],
};

/// What to publish.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    pub(super) key: Keypair,
    /// A path, as text.
    pub(super) value: String,
    pub(super) validity: OffsetDateTime,
    pub(super) ttl_nanos: i64,
    /// Whether readers of before 2021 are to understand it.
    pub(super) v1: bool,
    /// Instead of the one that follows.
    pub(super) sequence: Option<u64>,
}

/// The records in the state database.
#[derive(Debug, Clone)]
pub(super) struct Records {
    db: Db,
}

impl Records {
    pub(super) fn new(db: Db) -> Self {
        Self { db }
    }

    /// What this node has published under a name, valid or no longer.
    pub(super) fn published(&self, name: &Name) -> Result<Option<Record>, Error> {
        self.read("SELECT record FROM ipns_published WHERE name = ?1", name)
    }

    /// The best record that is known of a name, when it is still valid at `now`.
    pub(super) fn best(&self, name: &Name, now: OffsetDateTime) -> Result<Option<Record>, Error> {
        let found = self.read("SELECT record FROM ipns_records WHERE name = ?1", name)?;
        Ok(found.filter(|record| record.validate(name, now).is_ok()))
    }

    fn read(&self, sql: &'static str, name: &Name) -> Result<Option<Record>, Error> {
        let name = name.peer().to_bytes();
        let found = self.db.read(|connection| {
            let row = connection.prepare_cached(sql).and_then(|mut statement| {
                statement.query_row([name], |row| row.get::<_, Vec<u8>>(0)).optional()
            });
            row.map_err(db::Error::from)
        });
        found.map_err(Error::Db)?.map(decode).transpose()
    }

    /// Signs and keeps a record of what is published. `known` is a record of the name that others
    /// have, for a node that has published none yet.
    pub(super) async fn publish(
        &self,
        publication: Publication,
        known: Option<Record>,
        now: OffsetDateTime,
    ) -> Result<Record, Error> {
        let write = move |tx: &Transaction<'_>| publish(tx, &publication, known, now);
        self.db.write(write).await
    }

    /// Keeps a record when it is valid at `now` and better than the one that is known; tells
    /// whether it is.
    pub(super) async fn offer(
        &self,
        name: Name,
        record: Record,
        now: OffsetDateTime,
    ) -> Result<bool, Error> {
        self.db.write(move |tx: &Transaction<'_>| offer(tx, &name, &record, now)).await
    }
}

fn decode(bytes: Vec<u8>) -> Result<Record, Error> {
    Record::decode(&Bytes::from(bytes)).map_err(Error::failed)
}

fn publish(
    tx: &Transaction<'_>,
    publication: &Publication,
    known: Option<Record>,
    now: OffsetDateTime,
) -> Result<Record, Error> {
    let Publication { key, value, validity, ttl_nanos, v1, sequence } = publication;
    let name = Name::of(key.public().to_peer_id());
    let id = name.peer().to_bytes();
    let last = stored(tx, "SELECT record FROM ipns_published WHERE name = ?1", &id)?.or(known);
    let sequence = next_sequence(last.as_ref(), value, *sequence)?;
    let contents =
        Contents { value: value.clone(), sequence, validity: *validity, ttl_nanos: *ttl_nanos };
    let record = Record::create(key, &contents, *v1).map_err(Error::failed)?;
    put(tx, "INSERT OR REPLACE INTO ipns_published (name, record) VALUES (?1, ?2)", &id, &record)?;
    offer(tx, &name, &record, now)?;
    Ok(record)
}

/// The number of a new record: one more when the value changes, and more than the last in any case
/// when the caller names it.
fn next_sequence(last: Option<&Record>, value: &str, asked: Option<u64>) -> Result<u64, Error> {
    let too_low =
        || Error::failed("sequence number must be greater than the current record sequence");
    let Some(last) = last else {
        return match asked {
            Some(0) => Err(too_low()),
            asked => Ok(asked.unwrap_or(0)),
        };
    };
    let current = last.sequence().map_err(Error::failed)?;
    match asked {
        Some(asked) if asked <= current => Err(too_low()),
        Some(asked) => Ok(asked),
        None if last.value().map_err(Error::failed)?.text() == value => Ok(current),
        None => Ok(current.saturating_add(1)),
    }
}

fn offer(
    tx: &Transaction<'_>,
    name: &Name,
    record: &Record,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    if record.validate(name, now).is_err() {
        return Ok(false);
    }
    let id = name.peer().to_bytes();
    let known = stored(tx, "SELECT record FROM ipns_records WHERE name = ?1", &id)?;
    // One that is no longer valid is none.
    let known = known.filter(|known| known.validate(name, now).is_ok());
    if known.is_some_and(|known| !is_better(record, &known).unwrap_or(false)) {
        return Ok(false);
    }
    put(tx, "INSERT OR REPLACE INTO ipns_records (name, record) VALUES (?1, ?2)", &id, record)?;
    Ok(true)
}

fn stored(tx: &Transaction<'_>, sql: &'static str, id: &[u8]) -> Result<Option<Record>, Error> {
    let found: Option<Vec<u8>> =
        tx.query_row(sql, [id], |row| row.get(0)).optional().map_err(db::Error::from)?;
    found.map(decode).transpose()
}

fn put(tx: &Transaction<'_>, sql: &str, id: &[u8], record: &Record) -> Result<(), Error> {
    tx.execute(sql, params![id, &record.bytes()[..]]).map_err(db::Error::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn records() -> (tempfile::TempDir, Records) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("state.sqlite"), &[SCHEMA]).unwrap();
        (dir, Records::new(db))
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn publication(key: &Keypair, value: &str, sequence: Option<u64>) -> Publication {
        Publication {
            key: key.clone(),
            value: value.to_owned(),
            validity: now() + Duration::HOUR,
            ttl_nanos: 1,
            v1: true,
            sequence,
        }
    }

    const A: &str = "/ipfs/bafkqaaa";
    const B: &str = "/ipfs/bafkqaaa/b";

    #[tokio::test]
    async fn sequence_numbers_grow_with_the_value() {
        let (_dir, records) = records();
        let key = Keypair::generate_ed25519();
        let name = Name::of(key.public().to_peer_id());
        let steps = [
            (A, None, Some(0)),
            (A, None, Some(0)),
            (B, None, Some(1)),
            (B, Some(1), None),
            (A, Some(7), Some(7)),
            (B, None, Some(8)),
        ];
        for (value, asked, sequence) in steps {
            let made = records.publish(publication(&key, value, asked), None, now()).await;
            assert_eq!(made.ok().map(|record| record.sequence().unwrap()), sequence);
        }
        let best = records.best(&name, now()).unwrap().unwrap();
        assert_eq!(best.value().unwrap().text(), B);
        assert_eq!(records.published(&name).unwrap(), Some(best));
        assert_eq!(records.best(&name, now() + Duration::DAY).unwrap(), None);
    }

    #[tokio::test]
    async fn the_first_number_follows_what_others_know() {
        let (_dir, records) = records();
        let key = Keypair::generate_ed25519();
        let contents = Contents { value: A.to_owned(), sequence: 5, validity: now(), ttl_nanos: 0 };
        let known = Record::create(&key, &contents, true).unwrap();
        let made = records.publish(publication(&key, B, None), Some(known), now()).await.unwrap();
        assert_eq!(made.sequence(), Ok(6));
        let zero =
            records.publish(publication(&Keypair::generate_ed25519(), A, Some(0)), None, now());
        zero.await.unwrap_err();
    }

    #[tokio::test]
    async fn a_worse_record_changes_nothing() {
        let (_dir, records) = records();
        let key = Keypair::generate_ed25519();
        let name = Name::of(key.public().to_peer_id());
        let record = |sequence, hours| {
            let validity = now() + Duration::hours(hours);
            let value = format!("{A}/{sequence}");
            let contents = Contents { value, sequence, validity, ttl_nanos: 0 };
            Record::create(&key, &contents, false).unwrap()
        };
        let other = Name::of(Keypair::generate_ed25519().public().to_peer_id());
        for (name, record, is_taken) in [
            (name, record(3, 1), true),
            (name, record(2, 9), false),
            (name, record(3, 1), false),
            (name, record(3, 2), true),
            (name, record(9, -1), false),
            (other, record(9, 9), false),
        ] {
            assert_eq!(records.offer(name, record, now()).await.unwrap(), is_taken);
        }
        let best = records.best(&name, now()).unwrap().unwrap();
        assert_eq!(best.sequence(), Ok(3));
    }
}
