//! What was imported is read back: whole, in ranges, by name, and with lies in it.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::vectors::{content, file};
use crate::ipld::{Block, Cid, PbLink, PbNode, codec};
use crate::unixfs::chunk::Chunker;
use crate::unixfs::data::{Data, Kind, Mtime, Stat};
use crate::unixfs::dir::{DirBuilder, DirOptions, Entry};
use crate::unixfs::import::{CidRule, ImportOptions, Layout, symlink};
use crate::unixfs::read::{
    FileReader, FileStep, ListStep, Listing, Lookup, LookupStep, Node, ReadError,
};

type Blocks = HashMap<Cid, Bytes>;

fn index(blocks: Vec<Block>) -> Blocks {
    blocks.into_iter().map(|block| (block.cid, block.data)).collect()
}

fn read(blocks: &Blocks, root: &Cid, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
    let node = Node::decode(root, &blocks[root])?;
    let mut reader = FileReader::new(root, &node, range)?;
    let mut out = Vec::new();
    // What comes after a leaf was announced when the leaf was asked for.
    let mut announced = None;
    loop {
        match reader.step() {
            FileStep::Bytes(bytes) => out.extend_from_slice(&bytes),
            FileStep::Need(cid) => {
                assert!(announced.take().is_none_or(|next| next == cid));
                let upcoming = reader.upcoming().next().map(|(cid, _)| cid.clone());
                reader.supply(&blocks[&cid])?;
                let inner = Node::decode(&cid, &blocks[&cid])?;
                if !matches!(&inner, Node::Pb { links, .. } if !links.is_empty()) {
                    announced = upcoming;
                }
            }
            FileStep::Done => return Ok(out),
        }
    }
}

#[test]
fn any_range_of_any_layout_reads_back() {
    let data = content("sha256ctr", 20_000);
    let size = data.len() as u64;
    let stat = Stat { mode: Some(0o644), mtime: Some(Mtime { seconds: -3, nanoseconds: 7 }) };
    for layout in [Layout::Balanced, Layout::Trickle] {
        for (raw_leaves, links_max, chunk) in [(true, 2, 100), (false, 3, 77), (true, 174, 20_000)]
        {
            let options = ImportOptions {
                chunker: Chunker::Size(chunk),
                raw_leaves,
                layout,
                links_max,
                ..ImportOptions::default()
            };
            let mut blocks = Vec::new();
            let root = file(&options, &data, stat, &mut blocks).unwrap();
            let blocks = index(blocks);
            let cases = [0..size, 0..u64::MAX, 0..1, 99..101, 100..100, 12_345..17_000];
            for range in
                cases.into_iter().chain([size - 1..size, size..size + 5, size + 1..u64::MAX])
            {
                let from = range.start.min(size) as usize;
                let to = range.end.min(size) as usize;
                let got = read(&blocks, &root.cid, range.clone()).unwrap();
                assert!(got == data[from..to.max(from)], "{layout:?} {chunk} {range:?}");
            }
            if root.cid.codec() == codec::DAG_PB {
                let node = Node::decode(&root.cid, &blocks[&root.cid]).unwrap();
                assert_eq!((node.size(), node.stat()), (size, stat));
            }
        }
    }
}

fn pb(data: Data, links: Vec<PbLink>) -> Block {
    CidRule::default().node(&PbNode { links, data: Some(data.encode().into()) }).unwrap()
}

fn raw(bytes: &'static [u8]) -> Block {
    CidRule::default().block(codec::RAW, Bytes::from_static(bytes)).unwrap()
}

fn parent(block_sizes: Vec<u64>, file_size: u64, children: &[&Block], own: &'static [u8]) -> Block {
    let links = children.iter();
    let links = links.map(|child| PbLink::new(child.cid.clone(), "", child.data.len() as u64));
    let data = (!own.is_empty()).then(|| Bytes::from_static(own));
    let data = Data { data, file_size: Some(file_size), block_sizes, ..Data::new(Kind::File) };
    pb(data, links.collect())
}

#[test]
fn sizes_that_lie_are_errors_and_missing_ones_only_forbid_ranges() {
    let (ab, cde) = (raw(b"ab"), raw(b"cde"));
    let dir = pb(Data::new(Kind::Directory), Vec::new());
    let size = |block: &Block, announced, actual| {
        Err(ReadError::Size { cid: block.cid.clone(), announced, actual })
    };
    let honest = parent(vec![2, 3], 5, &[&ab, &cde], b"");
    let own = parent(vec![2, 3], 7, &[&ab, &cde], b"xy");
    let ignored = parent(vec![2, 3], 5, &[&ab, &cde], b"xy");
    let child_lies = parent(vec![2, 4], 6, &[&ab, &cde], b"");
    let total_lies = parent(vec![2, 3], 6, &[&ab, &cde], b"");
    let unsized_ = parent(vec![2], 5, &[&ab, &cde], b"");
    let overflow = parent(vec![u64::MAX, 3], 2, &[&ab, &cde], b"");
    let misplaced = parent(vec![2, 3], 5, &[&ab, &dir], b"");
    let leaf_lies = parent(vec![], 9, &[], b"x");
    let all = [&ab, &cde, &dir, &honest, &own, &ignored, &child_lies, &total_lies, &unsized_];
    let more = [&overflow, &misplaced, &leaf_lies];
    let blocks = index(all.into_iter().chain(more).cloned().collect());
    let cases = [
        (&honest, 0..9, Ok(b"abcde".to_vec())),
        (&own, 0..9, Ok(b"xyabcde".to_vec())),
        (&own, 1..4, Ok(b"yab".to_vec())),
        (&ignored, 0..9, Ok(b"abcde".to_vec())),
        (&child_lies, 0..9, size(&cde, 4, 3)),
        (&child_lies, 0..2, Ok(b"ab".to_vec())),
        (&total_lies, 0..9, size(&total_lies, 6, 5)),
        (&unsized_, 0..9, Ok(b"abcde".to_vec())),
        (&unsized_, 0..3, Ok(b"abc".to_vec())),
        (&unsized_, 1..3, Err(ReadError::NotSeekable)),
        (&overflow, 0..9, Err(ReadError::SizeOverflow { cid: overflow.cid.clone() })),
        (&misplaced, 0..9, Err(ReadError::Misplaced(Kind::Directory))),
        (&leaf_lies, 0..9, size(&leaf_lies, 9, 1)),
        (&dir, 0..9, Err(ReadError::IsDirectory)),
    ];
    for (at, (root, range, expected)) in cases.into_iter().enumerate() {
        assert_eq!(read(&blocks, &root.cid, range), expected, "case {at}");
    }
}

#[test]
fn endless_depth_ends() {
    let mut block = raw(b"x");
    let mut blocks = vec![block.clone()];
    for _ in 0..200 {
        block = parent(vec![1], 1, &[&block], b"");
        blocks.push(block.clone());
    }
    assert_eq!(read(&index(blocks), &block.cid, 0..1), Err(ReadError::TooDeep));
}

#[test]
fn symlinks_and_metadata_say_what_they_are() {
    let link = symlink(&CidRule::default(), "target".into(), Stat::default()).unwrap();
    let node = Node::decode(&link.cid, &link.data).unwrap();
    assert_eq!(node.symlink_target().as_deref(), Some(&b"target"[..]));
    assert_eq!(FileReader::new(&link.cid, &node, 0..1).unwrap_err(), ReadError::IsSymlink);
    let metadata = pb(Data::new(Kind::Metadata), vec![PbLink::new(link.cid.clone(), "", 1)]);
    let node = Node::decode(&metadata.cid, &metadata.data).unwrap();
    assert_eq!(node.metadata_of(), Ok(Some(&link.cid)));
    let empty = pb(Data::new(Kind::Metadata), Vec::new());
    let node = Node::decode(&empty.cid, &empty.data).unwrap();
    assert_eq!(node.metadata_of(), Err(ReadError::EmptyMetadata));
}

fn directory(names: &[String], links_max: usize, fanout: u16) -> (Entry, Blocks) {
    let options = DirOptions { links_max, fanout, ..DirOptions::default() };
    let mut dir = DirBuilder::new(options, Stat::default());
    let leaf = raw(b"x");
    for (size, name) in (0..).zip(names) {
        let entry = Entry { cid: leaf.cid.clone(), dag_size: size };
        dir.insert(name.clone().into(), entry);
    }
    let mut blocks = vec![leaf];
    let root = dir.finish(&mut blocks).unwrap();
    (root, index(blocks))
}

fn look_up(blocks: &Blocks, root: &Cid, name: &str) -> Option<u64> {
    let mut lookup = Lookup::new(Bytes::copy_from_slice(name.as_bytes()));
    let mut at = root.clone();
    loop {
        match lookup.step(&Node::decode(&at, &blocks[&at]).unwrap()).unwrap() {
            LookupStep::Found(link) => return link.tsize,
            LookupStep::Missing => return None,
            LookupStep::Need(next) => at = next,
        }
    }
}

fn list(blocks: &Blocks, root: &Cid) -> Vec<String> {
    let mut listing = Listing::new(&Node::decode(root, &blocks[root]).unwrap()).unwrap();
    let mut out = Vec::new();
    loop {
        match listing.step() {
            ListStep::Entry(link) => out.push(String::from_utf8(link.name().to_vec()).unwrap()),
            ListStep::Need(cid) => listing.supply(&blocks[&cid]).unwrap(),
            ListStep::Done => return out,
        }
    }
}

#[test]
fn every_name_is_found_and_listed_whatever_the_form() {
    let names: Vec<String> = (0..3000).map(|at| format!("entry {at}")).collect();
    for (links_max, fanout) in [(0, 256), (100, 8), (100, 16), (100, 256), (100, 1024)] {
        let (root, blocks) = directory(&names, links_max, fanout);
        for (size, name) in (0..).zip(&names) {
            assert_eq!(look_up(&blocks, &root.cid, name), Some(size));
        }
        for name in ["", "entry", "entry 3000", "00"] {
            assert_eq!(look_up(&blocks, &root.cid, name), None, "{name}");
        }
        let mut listed = list(&blocks, &root.cid);
        let in_link_order = {
            let options = DirOptions { links_max, fanout, ..DirOptions::default() };
            let mut dir = DirBuilder::new(options, Stat::default());
            let cid = root.cid.clone();
            for name in &names {
                dir.insert(name.clone().into(), Entry { cid: cid.clone(), dag_size: 0 });
            }
            dir.names_in_link_order()
        };
        assert_eq!(listed, in_link_order);
        listed.sort();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(listed, sorted);
    }
}

#[test]
fn corrupt_shards_are_errors() {
    let shard = |field: &'static [u8], fanout, hash_type, names: &[&'static str]| {
        let cid = raw(b"x").cid;
        let links = names.iter().map(|name| PbLink::new(cid.clone(), *name, 1)).collect();
        let data = Data {
            data: Some(Bytes::from_static(field)),
            fanout: Some(fanout),
            hash_type: Some(hash_type),
            ..Data::new(Kind::HamtShard)
        };
        Node::Pb { data, links }
    };
    let cases = [
        (shard(&[1], 256, 0x12, &["00a"]), ReadError::ShardHash),
        (shard(&[1], 255, 0x22, &["00a"]), ReadError::ShardFanout),
        (shard(&[1], 0, 0x22, &["00a"]), ReadError::ShardFanout),
        (shard(&[1], 4, 0x22, &["0a"]), ReadError::ShardFanout),
        (shard(&[1], 2048, 0x22, &["000a"]), ReadError::ShardWidth { fanout: 2048 }),
        (shard(&[3], 256, 0x22, &["00a"]), ReadError::ShardField),
        (shard(&[1, 0], 8, 0x22, &["0a"]), ReadError::ShardField),
        (shard(&[1], 256, 0x22, &["0"]), ReadError::ShardLinkName { name: "0".to_owned() }),
        (shard(&[1], 1 << 63, 0x22, &["0"]), ReadError::ShardWidth { fanout: 1 << 63 }),
    ];
    for (node, expected) in cases {
        assert_eq!(Listing::new(&node).unwrap_err(), expected);
    }
    let leaf = Node::Raw(Bytes::new());
    assert_eq!(Listing::new(&leaf).unwrap_err(), ReadError::NotDirectory);
}
