//! How a fresh repo gets into a private network: the swarm key and the peers that `init` is given.
//!
//! From `--join` or `IPFS_JOIN` (a line of `swarm invite`), or from `IPFS_SWARM_KEY` and
//! `IPFS_SWARM_KEY_FILE`, as the start script of Kubo's image has them. Without any of them the
//! repo gets no key yet: the first start makes one, and until then a `swarm.key` may be copied to
//! its place. What was given never gets into an error.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use super::print;
use crate::config::Config;
use crate::net::{Invite, JOIN_VARIABLE, Multiaddr, SwarmKey, split_peer};
use crate::repo;

/// The variable with the content of a `swarm.key`.
const KEY_VARIABLE: &str = "IPFS_SWARM_KEY";
/// The variable with the name of one; it comes before the other.
const FILE_VARIABLE: &str = "IPFS_SWARM_KEY_FILE";

/// The value of `--join`: an invitation, or where one is.
#[derive(Clone)]
pub(super) struct Source(String);

impl From<String> for Source {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

impl Source {
    /// Whether it is standard input.
    pub(super) fn is_stdin(&self) -> bool {
        self.0 == "-"
    }

    /// Reads the invitation. `origin` names it in errors, which do not show it.
    fn read(&self, origin: &str) -> anyhow::Result<Invite> {
        let text = if Invite::is_line(&self.0) {
            self.0.clone()
        } else if self.is_stdin() {
            std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
        } else {
            // It may be a line after all, without its beginning: its text stays out of the error.
            std::fs::read_to_string(&self.0).map_err(|error| {
                anyhow!("{origin}: neither an invitation nor a file that can be read: {error}")
            })?
        };
        Invite::parse(&text).map_err(|error| anyhow!("{origin}: {error}"))
    }
}

/// What a fresh repo is given of a network.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// The key, and where it comes from.
    key: Option<(SwarmKey, &'static str)>,
    /// Where members are; none of them named means that the config stays as it is.
    members: Vec<Multiaddr>,
}

impl Joining {
    /// What the command line and the environment say for the repo at `path`; `key` is that of
    /// `--key`, which comes before the variables.
    pub(super) fn read(
        path: &Path,
        join: Option<&Source>,
        key: Option<&SwarmKey>,
    ) -> anyhow::Result<Self> {
        if repo::is_initialized(path) {
            // It has its network; the variables may still be there from the time when it was made.
            return Ok(Self::default());
        }
        let given = match key {
            Some(key) => Some((key.clone(), "--key")),
            None => given_key()?,
        };
        let (source, origin) = match (join, variable(JOIN_VARIABLE)) {
            (Some(source), _) => (source.clone(), "--join"),
            (None, Some(line)) => (Source(line.to_string_lossy().into_owned()), JOIN_VARIABLE),
            (None, None) => return Ok(Self { key: given, members: Vec::new() }),
        };
        let invite = source.read(origin)?;
        let present = repo::read_swarm_key(path)?.and_then(|file| SwarmKey::parse(&file).ok());
        let other = given.map(|(key, _)| key).or(present);
        if let Some(other) = other.filter(|key| *key != invite.key) {
            bail!(
                "{origin}: the invitation is to another network than that of the swarm key which \
                 is there (fingerprints {} and {}): take one of them away",
                invite.key.fingerprint(),
                other.fingerprint()
            );
        }
        Ok(Self { key: Some((invite.key, origin)), members: invite.addresses })
    }

    /// `config` with the members of the network: they are asked for others, and kept to.
    pub(super) fn apply(&self, config: Config) -> anyhow::Result<Config> {
        if self.members.is_empty() {
            return Ok(config);
        }
        let bootstrap: Vec<String> = self.members.iter().map(Multiaddr::to_string).collect();
        let mut peers: Vec<(String, Vec<String>)> = Vec::new();
        for member in &self.members {
            let (address, peer) = split_peer(member.clone())?;
            let (id, address) = (peer.to_string(), address.to_string());
            match peers.iter_mut().find(|(known, _)| *known == id) {
                Some((_, addresses)) => addresses.push(address),
                None => peers.push((id, vec![address])),
            }
        }
        let peers: Vec<Value> = peers
            .into_iter()
            .map(|(id, addresses)| json!({"ID": id, "Addrs": addresses}))
            .collect();
        Ok(config.with(&[("Bootstrap", json!(bootstrap)), ("Peering.Peers", json!(peers))])?)
    }

    /// Puts the key, if there is one, into the repo at `path`; says which.
    pub(super) fn install(&self, path: &Path) -> anyhow::Result<()> {
        let Some((key, origin)) = &self.key else { return Ok(()) };
        repo::write_swarm_key(path, &key.to_file_text())?;
        print::line(&format!("swarm key from {origin}, fingerprint {}", key.fingerprint()));
        Ok(())
    }
}

/// An environment variable; an empty one counts as not set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The key in the variables of Kubo's start script, and which of them.
fn given_key() -> anyhow::Result<Option<(SwarmKey, &'static str)>> {
    if let Some(file) = variable(FILE_VARIABLE).map(PathBuf::from) {
        let failed = |why: String| anyhow!("{FILE_VARIABLE}: {}: {why}", file.display());
        let content = std::fs::read(&file).map_err(|error| failed(error.to_string()))?;
        let key = SwarmKey::parse(&content).map_err(|error| failed(error.to_string()))?;
        return Ok(Some((key, FILE_VARIABLE)));
    }
    let Some(text) = variable(KEY_VARIABLE) else { return Ok(None) };
    let mut text = text.into_encoded_bytes();
    // As the script does; the shell that filled the variable took the last newline away.
    text.push(b'\n');
    let key = SwarmKey::parse(&text).map_err(|error| anyhow!("{KEY_VARIABLE}: {error}"))?;
    Ok(Some((key, KEY_VARIABLE)))
}
