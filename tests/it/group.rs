//! `pinmesh --key … --dataDir …`: the flags that vocdoni/ipfssync had.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use pinmesh::net::SwarmKey;
use serde_json::Value;

use crate::support::daemon::{Daemon, call, fresh_repo, pinmesh};

const PASSPHRASE: &str = "correct horse battery";
const PEER: &str = "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";

fn config_of(repo: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(repo.join("config")).unwrap()).unwrap()
}

fn key_of(repo: &Path) -> SwarmKey {
    SwarmKey::parse(&fs::read(repo.join("swarm.key")).unwrap()).unwrap()
}

/// A command line of the group that is to fail before anything runs.
fn refused(repo: &Path, arguments: &[&str]) -> String {
    let output: Output = pinmesh(repo, arguments).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A port that was free a moment ago.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn a_passphrase_and_a_directory_make_a_node_and_start_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("data");
    let port = free_port();
    let data_dir = format!("--dataDir={}", repo.display());
    let line = ["--key", PASSPHRASE, "--private", &data_dir, "--port", &port];
    let line = [&line[..], &["--api", "/ip4/127.0.0.1/tcp/0", "--bootnode"]].concat();
    for _ in 0..2 {
        let mut daemon = Daemon::spawn(pinmesh(Path::new("/nonexistent"), &line));
        daemon.wait_for("Daemon is ready");
        let key = key_of(&repo);
        assert_eq!(key, SwarmKey::from_passphrase(PASSPHRASE).unwrap());
        let said = daemon.said.join("\n");
        assert!(said.contains(&format!("Swarm key fingerprint: {}", key.fingerprint())), "{said}");
        assert!(said.contains(&format!(":{port} (TCP)")), "{said}");
        assert!(!said.contains(PASSPHRASE), "{said}");
        assert!(call(&repo, "id").1.contains("\"ID\""));
        daemon.signal("TERM");
        assert!(daemon.end().0.success());
    }
    let config = config_of(&repo).to_string();
    assert!(!config.contains(&port), "a flag holds for one run: {config}");
}

#[test]
fn a_key_of_another_network_or_node_is_refused_and_overwrites_nothing() {
    let repo = fresh_repo();
    let mine = SwarmKey::generate().unwrap();
    fs::write(repo.path().join("swarm.key"), mine.to_file_text()).unwrap();
    let error = refused(repo.path(), &["daemon", "--key", PASSPHRASE]);
    assert!(error.contains("another key") && error.contains(&mine.fingerprint()), "{error}");
    assert!(!error.contains(PASSPHRASE), "{error}");
    assert_eq!(key_of(repo.path()), mine);
    let node_key = "1".repeat(64);
    let error = refused(repo.path(), &["daemon", "--nodeKey", &node_key]);
    assert!(error.contains("belongs to") && !error.contains(&node_key), "{error}");
    // Its own key, by the name of its file, is none of that.
    let file = repo.path().join("swarm.key");
    let arguments = ["--key", file.to_str().unwrap(), "--logLevel=warn"];
    let daemon = Daemon::start(repo.path(), &arguments);
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
}

#[test]
fn the_environment_says_what_the_flags_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let node_key = dir.path().join("node.key");
    fs::write(&node_key, format!("{:064x}\n", 1)).unwrap();
    let repo = dir.path().join("data");
    let mut command =
        pinmesh(&repo, &["daemon", "--init", "--offline", "--api=/ip4/127.0.0.1/tcp/0"]);
    command.env("PINMESH_KEY", PASSPHRASE).env("PINMESH_NODEKEY", &node_key);
    let mut daemon = Daemon::spawn(command);
    daemon.wait_for("Daemon is ready");
    let id = config_of(&repo)["Identity"]["PeerID"].as_str().unwrap().to_owned();
    assert!(id.starts_with("16Uiu2HA"), "{id}");
    assert_eq!(key_of(&repo), SwarmKey::from_passphrase(PASSPHRASE).unwrap());
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
}

#[test]
fn bad_values_are_named_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("data");
    let data_dir = format!("--dataDir={}", repo.display());
    let peer = format!("/ip4/127.0.0.1/tcp/4001/p2p/{PEER}");
    let cases: [(&[&str], &str); 12] = [
        (&["--key", "seven77"], "--key: a passphrase has at least 8 characters"),
        (&["--key", "/no/such/swarm.key"], "--key: there is no such file"),
        (&["--nodeKey", "12ab"], "--nodeKey: neither 64 hexadecimal digits"),
        (&["--port", "0"], "--port: \"0\" is no port (1 to 65535)"),
        (&["--port", "65536"], "--port: \"65536\" is no port"),
        (&["--helloInterval", "0"], "--helloInterval: \"0\" is no number of seconds"),
        (&["--updateTime=x"], "--updateInterval: \"x\" is no number"),
        (&["--peers", "/ip4/1.2.3.4/tcp/1,nonsense"], "--peers: \"/ip4/1.2.3.4/tcp/1\": invalid"),
        (&["--bootnodes", "nonsense"], "--bootnodes: \"nonsense\": "),
        (&["--bootnode", "--peers", &peer], "--bootnode dials nobody"),
        (&["--logLevel", "loud"], "--logLevel: \"loud\" is not debug, info, warn or error"),
        (&["id"], "flags of the daemon"),
    ];
    for (arguments, expected) in cases {
        let error = refused(&repo, &[&[data_dir.as_str()], arguments].concat());
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!repo.exists(), "{arguments:?} made a repository");
    }
}
