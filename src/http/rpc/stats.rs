//! `stats/bw`, `stats/dht`: kubo core/commands/stat.go, stat_dht.go.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;

use super::{Error, Reply, Request, Value};
use crate::config::duration;
use crate::node::{self, Bandwidth};

/// Bytes over the streams of libp2p connections.
#[derive(Debug, Serialize)]
#[serde(rename = "metrics.Stats", rename_all = "PascalCase")]
struct Stats {
    total_in: i64,
    total_out: i64,
    rate_in: f64,
    rate_out: f64,
}

impl Value for Stats {}

impl From<Bandwidth> for Stats {
    fn from(bandwidth: Bandwidth) -> Self {
        let total = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        Self {
            total_in: total(bandwidth.total_in),
            total_out: total(bandwidth.total_out),
            rate_in: bandwidth.rate_in,
            rate_out: bandwidth.rate_out,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "dhtStat", rename_all = "PascalCase")]
struct Table {
    name: String,
    /// Empty: a table without peers has no buckets.
    buckets: Vec<()>,
}

impl Value for Table {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("DHT {} (0 peers):          \n", self.name)))
    }
}

/// `stats/bw`.
pub(super) async fn bandwidth(request: Request) -> Result<Reply, Error> {
    if !request.node.is_online() {
        let offline = node::Error::CommandOffline;
        return Err(Error::client(format!("unable to run offline: {offline}")));
    }
    if request.node.config_flag("Swarm.DisableBandwidthMetrics") == Some(true) {
        return Err(Error::new("bandwidth reporter disabled in config"));
    }
    let options = &request.options;
    if options.is_set("peer") && options.is_set("proto") {
        return Err(Error::client("please only specify peer OR protocol"));
    }
    let peer = options.opt_string("peer").map(str::to_owned);
    let protocol = options.opt_string("proto").map(str::to_owned);
    request.node.bandwidth(peer.as_deref(), None)?;
    let interval = duration::parse(options.string("interval")).map_err(Error::new)?;
    let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(0));
    // A poll without pause would be a busy loop for as long as the client stays.
    let interval = interval.max(Duration::from_millis(1));
    let (node, poll) = (request.node.clone(), options.bool("poll"));
    let read = move || {
        let bandwidth = node.bandwidth(peer.as_deref(), protocol.as_deref())?.unwrap_or_default();
        Ok(Stats::from(bandwidth))
    };
    let first = futures_util::stream::iter([read()]);
    if !poll {
        return Ok(Reply::many(first));
    }
    let later = futures_util::stream::unfold(read, move |read| async move {
        tokio::time::sleep(interval).await;
        Some((read(), read))
    });
    Ok(Reply::many(first.chain(later)))
}

/// `stats/dht`.
pub(super) async fn dht(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    let mut names = request.args;
    if names.is_empty() {
        names = vec!["wan".to_owned(), "lan".to_owned()];
    }
    let tables = names.into_iter().map(|name| match name.as_str() {
        "wan" | "lan" | "wanserver" | "lanserver" => Ok(Table { name, buckets: Vec::new() }),
        _ => Err(Error::client(format!("unknown dht type: {name}"))),
    });
    Ok(Reply::many(futures_util::stream::iter(tables)))
}
