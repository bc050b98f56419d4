//! Reading versions 1 and 2 from bytes that arrive in pieces of any size.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::ipld::buffer::Buffer;
use crate::ipld::varint::{self, VarintError};
use crate::ipld::{Block, Cid};

use super::Error;
use super::header::Header;

/// The longest header.
const HEADER_LEN_MAX: u64 = 32 << 20;
/// The longest section: a CID and its block.
const SECTION_LEN_MAX: u64 = 8 << 20;

/// Bytes of the pragma that says that a file is version 2.
const PRAGMA_LEN: u64 = 11;
/// Bytes of the header behind the pragma.
const V2_HEADER_LEN: usize = 40;

/// Reads one CAR. Holds at most one header or section, and what was pushed behind it.
///
/// Push what arrives, [`finish`](Self::finish) when nothing more does, and ask for the next step
/// until it needs more input.
#[derive(Debug)]
pub struct Reader {
    input: Input,
    state: State,
    version: u64,
}

/// What a reader has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet: push more.
    NeedsInput,
    /// The header; always first.
    Header {
        /// The version of the file.
        version: u64,
        /// What the blocks are about. May be none, may repeat, and may be missing in the file.
        roots: Vec<Cid>,
    },
    /// A block.
    Section(Section),
    /// The end. What follows it in the file, if anything, is no part of the CAR.
    End,
}

/// A CID and bytes that claim to be what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name.
    pub cid: Cid,
    /// The content. Shares memory with what was pushed where that came in one piece.
    pub data: Bytes,
}

impl Section {
    /// The block, when its content is what the CID names.
    ///
    /// # Errors
    /// When it is not, or the hash function does not exist.
    pub fn verify(self) -> Result<Block, Error> {
        let got = self.cid.prefix().sum(&self.data)?;
        if got == self.cid {
            return Ok(Block { cid: self.cid, data: self.data });
        }
        Err(Error::Mismatch { expected: self.cid.to_string(), got: got.to_string() })
    }
}

/// What comes next in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The header of version 1, or the pragma of version 2.
    Start,
    /// The header of version 2.
    V2Header,
    /// So many bytes of padding, and then so many of payload.
    Padding { left: u64, size: u64 },
    /// The header of version 1 inside version 2.
    InnerHeader,
    /// Blocks.
    Sections,
    /// Nothing.
    Done,
}

/// Why there is nothing to take from the input.
enum Missing {
    /// It has not come yet.
    NotYet,
    /// It never will.
    Failed(Error),
}

impl From<Error> for Missing {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader of a CAR of which nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self { input: Input::default(), state: State::Start, version: 1 }
    }

    /// Adds what comes next in the file.
    pub fn push(&mut self, bytes: Bytes) {
        self.input.push(bytes);
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        self.input.finished = true;
    }

    /// The next thing in the file.
    ///
    /// # Errors
    /// When what comes next is nothing that a CAR may have there; the reader is then of no more
    /// use. [`Error::Eof`] is a file that ends before its header.
    pub fn step(&mut self) -> Result<Step, Error> {
        loop {
            let step = match self.state {
                State::Start => self.start(),
                State::V2Header => self.v2_header(),
                State::Padding { left, size } => self.padding(left, size),
                State::InnerHeader => self.inner_header(),
                State::Sections => self.section(),
                State::Done => Ok(Some(Step::End)),
            };
            match step {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(Missing::NotYet) => return Ok(Step::NeedsInput),
                Err(Missing::Failed(error)) => return Err(error),
            }
        }
    }

    fn start(&mut self) -> Result<Option<Step>, Missing> {
        let header = self.header()?;
        self.version = header.version;
        match header.version {
            1 => {
                self.state = State::Sections;
                Ok(Some(Step::Header { version: 1, roots: header.roots }))
            }
            2 => {
                self.state = State::V2Header;
                Ok(None)
            }
            version => Err(Error::Version(version).into()),
        }
    }

    fn header(&mut self) -> Result<Header, Missing> {
        let header = self.input.take_prefixed(HEADER_LEN_MAX, Error::HeaderTooLarge)?;
        Ok(Header::parse(&header)?)
    }

    fn v2_header(&mut self) -> Result<Option<Step>, Missing> {
        /// Bytes of flags that say nothing about reading forward.
        const CHARACTERISTICS_LEN: usize = 16;
        let header = match self.input.take(V2_HEADER_LEN) {
            // Both parts are read in one go, but a file may end exactly between them.
            Err(Missing::Failed(_)) if self.input.len == CHARACTERISTICS_LEN => {
                return Err(Error::Eof.into());
            }
            header => header?,
        };
        let number = |at: usize| {
            let bytes = header.iter().skip(at).take(8).rev();
            bytes.fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))
        };
        let (offset, size, index) = (number(16), number(24), number(32));
        let least = PRAGMA_LEN + V2_HEADER_LEN as u64;
        if offset < least || i64::try_from(offset).is_err() {
            return Err(Error::DataOffset(offset).into());
        }
        if size == 0 || i64::try_from(size).is_err() {
            return Err(Error::DataSize(size).into());
        }
        if i64::try_from(index).is_err() {
            return Err(Error::IndexOffset(index).into());
        }
        self.state = State::Padding { left: offset - least, size };
        Ok(None)
    }

    fn padding(&mut self, left: u64, size: u64) -> Result<Option<Step>, Missing> {
        let skipped = self.input.skip(left);
        if skipped < left {
            self.state = State::Padding { left: left - skipped, size };
            let ended = self.input.finished;
            return Err(if ended { Error::Eof.into() } else { Missing::NotYet });
        }
        self.input.window = Some(size);
        self.state = State::InnerHeader;
        Ok(None)
    }

    fn inner_header(&mut self) -> Result<Option<Step>, Missing> {
        let header = self.header()?;
        if header.version != 1 {
            return Err(Error::InnerVersion(header.version).into());
        }
        self.state = State::Sections;
        Ok(Some(Step::Header { version: self.version, roots: header.roots }))
    }

    fn section(&mut self) -> Result<Option<Step>, Missing> {
        let section = match self.input.take_prefixed(SECTION_LEN_MAX, Error::SectionTooLarge) {
            Ok(section) => section,
            // Also right behind a length: go-car does not tell the two apart.
            Err(Missing::Failed(Error::Eof)) => {
                self.state = State::Done;
                self.input = Input { finished: true, ..Input::default() };
                return Ok(Some(Step::End));
            }
            Err(other) => return Err(other),
        };
        let (cid, rest) = Cid::read(&section).map_err(Error::from)?;
        let data = section.slice_ref(rest);
        Ok(Some(Step::Section(Section { cid, data })))
    }
}

/// Bytes that were pushed and not yet taken.
#[derive(Debug, Default)]
struct Input {
    pieces: VecDeque<Bytes>,
    len: usize,
    finished: bool,
    /// How much of the file is still CAR, where that is less than all of it.
    window: Option<u64>,
}

impl Input {
    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !self.finished {
            self.len += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// How many bytes can be taken now, and whether there will be more.
    fn available(&self) -> (usize, bool) {
        match self.window {
            Some(window) if window <= self.len as u64 => (window as usize, false),
            _ => (self.len, !self.finished),
        }
    }

    fn missing(&self, got_some: bool) -> Missing {
        match (self.available().1, got_some) {
            (true, _) => Missing::NotYet,
            (false, true) => Error::UnexpectedEof.into(),
            (false, false) => Error::Eof.into(),
        }
    }

    /// A length, and as many bytes.
    fn take_prefixed(&mut self, max: u64, too_large: Error) -> Result<Bytes, Missing> {
        let (available, _) = self.available();
        let mut prefix = [0_u8; varint::LEN_MAX];
        let bytes = self.pieces.iter().flatten().take(available);
        let peeked = prefix.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count();
        let prefix = prefix.get(..peeked).unwrap_or_default();
        let (len, prefix_len) = match varint::read(prefix) {
            Ok((len, rest)) => (len, peeked - rest.len()),
            Err(VarintError::Underflow) => return Err(self.missing(peeked > 0)),
            Err(error) => return Err(Error::from(error).into()),
        };
        if len > max {
            return Err(too_large.into());
        }
        let len = len as usize;
        if available - prefix_len < len {
            return Err(self.missing(available > prefix_len));
        }
        self.skip(prefix_len as u64);
        self.take(len)
    }

    fn take(&mut self, len: usize) -> Result<Bytes, Missing> {
        let (available, _) = self.available();
        if available < len {
            return Err(self.missing(available > 0));
        }
        self.consume(len as u64);
        match self.pieces.front_mut() {
            Some(first) if first.len() > len => Ok(first.split_to(len)),
            Some(first) if first.len() == len => Ok(self.pieces.pop_front().unwrap_or_default()),
            _ => Ok(self.gather(len)),
        }
    }

    fn gather(&mut self, len: usize) -> Bytes {
        let mut gathered = Buffer::with_room(len);
        while gathered.len() < len {
            let Some(mut piece) = self.pieces.pop_front() else { break };
            let wanted = len - gathered.len();
            if piece.len() > wanted {
                let rest = piece.split_off(wanted);
                self.pieces.push_front(rest);
            }
            gathered.extend_from_slice(&piece);
        }
        gathered.freeze()
    }

    /// Drops up to `len` bytes; returns how many.
    fn skip(&mut self, len: u64) -> u64 {
        let (available, _) = self.available();
        let len = len.min(available as u64);
        self.consume(len);
        let mut left = len as usize;
        while let Some(first) = self.pieces.front_mut().filter(|_| left > 0) {
            if first.len() > left {
                drop(first.split_to(left));
                left = 0;
            } else {
                left -= first.len();
                self.pieces.pop_front();
            }
        }
        len
    }

    fn consume(&mut self, len: u64) {
        self.len -= len as usize;
        if let Some(window) = &mut self.window {
            *window -= len;
        }
    }
}

#[cfg(test)]
mod tests;
