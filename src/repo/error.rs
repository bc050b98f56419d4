//! What can go wrong with a repo, in the words that Kubo's users know.

use std::path::{Path, PathBuf};

use crate::config;

/// Why a repo cannot be made, opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no repo.
    #[error("no IPFS repo found in {}.\nplease run: 'ipfs init'", path.display())]
    NotInitialized {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is one already.
    #[error("ipfs configuration file already exists!\nReinitializing would overwrite your keys\n")]
    Exists,
    /// Another process, or this one, has it open.
    #[error("lock {}: {reason}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who has it.
        reason: &'static str,
    },
    /// There is no version file.
    #[error("no version file found, please run 0-to-1 migration tool.")]
    NoVersion,
    /// An older Kubo made it.
    #[error(
        "ipfs repo needs migration: it has version {found} and this program reads version {wanted}. \
         Run `ipfs repo migrate` of Kubo 0.44 on it, or export its data with that Kubo as CARs \
         (`ipfs dag export`) and import them into a fresh repo."
    )]
    TooOld {
        /// The version of the repo.
        found: u32,
        /// The version that is understood.
        wanted: u32,
    },
    /// A newer Kubo made it.
    #[error(
        "Your programs version ({wanted}) is lower than your repos ({found}).\n\
         Please update ipfs to a version that supports the existing repo, or run\n\
         a migration in reverse.\n\n\
         See https://github.com/ipfs/fs-repo-migrations/blob/master/run.md for details."
    )]
    TooNew {
        /// The version of the repo.
        found: u32,
        /// The version that is understood.
        wanted: u32,
    },
    /// Kubo has stored blocks in it, which our store does not read.
    #[error(
        "{} holds blocks that Kubo stored ({what}), and this program keeps blocks in another \
         format. Nothing was changed. Export your pins with Kubo's `ipfs dag export <cid> > \
         <cid>.car`, make a fresh repo with IPFS_PATH=<another directory>, and import the CARs \
         there with `ipfs dag import`.",
        path.display()
    )]
    HoldsKuboBlocks {
        /// The repo.
        path: PathBuf,
        /// What gives it away.
        what: String,
    },
    /// The datastore section of the config was changed after the repo was made.
    #[error("datastore configuration of '{on_disk}' does not match what is on disk '{configured}'")]
    SpecMismatch {
        /// What `datastore_spec` says.
        on_disk: String,
        /// What the config says.
        configured: String,
    },
    /// The config is not acceptable.
    #[error("{0}")]
    Config(#[from] config::Error),
    /// The key in the config is no private key, or not that of the peer ID.
    #[error("{0}")]
    Identity(String),
    /// The directory cannot be made or written.
    #[error("{0}")]
    Unwritable(String),
    /// The operating system refused something.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// A closure for `map_err` that adds the file and what was done to it.
    pub(super) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
