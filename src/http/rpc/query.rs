//! Queries and paths as Go's `net/url` decodes them.
//!
//! Pure.

/// Go's `url.QueryUnescape`: `%XX`, and `+` for a space. The error is Go's text.
pub fn unescape(text: &str) -> Result<String, String> {
    decode(text, true)
}

/// Go's `url.PathUnescape`: `%XX` alone.
pub fn unescape_path(text: &str) -> Result<String, String> {
    decode(text, false)
}

fn decode(text: &str, plus: bool) -> Result<String, String> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'%' => {
                let digits = bytes.get(i + 1..i + 3);
                let Some(value) = digits.and_then(hex) else {
                    let end = bytes.len().min(i + 3);
                    let bad = bytes.get(i..end).unwrap_or_default();
                    let bad = crate::ipld::quote::quote(bad);
                    return Err(format!("invalid URL escape {bad}"));
                };
                out.push(value);
                i += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                i += 1;
            }
            byte => {
                out.push(byte);
                i += 1;
            }
        }
    }
    Ok(lossy(&out))
}

/// Bytes as text: each byte that is no UTF-8 becomes U+FFFD, as Go's `encoding/json` shows it.
pub fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    match digits {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    }
}

/// The pairs of a query, those that cannot be decoded left out.
pub fn parse(query: &str) -> impl Iterator<Item = (String, String)> {
    pairs(query).filter_map(Result::ok)
}

/// The pairs of a query, or why one of them cannot be decoded.
pub fn parse_strict(query: &str) -> Result<Vec<(String, String)>, String> {
    pairs(query).collect()
}

fn pairs(query: &str) -> impl Iterator<Item = Result<(String, String), String>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        if pair.contains(';') {
            return Err("invalid semicolon separator in query".to_owned());
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((unescape(key)?, unescape(value)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decoded_is_left_out() {
        let got: Vec<_> = parse("a=1&&b&%zz=1&c=%zz&d=x;y&e=+%2B").collect();
        let want = [("a", "1"), ("b", ""), ("e", " +")];
        assert_eq!(got, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(unescape("%4"), Err(r#"invalid URL escape "%4""#.to_owned()));
        assert_eq!(unescape_path("a+b%2f").as_deref(), Ok("a+b/"));
    }
}
