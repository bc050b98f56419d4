//! Decoders of base32 and base64 that forgive what Go's do: newlines anywhere, stray bits at the
//! end, and for base32 either case; and that refuse the rest with Go's texts.

use super::BaseError;

/// The value of each character, `NONE` where it has none.
pub(super) type Values = [u8; 256];

const NONE: u8 = 0xff;

pub(super) static STD32: Values = values(b"abcdefghijklmnopqrstuvwxyz234567", true);
pub(super) static HEX32: Values = values(b"0123456789abcdefghijklmnopqrstuv", true);
pub(super) static STD64: Values =
    values(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", false);
pub(super) static URL64: Values =
    values(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);

#[expect(clippy::indexing_slicing, reason = "evaluated when compiling")]
const fn values(alphabet: &[u8], any_case: bool) -> Values {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < alphabet.len() {
        let c = alphabet[value];
        table[c as usize] = value as u8;
        if any_case {
            table[c.to_ascii_uppercase() as usize] = value as u8;
        }
        value += 1;
    }
    table
}

fn value_of(values: &Values, c: u8) -> Option<u8> {
    values.get(usize::from(c)).copied().filter(|value| *value != NONE)
}

fn is_newline(c: u8) -> bool {
    matches!(c, b'\r' | b'\n')
}

fn corrupt(base: u8, at: usize) -> BaseError {
    BaseError::Corrupt(format!("illegal base{base} data at input byte {at}"))
}

pub(super) fn decode32(values: &Values, padded: bool, text: &[u8]) -> Result<Vec<u8>, BaseError> {
    let stripped: Vec<u8> = text.iter().copied().filter(|c| !is_newline(*c)).collect();
    let mut bytes = Vec::with_capacity(stripped.len() * 5 / 8);
    for (index, group) in stripped.chunks(8).enumerate() {
        let mut digits = [0_u8; 8];
        let mut len = 0;
        let mut end = false;
        for (digit, (offset, c)) in digits.iter_mut().zip(group.iter().enumerate()) {
            let at = index * 8 + offset;
            if *c == b'=' && padded && offset >= 2 && stripped.len() - at <= 8 {
                check_padding32(&stripped, at, offset)?;
                end = true;
                break;
            }
            *digit = value_of(values, *c).ok_or_else(|| corrupt(32, at))?;
            len += 1;
        }
        if padded && !end && len < 8 {
            return Err(corrupt(32, stripped.len() - len));
        }
        append32(digits, len, &mut bytes);
        if end {
            break;
        }
    }
    Ok(bytes)
}

/// From the first `=`, at `at` and behind `digits` digits of the last group, only `=` may follow,
/// as many as fill the group.
fn check_padding32(text: &[u8], at: usize, digits: usize) -> Result<(), BaseError> {
    let after = text.get(at + 1..).unwrap_or_default();
    if after.len() + digits < 7 {
        return Err(corrupt(32, text.len()));
    }
    let missing = 7 - digits;
    if let Some(wrong) = after.iter().take(missing).position(|c| *c != b'=') {
        return Err(corrupt(32, at + wrong));
    }
    if matches!(digits, 3 | 6) {
        return Err(corrupt(32, at));
    }
    Ok(())
}

/// A group of 1, 3 or 6 digits says nothing whole, and Go drops all of it.
fn append32(digits: [u8; 8], len: usize, bytes: &mut Vec<u8>) {
    let group = digits.iter().fold(0_u64, |group, digit| (group << 5) | u64::from(*digit));
    let whole = match len {
        8 => 5,
        7 => 4,
        5 => 3,
        4 => 2,
        2 => 1,
        _ => 0,
    };
    bytes.extend(group.to_be_bytes().iter().skip(3).take(whole));
}

pub(super) fn decode64(values: &Values, padded: bool, text: &[u8]) -> Result<Vec<u8>, BaseError> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let mut group = 0_u32;
    let mut len = 0;
    for (at, c) in text.iter().enumerate() {
        if let Some(value) = value_of(values, *c) {
            group = (group << 6) | u32::from(value);
            len += 1;
            if len == 4 {
                bytes.extend(group.to_be_bytes().iter().skip(1));
                (group, len) = (0, 0);
            }
        } else if is_newline(*c) {
        } else if *c == b'=' && padded {
            check_padding64(text, at, len)?;
            append64(group, len, &mut bytes);
            return Ok(bytes);
        } else {
            return Err(corrupt(64, at));
        }
    }
    if len == 1 || (padded && len > 0) {
        return Err(corrupt(64, text.len() - len));
    }
    append64(group, len, &mut bytes);
    Ok(bytes)
}

/// From the first `=`, at `at` and behind `digits` digits of the last group, only as many `=` as
/// fill the group may follow, and newlines.
fn check_padding64(text: &[u8], at: usize, digits: usize) -> Result<(), BaseError> {
    let mut rest = text.iter().enumerate().skip(at + 1).filter(|(_, c)| !is_newline(**c));
    match digits {
        0 | 1 => return Err(corrupt(64, at)),
        2 => match rest.next() {
            None => return Err(corrupt(64, text.len())),
            Some((second, c)) if *c != b'=' => return Err(corrupt(64, second - 1)),
            Some(_) => {}
        },
        _ => {}
    }
    rest.next().map_or(Ok(()), |(garbage, _)| Err(corrupt(64, garbage)))
}

fn append64(group: u32, len: usize, bytes: &mut Vec<u8>) {
    match len {
        2 => bytes.push((group >> 4) as u8),
        3 => bytes.extend([(group >> 10) as u8, (group >> 2) as u8]),
        _ => {}
    }
}
