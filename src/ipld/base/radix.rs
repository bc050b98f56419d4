//! Bases that are no power of two: the bytes are one long number, each leading zero byte one
//! leading zero digit.
//!
//! The work grows with the square of the length, here as in every implementation: callers
//! bound what they pass.

use smallvec::SmallVec;

use super::super::quote::quote_char;
use super::BaseError;

/// An alphabet: the digits by value.
pub(super) type Alphabet = &'static [u8];

pub(super) const BASE36_LOWER: Alphabet = b"0123456789abcdefghijklmnopqrstuvwxyz";
pub(super) const BASE36_UPPER: Alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub(super) const BASE58_BTC: Alphabet =
    b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
pub(super) const BASE58_FLICKR: Alphabet =
    b"123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";

/// Digits decoded at once: 58^10 and 36^10 fit in 64 bits.
const CHUNK_DIGITS: usize = 10;

/// Digits encoded at once: 58^5 and 36^5 fit in 32 bits.
const HALF_CHUNK_DIGITS: u32 = 5;

/// Appends the digits of `bytes` to `out`.
pub(super) fn encode(alphabet: Alphabet, bytes: &[u8], out: &mut String) {
    // The base is a constant to the compiler, which then needs no division.
    let digits = match alphabet.len() {
        36 => digits_of::<36>(bytes),
        _ => digits_of::<58>(bytes),
    };
    let digit = |value: u8| alphabet.get(usize::from(value)).copied().map_or('?', char::from);
    out.extend(digits.into_iter().rev().map(digit));
}

/// The digits by value, least significant first.
fn digits_of<const BASE: u64>(bytes: &[u8]) -> SmallVec<[u8; 96]> {
    let chunk = const { BASE.pow(HALF_CHUNK_DIGITS) };
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let payload = bytes.get(zeros..).unwrap_or_default();
    // The number as 32-bit words, least significant first.
    let word = |chunk: &[u8]| chunk.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte));
    let mut words: SmallVec<[u32; 24]> = payload.rchunks(4).map(word).collect();
    let mut digits = SmallVec::new();
    while !words.is_empty() {
        let mut remainder = 0_u64;
        for word in words.iter_mut().rev() {
            let value = (remainder << 32) | u64::from(*word);
            *word = (value / chunk) as u32;
            remainder = value % chunk;
        }
        while words.last() == Some(&0) {
            words.pop();
        }
        for _ in 0..HALF_CHUNK_DIGITS {
            if words.is_empty() && remainder == 0 {
                break;
            }
            digits.push((remainder % BASE) as u8);
            remainder /= BASE;
        }
    }
    digits.resize(digits.len() + zeros, 0);
    digits
}

/// The bytes of digits given by value, most significant first.
fn decode(base: u64, digits: &[u8]) -> Vec<u8> {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let payload = digits.get(zeros..).unwrap_or_default();
    let mut words: Vec<u64> = Vec::with_capacity(payload.len() * 6 / 64 + 1);
    let first = payload.len() % CHUNK_DIGITS;
    let (head, tail) = payload.split_at(first);
    for chunk in std::iter::once(head).chain(tail.chunks(CHUNK_DIGITS)) {
        let factor = u128::from(base.pow(chunk.len() as u32));
        let mut carry = chunk.iter().fold(0, |sum, digit| sum * base + u64::from(*digit));
        for word in &mut words {
            let value = u128::from(*word) * factor + u128::from(carry);
            *word = value as u64;
            carry = (value >> 64) as u64;
        }
        if carry > 0 {
            words.push(carry);
        }
    }
    let mut bytes = vec![0; zeros];
    let number = words.iter().rev().flat_map(|word| word.to_be_bytes());
    bytes.extend(number.skip_while(|byte| *byte == 0));
    bytes
}

pub(super) fn decode_base58(alphabet: Alphabet, text: &[u8]) -> Result<Vec<u8>, BaseError> {
    if text.is_empty() {
        return Err(BaseError::Corrupt("zero length string".to_owned()));
    }
    let digit = |c: &u8| {
        if !c.is_ascii() {
            return Err(BaseError::Corrupt("high-bit set on invalid digit".to_owned()));
        }
        value_of(alphabet, *c).ok_or_else(|| {
            let digit = quote_char(char::from(*c));
            BaseError::Corrupt(format!("invalid base58 digit ({digit})"))
        })
    };
    let digits: Vec<u8> = text.iter().map(digit).collect::<Result<_, _>>()?;
    Ok(decode(58, &digits))
}

pub(super) fn decode_base36(text: &[u8]) -> Result<Vec<u8>, BaseError> {
    if text.is_empty() {
        return Err(BaseError::Corrupt("can not decode zero-length string".to_owned()));
    }
    let mut digits = Vec::with_capacity(text.len());
    for (index, byte) in text.iter().enumerate() {
        let Some(digit) = value_of(BASE36_LOWER, byte.to_ascii_lowercase()) else {
            let rest = text.get(index..).unwrap_or_default();
            let c = super::first_char(rest).unwrap_or(char::REPLACEMENT_CHARACTER);
            let text = format!("invalid base36 character ({})", quote_char(c));
            return Err(BaseError::Corrupt(text));
        };
        digits.push(digit);
    }
    Ok(decode(36, &digits))
}

fn value_of(alphabet: Alphabet, digit: u8) -> Option<u8> {
    memchr::memchr(digit, alphabet).map(|value| value as u8)
}
