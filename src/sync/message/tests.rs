use proptest::prelude::*;

use super::*;
use crate::sync::hash::Rid;
use crate::sync::keys::{Author, Sign, Signer};
use crate::sync::sketch::{CELL_LEN, Cell};
use crate::sync::store::Cursor;
use crate::sync::testing::{GROUP, Key as Cheap, any_cid, pin};
use crate::sync::tree::Prefix;
use crate::sync::vector::Vector;

fn roots(number: u8) -> Roots {
    Roots {
        live: [number; 32],
        tomb: EMPTY,
        live_count: number.into(),
        tomb_count: 0,
        floor: Hlc(number.into()),
    }
}

const EMPTY: Hash = crate::sync::hash::EMPTY;

fn coverage() -> Coverage {
    let vector = [(Author([3; 32]), Hlc(9))].into_iter().collect();
    Coverage { vector, node_hlc: Hlc(77) }
}

fn hello(signer: &impl Sign) -> Hello {
    Hello {
        addresses: vec![vec![4, 127, 0, 0, 1]],
        roots: roots(2),
        status: Status { pinned: 3, complete_at: Some([8; 32]), ..Status::default() },
        tags: vec!["zone:a".to_owned()],
        ..Hello::blank()
    }
    .sign(signer, &GROUP)
}

pub(super) fn messages() -> Vec<Message> {
    let key = Cheap::new(1);
    let record = pin(&key, &any_cid(1), 4);
    let cursor = Cursor { author: key.author(), hlc: Hlc(4), key: record.key() };
    let rid = Rid([6; 16]);
    let range = (Kind::Tomb, Prefix::of(&record.key(), 13));
    let cell = Cell::from_bytes(&[200; CELL_LEN]);
    let asks = [
        Ask::Vector { vector: coverage().vector, after: None },
        Ask::Vector { vector: Vector::default(), after: Some(cursor) },
        Ask::Sketch { cells: vec![cell; 2], count: 17 },
        Ask::Cells { from: 48, to: 99 },
        Ask::Ranges { nonce: [1; 16], ranges: vec![(Kind::Live, Prefix::ALL), range] },
        Ask::Records { rids: vec![rid, Rid([7; 16])] },
        Ask::Proof { key: record.key() },
    ];
    let answers = [
        Answer::Equal(coverage()),
        Answer::Page { records: vec![record.clone()], next: Some(cursor), coverage: None },
        Answer::Page { records: Vec::new(), next: None, coverage: Some(coverage()) },
        Answer::Difference {
            records: vec![record.clone()],
            more: vec![rid],
            want: Vec::new(),
            coverage: coverage(),
        },
        Answer::Cells { from: 0, cells: vec![cell], count: 5, coverage: coverage() },
        Answer::Ranges {
            parts: vec![Part::Hashes(vec![[9; 8]; 16]), Part::Names(vec![rid])],
            coverage: coverage(),
        },
        Answer::Records { records: vec![record.clone()], seen: 2 },
        Answer::Proof(None),
        Answer::Proof(Some(Proof { record: record.clone(), path: vec![(3, [1; 32])] })),
        Answer::Busy(250),
        Answer::Refused("say hello first".to_owned()),
    ];
    let update =
        |records| Update { roots: roots(1), node_hlc: Hlc(5), vector_digest: [2; 8], records };
    let binding = Binding { public_key: vec![1; 40], signature: vec![2; 70] };
    let bound = Hello { binding: Some(binding), ..hello(&key) };
    let mut messages = vec![
        Message::Hello(Box::new(hello(&key))),
        Message::Hello(Box::new(bound)),
        Message::Update(update(Vec::new())),
        Message::Update(update(vec![record.clone(), record])),
    ];
    messages.extend(asks.map(|ask| {
        Message::Fetch(Fetch { request: 300, roots: roots(4), bytes_max: 1 << 18, ask })
    }));
    messages.extend(
        answers.map(|answer| Message::Reply(Reply { request: 3, roots: roots(5), answer })),
    );
    messages
}

#[test]
fn every_message_comes_back() {
    for message in messages() {
        let bytes = message.encode(7);
        assert_eq!(Message::decode(&bytes), Ok((7, message)));
        for len in 0..bytes.len() {
            assert!(Message::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
}

#[test]
fn an_announcement_is_small() {
    let update = Update {
        roots: Roots { live: [1; 32], tomb: [2; 32], floor: Hlc(u64::MAX), ..roots(200) },
        node_hlc: Hlc(u64::MAX),
        vector_digest: [2; 8],
        records: Vec::new(),
    };
    assert!(Message::Update(update).encode(0).len() <= 200);
}

#[test]
fn unknown_fields_are_skipped() {
    let update =
        Update { roots: roots(1), node_hlc: Hlc(5), vector_digest: [2; 8], records: Vec::new() };
    let known = Message::Update(update);
    let mut bytes = known.encode(0);
    let at = bytes.iter().position(|byte| *byte == 0xa3).unwrap();
    bytes[at] = 0xa4;
    bytes.extend([0x18, 0x63, 0x82, 0x01, 0x61, b'x']);
    assert_eq!(Message::decode(&bytes), Ok((0, known)));
}

#[test]
fn caps_are_those_of_the_type() {
    let record = pin(&Cheap::new(1), &any_cid(1), 4);
    let many = Update {
        roots: roots(1),
        node_hlc: Hlc(5),
        vector_digest: [2; 8],
        records: vec![record; UPDATE_RECORDS_MAX + 1],
    };
    let bytes = Message::Update(many).encode(0);
    let error = Message::decode(&bytes).unwrap_err();
    assert!(matches!(error, DecodeError::TooLong("a list or map" | "an update")));
    let ranges = vec![(Kind::Live, Prefix::ALL); RANGES_MAX + 1];
    let ask = Ask::Ranges { nonce: [0; 16], ranges };
    let fetch = Fetch { request: 0, roots: roots(0), bytes_max: 0, ask };
    let error = Message::decode(&Message::Fetch(fetch).encode(0)).unwrap_err();
    assert_eq!(error, DecodeError::TooLong("a list or map"));
}

#[test]
fn a_hello_is_bound_to_its_peer() {
    let secret = [4; 32];
    let signer = Signer::from_seed(&secret).unwrap();
    let own = libp2p_identity::Keypair::ed25519_from_bytes(secret).unwrap();
    let hello = Hello { peer: own.public().to_peer_id().to_bytes(), ..Hello::blank() };
    let hello = hello.sign(&signer, &GROUP);
    assert!(hello.is_signed(&signer, &GROUP) && hello.is_bound(&GROUP));
    let changed = Hello { node_hlc: Hlc(1), ..hello.clone() };
    assert!(!changed.is_signed(&signer, &GROUP));

    let other = libp2p_identity::Keypair::generate_secp256k1();
    let peer = other.public().to_peer_id().to_bytes();
    let stolen = Hello { peer: peer.clone(), ..hello.clone() }.sign(&signer, &GROUP);
    assert!(!stolen.is_bound(&GROUP));
    let signature = other.sign(&Binding::message(&GROUP, &signer.author())).unwrap();
    let binding = Binding { public_key: other.public().encode_protobuf(), signature };
    let bound = Hello { binding: Some(binding), ..stolen }.sign(&signer, &GROUP);
    assert!(bound.is_signed(&signer, &GROUP) && bound.is_bound(&GROUP));
    assert!(!bound.is_bound(&[9; 32]));
    let not_mine = Hello { peer: hello.peer, ..bound };
    assert!(!not_mine.is_bound(&GROUP));
}

proptest! {
    #[test]
    fn changed_messages_are_refused_or_read_as_they_are(
        which: prop::sample::Index,
        changes: [(u16, u8); 2],
    ) {
        let messages = messages();
        let mut bytes = which.get(&messages).encode(1);
        for (at, with) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= with;
        }
        if let Ok((epoch, message)) = Message::decode(&bytes) {
            let again = message.encode(epoch);
            prop_assert_eq!(Message::decode(&again), Ok((epoch, message)));
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }
}
