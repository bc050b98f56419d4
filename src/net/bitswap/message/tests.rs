use proptest::prelude::*;

use super::decode::PREFIX_V0;
use super::encode::COPY_BYTES_MAX;
use super::*;
use crate::ipld::{Multihash, codec, varint};

fn raw(data: &[u8]) -> Cid {
    Cid::new_v1(codec::RAW, hash::digest(hash::SHA2_256, data, None).unwrap())
}

fn entry(data: &[u8], priority: i32) -> Entry {
    let want = WantType::Block;
    Entry { cid: raw(data), priority, cancel: false, want, send_dont_have: true }
}

fn read(pieces: &[Bytes]) -> Message {
    let whole = Bytes::from(pieces.concat());
    let (len, rest) = varint::read(&whole).unwrap();
    assert_eq!(len as usize, rest.len());
    Message::decode(&whole.slice_ref(rest)).unwrap()
}

fn sample() -> Message {
    let large = Bytes::from(vec![7; COPY_BYTES_MAX * 2]);
    let payload = |data: Bytes| Payload { prefix: raw(&data).prefix(), data };
    Message {
        entries: vec![
            entry(b"a", i32::MAX),
            Entry { want: WantType::Have, send_dont_have: false, ..entry(b"b", -5) },
            Entry::cancel(raw(b"c")),
        ],
        full: true,
        blocks: vec![payload(Bytes::from_static(b"small")), payload(large)],
        presences: vec![
            Presence { cid: raw(b"d"), has: true },
            Presence { cid: raw(b"e"), has: false },
        ],
        pending_bytes: 1 << 20,
    }
}

#[test]
fn a_message_is_read_back_as_written_and_large_blocks_are_not_copied() {
    let message = sample();
    let pieces = message.encode(Version::V1_2);
    assert!(pieces.iter().any(|piece| piece.as_ptr() == message.blocks[1].data.as_ptr()));
    assert_eq!(read(&pieces), message);
}

#[test]
fn old_versions_get_what_they_know() {
    let message = sample();
    let old = read(&message.encode(Version::V1_1));
    assert_eq!(old, Message { presences: vec![], ..message.clone() });
    let oldest = read(&message.encode(Version::V1_0));
    assert_eq!(oldest.blocks.len(), 2);
    assert!(oldest.blocks.iter().all(|block| block.prefix == PREFIX_V0));
    assert_eq!(oldest.pending_bytes, 0);
}

#[test]
fn the_bytes_are_those_of_kubo() {
    // message.proto by hand: an entry for a want-have with DONT_HAVE, and a DONT_HAVE.
    let cid = raw(b"x").to_bytes();
    let mut bytes = vec![0x0a, 0x2c, 0x0a, 0x2a, 0x0a, 0x24];
    bytes.extend(&cid);
    bytes.extend([0x20, 1, 0x28, 1]);
    bytes.extend([0x22, 0x28, 0x0a, 0x24]);
    bytes.extend(&cid);
    bytes.extend([0x10, 1]);
    let message = Message::decode(&bytes.clone().into()).unwrap();
    let want = WantType::Have;
    let entry = Entry { want, priority: 0, ..entry(b"x", 0) };
    assert_eq!(message.entries, [entry]);
    assert_eq!(message.presences, [Presence { cid: raw(b"x"), has: false }]);
    assert_eq!(message.encode(Version::V1_2).concat()[1..], bytes);
}

#[test]
fn wants_that_nobody_may_have_are_passed_over() {
    let inline = Cid::new_v1(codec::RAW, Multihash::wrap(hash::IDENTITY, b"inline"));
    let long = Cid::new_v1(codec::RAW, Multihash::wrap(hash::SHA2_512, &[1; 200]));
    let entries = [inline, long].map(|cid| Entry { cid, ..entry(b"x", 1) });
    let message =
        Message { entries: [&entries[..], &[entry(b"y", 1)]].concat(), ..Message::default() };
    assert_eq!(read(&message.encode(Version::V1_2)).entries, [entry(b"y", 1)]);
}

#[test]
fn hostile_messages_are_refused_or_cut() {
    let big = Payload { prefix: PREFIX_V0, data: vec![0; BLOCK_BYTES_MAX + 1].into() };
    let message = Message { blocks: vec![big], ..Message::default() };
    let whole = Bytes::from(message.encode(Version::V1_1)[..].concat());
    let decoded = Message::decode(&whole.slice(4..));
    assert_eq!(decoded, Err(MessageError::BlockTooLarge(BLOCK_BYTES_MAX + 1)));
    let none = Bytes::from([0x12, 0].repeat(ITEMS_MAX + 1));
    assert_eq!(Message::decode(&none), Err(MessageError::TooMany));
    let presences = Message {
        presences: vec![Presence { cid: raw(b"p"), has: true }; ITEMS_MAX + 1],
        ..Message::default()
    };
    let whole = Bytes::from(presences.encode(Version::V1_2).concat());
    let (_, body) = varint::read(&whole).unwrap();
    assert_eq!(Message::decode(&whole.slice_ref(body)), Err(MessageError::TooMany));
    for (bytes, error) in [
        (&[0x0a, 5, 1][..], MessageError::Malformed),
        (&[0x0a, 2, 0x0a, 0], MessageError::BadCid),
        (&[0x22, 2, 0x0a, 0], MessageError::BadCid),
        (&[0x1a, 0], MessageError::BadCid),
        (&[0x1a, 6, 0x0a, 4, 2, 0x55, 0x12, 0x20], MessageError::BadCid),
    ] {
        assert_eq!(Message::decode(&Bytes::copy_from_slice(bytes)), Err(error), "{bytes:?}");
    }
    assert_eq!(Message::decode(&Bytes::new()), Ok(Message::default()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
        let _ = Message::decode(&bytes.into());
    }

    #[test]
    fn any_message_survives(
        entries in prop::collection::vec((any::<u8>(), any::<i32>(), any::<[bool; 3]>()), 0..9),
        blocks in prop::collection::vec(any::<Vec<u8>>(), 0..4),
        presences in prop::collection::vec((any::<u8>(), any::<bool>()), 0..4),
        full in any::<bool>(),
        pending_bytes in any::<i32>(),
    ) {
        let entries = entries.into_iter().map(|(name, priority, [cancel, have, send])| Entry {
            cid: raw(&[name]),
            priority,
            cancel,
            want: if have { WantType::Have } else { WantType::Block },
            send_dont_have: send,
        });
        let blocks = blocks.into_iter().map(|data| Payload {
            prefix: raw(&data).prefix(),
            data: data.into(),
        });
        let presences = presences.into_iter();
        let message = Message {
            entries: entries.collect(),
            full,
            blocks: blocks.collect(),
            presences: presences.map(|(n, has)| Presence { cid: raw(&[n]), has }).collect(),
            pending_bytes,
        };
        prop_assert_eq!(read(&message.encode(Version::V1_2)), message);
    }
}
