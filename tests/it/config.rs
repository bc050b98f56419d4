//! The config file of a running daemon: what changes it, and what it changes.

use std::fs;

use serde_json::Value;

use crate::support::daemon::{Daemon, call, fresh_repo, run};

const PEER: &str =
    "/ip4/127.0.0.1/tcp/4999/p2p/12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";

fn config_of(repo: &std::path::Path) -> Value {
    serde_json::from_str(&fs::read_to_string(repo.join("config")).unwrap()).unwrap()
}

#[test]
fn filters_and_bootstrap_peers_are_there_after_a_restart() {
    let repo = fresh_repo();
    let daemon = Daemon::start(repo.path(), &[]);
    assert_eq!(call(repo.path(), &format!("bootstrap/add?arg={PEER}")).0, 200);
    let filter = "/ip4/10.0.0.0/ipcidr/8";
    assert_eq!(call(repo.path(), &format!("swarm/filters/add?arg={filter}")).0, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.end().0.code(), Some(0));
    let _daemon = Daemon::start(repo.path(), &[]);
    let (_, peers) = call(repo.path(), "bootstrap");
    assert_eq!(peers, format!("{{\"Peers\":[\"{PEER}\"]}}\n"));
    let (_, filters) = call(repo.path(), "swarm/filters");
    assert_eq!(filters, format!("{{\"Strings\":[\"{filter}\"]}}\n"));
}

#[test]
fn import_settings_are_in_force_at_once() {
    let repo = fresh_repo();
    let file = repo.path().join("file");
    fs::write(&file, "x").unwrap();
    let _daemon = Daemon::start(repo.path(), &[]);
    let add = || {
        let output = run(repo.path(), &["add", "-q", file.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert!(add().starts_with("Qm"));
    assert_eq!(call(repo.path(), "config?arg=Import.CidVersion&arg=1&json=true").0, 200);
    assert!(add().starts_with("baf"));
}

#[test]
fn a_profile_leaves_a_copy_of_the_config_and_unknown_keys_where_they_were() {
    let repo = fresh_repo();
    let mut config = config_of(repo.path());
    config["Own"] = serde_json::json!([1, {"a": null}]);
    fs::write(repo.path().join("config"), config.to_string()).unwrap();
    let _daemon = Daemon::start(repo.path(), &[]);
    assert_eq!(call(repo.path(), "config/profile/apply?arg=server").0, 200);
    let changed = config_of(repo.path());
    assert_eq!(changed["Own"], config["Own"]);
    assert_eq!(changed["Swarm"]["AddrFilters"].as_array().unwrap().len(), 19);
    let backup = fs::read_dir(repo.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("config-pre-server-"))
        .unwrap();
    let backup: Value = serde_json::from_str(&fs::read_to_string(backup).unwrap()).unwrap();
    assert_eq!(backup, config);
}

#[test]
fn a_config_that_the_daemon_must_not_start_with_is_refused_in_kubos_words() {
    let repo = fresh_repo();
    for (key, value, error) in [
        ("Routing.Type", "nope", "Error: unrecognized routing option: nope\n"),
        (
            "Provide.Strategy",
            "nope",
            "Error: Provide.Strategy: unknown provide strategy token: \"nope\" in \"nope\"\n",
        ),
        (
            "Import.UnixFSDAGLayout",
            "nope",
            "Error: Import.UnixFSDAGLayout must be \"balanced\" or \"trickle\", got \"nope\"\n",
        ),
    ] {
        let before = fs::read_to_string(repo.path().join("config")).unwrap();
        assert!(run(repo.path(), &["config", key, value]).status.success());
        let output = run(repo.path(), &["daemon"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), error);
        fs::write(repo.path().join("config"), before).unwrap();
    }
    fs::write(repo.path().join("config"), "{").unwrap();
    let output = run(repo.path(), &["daemon"]);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "Error: failure to decode config: unexpected EOF\n"
    );
}
