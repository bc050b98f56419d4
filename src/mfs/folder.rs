//! A directory while it is edited: its entries, and when it changes its form.
//!
//! The rules are those of boxo's `DynamicDirectory`. A plain directory becomes a HAMT with the entry
//! that makes it too large. A HAMT is looked at again only when it seems to have shrunk since it
//! was read, by a sum that boxo keeps ([`Folder::balance`]) and that is a little off on purpose
//! here, too: it decides CIDs.

use bytes::Bytes;

use super::Error;
use super::error::Fail;
use super::naming::Naming;
use super::nodes::Nodes;
use super::shard::Shard;
use crate::ipld::{Block, Cid, PbLink, PbNode};
use crate::unixfs::data::{Data, Kind, Mtime, Stat};
use crate::unixfs::dir::{DirOptions, Entry, SizeEstimation};
use crate::unixfs::read::{Node, ReadError};

/// A directory that has been read.
#[derive(Debug)]
pub(super) struct Folder {
    form: Form,
    /// By how much a HAMT has grown since it was read, as boxo counts.
    pub(super) balance: i64,
    /// Something is to be written.
    pub(super) changed: bool,
}

#[derive(Debug)]
enum Form {
    Plain { naming: Naming, data: Data, links: Vec<PbLink> },
    Sharded { root: Shard, stat: Stat },
}

impl Folder {
    /// A directory without entries.
    pub(super) fn new(naming: Naming) -> Self {
        let data = Data::new(Kind::Directory);
        let form = Form::Plain { naming, data, links: Vec::new() };
        Self { form, balance: 0, changed: true }
    }

    /// The directory whose root node this is.
    pub(super) fn read(cid: &Cid, node: &Node, balance: i64) -> Result<Self, ReadError> {
        let Node::Pb { data, links } = node else { return Err(ReadError::NotDirectory) };
        let naming = Naming::of(cid);
        let form = match data.kind {
            Kind::Directory => Form::Plain { naming, data: data.clone(), links: links.clone() },
            Kind::HamtShard => {
                let stat = Stat { mode: data.permissions(), mtime: data.mtime };
                Form::Sharded { root: Shard::read(naming, node)?, stat }
            }
            _ => return Err(ReadError::NotDirectory),
        };
        Ok(Self { form, balance, changed: false })
    }

    /// Whether it is a HAMT.
    pub(super) fn is_sharded(&self) -> bool {
        matches!(self.form, Form::Sharded { .. })
    }

    /// How its blocks are named.
    pub(super) fn naming(&self) -> Naming {
        match &self.form {
            Form::Plain { naming, .. } => *naming,
            Form::Sharded { root, .. } => root.naming(),
        }
    }

    /// Names its root anew.
    pub(super) fn rename(&mut self, new: Naming) {
        if self.naming() == new {
            return;
        }
        match &mut self.form {
            Form::Plain { naming, .. } => *naming = new,
            Form::Sharded { root, .. } => root.rename(new),
        }
        self.changed = true;
    }

    /// Sets the permission bits; none unsets the mode. A HAMT stores one of no bits, too, when it
    /// `is_given`.
    pub(super) fn set_mode(&mut self, permissions: u32, is_given: bool) {
        match &mut self.form {
            Form::Plain { data, .. } => data.mode = with_permissions(data.mode, permissions),
            Form::Sharded { stat, .. } => stat.mode = is_given.then_some(permissions),
        }
        (self.changed, self.balance) = (true, 0);
    }

    /// Sets the modification time.
    pub(super) fn set_mtime(&mut self, mtime: Mtime) {
        match &mut self.form {
            Form::Plain { data, .. } => data.mtime = Some(mtime),
            Form::Sharded { stat, .. } => stat.mtime = Some(mtime),
        }
        (self.changed, self.balance) = (true, 0);
    }

    /// The entry of this name.
    pub(super) fn find(&mut self, nodes: &Nodes, name: &[u8]) -> Result<Option<PbLink>, Fail> {
        match &mut self.form {
            Form::Plain { links, .. } => {
                Ok(position(links, name).and_then(|at| links.get(at)).cloned())
            }
            Form::Sharded { root, .. } => root.find(nodes, name),
        }
    }

    /// Every entry in the order of its links, until `visit` says that it is enough.
    pub(super) fn visit(
        &self,
        nodes: &Nodes,
        visit: &mut dyn FnMut(&PbLink) -> bool,
    ) -> Result<bool, Fail> {
        match &self.form {
            Form::Plain { links, .. } => Ok(links.iter().all(visit)),
            Form::Sharded { root, .. } => root.visit(nodes, visit),
        }
    }

    /// Sets an entry, in place of one of the same name.
    pub(super) fn set(&mut self, at: &Place<'_>, name: &[u8], entry: Entry) -> Result<(), Fail> {
        self.changed = true;
        let link = PbLink::new(entry.cid, Bytes::copy_from_slice(name), entry.dag_size);
        match &mut self.form {
            Form::Plain { links, data, naming } => {
                let stat = Stat { mode: data.permissions(), mtime: data.mtime };
                if !becomes_too_large(links, stat, &link, at.options) {
                    put(links, link);
                    return Ok(());
                }
                let mut root = Shard::new(*naming, at.options.fanout);
                for link in links.drain(..) {
                    root.set(at.nodes, link)?;
                }
                self.form = Form::Sharded { root, stat };
                self.balance = 0;
                self.set_in_shards(at, link)
            }
            Form::Sharded { .. } => {
                if self.fits_again(at, link.name(), Some(&link))? {
                    self.make_plain(at)?;
                    if let Form::Plain { links, .. } = &mut self.form {
                        put(links, link);
                    }
                    return Ok(());
                }
                self.set_in_shards(at, link)
            }
        }
    }

    fn set_in_shards(&mut self, at: &Place<'_>, link: PbLink) -> Result<(), Fail> {
        let Form::Sharded { root, .. } = &mut self.form else { return Ok(()) };
        let prefix = root.prefix_len();
        let new = size(link.name().len(), &link);
        let old = root.set(at.nodes, link)?;
        self.balance += new - old.map_or(0, |old| size(old.name().len() + prefix, &old));
        Ok(())
    }

    /// Removes an entry; `false` when there is none of that name.
    pub(super) fn remove(&mut self, at: &Place<'_>, name: &[u8]) -> Result<bool, Fail> {
        if self.is_sharded() && self.fits_again(at, name, None)? {
            self.make_plain(at)?;
        }
        match &mut self.form {
            Form::Plain { links, .. } => {
                let before = links.len();
                links.retain(|link| link.name() != name);
                self.changed |= links.len() != before;
                Ok(links.len() != before)
            }
            Form::Sharded { root, .. } => {
                let prefix = root.prefix_len();
                let Some(old) = root.remove(at.nodes, name)? else { return Ok(false) };
                self.balance -= size(old.name().len() + prefix, &old);
                self.changed = true;
                Ok(true)
            }
        }
    }

    /// Whether a HAMT is to be a plain directory once an entry is set or removed.
    ///
    /// Where boxo weighs what goes, it counts the slot's digits to its name; where it weighs what
    /// comes, it counts no name.
    fn fits_again(
        &mut self,
        at: &Place<'_>,
        name: &[u8],
        new: Option<&PbLink>,
    ) -> Result<bool, Fail> {
        let Place { nodes, options } = at;
        let balance = self.balance;
        let Form::Sharded { root, stat } = &mut self.form else { return Ok(false) };
        if options.threshold == 0 {
            return Ok(false);
        }
        let estimation = options.estimation;
        let prefix = root.prefix_len();
        let old = root.find(nodes, name)?;
        let weigh = |len: usize, link: &PbLink| weigh(estimation, len, link);
        let mut change = 0;
        if let Some(old) = &old {
            change -= weigh(old.name().len() + prefix, old);
        }
        if let Some(new) = new {
            change += weigh(0, new);
        }
        let by_count = estimation == SizeEstimation::Disabled;
        if !by_count && balance + change >= 0 {
            return Ok(false);
        }
        let count = i64::from(new.is_some()) - i64::from(old.is_some());
        let links_max = i64::try_from(options.links_max).unwrap_or(i64::MAX);
        if by_count && links_max == 0 {
            return Ok(false);
        }
        let threshold = i64::try_from(options.threshold).unwrap_or(i64::MAX);
        let empty = i64::try_from(estimation.empty(*stat)).unwrap_or(i64::MAX);
        let (mut total, mut entries) = (empty.saturating_add(change), count);
        root.visit(nodes, &mut |link| {
            total += weigh(link.name().len(), link);
            entries += 1;
            (by_count || total <= threshold) && (links_max == 0 || entries <= links_max)
        })
        .map(|visited_all| visited_all && (by_count || total <= threshold))
    }

    fn make_plain(&mut self, at: &Place<'_>) -> Result<(), Fail> {
        let Form::Sharded { root, stat } = &self.form else { return Ok(()) };
        let mut links = Vec::new();
        root.visit(at.nodes, &mut |link| {
            links.push(link.clone());
            true
        })?;
        links.sort_by(|a, b| a.name().cmp(b.name()));
        let data = Data::new(Kind::Directory).with_stat(*stat);
        self.form = Form::Plain { naming: root.naming(), data, links };
        (self.balance, self.changed) = (0, true);
        Ok(())
    }

    /// Writes it: blocks, children before parents, and the root. It has no entries after that.
    pub(super) fn write(&mut self, nodes: &Nodes, out: &mut Vec<Block>) -> Result<Entry, Error> {
        self.changed = false;
        match &mut self.form {
            Form::Sharded { root, stat } => root.write(*stat, out),
            Form::Plain { naming, data, links } => {
                let below = links.iter().fold(0_u64, |sum, link| sum.saturating_add(link.size()));
                let node =
                    PbNode { links: std::mem::take(links), data: Some(data.encode().into()) };
                let block = naming.node(&node)?;
                let dag_size = below.saturating_add(block.data.len() as u64);
                let entry = Entry { cid: block.cid.clone(), dag_size };
                if node.links.is_sorted_by(|a, b| a.name() <= b.name()) {
                    let node = Node::Pb { data: data.clone(), links: node.links };
                    nodes.keep(&block.cid, node);
                }
                out.push(block);
                Ok(entry)
            }
        }
    }
}

/// Where a directory finds its shards, and what decides its form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) options: &'a DirOptions,
}

/// A mode with other permission bits; the bits above them stay.
pub(super) fn with_permissions(mode: Option<u32>, permissions: u32) -> Option<u32> {
    let extended = mode.unwrap_or(0) & !0xfff;
    let mode = extended | (permissions & 0xfff);
    (permissions != 0 || extended != 0).then_some(mode)
}

/// What an entry counts in [`Folder::balance`], whatever the estimation.
fn size(name_len: usize, link: &PbLink) -> i64 {
    weigh(SizeEstimation::Links, name_len, link)
}

fn weigh(estimation: SizeEstimation, name_len: usize, link: &PbLink) -> i64 {
    i64::try_from(estimation.entry(name_len, &link.cid, link.size())).unwrap_or(i64::MAX)
}

/// The first link of this name.
fn position(links: &[PbLink], name: &[u8]) -> Option<usize> {
    links.iter().position(|link| link.name() == name)
}

/// Sets a link, in the place where a sorted list has it; one that is not sorted is when written.
fn put(links: &mut Vec<PbLink>, link: PbLink) {
    links.retain(|other| other.name() != link.name());
    let at = links.partition_point(|other| other.name() <= link.name());
    links.insert(at, link);
}

fn becomes_too_large(links: &[PbLink], stat: Stat, new: &PbLink, options: &DirOptions) -> bool {
    if options.threshold == 0 {
        return false;
    }
    let estimation = options.estimation;
    let weigh = |link: &PbLink| estimation.entry(link.name().len(), &link.cid, link.size());
    let old = position(links, new.name()).and_then(|at| links.get(at));
    let too_many = options.links_max > 0 && old.is_none() && links.len() >= options.links_max;
    if estimation == SizeEstimation::Disabled {
        return too_many;
    }
    let all: u64 = links.iter().map(weigh).sum();
    let total = estimation.empty(stat) + all + weigh(new) - old.map_or(0, weigh);
    total > options.threshold || too_many
}
