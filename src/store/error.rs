//! What can go wrong with the blockstore.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::db;
use crate::ipld::{Cid, DecodeError};

/// Why a store operation failed. Clonable: one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The stored bytes are not those that were written.
    #[error("block {cid} is corrupt: {reason}")]
    Corrupt {
        /// The block asked for.
        cid: Cid,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The links of a block cannot be read.
    #[error("cannot decode block {cid}: {source}")]
    Links {
        /// The block.
        cid: Cid,
        /// Why.
        source: DecodeError,
    },
    /// The CID may not name a block: see [`crate::ipld::hash::validate`].
    #[error("{0}")]
    InvalidHash(crate::ipld::hash::HashError),
    /// A block larger than a frame may hold.
    #[error("block {cid} of {len} bytes is larger than the store takes")]
    TooLarge {
        /// The block.
        cid: Cid,
        /// Its size.
        len: usize,
    },
    /// The device is full; what was not acknowledged is not stored, what was is whole.
    #[error("no space left on device")]
    Full,
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// The index failed.
    #[error("block index: {0}")]
    Index(#[from] db::Error),
    /// The store is being closed.
    #[error("the blockstore is closed")]
    Closed,
}

impl Error {
    /// Wraps an error of the file at `path`.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { action, path: path.into(), source: Arc::new(source) },
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match db::Error::from(error) {
            db::Error::Full => Self::Full,
            error => Self::Index(error),
        }
    }
}
