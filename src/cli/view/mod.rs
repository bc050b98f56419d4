//! `pinmesh status`, `pinmesh pins` and `pinmesh sync …`: what people see of the group.
//!
//! Asks the running daemon over its RPC and prints tables, or the RPC's own JSON with `--json`.
//! Whether the members agree is said, and is no error: exit code 1 is for a question that could not
//! be answered.

mod changes;
mod pins;
mod status;
mod table;

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::client::{self, Address, Call};
use super::{Global, print, rpc};

pub(super) use pins::Arguments as Pins;
pub(super) use status::render as render_status;

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What every command here takes.
#[derive(Debug, Clone, Args)]
pub(super) struct Show {
    /// Print what the RPC answers: JSON.
    #[arg(long)]
    json: bool,
    /// Secret of the RPC, as `--api-auth` of every other command.
    #[arg(long, value_name = "SECRET")]
    api_auth: Option<String>,
}

/// A command that can be looked at for longer.
#[derive(Debug, Clone, Args)]
pub(super) struct Watched {
    #[command(flatten)]
    show: Show,
    /// Stay, and print it again as it changes.
    #[arg(long, short)]
    watch: bool,
}

/// The commands of `pinmesh sync`.
#[derive(Debug, Subcommand)]
pub(super) enum Sync {
    /// Whether the members of the group have the same pins, and what is missing here.
    Status(Watched),
    /// The pins of the group, and where each of them is.
    Pins(Pins),
    /// The members of the group, with all that is known of them.
    Peers(Watched),
    /// By which pins the lists of this node and of another member differ.
    Diff(changes::Diff),
    /// Try again now what could not be fetched: one pin, or all.
    Recover(changes::Recover),
    /// The last changes of the pins, and those that come.
    Log(changes::Log),
    /// Proof that a CID is pinned, or is not, for whoever knows the root.
    Prove(changes::Prove),
}

/// Runs `status`.
pub(super) fn status(global: &Global, watched: &Watched) -> anyhow::Result<()> {
    watch(global, watched, "sync/status", status::render)
}

/// Runs `pins`.
pub(super) fn pins(global: &Global, arguments: &Pins) -> anyhow::Result<()> {
    pins::run(global, arguments)
}

/// Runs `sync …`.
pub(super) fn sync(global: &Global, command: &Sync) -> anyhow::Result<()> {
    match command {
        Sync::Status(watched) => status(global, watched),
        Sync::Pins(arguments) => pins(global, arguments),
        Sync::Peers(watched) => watch(global, watched, "sync/peers", status::render_peers),
        Sync::Diff(arguments) => changes::diff(global, arguments),
        Sync::Recover(arguments) => changes::recover(global, arguments),
        Sync::Log(arguments) => changes::log(global, arguments),
        Sync::Prove(arguments) => changes::prove(global, arguments),
    }
}

/// Prints an answer, once or again and again.
fn watch(
    global: &Global,
    watched: &Watched,
    command: &str,
    render: fn(&Value) -> String,
) -> anyhow::Result<()> {
    let daemon = Daemon::find(global, &watched.show)?;
    let clears = std::io::stdout().is_terminal() && !watched.show.json;
    let mut last = None;
    loop {
        let answer = daemon.ask(command, &[])?;
        let text = if watched.show.json { answer.to_string() } else { render(&answer) };
        if clears && watched.watch {
            // To the top left corner, and nothing below.
            print::part("\x1b[H\x1b[2J");
        }
        let news = without_times(answer);
        if clears || last.as_ref() != Some(&news) {
            print::line(text.trim_end());
        }
        last = Some(news);
        if !watched.watch {
            return Ok(());
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// An answer without the times at which members were heard, which change all the time.
fn without_times(mut answer: Value) -> Value {
    let lists = answer.as_object_mut().into_iter().flat_map(|object| object.values_mut());
    let entries = lists.filter_map(Value::as_array_mut).flatten();
    for entry in entries.filter_map(Value::as_object_mut) {
        entry.remove("LastSeen");
    }
    answer
}

/// The running daemon.
struct Daemon {
    address: Address,
    api_auth: Option<String>,
}

impl Daemon {
    fn find(global: &Global, show: &Show) -> anyhow::Result<Self> {
        let Some(address) = rpc::daemon_address(global)? else {
            bail!(
                "no daemon is running for {}: start it with 'pinmesh daemon'",
                global.repo_path().display()
            );
        };
        Ok(Self { address, api_auth: show.api_auth.clone() })
    }

    /// One value.
    fn ask(&self, command: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut answer = Vec::new();
        self.stream(command, query, &mut answer)?;
        serde_json::from_slice(&answer).with_context(|| format!("the answer of {command}"))
    }

    /// What is answered, as it comes.
    fn stream(
        &self,
        command: &str,
        query: &[(&str, String)],
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut target = format!("{command}?encoding=json");
        for (name, value) in query {
            target.push_str(&format!("&{name}={}", encode(value)));
        }
        let authorization = self.api_auth.as_deref().map(rpc::authorization);
        client::call(&self.address, Call { target, authorization, body: None }, out)
    }
}

/// Takes the lines of an answer, each a JSON value.
struct Lines<F> {
    buffer: Vec<u8>,
    take: F,
}

impl<F: FnMut(&Value) -> std::io::Result<()>> Lines<F> {
    fn new(take: F) -> Self {
        Self { buffer: Vec::new(), take }
    }
}

impl<F: FnMut(&Value) -> std::io::Result<()>> Write for Lines<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let value = serde_json::from_slice(&line).map_err(std::io::Error::other)?;
            (self.take)(&value)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A text of an answer; empty when it is not there.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A number of an answer; 0 when it is not there.
fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// A list of an answer.
fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_taken_whole_however_they_come() {
        let mut taken = Vec::new();
        let mut lines = Lines::new(|value: &Value| {
            taken.push(value.clone());
            Ok(())
        });
        for byte in b"{\"A\":1}\n{\"A\":2}\n" {
            lines.write_all(&[*byte]).unwrap();
        }
        assert!(lines.write_all(b"no JSON\n").is_err());
        assert_eq!(taken, [json!({"A": 1}), json!({"A": 2})]);
    }

    #[test]
    fn the_time_at_which_a_member_was_heard_is_no_news() {
        let at = |time: &str| json!({"Pins": 1, "Members": [{"ID": "a", "LastSeen": time}]});
        assert_eq!(without_times(at("1")), without_times(at("2")));
        assert_ne!(without_times(at("1")), without_times(json!({"Pins": 2, "Members": []})));
    }
}
