//! `stats/bw`, `stats/dht`: kubo core/commands/stat.go, stat_dht.go.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;

use super::tabwriter::align_wide;
use super::{Error, Reply, Request, Value};
use crate::config::duration;
use crate::node::routing::RoutedPeer;
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
#[serde(rename = "dhtPeerInfo", rename_all = "PascalCase")]
struct TablePeer {
    #[serde(rename = "ID")]
    id: String,
    connected: bool,
    agent_version: String,
    /// Not known here, as the next one.
    last_useful_at: &'static str,
    last_queried_at: &'static str,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename = "dhtBucket", rename_all = "PascalCase")]
struct Bucket {
    last_refresh: &'static str,
    /// `nil` in Go for one that nobody is in.
    peers: Option<Vec<TablePeer>>,
}

#[derive(Debug, Serialize)]
#[serde(rename = "dhtStat", rename_all = "PascalCase")]
struct Table {
    name: String,
    buckets: Vec<Bucket>,
}

impl Value for Table {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        let count = |bucket: &Bucket| bucket.peers.as_ref().map_or(0, Vec::len);
        let all: usize = self.buckets.iter().map(count).sum();
        let mut text = format!("DHT {} ({all} peers):\t\t\t\n", self.name);
        for (number, bucket) in self.buckets.iter().enumerate() {
            let peers = count(bucket);
            text.push_str(&format!(
                "  Bucket {number:2} ({peers} peers) - refreshed never:\t\t\t\n    \
                 Peer\tlast useful\tlast queried\tAgent Version\n"
            ));
            for peer in bucket.peers.iter().flatten() {
                let (state, agent) = (if peer.connected { "@" } else { " " }, &peer.agent_version);
                text.push_str(&format!("  {state} {}\tnever\tnever\t{agent}\n", peer.id));
            }
            text.push_str("\t\t\t\n");
        }
        Some(Ok(align_wide(&text, 4, 2)))
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
    let (lan, wan) = (request.node.routing_table(false)?, request.node.routing_table(true)?);
    let tables = names.into_iter().map(move |name| match name.as_str() {
        "wan" | "wanserver" => Ok(Table { name, buckets: buckets(&wan) }),
        "lan" | "lanserver" => Ok(Table { name, buckets: buckets(&lan) }),
        _ => Err(Error::client(format!("unknown dht type: {name}"))),
    });
    Ok(Reply::many(futures_util::stream::iter(tables)))
}

fn buckets(peers: &[RoutedPeer]) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for peer in peers {
        if buckets.len() <= peer.bucket {
            buckets.resize_with(peer.bucket + 1, Bucket::default);
        }
        let Some(bucket) = buckets.get_mut(peer.bucket) else { continue };
        bucket.peers.get_or_insert_default().push(TablePeer {
            id: peer.id.clone(),
            connected: peer.is_connected,
            agent_version: peer.agent.clone(),
            last_useful_at: "",
            last_queried_at: "",
        });
    }
    buckets
}
