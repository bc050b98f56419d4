//! Canonical CBOR of records and messages: one encoding for each value, and a reader that takes no
//! other.
//!
//! Pure. Definite lengths, shortest integers, integer keys in ascending order, text keys by length
//! and then by bytes; no floats, no tags, nothing after the end. It is DAG-CBOR but for the integer
//! keys. The reader of [`crate::ipld`] cannot serve: it takes what refmt takes.

use crate::ipld::cbor::append_head;

/// How deep a value may nest, a message's envelope included.
const DEPTH_MAX: u32 = 8;

const UINT: u8 = 0x00;
const NEGATIVE: u8 = 0x20;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
const LIST: u8 = 0x80;
const MAP: u8 = 0xa0;
const SIMPLE: u8 = 0xe0;

/// Why bytes are no record or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Bytes follow the value.
    #[error("bytes follow the value")]
    Trailing,
    /// The value has a shorter or better ordered encoding.
    #[error("not the canonical encoding")]
    NotCanonical,
    /// Another type of value stands where this one must.
    #[error("expected {0}")]
    Expected(&'static str),
    /// Something is longer than its cap.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// Something has the right type and no meaning.
    #[error("{0} is malformed")]
    Malformed(&'static str),
}

/// Reads values one after the other.
#[derive(Debug, Clone)]
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was read since `before`, a clone of this decoder.
    pub(super) fn since(&self, before: &Self) -> &'a [u8] {
        let len = before.rest.len().saturating_sub(self.rest.len());
        before.rest.get(..len).unwrap_or_default()
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn be(&mut self, len: u64) -> Result<u64, DecodeError> {
        Ok(self.take(len)?.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// The major type and the argument of the next value.
    fn head(&mut self) -> Result<(u8, u64), DecodeError> {
        let first = self.be(1)? as u8;
        let (value, least) = match first & 0x1f {
            short @ 0..=0x17 => (u64::from(short), 0),
            0x18 => (self.be(1)?, 0x18),
            0x19 => (self.be(2)?, 0x100),
            0x1a => (self.be(4)?, 0x1_0000),
            0x1b => (self.be(8)?, 0x1_0000_0000),
            _ => return Err(DecodeError::NotCanonical),
        };
        if value < least {
            return Err(DecodeError::NotCanonical);
        }
        Ok((first & 0xe0, value))
    }

    fn argument(&mut self, major: u8, expected: &'static str) -> Result<u64, DecodeError> {
        match self.head()? {
            (found, value) if found == major => Ok(value),
            _ => Err(DecodeError::Expected(expected)),
        }
    }

    pub(super) fn uint(&mut self) -> Result<u64, DecodeError> {
        self.argument(UINT, "an unsigned integer")
    }

    pub(super) fn uint32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.uint()?).map_err(|_| DecodeError::TooLong("a 32-bit integer"))
    }

    /// Bytes, at most `max` of them.
    pub(super) fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.argument(BYTES, "bytes")?;
        if len > max as u64 {
            return Err(DecodeError::TooLong("a byte string"));
        }
        self.take(len)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(|_| DecodeError::Malformed("a byte string of fixed length"))
    }

    /// Text of at most `max` bytes.
    pub(super) fn text(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        let len = self.argument(TEXT, "text")?;
        if len > max as u64 {
            return Err(DecodeError::TooLong("a text"));
        }
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Malformed("a text"))
    }

    /// The length of a list of at most `max` values.
    pub(super) fn list(&mut self, max: usize) -> Result<usize, DecodeError> {
        let len = self.argument(LIST, "a list")?;
        self.count(len, max)
    }

    /// The length of a map of at most `max` entries.
    pub(super) fn map(&mut self, max: usize) -> Result<usize, DecodeError> {
        let len = self.argument(MAP, "a map")?;
        self.count(len, max)
    }

    /// A list of exactly `len` values.
    pub(super) fn tuple(&mut self, len: usize) -> Result<(), DecodeError> {
        if self.list(len)? == len { Ok(()) } else { Err(DecodeError::Expected("a longer list")) }
    }

    /// Reads a list of at most `max` values, each with `read`.
    pub(super) fn many<T>(
        &mut self,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let len = self.list(max)?;
        (0..len).map(|_| read(self)).collect()
    }

    /// Reads a map with integer keys, handing each key to `read`, which reads the value and says
    /// whether it knew the key; what it does not know is skipped.
    pub(super) fn fields(
        &mut self,
        max: usize,
        mut read: impl FnMut(u64, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut last = None;
        for _ in 0..self.map(max)? {
            let key = self.uint()?;
            if last.is_some_and(|last| last >= key) {
                return Err(DecodeError::NotCanonical);
            }
            last = Some(key);
            if !read(key, self)? {
                self.skip()?;
            }
        }
        Ok(())
    }

    fn count(&self, len: u64, max: usize) -> Result<usize, DecodeError> {
        if len > max as u64 {
            return Err(DecodeError::TooLong("a list or map"));
        }
        // Each value is a byte at least: nothing is reserved for what cannot be there.
        if len > self.rest.len() as u64 {
            return Err(DecodeError::Truncated);
        }
        Ok(len as usize)
    }

    /// Skips one value that has no known meaning; returns its bytes.
    pub(super) fn skip(&mut self) -> Result<&'a [u8], DecodeError> {
        let before = self.clone();
        self.skip_to(DEPTH_MAX)?;
        Ok(self.since(&before))
    }

    fn skip_to(&mut self, depth: u32) -> Result<(), DecodeError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(DecodeError::TooLong("a nested value"));
        };
        let before = self.clone();
        match self.head()? {
            (UINT | NEGATIVE, _) | (SIMPLE, 20..=22) => Ok(()),
            (BYTES, len) => self.take(len).map(|_| ()),
            (TEXT, _) => {
                *self = before;
                self.text(usize::MAX).map(|_| ())
            }
            (LIST, len) => (0..self.count(len, usize::MAX)?).try_for_each(|_| self.skip_to(depth)),
            (MAP, len) => {
                let mut last: Option<&[u8]> = None;
                for _ in 0..self.count(len, usize::MAX)? {
                    let before = self.clone();
                    if !matches!(self.head()?, (UINT | TEXT, _)) {
                        return Err(DecodeError::Expected("an integer or text as key"));
                    }
                    *self = before.clone();
                    self.skip_to(1)?;
                    // By length and then by bytes, which is numeric order for integers.
                    let key = self.since(&before);
                    if last.is_some_and(|last| (last.len(), last) >= (key.len(), key)) {
                        return Err(DecodeError::NotCanonical);
                    }
                    last = Some(key);
                    self.skip_to(depth)?;
                }
                Ok(())
            }
            _ => Err(DecodeError::NotCanonical),
        }
    }
}

pub(super) fn uint(value: u64, out: &mut Vec<u8>) {
    append_head(UINT, value, out);
}

pub(super) fn bytes(value: &[u8], out: &mut Vec<u8>) {
    append_head(BYTES, value.len() as u64, out);
    out.extend_from_slice(value);
}

pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    append_head(TEXT, value.len() as u64, out);
    out.extend_from_slice(value.as_bytes());
}

pub(super) fn list(len: usize, out: &mut Vec<u8>) {
    append_head(LIST, len as u64, out);
}

pub(super) fn map(len: usize, out: &mut Vec<u8>) {
    append_head(MAP, len as u64, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<(), DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.skip()?;
        decoder.end()
    }

    #[test]
    fn other_encodings_of_a_value_are_refused() {
        let cases: [(&[u8], DecodeError); 12] = [
            (&[0x18, 0x17], DecodeError::NotCanonical),
            (&[0x19, 0x00, 0xff], DecodeError::NotCanonical),
            (&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], DecodeError::NotCanonical),
            (&[0x5f, 0x41, 0x00, 0xff], DecodeError::NotCanonical),
            (&[0x9f, 0xff], DecodeError::NotCanonical),
            (&[0xf9, 0x3c, 0x00], DecodeError::NotCanonical),
            (&[0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], DecodeError::NotCanonical),
            (&[0xf7], DecodeError::NotCanonical),
            (&[0xc1, 0x00], DecodeError::NotCanonical),
            (&[0xa2, 0x02, 0x00, 0x01, 0x00], DecodeError::NotCanonical),
            (&[0xa2, 0x01, 0x00, 0x01, 0x00], DecodeError::NotCanonical),
            (&[0x00, 0x00], DecodeError::Trailing),
        ];
        for (bytes, error) in cases {
            assert_eq!(read_all(bytes), Err(error), "{bytes:x?}");
        }
        assert_eq!(read_all(&[0x81; 64]), Err(DecodeError::TooLong("a nested value")));
        assert_eq!(read_all(&[0x9a, 0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Truncated));
        assert_eq!(read_all(&[0x61, 0xff]), Err(DecodeError::Malformed("a text")));
    }

    proptest! {
        #[test]
        fn integers_come_back(value: u64) {
            let mut out = Vec::new();
            uint(value, &mut out);
            let mut decoder = Decoder::new(&out);
            prop_assert_eq!(decoder.uint(), Ok(value));
            prop_assert_eq!(decoder.end(), Ok(()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(&bytes);
        }
    }
}
