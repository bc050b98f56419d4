//! `fetch`: what one node asks another.

use super::lists::{append_cells, append_cursor, append_rids, read_cells, read_cursor, read_rids};
use super::{FIELDS_MAX, RANGES_MAX, RIDS_MAX, Roots};
use crate::sync::cbor::{self, DecodeError, Decoder};
use crate::sync::hash::{Key, Rid};
use crate::sync::record::Kind;
use crate::sync::sketch::Cell;
use crate::sync::store::Cursor;
use crate::sync::tree::Prefix;
use crate::sync::vector::Vector;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Chosen by the asker; the reply has it too.
    pub request: u64,
    /// The asker's trees.
    pub roots: Roots,
    /// The longest reply that the asker takes.
    pub bytes_max: u32,
    /// What is asked.
    pub ask: Ask,
}

/// What a `fetch` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The records that a vector does not cover, page by page.
    Vector {
        /// What the asker has.
        vector: Vector,
        /// The last record of the page before.
        after: Option<Cursor>,
    },
    /// The difference to a set of which these are the first cells.
    Sketch {
        /// The cells, from the first.
        cells: Vec<Cell>,
        /// How many records they stand for.
        count: u64,
    },
    /// Cells of the answerer's own sketch.
    Cells {
        /// The first.
        from: u32,
        /// One after the last.
        to: u32,
    },
    /// The hashes of the parts of ranges.
    Ranges {
        /// Keys the short hashes, so that nobody can prepare two ranges that look equal.
        nonce: [u8; 16],
        /// The ranges.
        ranges: Vec<(Kind, Prefix)>,
    },
    /// Records by name.
    Records {
        /// The names.
        rids: Vec<Rid>,
    },
    /// That a key is in the live tree.
    Proof {
        /// The key.
        key: Key,
    },
}

impl Fetch {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        cbor::map(4, &mut out);
        cbor::uint(0, &mut out);
        cbor::uint(self.request, &mut out);
        cbor::uint(1, &mut out);
        self.roots.append_to(&mut out);
        cbor::uint(2, &mut out);
        cbor::uint(self.bytes_max.into(), &mut out);
        cbor::uint(3, &mut out);
        self.ask.append_to(&mut out);
        out
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut request, mut roots, mut bytes_max, mut ask) = (None, None, None, None);
        decoder.fields(FIELDS_MAX, |field, decoder| {
            match field {
                0 => request = Some(decoder.uint()?),
                1 => roots = Some(Roots::read(decoder)?),
                2 => bytes_max = Some(decoder.uint32()?),
                3 => ask = Some(Ask::read(decoder)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let missing = DecodeError::Malformed("a fetch");
        Ok(Self {
            request: request.ok_or(missing)?,
            roots: roots.ok_or(missing)?,
            bytes_max: bytes_max.ok_or(missing)?,
            ask: ask.ok_or(missing)?,
        })
    }
}

impl Ask {
    fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Vector { vector, after } => {
                cbor::list(3, out);
                cbor::uint(0, out);
                vector.append_to(out);
                append_cursor(after.as_ref(), out);
            }
            Self::Sketch { cells, count } => {
                cbor::list(3, out);
                cbor::uint(1, out);
                append_cells(cells, out);
                cbor::uint(*count, out);
            }
            Self::Ranges { nonce, ranges } => {
                cbor::list(3, out);
                cbor::uint(2, out);
                cbor::bytes(nonce, out);
                cbor::list(ranges.len(), out);
                for (kind, prefix) in ranges {
                    cbor::list(3, out);
                    cbor::uint(kind.number().into(), out);
                    cbor::uint(prefix.bits.into(), out);
                    let len = usize::from(prefix.bits).div_ceil(8);
                    cbor::bytes(prefix.key.0.get(..len).unwrap_or_default(), out);
                }
            }
            Self::Records { rids } => {
                cbor::list(2, out);
                cbor::uint(3, out);
                append_rids(rids, out);
            }
            Self::Proof { key } => {
                cbor::list(2, out);
                cbor::uint(4, out);
                cbor::bytes(&key.0, out);
            }
            Self::Cells { from, to } => {
                cbor::list(3, out);
                cbor::uint(5, out);
                cbor::uint((*from).into(), out);
                cbor::uint((*to).into(), out);
            }
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let len = decoder.list(3)?;
        let number = decoder.uint()?;
        match (number, len) {
            (0, 3) => {
                Ok(Self::Vector { vector: Vector::read(decoder)?, after: read_cursor(decoder)? })
            }
            (1, 3) => Ok(Self::Sketch { cells: read_cells(decoder)?, count: decoder.uint()? }),
            (2, 3) => Ok(Self::Ranges {
                nonce: decoder.array()?,
                ranges: decoder.many(RANGES_MAX, read_range)?,
            }),
            (3, 2) => Ok(Self::Records { rids: read_rids(decoder, RIDS_MAX)? }),
            (4, 2) => Ok(Self::Proof { key: Key(decoder.array()?) }),
            (5, 3) => Ok(Self::Cells { from: decoder.uint32()?, to: decoder.uint32()? }),
            _ => Err(DecodeError::Malformed("a question")),
        }
    }
}

fn read_kind(decoder: &mut Decoder<'_>) -> Result<Kind, DecodeError> {
    Kind::from_number(decoder.uint()?).ok_or(DecodeError::Malformed("the kind of a tree"))
}

fn read_range(decoder: &mut Decoder<'_>) -> Result<(Kind, Prefix), DecodeError> {
    decoder.tuple(3)?;
    let kind = read_kind(decoder)?;
    let bits = usize::try_from(decoder.uint()?).unwrap_or(usize::MAX);
    let bytes = decoder.bytes(32)?;
    let mut key = Key([0; 32]);
    key.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    if bits > 256 || bytes.len() != bits.div_ceil(8) || key.cut(bits) != key {
        return Err(DecodeError::NotCanonical);
    }
    Ok((kind, Prefix::of(&key, bits)))
}
