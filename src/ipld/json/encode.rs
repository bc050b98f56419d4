//! Encoding of dag-json and json.

use super::super::node::{Node, NodeError};
use super::Dialect;

/// Appends the encoded node to `out`: dag-json without any space and with sorted keys, json
/// indented and in the order of the map. On an error, `out` holds what comes before it.
pub(in super::super) fn encode(
    dialect: Dialect,
    node: &Node,
    out: &mut Vec<u8>,
) -> Result<(), NodeError> {
    let mut encoder = Encoder { dialect, depth: 0, out };
    encoder.value(node)?;
    if dialect == Dialect::Json && matches!(node, Node::List(_) | Node::Map(_)) {
        out.push(b'\n');
    }
    Ok(())
}

struct Encoder<'o> {
    dialect: Dialect,
    depth: usize,
    out: &'o mut Vec<u8>,
}

impl Encoder<'_> {
    fn value(&mut self, node: &Node) -> Result<(), NodeError> {
        match node {
            Node::Null | Node::Absent => self.text("null"),
            Node::Bool(value) => self.text(if *value { "true" } else { "false" }),
            Node::Int(value) => match i64::try_from(*value) {
                Ok(value) => self.text(&value.to_string()),
                Err(_) => {
                    let text = "unsigned integer out of range of int64 type";
                    return Err(NodeError(text.to_owned()));
                }
            },
            Node::Float(value) => self.text(&format_float(*value)?),
            Node::String(text) => append_string(text, self.out),
            Node::Bytes(_) if self.dialect == Dialect::Json => {
                return Err(NodeError("cannot marshal IPLD bytes to this codec".to_owned()));
            }
            Node::Bytes(bytes) => {
                self.text("{\"/\":{\"bytes\":\"");
                self.text(&base64::Engine::encode(&base64::prelude::BASE64_STANDARD_NO_PAD, bytes));
                self.text("\"}}");
            }
            Node::Link(_) if self.dialect == Dialect::Json => {
                return Err(NodeError("cannot marshal IPLD links to this codec".to_owned()));
            }
            Node::Link(cid) => {
                self.text("{\"/\":\"");
                self.text(&cid.to_string());
                self.text("\"}");
            }
            Node::List(values) => return self.list(values),
            Node::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                if self.dialect == Dialect::DagJson {
                    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                return self.map(&entries);
            }
        }
        Ok(())
    }

    fn list(&mut self, values: &[Node]) -> Result<(), NodeError> {
        self.text("[");
        self.depth += 1;
        for (index, value) in values.iter().enumerate() {
            // A link or bytes may be refused, and then the comma must not be there yet.
            self.check(value)?;
            self.separate(index);
            self.value(value)?;
        }
        self.depth -= 1;
        self.end(values.is_empty());
        self.text("]");
        Ok(())
    }

    fn map(&mut self, entries: &[&(bytes::Bytes, Node)]) -> Result<(), NodeError> {
        self.text("{");
        self.depth += 1;
        for (index, (key, value)) in entries.iter().enumerate() {
            self.separate(index);
            append_string(key, self.out);
            self.text(if self.dialect == Dialect::Json { ": " } else { ":" });
            self.value(value)?;
        }
        self.depth -= 1;
        self.end(entries.is_empty());
        self.text("}");
        Ok(())
    }

    /// Refuses what has no form before anything of it is written.
    fn check(&mut self, value: &Node) -> Result<(), NodeError> {
        let is_refused = match value {
            Node::Link(_) | Node::Bytes(_) => self.dialect == Dialect::Json,
            Node::Int(value) => i64::try_from(*value).is_err(),
            _ => false,
        };
        if is_refused { self.value(value) } else { Ok(()) }
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.text(",");
        }
        self.new_line();
    }

    fn end(&mut self, is_empty: bool) {
        if !is_empty {
            self.new_line();
        }
    }

    fn new_line(&mut self) {
        if self.dialect == Dialect::Json {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.depth, b'\t');
        }
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// As Go's `encoding/json`: the shortest digits, an exponent below 1e-6 and from 1e21.
fn format_float(value: f64) -> Result<String, NodeError> {
    if !value.is_finite() {
        let text = match value {
            f64::INFINITY => "+Inf",
            f64::NEG_INFINITY => "-Inf",
            _ => "NaN",
        };
        return Err(NodeError(format!("unsupported value: {text}")));
    }
    let (digits, exponent) = shortest_digits(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return Ok(format!("{sign}{first}{point}{rest}e{exponent:+}"));
    }
    let text = match usize::try_from(exponent) {
        Err(_) => {
            let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
            format!("0.{zeros}{digits}")
        }
        Ok(whole) if whole + 1 >= digits.len() => {
            format!("{digits}{}", "0".repeat(whole + 1 - digits.len()))
        }
        Ok(whole) => {
            let (whole, fraction) = digits.split_at(whole + 1);
            format!("{whole}.{fraction}")
        }
    };
    Ok(format!("{sign}{text}"))
}

/// The fewest digits that say which number it is, and the exponent of the first.
///
/// Where two such are equally near, Rust takes the larger and Go the even one: so only their
/// number is taken from Rust's shortest form.
fn shortest_digits(value: f64) -> (String, i32) {
    let magnitude = value.abs();
    let shortest = format!("{magnitude:e}");
    let len = shortest.split('e').next().unwrap_or_default().len();
    let even = format!("{magnitude:.*e}", len.saturating_sub(2));
    let chosen = if even.parse() == Ok(magnitude) { even } else { shortest };
    let (digits, exponent) = chosen.split_once('e').unwrap_or((&chosen, "0"));
    (digits.replace('.', ""), exponent.parse().unwrap_or_default())
}

/// As refmt: escapes quotes, backslashes, control characters and the two line separators, and
/// replaces each byte that is no UTF-8 by `\ufffd`.
fn append_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(needs_escape) {
            let (plain, escaped) = rest.split_at(at);
            out.extend_from_slice(plain.as_bytes());
            let mut chars = escaped.chars();
            chars.next().into_iter().for_each(|c| append_escape(c, out));
            rest = chars.as_str();
        }
        out.extend_from_slice(rest.as_bytes());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
    out.push(b'"');
}

fn needs_escape(c: char) -> bool {
    c < ' ' || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}')
}

fn append_escape(c: char, out: &mut Vec<u8>) {
    match c {
        '"' | '\\' => out.extend([b'\\', c as u8]),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
    }
}
