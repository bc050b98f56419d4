//! The RPC over real sockets: what clients do, and what hostile ones try.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::server::{TestServer, read_all, until};

/// A CID that nobody has: asking for it waits for the network.
const MISSING: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_a_mebibyte_is_taken_and_a_longer_one_refused() {
    let server = TestServer::start().await;
    let long = "a".repeat((1 << 20) - 200);
    let answer = server.post(&format!("/api/v0/commands?x={long}")).await;
    assert_eq!(status(&answer), "200");
    let answer = server.post(&format!("/api/v0/commands?x={long}{long}")).await;
    assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer:.80}");
    let answer = server.post(&format!("/api/v0/{}", "x/".repeat(400_000))).await;
    assert_eq!(status(&answer), "404");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_headers_are_taken() {
    let server = TestServer::start().await;
    let headers: String = (0..1000).map(|i| format!("X-{i}: {i}\r\n")).collect();
    let request =
        format!("POST /api/v0/commands HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    assert_eq!(status(&server.exchange(request).await), "200");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start().await;
    let one = "POST /api/v0/pin HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "POST /api/v0/nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\n\r\n";
    let bad = "POST /api/v0/pin HTTP/1.1\r\n\r\n";
    let answer = server.exchange(format!("{one}{one}{bad}")).await;
    let statuses: Vec<&str> =
        answer.split("HTTP/1.1 ").skip(1).map(|answer| answer.get(..3).unwrap()).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answer}");
    let answer = server.exchange(chunked).await;
    assert!(answer.contains("Connection: close"), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_stays_open_between_requests() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    for _ in 0..3 {
        socket.write_all(b"POST /api/v0/pin HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("\r\nServer: kubo/0.44.0/test\r\n"), "{answer}");
        assert!(!answer.contains("Connection: close"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_requests_by_the_hundred_leave_nothing_open() {
    let server = TestServer::start().await;
    server.post("/api/v0/pin").await;
    let before = open_files();
    let halves = [
        "POST /api/v0/pin HT",
        "POST /api/v0/pin HTTP/1.1\r\nHost: x\r\nX: ",
        "POST /api/v0/add HTTP/1.1\r\nHost: x\r\nContent-Length: 4611686018427387904\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n",
        "POST /api/v0/add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: multipart/form-data; boundary=b\r\n\r\nfffffffffffffff\r\n--b\r\n",
    ];
    let mut sockets = Vec::new();
    for i in 0..300 {
        let mut socket = server.connect().await;
        socket.write_all(halves[i % halves.len()].as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    assert_eq!(status(&server.post("/api/v0/pin").await), "200");
    drop(sockets);
    let log = server.log.clone();
    until("every file is closed", || open_files() <= before).await;
    until("no call runs", || log.calls().iter().all(|call| call.end.is_some())).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_ends_its_command() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    let request = format!("POST /api/v0/cat?arg={MISSING} HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let log = server.log.clone();
    let running = || log.calls().iter().any(|call| call.command == "cat" && call.end.is_none());
    until("the command runs", running).await;
    drop(socket);
    until("the command has ended", || !running()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_is_still_answered() {
    let server = TestServer::start().await;
    for (target, want) in
        [("/api/v0/commands".to_owned(), "200"), (format!("/api/v0/cat?arg={MISSING}"), "500")]
    {
        let mut socket = server.connect().await;
        let request = format!("POST {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let answer = read_all(&mut socket).await;
        assert_eq!(status(&answer), want, "{answer}");
        assert_eq!(answer.contains("context canceled"), want == "500");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_ends_a_command_when_it_is_due_and_not_before() {
    let server = TestServer::start().await;
    let start = Instant::now();
    let answer = server.post(&format!("/api/v0/cat?arg={MISSING}&timeout=300ms")).await;
    let took = start.elapsed();
    assert_eq!(status(&answer), "500");
    assert!(answer.contains("context deadline exceeded"), "{answer}");
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&took), "{took:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_nobody_reads_does_not_take_the_answer_away() {
    let server = TestServer::start().await;
    let body = vec![b'x'; 4 << 20];
    for target in ["/api/v0/nope", "/api/v0/commands", "/api/v0/cat"] {
        let mut socket = server.connect().await;
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = socket.split();
        // The server may close before all is sent.
        let (answer, _) = tokio::join!(read_all(&mut reader), writer.write_all(&body));
        assert!(answer.starts_with("HTTP/1.1 "), "{target}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{target}: {answer}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_chunks_are_an_error_and_end_the_connection() {
    let server = TestServer::start().await;
    let answer = server
        .exchange(
            "POST /api/v0/add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: multipart/form-data; boundary=b\r\n\r\nzz\r\n--b\r\n0\r\n\r\n",
        )
        .await;
    assert!(answer.is_empty() || status(&answer).starts_with(['4', '5']), "{answer}");
    assert_eq!(status(&server.post("/api/v0/pin").await), "200");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_parts_take_bounded_memory() {
    let server = TestServer::start().await;
    let part = "--b\r\nContent-Disposition: form-data; filename=\"f\"\r\n\r\nx\r\n";
    let body = part.repeat(100_000) + "--b--\r\n";
    let request = |target: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\n\r\n",
            body.len()
        )
    };
    let before = resident_kib();
    let target = "/api/v0/add?only-hash=true&silent=true";
    let answer = server.exchange(request(target) + &body).await;
    assert_eq!(status(&answer), "200", "{answer:.200}");
    assert!(!answer.contains("X-Stream-Error: "), "{answer:.2000}");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_too_and_goes_with_the_server() {
    let server = TestServer::start().await;
    let path = server.directory().join("api.sock");
    let mut socket = UnixStream::connect(&path).await.unwrap();
    let request = "POST /api/v0/pin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&read_all(&mut socket).await), "200");
    let directory = server.stop().await;
    assert!(!path.exists());
    drop(directory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_answers_before_the_node_ends() {
    let server = TestServer::start().await;
    let answer = server.post("/api/v0/shutdown").await;
    assert_eq!(status(&answer), "200");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_not_there_yet_says_so() {
    let server = TestServer::start().await;
    server.rpc("config?arg=Experimental.FilestoreEnabled&arg=true&bool=true").await.text();
    let answer = server.post("/api/v0/filestore/ls").await;
    assert_eq!(status(&answer), "501");
    assert!(answer.contains("not available yet in pinmesh: filestore/ls"), "{answer}");
    let answer = server.post("/api/v0/p2p/listen").await;
    assert_eq!(status(&answer), "400");
    assert!(answer.ends_with("argument \"protocol\" is required\n"), "{answer}");
    server.stop().await;
}
