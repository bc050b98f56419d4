//! What a value of the config file may be, and how Kubo's typed config reads it.
//!
//! Responsible for decoding JSON as the Go structs of Kubo do (`config/*.go`): which types fit,
//! the error texts, which empty values are left out when it is written again. Not for the list of
//! keys, which is in [`super::fields`]. Pure.

use crate::ipld::quote::quote;
use serde_json::{Map, Number, Value};

use super::{bytes, duration};

/// The type of a value.
#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    /// An integer; the name of the Go type is part of the error text.
    Int(&'static str),
    Str,
    /// `true`, `false`, or `null` for the default.
    Flag,
    /// A positive integer, `false` for disabled, or `null` for the default.
    Priority,
    /// One string, or an array of strings; written as a string when it is one.
    Strings,
    /// An integer or `null`.
    OptInt,
    /// A string or `null`.
    OptStr,
    /// A size, as text or number, or `null`.
    OptBytes,
    /// A Go duration as text, or `null`.
    OptDuration,
    /// One of the words, or empty.
    Word(&'static [&'static str]),
    List(&'static Kind),
    Map(&'static Kind),
    Struct(&'static Struct),
    /// JSON that is not looked into.
    Any,
    /// A key that Kubo has removed: only an empty object may stand there.
    Removed(&'static str),
}

/// A Go struct: its name, which error texts show, and its fields in order.
#[derive(Debug)]
pub(super) struct Struct {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A field of a struct.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) written: Written,
}

/// When a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Always.
    Always,
    /// Unless it is empty.
    Unempty,
    /// Unless it is `null`; then it is absent even when it is a struct.
    Set,
}

/// Decodes `value` as `root` and returns it as Kubo would write it: known keys only, in the order
/// of the structs.
pub(super) fn decode(root: &'static Struct, value: &Value) -> Result<Value, String> {
    let mut decoder = Decoder { owner: root.name, path: Vec::new(), error: None };
    let decoded = match value {
        Value::Object(map) => decoder.object(root, map),
        Value::Null => zero_struct(root),
        other => {
            let what = describe(other);
            let name = root.name;
            return Err(format!(
                "json: cannot unmarshal {what} into Go value of type config.{name}"
            ));
        }
    };
    decoder.error.map_or(Ok(decoded), Err)
}

/// Whether the dotted `key` names something that the config can hold.
pub(super) fn check_key(root: &'static Struct, key: &str) -> Result<(), String> {
    enum Cursor {
        Fields(&'static [Field]),
        Entries(&'static Kind),
        Empty,
        Leaf,
    }
    fn cursor(kind: &'static Kind) -> Option<Cursor> {
        Some(match kind {
            Kind::Struct(inner) => Cursor::Fields(inner.fields),
            Kind::Map(entry) => Cursor::Entries(entry),
            Kind::OptInt | Kind::OptStr | Kind::OptBytes | Kind::OptDuration => Cursor::Empty,
            Kind::Any => return None,
            _ => Cursor::Leaf,
        })
    }
    let parts: Vec<&str> = key.split('.').collect();
    let up_to = |count: usize| parts.get(..count).unwrap_or_default().join(".");
    let mut at = Cursor::Fields(root.fields);
    for (index, part) in parts.iter().enumerate() {
        let kind = match at {
            Cursor::Leaf => return Err(format!("{} key is not a map", up_to(index))),
            Cursor::Entries(entry) => Some(entry),
            Cursor::Fields(fields) => fields.iter().find(|f| f.name == *part).map(|f| &f.kind),
            Cursor::Empty => None,
        };
        let Some(kind) = kind else {
            return Err(format!("{} not found", up_to(index + 1)));
        };
        let Some(next) = cursor(kind) else { return Ok(()) };
        at = next;
    }
    Ok(())
}

struct Decoder {
    /// The struct whose field is being decoded.
    owner: &'static str,
    path: Vec<&'static str>,
    /// Only the first error counts; Go goes on decoding after it.
    error: Option<String>,
}

impl Decoder {
    fn object(&mut self, of: &'static Struct, map: &Map<String, Value>) -> Value {
        let mut values: Vec<Option<Value>> = of.fields.iter().map(|_| None).collect();
        for (key, value) in map {
            let exact = of.fields.iter().position(|f| f.name == key);
            let found =
                exact.or_else(|| of.fields.iter().position(|f| f.name.eq_ignore_ascii_case(key)));
            let Some((index, field)) = found.and_then(|i| of.fields.get(i).map(|f| (i, f))) else {
                continue;
            };
            let outer = std::mem::replace(&mut self.owner, of.name);
            self.path.push(field.name);
            let decoded =
                if value.is_null() { zero_field(field) } else { self.value(field, value) };
            self.path.pop();
            self.owner = outer;
            if let Some(slot) = values.get_mut(index) {
                *slot = Some(decoded);
            }
        }
        let mut written = Map::new();
        for (field, value) in of.fields.iter().zip(values) {
            let value = value.unwrap_or_else(|| zero_field(field));
            if !is_omitted(field, &value) {
                written.insert(field.name.to_owned(), value);
            }
        }
        Value::Object(written)
    }

    fn value(&mut self, field: &'static Field, value: &Value) -> Value {
        self.kind(&field.kind, value)
    }

    fn kind(&mut self, kind: &'static Kind, value: &Value) -> Value {
        match (kind, value) {
            (_, Value::Null) => zero(kind),
            (Kind::Any, _)
            | (Kind::Bool | Kind::Flag, Value::Bool(_))
            | (Kind::Str | Kind::OptStr, Value::String(_)) => value.clone(),
            (Kind::Int(_) | Kind::OptInt, Value::Number(number)) => self.integer(kind, number),
            (Kind::Strings, Value::String(text)) if text.is_empty() => Value::Null,
            (Kind::Strings, Value::String(_)) => value.clone(),
            (Kind::Strings, Value::Array(items)) => self.strings(items),
            (Kind::List(of), Value::Array(items)) => {
                items.iter().map(|item| self.kind(of, item)).collect()
            }
            (Kind::Map(of), Value::Object(map)) => {
                let entries = map.iter().map(|(k, v)| (k.clone(), self.kind(of, v)));
                Value::Object(entries.collect())
            }
            (Kind::Struct(of), Value::Object(map)) => self.object(of, map),
            (Kind::Flag, _) => self.fail(format!(
                "failed to unmarshal {} into a flag: must be null/undefined, true, or false",
                quote(value.to_string())
            )),
            (Kind::Priority, _) => self.priority(value),
            (Kind::OptBytes, _) => self.size(value),
            (Kind::OptDuration, _) => self.duration(value),
            (Kind::Word(words), Value::String(text)) => {
                if text.is_empty() || words.contains(&text.as_str()) {
                    value.clone()
                } else {
                    self.fail(format!("unknown autonat mode: {text}"))
                }
            }
            (Kind::Removed(text), _) => match value {
                Value::Object(map) if map.is_empty() => Value::Null,
                _ => self.fail((*text).to_owned()),
            },
            (kind, value) => self.mismatch(describe(value), &go_type(kind)),
        }
    }

    fn integer(&mut self, kind: &'static Kind, number: &Number) -> Value {
        let fits = number.as_i64();
        match fits {
            Some(_) => Value::Number(number.clone()),
            None => self.mismatch(&format!("number {number}"), &go_type(kind)),
        }
    }

    fn strings(&mut self, items: &[Value]) -> Value {
        let mut texts: Vec<Value> = items.iter().map(|v| self.kind(&Kind::Str, v)).collect();
        match texts.len() {
            0 => Value::Null,
            1 => texts.pop().unwrap_or_default(),
            _ => Value::Array(texts),
        }
    }

    fn priority(&mut self, value: &Value) -> Value {
        match value {
            Value::Bool(false) => value.clone(),
            Value::Bool(true) => self.fail("'true' is not a valid priority".to_owned()),
            Value::Number(number) => match number.as_i64() {
                Some(n) if n > 0 => value.clone(),
                Some(n) => self.fail(format!("priority must be positive: {n} <= 0")),
                None => self.mismatch(&format!("number {number}"), "int64"),
            },
            other => self.mismatch(describe(other), "int64"),
        }
    }

    fn size(&mut self, value: &Value) -> Value {
        match value {
            Value::Number(number) => {
                Value::String(format!("{:.0}", number.as_f64().unwrap_or(0.0)))
            }
            Value::String(text) => match bytes::parse(text) {
                Ok(_) => value.clone(),
                Err(error) => self.fail(error),
            },
            other => {
                let got = go_dynamic_type(other);
                self.fail(format!(
                    "unable to parse byte size, expected a size string (e.g., \"5GiB\") or a \
                     number, but got {got}"
                ))
            }
        }
    }

    fn duration(&mut self, value: &Value) -> Value {
        let raw = value.to_string();
        let text = raw.trim_matches('"');
        if matches!(text, "" | "null" | "default") {
            return Value::Null;
        }
        match duration::parse(text) {
            Ok(nanos) => Value::String(duration::format(nanos)),
            Err(error) => self.fail(error),
        }
    }

    fn mismatch(&mut self, what: &str, go_type: &str) -> Value {
        let (owner, path) = (self.owner, self.path.join("."));
        self.fail(format!(
            "json: cannot unmarshal {what} into Go struct field {owner}.{path} of type {go_type}"
        ))
    }

    fn fail(&mut self, text: String) -> Value {
        self.error.get_or_insert(text);
        Value::Null
    }
}

fn is_omitted(field: &Field, value: &Value) -> bool {
    match field.written {
        Written::Always => false,
        Written::Set => value.is_null() && !matches!(field.kind, Kind::Any),
        Written::Unempty => match value {
            Value::Null => true,
            Value::Bool(set) => matches!(field.kind, Kind::Bool) && !set,
            Value::Number(number) => number.as_i64() == Some(0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => matches!(field.kind, Kind::Map(_)) && map.is_empty(),
        },
    }
}

fn zero_field(field: &Field) -> Value {
    if field.written == Written::Set { Value::Null } else { zero(&field.kind) }
}

fn zero(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int(_) => Value::from(0),
        Kind::Str | Kind::Word(_) => Value::String(String::new()),
        Kind::Struct(of) => zero_struct(of),
        _ => Value::Null,
    }
}

fn zero_struct(of: &Struct) -> Value {
    let kept = of.fields.iter().map(|f| (f, zero_field(f))).filter(|(f, v)| !is_omitted(f, v));
    Value::Object(kept.map(|(f, v)| (f.name.to_owned(), v)).collect())
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_dynamic_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn go_type(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "bool".to_owned(),
        Kind::Int(name) => (*name).to_owned(),
        Kind::OptInt => "int64".to_owned(),
        Kind::List(of) => format!("[]{}", go_type(of)),
        Kind::Map(of) => format!("map[string]{}", go_type(of)),
        Kind::Struct(of) => format!("config.{}", of.name),
        Kind::Word(_) => "*config.AutoNATServiceMode".to_owned(),
        Kind::Any => "interface {}".to_owned(),
        _ => "string".to_owned(),
    }
}
