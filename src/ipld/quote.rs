//! Quoting as Go's `%q` does, which Kubo's error texts use.
//!
//! Pure.

use std::fmt::Write;

/// `bytes` in double quotes.
#[must_use]
pub fn quote(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_char(c, '"', &mut out));
        chunk.invalid().iter().for_each(|byte| push_hex(*byte, &mut out));
    }
    out.push('"');
    out
}

/// `text` with what cannot be seen escaped, and without quotes: Kubo's `EscNonPrint`.
#[must_use]
pub fn escape_unprintable(text: &str) -> String {
    if text.chars().all(|c| c != '\\' && is_printable(c)) {
        return text.to_owned();
    }
    let quoted = quote(text);
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().replace("\\\"", "\"")
}

/// `c` in single quotes.
#[must_use]
pub fn quote_char(c: char) -> String {
    let mut out = String::from("'");
    push_char(c, '\'', &mut out);
    out.push('\'');
    out
}

/// `c` as Go's `%#U`: its number, and itself where it can be seen.
#[must_use]
pub fn describe_char(c: char) -> String {
    let number = format!("U+{:04X}", c as u32);
    if is_printable(c) { format!("{number} '{c}'") } else { number }
}

/// Whether Go's `unicode.IsPrint` holds: letters, marks, numbers, punctuation, symbols, and the
/// ASCII space.
#[must_use]
pub fn is_printable(c: char) -> bool {
    // A string's escaped form escapes what cannot be printed, and, unlike a char's, leaves
    // combining marks alone behind another char.
    matches!(c, '"' | '\'' | '\\') || format!("a{c}").escape_debug().count() == 2
}

fn push_hex(byte: u8, out: &mut String) {
    let _ = write!(out, "\\x{byte:02x}");
}

fn push_char(c: char, mark: char, out: &mut String) {
    match c {
        '\\' => out.push_str("\\\\"),
        _ if c == mark => out.extend(['\\', c]),
        '\u{20}'..='\u{7e}' => out.push(c),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\0'..='\u{7f}' => push_hex(c as u8, out),
        _ if is_printable(c) => out.push(c),
        '\0'..='\u{ffff}' => {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
        _ => {
            let _ = write!(out, "\\U{:08x}", c as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        let cases: [(&[u8], &str); 9] = [
            (b"", r#""""#),
            (b"plain", r#""plain""#),
            (b"a\"b\\c'", r#""a\"b\\c'""#),
            (b"\x00\x07\n\t\x7f", r#""\x00\a\n\t\x7f""#),
            ("é日\u{301}".as_bytes(), "\"é日\u{301}\""),
            ("\u{ad}\u{200b}\u{a0}\u{feff}".as_bytes(), r#""\u00ad\u200b\u00a0\ufeff""#),
            ("\u{e0001}".as_bytes(), r#""\U000e0001""#),
            (b"a\xffb\xc3", r#""a\xffb\xc3""#),
            ("😀\u{fffd}".as_bytes(), "\"😀\u{fffd}\""),
        ];
        for (bytes, quoted) in cases {
            assert_eq!(quote(bytes), quoted);
        }
    }

    #[test]
    fn characters_are_quoted_as_go_does() {
        let cases = [('x', "'x'"), ('"', "'\"'"), ('\'', r"'\''"), ('\n', r"'\n'"), ('é', "'é'")];
        for (c, quoted) in cases {
            assert_eq!(quote_char(c), quoted);
        }
        assert_eq!(describe_char('g'), "U+0067 'g'");
        assert_eq!(describe_char('\n'), "U+000A");
        assert_eq!(describe_char('Ã'), "U+00C3 'Ã'");
    }
}
