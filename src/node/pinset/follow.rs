//! What this node does when the group's pins change.

use crate::db::Transaction;
use crate::node::Error;
use crate::replicate::{self, Roster, Subject};
use crate::sync::core::{Cause, Change};

/// Makes the local pins and the queue follow a change, in its transaction. `now_ms` is the time in
/// Unix milliseconds.
pub(super) fn follow(
    tx: &Transaction<'_>,
    change: &Change,
    roster: &Roster,
    now_ms: u64,
) -> Result<(), Error> {
    let Some(subject) = Subject::of(change) else { return Ok(()) };
    let is_live = subject.record.is_some_and(|record| record.live().is_some());
    match change.cause {
        Cause::Local if is_live => replicate::note_own(tx, &subject)?,
        _ => replicate::follow(tx, &subject, roster, now_ms)?,
    }
    Ok(())
}
