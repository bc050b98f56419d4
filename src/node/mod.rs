//! The node: what the RPC and the command line can ask for.
//!
//! Owns every handle. A crash leaves what the stores and databases below it promise.

mod about;
pub mod add;
mod bitswap;
pub mod block;
mod blocking;
pub mod cat;
pub mod chroot;
pub mod dag;
pub mod dag_stat;
mod error;
pub mod export;
mod fetch;
mod file;
pub mod files;
mod first_start;
pub mod get;
mod hold;
pub mod import;
pub mod keys;
pub mod list_pins;
mod logs;
pub mod ls;
mod members;
mod membership;
pub mod names;
mod network;
pub mod object;
pub mod pin;
pub mod pin_remote;
pub mod pin_service;
pub mod ping;
pub mod pinset;
pub mod produce;
pub mod provider;
pub mod pubsub;
mod records;
pub mod refs;
mod relay;
pub mod repo;
mod republish;
pub mod resolve;
pub mod routing;
mod settings;
pub mod start;
mod subsystems;
mod swarm;
mod traverse;
pub mod tunnels;
pub mod verify_pins;
pub mod version;
mod walk;

pub use crate::exchange::Reach;
pub use crate::net::{Bandwidth, Limit, Resources, Scope, Use};
pub use about::About;
pub(crate) use blocking::blocking;
pub use error::Error;
pub use logs::{Line, LogLevel, Logs};
pub use membership::Membership;
pub use settings::ProfileChange;
pub use swarm::{PeerAddresses, PeerIdentity, SwarmConnection};

use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::db::Db;
use crate::exchange::Exchange;
use crate::http_client;
use crate::mfs::Mfs;
use crate::net::Network;
use crate::pins::Pins;
use crate::replicate;
use crate::repo::{Identity, Repo};
use crate::store::Store;
use crate::tunnel::Tunnels;

/// A handle to the node. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Node(Arc<Parts>);

/// What a node is made of.
#[derive(Debug)]
pub struct Parts {
    /// `$IPFS_PATH`, locked.
    pub repo: Repo,
    /// The key pair.
    pub identity: Identity,
    /// The state database.
    pub db: Db,
    /// The blocks, here and elsewhere.
    pub exchange: Exchange,
    /// What changes pins.
    pub pinset: pinset::Pinset,
    /// What fetches the content of the group's pins.
    pub replication: replicate::Queue,
    /// What is known of names beside their records.
    pub names: names::State,
    /// What announces the blocks; none on a node that announces none.
    pub provider: Option<provider::Handle>,
    /// The mutable file system.
    pub mfs: Mfs,
    /// The network; none on a node that is offline.
    pub network: Option<Network>,
    /// Whether people can publish and subscribe.
    pub has_pubsub: bool,
    /// Connections of other programs over its streams; with the network.
    pub tunnels: Option<Tunnels>,
    /// Tells who works off the pins that others ask for.
    pub pin_requests: pin_service::Bell,
    /// The client of other people's HTTP servers.
    pub http_client: http_client::Client,
    /// Which network that is.
    pub membership: Option<Membership>,
    /// The agent version, suffix included.
    pub agent: String,
    /// Whether this is the daemon, and not a command that runs by itself.
    pub is_daemon: bool,
    /// Whether garbage is collected from time to time.
    pub enable_gc: bool,
    /// When the node was started.
    pub started_at: SystemTime,
    /// Cancelled when the node is asked to end.
    pub shutdown: CancellationToken,
}

impl Node {
    /// Puts a node together; runs nothing.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Asks the node to end. Returns at once.
    pub fn shutdown(&self) {
        self.0.shutdown.cancel();
    }

    /// Whether the node has been asked to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.shutdown.is_cancelled()
    }

    /// Resolves when the node has been asked to end.
    pub async fn stopped(&self) {
        self.0.shutdown.cancelled().await;
    }

    /// `$IPFS_PATH`, and the config in it.
    #[must_use]
    pub fn repo(&self) -> &Repo {
        &self.0.repo
    }

    /// The config in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.0.repo.config()
    }

    /// The key pair.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Who we say we are: `kubo/0.44.0/pinmesh-0.1.0`, with a suffix when there is one.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.0.agent
    }

    /// Whether this is the daemon, and not a command that runs by itself.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.0.is_daemon
    }

    /// Whether garbage is collected from time to time.
    #[must_use]
    pub fn enable_gc(&self) -> bool {
        self.0.enable_gc
    }

    /// When the node was started.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.0.started_at
    }

    /// Which network this is a node of; `None` on a node that is offline.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.0.membership.as_ref()
    }

    pub(crate) fn http_client(&self) -> &http_client::Client {
        &self.0.http_client
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn store(&self) -> &Store {
        self.0.exchange.store()
    }

    pub(crate) fn pins(&self) -> Pins {
        Pins::new(self.0.db.clone(), self.store().clone())
    }

    pub(crate) fn pinset(&self) -> &pinset::Pinset {
        &self.0.pinset
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.0.exchange
    }

    /// What fetches the content of the group's pins; to be woken when they changed.
    pub(crate) fn replication(&self) -> &replicate::Queue {
        &self.0.replication
    }

    pub(crate) fn mfs(&self) -> &Mfs {
        &self.0.mfs
    }

    pub(crate) fn network(&self) -> Option<&Network> {
        self.0.network.as_ref()
    }
}
