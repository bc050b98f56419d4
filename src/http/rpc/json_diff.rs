//! Two JSON objects, and what differs, as the coloured text that `config/profile/apply` prints.
//!
//! Recursion is as deep as the values, which a JSON parser with a limit of 128 levels made.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::render_compact;

const YELLOW: &str = "\u{1b}[33m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const RESET: &str = "\u{1b}[0m";

/// What became of an entry. Entries of arrays have an empty key.
enum Entry<'a> {
    Equal(&'a Value),
    Changed(&'a Value, &'a Value),
    Added(&'a Value),
    Removed(&'a Value),
    Inside(Vec<(&'a str, Entry<'a>)>),
}

/// Writes what differs between `old` and `new`.
pub(super) fn format(old: &Value, new: &Value) -> String {
    let mut out = String::new();
    let entries = match compare(old, new) {
        Entry::Inside(entries) => entries,
        // Equal objects are shown whole.
        _ => object(old, new),
    };
    write(&mut out, "", &entries);
    out
}

fn compare<'a>(old: &'a Value, new: &'a Value) -> Entry<'a> {
    if old == new {
        return Entry::Equal(old);
    }
    match (old, new) {
        (Value::Object(_), Value::Object(_)) => Entry::Inside(object(old, new)),
        (Value::Array(a), Value::Array(b)) => {
            let both = a.iter().zip(b).map(|(a, b)| compare(a, b));
            let removed = a.iter().skip(b.len()).map(Entry::Removed);
            let added = b.iter().skip(a.len()).map(Entry::Added);
            Entry::Inside(both.chain(removed).chain(added).map(|entry| ("", entry)).collect())
        }
        _ => Entry::Changed(old, new),
    }
}

fn object<'a>(old: &'a Value, new: &'a Value) -> Vec<(&'a str, Entry<'a>)> {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return Vec::new() };
    let keys: BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    keys.into_iter()
        .filter_map(|key| {
            let entry = match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) => compare(old, new),
                (Some(old), None) => Entry::Removed(old),
                (None, Some(new)) => Entry::Added(new),
                (None, None) => return None,
            };
            Some((key, entry))
        })
        .collect()
}

fn write(out: &mut String, prefix: &str, entries: &[(&str, Entry<'_>)]) {
    out.push('{');
    for (index, (key, entry)) in entries.iter().enumerate() {
        let comma = if index + 1 < entries.len() { "," } else { "" };
        let line = |mark: &str, value: &Value| {
            let mut value = value.clone();
            value.sort_all_objects();
            format!("{prefix}{mark}\"{key}\": {}{comma}", render_compact(&value))
        };
        out.push('\n');
        match entry {
            Entry::Equal(value) => out.push_str(&line("", value)),
            Entry::Changed(old, new) => {
                let (old, new) = (line("<> ", old), line("** ", new));
                out.push_str(&format!("{YELLOW}{old}\n{new}{RESET}"));
            }
            Entry::Added(value) => out.push_str(&format!("{GREEN}{}{RESET}", line("<< ", value))),
            Entry::Removed(value) => out.push_str(&format!("{RED}{}{RESET}", line(">> ", value))),
            Entry::Inside(entries) => {
                out.push_str(&format!("{prefix}\"{key}\": "));
                write(out, &format!("{prefix}    "), entries);
                out.push_str(comma);
            }
        }
    }
    out.push_str(&format!("\n{prefix}}}"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn additions_removals_and_changes_are_marked() {
        let old = json!({"same": {"a": 1}, "was": null, "gone": "x", "list": [1], "last": 1});
        let new = json!({"same": {"a": 1}, "was": 2, "come": [], "list": [1, 2], "last": 1});
        assert_eq!(
            format(&old, &new),
            "{\n\u{1b}[32m<< \"come\": [],\u{1b}[0m\n\u{1b}[31m>> \"gone\": \"x\",\u{1b}[0m\n\
             \"last\": 1,\n\"list\": {\n    \"\": 1,\n\u{1b}[32m    << \"\": 2\u{1b}[0m\n    },\n\
             \"same\": {\"a\":1},\n\u{1b}[33m<> \"was\": null\n** \"was\": 2\u{1b}[0m\n}"
        );
    }
}
