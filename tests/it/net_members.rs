//! Whole nodes in one private network: how they find each other, lose each other and find each
//! other again, and what they say to a node with another key.

use std::path::Path;
use std::time::{Duration, Instant};

use pinmesh::net::SwarmKey;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::daemon::{Daemon, call, fresh_repo};

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A repo of the network with the key.
fn member(key: &SwarmKey) -> TempDir {
    let repo = fresh_repo();
    std::fs::write(repo.path().join("swarm.key"), key.to_file_text()).unwrap();
    repo
}

fn ask(repo: &Path, path: &str) -> Value {
    let (status, body) = call(repo, path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The first address of a node, with its id.
fn address_of(repo: &Path) -> String {
    ask(repo, "id")["Addresses"][0].as_str().unwrap().to_owned()
}

fn peers_of(repo: &Path) -> usize {
    ask(repo, "swarm/peers")["Peers"].as_array().map_or(0, |peers| {
        let mut ids: Vec<&str> = peers.iter().map(|peer| peer["Peer"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    })
}

/// Waits until every node is connected with all others.
fn wait_until_whole(repos: &[&Path]) {
    let deadline = Instant::now() + PATIENCE;
    for repo in repos {
        while peers_of(repo) != repos.len() - 1 {
            assert!(Instant::now() < deadline, "{} peers", peers_of(repo));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Makes a node listen on the same port after a restart.
fn keep_port(repo: &Path) {
    let address = address_of(repo);
    let place = address.split("/p2p/").next().unwrap();
    let (status, body) =
        call(repo, &format!("config?arg=Addresses.Swarm&arg=[%22{place}%22]&json=true"));
    assert_eq!(status, 200, "{body}");
}

#[test]
fn members_find_each_other_from_one_address_and_again_after_all_were_killed() {
    let key = SwarmKey::generate().unwrap();
    let repos = [member(&key), member(&key), member(&key)];
    let paths: Vec<&Path> = repos.iter().map(TempDir::path).collect();
    let daemons: Vec<Daemon> = paths.iter().map(|path| Daemon::start(path, &[])).collect();
    let first = address_of(paths[0]);
    for path in &paths[1..] {
        ask(path, &format!("bootstrap/add?arg={first}"));
    }
    wait_until_whole(&paths);

    // One is killed, and comes back to the others.
    paths.iter().for_each(|path| keep_port(path));
    paths[1..].iter().for_each(|path| drop(ask(path, "bootstrap/rm/all")));
    daemons[1].signal("KILL");
    let mut daemons: Vec<Daemon> = daemons.into_iter().collect();
    drop(daemons.remove(1));
    let deadline = Instant::now() + PATIENCE;
    while peers_of(paths[0]) != 1 {
        assert!(Instant::now() < deadline, "it is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    daemons.push(Daemon::start(paths[1], &[]));
    wait_until_whole(&paths);

    // All are killed, and nobody names anybody: they are remembered.
    daemons.iter().for_each(|daemon| daemon.signal("KILL"));
    drop(daemons);
    let _daemons: Vec<Daemon> = paths.iter().map(|path| Daemon::start(path, &[])).collect();
    wait_until_whole(&paths);
}

#[test]
fn a_node_with_another_key_is_refused_at_once_and_both_say_why() {
    let (ours, theirs) = (SwarmKey::generate().unwrap(), SwarmKey::generate().unwrap());
    let (one, two) = (member(&ours), member(&theirs));
    let (mut first, mut second) = (Daemon::start(one.path(), &[]), Daemon::start(two.path(), &[]));
    let address = address_of(two.path());
    let start = Instant::now();
    let (status, body) = call(one.path(), &format!("swarm/connect?arg={address}"));
    // Under a second by itself; the machine may be busy. A time-out would be ten.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(status, 500);
    assert!(body.contains("possible swarm.key mismatch"), "{body}");
    call(one.path(), &format!("swarm/connect?arg={address}"));

    let place = address.split("/p2p/").next().unwrap();
    let lines = |said: String| -> Vec<String> {
        let mismatches = said.lines().filter(|line| line.contains("possible swarm.key mismatch"));
        mismatches.map(str::to_owned).collect()
    };
    let said = lines(first.stderr());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(place), "{said:?}");
    let said = lines(second.stderr());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("/ip4/127.0.0.1/tcp/"), "{said:?}");
}

#[test]
fn who_is_disconnected_on_purpose_stays_away_and_who_is_peered_with_does_not() {
    let key = SwarmKey::generate().unwrap();
    let (one, two) = (member(&key), member(&key));
    let (_first, _second) = (Daemon::start(one.path(), &[]), Daemon::start(two.path(), &[]));
    let paths = [one.path(), two.path()];
    let address = address_of(two.path());
    let (_, id) = address.rsplit_once('/').unwrap();
    ask(one.path(), &format!("swarm/connect?arg={address}"));
    wait_until_whole(&paths);
    let said = ask(one.path(), &format!("swarm/disconnect?arg=/p2p/{id}"));
    assert_eq!(said["Strings"][0], format!("disconnect {id} success"));
    assert_eq!(peers_of(one.path()), 0);
    let (status, body) = call(one.path(), &format!("swarm/peering/add?arg={address}"));
    assert_eq!(status, 200, "{body}");
    wait_until_whole(&paths);
    ask(one.path(), &format!("swarm/disconnect?arg=/p2p/{id}"));
    wait_until_whole(&paths);
}
