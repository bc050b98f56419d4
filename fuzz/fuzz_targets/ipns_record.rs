//! IPNS records: whatever is read can be looked at, validated and compared, and is made of the
//! bytes that were given.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use libp2p_identity::PeerId;
use pinmesh::ipns::{Name, Record, is_better};
use time::OffsetDateTime;

fuzz_target!(|input: &[u8]| {
    // The first bytes are the name, the rest is the record.
    let (name, bytes) = input.split_at(input.len().min(38));
    let Ok(record) = Record::decode(&Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(&record.bytes()[..], bytes);
    let _ = (record.value(), record.validity(), record.sequence(), record.ttl_nanos());
    assert!(!is_better(&record, &record).unwrap_or(false));
    if let Ok(peer) = PeerId::from_bytes(name) {
        let name = Name::of(peer);
        assert_eq!(Name::from_routing_key(&name.routing_key()), Some(name));
        let _ = record.validate(&name, OffsetDateTime::UNIX_EPOCH);
    }
});
