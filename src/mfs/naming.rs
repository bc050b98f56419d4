//! How the blocks of an edited DAG are named: as those that stood in their places.

use bytes::Bytes;

use super::Error;
use crate::ipld::hash::{self, DIGEST_LEN_MAX};
use crate::ipld::{Block, Cid, PbNode, Prefix, Version, codec};

/// Version, hash function and digest length of new CIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    version: Version,
    hash: hash::Code,
    length: Option<usize>,
}

impl Naming {
    /// CIDv0.
    pub const V0: Self = Self { version: Version::V0, hash: hash::SHA2_256, length: None };

    /// Names of this version with digests of this function.
    #[must_use]
    pub fn new(version: Version, hash: hash::Code) -> Self {
        Self { version, hash, length: None }
    }

    /// That of a block.
    pub(super) fn of(cid: &Cid) -> Self {
        let Prefix { version, hash, length, .. } = cid.prefix();
        Self { version, hash, length: length.filter(|_| hash != hash::IDENTITY) }
    }

    /// Whether it is version 0.
    pub(super) fn is_v0(self) -> bool {
        self.version == Version::V0
    }

    /// For a file of this root: an identity CID that cannot hold a block gives way to a digest.
    fn fitting(self, len: usize) -> Self {
        if self.hash == hash::IDENTITY && len > DIGEST_LEN_MAX {
            return Self { hash: hash::SHA2_256, length: None, ..self };
        }
        self
    }

    /// Names a block.
    pub(super) fn block(self, codec: u64, data: Bytes) -> Result<Block, Error> {
        let version = if codec == codec::DAG_PB { self.version } else { Version::V1 };
        let prefix = Prefix { version, codec, hash: self.hash, length: self.length };
        let cid = prefix.sum(&data)?;
        hash::validate(cid.hash())?;
        Ok(Block { cid, data })
    }

    /// Encodes and names a node.
    pub(super) fn node(self, node: &PbNode) -> Result<Block, Error> {
        self.block(codec::DAG_PB, node.encode().into())
    }

    /// Names a block of a file.
    pub(super) fn file_block(self, codec: u64, data: Bytes) -> Result<Block, Error> {
        self.fitting(data.len()).block(codec, data)
    }
}
