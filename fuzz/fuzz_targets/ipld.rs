//! The codecs of the data model: hostile blocks end, what is read can be written and read again,
//! and links are those of the tree. CIDs, multibase and paths as text.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pinmesh::ipld::{Cid, Node, Path, base, codec, data};

/// The first byte of the input chooses one to read with, and one to write with.
const CODECS: [u64; 9] = [
    codec::DAG_CBOR,
    codec::DAG_JSON,
    codec::CBOR,
    codec::JSON,
    codec::DAG_JOSE,
    codec::GIT_RAW,
    codec::GIT_ZLIB,
    codec::DAG_PB,
    codec::RAW,
];

fuzz_target!(|input: &[u8]| {
    let Some((selector, rest)) = input.split_first() else { return };
    let selector = usize::from(*selector);
    if selector >= CODECS.len() * CODECS.len() {
        return text(rest);
    }
    let (from, to) = (CODECS[selector % CODECS.len()], CODECS[selector / CODECS.len()]);
    let block = Bytes::copy_from_slice(rest);
    let links = pinmesh::ipld::links(from, rest);
    let Ok(node) = data::decode(from, &block) else { return };
    let mut found = Vec::new();
    collect(&node.node, &mut found);
    assert_eq!(links.expect("what is read has links"), found);
    let mut out = Vec::new();
    let written = data::encode(to, &node, &mut out).is_ok();
    if written && to == codec::DAG_CBOR {
        let again = data::decode(to, &out.clone().into()).expect("what was written is read");
        let mut twice = Vec::new();
        data::encode(to, &again, &mut twice).expect("what was read is written");
        assert_eq!(out, twice);
    }
    let _ = data::decode_block(from, &block).map(|node| node.walk(&["a".into(), "0".into()]));
});

fn collect(node: &Node, found: &mut Vec<Cid>) {
    match node {
        Node::Link(cid) => found.push(cid.clone()),
        Node::List(values) => values.iter().for_each(|value| collect(value, found)),
        Node::Map(entries) => entries.iter().for_each(|(_, value)| collect(value, found)),
        _ => {}
    }
}

fn text(input: &[u8]) {
    if let Ok((base, bytes)) = base::decode(input) {
        let encoded = base::encode(base, &bytes);
        if !bytes.is_empty() {
            assert_eq!(base::decode(&encoded), Ok((base, bytes)));
        }
    }
    if let Ok(cid) = Cid::from_bytes(input) {
        assert_eq!(cid.to_bytes(), input);
        assert_eq!(Cid::parse(&cid.to_string()), Ok(cid));
    }
    let text = String::from_utf8_lossy(input);
    let _ = Cid::parse(&text);
    if let Ok(path) = Path::parse(&text) {
        assert_eq!(Path::parse(path.text()).expect("a clean path"), path);
    }
}
