//! Names in directories, and listings.

use bytes::Bytes;

use super::{Node, ReadError};
use crate::ipld::{Cid, PbLink};
use crate::unixfs::data::{Data, Kind};
use crate::unixfs::hamt::{self, Shard, Slot};

/// What to do next for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupStep {
    /// The entry.
    Found(PbLink),
    /// Fetch this shard and step on with it.
    Need(Cid),
    /// There is no entry of that name.
    Missing,
}

/// The search for a name in a directory.
#[derive(Debug)]
pub struct Lookup {
    name: Bytes,
    hash: u64,
    consumed: u32,
    in_shard: bool,
}

impl Lookup {
    /// A search that has not begun.
    #[must_use]
    pub fn new(name: Bytes) -> Self {
        let hash = hamt::hash(&name);
        Self { name, hash, consumed: 0, in_shard: false }
    }

    /// Looks into the directory, then into each shard that was asked for.
    ///
    /// # Errors
    /// When the node is no directory, or a corrupt one.
    pub fn step(&mut self, node: &Node) -> Result<LookupStep, ReadError> {
        let Node::Pb { data, links } = node else { return Err(self.wrong_node()) };
        if data.kind == Kind::Directory && !self.in_shard {
            let found = links.iter().find(|link| link.name() == self.name);
            return Ok(found.cloned().map_or(LookupStep::Missing, LookupStep::Found));
        }
        if data.kind != Kind::HamtShard {
            return Err(self.wrong_node());
        }
        self.in_shard = true;
        let shard = Shard::new(data, links)?;
        let slot = hamt::slot(self.hash, self.consumed, shard.bits());
        let slot = slot.ok_or(ReadError::ShardTooDeep)?;
        self.consumed += shard.bits();
        Ok(match shard.get(slot)? {
            Some(Slot::Entry(link)) if link.name() == self.name => LookupStep::Found(link),
            Some(Slot::Shard(link)) => LookupStep::Need(link.cid),
            Some(Slot::Entry(_)) | None => LookupStep::Missing,
        })
    }

    fn wrong_node(&self) -> ReadError {
        if self.in_shard { ReadError::NotShard } else { ReadError::NotDirectory }
    }
}

/// What to do next for a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListStep {
    /// The next entry, under its own name.
    Entry(PbLink),
    /// Fetch this shard and hand it to [`Listing::supply`].
    Need(Cid),
    /// That was all.
    Done,
}

/// The entries of a directory in the order of its links; those of a HAMT depth first.
#[derive(Debug)]
pub struct Listing {
    /// What is left of each open node, innermost last, reversed.
    open: Vec<Vec<Item>>,
    asked: Option<Cid>,
}

#[derive(Debug)]
enum Item {
    Entry(PbLink),
    Shard(Cid),
}

impl Listing {
    /// The entries of the directory whose root this is.
    ///
    /// # Errors
    /// When it is none, or a corrupt one.
    pub fn new(root: &Node) -> Result<Self, ReadError> {
        let Node::Pb { data, links } = root else { return Err(ReadError::NotDirectory) };
        let items = match data.kind {
            Kind::Directory => links.iter().rev().cloned().map(Item::Entry).collect(),
            Kind::HamtShard => shard_items(data, links)?,
            _ => return Err(ReadError::NotDirectory),
        };
        Ok(Self { open: vec![items], asked: None })
    }

    /// What to do next.
    pub fn step(&mut self) -> ListStep {
        if let Some(asked) = &self.asked {
            return ListStep::Need(asked.clone());
        }
        while let Some(items) = self.open.last_mut() {
            match items.pop() {
                Some(Item::Entry(link)) => return ListStep::Entry(link),
                Some(Item::Shard(cid)) => {
                    self.asked = Some(cid.clone());
                    return ListStep::Need(cid);
                }
                None => {
                    self.open.pop();
                }
            }
        }
        ListStep::Done
    }

    /// How many links are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.open.iter().map(Vec::len).sum()
    }

    /// Everything that the listing comes to, entries and shards, in order, as far as known.
    pub fn rest(&self) -> impl Iterator<Item = &Cid> {
        self.open.iter().rev().flat_map(|items| {
            items.iter().rev().map(|item| match item {
                Item::Shard(cid) => cid,
                Item::Entry(link) => &link.cid,
            })
        })
    }

    /// The shards that will be needed after the one asked for, in order, as far as known.
    pub fn upcoming(&self) -> impl Iterator<Item = &Cid> {
        self.open.iter().rev().flat_map(|items| {
            items.iter().rev().filter_map(|item| match item {
                Item::Shard(cid) => Some(cid),
                Item::Entry(_) => None,
            })
        })
    }

    /// Takes the shard that was asked for.
    ///
    /// # Errors
    /// When it is none, or a corrupt one.
    pub fn supply(&mut self, block: &Bytes) -> Result<(), ReadError> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        let Node::Pb { data, links } = Node::decode(&asked, block)? else {
            return Err(ReadError::NotShard);
        };
        if data.kind != Kind::HamtShard {
            return Err(ReadError::NotShard);
        }
        // A path of eight bits a level ends after eight levels; no fanout allows more than 21.
        if self.open.len() > 64 / 3 {
            return Err(ReadError::ShardTooDeep);
        }
        self.open.push(shard_items(&data, &links)?);
        Ok(())
    }
}

fn shard_items(data: &Data, links: &[PbLink]) -> Result<Vec<Item>, ReadError> {
    let shard = Shard::new(data, links)?;
    let items = links.iter().rev().map(|link| {
        Ok(match shard.classify(link)? {
            Slot::Entry(link) => Item::Entry(link),
            Slot::Shard(link) => Item::Shard(link.cid),
        })
    });
    items.collect()
}
