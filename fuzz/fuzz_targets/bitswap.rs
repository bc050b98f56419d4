//! Bitswap messages: what is read is written and read as the same, and is within its bounds.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pinmesh::ipld::varint;
use pinmesh::net::bitswap::message::{BLOCK_BYTES_MAX, CID_BYTES_MAX, ITEMS_MAX, Message, Version};

fuzz_target!(|input: &[u8]| {
    let Ok(message) = Message::decode(&Bytes::copy_from_slice(input)) else { return };
    assert!(message.entries.len() <= ITEMS_MAX && message.presences.len() <= ITEMS_MAX);
    assert!(message.blocks.len() <= ITEMS_MAX);
    assert!(message.blocks.iter().all(|block| block.data.len() <= BLOCK_BYTES_MAX));
    assert!(message.entries.iter().all(|entry| entry.cid.byte_len() <= CID_BYTES_MAX));
    let whole = Bytes::from(message.encode(Version::V1_2).concat());
    let (len, body) = varint::read(&whole).expect("a length stands first");
    assert_eq!(len, body.len() as u64);
    let again = Message::decode(&whole.slice_ref(body)).expect("what was written is read");
    assert_eq!(again, message);
});
