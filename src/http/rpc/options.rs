//! The options of a request: names resolved, values converted, defaults filled in.
//!
//! Pure. The error texts are go-ipfs-cmds'.

use super::Error;
use super::table::{Command, Default as DefaultValue, Kind, OptionDef, options_of};
use crate::ipld::quote::quote;

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// Of a bool.
    Bool(bool),
    /// Of an int or int64.
    Int(i64),
    /// Of a uint or uint64.
    Uint(u64),
    /// Of a float.
    Float(f64),
    /// Of a string, and of an option nobody declares.
    Str(String),
    /// Of a list.
    Strs(Vec<String>),
}

/// The options of a request, by canonical name.
///
/// A getter of another type than the option's answers as if it were absent: the table decides the
/// type, and a unit test of the table holds handlers to it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    values: Vec<(String, OptionValue)>,
}

impl Options {
    fn get(&self, name: &str) -> Option<&OptionValue> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Whether the request or a default gives the option a value.
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A bool; absent is `false`.
    pub fn bool(&self, name: &str) -> bool {
        self.opt_bool(name).unwrap_or_default()
    }

    /// A bool, when there is one.
    pub fn opt_bool(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            OptionValue::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An int or int64; absent is 0.
    pub fn int(&self, name: &str) -> i64 {
        self.opt_int(name).unwrap_or_default()
    }

    /// An int or int64, when there is one.
    pub fn opt_int(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            OptionValue::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A uint or uint64; absent is 0.
    pub fn uint(&self, name: &str) -> u64 {
        self.opt_uint(name).unwrap_or_default()
    }

    /// A uint or uint64, when there is one.
    pub fn opt_uint(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            OptionValue::Uint(value) => Some(*value),
            _ => None,
        }
    }

    /// A string; absent is empty.
    pub fn string(&self, name: &str) -> &str {
        self.opt_string(name).unwrap_or_default()
    }

    /// A string, when there is one.
    pub fn opt_string(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            OptionValue::Str(value) => Some(value),
            _ => None,
        }
    }

    /// A list; absent is empty.
    pub fn list(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(OptionValue::Strs(values)) => values,
            _ => &[],
        }
    }

    /// Every option, those nobody declares included, in the order of the request.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn set(&mut self, name: &str, value: OptionValue) {
        match self.values.iter_mut().find(|(key, _)| key == name) {
            Some(entry) => entry.1 = value,
            None => self.values.push((name.to_owned(), value)),
        }
    }
}

/// The options as the query gives them: canonical names, values not yet converted.
#[derive(Debug)]
pub(super) struct RawOptions {
    values: Vec<(String, Option<&'static OptionDef>, Vec<String>)>,
}

impl RawOptions {
    /// Sorts the query by option. `query` holds every key but `arg`.
    pub(super) fn new(
        command: &'static Command,
        query: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        // Keys as they stand first: an alias repeated is an error under its own count.
        let mut keys: Vec<(String, Vec<String>)> = Vec::new();
        for (key, value) in query {
            match keys.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value),
                None => keys.push((key, vec![value])),
            }
        }
        let mut raw = Self { values: Vec::new() };
        for (key, values) in keys {
            let def = options_of(command).find(|def| def.names.contains(&key.as_str()));
            let name = match def {
                Some(def) => def.name().to_owned(),
                None => key.clone(),
            };
            let single = def.is_some_and(|def| def.kind != Kind::Strings);
            if single && values.len() > 1 {
                let values = values.join(" ");
                return Err(Error::client(format!(
                    "expected key {name} to have only a single value, received [{values}]"
                )));
            }
            raw.values.retain(|(known, _, _)| *known != name);
            raw.values.push((name, def, values));
        }
        Ok(raw)
    }

    /// Converts every value and fills in the defaults.
    pub(super) fn convert(self, command: &'static Command) -> Result<Options, Error> {
        let mut options = Options::default();
        for (name, def, values) in self.values {
            let value = match def {
                Some(def) if def.kind == Kind::Strings => OptionValue::Strs(values),
                Some(def) => {
                    let text = values.into_iter().next().unwrap_or_default();
                    convert(def, text)?
                }
                None => OptionValue::Str(values.into_iter().next().unwrap_or_default()),
            };
            options.set(&name, value);
        }
        if !options.is_set("encoding") {
            options.set("encoding", OptionValue::Str("json".to_owned()));
        }
        for def in options_of(command).filter(|def| def.default != DefaultValue::None) {
            if !options.is_set(def.name()) {
                options.set(def.name(), default_value(def.default));
            }
        }
        Ok(options)
    }
}

fn default_value(default: DefaultValue) -> OptionValue {
    match default {
        DefaultValue::None => OptionValue::Str(String::new()),
        DefaultValue::Bool(value) => OptionValue::Bool(value),
        DefaultValue::Int(value) => OptionValue::Int(value),
        DefaultValue::Uint(value) => OptionValue::Uint(value),
        DefaultValue::Str(value) => OptionValue::Str(value.to_owned()),
        DefaultValue::Strs(values) => {
            OptionValue::Strs(values.iter().map(|&value| value.to_owned()).collect())
        }
    }
}

fn convert(def: &OptionDef, text: String) -> Result<OptionValue, Error> {
    let value = match def.kind {
        Kind::Bool => parse_bool(&text).map(OptionValue::Bool),
        Kind::Int => parse_int(&text).filter(|v| i32::try_from(*v).is_ok()).map(OptionValue::Int),
        Kind::Int64 => parse_int(&text).map(OptionValue::Int),
        Kind::Uint => {
            parse_uint(&text).filter(|v| u32::try_from(*v).is_ok()).map(OptionValue::Uint)
        }
        Kind::Uint64 => parse_uint(&text).map(OptionValue::Uint),
        Kind::Float => parse_float(&text).map(OptionValue::Float),
        Kind::String | Kind::Strings => return Ok(OptionValue::Str(text)),
    };
    value.ok_or_else(|| {
        let shown = if text.is_empty() {
            "empty value".to_owned()
        } else {
            format!("value {}", quote(&text))
        };
        Error::client(format!(
            "could not convert {shown} to type {} (for option {})",
            quote(def.kind.name()),
            quote(format!("-{}", def.name()))
        ))
    })
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "" | "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

/// Go's `strconv.ParseInt(text, 0, 64)`.
fn parse_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let size = parse_uint(digits)?;
    if negative { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() }
}

/// Go's `strconv.ParseUint(text, 0, 64)`: the base by the prefix, underscores between digits.
fn parse_uint(text: &str) -> Option<u64> {
    let (radix, digits, prefixed) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, text.get(2..)?, true),
        [b'0', b'o' | b'O', ..] => (8, text.get(2..)?, true),
        [b'0', b'b' | b'B', ..] => (2, text.get(2..)?, true),
        [b'0', _, ..] => (8, text.get(1..)?, true),
        _ => (10, text, false),
    };
    let ends_well = !digits.ends_with('_') && (prefixed || !digits.starts_with('_'));
    if digits.is_empty() || digits.contains("__") || !ends_well {
        return None;
    }
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    // Rust's parser takes a sign, Go's does not.
    if plain.starts_with('+') { None } else { u64::from_str_radix(&plain, radix).ok() }
}

/// Go's `strconv.ParseFloat(text, 64)`, decimal: no option of the table is a float.
fn parse_float(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::table::find;
    use super::*;

    fn parse(path: &str, query: &[(&str, &str)]) -> Result<Options, String> {
        let command = find(path).unwrap();
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let raw = RawOptions::new(command, query).map_err(|e| e.to_string())?;
        raw.convert(command).map_err(|e| e.to_string())
    }

    #[test]
    fn a_bool_is_true_when_empty_and_refuses_other_words() {
        for (text, want) in [("", true), ("T", true), ("TrUe", true), ("0", false), ("F", false)] {
            let options = parse("pin/ls", &[("stream", text)]).unwrap();
            assert_eq!(options.bool("stream"), want, "{text}");
        }
        assert_eq!(
            parse("pin/ls", &[("s", "yes")]).unwrap_err(),
            r#"could not convert value "yes" to type "bool" (for option "-stream")"#
        );
    }

    #[test]
    fn integers_follow_their_prefix_and_range() {
        let good = [("0x3", 3), ("0b11", 3), ("0o3", 3), ("010", 8), ("1_0", 10), ("-1", -1)];
        for (text, want) in good {
            assert_eq!(parse("cat", &[("offset", text)]).unwrap().int("offset"), want, "{text}");
        }
        for text in ["08", "x", "1.5", " 3", "9223372036854775808", "1__0", "_1", "0x", "++1"] {
            let error = parse("cat", &[("offset", text)]).unwrap_err();
            let want = format!(
                r#"could not convert value "{text}" to type "int64" (for option "-offset")"#
            );
            assert_eq!(error, want);
        }
        assert_eq!(
            parse("cat", &[("offset", "")]).unwrap_err(),
            r#"could not convert empty value to type "int64" (for option "-offset")"#
        );
        assert!(parse("refs", &[("max-depth", "2147483648")]).is_err());
        assert!(parse("add", &[("mode", "4294967296")]).is_err());
    }

    #[test]
    fn a_repeated_option_is_an_error_unless_it_is_a_list_or_unknown() {
        assert_eq!(
            parse("pin/ls", &[("s", "true"), ("s", "false")]).unwrap_err(),
            "expected key stream to have only a single value, received [true false]"
        );
        assert!(parse("pin/ls", &[("nope", "1"), ("nope", "2")]).is_ok());
        let options = parse("pin/remote/ls", &[("cid", "a"), ("cid", "b")]).unwrap();
        assert_eq!(options.list("cid"), ["a", "b"]);
        assert_eq!(options.list("status"), ["pinned"]);
    }

    #[test]
    fn defaults_come_from_the_table_and_the_encoding_is_json() {
        let options = parse("pin/add", &[]).unwrap();
        assert!(options.bool("recursive"));
        assert_eq!(options.string("encoding"), "json");
        assert!(!options.is_set("name"));
        assert!(parse("files/ls", &[]).unwrap().bool("flush"));
    }
}
