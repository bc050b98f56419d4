//! UnixFS: hostile messages, nodes, files and directories; and cutting that loses nothing.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pinmesh::ipld::{Cid, codec, hash};
use pinmesh::unixfs::chunk::{Chunk, Chunker, Chunks};
use pinmesh::unixfs::data::Data;
use pinmesh::unixfs::read::{
    FileReader, FileStep, ListStep, Listing, Lookup, LookupStep, Node,
};

/// Steps after which a walk over one block again and again is long enough.
const STEPS_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((selector, rest)) = input.split_first() else { return };
    let bytes = Bytes::copy_from_slice(rest);
    match selector % 4 {
        0 => message(&bytes),
        1 => file(&bytes, u64::from(*selector)),
        2 => directory(&bytes),
        _ => chunks(&bytes),
    }
});

/// What was read and written is read as the same.
fn message(bytes: &Bytes) {
    if let Ok(message) = Data::decode(bytes) {
        assert_eq!(Data::decode(&message.encode().into()), Ok(message));
    }
}

fn name(bytes: &Bytes) -> Option<Cid> {
    let digest = hash::digest(hash::SHA2_256, bytes, None).ok()?;
    Some(Cid::new_v1(codec::DAG_PB, digest))
}

/// Every child is the block itself, or a raw leaf when it is called one.
fn file(bytes: &Bytes, start: u64) {
    let Some(cid) = name(bytes) else { return };
    let Ok(node) = Node::decode(&cid, bytes) else { return };
    let Ok(mut reader) = FileReader::new(&cid, &node, start / 4..u64::MAX) else { return };
    for _ in 0..STEPS_MAX {
        match reader.step() {
            FileStep::Need(_) => {
                if reader.supply(bytes).is_err() {
                    return;
                }
            }
            FileStep::Bytes(_) => {}
            FileStep::Done => return,
        }
    }
}

fn directory(bytes: &Bytes) {
    let Some(cid) = name(bytes) else { return };
    let Ok(node) = Node::decode(&cid, bytes) else { return };
    let mut lookup = Lookup::new(bytes.clone());
    while let Ok(LookupStep::Need(_)) = lookup.step(&node) {}
    let Ok(mut listing) = Listing::new(&node) else { return };
    for _ in 0..STEPS_MAX {
        match listing.step() {
            ListStep::Need(_) => {
                if listing.supply(bytes).is_err() {
                    return;
                }
            }
            ListStep::Entry(_) => {}
            ListStep::Done => return,
        }
    }
}

/// The first line is a chunker; what follows is cut, in pieces, and put together again.
fn chunks(bytes: &Bytes) {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..line]);
    let Ok(chunker) = Chunker::parse(&text) else { return };
    let data = bytes.slice((line + 1).min(bytes.len())..);
    let mut chunks = Chunks::new(&chunker);
    let mut out = Vec::new();
    for piece in data.chunks(1 + line * 7) {
        chunks.push(data.slice_ref(piece)).expect("shorter than a block");
        while let Some(chunk) = chunks.next_chunk().expect("shorter than a block") {
            assert!(!chunk.is_empty());
            out.extend_from_slice(&chunk.into_bytes());
        }
    }
    out.extend(chunks.finish().map(Chunk::into_bytes).into_iter().flatten());
    assert!(out == data);
}
