//! `pinmesh demo`, as it is and when it is interrupted: nothing of it stays behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, pinmesh};

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// The demo, with its directory in `temp`.
fn demo(temp: &Path) -> Command {
    let mut command = pinmesh(&temp.join("nowhere"), &["demo"]);
    command.env("TMPDIR", temp);
    command
}

/// What is left in a directory.
fn left(temp: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(temp).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The processes whose command line names a directory.
fn processes(dir: &Path) -> Vec<String> {
    let listed = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    assert!(listed.status.success());
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let dir = dir.to_str().unwrap();
    text.lines().filter(|line| line.contains(dir)).map(str::to_owned).collect()
}

#[test]
fn the_demo_ends_by_itself_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let output = demo(temp.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    for text in [
        "a$ pinmesh swarm invite",
        "b$ pinmesh init --profile=test --join invitation",
        "In sync: 0 pins, 3 of 3 members online",
        "a$ pinmesh add -Q hello.txt",
        "In sync: 1 pin, 3 of 3 members online",
        "   hello from a",
        "2 of 3 members online",
        "   c was away",
        "b$ pinmesh pin rm ",
    ] {
        assert!(said.contains(text), "no {text:?} in:\n{said}");
    }
    assert!(left(temp.path()).is_empty(), "{:?}", left(temp.path()));
    assert!(processes(temp.path()).is_empty(), "{:?}", processes(temp.path()));
}

#[test]
fn an_interrupted_demo_takes_its_nodes_and_its_directory_with_it() {
    for signal in ["INT", "TERM"] {
        let temp = tempfile::tempdir().unwrap();
        let mut running = Daemon::spawn(demo(temp.path()));
        running.wait_for("b$ pinmesh daemon &");
        running.signal(signal);
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(130), "{said:?}");
        let deadline = Instant::now() + PATIENCE;
        while !processes(temp.path()).is_empty() {
            assert!(Instant::now() < deadline, "{:?}", processes(temp.path()));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(left(temp.path()).is_empty(), "{:?}", left(temp.path()));
    }
}
