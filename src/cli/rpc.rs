//! `pinmesh <command> …` for every command of the RPC, by the command table.
//!
//! A running daemon answers; without one, a node without a network is started for the one command,
//! as Kubo does. What is printed is the command's text encoding, so there is no printing code here
//! but for `add`, whose text Kubo's own client makes.

use crate::ipld::quote::quote;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{self, Address, Call};
use super::upload::Upload;
use super::{Global, chroot, keys};
use crate::http::rpc::table::{self, Class, Command, Kind, OptionDef};
use crate::http::{self, Listener};
use crate::node::{start, version};
use crate::repo::{self, Repo};

/// A command line, read by the table.
#[derive(Debug)]
struct Line {
    command: &'static Command,
    options: Vec<(&'static str, String)>,
    arguments: Vec<String>,
    files: Vec<PathBuf>,
}

impl Line {
    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str) -> bool {
        self.option(name) == Some("true")
    }
}

/// Runs a command of the RPC.
pub(super) fn run(global: &Global, words: &[OsString]) -> anyhow::Result<()> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let line = read(&words)?;
    let mut global = global.clone();
    if let Some(path) = line.option("repo-dir").or(line.option("config")) {
        global.repo_dir = Some(PathBuf::from(path));
    }
    if let Some(api) = line.option("api") {
        global.api = Some(api.to_owned());
    }
    if line.command.cli_only {
        return here(&global, &line);
    }
    if let Some(address) = daemon_address(&global)? {
        return call(&address, line);
    }
    if line.command.path == "shutdown" {
        bail!("daemon not running");
    }
    let path = global.repo_path();
    if line.command.path == "version" && !repo::is_initialized(&path) {
        super::print::line(&format!("ipfs version {}", version::KUBO_VERSION));
        return Ok(());
    }
    alone(&global, line)
}

/// Runs a command that is on the command line alone.
fn here(global: &Global, line: &Line) -> anyhow::Result<()> {
    match line.command.path {
        "key/export" => {
            let name = line.arguments.first().map(String::as_str).unwrap_or_default();
            let format = line.option("format").unwrap_or("libp2p-protobuf-cleartext");
            keys::export(global, name, line.option("output"), format)
        }
        "key/rotate" => {
            let size = line.option("size").map(str::parse).transpose();
            let size = size.map_err(|_| anyhow!("the size is no number"))?;
            let algorithm = line.option("type").unwrap_or("ed25519");
            keys::rotate(global, line.option("oldkey"), algorithm, size)
        }
        "files/chroot" => {
            let cid = line.arguments.first().map(String::as_str);
            chroot::run(global, cid, line.flag("confirm"))
        }
        path => bail!("{} is not available in pinmesh", path.replace('/', " ")),
    }
}

/// Where the daemon is; `None` when there is none.
pub(super) fn daemon_address(global: &Global) -> anyhow::Result<Option<Address>> {
    if let Some(api) = &global.api {
        return Address::parse(api).map(Some);
    }
    let file = global.repo_path().join("api");
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let address = Address::parse(text.trim())?;
            // A daemon that was killed leaves its file behind.
            Ok(address.is_alive().then_some(address))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow!("open {}: {error}", file.display())),
    }
}

/// Runs the command on a node that is started for it.
fn alone(global: &Global, line: Line) -> anyhow::Result<()> {
    let repo = Repo::open(&global.repo_path(), global.config_file.as_deref())?;
    let sockets = tempfile::tempdir()?;
    let socket = sockets.path().join("rpc");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let offline = start::Options { offline: true, ..start::Options::default() };
        let mut running = start::start(repo, offline).await?;
        let node = running.node().clone();
        let listener = Listener::unix(&socket)?;
        let options = http::Options {
            version: version::KUBO_VERSION.to_owned(),
            agent: node.agent().to_owned(),
            commit: version::COMMIT.to_owned(),
            ..http::Options::default()
        };
        let server = http::Server::new(node.clone(), options);
        let stop = node.clone();
        running.spawn("rpc", async move {
            server.run(listener, async move { stop.stopped().await }).await;
            Ok(())
        });
        let address = Address::Unix(socket);
        let called = tokio::task::spawn_blocking(move || call(&address, line)).await;
        node.shutdown();
        drop(node);
        running.wait(None).await?;
        called?
    });
    runtime.shutdown_background();
    outcome
}

fn call(address: &Address, line: Line) -> anyhow::Result<()> {
    let is_add = line.command.path == "add";
    let mut query: Vec<String> = Vec::new();
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    for argument in &line.arguments {
        query.push(format!("arg={}", encode(argument)));
    }
    let local = ["api", "api-auth", "repo-dir", "config", "config-file", "encoding", "output"];
    for (name, value) in line.options.iter().filter(|(name, _)| !local.contains(name)) {
        query.push(format!("{name}={}", encode(value)));
    }
    let encoding = match line.option("encoding") {
        Some(encoding) => encoding,
        None if is_add || line.command.class == Class::Raw => "json",
        None => "text",
    };
    query.push(format!("encoding={encoding}"));
    let body = (!line.files.is_empty()).then(|| {
        let upload = Upload {
            recursive: line.flag("recursive"),
            hidden: line.flag("hidden"),
            paths: line.files.clone(),
        };
        upload.into_body()
    });
    let call = Call {
        target: format!("{}?{}", line.command.path, query.join("&")),
        authorization: line.option("api-auth").map(authorization),
        body,
    };
    if let Some(path) = line.option("output") {
        let mut file = std::fs::File::create(path)?;
        return client::call(address, call, &mut file);
    }
    if is_archive(line.command) && io::stdout().is_terminal() {
        bail!("{} gives an archive: say where to with --output=<file>", line.command.path);
    }
    if is_add && line.option("encoding").is_none() {
        let (quiet, quieter) = (line.flag("quiet"), line.flag("quieter"));
        let mut added = Added { buffer: Vec::new(), quiet, quieter, last: String::new() };
        client::call(address, call, &mut added)?;
        if quieter {
            super::print::line(&added.last);
        }
        return Ok(());
    }
    client::call(address, call, &mut io::stdout().lock())
}

fn is_archive(command: &Command) -> bool {
    matches!(command.path, "get" | "dag/export" | "diag/profile")
}

/// The header for an `--api-auth`, by the rules of `API.Authorizations`.
pub(super) fn authorization(secret: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match secret.split_once(':') {
        None => format!("Bearer {secret}"),
        Some(("basic", rest)) if rest.contains(':') => format!("Basic {}", STANDARD.encode(rest)),
        Some(("basic", rest)) => format!("Basic {rest}"),
        Some((_, rest)) => format!("Bearer {rest}"),
    }
}

/// Prints what `add` answers as Kubo's client does.
struct Added {
    buffer: Vec<u8>,
    /// Only CIDs.
    quiet: bool,
    /// Only the last CID.
    quieter: bool,
    last: String,
}

impl Write for Added {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let event: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
            let text = |key: &str| event.get(key).and_then(|value| value.as_str()).unwrap_or("");
            let (hash, name) = (text("Hash"), text("Name"));
            if hash.is_empty() {
                continue;
            }
            let name = if name.is_empty() { hash } else { name };
            let mut out = io::stdout().lock();
            if self.quieter {
                hash.clone_into(&mut self.last);
            } else if self.quiet {
                writeln!(out, "{hash}")?;
            } else {
                writeln!(out, "added {hash} {name}")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Reads a command line: the longest command that the words begin with, then options and arguments.
fn read(words: &[String]) -> anyhow::Result<Line> {
    let longest = words.iter().take_while(|word| !word.starts_with('-')).count();
    let named = (1..=longest).rev().find_map(|count| {
        let path = words.get(..count)?.join("/");
        table::find(&path).map(|command| (command, count))
    });
    let Some((command, count)) = named else {
        let word = words.first().map(String::as_str).unwrap_or_default();
        bail!("Unknown Command \"{word}\": see 'pinmesh --help'");
    };
    let mut line = Line { command, options: Vec::new(), arguments: Vec::new(), files: Vec::new() };
    let mut positional: Vec<String> = Vec::new();
    let mut rest = words.iter().skip(count);
    while let Some(word) = rest.next() {
        if word == "--" {
            positional.extend(rest.by_ref().cloned());
        } else if word == "-" || !word.starts_with('-') {
            positional.push(word.clone());
        } else {
            let (name, given) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let name = name.trim_start_matches('-');
            let option = option(command, name)?;
            let value = match given {
                Some(value) => value,
                None if option.kind == Kind::Bool => "true".to_owned(),
                None => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| anyhow!("missing argument for option \"{name}\""))?,
            };
            line.options.push((option.name(), value));
        }
    }
    assign(&mut line, positional)?;
    Ok(line)
}

fn option(command: &'static Command, name: &str) -> anyhow::Result<&'static OptionDef> {
    table::options_of(command)
        .find(|option| option.names.contains(&name))
        .ok_or_else(|| anyhow!("unknown option {}", quote(name)))
}

/// Gives the positional words to the arguments that the table declares.
fn assign(line: &mut Line, words: Vec<String>) -> anyhow::Result<()> {
    let mut words = words.into_iter().peekable();
    for argument in line.command.args {
        if words.peek().is_none() {
            if argument.file && argument.stdin {
                line.files.push(PathBuf::from("-"));
            } else if argument.required && !argument.stdin {
                let kind = if argument.file { "file argument" } else { "argument" };
                let name = argument.name;
                bail!("{kind} \"{name}\" is required");
            }
            continue;
        }
        let count = if argument.variadic { usize::MAX } else { 1 };
        let taken: Vec<String> = words.by_ref().take(count).collect();
        if argument.file {
            line.files.extend(taken.into_iter().map(PathBuf::from));
        } else {
            line.arguments.extend(taken);
        }
    }
    match words.next() {
        Some(word) => Err(anyhow!("too many arguments: {}", quote(&word))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> anyhow::Result<Line> {
        read(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn commands_options_and_arguments_are_read_by_the_table() {
        let add = line("add -r --cid-version=1 --pin=false dir file").unwrap();
        assert_eq!(add.command.path, "add");
        assert_eq!(add.files, [PathBuf::from("dir"), PathBuf::from("file")]);
        assert!(add.flag("recursive"));
        assert_eq!(add.option("pin"), Some("false"));
        let ls = line("pin ls --type recursive bafy").unwrap();
        assert_eq!(ls.command.path, "pin/ls");
        assert_eq!(ls.option("type"), Some("recursive"));
        assert_eq!(ls.arguments, ["bafy"]);
        let config = line("config Routing.Type -- -x").unwrap();
        assert_eq!(config.arguments, ["Routing.Type", "-x"]);
    }

    #[test]
    fn what_the_table_does_not_know_is_refused() {
        for text in ["nope", "pin ls --nope", "id a b", "block get --"] {
            let read = line(text);
            assert!(read.is_err() || text == "block get --", "{text}: {read:?}");
        }
    }
}
