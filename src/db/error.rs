//! What can go wrong with an SQLite file, in words that a caller can act on.

use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why a database operation failed. Clonable: one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file was written by a newer version of the program.
    #[error("table group {owner} has version {found}, this program knows {known}")]
    Newer {
        /// The module that owns the tables.
        owner: &'static str,
        /// The version in the file.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The device is full; nothing of the transaction was kept.
    #[error("no space left on device")]
    Full,
    /// The file is no database, or is damaged.
    #[error("database is damaged")]
    Corrupt(#[source] Arc<rusqlite::Error>),
    /// Another process holds the file.
    #[error("database is in use by another process")]
    Busy,
    /// Anything else that SQLite reports.
    #[error("database error")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    /// The closure given to a write panicked; its changes were undone.
    #[error("a database write panicked")]
    Panicked,
    /// The writer has ended: the database is being closed.
    #[error("database is closed")]
    Closed,
    /// The writer thread could not be started.
    #[error("cannot start the database writer")]
    Spawn(#[source] Arc<std::io::Error>),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(Arc::new(error))
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Sqlite(Arc::new(error)),
        }
    }
}
