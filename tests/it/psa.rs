//! The Pinning Service API that a node serves: its messages, its rules, and `pin/remote/*` as its
//! client.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::TestServer;

const TOKEN: &str = "a token of the tests";
const CID: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Entries of `API.Authorizations`: two clients of the service, and one that may call the RPC.
fn authorizations() -> Value {
    json!({
        "one": {"AuthSecret": format!("bearer:{TOKEN}"), "AllowedPaths": ["/psa/v1"]},
        "two": {"AuthSecret": "bearer:other", "AllowedPaths": ["/psa/v1/pins"]},
        "admin": {"AuthSecret": "bearer:admin", "AllowedPaths": ["/api/v0"]},
    })
}

/// A node that serves the API.
async fn service() -> TestServer {
    TestServer::start_with(|config| {
        config.with(&[("API.Authorizations", authorizations())]).unwrap()
    })
    .await
}

/// An answer: status, head and JSON.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn reason(&self) -> &str {
        self.body["error"]["reason"].as_str().unwrap()
    }
}

async fn call(server: &TestServer, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} /psa/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = server.exchange(request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body = match body {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}")),
    };
    Answer { status: head[9..12].parse().unwrap(), head: head.to_lowercase(), body }
}

async fn ask(server: &TestServer, pin: Value) -> String {
    let answer = call(server, TOKEN, "POST", "/pins", &pin.to_string()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body["pin"]["cid"], pin["cid"]);
    answer.body["requestid"].as_str().unwrap().to_owned()
}

/// Waits until a request has a status; its last answer.
async fn until(server: &TestServer, id: &str, status: &str) -> Value {
    let reached = async {
        loop {
            let answer = call(server, TOKEN, "GET", &format!("/pins/{id}"), "").await;
            if answer.body["status"] == status {
                return answer.body;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("not {status}: {id}"))
}

/// A command of the RPC, by who may call it.
async fn rpc(server: &TestServer, command: &str) -> String {
    let request = format!(
        "POST /api/v0/{command} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer admin\r\n\r\n"
    );
    let answer = server.exchange(request).await;
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

async fn is_pinned(server: &TestServer, cid: &str) -> bool {
    rpc(server, &format!("pin/ls?type=recursive&arg={cid}")).await.contains("\"Keys\"")
}

async fn address(server: &TestServer) -> String {
    let id = rpc(server, "id").await;
    let line = id.lines().find(|line| line.contains("Addresses")).unwrap();
    let value: Value = serde_json::from_str(line).unwrap();
    value["Addresses"][0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_entry_there_is_no_service() {
    let server = TestServer::start().await;
    let answer = server.exchange("GET /psa/v1/pins HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert!(answer.contains(" 404 ") && answer.contains("404 page not found"), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_its_token_or_its_sense_is_refused_in_json() {
    let server = service().await;
    for (token, path) in [("wrong", "/pins"), ("admin", "/pins"), ("", "/pins/x")] {
        let answer = call(&server, token, "GET", path, "").await;
        assert_eq!((answer.status, answer.reason()), (401, "UNAUTHORIZED"), "{token}");
    }
    let long = json!({"cid": CID, "name": "n".repeat(256)}).to_string();
    let origin = json!({"cid": CID, "origins": ["/ip4/1.2.3.4/tcp/1"]}).to_string();
    for (method, path, body, status) in [
        ("GET", "/pins?limit=0", "", 400),
        ("GET", "/pins?status=lost", "", 400),
        ("GET", "/pins?cid=x", "", 400),
        ("GET", "/pins?meta=x", "", 400),
        ("POST", "/pins", "{}", 400),
        ("POST", "/pins", "[", 400),
        ("POST", "/pins", &long, 400),
        ("POST", "/pins", &origin, 400),
        ("GET", "/pins/nothing", "", 404),
        ("DELETE", "/pins/nothing", "", 404),
        ("POST", "/pins/nothing", &json!({"cid": CID}).to_string(), 404),
        ("GET", "/other", "", 404),
        ("PUT", "/pins", "", 405),
    ] {
        let answer = call(&server, TOKEN, method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert!(!answer.reason().is_empty());
        assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
        assert!(answer.head.contains("access-control-allow-origin: *"), "{answer:?}");
    }
    let preflight = "OPTIONS /psa/v1/pins HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                     Origin: https://pages.example\r\nAccess-Control-Request-Method: DELETE\r\n\r\n";
    let answer = server.exchange(preflight).await.to_lowercase();
    assert!(answer.contains(" 204 "), "{answer}");
    assert!(answer.contains("access-control-allow-methods: get, post, delete"), "{answer}");
    assert!(
        answer.contains("access-control-allow-headers: authorization, content-type"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_is_fetched_from_its_origin_kept_and_let_go() {
    let holder = TestServer::start().await;
    let service = TestServer::start_with_key_and(&holder, |config| {
        config.with(&[("API.Authorizations", authorizations())]).unwrap()
    })
    .await;
    let files: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; 3000]).collect();
    let root = holder.add_directory("cid-version=1", &files).await;
    let id = holder.rpc("id").await.values();
    let origin = id[0]["Addresses"][0].as_str().unwrap();
    let pin = json!({"cid": root, "name": "Änne", "origins": [origin], "meta": {"a": "b"}});
    let request = ask(&service, pin.clone()).await;
    let status = until(&service, &request, "pinned").await;
    assert_eq!(status["pin"], pin);
    assert!(status["delegates"][0].as_str().unwrap().contains("/p2p/"), "{status}");
    assert!(is_pinned(&service, &root).await);
    assert!(rpc(&service, "pin/ls?names=true&type=recursive").await.contains("Änne"));
    // Nobody else's.
    let answer = call(&service, "other", "GET", &format!("/pins/{request}"), "").await;
    assert_eq!(answer.status, 404);
    let found = async |query: &str| {
        let answer = call(&service, TOKEN, "GET", &format!("/pins?{query}"), "").await;
        answer.body["count"].as_u64().unwrap()
    };
    for (query, count) in [
        ("", 1),
        ("status=queued,pinning,failed", 0),
        ("name=%C3%84nne", 1),
        ("name=%C3%A4NNE", 0),
        ("name=%C3%A4NNE&match=iexact", 1),
        ("name=nn&match=partial", 1),
        ("name=%C3%84N&match=ipartial", 1),
        ("name=%C3%84N&match=partial", 0),
        (&format!("cid={root},{CID}"), 1),
        (&format!("cid={CID}"), 0),
        ("meta=%7B%22a%22%3A%22b%22%7D", 1),
        ("meta=%7B%22a%22%3A%22c%22%7D", 0),
        ("before=2020-01-01T00:00:00Z", 0),
        ("after=2020-01-01T00:00:00Z", 1),
    ] {
        assert_eq!(found(query).await, count, "{query}");
    }
    // Another root in its place: the old pin goes when the new one is there.
    let other = holder.add_directory("cid-version=1&chunker=size-100", &files).await;
    let body = json!({"cid": other, "origins": [origin]}).to_string();
    let answer = call(&service, TOKEN, "POST", &format!("/pins/{request}"), &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let replaced = answer.body["requestid"].as_str().unwrap().to_owned();
    assert_ne!(replaced, request);
    until(&service, &replaced, "pinned").await;
    let gone = async {
        while is_pinned(&service, &root).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the replaced pin goes");
    assert!(is_pinned(&service, &other).await);
    let answer = call(&service, TOKEN, "GET", &format!("/pins/{request}"), "").await;
    assert_eq!(answer.status, 404);
    let answer = call(&service, TOKEN, "DELETE", &format!("/pins/{replaced}"), "").await;
    assert_eq!(answer.status, 202);
    let gone = async {
        while is_pinned(&service, &other).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the pin goes with its request");
    service.stop().await;
    holder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_complete_and_a_pin_of_the_node_outlives_its_requests() {
    let server = service().await;
    // What is here already, pinned by the node itself: the empty directory.
    let own = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    assert!(rpc(&server, &format!("pin/add?arg={own}")).await.contains(own));
    let mut requests = Vec::new();
    for number in 0..25 {
        requests.push(ask(&server, json!({"cid": own, "name": format!("{number}")})).await);
    }
    for request in &requests {
        until(&server, request, "pinned").await;
    }
    let mut seen = Vec::new();
    let mut before = String::new();
    loop {
        let path = format!("/pins?limit=10{before}");
        let page = call(&server, TOKEN, "GET", &path, "").await.body;
        let results = page["results"].as_array().unwrap().clone();
        assert_eq!(page["count"].as_u64().unwrap() as usize, 25 - seen.len());
        seen.extend(results.iter().map(|pin| pin["requestid"].as_str().unwrap().to_owned()));
        let Some(last) = results.last().filter(|_| seen.len() < 25) else { break };
        before = format!("&before={}", last["created"].as_str().unwrap());
    }
    requests.reverse();
    assert_eq!(seen, requests);
    for request in &requests {
        let answer = call(&server, TOKEN, "DELETE", &format!("/pins/{request}"), "").await;
        assert_eq!(answer.status, 202);
    }
    // A request that comes to its end afterwards: those before it have been looked after.
    let last = ask(&server, json!({"cid": own})).await;
    until(&server, &last, "pinned").await;
    assert!(is_pinned(&server, own).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_blocks_nobody_has_waits_over_a_restart_and_blocks_nobody() {
    let server = service().await;
    let mut waiting = Vec::new();
    for number in 0..40_u8 {
        let cid = format!("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquv{}", {
            let letters = b"abcdefghijklmnopqrstuvwxyz234567";
            let (high, low) =
                (letters[usize::from(number / 8)], letters[usize::from(number % 8) * 4]);
            format!("{}k{}", char::from(high), char::from(low))
        });
        waiting.push(ask(&server, json!({"cid": cid})).await);
    }
    until(&server, &waiting[0], "pinning").await;
    let directory = server.stop().await;
    let server = TestServer::start_again(directory).await;
    until(&server, &waiting[0], "pinning").await;
    for request in &waiting[1..] {
        call(&server, TOKEN, "DELETE", &format!("/pins/{request}"), "").await;
    }
    let here = ask(&server, json!({"cid": "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"})).await;
    until(&server, &here, "pinned").await;
    let all = "/pins?status=queued,pinning,pinned,failed";
    assert_eq!(call(&server, TOKEN, "GET", all, "").await.body["count"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remote_pins_of_another_node_are_its_clients() {
    let client = TestServer::start().await;
    let service = TestServer::start_with_key_and(&client, |config| {
        config.with(&[("API.Authorizations", authorizations())]).unwrap()
    })
    .await;
    let endpoint = format!("http%3A//{}/psa/v1", service.address);
    let key = TOKEN.replace(' ', "%20");
    let add = format!("pin/remote/service/add?arg=ours&arg={endpoint}&arg={key}");
    client.rpc(&add).await.text();
    let files: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 5000]).collect();
    let root = client.add_directory("", &files).await;
    // The client is the origin, and its pin is fetched from it.
    let added = client.rpc(&format!("pin/remote/add?service=ours&arg={root}&name=mine")).await;
    assert_eq!(added.values()[0]["Status"], "pinned");
    assert!(is_pinned(&service, &root).await);
    let listed = client.rpc("pin/remote/ls?service=ours&name=mine").await.values();
    assert_eq!(listed[0]["Cid"], root);
    let stat = client.rpc("pin/remote/service/ls?stat=true").await.values();
    let count = &stat[0]["RemoteServices"][0]["Stat"];
    assert_eq!((&count["Status"], &count["PinCount"]["Pinned"]), (&json!("valid"), &json!(1)));
    client.rpc("pin/remote/rm?service=ours&name=mine").await.text();
    assert_eq!(client.rpc("pin/remote/ls?service=ours").await.text(), "");
    let gone = async {
        while is_pinned(&service, &root).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the pin goes with its request");
    let address = address(&service).await;
    assert!(address.contains("/p2p/"), "{address}");
    service.stop().await;
    client.stop().await;
}
