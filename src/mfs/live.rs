//! What boxo's MFS remembers of open files and directories and does not write down, as far as it
//! decides CIDs. It is forgotten when the directory around is flushed, and when the process ends.

use std::collections::BTreeMap;

/// Entries of each kind; more are forgotten all at once, as a restart does.
const ENTRIES_MAX: usize = 4096;

/// By clean path.
#[derive(Debug, Default)]
pub(super) struct Live {
    balances: BTreeMap<String, i64>,
    raw_leaves: BTreeMap<String, bool>,
}

impl Live {
    /// By how much a HAMT has grown since it was read.
    pub(super) fn balance(&self, path: &str) -> i64 {
        self.balances.get(path).copied().unwrap_or(0)
    }

    pub(super) fn has_balances(&self) -> bool {
        !self.balances.is_empty()
    }

    pub(super) fn set_balance(&mut self, path: String, balance: i64) {
        set(&mut self.balances, path, (balance != 0).then_some(balance));
    }

    /// Whether new leaves of an open file are raw.
    pub(super) fn raw_leaves(&self, path: &str) -> Option<bool> {
        self.raw_leaves.get(path).copied()
    }

    pub(super) fn set_raw_leaves(&mut self, path: String, raw: bool) {
        set(&mut self.raw_leaves, path, Some(raw));
    }

    /// Forgets what is below a directory that is flushed.
    pub(super) fn flush(&mut self, directory: &str) {
        let below = format!("{}/", directory.trim_end_matches('/'));
        self.balances.retain(|path, _| path == directory || !path.starts_with(&below));
        self.raw_leaves.retain(|path, _| !path.starts_with(&below));
    }

    /// Forgets an entry that is removed.
    pub(super) fn remove(&mut self, path: &str) {
        self.flush(path);
        self.balances.remove(path);
        self.raw_leaves.remove(path);
    }
}

fn set<T>(map: &mut BTreeMap<String, T>, path: String, value: Option<T>) {
    match value {
        Some(value) => {
            if map.len() >= ENTRIES_MAX {
                map.clear();
            }
            map.insert(path, value);
        }
        None => {
            map.remove(&path);
        }
    }
}
