//! The little DER that private keys are made of.
//!
//! Pure. Reads definite lengths of one item after the other, with the texts of Go's
//! `encoding/asn1` where an item is not what it should be; writes canonical DER.

use super::KeyError;

/// Tags of the items, as the first byte of each.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// The items of an `ECPrivateKey` that are optional.
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1: u8 = 0xa1;

/// The items of a sequence.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// How many bytes of the sequence are read, for error texts.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The tag of the next item.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// The content of the next item, which Go decodes into a `type_name`.
    pub(super) fn item(&mut self, tag: u8, type_name: &str) -> Result<&'a [u8], KeyError> {
        let truncated = || KeyError::Der("asn1: syntax error: data truncated".to_owned());
        let missing = || KeyError::Der("asn1: syntax error: sequence truncated".to_owned());
        let (&found, rest) = self.bytes.split_first().ok_or_else(missing)?;
        let (&first, mut rest) = rest.split_first().ok_or_else(truncated)?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                let text = "asn1: syntax error: indefinite length found (not DER)";
                return Err(KeyError::Der(text.to_owned()));
            }
            let (digits, after) = rest.split_at_checked(count).ok_or_else(truncated)?;
            length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            rest = after;
        }
        let header = self.bytes.len() - rest.len();
        if found != tag {
            return Err(KeyError::Der(format!(
                "asn1: structure error: tags don't match ({} vs {{class:{} tag:{} \
                 length:{length} isCompound:{}}}) {{optional:false explicit:false \
                 application:false private:false defaultValue:<nil> tag:<nil> stringType:0 \
                 timeType:0 set:false omitEmpty:false}} {type_name} @{}",
                tag & 0x1f,
                found >> 6,
                found & 0x1f,
                found & 0x20 != 0,
                self.at + header,
            )));
        }
        let (content, rest) = rest.split_at_checked(length).ok_or_else(truncated)?;
        self.at += header + length;
        self.bytes = rest;
        Ok(content)
    }
}

/// One item.
pub(super) fn item(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ 0..0x80) => out.push(length),
        _ => {
            let digits = content.len().to_be_bytes();
            let skip = digits.iter().take_while(|digit| **digit == 0).count();
            let digits = digits.get(skip..).unwrap_or_default();
            out.push(0x80 | digits.len() as u8);
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A sequence of items.
pub(super) fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
    item(SEQUENCE, &items.concat())
}
