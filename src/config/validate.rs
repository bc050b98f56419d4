//! Which configs a node refuses to start with, in Kubo's words (`cmd/ipfs/kubo/daemon.go`,
//! `core/node/groups.go`, `config/{autoconf,provide,import}.go`).

use super::{AUTO, Config, Error, duration};
use crate::ipld::hash;
use crate::ipld::quote::quote;

/// What the start of a node depends on besides the config.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// `--routing`, unless it is `default` or empty.
    pub routing: Option<String>,
    /// Whether the node speaks to the holders of its swarm key only.
    pub private_network: bool,
}

/// Kubo's `Routing.Type` when nothing is said.
const ROUTING_DEFAULT: &str = "auto";

/// What may stand in `Routing.Type`.
const ROUTINGS: [&str; 9] = [
    "default",
    "auto",
    "autoclient",
    "dht",
    "dhtclient",
    "dhtserver",
    "delegated",
    "custom",
    "none",
];

/// How long a provider record is valid.
const PROVIDE_VALIDITY_NANOS: i64 = 48 * 3600 * 1_000_000_000;

type Check = Result<(), Error>;

impl Config {
    /// Checks what a daemon checks before it starts.
    ///
    /// # Errors
    /// With Kubo's text, for a config that it refuses too.
    pub fn validate(&self, context: &Context) -> Check {
        self.check_autoconf()?;
        let routing = self.routing(context);
        if routing == "supernode" {
            return refuse("supernode routing was never fully implemented and has been removed");
        }
        if !ROUTINGS.contains(&routing.as_str()) {
            return refuse(format!("unrecognized routing option: {routing}"));
        }
        self.check_removed()?;
        self.check_routing(&routing)?;
        self.check_connections()?;
        self.check_ipns()?;
        self.check_import()?;
        self.check_provide()
    }

    /// The routing that is in force.
    #[must_use]
    pub fn routing(&self, context: &Context) -> String {
        let routing = self.chosen_routing(context);
        match routing.as_str() {
            "auto" if context.private_network => "dht".to_owned(),
            "autoclient" if context.private_network => "dhtclient".to_owned(),
            _ => routing,
        }
    }

    fn chosen_routing(&self, context: &Context) -> String {
        let chosen = context.routing.clone().filter(|r| !r.is_empty() && r != "default");
        let configured = || self.text("Routing.Type").filter(|r| !r.is_empty()).map(str::to_owned);
        chosen.or_else(configured).unwrap_or_else(|| ROUTING_DEFAULT.to_owned())
    }

    /// What the config asks for that a private network does not have; a sentence for each.
    ///
    /// Kubo refuses to start with these (`config/autoconf_client.go`, `daemon.go`), and with
    /// AutoConf's default too, because it would ask public services. Nobody is asked here, so
    /// there is nothing to refuse: the config of a plain `ipfs init` serves a private network.
    #[must_use]
    pub fn without_effect_in_private(&self, context: &Context) -> Vec<&'static str> {
        let notes = [
            (
                self.flag("AutoConf.Enabled") == Some(true),
                "AutoConf.Enabled=true has no effect: nothing is fetched from public services",
            ),
            (
                self.flag("AutoTLS.Enabled") == Some(true),
                "AutoTLS.Enabled=true has no effect: a private network has no public certificates",
            ),
            (
                self.chosen_routing(context) == "autoclient",
                "the routing option autoclient means dhtclient in a private network",
            ),
        ];
        notes.into_iter().filter(|(is_set, _)| *is_set).map(|(_, note)| note).collect()
    }

    fn check_autoconf(&self) -> Check {
        if !self.is_autoconf_enabled() && self.bootstrap() == [AUTO] {
            return refuse(
                "no usable bootstrap peers: AutoConf is disabled (AutoConf.Enabled=false) but \
                 'auto' placeholder is used in Bootstrap config. Either set AutoConf.Enabled=true \
                 to enable automatic configuration, or replace 'auto' with specific Bootstrap peer \
                 addresses",
            );
        }
        Ok(())
    }

    fn check_removed(&self) -> Check {
        let any_set = |paths: &[&str]| paths.iter().any(|path| !self.value(path).is_null());
        if any_set(&["Provider.Enabled", "Provider.Strategy", "Provider.WorkerCount"]) {
            return refuse(
                "deprecated configuration detected. Manually migrate 'Provider' fields to \
                 'Provide' and remove 'Provider' from your config. Documentation: \
                 https://github.com/ipfs/kubo/blob/master/docs/config.md#provide",
            );
        }
        if any_set(&["Reprovider.Interval", "Reprovider.Strategy"]) {
            return refuse(
                "deprecated configuration detected. Manually migrate 'Reprovider' fields to \
                 'Provide': Reprovider.Strategy -> Provide.Strategy, Reprovider.Interval -> \
                 Provide.DHT.Interval. Remove 'Reprovider' from your config. Documentation: \
                 https://github.com/ipfs/kubo/blob/master/docs/config.md#provide",
            );
        }
        if self.text("Provide.Strategy") == Some("flat") {
            return refuse(
                "Provide.Strategy='flat' is no longer supported. Use 'all' instead. \
                 Documentation: \
                 https://github.com/ipfs/kubo/blob/master/docs/config.md#providestrategy",
            );
        }
        if self.flag("Experimental.StrategicProviding") == Some(true) {
            return refuse(
                "Experimental.StrategicProviding was removed. Remove it from your config. \
                 Documentation: https://github.com/ipfs/kubo/blob/master/docs/\
                 experimental-features.md#strategic-providing",
            );
        }
        if self.flag("Experimental.ShardingEnabled") == Some(true) {
            return refuse(
                "The `Experimental.ShardingEnabled` field is no longer used, please remove it \
                 from the config. Use Import.UnixFSHAMTDirectorySizeThreshold instead.",
            );
        }
        Ok(())
    }

    fn check_routing(&self, routing: &str) -> Check {
        let sweeps = self.flag("Provide.DHT.SweepEnabled").unwrap_or(true);
        if sweeps && self.integer("Provide.DHT.MaxWorkers") == Some(0) {
            return refuse(
                "invalid configuration: Provide.DHT.MaxWorkers cannot be 0 when \
                 Provide.DHT.SweepEnabled=true. Set Provide.DHT.MaxWorkers to a positive value \
                 (e.g., 16) to control resource usage. Documentation: \
                 https://github.com/ipfs/kubo/blob/master/docs/config.md#providedhtmaxworkers",
            );
        }
        if routing == "delegated" && self.flag("Provide.Enabled").unwrap_or(true) {
            return refuse(
                "Routing.Type=delegated does not support content providing. Set \
                 Provide.Enabled=false in your config",
            );
        }
        Ok(())
    }

    fn check_connections(&self) -> Check {
        if let Some(kind) = self.text("Swarm.ConnMgr.Type")
            && !matches!(kind, "" | "basic" | "none")
        {
            return refuse(format!("unrecognized Swarm.ConnMgr.Type: {}", quote(kind)));
        }
        Ok(())
    }

    fn check_ipns(&self) -> Check {
        if self.integer("Ipns.ResolveCacheSize").is_some_and(|size| size < 0) {
            return refuse("cannot specify negative resolve cache size");
        }
        let period = self.text("Ipns.RepublishPeriod").unwrap_or_default();
        if !period.is_empty() {
            let nanos = duration::parse(period).map_err(|error| {
                Error(format!("failure to parse config setting IPNS.RepublishPeriod: {error}"))
            })?;
            let minute = 60_000_000_000;
            if nanos != 0 && !(minute..=24 * 60 * minute).contains(&nanos) {
                let shown = duration::format(nanos);
                return refuse(format!(
                    "config setting IPNS.RepublishPeriod is not between 1min and 1day: {shown}"
                ));
            }
        }
        let lifetime = self.text("Ipns.RecordLifetime").unwrap_or_default();
        if !lifetime.is_empty() {
            duration::parse(lifetime).map_err(|error| {
                Error(format!("failure to parse config setting IPNS.RecordLifetime: {error}"))
            })?;
        }
        Ok(())
    }

    fn check_import(&self) -> Check {
        let integer = |key: &str| self.integer(&format!("Import.{key}"));
        if let Some(version) = integer("CidVersion")
            && !matches!(version, 0 | 1)
        {
            return refuse(format!("Import.CidVersion must be 0 or 1, got {version}"));
        }
        for (key, least, kind) in
            [("UnixFSFileMaxLinks", 1, "positive"), ("UnixFSDirectoryMaxLinks", 0, "non-negative")]
        {
            if let Some(n) = integer(key).filter(|n| *n < least) {
                return refuse(format!("Import.{key} must be {kind}, got {n}"));
            }
        }
        if let Some(fanout) = integer("UnixFSHAMTDirectoryMaxFanout")
            && !(8..=1024).any(|n: i64| n.count_ones() == 1 && n == fanout)
        {
            return refuse(format!(
                "Import.UnixFSHAMTDirectoryMaxFanout must be a power of 2, between 8 and 1024 \
                 (got {fanout})"
            ));
        }
        for key in ["BatchMaxNodes", "BatchMaxSize"] {
            if let Some(n) = integer(key).filter(|n| *n < 1) {
                return refuse(format!("Import.{key} must be positive, got {n}"));
            }
        }
        self.check_import_words()
    }

    fn check_import_words(&self) -> Check {
        let text = |key: &str| self.text(&format!("Import.{key}"));
        if let Some(chunker) = text("UnixFSChunker").filter(|c| !is_chunker(c)) {
            return refuse(format!(
                "Import.UnixFSChunker invalid format: {} (expected \"size-<bytes>\", \
                 \"rabin-<min>-<avg>-<max>\", or \"buzhash\")",
                quote(chunker)
            ));
        }
        if let Some(name) = text("HashFunction") {
            let Some(code) = hash::by_name(&name.to_lowercase()) else {
                return refuse(format!("Import.HashFunction unrecognized: {}", quote(name)));
            };
            if !hash::is_allowed(code) {
                let quoted = quote(name);
                return refuse(format!(
                    "Import.HashFunction {quoted} is not allowed for use in IPFS"
                ));
            }
        }
        if let Some(way) = text("UnixFSHAMTDirectorySizeEstimation")
            && !matches!(way, "links" | "block" | "disabled")
        {
            return refuse(format!(
                "Import.UnixFSHAMTDirectorySizeEstimation must be \"links\", \"block\", or \
                 \"disabled\", got {}",
                quote(way)
            ));
        }
        if let Some(layout) = text("UnixFSDAGLayout")
            && !matches!(layout, "balanced" | "trickle")
        {
            let quoted = quote(layout);
            return refuse(format!(
                "Import.UnixFSDAGLayout must be \"balanced\" or \"trickle\", got {quoted}"
            ));
        }
        Ok(())
    }

    fn check_provide(&self) -> Check {
        check_strategy(self.text("Provide.Strategy").unwrap_or_default())
            .map_err(|error| Error(format!("Provide.Strategy: {error}")))?;
        if let Some(nanos) = self.nanos("Provide.DHT.Interval") {
            let shown = duration::format(nanos);
            if nanos > PROVIDE_VALIDITY_NANOS {
                return refuse(format!(
                    "Provide.DHT.Interval ({shown}) must be less than or equal to DHT provider \
                     record validity ({})",
                    duration::format(PROVIDE_VALIDITY_NANOS)
                ));
            }
            if nanos < 0 {
                return refuse(format!("Provide.DHT.Interval must be non-negative, got {shown}"));
            }
            if nanos == 0 && self.flag("Provide.Enabled").is_none() {
                return refuse(
                    "Provide.DHT.Interval=0 no longer disables the provide system on its own; set \
                     Provide.Enabled explicitly: Provide.Enabled=false to fully disable \
                     providing, or Provide.Enabled=true to keep ad-hoc 'ipfs provide once' and \
                     fast-provide-root working while skipping the periodic reprovide schedule",
                );
            }
        }
        for (key, least, kind) in [
            ("MaxWorkers", 1, "positive"),
            ("DedicatedPeriodicWorkers", 0, "non-negative"),
            ("DedicatedBurstWorkers", 0, "non-negative"),
            ("MaxProvideConnsPerWorker", 1, "positive"),
            ("KeystoreBatchSize", 1, "positive"),
        ] {
            let set = self.integer(&format!("Provide.DHT.{key}"));
            if let Some(n) = set.filter(|n| *n < least) {
                return refuse(format!("Provide.DHT.{key} must be {kind}, got {n}"));
            }
        }
        Ok(())
    }
}

fn refuse(text: impl Into<String>) -> Check {
    Err(Error(text.into()))
}

fn is_chunker(text: &str) -> bool {
    if let Some(size) = text.strip_prefix("size-") {
        return size.parse::<i64>().is_ok_and(|size| size > 0);
    }
    if let Some(sizes) = text.strip_prefix("rabin-") {
        let sizes: Vec<Option<i64>> = sizes.split('-').map(|n| n.parse().ok()).collect();
        return match sizes.as_slice() {
            [Some(min), Some(avg), Some(max)] => min <= avg && avg <= max,
            _ => false,
        };
    }
    text == "buzhash"
}

/// Checks `Provide.Strategy`: words joined by `+`.
fn check_strategy(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = text.split('+').collect();
    for word in &words {
        match *word {
            "all" | "flat" | "pinned" | "roots" | "mfs" | "unique" | "entities" => {}
            "" => return Err(format!("invalid provide strategy: empty token in {}", quote(text))),
            word => {
                let (word, text) = (quote(word), quote(text));
                return Err(format!("unknown provide strategy token: {word} in {text}"));
            }
        }
    }
    let has = |wanted: &str| words.contains(&wanted);
    let all = has("all") || has("flat");
    if all && words.iter().any(|word| !matches!(*word, "all" | "flat")) {
        let text = quote(text);
        return Err(format!("\"all\" strategy cannot be combined with other strategies in {text}"));
    }
    if has("unique") || has("entities") {
        let text = quote(text);
        if !has("pinned") && !has("mfs") {
            return Err(format!("+unique/+entities must combine with pinned and/or mfs in {text}"));
        }
        if has("roots") {
            return Err(format!("+unique/+entities is incompatible with roots in {text}"));
        }
    }
    Ok(())
}
