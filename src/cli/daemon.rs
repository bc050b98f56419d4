//! `pinmesh daemon`: runs a node (kubo cmd/ipfs/kubo/daemon.go).
//!
//! Says on standard output what scripts wait for, line by line as Kubo does. Flags of Kubo that
//! mean nothing here are accepted with one warning. SIGINT, SIGTERM, SIGHUP and `shutdown` end it
//! in order; a second signal ends it at once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::join::Joining;
use super::{Global, group, init, listen, notify, parse_bool, print};
use crate::config::{Config, Context};
use crate::http;
use crate::node::{Membership, Node, start, version};
use crate::repo::{self, Repo};

/// The exit code after a second signal.
const KILLED: u8 = 255;

/// What is said about a key of a kind that is no longer made.
const RSA_WARNING: &str = "\nWarning: this node has an RSA key. Signing with one is slow, and Kubo has \
     made Ed25519 keys since 2020.\n";

/// How many workers the runtime has for each core: a worker may read a block from a disk.
const WORKERS_PER_CORE: usize = 2;

/// The arguments of `daemon`.
#[derive(Debug, Default, Args)]
#[command(args_override_self = true)]
pub(super) struct Arguments {
    /// Initialize with default settings if not already initialized.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    init: Option<bool>,
    /// Path to existing configuration file to be loaded during --init.
    #[arg(long)]
    init_config: Option<PathBuf>,
    /// Configuration profiles to apply for --init.
    #[arg(long)]
    init_profile: Option<String>,
    /// Overrides the routing option.
    #[arg(long)]
    routing: Option<String>,
    /// Enable automatic periodic repo garbage collection.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    enable_gc: Option<bool>,
    /// Optional suffix to the AgentVersion.
    #[arg(long)]
    agent_version_suffix: Option<String>,
    /// Assume yes, or no, at the migrate prompt.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    migrate: Option<bool>,
    /// Speak to any libp2p peer, without a swarm key. Otherwise the network is private, and the
    /// first start makes its key.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    public: Option<bool>,
    /// Follow IPNS names over pubsub, too.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    enable_namesys_pubsub: Option<bool>,
    /// Enable publish and subscribe; Pubsub.Enabled in the config does the same.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    enable_pubsub_experiment: Option<bool>,
    /// Tell the group of changed pins at once, though the repository may be an older copy of itself.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    trust_repo: Option<bool>,
    #[command(flatten)]
    group: group::Flags,
    #[command(flatten)]
    unused: Unused,
}

impl Arguments {
    /// Those of a command line without a command: a repo is made if there is none.
    pub(super) fn of_group(group: group::Flags) -> Self {
        Self { init: Some(true), group, ..Self::default() }
    }

    /// The flags of a group that were given.
    pub(super) fn group_mut(&mut self) -> &mut group::Flags {
        &mut self.group
    }
}

/// Flags that mean nothing here.
#[derive(Debug, Default, Args)]
struct Unused {
    /// Has no effect: there are no mounts.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    mount: Option<bool>,
    /// Has no effect: there are no mounts.
    #[arg(long)]
    mount_ipfs: Option<String>,
    /// Has no effect: there are no mounts.
    #[arg(long)]
    mount_ipns: Option<String>,
    /// Has no effect: there are no mounts.
    #[arg(long)]
    mount_mfs: Option<String>,
    /// Has no effect: the RPC port serves no content.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    unrestricted_api: Option<bool>,
    /// Has no effect: connections are always encrypted.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    disable_transport_encryption: Option<bool>,
    /// Has no effect: the limit of the process stays.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    manage_fdlimit: Option<bool>,
    /// Has no effect: there is no mplex.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    enable_mplex_experiment: Option<bool>,
}

impl Unused {
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            (self.mount == Some(true), "--mount"),
            (self.mount_ipfs.is_some(), "--mount-ipfs"),
            (self.mount_ipns.is_some(), "--mount-ipns"),
            (self.mount_mfs.is_some(), "--mount-mfs"),
            (self.unrestricted_api == Some(true), "--unrestricted-api"),
            (self.disable_transport_encryption == Some(true), "--disable-transport-encryption"),
            (self.manage_fdlimit.is_some(), "--manage-fdlimit"),
            (self.enable_mplex_experiment.is_some(), "--enable-mplex-experiment"),
        ];
        flags.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }
}

/// Runs `daemon` until it is told to end.
pub(super) fn run(global: &Global, mut arguments: Arguments) -> anyhow::Result<u8> {
    print::line("Initializing daemon...");
    print_versions();
    let group = std::mem::take(&mut arguments.group);
    let opened = group.read().and_then(|group| open(global, &arguments, &group));
    let served = opened.and_then(|(repo, options)| {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers * WORKERS_PER_CORE)
            .enable_all()
            .build()?;
        let code = runtime.block_on(serve(repo, options, global.api.as_deref()));
        // After a second signal nothing is waited for.
        runtime.shutdown_background();
        code
    });
    // Kubo sets an empty line between what it has said and the error.
    served.inspect_err(|_| print::line(""))
}

fn print_versions() {
    let commit = version::COMMIT;
    let dash = if commit.is_empty() { "" } else { "-" };
    print::line(&format!("Kubo version: {}{dash}{commit}", version::KUBO_VERSION));
    print::line(&format!("Repo version: {}", repo::VERSION));
    print::line(&format!("System version: {}", version::system()));
    print::line(&format!("Golang version: {}", version::GO_VERSION));
}

fn open(
    global: &Global,
    arguments: &Arguments,
    group: &group::Settings,
) -> anyhow::Result<(Repo, start::Options)> {
    let unused = arguments.unused.given();
    if !unused.is_empty() {
        print::error(&format!("Warning: without effect here: {}", unused.join(" ")));
    }
    let path = group::repo_path(group.data_dir.as_deref(), global.repo_dir.as_deref())?;
    let path = path.unwrap_or_else(|| global.repo_path());
    if arguments.init == Some(true) && !repo::is_initialized(&path) {
        group.check_key(&path)?;
        let joining = Joining::read(&path, None, group.key())?;
        let config = match (&arguments.init_config, group.fresh_config()?) {
            (Some(file), _) => Config::decode(&repo::read_config(file)?)?,
            (None, Some(config)) => config,
            (None, None) => init::fresh_config("ed25519", None)?,
        };
        let profiles = arguments.init_profile.as_deref().unwrap_or_default();
        init::make(&path, config, profiles, &joining)?;
    }
    let repo = Repo::open(&path, global.config_file.as_deref())?;
    group.apply(&repo)?;
    let options = start::Options {
        offline: global.offline == Some(true),
        public: arguments.public == Some(true),
        pubsub: arguments.enable_pubsub_experiment,
        agent_suffix: arguments.agent_version_suffix.clone(),
        dials_nobody: group.is_bootnode,
        enable_gc: arguments.enable_gc == Some(true),
        ipns_pubsub: arguments.enable_namesys_pubsub == Some(true),
        is_daemon: true,
        hello_interval_s: group.hello_interval_s,
        update_interval_s: group.update_interval_s,
        trusts_repo: arguments.trust_repo == Some(true),
    };
    check(&repo, &options, arguments.routing.clone())?;
    Ok((repo, options))
}

/// Refuses what Kubo refuses; says who the node is, and to which network it belongs.
fn check(repo: &Repo, options: &start::Options, routing: Option<String>) -> anyhow::Result<()> {
    let context = Context { routing, private_network: !options.public };
    let config = repo.config();
    config.validate(&context)?;
    if std::env::var("IPFS_REUSEPORT").is_ok_and(|value| !value.is_empty()) {
        let text = "support for IPFS_REUSEPORT was removed. Use LIBP2P_TCP_REUSEPORT instead";
        return Err(anyhow!(text));
    }
    print::line(&format!("PeerID: {}", config.peer_id()));
    if options.offline {
        return Ok(());
    }
    let has_key = repo.swarm_key()?.is_some();
    let is_forced = std::env::var("LIBP2P_FORCE_PNET").is_ok_and(|value| value == "1");
    if is_forced && !has_key {
        return Err(anyhow!(
            "privnet: private network was not configured but is enforced by the environment"
        ));
    }
    let Membership::Private(key) = Membership::of(repo, options.public)? else {
        print::line("Swarm is public: it has no swarm key");
        return Ok(());
    };
    if !has_key {
        print::line(&format!(
            "A new swarm key is in {}: 'pinmesh swarm invite' lets other nodes join",
            repo.path().join("swarm.key").display()
        ));
    }
    for note in config.without_effect_in_private(&context) {
        print::error(&format!("Warning: {note}"));
    }
    print::line("Swarm is limited to private network of peers with the swarm key");
    print::line(&format!("Swarm key fingerprint: {}", key.fingerprint()));
    Ok(())
}

async fn serve(repo: Repo, options: start::Options, api: Option<&str>) -> anyhow::Result<u8> {
    // Before anything is started: a signal during the start ends the node in order too.
    let mut signals = Signals::new()?;
    let mut running = start::start(repo, options).await?;
    let node = running.node().clone();
    print_swarm(&node);
    if node.identity().is_rsa() {
        print::line(RSA_WARNING);
    }
    let local = open_rpc(&mut running, &node, api).await?;
    if let Some(multiaddr) = &local {
        node.repo().write_api_file(multiaddr)?;
    }
    print::line("Daemon is ready");
    notify::service_manager("READY=1");
    let limit = match u64::try_from(node.config().shutdown_timeout_nanos()) {
        Ok(0) | Err(_) => None,
        Ok(nanos) => Some(Duration::from_nanos(nanos)),
    };
    let finished = CancellationToken::new();
    let mut waiting = std::pin::pin!(async {
        let outcome = running.wait(limit).await;
        finished.cancel();
        outcome
    });
    loop {
        tokio::select! {
            outcome = &mut waiting => {
                node.repo().remove_address_files();
                outcome?;
                return Ok(0);
            }
            () = signals.next() => {
                if signals.count > 1 {
                    print::line("Received another interrupt before graceful shutdown, terminating...");
                    return Ok(KILLED);
                }
                notify::service_manager("STOPPING=1");
                print::line("");
                print::line("Received interrupt signal, shutting down...");
                print::line("(Hit ctrl-c again to force-shutdown the daemon.)");
                node.shutdown();
            }
        }
    }
}

fn print_swarm(node: &Node) {
    match node.swarm_local_addresses(false) {
        Err(_) => print::line("Swarm not listening, running in offline mode."),
        Ok(addresses) => {
            let mut hosts: Vec<String> = addresses
                .iter()
                .filter_map(|address| crate::net::parse_multiaddr(address).ok())
                .filter_map(|address| listen::tcp_socket(&address))
                .map(|socket| socket.to_string())
                .collect();
            hosts.sort();
            hosts.dedup();
            for host in hosts {
                print::line(&format!("Swarm listening on {host} (TCP)"));
            }
            print::line(
                "Run 'ipfs id' to inspect announced and discovered multiaddrs of this node.",
            );
        }
    }
}

/// Starts the RPC on every address of the config, or on `api`; returns where local clients reach
/// it.
async fn open_rpc(
    running: &mut start::Running,
    node: &Node,
    api: Option<&str>,
) -> anyhow::Result<Option<String>> {
    let config = node.config();
    let mut addresses = match api {
        Some(api) => vec![api.to_owned()],
        None => config.api_addresses(),
    };
    addresses.dedup();
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in &addresses {
        listeners.push(listen::bind(address)?);
    }
    if !config.api_authorizations().is_empty() && !listeners.is_empty() {
        print::line("RPC API access is limited by the rules defined in API.Authorizations");
    }
    let local = listeners.first().map(listen::local_multiaddr);
    let options = http::Options::new(&config, version::KUBO_VERSION, node.agent(), version::COMMIT);
    let server = http::Server::new(node.clone(), options);
    for listener in listeners {
        print::line(&format!("RPC API server listening on {}", listener.multiaddr()));
        if let Some(url) = listen::web_url(&listener) {
            print::line(&format!("WebUI: {url}"));
        }
        let (server, stop) = (server.clone(), node.clone());
        running.spawn("rpc", async move {
            server.run(listener, async move { stop.stopped().await }).await;
            Ok(())
        });
    }
    Ok(local)
}

/// The signals that end a daemon.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    count: usize,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            count: 0,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
        self.count += 1;
    }
}
