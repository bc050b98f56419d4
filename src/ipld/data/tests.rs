use proptest::prelude::*;

use super::super::dag_pb::PbLink;
use super::super::hash;
use super::*;

/// What Kubo's `dag/put` answered: input codec, stored codec, input in hexadecimal, and the CID
/// or the error.
const PUT: &str = include_str!("../testdata/dag-put.txt");

fn unhex(text: &str) -> Bytes {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn put(input_codec: &str, store_codec: &str, input: &Bytes) -> Result<Cid, String> {
    let input_codec = codec::parse(input_codec).map_err(|error| error.to_string())?;
    let store_codec = codec::parse(store_codec).map_err(|error| error.to_string())?;
    check_decoder(input_codec).map_err(|error| error.to_string())?;
    check_encoder(store_codec).map_err(|error| error.to_string())?;
    let node = decode(input_codec, input).map_err(|error| error.to_string())?;
    let mut block = Vec::new();
    encode(store_codec, &node, &mut block).map_err(|error| error.to_string())?;
    Ok(Cid::new_v1(store_codec, hash::digest(hash::SHA2_256, &block, None).unwrap()))
}

#[test]
fn blocks_and_errors_are_those_of_kubo() {
    for line in PUT.lines() {
        let fields: Vec<&str> = line.splitn(4, '|').collect();
        let [input_codec, store_codec, input, expected] = fields[..] else { panic!("{line}") };
        let got = put(input_codec, store_codec, &unhex(input));
        let got = got.map_or_else(|error| error, |cid| cid.to_string());
        assert_eq!(got, expected, "{line}");
    }
}

fn json(text: &str) -> Node {
    decode(codec::DAG_JSON, &Bytes::from(text.to_owned())).unwrap().node
}

fn encoded(codec: u64, node: &Typed) -> (String, Option<String>) {
    let mut out = Vec::new();
    let error = encode(codec, node, &mut out).err().map(|error| error.to_string());
    (String::from_utf8_lossy(&out).into_owned(), error)
}

const CID: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

#[test]
fn what_comes_before_an_error_is_written() {
    let node = Typed::plain(json(&format!("{{\"a\":[{{\"c\":7}},{{\"/\":\"{CID}\"}}]}}")));
    let (text, error) = encoded(codec::JSON, &node);
    assert_eq!(text, "{\n\t\"a\": [\n\t\t{\n\t\t\t\"c\": 7\n\t\t}");
    assert_eq!(error.as_deref(), Some("cannot marshal IPLD links to this codec"));
    let mut out = Vec::new();
    let error = encode(codec::CBOR, &node, &mut out).unwrap_err();
    assert_eq!(out, b"\xa1\x61a\x82\xa1\x61c\x07");
    assert_eq!(error.to_string(), "cannot Marshal ipld links to CBOR");
}

#[test]
fn floats_are_written_as_go_writes_them() {
    let cases = [
        (1.0, "1"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (9.9e-7, "9.9e-7"),
        (5e-324, "5e-324"),
        (123_456_789.125, "123456789.125"),
        (f64::from_bits(0x3f52_8400_0000_0000), "0.0011301040649414062"),
    ];
    for (value, text) in cases {
        let (got, _) = encoded(codec::DAG_JSON, &Typed::plain(Node::Float(value)));
        assert_eq!(got, text);
    }
}

#[test]
fn stored_dag_pb_shows_every_field() {
    let link = [&[0x0a, 0x22, 0x12, 0x20][..], &[0; 32]].concat();
    let block = Bytes::from([&[0x12, 0x24][..], &link].concat());
    let node = decode_block(codec::DAG_PB, &block).unwrap();
    let zero = "QmNLei78zWmzUdbeRB3CiUfAizWUrbeeZh5K1rhAQKCh51";
    let (text, _) = encoded(codec::DAG_JSON, &node);
    let expected = format!(
        "{{\"Data\":null,\"Links\":[{{\"Hash\":{{\"/\":\"{zero}\"}},\"Name\":null,\"Tsize\":null}}]}}"
    );
    assert_eq!(text, expected);
    let (_, error) = encoded(codec::DAG_PB, &node);
    assert!(error.unwrap().contains("\"AsBytes\" called on a absent node (kind: null)"));
    let (_, error) = encoded(codec::RAW, &node);
    assert!(error.unwrap().contains("called on a dagpb.PBNode node (kind: map)"));
}

#[test]
fn paths_are_followed_to_the_edge_of_the_block() {
    use super::super::node::Walk;
    let text = format!("{{\"a\":[1,{{\"x\":{{\"/\":\"{CID}\"}}}}],\"s\":\"t\",\"n\":null}}");
    let plain = Typed::plain(json(&text));
    let pb = PbNode {
        links: vec![PbLink::new(Cid::parse(CID).unwrap(), "n", 5)],
        data: Some(Bytes::from_static(b"d")),
    };
    let pb = decode_block(codec::DAG_PB, &pb.encode().into()).unwrap();
    let wrong = |method: &str, name: &str, kind: &str| {
        format!(
            "func called on wrong kind: \"{method}\" called on a {name} node (kind: {kind}), \
             but only makes sense on map or list"
        )
    };
    let cases: Vec<(&Typed, &str, String)> = vec![
        (&plain, "a/0", "1".into()),
        (&plain, "a/+0", "1".into()),
        (&plain, "a/1/x/more", format!("{CID} 3")),
        (&plain, "a/7", "key not found: \"7\"".into()),
        (&plain, "a/-1", "key not found: \"\"".into()),
        (
            &plain,
            "a/y",
            "invalid segment for lookup on a list: \"y\": strconv.ParseInt: parsing \"y\": \
             invalid syntax"
                .into(),
        ),
        (&plain, "s/x", wrong("LookupBySegment", "string", "string")),
        (&plain, "n/x", wrong("LookupBySegment", "null", "null")),
        (&plain, "nope", "key not found: \"nope\"".into()),
        (&plain, "nope/x", "no link named \"nope\"".into()),
        (&plain, "s/x/y", "no link named \"x\"".into()),
        (&pb, "Data", "{\"/\":{\"bytes\":\"ZA\"}}".into()),
        (&pb, "Links/0/Tsize", "5".into()),
        (&pb, "Links/0/Hash", format!("{CID} 3")),
        (&pb, "n", "no link named \"n\"".into()),
        (&pb, "Links/0/x", "no link named \"x\"".into()),
        (&pb, "Links/0/Name/x", wrong("LookupBySegment", "dagpb.String", "string")),
    ];
    for (node, path, expected) in cases {
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        let got = match node.clone().walk(&segments) {
            Ok(Walk::Node(node)) => encoded(codec::DAG_JSON, &node).0,
            Ok(Walk::Link { cid, used }) => format!("{cid} {used}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{path}");
    }
}

#[test]
fn nesting_and_size_are_bounded() {
    let deep = "[".repeat(1024) + &"]".repeat(1024);
    assert!(decode(codec::DAG_JSON, &deep.into()).is_ok());
    let too_deep = "message structure exceeded maximum nesting depth";
    let cases: [(u64, Vec<u8>, &str); 6] = [
        (codec::DAG_JSON, vec![b'['; 1_000_000], too_deep),
        (codec::DAG_JSON, b"{\"a\":".repeat(1025), too_deep),
        (codec::DAG_CBOR, vec![0x81; 1_000_000], too_deep),
        (codec::DAG_CBOR, b"\xa1\x61a".repeat(1025), too_deep),
        (
            codec::DAG_CBOR,
            vec![0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "message structure demanded too many resources to process",
        ),
        (
            codec::DAG_CBOR,
            vec![0x5b, 0, 0, 0, 1, 0, 0, 0, 0],
            "cbor: decoding rejected oversized byte field: 4294967296 is too large",
        ),
    ];
    for (codec, block, expected) in cases {
        let error = decode(codec, &block.clone().into()).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(links(codec, &block), Err(error));
    }
}

#[test]
fn links_are_listed_in_order_with_duplicates() {
    let other = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let link = |cid: &str| format!("{{\"/\":\"{cid}\"}}");
    let text = format!("{{\"z\":{},\"a\":[{},1,{{\"x\":{}}}]}}", link(CID), link(other), link(CID));
    let expected = [CID, other, CID].map(|cid| Cid::parse(cid).unwrap());
    assert_eq!(links(codec::DAG_JSON, text.as_bytes()).unwrap(), expected);
    assert_eq!(links(codec::JSON, text.as_bytes()).unwrap(), []);
    let mut block = Vec::new();
    encode(codec::DAG_CBOR, &Typed::plain(json(&text)), &mut block).unwrap();
    // dag-cbor sorts its maps, so the order of the block is another one.
    let expected = [other, CID, CID].map(|cid| Cid::parse(cid).unwrap());
    assert_eq!(links(codec::DAG_CBOR, &block).unwrap(), expected);
    let error = links(0x90, b"").unwrap_err().to_string();
    let text = "could not choose a decoder: no decoder registered for multicodec code 144 (0x90)";
    assert_eq!(error, text);
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(Node::Null),
        any::<bool>().prop_map(Node::Bool),
        any::<i64>().prop_map(|value| Node::Int(value.into())),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite() && f.fract() != 0.0)
            .prop_map(Node::Float),
        ".*".prop_map(|text| Node::String(text.into())),
        any::<Vec<u8>>().prop_map(|bytes| Node::Bytes(bytes.into())),
        Just(Node::Link(Cid::parse(CID).unwrap())),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Node::List),
            prop::collection::btree_map("[a-z]{0,3}", inner, 0..4).prop_map(|map| {
                Node::Map(map.into_iter().map(|(key, value)| (key.into(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(node in node()) {
        for codec in [codec::DAG_CBOR, codec::DAG_JSON] {
            let mut block = Vec::new();
            encode(codec, &Typed::plain(node.clone()), &mut block).unwrap();
            let decoded = decode(codec, &block.clone().into()).unwrap();
            let mut again = Vec::new();
            encode(codec, &decoded, &mut again).unwrap();
            prop_assert_eq!(&block, &again);
            prop_assert_eq!(decode(codec, &again.into()).unwrap().node.kind(), node.kind());
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(block in any::<Vec<u8>>(), codec in 0..CODECS.len()) {
        let _ = decode(CODECS[codec], &block.clone().into());
        let _ = links(CODECS[codec], &block);
    }
}

/// Input in one codec, and what it is in another, or the error.
fn convert(from: u64, input: &[u8], to: u64) -> String {
    let input = Bytes::copy_from_slice(input);
    let node = match decode(from, &input) {
        Ok(node) => node,
        Err(error) => return error.to_string(),
    };
    let (text, error) = encoded(to, &node);
    error.unwrap_or(text)
}

const COMMIT: &str = "commit 161\0tree 27f27fc173b4bc778eec8b86b019a755a12f8dc8\n\
    parent 8e81235bca45b341fc1a8a4f82185b054ef50e89\nauthor A B <a@b.c> 17 +0100\n\
    committer A B <a@b.c> 17 +0100\n\nsecond\n";

#[test]
fn git_objects_are_read_and_written() {
    let tree = b"tree 29\x00100644 g\0\x58\x7b\xe6\xb4\xc3\xf9\x3f\x93\xc4\x89\xc0\x11\x1b\xba\x55\
        \x96\x14\x7a\x26\xcb";
    let tag = "tag 100\0object 7133b2f62ff09ae724183d5e8d4c06e076b5d49a\ntype commit\ntag v1\n\
        tagger A B <a@b.c> 17 +0000\n\nmsg\n";
    let person = "{\"date\":\"17\",\"email\":\"a@b.c\",\"name\":\"A B\",\"timezone\":\"+0100\"}";
    let commit_json = format!(
        "{{\"author\":{person},\"committer\":{person},\"encoding\":null,\"mergetag\":[],\
         \"message\":\"second\\n\",\"other\":[],\
         \"parents\":[{{\"/\":\"baf4bcfeoqervxssfwna7ygukj6bbqwyfj32q5ci\"}}],\"signature\":null,\
         \"tree\":{{\"/\":\"baf4bcfbh6j74c45uxr3y53elq2ybtj2vuexy3sa\"}}}}"
    );
    let cases: Vec<(&[u8], u64, &str)> = vec![
        (b"blob 3\0hi\n", codec::DAG_JSON, "{\"/\":{\"bytes\":\"YmxvYiAzAGhpCg\"}}"),
        (
            tree,
            codec::DAG_JSON,
            "{\"g\":{\"hash\":{\"/\":\"baf4bcfcypptljq7zh6j4jcoacen3uvmwcr5cnsy\"},\
             \"mode\":\"100644\"}}",
        ),
        (COMMIT.as_bytes(), codec::DAG_JSON, &commit_json),
        (COMMIT.as_bytes(), codec::GIT_RAW, COMMIT),
        (tag.as_bytes(), codec::GIT_RAW, tag),
        (b"", codec::RAW, "unexpected EOF"),
        (b"foo 3\0abc", codec::RAW, "unrecognized object type: \"foo\""),
        (b"blob x\0ab", codec::RAW, "strconv.Atoi: parsing \"x\": invalid syntax"),
        (b"blob 3\0ab", codec::RAW, "unexpected EOF"),
        (b"commit 0\0author x y z\n", codec::RAW, "invalid personInfo: \"author x y z\""),
        (b"commit 0\0tree zz\n", codec::RAW, "encoding/hex: invalid byte: U+007A 'z'"),
    ];
    for (input, to, expected) in cases {
        assert_eq!(convert(codec::GIT_RAW, input, to), expected);
    }
    let linked = links(codec::GIT_RAW, COMMIT.as_bytes()).unwrap();
    let expected = "baf4bcfbh6j74c45uxr3y53elq2ybtj2vuexy3sa";
    assert_eq!((linked.len(), linked[0].to_string().as_str()), (2, expected));
}

#[test]
fn what_is_no_git_or_jose_object_is_refused_with_the_known_texts() {
    let a_map = |go_type: &str| {
        format!(
            "not a Commit: {go_type} invalid key for map ipldgit.Commit.Repr: \"a\": no such field"
        )
    };
    let plain = Typed::plain(json("{\"a\":1}"));
    assert_eq!(encoded(codec::GIT_RAW, &plain).1, Some(a_map("*basicnode.plainMap")));
    let stored = decode_block(codec::DAG_JSON, &Bytes::from_static(b"{\"a\":1}")).unwrap();
    assert_eq!(encoded(codec::GIT_RAW, &stored).1, Some(a_map("*ipldlegacy.LegacyNode")));
    assert_eq!(encoded(codec::DAG_JOSE, &stored).1.as_deref(), Some("invalid JOSE object"));
    let text = convert(codec::DAG_JSON, b"\"s\"", codec::DAG_JOSE);
    assert!(text.starts_with("func called on wrong kind: \"LookupByString\" called on a string"));
    let cases = [
        (&b"\xa0"[..], "missing required fields: payload"),
        (b"\xa1\x61a\x01", "invalid key for map dagjose.DecodedJWS.Repr: \"a\": no such field"),
        (
            b"\xa1\x67payload\x41\x01",
            "invalid cid: invalid cid: varints malformed, could not reach the end",
        ),
    ];
    for (block, text) in cases {
        assert_eq!(convert(codec::DAG_JOSE, block, codec::RAW), text);
    }
}

#[test]
fn jose_objects_are_flattened_text_outside_and_bytes_inside() {
    let payload = "AVUSIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let flat = format!("{{\"payload\":\"{payload}\",\"protected\":\"AQ\",\"signature\":\"Ag\"}}");
    let mut block = Vec::new();
    encode(codec::DAG_JOSE, &Typed::plain(json(&flat)), &mut block).unwrap();
    let general = format!(
        "{{\"link\":{{\"/\":\"bafkreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}},\
         \"payload\":\"{payload}\",\"signatures\":[{{\"protected\":\"AQ\",\"signature\":\"Ag\"}}]}}"
    );
    assert_eq!(convert(codec::DAG_JOSE, &block, codec::DAG_JSON), general);
    assert_eq!(links(codec::DAG_JOSE, &block).unwrap().len(), 1);
    let jwe = b"{\"ciphertext\":\"AQ\",\"iv\":\"Ag\",\"header\":{\"k\":\"v\"}}";
    let mut block = Vec::new();
    encode(codec::DAG_JOSE, &decode(codec::DAG_JSON, &jwe[..].into()).unwrap(), &mut block)
        .unwrap();
    assert_eq!(
        block,
        b"\xa3\x62iv\x41\x02\x6aciphertext\x41\x01\x6arecipients\x81\xa1\x66header\xa1\x61k\x61v"
    );
}
