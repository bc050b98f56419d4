//! What callers of the node can act on.

use crate::ipld::{Cid, CidError, DecodeError, hash};
use crate::unixfs::read::ReadError;
use crate::{config, db, exchange, pins, repo, store, sync, tar};

/// Why a use case failed. The texts are those that Kubo's clients compare.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A block is not here, and nobody was asked for it.
    #[error("ipld: could not find {0}")]
    NotFound(Cid),
    /// What was asked of the core needs a node that is online.
    #[error("this action must be run in online mode, try running 'ipfs daemon' first")]
    ActionOffline,
    /// The command needs a node that is online.
    #[error("this command must be run in online mode. Try running 'ipfs daemon' first")]
    CommandOffline,
    /// A block that is needed is not here; the text says what for.
    #[error("{0}")]
    Absent(String),
    /// It failed; the text says why.
    #[error("{0}")]
    Failed(String),
    /// The call cannot succeed as it is.
    #[error("{0}")]
    InvalidArgument(String),
    /// No block, or the store failed under it.
    #[error(transparent)]
    Exchange(#[from] exchange::Error),
    /// The blockstore failed.
    #[error(transparent)]
    Store(store::Error),
    /// A block is not what its CID says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The pinset refused, or failed.
    #[error(transparent)]
    Pins(pins::Error),
    /// The state database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// A block is no file or directory.
    #[error(transparent)]
    Unixfs(#[from] ReadError),
    /// Something that no archive can hold.
    #[error(transparent)]
    Tar(#[from] tar::Error),
}

impl Error {
    /// A failure with this text.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<sync::db::Error> for Error {
    fn from(error: sync::db::Error) -> Self {
        match error {
            sync::db::Error::Db(error) => Self::Db(error),
            error => Self::failed(error),
        }
    }
}

impl From<repo::Error> for Error {
    fn from(error: repo::Error) -> Self {
        Self::failed(error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            // Clients know the text of the decoder alone.
            store::Error::Links { source, .. } => Self::failed(source),
            error => Self::Store(error),
        }
    }
}

impl From<pins::Error> for Error {
    fn from(error: pins::Error) -> Self {
        match error {
            pins::Error::Store(error) => error.into(),
            error => Self::Pins(error),
        }
    }
}

impl From<CidError> for Error {
    fn from(error: CidError) -> Self {
        Self::failed(error)
    }
}

impl From<hash::HashError> for Error {
    fn from(error: hash::HashError) -> Self {
        Self::failed(error)
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self::failed(error)
    }
}
