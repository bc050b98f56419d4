use proptest::prelude::*;

use super::*;
use crate::ipld::{Multihash, codec};
use crate::sync::keys::Signer;

const GROUP: [u8; 32] = [5; 32];

fn cid(number: u64) -> Cid {
    Cid::new_v1(codec::RAW, Multihash::wrap(0x12, blake3::hash(&number.to_be_bytes()).as_bytes()))
}

fn signer(number: u8) -> Signer {
    Signer::from_seed(&[number; 32]).unwrap()
}

fn live(hlc: u64, name: &str) -> Record {
    let body = Body::Live(Live { name: name.to_owned(), ..Live::default() });
    Record::sign(&signer(1), &GROUP, &cid(1), Hlc(hlc), &body).unwrap()
}

fn any_live() -> impl Strategy<Value = Live> {
    let numbers = (
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        any::<u32>(),
        prop::option::of(1_u32..),
        prop::option::of(1_u32..),
    );
    let mode =
        prop_oneof![Just(Mode::Recursive), Just(Mode::Direct), any::<u32>().prop_map(Mode::Depth)];
    let lists = (
        prop::collection::btree_map("[a-z]{0,8}", ".{0,16}", 0..5),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
        prop::collection::vec("[a-z:]{0,9}", 0..4),
        prop::option::of(any::<u64>().prop_map(cid)),
        any::<bool>(),
    );
    (".{0,40}", mode, numbers, lists).prop_map(|(name, mode, numbers, lists)| {
        let (expire_ms, size_bytes, hold_until_ms, priority, min, max) = numbers;
        let (meta, blobs, tags, update_from, unknown) = lists;
        let mut meta: Vec<_> = meta.into_iter().collect();
        meta.sort_by_key(|(key, _)| (key.len(), key.clone()));
        let unknown = if unknown { vec![(14, vec![0x81, 0x07])] } else { Vec::new() };
        Live {
            name,
            mode,
            replication_min: min,
            replication_max: max,
            expire_ms,
            meta,
            origins: blobs.clone(),
            size_bytes,
            priority,
            tags,
            update_from,
            members: blobs,
            hold_until_ms,
            unknown,
        }
    })
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        any_live().prop_map(Body::Live),
        (0..1_000_u64, any::<u8>(), prop::option::of(".{0,20}")).prop_map(|(hlc, by, reason)| {
            let observed = Version { hlc: Hlc(hlc), author: Author([by; 32]) };
            Body::Tomb(Tombstone { observed, reason })
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(number: u64, hlc in 1_000_u64.., body in any_body()) {
        let record = Record::sign(&signer(3), &GROUP, &cid(number), Hlc(hlc), &body).unwrap();
        let again = Record::decode(record.as_bytes()).unwrap();
        prop_assert_eq!(again.as_bytes(), record.as_bytes());
        prop_assert_eq!(again.body(), &body);
        prop_assert_eq!((again.digest(), again.rank()), (record.digest(), record.rank()));
        prop_assert!(again.is_signed(&signer(9), &GROUP));
        prop_assert!(!again.is_signed(&signer(9), &[6; 32]));
    }

    #[test]
    fn what_is_read_is_what_would_be_written(body in any_body(), changes: [(u16, u8); 2]) {
        let record = Record::sign(&signer(3), &GROUP, &cid(1), Hlc(5_000), &body).unwrap();
        let mut bytes = record.as_bytes().to_vec();
        for (at, with) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= with;
        }
        if let Ok(read) = Record::decode(&bytes) {
            let mut again = Vec::new();
            cbor::list(7, &mut again);
            cbor::uint(FORMAT, &mut again);
            cbor::uint(read.kind().number().into(), &mut again);
            cbor::bytes(&read.cid().to_bytes(), &mut again);
            cbor::uint(read.hlc().0, &mut again);
            cbor::bytes(&read.author().0, &mut again);
            read.body().append_to(&mut again);
            cbor::bytes(read.signature().unwrap(), &mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn the_order_is_total_and_the_highest_wins(
        bodies in prop::collection::vec((1_000_u64..1_004, 0_u8..3, any_body()), 2..6),
    ) {
        let records: Vec<Record> = bodies
            .iter()
            .map(|(hlc, by, body)| {
                Record::sign(&signer(*by), &GROUP, &cid(1), Hlc(*hlc), body).unwrap()
            })
            .collect();
        for a in &records {
            for b in &records {
                prop_assert_eq!(a.rank() == b.rank(), a.digest() == b.digest());
            }
        }
        let best = records.iter().max_by_key(|record| record.rank()).unwrap().digest();
        let backwards = records.iter().rev().max_by_key(|record| record.rank()).unwrap().digest();
        prop_assert_eq!(best, backwards);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Record::decode(&bytes).is_err());
    }
}

#[test]
fn a_removal_removes_only_what_its_author_saw() {
    let (seen, unseen) = (live(10, "a"), live(11, "b"));
    let tombstone = Tombstone { observed: seen.version(), reason: None };
    let tomb = Record::sign(&signer(2), &GROUP, &cid(1), Hlc(99), &Body::Tomb(tombstone)).unwrap();
    assert!(tomb.rank() > seen.rank());
    assert!(tomb.rank() < unseen.rank());
}

#[test]
fn a_removal_of_what_came_later_is_refused() {
    let observed = live(10, "a").version();
    let body = Body::Tomb(Tombstone { observed, reason: None });
    let refused = Record::sign(&signer(2), &GROUP, &cid(1), Hlc(10), &body);
    assert_eq!(refused.unwrap_err(), DecodeError::Malformed("a removal of what came later"));
}

#[test]
fn caps_hold() {
    let long = |live: Live| {
        Record::sign(&signer(1), &GROUP, &cid(1), Hlc(1), &Body::Live(live)).unwrap_err()
    };
    let text = |len: usize| "x".repeat(len);
    assert_eq!(long(Live { name: text(256), ..Live::default() }), DecodeError::TooLong("a text"));
    let many = (10..43).map(|n| (format!("k{n}"), String::new())).collect();
    assert_eq!(long(Live { meta: many, ..Live::default() }), DecodeError::TooLong("a list or map"));
    let unsorted = vec![(text(2), text(0)), (text(1), text(0))];
    assert_eq!(long(Live { meta: unsorted, ..Live::default() }), DecodeError::NotCanonical);
    let big = (10..26).map(|n| (format!("k{n}"), text(256))).collect();
    assert_eq!(long(Live { meta: big, ..Live::default() }), DecodeError::TooLong("a record"));
    let twice = vec![(14, vec![0x00]), (14, vec![0x00])];
    assert_eq!(long(Live { unknown: twice, ..Live::default() }), DecodeError::NotCanonical);
    assert_eq!(
        long(Live { unknown: vec![(14, vec![0x18, 0x00])], ..Live::default() }),
        DecodeError::NotCanonical
    );
}

#[test]
fn defaults_that_are_written_are_refused() {
    let plain = live(10, "a");
    let body = b"\xa1\x01\x61a";
    let at = plain.as_bytes().windows(4).position(|window| window == body).unwrap();
    for other in [
        b"\xa2\x01\x61a\x02\x00".as_slice(),
        b"\xa1\x01\x60",
        b"\xa2\x01\x61a\x06\xa0",
        b"\xa2\x01\x61a\x09\x00",
    ] {
        let mut bytes = plain.as_bytes().to_vec();
        bytes.splice(at..at + 4, other.iter().copied());
        assert_eq!(Record::decode(&bytes).unwrap_err(), DecodeError::NotCanonical, "{other:x?}");
    }
}
