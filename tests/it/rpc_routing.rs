//! `routing/*`, `dht/query`, `provide/*` and names between two members of a private network.

use std::time::Duration;

use serde_json::Value;

use crate::support::server::TestServer;

const SWARM_KEY: &str = "/key/swarm/psk/1.0.0/\n/base16/\n\
     0f0e0d0c0b0a09080706050403020100f0e0d0c0b0a090807060504030201000\n";

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls a command again until what it answers is as wanted.
async fn until(
    server: &TestServer,
    command: &str,
    wanted: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let asking = async {
        loop {
            let answer = server.rpc(command).await;
            if answer.status == 200 && answer.error.is_none() {
                let values = answer.values();
                if wanted(&values) {
                    return values;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{command}"))
}

async fn id(server: &TestServer) -> String {
    server.rpc("id").await.values()[0]["ID"].as_str().unwrap().to_owned()
}

/// Two members that ask each other.
async fn members() -> (TestServer, TestServer) {
    let one = TestServer::start_member(SWARM_KEY).await;
    let two = TestServer::start_member(SWARM_KEY).await;
    let address = two.rpc("id").await.values()[0]["Addresses"][0].as_str().unwrap().to_owned();
    one.rpc(&format!("swarm/connect?arg={address}")).await.text();
    for server in [&one, &two] {
        let is_there = |tables: &[Value]| !tables[0]["Buckets"].as_array().unwrap().is_empty();
        let tables = until(server, "stats/dht?arg=lan", is_there).await;
        let last = tables[0]["Buckets"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["Peers"][0]["Connected"], true);
    }
    (one, two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_stores_the_other_finds() {
    let (one, two) = members().await;
    let provider = id(&one).await;
    let by_one = |events: &[Value]| {
        events.iter().any(|event| event["Type"] == 4 && event["Responses"][0]["ID"] == *provider)
    };
    let cid = one.put_block("", b"provided").await;
    let found = until(&two, &format!("routing/findprovs?arg={cid}"), by_one).await;
    let of_type = |wanted: i64| found.iter().filter(move |event| event["Type"] == wanted);
    let addresses = of_type(4).next().unwrap()["Responses"][0]["Addrs"].as_array().unwrap();
    assert!(!addresses.is_empty());
    // Whom it asked is told on the way, and what that one said.
    assert!(of_type(0).any(|event| event["ID"] == *provider && event["Responses"].is_null()));
    assert!(of_type(1).any(|event| event["ID"] == *provider && event["Responses"].is_array()));
    let text = two.rpc(&format!("routing/findprovs?arg={cid}&encoding=text")).await.text();
    assert_eq!(text, format!("{provider}\n"));
    let text = two.rpc(&format!("routing/findprovs?arg={cid}&encoding=text&verbose=true")).await;
    let text = text.text();
    for line in [format!(": * querying {provider}\n"), format!(": provider: {provider}\n\t/ip4/")] {
        assert!(text.contains(&line), "{text}");
    }
    // The one who stores it tells of itself without asking anybody.
    let own = one.rpc(&format!("routing/findprovs?arg={cid}&num-providers=1")).await.values();
    assert!(by_one(&own));
    let queued = one.rpc(&format!("provide/once?arg={cid}&arg={cid}")).await.values();
    assert_eq!(queued.len(), 1);
    assert_eq!(queued[0]["Queued"], *cid);
    one.rpc(&format!("routing/provide?arg={cid}&recursive=true")).await.text();
    let missing = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let refused = one.rpc(&format!("routing/provide?arg={missing}")).await.message();
    assert_eq!(refused, format!("block {missing} not found locally, cannot provide"));
    let told = until(&one, "provide/stat", |stat| {
        stat[0]["Sweep"]["operations"]["past"]["keys_provided"].as_i64() > Some(0)
    });
    assert_eq!(told.await[0]["Sweep"]["connectivity"]["status"], "online");
    for server in [one, two] {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_names_are_found() {
    let (one, two) = members().await;
    let (first, second) = (id(&one).await, id(&two).await);
    let peer = two.rpc(&format!("routing/findpeer?arg={first}")).await.values();
    assert_eq!((&peer[0]["Type"], &peer[0]["Responses"][0]["ID"]), (&2.into(), &first.into()));
    let closest = one.rpc(&format!("dht/query?arg={second}")).await.values();
    assert!(closest.iter().any(|event| event["Type"] == 2 && event["ID"] == *second));
    let unknown = "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";
    let answer = one.rpc(&format!("routing/findpeer?arg={unknown}")).await;
    assert_eq!(answer.error.as_deref(), Some("routing: not found"));

    for algorithm in ["ed25519", "rsa"] {
        let key = one.rpc(&format!("key/gen?arg={algorithm}&type={algorithm}")).await.values();
        let name = key[0]["Id"].as_str().unwrap();
        for value in ["/ipfs/bafkqaaa", "/ipfs/bafkqabtimvwgy3yk"] {
            one.rpc(&format!("name/publish?key={algorithm}&arg={value}")).await.text();
            let resolve = format!("name/resolve?arg={name}");
            until(&two, &resolve, |paths| paths[0]["Path"] == value).await;
        }
        let content = two.rpc(&format!("cat?arg=/ipns/{name}")).await.text();
        assert_eq!(content, "hello\n");
    }
    for server in [one, two] {
        server.stop().await;
    }
}
