//! Starting and stopping a node.
//!
//! The one place where long-lived tasks are spawned: into one set, whose first task to end stops
//! the node. A crash at any point leaves what store and database promise.

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Error, Membership, Node, Parts, bitswap, files, first_start, hold, members, names, network,
    pin_service, pinset, provider, pubsub, records, republish, version,
};
use crate::config::Config;
use crate::db::Db;
use crate::http_client;
use crate::mfs::{self, Mfs};
use crate::net::{Network, SwarmKey};
use crate::pins;
use crate::psa;
use crate::replicate;
use crate::repo::Repo;
use crate::store::{self, Store};
use crate::sync;
use crate::tunnel::Tunnels;

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it stays off the network.
    pub offline: bool,
    /// Whether it speaks to anybody, without a swarm key. Otherwise its network is private, and the
    /// first start makes the key.
    pub public: bool,
    /// Whether there is publish and subscribe, when the command line says so.
    pub pubsub: Option<bool>,
    /// `--agent-version-suffix`; the config's comes first.
    pub agent_suffix: Option<String>,
    /// Whether names are followed over pubsub, too.
    pub ipns_pubsub: bool,
    /// Whether it dials nobody, so that others have to.
    pub dials_nobody: bool,
    /// Whether garbage is collected from time to time.
    pub enable_gc: bool,
    /// Whether this is the daemon, and not a command that runs by itself.
    pub is_daemon: bool,
    /// Seconds between two hellos to the group; 0: the default.
    pub hello_interval_s: u32,
    /// Seconds between two announcements of the pinset when nothing changes, at most; 0: the
    /// default.
    pub update_interval_s: u32,
    /// Whether pins are recorded at once, even if the repository may be an older copy.
    pub trusts_repo: bool,
}

impl Options {
    fn intervals(&self) -> pinset::Intervals {
        let ms = |seconds: u32| (seconds > 0).then(|| u64::from(seconds) * 1000);
        pinset::Intervals {
            hello_ms: ms(self.hello_interval_s),
            update_ms: ms(self.update_interval_s),
        }
    }
}

/// The key of the group whose pins these are; none on a node that is public, or was never started.
fn swarm_key(
    repo: &Repo,
    membership: Option<&Membership>,
    options: &Options,
) -> Result<Option<SwarmKey>, Error> {
    match membership {
        Some(membership) => Ok(membership.key().cloned()),
        None if options.public => Ok(None),
        None => {
            let file = repo.swarm_key()?;
            file.map(|file| SwarmKey::parse(&file)).transpose().map_err(Error::failed)
        }
    }
}

/// A node with its tasks.
pub struct Running {
    node: Node,
    tasks: network::Tasks,
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
    let (store, db) = open(&repo).await?;
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let suffix = config.text("Version.AgentSuffix").or(options.agent_suffix.as_deref());
    let agent = version::agent(suffix);
    let online = (!options.offline).then(|| Membership::of(&repo, options.public));
    let membership = online.transpose()?;
    let (exchange, bitswap) = bitswap::start(store, membership.is_some(), &mut tasks, &shutdown);
    let replication = replicate::Queue::default();
    let key = swarm_key(&repo, membership.as_ref(), &options)?.filter(|_| options.is_daemon);
    let ledger = key.map(|key| {
        let is_trusted = options.trusts_repo;
        let own = pinset::Basis { repo: &repo, identity: &identity, key: &key, is_trusted };
        pinset::Ledger::new(db.clone(), own, replication.clone(), options.intervals())
    });
    let ledger = ledger.transpose()?;
    let pubsub =
        pubsub::Flags { pubsub: options.pubsub, ipns: options.ipns_pubsub.then_some(true) };
    let has_pubsub = pubsub::options(&config, pubsub)?.is_some() && membership.is_some();
    let network = match &membership {
        None => None,
        Some(membership) => {
            let start = network::Start {
                config: &config,
                identity: &identity,
                agent: &agent,
                membership,
                db: &db,
                pubsub,
                has_pinset: ledger.is_some(),
                bitswap,
                dials_nobody: options.dials_nobody,
            };
            Some(start.start(&mut tasks, &shutdown).await?)
        }
    };
    let provides = network.is_some() && config.flag("Provide.Enabled") != Some(false);
    let provider = provides.then(provider::queue);
    let ipns_pubsub = network.is_some() && follows_names(&config, &options);
    let mfs = Mfs::open(db.clone(), exchange.clone(), files::options(&config)?).await;
    let mfs = mfs.map_err(files::unusable_root)?;
    let pinset = pinset::Pinset::new(db.clone(), ledger);
    let node = Node::new(Parts {
        repo,
        identity,
        exchange,
        pinset,
        replication,
        has_pubsub,
        db,
        names: names::State::new(ipns_pubsub),
        provider: provider.as_ref().map(|(handle, _)| handle.clone()),
        mfs,
        tunnels: network.clone().map(|network| tunnels(network, &mut tasks, &shutdown)),
        network,
        pin_requests: pin_service::Bell::default(),
        http_client: http_client::Client::default(),
        membership,
        agent,
        is_daemon: options.is_daemon,
        enable_gc: options.enable_gc,
        started_at: SystemTime::now(),
        shutdown,
    });
    spawn_services(&node, &mut tasks, provider.map(|(_, queue)| queue))?;
    Ok(Running { node, tasks })
}

/// Starts what keeps the pins of the group.
fn spawn_pinset(node: &Node, ledger: pinset::Ledger, tasks: &mut network::Tasks) {
    let stop = || node.0.shutdown.clone();
    let holdings = ledger.queue().changes();
    if let Some(network) = node.network().cloned() {
        let (db, stop) = (node.db().clone(), stop());
        let serving = pinset::held::serve(db, network, holdings, stop);
        tasks.spawn(async move { ("holdings", serving.await) });
    }
    if let Some(network) = node.network().cloned() {
        let (db, ledger, stop) = (node.db().clone(), ledger.clone(), stop());
        let listing = pinset::diff::serve(network, ledger, db, stop);
        tasks.spawn(async move { ("pin list", listing.await) });
    }
    let (service, stop) = (pinset::Service::new(node.clone(), ledger), stop());
    tasks.spawn(async move { ("pinset", service.run(stop).await) });
}

/// Whether names are followed over pubsub.
fn follows_names(config: &Config, options: &Options) -> bool {
    options.ipns_pubsub || config.flag("Ipns.UsePubsub") == Some(true)
}

/// Opens what is on disk.
pub(super) async fn open(repo: &Repo) -> Result<(Store, Db), Error> {
    let store = Store::open(repo.path(), store::Options::default())?;
    let schemas = [
        pins::SCHEMA,
        first_start::SCHEMA,
        records::SCHEMA,
        members::SCHEMA,
        mfs::SCHEMA,
        pinset::SCHEMA,
        replicate::SCHEMA,
        psa::SCHEMA,
        sync::db::SCHEMA,
    ];
    let db = Db::open(&repo.path().join("state.sqlite"), &schemas)?;
    first_start::ensure(&db, &store).await?;
    Ok((store, db))
}

/// Tunnels over a network.
fn tunnels(network: Network, tasks: &mut network::Tasks, shutdown: &CancellationToken) -> Tunnels {
    let (tunnels, service) = Tunnels::new(network);
    let stop = shutdown.clone();
    tasks.spawn(async move {
        service.run(stop.cancelled_owned()).await;
        ("tunnels", Ok(()))
    });
    tunnels
}

/// Starts what a node does by itself.
fn spawn_services(
    node: &Node,
    tasks: &mut network::Tasks,
    provider_queue: Option<provider::Queue>,
) -> Result<(), Error> {
    if node.enable_gc() {
        let (service, stop) = (node.garbage_service()?, node.clone());
        tasks.spawn(async move {
            service.run(stop.stopped()).await;
            ("garbage collector", Ok(()))
        });
    }
    if let Some(ledger) = node.pinset().ledger().cloned() {
        spawn_pinset(node, ledger, tasks);
    }
    if node.is_daemon() {
        let (worker, stop) = (pin_service::Worker::new(node.clone()), node.clone());
        tasks.spawn(async move {
            worker.run(stop.stopped()).await;
            ("requested pins", Ok(()))
        });
    }
    let Some(network) = node.network().cloned() else { return Ok(()) };
    let (service, stop) = (hold::service(node), node.clone());
    tasks.spawn(async move {
        service.run(stop.stopped()).await;
        ("replication", Ok(()))
    });
    let provider =
        provider_queue.and_then(|queue| provider::Service::new(node.clone(), network, queue));
    if let Some(service) = provider {
        let stop = node.clone();
        tasks.spawn(async move {
            service.run(stop.stopped()).await;
            ("provider", Ok(()))
        });
    }
    let (service, stop) = (republish::Service::new(node.clone()), node.clone());
    tasks.spawn(async move {
        service.run(stop.stopped()).await;
        ("names", Ok(()))
    });
    Ok(())
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
        // What was not flushed is, as when Kubo ends.
        let flushed = self.node.mfs().flush().await.map_err(Error::failed);
        outcome.and(finished).and(flushed)
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
