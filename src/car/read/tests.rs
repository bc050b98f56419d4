use proptest::prelude::*;

use super::super::{header, section_head};
use super::*;
use crate::ipld::hash;

fn block(content: &'static [u8]) -> Block {
    let hash = hash::digest(hash::SHA2_256, content, None).unwrap();
    Block { cid: Cid::new_v1(0x55, hash), data: Bytes::from_static(content) }
}

fn car(roots: &[Cid], blocks: &[Block]) -> Vec<u8> {
    let mut out = header(roots);
    for block in blocks {
        out.extend(section_head(&block.cid, block.data.len()));
        out.extend_from_slice(&block.data);
    }
    out
}

fn v2(offset: u64, size: u64, index: u64, rest: &[u8]) -> Vec<u8> {
    let mut out = b"\x0a\xa1\x67version\x02".to_vec();
    out.extend([0; 16]);
    [offset, size, index].iter().for_each(|number| out.extend(number.to_le_bytes()));
    out.extend_from_slice(rest);
    out
}

/// Everything that a reader says about `file`, pushed in pieces of `piece` bytes.
fn read(file: &[u8], piece: usize) -> String {
    let mut reader = Reader::new();
    let mut pieces = file.chunks(piece);
    let mut said = String::new();
    loop {
        match reader.step() {
            Ok(Step::NeedsInput) => match pieces.next() {
                Some(piece) => reader.push(Bytes::copy_from_slice(piece)),
                None => reader.finish(),
            },
            Ok(Step::Header { version, roots }) => {
                said += &format!("v{version}");
                roots.iter().for_each(|root| said += &format!(",{root}"));
            }
            Ok(Step::Section(section)) => match section.verify() {
                Ok(block) => said += &format!(";{}/{}", block.cid, block.data.len()),
                Err(error) => return format!("{said};{error}"),
            },
            Ok(Step::End) => return said + ";end",
            Err(error) => return format!("{said};{error}"),
        }
    }
}

#[test]
fn files_are_read_in_pieces_of_any_size() {
    let (x, y) = (block(b"block x\n"), block(b"block y\n"));
    let file = car(std::slice::from_ref(&x.cid), &[x.clone(), y.clone()]);
    let expected = format!("v1,{};{}/8;{}/8;end", x.cid, x.cid, y.cid);
    let inner_len = file.len() as u64;
    let padded = [&[0; 10], &file[..], b"index"].concat();
    for piece in [1, 2, 3, 7, 10, 64, 1000] {
        assert_eq!(read(&file, piece), expected);
        assert_eq!(read(&v2(51, inner_len, 0, &file), piece), expected.replace("v1", "v2"));
        let indexed = v2(61, inner_len, 61 + inner_len, &padded);
        assert_eq!(read(&indexed, piece), expected.replace("v1", "v2"));
    }
}

#[test]
fn blocks_that_come_in_one_piece_are_not_copied() {
    let x = block(b"block x\n");
    let file = Bytes::from(car(&[], &[x]));
    let mut reader = Reader::new();
    reader.push(file.clone());
    assert!(matches!(reader.step(), Ok(Step::Header { version: 1, .. })));
    let Ok(Step::Section(section)) = reader.step() else { panic!("no section") };
    let range = file.as_ptr_range();
    assert!(range.contains(&section.data.as_ptr()));
}

/// Each file is read in several sizes of pieces, and must make the reader say the same.
fn check(cases: Vec<(Vec<u8>, String)>) {
    for (file, expected) in cases {
        for piece in [1, 5, 1000] {
            let said = read(&file, piece);
            assert_eq!(said.trim_start_matches(';'), expected, "{file:02x?} by {piece}");
        }
    }
}

#[test]
fn broken_headers_are_refused_with_the_known_texts() {
    let x = block(b"block x\n");
    let whole = car(std::slice::from_ref(&x.cid), std::slice::from_ref(&x));
    let head = |body: &[u8]| [&[body.len() as u8], body].concat();
    check(vec![
        (vec![], "EOF".into()),
        (b"not a car file".to_vec(), "unexpected EOF".into()),
        (whole[..10].to_vec(), "unexpected EOF".into()),
        (vec![0], "invalid header: EOF".into()),
        (head(b"xxxx"), "invalid header: unexpected EOF".into()),
        (head(b"\xa0"), "invalid car version: 0".into()),
        (head(b"\xa1\x67version\x03"), "invalid car version: 3".into()),
        (
            vec![0xff, 0xff, 0xff, 0xff, 0x7f],
            "invalid header data, length of read beyond allowable maximum".into(),
        ),
        (
            head(b"\xa1\x61x\x01"),
            "invalid header: unmarshal error: stream contains key \"x\", but there's no such \
             field in structs of type carv1.CarHeader"
                .into(),
        ),
        (
            head(b"\xa1\x67version\x611"),
            "invalid header: unmarshal error: cannot assign <s:\"1\"> to uint64 field".into(),
        ),
        (
            head(b"\x80"),
            "invalid header: malformed stream: invalid appearance of array open token; expected \
             start of map"
                .into(),
        ),
        (
            head(b"\xa1\x65roots\x81\x41\x00"),
            "invalid header: link value should have been bytes".into(),
        ),
        (head(b"\xa1\x65roots\x81\xf6"), "invalid header: link value was empty".into()),
        (
            head(b"\xa1\x65roots\x81\xd8\x2a\x42\x01\x02"),
            "invalid header: invalid multibase on IPLD link".into(),
        ),
    ]);
}

#[test]
fn broken_sections_and_payloads_are_refused_with_the_known_texts() {
    let x = block(b"block x\n");
    let empty = car(&[], &[]);
    let with = |more: &[u8]| [&empty, more].concat();
    let wrong = Block { data: Bytes::from_static(b"block y\n"), ..x.clone() };
    check(vec![
        (with(&[0]), "v1;invalid cid: varints malformed, could not reach the end".into()),
        (with(&[5]), "v1;end".into()),
        (with(&[0x80]), "v1;unexpected EOF".into()),
        (with(&[5, 1]), "v1;unexpected EOF".into()),
        (with(&[0x81, 0]), "v1;varint not minimally encoded".into()),
        (with(&[0xff; 10]), "v1;varints larger than uint63 not supported".into()),
        (
            with(&[0x81, 0x80, 0x80, 0x04, 1]),
            "v1;invalid section data, length of read beyond allowable maximum".into(),
        ),
        (
            car(&[], &[wrong]),
            format!(
                "v1;mismatch in content integrity, expected: {}, got: {}",
                x.cid,
                block(b"block y\n").cid
            ),
        ),
        (v2(50, 18, 0, &empty), "invalid data payload offset: 50".into()),
        (v2(1 << 63, 18, 0, &empty), format!("invalid data payload offset: {}", 1_u64 << 63)),
        (v2(51, 0, 0, &empty), "invalid data payload size: 0".into()),
        (v2(51, 18, 1 << 63, &empty), format!("invalid index offset: {}", 1_u64 << 63)),
        (v2(100, 18, 0, &empty), "EOF".into()),
        (v2(51, 5, 0, &empty), "unexpected EOF".into()),
        (v2(51, 18, 0, &empty)[..11].to_vec(), "EOF".into()),
        (v2(51, 18, 0, &empty)[..27].to_vec(), "EOF".into()),
        (v2(51, 18, 0, &empty)[..30].to_vec(), "unexpected EOF".into()),
        (
            v2(51, 11, 0, b"\x0a\xa1\x67version\x02"),
            "invalid data payload header version; expected 1, got 2".into(),
        ),
    ]);
}

#[test]
fn a_reader_that_is_done_keeps_nothing() {
    let mut reader = Reader::new();
    let inner = car(&[], &[]);
    reader.push(v2(51, inner.len() as u64, 0, &[&inner, &[7; 100][..]].concat()).into());
    assert!(matches!(reader.step(), Ok(Step::Header { version: 2, .. })));
    assert_eq!(reader.step(), Ok(Step::End));
    reader.push(Bytes::from_static(b"index"));
    assert_eq!(reader.step(), Ok(Step::End));
    assert_eq!(reader.input.len, 0);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(file in any::<Vec<u8>>(), cut in 0..100_usize, piece in 1..50_usize) {
        read(&file, piece);
        let valid = car(&[], &[block(b"block x\n"), block(b"block y\n")]);
        let mut spliced = valid[..cut.min(valid.len())].to_vec();
        spliced.extend(&file);
        prop_assert_eq!(read(&spliced, piece), read(&spliced, 1000));
    }
}
