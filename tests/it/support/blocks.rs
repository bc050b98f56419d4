//! Blocks for tests.

use pinmesh::ipld::{Block, Cid, PbLink, PbNode, codec, hash};

/// A raw block.
pub(crate) fn raw(data: impl Into<bytes::Bytes>) -> Block {
    let data = data.into();
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    Block { cid: Cid::new_v1(codec::RAW, hash), data }
}

/// A dag-pb block with these children.
pub(crate) fn node(children: &[Cid], text: &str) -> Block {
    let links = children.iter().map(|cid| PbLink::new(cid.clone(), "x", 1)).collect();
    let data = PbNode { data: Some(text.to_owned().into()), links }.encode();
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    Block { cid: Cid::new_v0(hash).unwrap(), data: data.into() }
}

/// A dag-pb node over `count` raw leaves of `size` bytes; the root comes last.
pub(crate) fn dag(name: &str, count: usize, size: usize) -> Vec<Block> {
    let leaf = |n: usize| {
        let mut data = format!("{name} {n} ").into_bytes();
        data.resize(size.max(data.len()), b'.');
        raw(data)
    };
    let mut blocks: Vec<Block> = (0..count).map(leaf).collect();
    let children: Vec<Cid> = blocks.iter().map(|block| block.cid.clone()).collect();
    blocks.push(node(&children, name));
    blocks
}
