//! The config of a fresh repo (Kubo `config/init.go`).

use serde_json::{Value, json};

/// The placeholder for values that Kubo fetches from its AutoConf service.
pub const AUTO: &str = "auto";

/// What `init` writes before any profile is applied.
pub(super) fn fresh(peer_id: &str, private_key: &str) -> Value {
    json!({
        "Identity": {"PeerID": peer_id, "PrivKey": private_key},
        "Datastore": {
            "StorageMax": "10GB",
            "StorageGCWatermark": 90,
            "GCPeriod": "1h",
            "Spec": flatfs_spec(),
        },
        "Addresses": addresses(),
        "Mounts": {"IPFS": "/ipfs", "IPNS": "/ipns", "MFS": "/mfs"},
        "Discovery": {"MDNS": {"Enabled": true}},
        "Routing": {"DelegatedRouters": [AUTO]},
        "Ipns": {"ResolveCacheSize": 128, "DelegatedPublishers": [AUTO]},
        "Bootstrap": [AUTO],
        "Gateway": {"HTTPHeaders": {}},
        "API": {"HTTPHeaders": {}},
        "DNS": {"Resolvers": {".": AUTO}},
        "Pinning": {"RemoteServices": {}},
    })
}

/// Where a node listens unless it is told otherwise.
pub(super) fn addresses() -> Value {
    json!({
        "Swarm": [
            "/ip4/0.0.0.0/tcp/4001",
            "/ip6/::/tcp/4001",
            "/ip4/0.0.0.0/udp/4001/webrtc-direct",
            "/ip4/0.0.0.0/udp/4001/quic-v1",
            "/ip4/0.0.0.0/udp/4001/quic-v1/webtransport",
            "/ip6/::/udp/4001/webrtc-direct",
            "/ip6/::/udp/4001/quic-v1",
            "/ip6/::/udp/4001/quic-v1/webtransport",
        ],
        "Announce": [],
        "AppendAnnounce": [],
        "NoAnnounce": [],
        "API": "/ip4/127.0.0.1/tcp/5001",
        "Gateway": "/ip4/127.0.0.1/tcp/8080",
    })
}

fn flatfs() -> Value {
    json!({
        "path": "blocks",
        "shardFunc": "/repo/flatfs/shard/v1/next-to-last/2",
        "sync": false,
        "type": "flatfs",
    })
}

fn leveldb() -> Value {
    json!({"compression": "none", "path": "datastore", "type": "levelds"})
}

/// The datastore of Kubo that a fresh config names. Our store does not look at it; Kubo would.
pub(super) fn flatfs_spec() -> Value {
    let mount = |mut child: Value, mountpoint: &str, prefix: &str| {
        if let Value::Object(map) = &mut child {
            map.insert("mountpoint".to_owned(), mountpoint.into());
            map.insert("prefix".to_owned(), prefix.into());
        }
        sorted(child)
    };
    json!({
        "mounts": [
            mount(flatfs(), "/blocks", "flatfs.datastore"),
            mount(leveldb(), "/", "leveldb.datastore"),
        ],
        "type": "mount",
    })
}

/// The same with Kubo's measuring wrapper.
pub(super) fn flatfs_measure_spec() -> Value {
    let mount = |child: Value, mountpoint: &str, prefix: &str| json!({"child": child, "mountpoint": mountpoint, "prefix": prefix, "type": "measure"});
    json!({
        "mounts": [
            mount(flatfs(), "/blocks", "flatfs.datastore"),
            mount(leveldb(), "/", "leveldb.datastore"),
        ],
        "type": "mount",
    })
}

/// Version of pebble's file format that Kubo 0.44 writes.
const PEBBLE_FORMAT: u32 = 24;

pub(super) fn pebble_spec() -> Value {
    json!({
        "formatMajorVersion": PEBBLE_FORMAT,
        "path": "pebbleds",
        "prefix": "pebble.datastore",
        "type": "pebbleds",
    })
}

pub(super) fn badger_spec() -> Value {
    json!({
        "path": "badgerds",
        "prefix": "badger.datastore",
        "syncWrites": false,
        "truncate": true,
        "type": "badgerds",
    })
}

/// `spec` of a single datastore inside Kubo's measuring wrapper.
pub(super) fn measured(mut spec: Value) -> Value {
    let prefix = spec.as_object_mut().and_then(|map| map.shift_remove("prefix"));
    json!({"child": spec, "prefix": prefix, "type": "measure"})
}

/// `value` with the keys of every object in order, as Go writes maps.
#[must_use]
pub(super) fn sorted(mut value: Value) -> Value {
    value.sort_all_objects();
    value
}
