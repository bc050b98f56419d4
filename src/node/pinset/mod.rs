//! The pins of this node and of its group: every change of a pin goes through here.
//!
//! Responsible for: one transaction for the local pin and the record of it that the group gets, and
//! for the tasks that bring the records of all members together. Not for: what a record is and how
//! sets of them become equal (`sync`), nor for fetching what others pin (`replicate`). While no
//! records can be made (no swarm key yet, a command without a daemon, a repository that may be an old
//! copy) the CIDs of changed pins are kept in a table, in the same transaction, and recorded later.
//! A crash leaves a change made, with its record or its place in that table, or not made.

mod changes;
pub(super) mod diff;
mod follow;
mod generation;
pub mod held;
mod ledger;
mod list;
mod log;
mod options;
mod proof;
mod service;
mod status;

pub(super) use changes::Change;
pub use diff::{Difference, Which};
pub(super) use ledger::{Basis, Intervals, Ledger};
pub use list::{GroupPin, PinFilter, PinHere, PinState, parse_state};
pub use log::{Happened, PinChange};
pub use options::PinOptions;
pub use proof::{PinProof, ProofLeaf, ProofStep};
pub(super) use service::Service;
pub use status::{MemberState, SyncMember, SyncQueue, SyncStatus};

use super::Error;
use crate::db::{Db, Schema};
use crate::ipld::Cid;

/// The table of this module: pins that were changed while no record of it could be made.
pub(super) const SCHEMA: Schema = Schema {
    owner: "pinset",
    migrations: &["CREATE TABLE pinset_unrecorded (
       cid BLOB PRIMARY KEY,
       options TEXT NOT NULL
     ) WITHOUT ROWID"],
};

/// Changes pins. Cloning the handle is cheap.
#[derive(Debug, Clone)]
pub struct Pinset {
    db: Db,
    ledger: Option<Ledger>,
}

impl Pinset {
    /// The pins in `db`; their changes are recorded in `ledger` at once, or later.
    pub(super) fn new(db: Db, ledger: Option<Ledger>) -> Self {
        Self { db, ledger }
    }

    /// The records of the group, on a daemon in a private network.
    pub(super) fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// Makes `changes`, all or none; returns when they are durable. Waits for nobody else.
    ///
    /// # Errors
    /// When the pinset refuses one of them, or the database fails.
    pub(super) async fn change(&self, changes: Vec<Change>) -> Result<(), Error> {
        match &self.ledger {
            Some(ledger) => ledger.write(move |entry| changes::make(entry, &changes)).await,
            None => self.db.write(move |tx| changes::make_unrecorded(tx, &changes)).await,
        }
    }

    /// Removes the pin of `cid`; one that is direct only unless `recursive`.
    ///
    /// # Errors
    /// When neither this node nor the group has it pinned, or a recursive pin is not to go.
    pub(super) async fn remove(&self, cid: Cid, recursive: bool) -> Result<(), Error> {
        self.change(vec![Change::Remove { cid, recursive }]).await
    }
}

#[cfg(test)]
mod tests;
