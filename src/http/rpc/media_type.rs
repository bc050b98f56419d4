//! Media types and content dispositions as Go's `mime.ParseMediaType` reads them (RFC 2045, 2183,
//! 2231).
//!
//! Pure.

use std::collections::HashMap;

/// A parsed header value: the type in lower case, and its parameters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MediaType {
    /// `multipart/form-data`, or the disposition.
    pub name: String,
    /// By name in lower case.
    pub params: HashMap<String, String>,
}

/// Why a value is no media type. The texts are Go's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeError {
    /// There is nothing.
    #[error("mime: no media type")]
    Missing,
    /// Something follows the first word.
    #[error("mime: unexpected content after media subtype")]
    ContentAfterSubtype,
    /// A slash without a word after it.
    #[error("mime: expected token after slash")]
    NoSubtype,
    /// A word and then no slash.
    #[error("mime: expected slash after first token")]
    NoSlash,
    /// A parameter that cannot be read.
    #[error("mime: invalid media parameter")]
    InvalidParameter,
    /// A parameter with two values.
    #[error("mime: duplicate parameter name")]
    DuplicateParameter,
}

/// Parses a header value. The name is there even when a parameter is not readable: Go says so too.
pub fn parse(value: &str) -> (String, Result<MediaType, MediaTypeError>) {
    let base = value.split(';').next().unwrap_or_default();
    let name = base.to_lowercase().trim().to_owned();
    if let Err(error) = check_name(&name) {
        return (String::new(), Err(error));
    }
    let rest = value.get(base.len()..).unwrap_or_default();
    match params(rest) {
        Ok(params) => (name.clone(), Ok(MediaType { name, params })),
        Err(error @ MediaTypeError::DuplicateParameter) => (String::new(), Err(error)),
        Err(error) => (name, Err(error)),
    }
}

fn check_name(name: &str) -> Result<(), MediaTypeError> {
    let (first, rest) = token(name);
    if first.is_empty() {
        return Err(MediaTypeError::Missing);
    }
    if rest.is_empty() {
        return Ok(());
    }
    let Some(rest) = rest.strip_prefix('/') else { return Err(MediaTypeError::NoSlash) };
    let (second, rest) = token(rest);
    if second.is_empty() {
        return Err(MediaTypeError::NoSubtype);
    }
    if rest.is_empty() { Ok(()) } else { Err(MediaTypeError::ContentAfterSubtype) }
}

fn params(mut rest: &str) -> Result<HashMap<String, String>, MediaTypeError> {
    let mut params = HashMap::new();
    let mut pieces: HashMap<String, HashMap<String, String>> = HashMap::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let Some((key, value, after)) = param(rest) else {
            if rest.trim() == ";" {
                break;
            }
            return Err(MediaTypeError::InvalidParameter);
        };
        let map = match key.split_once('*') {
            Some((base, _)) => pieces.entry(base.to_owned()).or_default(),
            None => &mut params,
        };
        if map.get(&key).is_some_and(|old| *old != value) {
            return Err(MediaTypeError::DuplicateParameter);
        }
        map.insert(key, value);
        rest = after;
    }
    for (key, map) in pieces {
        if let Some(value) = join_pieces(&key, &map) {
            params.insert(key, value);
        }
    }
    Ok(params)
}

/// The value of a parameter given with stars: `name*`, or `name*0`, `name*1*`, ….
fn join_pieces(key: &str, pieces: &HashMap<String, String>) -> Option<String> {
    if let Some(value) = pieces.get(&format!("{key}*")) {
        return decode_charset(value);
    }
    let mut joined = None;
    for n in 0..=pieces.len() {
        let plain = format!("{key}*{n}");
        let text = if let Some(value) = pieces.get(&plain) {
            value.clone()
        } else if let Some(value) = pieces.get(&format!("{plain}*")) {
            let decoded = if n == 0 { decode_charset(value) } else { unescape(value) };
            decoded.unwrap_or_default()
        } else {
            break;
        };
        joined.get_or_insert_with(String::new).push_str(&text);
    }
    joined
}

/// `charset'language'percent-encoded`, in ASCII or UTF-8.
fn decode_charset(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, text) = rest.split_once('\'')?;
    let known = matches!(charset.to_lowercase().as_str(), "us-ascii" | "utf-8");
    if known { unescape(text) } else { None }
}

/// Percent decoding that refuses what is no escape.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// `; name=value` at the start of `text`, and what follows.
fn param(text: &str) -> Option<(String, String, &str)> {
    let rest = text.trim_start().strip_prefix(';')?.trim_start();
    let (name, rest) = token(rest);
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let (value, after) = param_value(rest)?;
    Some((name.to_lowercase(), value, after))
}

fn param_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(i + 1..).unwrap_or_default())),
            '\r' | '\n' => return None,
            // Only a special character is escaped; other backslashes are those of Windows paths.
            '\\' => match chars.next_if(|(_, next)| is_special(*next)) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    None
}

fn is_special(c: char) -> bool {
    "()<>@,;:\\\"/[]?=".contains(c)
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_graphic() && !is_special(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> Option<String> {
        parse(text).1.unwrap().params.get(name).cloned()
    }

    #[test]
    fn parameters_are_read_quoted_escaped_and_continued() {
        let cases = [
            ("form-data; filename=a", "a"),
            ("form-data; filename=\"a b\"", "a b"),
            ("form-data; filename=\"a\\\"b\"", "a\"b"),
            ("form-data; filename=\"C:\\dev\\x\"", "C:\\dev\\x"),
            ("form-data; FileName=a ;", "a"),
            ("form-data; filename*=UTF-8''a%20b", "a b"),
            ("form-data; filename*0=a; filename*1=b", "ab"),
            ("form-data; filename*0*=utf-8''%41; filename*1*=%42", "AB"),
        ];
        for (text, want) in cases {
            assert_eq!(value(text, "filename").as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_media_type_says_why() {
        let cases = [
            ("", MediaTypeError::Missing),
            ("a/", MediaTypeError::NoSubtype),
            ("a b", MediaTypeError::NoSlash),
            ("a/b c", MediaTypeError::ContentAfterSubtype),
            ("a/b; x", MediaTypeError::InvalidParameter),
            ("a/b; x=\"", MediaTypeError::InvalidParameter),
            ("a/b; x=1; x=2", MediaTypeError::DuplicateParameter),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).1.unwrap_err(), want, "{text}");
        }
    }
}
