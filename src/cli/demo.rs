//! `pinmesh demo`: three nodes on this machine for a moment, and one pinset on all of them.
//!
//! The nodes are children of this process, each with its own repository in a directory that goes
//! with them, on loopback. Every step waits for what it says to have happened. An interrupt ends
//! the children and removes the directory, as the end does.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::client::{self, Address, Call};
use super::{print, view};

/// The names of the nodes.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// The exit code after a signal: as the shell has it for SIGINT.
const INTERRUPTED: u8 = 130;
/// Variables that would make the nodes others than those of the demo.
const VARIABLES: [&str; 8] = [
    "IPFS_PATH",
    "IPFS_JOIN",
    "IPFS_SWARM_KEY",
    "IPFS_SWARM_KEY_FILE",
    "IPFS_PROFILE",
    "PINMESH_KEY",
    "PINMESH_NODEKEY",
    "NOTIFY_SOCKET",
];

/// Runs `demo`; returns the exit code.
pub(super) fn run() -> anyhow::Result<u8> {
    let dir = tempfile::Builder::new().prefix("pinmesh-demo-").tempdir()?;
    let demo = Demo {
        program: std::env::current_exe().context("the path of this program")?,
        dir: dir.path().to_owned(),
        running: Arc::default(),
        is_over: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let (at_work, over) = (demo.clone(), demo.is_over.clone());
        let mut work = tokio::task::spawn_blocking(move || at_work.play());
        let done = tokio::select! {
            done = &mut work => Some(done),
            signalled = signalled() => {
                signalled?;
                None
            }
        };
        over.store(true, Ordering::Relaxed);
        demo.end_all();
        match done {
            Some(done) => done?.map(|()| 0),
            None => {
                // What it was at has failed, now that its nodes are gone.
                let _ = work.await;
                demo.end_all();
                print::line(
                    "\nInterrupted: the three nodes are gone, and their directory with them.",
                );
                Ok(INTERRUPTED)
            }
        }
    });
    dir.close()?;
    code
}

/// Resolves when this process is asked to end.
async fn signalled() -> anyhow::Result<()> {
    let mut signals =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let waits = signals.iter_mut().filter_map(|signal| signal.as_mut().ok());
    let waits: Vec<_> = waits.map(|signal| Box::pin(signal.recv())).collect();
    if waits.is_empty() {
        bail!("signals cannot be waited for");
    }
    futures_util::future::select_all(waits).await;
    Ok(())
}

/// The nodes, and what can be done with them. Cloning the handle is cheap.
#[derive(Debug, Clone)]
struct Demo {
    program: PathBuf,
    dir: PathBuf,
    /// The nodes that run, by name.
    running: Arc<Mutex<Vec<(&'static str, Child)>>>,
    /// Nothing is to be started any more.
    is_over: Arc<AtomicBool>,
}

impl Demo {
    fn play(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        self.begin()?;
        let first = self.pin_one()?;
        self.miss_one()?;
        self.remove_one(&first)?;
        say(
            "That was all. What you would type is the same, with a machine for each of a, b and c:",
        );
        say("start with 'pinmesh init' and 'pinmesh daemon' on one of them.");
        print::line(&format!("{:.1} s", start.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Three nodes become a group.
    fn begin(&self) -> anyhow::Result<()> {
        let [a, b, c] = NAMES;
        say(&format!("Three nodes on this machine alone, in {}.", self.dir.display()));
        say("The first one makes a private network:");
        self.typed(a, &["init", "--profile=test"])?;
        self.start(a)?;
        let invitation = self.typed(a, &["swarm", "invite", ">", "invitation"])?;
        let file = self.dir.join("invitation");
        fs::write(&file, invitation)?;
        say("The others join it with that line:");
        for name in [b, c] {
            self.typed(name, &["init", "--profile=test", "--join", "invitation"])?;
            self.start(name)?;
        }
        self.wait("the three to be members of one group", NAMES.as_slice(), |status| {
            online(status) == NAMES.len()
        })?;
        self.show(a)
    }

    /// A file that is added on one is on all.
    fn pin_one(&self) -> anyhow::Result<String> {
        let [a, b, c] = NAMES;
        say("A file that is added on a is pinned on all:");
        fs::write(self.dir.join("hello.txt"), "hello from a\n")?;
        let cid = self.typed(a, &["add", "-Q", "hello.txt"])?;
        self.wait("the pin to be everywhere", NAMES.as_slice(), |status| agrees(status, 1))?;
        self.show(a)?;
        for name in [b, c] {
            self.typed(name, &["cat", "--offline", &cid])?;
        }
        Ok(cid)
    }

    /// A node that was away catches up.
    fn miss_one(&self) -> anyhow::Result<()> {
        let [a, b, c] = NAMES;
        say("c is killed, and misses a pin:");
        self.kill(c)?;
        let alive = &[a, b];
        self.wait("c to be missed", alive, |status| online(status) == 2)?;
        fs::write(self.dir.join("later.txt"), "c was away\n")?;
        let cid = self.typed(b, &["add", "-Q", "later.txt"])?;
        self.wait("the pin to be on a and b", alive, |status| agrees(status, 2))?;
        self.show(b)?;
        say("c comes back, and has it:");
        self.start(c)?;
        self.wait("c to have what it missed", NAMES.as_slice(), |status| {
            online(status) == NAMES.len() && agrees(status, 2)
        })?;
        self.typed(c, &["cat", "--offline", &cid])?;
        Ok(())
    }

    /// What is removed on one is removed on all.
    fn remove_one(&self, cid: &str) -> anyhow::Result<()> {
        let [a, b, _] = NAMES;
        say("A pin that is removed on b is removed everywhere:");
        self.typed(b, &["pin", "rm", cid])?;
        self.wait("the pin to be gone everywhere", NAMES.as_slice(), |status| agrees(status, 1))?;
        self.typed(a, &["pins"])?;
        self.show(a)
    }

    /// Runs a command of a node; shows it as a person would type it, and what it says.
    fn typed(&self, name: &str, words: &[&str]) -> anyhow::Result<String> {
        print::line(&format!("{name}$ pinmesh {}", words.join(" ")));
        let is_shown = !words.contains(&">");
        let mut command = self.command(name);
        command.args(words.iter().take_while(|word| **word != ">"));
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if !output.status.success() {
            bail!("{name}: {said}{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        let is_shown = is_shown && words_are_shown(&said);
        said.lines().filter(|_| is_shown).for_each(|line| print::line(&format!("   {line}")));
        Ok(said)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--repo-dir").arg(self.repo(name)).current_dir(&self.dir);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command
    }

    fn repo(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a node and waits until it is ready.
    fn start(&self, name: &'static str) -> anyhow::Result<()> {
        print::line(&format!("{name}$ pinmesh daemon &"));
        let log = fs::File::create(self.dir.join(format!("{name}.log")))?;
        let mut command = self.command(name);
        command.arg("daemon").arg(format!("--agent-version-suffix={name}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let stdout = {
            let mut running = self.running();
            // After the lock: whoever ends all has said before that it is over.
            if self.is_over.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let mut child = command.spawn()?;
            let stdout = child.stdout.take();
            running.push((name, child));
            stdout.ok_or_else(|| anyhow!("no output of {name}"))?
        };
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        if lines.by_ref().any(|line| line == "Daemon is ready") {
            // Nobody reads what it says later: it has to go somewhere all the same.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(());
        }
        let said = fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
        bail!("{name} did not start: {}", said.trim_end())
    }

    /// Kills a node, as a power cut would.
    fn kill(&self, name: &str) -> anyhow::Result<()> {
        print::line(&format!("{name}$ kill -9 $(pidof pinmesh)"));
        let mut running = self.running();
        let at = running.iter().position(|(running, _)| *running == name);
        let (_, mut child) = running.remove(at.ok_or_else(|| anyhow!("{name} does not run"))?);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Prints what a node knows of the group.
    fn show(&self, name: &str) -> anyhow::Result<()> {
        print::line(&format!("{name}$ pinmesh status"));
        let text = view::render_status(&ask(&self.repo(name), "sync/status")?);
        text.lines().for_each(|line| print::line(format!("   {line}").trim_end()));
        Ok(())
    }

    /// Waits until each of `names` says what is waited for.
    fn wait(
        &self,
        what: &str,
        names: &[&str],
        is_so: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for name in names {
            loop {
                let status = ask(&self.repo(name), "sync/status")?;
                if is_so(&status) {
                    break;
                }
                if self.is_over.load(Ordering::Relaxed) {
                    bail!("interrupted");
                }
                if Instant::now() > deadline {
                    bail!("waiting for {what}: {name} says {status}");
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }

    /// Ends every node that runs: first they are asked, then they are killed.
    fn end_all(&self) {
        let mut running = self.running();
        for (name, child) in running.iter_mut() {
            if ask(&self.repo(name), "shutdown").is_err() {
                // It is not ready yet, or has ended already.
                let _ = child.kill();
            }
        }
        let deadline = Instant::now() + END_PATIENCE;
        for (_, child) in running.iter_mut() {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(LOOK_EVERY);
            }
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        running.clear();
    }

    fn running(&self) -> MutexGuard<'_, Vec<(&'static str, Child)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line of the story.
fn say(text: &str) {
    print::line(&format!("\n# {text}"));
}

/// Whether what a command said helps to understand it.
fn words_are_shown(said: &str) -> bool {
    !said.starts_with("generating ") && said.lines().count() <= 4
}

/// Asks a node.
fn ask(repo: &Path, command: &str) -> anyhow::Result<Value> {
    let api = fs::read_to_string(repo.join("api"))?;
    let mut answer = Vec::new();
    let target = format!("{command}?encoding=json");
    let call = Call { target, authorization: None, body: None };
    client::call(&Address::parse(api.trim())?, call, &mut answer)?;
    Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
}

/// Members that are connected, the node itself among them.
fn online(status: &Value) -> usize {
    let members = status.get("Members").and_then(Value::as_array);
    let states = members.into_iter().flatten().filter_map(|member| member.get("State")?.as_str());
    states.filter(|state| matches!(*state, "self" | "online")).count()
}

/// Whether a node is in sync with so many pins.
fn agrees(status: &Value, pins: u64) -> bool {
    status.get("InSync").and_then(Value::as_bool) == Some(true)
        && status.get("Pins").and_then(Value::as_u64) == Some(pins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_is_there_and_agrees_is_read_from_the_status() {
        let members = json!([{"State": "self"}, {"State": "online"}, {"State": "offline"}]);
        let status = json!({"InSync": true, "Pins": 2, "Members": members});
        assert_eq!(online(&status), 2);
        assert!(agrees(&status, 2) && !agrees(&status, 1));
        assert!(!agrees(&Value::Null, 0));
    }
}
