//! Which network a node belongs to: the private one of its swarm key, or, when asked for, any.
//!
//! Private by default and never silently public (`docs/adr/0007-private-by-default.md`): the first
//! start makes the key that is missing. Not responsible for the file, which `repo` writes, nor for
//! what the key does to a connection. A crash leaves no key or a whole one.

use super::Error;
use crate::net::SwarmKey;
use crate::repo::{self, Repo};

/// Whom a node that is online speaks to.
#[derive(Debug, Clone)]
pub enum Membership {
    /// The peers that hold the same swarm key.
    Private(SwarmKey),
    /// Anybody.
    Public,
}

impl Membership {
    /// Which network the node in `repo` belongs to. Makes the swarm key when there is none, unless
    /// the node is to be `public`.
    ///
    /// # Errors
    /// When the key cannot be read or made, and when a node that holds one is to be public.
    pub fn of(repo: &Repo, public: bool) -> Result<Self, Error> {
        match (repo.swarm_key()?, public) {
            (None, true) => Ok(Self::Public),
            (Some(_), true) => Err(Error::failed(format!(
                "--public: {} holds a swarm.key, and a node that holds one speaks to its private \
                 network only. Start a node in another directory (IPFS_PATH), or move the key away",
                repo.path().display()
            ))),
            (Some(file), false) => SwarmKey::parse(&file).map(Self::Private).map_err(|error| {
                Error::failed(format!("failed to configure private network: {error}"))
            }),
            (None, false) => {
                let key = SwarmKey::generate().map_err(Error::failed)?;
                repo::write_swarm_key(repo.path(), &key.to_file_text())?;
                Ok(Self::Private(key))
            }
        }
    }

    /// The swarm key of a private network.
    #[must_use]
    pub fn key(&self) -> Option<&SwarmKey> {
        match self {
            Self::Private(key) => Some(key),
            Self::Public => None,
        }
    }
}
