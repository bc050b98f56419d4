//! dag-pb: what is read is written and read as the same, and both readers agree.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pinmesh::ipld::{Cid, PbNode, codec, data};

fuzz_target!(|input: &[u8]| {
    let block = Bytes::copy_from_slice(input);
    let decoded = PbNode::decode(&block);
    let links = pinmesh::ipld::links(codec::DAG_PB, input);
    let Ok(mut node) = decoded else {
        assert!(links.is_err());
        return;
    };
    let cids: Vec<Cid> = node.links.iter().map(|link| link.cid.clone()).collect();
    assert_eq!(links, Ok(cids));
    let again = PbNode::decode(&node.encode().into()).expect("what was written is read");
    node.links.sort_by(|a, b| a.name().cmp(b.name()));
    assert_eq!(again, node);
    let typed = data::decode_block(codec::DAG_PB, &block).expect("what is a node has types");
    let mut out = Vec::new();
    let _ = data::encode(codec::DAG_JSON, &typed, &mut out);
});
