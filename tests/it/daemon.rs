//! The daemon as a process: what it says, how it ends, what it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, call, call_at, fresh_repo, pinmesh, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_says_what_scripts_wait_for_and_advertises_itself_while_it_runs() {
    let repo = fresh_repo();
    let daemon = Daemon::start(repo.path(), &[]);
    let api = fs::read_to_string(repo.path().join("api")).unwrap();
    assert!(api.starts_with("/ip4/127.0.0.1/tcp/") && !api.ends_with('\n'), "{api:?}");
    assert!(daemon.said.iter().any(|line| *line == format!("RPC API server listening on {api}")));
    let start = ["Initializing daemon...", "Kubo version: 0.44.0", "Repo version: 18"];
    assert_eq!(daemon.said[..3], start);
    assert!(daemon.said.iter().any(|line| line.starts_with("PeerID: 12D3KooW")));
    assert!(daemon.said.iter().any(|line| line.starts_with("Swarm listening on 127.0.0.1:")));
    let (status, body) = call(repo.path(), "version");
    assert_eq!(status, 200);
    assert!(body.contains("\"Version\":\"0.44.0\""), "{body}");
    daemon.signal("TERM");
    let (status, said) = daemon.end();
    assert_eq!(status.code(), Some(0));
    assert!(said.iter().any(|line| line == "Received interrupt signal, shutting down..."));
    assert!(!repo.path().join("api").exists());
}

#[test]
fn every_signal_and_the_shutdown_command_end_it_in_order() {
    let repo = fresh_repo();
    for signal in ["INT", "HUP", "TERM", ""] {
        let daemon = Daemon::start(repo.path(), &["--offline"]);
        assert!(daemon.said.iter().any(|l| l == "Swarm not listening, running in offline mode."));
        if signal.is_empty() {
            assert_eq!(call(repo.path(), "shutdown").0, 200);
        } else {
            daemon.signal(signal);
        }
        let (status, _) = daemon.end();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(!repo.path().join("api").exists());
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let repo = fresh_repo();
    let mut daemon = Daemon::start(repo.path(), &[]);
    // A call that never ends by itself keeps the graceful shutdown waiting.
    let api = fs::read_to_string(repo.path().join("api")).unwrap();
    let host = api.split('/').skip(2).step_by(2).collect::<Vec<_>>().join(":");
    let missing = "cat?arg=bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let call =
        std::thread::spawn(move || std::panic::catch_unwind(|| call_at(&host, missing)).is_ok());
    loop {
        let (_, body) = crate::support::daemon::call(repo.path(), "diag/cmds");
        if body.contains("\"Command\":\"cat\"") {
            break;
        }
    }
    daemon.signal("INT");
    daemon.wait_for("(Hit ctrl-c again to force-shutdown the daemon.)");
    daemon.signal("INT");
    let (status, said) = daemon.end();
    // It may have been quick enough to end in order.
    if status.code() != Some(0) {
        assert_eq!(status.code(), Some(255));
        let last = "Received another interrupt before graceful shutdown, terminating...";
        assert_eq!(said.last().map(String::as_str), Some(last));
    }
    let _ = call.join();
}

#[test]
fn a_repo_is_opened_by_one_process() {
    let repo = fresh_repo();
    let daemon = Daemon::start(repo.path(), &[]);
    let second = run(repo.path(), &["daemon"]);
    assert_eq!(second.status.code(), Some(1));
    let lock = repo.path().join("repo.lock");
    let expected = format!("Error: lock {}: someone else has the lock\n", lock.display());
    assert_eq!(text(&second.stderr), expected);
    assert!(repo.path().join("api").exists(), "the first one's file stays");
    drop(daemon);
}

#[test]
fn it_starts_again_after_it_was_killed() {
    let repo = fresh_repo();
    let daemon = Daemon::start(repo.path(), &[]);
    assert_eq!(call(repo.path(), "config?arg=Datastore.StorageMax&arg=1GB").0, 200);
    daemon.signal("KILL");
    assert_eq!(daemon.end().0.code(), None);
    assert!(repo.path().join("api").exists(), "nobody could remove it");
    let _daemon = Daemon::start(repo.path(), &[]);
    let (_, body) = call(repo.path(), "config?arg=Datastore.StorageMax");
    assert_eq!(body, "{\"Key\":\"Datastore.StorageMax\",\"Value\":\"1GB\"}\n");
}

#[test]
fn without_a_repo_it_says_how_to_make_one_and_with_init_it_makes_one() {
    let parent = tempfile::tempdir().unwrap();
    let repo = parent.path().join("repo");
    let output = run(&repo, &["daemon"]);
    assert_eq!(output.status.code(), Some(1));
    let path = repo.display();
    let expected = format!("Error: no IPFS repo found in {path}.\nplease run: 'ipfs init'\n");
    assert_eq!(text(&output.stderr), expected);
    let daemon = Daemon::start(&repo, &["--init", "--init-profile=test", "--migrate=false"]);
    assert!(daemon.said.contains(&"generating ED25519 keypair...done".to_owned()));
    assert!(daemon.said.contains(&format!("initializing IPFS node at {path}")));
    drop(daemon);
    Daemon::start(&repo, &["--init"]);
}

#[test]
fn several_listeners_and_unix_sockets_serve_the_rpc() {
    let repo = fresh_repo();
    let socket = repo.path().join("rpc.sock");
    let addresses =
        json!(
            ["/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/0", format!("/unix{}", socket.display()),]
        );
    change_config(repo.path(), |config| config["Addresses"]["API"] = addresses);
    // What a process that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let daemon = Daemon::start(repo.path(), &[]);
    let listening: Vec<&String> = daemon
        .said
        .iter()
        .filter(|line| line.starts_with("RPC API server listening on "))
        .collect();
    assert_eq!(listening.len(), 3, "{:?}", daemon.said);
    let port = listening[1].rsplit('/').next().unwrap();
    assert_eq!(call_at(&format!("127.0.0.1:{port}"), "version").0, 200);
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    daemon.signal("TERM");
    assert_eq!(daemon.end().0.code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn an_address_that_is_taken_is_an_error_that_names_it() {
    let repo = fresh_repo();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    change_config(repo.path(), |config| config["Addresses"]["API"] = json!(address));
    let output = run(repo.path(), &["daemon"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "Error: serveHTTPApi: manet.Listen({address}) failed: listen tcp4 127.0.0.1:{port}: bind: \
         address already in use\n"
    );
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn flags_without_meaning_are_accepted_with_one_warning() {
    let repo = fresh_repo();
    let flags = ["--mount", "--unrestricted-api=true", "--manage-fdlimit=false"];
    let mut command = pinmesh(repo.path(), &["daemon"]);
    command.args(flags).arg("--routing=none");
    let mut daemon = Daemon::spawn(command);
    daemon.wait_for("Daemon is ready");
    daemon.signal("TERM");
    assert_eq!(daemon.end().0.code(), Some(0));
    let refused = run(repo.path(), &["daemon", "--routing=nope"]);
    assert_eq!(text(&refused.stderr), "Error: unrecognized routing option: nope\n");
}

#[test]
fn init_says_what_kubo_says_and_never_overwrites_a_key() {
    let repo = tempfile::tempdir().unwrap();
    let output = run(repo.path(), &["init", "-p", "test,server"]);
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "generating ED25519 keypair...done");
    assert!(lines[1].starts_with("peer identity: 12D3KooW"), "{said}");
    assert_eq!(lines[2], format!("initializing IPFS node at {}", repo.path().display()));
    let config = fs::read_to_string(repo.path().join("config")).unwrap();
    let again = run(repo.path(), &["init"]);
    assert_eq!(again.status.code(), Some(1));
    let refusal = "Error: ipfs configuration file already exists!\nReinitializing would overwrite \
                   your keys\n";
    assert!(text(&again.stderr).starts_with(refusal), "{}", text(&again.stderr));
    assert_eq!(fs::read_to_string(repo.path().join("config")).unwrap(), config);
    let other = tempfile::tempdir().unwrap();
    for (arguments, error) in [
        (["--profile", "nope"], "Error: invalid configuration profile: nope\n"),
        (["--algorithm", "nope"], "Error: unrecognized key type: nope\n"),
        (["--bits", "12"], "Error: invalid key size 12: ed25519 keys are always 256 bits\n"),
    ] {
        let output = run(other.path(), &[&["init"], &arguments[..]].concat());
        assert_eq!(text(&output.stderr), error);
        assert!(!other.path().join("config").exists());
    }
}

#[test]
fn a_repo_that_kubo_has_only_made_is_taken_over_and_one_with_its_blocks_is_refused() {
    let repo = tempfile::tempdir().unwrap();
    // The config as an `ipfs init` writes it: sections in another order, a key nobody knows.
    let config = json!({
        "Own": {"note": "kept"},
        "Identity": {
            "PeerID": "12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7",
            "PrivKey": "CAESQAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH6kpsY+KcUgq+9VB7Ey7F+ZVH\
                        dq6+vnuSQh7qaRRG0iw=",
        },
        "Addresses": {"API": "/ip4/127.0.0.1/tcp/0", "Swarm": ["/ip4/127.0.0.1/tcp/0"]},
        "AutoConf": {"Enabled": false},
        "Bootstrap": [],
        "Datastore": {"Spec": {
            "mounts": [
                {"mountpoint": "/blocks", "path": "blocks", "prefix": "flatfs.datastore",
                 "shardFunc": "/repo/flatfs/shard/v1/next-to-last/2", "sync": false,
                 "type": "flatfs"},
                {"compression": "none", "mountpoint": "/", "path": "datastore",
                 "prefix": "leveldb.datastore", "type": "levelds"},
            ],
            "type": "mount",
        }},
    });
    let write = |name: &str, content: &str| fs::write(repo.path().join(name), content).unwrap();
    write("config", &config.to_string());
    write("version", "18\n");
    write(
        "datastore_spec",
        "{\"mounts\":[{\"mountpoint\":\"/blocks\",\"path\":\"blocks\",\"shardFunc\":\
         \"/repo/flatfs/shard/v1/next-to-last/2\",\"type\":\"flatfs\"},{\"mountpoint\":\"/\",\
         \"path\":\"datastore\",\"type\":\"levelds\"}],\"type\":\"mount\"}",
    );
    fs::create_dir_all(repo.path().join("blocks/X3")).unwrap();
    fs::create_dir_all(repo.path().join("datastore")).unwrap();
    let empty = "blocks/X3/CIQFTFEEHEDF6KLBT32BFAGLXEZL4UWFNWM4LFTLMXQBCERZ6CMLX3Y.data";
    fs::write(repo.path().join(empty), [10, 2, 8, 1]).unwrap();

    let daemon = Daemon::start(repo.path(), &[]);
    let (_, id) = call(repo.path(), "id");
    assert!(id.contains("12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7"), "{id}");
    assert_eq!(call(repo.path(), "config?arg=Datastore.StorageMax&arg=1GB").0, 200);
    let (_, own) = call(repo.path(), "config?arg=Own");
    assert_eq!(own, "{\"Key\":\"Own\",\"Value\":{\"note\":\"kept\"}}\n");
    drop(daemon);
    assert!(repo.path().join(empty).exists(), "what Kubo wrote stays");

    write("blocks/X3/CIQAAAAAAAA.data", "a block");
    let output = run(repo.path(), &["daemon"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("blocks/X3/CIQAAAAAAAA.data"), "{error}");
    assert!(error.contains("ipfs dag export") && error.contains("IPFS_PATH"), "{error}");
}

#[test]
fn the_config_stays_private() {
    let repo = fresh_repo();
    let _daemon = Daemon::start(repo.path(), &[]);
    assert_eq!(call(repo.path(), "config?arg=Datastore.GCPeriod&arg=2h").0, 200);
    let mode = fs::metadata(repo.path().join("config")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_, shown) = call(repo.path(), "config/show");
    assert!(!shown.contains("PrivKey"), "{shown}");
}

fn change_config(repo: &std::path::Path, change: impl FnOnce(&mut Value)) {
    let path = repo.join("config");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn commands_run_with_a_daemon_and_without_one() {
    let repo = fresh_repo();
    let file = repo.path().join("file");
    fs::write(&file, "content\n").unwrap();
    let file = file.to_str().unwrap();
    let said = |arguments: &[&str]| {
        let output = run(repo.path(), arguments);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let none = String::new();
    let alone = said(&["add", file]);
    assert!(alone.1.starts_with("added Qm") && alone.1.ends_with(" file\n"), "{alone:?}");
    let cid = alone.1.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(said(&["shutdown"]), (Some(1), none, "Error: daemon not running\n".to_owned()));
    let daemon = Daemon::start(repo.path(), &[]);
    assert_eq!(said(&["add", file]), alone);
    assert_eq!(said(&["cat", &cid]).1, "content\n");
    assert_eq!(said(&["version"]).1, "ipfs version 0.44.0\n");
    assert_eq!(said(&["config", "Datastore.StorageMax"]).1, "10GB\n");
    let (code, _, error) = said(&["cat", "nope"]);
    assert_eq!(code, Some(1));
    assert_eq!(error, "Error: invalid path \"nope\": path does not have enough components\n");
    assert_eq!(said(&["shutdown"]).0, Some(0));
    assert_eq!(daemon.end().0.code(), Some(0));
    assert_eq!(said(&["cat", &cid]).1, "content\n");
}
