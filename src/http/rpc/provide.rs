//! `provide/*`, `stats/provide`, `stats/reprovide`: kubo core/commands/provide.go.
//!
//! Announcing here is one task and no sweep over regions of the key space: what Kubo tells of regions
//! and workers at work is zero. What the config says of the provider is told.

use std::collections::HashSet;

use serde::Serialize;

use super::value::Int;
use super::{Error, Reply, Request, Value};
use crate::ipld::path::{PathError, cid_from_arg};
use crate::ipld::quote::quote;
use crate::node::produce::produce;
use crate::node::provider::INTERVAL_NANOS;

/// Events ahead of a slow reader.
const EVENTS_AHEAD: usize = 64;

/// Kubo's `MaxReprovideDelay`, 1 h.
const DELAY_NANOS: i64 = 3600 * 1_000_000_000;
/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Debug, Serialize)]
#[serde(rename = "provideStats")]
struct Stats {
    #[serde(rename = "Sweep")]
    sweep: Sweep,
    #[serde(rename = "Legacy")]
    legacy: Option<()>,
    #[serde(rename = "FullRT")]
    full_routing_table: bool,
}

#[derive(Debug, Serialize)]
struct Sweep {
    closed: bool,
    connectivity: Connectivity,
    queues: Queues,
    schedule: Schedule,
    workers: Workers,
    timing: Timing,
    operations: Operations,
    network: Network,
}

#[derive(Debug, Serialize)]
struct Connectivity {
    status: &'static str,
    since: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Queues {
    pending_key_provides: Int,
    pending_region_provides: Int,
    pending_region_reprovides: Int,
}

#[derive(Debug, Serialize)]
struct Schedule {
    keys: Int,
    regions: Int,
    avg_prefix_length: f64,
    next_reprovide_at: &'static str,
    next_reprovide_prefix: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Workers {
    max: Int,
    active: Int,
    active_periodic: Int,
    active_burst: Int,
    dedicated_periodic: Int,
    dedicated_burst: Int,
    queued_periodic: Int,
    queued_burst: Int,
    max_provide_conns_per_worker: Int,
}

#[derive(Debug, Serialize)]
struct Timing {
    uptime: i64,
    reprovides_interval: i64,
    cycle_start: String,
    current_time_offset: i64,
    max_reprovide_delay: i64,
}

#[derive(Debug, Default, Serialize)]
struct Operations {
    ongoing: Ongoing,
    past: Past,
}

#[derive(Debug, Default, Serialize)]
struct Ongoing {
    region_provides: Int,
    key_provides: Int,
    region_reprovides: Int,
    key_reprovides: Int,
}

#[derive(Debug, Default, Serialize)]
struct Past {
    records_provided: Int,
    keys_provided: Int,
    keys_failed: Int,
    keys_provided_per_minute: f64,
    keys_reprovided_per_minute: f64,
    reprovide_duration: i64,
    avg_keys_per_reprovide: f64,
    regions_reprovided_last_cycle: Int,
}

#[derive(Debug, Default, Serialize)]
struct Network {
    peers: Int,
    reachable: Int,
    complete_keyspace_coverage: bool,
    avg_region_size: f64,
    avg_holders: f64,
    replication_factor: Int,
}

impl Value for Stats {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        let queued = format!("{} CIDs, 0 regions", self.sweep.queues.pending_key_provides.0);
        let scheduled = self.sweep.schedule.keys.0.to_string();
        let provided = self.sweep.operations.past.keys_provided.0.to_string();
        let lines = [
            ("Status:", self.sweep.connectivity.status),
            ("Provide queue:", &queued),
            ("Reprovide queue:", "0 regions"),
            ("CIDs scheduled:", &scheduled),
            ("Regions scheduled:", "N/A"),
            ("Avg record holders:", "N/A"),
            ("Ongoing provides:", "0 CIDs, 0 regions"),
            ("Ongoing reprovides:", "0 CIDs, 0 regions"),
            ("Total CIDs provided:", &provided),
        ];
        Some(Ok(lines.iter().map(|(label, value)| format!("{label:<21}{value}\n")).collect()))
    }
}

/// The number of removed items.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Cleared(Int);

impl Value for Cleared {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("removed {} items from provide queue\n", self.0.0)))
    }
}

/// `provide/clear`: nothing is queued.
pub(super) async fn clear(request: Request) -> Result<Reply, Error> {
    if request.options.bool("quiet") {
        return Ok(Reply::Nothing);
    }
    Ok(Reply::all([Cleared(Int(0))]))
}

/// `ProvideOnceEvent`.
#[derive(Debug, Serialize)]
#[serde(rename = "ProvideOnceEvent", rename_all = "PascalCase")]
struct Queued {
    queued: String,
}

impl Value for Queued {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{}\n", self.queued)))
    }
}

/// `provide/once`: each CID as it is announced.
pub(super) async fn once(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    if request.node.config_flag("Provide.Enabled") == Some(false) {
        return Err(Error::new("cannot provide: Provide.Enabled is false"));
    }
    if !request.node.has_peers() {
        return Err(Error::new("cannot provide: no connected peers"));
    }
    let encoder = request.cid_encoder()?;
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let mut request = request;
        let recursive = request.options.bool("recursive");
        let mut seen = HashSet::new();
        while let Some(text) = request.next_arg().await? {
            let cid = cid_from_arg(&text).map_err(|error| match error {
                error @ PathError::BelowRoot(_) => Error::new(error.to_string()),
                error => Error::new(format!("invalid CID {}: {error}", quote(&text))),
            })?;
            request.node.check_provided(&cid)?;
            for cid in request.node.announce_now(&cid, recursive, &mut seen).await? {
                events.send(Queued { queued: encoder.encode(&cid) }).await;
            }
        }
        Ok(())
    })))
}

/// `provide/stat`, `stats/provide`, `stats/reprovide`.
pub(super) async fn stat(request: Request) -> Result<Reply, Error> {
    let node = &request.node;
    node.require_online()?;
    let setting = |key, default| Int(node.config_integer(key).unwrap_or(default));
    let uptime = node.started_at().elapsed().unwrap_or_default().as_nanos();
    let uptime = i64::try_from(uptime).unwrap_or(i64::MAX);
    let started = time::OffsetDateTime::from(node.started_at());
    let started = started.format(&time::format_description::well_known::Rfc3339);
    let workers = Workers {
        max: setting("Provide.DHT.MaxWorkers", 16),
        dedicated_periodic: setting("Provide.DHT.DedicatedPeriodicWorkers", 2),
        dedicated_burst: setting("Provide.DHT.DedicatedBurstWorkers", 1),
        max_provide_conns_per_worker: setting("Provide.DHT.MaxProvideConnsPerWorker", 20),
        ..Workers::default()
    };
    let count = |number: u64| Int(i64::try_from(number).unwrap_or(i64::MAX));
    let (counts, peers) = (node.provided(), node.record_keepers() as u64);
    let status = if peers > 0 { "online" } else { "offline" };
    let past = Past {
        records_provided: count(counts.records),
        keys_provided: count(counts.keys),
        keys_failed: count(counts.failed),
        ..Past::default()
    };
    let sweep = Sweep {
        closed: false,
        connectivity: Connectivity { status, since: NEVER },
        queues: Queues { pending_key_provides: count(counts.queued), ..Queues::default() },
        schedule: Schedule {
            keys: count(counts.scheduled),
            regions: Int(0),
            avg_prefix_length: -1.0,
            next_reprovide_at: NEVER,
            next_reprovide_prefix: "",
        },
        workers,
        timing: Timing {
            uptime,
            reprovides_interval: node
                .config_nanos("Provide.DHT.Interval")
                .unwrap_or(INTERVAL_NANOS),
            cycle_start: started.map_err(|error| Error::new(error.to_string()))?,
            current_time_offset: uptime,
            max_reprovide_delay: DELAY_NANOS,
        },
        operations: Operations { past, ..Operations::default() },
        network: Network { peers: count(peers), reachable: count(peers), ..Network::default() },
    };
    Ok(Reply::all([Stats { sweep, legacy: None, full_routing_table: false }]))
}
