//! Read connections to one SQLite file, made when needed and kept for reuse.
//!
//! Owns the idle connections. A crash leaves nothing: they are opened read-only.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Error;

/// How long a statement waits for a lock before it fails; only a checkpoint or a recovery holds
/// one that a reader can meet.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A bounded pool of read-only connections.
#[derive(Debug)]
pub struct Pool {
    path: PathBuf,
    connections_max: usize,
    cache_kib: u32,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Connection>,
    open: usize,
    /// Callers to wake: waking costs a system call, and there is nearly never anyone.
    waiting: usize,
}

/// A connection borrowed from a [`Pool`]; dropping it gives it back.
#[derive(Debug)]
pub struct Reader<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Pool {
    /// A pool for the file at `path`, of at most `connections_max` connections that cache at most
    /// `cache_kib` KiB of pages each.
    #[must_use]
    pub fn new(path: &Path, connections_max: usize, cache_kib: u32) -> Self {
        Self {
            path: path.to_owned(),
            connections_max: connections_max.max(1),
            cache_kib,
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Runs `read` on a connection; waits while all are in use.
    ///
    /// # Errors
    /// What `read` returns, or the error of opening a connection.
    pub fn with<T, E: From<Error>>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let reader = self.get()?;
        read(&reader)
    }

    /// Borrows a connection; waits while all are in use.
    ///
    /// # Errors
    /// When a new connection cannot be opened.
    pub fn get(&self) -> Result<Reader<'_>, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(Reader { pool: self, connection: Some(connection) });
            }
            if state.open < self.connections_max {
                state.open += 1;
                break;
            }
            state.waiting += 1;
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        drop(state);
        match self.open() {
            Ok(connection) => Ok(Reader { pool: self, connection: Some(connection) }),
            Err(error) => {
                self.give_back(None);
                Err(error)
            }
        }
    }

    fn open(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cache_size", -i64::from(self.cache_kib))?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    fn give_back(&self, connection: Option<Connection>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match connection {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        if state.waiting > 0 {
            self.returned.notify_one();
        }
    }
}

impl Deref for Reader<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "taken out by drop alone")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // A connection whose caller panicked inside a transaction must not be reused.
        let healthy = self.connection.take().filter(Connection::is_autocommit);
        self.pool.give_back(healthy);
    }
}
