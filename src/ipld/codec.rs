//! Multicodecs: the table of numbers and names, and the content types that are used by number.
//!
//! Pure. The table (`multicodecs.txt`: hexadecimal code, name, and whether it is tagged `ipld`)
//! is the public one of multiformats, at the version of go-multicodec 0.10.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::quote::quote;

/// CBOR without tags.
pub const CBOR: u64 = 0x51;
/// Bytes.
pub const RAW: u64 = 0x55;
/// MerkleDAG protobuf.
pub const DAG_PB: u64 = 0x70;
/// MerkleDAG CBOR.
pub const DAG_CBOR: u64 = 0x71;
/// A libp2p public key.
pub const LIBP2P_KEY: u64 = 0x72;
/// A raw Git object.
pub const GIT_RAW: u64 = 0x78;
/// MerkleDAG JOSE.
pub const DAG_JOSE: u64 = 0x85;
/// MerkleDAG JSON.
pub const DAG_JSON: u64 = 0x0129;
/// JSON without links.
pub const JSON: u64 = 0x0200;
/// A Git object as Git stores it, compressed: Kubo's own number, from the reserved range.
pub const GIT_ZLIB: u64 = RESERVED_START + GIT_RAW;

const RESERVED_START: u64 = 0x30_0000;
const RESERVED_END: u64 = 0x3f_ffff;

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multicodec {
    /// The number.
    pub code: u64,
    /// The name.
    pub name: &'static str,
    /// Whether it is a content type of blocks.
    pub is_ipld: bool,
}

/// A name or number that is not in the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown multicodec: {}", quote(.0))]
pub struct UnknownMulticodec(pub String);

/// The table, by ascending code.
static TABLE: LazyLock<Vec<Multicodec>> = LazyLock::new(|| {
    let lines = include_str!("multicodecs.txt").lines();
    lines.filter_map(parse_line).collect()
});

fn parse_line(line: &'static str) -> Option<Multicodec> {
    let mut fields = line.split(' ');
    let code = u64::from_str_radix(fields.next()?, 16).ok()?;
    Some(Multicodec { code, name: fields.next()?, is_ipld: fields.next().is_some() })
}

/// Every multicodec, by ascending code.
#[must_use]
pub fn all() -> &'static [Multicodec] {
    &TABLE
}

/// The name of a multicodec, if it is in the table.
#[must_use]
pub fn name(code: u64) -> Option<&'static str> {
    let found = TABLE.binary_search_by_key(&code, |entry| entry.code).ok()?;
    TABLE.get(found).map(|entry| entry.name)
}

/// The name of a multicodec, or its number as go-multicodec shows those it does not know.
#[must_use]
pub fn display_name(code: u64) -> Cow<'static, str> {
    name(code).map_or_else(|| Cow::Owned(format!("Code({})", code as i64)), Cow::Borrowed)
}

/// The code of a multicodec given by name, or by number in any notation of Go.
///
/// # Errors
/// When it is not in the table and not reserved for private use.
pub fn parse(text: &str) -> Result<u64, UnknownMulticodec> {
    if let Some(code) = parse_number(text) {
        let is_reserved = (RESERVED_START..=RESERVED_END).contains(&code);
        if is_reserved || name(code).is_some() {
            return Ok(code);
        }
    }
    let found = TABLE.iter().find(|entry| entry.name == text);
    found.map(|entry| entry.code).ok_or_else(|| UnknownMulticodec(text.to_owned()))
}

/// A number as Go's `strconv.ParseUint` reads it with base 0: `85`, `0x55`, `0o125`, `0125`,
/// `0b1010101`, with `_` between digits.
fn parse_number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    // An underscore may stand behind the prefix and between digits, and nowhere else.
    let prefixed = radix != 10;
    let misplaced = (digits.starts_with('_') && !prefixed)
        || digits.ends_with('_')
        || digits.contains("__")
        || digits.starts_with('+');
    if misplaced {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multicodecs_are_found_by_name_and_number() {
        let cases = [
            ("raw", RAW),
            ("dag-pb", DAG_PB),
            ("0x55", RAW),
            ("85", RAW),
            ("0125", RAW),
            ("0b1010101", RAW),
            ("0x5_5", RAW),
            ("0X0129", DAG_JSON),
            ("0x300078", GIT_ZLIB),
            ("sha2-256", 0x12),
            ("identity", 0),
        ];
        for (text, code) in cases {
            assert_eq!(parse(text), Ok(code), "{text}");
        }
        for text in ["", "nope", "RAW", "0x", "99999", "+85", "-1", "8_", "_85", "0x400000"] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("unknown multicodec: \"{text}\""));
        }
        assert_eq!(name(0x90), Some("eth-block"));
        assert_eq!(display_name(0x7fff), "Code(32767)");
    }

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert_eq!(all().len(), 603);
        assert!(all().is_sorted_by(|a, b| a.code < b.code));
        assert_eq!(all().iter().filter(|entry| entry.is_ipld).count(), 44);
    }
}
