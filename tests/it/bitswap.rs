//! Content that another member of the network has, over HTTP.

use std::time::Duration;

use serde_json::Value;

use crate::support::server::TestServer;

/// A pattern that compresses badly and differs everywhere.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

/// Two nodes of one network, connected.
async fn two() -> (TestServer, TestServer) {
    let one = TestServer::start().await;
    let two = TestServer::start_with_key_of(&one).await;
    connect(&two, &one).await;
    (one, two)
}

async fn connect(from: &TestServer, to: &TestServer) {
    let id = to.rpc("id").await.values();
    let address = id[0]["Addresses"][0].as_str().unwrap().to_owned();
    from.rpc(&format!("swarm/connect?arg={address}")).await.text();
}

async fn add(server: &TestServer, options: &str, files: &[Vec<u8>]) -> Vec<String> {
    let added = server.rpc_with(&format!("add?{options}"), files).await.values();
    added.iter().map(|event| event["Hash"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a node has sent so many bytes of blocks to another.
async fn until_sent(from: &TestServer, to: &TestServer, bytes: u64) {
    let id = to.rpc("id").await.values();
    let command = format!("bitswap/ledger?arg={}", id[0]["ID"].as_str().unwrap());
    let sent = async {
        while from.rpc(&command).await.values()[0]["Sent"].as_u64().unwrap() < bytes {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), sent).await.unwrap();
}

async fn stat(server: &TestServer) -> Value {
    server.rpc("bitswap/stat").await.values().remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_read_pinned_and_kept_from_the_collector() {
    let (holder, reader) = two().await;
    let content = bytes(1, 3 << 20);
    let [root] = &add(&holder, "chunker=size-10000", std::slice::from_ref(&content)).await[..]
    else {
        panic!("one file")
    };
    // A range first: what is outside it is not fetched.
    let range = reader.rpc(&format!("cat?arg={root}&offset=1000000&length=5000")).await;
    assert_eq!(range.body, content[1_000_000..1_005_000]);
    assert!(stat(&reader).await["BlocksReceived"].as_u64().unwrap() < 20);
    let offline = reader.rpc(&format!("cat?arg={root}&offline=true")).await;
    assert!(offline.error.is_some() || offline.status == 500);
    let target = format!("pin/add?arg={root}&progress=true");
    let (pinned, collected) = tokio::join!(reader.rpc(&target), reader.rpc("repo/gc"));
    collected.text();
    let progress = pinned.values();
    let blocks = 3 * (1 << 20) / 10_000 + 1;
    let told = progress.iter().filter_map(|event| event["Progress"].as_u64()).next_back();
    assert!(told.is_none_or(|told| told > blocks), "{progress:?}");
    let whole = reader.rpc(&format!("cat?arg={root}&offline=true")).await;
    assert!(whole.body == content);
    assert_eq!(reader.rpc("pin/verify").await.text(), "");
    let stat = stat(&reader).await;
    assert_eq!(stat["Wantlist"], serde_json::json!([]));
    assert_eq!(stat["BlocksSent"], 0);
    let id = holder.rpc("id").await.values();
    let peer = id[0]["ID"].as_str().unwrap();
    let ledger = reader.rpc(&format!("bitswap/ledger?arg={peer}")).await.values();
    assert!(ledger[0]["Recv"].as_u64().unwrap() >= 3 << 20, "{ledger:?}");
    reader.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dags_are_walked_listed_and_exported() {
    let (holder, reader) = two().await;
    let files: Vec<Vec<u8>> = (0..300).map(|n| bytes(n, 2000)).collect();
    let root = holder.add_directory("cid-version=1", &files).await;
    let links = reader.rpc(&format!("ls?arg={root}")).await.values();
    assert!(!links[0]["Objects"][0]["Links"].as_array().unwrap().is_empty());
    let theirs = holder.rpc(&format!("refs?arg={root}&recursive=true")).await.values();
    let ours = reader.rpc(&format!("refs?arg={root}&recursive=true")).await.values();
    assert_eq!(theirs, ours);
    let car = holder.rpc(&format!("dag/export?arg={root}")).await.body;
    assert!(car == reader.rpc(&format!("dag/export?arg={root}&offline=true")).await.body);
    let root = holder.add_directory("chunker=size-500", &files).await;
    let counted = reader.rpc(&format!("dag/stat?arg={root}&progress=false")).await.values();
    let theirs = holder.rpc(&format!("dag/stat?arg={root}&progress=false")).await.values();
    assert_eq!(counted, theirs);
    let tar = holder.rpc(&format!("get?arg={root}")).await.body;
    assert_eq!(tar.len(), reader.rpc(&format!("get?arg={root}&offline=true")).await.body.len());
    let node = holder.put_node("", "{\"a\":[1,2]}").await;
    assert_eq!(reader.rpc(&format!("dag/get?arg={node}/a/1")).await.text().trim(), "2");
    reader.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_holder_goes_half_way_and_another_has_the_rest() {
    let (half, reader) = two().await;
    let files: Vec<Vec<u8>> = (0..40).map(|n| bytes(1000 + n, 20_000)).collect();
    let whole = TestServer::start_with_key_of(&reader).await;
    let root = whole.add_directory("cid-version=1", &files).await;
    // One has the root and half of the files.
    let car = whole.rpc(&format!("block/get?arg={root}")).await.body;
    half.rpc_with("block/put?cid-codec=dag-pb&mhtype=sha2-256", &[car]).await.text();
    add(&half, "cid-version=1", &files[..20]).await;
    let target = format!("pin/add?arg={root}&timeout=60s");
    let pinning = reader.rpc(&target);
    let others = async {
        until_sent(&half, &reader, 20 * 20_000).await;
        half.stop().await;
        connect(&reader, &whole).await;
    };
    let (pinned, ()) = tokio::join!(pinning, others);
    pinned.text();
    assert_eq!(reader.rpc("pin/verify").await.text(), "");
    reader.stop().await;
    whole.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_fails_in_time_and_leaves_no_want() {
    let (holder, reader) = two().await;
    let nobody = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
    let answer = reader.rpc(&format!("cat?arg={nobody}&timeout=300ms")).await;
    assert_eq!(answer.message(), "context deadline exceeded");
    assert_eq!(reader.rpc("bitswap/wantlist").await.values()[0]["Keys"], serde_json::json!([]));
    // A block without bytes is known to everybody.
    let empty = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    assert_eq!(reader.rpc(&format!("cat?arg={empty}")).await.body, b"");
    reader.stop().await;
    holder.stop().await;
}
