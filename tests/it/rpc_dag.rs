//! `dag/*` over HTTP.

use crate::support::server::TestServer;

/// A list node over raw leaves; the CID of the list, and of each leaf.
async fn list(server: &TestServer, count: usize, leaf_len: usize) -> (String, Vec<String>) {
    let leaves: Vec<Vec<u8>> = (0..count)
        .map(|n| n.to_string().into_bytes().into_iter().cycle().take(leaf_len + n % 7).collect())
        .collect();
    let values = server.rpc_with("block/put", &leaves).await.values();
    let keys = values.iter().map(|value| value["Key"].as_str().unwrap().to_owned());
    let keys: Vec<String> = keys.collect();
    let links: Vec<String> = keys.iter().map(|key| format!("{{\"/\":\"{key}\"}}")).collect();
    let root = server.put_node("", &format!("[{}]", links.join(","))).await;
    (root, keys)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_exports_another_imports() {
    let one = TestServer::start().await;
    let other = TestServer::start().await;
    let (root, leaves) = list(&one, 300, 20_000).await;
    let car = one.rpc(&format!("dag/export?arg={root}")).await;
    assert_eq!((car.status, &car.error), (200, &None));
    let values = other.rpc_with("dag/import?stats=true", &[&car.body]).await.values();
    assert_eq!(values[0]["Root"]["Cid"]["/"], root.as_str());
    assert_eq!(values[0]["Root"]["PinErrorMsg"], "");
    let blocks: std::collections::HashSet<&String> = leaves.iter().collect();
    assert_eq!(values[1]["Stats"]["BlockCount"], blocks.len() + 1);
    assert_eq!(other.rpc(&format!("dag/export?arg={root}")).await.body, car.body);
    let stat = other.rpc(&format!("dag/stat?progress=false&arg={root}")).await.values();
    assert_eq!(stat[0]["TotalSize"], values[1]["Stats"]["BlockBytesCount"]);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_block_deep_in_a_car_is_named_by_the_one_before_it() {
    let server = TestServer::start().await;
    let (root, leaves) = list(&server, 200, 40_000).await;
    let mut car = server.rpc(&format!("dag/export?arg={root}")).await.body;
    let cut = server.rpc_with("dag/import", &[&car[..car.len() - 5]]).await;
    let before_last = &leaves[leaves.len() - 2];
    let want = format!("import failed after block \"{before_last}\": unexpected EOF");
    assert_eq!(cut.message(), want);
    let last = car.len() - 1;
    car[last] ^= 1;
    let message = server.rpc_with("dag/import", &[&car]).await.message();
    let want =
        format!("import failed after block \"{before_last}\": mismatch in content integrity");
    assert!(message.starts_with(&want), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_tells_where_the_missing_block_is() {
    let server = TestServer::start().await;
    let missing = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let inner = format!("{{\"a\":[1,{{\"b\":{{\"/\":\"{missing}\"}}}}]}}");
    let inner = server.put_node("", &inner).await;
    let root = server.put_node("", &format!("{{\"x\":{{\"/\":\"{inner}\"}}}}")).await;
    let answer = server.rpc(&format!("dag/export?arg={root}&offline=true")).await;
    let want = format!(
        "walk failed: error traversing node at \"x/a/1/b\": could not load link \"{missing}\": \
         block was not found locally (offline): ipld: could not find {missing} (currently \
         offline, perhaps retry without the offline flag)"
    );
    assert_eq!((answer.status, answer.error), (200, Some(want)));
    let local = server.rpc(&format!("dag/export?arg={root}&local-only=true")).await;
    assert_eq!((local.status, &local.error, &local.body), (200, &None, &answer.body));
    let late = server.rpc(&format!("dag/export?arg={root}&timeout=200ms")).await;
    let error = late.error.unwrap();
    assert!(error.ends_with(&format!("link \"{missing}\": context deadline exceeded")), "{error}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_is_not_whole_by_the_deadline_is_told_and_the_import_ends_well() {
    let server = TestServer::start().await;
    let missing = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let root = server.put_node("", &format!("{{\"l\":{{\"/\":\"{missing}\"}}}}")).await;
    let car = server.rpc(&format!("dag/export?arg={root}&local-only=true")).await.body;
    let answer = server.rpc_with("dag/import?stats=true&timeout=300ms", &[&car]).await.values();
    assert_eq!(answer[0]["Root"]["PinErrorMsg"], "context deadline exceeded");
    assert_eq!(answer[1]["Stats"]["BlockCount"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_that_nests_too_deep_is_refused() {
    let server = TestServer::start().await;
    let deep = "[".repeat(200_000);
    let answer = server.rpc_with("dag/put", &[deep]).await;
    assert!(!answer.message().is_empty());
    server.stop().await;
}
