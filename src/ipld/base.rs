//! Multibase: bytes as text, with a first character that says how.
//!
//! Pure. The bases, what each decoder forgives, and the error texts are go-multibase's.

mod radix;
mod rfc4648;

use std::sync::LazyLock;

pub use multibase::Base;

use super::quote::{describe_char, quote};

/// The bases that go-multibase knows, with their names, in the order in which Kubo lists them.
const BASES: [(Base, &str); 21] = [
    (Base::Identity, "identity"),
    (Base::Base2, "base2"),
    (Base::Base32Lower, "base32"),
    (Base::Base32Upper, "base32upper"),
    (Base::Base32PadLower, "base32pad"),
    (Base::Base32PadUpper, "base32padupper"),
    (Base::Base16Lower, "base16"),
    (Base::Base16Upper, "base16upper"),
    (Base::Base36Lower, "base36"),
    (Base::Base36Upper, "base36upper"),
    (Base::Base64, "base64"),
    (Base::Base64Pad, "base64pad"),
    (Base::Base32HexPadLower, "base32hexpad"),
    (Base::Base32HexPadUpper, "base32hexpadupper"),
    (Base::Base64Url, "base64url"),
    (Base::Base64UrlPad, "base64urlpad"),
    (Base::Base32HexLower, "base32hex"),
    (Base::Base32HexUpper, "base32hexupper"),
    (Base::Base58Btc, "base58btc"),
    (Base::Base58Flickr, "base58flickr"),
    (Base::Base256Emoji, "base256emoji"),
];

/// Why there is no such base, or why text is not in its base. The texts are those of Go's decoders.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// An empty name.
    #[error("empty multibase encoding")]
    EmptyName,
    /// No base of this name.
    #[error("unsupported multibase encoding: {0}")]
    UnknownName(String),
    /// No text at all.
    #[error("cannot decode multibase for zero length string")]
    Empty,
    /// No base with this first character.
    #[error("selected encoding not supported")]
    Unsupported,
    /// The text breaks the rules of its base.
    #[error("{0}")]
    Corrupt(String),
}

/// The bases with their names, in the order in which Kubo lists them.
pub fn all() -> impl Iterator<Item = (Base, &'static str)> {
    BASES.into_iter()
}

/// The name of a base; empty for those that go-multibase does not know.
#[must_use]
pub fn name(base: Base) -> &'static str {
    BASES.iter().find(|(known, _)| *known == base).map_or("", |(_, name)| name)
}

/// The base with this name, or with this first character.
///
/// # Errors
/// When there is none.
pub fn by_name(text: &str) -> Result<Base, BaseError> {
    let mut chars = text.chars();
    let found = match (chars.next(), chars.next()) {
        (None, _) => return Err(BaseError::EmptyName),
        (Some(code), None) => by_code(code),
        _ => BASES.iter().find(|(_, name)| *name == text).map(|(base, _)| *base),
    };
    found.ok_or_else(|| BaseError::UnknownName(text.to_owned()))
}

/// The base with this first character.
#[must_use]
pub fn by_code(code: char) -> Option<Base> {
    BASES.iter().find(|(base, _)| base.code() == code).map(|(base, _)| *base)
}

/// `bytes` as text in `base`, its first character included. The identity base gives no UTF-8.
#[must_use]
pub fn encode(base: Base, bytes: &[u8]) -> Vec<u8> {
    if base == Base::Identity {
        return [&[0], bytes].concat();
    }
    let mut text = String::new();
    text.push(base.code());
    match base {
        Base::Base36Lower => radix::encode(radix::BASE36_LOWER, bytes, &mut text),
        Base::Base36Upper => radix::encode(radix::BASE36_UPPER, bytes, &mut text),
        Base::Base58Btc => radix::encode(radix::BASE58_BTC, bytes, &mut text),
        Base::Base58Flickr => radix::encode(radix::BASE58_FLICKR, bytes, &mut text),
        _ => text.push_str(&base.encode(bytes)),
    }
    text.into_bytes()
}

/// Base58btc without its first character, as CIDv0 and peer IDs are written.
#[must_use]
pub fn encode_base58(bytes: &[u8]) -> String {
    let mut text = String::new();
    radix::encode(radix::BASE58_BTC, bytes, &mut text);
    text
}

/// Decodes base58btc without a first character.
///
/// # Errors
/// When it is none.
pub fn decode_base58(text: &[u8]) -> Result<Vec<u8>, BaseError> {
    radix::decode_base58(radix::BASE58_BTC, text)
}

/// Decodes text that begins with the character of its base.
///
/// # Errors
/// With go-multibase's text, when it is none.
pub fn decode(text: &[u8]) -> Result<(Base, Vec<u8>), BaseError> {
    let first = first_char(text).ok_or(BaseError::Empty)?;
    let base = by_code(first).ok_or(BaseError::Unsupported)?;
    let rest = text.get(first.len_utf8()..).unwrap_or_default();
    let bytes = match base {
        Base::Identity => rest.to_vec(),
        Base::Base2 => decode_base2(rest)?,
        Base::Base16Lower | Base::Base16Upper => decode_base16(rest)?,
        Base::Base32Lower | Base::Base32Upper => rfc4648::decode32(&rfc4648::STD32, false, rest)?,
        Base::Base32PadLower | Base::Base32PadUpper => {
            rfc4648::decode32(&rfc4648::STD32, true, rest)?
        }
        Base::Base32HexLower | Base::Base32HexUpper => {
            rfc4648::decode32(&rfc4648::HEX32, false, rest)?
        }
        Base::Base32HexPadLower | Base::Base32HexPadUpper => {
            rfc4648::decode32(&rfc4648::HEX32, true, rest)?
        }
        Base::Base36Lower | Base::Base36Upper => radix::decode_base36(rest)?,
        Base::Base58Btc => radix::decode_base58(radix::BASE58_BTC, rest)?,
        Base::Base58Flickr => radix::decode_base58(radix::BASE58_FLICKR, rest)?,
        Base::Base64 => decode_base64(rest, false)?,
        Base::Base64Pad => decode_base64(rest, true)?,
        Base::Base64Url => rfc4648::decode64(&rfc4648::URL64, false, rest)?,
        Base::Base64UrlPad => rfc4648::decode64(&rfc4648::URL64, true, rest)?,
        Base::Base256Emoji => decode_emoji(rest)?,
        _ => return Err(BaseError::Unsupported),
    };
    Ok((base, bytes))
}

/// Decodes standard base64 as Go's `encoding/base64` does, `padded` or not.
///
/// # Errors
/// With Go's text, when it is none.
pub fn decode_base64(text: &[u8], padded: bool) -> Result<Vec<u8>, BaseError> {
    rfc4648::decode64(&rfc4648::STD64, padded, text)
}

/// Decodes base64url without padding as Go's `encoding/base64` does.
///
/// # Errors
/// With Go's text, when it is none.
pub fn decode_base64url(text: &[u8]) -> Result<Vec<u8>, BaseError> {
    rfc4648::decode64(&rfc4648::URL64, false, text)
}

/// The first character; U+FFFD where the bytes are no UTF-8, as Go reads them.
fn first_char(text: &[u8]) -> Option<char> {
    let chunk = text.utf8_chunks().next()?;
    Some(chunk.valid().chars().next().unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn decode_base2(digits: &[u8]) -> Result<Vec<u8>, BaseError> {
    // The first byte may be short; Go fills it with zeros, which then show in the error text.
    let short = digits.len() % 8;
    let mut padded = vec![b'0'; (8 - short) % 8];
    padded.extend_from_slice(digits);
    padded.chunks(8).map(decode_bits).collect()
}

/// Eight bits, or seven behind a sign, since Go parses each group as a number.
fn decode_bits(group: &[u8]) -> Result<u8, BaseError> {
    let (negative, bits) = match group {
        [b'-', bits @ ..] => (true, bits),
        [b'+', bits @ ..] => (false, bits),
        bits => (false, bits),
    };
    let value = bits.iter().try_fold(0_u8, |value, bit| match bit {
        b'0' | b'1' => Some((value << 1) | (bit - b'0')),
        _ => None,
    });
    let value = value.ok_or_else(|| {
        let group = quote(group);
        let text =
            format!("error while conversion: strconv.ParseInt: parsing {group}: invalid syntax");
        BaseError::Corrupt(text)
    })?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

pub(super) fn decode_base16(digits: &[u8]) -> Result<Vec<u8>, BaseError> {
    let value = |digit: u8| {
        let value = char::from(digit).to_digit(16);
        value.map(|value| value as u8).ok_or_else(|| {
            let digit = describe_char(char::from(digit));
            BaseError::Corrupt(format!("encoding/hex: invalid byte: {digit}"))
        })
    };
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    for pair in digits.chunks(2) {
        match pair {
            [high, low] => bytes.push((value(*high)? << 4) | value(*low)?),
            [single] => {
                value(*single)?;
                return Err(BaseError::Corrupt("encoding/hex: odd length hex string".to_owned()));
            }
            _ => {}
        }
    }
    Ok(bytes)
}

/// The characters of base256emoji, sorted, each with its byte.
static EMOJI: LazyLock<Vec<(char, u8)>> = LazyLock::new(|| {
    let chars = (0..=u8::MAX)
        .filter_map(|byte| Some((Base::Base256Emoji.encode([byte]).chars().next()?, byte)));
    let mut table: Vec<(char, u8)> = chars.collect();
    table.sort_unstable();
    table
});

fn decode_emoji(text: &[u8]) -> Result<Vec<u8>, BaseError> {
    let mut bytes = Vec::new();
    let mut at = 0;
    let corrupt = |at: usize, c: char| {
        let text = format!("illegal base256emoji data at input byte {at}, char: '{c}'");
        Err(BaseError::Corrupt(text))
    };
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match EMOJI.binary_search_by_key(&c, |(own, _)| *own) {
                Ok(found) => bytes.extend(EMOJI.get(found).map(|(_, byte)| *byte)),
                Err(_) => return corrupt(at, c),
            }
            at += c.len_utf8();
        }
        if !chunk.invalid().is_empty() {
            return corrupt(at, char::REPLACEMENT_CHARACTER);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
