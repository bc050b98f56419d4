//! `pin/*` over HTTP.

use crate::support::server::TestServer;

const MISSING_NODE: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
const MISSING_LEAF: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pins_are_listed_by_their_text_in_any_base() {
    let server = TestServer::start().await;
    let files: Vec<String> = (0..5000).map(|n| format!("pin {n}")).collect();
    server.rpc_with("block/put?pin=true", &files).await.text();
    for (options, count) in [("", 5001), ("&cid-base=base36", 5001), ("&type=direct", 0)] {
        let text = server.rpc(&format!("pin/ls?x=y{options}")).await.text();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let Some(keys) = value.get("Keys") else {
            assert_eq!((count, &*text), (0, "{}\n"));
            continue;
        };
        let keys: Vec<&String> = keys.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), count);
        assert!(keys.is_sorted(), "{options}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indirect_pins_are_listed_once_and_merged_in_order() {
    let server = TestServer::start().await;
    let leaf = server.put_block("", b"leaf").await;
    let middle = server.put_node("", &format!("{{\"l\":{{\"/\":\"{leaf}\"}}}}")).await;
    for n in 0..3 {
        let node = format!("{{\"m\":{{\"/\":\"{middle}\"}},\"n\":{n}}}");
        let root = server.put_node("", &node).await;
        server.rpc(&format!("pin/add?arg={root}&name=root-{n}")).await.text();
    }
    server.rpc(&format!("pin/add?arg={leaf}&recursive=false")).await.text();
    let lines = server.rpc("pin/ls?type=indirect&stream=true").await.values();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["Cid"], middle.as_str());
    let all = server.rpc("pin/ls").await.values();
    let keys = all[0]["Keys"].as_object().unwrap();
    assert_eq!(keys.len(), 6);
    assert_eq!(keys[&leaf]["Type"], "direct");
    assert!(keys.keys().is_sorted());
    let named = server.rpc("pin/ls?name=root-1").await.values();
    assert_eq!(named[0]["Keys"].as_object().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_taken_while_garbage_is_collected_is_whole() {
    let server = TestServer::start().await;
    for round in 0..10 {
        let leaves: Vec<String> = (0..50).map(|n| format!("leaf {round} {n}")).collect();
        let values = server.rpc_with("block/put", &leaves).await.values();
        let links: Vec<String> =
            values.iter().map(|value| format!("{{\"/\":{}}}", value["Key"])).collect();
        let root = server.put_node("", &format!("[{}]", links.join(","))).await;
        let target = format!("pin/add?arg={root}&offline=true&timeout=5s");
        let (pinned, collected) = tokio::join!(server.rpc(&target), server.rpc("repo/gc"));
        collected.text();
        // The collector may have been first; then there is no pin.
        if pinned.status == 200 {
            let target = format!("dag/stat?arg={root}&progress=false&offline=true");
            assert_eq!(server.rpc(&target).await.values()[0]["UniqueBlocks"], 51);
        }
    }
    assert_eq!(server.rpc("pin/verify").await.text(), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_tells_every_way_to_a_missing_block() {
    let server = TestServer::start().await;
    let node = format!(
        "{{\"a\":{{\"/\":\"{MISSING_NODE}\"}},\"b\":{{\"/\":\"{MISSING_NODE}\"}},\
          \"c\":{{\"/\":\"{MISSING_LEAF}\"}}}}"
    );
    let root = server.put_node("pin=true", &node).await;
    let values = server.rpc("pin/verify?verbose=true").await.values();
    assert_eq!(values.len(), 2);
    let broken = values.iter().find(|value| value["Cid"] == root.as_str()).unwrap();
    let bad = broken["BadNodes"].as_array().unwrap();
    let cids: Vec<&str> = bad.iter().map(|node| node["Cid"].as_str().unwrap()).collect();
    assert_eq!(cids, [MISSING_NODE, MISSING_NODE, MISSING_LEAF]);
    let text = server.rpc("pin/verify?quiet=true&encoding=text").await.text();
    assert_eq!(text, format!("{root}\n"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_that_fails_leaves_the_pin_that_was_there() {
    let server = TestServer::start().await;
    let root = server.put_node("pin=true", &format!("{{\"/\":\"{MISSING_NODE}\"}}")).await;
    let answer = server.rpc(&format!("pin/add?arg={root}&timeout=200ms&name=new")).await;
    assert_eq!(answer.message(), "pin: context deadline exceeded");
    let pins = server.rpc("pin/ls?type=recursive&names=true").await.values();
    assert_eq!(pins[0]["Keys"][&root]["Name"], "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_counts_blocks_and_bytes() {
    let server = TestServer::start().await;
    let leaf = server.put_block("", b"leaf").await;
    let root = server.put_node("", &format!("{{\"l\":{{\"/\":\"{leaf}\"}}}}")).await;
    let values = server.rpc(&format!("pin/add?arg={root}&progress=true")).await.values();
    let (pins, before) = values.split_last().unwrap();
    assert_eq!(pins["Pins"][0], root.as_str());
    let last = before.last().unwrap();
    assert_eq!((&last["Progress"], &last["Bytes"]), (&2.into(), &(44 + 4).into()));
    server.stop().await;
}
