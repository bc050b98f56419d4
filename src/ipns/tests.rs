use bytes::Bytes;
use libp2p_identity::Keypair;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::*;

/// Records that Kubo 0.44's `name publish --lifetime=876000h --ttl=1h` made (`name get`), each
/// with the key that signed it; the last with `--v1compat=false` and the default TTL.
const KNOWN: [(&[u8], &[u8], &str, bool); 4] = [
    (
        include_bytes!("testdata/ed25519.record"),
        include_bytes!("../repo/key/testdata/ed25519.key"),
        "k51qzi5uqu5dit0thxzbmyclyyed48f3y8hg323qsvthkevtljh1idpgjv3z0g",
        true,
    ),
    (
        include_bytes!("testdata/secp256k1.record"),
        include_bytes!("../repo/key/testdata/secp256k1.key"),
        "kzwfwjn5ji4pundqjw82leb3a97b2g08fqh7gjdxwhlpf2qe9oa9mdw4jisoulw",
        true,
    ),
    (
        include_bytes!("testdata/rsa.record"),
        include_bytes!("../repo/key/testdata/rsa.key"),
        "k2k4r8maag6itkph2i6jxd7azxzkybwi6qt384m335xkncf9mvyymey5",
        true,
    ),
    (
        include_bytes!("testdata/v2.record"),
        include_bytes!("../repo/key/testdata/ecdsa.key"),
        "k2k4r8oom9c6htgy50q4rl7s6pnk7lc34lxyux6qw2klv30r9vi555za",
        false,
    ),
];
const VALUE: &str = "/ipfs/QmdckCoPuhEtiNzREtqpYn8dBgY8ifcG82Q4eyEdGCLEiu";

fn time(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

fn key_and_name() -> (Keypair, Name) {
    let key = Keypair::generate_ed25519();
    let name = Name::of(key.public().to_peer_id());
    (key, name)
}

fn contents(sequence: u64) -> Contents {
    let validity = time("2027-01-01T00:00:00.5Z");
    Contents { value: VALUE.to_owned(), sequence, validity, ttl_nanos: 7 }
}

/// A protobuf field of bytes, with lengths below 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

#[test]
fn records_of_kubo_are_read_and_made_again_to_the_byte() {
    for (bytes, key, name_text, v1) in KNOWN {
        let key = Keypair::from_protobuf_encoding(key).unwrap();
        let name = Name::of(key.public().to_peer_id());
        assert_eq!(name.to_string(), name_text);
        assert_eq!(Name::from_routing_key(&name.routing_key()), Some(name));
        let record = Record::decode(&Bytes::from_static(bytes)).unwrap();
        assert_eq!(record.validate(&name, time("2026-12-01T00:00:00Z")), Ok(()));
        assert_eq!(record.value().unwrap().text(), VALUE);
        assert_eq!(record.signature_type() == SignatureType::V1V2, v1);
        let contents = Contents {
            value: VALUE.to_owned(),
            sequence: record.sequence().unwrap(),
            validity: record.validity().unwrap(),
            ttl_nanos: record.ttl_nanos().unwrap(),
        };
        let made = Record::create(&key, &contents, v1).unwrap();
        made.validate(&name, time("2026-12-01T00:00:00Z")).unwrap();
        // The signatures of ECDSA are different each time in Go.
        if v1 {
            assert_eq!(&made.bytes()[..], bytes, "{name_text}");
        }
    }
}

#[test]
fn a_record_is_valid_for_its_name_until_its_time_is_over() {
    let (key, name) = key_and_name();
    let (_, other) = key_and_name();
    let record = Record::create(&key, &contents(3), true).unwrap();
    let now = time("2026-12-31T23:59:59Z");
    assert_eq!(record.validate(&name, now), Ok(()));
    assert_eq!(record.validate(&other, now), Err(RecordError::Signature));
    assert_eq!(record.validate(&name, now + Duration::DAY), Err(RecordError::Expired));
    assert_eq!(record.ttl_nanos(), Ok(7));
    assert_eq!(record.sequence(), Ok(3));
    assert_eq!(record.validity(), Ok(time("2027-01-01T00:00:00.5Z")));
}

#[test]
fn every_changed_byte_is_noticed() {
    let (key, name) = key_and_name();
    let record = Record::create(&key, &contents(3), true).unwrap();
    let now = time("2026-12-31T00:00:00Z");
    let mut unnoticed = Vec::new();
    for at in 0..record.bytes().len() {
        let mut bytes = record.bytes().to_vec();
        bytes[at] ^= 1;
        let changed = Record::decode(&bytes.into());
        if changed.is_ok_and(|changed| changed.validate(&name, now).is_ok()) {
            unnoticed.push(at);
        }
    }
    // Only the signature for readers of before 2021 is not looked at: its tag, and its 64 bytes.
    assert!(unnoticed.len() <= 66, "{unnoticed:?}");
    assert!(unnoticed.iter().all(|at| (VALUE.len() + 2..VALUE.len() + 68).contains(at)));
}

#[test]
fn what_is_no_record_is_refused_with_the_texts_of_boxo() {
    let too_long = vec![0; RECORD_BYTES_MAX + 1];
    let int_value = field(9, b"\xa1eValue\x01");
    let cases: [(&[u8], &str); 5] = [
        (b"", "record is malformed\nrecord is missing the dag-cbor data field"),
        (b"nonsense", "record is malformed\nproto: cannot parse invalid wire-format data"),
        (&too_long, "record exceeds allowed size limit"),
        (&field(9, b""), "record is malformed\nrecord is missing the dag-cbor data field"),
        (&field(9, b"\x01"), "record is malformed\nthe data is no map"),
    ];
    for (bytes, text) in cases {
        let error = Record::decode(&Bytes::copy_from_slice(bytes)).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let record = Record::decode(&int_value.into()).unwrap();
    assert_eq!(
        record.value().unwrap_err().to_string(),
        "record is malformed\nfunc called on wrong kind: \"AsBytes\" called on a int node (kind: \
         int), but only makes sense on bytes"
    );
    assert_eq!(
        record.sequence().unwrap_err().to_string(),
        "record is malformed\nkey not found: \"Sequence\""
    );
}

#[test]
fn the_value_may_be_empty_or_a_cid() {
    for (value, path) in [
        (&b"\x40"[..], Some("/ipfs/bafkqaaa")),
        (b"\x44\x01\x55\x00\x00", Some("/ipfs/bafkqaaa")),
        (b"\x42/x", None),
        (b"\x41x", None),
    ] {
        let document = [b"\xa1eValue", value].concat();
        let record = Record::decode(&field(9, &document).into()).unwrap();
        assert_eq!(record.value().ok().map(|path| path.text().to_owned()).as_deref(), path);
    }
}

#[test]
fn the_newer_record_is_the_better_one() {
    let (key, _) = key_and_name();
    let make = |sequence, hours| {
        let mut contents = contents(sequence);
        contents.validity += Duration::hours(hours);
        Record::create(&key, &contents, true).unwrap()
    };
    assert_eq!(is_better(&make(2, 0), &make(1, 9)), Ok(true));
    assert_eq!(is_better(&make(1, 9), &make(2, 0)), Ok(false));
    assert_eq!(is_better(&make(1, 2), &make(1, 1)), Ok(true));
    assert_eq!(is_better(&make(1, 1), &make(1, 1)), Ok(false));
}
