//! HAMT shards: directories spread over a trie of the hashes of their names.
//!
//! Writing: [`build`] makes the one trie that a set of entries has. Reading: [`Shard`] checks a
//! shard node and says what is in its slots. Pure.

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
pub(super) fn hash(name: &[u8]) -> u64 {
    murmur3::x64_64(name)
}

/// The bits of a hash that choose the slot at some depth, or `None` when they are used up.
pub(super) fn slot(hash: u64, consumed: u32, bits: u32) -> Option<u16> {
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
fn prefix_len(fanout: u64) -> usize {
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
    let width = prefix_len(u64::from(plan.fanout));
    let mut links = Vec::new();
    let mut field = vec![0_u8; usize::from(plan.fanout / 8)];
    let slot_of = |hash: u64| slot(hash, consumed, bits);
    for group in entries.chunk_by(|(a, _), (b, _)| slot_of(*a) == slot_of(*b)) {
        let Some((hash, first)) = group.first() else { continue };
        let slot = slot_of(*hash).ok_or(ImportError::ShardTooDeep)?;
        let byte = field.len() - 1 - usize::from(slot / 8);
        if let Some(byte) = field.get_mut(byte) {
            *byte |= 1 << (slot % 8);
        }
        let mut name = format!("{slot:0width$X}").into_bytes();
        let child = if group.len() == 1 {
            name.extend_from_slice(first.name());
            Entry { cid: first.cid.clone(), dag_size: first.size() }
        } else {
            shard(plan, group, consumed + bits, out, Stat::default())?
        };
        links.push(PbLink::new(child.cid, name, child.dag_size));
    }
    let leading = field.iter().take_while(|byte| **byte == 0).count();
    field.drain(..leading);
    let children: u64 = links.iter().map(PbLink::size).sum();
    let data = Data {
        data: Some(field.into()),
        hash_type: Some(HASH_TYPE),
        fanout: Some(u64::from(plan.fanout)),
        ..Data::new(Kind::HamtShard).with_stat(stat)
    };
    let block = plan.cid.node(&PbNode { links, data: Some(data.encode().into()) })?;
    let entry = Entry { cid: block.cid.clone(), dag_size: block.data.len() as u64 + children };
    out.push(block);
    Ok(entry)
}

/// A shard node that was read.
pub(super) struct Shard<'a> {
    field: &'a [u8],
    links: &'a [PbLink],
    bits: u32,
    prefix: usize,
}

/// What a link of a shard is.
pub(super) enum Slot {
    /// An entry, under its own name.
    Entry(PbLink),
    /// Another shard.
    Shard(PbLink),
}

impl<'a> Shard<'a> {
    pub(super) fn new(data: &'a Data, links: &'a [PbLink]) -> Result<Self, ReadError> {
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
    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    /// What is in a slot.
    pub(super) fn get(&self, slot: u16) -> Result<Option<Slot>, ReadError> {
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

    /// What a link is.
    pub(super) fn classify(&self, link: &PbLink) -> Result<Slot, ReadError> {
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
