//! `diag/*`: kubo core/commands/{active,diag,profile,sysdiag}.go.
//!
//! Unlike Kubo's, the archive of `diag/profile` holds what a program without Go's runtime can say:
//! see [`super::profile`].

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::commands_log::Call;
use super::go_any::Any;
use super::options::OptionValue;
use super::profile::{self, Collector};
use super::value::Int;
use super::{Error, Reply, Request, Value};
use crate::config::parse_duration;
use crate::ipld::quote::quote;

#[derive(Debug, Serialize)]
#[serde(rename = "commands.ReqLogEntry", rename_all = "PascalCase")]
struct Entry {
    start_time: String,
    end_time: String,
    active: bool,
    command: String,
    options: BTreeMap<String, Any>,
    args: Vec<String>,
    #[serde(rename = "ID")]
    id: Int,
}

/// The calls of the log.
#[derive(Debug)]
struct Calls(Vec<Entry>);

impl Serialize for Calls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Value for Calls {
    fn text(&self) -> Option<Result<String, Error>> {
        // Kubo's text encoder does not know the type of its own command.
        let text = "unexpected type []*commands.ReqLogEntry, expected *[]*cmds.ReqLogEntry";
        Some(Err(Error::new(text)))
    }
}

impl From<Call> for Entry {
    fn from(call: Call) -> Self {
        let options = call.options.iter().map(|(name, value)| {
            let value = match value {
                OptionValue::Bool(set) => Json::from(*set),
                OptionValue::Int(n) => Json::from(*n),
                OptionValue::Uint(n) => Json::from(*n),
                OptionValue::Float(n) => Json::from(*n),
                OptionValue::Str(text) => Json::from(text.as_str()),
                OptionValue::Strs(texts) => Json::from(texts.clone()),
            };
            (name.to_owned(), Any(value))
        });
        Self {
            start_time: rfc3339(Some(call.start)),
            end_time: rfc3339(call.end),
            active: call.end.is_none(),
            command: call.command,
            options: options.collect(),
            args: call.args,
            id: Int(i64::try_from(call.id).unwrap_or(i64::MAX)),
        }
    }
}

/// A time as Go writes it; the zero time when there is none.
fn rfc3339(time: Option<SystemTime>) -> String {
    let text = time.and_then(|time| OffsetDateTime::from(time).format(&Rfc3339).ok());
    text.unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
}

/// A value that has the shape of JSON.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Facts(Any);

impl Value for Facts {
    const BY_VALUE: bool = true;
}

/// `diag/cmds`.
pub(super) async fn cmds(request: Request) -> Result<Reply, Error> {
    Ok(Reply::one(Calls(request.log.calls().into_iter().map(Entry::from).collect())))
}

/// `diag/cmds/clear`.
pub(super) async fn clear(request: Request) -> Result<Reply, Error> {
    request.log.clear_finished();
    Ok(Reply::Nothing)
}

/// `diag/cmds/set-time`.
pub(super) async fn set_time(request: Request) -> Result<Reply, Error> {
    let nanos = parse_duration(request.arg(0)).map_err(Error::new)?;
    request.log.set_keep(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
    Ok(Reply::Nothing)
}

/// `diag/sys`.
pub(super) async fn sys(request: Request) -> Result<Reply, Error> {
    Ok(Reply::one(Facts(Any(request.node.system_facts()?))))
}

/// `diag/healthy`.
pub(super) async fn healthy(request: Request) -> Result<Reply, Error> {
    request.node.check_health().await?;
    Ok(Reply::one("ok".to_owned()))
}

/// `diag/profile`.
pub(super) async fn profile(request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let duration = |name: &str, what: &str| {
        let text = options.string(name);
        parse_duration(text)
            .map_err(|error| Error::new(format!("failed to parse {what} {}: {error}", quote(text))))
    };
    let nanos = duration("profile-time", "profile duration")?;
    duration("block-profile-rate", "block profile rate")?;
    let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    let mut collectors = Vec::new();
    let mut unknown = None;
    for name in options.list("collectors") {
        match Collector::by_name(name) {
            Some(collector) => collectors.push(collector),
            None => unknown = unknown.or(Some(name.clone())),
        }
    }
    if unknown.is_some() {
        // As Kubo: nothing is collected, and the archive is empty.
        collectors.clear();
    }
    Ok(Reply::raw(profile::archive(collectors, time, unknown)).content_type("application/zip"))
}
