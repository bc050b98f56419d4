//! Messages as one line of JSON, for logs: hashes, names and nonces in hexadecimal, times as
//! `milliseconds.counter`, records by what they say of which pin. Cells of sketches say nothing to
//! a reader and are only counted. Nothing reads this back.

use std::fmt;

use multiaddr::Multiaddr;
use serde_json::{Value, json};

use super::{
    Answer, Ask, Coverage, Fetch, Hello, Message, Part, Proof, Reply, Roots, Status, Update,
};
use crate::sync::clock::Hlc;
use crate::sync::hash::{Rid, hex};
use crate::sync::record::{Kind, Record};
use crate::sync::store::Cursor;
use crate::sync::tree::Prefix;
use crate::sync::vector::Vector;

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_json().fmt(f)
    }
}

impl Message {
    /// The message for a log. `type` is `hello`, `update`, `fetch` or `fetchReply`; the other names
    /// are those of the fields here.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Hello(message) => hello(message),
            Self::Update(message) => update(message),
            Self::Fetch(message) => fetch(message),
            Self::Reply(message) => reply(message),
        }
    }
}

fn hello(hello: &Hello) -> Value {
    let peer = libp2p_identity::PeerId::from_bytes(&hello.peer)
        .map_or_else(|_| hex(&hello.peer), |peer| peer.to_base58());
    let addresses: Vec<String> = hello
        .addresses
        .iter()
        .map(|bytes| {
            Multiaddr::try_from(bytes.clone()).map_or_else(|_| hex(bytes), |a| a.to_string())
        })
        .collect();
    json!({
        "type": "hello",
        "peer": peer,
        "addresses": addresses,
        "capabilities": hello.capabilities,
        "node_hlc": time(hello.node_hlc),
        "wall_ms": hello.wall_ms,
        "boot_nonce": number(hello.boot_nonce),
        "roots": roots(&hello.roots),
        "floor_low": time(hello.floor_low),
        "roster_digest": hex(&hello.roster_digest),
        "status": status(&hello.status),
        "weight": hello.weight,
        "tags": hello.tags,
        "author": hex(&hello.author.0),
        "binding": hello.binding.as_ref().map(|binding| json!({
            "public_key": hex(&binding.public_key),
            "signature": hex(&binding.signature),
        })),
        "signature": hex(&hello.signature),
    })
}

fn status(status: &Status) -> Value {
    json!({
        "pinned": status.pinned,
        "queued": status.queued,
        "fetching": status.fetching,
        "failing": status.failing,
        "stalled": status.stalled,
        "missing": status.missing,
        "free_bytes": status.free_bytes,
        "used_bytes": status.used_bytes,
        "complete_at": status.complete_at.map(|root| hex(&root)),
    })
}

fn update(update: &Update) -> Value {
    json!({
        "type": "update",
        "roots": roots(&update.roots),
        "node_hlc": time(update.node_hlc),
        "vector_digest": hex(&update.vector_digest),
        "records": records(&update.records),
    })
}

fn fetch(fetch: &Fetch) -> Value {
    json!({
        "type": "fetch",
        "request": number(fetch.request),
        "roots": roots(&fetch.roots),
        "bytes_max": fetch.bytes_max,
        "ask": ask(&fetch.ask),
    })
}

fn ask(ask: &Ask) -> Value {
    match ask {
        Ask::Vector { vector: covered, after } => {
            json!({"for": "vector", "vector": vector(covered), "after": cursor(after.as_ref())})
        }
        Ask::Sketch { cells, count } => {
            json!({"for": "sketch", "cells": cells.len(), "count": count})
        }
        Ask::Cells { from, to } => json!({"for": "cells", "from": from, "to": to}),
        Ask::Ranges { nonce, ranges } => {
            let ranges: Vec<Value> =
                ranges.iter().map(|(kind, prefix)| range(*kind, prefix)).collect();
            json!({"for": "ranges", "nonce": hex(nonce), "ranges": ranges})
        }
        Ask::Records { rids } => json!({"for": "records", "rids": names(rids)}),
        Ask::Proof { key } => json!({"for": "proof", "key": hex(&key.0)}),
    }
}

fn reply(reply: &Reply) -> Value {
    json!({
        "type": "fetchReply",
        "request": number(reply.request),
        "roots": roots(&reply.roots),
        "answer": answer(&reply.answer),
    })
}

fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Equal(covered) => json!({"with": "equal", "coverage": coverage(covered)}),
        Answer::Page { records: page, next, coverage: covered } => json!({
            "with": "page",
            "records": records(page),
            "next": cursor(next.as_ref()),
            "coverage": covered.as_ref().map(coverage),
        }),
        Answer::Difference { records: found, more, want, coverage: covered } => json!({
            "with": "difference",
            "records": records(found),
            "more": names(more),
            "want": names(want),
            "coverage": coverage(covered),
        }),
        Answer::Cells { from, cells, count, coverage: covered } => json!({
            "with": "cells",
            "from": from,
            "cells": cells.len(),
            "count": count,
            "coverage": coverage(covered),
        }),
        Answer::Ranges { parts, coverage: covered } => json!({
            "with": "ranges",
            "parts": parts.iter().map(part).collect::<Vec<_>>(),
            "coverage": coverage(covered),
        }),
        Answer::Records { records: found, seen } => {
            json!({"with": "records", "records": records(found), "seen": seen})
        }
        Answer::Proof(found) => json!({"with": "proof", "proof": found.as_ref().map(proof)}),
        Answer::Busy(wait_ms) => json!({"with": "busy", "wait_ms": wait_ms}),
        Answer::Refused(why) => json!({"with": "refused", "why": why}),
    }
}

fn part(part: &Part) -> Value {
    match part {
        Part::Hashes(hashes) => {
            json!({"hashes": hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>()})
        }
        Part::Names(rids) => json!({"names": names(rids)}),
    }
}

fn proof(proof: &Proof) -> Value {
    let path: Vec<Value> =
        proof.path.iter().map(|(bit, other)| json!({"bit": bit, "other": hex(other)})).collect();
    json!({"record": record(&proof.record), "path": path})
}

fn roots(roots: &Roots) -> Value {
    json!({
        "live": hex(&roots.live),
        "tomb": hex(&roots.tomb),
        "live_count": roots.live_count,
        "tomb_count": roots.tomb_count,
        "floor": time(roots.floor),
    })
}

fn coverage(coverage: &Coverage) -> Value {
    json!({"vector": vector(&coverage.vector), "node_hlc": time(coverage.node_hlc)})
}

fn vector(vector: &Vector) -> Value {
    vector.iter().map(|(author, hlc)| (hex(&author.0), Value::from(time(hlc)))).collect()
}

fn records(records: &[Record]) -> Vec<Value> {
    records.iter().map(record).collect()
}

fn record(record: &Record) -> Value {
    json!({
        "cid": record.cid().to_string(),
        "kind": kind(record.kind()),
        "author": hex(&record.author().0),
        "hlc": time(record.hlc()),
    })
}

fn names(rids: &[Rid]) -> Vec<String> {
    rids.iter().map(|rid| hex(&rid.0)).collect()
}

fn cursor(cursor: Option<&Cursor>) -> Option<Value> {
    cursor.map(|cursor| {
        json!({
            "author": hex(&cursor.author.0),
            "hlc": time(cursor.hlc),
            "key": hex(&cursor.key.0),
        })
    })
}

fn range(of: Kind, prefix: &Prefix) -> Value {
    let bits = usize::from(prefix.bits);
    let key = prefix.key.0.get(..bits.div_ceil(8)).unwrap_or_default();
    json!({"kind": kind(of), "key": hex(key), "bits": bits})
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Live => "live",
        Kind::Tomb => "tomb",
    }
}

fn time(hlc: Hlc) -> String {
    format!("{}.{}", hlc.ms(), hlc.0 & 0xffff)
}

/// In hexadecimal: many readers of JSON round numbers above 2^53.
fn number(number: u64) -> String {
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::messages;
    use super::*;

    #[test]
    fn every_message_is_one_line_with_its_type() {
        let mut types = std::collections::BTreeSet::new();
        for message in messages() {
            let line = message.to_string();
            assert!(!line.contains('\n'), "{line}");
            let read: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read, message.to_json());
            types.insert(read["type"].as_str().unwrap().to_owned());
        }
        assert_eq!(
            types.into_iter().collect::<Vec<_>>(),
            ["fetch", "fetchReply", "hello", "update"]
        );
    }

    #[test]
    fn a_record_is_named_by_its_pin_author_and_time() {
        let update = messages()
            .into_iter()
            .find_map(|message| match message {
                Message::Update(update) if !update.records.is_empty() => Some(update),
                _ => None,
            })
            .unwrap();
        let json = Message::Update(update.clone()).to_json();
        let record = &update.records[0];
        assert_eq!(
            json["records"][0],
            json!({
                "cid": record.cid().to_string(),
                "kind": "live",
                "author": "01".repeat(32),
                "hlc": "0.4",
            })
        );
        assert_eq!(json["roots"]["live"], "01".repeat(32));
    }
}
