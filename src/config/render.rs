//! JSON as Go writes it. Pure.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// Writes `value` as Go's `json.MarshalIndent(value, "", indent)`: no newline at the end.
#[must_use]
pub fn pretty(value: &Value, indent: &str) -> String {
    let mut out = String::new();
    write(&mut out, value, Some(indent), 0);
    out
}

/// Writes `value` as Go's `json.Marshal`.
#[must_use]
pub fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, None, 0);
    out
}

/// Recursion is as deep as the value, which a JSON parser with a limit of 128 levels made.
fn write(out: &mut String, value: &Value, indent: Option<&str>, depth: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(set) => out.push_str(if *set { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&go_number(number)),
        Value::String(text) => json_string(out, text),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(out, index, indent, depth + 1);
                write(out, item, indent, depth + 1);
            }
            new_line(out, indent, depth);
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                separate(out, index, indent, depth + 1);
                json_string(out, key);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write(out, item, indent, depth + 1);
            }
            new_line(out, indent, depth);
            out.push('}');
        }
    }
}

fn separate(out: &mut String, index: usize, indent: Option<&str>, depth: usize) {
    if index > 0 {
        out.push(',');
    }
    new_line(out, indent, depth);
}

fn new_line(out: &mut String, indent: Option<&str>, depth: usize) {
    if let Some(indent) = indent {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as Go writes one that it has read into an `interface{}`, that is as `float64`.
fn go_number(number: &Number) -> String {
    /// Up to here every integer is a float of its own.
    const EXACT: u64 = 1 << 53;
    match (number.as_i64(), number.as_f64()) {
        (Some(n), _) if n.unsigned_abs() <= EXACT => n.to_string(),
        (_, Some(float)) => go_float(float),
        _ => number.to_string(),
    }
}

fn go_float(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return format!("{float}");
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_go_does() {
        let value =
            serde_json::json!({"b": [], "a": {"x": "<\u{e9}&>\n"}, "n": [1, 1.5, 1e21, 1e-7]});
        let compact = compact(&value);
        assert_eq!(
            compact,
            "{\"b\":[],\"a\":{\"x\":\"\\u003c\u{e9}\\u0026\\u003e\\n\"},\"n\":[1,1.5,1e+21,1e-7]}"
        );
        let pretty = pretty(&serde_json::json!({"a": [1], "e": {}}), "  ");
        assert_eq!(pretty, "{\n  \"a\": [\n    1\n  ],\n  \"e\": {}\n}");
    }
}
