//! The state database, `state.sqlite`: one writer, many readers, migrations.
//!
//! Responsible for: opening the file, running the migrations of every table's owner, group commit,
//! and read connections. Not for: what is in the tables; each has one owning module.
//! The file is in WAL mode with `synchronous=FULL`: a write that was answered survives a power
//! cut, and a crash at any point leaves the last commit.

mod error;
pub mod fail;
mod pool;
mod schema;
mod sorter;
mod writer;

pub use error::Error;
pub use pool::{Pool, Reader};
pub use rusqlite::{Connection, Transaction};
pub use schema::Schema;
pub use sorter::{Row, Sorted, Sorter};

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use writer::{Job, Write};

/// Writes that may wait for the writer; more wait in their callers.
const QUEUE_JOBS_MAX: usize = 1024;
/// Read connections; a read lasts microseconds, or a page of a listing.
const READERS_MAX: usize = 8;
/// Page cache of a connection.
const CACHE_KIB: u32 = 2048;
/// The write lock can be held by another process only; `repo.lock` makes that unlikely.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to the state database; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
}

impl Db {
    /// Opens or creates the database at `path` and migrates the tables of `schemas`.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or was written by a newer version.
    pub fn open(path: &Path, schemas: &[Schema]) -> Result<Self, Error> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::migrate(&mut connection, schemas)?;
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = std::thread::Builder::new()
            .name("db-writer".to_owned())
            .spawn(move || writer::run(connection, queue))
            .map_err(|error| Error::Spawn(Arc::new(error)))?;
        let pool = Pool::new(path, READERS_MAX, CACHE_KIB);
        Ok(Self { inner: Arc::new(Inner { pool, jobs: Some(jobs), writer: Some(writer) }) })
    }

    /// Runs `write` in a transaction that may hold other callers' writes too, each undone alone
    /// when it fails; returns when the transaction is durable.
    ///
    /// A write whose future is dropped before it began does not happen.
    ///
    /// # Errors
    /// What `write` returns, or the error of the commit: then nothing of it was kept.
    pub async fn write<T, E, F>(&self, write: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.write_then(write, |_| ()).await
    }

    /// As [`Db::write`], and `after` is told whether the transaction was committed: also when this
    /// write was undone alone, or its future dropped. It runs on the thread that writes, before the
    /// next write begins: what is kept in memory beside the tables is brought in line there.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_then<T, E, F, A>(&self, write: F, after: A) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(bool) + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write { closure: Some(write), after, result: None, reply });
        let jobs = self.inner.jobs.as_ref().ok_or(Error::Closed)?;
        jobs.send(job).await.map_err(|_| Error::Closed)?;
        answer.await.unwrap_or_else(|_| Err(E::from(Error::Closed)))
    }

    /// Runs `read` on a read connection, which sees the last commit; waits for no writer.
    ///
    /// # Errors
    /// What `read` returns, or the error of opening a connection.
    pub fn read<T, E: From<Error>>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.pool.with(read)
    }
}

impl Drop for Inner {
    /// Ends the writer after it has answered what is queued.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to do.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
