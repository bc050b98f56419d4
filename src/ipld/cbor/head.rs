//! Reading CBOR item by item: what is a scalar, how long a string, list or map is.

use std::borrow::Cow;

use super::super::DecodeError;
use super::super::build::Event;

/// Longer text or bytes are refused before anything is read.
const STRING_LEN_MAX: u64 = 32 << 20;

/// A data item without its content.
#[derive(Debug)]
pub(crate) enum Head<'a> {
    Scalar(Event<'a>),
    Bytes { bytes: &'a [u8], tag: Option<u64> },
    List(u64),
    Map(u64),
}

impl Head<'_> {
    /// The name of the token, in refmt's words.
    pub(crate) fn token(&self) -> &'static str {
        match self {
            Self::Scalar(Event::Null) => "null",
            Self::Scalar(Event::Bool(_)) => "bool",
            Self::Scalar(Event::Int(value)) if *value < 0 => "int",
            Self::Scalar(Event::Int(_)) => "uint",
            Self::Scalar(Event::Float(_)) => "float",
            Self::Scalar(_) => "string",
            Self::Bytes { .. } => "bytes",
            Self::List(_) => "array open",
            Self::Map(_) => "map open",
        }
    }
}

/// Reads items one after the other.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Whether numbers must be as short as they can be.
    strict: bool,
    /// The tag of the last item.
    tag: Option<u64>,
}

impl<'a> Reader<'a> {
    /// Reads dag-cbor, which has one form for each number.
    pub(crate) fn strict(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, strict: true, tag: None }
    }

    /// Reads CBOR that may have been written by anyone.
    pub(crate) fn relaxed(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, strict: false, tag: None }
    }

    /// The tag that stood before the last item.
    pub(crate) fn tag(&self) -> Option<u64> {
        self.tag
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next item; `None` unless a tag was read before it.
    pub(crate) fn head(&mut self, tag: Option<u64>) -> Result<Head<'a>, DecodeError> {
        self.tag = tag;
        let first = self.byte()?;
        let scalar = |event| Ok(Head::Scalar(event));
        match first {
            0xf4 | 0xf5 => scalar(Event::Bool(first == 0xf5)),
            0xf6 | 0xf7 => scalar(Event::Null),
            0xf9..=0xfb => scalar(Event::Float(self.float(first)?)),
            0x5f | 0x7f | 0x9f | 0xbf => {
                Err(DecodeError::new("cbor: indefinite-length encoding rejected"))
            }
            0x00..=0x1f => scalar(Event::Int(self.argument(first)?.into())),
            0x20..=0x3f => scalar(Event::Int(self.negative(first)?)),
            0x40..=0x5e => Ok(Head::Bytes { bytes: self.string(first, "byte")?, tag }),
            0x60..=0x7e => scalar(Event::String(Cow::Borrowed(self.string(first, "string")?))),
            0x80..=0x9e => Ok(Head::List(self.len(first)?)),
            0xa0..=0xbe => Ok(Head::Map(self.len(first)?)),
            0xc0..=0xdf if tag.is_some() => {
                Err(DecodeError::new("unsupported multiple tags on a single data item"))
            }
            0xc0..=0xdf => {
                let tag = self.len(first)?;
                self.head(Some(tag))
            }
            _ => Err(DecodeError::new(format!("invalid majorByte: {first:#x}"))),
        }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or_else(DecodeError::eof)?;
        self.rest = rest;
        Ok(*first)
    }

    /// The next `len` bytes. refmt reads long strings in pieces of 4 KiB, which shows in how it
    /// reports an early end.
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        const PIECE: usize = 4096;
        const SHORT: usize = 32;
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            let left = self.rest.len();
            let at_end = left == 0 || (len >= SHORT && left.is_multiple_of(PIECE));
            let error = if at_end { DecodeError::eof() } else { DecodeError::unexpected_eof() };
            return Err(error);
        };
        self.rest = rest;
        Ok(taken)
    }

    fn be(&mut self, len: usize) -> Result<u64, DecodeError> {
        let bytes = self.take(len)?;
        Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// The number that the first byte holds or announces.
    fn argument(&mut self, first: u8) -> Result<u64, DecodeError> {
        let (value, least) = match first & 0x1f {
            packed @ 0..=0x17 => (packed.into(), 0),
            0x18 => (self.byte()?.into(), 0x18),
            0x19 => (self.be(2)?, 0x100),
            0x1a => (self.be(4)?, 0x1_0000),
            0x1b => (self.be(8)?, 0x1_0000_0000),
            _ => {
                let text = format!("decodeUint: Invalid descriptor: {first}");
                return Err(DecodeError::new(text));
            }
        };
        if self.strict && value < least {
            return Err(DecodeError::new("cbor: integer not minimally encoded"));
        }
        Ok(value)
    }

    fn negative(&mut self, first: u8) -> Result<i128, DecodeError> {
        // refmt adds one in 64 bits: the lowest number wraps around to zero.
        let magnitude = self.argument(first)?.wrapping_add(1);
        if magnitude > 1 << 63 {
            return Err(DecodeError::new("cbor: negative integer out of rage of int64 type"));
        }
        Ok(-i128::from(magnitude))
    }

    fn len(&mut self, first: u8) -> Result<u64, DecodeError> {
        let len = self.argument(first)?;
        if len > i64::MAX as u64 {
            return Err(DecodeError::new("cbor: positive integer is out of length"));
        }
        Ok(len)
    }

    fn string(&mut self, first: u8, what: &str) -> Result<&'a [u8], DecodeError> {
        let len = self.len(first)?;
        if len > STRING_LEN_MAX {
            return Err(DecodeError::new(format!(
                "cbor: decoding rejected oversized {what} field: {len} is too large"
            )));
        }
        self.take(len as usize)
    }

    fn float(&mut self, first: u8) -> Result<f64, DecodeError> {
        let value = match first {
            0xf9 => f64::from(f32::from_bits(half_to_single(self.be(2)? as u32))),
            0xfa => f64::from(f32::from_bits(self.be(4)? as u32)),
            _ => f64::from_bits(self.be(8)?),
        };
        if value.is_nan() {
            return Err(DecodeError::new("cbor: NaN float value rejected"));
        }
        if value.is_infinite() {
            return Err(DecodeError::new("cbor: infinite float value rejected"));
        }
        Ok(value)
    }
}

/// The bits of a single-precision float of the same value as half-precision bits.
fn half_to_single(half: u32) -> u32 {
    let sign = (half >> 15) << 31;
    let exponent = (half >> 10) & 0x1f;
    let mantissa = half & 0x3ff;
    match (exponent, mantissa) {
        (0, 0) => sign,
        (0, _) => {
            // Subnormal: shift until the leading one is where single precision implies it.
            let shift = mantissa.leading_zeros() - 21;
            let exponent = 127 - 14 - shift;
            sign | (exponent << 23) | (((mantissa << shift) & 0x3ff) << 13)
        }
        (0x1f, _) => sign | 0x7f80_0000 | (mantissa << 13),
        _ => sign | ((exponent + 127 - 15) << 23) | (mantissa << 13),
    }
}
