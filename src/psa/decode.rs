//! Answers of a service, read as Go's `encoding/json` reads them into boxo's models: names in any
//! case, `null` and what is missing as nothing, and its texts for what does not fit.
//!
//! Pure.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Status;
use crate::config::parse_json;

/// A pin as a service describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemotePin {
    /// What the service calls the request.
    pub request_id: String,
    /// How far it is; `None` when the service does not say.
    pub status: Option<Status>,
    /// When it was made: RFC 3339.
    pub created: String,
    /// The CID, as text.
    pub cid: String,
    /// The name; empty without one.
    pub name: String,
    /// Multiaddrs of the peers that fetch for the service.
    pub delegates: Vec<String>,
}

/// What failed, in the service's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) details: String,
}

/// What Go's zero time looks like.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A field of an object, or what stands in its place.
struct At<'a> {
    value: &'a Value,
    /// The Go struct that the field is in.
    of: &'static str,
    /// The path to it from the top.
    path: String,
}

const NULL: &Value = &Value::Null;

impl<'a> At<'a> {
    fn top(value: &'a Value) -> Self {
        Self { value, of: "", path: String::new() }
    }

    fn wrong(&self, wanted: &str) -> String {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if self.of.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
        }
        let (of, path) = (self.of, &self.path);
        format!("json: cannot unmarshal {found} into Go struct field {of}.{path} of type {wanted}")
    }

    fn object(&self, name: &'static str) -> Result<Object<'a>, String> {
        match self.value {
            Value::Null => Ok(Object { map: None, name, path: self.path.clone() }),
            Value::Object(map) => Ok(Object { map: Some(map), name, path: self.path.clone() }),
            _ => Err(self.wrong(&format!("openapi.{name}"))),
        }
    }

    fn text(&self) -> Result<String, String> {
        match self.value {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.wrong("string")),
        }
    }

    fn items(&self, wanted: &str) -> Result<impl Iterator<Item = At<'a>>, String> {
        let items: &[Value] = match self.value {
            Value::Null => &[],
            Value::Array(items) => items,
            _ => return Err(self.wrong(wanted)),
        };
        let (of, path) = (self.of, self.path.clone());
        Ok(items.iter().map(move |value| At { value, of, path: path.clone() }))
    }
}

struct Object<'a> {
    map: Option<&'a Map<String, Value>>,
    name: &'static str,
    path: String,
}

impl<'a> Object<'a> {
    fn field(&self, name: &str) -> At<'a> {
        let mut fields = self.map.into_iter().flatten();
        let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{name}", self.path);
        At { value: found.map_or(NULL, |(_, value)| value), of: self.name, path }
    }
}

/// A list of pins, with the number of all that there are.
pub(super) fn page(text: &str) -> Result<(i32, Vec<RemotePin>), String> {
    let json = parse_json(text)?;
    let results = At::top(&json).object("PinResults")?;
    let count = results.field("count");
    let total = match count.value {
        Value::Null => 0,
        Value::Number(number) => {
            let fits = number.as_i64().and_then(|number| i32::try_from(number).ok());
            fits.ok_or_else(|| {
                count.wrong("int32").replacen("number", &format!("number {number}"), 1)
            })?
        }
        _ => return Err(count.wrong("int32")),
    };
    let pins: Result<Vec<RemotePin>, String> =
        results.field("results").items("[]openapi.PinStatus")?.map(|at| pin_at(&at)).collect();
    Ok((total, pins?))
}

/// One pin.
pub(super) fn pin(text: &str) -> Result<RemotePin, String> {
    pin_at(&At::top(&parse_json(text)?))
}

fn pin_at(at: &At<'_>) -> Result<RemotePin, String> {
    let status = at.object("PinStatus")?;
    let pin = status.field("pin").object("Pin")?;
    let name = status.field("status").text()?;
    let known = match name.as_str() {
        "" if status.field("status").value.is_null() => None,
        name => Some(Status::parse(name).ok_or_else(|| format!("{name} is not a valid Status"))?),
    };
    let delegates: Result<Vec<String>, String> =
        status.field("delegates").items("[]string")?.map(|at| at.text()).collect();
    Ok(RemotePin {
        request_id: status.field("requestid").text()?,
        status: known,
        created: created(&status.field("created"))?,
        cid: pin.field("cid").text()?,
        name: pin.field("name").text()?,
        delegates: delegates?,
    })
}

/// A time, written as Go writes it again: without zeros at the end of the second.
fn created(at: &At<'_>) -> Result<String, String> {
    match at.value {
        Value::Null => Ok(ZERO_TIME.to_owned()),
        Value::String(text) => {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok();
            time.and_then(|time| time.format(&Rfc3339).ok()).ok_or_else(|| {
                format!(
                    "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} \
                     as \"2006\""
                )
            })
        }
        _ => Err("Time.UnmarshalJSON: input is not a JSON string".to_owned()),
    }
}

/// What failed.
pub(super) fn failure(text: &str) -> Result<Failure, String> {
    let json = parse_json(text)?;
    let failure = At::top(&json).object("Failure")?;
    let error = failure.field("error").object("FailureError")?;
    Ok(Failure { reason: error.field("reason").text()?, details: error.field("details").text()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_go_reads_them() {
        let text = r#"{"count":7,"Results":[{"requestid":"r","status":"pinned",
            "created":"2026-01-02T03:04:05.670Z","pin":{"cid":"c","name":null},
            "delegates":["/ip4/1.2.3.4/tcp/1"],"info":{"a":"b"}},{}]}"#;
        let (count, pins) = page(text).unwrap();
        assert_eq!((count, pins.len()), (7, 2));
        assert_eq!(pins[0].created, "2026-01-02T03:04:05.67Z");
        assert_eq!(pins[0].status, Some(Status::Pinned));
        assert_eq!((pins[1].status, &*pins[1].created), (None, ZERO_TIME));
        let failed = failure(r#"{"error":{"reason":"R","details":"D"}}"#).unwrap();
        assert_eq!((&*failed.reason, &*failed.details), ("R", "D"));
    }

    #[test]
    fn what_does_not_fit_is_said_in_the_words_of_go() {
        let cases = [
            ("<html>", "invalid character '<' looking for beginning of value"),
            ("[]", "json: cannot unmarshal array into Go value of type openapi.PinResults"),
            (
                r#"{"count":"1"}"#,
                "json: cannot unmarshal string into Go struct field PinResults.count of type int32",
            ),
            (
                r#"{"results":[{"requestid":1}]}"#,
                "json: cannot unmarshal number into Go struct field PinStatus.results.requestid of \
                 type string",
            ),
            (r#"{"results":[{"status":"lost"}]}"#, "lost is not a valid Status"),
        ];
        for (text, error) in cases {
            assert_eq!(page(text).unwrap_err(), error, "{text}");
        }
    }
}
