//! `key export` and `key rotate`, which Kubo has on the command line alone
//! (kubo core/commands/keystore.go): no private key ever crosses the RPC.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde_json::json;

use super::{Global, init};
use crate::node::keys::{SELF, write_key};
use crate::repo::{self, Repo};

/// Writes a key to a file: `./<name>.key` or `.pem`, or `output`. A daemon may be running.
pub(super) fn export(
    global: &Global,
    name: &str,
    output: Option<&str>,
    format: &str,
) -> anyhow::Result<()> {
    if name == SELF {
        bail!("cannot export key with name 'self'");
    }
    let keys = repo::keystore(&global.repo_path())?;
    let key = keys.get(name).map_err(|_| anyhow!("key with name '{name}' doesn't exist"))?;
    let (bytes, ending) = write_key(&key, format)?;
    let path = match output.filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => file_in_place(name, ending),
    };
    // Only the owner can read a private key.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(())
}

/// The file in this directory that a key of this name goes to.
fn file_in_place(name: &str, ending: &str) -> PathBuf {
    let file = format!("{name}.{ending}");
    let last = file.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    Path::new(last).to_owned()
}

/// Gives the node a new key pair; the old one is kept in the keystore under `old_name`. No daemon
/// may be running.
pub(super) fn rotate(
    global: &Global,
    old_name: Option<&str>,
    algorithm: &str,
    bits: Option<i64>,
) -> anyhow::Result<()> {
    let path = global.repo_path();
    let opened = Repo::open(&path, global.config_file.as_deref());
    if matches!(opened, Err(repo::Error::Locked { .. })) {
        bail!("ipfs daemon is running. please stop it to run this command");
    }
    let Some(old_name) = old_name else {
        bail!("keystore name for backing up old key must be provided");
    };
    if old_name == SELF {
        bail!("keystore name for back up cannot be named 'self'");
    }
    let repo = opened.map_err(|error| anyhow!("opening repo ({error})"))?;
    let old = repo.identity().map_err(|error| anyhow!("decoding old private key ({error})"))?;
    let new =
        init::generate(algorithm, bits).map_err(|error| anyhow!("creating identity ({error})"))?;
    // The old key is safe before the config forgets it.
    repo.keystore()
        .put(old_name, old.key())
        .map_err(|error| anyhow!("saving old key in keystore ({error})"))?;
    let config = repo.config().with(&[
        ("Identity.PeerID", json!(new.peer_id().to_base58())),
        ("Identity.PrivKey", json!(new.private_key_text())),
    ])?;
    repo.set_config(config).map_err(|error| anyhow!("saving new key to config ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_to_a_file_in_this_directory() {
        for (name, file) in [("k", "k.key"), ("a/b", "b.key"), ("../x", "x.key"), (".", "..key")] {
            assert_eq!(file_in_place(name, "key"), Path::new(file), "{name}");
        }
    }
}
