//! The keys of the config file, in the order in which Kubo writes them (`config/*.go`).
//!
//! A table and nothing else. [`super::schema`] gives it meaning.

use super::schema::{Field, Kind, Struct, Written};

const fn always(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, written: Written::Always }
}

const fn unempty(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, written: Written::Unempty }
}

const fn set(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, written: Written::Set }
}

const STR_LIST: Kind = Kind::List(&Kind::Str);
const STR_MAP: Kind = Kind::Map(&Kind::Str);
const HEADERS: Kind = Kind::Map(&Kind::List(&Kind::Str));
const INT: Kind = Kind::Int("int");

/// The whole config.
pub(super) static CONFIG: Struct = Struct {
    name: "Config",
    fields: &[
        always("Identity", Kind::Struct(&IDENTITY)),
        always("Datastore", Kind::Struct(&DATASTORE)),
        always("Addresses", Kind::Struct(&ADDRESSES)),
        always("Mounts", Kind::Struct(&MOUNTS)),
        always("Discovery", Kind::Struct(&DISCOVERY)),
        always("Routing", Kind::Struct(&ROUTING)),
        always("Ipns", Kind::Struct(&IPNS)),
        always("Bootstrap", STR_LIST),
        always("Gateway", Kind::Struct(&GATEWAY)),
        always("API", Kind::Struct(&API)),
        always("Swarm", Kind::Struct(&SWARM)),
        always("AutoNAT", Kind::Struct(&AUTONAT)),
        always("AutoTLS", Kind::Struct(&AUTOTLS)),
        always("Pubsub", Kind::Struct(&PUBSUB)),
        always("Peering", Kind::Struct(&PEERING)),
        always("DNS", Kind::Struct(&DNS)),
        always("Migration", Kind::Struct(&MIGRATION)),
        always("AutoConf", Kind::Struct(&AUTOCONF)),
        always("Provide", Kind::Struct(&PROVIDE)),
        always("Provider", Kind::Struct(&PROVIDER)),
        always("Reprovider", Kind::Struct(&REPROVIDER)),
        always("HTTPRetrieval", Kind::Struct(&HTTP_RETRIEVAL)),
        always("Experimental", Kind::Struct(&EXPERIMENTS)),
        always("Plugins", Kind::Struct(&PLUGINS)),
        always("Pinning", Kind::Struct(&PINNING)),
        always("Import", Kind::Struct(&IMPORT)),
        always("Version", Kind::Struct(&VERSION)),
        always("Internal", Kind::Struct(&INTERNAL)),
        always("Bitswap", Kind::Struct(&BITSWAP)),
    ],
};

static IDENTITY: Struct = Struct {
    name: "Identity",
    fields: &[always("PeerID", Kind::Str), unempty("PrivKey", Kind::Str)],
};

static DATASTORE: Struct = Struct {
    name: "Datastore",
    fields: &[
        always("StorageMax", Kind::Str),
        always("StorageGCWatermark", Kind::Int("int64")),
        always("GCPeriod", Kind::Str),
        unempty("Type", Kind::Str),
        unempty("Path", Kind::Str),
        unempty("NoSync", Kind::Bool),
        unempty("Params", Kind::Any),
        always("Spec", Kind::Map(&Kind::Any)),
        always("HashOnRead", Kind::Bool),
        always("BloomFilterSize", INT),
        always("BlockKeyCacheSize", Kind::OptInt),
        unempty("WriteThrough", Kind::Flag),
    ],
};

static ADDRESSES: Struct = Struct {
    name: "Addresses",
    fields: &[
        always("Swarm", STR_LIST),
        always("Announce", STR_LIST),
        always("AppendAnnounce", STR_LIST),
        always("NoAnnounce", STR_LIST),
        always("API", Kind::Strings),
        always("Gateway", Kind::Strings),
    ],
};

static MOUNTS: Struct = Struct {
    name: "Mounts",
    fields: &[
        always("IPFS", Kind::Str),
        always("IPNS", Kind::Str),
        always("MFS", Kind::Str),
        always("FuseAllowOther", Kind::Flag),
        always("StoreMtime", Kind::Flag),
        always("StoreMode", Kind::Flag),
    ],
};

static DISCOVERY: Struct =
    Struct { name: "Discovery", fields: &[always("MDNS", Kind::Struct(&MDNS))] };

static MDNS: Struct = Struct { name: "MDNS", fields: &[always("Enabled", Kind::Bool)] };

static ROUTING: Struct = Struct {
    name: "Routing",
    fields: &[
        set("Type", Kind::OptStr),
        unempty("AcceleratedDHTClient", Kind::Flag),
        unempty("LoopbackAddressesOnLanDHT", Kind::Flag),
        unempty("IgnoreProviders", STR_LIST),
        always("DelegatedRouters", STR_LIST),
        unempty("Routers", Kind::Map(&Kind::Any)),
        unempty("Methods", Kind::Map(&Kind::Struct(&METHOD))),
    ],
};

static METHOD: Struct = Struct { name: "Method", fields: &[always("RouterName", Kind::Str)] };

static IPNS: Struct = Struct {
    name: "Ipns",
    fields: &[
        always("RepublishPeriod", Kind::Str),
        always("RecordLifetime", Kind::Str),
        always("ResolveCacheSize", INT),
        set("MaxCacheTTL", Kind::OptDuration),
        unempty("UsePubsub", Kind::Flag),
        always("DelegatedPublishers", STR_LIST),
    ],
};

static GATEWAY: Struct = Struct {
    name: "Gateway",
    fields: &[
        always("HTTPHeaders", HEADERS),
        always("RootRedirect", Kind::Str),
        always("NoFetch", Kind::Bool),
        always("NoDNSLink", Kind::Bool),
        always("DeserializedResponses", Kind::Flag),
        always("AllowCodecConversion", Kind::Flag),
        always("DisableHTMLErrors", Kind::Flag),
        always("PublicGateways", Kind::Map(&Kind::Struct(&GATEWAY_SPEC))),
        always("ExposeRoutingAPI", Kind::Flag),
        set("RetrievalTimeout", Kind::OptDuration),
        set("MaxRequestDuration", Kind::OptDuration),
        set("MaxConcurrentRequests", Kind::OptInt),
        set("MaxRangeRequestFileSize", Kind::OptBytes),
        set("DiagnosticServiceURL", Kind::OptStr),
    ],
};

static GATEWAY_SPEC: Struct = Struct {
    name: "GatewaySpec",
    fields: &[
        always("Paths", STR_LIST),
        always("UseSubdomains", Kind::Bool),
        always("NoDNSLink", Kind::Bool),
        always("InlineDNSLink", Kind::Flag),
        always("DeserializedResponses", Kind::Flag),
    ],
};

static API: Struct = Struct {
    name: "API",
    fields: &[
        always("HTTPHeaders", HEADERS),
        unempty("Authorizations", Kind::Map(&Kind::Struct(&RPC_AUTH_SCOPE))),
    ],
};

static RPC_AUTH_SCOPE: Struct = Struct {
    name: "RPCAuthScope",
    fields: &[always("AuthSecret", Kind::Str), always("AllowedPaths", STR_LIST)],
};

static SWARM: Struct = Struct {
    name: "SwarmConfig",
    fields: &[
        always("AddrFilters", STR_LIST),
        always("DisableBandwidthMetrics", Kind::Bool),
        always("DisableNatPortMap", Kind::Bool),
        always("RelayClient", Kind::Struct(&RELAY_CLIENT)),
        always("RelayService", Kind::Struct(&RELAY_SERVICE)),
        unempty("EnableHolePunching", Kind::Flag),
        always("Transports", Kind::Struct(&TRANSPORTS)),
        always("ConnMgr", Kind::Struct(&CONN_MGR)),
        always("ResourceMgr", Kind::Struct(&RESOURCE_MGR)),
    ],
};

static RELAY_CLIENT: Struct = Struct {
    name: "RelayClient",
    fields: &[unempty("Enabled", Kind::Flag), unempty("StaticRelays", STR_LIST)],
};

static RELAY_SERVICE: Struct = Struct {
    name: "RelayService",
    fields: &[
        unempty("Enabled", Kind::Flag),
        set("ConnectionDurationLimit", Kind::OptDuration),
        set("ConnectionDataLimit", Kind::OptInt),
        set("ReservationTTL", Kind::OptDuration),
        set("MaxReservations", Kind::OptInt),
        set("MaxCircuits", Kind::OptInt),
        set("BufferSize", Kind::OptInt),
        set("MaxReservationsPerIP", Kind::OptInt),
        set("MaxReservationsPerASN", Kind::OptInt),
    ],
};

static TRANSPORTS: Struct = Struct {
    name: "Transports",
    fields: &[
        always("Network", Kind::Struct(&NETWORK)),
        always("Security", Kind::Struct(&SECURITY)),
        always("Multiplexers", Kind::Struct(&MULTIPLEXERS)),
    ],
};

static NETWORK: Struct = Struct {
    name: "",
    fields: &[
        unempty("QUIC", Kind::Flag),
        unempty("TCP", Kind::Flag),
        unempty("Websocket", Kind::Flag),
        unempty("Relay", Kind::Flag),
        unempty("WebTransport", Kind::Flag),
        unempty("WebRTCDirect", Kind::Flag),
    ],
};

static SECURITY: Struct = Struct {
    name: "",
    fields: &[unempty("TLS", Kind::Priority), unempty("Noise", Kind::Priority)],
};

static MULTIPLEXERS: Struct = Struct { name: "", fields: &[unempty("Yamux", Kind::Priority)] };

static CONN_MGR: Struct = Struct {
    name: "ConnMgr",
    fields: &[
        set("Type", Kind::OptStr),
        set("LowWater", Kind::OptInt),
        set("HighWater", Kind::OptInt),
        set("GracePeriod", Kind::OptDuration),
        set("SilencePeriod", Kind::OptDuration),
    ],
};

static RESOURCE_MGR: Struct = Struct {
    name: "ResourceMgr",
    fields: &[
        unempty("Enabled", Kind::Flag),
        unempty(
            "Limits",
            Kind::Removed(
                "The Swarm.ResourceMgr.Limits configuration has been removed in Kubo 0.19 and \
                 should be empty or not present. To set custom libp2p limits, read \
                 https://github.com/ipfs/kubo/blob/master/docs/libp2p-resource-management.md\
                 #user-supplied-override-limits",
            ),
        ),
        set("MaxMemory", Kind::OptBytes),
        set("MaxFileDescriptors", Kind::OptInt),
        unempty("Allowlist", STR_LIST),
    ],
};

static AUTONAT: Struct = Struct {
    name: "AutoNATConfig",
    fields: &[
        unempty("ServiceMode", Kind::Word(&["enabled", "disabled", "legacy-v1"])),
        set("Throttle", Kind::Struct(&AUTONAT_THROTTLE)),
    ],
};

static AUTONAT_THROTTLE: Struct = Struct {
    name: "AutoNATThrottleConfig",
    fields: &[
        always("GlobalLimit", INT),
        always("PeerLimit", INT),
        always("Interval", Kind::OptDuration),
    ],
};

static AUTOTLS: Struct = Struct {
    name: "AutoTLS",
    fields: &[
        unempty("Enabled", Kind::Flag),
        unempty("AutoWSS", Kind::Flag),
        unempty("SkipDNSLookup", Kind::Flag),
        set("DomainSuffix", Kind::OptStr),
        set("RegistrationEndpoint", Kind::OptStr),
        set("RegistrationToken", Kind::OptStr),
        set("RegistrationDelay", Kind::OptDuration),
        set("CAEndpoint", Kind::OptStr),
        unempty("ShortAddrs", Kind::Flag),
    ],
};

static PUBSUB: Struct = Struct {
    name: "PubsubConfig",
    fields: &[
        always("Router", Kind::Str),
        always("DisableSigning", Kind::Bool),
        unempty("Enabled", Kind::Flag),
        set("SeenMessagesTTL", Kind::OptDuration),
        set("SeenMessagesStrategy", Kind::OptStr),
    ],
};

static PEERING: Struct =
    Struct { name: "Peering", fields: &[always("Peers", Kind::List(&Kind::Struct(&ADDR_INFO)))] };

static ADDR_INFO: Struct =
    Struct { name: "addrInfoJson", fields: &[always("ID", Kind::Str), always("Addrs", STR_LIST)] };

static DNS: Struct = Struct {
    name: "DNS",
    fields: &[always("Resolvers", STR_MAP), set("MaxCacheTTL", Kind::OptDuration)],
};

static MIGRATION: Struct = Struct {
    name: "Migration",
    fields: &[unempty("DownloadSources", STR_LIST), unempty("Keep", Kind::Str)],
};

static AUTOCONF: Struct = Struct {
    name: "AutoConf",
    fields: &[
        set("URL", Kind::OptStr),
        unempty("Enabled", Kind::Flag),
        set("RefreshInterval", Kind::OptDuration),
        unempty("TLSInsecureSkipVerify", Kind::Flag),
    ],
};

static PROVIDE: Struct = Struct {
    name: "Provide",
    fields: &[
        unempty("Enabled", Kind::Flag),
        set("Strategy", Kind::OptStr),
        set("BloomFPRate", Kind::OptInt),
        always("DHT", Kind::Struct(&PROVIDE_DHT)),
    ],
};

static PROVIDE_DHT: Struct = Struct {
    name: "ProvideDHT",
    fields: &[
        set("Interval", Kind::OptDuration),
        set("MaxWorkers", Kind::OptInt),
        unempty("SweepEnabled", Kind::Flag),
        set("DedicatedPeriodicWorkers", Kind::OptInt),
        set("DedicatedBurstWorkers", Kind::OptInt),
        set("MaxProvideConnsPerWorker", Kind::OptInt),
        set("KeystoreBatchSize", Kind::OptInt),
        set("OfflineDelay", Kind::OptDuration),
        set("SendProviderRecordTimeout", Kind::OptDuration),
        unempty("ResumeEnabled", Kind::Flag),
    ],
};

static PROVIDER: Struct = Struct {
    name: "Provider",
    fields: &[
        unempty("Enabled", Kind::Flag),
        set("Strategy", Kind::OptStr),
        set("WorkerCount", Kind::OptInt),
    ],
};

static REPROVIDER: Struct = Struct {
    name: "Reprovider",
    fields: &[set("Interval", Kind::OptDuration), set("Strategy", Kind::OptStr)],
};

static HTTP_RETRIEVAL: Struct = Struct {
    name: "HTTPRetrieval",
    fields: &[
        unempty("Enabled", Kind::Flag),
        unempty("Allowlist", STR_LIST),
        unempty("Denylist", STR_LIST),
        set("NumWorkers", Kind::OptInt),
        set("MaxBlockSize", Kind::OptStr),
        unempty("TLSInsecureSkipVerify", Kind::Flag),
    ],
};

static EXPERIMENTS: Struct = Struct {
    name: "Experiments",
    fields: &[
        always("FilestoreEnabled", Kind::Bool),
        always("UrlstoreEnabled", Kind::Bool),
        unempty("ShardingEnabled", Kind::Bool),
        always("Libp2pStreamMounting", Kind::Bool),
        always("P2pHttpProxy", Kind::Bool),
        unempty("StrategicProviding", Kind::Bool),
        always("OptimisticProvide", Kind::Bool),
        always("OptimisticProvideJobsPoolSize", INT),
        unempty("GatewayOverLibp2p", Kind::Bool),
        unempty(
            "GraphsyncEnabled",
            Kind::Removed(
                "Support for Experimental.GraphsyncEnabled has been removed in Kubo 0.25.0, \
                 please remove this key. For more details see \
                 https://github.com/ipfs/kubo/pull/9747.",
            ),
        ),
        unempty(
            "AcceleratedDHTClient",
            Kind::Removed(
                "The Experimental.AcceleratedDHTClient key has been moved to \
                 Routing.AcceleratedDHTClient in Kubo 0.21, please use this new key and remove \
                 the old one.",
            ),
        ),
    ],
};

static PLUGINS: Struct =
    Struct { name: "Plugins", fields: &[always("Plugins", Kind::Map(&Kind::Struct(&PLUGIN)))] };

static PLUGIN: Struct = Struct {
    name: "Plugin",
    fields: &[always("Disabled", Kind::Bool), unempty("Config", Kind::Any)],
};

static PINNING: Struct = Struct {
    name: "Pinning",
    fields: &[always("RemoteServices", Kind::Map(&Kind::Struct(&REMOTE_SERVICE)))],
};

static REMOTE_SERVICE: Struct = Struct {
    name: "RemotePinningService",
    fields: &[
        always("API", Kind::Struct(&REMOTE_SERVICE_API)),
        always("Policies", Kind::Struct(&REMOTE_SERVICE_POLICIES)),
    ],
};

static REMOTE_SERVICE_API: Struct = Struct {
    name: "RemotePinningServiceAPI",
    fields: &[always("Endpoint", Kind::Str), always("Key", Kind::Str)],
};

static REMOTE_SERVICE_POLICIES: Struct = Struct {
    name: "RemotePinningServicePolicies",
    fields: &[always("MFS", Kind::Struct(&REMOTE_SERVICE_MFS))],
};

static REMOTE_SERVICE_MFS: Struct = Struct {
    name: "RemotePinningServiceMFSPolicy",
    fields: &[
        always("Enable", Kind::Bool),
        always("PinName", Kind::Str),
        always("RepinInterval", Kind::Str),
    ],
};

static IMPORT: Struct = Struct {
    name: "Import",
    fields: &[
        always("CidVersion", Kind::OptInt),
        always("UnixFSRawLeaves", Kind::Flag),
        always("UnixFSChunker", Kind::OptStr),
        always("HashFunction", Kind::OptStr),
        always("UnixFSFileMaxLinks", Kind::OptInt),
        always("UnixFSDirectoryMaxLinks", Kind::OptInt),
        always("UnixFSHAMTDirectoryMaxFanout", Kind::OptInt),
        always("UnixFSHAMTDirectorySizeThreshold", Kind::OptBytes),
        always("UnixFSHAMTDirectorySizeEstimation", Kind::OptStr),
        always("UnixFSDAGLayout", Kind::OptStr),
        always("BatchMaxNodes", Kind::OptInt),
        always("BatchMaxSize", Kind::OptInt),
        always("FastProvideRoot", Kind::Flag),
        always("FastProvideDAG", Kind::Flag),
        always("FastProvideWait", Kind::Flag),
    ],
};

static VERSION: Struct = Struct {
    name: "Version",
    fields: &[
        set("AgentSuffix", Kind::OptStr),
        unempty("SwarmCheckEnabled", Kind::Flag),
        set("SwarmCheckPercentThreshold", Kind::OptInt),
    ],
};

static INTERNAL: Struct = Struct {
    name: "Internal",
    fields: &[
        set("Bitswap", Kind::Struct(&INTERNAL_BITSWAP)),
        set("UnixFSShardingSizeThreshold", Kind::OptStr),
        set("Libp2pForceReachability", Kind::OptStr),
        set("BackupBootstrapInterval", Kind::OptDuration),
        set("MFSNoFlushLimit", Kind::OptInt),
        set("ShutdownTimeout", Kind::OptDuration),
        unempty("CGNATCheck", Kind::Flag),
        unempty("DeadListenerCheck", Kind::Flag),
        unempty("NonPublicAddrPublishing", Kind::Flag),
    ],
};

static INTERNAL_BITSWAP: Struct = Struct {
    name: "InternalBitswap",
    fields: &[
        always("TaskWorkerCount", Kind::OptInt),
        always("EngineBlockstoreWorkerCount", Kind::OptInt),
        always("EngineTaskWorkerCount", Kind::OptInt),
        always("MaxOutstandingBytesPerPeer", Kind::OptInt),
        always("ProviderSearchDelay", Kind::OptDuration),
        always("ProviderSearchMaxResults", Kind::OptInt),
        always("WantHaveReplaceSize", Kind::OptInt),
        always("BroadcastControl", Kind::Struct(&BROADCAST_CONTROL)),
    ],
};

static BROADCAST_CONTROL: Struct = Struct {
    name: "BitswapBroadcastControl",
    fields: &[
        unempty("Enable", Kind::Flag),
        always("MaxPeers", Kind::OptInt),
        unempty("LocalPeers", Kind::Flag),
        unempty("PeeredPeers", Kind::Flag),
        always("MaxRandomPeers", Kind::OptInt),
        unempty("SendToPendingPeers", Kind::Flag),
    ],
};

static BITSWAP: Struct = Struct {
    name: "Bitswap",
    fields: &[unempty("Libp2pEnabled", Kind::Flag), unempty("ServerEnabled", Kind::Flag)],
};
