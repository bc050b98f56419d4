//! Reading: nodes, byte ranges of files, names in directories, and listings.
//!
//! Each is a state machine that says which block it needs next and is given it, so that the
//! caller decides where blocks come from and how far to read ahead. Nothing recurses, what is held
//! is bounded, and bytes of leaves are slices of their blocks. Pure.

mod dir;
mod file;

pub use dir::{ListStep, Listing, Lookup, LookupStep};
pub use file::{FileReader, FileStep};

use bytes::Bytes;

use super::data::{Data, DataError, Kind, Stat};
use crate::ipld::{Cid, DecodeError, PbLink, PbNode, codec};

/// Levels of a file's or a directory's tree; 2^40 chunks of one byte under nodes of two links make
/// 40.
const DEPTH_MAX: usize = 128;
/// Children that all open nodes together may have waiting.
const WAITING_MAX: usize = 1 << 18;

/// Why a block cannot be read as UnixFS. The texts are Kubo's where Kubo has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The block is no dag-pb.
    #[error(transparent)]
    Node(#[from] DecodeError),
    /// Its data is no UnixFS.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A codec that UnixFS has no use for.
    #[error("unrecognized node type")]
    Codec,
    /// Bytes of a directory.
    #[error("this dag node is a directory")]
    IsDirectory,
    /// Bytes of a symbolic link.
    #[error("cannot currently read symlinks")]
    IsSymlink,
    /// Metadata of nothing.
    #[error("incorrectly formatted metadata object")]
    EmptyMetadata,
    /// Entries of something that is no directory.
    #[error("merkledag node was not a directory or shard")]
    NotDirectory,
    /// A part of a file that is none.
    #[error("found {0:?} node in unexpected place")]
    Misplaced(Kind),
    /// The sizes of the children are not known, and the range does not begin at 0.
    #[error("file does not support seeking")]
    NotSeekable,
    /// A node holds more or less than the node above it, or the node itself, says.
    #[error("corrupt file: {cid} holds {actual} bytes where {announced} were announced")]
    Size {
        /// The node.
        cid: Cid,
        /// What was said.
        announced: u64,
        /// What is there.
        actual: u64,
    },
    /// Sizes that add up to more than 64 bits.
    #[error("corrupt file: sizes of {cid} overflow")]
    SizeOverflow {
        /// The node.
        cid: Cid,
    },
    /// More levels than any file or directory needs.
    #[error("file or directory too deep: more than {DEPTH_MAX} levels")]
    TooDeep,
    /// Nodes with more links than any file needs.
    #[error("file too wide: more than {WAITING_MAX} blocks to come")]
    TooWide,
    /// A shard that no hash of a name leads to.
    #[error("sharded directory too deep")]
    ShardTooDeep,
    /// A shard under another hash function.
    #[error("only murmur3 supported as hash function")]
    ShardHash,
    /// A number of slots that no bits of a hash choose.
    #[error("hamt size should be a power of two")]
    ShardFanout,
    /// More slots than allowed.
    #[error("hamt width ({fanout}) exceed maximum allowed ({max})", max = 1024)]
    ShardWidth {
        /// The slots.
        fanout: u64,
    },
    /// Slots and links do not agree.
    #[error("invalid index passed to operate children (likely corrupt bitfield)")]
    ShardField,
    /// A link that names no slot.
    #[error("invalid link name '{name}'")]
    ShardLinkName {
        /// Its name.
        name: String,
    },
    /// A shard with something else below it.
    #[error("node was not a dir shard")]
    NotShard,
}

/// A block of UnixFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Bytes of a file and nothing else.
    Raw(Bytes),
    /// Everything else.
    Pb {
        /// What the node says of itself.
        data: Data,
        /// Its links.
        links: Vec<PbLink>,
    },
}

impl Node {
    /// Reads a block.
    ///
    /// # Errors
    /// When it is no UnixFS.
    pub fn decode(cid: &Cid, block: &Bytes) -> Result<Self, ReadError> {
        match cid.codec() {
            codec::RAW => Ok(Self::Raw(block.clone())),
            codec::DAG_PB => {
                let node = PbNode::decode(block)?;
                let data = Data::decode(&node.data.unwrap_or_default())?;
                Ok(Self::Pb { data, links: node.links })
            }
            _ => Err(ReadError::Codec),
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Raw(_) => Kind::Raw,
            Self::Pb { data, .. } => data.kind,
        }
    }

    /// Bytes of the file, as the node says; of a symlink, those of its target.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Raw(bytes) => bytes.len() as u64,
            Self::Pb { data, .. } => data.size(),
        }
    }

    /// Mode and modification time.
    #[must_use]
    pub fn stat(&self) -> Stat {
        match self {
            Self::Raw(_) => Stat::default(),
            Self::Pb { data, .. } => Stat { mode: data.permissions(), mtime: data.mtime },
        }
    }

    /// The target of a symbolic link.
    #[must_use]
    pub fn symlink_target(&self) -> Option<Bytes> {
        match self {
            Self::Pb { data, .. } if data.kind == Kind::Symlink => {
                Some(data.data.clone().unwrap_or_default())
            }
            _ => None,
        }
    }

    /// What is to be read instead of a metadata node.
    ///
    /// # Errors
    /// When it is one with no link.
    pub fn metadata_of(&self) -> Result<Option<&Cid>, ReadError> {
        match self {
            Self::Pb { data, links } if data.kind == Kind::Metadata => {
                links.first().map(|link| Some(&link.cid)).ok_or(ReadError::EmptyMetadata)
            }
            _ => Ok(None),
        }
    }
}
