//! Proof that a pin is in a tree whose root is known.

use crate::sync::cbor::{self, DecodeError, Decoder};
use crate::sync::hash::Hash;
use crate::sync::record::Record;
use crate::sync::tree;

/// Shows that a record is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The record.
    pub record: Record,
    /// From the leaf upwards: the bit that separates, and the hash of the other side.
    pub path: Vec<(u16, Hash)>,
}

impl Proof {
    /// The root of the tree that the record is in, if the proof is one: to be compared with a
    /// root that is believed.
    #[must_use]
    pub fn root(&self) -> Hash {
        let key = self.record.key();
        let leaf = tree::leaf(&key, &self.record.digest());
        self.path.iter().fold(leaf, |set, (bit, other)| {
            let is_right = key.bit(usize::from(*bit));
            if is_right { tree::node(other, &set) } else { tree::node(&set, other) }
        })
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        cbor::list(2, out);
        out.extend_from_slice(self.record.as_bytes());
        cbor::list(self.path.len(), out);
        for (bit, hash) in &self.path {
            cbor::list(2, out);
            cbor::uint((*bit).into(), out);
            cbor::bytes(hash, out);
        }
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.tuple(2)?;
        let record = Record::read(decoder)?;
        let path = decoder.many(256, |decoder| {
            decoder.tuple(2)?;
            let bit = u16::try_from(decoder.uint()?).ok().filter(|bit| *bit < 256);
            Ok((bit.ok_or(DecodeError::Malformed("a proof"))?, decoder.array()?))
        })?;
        Ok(Self { record, path })
    }
}
