//! Profiles: named changes to a config (Kubo `config/profile.go`).

use std::net::TcpListener;

use serde_json::{Value, json};

use super::Error;
use super::defaults::{
    AUTO, addresses, badger_spec, flatfs_measure_spec, flatfs_spec, measured, pebble_spec,
};
use super::edit::put;

/// Networks that are not globally reachable, from the registries of RFC 6890: a server neither
/// announces nor dials them.
const PRIVATE_NETWORKS: [&str; 19] = [
    "/ip4/10.0.0.0/ipcidr/8",
    "/ip4/100.64.0.0/ipcidr/10",
    "/ip4/127.0.0.0/ipcidr/8",
    "/ip4/169.254.0.0/ipcidr/16",
    "/ip4/172.16.0.0/ipcidr/12",
    "/ip4/192.0.0.0/ipcidr/24",
    "/ip4/192.0.2.0/ipcidr/24",
    "/ip4/192.168.0.0/ipcidr/16",
    "/ip4/198.18.0.0/ipcidr/15",
    "/ip4/198.51.100.0/ipcidr/24",
    "/ip4/203.0.113.0/ipcidr/24",
    "/ip4/240.0.0.0/ipcidr/4",
    "/ip6/::/ipcidr/3",
    "/ip6/::1/ipcidr/128",
    "/ip6/100::/ipcidr/64",
    "/ip6/2001:2::/ipcidr/48",
    "/ip6/2001:db8::/ipcidr/32",
    "/ip6/fc00::/ipcidr/7",
    "/ip6/fe80::/ipcidr/10",
];

/// Where Kubo fetches the values of `auto`.
const AUTOCONF_URL: &str = "https://conf.ipfs-mainnet.org/autoconf.json";

type Change = fn(&mut Value);

/// The profile whose outcome the system decides.
const RANDOM_PORTS: &str = "randomports";

const PROFILES: [(&str, Change); 19] = [
    ("announce-off", |c| provide(c, false, "0s")),
    ("announce-on", |c| provide(c, true, "22h0m0s")),
    ("autoconf-off", |c| autoconf_off(c)),
    ("autoconf-on", |c| autoconf_on(c)),
    ("badgerds", |c| datastore(c, badger_spec())),
    ("badgerds-measure", |c| datastore(c, measured(badger_spec()))),
    ("default-datastore", |c| datastore(c, flatfs_spec())),
    ("default-networking", |c| default_networking(c)),
    ("flatfs", |c| datastore(c, flatfs_spec())),
    ("flatfs-measure", |c| datastore(c, flatfs_measure_spec())),
    ("legacy-cid-v0", |c| import(c, &V0_2015)),
    ("local-discovery", |c| local_discovery(c)),
    ("lowpower", |c| low_power(c)),
    ("pebbleds", |c| datastore(c, pebble_spec())),
    ("pebbleds-measure", |c| datastore(c, measured(pebble_spec()))),
    ("server", |c| server(c)),
    ("test", |c| test(c)),
    ("unixfs-v0-2015", |c| import(c, &V0_2015)),
    ("unixfs-v1-2025", |c| import(c, &V1_2025)),
];

/// The names of all profiles.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(name, _)| *name).chain([RANDOM_PORTS])
}

/// Changes `config` as the profile `name` says.
pub(super) fn apply(name: &str, config: &mut Value) -> Result<(), Error> {
    if name == RANDOM_PORTS {
        return random_ports(config);
    }
    let Some((_, change)) = PROFILES.iter().find(|(known, _)| *known == name) else {
        return Err(Error(format!("{name} is not a profile")));
    };
    change(config);
    Ok(())
}

fn set(config: &mut Value, changes: impl IntoIterator<Item = (&'static str, Value)>) {
    for (path, value) in changes {
        put(config, path, value);
    }
}

fn list(config: &Value, section: &str, key: &str) -> Vec<Value> {
    let found = config.get(section).and_then(|map| map.get(key)).and_then(Value::as_array);
    found.cloned().unwrap_or_default()
}

fn server(config: &mut Value) {
    for (section, key, path) in FILTER_LISTS {
        let mut entries = list(config, section, key);
        for network in PRIVATE_NETWORKS {
            if !entries.iter().any(|entry| entry == network) {
                entries.push(network.into());
            }
        }
        put(config, path, Value::Array(entries));
    }
    set(
        config,
        [("Discovery.MDNS.Enabled", json!(false)), ("Swarm.DisableNatPortMap", json!(true))],
    );
}

/// The lists that `server` extends.
const FILTER_LISTS: [(&str, &str, &str); 2] = [
    ("Addresses", "NoAnnounce", "Addresses.NoAnnounce"),
    ("Swarm", "AddrFilters", "Swarm.AddrFilters"),
];

fn local_discovery(config: &mut Value) {
    for (section, key, path) in FILTER_LISTS {
        let mut entries = list(config, section, key);
        entries.retain(|entry| !PRIVATE_NETWORKS.iter().any(|network| entry == network));
        put(config, path, Value::Array(entries));
    }
    set(
        config,
        [("Discovery.MDNS.Enabled", json!(true)), ("Swarm.DisableNatPortMap", json!(false))],
    );
}

fn test(config: &mut Value) {
    let loopback = || json!("/ip4/127.0.0.1/tcp/0");
    set(
        config,
        [
            ("Addresses.API", loopback()),
            ("Addresses.Gateway", loopback()),
            ("Addresses.Swarm", json!([loopback()])),
            ("Swarm.DisableNatPortMap", json!(true)),
            ("Routing.LoopbackAddressesOnLanDHT", json!(true)),
            ("Bootstrap", json!([])),
            ("Discovery.MDNS.Enabled", json!(false)),
            ("AutoTLS.Enabled", json!(false)),
            ("AutoConf.Enabled", json!(false)),
            ("DNS.Resolvers", json!({})),
            ("Routing.DelegatedRouters", json!([])),
            ("Ipns.DelegatedPublishers", json!([])),
        ],
    );
}

fn default_networking(config: &mut Value) {
    set(
        config,
        [
            ("Addresses", addresses()),
            ("Bootstrap", json!([AUTO])),
            ("AutoConf.Enabled", Value::Null),
            ("AutoConf.URL", Value::Null),
            ("Swarm.DisableNatPortMap", json!(false)),
            ("Discovery.MDNS.Enabled", json!(true)),
            ("AutoTLS.Enabled", Value::Null),
        ],
    );
}

fn datastore(config: &mut Value, spec: Value) {
    put(config, "Datastore.Spec", spec);
}

fn low_power(config: &mut Value) {
    set(
        config,
        [
            ("Routing.Type", json!("autoclient")),
            ("AutoNAT.ServiceMode", json!("disabled")),
            ("Swarm.RelayService.Enabled", json!(false)),
            ("Swarm.ConnMgr.Type", json!("basic")),
            ("Swarm.ConnMgr.LowWater", json!(20)),
            ("Swarm.ConnMgr.HighWater", json!(40)),
            ("Swarm.ConnMgr.GracePeriod", json!("1m0s")),
        ],
    );
}

fn provide(config: &mut Value, enabled: bool, interval: &str) {
    set(config, [("Provide.Enabled", json!(enabled)), ("Provide.DHT.Interval", json!(interval))]);
}

fn random_ports(config: &mut Value) -> Result<(), Error> {
    // An address without a free port of either family is as much of an error as in Kubo.
    let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
    let port = listener
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Error(format!("cannot find a free port: {error}")))?
        .port();
    let swarm = json!([format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip6/::/tcp/{port}")]);
    put(config, "Addresses.Swarm", swarm);
    Ok(())
}

/// The import settings in which the two UnixFS profiles differ.
struct Unixfs {
    cid_version: i64,
    raw_leaves: bool,
    chunker: &'static str,
    file_links_max: i64,
    estimation: &'static str,
}

const V0_2015: Unixfs = Unixfs {
    cid_version: 0,
    raw_leaves: false,
    chunker: "size-262144",
    file_links_max: 174,
    estimation: "links",
};

const V1_2025: Unixfs = Unixfs {
    cid_version: 1,
    raw_leaves: true,
    chunker: "size-1048576",
    file_links_max: 1024,
    estimation: "block",
};

fn import(config: &mut Value, profile: &Unixfs) {
    set(
        config,
        [
            ("Import.CidVersion", json!(profile.cid_version)),
            ("Import.UnixFSRawLeaves", json!(profile.raw_leaves)),
            ("Import.UnixFSChunker", json!(profile.chunker)),
            ("Import.HashFunction", json!("sha2-256")),
            ("Import.UnixFSFileMaxLinks", json!(profile.file_links_max)),
            ("Import.UnixFSDirectoryMaxLinks", json!(0)),
            ("Import.UnixFSHAMTDirectoryMaxFanout", json!(256)),
            ("Import.UnixFSHAMTDirectorySizeThreshold", json!("256KiB")),
            ("Import.UnixFSHAMTDirectorySizeEstimation", json!(profile.estimation)),
            ("Import.UnixFSDAGLayout", json!("balanced")),
        ],
    );
}

fn autoconf_on(config: &mut Value) {
    set(
        config,
        [
            ("Bootstrap", json!([AUTO])),
            ("DNS.Resolvers", json!({".": AUTO})),
            ("Routing.DelegatedRouters", json!([AUTO])),
            ("Ipns.DelegatedPublishers", json!([AUTO])),
            ("AutoConf.Enabled", json!(true)),
        ],
    );
    if config.pointer("/AutoConf/URL").is_none_or(Value::is_null) {
        put(config, "AutoConf.URL", json!(AUTOCONF_URL));
    }
}

fn autoconf_off(config: &mut Value) {
    set(
        config,
        [
            ("Bootstrap", Value::Null),
            ("DNS.Resolvers", Value::Null),
            ("Routing.DelegatedRouters", Value::Null),
            ("Ipns.DelegatedPublishers", Value::Null),
            ("AutoConf.Enabled", json!(false)),
        ],
    );
}
