//! Reading content over the RPC: `cat`, `get`, `ls`, `refs`, `resolve`.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use bytes::Bytes;
use pinmesh::ipld::{Cid, PbLink, PbNode, codec, hash};
use pinmesh::unixfs::data::{Data, Kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::server::TestServer;

/// An answer, taken apart. Contents here are ASCII, so that text will do.
struct Answer {
    status: String,
    body: String,
    trailer: Option<String>,
}

impl Answer {
    fn parse(answer: &str) -> Self {
        let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.get(9..12).unwrap().to_owned();
        let mut body = String::new();
        loop {
            let (size, after) = rest.split_once("\r\n").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                let trailer = after.trim().strip_prefix("X-Stream-Error: ").map(str::to_owned);
                return Self { status, body, trailer };
            }
            let (chunk, after) = after.split_at(size);
            body.push_str(chunk);
            rest = after.strip_prefix("\r\n").unwrap();
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body.lines().last().unwrap()).unwrap()
    }
}

async fn call(server: &TestServer, target: &str) -> Answer {
    Answer::parse(&server.post(&format!("/api/v0/{target}")).await)
}

/// Sends files, each as name and content, and gives the last line of the answer.
async fn send(server: &TestServer, target: &str, files: &[(&str, &[u8])]) -> serde_json::Value {
    let mut body = Vec::new();
    for (name, content) in files {
        let head = format!(
            "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--cut--\r\n");
    let head = format!(
        "POST /api/v0/{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=cut\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = server.exchange([head.into_bytes(), body].concat()).await;
    let answer = Answer::parse(&answer);
    assert_eq!((answer.status.as_str(), &answer.trailer), ("200", &None), "{}", answer.body);
    answer.json()
}

async fn add(server: &TestServer, options: &str, content: &[u8]) -> String {
    let added = send(server, &format!("add?{options}"), &[("f", content)]).await;
    added["Hash"].as_str().unwrap().to_owned()
}

/// Puts a dag-pb block and gives its CID.
async fn put(server: &TestServer, kind: Data, links: &[(&str, &str)]) -> String {
    let links = links.iter().map(|(name, cid)| {
        PbLink::new(Cid::parse(cid).unwrap(), Bytes::copy_from_slice(name.as_bytes()), 1)
    });
    let node = PbNode { links: links.collect(), data: Some(kind.encode().into()) };
    let block = node.encode();
    let digest = hash::digest(hash::SHA2_256, &block, None).unwrap();
    let cid = Cid::new_v1(codec::DAG_PB, digest).to_string();
    let put = send(server, "block/put?cid-codec=dag-pb", &[("b", &block)]).await;
    assert_eq!(put["Key"].as_str().unwrap(), cid);
    cid
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + u8::try_from((i * 7 + i / 251) % 26).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_range_of_any_layout_is_that_of_the_content() {
    let server = TestServer::start().await;
    let content = text(50_000);
    let whole = String::from_utf8(content.clone()).unwrap();
    for options in [
        "chunker=size-100",
        "chunker=size-100&trickle=true",
        "chunker=size-77&raw-leaves=true&max-file-links=3",
        "chunker=size-1000&trickle=true&max-file-links=2",
        "cid-version=1",
    ] {
        let cid = add(&server, options, &content).await;
        assert_eq!(call(&server, &format!("cat?arg={cid}")).await.body, whole);
        for (offset, length) in
            [(0, 1), (99, 2), (100, 100), (49_999, 10), (50_000, 1), (12_345, 20_000)]
        {
            let target = format!("cat?arg={cid}&offset={offset}&length={length}");
            let end = (offset + length).min(content.len());
            assert_eq!(call(&server, &target).await.body, whole[offset..end], "{target}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_before_an_absent_block_are_sent_and_the_trailer_says_the_rest() {
    let server = TestServer::start().await;
    let content = text(40_960);
    let cid = add(&server, "chunker=size-8192&pin=false&raw-leaves=true", &content).await;
    let refs = call(&server, &format!("refs?arg={cid}&encoding=text")).await.body;
    let third = refs.lines().nth(2).unwrap();
    call(&server, &format!("block/rm?arg={third}")).await;
    let answer = call(&server, &format!("cat?arg={cid}&offline=true")).await;
    assert_eq!(answer.status, "200");
    assert_eq!(answer.body.as_bytes(), &content[..16_384]);
    assert_eq!(answer.trailer.as_deref(), Some("failed to fetch all nodes"));
    let answer = call(&server, &format!("cat?arg={cid}&offline=true&offset=20000")).await;
    assert_eq!(answer.status, "500");
    let rest = call(&server, &format!("cat?arg={cid}&offline=true&offset=24576")).await;
    assert_eq!(rest.body.as_bytes(), &content[24_576..]);
    let archive = call(&server, &format!("get?arg={cid}&offline=true")).await;
    assert_eq!((archive.status.as_str(), archive.body.as_str()), ("200", ""));
    assert_eq!(archive.trailer.as_deref(), Some("failed to fetch all nodes"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_was_altered_on_disk_is_named_and_not_sent() {
    let server = TestServer::start().await;
    let content = [text(100_000), vec![b'!'; 100_000]].concat();
    let cid = add(&server, "chunker=size-100000&raw-leaves=true", &content).await;
    let refs = call(&server, &format!("refs?arg={cid}&encoding=text")).await.body;
    let second = refs.lines().nth(1).unwrap().to_owned();
    let packs = std::fs::read_dir(server.directory().join("blocks")).unwrap();
    let mut altered = 0;
    for pack in packs {
        let path = pack.unwrap().path();
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        if let Some(at) = bytes.windows(50).position(|window| window == [b'!'; 50]) {
            file.seek(SeekFrom::Start(at as u64 + 1000)).unwrap();
            file.write_all(b"?").unwrap();
            altered += 1;
        }
    }
    assert_eq!(altered, 1);
    let answer = call(&server, &format!("cat?arg={cid}")).await;
    assert!(answer.trailer.unwrap().contains(&second));
    assert!(!answer.body.contains('!') && !answer.body.contains('?'));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_leads_nowhere_outside_itself() {
    let server = TestServer::start().await;
    let file = add(&server, "", b"content").await;
    let dir = || Data::new(Kind::Directory);
    let target = Data { data: Some(Bytes::from_static(b"/tmp")), ..Data::new(Kind::Symlink) };
    let link = put(&server, target, &[]).await;
    let inner = put(&server, dir(), &[("f", &file)]).await;
    let outside = "relative UnixFS paths outside the root are not allowed, use CAR instead";
    let no_name = "cannot be unpacked: it is no name of a file";
    let cases = [
        (vec![("a", &link), ("a", &inner)], "directory entry \"a\" cannot be unpacked: a symbolic"),
        (vec![("a", &link), ("a", &file)], "a symbolic link is in its place"),
        (vec![("..", &file)], outside),
        (vec![("../../x", &file)], outside),
        (vec![("", &file)], no_name),
        (vec![(".", &file)], no_name),
        (vec![("/etc/x", &file)], no_name),
        (vec![("b/c", &file)], no_name),
    ];
    for (links, text) in cases {
        let links: Vec<(&str, &str)> =
            links.into_iter().map(|(name, cid)| (name, cid.as_str())).collect();
        let cid = put(&server, dir(), &links).await;
        for options in ["", "&archive=true", "&archive=true&compress=true"] {
            let answer = call(&server, &format!("get?arg={cid}{options}")).await;
            let error = answer.trailer.unwrap_or_default();
            assert!(error.contains(text), "{links:?}: {error}");
            assert!(answer.body.is_empty());
        }
    }
    // Two files of one name are a nuisance and no more.
    let twice = put(&server, dir(), &[("a", &file), ("a", &file)]).await;
    let answer = call(&server, &format!("get?arg={twice}&archive=true")).await;
    assert_eq!((answer.trailer, answer.body.matches("content").count()), (None, 2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_of_any_depth_and_form_are_archived_entry_by_entry() {
    let server = TestServer::start().await;
    let file = add(&server, "", b"leaf").await;
    let names: Vec<String> = (0..200).map(|i| format!("n{i:03}")).collect();
    let mut links: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), &*file)).collect();
    let flat = put(&server, Data::new(Kind::Directory), &links).await;
    // Entries before and after a directory, itself of more entries than are opened ahead.
    links.insert(100, ("n0995", &flat));
    let mut cid = put(&server, Data::new(Kind::Directory), &links).await;
    for _ in 0..300 {
        cid = put(&server, Data::new(Kind::Directory), &[("d", &cid)]).await;
    }
    let answer = call(&server, &format!("get?arg={cid}&archive=true")).await;
    assert_eq!(answer.trailer, None);
    assert_eq!(answer.body.matches("leaf").count(), 400);
    assert!(answer.body.len().is_multiple_of(512));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_directory_is_listed_whole_and_sorted() {
    let server = TestServer::start().await;
    let names: Vec<String> = (0..600).map(|i| format!("{i:03}-{}", "x".repeat(500))).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), &b"shard"[..])).collect();
    let added = send(&server, "add?wrap-with-directory=true", &files).await;
    let cid = added["Hash"].as_str().unwrap();
    let listed = call(&server, &format!("ls?arg={cid}")).await.json();
    let links = listed["Objects"][0]["Links"].as_array().unwrap();
    let listed: Vec<&str> = links.iter().map(|link| link["Name"].as_str().unwrap()).collect();
    assert_eq!(listed, names);
    assert!(links.iter().all(|link| link["Size"] == 5 && link["Type"] == 2));
    let streamed = call(&server, &format!("ls?arg={cid}&stream=true")).await;
    assert_eq!(streamed.body.lines().count(), names.len());
    let name = &names[321];
    assert_eq!(call(&server, &format!("cat?arg={cid}/{name}")).await.body, "shard");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refs_follow_depth_and_uniqueness_over_shared_subtrees() {
    let server = TestServer::start().await;
    let leaf = add(&server, "", b"leaf").await;
    let dir = || Data::new(Kind::Directory);
    let low = put(&server, dir(), &[("l", &leaf)]).await;
    let mid = put(&server, dir(), &[("low", &low)]).await;
    let top = put(&server, dir(), &[("a", &mid), ("b", &low), ("c", &leaf)]).await;
    let cases = [
        ("", vec![&mid, &low, &leaf]),
        ("&r=true", vec![&mid, &low, &leaf, &low, &leaf, &leaf]),
        ("&r=true&u=true", vec![&mid, &low, &leaf]),
        ("&r=true&max-depth=2", vec![&mid, &low, &low, &leaf, &leaf]),
        // Seen first at the depth where the walk ends, then higher: gone into, not listed again.
        ("&r=true&u=true&max-depth=2", vec![&mid, &low, &leaf]),
        ("&r=true&max-depth=0", vec![]),
    ];
    for (options, expected) in cases {
        let answer = call(&server, &format!("refs?arg={top}&encoding=text{options}")).await;
        let refs: Vec<&str> = answer.body.lines().collect();
        assert_eq!(refs, expected, "{options}");
    }
    let names = call(&server, &format!("refs?arg={top}&encoding=text&format=<linkname>")).await;
    assert_eq!(names.body, "a\nb\nc\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_the_reading() {
    let server = TestServer::start().await;
    let cid = add(&server, "raw-leaves=true", &text(20 << 20)).await;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut socket = server.connect().await;
        let request = format!("POST /api/v0/cat?arg={cid} HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 1000];
        socket.read_exact(&mut head).await.unwrap();
        assert!(head.starts_with(b"HTTP/1.1 200"));
        readers.push(socket);
    }
    drop(readers);
    crate::support::server::until("sockets are closed", || open() <= before + 10).await;
    server.stop().await;
}
