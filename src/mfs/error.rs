//! Why an operation failed.

use crate::db;
use crate::exchange;
use crate::ipld::hash::HashError;
use crate::ipld::{Cid, CidError};
use crate::store;
use crate::unixfs::chunk::ChunkError;
use crate::unixfs::data::DataError;
use crate::unixfs::import::ImportError;
use crate::unixfs::read::ReadError;

/// Why an operation failed. The texts are those of boxo's MFS.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No entry of that name.
    #[error("file does not exist")]
    NotExist,
    /// A file where a lookup needs a directory; the path up to what was looked for in it.
    #[error("cannot access {0}: Not a directory")]
    Access(String),
    /// The parent of a new entry is no directory.
    #[error("{0} is not a directory")]
    NotDirectory(String),
    /// A file on the way to a directory to be made.
    #[error("{0} was not a directory")]
    WasNotDirectory(String),
    /// The name is taken.
    #[error("directory already has entry by that name")]
    Exists,
    /// The name of a directory to be made is taken.
    #[error("file already exists")]
    FileExists,
    /// There always is a root.
    #[error("cannot create directory '/': Already exists")]
    RootExists,
    /// Entries have names.
    #[error("cannot create file with empty name")]
    EmptyName,
    /// The parent of an entry to be removed or created is no directory.
    #[error("expected *mfs.Directory, didn't get it. This is likely a race condition")]
    ParentNotDirectory,
    /// Bytes of something that is no file.
    #[error("{0} was not a file")]
    NotFile(String),
    /// An existing file was to be replaced, and is none.
    #[error("not a file: {0}")]
    Unreplaceable(String),
    /// The parent of a file to be replaced is no directory.
    #[error("not a directory: {0}")]
    ParentOfReplaced(String),
    /// Only directories have a CID format of their own.
    #[error("can only update directories")]
    OnlyDirectories,
    /// A directory is removed only when that is said.
    #[error("path is a directory, use -r to remove directories")]
    IsDirectory,
    /// There always is a root.
    #[error("cannot delete root")]
    DeleteRoot,
    /// Bytes of a symbolic link.
    #[error("symlinks not yet supported")]
    Symlink,
    /// Bytes of something that UnixFS has no bytes for.
    #[error("unsupported fsnode type for 'file'")]
    UnsupportedFile,
    /// Something of a type that UnixFS does not know, where a file or directory is needed.
    #[error("invalid child node")]
    InvalidChild,
    /// A metadata node.
    #[error("not yet implemented")]
    Metadata,
    /// A block of a codec that UnixFS has no use for.
    #[error("unrecognized node type in cache node")]
    Codec,
    /// A block that is needed did not come in time.
    #[error("context deadline exceeded")]
    TimedOut,
    /// The sizes in a file's nodes contradict each other.
    #[error("corrupt file: sizes in {0} contradict its links")]
    Corrupt(Cid),
    /// More levels than any file needs.
    #[error("file too deep")]
    TooDeep,
    /// The root that was stored cannot be a root.
    #[error("root can't be a file")]
    RootIsFile,
    /// No block, or the store failed under it.
    #[error(transparent)]
    Exchange(#[from] exchange::Error),
    /// The blockstore failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The state database failed.
    #[error("mfs: {0}")]
    Db(#[from] db::Error),
    /// A block is no file or directory.
    #[error(transparent)]
    Unixfs(#[from] ReadError),
    /// A block cannot be made.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A block cannot be named.
    #[error(transparent)]
    Cid(#[from] CidError),
}

impl From<HashError> for Error {
    fn from(error: HashError) -> Self {
        Self::Import(error.into())
    }
}

impl From<ChunkError> for Error {
    fn from(error: ChunkError) -> Self {
        Self::Import(error.into())
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Self::Unixfs(error.into())
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Why an edit stopped.
#[derive(Debug)]
pub(super) enum Fail {
    /// It needs this block, which is not stored: fetch it and begin again.
    Missing(Cid),
    /// It cannot be done.
    Error(Error),
}

impl<E: Into<Error>> From<E> for Fail {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}
