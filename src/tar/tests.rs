use super::*;
use crate::ipld::hash;

/// What an entry of the table is.
enum Is {
    File(u64),
    Dir,
    Link(Vec<u8>),
}

fn rep(text: &str, times: usize) -> Vec<u8> {
    text.repeat(times).into_bytes()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = hash::digest(hash::SHA2_256, bytes, None).unwrap();
    digest.digest()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Beginnings of the SHA-256 of what Go 1.26's `tar.Writer.WriteHeader` wrote for the same
/// entries, with `FormatPAX` and with `FormatUnknown`.
#[test]
#[rustfmt::skip]
fn headers_are_those_of_go() {
    type Case = (Vec<u8>, u32, (i64, u32), Is, [&'static str; 2]);
    let cases: Vec<Case> = vec![
        (b"a".to_vec(), 0o644, (1, 0), Is::File(6), ["531cab472819c05b", "531cab472819c05b"]),
        (b"a".to_vec(), 0o644, (1700000000, 5), Is::File(6), ["f6b0674a34b38826", "9607b85e701c247d"]),
        (b"a".to_vec(), 0o644, (1700000000, 500000000), Is::File(6), ["35b045a682c10751", "1d5312fd582ae634"]),
        (b"a".to_vec(), 0o644, (1700000000, 499999999), Is::Dir, ["2f612c5dbdc3774b", "285251e388359b03"]),
        ([b"d/".to_vec(), rep("x", 98)].concat(), 0o4755, (1, 0), Is::File(0), ["d44994fbdcbadaef", "d44994fbdcbadaef"]),
        ([b"d/".to_vec(), rep("x", 99)].concat(), 0o644, (1, 0), Is::File(0), ["ee276e21cf76502c", "ee276e21cf76502c"]),
        ([b"d/".to_vec(), rep("x", 101)].concat(), 0o644, (1, 0), Is::File(0), ["3ee8c590f875174c", "3ee8c590f875174c"]),
        (rep("y", 100), 0o644, (1, 7), Is::File(0), ["fd28b1753185d066", "a853aaa2ea6b5429"]),
        (rep("y", 101), 0o644, (1, 0), Is::File(0), ["a531a1330389473e", "a531a1330389473e"]),
        ([rep("d/", 90), b"f".to_vec()].concat(), 0o644, (1, 0), Is::File(3), ["c8ed0e802c88f77b", "c8ed0e802c88f77b"]),
        ([rep("d/", 90), b"f".to_vec()].concat(), 0o644, (1, 120000000), Is::File(3), ["21f2875bb1f0bd03", "c8ed0e802c88f77b"]),
        ([rep("d/", 200), b"f".to_vec()].concat(), 0o644, (1, 0), Is::Dir, ["1acd2f1fe1aaa9aa", "1acd2f1fe1aaa9aa"]),
        ([rep("0123456789/", 30), b"f".to_vec()].concat(), 0o644, (1, 0), Is::Dir, ["815fefa41e18c85c", "815fefa41e18c85c"]),
        ([rep("abcdefghi/", 10), b"f".to_vec()].concat(), 0o644, (1, 1), Is::Dir, ["ecf778dfddffc1c9", "caaddcedccb74999"]),
        ([rep("abcdefghi/", 9), b"abcdefghi".to_vec()].concat(), 0o644, (1, 1), Is::Dir, ["db99175393b4978d", "f23f0d60a0877caf"]),
        ("été/x".as_bytes().to_vec(), 0o644, (1, 0), Is::File(3), ["d6912684cce19907", "d6912684cce19907"]),
        (b"d/\xff\xfex".to_vec(), 0o644, (1, 0), Is::File(3), ["2635733bce5e4dbe", "2635733bce5e4dbe"]),
        (b"big".to_vec(), 0o644, (1, 0), Is::File(8589934591), ["5576195342d7343f", "5576195342d7343f"]),
        (b"big".to_vec(), 0o644, (1, 0), Is::File(8589934592), ["6f559c5bc97d43c4", "6f559c5bc97d43c4"]),
        (b"neg".to_vec(), 0o644, (-1, 0), Is::File(1), ["8c941d8a85bd8d20", "8c941d8a85bd8d20"]),
        (b"neg".to_vec(), 0o644, (-1, 500000000), Is::File(1), ["72e047b78145c96e", "5be9122923e254ae"]),
        (b"neg".to_vec(), 0o644, (-5, 0), Is::File(1), ["f094cd4c0bec0033", "f094cd4c0bec0033"]),
        (b"far".to_vec(), 0o644, (8589934592, 0), Is::File(1), ["137040627680beab", "137040627680beab"]),
        (b"far".to_vec(), 0o644, (8589934591, 900000000), Is::File(1), ["05a503d8233be647", "137040627680beab"]),
        (b"zero".to_vec(), 0o644, (-62135596800, 0), Is::File(1), ["4fa0cebe7dbfb413", "4fa0cebe7dbfb413"]),
        (b"l".to_vec(), 0o777, (1, 0), Is::Link(b"../a.txt".to_vec()), ["5bbd2d5fc0886fa8", "5bbd2d5fc0886fa8"]),
        (b"l".to_vec(), 0o777, (1, 0), Is::Link(rep("t", 100)), ["1de8d562c353b6fa", "1de8d562c353b6fa"]),
        (b"l".to_vec(), 0o777, (1, 0), Is::Link(rep("t", 101)), ["155a4488c4e40102", "155a4488c4e40102"]),
        (b"l".to_vec(), 0o777, (1, 9), Is::Link("ö".as_bytes().to_vec()), ["8781a1b9d374d2ed", "27a2befbb53960a4"]),
        (b"l".to_vec(), 0o777, (1, 0), Is::Link(b"".to_vec()), ["173833e63bfe9a20", "173833e63bfe9a20"]),
        ([rep("y", 99), b"/".to_vec(), rep("z", 90)].concat(), 0o755, (3, 0), Is::Dir, ["7aaf81ec9682e386", "7aaf81ec9682e386"]),
        (rep("é", 60), 0o755, (3, 4), Is::Dir, ["a5d10906b510fbd0", "59196230b1be7595"]),
    ];
    for (path, mode, mtime, is, expected) in cases {
        let kind = match &is {
            Is::File(size) => Kind::File { size: *size },
            Is::Dir => Kind::Directory,
            Is::Link(target) => Kind::Symlink { target },
        };
        let entry = Entry { path: &path, mode, mtime, kind };
        for (format, expected) in [Format::Pax, Format::Smallest].into_iter().zip(expected) {
            let mut out = Vec::new();
            append_header(&entry, format, &mut out).unwrap();
            assert_eq!(sha256(&out), expected, "{format:?} {entry:?}");
        }
    }
}

#[test]
fn a_nul_in_a_name_or_target_is_refused_and_writes_nothing() {
    let kinds = [
        (&b"a\0b"[..], Kind::Directory, "path"),
        (b"a", Kind::Symlink { target: b"\0" }, "linkpath"),
    ];
    for (path, kind, field) in kinds {
        let mut out = Vec::new();
        let entry = Entry { path, mode: 0o644, mtime: (1, 0), kind };
        let error = append_header(&entry, Format::Smallest, &mut out).unwrap_err();
        assert!(matches!(error, Error::Nul { key, .. } if key == field), "{error}");
        assert!(out.is_empty());
    }
}

#[test]
fn a_path_of_more_than_a_megabyte_is_refused() {
    let path = rep("a/", 600_000);
    let entry = Entry { path: &path, mode: 0o644, mtime: (1, 0), kind: Kind::Directory };
    assert_eq!(append_header(&entry, Format::Pax, &mut Vec::new()), Err(Error::TooLong));
}

#[test]
fn content_is_padded_to_whole_blocks() {
    for (size, pad) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (1 << 40, 0)] {
        assert_eq!(padding(size), pad, "{size}");
    }
}
