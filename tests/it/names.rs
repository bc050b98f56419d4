//! Keys and names: on the command line, over HTTP, and across restarts.

use std::fs;
use std::path::Path;

use crate::support::daemon::{Daemon, call, fresh_repo, run};
use crate::support::server::TestServer;

/// What a command prints; it must succeed.
fn said(repo: &Path, arguments: &[&str]) -> String {
    let output = run(repo, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Why a command fails; it must.
fn refused(repo: &Path, arguments: &[&str]) -> String {
    let output = run(repo, arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const EMPTY_DIRECTORY: &str = "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

#[test]
fn what_was_published_is_there_after_a_restart() {
    let repo = fresh_repo();
    let repo = repo.path();
    let name = said(repo, &["key", "gen", "site"]);
    let name = name.trim();
    let publish = ["name", "publish", "--allow-offline", "--key=site", "-Q", EMPTY_DIRECTORY];
    assert_eq!(said(repo, &publish).trim(), name);
    assert_eq!(said(repo, &["name", "resolve", name]).trim(), EMPTY_DIRECTORY);
    let daemon = Daemon::start(repo, &[]);
    let (status, body) = call(repo, &format!("name/resolve?arg={name}"));
    assert_eq!((status, body.contains(EMPTY_DIRECTORY)), (200, true), "{body}");
    let (status, body) = call(repo, &format!("resolve?arg=/ipns/{name}/"));
    assert_eq!((status, body.contains(EMPTY_DIRECTORY)), (200, true), "{body}");
    daemon.signal("KILL");
    daemon.end();
    let publish =
        ["name", "publish", "--allow-offline", "--key=site", "--sequence=0", "/ipfs/bafkqaaa"];
    assert!(refused(repo, &publish).contains("sequence number must be greater"));
    // A name that points at a name is followed.
    said(repo, &["name", "publish", "--allow-offline", &format!("/ipns/{name}")]);
    assert_eq!(said(repo, &["name", "resolve"]).trim(), EMPTY_DIRECTORY);
    assert_eq!(said(repo, &["name", "resolve", "-r=false"]).trim(), format!("/ipns/{name}"));
}

#[test]
fn the_key_pair_of_a_node_is_exchanged_and_the_old_one_kept() {
    let repo = fresh_repo();
    let repo = repo.path();
    let id = |repo| said(repo, &["id", "-f", "<id>"]);
    let old = id(repo);
    let missing = "keystore name for backing up old key must be provided";
    assert!(refused(repo, &["key", "rotate"]).contains(missing));
    let daemon = Daemon::start(repo, &[]);
    let running = "ipfs daemon is running. please stop it to run this command";
    assert!(refused(repo, &["key", "rotate", "-o", "old"]).contains(running));
    daemon.signal("TERM");
    daemon.end();
    said(repo, &["key", "rotate", "-o", "old"]);
    assert_ne!(id(repo), old);
    let keys = said(repo, &["key", "ls", "-l", "--ipns-base=b58mh"]);
    assert!(keys.contains(&format!("{old} old")), "{keys}");
    // The old name is taken now.
    refused(repo, &["key", "rotate", "-o", "old"]);
}

#[test]
fn an_exported_key_is_the_owners_alone_and_can_be_imported() {
    use std::os::unix::fs::PermissionsExt as _;
    let (repo, other) = (fresh_repo(), fresh_repo());
    for algorithm in ["ed25519", "secp256k1"] {
        let id = said(repo.path(), &["key", "gen", algorithm, "-t", algorithm]);
        for format in ["libp2p-protobuf-cleartext", "pem-pkcs8-cleartext"] {
            let file = repo.path().join("exported");
            let output = format!("--output={}", file.display());
            let format = format!("--format={format}");
            said(repo.path(), &["key", "export", algorithm, &output, &format]);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let file = file.display().to_string();
            let name = format!("{algorithm}{format}");
            assert_eq!(said(other.path(), &["key", "import", &name, &file, &format]), id);
        }
    }
    assert!(refused(repo.path(), &["key", "export", "self"]).contains("cannot export key"));
    assert!(refused(repo.path(), &["key", "export", "none"]).contains("doesn't exist"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_can_be_taken_from_one_node_and_given_to_another() {
    let (server, other) = (TestServer::start().await, TestServer::start().await);
    let key = server.rpc("key/gen?arg=k").await.values()[0]["Id"].as_str().unwrap().to_owned();
    let publish = "name/publish?key=k&arg=/ipfs/bafkqaaa&lifetime=1h";
    server.rpc(publish).await.text();
    let record = server.rpc(&format!("name/get?arg={key}")).await.body;
    let inspect = format!("name/inspect?verify={key}");
    let found = other.rpc_with(&inspect, &[&record]).await.values();
    assert_eq!(found[0]["Validation"]["Valid"], true);
    assert_eq!(found[0]["Entry"]["Value"], "/ipfs/bafkqaaa");
    assert_eq!(found[0]["HexDump"].as_str().unwrap().lines().count(), record.len().div_ceil(16));
    let unknown = other.rpc(&format!("name/resolve?arg={key}")).await.message();
    assert_eq!(unknown, "could not resolve name");
    other.rpc_with(&format!("name/put?arg={key}"), &[&record]).await.text();
    let path = other.rpc(&format!("name/resolve?arg=/ipns/{key}/a")).await.values();
    assert_eq!(path[0]["Path"], "/ipfs/bafkqaaa/a");
    // One of another name is not taken, nor one that is older.
    let wrong = other.rpc("key/gen?arg=w").await.values()[0]["Id"].as_str().unwrap().to_owned();
    let refused = other.rpc_with(&format!("name/put?arg={wrong}"), &[&record]).await.message();
    assert_eq!(refused, "record validation failed: signature verification failed");
    server.rpc("name/publish?key=k&arg=/ipfs/bafkqaaa/new&resolve=false").await.text();
    let old = server.rpc_with(&format!("name/put?arg={key}"), &[&record]).await.message();
    assert!(old.contains("existing IPNS record has sequence 1 >= new record sequence 0"), "{old}");
    for server in [server, other] {
        server.stop().await;
    }
}
