//! The messages of `/pinsync/1.0.0`: `hello`, `update`, `fetch`, `fetchReply`; one file for each.
//!
//! Pure. An envelope is the list `[1, epoch, type, body]`; bodies are maps with integer keys, of
//! which unknown ones are skipped. Every length is capped before anything is read for it.

use super::cbor::{self, DecodeError, Decoder};
use super::clock::Hlc;
use super::hash::Hash;
use super::record::Kind;

mod fetch;
mod hello;
mod json;
mod lists;
mod proof;
mod reply;
mod update;

pub use fetch::{Ask, Fetch};
pub use hello::{ADDRESSES_MAX, Binding, Hello, Status};
pub use proof::Proof;
pub use reply::{Answer, Coverage, Part, Reply};
pub use update::Update;

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

#[cfg(test)]
mod tests;
