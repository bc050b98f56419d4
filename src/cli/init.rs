//! `pinmesh init`: makes a repo (kubo cmd/ipfs/kubo/init.go).
//!
//! Unlike Kubo, `--empty-repo=false` adds no introduction files.

use crate::ipld::quote::quote;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::join::{self, Joining};
use super::{Global, parse_bool, print};
use crate::config::{self, Config};
use crate::net::Invite;
use crate::node::start;
use crate::repo::{self, Identity, Repo};

/// The arguments of `init`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(super) struct Arguments {
    /// Initialize with the given configuration; `-` is standard input.
    default_config: Option<PathBuf>,
    /// Cryptographic algorithm to use for key generation.
    #[arg(long, short, default_value = "ed25519")]
    algorithm: String,
    /// Number of bits to use in the generated RSA private key.
    #[arg(long, short, value_parser = parse_int)]
    bits: Option<i64>,
    /// Don't add and pin help files to the local storage.
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = parse_bool)]
    empty_repo: Option<bool>,
    /// Apply profile settings to config. Multiple profiles can be separated by ','.
    #[arg(long, short)]
    profile: Option<String>,
    /// Join the private network of an invitation: the line that `swarm invite` prints, a file that
    /// holds it, or `-` for standard input. Prefer the last two: a command line can be seen by
    /// every user of the machine. IPFS_JOIN does the same.
    #[arg(long, value_name = "LINE|FILE|-")]
    join: Option<join::Source>,
}

fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text)))
}

/// Runs `init`.
pub(super) fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<()> {
    let path = global.repo_path();
    if path.join("api").exists() && is_locked(&path) {
        bail!("ipfs daemon is running. please stop it to run this command");
    }
    let config_file = arguments.default_config.as_deref();
    if config_file.is_some_and(|file| Invite::is_line(&file.to_string_lossy())) {
        bail!("an invitation goes to --join");
    }
    let is_config_stdin = config_file == Some(Path::new("-"));
    if is_config_stdin && arguments.join.as_ref().is_some_and(join::Source::is_stdin) {
        bail!("standard input cannot hold both the configuration and the invitation");
    }
    let joining = Joining::read(&path, arguments.join.as_ref(), None)?;
    let config = match config_file {
        Some(file) => read_config(file)?,
        None => fresh_config(&arguments.algorithm, arguments.bits)?,
    };
    if arguments.empty_repo == Some(false) {
        tracing::warn!("this program has no help files to add");
    }
    make(&path, config, arguments.profile.as_deref().unwrap_or_default(), &joining)
}

fn is_locked(path: &Path) -> bool {
    matches!(Repo::open(path, None), Err(repo::Error::Locked { .. }))
}

fn read_config(file: &Path) -> anyhow::Result<Config> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("open {}", file.display()))?
    };
    let json = config::parse_json(&text).map_err(|error| anyhow!(error))?;
    Ok(Config::decode(&json)?)
}

/// A config with a new key pair; says so.
pub(super) fn fresh_config(algorithm: &str, bits: Option<i64>) -> anyhow::Result<Config> {
    let identity = generate(algorithm, bits)?;
    Ok(Config::fresh(&identity.peer_id().to_base58(), &identity.private_key_text())?)
}

/// A new key pair; says so as it is made.
pub(super) fn generate(algorithm: &str, bits: Option<i64>) -> anyhow::Result<Identity> {
    // The text before the key is made: an RSA key takes long.
    let bits = bits.filter(|bits| *bits != -1);
    match algorithm {
        "ed25519" if bits.is_none_or(|bits| bits == 256) => {
            print::part("generating ED25519 keypair...");
        }
        "secp256k1" if bits.is_none_or(|bits| bits == 256) => {
            print::part("generating secp256k1 keypair...");
        }
        "rsa" => {
            let bits = bits.unwrap_or(repo::RSA_BITS_DEFAULT);
            print::part(&format!("generating {bits}-bit RSA keypair..."));
        }
        _ => {}
    }
    let identity = Identity::generate(algorithm, bits)?;
    print::line("done");
    print::line(&format!("peer identity: {}", identity.peer_id()));
    Ok(identity)
}

/// Makes a repo in `path` with `config`, changed by the comma-separated `profiles` and for the
/// network that it joins.
pub(super) fn make(
    path: &Path,
    mut config: Config,
    profiles: &str,
    joining: &Joining,
) -> anyhow::Result<()> {
    print::line(&format!("initializing IPFS node at {}", path.display()));
    repo::check_writable(path)?;
    if repo::is_initialized(path) {
        return Err(repo::Error::Exists.into());
    }
    for profile in profiles.split(',').filter(|_| !profiles.is_empty()) {
        config = config.with_profile(profile).map_err(|error| {
            if config::profile_names().any(|known| known == profile) {
                anyhow!(error)
            } else {
                anyhow!("invalid configuration profile: {profile}")
            }
        })?;
    }
    // After the profiles, some of which name bootstrap peers.
    let config = joining.apply(config)?;
    // Before the config, which makes the directory a repo: there is none without its key.
    joining.install(path)?;
    repo::init(path, &config)?;
    // As Kubo's, a fresh repo holds the empty directory, pinned: the first start puts it there.
    let repo = Repo::open(path, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let offline = start::Options { offline: true, ..start::Options::default() };
    runtime.block_on(async {
        let running = start::start(repo, offline).await?;
        running.node().shutdown();
        running.wait(None).await
    })?;
    Ok(())
}
