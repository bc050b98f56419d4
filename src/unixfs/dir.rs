//! Directories being written: entries, the rule that decides their form, and their blocks.
//!
//! A directory is one node whose links are its entries until it grows too large; then it is a
//! HAMT ([`super::hamt`]). Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::data::{Data, Kind, Stat};
use super::hamt;
use super::import::{CidRule, ImportError};
use crate::ipld::{Block, Cid, PbLink, PbNode, varint};

/// Estimated size above which a directory becomes a HAMT.
pub const SHARD_THRESHOLD_DEFAULT: u64 = 256 * 1024;
/// Slots of a HAMT node.
pub const FANOUT_DEFAULT: u16 = 256;

/// How the size of a directory is estimated when its form is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SizeEstimation {
    /// The bytes of names and CIDs.
    #[default]
    Links,
    /// The exact length of the block.
    Block,
    /// Not at all: only the number of entries counts.
    Disabled,
}

impl SizeEstimation {
    /// The size of a directory with no entries.
    #[must_use]
    pub fn empty(self, stat: Stat) -> u64 {
        match self {
            Self::Block => {
                let data = Data::new(Kind::Directory).with_stat(stat).encode().len() as u64;
                1 + varint::len(data) as u64 + data
            }
            Self::Links | Self::Disabled => 0,
        }
    }

    /// What an entry adds: one with a name of `name_len` bytes, and a DAG of `dag_size`.
    #[must_use]
    pub fn entry(self, name_len: usize, cid: &Cid, dag_size: u64) -> u64 {
        let cid = cid.byte_len();
        let len = match self {
            Self::Disabled => 0,
            Self::Links => cid + name_len,
            Self::Block => {
                let field = |len: usize| 1 + varint::len(len as u64) + len;
                field(field(cid) + field(name_len) + 1 + varint::len(dag_size))
            }
        };
        len as u64
    }
}

/// What the CID of a directory depends on besides its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirOptions {
    /// How blocks are named.
    pub cid: CidRule,
    /// More entries make it a HAMT; zero for no such limit.
    pub links_max: usize,
    /// Slots of a HAMT node: a power of two from 8 to 1024.
    pub fanout: u16,
    /// A larger estimated size makes it a HAMT; zero for never.
    pub threshold: u64,
    /// How the size is estimated.
    pub estimation: SizeEstimation,
}

impl Default for DirOptions {
    fn default() -> Self {
        Self {
            cid: CidRule::default(),
            links_max: 0,
            fanout: FANOUT_DEFAULT,
            threshold: SHARD_THRESHOLD_DEFAULT,
            estimation: SizeEstimation::default(),
        }
    }
}

/// What a directory knows of one of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its root.
    pub cid: Cid,
    /// Length of all its blocks.
    pub dag_size: u64,
}

/// A directory while it is written.
#[derive(Debug)]
pub struct DirBuilder {
    options: DirOptions,
    stat: Stat,
    entries: BTreeMap<Bytes, Entry>,
    estimated: u64,
    sharded: bool,
}

impl DirBuilder {
    /// An empty directory.
    #[must_use]
    pub fn new(options: DirOptions, stat: Stat) -> Self {
        let estimated = options.estimation.empty(stat);
        Self { options, stat, entries: BTreeMap::new(), estimated, sharded: false }
    }

    /// The entry of this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Sets an entry, in place of one of the same name. Once too large, a directory stays a HAMT.
    pub fn insert(&mut self, name: Bytes, entry: Entry) {
        let added = self.estimate(&name, &entry);
        let removed = self.entries.get(&name).map_or(0, |old| self.estimate(&name, old));
        self.estimated = self.estimated.saturating_sub(removed).saturating_add(added);
        self.entries.insert(name, entry);
        let DirOptions { threshold, links_max, .. } = self.options;
        let too_large = self.estimated > threshold;
        let too_many = links_max > 0 && self.entries.len() > links_max;
        self.sharded |= threshold > 0 && (too_large || too_many);
    }

    fn estimate(&self, name: &Bytes, entry: &Entry) -> u64 {
        self.options.estimation.entry(name.len(), &entry.cid, entry.dag_size)
    }

    /// Whether it is a HAMT by now.
    #[must_use]
    pub fn is_sharded(&self) -> bool {
        self.sharded
    }

    /// The names in the order of the links: that of their bytes, or that of their hashes.
    #[must_use]
    pub fn names_in_link_order(&self) -> Vec<Bytes> {
        let mut names: Vec<Bytes> = self.entries.keys().cloned().collect();
        if self.sharded {
            names.sort_by_cached_key(|name| hamt::hash(name));
        }
        names
    }

    /// The blocks, children before parents, appended to `out`, and the root.
    ///
    /// # Errors
    /// When a block cannot be named, or two names cannot be told apart by their hashes.
    pub fn finish(self, out: &mut Vec<Block>) -> Result<Entry, ImportError> {
        let links = self.entries.into_iter();
        let links = links.map(|(name, entry)| PbLink::new(entry.cid, name, entry.dag_size));
        if self.sharded {
            let (cid, fanout) = (self.options.cid, self.options.fanout);
            return hamt::build(&hamt::Plan { cid, fanout }, links.collect(), self.stat, out);
        }
        let links: Vec<PbLink> = links.collect();
        let children: u64 = links.iter().map(PbLink::size).sum();
        let data = Data::new(Kind::Directory).with_stat(self.stat).encode();
        let block = self.options.cid.node(&PbNode { links, data: Some(data.into()) })?;
        let entry = Entry { cid: block.cid.clone(), dag_size: block.data.len() as u64 + children };
        out.push(block);
        Ok(entry)
    }
}
