//! `swarm/resources`: kubo core/commands/swarm.go, core/node/libp2p/rcmgr.go.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::tabwriter::align;
use super::value::{Int, Omit};
use super::{Error, Reply, Request, Value};
use crate::node::{Limit, Resources, Scope, Use};

/// A limit of go-libp2p's resource manager: a number, or one of three words.
#[derive(Debug, Clone, Copy)]
struct LimitValue(Limit);

impl LimitValue {
    fn word(self) -> Option<&'static str> {
        match self.0 {
            Limit::Unlimited => Some("unlimited"),
            Limit::Default => Some("default"),
            Limit::BlockAll => Some("blockAll"),
            Limit::AtMost(_) => None,
        }
    }
}

impl Serialize for LimitValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.word(), self.0) {
            (Some(word), _) => serializer.serialize_str(word),
            (None, Limit::AtMost(most)) => serializer.serialize_u64(most),
            (None, _) => serializer.serialize_none(),
        }
    }
}

/// The same in 64 bits: the number is a text.
#[derive(Debug, Clone, Copy)]
struct LimitValue64(Limit);

impl Serialize for LimitValue64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Limit::AtMost(most) => serializer.serialize_str(&most.to_string()),
            limit => LimitValue(limit).serialize(serializer),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "libp2p.ResourceLimitsAndUsage")]
struct LimitsAndUsage {
    #[serde(rename = "Memory")]
    memory: LimitValue64,
    #[serde(rename = "MemoryUsage")]
    memory_usage: i64,
    #[serde(rename = "FD")]
    descriptors: LimitValue,
    #[serde(rename = "FDUsage")]
    descriptors_usage: Int,
    #[serde(rename = "Conns")]
    connections: LimitValue,
    #[serde(rename = "ConnsUsage")]
    connections_usage: Int,
    #[serde(rename = "ConnsInbound")]
    connections_in: LimitValue,
    #[serde(rename = "ConnsInboundUsage")]
    connections_in_usage: Int,
    #[serde(rename = "ConnsOutbound")]
    connections_out: LimitValue,
    #[serde(rename = "ConnsOutboundUsage")]
    connections_out_usage: Int,
    #[serde(rename = "Streams")]
    streams: LimitValue,
    #[serde(rename = "StreamsUsage")]
    streams_usage: Int,
    #[serde(rename = "StreamsInbound")]
    streams_in: LimitValue,
    #[serde(rename = "StreamsInboundUsage")]
    streams_in_usage: Int,
    #[serde(rename = "StreamsOutbound")]
    streams_out: LimitValue,
    #[serde(rename = "StreamsOutboundUsage")]
    streams_out_usage: Int,
}

impl From<&Scope> for LimitsAndUsage {
    fn from(scope: &Scope) -> Self {
        let used = |of: Use| Int(i64::try_from(of.used).unwrap_or(i64::MAX));
        let [connections, connections_in, connections_out] = scope.connections;
        let [streams, streams_in, streams_out] = scope.streams;
        Self {
            memory: LimitValue64(scope.memory.limit),
            memory_usage: used(scope.memory).0,
            descriptors: LimitValue(scope.descriptors.limit),
            descriptors_usage: used(scope.descriptors),
            connections: LimitValue(connections.limit),
            connections_usage: used(connections),
            connections_in: LimitValue(connections_in.limit),
            connections_in_usage: used(connections_in),
            connections_out: LimitValue(connections_out.limit),
            connections_out_usage: used(connections_out),
            streams: LimitValue(streams.limit),
            streams_usage: used(streams),
            streams_in: LimitValue(streams_in.limit),
            streams_in_usage: used(streams_in),
            streams_out: LimitValue(streams_out.limit),
            streams_out_usage: used(streams_out),
        }
    }
}

type ByName = BTreeMap<String, LimitsAndUsage>;

#[derive(Debug, Serialize)]
#[serde(rename = "libp2p.LimitsConfigAndUsage", rename_all = "PascalCase")]
struct AllLimits {
    system: LimitsAndUsage,
    transient: LimitsAndUsage,
    services: Omit<ByName>,
    protocols: Omit<ByName>,
    peers: Omit<ByName>,
    #[serde(skip)]
    table: String,
}

impl From<&Resources> for AllLimits {
    fn from(resources: &Resources) -> Self {
        let by_name = |scopes: &BTreeMap<String, Scope>| {
            Omit(scopes.iter().map(|(name, scope)| (name.clone(), scope.into())).collect())
        };
        let peers: BTreeMap<String, Scope> =
            resources.peers.iter().map(|(peer, scope)| (peer.to_string(), *scope)).collect();
        Self {
            system: (&resources.system).into(),
            transient: (&resources.transient).into(),
            services: by_name(&resources.services),
            protocols: by_name(&resources.protocols),
            peers: by_name(&peers),
            table: table(resources),
        }
    }
}

/// The narrowest column of the table.
const COLUMN_WIDTH_MIN: usize = 20;

/// The limits that there are, a line each.
fn table(resources: &Resources) -> String {
    let mut text =
        "Scope\tLimit Name\tLimit Value\tLimit Usage Amount\tLimit Usage Percent\t\n".to_owned();
    text.push_str(&lines("system", &resources.system));
    text.push_str(&lines("transient", &resources.transient));
    for (name, scope) in &resources.services {
        text.push_str(&lines(&format!("svc:{name}"), scope));
    }
    for (name, scope) in &resources.protocols {
        text.push_str(&lines(&format!("proto:{name}"), scope));
    }
    for (peer, scope) in &resources.peers {
        text.push_str(&lines(&format!("peer:{peer}"), scope));
    }
    align(&text, COLUMN_WIDTH_MIN)
}

fn lines(name: &str, scope: &Scope) -> String {
    let [connections, connections_in, connections_out] = scope.connections;
    let [streams, streams_in, streams_out] = scope.streams;
    let all = [
        ("Memory", scope.memory),
        ("FD", scope.descriptors),
        ("Conns", connections),
        ("ConnsInbound", connections_in),
        ("ConnsOutbound", connections_out),
        ("Streams", streams),
        ("StreamsInbound", streams_in),
        ("StreamsOutbound", streams_out),
    ];
    all.iter().filter_map(|(limit, of)| line(name, limit, *of)).collect()
}

/// A line; none for what has no limit of its own.
fn line(scope: &str, name: &str, Use { limit, used }: Use) -> Option<String> {
    let (limit, percent) = match limit {
        Limit::Unlimited | Limit::Default => return None,
        Limit::BlockAll => ("blockAll".to_owned(), "n/a".to_owned()),
        Limit::AtMost(most) if used == 0 => (most.to_string(), "0%".to_owned()),
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        Limit::AtMost(most) => {
            (most.to_string(), format!("{:.1}%", used as f64 / most as f64 * 100.0))
        }
    };
    Some(format!("{scope}\t{name}\t{limit}\t{used}\t{percent}\t\n"))
}

impl Value for AllLimits {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(self.table.clone()))
    }
}

/// `swarm/resources`.
pub(super) async fn resources(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    if request.node.config_flag("Swarm.ResourceMgr.Enabled") == Some(false) {
        return Err(Error::new(
            "missing ResourceMgr: make sure the daemon is running with \
                               Swarm.ResourceMgr.Enabled",
        ));
    }
    Ok(Reply::one(AllLimits::from(&request.node.swarm_resources()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_words_and_the_table_shows_those_that_there_are() {
        let mut resources = Resources::default();
        resources.system.descriptors = Use { limit: Limit::AtMost(200), used: 3 };
        resources.system.connections[1] = Use { limit: Limit::BlockAll, used: 0 };
        let json = serde_json::to_value(AllLimits::from(&resources)).unwrap();
        assert_eq!(json["System"]["FD"], 200);
        assert_eq!(json["System"]["Memory"], "unlimited");
        assert_eq!(json["System"]["ConnsInbound"], "blockAll");
        let table = table(&resources);
        let lines: Vec<Vec<&str>> =
            table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [
                vec!["system", "FD", "200", "3", "1.5%"],
                vec!["system", "ConnsInbound", "blockAll", "0", "n/a"],
            ]
        );
    }
}
