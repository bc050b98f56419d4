//! Bitswap messages: what peers say to each other, in protobuf written and read by hand.
//!
//! Here is what a message holds, and how much; [`decode`] reads it and [`encode`] writes it.
//!
//! Pure. A message is read without copying its blocks, and what it may hold is bounded before
//! anything is kept. Whether blocks are what somebody wants is not looked at here.

mod decode;
mod encode;

use bytes::Bytes;

use crate::ipld::{Cid, Prefix, hash};

/// The longest message that is read or written, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The largest block that is sent or taken, in bytes.
pub const BLOCK_BYTES_MAX: usize = 2 << 20;
/// The longest CID that may be asked for, as in Kubo: four varints and the longest digest.
pub const CID_BYTES_MAX: usize = 40 + hash::DIGEST_LEN_MAX;
/// Entries, blocks or presences of one message; a message of Kubo's holds a few hundred.
pub const ITEMS_MAX: usize = 16_384;

/// The versions of the protocol, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Blocks without a name, all of them sha2-256 and dag-pb. Also spoken without a number.
    V1_0,
    /// Blocks with the prefix of their CID.
    V1_1,
    /// HAVE and DONT_HAVE.
    V1_2,
}

impl Version {
    /// The names of the protocol, the best first.
    pub const PROTOCOLS: [(&'static str, Self); 4] = [
        ("/ipfs/bitswap/1.2.0", Self::V1_2),
        ("/ipfs/bitswap/1.1.0", Self::V1_1),
        ("/ipfs/bitswap/1.0.0", Self::V1_0),
        ("/ipfs/bitswap", Self::V1_0),
    ];

    /// Whether HAVE and DONT_HAVE are understood.
    #[must_use]
    pub fn knows_have(self) -> bool {
        self == Self::V1_2
    }
}

/// What an entry of a wantlist asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantType {
    /// Whether the block is there.
    Have,
    /// The block.
    Block,
}

/// An entry of a wantlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is wanted.
    pub cid: Cid,
    /// Higher comes first.
    pub priority: i32,
    /// Not wanted any longer.
    pub cancel: bool,
    /// The block, or whether it is there.
    pub want: WantType,
    /// Whether to say so when the block is not there.
    pub send_dont_have: bool,
}

impl Entry {
    /// An entry that takes a want back.
    #[must_use]
    pub fn cancel(cid: Cid) -> Self {
        Self { cid, priority: 0, cancel: true, want: WantType::Block, send_dont_have: false }
    }
}

/// A block as it travels: all of its CID but the digest, which its bytes give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What the CID says besides the digest.
    pub prefix: Prefix,
    /// The block.
    pub data: Bytes,
}

/// Whether a peer has a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The block.
    pub cid: Cid,
    /// Whether it has it.
    pub has: bool,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// What is wanted, and what no longer.
    pub entries: Vec<Entry>,
    /// Whether `entries` are all that is wanted, and not changes to what was.
    pub full: bool,
    /// Blocks.
    pub blocks: Vec<Payload>,
    /// Answers to [`WantType::Have`].
    pub presences: Vec<Presence>,
    /// Bytes of blocks that the sender still has for the receiver, about.
    pub pending_bytes: i32,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No protobuf.
    #[error("bitswap message: malformed protobuf")]
    Malformed,
    /// A CID, or the prefix of one, is none.
    #[error("bitswap message: invalid CID")]
    BadCid,
    /// A block is larger than any may be.
    #[error("bitswap message: a block of {0} bytes; the most is {BLOCK_BYTES_MAX}")]
    BlockTooLarge(usize),
    /// More blocks or presences than any message holds.
    #[error("bitswap message: more than {ITEMS_MAX} of a kind")]
    TooMany,
}

impl Message {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.blocks.is_empty() && self.presences.is_empty()
    }
}

/// About how many bytes a block adds to a message.
#[must_use]
pub fn block_weight(data_len: usize) -> usize {
    data_len + 32
}

/// About how many bytes a presence of a CID adds to a message.
#[must_use]
pub fn presence_weight(cid: &Cid) -> usize {
    cid.byte_len() + 6
}

#[cfg(test)]
mod tests;
