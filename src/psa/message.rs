//! Messages of a service: what clients ask, read strictly by the specification, and what it answers.
//!
//! Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::requests::Request;
use super::{LIMIT_DEFAULT, NewPin, Status};
use crate::ipld::Cid;

/// Limits of the specification.
const NAME_CHARS_MAX: usize = 255;
const ORIGINS_MAX: usize = 20;
const META_ENTRIES_MAX: usize = 1000;
const CIDS_MAX: usize = 10;
const LIMIT_MAX: u32 = 1000;

/// A pin that a client asks for.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// The pin.
    pub pin: NewPin,
    /// What the client wants to have remembered with it.
    pub meta: BTreeMap<String, String>,
}

/// How names are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Matching {
    /// The whole of it.
    #[default]
    Exact,
    /// The whole of it, whatever the case.
    Iexact,
    /// A part of it.
    Partial,
    /// A part of it, whatever the case.
    Ipartial,
}

/// Which requests are meant.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// With one of these CIDs; any when empty.
    pub cids: Vec<Cid>,
    /// With this name; any for `None`.
    pub name: Option<String>,
    /// How the name is compared.
    pub matching: Matching,
    /// In one of these states.
    pub statuses: Vec<Status>,
    /// Made before this time: milliseconds since 1970.
    pub before_ms: Option<i64>,
    /// Made after it.
    pub after_ms: Option<i64>,
    /// At most so many.
    pub limit: u32,
    /// With all of these.
    pub meta: BTreeMap<String, String>,
}

impl Query {
    /// What the parameters of a request mean; those that the specification does not know mean
    /// nothing.
    ///
    /// # Errors
    /// With what is wrong with one of them.
    pub fn parse(parameters: &[(String, String)]) -> Result<Self, String> {
        let mut query =
            Self { limit: LIMIT_DEFAULT, statuses: vec![Status::Pinned], ..Self::default() };
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
            let wrong = |error: String| format!("{name}: {error}");
            match name.as_str() {
                "cid" => query.cids = each(value, parse_cid).map_err(wrong)?,
                "name" => query.name = Some(parse_name(value).map_err(wrong)?),
                "match" => query.matching = parse_matching(value).map_err(wrong)?,
                "status" => query.statuses = each(value, parse_status).map_err(wrong)?,
                "before" => query.before_ms = Some(parse_time(value, true).map_err(wrong)?),
                "after" => query.after_ms = Some(parse_time(value, false).map_err(wrong)?),
                "limit" => query.limit = parse_limit(value).map_err(wrong)?,
                "meta" => query.meta = parse_meta(value).map_err(wrong)?,
                _ => {}
            }
        }
        if query.cids.len() > CIDS_MAX {
            return Err(format!("cid: at most {CIDS_MAX} at a time"));
        }
        Ok(query)
    }
}

impl NewRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let json: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let fields = json.as_object().ok_or("the body is no object")?;
        let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let cid = field("cid").ok_or("cid: is required")?;
        let cid = cid.as_str().ok_or("cid: is no text")?;
        let cid = parse_cid(cid).map_err(|error| format!("cid: {error}"))?;
        let name = match field("name") {
            None => String::new(),
            Some(name) => parse_name(name.as_str().ok_or("name: is no text")?)
                .map_err(|error| format!("name: {error}"))?,
        };
        let origins = match field("origins") {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() > ORIGINS_MAX => {
                return Err(format!("origins: at most {ORIGINS_MAX}"));
            }
            Some(list @ Value::Array(items)) if items.iter().all(Value::is_string) => texts(list),
            Some(_) => return Err("origins: is no list of texts".to_owned()),
        };
        let meta = field("meta").map(meta_of).transpose();
        let meta = meta.map_err(|error| format!("meta: {error}"))?.unwrap_or_default();
        Ok(Self { pin: NewPin { cid, name, origins }, meta })
    }
}

/// A page of a listing.
#[must_use]
pub fn page(count: u64, requests: &[Request], delegates: &[String]) -> Value {
    let results: Vec<Value> = requests.iter().map(|request| status(request, delegates)).collect();
    json!({"count": count, "results": results})
}

/// How far a request is.
#[must_use]
pub fn status(request: &Request, delegates: &[String]) -> Value {
    let mut pin = json!({"cid": request.cid});
    if let Value::Object(pin) = &mut pin {
        if !request.name.is_empty() {
            pin.insert("name".to_owned(), json!(request.name));
        }
        if !request.origins.is_empty() {
            pin.insert("origins".to_owned(), json!(request.origins));
        }
        if !request.meta.is_empty() {
            pin.insert("meta".to_owned(), json!(request.meta));
        }
    }
    let mut status = json!({
        "requestid": request.id,
        "status": request.status.as_str(),
        "created": time_text(request.created_ms),
        "pin": pin,
        "delegates": delegates,
    });
    if let Value::Object(status) = &mut status
        && !request.error.is_empty()
    {
        status.insert("info".to_owned(), json!({"error": request.error}));
    }
    status
}

/// An error, by the specification's word for it and in our own.
#[must_use]
pub fn failure(reason: &str, details: &str) -> Value {
    json!({"error": {"reason": reason, "details": details}})
}

/// The texts of a list.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The texts of an object.
pub(super) fn text_map(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn each<T>(list: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    list.split(',').map(parse).collect()
}

fn parse_cid(text: &str) -> Result<Cid, String> {
    Cid::parse(text).map_err(|error| error.to_string())
}

fn parse_status(text: &str) -> Result<Status, String> {
    Status::parse(text).ok_or_else(|| format!("{text:?} is no status"))
}

fn parse_name(text: &str) -> Result<String, String> {
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(format!("has more than {NAME_CHARS_MAX} characters"));
    }
    Ok(text.to_owned())
}

fn parse_matching(text: &str) -> Result<Matching, String> {
    Ok(match text {
        "exact" => Matching::Exact,
        "iexact" => Matching::Iexact,
        "partial" => Matching::Partial,
        "ipartial" => Matching::Ipartial,
        _ => return Err(format!("{text:?} is none of exact, iexact, partial and ipartial")),
    })
}

fn parse_limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("{text:?} is no number from 1 to {LIMIT_MAX}"))
}

/// Milliseconds since 1970; of what lies between two, the later for a time that requests are to be
/// older than.
fn parse_time(text: &str, is_upper: bool) -> Result<i64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| format!("{text:?} is no time of RFC 3339"))?;
    let nanos = time.unix_timestamp_nanos();
    let ms = nanos.div_euclid(1_000_000);
    let ms = if is_upper && nanos.rem_euclid(1_000_000) > 0 { ms + 1 } else { ms };
    i64::try_from(ms).map_err(|_| format!("{text:?} is out of range"))
}

fn parse_meta(text: &str) -> Result<BTreeMap<String, String>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    meta_of(&json)
}

fn meta_of(json: &Value) -> Result<BTreeMap<String, String>, String> {
    let fields = json.as_object().ok_or("is no object")?;
    if fields.len() > META_ENTRIES_MAX {
        return Err(format!("has more than {META_ENTRIES_MAX} entries"));
    }
    match fields.iter().find(|(_, value)| !value.is_string()) {
        Some((key, _)) => Err(format!("{key:?} is no text")),
        None => Ok(text_map(json)),
    }
}

/// RFC 3339, with milliseconds.
fn time_text(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

    fn query(text: &str) -> Result<Query, String> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<_> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Query::parse(&pairs)
    }

    #[test]
    fn parameters_mean_what_the_specification_says() {
        let plain = query("").unwrap();
        assert_eq!((plain.limit, plain.statuses), (10, vec![Status::Pinned]));
        let all = query(&format!(
            "cid={CID},{CID}&name=a&match=ipartial&status=queued,failed&limit=1000&meta={{\"k\":\"v\"}}\
             &before=2026-01-02T03:04:05.0061Z&after=2026-01-02T03:04:05.0061Z&other=x"
        ))
        .unwrap();
        assert_eq!((all.cids.len(), all.name.as_deref()), (2, Some("a")));
        assert_eq!(all.matching, Matching::Ipartial);
        assert_eq!(all.statuses, [Status::Queued, Status::Failed]);
        assert_eq!(all.before_ms.unwrap() - all.after_ms.unwrap(), 1);
        assert_eq!(all.meta["k"], "v");
        for (wrong, error) in [
            ("cid=x", "cid: "),
            ("status=lost", "status: \"lost\" is no status"),
            ("limit=0", "limit: \"0\" is no number from 1 to 1000"),
            ("limit=1001", "limit: "),
            ("match=x", "match: "),
            ("before=yesterday", "before: "),
            ("meta=[]", "meta: is no object"),
        ] {
            let found = query(wrong).unwrap_err();
            assert!(found.starts_with(error), "{wrong}: {found}");
        }
    }

    #[test]
    fn a_body_is_read_or_refused_with_the_field_that_is_wrong() {
        let text = format!(
            r#"{{"cid":"{CID}","name":"n","origins":["/p2p/x"],"meta":{{"a":"b"}},"more":1}}"#
        );
        let request = NewRequest::parse(text.as_bytes()).unwrap();
        assert_eq!((&*request.pin.name, request.meta["a"].as_str()), ("n", "b"));
        assert_eq!(request.pin.origins, ["/p2p/x"]);
        for (wrong, error) in [
            ("{", "EOF"),
            ("[]", "the body is no object"),
            ("{}", "cid: is required"),
            (r#"{"cid":1}"#, "cid: is no text"),
            (r#"{"cid":"x"}"#, "cid: "),
            (&text.replace("\"n\"", "1"), "name: is no text"),
            (&text.replace("\"n\"", &format!("\"{}\"", "é".repeat(256))), "name: has more"),
            (&text.replace("\"/p2p/x\"", "1"), "origins: is no list of texts"),
            (&text.replace("\"b\"", "1"), "meta: \"a\" is no text"),
        ] {
            let found = NewRequest::parse(wrong.as_bytes()).unwrap_err();
            assert!(found.starts_with(error), "{wrong}: {found}");
        }
    }
}
