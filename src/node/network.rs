//! The network of a node that is online: what of the config it is started with, and its tasks.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Error, Membership, Node, members, pubsub};
use crate::config::Config;
use crate::db::Db;
use crate::net::{self, Announce, Keeper, Mask, Multiaddr, Network, PeerId, Watermarks, bitswap};
use crate::repo::Identity;

/// Connections that others opened, at once: what Kubo allows at least.
const CONNECTIONS_IN_MAX: u32 = 800;

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
    pub(super) bitswap: Option<bitswap::Behaviour>,
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
        let bitswap = self.bitswap.take();
        let started = Network::start(self.options()?, bitswap).await;
        let (network, service) = started.map_err(Error::failed)?;
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
        let (keeper, stop) =
            (Keeper::new(network.clone(), watermarks(self.config)), shutdown.clone());
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
            mdns: config.flag("Discovery.MDNS.Enabled").unwrap_or(true),
            connections_in_max: CONNECTIONS_IN_MAX,
            gossip: pubsub::options(config, self.pubsub)?,
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
