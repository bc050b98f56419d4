//! `update`: records that are pushed, or a state that is announced.

use super::lists::append_records;
use super::{FIELDS_MAX, Roots, UPDATE_RECORDS_MAX};
use crate::sync::cbor::{self, DecodeError, Decoder};
use crate::sync::clock::Hlc;
use crate::sync::record::Record;

/// A change that is pushed, or a state that is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The sender's trees with these records in them.
    pub roots: Roots,
    /// Later records of the sender are above this.
    pub node_hlc: Hlc,
    /// Of the sender's session vector.
    pub vector_digest: [u8; 8],
    /// What changed; none in an announcement.
    pub records: Vec<Record>,
}

impl Update {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        cbor::map(if self.records.is_empty() { 3 } else { 4 }, &mut out);
        cbor::uint(0, &mut out);
        self.roots.append_to(&mut out);
        cbor::uint(1, &mut out);
        cbor::uint(self.node_hlc.0, &mut out);
        cbor::uint(2, &mut out);
        cbor::bytes(&self.vector_digest, &mut out);
        if !self.records.is_empty() {
            cbor::uint(3, &mut out);
            append_records(&self.records, &mut out);
        }
        out
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut roots, mut node_hlc, mut digest) = (None, None, None);
        let mut records = Vec::new();
        decoder.fields(FIELDS_MAX, |field, decoder| {
            match field {
                0 => roots = Some(Roots::read(decoder)?),
                1 => node_hlc = Some(Hlc(decoder.uint()?)),
                2 => digest = Some(decoder.array()?),
                3 => records = decoder.many(UPDATE_RECORDS_MAX, Record::read)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let missing = DecodeError::Malformed("an update");
        Ok(Self {
            roots: roots.ok_or(missing)?,
            node_hlc: node_hlc.ok_or(missing)?,
            vector_digest: digest.ok_or(missing)?,
            records,
        })
    }
}
