//! A HAMT directory while it is edited: shards are read as a name leads to them, and written when
//! they have changed.

use bytes::Bytes;

use super::Error;
use super::error::Fail;
use super::naming::Naming;
use super::nodes::Nodes;
use crate::ipld::{Block, PbLink};
use crate::unixfs::data::{Kind, Stat};
use crate::unixfs::dir::Entry;
use crate::unixfs::hamt::{self, Slot};
use crate::unixfs::import::ImportError;
use crate::unixfs::read::{Node, ReadError};

/// A shard, and those below it that have been read.
#[derive(Debug)]
pub(super) struct Shard {
    naming: Naming,
    fanout: u16,
    /// In the order of the slots.
    slots: Vec<(u16, Child)>,
    /// What links to it, as long as nothing has changed.
    link: Option<PbLink>,
}

#[derive(Debug)]
enum Child {
    /// An entry, under its own name.
    Value(PbLink),
    Unread(PbLink),
    Read(Box<Shard>),
}

impl Shard {
    /// A root without entries.
    pub(super) fn new(naming: Naming, fanout: u16) -> Self {
        Self { naming, fanout, slots: Vec::new(), link: None }
    }

    /// Reads a node.
    pub(super) fn read(naming: Naming, node: &Node) -> Result<Self, ReadError> {
        let Node::Pb { data, links } = node else { return Err(ReadError::NotShard) };
        if data.kind != Kind::HamtShard {
            return Err(ReadError::NotShard);
        }
        let shard = hamt::Shard::new(data, links)?;
        let slots = shard.slots().zip(links).map(|(slot, link)| {
            Ok((
                slot,
                match shard.classify(link)? {
                    Slot::Entry(link) => Child::Value(link),
                    Slot::Shard(link) => Child::Unread(link),
                },
            ))
        });
        let slots = slots.collect::<Result<Vec<_>, ReadError>>()?;
        let fanout = data.fanout.and_then(|fanout| u16::try_from(fanout).ok());
        let fanout = fanout.ok_or(ReadError::ShardFanout)?;
        Ok(Self { naming, fanout, slots, link: None })
    }

    pub(super) fn naming(&self) -> Naming {
        self.naming
    }

    /// Names the root anew; shards below it keep their names.
    pub(super) fn rename(&mut self, naming: Naming) {
        self.link = None;
        self.naming = naming;
    }

    /// Digits of a slot in the name of a link.
    pub(super) fn prefix_len(&self) -> usize {
        hamt::prefix_len(u64::from(self.fanout))
    }

    fn bits(&self) -> u32 {
        self.fanout.trailing_zeros()
    }

    fn position(&self, hash: u64, consumed: u32) -> Result<(u16, Result<usize, usize>), Error> {
        let slot = hamt::slot(hash, consumed, self.bits()).ok_or(ImportError::ShardTooDeep)?;
        Ok((slot, self.slots.binary_search_by_key(&slot, |(slot, _)| *slot)))
    }

    /// The child at a position, read.
    fn child(&mut self, nodes: &Nodes, at: usize) -> Result<Option<&mut Child>, Fail> {
        let Some((_, child)) = self.slots.get_mut(at) else { return Ok(None) };
        if let Child::Unread(link) = child {
            let mut shard = Self::read(Naming::of(&link.cid), nodes.get(&link.cid)?.as_ref())?;
            shard.link = Some(PbLink { name: None, ..link.clone() });
            *child = Child::Read(Box::new(shard));
        }
        Ok(Some(child))
    }

    /// The entry of this name.
    pub(super) fn find(&mut self, nodes: &Nodes, name: &[u8]) -> Result<Option<PbLink>, Fail> {
        let (hash, mut consumed, mut shard) = (hamt::hash(name), 0, self);
        loop {
            let (_, Ok(at)) = shard.position(hash, consumed)? else { return Ok(None) };
            consumed += shard.bits();
            match shard.child(nodes, at)? {
                Some(Child::Value(link)) if link.name() == name => return Ok(Some(link.clone())),
                Some(Child::Read(below)) => shard = below,
                _ => return Ok(None),
            }
        }
    }

    /// Sets an entry; gives the one that had its name.
    pub(super) fn set(&mut self, nodes: &Nodes, link: PbLink) -> Result<Option<PbLink>, Fail> {
        let hash = hamt::hash(link.name());
        self.set_below(nodes, hash, 0, link)
    }

    /// As deep as a hash has bits for: 21 levels at most.
    fn set_below(
        &mut self,
        nodes: &Nodes,
        hash: u64,
        consumed: u32,
        link: PbLink,
    ) -> Result<Option<PbLink>, Fail> {
        let (slot, at) = self.position(hash, consumed)?;
        let (naming, fanout, bits) = (self.naming, self.fanout, self.bits());
        self.link = None;
        let at = match at {
            Ok(at) => at,
            Err(at) => {
                self.slots.insert(at, (slot, Child::Value(link)));
                return Ok(None);
            }
        };
        let Some(child) = self.child(nodes, at)? else { return Ok(None) };
        match child {
            Child::Value(old) if old.name() == link.name() => {
                Ok(Some(std::mem::replace(old, link)))
            }
            Child::Read(below) => below.set_below(nodes, hash, consumed + bits, link),
            Child::Value(old) => {
                let mut below = Self::new(naming, fanout);
                let old = old.clone();
                below.set_below(nodes, hash, consumed + bits, link)?;
                below.set_below(nodes, hamt::hash(old.name()), consumed + bits, old)?;
                *child = Child::Read(Box::new(below));
                Ok(None)
            }
            Child::Unread(_) => Ok(None),
        }
    }

    /// Removes an entry. A shard in which one entry is left gives way to it.
    pub(super) fn remove(&mut self, nodes: &Nodes, name: &[u8]) -> Result<Option<PbLink>, Fail> {
        self.remove_below(nodes, hamt::hash(name), 0, name)
    }

    fn remove_below(
        &mut self,
        nodes: &Nodes,
        hash: u64,
        consumed: u32,
        name: &[u8],
    ) -> Result<Option<PbLink>, Fail> {
        let (_, Ok(at)) = self.position(hash, consumed)? else { return Ok(None) };
        let bits = self.bits();
        let Some(child) = self.child(nodes, at)? else { return Ok(None) };
        let removed = match child {
            Child::Value(link) if link.name() == name => {
                let removed = link.clone();
                self.slots.remove(at);
                Some(removed)
            }
            Child::Read(below) => {
                let removed = below.remove_below(nodes, hash, consumed + bits, name)?;
                if removed.is_some() {
                    match below.slots.as_slice() {
                        [] => {
                            self.slots.remove(at);
                        }
                        [(_, Child::Value(only))] => *child = Child::Value(only.clone()),
                        _ => {}
                    }
                }
                removed
            }
            _ => None,
        };
        if removed.is_some() {
            self.link = None;
        }
        Ok(removed)
    }

    /// Every entry in the order of the slots, until `visit` says that it is enough.
    pub(super) fn visit(
        &self,
        nodes: &Nodes,
        visit: &mut dyn FnMut(&PbLink) -> bool,
    ) -> Result<bool, Fail> {
        self.visit_below(nodes, 0, visit)
    }

    fn visit_below(
        &self,
        nodes: &Nodes,
        depth: u32,
        visit: &mut dyn FnMut(&PbLink) -> bool,
    ) -> Result<bool, Fail> {
        if depth > u64::BITS / 3 {
            return Err(ReadError::ShardTooDeep.into());
        }
        for (_, child) in &self.slots {
            let goes_on = match child {
                Child::Value(link) => visit(link),
                Child::Read(below) => below.visit_below(nodes, depth + 1, visit)?,
                Child::Unread(link) => {
                    let below = Self::read(Naming::of(&link.cid), nodes.get(&link.cid)?.as_ref())?;
                    below.visit_below(nodes, depth + 1, visit)?
                }
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what has changed: blocks, children before parents, and the root.
    pub(super) fn write(&mut self, stat: Stat, out: &mut Vec<Block>) -> Result<Entry, Error> {
        let mut children = Vec::with_capacity(self.slots.len());
        for (slot, child) in &mut self.slots {
            let link = match child {
                Child::Value(link) => link.clone(),
                Child::Unread(link) => PbLink { name: None, ..link.clone() },
                Child::Read(below) => match &below.link {
                    Some(link) => link.clone(),
                    None => {
                        let entry = below.write(Stat::default(), out)?;
                        PbLink::new(entry.cid, Bytes::new(), entry.dag_size)
                    }
                },
            };
            children.push((*slot, link));
        }
        let node = hamt::node(self.fanout, children, stat);
        let below: u64 = node.links.iter().map(PbLink::size).sum();
        let block = self.naming.node(&node)?;
        let entry = Entry { cid: block.cid.clone(), dag_size: block.data.len() as u64 + below };
        out.push(block);
        Ok(entry)
    }
}
