//! Multipart bodies and the trees in them, cut at every place.

use bytes::Bytes;

use super::Error;
use super::body::Body;
use super::files::{EntryKind, Files};

/// Reads a whole body; each entry with its content, then the error, if any.
async fn read(frames: Vec<Bytes>) -> (Vec<String>, Option<String>) {
    let body = Body::from_frames(frames.into_iter().map(Ok::<_, Error>));
    let mut files = Files::new(body, "b");
    let mut seen = Vec::new();
    loop {
        let entry = match files.next().await {
            Ok(Some(entry)) => entry,
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(error.to_string())),
        };
        let path = format!("{}:{}", entry.depth, entry.path);
        match entry.kind {
            EntryKind::Directory => seen.push(format!("{path}/")),
            EntryKind::Symlink(target) => seen.push(format!("{path} -> {target}")),
            EntryKind::File => match files.read_all(1 << 20, "too long").await {
                Ok(content) => seen.push(format!("{path}={}", String::from_utf8_lossy(&content))),
                Err(error) => seen.push(format!("{path}!{error}")),
            },
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn whole(body: &str) -> (Vec<String>, Option<String>) {
    block_on(read(vec![Bytes::copy_from_slice(body.as_bytes())]))
}

fn part(disposition: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: {disposition}\r\n\r\n{content}\r\n")
}

fn file(name: &str, content: &str) -> String {
    part(&format!("form-data; name=\"f\"; filename=\"{name}\""), content)
}

#[test]
fn a_body_reads_the_same_however_it_is_cut() {
    let tricky = "a\r\n--bx\r\n-\r\n--\r\n--b-\r\r\n\r\n";
    let body = format!(
        "preamble\r\n{}{}{}--b--\r\nepilogue",
        file("one", tricky),
        file("two", ""),
        file("three", "x")
    );
    let want = vec![format!("0:one={tricky}"), "0:two=".to_owned(), "0:three=x".to_owned()];
    let bytes = Bytes::from(body);
    for cut in 0..bytes.len() {
        let frames = vec![bytes.slice(..cut), bytes.slice(cut..)];
        assert_eq!(block_on(read(frames)), (want.clone(), None), "cut at {cut}");
    }
    let single = bytes.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect();
    assert_eq!(block_on(read(single)), (want, None));
}

#[test]
fn a_body_with_lone_line_feeds_is_read_too() {
    let body = "--b\nContent-Disposition: form-data; filename=\"lf\"\n\nx\n--b--\n";
    assert_eq!(whole(body), (vec!["0:lf=x".to_owned()], None));
}

#[test]
fn what_is_malformed_fails_with_the_text_of_go() {
    let cases = [
        ("", "multipart: NextPart: EOF"),
        ("x", "multipart: NextPart: EOF"),
        ("--b\r\nno colon\r\n\r\n", "malformed MIME header: missing colon: \"no colon\""),
        ("--b\r\n x: y\r\n\r\n", "malformed MIME header initial line: \" x: y\""),
        ("--b\r\n: y\r\n\r\n", "malformed MIME header line: \": y\""),
    ];
    for (body, want) in cases {
        assert_eq!(whole(body).1.as_deref(), Some(want), "{body:?}");
    }
    let open = file("a", "x") + "--b";
    assert_eq!(whole(&open).1.as_deref(), Some("multipart: NextPart: EOF"));
    let long = "x".repeat(6000) + "\r\n";
    assert_eq!(whole(&long).1.as_deref(), Some("multipart: NextPart: bufio: buffer full"));
    let header = format!("--b\r\nA: {}\r\n", "x".repeat(2 << 20));
    assert_eq!(whole(&header).1.as_deref(), Some("multipart: message too large"));
}

#[test]
fn a_cut_part_is_an_unexpected_end() {
    let (seen, error) =
        whole(&file("cut", "no end").replace("\r\n--b", "").replace("end\r\n", "end"));
    assert_eq!(seen, ["0:cut!unexpected EOF"]);
    assert_eq!(error.as_deref(), Some("multipart: NextPart: EOF"));
}

#[test]
fn a_body_that_ends_in_a_part_header_has_ended() {
    let body = format!("{}--b\r\n", file("a", "x"));
    assert_eq!(whole(&body), (vec!["0:a=x".to_owned()], None));
}

#[test]
fn a_part_without_a_name_ends_the_tree() {
    let body = format!("{}--b\r\n\r\nx\r\n{}--b--", file("a", "1"), file("b", "2"));
    assert_eq!(whole(&body), (vec!["0:a=1".to_owned()], None));
}

#[test]
fn names_make_a_tree() {
    let dir = |name: &str| {
        let head = format!("--b\r\nContent-Disposition: form-data; filename=\"{name}\"\r\n");
        format!("{head}Content-Type: application/x-directory\r\n\r\n\r\n")
    };
    let link = |name: &str, target: &str| {
        let head = format!("--b\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n");
        format!("{head}Content-Type: application/symlink\r\n\r\n{target}\r\n")
    };
    let body = [
        file("d%2Fsub/x", "1"),
        file("d/y+z", "2"),
        dir("e"),
        link("e/l", "../t"),
        file("../up", "3"),
        file("d/again", "4"),
        file("", "5"),
        "--b--\r\n".to_owned(),
    ]
    .concat();
    let want = [
        "0:d/",
        "1:d/sub/",
        "2:d/sub/x=1",
        "1:d/y z=2",
        "0:e/",
        "1:e/l -> ../t",
        "0:up=3",
        "0:d/",
        "1:d/again=4",
        "0:=5",
    ];
    let (seen, error) = whole(&body);
    assert_eq!((seen.iter().map(String::as_str).collect(), error), (want.to_vec(), None));
}

#[test]
fn mode_and_time_come_from_the_form_name() {
    let cases = [
        ("f", 0, None),
        ("f?mode=0644&mtime=5&mtime-nsecs=7", 0o644, Some((5, 7))),
        ("f?", 0, Some((0, 0))),
        ("f?mode=9", 0, Some((0, 0))),
        ("f?mode=1&mtime=x", 1, None),
    ];
    for (name, mode, mtime) in cases {
        let body = part(&format!("form-data; name=\"{name}\"; filename=\"x\""), "") + "--b--";
        let body = Body::from_frames([Ok(Bytes::from(body))]);
        let entry = block_on(Files::new(body, "b").next()).unwrap().unwrap();
        assert_eq!((entry.mode, entry.mtime), (mode, mtime), "{name}");
    }
}

#[test]
fn deep_names_are_refused_and_not_followed() {
    let body = file(&"d/".repeat(5000), "x") + "--b--";
    let (_, error) = whole(&body);
    assert_eq!(error.as_deref(), Some("directories nest deeper than 4096"));
}
