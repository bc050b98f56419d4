//! Chunkers: where a stream of bytes is cut into the chunks that become leaves.
//!
//! Responsible for the grammar of the `chunker` option and for cutting, incrementally and with
//! bounded buffering: at most one chunk is held. Not for hashing or framing leaves. Pure; all
//! state is in [`Chunks`].

mod buzhash;
mod rabin;

use bytes::Bytes;

use self::buzhash::Buzhash;
use self::rabin::Rabin;
use crate::ipld::buffer::Buffer;
use crate::ipld::quote::quote;

/// The longest chunk: a 2 MiB block less 256 bytes for its framing.
pub const CHUNK_BYTES_MAX: usize = BLOCK_BYTES_MAX - 256;
/// The longest block that other nodes accept.
pub const BLOCK_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The chunk size of Kubo since its beginning.
pub const CHUNK_BYTES_DEFAULT: usize = 256 * 1024;

/// Room before the bytes of an owned chunk: enough for the head of any leaf node.
pub(crate) const HEADROOM: usize = 16;
/// Room after them: enough for the file size that ends a leaf node.
pub(crate) const TAILROOM: usize = 12;

/// How a file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunker {
    /// Every so many bytes.
    Size(usize),
    /// Where a Rabin fingerprint of the last 16 bytes says so.
    Rabin(RabinSizes),
    /// Where a buzhash of the last 32 bytes says so: 128 KiB to 512 KiB.
    Buzhash,
}

/// The sizes between which the Rabin chunker cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RabinSizes {
    /// No chunk but the last is shorter. Below 16, the window, nothing is ever cut.
    pub min: usize,
    /// The expected length.
    pub avg: usize,
    /// No chunk is longer.
    pub max: usize,
}

/// Why a text names no chunker, or a chunk cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not the name of one.
    #[error("unrecognized chunker option: {0}")]
    Unrecognized(String),
    /// `size-` with less or more than one number.
    #[error("incorrect chunker string format (expected size-{{size}})")]
    SizeFormat,
    /// A size of nothing.
    #[error("chunker size must be greater than 0")]
    SizeZero,
    /// A chunk that would fit in no block.
    #[error("chunker parameters may not exceed the maximum chunk size of {CHUNK_BYTES_MAX}")]
    SizeTooLarge,
    /// Not a number.
    #[error("strconv.Atoi: parsing {}: invalid syntax", quote(.0))]
    NumberSyntax(String),
    /// A number beyond 64 bits.
    #[error("strconv.Atoi: parsing {}: value out of range", quote(.0))]
    NumberRange(String),
    /// `rabin` with one or three hyphens is all there is.
    #[error("incorrect format (expected 'rabin' 'rabin-[avg]' or 'rabin-[min]-[avg]-[max]'")]
    RabinFormat,
    /// A field with another field's label.
    #[error("{field} label must be {label}")]
    RabinLabel {
        /// Which of the three.
        field: &'static str,
        /// What it may be called.
        label: &'static str,
    },
    /// Shorter than the window.
    #[error("rabin min must be greater than 16")]
    RabinMin,
    /// Sizes out of order.
    #[error("incorrect format: rabin-{0} must be smaller than rabin-{1}")]
    RabinOrder(&'static str, &'static str),
    /// The chunker found no place to cut before the longest block was full.
    #[error("object size limit exceeded")]
    ChunkTooLarge,
}

impl Default for Chunker {
    fn default() -> Self {
        Self::Size(CHUNK_BYTES_DEFAULT)
    }
}

impl Chunker {
    /// Parses the `chunker` option.
    ///
    /// # Errors
    /// With Kubo's text, when it names no chunker.
    pub fn parse(text: &str) -> Result<Self, ChunkError> {
        if text.is_empty() || text == "default" {
            return Ok(Self::default());
        }
        let fields: Vec<&str> = text.split('-').collect();
        match fields.first().copied() {
            Some("size") => parse_size(&fields),
            Some("rabin") => parse_rabin(&fields),
            Some("buzhash") => Ok(Self::Buzhash),
            _ => Err(ChunkError::Unrecognized(text.to_owned())),
        }
    }
}

fn parse_size(fields: &[&str]) -> Result<Chunker, ChunkError> {
    let [_, size] = fields else {
        return Err(ChunkError::SizeFormat);
    };
    let size = parse_number(size)?;
    if size <= 0 {
        return Err(ChunkError::SizeZero);
    }
    bounded(size).map(Chunker::Size)
}

fn parse_rabin(fields: &[&str]) -> Result<Chunker, ChunkError> {
    match fields {
        [_] => Ok(rabin_around(CHUNK_BYTES_DEFAULT)),
        [_, avg] => {
            let avg = parse_number(avg)?;
            // The longest chunk is half as long again.
            bounded(avg.saturating_add(avg / 2))?;
            bounded(avg).map(rabin_around)
        }
        [_, min, avg, max] => {
            let min = parse_labelled(min, "first", "min")?;
            if min < 16 {
                return Err(ChunkError::RabinMin);
            }
            let avg = parse_labelled(avg, "second", "avg")?;
            let max = parse_labelled(max, "final", "max")?;
            if min >= avg {
                return Err(ChunkError::RabinOrder("min", "avg"));
            }
            if avg >= max {
                return Err(ChunkError::RabinOrder("avg", "max"));
            }
            let max = bounded(max)?;
            Ok(Chunker::Rabin(RabinSizes { min: bounded(min)?, avg: bounded(avg)?, max }))
        }
        _ => Err(ChunkError::RabinFormat),
    }
}

fn rabin_around(avg: usize) -> Chunker {
    Chunker::Rabin(RabinSizes { min: avg / 3, avg, max: avg + avg / 2 })
}

fn bounded(size: i64) -> Result<usize, ChunkError> {
    let size = usize::try_from(size.max(0)).map_err(|_| ChunkError::SizeTooLarge)?;
    if size > CHUNK_BYTES_MAX { Err(ChunkError::SizeTooLarge) } else { Ok(size) }
}

fn parse_labelled(text: &str, field: &'static str, label: &'static str) -> Result<i64, ChunkError> {
    match text.split_once(':') {
        Some((own, _)) if own != label => Err(ChunkError::RabinLabel { field, label }),
        _ => parse_number(text.rsplit(':').next().unwrap_or(text)),
    }
}

/// A decimal number as Go's `strconv.Atoi` reads it.
fn parse_number(text: &str) -> Result<i64, ChunkError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ChunkError::NumberSyntax(text.to_owned()));
    }
    text.parse().map_err(|_| ChunkError::NumberRange(text.to_owned()))
}

/// The bytes of one chunk.
///
/// Either a slice of the buffer they came in, or their own buffer, in which the leaf node can be
/// framed without moving them.
#[derive(Debug)]
pub struct Chunk(pub(crate) Repr);

#[derive(Debug)]
pub(crate) enum Repr {
    /// A slice of an input buffer.
    Shared(Bytes),
    /// [`HEADROOM`] unused bytes, then the chunk.
    Owned(Buffer),
}

impl Chunk {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Shared(bytes) => bytes.len(),
            Repr::Owned(buffer) => buffer.len().saturating_sub(HEADROOM),
        }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes alone.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Shared(bytes) => bytes,
            Repr::Owned(buffer) => {
                let mut bytes = buffer.freeze();
                bytes.split_off(HEADROOM.min(bytes.len()))
            }
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Shared(bytes))
    }
}

/// Where to cut, with what it must remember of the bytes before.
#[derive(Debug)]
enum Cutter {
    Size(usize),
    Rabin(Rabin),
    Buzhash(Buzhash),
}

impl Cutter {
    /// Looks at the next bytes of a chunk of which `have` were seen before; returns after how many
    /// of them it ends, at least one, and is then ready for the next chunk.
    fn scan(&mut self, have: usize, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Size(size) => {
                let rest = size.saturating_sub(have);
                (bytes.len() >= rest).then_some(rest)
            }
            Self::Rabin(rabin) => rabin.scan(have, bytes),
            Self::Buzhash(buzhash) => buzhash.scan(have, bytes),
        }
    }
}

/// A stream of bytes being cut.
#[derive(Debug)]
pub struct Chunks {
    cutter: Cutter,
    /// What the current chunk has so far.
    pending: Option<Repr>,
    /// Bytes that were pushed and not looked at yet.
    input: Bytes,
}

impl Chunks {
    /// An empty stream.
    #[must_use]
    pub fn new(chunker: &Chunker) -> Self {
        let cutter = match chunker {
            Chunker::Size(size) => Cutter::Size((*size).max(1)),
            Chunker::Rabin(sizes) => Cutter::Rabin(Rabin::new(*sizes)),
            Chunker::Buzhash => Cutter::Buzhash(Buzhash::new()),
        };
        Self { cutter, pending: None, input: Bytes::new() }
    }

    /// Adds bytes; call [`Self::next_chunk`] until it has none before adding more.
    ///
    /// # Errors
    /// When a chunk grows longer than a block may be.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), ChunkError> {
        if !self.input.is_empty() {
            // The caller did not drain: what is left joins the chunk, nothing is lost.
            let rest = std::mem::take(&mut self.input);
            self.extend(&rest)?;
        }
        self.input = bytes;
        Ok(())
    }

    /// The next whole chunk of what was pushed.
    ///
    /// # Errors
    /// When a chunk grows longer than a block may be.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, ChunkError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let have = self.pending_len();
        if let Some(len) = self.cutter.scan(have, &self.input) {
            let last = self.input.split_to(len.min(self.input.len()));
            if self.pending.is_none() {
                return Ok(Some(Chunk::from(last)));
            }
            self.extend(&last)?;
            return Ok(self.pending.take().map(Chunk));
        }
        let rest = std::mem::take(&mut self.input);
        if self.pending.is_none() {
            self.pending = Some(Repr::Shared(rest));
        } else {
            self.extend(&rest)?;
        }
        if self.pending_len() > BLOCK_BYTES_MAX {
            return Err(ChunkError::ChunkTooLarge);
        }
        Ok(None)
    }

    /// The last chunk, if anything is left.
    #[must_use]
    pub fn finish(&mut self) -> Option<Chunk> {
        self.pending.take().map(Chunk)
    }

    fn pending_len(&self) -> usize {
        match &self.pending {
            None => 0,
            Some(Repr::Shared(bytes)) => bytes.len(),
            Some(Repr::Owned(buffer)) => buffer.len().saturating_sub(HEADROOM),
        }
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), ChunkError> {
        let have = self.pending_len();
        if have + bytes.len() > BLOCK_BYTES_MAX {
            return Err(ChunkError::ChunkTooLarge);
        }
        let mut buffer = match self.pending.take() {
            Some(Repr::Owned(buffer)) => buffer,
            start => {
                // More than one input buffer: a fixed size is reached most of the time.
                let expected = match self.cutter {
                    Cutter::Size(size) => size,
                    Cutter::Rabin(_) | Cutter::Buzhash(_) => 2 * (have + bytes.len()),
                };
                let room = HEADROOM + TAILROOM + expected.max(have + bytes.len());
                let mut buffer = Buffer::with_room(room);
                buffer.grow(HEADROOM);
                if let Some(Repr::Shared(start)) = start {
                    buffer.extend_from_slice(&start);
                }
                buffer
            }
        };
        buffer.extend_from_slice(bytes);
        self.pending = Some(Repr::Owned(buffer));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_and_its_errors_are_kubos() {
        let rabin = |min, avg, max| Ok(Chunker::Rabin(RabinSizes { min, avg, max }));
        let error = |text: &str| Err(text.to_owned());
        let large = "chunker parameters may not exceed the maximum chunk size of 2096896";
        let arity = "incorrect format (expected 'rabin' 'rabin-[avg]' or 'rabin-[min]-[avg]-[max]'";
        let size = "incorrect chunker string format (expected size-{size})";
        let cases = [
            ("", Ok(Chunker::Size(262_144))),
            ("default", Ok(Chunker::Size(262_144))),
            ("size-1", Ok(Chunker::Size(1))),
            ("size-+7", Ok(Chunker::Size(7))),
            ("size-2096896", Ok(Chunker::Size(2_096_896))),
            ("size-2096897", error(large)),
            ("size-0", error("chunker size must be greater than 0")),
            ("size", error(size)),
            ("size-1-2", error(size)),
            ("size--1", error(size)),
            ("size-", error("strconv.Atoi: parsing \"\": invalid syntax")),
            ("size-1_0", error("strconv.Atoi: parsing \"1_0\": invalid syntax")),
            (
                "size-9223372036854775808",
                error("strconv.Atoi: parsing \"9223372036854775808\": value out of range"),
            ),
            ("rabin", rabin(87_381, 262_144, 393_216)),
            ("rabin-128", rabin(42, 128, 192)),
            ("rabin-0", rabin(0, 0, 0)),
            ("rabin-1397931", rabin(465_977, 1_397_931, 2_096_896)),
            ("rabin-1397932", error(large)),
            ("rabin-16-32-64", rabin(16, 32, 64)),
            ("rabin-min:16-avg:32-max:64", rabin(16, 32, 64)),
            ("rabin-avg:16-32-64", error("first label must be min")),
            ("rabin-16-max:32-64", error("second label must be avg")),
            ("rabin-16-32-min:64", error("final label must be max")),
            ("rabin-15-32-64", error("rabin min must be greater than 16")),
            ("rabin-32-32-64", error("incorrect format: rabin-min must be smaller than rabin-avg")),
            ("rabin-16-64-64", error("incorrect format: rabin-avg must be smaller than rabin-max")),
            ("rabin-16-32-2096897", error(large)),
            ("rabin-1-2", error(arity)),
            ("rabin-1-2-3-4", error(arity)),
            ("buzhash", Ok(Chunker::Buzhash)),
            ("buzhash-anything", Ok(Chunker::Buzhash)),
            ("Size-10", error("unrecognized chunker option: Size-10")),
            (" size-10", error("unrecognized chunker option:  size-10")),
        ];
        for (text, expected) in cases {
            assert_eq!(Chunker::parse(text).map_err(|error| error.to_string()), expected, "{text}");
        }
    }

    /// Deterministic bytes without a period that a chunker could follow.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(step).take(len).collect()
    }

    fn cut(chunker: &Chunker, data: &Bytes, piece: usize) -> Vec<Bytes> {
        let mut chunks = Chunks::new(chunker);
        let mut out = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let end = data.len().min(at + piece);
            chunks.push(data.slice(at..end)).unwrap();
            at = end;
            while let Some(chunk) = chunks.next_chunk().unwrap() {
                out.push(chunk.into_bytes());
            }
        }
        out.extend(chunks.finish().map(Chunk::into_bytes));
        out
    }

    #[test]
    fn the_cuts_do_not_depend_on_how_the_bytes_arrive() {
        let data = Bytes::from(noise(1_700_000));
        for text in ["size-1000", "size-262144", "rabin-16-32-64", "rabin-65536", "buzhash"] {
            let chunker = Chunker::parse(text).unwrap();
            let whole = cut(&chunker, &data, data.len());
            assert!(whole.len() > 3, "{text}");
            assert_eq!(whole.concat(), data, "{text}");
            for piece in [7, 31, 32, 33, 4096, 65_536, 100_000] {
                assert!(cut(&chunker, &data, piece) == whole, "{text} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_chunk_in_one_input_buffer_is_not_copied() {
        let data = Bytes::from(noise(1000));
        for chunk in cut(&Chunker::Size(100), &data, 1000) {
            assert!(data.as_ptr_range().contains(&chunk.as_ptr()));
        }
    }

    #[test]
    fn a_chunker_that_never_cuts_holds_no_more_than_a_block() {
        let mut chunks = Chunks::new(&Chunker::parse("rabin-47").unwrap());
        let piece = Bytes::from(vec![1; 1024 * 1024]);
        for _ in 0..2 {
            chunks.push(piece.clone()).unwrap();
            assert!(chunks.next_chunk().unwrap().is_none());
        }
        chunks.push(piece).unwrap();
        assert!(matches!(chunks.next_chunk(), Err(ChunkError::ChunkTooLarge)));
    }
}
