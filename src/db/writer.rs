//! The one thread that writes: many closures in one transaction, one commit for all of them.
//!
//! Each closure runs in a savepoint, so that one which fails undoes its own changes and no other's.
//! A caller is answered after the commit that holds its changes. A crash before the commit leaves
//! none of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{Error, fail};

/// Closures of one commit: bounds how long the first of them waits.
const COMMIT_JOBS_MAX: usize = 512;

/// A write and the way to answer it.
pub(super) trait Job: Send {
    /// Runs the closure; `false` when its changes must be undone.
    fn run(&mut self, tx: &Transaction<'_>) -> bool;
    /// Answers the caller, on the thread that writes and before the next transaction begins.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

/// A [`Job`] made of a closure.
pub(super) struct Write<F, A, T, E> {
    pub(super) closure: Option<F>,
    /// Told whether the transaction was committed.
    pub(super) after: A,
    pub(super) result: Option<Result<T, E>>,
    pub(super) reply: oneshot::Sender<Result<T, E>>,
}

impl<F, A, T, E> Job for Write<F, A, T, E>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
    A: FnOnce(bool) + Send,
    T: Send,
    E: Send + From<Error>,
{
    fn run(&mut self, tx: &Transaction<'_>) -> bool {
        // A caller that has gone away wants nothing written.
        if self.reply.is_closed() {
            return false;
        }
        let Some(closure) = self.closure.take() else { return false };
        let result = catch_unwind(AssertUnwindSafe(|| closure(tx)))
            .unwrap_or_else(|_| Err(E::from(Error::Panicked)));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(mut self: Box<Self>, committed: Result<(), Error>) {
        let is_committed = committed.is_ok();
        let result = match (self.result.take(), committed) {
            (Some(Ok(_)) | None, Err(error)) => Err(E::from(error)),
            (Some(result), _) => result,
            (None, Ok(())) => Err(E::from(Error::Closed)),
        };
        let Self { after, reply, .. } = *self;
        after(is_committed);
        // The caller may have gone away: then nobody wants the answer.
        let _ = reply.send(result);
    }
}

/// Runs jobs until every sender is dropped.
pub(super) fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch = Vec::new();
    while let Some(job) = jobs.blocking_recv() {
        batch.push(job);
        while batch.len() < COMMIT_JOBS_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        let committed = commit(&mut connection, &mut batch);
        for job in batch.drain(..) {
            job.answer(committed.clone());
        }
    }
}

fn commit(connection: &mut Connection, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        tx.prepare_cached("SAVEPOINT job")?.execute([])?;
        if !job.run(&tx) {
            tx.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        tx.prepare_cached("RELEASE job")?.execute([])?;
    }
    fail::point("db-before-commit");
    tx.commit()?;
    fail::point("db-after-commit");
    Ok(())
}
