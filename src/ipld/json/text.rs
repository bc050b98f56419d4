//! Strings of JSON.

use std::borrow::Cow;

use super::super::DecodeError;

/// The string at the beginning of `text`, which starts behind the opening quote, and how many
/// bytes it takes with its closing quote.
pub(super) fn scan(text: &[u8]) -> Result<(Cow<'_, [u8]>, usize), DecodeError> {
    let len = find_end(text)?;
    let raw = text.get(..len).unwrap_or_default();
    let is_plain = memchr::memchr(b'\\', raw).is_none() && std::str::from_utf8(raw).is_ok();
    let string = if is_plain { Cow::Borrowed(raw) } else { Cow::Owned(unescape(raw)) };
    Ok((string, len + 1))
}

/// Where the closing quote is; checks escapes and refuses control characters on the way.
fn find_end(text: &[u8]) -> Result<usize, DecodeError> {
    let mut bytes = text.iter().copied().enumerate();
    let refuse = |what: &str, byte: u8| Err(DecodeError::new(format!("invalid {what}: {byte:#x}")));
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok(at),
            0..0x20 => return refuse("unprintable byte in string literal", byte),
            b'\\' => match bytes.next() {
                None => return Err(DecodeError::eof()),
                Some((_, b'u')) => {
                    for _ in 0..4 {
                        match bytes.next() {
                            None => return Err(DecodeError::eof()),
                            Some((_, digit)) if digit.is_ascii_hexdigit() => {}
                            Some((_, other)) => {
                                return refuse("byte in \\u hexadecimal character escape", other);
                            }
                        }
                    }
                }
                Some((_, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"')) => {}
                Some((_, other)) => return refuse("byte in string escape sequence", other),
            },
            _ => {}
        }
    }
    Err(DecodeError::eof())
}

/// Replaces escapes by what they stand for, and what is no UTF-8 by U+FFFD, byte for byte.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        push_utf8(before, &mut out);
        rest = push_escape(escape, &mut out);
    }
    push_utf8(rest, &mut out);
    out.into_bytes()
}

fn push_utf8(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

/// Pushes what the escape at the beginning of `text` stands for; returns what follows it.
fn push_escape<'a>(text: &'a [u8], out: &mut String) -> &'a [u8] {
    let (c, len) = match text.get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => unicode_escape(text),
        Some(other) => (char::from(*other), 2),
        None => (char::REPLACEMENT_CHARACTER, 1),
    };
    out.push(c);
    text.get(len..).unwrap_or_default()
}

/// A `\uXXXX`, or two that are a surrogate pair; one half of a pair becomes U+FFFD.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let first = code_unit(text).unwrap_or(0xfffd);
    if let Some(c) = char::from_u32(first.into()) {
        return (c, 6);
    }
    let second = text.get(6..).and_then(code_unit);
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    pair.map_or((char::REPLACEMENT_CHARACTER, 6), |c| (c, 12))
}

fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
