//! Decoding of dag-json and json.
//!
//! Pure. What is forgiven (a comma before a closing bracket, zero bytes behind the end, one
//! stray byte behind a number that stands alone) and the texts are those of go-ipld-prime over
//! refmt.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::DecodeError;
use super::base;
use super::build::{Event, Keys};
use super::cid::Cid;
use super::node::DEPTH_MAX;
use super::quote::quote;

mod encode;
mod number;
mod text;

pub(super) use encode::encode;

/// Whether links and bytes have a form, which is all that tells dag-json from json, but for
/// spaces and the order of map keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    DagJson,
    Json,
}

/// A piece of JSON.
#[derive(Debug, Clone)]
enum Token<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Cow<'a, [u8]>),
    OpenList,
    OpenMap,
    CloseList,
    CloseMap,
}

impl Token<'_> {
    /// The name of the token, in refmt's words.
    fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::String(_) => "string",
            Self::OpenList => "array open",
            Self::OpenMap => "map open",
            Self::CloseList => "array close",
            Self::CloseMap => "map close",
        }
    }
}

/// What the next token may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A value that stands alone.
    Root,
    /// An entry of a list, or its end.
    List {
        /// Whether an entry came before.
        some: bool,
    },
    /// A key of a map, or its end.
    Key {
        /// Whether an entry came before.
        some: bool,
    },
    /// The value behind a key.
    Value,
}

/// Cuts text into tokens.
struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// One for each open list and map, the root first.
    expect: Vec<Expect>,
}

/// Decodes `block`, handing each step to `sink`.
pub(super) fn decode<'a>(
    dialect: Dialect,
    block: &'a [u8],
    sink: impl FnMut(Event<'a>),
) -> Result<(), DecodeError> {
    let lexer = Lexer { text: block, at: 0, expect: vec![Expect::Root] };
    let mut parser = Parser { lexer, ahead: VecDeque::new(), dialect, open: Vec::new(), sink };
    let first = parser.next().map_err(DecodeError::mid_value)?;
    let is_number = matches!(first, Token::Int(_) | Token::Float(_));
    parser.value(first)?;
    while let Some(open) = parser.open.last_mut() {
        match open {
            Open::List => {
                let token = parser.next()?;
                if matches!(token, Token::CloseList) {
                    parser.close();
                } else {
                    parser.value(token)?;
                }
            }
            Open::Map(_) => parser.entry()?,
        }
    }
    parser.lexer.finish(is_number)
}

/// A list or map that is not yet at its end.
enum Open<'a> {
    List,
    Map(Keys<'a>),
}

struct Parser<'a, S> {
    lexer: Lexer<'a>,
    /// Tokens that were looked at and not used.
    ahead: VecDeque<Token<'a>>,
    dialect: Dialect,
    open: Vec<Open<'a>>,
    sink: S,
}

impl<'a, S: FnMut(Event<'a>)> Parser<'a, S> {
    fn next(&mut self) -> Result<Token<'a>, DecodeError> {
        self.ahead.pop_front().map_or_else(|| self.lexer.next(), Ok)
    }

    /// The token at `index` of those to come.
    fn peek(&mut self, index: usize) -> Result<Option<&Token<'a>>, DecodeError> {
        while self.ahead.len() <= index {
            let token = self.lexer.next()?;
            self.ahead.push_back(token);
        }
        Ok(self.ahead.get(index))
    }

    fn close(&mut self) {
        self.open.pop();
        (self.sink)(Event::Close);
    }

    /// A key and the head of its value, or the end of the map.
    fn entry(&mut self) -> Result<(), DecodeError> {
        let key = match self.next()? {
            Token::CloseMap => {
                self.close();
                return Ok(());
            }
            Token::String(key) => key,
            token => {
                let text = format!("unexpected {} token while expecting map key", token.name());
                return Err(DecodeError::new(text));
            }
        };
        if let Some(Open::Map(keys)) = self.open.last_mut()
            && !keys.insert(key.clone())
        {
            return Err(DecodeError::new(format!("cannot repeat map key {}", quote(&key))));
        }
        (self.sink)(Event::Key(key));
        let token = self.next()?;
        self.value(token)
    }

    fn value(&mut self, token: Token<'a>) -> Result<(), DecodeError> {
        let event = match token {
            Token::Null => Event::Null,
            Token::Bool(value) => Event::Bool(value),
            Token::Int(value) => Event::Int(value.into()),
            Token::Float(value) => Event::Float(value),
            Token::String(text) => Event::String(text),
            Token::OpenMap if self.open.len() >= DEPTH_MAX => return Err(DecodeError::too_deep()),
            Token::OpenMap => match self.special()? {
                Some(event) => event,
                None => {
                    self.open.push(Open::Map(Keys::default()));
                    Event::OpenMap
                }
            },
            Token::OpenList if self.open.len() >= DEPTH_MAX => return Err(DecodeError::too_deep()),
            Token::OpenList => {
                self.open.push(Open::List);
                Event::OpenList
            }
            Token::CloseMap => return Err(DecodeError::new("unexpected mapClose token")),
            Token::CloseList => return Err(DecodeError::new("unexpected arrClose token")),
        };
        (self.sink)(event);
        Ok(())
    }

    /// The link or the bytes that the map whose bracket was just read stands for, if it does.
    ///
    /// Looks no further ahead than needed, since what lies there may be an error of its own.
    fn special(&mut self) -> Result<Option<Event<'a>>, DecodeError> {
        if self.dialect == Dialect::Json {
            return Ok(None);
        }
        if !matches!(self.peek(0)?, Some(Token::String(key)) if key.as_ref() == b"/") {
            return Ok(None);
        }
        match self.peek(1)? {
            Some(Token::String(_)) => self.link(),
            Some(Token::OpenMap) => self.bytes(),
            _ => Ok(None),
        }
    }

    /// `{"/": "<cid>"}`
    fn link(&mut self) -> Result<Option<Event<'a>>, DecodeError> {
        if !matches!(self.peek(2)?, Some(Token::CloseMap)) {
            return Ok(None);
        }
        let Some(Token::String(text)) = self.ahead.get(1) else { return Ok(None) };
        let text = String::from_utf8_lossy(text);
        let cid = Cid::parse(&text).map_err(|error| DecodeError::new(error.to_string()))?;
        self.ahead.clear();
        Ok(Some(Event::Link(cid)))
    }

    /// `{"/": {"bytes": "<base64>"}}`
    fn bytes(&mut self) -> Result<Option<Event<'a>>, DecodeError> {
        if !matches!(self.peek(2)?, Some(Token::String(key)) if key.as_ref() == b"bytes")
            || !matches!(self.peek(3)?, Some(Token::String(_)))
            || !matches!(self.peek(4)?, Some(Token::CloseMap))
            || !matches!(self.peek(5)?, Some(Token::CloseMap))
        {
            return Ok(None);
        }
        let Some(Token::String(text)) = self.ahead.get(3) else { return Ok(None) };
        let bytes = base::decode_base64(text, false)
            .or_else(|_| base::decode_base64(text, true))
            .map_err(|error| DecodeError::new(error.to_string()))?;
        self.ahead.clear();
        Ok(Some(Event::Bytes(Cow::Owned(bytes))))
    }
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Token<'a>, DecodeError> {
        let Some(expect) = self.expect.last().copied() else { return Err(DecodeError::eof()) };
        let mut first = self.byte_after_space()?;
        match expect {
            Expect::Root => self.token(first, "value"),
            Expect::List { some } => {
                if some && first != b']' {
                    if first != b',' {
                        let text = "expected comma or array close after array value; got";
                        return Err(DecodeError::new(format!("{text} {}", describe(first))));
                    }
                    first = self.byte_after_space()?;
                }
                if first == b']' {
                    self.expect.pop();
                    return Ok(Token::CloseList);
                }
                self.set_expect(Expect::List { some: true });
                self.token(first, "value")
            }
            Expect::Key { some } => {
                if some && first != b'}' {
                    if first != b',' {
                        let text = "expected comma or map close after map value; got";
                        return Err(DecodeError::new(format!("{text} {}", describe(first))));
                    }
                    first = self.byte_after_space()?;
                }
                if first == b'}' {
                    self.expect.pop();
                    return Ok(Token::CloseMap);
                }
                self.key(first)
            }
            Expect::Value => {
                self.set_expect(Expect::Key { some: true });
                self.token(first, "value")
            }
        }
    }

    /// Any token but a closing one, since refmt leaves it to its caller that only strings may be
    /// keys; then the colon.
    fn key(&mut self, first: u8) -> Result<Token<'a>, DecodeError> {
        self.set_expect(Expect::Value);
        let depth = self.expect.len();
        let token = self.token(first, "key")?;
        self.expect.truncate(depth);
        match self.byte_after_space()? {
            b':' => Ok(token),
            other => {
                let text = format!("expected colon after map key; got {}", describe(other));
                Err(DecodeError::new(text))
            }
        }
    }

    fn token(&mut self, first: u8, what: &str) -> Result<Token<'a>, DecodeError> {
        match first {
            b'{' => {
                self.expect.push(Expect::Key { some: false });
                Ok(Token::OpenMap)
            }
            b'[' => {
                self.expect.push(Expect::List { some: false });
                Ok(Token::OpenList)
            }
            b'n' => self.literal(b"ull", Token::Null),
            b'f' => self.literal(b"alse", Token::Bool(false)),
            b't' => self.literal(b"rue", Token::Bool(true)),
            b'"' => self.string().map(Token::String),
            b'-' | b'0'..=b'9' => self.number(),
            other => Err(DecodeError::new(format!(
                "invalid char while expecting start of {what}: {}",
                describe(other)
            ))),
        }
    }

    fn set_expect(&mut self, expect: Expect) {
        if let Some(last) = self.expect.last_mut() {
            *last = expect;
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.text.get(self.at).copied().ok_or_else(DecodeError::eof)?;
        self.at += 1;
        Ok(byte)
    }

    fn byte_after_space(&mut self) -> Result<u8, DecodeError> {
        loop {
            let byte = self.byte()?;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(byte);
            }
        }
    }

    fn literal(&mut self, suffix: &[u8], token: Token<'a>) -> Result<Token<'a>, DecodeError> {
        let Some(found) = self.rest().get(..suffix.len()) else {
            let is_end = self.rest().is_empty();
            return Err(if is_end { DecodeError::eof() } else { DecodeError::unexpected_eof() });
        };
        self.at += suffix.len();
        if found == suffix {
            return Ok(token);
        }
        let (expected, got) = (quote(suffix), quote(found));
        Err(DecodeError::new(format!("invalid literal suffix: expected {expected}, got {got}")))
    }

    fn string(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        let (text, len) = text::scan(self.rest())?;
        self.at += len;
        Ok(text)
    }

    fn number(&mut self) -> Result<Token<'a>, DecodeError> {
        self.at -= 1;
        let digits = number::scan(self.rest());
        self.at += digits.len();
        number::parse(digits)
    }

    /// Behind the value nothing may stand but space.
    ///
    /// refmt finds the end of a number by reading one byte too many, and go-ipld-prime, which
    /// checks what follows, never sees that byte when the number was all there is.
    fn finish(mut self, is_number: bool) -> Result<(), DecodeError> {
        self.at += usize::from(is_number);
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\0' | b'\t' | b'\r' | b'\n');
        if self.rest().iter().all(is_space) {
            return Ok(());
        }
        Err(DecodeError::new("unexpected content after end of json object"))
    }
}

fn describe(byte: u8) -> Cow<'static, str> {
    Cow::Borrowed(match byte {
        b',' => "comma",
        b':' => "colon",
        b'{' => "map open",
        b'}' => "map close",
        b'[' => "array open",
        b']' => "array close",
        b'"' => "quote",
        _ => return Cow::Owned(format!("{byte:#x}")),
    })
}
