//! Starting and stopping a node.
//!
//! The one place where long-lived tasks are spawned: into one set, whose first task to end stops
//! the node. A crash at any point leaves what store and database promise.

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Error, Membership, Node, Parts, first_start, names, records, republish, version};
use crate::db::Db;
use crate::exchange::Exchange;
use crate::net::{self, Mask, Network, SwarmKey};
use crate::pins;
use crate::repo::{Identity, Repo};
use crate::store::{self, Store};

/// Connections that others opened, at once: what Kubo allows at least.
const CONNECTIONS_IN_MAX: u32 = 800;

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it stays off the network.
    pub offline: bool,
    /// Whether it speaks to anybody, without a swarm key. Otherwise its network is private, and the
    /// first start makes the key.
    pub public: bool,
    /// `--agent-version-suffix`; the config's comes first.
    pub agent_suffix: Option<String>,
    /// Whether names are followed over pubsub, too.
    pub ipns_pubsub: bool,
    /// Whether garbage is collected from time to time.
    pub enable_gc: bool,
    /// Whether this is the daemon, and not a command that runs by itself.
    pub is_daemon: bool,
}

/// A node with its tasks.
pub struct Running {
    node: Node,
    tasks: JoinSet<(&'static str, Result<(), String>)>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// Starts a node on an open repo.
///
/// # Errors
/// When the identity, the store, the database or a swarm address cannot be had.
pub async fn start(repo: Repo, options: Options) -> Result<Running, Error> {
    let config = repo.config();
    let identity = repo.identity()?;
    let state_path = repo.path().join("state.sqlite");
    let store = Store::open(repo.path(), store::Options::default())?;
    let db = Db::open(&state_path, &[pins::SCHEMA, first_start::SCHEMA, records::SCHEMA])?;
    first_start::ensure(&db, &store).await?;
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let suffix = config.text("Version.AgentSuffix").map(str::to_owned).or(options.agent_suffix);
    let agent = version::agent(suffix.as_deref());
    let membership = match options.offline {
        true => None,
        false => Some(Membership::of(&repo, options.public)?),
    };
    let network = if let Some(membership) = &membership {
        let swarm_key = membership.key().cloned();
        let options = network_options(&repo, &identity, &agent, swarm_key)?;
        let (network, service) = Network::start(options).await.map_err(Error::failed)?;
        let stop = shutdown.clone();
        tasks.spawn(async move {
            service.run(stop).await;
            ("swarm", Ok(()))
        });
        Some(network)
    } else {
        None
    };
    let ipns_pubsub =
        network.is_some() && (options.ipns_pubsub || config.flag("Ipns.UsePubsub") == Some(true));
    let node = Node::new(Parts {
        repo,
        identity,
        exchange: Exchange::new(store, network.is_some()),
        db,
        names: names::State::new(ipns_pubsub),
        network,
        membership,
        agent,
        is_daemon: options.is_daemon,
        enable_gc: options.enable_gc,
        started_at: SystemTime::now(),
        shutdown,
    });
    if options.enable_gc {
        let service = node.garbage_service()?;
        let stop = node.clone();
        tasks.spawn(async move {
            service.run(stop.stopped()).await;
            ("garbage collector", Ok(()))
        });
    }
    if node.is_online() {
        let (service, stop) = (republish::Service::new(node.clone()), node.clone());
        tasks.spawn(async move {
            service.run(stop.stopped()).await;
            ("names", Ok(()))
        });
    }
    Ok(Running { node, tasks })
}

fn network_options(
    repo: &Repo,
    identity: &Identity,
    agent: &str,
    swarm_key: Option<SwarmKey>,
) -> Result<net::Options, Error> {
    let config = repo.config();
    let multiaddrs = |texts: Vec<String>| -> Result<Vec<net::Multiaddr>, Error> {
        texts.iter().map(|text| net::parse_multiaddr(text).map_err(Error::failed)).collect()
    };
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
    let listen = multiaddrs(config.swarm_addresses())?;
    Ok(net::Options {
        keypair: identity.keypair().clone(),
        swarm_key,
        agent: agent.to_owned(),
        listen,
        filters,
        peering,
        connections_in_max: CONNECTIONS_IN_MAX,
    })
}

impl Running {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Runs `task` until the node stops; when it ends before, the node stops.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Runs until the node is asked to stop or a task ends, then lets every task finish.
    ///
    /// # Errors
    /// When a task failed, or did not finish within `limit` (`None`: no limit).
    pub async fn wait(mut self, limit: Option<Duration>) -> Result<(), Error> {
        let mut outcome = Ok(());
        tokio::select! {
            () = self.node.stopped() => {}
            Some(first) = self.tasks.join_next() => outcome = settled(first),
        }
        self.node.shutdown();
        let tasks = &mut self.tasks;
        let finish = async {
            let mut failed = Ok(());
            while let Some(ended) = tasks.join_next().await {
                failed = failed.and(settled(ended));
            }
            failed
        };
        let finished = match limit {
            Some(limit) => tokio::time::timeout(limit, finish)
                .await
                .unwrap_or_else(|_| Err(Error::failed("the node did not stop in time"))),
            None => finish.await,
        };
        outcome.and(finished)
    }
}

/// What came of a task.
fn settled(
    ended: Result<(&'static str, Result<(), String>), tokio::task::JoinError>,
) -> Result<(), Error> {
    match ended {
        Ok((_, Ok(()))) => Ok(()),
        Ok((name, Err(error))) => Err(Error::failed(format!("{name}: {error}"))),
        Err(error) => Err(Error::failed(format!("a task of the node panicked: {error}"))),
    }
}
