//! Protobuf messages: the fields of one in order, and the few shapes that are written.
//!
//! Pure. Messages whose bytes are signed or hashed are written by hand, field by field. Groups are
//! refused: nothing writes them, and nesting them is only ever an attack.

use unsigned_varint::encode;

/// Bytes that are no message. The text is that of Go's decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("proto: cannot parse invalid wire-format data")]
pub struct Malformed;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Varint(u64),
    /// Bytes, text, or a message.
    Bytes(&'a [u8]),
    /// Four bytes, as the number they are.
    Fixed32(u32),
    /// Of a wire type that no field here has.
    Other,
}

/// The fields of a message, in the order in which they come.
#[derive(Debug, Clone)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field: its number and value; `None` at the end.
    ///
    /// # Errors
    /// When the bytes go on as no field.
    pub fn next_field(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (tag, rest) = read_varint(self.0)?;
        let number = tag >> 3;
        if number == 0 || number > 0x1fff_ffff {
            return Err(Malformed);
        }
        let (value, rest) = match tag & 7 {
            0 => {
                let (value, rest) = read_varint(rest)?;
                (Value::Varint(value), rest)
            }
            1 => (Value::Other, rest.get(8..).ok_or(Malformed)?),
            2 => {
                let (len, rest) = read_varint(rest)?;
                let len = usize::try_from(len).map_err(|_| Malformed)?;
                let (value, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
                (Value::Bytes(value), rest)
            }
            5 => {
                let (value, rest) = rest.split_first_chunk().ok_or(Malformed)?;
                (Value::Fixed32(u32::from_le_bytes(*value)), rest)
            }
            _ => return Err(Malformed),
        };
        self.0 = rest;
        Ok(Some((number, value)))
    }
}

/// The varint that `bytes` begin with, minimal or not, as protobuf readers take it; also returns
/// what follows it.
///
/// # Errors
/// When it does not end, or holds more than 64 bits.
pub fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let low = u64::from(byte & 0x7f);
        if at == 9 && low > 1 {
            return Err(Malformed);
        }
        value |= low << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(at + 1..).unwrap_or_default()));
        }
    }
    Err(Malformed)
}

/// Appends a field that is a number.
pub fn append_number(number: u64, value: u64, out: &mut Vec<u8>) {
    append_varint(number << 3, out);
    append_varint(value, out);
}

/// Appends a field that is bytes, text, or a message.
pub fn append_bytes(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    append_varint(number << 3 | 2, out);
    append_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn append_varint(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(encode::u64(value, &mut encode::u64_buffer()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_back_as_written() {
        let mut message = Vec::new();
        append_number(1, u64::MAX, &mut message);
        append_bytes(300, b"abc", &mut message);
        let mut fields = Fields::new(&message);
        assert_eq!(fields.next_field(), Ok(Some((1, Value::Varint(u64::MAX)))));
        assert_eq!(fields.next_field(), Ok(Some((300, Value::Bytes(b"abc")))));
        assert_eq!(fields.next_field(), Ok(None));
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for bytes in [&[0x00, 0][..], &[0x0b], &[0x0a, 5, 1], &[0x09, 1], &[0x0d, 1], &[0x80; 11]] {
            assert_eq!(Fields::new(bytes).next_field(), Err(Malformed), "{bytes:?}");
        }
    }
}
