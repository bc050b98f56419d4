//! Reading and changing JSON at dotted keys, as Kubo's `repo/common` does.

use serde_json::{Map, Value};

/// The value at the dotted `key`.
///
/// # Errors
/// With Kubo's text, when there is none.
pub fn get_key<'a>(root: &'a Value, key: &str) -> Result<&'a Value, String> {
    let mut at = root;
    let mut passed = 0;
    for part in key.split('.') {
        let end = passed + part.len();
        let Value::Object(map) = at else {
            let so_far = key.get(..passed.saturating_sub(1)).unwrap_or_default();
            return Err(format!("{so_far} key is not a map"));
        };
        let Some(next) = map.get(part) else {
            // Kubo joins what came before and the missing part, with a dot only between two texts.
            let before = key.get(..passed.saturating_sub(1)).unwrap_or_default();
            let dot = if before.is_empty() { "" } else { "." };
            return Err(format!("{before}{dot}{part} not found"));
        };
        at = next;
        passed = end + 1;
    }
    Ok(at)
}

/// Puts `value` at the dotted `key`, making the objects that are missing or `null` on the way.
pub(super) fn set_key(root: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let mut at = root;
    let mut passed = 0;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let Value::Object(map) = at else {
            let so_far = key.get(..usize::saturating_sub(passed, 1)).unwrap_or_default();
            return Err(format!("{so_far} key is not a map"));
        };
        passed += part.len() + 1;
        if parts.peek().is_none() {
            map.insert(part.to_owned(), value);
            return Ok(());
        }
        let next = map.entry(part).or_insert(Value::Null);
        if next.is_null() {
            *next = Value::Object(Map::new());
        }
        at = next;
    }
    Ok(())
}

/// As [`set_key`]; what is no object on the way is replaced by one.
pub(super) fn put(root: &mut Value, key: &str, value: Value) {
    let mut at = root;
    for part in key.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(part).or_insert(Value::Null);
    }
    *at = value;
}

/// `left` with every value of `right` put over it; objects are merged, anything else replaced.
#[must_use]
pub fn merge(left: &Value, right: &Value) -> Value {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let mut merged = left.clone();
            for (key, value) in right {
                let value = match merged.get(key) {
                    Some(old) => merge(old, value),
                    None => value.clone(),
                };
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (_, right) => right.clone(),
    }
}

/// `root` without what must not leave the machine: the private key, the secrets of
/// `API.Authorizations`, the keys of remote pinning services.
#[must_use]
pub fn scrub(root: &Value) -> Value {
    let mut scrubbed = root.clone();
    SECRETS.iter().for_each(|path| remove(&mut scrubbed, path));
    scrubbed
}

/// As [`scrub`], but a section of secrets that is `null` stays.
#[must_use]
pub fn scrub_sections(root: &Value) -> Value {
    let mut scrubbed = root.clone();
    for path in SECRETS {
        let section = path.iter().take(2).try_fold(root, |at, part| at.get(part));
        if section.is_some_and(|section| !section.is_null()) {
            remove(&mut scrubbed, path);
        }
    }
    scrubbed
}

/// Where secrets are.
const SECRETS: [&[&str]; 3] = [
    &["Identity", "PrivKey"],
    &["API", "Authorizations"],
    &["Pinning", "RemoteServices", "*", "API", "Key"],
];

/// Removes what `path` names; `*` is any key, names are compared without case. What is an object
/// is emptied and not removed.
fn remove(value: &mut Value, path: &[&str]) {
    let (Some((wanted, rest)), Value::Object(map)) = (path.split_first(), value) else { return };
    let matches = |key: &str| *wanted == "*" || wanted.eq_ignore_ascii_case(key);
    if rest.is_empty() {
        map.retain(|key, value| !matches(key) || value.is_object());
        map.iter_mut().filter(|(key, _)| matches(key)).for_each(|(_, value)| {
            *value = Value::Object(Map::new());
        });
    } else {
        map.retain(|key, value| !matches(key) || value.is_object());
        for (_, value) in map.iter_mut().filter(|(key, _)| matches(key)) {
            remove(value, rest);
        }
    }
}
