//! Writing version 1.

use crate::ipld::{Cid, Node, Typed, codec, data, varint};

/// The beginning of a file with these roots.
#[must_use]
pub fn header(roots: &[Cid]) -> Vec<u8> {
    let roots = roots.iter().cloned().map(Node::Link).collect();
    let fields = vec![("roots".into(), Node::List(roots)), ("version".into(), Node::Int(1))];
    let mut body = Vec::new();
    let encoded = data::encode(codec::DAG_CBOR, &Typed::plain(Node::Map(fields)), &mut body);
    debug_assert!(encoded.is_ok(), "dag-cbor has a form for links, lists, maps and numbers");
    let mut out = Vec::with_capacity(body.len() + varint::LEN_MAX);
    varint::append(body.len() as u64, &mut out);
    out.extend(body);
    out
}

/// What stands before a block of `len` bytes: the length of the section, and the CID.
#[must_use]
pub fn section_head(cid: &Cid, len: usize) -> Vec<u8> {
    let cid_len = cid.byte_len();
    let mut out = Vec::with_capacity(varint::LEN_MAX + cid_len);
    varint::append((cid_len + len) as u64, &mut out);
    cid.append_to(&mut out);
    out
}
