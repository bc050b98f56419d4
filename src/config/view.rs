//! The values that take effect, typed, with their defaults.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Config, Error, bytes, duration, json};

/// `Datastore.StorageMax` when the key is empty.
const STORAGE_MAX_DEFAULT: &str = "10GB";

/// `Datastore.GCPeriod` when the key is empty.
const GC_PERIOD_DEFAULT: &str = "1h";

/// How long a stop may take when `Internal.ShutdownTimeout` is not set: Kubo's 12 hours.
const SHUTDOWN_TIMEOUT_DEFAULT_NANOS: i64 = 12 * 3600 * 1_000_000_000;

/// One entry of `API.Authorizations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The secret, as configured: `bearer:…`, `basic:…`, or bare.
    pub secret: String,
    /// Prefixes of the paths that it opens.
    pub allowed_paths: Vec<String>,
}

/// An entry of `Peering.Peers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddresses {
    /// The peer ID, as text.
    pub id: String,
    /// Its multiaddrs, as text.
    pub addresses: Vec<String>,
}

/// The `Import` section; `None` is the default of the command that imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Import {
    /// `CidVersion`.
    pub cid_version: Option<i64>,
    /// `UnixFSRawLeaves`.
    pub raw_leaves: Option<bool>,
    /// `UnixFSChunker`.
    pub chunker: Option<String>,
    /// `HashFunction`.
    pub hash_function: Option<String>,
    /// `UnixFSFileMaxLinks`.
    pub file_links_max: Option<i64>,
    /// `UnixFSDirectoryMaxLinks`.
    pub directory_links_max: Option<i64>,
    /// `UnixFSHAMTDirectoryMaxFanout`.
    pub hamt_fanout: Option<i64>,
    /// `UnixFSHAMTDirectorySizeThreshold`, in bytes.
    pub hamt_threshold: Option<u64>,
    /// `UnixFSHAMTDirectorySizeEstimation`: `links`, `block` or `disabled`.
    pub hamt_estimation: Option<String>,
    /// `UnixFSDAGLayout`: `balanced` or `trickle`.
    pub layout: Option<String>,
}

impl Config {
    /// The value at a dotted path that the config is known to have, or `null`.
    #[must_use]
    pub fn value(&self, path: &str) -> &Value {
        const NULL: &Value = &Value::Null;
        path.split('.').try_fold(self.as_json(), |at, part| at.get(part)).unwrap_or(NULL)
    }

    /// A tri-state flag or a bool.
    #[must_use]
    pub fn flag(&self, path: &str) -> Option<bool> {
        self.value(path).as_bool()
    }

    /// An integer.
    #[must_use]
    pub fn integer(&self, path: &str) -> Option<i64> {
        self.value(path).as_i64()
    }

    /// A text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.value(path).as_str()
    }

    /// A duration, in nanoseconds.
    #[must_use]
    pub fn nanos(&self, path: &str) -> Option<i64> {
        self.text(path).and_then(|text| duration::parse(text).ok())
    }

    /// A list of texts; one text is a list of it.
    #[must_use]
    pub fn texts(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => items.iter().filter_map(text_of).collect(),
            _ => Vec::new(),
        }
    }

    /// The peer ID in `Identity`.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        self.text("Identity.PeerID").unwrap_or_default()
    }

    /// The private key in `Identity`: base64 of libp2p's protobuf.
    #[must_use]
    pub fn private_key(&self) -> &str {
        self.text("Identity.PrivKey").unwrap_or_default()
    }

    /// The multiaddrs on which the RPC listens.
    #[must_use]
    pub fn api_addresses(&self) -> Vec<String> {
        self.texts("Addresses.API")
    }

    /// The multiaddrs on which the swarm listens.
    #[must_use]
    pub fn swarm_addresses(&self) -> Vec<String> {
        self.texts("Addresses.Swarm")
    }

    /// `API.HTTPHeaders`, by name.
    #[must_use]
    pub fn api_headers(&self) -> BTreeMap<String, Vec<String>> {
        let Value::Object(map) = self.value("API.HTTPHeaders") else { return BTreeMap::new() };
        let texts = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .map(|list| list.iter().filter_map(text_of).collect())
                .unwrap_or_default()
        };
        map.iter().map(|(name, values)| (name.clone(), texts(values))).collect()
    }

    /// `API.Authorizations`, by name.
    #[must_use]
    pub fn api_authorizations(&self) -> BTreeMap<String, Authorization> {
        let Value::Object(map) = self.value("API.Authorizations") else { return BTreeMap::new() };
        let entry = |value: &Value| Authorization {
            secret: value.get("AuthSecret").and_then(text_of).unwrap_or_default(),
            allowed_paths: value
                .get("AllowedPaths")
                .and_then(Value::as_array)
                .map(|paths| paths.iter().filter_map(text_of).collect())
                .unwrap_or_default(),
        };
        map.iter().map(|(name, value)| (name.clone(), entry(value))).collect()
    }

    /// `Datastore.StorageMax`, in bytes.
    ///
    /// # Errors
    /// When it is no size.
    pub fn storage_max(&self) -> Result<u64, Error> {
        bytes::parse(self.text_or("Datastore.StorageMax", STORAGE_MAX_DEFAULT)).map_err(Error)
    }

    /// `Datastore.StorageGCWatermark`, in percent of `StorageMax`.
    #[must_use]
    pub fn storage_gc_watermark(&self) -> i64 {
        // Kubo writes the default into the file; a config without the key has zero there too.
        match self.integer("Datastore.StorageGCWatermark") {
            None | Some(0) => 90,
            Some(percent) => percent,
        }
    }

    /// `Datastore.GCPeriod`, in nanoseconds; zero is never.
    ///
    /// # Errors
    /// When it is no duration.
    pub fn gc_period_nanos(&self) -> Result<i64, Error> {
        duration::parse(self.text_or("Datastore.GCPeriod", GC_PERIOD_DEFAULT)).map_err(Error)
    }

    /// `Datastore.HashOnRead`: whether blocks are hashed again when they are read.
    #[must_use]
    pub fn hash_on_read(&self) -> bool {
        self.flag("Datastore.HashOnRead").unwrap_or(false)
    }

    /// `Bootstrap`, placeholders included.
    #[must_use]
    pub fn bootstrap(&self) -> Vec<String> {
        self.texts("Bootstrap")
    }

    /// `Swarm.AddrFilters`.
    #[must_use]
    pub fn address_filters(&self) -> Vec<String> {
        self.texts("Swarm.AddrFilters")
    }

    /// `Peering.Peers`.
    #[must_use]
    pub fn peering(&self) -> Vec<PeerAddresses> {
        let Value::Array(peers) = self.value("Peering.Peers") else { return Vec::new() };
        let addresses = |peer: &Value| -> Vec<String> {
            let list = peer.get("Addrs").and_then(Value::as_array);
            list.map(|list| list.iter().filter_map(text_of).collect()).unwrap_or_default()
        };
        let entry = |peer: &Value| PeerAddresses {
            id: peer.get("ID").and_then(text_of).unwrap_or_default(),
            addresses: addresses(peer),
        };
        peers.iter().map(entry).collect()
    }

    /// Whether `AutoConf` is on, as it is by default.
    #[must_use]
    pub fn is_autoconf_enabled(&self) -> bool {
        self.flag("AutoConf.Enabled").unwrap_or(true)
    }

    /// `Internal.ShutdownTimeout`, in nanoseconds; zero is no limit.
    #[must_use]
    pub fn shutdown_timeout_nanos(&self) -> i64 {
        self.nanos("Internal.ShutdownTimeout").unwrap_or(SHUTDOWN_TIMEOUT_DEFAULT_NANOS).max(0)
    }

    /// The `Import` section.
    #[must_use]
    pub fn import(&self) -> Import {
        let text = |key: &str| self.text(&format!("Import.{key}")).map(str::to_owned);
        let integer = |key: &str| self.integer(&format!("Import.{key}"));
        Import {
            cid_version: integer("CidVersion"),
            raw_leaves: self.flag("Import.UnixFSRawLeaves"),
            chunker: text("UnixFSChunker"),
            hash_function: text("HashFunction"),
            file_links_max: integer("UnixFSFileMaxLinks"),
            directory_links_max: integer("UnixFSDirectoryMaxLinks"),
            hamt_fanout: integer("UnixFSHAMTDirectoryMaxFanout"),
            // The name it had before it was renamed still counts, as in Kubo core/node/groups.go.
            hamt_threshold: text("UnixFSHAMTDirectorySizeThreshold")
                .or_else(|| self.text("Internal.UnixFSShardingSizeThreshold").map(str::to_owned))
                .and_then(|size| bytes::parse(&size).ok()),
            hamt_estimation: text("UnixFSHAMTDirectorySizeEstimation"),
            layout: text("UnixFSDAGLayout"),
        }
    }

    fn text_or<'a>(&'a self, path: &str, default: &'a str) -> &'a str {
        self.text(path).filter(|text| !text.is_empty()).unwrap_or(default)
    }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Parses the text of a config file.
///
/// # Errors
/// When it is no JSON; Kubo's text.
pub fn parse_file(text: &str) -> Result<Value, Error> {
    let parsed = if text.trim().is_empty() { Err("EOF".to_owned()) } else { json::parse(text) };
    parsed.map_err(|error| {
        // Go reads the file as a stream, whose end it calls by another name.
        let error = if error == json::CUT_OFF { "unexpected EOF" } else { &error };
        Error(format!("failure to decode config: {error}"))
    })
}
