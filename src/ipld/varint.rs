//! Unsigned varints as multiformats define them: minimal, at most 63 bits in nine bytes.
//!
//! Pure. Not for protobuf, whose varints hold 64 bits and may be longer than needed.

/// The longest varint, in bytes.
pub const LEN_MAX: usize = 9;

/// Why bytes do not begin with a varint. The texts are go-varint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    /// More than 63 bits.
    #[error("varints larger than uint63 not supported")]
    Overflow,
    /// The bytes end before the varint does.
    #[error("varints malformed, could not reach the end")]
    Underflow,
    /// The last byte is zero: a shorter form exists.
    #[error("varint not minimally encoded")]
    NotMinimal,
}

/// Reads the varint that `bytes` begin with; also returns what follows it.
///
/// # Errors
/// When they do not begin with one.
pub fn read(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().enumerate() {
        if index >= LEN_MAX || (index == LEN_MAX - 1 && byte >= 0x80) {
            return Err(VarintError::Overflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            if byte == 0 && index > 0 {
                return Err(VarintError::NotMinimal);
            }
            return Ok((value, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    Err(VarintError::Underflow)
}

/// Calls `sink` with each byte of the varint of `value`.
pub fn write(mut value: u64, mut sink: impl FnMut(u8)) {
    while value >= 0x80 {
        sink((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    sink(value as u8);
}

/// Appends the varint of `value` to `out`.
pub fn append(value: u64, out: &mut Vec<u8>) {
    write(value, |byte| out.push(byte));
}

/// Length of the varint of `value`, in bytes.
#[must_use]
pub fn len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_back_as_written() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), (1 << 63) - 1] {
            let mut bytes = Vec::new();
            append(value, &mut bytes);
            assert_eq!(bytes.len(), len(value), "{value}");
            bytes.push(7);
            assert_eq!(read(&bytes), Ok((value, &[7_u8][..])));
        }
    }

    #[test]
    fn malformed_varints_are_refused() {
        let cases: [(&[u8], VarintError); 5] = [
            (&[], VarintError::Underflow),
            (&[0x80], VarintError::Underflow),
            (&[0x81, 0x00], VarintError::NotMinimal),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], VarintError::Overflow),
            (&[0x80; 12], VarintError::Overflow),
        ];
        for (bytes, error) in cases {
            assert_eq!(read(bytes), Err(error), "{bytes:?}");
        }
    }
}
