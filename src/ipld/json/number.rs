//! Numbers of JSON, read as Go's `strconv` reads them.

use super::super::DecodeError;
use super::super::quote::quote;
use super::Token;

/// The longest beginning of `text` that refmt takes for one number. It may still be none: `-`,
/// or `1e`.
pub(super) fn scan(text: &[u8]) -> &[u8] {
    let mut at = usize::from(text.first() == Some(&b'-'));
    let next_is = |at: usize, set: &[u8]| text.get(at).is_some_and(|byte| set.contains(byte));
    let digits = |mut at: usize| {
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let whole = if next_is(at, b"0") { at + 1 } else { digits(at) };
    let found_digits = whole > at;
    at = whole;
    let mut go_on = found_digits;
    if go_on && next_is(at, b".") {
        let fraction = digits(at + 1);
        go_on = fraction > at + 1;
        at = fraction;
    }
    if go_on && next_is(at, b"eE") {
        at += 1;
        at += usize::from(next_is(at, b"+-"));
        at = digits(at);
    }
    text.get(..at).unwrap_or_default()
}

/// An integer where it is one, else a float.
pub(super) fn parse(digits: &[u8]) -> Result<Token<'static>, DecodeError> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let failed = |function: &str, reason: &str| {
        let text = quote(digits);
        Err(DecodeError::new(format!("strconv.{function}: parsing {text}: {reason}")))
    };
    let is_whole = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
    match text.parse::<i64>() {
        Ok(value) => return Ok(Token::Int(value)),
        Err(_) if is_whole && digits != b"-" => return failed("ParseInt", "value out of range"),
        Err(_) => {}
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Token::Float(value)),
        Ok(_) => failed("ParseFloat", "value out of range"),
        Err(_) => failed("ParseFloat", "invalid syntax"),
    }
}
