//! The flags of `pinmesh --key SECRET --dataDir DIR`, which vocdoni/ipfssync had.
//!
//! Responsible for: what each of them means here, also where it stands in the environment
//! (`PINMESH_KEY`, `PINMESH_DATADIR`, …; a flag comes first). Not for starting anything: everything
//! is read and checked before a repo is made or touched. They hold for one run: of the config only
//! a fresh one is written. No secret gets into an error or a `Debug`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};

use super::print;
use crate::config::{Config, PeerAddresses};
use crate::ipld::quote::quote;
use crate::net::{Multiaddr, SwarmKey, parse_multiaddr, split_peer, with_port};
use crate::node::{LogLevel, Logs};
use crate::repo::{self, Identity, Repo};

/// The shortest passphrase, in characters.
const PASSPHRASE_CHARS_MIN: usize = 8;
/// From here on a passphrase is not warned of.
const PASSPHRASE_CHARS_GOOD: usize = 16;

/// The flags as they were given.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Flags {
    /// Secret of the group: a passphrase from which the swarm key is made, or the path of a
    /// swarm.key. Other users of the machine can see a command line: PINMESH_KEY or a file is
    /// safer.
    #[arg(long, value_name = "SECRET|FILE")]
    key: Option<Secret>,
    /// Accepted for those who know it: the network is always private.
    #[arg(long)]
    private: bool,
    /// The repository directory, as --repo-dir.
    #[arg(long = "dataDir", alias = "data-dir", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Identity of the node: a secp256k1 private key in 64 hexadecimal digits, or a file that
    /// holds them.
    #[arg(long = "nodeKey", alias = "node-key", value_name = "HEX|FILE")]
    node_key: Option<Secret>,
    /// Port of the private network.
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Seconds between two messages that say who is there.
    #[arg(long = "helloInterval", alias = "hello-interval", value_name = "SECONDS")]
    hello_interval: Option<String>,
    /// Seconds between two messages that say what is pinned; a change is sent at once.
    #[arg(long = "updateInterval", alias = "update-interval", value_name = "SECONDS")]
    update_interval: Option<String>,
    /// Old name of --helloInterval.
    #[arg(long = "helloTime", hide = true)]
    hello_time: Option<String>,
    /// Old name of --updateInterval.
    #[arg(long = "updateTime", hide = true)]
    update_time: Option<String>,
    /// Peers to keep a connection to: multiaddrs, repeated or separated by commas.
    #[arg(long, value_name = "ADDRS")]
    peers: Vec<String>,
    /// Peers to ask for others, instead of those in the config.
    #[arg(long, value_name = "ADDRS")]
    bootnodes: Vec<String>,
    /// Dial nobody: others join through this node.
    #[arg(long)]
    bootnode: bool,
    /// What is logged.
    #[arg(long = "logLevel", alias = "log-level", value_name = "debug|info|warn|error")]
    log_level: Option<String>,
}

/// A value that nobody is to see.
#[derive(Clone)]
struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the flags and the environment say, read and checked.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `--dataDir`.
    pub(super) data_dir: Option<PathBuf>,
    /// `--bootnode`.
    pub(super) is_bootnode: bool,
    /// `--helloInterval`, in seconds; 0: not given.
    pub(super) hello_interval_s: u32,
    /// `--updateInterval`, in seconds; 0: not given.
    pub(super) update_interval_s: u32,
    key: Option<SwarmKey>,
    identity: Option<Identity>,
    port: Option<u16>,
    peers: Vec<Multiaddr>,
    bootnodes: Option<Vec<Multiaddr>>,
}

impl Flags {
    /// Whether none was given.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [
            &self.port,
            &self.hello_interval,
            &self.update_interval,
            &self.hello_time,
            &self.update_time,
            &self.log_level,
        ];
        self.key.is_none()
            && self.node_key.is_none()
            && self.data_dir.is_none()
            && texts.iter().all(|text| text.is_none())
            && self.peers.is_empty()
            && self.bootnodes.is_empty()
            && !self.private
            && !self.bootnode
    }

    /// Reads what was given, and the environment for what was not.
    ///
    /// # Errors
    /// Which name the flag or variable, and what is wrong with its value where that is no secret.
    pub(super) fn read(self) -> anyhow::Result<Settings> {
        set_log_level(Given::new(self.log_level, "logLevel"))?;
        let hello = renamed(self.hello_interval, self.hello_time, "helloInterval", "helloTime");
        let update =
            renamed(self.update_interval, self.update_time, "updateInterval", "updateTime");
        let seconds = |flag, name| match Given::new(flag, name) {
            Some(given) => given.seconds().map(std::num::NonZero::get),
            None => Ok(0),
        };
        let hello_interval_s = seconds(hello, "helloInterval")?;
        let update_interval_s = seconds(update, "updateInterval")?;
        let key = Given::new(self.key.map(|key| key.0), "key");
        let node_key = Given::new(self.node_key.map(|key| key.0), "nodeKey");
        let port = Given::new(self.port, "port");
        let peers = Given::list(self.peers, "peers");
        let bootnodes = Given::list(self.bootnodes, "bootnodes");
        let is_bootnode =
            self.bootnode || Given::new(None, "bootnode").is_some_and(|g| g.is_true());
        let settings = Settings {
            data_dir: Given::new(self.data_dir.map(PathBuf::into_os_string), "dataDir")
                .map(|given| given.value.into()),
            is_bootnode,
            hello_interval_s,
            update_interval_s,
            key: key.map(|given| given.swarm_key()).transpose()?,
            identity: node_key.map(|given| given.identity()).transpose()?,
            port: port.map(|given| given.port()).transpose()?,
            peers: peers.map(|given| given.addresses()).transpose()?.unwrap_or_default(),
            bootnodes: bootnodes.map(|given| given.addresses()).transpose()?,
        };
        if is_bootnode && (!settings.peers.is_empty() || settings.bootnodes.is_some()) {
            bail!("--bootnode dials nobody: it does not go with --peers or --bootnodes");
        }
        Ok(settings)
    }
}

/// The new name of a flag, else the old one, which is said.
fn renamed(new: Option<String>, old: Option<String>, name: &str, was: &str) -> Option<String> {
    if old.is_some() {
        print::error(&format!("Warning: --{was} is deprecated: use --{name}"));
    }
    new.or(old)
}

/// A value, and the flag or variable that it comes from.
struct Given<T> {
    value: T,
    origin: String,
}

impl<T: From<String>> Given<T> {
    /// The value of the flag `--name`, else that of the variable `PINMESH_NAME`.
    fn new(flag: Option<T>, name: &str) -> Option<Self> {
        let variable = format!("PINMESH_{}", name.to_ascii_uppercase());
        match flag {
            Some(value) => Some(Self { value, origin: format!("--{name}") }),
            None => std::env::var(&variable)
                .ok()
                .filter(|text| !text.is_empty())
                .map(|text| Self { value: T::from(text), origin: variable }),
        }
    }
}

impl Given<String> {
    /// As [`Given::new`], of a flag that may be repeated.
    fn list(flags: Vec<String>, name: &str) -> Option<Self> {
        Self::new((!flags.is_empty()).then(|| flags.join(",")), name)
    }

    fn is_true(&self) -> bool {
        super::parse_bool(&self.value) == Ok(true)
    }

    fn number<N: FromStr>(&self, what: &str) -> anyhow::Result<N> {
        let text = quote(&self.value);
        self.value.parse().map_err(|_| anyhow!("{}: {text} is no {what}", self.origin))
    }

    fn seconds(&self) -> anyhow::Result<std::num::NonZero<u32>> {
        self.number("number of seconds (1 or more)")
    }

    fn port(&self) -> anyhow::Result<u16> {
        self.number::<std::num::NonZero<u16>>("port (1 to 65535)").map(std::num::NonZero::get)
    }

    fn addresses(&self) -> anyhow::Result<Vec<Multiaddr>> {
        let texts = self.value.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts
            .map(|text| {
                let failed = |why: String| anyhow!("{}: {}: {why}", self.origin, quote(text));
                let address = parse_multiaddr(text).map_err(|error| failed(error.to_string()))?;
                split_peer(address.clone()).map_err(|error| failed(error.to_string()))?;
                Ok(address)
            })
            .collect()
    }

    /// The key of a file, when it is the path of one, else that of a passphrase.
    fn swarm_key(&self) -> anyhow::Result<SwarmKey> {
        let origin = &self.origin;
        let path = expand(&self.value);
        if path.is_file() {
            let content = std::fs::read(&path).with_context(|| format!("{origin}: the file"))?;
            return SwarmKey::parse(&content)
                .map_err(|error| anyhow!("{origin}: the file is no swarm.key: {error}"));
        }
        if ["/", "./", "../", "~/"].iter().any(|start| self.value.starts_with(start)) {
            // Most likely a path with a mistake: a network made of it would have one member.
            bail!("{origin}: there is no such file");
        }
        let chars = self.value.chars().count();
        if chars < PASSPHRASE_CHARS_MIN {
            bail!("{origin}: a passphrase has at least {PASSPHRASE_CHARS_MIN} characters");
        }
        if chars < PASSPHRASE_CHARS_GOOD {
            print::error(&format!(
                "Warning: {origin}: a passphrase of fewer than {PASSPHRASE_CHARS_GOOD} characters \
                 can be guessed"
            ));
        }
        SwarmKey::from_passphrase(&self.value).map_err(|error| anyhow!("{origin}: {error}"))
    }

    /// The identity of a key in hexadecimal digits, here or in a file.
    fn identity(&self) -> anyhow::Result<Identity> {
        let origin = &self.origin;
        let path = expand(&self.value);
        let content = if path.is_file() {
            std::fs::read_to_string(&path).with_context(|| format!("{origin}: the file"))?
        } else {
            self.value.clone()
        };
        Identity::from_secp256k1_hex(content.trim())
            .map_err(|_| anyhow!("{origin}: neither 64 hexadecimal digits of a key nor a file"))
    }
}

/// A path as a shell would have it: a flag `--key=~/x` gets here with its tilde.
fn expand(text: &str) -> PathBuf {
    repo::expand_home(PathBuf::from(text))
}

fn set_log_level(given: Option<Given<String>>) -> anyhow::Result<()> {
    let Some(Given { value, origin }) = given else { return Ok(()) };
    let known = ["debug", "info", "warn", "error"].contains(&value.as_str());
    let level = LogLevel::parse(&value).ok().filter(|_| known);
    let level = level
        .ok_or_else(|| anyhow!("{origin}: {} is not debug, info, warn or error", quote(&value)))?;
    Logs::of_process().set_level("*", level);
    Ok(())
}

impl Settings {
    /// The swarm key that was given, for a repo that is being made.
    pub(super) fn key(&self) -> Option<&SwarmKey> {
        self.key.as_ref()
    }

    /// The config of a fresh repo with the identity that was given; none when none was.
    pub(super) fn fresh_config(&self) -> anyhow::Result<Option<Config>> {
        let Some(identity) = &self.identity else { return Ok(None) };
        let (id, key) = (identity.peer_id().to_base58(), identity.private_key_text());
        print::line(&format!("peer identity: {id}"));
        Ok(Some(Config::fresh(&id, &key)?))
    }

    /// Puts what was given in force for the repo, and its swarm key into it if it has none.
    ///
    /// # Errors
    /// When the repo belongs to another network, or to another node: neither is ever overwritten.
    pub(super) fn apply(&self, repo: &Repo) -> anyhow::Result<()> {
        self.check_identity(repo)?;
        if let Some(key) = &self.key
            && self.check_key(repo.path())?.is_none()
        {
            repo::write_swarm_key(repo.path(), &key.to_file_text())?;
            print::line(&format!("swarm key from --key, fingerprint {}", key.fingerprint()));
        }
        let config = repo.config();
        let mut changes: Vec<(&str, Value)> = Vec::new();
        if let Some(port) = self.port {
            changes.push(("Addresses.Swarm", json!(at_port(&config.swarm_addresses(), port)?)));
        }
        let mut peers = config.peering();
        for address in &self.peers {
            let (place, peer) = split_peer(address.clone())?;
            peers.push(PeerAddresses {
                id: peer.to_string(),
                addresses: if place.is_empty() { Vec::new() } else { vec![place.to_string()] },
            });
        }
        if !self.peers.is_empty() {
            let peers: Vec<Value> = peers
                .into_iter()
                .map(|peer| json!({"ID": peer.id, "Addrs": peer.addresses}))
                .collect();
            changes.push(("Peering.Peers", json!(peers)));
        }
        if let Some(bootnodes) = &self.bootnodes {
            let texts: Vec<String> = bootnodes.iter().map(Multiaddr::to_string).collect();
            changes.push(("Bootstrap", json!(texts)));
        }
        if !changes.is_empty() {
            repo.override_config(config.with(&changes)?);
        }
        Ok(())
    }

    /// The swarm key in the directory of a repo, made or not.
    ///
    /// # Errors
    /// When it is another than the one that was given, or cannot be read.
    pub(super) fn check_key(&self, path: &Path) -> anyhow::Result<Option<SwarmKey>> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some(present) = repo::read_swarm_key(path)? else { return Ok(None) };
        let present = SwarmKey::parse(&present)
            .map_err(|error| anyhow!("failed to configure private network: {error}"))?;
        if present != *key {
            bail!(
                "--key is another key than that of this repository (fingerprints {} and {}): it \
                 is not overwritten; to change the network move {} away first",
                key.fingerprint(),
                present.fingerprint(),
                path.join("swarm.key").display()
            );
        }
        Ok(Some(present))
    }

    fn check_identity(&self, repo: &Repo) -> anyhow::Result<()> {
        let config = repo.config();
        match &self.identity {
            Some(given) if given.peer_id().to_base58() != config.peer_id() => Err(anyhow!(
                "--nodeKey is the key of {}, but this repository belongs to {}: use another \
                 --dataDir, or leave --nodeKey away",
                given.peer_id(),
                config.peer_id()
            )),
            _ => Ok(()),
        }
    }
}

/// The addresses with another port; those of all interfaces when there are none.
fn at_port(addresses: &[String], port: u16) -> anyhow::Result<Vec<String>> {
    let mut changed = Vec::new();
    for text in addresses {
        let address = with_port(&parse_multiaddr(text)?, port).to_string();
        if !changed.contains(&address) {
            changed.push(address);
        }
    }
    if changed.is_empty() {
        changed = vec![format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip6/::/tcp/{port}")];
    }
    Ok(changed)
}

/// The directory of the repo: `--dataDir`, unless `--repo-dir` says another.
pub(super) fn repo_path(
    data_dir: Option<&Path>,
    repo_dir: Option<&Path>,
) -> anyhow::Result<Option<PathBuf>> {
    match (data_dir, repo_dir) {
        (Some(data), Some(repo)) if data != repo => {
            bail!("--dataDir and --repo-dir are the same thing, and name different directories")
        }
        (data, repo) => Ok(data.or(repo).map(Path::to_owned)),
    }
}
