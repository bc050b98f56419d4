use super::*;
use crate::ipld::base::Base;
use crate::ipld::{Cid, Multihash, codec};

/// A key of each type as Kubo 0.44's `key export` wrote it in both formats, and its name as
/// `key ls -l` shows it. Made for this test.
const KNOWN: [(&str, &[u8], &str, &str); 4] = [
    (
        "ed25519",
        include_bytes!("testdata/ed25519.key"),
        include_str!("testdata/ed25519.pem"),
        "k51qzi5uqu5dit0thxzbmyclyyed48f3y8hg323qsvthkevtljh1idpgjv3z0g",
    ),
    (
        "secp256k1",
        include_bytes!("testdata/secp256k1.key"),
        include_str!("testdata/secp256k1.pem"),
        "kzwfwjn5ji4pundqjw82leb3a97b2g08fqh7gjdxwhlpf2qe9oa9mdw4jisoulw",
    ),
    (
        "rsa",
        include_bytes!("testdata/rsa.key"),
        include_str!("testdata/rsa.pem"),
        "k2k4r8maag6itkph2i6jxd7azxzkybwi6qt384m335xkncf9mvyymey5",
    ),
    (
        "ecdsa",
        include_bytes!("testdata/ecdsa.key"),
        include_str!("testdata/ecdsa.pem"),
        "k2k4r8oom9c6htgy50q4rl7s6pnk7lc34lxyux6qw2klv30r9vi555za",
    ),
];

fn name(key: &Key) -> String {
    let hash = Multihash::from_bytes(&key.peer_id().to_bytes()).unwrap();
    Cid::new_v1(codec::LIBP2P_KEY, hash).to_text(Base::Base36Lower)
}

#[test]
fn keys_of_kubo_are_read_and_written_to_the_byte() {
    for (algorithm, protobuf, pem, id) in KNOWN {
        let key = Key::decode(protobuf).unwrap();
        assert_eq!(name(&key), id, "{algorithm}");
        assert_eq!(key.encoded(), protobuf, "{algorithm}");
        assert_eq!(key.to_pem().unwrap(), pem, "{algorithm}");
        assert_eq!(Key::from_pem(pem.as_bytes()).unwrap().encoded(), protobuf, "{algorithm}");
        assert_eq!(key.is_usual(), algorithm != "ecdsa");
        let signature = key.keypair().sign(b"message").unwrap();
        assert!(key.keypair().public().verify(b"message", &signature), "{algorithm}");
    }
}

#[test]
fn made_keys_are_read_back() {
    for (algorithm, bits) in [("ed25519", Some(256)), ("secp256k1", None), ("rsa", Some(-1))] {
        let key = Key::generate(algorithm, bits).unwrap();
        assert_eq!(Key::decode(key.encoded()).unwrap().peer_id(), key.peer_id());
        let pem = key.to_pem().unwrap();
        assert_eq!(Key::from_pem(pem.as_bytes()).unwrap().encoded(), key.encoded());
        let signature = key.keypair().sign(b"message").unwrap();
        assert!(key.keypair().public().verify(b"message", &signature));
    }
}

#[test]
fn an_old_key_loses_its_second_public_half() {
    let (_, protobuf, ..) = KNOWN[0];
    let data = &protobuf[4..];
    assert_eq!(data.len(), ED25519_BYTES);
    let old = encode(Algorithm::Ed25519, &[data, &data[32..]].concat());
    assert_eq!(Key::decode(&old).unwrap().encoded(), protobuf);
    let wrong = encode(Algorithm::Ed25519, &[data, &data[..32]].concat());
    assert_eq!(Key::decode(&wrong).unwrap_err(), KeyError::Redundant);
}

#[test]
fn what_is_no_key_is_refused_with_the_texts_of_go() {
    let cases: [(&[u8], &str); 6] = [
        (b"nonsense", "proto: cannot parse invalid wire-format data"),
        (b"", "proto: required field crypto.pb.PrivateKey.Type not set"),
        (&[8, 9, 0x12, 0], "proto: required field crypto.pb.PrivateKey.Type not set"),
        (&[8, 1], "proto: required field crypto.pb.PrivateKey.Data not set"),
        (&[8, 1, 0x12, 1, 7], "expected ed25519 data size to be 64 or 96, got 1"),
        (&[8, 2, 0x12, 1, 7], "expected secp256k1 data size to be 32"),
    ];
    for (bytes, text) in cases {
        assert_eq!(Key::decode(bytes).unwrap_err().to_string(), text, "{bytes:?}");
    }
    for (algorithm, bits, text) in [
        ("nope", None, "unrecognized key type: nope"),
        ("ed25519", Some(12), "invalid key size 12: ed25519 keys are always 256 bits"),
        ("rsa", Some(512), "rsa keys must be >= 2048 bits to be useful"),
        ("rsa", Some(9000), "rsa keys must be <= 8192 bits"),
    ] {
        assert_eq!(Key::generate(algorithm, bits).unwrap_err().to_string(), text);
    }
}

#[test]
fn pem_files_are_read_as_go_reads_them() {
    let (_, protobuf, pem, _) = KNOWN[0];
    let around = format!("text\n{}rest", pem.replace('\n', " \r\n"));
    assert_eq!(Key::from_pem(around.as_bytes()).unwrap().encoded(), protobuf);
    let header = pem.replacen('\n', "\nProc-Type: 4\n\n", 1);
    assert_eq!(Key::from_pem(header.as_bytes()).unwrap().encoded(), protobuf);
    let public = pem.replace("PRIVATE", "PUBLIC");
    for (file, text) in [
        ("", "PEM block not found in input data:\n"),
        (public.as_str(), "expected PRIVATE KEY type in PEM block but got: PUBLIC KEY"),
        (
            "-----BEGIN PRIVATE KEY-----\neHg=\n-----END PRIVATE KEY-----\n",
            "parsing PKCS8 format: asn1: structure error: tags don't match (16 vs {class:1 \
             tag:24 length:120 isCompound:true}) {optional:false explicit:false \
             application:false private:false defaultValue:<nil> tag:<nil> stringType:0 \
             timeType:0 set:false omitEmpty:false} pkcs8 @2",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nMIEC\n-----END PRIVATE KEY-----\n",
            "parsing PKCS8 format: asn1: syntax error: data truncated",
        ),
    ] {
        assert_eq!(Key::from_pem(file.as_bytes()).unwrap_err().to_string(), text);
    }
}
