//! Whatever a block holds, reading it ends in an answer or an error.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::vectors::{content, file};
use crate::ipld::{Block, Cid};
use crate::unixfs::chunk::Chunker;
use crate::unixfs::data::{Data, Mtime, Stat};
use crate::unixfs::dir::{DirBuilder, DirOptions, Entry};
use crate::unixfs::import::{CidRule, ImportOptions, Layout};
use crate::unixfs::read::{FileReader, FileStep, ListStep, Listing, Lookup, LookupStep, Node};

/// Steps after which a walk over one block again and again is long enough.
const STEPS_MAX: usize = 300;

/// Nodes of every kind, to be damaged.
fn samples() -> Vec<Bytes> {
    let stat = Stat { mode: Some(0o755), mtime: Some(Mtime { seconds: -1, nanoseconds: 5 }) };
    let mut blocks: Vec<Block> = Vec::new();
    for layout in [Layout::Balanced, Layout::Trickle] {
        let options = ImportOptions {
            chunker: Chunker::Size(20),
            layout,
            links_max: 3,
            ..ImportOptions::default()
        };
        file(&options, &content("sha256ctr", 200), stat, &mut blocks).unwrap();
    }
    for links_max in [0, 5] {
        let options = DirOptions { links_max, fanout: 16, ..DirOptions::default() };
        let mut dir = DirBuilder::new(options, stat);
        let cid = CidRule::default().block(0x55, Bytes::new()).unwrap().cid;
        for at in 0..20_u64 {
            dir.insert(format!("entry {at}").into(), Entry { cid: cid.clone(), dag_size: at });
        }
        dir.finish(&mut blocks).unwrap();
    }
    blocks.into_iter().map(|block| block.data).collect()
}

/// Every child is the block itself.
fn read_all(cid: &Cid, block: &Bytes, start: u64) {
    let Ok(node) = Node::decode(cid, block) else { return };
    if let Ok(mut reader) = FileReader::new(cid, &node, start..u64::MAX) {
        for _ in 0..STEPS_MAX {
            let done = match reader.step() {
                FileStep::Need(_) => reader.supply(block).is_err(),
                FileStep::Bytes(_) => false,
                FileStep::Done => true,
            };
            if done {
                break;
            }
        }
    }
    let mut lookup = Lookup::new(Bytes::from_static(b"entry 7"));
    while let Ok(LookupStep::Need(_)) = lookup.step(&node) {}
    if let Ok(mut listing) = Listing::new(&node) {
        for _ in 0..STEPS_MAX {
            let done = match listing.step() {
                ListStep::Need(_) => listing.supply(block).is_err(),
                ListStep::Entry(_) => false,
                ListStep::Done => true,
            };
            if done {
                break;
            }
        }
    }
}

proptest! {
    #[test]
    fn damaged_nodes_are_read_or_refused(
        sample in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        start in 0..300_u64,
    ) {
        let samples = samples();
        let mut bytes = samples[sample.index(samples.len())].to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 8);
        let block = Bytes::from(bytes);
        let cid = CidRule::default().block(0x70, block.clone()).unwrap().cid;
        read_all(&cid, &block, start);
    }

    #[test]
    fn a_message_that_was_read_is_written_and_read_the_same(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(message) = Data::decode(&bytes.into()) {
            prop_assert_eq!(Data::decode(&message.encode().into()), Ok(message));
        }
    }
}
