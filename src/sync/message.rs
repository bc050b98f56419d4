//! The four messages of `/pinsync/1.0.0`: `hello`, `update`, `fetch`, `fetchReply`.
//!
//! Pure. An envelope is the list `[1, epoch, type, body]`; bodies are maps with integer keys, of
//! which unknown ones are skipped. Every length is capped before anything is read for it.

use super::cbor::{self, DecodeError, Decoder};
use super::clock::Hlc;
use super::hash::{Hash, Key, Rid};
use super::keys::Author;
use super::record::{Kind, Record};
use super::sketch::{CELL_LEN, Cell};
use super::store::Cursor;
use super::tree::{self, Prefix};
use super::vector::Vector;

mod hello;

pub use hello::{ADDRESSES_MAX, Binding, Hello, Status};

/// Version of the protocol.
const PROTO: u64 = 1;

/// Bytes of a `hello`.
pub const HELLO_LEN_MAX: usize = 4 << 10;
/// Bytes of an `update`.
pub const UPDATE_LEN_MAX: usize = 48 << 10;
/// Records of an `update`.
pub const UPDATE_RECORDS_MAX: usize = 256;
/// Bytes of a `fetch`.
pub const FETCH_LEN_MAX: usize = 256 << 10;
/// Bytes of a `fetchReply`.
pub const REPLY_LEN_MAX: usize = 256 << 10;
/// Ranges that one `fetch` asks for.
pub const RANGES_MAX: usize = 64;
/// Records that one `fetch` names.
pub const RIDS_MAX: usize = 1024;
/// Records of a reply: less than fit.
pub const REPLY_RECORDS_MAX: usize = 4096;
/// A range with no more records than this is answered with their names.
pub const NAMES_MAX: usize = 16;
/// A range is cut into 2 to the power of this.
pub const CUT_BITS: u32 = 4;
/// Cells of a sketch in one message.
pub const CELLS_MAX: usize = 9_000;
const FIELDS_MAX: usize = 32;
const TEXT_LEN_MAX: usize = 256;

/// What a node's trees are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roots {
    /// The hash of the pins.
    pub live: Hash,
    /// The hash of the tombstones.
    pub tomb: Hash,
    /// How many pins.
    pub live_count: u32,
    /// How many tombstones.
    pub tomb_count: u32,
    /// The floor: what is at or below it, and absent, was removed.
    pub floor: Hlc,
}

impl Roots {
    /// Whether both have the same records.
    #[must_use]
    pub fn same_state(&self, other: &Self) -> bool {
        (self.live, self.tomb) == (other.live, other.tomb)
    }

    /// The hash of one tree.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Hash {
        match kind {
            Kind::Live => self.live,
            Kind::Tomb => self.tomb,
        }
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        cbor::list(5, out);
        cbor::bytes(&self.live, out);
        cbor::bytes(&self.tomb, out);
        cbor::uint(self.live_count.into(), out);
        cbor::uint(self.tomb_count.into(), out);
        cbor::uint(self.floor.0, out);
    }

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.tuple(5)?;
        Ok(Self {
            live: decoder.array()?,
            tomb: decoder.array()?,
            live_count: decoder.uint32()?,
            tomb_count: decoder.uint32()?,
            floor: Hlc(decoder.uint()?),
        })
    }
}

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

/// Shows that a record is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The record.
    pub record: Record,
    /// From the leaf upwards: the bit that separates, and the hash of the other side.
    pub path: Vec<(u16, Hash)>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Who I am and how far I have come.
    Hello(Box<Hello>),
    /// What changed.
    Update(Update),
    /// A question.
    Fetch(Fetch),
    /// An answer.
    Reply(Reply),
}

impl Message {
    /// The message in its envelope.
    #[must_use]
    pub fn encode(&self, epoch: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        cbor::list(4, &mut out);
        cbor::uint(PROTO, &mut out);
        cbor::uint(epoch, &mut out);
        let (number, body) = match self {
            Self::Hello(hello) => (0, hello.encode()),
            Self::Update(update) => (1, update.encode()),
            Self::Fetch(fetch) => (2, fetch.encode()),
            Self::Reply(reply) => (3, reply.encode()),
        };
        cbor::uint(number, &mut out);
        out.extend(body);
        out
    }

    /// Reads a message; returns the epoch of its envelope too.
    ///
    /// # Errors
    /// When it is none, or over a cap.
    pub fn decode(bytes: &[u8]) -> Result<(u64, Self), DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.tuple(4)?;
        if decoder.uint()? != PROTO {
            return Err(DecodeError::Malformed("the version of the protocol"));
        }
        let epoch = decoder.uint()?;
        let number = decoder.uint()?;
        let (cap, name) = match number {
            0 => (HELLO_LEN_MAX, "a hello"),
            1 => (UPDATE_LEN_MAX, "an update"),
            2 => (FETCH_LEN_MAX, "a fetch"),
            3 => (REPLY_LEN_MAX, "a reply"),
            _ => return Err(DecodeError::Malformed("the type of a message")),
        };
        if bytes.len() > cap {
            return Err(DecodeError::TooLong(name));
        }
        let message = match number {
            0 => Self::Hello(Box::new(Hello::read(&mut decoder)?)),
            1 => Self::Update(Update::read(&mut decoder)?),
            2 => Self::Fetch(Fetch::read(&mut decoder)?),
            _ => Self::Reply(Reply::read(&mut decoder)?),
        };
        decoder.end()?;
        Ok((epoch, message))
    }
}

fn append_records(records: &[Record], out: &mut Vec<u8>) {
    cbor::list(records.len(), out);
    records.iter().for_each(|record| out.extend_from_slice(record.as_bytes()));
}

fn append_rids(rids: &[Rid], out: &mut Vec<u8>) {
    let packed: Vec<u8> = rids.iter().flat_map(|rid| rid.0).collect();
    cbor::bytes(&packed, out);
}

fn read_rids(decoder: &mut Decoder<'_>, max: usize) -> Result<Vec<Rid>, DecodeError> {
    let (rids, rest) = decoder.bytes(max * 16)?.as_chunks::<16>();
    if rest.is_empty() {
        Ok(rids.iter().map(|rid| Rid(*rid)).collect())
    } else {
        Err(DecodeError::Malformed("names of records"))
    }
}

fn append_cells(cells: &[Cell], out: &mut Vec<u8>) {
    let mut packed = Vec::with_capacity(cells.len() * CELL_LEN);
    cells.iter().for_each(|cell| packed.extend_from_slice(&cell.to_bytes()));
    cbor::bytes(&packed, out);
}

fn read_cells(decoder: &mut Decoder<'_>) -> Result<Vec<Cell>, DecodeError> {
    let (cells, rest) = decoder.bytes(CELLS_MAX * CELL_LEN)?.as_chunks::<CELL_LEN>();
    if rest.is_empty() {
        Ok(cells.iter().map(Cell::from_bytes).collect())
    } else {
        Err(DecodeError::Malformed("the cells of a sketch"))
    }
}

impl Update {
    fn encode(&self) -> Vec<u8> {
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

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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

impl Fetch {
    fn encode(&self) -> Vec<u8> {
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

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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

fn append_cursor(cursor: Option<&Cursor>, out: &mut Vec<u8>) {
    let Some(cursor) = cursor else { return cbor::list(0, out) };
    cbor::list(3, out);
    cbor::bytes(&cursor.author.0, out);
    cbor::uint(cursor.hlc.0, out);
    cbor::bytes(&cursor.key.0, out);
}

fn read_cursor(decoder: &mut Decoder<'_>) -> Result<Option<Cursor>, DecodeError> {
    match decoder.list(3)? {
        0 => Ok(None),
        3 => Ok(Some(Cursor {
            author: Author(decoder.array()?),
            hlc: Hlc(decoder.uint()?),
            key: Key(decoder.array()?),
        })),
        _ => Err(DecodeError::Malformed("a cursor")),
    }
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
    fn encode(&self) -> Vec<u8> {
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

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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

    fn append_to(&self, out: &mut Vec<u8>) {
        cbor::list(2, out);
        out.extend_from_slice(self.record.as_bytes());
        cbor::list(self.path.len(), out);
        for (bit, hash) in &self.path {
            cbor::list(2, out);
            cbor::uint((*bit).into(), out);
            cbor::bytes(hash, out);
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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

#[cfg(test)]
mod tests;
