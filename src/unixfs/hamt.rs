//! HAMT shards: directories spread over a trie of the hashes of their names.
//!
//! Writing: [`build`] makes the one trie that a set of entries has, [`node`] the node of one shard.
//! Reading: [`Shard`] checks a shard node and says what is in its slots. Pure.

use bytes::Bytes;

use super::data::{Data, Kind, Stat};
use super::dir::Entry;
use super::import::{CidRule, ImportError};
use super::read::ReadError;
use crate::ipld::{Block, PbLink, PbNode, murmur3};

/// Multicodec of the hash function of names.
const HASH_TYPE: u64 = 0x22;
/// The most slots of a node.
const FANOUT_MAX: u64 = 1024;
const HASH_BITS: u32 = 64;

/// The hash of a name. Its most significant bits choose the slot in the root.
#[must_use]
pub fn hash(name: &[u8]) -> u64 {
    murmur3::x64_64(name)
}

/// The bits of a hash that choose the slot at some depth, or `None` when they are used up.
#[must_use]
pub fn slot(hash: u64, consumed: u32, bits: u32) -> Option<u16> {
    let left = HASH_BITS.checked_sub(consumed + bits)?;
    u16::try_from((hash >> left) & ((1 << bits) - 1)).ok()
}

/// What all shards of one directory have in common.
pub(super) struct Plan {
    pub(super) cid: CidRule,
    pub(super) fanout: u16,
}

impl Plan {
    fn bits(&self) -> u32 {
        self.fanout.trailing_zeros()
    }
}

/// Digits of a slot in the name of a link.
#[must_use]
pub fn prefix_len(fanout: u64) -> usize {
    format!("{:X}", fanout.saturating_sub(1)).len()
}

/// The trie of these entries: blocks, children before parents, and the root.
pub(super) fn build(
    plan: &Plan,
    links: Vec<PbLink>,
    stat: Stat,
    out: &mut Vec<Block>,
) -> Result<Entry, ImportError> {
    let mut hashed: Vec<(u64, PbLink)> =
        links.into_iter().map(|link| (hash(link.name()), link)).collect();
    hashed.sort_by_key(|(hash, _)| *hash);
    shard(plan, &hashed, 0, out, stat)
}

/// One shard and those below it. The depth is that of the hash's bits: 21 at most.
fn shard(
    plan: &Plan,
    entries: &[(u64, PbLink)],
    consumed: u32,
    out: &mut Vec<Block>,
    stat: Stat,
) -> Result<Entry, ImportError> {
    let bits = plan.bits();
    let mut children = Vec::new();
    let slot_of = |hash: u64| slot(hash, consumed, bits);
    for group in entries.chunk_by(|(a, _), (b, _)| slot_of(*a) == slot_of(*b)) {
        let Some((hash, first)) = group.first() else { continue };
        let slot = slot_of(*hash).ok_or(ImportError::ShardTooDeep)?;
        children.push(if group.len() == 1 {
            (slot, first.clone())
        } else {
            let child = shard(plan, group, consumed + bits, out, Stat::default())?;
            (slot, PbLink::new(child.cid, Bytes::new(), child.dag_size))
        });
    }
    let node = node(plan.fanout, children, stat);
    let below: u64 = node.links.iter().map(PbLink::size).sum();
    let block = plan.cid.node(&node)?;
    let entry = Entry { cid: block.cid.clone(), dag_size: block.data.len() as u64 + below };
    out.push(block);
    Ok(entry)
}

/// The node of one shard: what is in its slots, in their order. An entry is linked under its name,
/// a shard under none.
#[must_use]
pub fn node(fanout: u16, children: Vec<(u16, PbLink)>, stat: Stat) -> PbNode {
    let width = prefix_len(u64::from(fanout));
    let mut field = vec![0_u8; usize::from(fanout / 8)];
    let links = children.into_iter().map(|(slot, link)| {
        let byte = field.len().checked_sub(1 + usize::from(slot / 8));
        if let Some(byte) = byte.and_then(|at| field.get_mut(at)) {
            *byte |= 1 << (slot % 8);
        }
        let mut name = format!("{slot:0width$X}").into_bytes();
        name.extend_from_slice(link.name());
        PbLink { name: Some(name.into()), tsize: Some(link.size()), ..link }
    });
    let links = links.collect();
    let leading = field.iter().take_while(|byte| **byte == 0).count();
    field.drain(..leading);
    let data = Data {
        data: Some(field.into()),
        hash_type: Some(HASH_TYPE),
        fanout: Some(u64::from(fanout)),
        ..Data::new(Kind::HamtShard).with_stat(stat)
    };
    PbNode { links, data: Some(data.encode().into()) }
}

/// A shard node that was read.
#[derive(Debug)]
pub struct Shard<'a> {
    field: &'a [u8],
    links: &'a [PbLink],
    bits: u32,
    prefix: usize,
}

/// What a link of a shard is.
#[derive(Debug)]
pub enum Slot {
    /// An entry, under its own name.
    Entry(PbLink),
    /// Another shard.
    Shard(PbLink),
}

impl<'a> Shard<'a> {
    /// Checks a shard node.
    ///
    /// # Errors
    /// When it is none, or a corrupt one.
    pub fn new(data: &'a Data, links: &'a [PbLink]) -> Result<Self, ReadError> {
        if data.hash_type != Some(HASH_TYPE) {
            return Err(ReadError::ShardHash);
        }
        let fanout = data.fanout.unwrap_or(0);
        if !fanout.is_power_of_two() {
            return Err(ReadError::ShardFanout);
        }
        if fanout > FANOUT_MAX {
            return Err(ReadError::ShardWidth { fanout });
        }
        if fanout < 8 {
            return Err(ReadError::ShardFanout);
        }
        let field = data.data.as_deref().unwrap_or_default();
        let ones: u32 = field.iter().map(|byte| byte.count_ones()).sum();
        if field.len() as u64 > fanout / 8 || ones as usize != links.len() {
            return Err(ReadError::ShardField);
        }
        Ok(Self { field, links, bits: fanout.trailing_zeros(), prefix: prefix_len(fanout) })
    }

    /// Bits of the hash that one level consumes.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// What is in a slot.
    ///
    /// # Errors
    /// When the link in it is corrupt.
    pub fn get(&self, slot: u16) -> Result<Option<Slot>, ReadError> {
        let from_end = usize::from(slot / 8) + 1;
        let Some(at) = self.field.len().checked_sub(from_end) else { return Ok(None) };
        let byte = self.field.get(at).copied().unwrap_or(0);
        if byte & (1 << (slot % 8)) == 0 {
            return Ok(None);
        }
        let below = byte & ((1 << (slot % 8)) - 1);
        let after = self.field.get(at + 1..).unwrap_or_default();
        let before: u32 = after.iter().map(|byte| byte.count_ones()).sum();
        let index = (before + below.count_ones()) as usize;
        let link = self.links.get(index).ok_or(ReadError::ShardField)?;
        self.classify(link).map(Some)
    }

    /// The slots that are in use, in their order.
    pub fn slots(&self) -> impl Iterator<Item = u16> {
        let bytes = self.field.iter().rev().enumerate();
        bytes.flat_map(|(at, byte)| {
            let first = u16::try_from(at * 8).unwrap_or(u16::MAX);
            let set = (0..8_u16).filter(move |bit| byte & (1 << bit) != 0);
            set.map(move |bit| first.saturating_add(bit))
        })
    }

    /// What a link is.
    ///
    /// # Errors
    /// When its name is too short for one of a shard.
    pub fn classify(&self, link: &PbLink) -> Result<Slot, ReadError> {
        let name = link.name.clone().unwrap_or_default();
        if name.len() < self.prefix {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(ReadError::ShardLinkName { name });
        }
        let rest: Bytes = name.slice(self.prefix..);
        let own = PbLink { name: Some(rest), ..link.clone() };
        Ok(if own.name().is_empty() { Slot::Shard(own) } else { Slot::Entry(own) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_consumed_from_the_top() {
        let hash = 0x1234_5678_9abc_def0;
        assert_eq!(slot(hash, 0, 8), Some(0x12));
        assert_eq!(slot(hash, 8, 8), Some(0x34));
        assert_eq!(slot(hash, 56, 8), Some(0xf0));
        assert_eq!(slot(hash, 64, 8), None);
        assert_eq!(slot(hash, 0, 10), Some(0x48));
        assert_eq!(slot(hash, 60, 10), None);
        assert_eq!(slot(hash, 60, 3), Some(0));
    }

    #[test]
    fn prefixes_are_as_wide_as_the_last_slot() {
        let widths = [8, 16, 32, 256, 512, 1024].map(prefix_len);
        assert_eq!(widths, [1, 1, 2, 2, 3, 3]);
    }
}
