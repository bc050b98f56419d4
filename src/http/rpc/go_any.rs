//! JSON of any shape as a value of the RPC: Go's `interface{}`.

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

/// Up to here every integer is a `float64` of its own.
const EXACT: u64 = 1 << 53;

/// JSON of any shape; the keys of objects are written in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Any(pub(super) Json);

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Borrowed(&self.0).serialize(serializer)
    }
}

struct Borrowed<'a>(&'a Json);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Null => serializer.serialize_none(),
            Json::Bool(set) => serializer.serialize_bool(*set),
            Json::String(text) => serializer.serialize_str(text),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(n), _) if n.unsigned_abs() <= EXACT => serializer.serialize_i64(n),
                (_, float) => serializer.serialize_f64(float.unwrap_or_default()),
            },
            Json::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Borrowed(item)))?;
                list.end()
            }
            Json::Object(map) => {
                serializer.serialize_newtype_struct("map[string]interface {}", &Object(map))
            }
        }
    }
}

struct Object<'a>(&'a serde_json::Map<String, Json>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys: Vec<(&String, &Json)> = self.0.iter().collect();
        keys.sort_by_key(|(key, _)| *key);
        let mut map = serializer.serialize_map(Some(keys.len()))?;
        for (key, value) in keys {
            map.serialize_entry(key, &Borrowed(value))?;
        }
        map.end()
    }
}
