//! Makes this node hold what the replicated pinset says that it should hold.
//!
//! Responsible for: which pins are this node's to hold, the queue of those that are not whole here
//! yet, and the order and the times at which they are tried. Not for: the pinset itself (`sync`),
//! nor for how content is fetched ([`Content`], which the node implements).
//!
//! [`follow`] is called in the transaction that changed the pinset; [`Service`] does the work. Only
//! exceptions have a row: a pin that is whole is a row of `pins`, put there by the transaction that
//! deletes its row here. A crash loses no row and no pin; what was being fetched is queued again,
//! and its blocks are in the store ([`unfinished`] keeps them from the collector).
//! `docs/sync.md` says the rest.

mod follow;
mod lane;
mod place;
mod places;
mod queue;
mod row;
mod worker;

pub use follow::{Subject, follow, hand_off, next_end, note_own, release, remove_ended};
pub use lane::Lane;
pub use place::{Holder, Holders, Roster, holders};
pub use queue::{Progress, Queue};
pub use row::{Counts, Row, State, counts, page, recover, row, unfinished, wake_failed};
pub use worker::{Content, Failure, Options, Service, Task};

use crate::db::{self, Schema};
use crate::pins;

/// The tables of this module. Times are Unix milliseconds.
///
/// `next_at` is null in rows whose turn may come at once; those of a lane are taken by `turn`.
/// `replicate_end` has the pins that end by themselves, and those whose content outlasts them.
pub const SCHEMA: Schema = Schema {
    owner: "replicate",
    migrations: &["
     CREATE TABLE replicate (
       key BLOB PRIMARY KEY,
       cid BLOB NOT NULL,
       mode INTEGER NOT NULL,
       name TEXT NOT NULL,
       digest BLOB NOT NULL,
       state INTEGER NOT NULL,
       home INTEGER NOT NULL,
       lane INTEGER NOT NULL,
       turn INTEGER NOT NULL,
       next_at INTEGER,
       attempts INTEGER NOT NULL,
       since INTEGER NOT NULL,
       size INTEGER,
       blocks INTEGER NOT NULL,
       bytes INTEGER NOT NULL,
       error TEXT NOT NULL,
       peers BLOB NOT NULL,
       origins BLOB NOT NULL,
       needed INTEGER NOT NULL
     ) WITHOUT ROWID;
     CREATE INDEX replicate_ready ON replicate (lane, turn) WHERE next_at IS NULL AND state < 4;
     CREATE INDEX replicate_waiting ON replicate (next_at) WHERE next_at IS NOT NULL;
     CREATE INDEX replicate_state ON replicate (state, key);
     CREATE TABLE replicate_end (
       key BLOB PRIMARY KEY,
       cid BLOB NOT NULL,
       ends INTEGER,
       keep INTEGER
     ) WITHOUT ROWID;
     CREATE INDEX replicate_end_ends ON replicate_end (ends) WHERE ends IS NOT NULL"],
};

/// Why the queue could not be read or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("replicate: {0}")]
    Db(#[from] db::Error),
    /// The local pins could not be changed.
    #[error(transparent)]
    Pins(#[from] pins::Error),
    /// A row holds what was never written there.
    #[error("the table replicate is damaged: {0}")]
    Damaged(&'static str),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

#[cfg(test)]
mod tests;
