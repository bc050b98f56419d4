//! The network of a node that is online: what of the config it is started with, and its tasks.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Error, Membership, Node, bitswap, members, pubsub, relay};
use crate::config::{self, Config};
use crate::db::Db;
use crate::net::{self, Announce, Keeper, Limits, Mask, Multiaddr, Network, PeerId, Watermarks};
use crate::repo::Identity;

/// Connections that others opened, at once: what Kubo allows at least.
const CONNECTIONS_IN_LEAST: u32 = 800;

/// Descriptors, when the system does not say how many there may be.
const DESCRIPTORS: u64 = 1024;

/// `Swarm.ConnMgr.HighWater`, `LowWater` and `GracePeriod` when the config does not say.
const HIGH_WATER: usize = 96;
const LOW_WATER: usize = 32;
const GRACE: Duration = Duration::from_secs(20);

/// The placeholder for bootstrap peers that somebody else names.
const AUTO: &str = "auto";

/// Long-lived tasks of the node, by name.
pub(super) type Tasks = JoinSet<(&'static str, Result<(), String>)>;

/// What the network is started from.
pub(super) struct Start<'a> {
    pub(super) config: &'a Config,
    pub(super) identity: &'a Identity,
    pub(super) agent: &'a str,
    pub(super) membership: &'a Membership,
    pub(super) db: &'a Db,
    pub(super) pubsub: pubsub::Flags,
    /// Whether members gossip of their pins.
    pub(super) has_pinset: bool,
    pub(super) bitswap: Option<bitswap::Swarming>,
    /// Whether it is left to others to dial.
    pub(super) dials_nobody: bool,
}

impl Start<'_> {
    /// Starts the network, and spawns what keeps it together.
    ///
    /// # Errors
    /// When the config names what is none, or an address cannot be bound.
    pub(super) async fn start(
        mut self,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) -> Result<Network, Error> {
        let bitswap = self.bitswap.take().map(|bitswap| (bitswap.behaviour, bitswap.searches));
        let (behaviour, searches) = bitswap.unzip();
        let started = Network::start(self.options()?, behaviour).await;
        let (network, service) = started.map_err(Error::failed)?;
        if let Some(searches) = searches.filter(|_| !self.dials_nobody) {
            let (network, stop) = (network.clone(), shutdown.clone());
            tasks.spawn(async move {
                bitswap::search(network, searches, stop).await;
                ("search for blocks", Ok(()))
            });
        }
        let stop = shutdown.clone();
        tasks.spawn(async move {
            service.run(stop).await;
            ("swarm", Ok(()))
        });
        network.set_bootstrap(bootstrap_peers(&self.config.bootstrap()));
        if network.is_private() {
            network.add_members(members::remembered(self.db).map_err(Error::Db)?);
            let (db, network, stop) = (self.db.clone(), network.clone(), shutdown.clone());
            tasks.spawn(async move { ("members", members::remember(db, network, stop).await) });
        }
        let keeper = Keeper::new(network.clone(), watermarks(self.config));
        let (keeper, stop) = (keeper.dials_nobody(self.dials_nobody), shutdown.clone());
        tasks.spawn(async move { ("peering", keeper.run(stop).await) });
        Ok(network)
    }

    fn options(&self) -> Result<net::Options, Error> {
        let config = self.config;
        let mut filters = Vec::new();
        for filter in config.address_filters() {
            let mask = Mask::parse(&filter).map_err(|_| {
                Error::failed(format!("incorrectly formatted address filter in config: {filter}"))
            })?;
            filters.push(mask);
        }
        let mut peering = Vec::new();
        for peer in config.peering() {
            let id = net::parse_peer_id(&peer.id).map_err(Error::failed)?;
            peering.push((id, multiaddrs(peer.addresses)?));
        }
        Ok(net::Options {
            keypair: self.identity.keypair().clone(),
            swarm_key: self.membership.key().cloned(),
            agent: self.agent.to_owned(),
            listen: multiaddrs(config.swarm_addresses())?,
            filters,
            peering,
            announce: announce(config)?,
            mdns: !self.dials_nobody && config.flag("Discovery.MDNS.Enabled").unwrap_or(true),
            limits: limits(config)?,
            relay: relay::options(config)?,
            gossip: match pubsub::options(config, self.pubsub)? {
                None if self.has_pinset => Some(pubsub::of_members()),
                options => options,
            },
        })
    }
}

impl Node {
    /// Keeps to the bootstrap peers that the config names now.
    pub(super) fn follow_bootstrap(&self) {
        if let Some(network) = self.network() {
            network.set_bootstrap(bootstrap_peers(&self.config().bootstrap()));
        }
    }
}

fn multiaddrs(texts: Vec<String>) -> Result<Vec<Multiaddr>, Error> {
    texts.iter().map(|text| net::parse_multiaddr(text).map_err(Error::failed)).collect()
}

fn announce(config: &Config) -> Result<Announce, Error> {
    let mut announce = Announce {
        instead: multiaddrs(config.texts("Addresses.Announce"))?,
        also: multiaddrs(config.texts("Addresses.AppendAnnounce"))?,
        ..Announce::default()
    };
    for text in config.texts("Addresses.NoAnnounce") {
        match Mask::parse(&text) {
            Ok(mask) => announce.hidden_masks.push(mask),
            Err(_) => announce.hidden.push(net::parse_multiaddr(&text).map_err(Error::failed)?),
        }
    }
    Ok(announce)
}

/// `Swarm.ConnMgr`, with Kubo's defaults.
fn watermarks(config: &Config) -> Option<Watermarks> {
    if config.text("Swarm.ConnMgr.Type") == Some("none") {
        return None;
    }
    let number = |path, default| {
        let number = config.integer(path).and_then(|number| usize::try_from(number).ok());
        number.unwrap_or(default)
    };
    let grace = config.nanos("Swarm.ConnMgr.GracePeriod").and_then(|n| u64::try_from(n).ok());
    Some(Watermarks {
        high: number("Swarm.ConnMgr.HighWater", HIGH_WATER),
        low: number("Swarm.ConnMgr.LowWater", LOW_WATER),
        grace: grace.map_or(GRACE, Duration::from_nanos),
    })
}

/// `Swarm.ResourceMgr`, with Kubo's defaults: a connection that others open for every mebibyte of
/// half the memory, and half of the descriptors.
fn limits(config: &Config) -> Result<Limits, Error> {
    if config.flag("Swarm.ResourceMgr.Enabled") == Some(false) {
        return Ok(Limits { descriptors: u32::MAX, connections_in: u32::MAX });
    }
    let memory = match config.text("Swarm.ResourceMgr.MaxMemory") {
        Some(text) => config::parse_bytes(text)
            .map_err(|error| Error::failed(format!("Swarm.ResourceMgr.MaxMemory: {error}")))?,
        None => proc_number("/proc/meminfo", "MemTotal:").unwrap_or(0).saturating_mul(1024) / 2,
    };
    let descriptors = match config.integer("Swarm.ResourceMgr.MaxFileDescriptors") {
        Some(most) => u64::try_from(most).unwrap_or(0),
        None => proc_number("/proc/self/limits", "Max open files").unwrap_or(DESCRIPTORS) / 2,
    };
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let high_water = watermarks(config).map_or(0, |marks| marks.high as u64);
    Ok(Limits {
        descriptors: narrow(descriptors),
        connections_in: narrow(memory / (1024 * 1024))
            .max(narrow(high_water.saturating_mul(2)))
            .max(CONNECTIONS_IN_LEAST),
    })
}

/// The first number behind `name` in a file of `/proc`; none on systems without one.
fn proc_number(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The peers that the list names; what is no address of a peer was refused when it was set.
fn bootstrap_peers(texts: &[String]) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let mut peers: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
    for text in texts.iter().filter(|text| *text != AUTO) {
        let address = net::parse_multiaddr(text).and_then(net::split_peer);
        let Ok((place, peer)) = address else {
            tracing::error!(address = %text, "a bootstrap address of the config names no peer");
            continue;
        };
        match peers.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, places)) => places.push(place),
            None => peers.push((peer, vec![place])),
        }
    }
    peers
}
