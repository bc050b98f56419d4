//! `block/*` over HTTP.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::rpc::{Answer, end, head, part};
use crate::support::server::TestServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_parts_are_answered_in_order_and_pinned() {
    let server = TestServer::start().await;
    let files: Vec<String> = (0..2500).map(|n| format!("block {n}")).collect();
    let values = server.rpc_with("block/put?pin=true", &files).await.values();
    assert_eq!(values.len(), files.len());
    for (value, file) in values.iter().zip(&files) {
        assert_eq!(value["Size"], file.len());
    }
    let last = values.last().unwrap()["Key"].as_str().unwrap();
    let got = server.rpc(&format!("block/get?arg={last}")).await.text();
    assert_eq!(got, "block 2499");
    let pins = server.rpc("pin/ls?type=recursive&stream=true").await.values();
    assert_eq!(pins.len(), files.len() + 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_answered_before_the_next_has_come() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    let chunk =
        |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    socket.write_all(head("block/put", None).as_bytes()).await.unwrap();
    // The beginning of the second part ends the first.
    let (first, second) = (part(b"first"), part(b"second"));
    let (announced, rest) = second.split_at(60);
    socket.write_all(&chunk(&[&first, announced].concat())).await.unwrap();
    let mut answer = vec![0; 64 << 10];
    let mut len = 0;
    while !String::from_utf8_lossy(&answer[..len]).contains("\"Size\":5") {
        let read = socket.read(&mut answer[len..]).await.unwrap();
        assert_ne!(read, 0, "the answer has ended");
        len += read;
    }
    socket.write_all(&chunk(&[rest, &end()].concat())).await.unwrap();
    socket.write_all(b"0\r\n\r\n").await.unwrap();
    answer.truncate(len);
    socket.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer).values().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_wrong_part_is_stored_and_answered() {
    let server = TestServer::start().await;
    let big = vec![b'x'; (2 << 20) + 1];
    let answer = server.rpc_with("block/put?pin=true", &[b"good".to_vec(), big]).await;
    assert!(answer.error.as_ref().unwrap().starts_with("produced block is over 2MiB"));
    assert_eq!(String::from_utf8(answer.body).unwrap().lines().count(), 1);
    // The big one is there and pinned all the same, as in Kubo.
    assert_eq!(server.rpc("pin/ls?type=recursive&stream=true").await.values().len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_of_any_length_is_not_read_into_memory() {
    let server = TestServer::start().await;
    let answer = server.rpc_with("block/put?allow-big-block=true", &[vec![0; 33 << 20]]).await;
    assert_eq!(answer.message(), "a block may not be larger than 32 MiB");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pinned_blocks_are_not_removed() {
    let server = TestServer::start().await;
    let leaf = server.put_block("", b"leaf").await;
    let root = server.put_node("", &format!("{{\"l\":{{\"/\":\"{leaf}\"}}}}")).await;
    server.rpc(&format!("pin/add?arg={root}")).await.text();
    let loose = server.put_block("", b"loose").await;
    let target = format!("block/rm?arg={leaf}&arg={root}&arg={loose}&arg={loose}");
    let values = server.rpc(&target).await.values();
    let errors: Vec<_> = values.iter().map(|value| value["Error"].as_str()).collect();
    let via = format!("pinned via {root}");
    let gone = format!("ipld: could not find {loose}");
    assert_eq!(errors, [Some(&*via), Some("pinned: recursive"), None, Some(&*gone)]);
    server.stop().await;
}
