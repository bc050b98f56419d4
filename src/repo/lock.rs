//! The lock of a repo: an advisory lock on `repo.lock`, held while the repo is open.
//!
//! A POSIX record lock, as Kubo's, so that a Kubo and this program keep each other out. Such a
//! lock belongs to the process and not to the file handle: a second open by this process would
//! succeed, and closing any handle of the file would release it, hence the list of held locks.
//! A process that dies releases it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use super::Error;
use crate::config;

const FILE: &str = "repo.lock";

/// How often a lock that somebody else holds is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The locks that this process holds.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of the repo in `dir`; waits for it as `IPFS_WAIT_REPO_LOCK` says.
    pub(super) fn take(dir: &Path) -> Result<Self, Error> {
        let deadline = match wait() {
            Wait::No => return Self::try_take(dir),
            Wait::Forever => None,
            Wait::For(limit) => Some(Instant::now() + limit),
        };
        loop {
            match Self::try_take(dir) {
                Err(Error::Locked { path, reason })
                    if deadline.is_none_or(|end| Instant::now() < end) =>
                {
                    tracing::warn!(path = %path.display(), "{reason}. Retrying...");
                    thread::sleep(RETRY);
                }
                outcome => return outcome,
            }
        }
    }

    fn try_take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let held_by = |reason| Error::Locked { path: path.clone(), reason };
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(&path) {
            return Err(held_by("lock is already held by us"));
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("lock", &path))?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                return Err(held_by("someone else has the lock"));
            }
            Err(error) => return Err(Error::io("lock", &path)(error.into())),
        }
        held.insert(path.clone());
        Ok(Self { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

enum Wait {
    No,
    For(Duration),
    Forever,
}

fn wait() -> Wait {
    let Ok(text) = std::env::var("IPFS_WAIT_REPO_LOCK") else { return Wait::No };
    if text.is_empty() {
        return Wait::No;
    }
    match config::parse_duration(&text) {
        Ok(nanos) => match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Wait::For(Duration::from_nanos(nanos)),
            _ => Wait::Forever,
        },
        Err(error) => {
            tracing::error!(
                "Cannot parse value of IPFS_WAIT_REPO_LOCK as duration, not waiting for repo \
                 lock: {error}"
            );
            Wait::No
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repo_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err();
        let expected =
            format!("lock {}/repo.lock: lock is already held by us", dir.path().display());
        assert_eq!(error.to_string(), expected);
        drop(lock);
        Lock::take(dir.path()).unwrap();
    }
}
