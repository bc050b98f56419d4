use proptest::prelude::*;

use super::*;

#[test]
fn every_base_encodes_as_kubo_does() {
    let cases: [(&str, &[u8], &str); 24] = [
        ("identity", b"Hi", "\0Hi"),
        ("base2", b"He", "00100100001100101"),
        ("base16", b"Hello", "f48656c6c6f"),
        ("base16upper", b"\x00\x00\xff", "F0000FF"),
        ("base32", b"Hello \xc3\xa9!", "bjbswy3dpedb2sii"),
        ("base32upper", b"\x00\x00\xff", "BAAAP6"),
        ("base32pad", b"\x00\x00\xff", "caaap6==="),
        ("base32padupper", b"\x00\x00\xff", "CAAAP6==="),
        ("base32hex", b"\x00\x00\xff", "v000fu"),
        ("base32hexupper", b"\x00\x00\xff", "V000FU"),
        ("base32hexpad", b"\x00\x00\xff", "t000fu==="),
        ("base32hexpadupper", b"\x00\x00\xff", "T000FU==="),
        ("base36", b"Hello \xc3\xa9!", "k7tuayuuglzng9t"),
        ("base36", b"\x00\x00\xff", "k0073"),
        ("base36upper", b"Hello \xc3\xa9!", "K7TUAYUUGLZNG9T"),
        ("base58btc", b"Hello \xc3\xa9!", "zvSxRbq4VRkWc"),
        ("base58btc", b"\x00\x00\xff", "z115Q"),
        ("base58btc", b"", "z"),
        ("base58flickr", b"Hello \xc3\xa9!", "ZVrXqAQ4uqKvB"),
        ("base64", b"\x00\x00\xff", "mAAD/"),
        ("base64pad", b"x", "MeA=="),
        ("base64url", b"\x00\x00\xff", "uAAD_"),
        ("base64urlpad", b"\x00\x00\xff", "UAAD_"),
        ("base256emoji", b"\x00\x00\xff", "🚀🚀🚀🥂"),
    ];
    for (name, bytes, text) in cases {
        let base = by_name(name).unwrap();
        assert_eq!(String::from_utf8(encode(base, bytes)).unwrap(), text, "{name}");
        if !(bytes.is_empty() && name == "base58btc") {
            assert_eq!(decode(text.as_bytes()), Ok((base, bytes.to_vec())), "{name}");
        }
        assert_eq!(super::name(base), name);
    }
}

#[test]
fn text_that_is_in_no_base_is_refused_with_the_known_texts() {
    let cases: [(&[u8], &str); 22] = [
        (b"", "cannot decode multibase for zero length string"),
        (b"nope", "selected encoding not supported"),
        (b"\xff", "selected encoding not supported"),
        (b"0102", "error while conversion: strconv.ParseInt: parsing \"00000102\": invalid syntax"),
        (b"f4", "encoding/hex: odd length hex string"),
        (b"fg0", "encoding/hex: invalid byte: U+0067 'g'"),
        (b"f0\n", "encoding/hex: invalid byte: U+000A"),
        (b"f0\xc3", "encoding/hex: invalid byte: U+00C3 'Ã'"),
        (b"ba!", "illegal base32 data at input byte 1"),
        (b"b=", "illegal base32 data at input byte 0"),
        (b"caaap6==", "illegal base32 data at input byte 7"),
        (b"caaap6", "illegal base32 data at input byte 0"),
        (b"k", "can not decode zero-length string"),
        ("k0é".as_bytes(), "invalid base36 character ('é')"),
        (b"z", "zero length string"),
        (b"z0", "invalid base58 digit ('0')"),
        ("zé".as_bytes(), "high-bit set on invalid digit"),
        (b"u!!", "illegal base64 data at input byte 0"),
        (b"ue", "illegal base64 data at input byte 0"),
        (b"MeA", "illegal base64 data at input byte 0"),
        (b"MeA=x", "illegal base64 data at input byte 2"),
        ("🚀x".as_bytes(), "illegal base256emoji data at input byte 0, char: 'x'"),
    ];
    for (text, error) in cases {
        assert_eq!(decode(text).unwrap_err().to_string(), error, "{text:?}");
    }
}

#[test]
fn decoders_forgive_what_go_forgives() {
    let cases: [(&[u8], &[u8]); 8] = [
        (b"mSGVs\r\nbG8\n", b"Hello"),
        (b"MeA=\n=\n", b"x"),
        (b"bJBswy3dpedb2s\nII", b"Hello \xc3\xa9!"),
        (b"baaap6a", b""),
        (b"ba", b""),
        (b"F48656c6c6f", b"Hello"),
        (b"01", b"\x01"),
        (b"0-1010101", b"\xab"),
    ];
    for (text, bytes) in cases {
        assert_eq!(decode(text).map(|(_, bytes)| bytes), Ok(bytes.to_vec()), "{text:?}");
    }
}

#[test]
fn names_and_codes_find_their_base() {
    assert_eq!(by_name("z"), Ok(Base::Base58Btc));
    assert_eq!(by_name("🚀"), Ok(Base::Base256Emoji));
    assert_eq!(by_name("").unwrap_err().to_string(), "empty multibase encoding");
    for name in ["nope", "Base32", "7", "base8"] {
        let error = by_name(name).unwrap_err().to_string();
        assert_eq!(error, format!("unsupported multibase encoding: {name}"));
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 1..80), index in 0..21_usize) {
        let (base, _) = BASES[index];
        let text = encode(base, &bytes);
        prop_assert_eq!(decode(&text), Ok((base, bytes.clone())));
        if base != Base::Identity {
            prop_assert_eq!(text, multibase::encode(base, &bytes).into_bytes());
        }
    }

    #[test]
    fn no_text_makes_a_decoder_panic(text in any::<Vec<u8>>(), index in 0..21_usize) {
        let mut with_code = BASES[index].0.code().to_string().into_bytes();
        with_code.extend(text);
        let _ = decode(&with_code);
    }
}
