//! `repo/*` over HTTP.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use crate::support::server::TestServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_removes_what_no_pin_keeps_and_tells_each() {
    let server = TestServer::start().await;
    let kept = server.put_block("pin=true", b"kept").await;
    let mut loose = Vec::new();
    for n in 0..20 {
        loose.push(server.put_block("", format!("loose {n}").as_bytes()).await);
    }
    let mut removed: Vec<String> = server
        .rpc("repo/gc")
        .await
        .values()
        .iter()
        .map(|value| value["Key"]["/"].as_str().unwrap().to_owned())
        .collect();
    removed.sort();
    loose.sort();
    assert_eq!(removed, loose);
    assert_eq!(server.rpc(&format!("block/get?arg={kept}")).await.text(), "kept");
    assert_eq!(server.rpc("repo/stat").await.values()[0]["NumObjects"], 2);
    assert_eq!(server.rpc("repo/gc?silent=true").await.text(), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block_is_named_and_dropped() {
    let server = TestServer::start().await;
    let block = b"a block that will be damaged";
    let cid = server.put_block("", block).await;
    damage(server.directory(), block);
    let answer = server.rpc("repo/verify").await;
    assert_eq!(answer.error.as_deref(), Some("verify complete, 1 blocks corrupt"));
    let body = String::from_utf8(answer.body).unwrap();
    assert!(body.contains(&format!("block {cid} was corrupt (")), "{body}");
    let body = server.rpc("repo/verify?drop=true").await.text();
    assert!(body.contains("\"verify complete, 1 blocks corrupt, 1 removed\""), "{body}");
    let body = server.rpc("repo/verify").await.text();
    assert!(
        body.ends_with("{\"Msg\":\"verify complete, all blocks validated.\",\"Progress\":0}\n")
    );
    server.stop().await;
}

/// Changes a byte of a block in the packs.
fn damage(repo: &std::path::Path, block: &[u8]) {
    for entry in std::fs::read_dir(repo.join("blocks")).unwrap() {
        let path = entry.unwrap().path();
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut pack = Vec::new();
        file.read_to_end(&mut pack).unwrap();
        let found = pack.windows(block.len()).position(|window| window == block);
        if let Some(at) = found {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(b"A").unwrap();
            return;
        }
    }
    panic!("no pack has the block");
}
