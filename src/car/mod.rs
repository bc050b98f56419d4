//! CAR files: a header with root CIDs, then blocks one after the other.
//!
//! Pure: bytes are pushed in and pulled out; nothing here reads, waits or keeps files. Written is
//! version 1; read are 1 and 2, forward only, so the index of a version 2 file is never looked
//! at. Limits and texts are those of go-car 2.17 as Kubo uses it.

mod header;
mod read;
mod write;

pub use read::{Reader, Section, Step};
pub use write::{header, section_head};

use crate::ipld::CidError;
use crate::ipld::varint::VarintError;

/// Why a CAR cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file ends where a header should begin. Kubo takes this for an empty CAR.
    #[error("EOF")]
    Eof,
    /// The file ends in the middle of something.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// A length is no varint.
    #[error(transparent)]
    Varint(#[from] VarintError),
    /// The header says that it is longer than any may be.
    #[error("invalid header data, length of read beyond allowable maximum")]
    HeaderTooLarge,
    /// A section says that it is longer than any may be.
    #[error("invalid section data, length of read beyond allowable maximum")]
    SectionTooLarge,
    /// The header is not what a header must be.
    #[error("invalid header: {0}")]
    Header(String),
    /// Neither version 1 nor 2.
    #[error("invalid car version: {0}")]
    Version(u64),
    /// A version 2 file that holds something else than version 1.
    #[error("invalid data payload header version; expected 1, got {0}")]
    InnerVersion(u64),
    /// The payload of a version 2 file would begin inside its header.
    #[error("invalid data payload offset: {0}")]
    DataOffset(u64),
    /// The payload of a version 2 file is empty, or longer than a file can be.
    #[error("invalid data payload size: {0}")]
    DataSize(u64),
    /// The index of a version 2 file lies beyond where a file can end.
    #[error("invalid index offset: {0}")]
    IndexOffset(u64),
    /// A section does not begin with a CID, or names a hash that does not exist.
    #[error(transparent)]
    Cid(#[from] CidError),
    /// A block is not what its CID names.
    #[error("mismatch in content integrity, expected: {expected}, got: {got}")]
    Mismatch {
        /// The CID in the file.
        expected: String,
        /// The CID of the block.
        got: String,
    },
}
