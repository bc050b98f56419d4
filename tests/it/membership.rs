//! How a node gets into a private network: the key of the first start, keys that are given, and
//! invitations. The secrets must show up nowhere but where they are asked for.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pinmesh::net::{Invite, SwarmKey};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, call, fresh_repo, pinmesh, run};

const PEER: &str = "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn key_of(repo: &Path) -> SwarmKey {
    SwarmKey::parse(&fs::read(repo.join("swarm.key")).unwrap()).unwrap()
}

fn config_of(repo: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(repo.join("config")).unwrap()).unwrap()
}

/// What a command said, on both outputs, must not hold the key in any form that it comes in.
fn assert_secret(key: &SwarmKey, said: &str) {
    let line = Invite { key: key.clone(), addresses: Vec::new() }.to_line();
    let base16 = key.to_file_text().lines().nth(2).unwrap().to_owned();
    let base64 = line.split(':').nth(2).unwrap().to_owned();
    assert!(!said.contains(&base16[..12]) && !said.contains(&base64[..12]), "{said}");
}

fn everything(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// `init` in a new directory, with variables.
fn init(variables: &[(&str, &str)], arguments: &[&str]) -> (tempfile::TempDir, Output) {
    let repo = tempfile::tempdir().unwrap();
    let output = init_in(repo.path(), variables, arguments);
    (repo, output)
}

fn init_in(repo: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = pinmesh(repo, &[&["init", "--profile=test"], arguments].concat());
    command.envs(variables.iter().copied()).output().unwrap()
}

fn with_stdin(mut command: Command, input: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn invite() -> Invite {
    let address = format!("/ip4/127.0.0.1/tcp/4001/p2p/{PEER}").parse().unwrap();
    Invite { key: SwarmKey::generate().unwrap(), addresses: vec![address] }
}

#[test]
fn the_first_start_makes_a_key_says_so_and_the_next_one_uses_it() {
    let repo = fresh_repo();
    let file = repo.path().join("swarm.key");
    assert!(!file.exists(), "a key may still be copied to its place");
    let daemon = Daemon::start(repo.path(), &[]);
    let key = key_of(repo.path());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
    let limited = "Swarm is limited to private network of peers with the swarm key".to_owned();
    let fingerprint = format!("Swarm key fingerprint: {}", key.fingerprint());
    let made = |said: &[String]| said.iter().any(|line| line.contains("new swarm key"));
    assert!(made(&daemon.said) && daemon.said.contains(&limited), "{:?}", daemon.said);
    assert!(daemon.said.contains(&fingerprint), "{:?}", daemon.said);
    daemon.signal("TERM");
    let (_, said) = daemon.end();
    assert_secret(&key, &said.join("\n"));
    let daemon = Daemon::start(repo.path(), &[]);
    assert!(!made(&daemon.said) && daemon.said.contains(&fingerprint), "{:?}", daemon.said);
    assert_eq!(key_of(repo.path()), key);
    for command in ["config/show", "id", "diag/sys", "repo/stat"] {
        assert_secret(&key, &call(repo.path(), command).1);
    }
}

#[test]
fn without_a_network_no_key_is_made() {
    let repo = fresh_repo();
    drop(Daemon::start(repo.path(), &["--offline"]));
    assert!(run(repo.path(), &["id"]).status.success());
    assert!(!repo.path().join("swarm.key").exists());
}

#[test]
fn a_public_node_has_no_key_and_a_node_with_a_key_is_never_public() {
    let repo = fresh_repo();
    let daemon = Daemon::start(repo.path(), &["--public"]);
    assert!(daemon.said.iter().any(|line| line.starts_with("Swarm is public")));
    drop(daemon);
    assert!(!repo.path().join("swarm.key").exists());
    drop(Daemon::start(repo.path(), &[]));
    let refused = run(repo.path(), &["daemon", "--public"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("Error: --public: "), "{refused:?}");
}

#[test]
fn a_forced_private_network_needs_a_key_that_is_there() {
    let repo = fresh_repo();
    let forced = |arguments: &[&str]| {
        let mut command = pinmesh(repo.path(), arguments);
        command.env("LIBP2P_FORCE_PNET", "1");
        command
    };
    for arguments in [&["daemon"][..], &["daemon", "--public"]] {
        let refused = forced(arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let why = "private network was not configured but is enforced by the environment\n";
        assert!(text(&refused.stderr).ends_with(why), "{refused:?}");
        assert!(!repo.path().join("swarm.key").exists());
    }
    drop(Daemon::start(repo.path(), &[]));
    let mut daemon = Daemon::spawn(forced(&["daemon"]));
    daemon.wait_for("Daemon is ready");
}

#[test]
fn a_key_that_cannot_be_read_keeps_the_daemon_from_starting() {
    let repo = fresh_repo();
    for (content, error) in [
        ("/key/swarm/psk/1.0.0/\n/base99/\nx\n", "unknown encoding: /base99/"),
        ("0102030405060708", "EOF"),
        ("0102030405060708\n", "expected file header /key/swarm/psk/1.0.0/"),
    ] {
        fs::write(repo.path().join("swarm.key"), content).unwrap();
        let output = run(repo.path(), &["daemon"]);
        assert_eq!(output.status.code(), Some(1));
        let expected = format!("failed to configure private network: {error}\n");
        assert!(text(&output.stderr).ends_with(&expected), "{output:?}");
        assert_eq!(fs::read_to_string(repo.path().join("swarm.key")).unwrap(), content);
    }
}

#[test]
fn init_takes_the_key_from_the_variables_of_kubos_image() {
    let (one, two) = (SwarmKey::generate().unwrap(), SwarmKey::generate().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, two.to_file_text()).unwrap();
    let path = file.path().to_str().unwrap();
    let content = one.to_file_text();

    let (repo, output) = init(&[("IPFS_SWARM_KEY", content.trim_end())], &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(key_of(repo.path()), one);
    assert!(text(&output.stdout).contains(&one.fingerprint()), "{output:?}");
    assert_secret(&one, &everything(&output));
    let mode = fs::metadata(repo.path().join("swarm.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o400);

    let (repo, output) = init(&[("IPFS_SWARM_KEY", &content), ("IPFS_SWARM_KEY_FILE", path)], &[]);
    assert_eq!(key_of(repo.path()), two, "the file comes first: {output:?}");
    // The variables are for a repo that is made, as in Kubo's script.
    let mut again = pinmesh(repo.path(), &["daemon", "--init"]);
    again.env("IPFS_SWARM_KEY", &content);
    let mut daemon = Daemon::spawn(again);
    daemon.wait_for("Daemon is ready");
    assert_eq!(key_of(repo.path()), two);

    let (repo, output) = init(&[("IPFS_SWARM_KEY", &content[23..])], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_secret(&one, &everything(&output));
    assert!(!repo.path().join("config").exists() && !repo.path().join("swarm.key").exists());
    let (_, output) = init(&[("IPFS_SWARM_KEY_FILE", "/nowhere/key")], &[]);
    assert!(text(&output.stderr).contains("IPFS_SWARM_KEY_FILE: /nowhere/key"), "{output:?}");
}

#[test]
fn an_invitation_joins_from_a_line_a_file_standard_input_or_the_environment() {
    let invite = invite();
    let line = invite.to_line();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, format!("{line}\n")).unwrap();
    let bare = line.strip_prefix("IPFS_JOIN=").unwrap();
    let path = file.path().to_str().unwrap();
    let repo = tempfile::tempdir().unwrap();
    let from_stdin = pinmesh(repo.path(), &["init", "--profile=test", "--join", "-"]);
    let from_stdin = with_stdin(from_stdin, &line);
    let mut joined = vec![
        (repo, from_stdin),
        init(&[], &["--join", &line]),
        init(&[], &["--join", bare]),
        init(&[], &["--join", path]),
        init(&[("IPFS_JOIN", bare)], &[]),
        init(&[("IPFS_JOIN", path), ("IPFS_SWARM_KEY", &invite.key.to_file_text())], &[]),
    ];
    let repo = tempfile::tempdir().unwrap();
    let mut daemon = pinmesh(repo.path(), &["daemon", "--init", "--init-profile=test"]);
    daemon.env("IPFS_JOIN", &line).env("GOLOG_LOG_LEVEL", "debug");
    let mut daemon = Daemon::spawn(daemon);
    daemon.wait_for("Daemon is ready");
    assert_secret(&invite.key, &daemon.said.join("\n"));
    drop(daemon);
    joined.push((repo, run(Path::new("/nowhere"), &["--version"])));
    for (repo, output) in joined {
        assert!(output.status.success(), "{output:?}");
        assert_secret(&invite.key, &everything(&output));
        assert_eq!(key_of(repo.path()), invite.key);
        let config = config_of(repo.path());
        assert_eq!(config["Bootstrap"], json!([format!("/ip4/127.0.0.1/tcp/4001/p2p/{PEER}")]));
        let peering = json!([{"ID": PEER, "Addrs": ["/ip4/127.0.0.1/tcp/4001"]}]);
        assert_eq!(config["Peering"]["Peers"], peering);
    }
}

#[test]
fn an_invitation_that_cannot_be_used_changes_nothing_and_is_not_repeated() {
    let invite = invite();
    let line = invite.to_line();
    let cut = &line[14..];
    let other = SwarmKey::generate().unwrap();
    let other = other.to_file_text();
    let none: &[(&str, &str)] = &[];
    let cases = [
        (none, &["--join", cut][..]),
        (none, &["--join", &line[..60]]),
        (none, &[&line]),
        (&[("IPFS_JOIN", cut)], &[]),
        (&[("IPFS_SWARM_KEY", &other)], &["--join", &line]),
    ];
    for (variables, arguments) in cases {
        let (repo, output) = init(variables, arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_secret(&invite.key, &everything(&output));
        assert!(!repo.path().join("config").exists() && !repo.path().join("swarm.key").exists());
    }
}

#[test]
fn an_invitation_of_a_daemon_says_where_it_listens() {
    let repo = fresh_repo();
    let early = run(repo.path(), &["swarm", "invite"]);
    assert!(text(&early.stderr).contains("the first start"), "{early:?}");
    let daemon = Daemon::start(repo.path(), &[]);
    let output = run(repo.path(), &["swarm", "invite"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.lines().count() == 1, "{output:?}");
    let invite = Invite::parse(&said).unwrap();
    assert_eq!(invite.key, key_of(repo.path()));
    let id = config_of(repo.path())["Identity"]["PeerID"].as_str().unwrap().to_owned();
    let [address] = &invite.addresses[..] else { panic!("{:?}", invite.addresses) };
    let address = address.to_string();
    assert!(address.starts_with("/ip4/127.0.0.1/tcp/") && address.ends_with(&id), "{address}");
    drop(daemon);

    let alone = run(repo.path(), &["swarm", "invite"]);
    assert_eq!(alone.status.code(), Some(1));
    let named = run(repo.path(), &["swarm", "invite", "/dns/a.lan/tcp/4001"]);
    let invite = Invite::parse(&text(&named.stdout)).unwrap();
    assert_eq!(invite.addresses[0].to_string(), format!("/dns/a.lan/tcp/4001/p2p/{id}"));
}
