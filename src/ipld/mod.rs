//! IPLD: CIDs, multihashes, and the codecs of blocks.
//!
//! Pure: bytes in, values out.

mod assign;
pub mod base;
pub mod buffer;
pub(crate) mod build;
pub(crate) mod cbor;
pub mod cid;
pub mod codec;
pub mod dag_pb;
pub mod data;
mod git;
pub mod hash;
mod jose;
mod json;
pub mod multihash;
pub mod murmur3;
pub mod node;
pub mod path;
pub mod protobuf;
pub mod quote;
pub mod varint;

pub use cid::{Cid, CidError, Prefix, Version};
pub use dag_pb::{PbLink, PbNode};
pub use data::links;
pub use multihash::{Multihash, MultihashError};
pub use node::{Node, Typed};
pub use path::Path;

use std::borrow::Cow;

use bytes::Bytes;

/// A block: bytes and the CID that names them. Whoever makes one has hashed the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The name.
    pub cid: Cid,
    /// The content.
    pub data: Bytes,
}

/// Why bytes are no block of their codec. The text is that of Go's decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(Cow<'static, str>);

impl DecodeError {
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }

    /// The bytes end where more must follow; Go's `io.EOF`, which Kubo takes for the end of the
    /// answer and not for an error.
    pub(crate) fn eof() -> Self {
        Self::new("EOF")
    }

    /// Whether this is Go's `io.EOF`.
    #[must_use]
    pub fn is_eof(&self) -> bool {
        self.0 == "EOF"
    }

    /// The bytes end before a value: there, go-ipld-prime turns one error into the other.
    pub(crate) fn mid_value(self) -> Self {
        if self.is_eof() { Self::unexpected_eof() } else { self }
    }

    pub(crate) fn too_deep() -> Self {
        Self::new("message structure exceeded maximum nesting depth")
    }

    /// The bytes end too early; Go's `io.ErrUnexpectedEOF`.
    pub(crate) fn unexpected_eof() -> Self {
        Self::new("unexpected EOF")
    }
}
