//! What people see of the group: `sync/*` of one node and of two, and the same on the command line.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::daemon::{Daemon, call, fresh_repo, run};

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);
const NO_PINS: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";

fn ask(repo: &Path, path: &str) -> Value {
    let (status, body) = call(repo, path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The values of an answer that is a stream.
fn all(repo: &Path, path: &str) -> Vec<Value> {
    let (status, body) = call(repo, path);
    assert_eq!(status, 200, "{path}: {body}");
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the status of a node is as it should be.
fn wait(repo: &Path, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = ask(repo, "sync/status");
        if is_so(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Adds and pins a file; its CID.
fn add(repo: &Path, content: &str) -> String {
    let file = repo.join("file");
    std::fs::write(&file, content).unwrap();
    said(repo, &["add", "-Q", file.to_str().unwrap()]).trim().to_owned()
}

/// What a command line says when it succeeds.
fn said(repo: &Path, words: &[&str]) -> String {
    let output = run(repo, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A second member of the network of the first.
fn second(first: &Path) -> TempDir {
    let repo = fresh_repo();
    std::fs::copy(first.join("swarm.key"), repo.path().join("swarm.key")).unwrap();
    repo
}

fn connect(repo: &Path, other: &Path) {
    let address = ask(other, "id")["Addresses"][0].as_str().unwrap().to_owned();
    ask(repo, &format!("swarm/connect?arg={address}"));
}

#[test]
fn a_node_alone_has_its_own_pins_and_says_how_another_one_joins() {
    let repo = fresh_repo();
    let repo = repo.path();
    let daemon = Daemon::start(repo, &["--agent-version-suffix=attic"]);
    let status = wait(repo, |status| status["InSync"] == true);
    assert_eq!(status["LiveRoot"], NO_PINS);
    assert_eq!((&status["Pins"], &status["Unrecorded"]), (&0.into(), &0.into()));
    let members = status["Members"].as_array().unwrap();
    assert_eq!(members.len(), 1);
    let id = ask(repo, "id")["ID"].as_str().unwrap().to_owned();
    assert_eq!(members[0]["ID"], id.as_str());
    assert_eq!((&members[0]["State"], &members[0]["Name"]), (&"self".into(), &"attic".into()));

    let cid = add(repo, "hello");
    let status = wait(repo, |status| status["Pins"] == 1);
    assert_ne!(status["LiveRoot"], NO_PINS);
    let pins = all(repo, "sync/pins");
    assert_eq!(pins.len(), 1, "{pins:?}");
    assert_eq!(pins[0]["Cid"], cid.as_str());
    assert_eq!(pins[0]["State"], "pinned");
    assert_eq!(pins[0]["Author"], id.as_str());
    assert_eq!(pins[0]["Mode"], "recursive");
    assert_eq!(pins[0]["ReplicationMax"], -1);
    assert!(pins[0]["Created"].as_str().unwrap().starts_with("20"), "{pins:?}");

    let text = said(repo, &["status"]);
    assert!(text.starts_with("In sync: 1 pin, 1 of 1 member online\n"), "{text}");
    assert!(text.contains(&id[id.len() - 8..]) && text.contains("attic"), "{text}");
    assert!(text.contains("Next: pinmesh swarm invite"), "{text}");
    assert_eq!(said(repo, &["sync", "status"]), text);
    let json: Value = serde_json::from_str(&said(repo, &["status", "--json"])).unwrap();
    assert_eq!(json["LiveRoot"], status["LiveRoot"]);
    let text = said(repo, &["pins"]);
    assert!(text.starts_with("CID ") && text.contains(&cid), "{text}");
    assert_eq!(said(repo, &["pins", "errors"]), "Nothing is missing here.\n");
    assert!(said(repo, &["sync", "peers"]).starts_with(&format!("{id}  self\n")));
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
    let output = run(repo, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no daemon is running"), "{error}");
}

#[test]
fn pins_come_in_pages_and_by_name_and_state() {
    let repo = fresh_repo();
    let repo = repo.path();
    let _daemon = Daemon::start(repo, &[]);
    let cids: Vec<String> = (0..5).map(|n| add(repo, &format!("file {n}"))).collect();
    ask(repo, &format!("pin/add?arg={}&name=holiday", cids[2]));
    wait(repo, |status| status["Pins"] == 5);
    let cids_of = |path: &str| -> Vec<String> {
        let pins = all(repo, path);
        pins.iter().map(|pin| pin["Cid"].as_str().unwrap().to_owned()).collect()
    };
    let everything = cids_of("sync/pins");
    let (mut sorted, mut added) = (everything.clone(), cids.clone());
    sorted.sort();
    added.sort();
    assert_eq!(sorted, added);
    let mut paged = cids_of("sync/pins?limit=2");
    while paged.len() < 5 {
        let last = paged.last().unwrap();
        let page = cids_of(&format!("sync/pins?limit=2&after={last}"));
        assert!(!page.is_empty());
        paged.extend(page);
    }
    assert_eq!(paged, everything);
    assert_eq!(cids_of("sync/pins?name=holi"), [cids[2].clone()]);
    assert_eq!(cids_of("sync/pins?state=pinned&local=true").len(), 5);
    assert!(cids_of("sync/pins?state=pin_queued").is_empty());
    let text = said(repo, &["pins", "--limit=2"]);
    assert!(text.contains(&format!("Next: pinmesh pins --after={}", everything[1])), "{text}");
    let (status, body) = call(repo, "sync/pins?state=fine");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("is no state of a pin"), "{body}");
    let (status, body) = call(repo, "sync/pins?after=nonsense");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("after: "), "{body}");
}

#[test]
fn two_members_see_each_other_come_to_the_same_root_and_miss_who_is_gone() {
    let one = fresh_repo();
    let one = one.path();
    let _first = Daemon::start(one, &[]);
    let two = second(one);
    let two = two.path();
    let daemon = Daemon::start(two, &["--agent-version-suffix=cellar"]);
    add(one, "from one");
    add(two, "from two");
    connect(one, two);
    let agree = |status: &Value| {
        let members = status["Members"].as_array().unwrap();
        let roots = members.iter().all(|member| member["LiveRoot"] == status["LiveRoot"]);
        status["Pins"] == 2 && members.len() == 2 && roots
    };
    let (a, b) = (wait(one, agree), wait(two, agree));
    assert_eq!(a["LiveRoot"], b["LiveRoot"]);
    assert_eq!(a["StateRoot"], b["StateRoot"]);
    let other = &a["Members"][1];
    assert_eq!((&other["State"], &other["LagPins"]), (&"online".into(), &0.into()));
    assert_eq!(other["Name"], "cellar");
    assert!(other["Version"].as_str().unwrap().contains("/pinmesh-"), "{other}");
    let peers = ask(one, "sync/peers");
    assert_eq!(peers["Peers"][1]["ID"], other["ID"]);
    assert!(peers["Peers"][1]["ClockOffset"].is_i64(), "{peers:#}");
    let pins = all(one, "sync/pins");
    let authors: Vec<&Value> = pins.iter().map(|pin| &pin["Author"]).collect();
    assert!(authors.contains(&&other["ID"]) && authors.contains(&&a["Members"][0]["ID"]));

    daemon.signal("KILL");
    let alone = wait(one, |status| status["Members"][1]["State"] == "offline");
    assert!(alone["Members"][1]["LastSeen"].as_str().unwrap().starts_with("20"), "{alone:#}");
    let text = said(one, &["status"]);
    assert!(text.contains("1 of 2 members online"), "{text}");
}

#[test]
fn a_node_without_a_group_says_so() {
    let repo = fresh_repo();
    let repo = repo.path();
    let _daemon = Daemon::start(repo, &["--public"]);
    for command in ["sync/status", "sync/peers", "sync/pins"] {
        let (status, body) = call(repo, command);
        assert_eq!(status, 500, "{command}: {body}");
        assert!(body.contains("this node is public"), "{command}: {body}");
    }
    let output = run(repo, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this node is public"));
}

#[test]
fn what_changes_is_told_as_it_happens_and_lists_are_compared() {
    let one = fresh_repo();
    let one = one.path();
    let _first = Daemon::start(one, &[]);
    let kept = add(one, "kept");
    let gone = add(one, "gone");
    assert_eq!(ask(one, &format!("pin/rm?arg={gone}"))["Pins"][0], gone.as_str());
    wait(one, |status| status["Pins"] == 1 && status["Unrecorded"] == 0);
    let log = all(one, "sync/log");
    let told: Vec<(&str, &str)> = log
        .iter()
        .map(|change| (change["What"].as_str().unwrap(), change["Cid"].as_str().unwrap()))
        .collect();
    let kept_pinned = ("pinned", kept.as_str());
    assert_eq!(told, [kept_pinned, ("pinned", gone.as_str()), ("unpinned", gone.as_str())]);
    assert_eq!(log[2]["LiveRoot"], ask(one, "sync/status")["LiveRoot"]);
    assert_eq!(said(one, &["sync", "log"]).lines().count(), 3);

    let two = second(one);
    let two = two.path();
    let _second = Daemon::start(two, &[]);
    let (status, body) = call(one, "sync/diff");
    assert_eq!(status, 400, "{body}");
    let (status, body) = call(one, "sync/diff?peer=nobody");
    assert!(status == 400 && body.contains("no member has the id"), "{body}");
    connect(one, two);
    let status = wait(one, |status| {
        let other = &status["Members"][1];
        other["State"] == "online" && other["LiveRoot"] == status["LiveRoot"]
    });
    let id = status["Members"][1]["ID"].as_str().unwrap().to_owned();
    assert!(all(one, &format!("sync/diff?peer={id}")).is_empty());
    let text = said(one, &["sync", "diff", &id[id.len() - 8..]]);
    assert_eq!(text, "Both have the same pins.\n");
    let heard = all(two, "sync/log");
    assert_eq!(heard[0]["Cid"], kept.as_str());
    assert_eq!(heard[0]["Author"], ask(one, "id")["ID"]);
}

/// Checks a leaf of a proof, by the definition in `docs/sync.md` alone; the sides that its way to
/// the root takes, from the root down.
fn sides(leaf: &Value, root: &str) -> Vec<bool> {
    let bytes = |value: &Value| -> Vec<u8> {
        let digits = value.as_str().unwrap().strip_prefix("0x").unwrap().as_bytes();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    };
    let keyed = |label: &str, parts: [&[u8]; 2]| -> Vec<u8> {
        let mut key = [0; 32];
        key[..label.len()].copy_from_slice(label.as_bytes());
        blake3::keyed_hash(&key, &parts.concat()).as_bytes().to_vec()
    };
    let record = bytes(&leaf["Record"]);
    // A list of seven, of which the digest covers the first six, and the signature is the last.
    assert_eq!(record[0], 0x87);
    let (said, signature) = record[1..].split_at(record.len() - 1 - 66);
    assert_eq!(&signature[..2], [0x58, 0x40]);
    let digest = blake3::hash(&[&[0x86], said].concat()).as_bytes().to_vec();
    assert_eq!(digest, bytes(&leaf["Digest"]));
    let key = bytes(&leaf["Key"]);
    let mut hash = keyed("pinsync-v1 leaf", [&key, &digest]);
    let mut sides = Vec::new();
    for step in leaf["Path"].as_array().unwrap() {
        let other = bytes(&step["Hash"]);
        let is_right = step["Side"] == "left";
        hash = match is_right {
            true => keyed("pinsync-v1 node", [&other, &hash]),
            false => keyed("pinsync-v1 node", [&hash, &other]),
        };
        sides.push(is_right);
    }
    assert_eq!(hash, bytes(&Value::from(root)), "{leaf:#}");
    sides.reverse();
    sides
}

#[test]
fn proofs_of_what_is_pinned_and_what_is_not_hold() {
    let repo = fresh_repo();
    let repo = repo.path();
    let _daemon = Daemon::start(repo, &[]);
    let absent: Vec<String> = (0..6)
        .map(|n| {
            let cid = add(repo, &format!("absent {n}"));
            ask(repo, &format!("pin/rm?arg={cid}"));
            cid
        })
        .collect();
    let nothing = ask(repo, &format!("sync/prove?arg={}", absent[0]));
    assert_eq!((&nothing["Pinned"], &nothing["LiveRoot"]), (&false.into(), &NO_PINS.into()));
    assert_eq!(nothing["Leaves"].as_array().unwrap().len(), 0);
    let pinned: Vec<String> = (0..20).map(|n| add(repo, &format!("file {n}"))).collect();
    let root = wait(repo, |status| status["Pins"] == 20)["LiveRoot"].as_str().unwrap().to_owned();
    for cid in &pinned {
        let proof = ask(repo, &format!("sync/prove?arg={cid}"));
        assert_eq!((&proof["Pinned"], &proof["LiveRoot"]), (&true.into(), &root.as_str().into()));
        let leaves = proof["Leaves"].as_array().unwrap();
        assert_eq!((leaves.len(), &leaves[0]["Key"]), (1, &proof["Key"]));
        sides(&leaves[0], &root);
    }
    for cid in &absent {
        let proof = ask(repo, &format!("sync/prove?arg={cid}"));
        assert_eq!(proof["Pinned"], false);
        let (key, leaves) = (proof["Key"].as_str().unwrap(), proof["Leaves"].as_array().unwrap());
        let ways: Vec<Vec<bool>> = leaves.iter().map(|leaf| sides(leaf, &root)).collect();
        let is_before = |leaf: &Value| leaf["Key"].as_str().unwrap() < key;
        match (leaves.as_slice(), ways.as_slice()) {
            ([before, after], [left, right]) => {
                assert!(is_before(before) && !is_before(after));
                let fork = left.iter().zip(right).take_while(|(a, b)| a == b).count();
                assert!(!left[fork] && right[fork], "they part the wrong way");
                assert!(left[fork + 1..].iter().all(|is_right| *is_right));
                assert!(right[fork + 1..].iter().all(|is_right| !is_right));
            }
            ([only], [way]) => assert!(way.iter().all(|is_right| *is_right == is_before(only))),
            _ => panic!("{proof:#}"),
        }
    }
    let text = said(repo, &["sync", "prove", &pinned[0]]);
    assert!(text.contains("is pinned") && text.contains(&root), "{text}");
}
