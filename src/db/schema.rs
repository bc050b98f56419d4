//! Migrations: every group of tables has one owning module, which lists its steps.
//!
//! `user_version` is the format of this bookkeeping; the table `schema` has the version of each
//! owner. A step runs in the transaction that records it, so a crash leaves either side of it.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::Error;

/// Format of the bookkeeping itself.
const FORMAT: u32 = 1;

/// The tables of one module.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The owning module.
    pub owner: &'static str,
    /// SQL scripts; the version of the tables is the number of scripts that have run.
    pub migrations: &'static [&'static str],
}

/// Brings the tables of every owner in `schemas` to their newest version.
pub(super) fn migrate(connection: &mut Connection, schemas: &[Schema]) -> Result<(), Error> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let format: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format > FORMAT {
        return Err(Error::Newer { owner: "db", found: format, known: FORMAT });
    }
    if format == 0 {
        tx.execute_batch(
            "CREATE TABLE schema (owner TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
        )?;
        tx.pragma_update(None, "user_version", FORMAT)?;
    }
    schemas.iter().try_for_each(|schema| migrate_owner(&tx, schema))?;
    tx.commit()?;
    Ok(())
}

fn migrate_owner(tx: &Transaction<'_>, schema: &Schema) -> Result<(), Error> {
    let found: Option<u32> = tx
        .query_row("SELECT version FROM schema WHERE owner = ?1", [schema.owner], |row| row.get(0))
        .optional()?;
    let found = found.unwrap_or(0);
    let known = u32::try_from(schema.migrations.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(Error::Newer { owner: schema.owner, found, known });
    }
    for script in schema.migrations.iter().skip(found as usize) {
        tx.execute_batch(script)?;
    }
    tx.execute(
        "INSERT INTO schema (owner, version) VALUES (?1, ?2)
         ON CONFLICT (owner) DO UPDATE SET version = excluded.version",
        (schema.owner, known),
    )?;
    Ok(())
}
