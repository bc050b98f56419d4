//! `name/*`: kubo core/commands/name.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::key::{KeyEncoder, read};
use super::resolve::ResolvedPath;
use super::tabwriter::align;
use super::value::{Forms, Int};
use super::{Error, Reply, Request, Value};
use crate::config::{format_duration, parse_duration};
use crate::ipld::quote::{escape_unprintable, quote};
use crate::ipns::{Record, SignatureType};
use crate::node::Node;
use crate::node::names::{Follow, LIFETIME_NANOS, Publish, PutRecord, TTL_NANOS};

/// As much of a record as Kubo reads; no valid one has as much.
const RECORD_BYTES_MAX: usize = 1 << 20;
const TOO_LONG: &str = "record exceeds allowed size limit";

#[derive(Debug, Serialize)]
#[serde(rename = "IpnsEntry", rename_all = "PascalCase")]
struct IpnsEntry {
    name: String,
    value: String,
    #[serde(skip)]
    form: EntryForm,
}

/// What the text of an entry says.
#[derive(Debug, Clone, Copy)]
enum EntryForm {
    Published,
    Name,
    Nothing,
}

impl Value for IpnsEntry {
    fn text(&self) -> Option<Result<String, Error>> {
        let (name, value) = (escape_unprintable(&self.name), escape_unprintable(&self.value));
        Some(Ok(match self.form {
            EntryForm::Published => format!("Published to {name}: {value}\n"),
            EntryForm::Name => format!("{name}\n"),
            EntryForm::Nothing => String::new(),
        }))
    }
}

/// `name/publish`.
pub(super) async fn publish(mut request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let (allow_offline, allow_delegated) =
        (options.bool("allow-offline"), options.bool("allow-delegated"));
    check_ways(allow_offline, allow_delegated)?;
    let lifetime_nanos = lifetime(options.opt_string("lifetime"))?;
    let publish = Publish {
        path: String::new(),
        key: options.string("key").to_owned(),
        resolve: options.bool("resolve"),
        lifetime_nanos,
        ttl_nanos: ttl(options.opt_string("ttl"), lifetime_nanos)?,
        v1: options.bool("v1compat"),
        allow_offline,
        allow_delegated,
        sequence: options.opt_uint("sequence"),
    };
    let quieter = options.bool("quieter");
    let path = request.next_arg().await?.unwrap_or_default();
    let reach = request.reach();
    let (name, value) = request.node.publish(Publish { path, ..publish }, reach).await?;
    let form = if quieter { EntryForm::Name } else { EntryForm::Published };
    Ok(Reply::one(IpnsEntry { name, value, form }))
}

fn check_ways(allow_offline: bool, allow_delegated: bool) -> Result<(), Error> {
    if allow_offline && allow_delegated {
        return Err(Error::new("cannot use both --allow-offline and --allow-delegated flags"));
    }
    Ok(())
}

fn lifetime(text: Option<&str>) -> Result<i64, Error> {
    let Some(text) = text else { return Ok(LIFETIME_NANOS) };
    let nanos = parse_duration(text)
        .map_err(|error| Error::new(format!("error parsing lifetime option: {error}")))?;
    if nanos <= 0 {
        return Err(Error::new(format!("lifetime must be greater than zero, got {text}")));
    }
    Ok(nanos)
}

fn ttl(text: Option<&str>, lifetime: i64) -> Result<i64, Error> {
    let Some(text) = text else { return Ok(TTL_NANOS.min(lifetime)) };
    let nanos = parse_duration(text).map_err(Error::new)?;
    if nanos < 0 {
        return Err(Error::new(format!("ttl must not be negative, got {text}")));
    }
    if nanos > lifetime {
        let (ttl, lifetime) = (format_duration(nanos), format_duration(lifetime));
        let text = format!("ttl ({ttl}) must not be greater than lifetime ({lifetime})");
        return Err(Error::new(text));
    }
    Ok(nanos)
}

/// `name/resolve`.
pub(super) async fn resolve(request: Request) -> Result<Reply, Error> {
    let name = request.args.first().cloned().unwrap_or_else(|| request.node.peer_id());
    let follow = follow(&request)?;
    let path = request.node.resolve_name(&name, &follow).await?;
    let resolved = ResolvedPath { path };
    // A stream of the records that are better than those before; here it is the best at once.
    if request.options.bool("stream") {
        return Ok(Reply::all([resolved]));
    }
    Ok(Reply::one(resolved))
}

/// How far the options say to follow a name.
pub(super) fn follow(request: &Request) -> Result<Follow, Error> {
    let options = &request.options;
    let mut follow = Follow { recursive: options.bool("recursive"), ..Follow::default() };
    if let Some(text) = options.opt_string("dht-timeout") {
        let nanos = parse_duration(text).map_err(Error::new)?;
        let nanos =
            u64::try_from(nanos).map_err(|_| Error::new("DHT timeout value must be >= 0"))?;
        follow.time_max = (nanos > 0).then(|| Duration::from_nanos(nanos));
    }
    if let Some(records) = options.opt_uint("dht-record-count") {
        follow.records = usize::try_from(records).unwrap_or(usize::MAX);
    }
    Ok(follow)
}

/// `name/get`.
pub(super) async fn get(request: Request) -> Result<Reply, Error> {
    let name = request.arg(0);
    let key = if name.starts_with("/ipns/") { name.to_owned() } else { format!("/ipns/{name}") };
    let record = request.node.routing_record(&key).await?;
    Ok(Reply::bytes(record).content_type("application/vnd.ipfs.ipns-record"))
}

/// `name/put`.
pub(super) async fn put(mut request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let (allow_offline, allow_delegated) =
        (options.bool("allow-offline"), options.bool("allow-delegated"));
    check_ways(allow_offline, allow_delegated)?;
    let (force, quiet) = (options.bool("force"), options.bool("quiet"));
    let name = request.arg(0).to_owned();
    // Kubo looks at the name before it reads the record.
    Node::ipns_name(&name).map_err(|error| Error::new(format!("invalid IPNS name: {error}")))?;
    let record = read(&mut request, RECORD_BYTES_MAX, TOO_LONG).await?;
    let put = PutRecord { name, record, force, allow_offline, allow_delegated };
    let (name, value) = request.node.put_name_record(put).await?;
    let form = if quiet { EntryForm::Nothing } else { EntryForm::Name };
    Ok(Reply::one(IpnsEntry { name, value, form }))
}

/// Go's `time.Time`, in UTC.
type Time = Forms<String, String>;

#[derive(Debug, Default, Serialize)]
#[serde(rename = "IpnsInspectEntry", rename_all = "PascalCase")]
struct Entry {
    value: String,
    validity_type: Option<i64>,
    validity: Option<Time>,
    sequence: Option<u64>,
    #[serde(rename = "TTL")]
    ttl: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename = "IpnsInspectValidation", rename_all = "PascalCase")]
struct Validation {
    valid: bool,
    reason: String,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename = "IpnsInspectResult", rename_all = "PascalCase")]
struct Inspection {
    entry: Entry,
    pb_size: Int,
    signature_type: &'static str,
    hex_dump: String,
    validation: Option<Validation>,
}

impl Value for Inspection {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut lines: Vec<(&str, String)> = Vec::new();
        let entry = &self.entry;
        if !entry.value.is_empty() {
            lines.push(("Value", quote(&entry.value)));
        }
        lines.extend(entry.validity_type.map(|kind| ("Validity Type", kind.to_string())));
        lines.extend(entry.validity.iter().map(|time| ("Validity", quote(&time.json))));
        lines.extend(entry.sequence.map(|number| ("Sequence", number.to_string())));
        lines.extend(entry.ttl.map(|nanos| ("TTL", format_duration(nanos))));
        lines.push(("Protobuf Size", self.pb_size.0.to_string()));
        lines.push(("Signature Type", self.signature_type.to_owned()));
        let table: String =
            lines.iter().map(|(name, value)| format!("{name}:\t{value}\n")).collect();
        let mut text = align(&table, 0);
        match &self.validation {
            None => {
                let line = "This record was not verified. Pass '--verify k51...' to verify.";
                text.push_str(&format!("\n{line}\n"));
            }
            Some(validation) => {
                let mut table = format!("\tValid:\t{}\n", validation.valid);
                if !validation.reason.is_empty() {
                    table.push_str(&format!("\tReason:\t{}\n", validation.reason));
                }
                table.push_str(&format!("\tName:\t{}\n", validation.name));
                text.push_str("\nValidation results:\n");
                text.push_str(&align(&table, 0));
            }
        }
        if !self.hex_dump.is_empty() {
            text.push_str(&format!("\nHex Dump:\n{}", self.hex_dump));
        }
        Some(Ok(text))
    }
}

/// `name/inspect`.
pub(super) async fn inspect(mut request: Request) -> Result<Reply, Error> {
    let bytes = Bytes::from(read(&mut request, RECORD_BYTES_MAX, TOO_LONG).await?);
    let record = Record::decode(&bytes).map_err(|error| Error::new(error.to_string()))?;
    let validation = match request.options.opt_string("verify") {
        None => None,
        Some(name) => {
            let (name, valid) = request.node.verify_record(&record, name)?;
            let (valid, reason) = (valid.is_ok(), valid.err().unwrap_or_default());
            Some(Validation { valid, reason, name })
        }
    };
    let hex_dump = if request.options.bool("dump") { hex_dump(&bytes) } else { String::new() };
    Ok(Reply::one(Inspection {
        entry: Entry {
            value: record.value().map(|path| path.text().to_owned()).unwrap_or_default(),
            validity_type: record.validity_type().ok(),
            validity: record.validity().ok().and_then(shown),
            sequence: record.sequence().ok(),
            ttl: record.ttl_nanos().ok(),
        },
        pb_size: Int(bytes.len().try_into().unwrap_or(i64::MAX)),
        signature_type: match record.signature_type() {
            SignatureType::V1V2 => "V1+V2",
            SignatureType::V2 => "V2",
        },
        hex_dump,
        validation,
    }))
}

fn shown(time: OffsetDateTime) -> Option<Time> {
    let text = time.format(&Rfc3339).ok()?;
    let go = text.replace('T', " ").replace('Z', " +0000 UTC");
    Some(Forms { json: text.clone(), xml: text, go })
}

/// Go's `hex.Dump`: sixteen bytes a line, their offset before and their characters behind.
fn hex_dump(bytes: &[u8]) -> String {
    const LINE: usize = 16;
    let mut out = String::with_capacity(bytes.len() * 5 + 80);
    for (number, line) in bytes.chunks(LINE).enumerate() {
        out.push_str(&format!("{:08x} ", number * LINE));
        for at in 0..LINE {
            if at == LINE / 2 {
                out.push(' ');
            }
            match line.get(at) {
                Some(byte) => out.push_str(&format!(" {byte:02x}")),
                None => out.push_str("   "),
            }
        }
        let shown = |byte: &u8| if (32..127).contains(byte) { char::from(*byte) } else { '.' };
        out.push_str("  |");
        out.extend(line.iter().map(shown));
        out.push_str("|\n");
    }
    out
}

#[derive(Debug, Serialize)]
#[serde(rename = "ipnsPubsubState", rename_all = "PascalCase")]
struct PubsubState {
    enabled: bool,
}

impl Value for PubsubState {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(if self.enabled { "enabled\n" } else { "disabled\n" }.to_owned()))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "ipnsPubsubCancel", rename_all = "PascalCase")]
struct PubsubCancel {
    canceled: bool,
}

impl Value for PubsubCancel {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(if self.canceled { "canceled\n" } else { "no subscription\n" }.to_owned()))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "stringList", rename_all = "PascalCase")]
struct StringList {
    /// `nil` in Go when there are none.
    strings: Option<Vec<String>>,
}

impl Value for StringList {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(self.strings.iter().flatten().map(|text| format!("{text}\n")).collect()))
    }
}

/// `name/pubsub/state`.
pub(super) async fn pubsub_state(request: Request) -> Result<Reply, Error> {
    Ok(Reply::one(PubsubState { enabled: request.node.name_subscriptions().is_some() }))
}

/// `name/pubsub/subs`.
pub(super) async fn pubsub_subscriptions(request: Request) -> Result<Reply, Error> {
    let encoder = KeyEncoder::of(&request)?;
    let names = request.node.name_subscriptions().ok_or_else(not_enabled)?;
    let strings: Vec<String> =
        names.iter().map(|key| format!("/ipns/{}", encoder.encode(key))).collect();
    Ok(Reply::one(StringList { strings: (!strings.is_empty()).then_some(strings) }))
}

/// `name/pubsub/cancel`.
pub(super) async fn pubsub_cancel(request: Request) -> Result<Reply, Error> {
    if request.node.name_subscriptions().is_none() {
        return Err(not_enabled());
    }
    let canceled = request
        .node
        .cancel_name_subscription(request.arg(0))
        .map_err(|error| Error::client(format!("not a valid IPNS name: {error}")))?;
    Ok(Reply::one(PubsubCancel { canceled }))
}

fn not_enabled() -> Error {
    Error::client("IPNS pubsub subsystem is not enabled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_dumped_as_go_does() {
        let text = "00000000  00 01 61 62 63 64 65 66  67 68 69 6a 6b 6c 6d 7f  |..abcdefghijklm.|\n\
                    00000010  7a                                                |z|\n";
        assert_eq!(hex_dump(b"\x00\x01abcdefghijklm\x7fz"), text);
        assert_eq!(hex_dump(b""), "");
    }
}
