//! What this node does when the group's pins change.

use super::changes::spellings;
use crate::db::Transaction;
use crate::node::Error;
use crate::pins;
use crate::sync::core::Change;
use crate::sync::{Kind, Record};

/// Makes the local pins follow a change, in its transaction.
pub(super) fn follow(tx: &Transaction<'_>, change: &Change) -> Result<(), Error> {
    let is_live = change.after.as_ref().is_some_and(|record| record.kind() == Kind::Live);
    let record = change.after.as_ref().or(change.before.as_ref());
    let Some(cid) = record.map(Record::cid) else { return Ok(()) };
    if !is_live {
        for spelling in spellings(cid) {
            match pins::remove(tx, &spelling, true) {
                Ok(()) | Err(pins::Error::NotPinned) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
