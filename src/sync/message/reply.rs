//! `fetchReply`: what a node answers.

use super::lists::{
    append_cells, append_cursor, append_records, append_rids, read_cells, read_cursor, read_rids,
};
use super::{
    CUT_BITS, FIELDS_MAX, NAMES_MAX, Proof, RANGES_MAX, REPLY_LEN_MAX, REPLY_RECORDS_MAX, Roots,
    TEXT_LEN_MAX,
};
use crate::sync::cbor::{self, DecodeError, Decoder};
use crate::sync::clock::Hlc;
use crate::sync::hash::Rid;
use crate::sync::record::Record;
use crate::sync::sketch::Cell;
use crate::sync::store::Cursor;
use crate::sync::vector::Vector;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The number of the question.
    pub request: u64,
    /// The answerer's trees.
    pub roots: Roots,
    /// What it says.
    pub answer: Answer,
}

/// How far an answerer's state is complete, at the time of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Its session vector.
    pub vector: Vector,
    /// Later records of its own are above this.
    pub node_hlc: Hlc,
}

/// What a `fetchReply` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Both have the same records.
    Equal(Coverage),
    /// A page of records.
    Page {
        /// The records.
        records: Vec<Record>,
        /// Where the next page begins; none after the last.
        next: Option<Cursor>,
        /// With the first page.
        coverage: Option<Coverage>,
    },
    /// The whole difference.
    Difference {
        /// What the asker lacks, or the first of it.
        records: Vec<Record>,
        /// The names of the rest of it.
        more: Vec<Rid>,
        /// What the answerer lacks.
        want: Vec<Rid>,
        /// Of the answerer.
        coverage: Coverage,
    },
    /// Cells of the answerer's sketch.
    Cells {
        /// The first one's place.
        from: u32,
        /// The cells.
        cells: Vec<Cell>,
        /// How many records the answerer has.
        count: u64,
        /// Of the answerer.
        coverage: Coverage,
    },
    /// One for each range that was asked for.
    Ranges {
        /// The parts, in the order of the question.
        parts: Vec<Part>,
        /// Of the answerer.
        coverage: Coverage,
    },
    /// Records that were asked for by name.
    Records {
        /// Those that are there.
        records: Vec<Record>,
        /// How many of the names were looked at; the rest is to be asked for again.
        seen: u32,
    },
    /// The way from a leaf to the root.
    Proof(Option<Proof>),
    /// To be asked again after so many milliseconds.
    Busy(u32),
    /// Not answered.
    Refused(String),
}

/// What is in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The short hashes of its equal parts.
    Hashes(Vec<[u8; 8]>),
    /// The names of its few records.
    Names(Vec<Rid>),
}

impl Coverage {
    fn append_to(&self, out: &mut Vec<u8>) {
        cbor::list(2, out);
        self.vector.append_to(out);
        cbor::uint(self.node_hlc.0, out);
    }

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.tuple(2)?;
        Ok(Self { vector: Vector::read(decoder)?, node_hlc: Hlc(decoder.uint()?) })
    }
}

impl Reply {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        cbor::map(3, &mut out);
        cbor::uint(0, &mut out);
        cbor::uint(self.request, &mut out);
        cbor::uint(1, &mut out);
        self.roots.append_to(&mut out);
        cbor::uint(2, &mut out);
        self.answer.append_to(&mut out);
        out
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut request, mut roots, mut answer) = (None, None, None);
        decoder.fields(FIELDS_MAX, |field, decoder| {
            match field {
                0 => request = Some(decoder.uint()?),
                1 => roots = Some(Roots::read(decoder)?),
                2 => answer = Some(Answer::read(decoder)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let missing = DecodeError::Malformed("a reply");
        Ok(Self {
            request: request.ok_or(missing)?,
            roots: roots.ok_or(missing)?,
            answer: answer.ok_or(missing)?,
        })
    }
}

impl Answer {
    fn append_to(&self, out: &mut Vec<u8>) {
        let mut open = |len: usize, number: u64| {
            cbor::list(len, out);
            cbor::uint(number, out);
        };
        match self {
            Self::Equal(coverage) => {
                open(2, 0);
                coverage.append_to(out);
            }
            Self::Page { records, next, coverage } => {
                open(3 + usize::from(coverage.is_some()), 1);
                append_records(records, out);
                append_cursor(next.as_ref(), out);
                coverage.iter().for_each(|coverage| coverage.append_to(out));
            }
            Self::Difference { records, more, want, coverage } => {
                open(5, 2);
                append_records(records, out);
                append_rids(more, out);
                append_rids(want, out);
                coverage.append_to(out);
            }
            Self::Cells { from, cells, count, coverage } => {
                open(5, 3);
                cbor::uint((*from).into(), out);
                append_cells(cells, out);
                cbor::uint(*count, out);
                coverage.append_to(out);
            }
            Self::Ranges { parts, coverage } => {
                open(3, 4);
                cbor::list(parts.len(), out);
                parts.iter().for_each(|part| part.append_to(out));
                coverage.append_to(out);
            }
            Self::Records { records, seen } => {
                open(3, 5);
                append_records(records, out);
                cbor::uint((*seen).into(), out);
            }
            Self::Proof(proof) => {
                open(1 + usize::from(proof.is_some()), 6);
                proof.iter().for_each(|proof| proof.append_to(out));
            }
            Self::Busy(ms) => {
                open(2, 7);
                cbor::uint((*ms).into(), out);
            }
            Self::Refused(text) => {
                open(2, 8);
                cbor::text(text, out);
            }
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let len = decoder.list(5)?;
        let number = decoder.uint()?;
        match (number, len) {
            (0, 2) => Ok(Self::Equal(Coverage::read(decoder)?)),
            (1, 3 | 4) => Ok(Self::Page {
                records: decoder.many(REPLY_RECORDS_MAX, Record::read)?,
                next: read_cursor(decoder)?,
                coverage: if len == 4 { Some(Coverage::read(decoder)?) } else { None },
            }),
            (2, 5) => Ok(Self::Difference {
                records: decoder.many(REPLY_RECORDS_MAX, Record::read)?,
                more: read_rids(decoder, REPLY_LEN_MAX / 16)?,
                want: read_rids(decoder, REPLY_LEN_MAX / 16)?,
                coverage: Coverage::read(decoder)?,
            }),
            (3, 5) => Ok(Self::Cells {
                from: decoder.uint32()?,
                cells: read_cells(decoder)?,
                count: decoder.uint()?,
                coverage: Coverage::read(decoder)?,
            }),
            (4, 3) => Ok(Self::Ranges {
                parts: decoder.many(RANGES_MAX, Part::read)?,
                coverage: Coverage::read(decoder)?,
            }),
            (5, 3) => Ok(Self::Records {
                records: decoder.many(REPLY_RECORDS_MAX, Record::read)?,
                seen: decoder.uint32()?,
            }),
            (6, 1) => Ok(Self::Proof(None)),
            (6, 2) => Ok(Self::Proof(Some(Proof::read(decoder)?))),
            (7, 2) => Ok(Self::Busy(decoder.uint32()?)),
            (8, 2) => Ok(Self::Refused(decoder.text(TEXT_LEN_MAX)?.to_owned())),
            _ => Err(DecodeError::Malformed("an answer")),
        }
    }
}

impl Part {
    fn append_to(&self, out: &mut Vec<u8>) {
        cbor::list(2, out);
        match self {
            Self::Hashes(hashes) => {
                cbor::uint(0, out);
                let packed: Vec<u8> = hashes.iter().flatten().copied().collect();
                cbor::bytes(&packed, out);
            }
            Self::Names(rids) => {
                cbor::uint(1, out);
                append_rids(rids, out);
            }
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.tuple(2)?;
        match decoder.uint()? {
            0 => {
                const COUNT: usize = 1 << CUT_BITS;
                let (hashes, rest) = decoder.bytes(COUNT * 8)?.as_chunks::<8>();
                if hashes.len() == COUNT && rest.is_empty() {
                    Ok(Self::Hashes(hashes.to_vec()))
                } else {
                    Err(DecodeError::Malformed("the hashes of a range"))
                }
            }
            1 => Ok(Self::Names(read_rids(decoder, NAMES_MAX)?)),
            _ => Err(DecodeError::Malformed("a range")),
        }
    }
}
