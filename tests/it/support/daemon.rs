//! The built binary, run as a person would.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command of the binary on the repo in `repo`.
pub(crate) fn pinmesh(repo: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinmesh"));
    command.args(arguments).env("IPFS_PATH", repo).stdin(Stdio::null());
    command.env_remove("IPFS_WAIT_REPO_LOCK").env_remove("GOLOG_LOG_LEVEL");
    command
}

/// What a command of the binary says, and its exit code.
pub(crate) fn run(repo: &Path, arguments: &[&str]) -> Output {
    pinmesh(repo, arguments).output().unwrap()
}

/// A fresh repo with the `test` profile.
pub(crate) fn fresh_repo() -> tempfile::TempDir {
    let repo = tempfile::tempdir().unwrap();
    let output = run(repo.path(), &["init", "--profile=test"]);
    assert!(output.status.success(), "{output:?}");
    repo
}

/// A running daemon; killed on drop.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// Everything it has said so far.
    pub(crate) said: Vec<String>,
}

impl Daemon {
    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start(repo: &Path, arguments: &[&str]) -> Self {
        let mut daemon = Self::spawn(pinmesh(repo, &[&["daemon"], arguments].concat()));
        daemon.wait_for("Daemon is ready");
        daemon
    }

    /// Starts a daemon and waits for nothing.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, said: Vec::new() }
    }

    /// Reads lines until one is `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let found = line == text;
                    self.said.push(line);
                    if found {
                        return;
                    }
                }
                Err(error) => {
                    let stderr = self.stderr();
                    panic!("no {text:?} in {:?}: {error}, {stderr}", self.said);
                }
            }
        }
    }

    /// Kills the daemon; what it has said on standard error.
    pub(crate) fn stderr(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut text);
        text
    }

    /// Sends a signal: `INT`, `TERM`, `HUP`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; returns the exit status and what was left to say.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.said);
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = std::mem::take(&mut self.said);
        said.extend(self.lines.iter());
        (status, said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls the RPC whose address is in the repo's `api` file; returns the status and the body.
pub(crate) fn call(repo: &Path, path: &str) -> (u16, String) {
    let api = std::fs::read_to_string(repo.join("api")).unwrap();
    let parts: Vec<&str> = api.split('/').collect();
    call_at(&format!("{}:{}", parts[2], parts[4]), path)
}

/// Calls the RPC at `host`.
pub(crate) fn call_at(host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!("POST /api/v0/{path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
