//! Reading JSON, with the errors of Go's parser. Pure.

use crate::ipld::quote::quote;
use serde_json::Value;

/// What Go says of JSON that ends too soon.
pub(super) const CUT_OFF: &str = "unexpected end of JSON input";

/// How deep Go's parser follows arrays and objects.
const DEPTH_MAX: usize = 10_000;

/// Parses one JSON value and nothing after it, as Go's `json.Unmarshal`.
///
/// # Errors
/// With the text of Go's parser; or, beyond 128 levels, that of ours.
pub fn parse(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) => Err(Scanner::new(text).error().unwrap_or_else(|| error.to_string())),
    }
}

/// What may come next.
#[derive(Clone, Copy)]
enum Expect {
    Value,
    /// A value or the end of the array.
    ValueOrEnd,
    Key,
    /// A key or the end of the object.
    KeyOrEnd,
    Colon,
    /// After a value.
    Next,
}

/// Finds where text stops being JSON.
struct Scanner<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    /// For each level whether it is an object.
    open: Vec<bool>,
}

type Outcome = Result<(), String>;

fn unexpected(c: char, context: &str) -> String {
    let shown = match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => {
            let quoted = quote(c.to_string());
            format!("'{}'", quoted.trim_matches('"'))
        }
    };
    format!("invalid character {shown} {context}")
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { chars: text.chars().peekable(), open: Vec::new() }
    }

    /// The first error, if there is one.
    fn error(mut self) -> Option<String> {
        self.scan().err()
    }

    fn next(&mut self) -> Result<char, String> {
        self.chars.next().ok_or_else(|| CUT_OFF.to_owned())
    }

    fn next_visible(&mut self) -> Option<char> {
        self.chars.find(|c| !matches!(c, ' ' | '\t' | '\r' | '\n'))
    }

    fn scan(&mut self) -> Outcome {
        let mut expect = Expect::Value;
        loop {
            let Some(c) = self.next_visible() else {
                let done = self.open.is_empty() && matches!(expect, Expect::Next);
                return if done { Ok(()) } else { self.next().map(|_| ()) };
            };
            expect = match (expect, c) {
                (Expect::ValueOrEnd, ']') | (Expect::KeyOrEnd, '}') => self.close(),
                (Expect::Value | Expect::ValueOrEnd, c) => self.value(c)?,
                (Expect::Key | Expect::KeyOrEnd, '"') => {
                    self.string()?;
                    Expect::Colon
                }
                (Expect::Key | Expect::KeyOrEnd, c) => {
                    return Err(unexpected(c, "looking for beginning of object key string"));
                }
                (Expect::Colon, ':') => Expect::Value,
                (Expect::Colon, c) => return Err(unexpected(c, "after object key")),
                (Expect::Next, c) => self.after_value(c)?,
            };
        }
    }

    fn close(&mut self) -> Expect {
        self.open.pop();
        Expect::Next
    }

    fn after_value(&mut self, c: char) -> Result<Expect, String> {
        match (self.open.last().copied(), c) {
            (Some(true), ',') => Ok(Expect::Key),
            (Some(false), ',') => Ok(Expect::Value),
            (Some(true), '}') | (Some(false), ']') => Ok(self.close()),
            (Some(true), c) => Err(unexpected(c, "after object key:value pair")),
            (Some(false), c) => Err(unexpected(c, "after array element")),
            (None, c) => Err(unexpected(c, "after top-level value")),
        }
    }

    fn value(&mut self, c: char) -> Result<Expect, String> {
        match c {
            '{' | '[' => {
                self.open.push(c == '{');
                if self.open.len() > DEPTH_MAX {
                    return Err("exceeded max depth".to_owned());
                }
                return Ok(if c == '{' { Expect::KeyOrEnd } else { Expect::ValueOrEnd });
            }
            '"' => self.string()?,
            '-' | '0'..='9' => self.number(c)?,
            't' => self.literal("true")?,
            'f' => self.literal("false")?,
            'n' => self.literal("null")?,
            c => return Err(unexpected(c, "looking for beginning of value")),
        }
        Ok(Expect::Next)
    }

    fn literal(&mut self, word: &str) -> Outcome {
        for wanted in word.chars().skip(1) {
            let c = self.next()?;
            if c != wanted {
                return Err(unexpected(c, &format!("in literal {word} (expecting '{wanted}')")));
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Outcome {
        loop {
            match self.next()? {
                '"' => return Ok(()),
                '\\' => self.escape()?,
                c if c < ' ' => return Err(unexpected(c, "in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Outcome {
        match self.next()? {
            'b' | 'f' | 'n' | 'r' | 't' | '\\' | '/' | '"' => Ok(()),
            'u' => (0..4).try_for_each(|_| {
                let c = self.next()?;
                let hex = c.is_ascii_hexdigit();
                hex.then_some(())
                    .ok_or_else(|| unexpected(c, "in \\u hexadecimal character escape"))
            }),
            c => Err(unexpected(c, "in string escape code")),
        }
    }

    fn number(&mut self, first: char) -> Outcome {
        let lead = if first == '-' { self.digit("in numeric literal")? } else { first };
        if lead != '0' {
            self.digits();
        }
        if self.chars.next_if_eq(&'.').is_some() {
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if self.chars.next_if(|c| matches!(c, 'e' | 'E')).is_some() {
            self.chars.next_if(|c| matches!(c, '+' | '-'));
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, context: &str) -> Result<char, String> {
        let c = self.next()?;
        if c.is_ascii_digit() { Ok(c) } else { Err(unexpected(c, context)) }
    }

    fn digits(&mut self) {
        while self.chars.next_if(char::is_ascii_digit).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_texts_of_go() {
        for (text, error) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1", "invalid character '1' after object key"),
            ("{\"a\":1 2", "invalid character '2' after object key:value pair"),
            ("[1 2", "invalid character '2' after array element"),
            ("1 2", "invalid character '2' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()), "{text}");
        }
        assert!(parse(" [1, {\"a\": null}] ").is_ok());
    }

    #[test]
    fn deep_nesting_is_an_error() {
        assert!(parse(&"[".repeat(200_000)).is_err());
    }
}
