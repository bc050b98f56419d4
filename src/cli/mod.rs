//! The command line.
//!
//! Responsible for: what `pinmesh …` means, what it prints, and its exit code. `pinmesh --key …`
//! without a command is a daemon. `init`, `daemon` and
//! `swarm invite` are here; every other command is a call of the RPC, of a running daemon or of a node that this
//! process starts for the one command. Owns no state.

mod chroot;
mod client;
mod daemon;
mod demo;
mod group;
mod init;
mod invite;
mod join;
mod keys;
mod listen;
mod notify;
mod print;
mod rpc;
mod upload;
mod view;

use crate::ipld::quote::quote;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::node::version;
use crate::repo;

/// Exit code of a command that failed.
const FAILED: u8 = 1;

#[derive(Debug, Parser)]
#[command(
    name = "pinmesh",
    about = "An IPFS node that answers Kubo's RPC.",
    after_help = "Every other command of the RPC works too, as in Kubo's `ipfs`: add, cat, ls, pin ls, \
                  config, id, version, shutdown, … With a daemon it answers; without one a node is \
                  started for the one command.",
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_override_self = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    /// Print the version of this program.
    #[arg(long)]
    version: bool,
    #[command(flatten)]
    group: group::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The options that every command takes.
#[derive(Debug, Clone, Default, Args)]
struct Global {
    /// Path to the repository directory to use.
    #[arg(long, global = true, value_name = "DIR")]
    repo_dir: Option<PathBuf>,
    /// Path to the configuration file to use.
    #[arg(long, global = true, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Old name of --repo-dir.
    #[arg(long, short = 'c', global = true, hide = true)]
    config: Option<PathBuf>,
    /// Use a specific API instance: a multiaddr.
    #[arg(long, global = true)]
    api: Option<String>,
    /// Operate in debug mode.
    #[arg(long, short = 'D', global = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = parse_bool)]
    debug: Option<bool>,
    /// Run without a network.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = parse_bool)]
    offline: Option<bool>,
}

impl Global {
    fn repo_path(&self) -> PathBuf {
        self.repo_dir.clone().or_else(|| self.config.clone()).unwrap_or_else(repo::default_path)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Initialize a repository: a config file and a new key pair.
    Init(init::Arguments),
    /// Run a node.
    Daemon(Box<daemon::Arguments>),
    /// Interact with the swarm; `swarm invite` lets another node join it.
    #[command(subcommand)]
    Swarm(Swarm),
    /// Whether the members of the group have the same pins, and what is missing here.
    Status(view::Watched),
    /// The pins of the group, and where each of them is.
    Pins(view::Pins),
    /// The pins of the group, its members, and what is missing where.
    #[command(subcommand)]
    Sync(view::Sync),
    /// Show what a group is: three nodes on this machine for a moment, and one pinset on all of them.
    Demo,
    /// Everything else.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// The commands of the swarm.
#[derive(Debug, Subcommand)]
enum Swarm {
    /// Print the one line by which another node joins this node's private network. It holds the
    /// swarm key: whoever has it is a member.
    Invite(invite::Arguments),
    /// The commands of the RPC.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => {
            let quoted = quote(text);
            Err(format!("strconv.ParseBool: parsing {quoted}: invalid syntax"))
        }
    }
}

/// Runs the command line `arguments`; returns the exit code.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about an output that is gone.
            let _ = error.print();
            return if error.use_stderr() { FAILED } else { 0 };
        }
    };
    if cli.version {
        print::line(&version_line());
        return 0;
    }
    crate::node::Logs::install();
    let done = match cli.command {
        Some(Command::Init(arguments)) => init::run(&cli.global, &arguments).map(|()| 0),
        Some(Command::Daemon(mut arguments)) => {
            if !cli.group.is_empty() {
                if !arguments.group_mut().is_empty() {
                    print::error("Error: flags of the group stand before and after 'daemon'");
                    return FAILED;
                }
                *arguments.group_mut() = cli.group;
            }
            daemon::run(&cli.global, *arguments)
        }
        Some(_) if !cli.group.is_empty() => {
            print::error("Error: --key and the flags beside it are flags of the daemon");
            return FAILED;
        }
        Some(Command::Swarm(Swarm::Invite(arguments))) => {
            invite::run(&cli.global, &arguments).map(|()| 0)
        }
        Some(Command::Swarm(Swarm::Other(mut words))) => {
            words.insert(0, OsString::from("swarm"));
            rpc::run(&cli.global, &words).map(|()| 0)
        }
        Some(Command::Status(watched)) => view::status(&cli.global, &watched).map(|()| 0),
        Some(Command::Pins(arguments)) => view::pins(&cli.global, &arguments).map(|()| 0),
        Some(Command::Sync(command)) => view::sync(&cli.global, &command).map(|()| 0),
        Some(Command::Demo) => demo::run(),
        Some(Command::Other(words)) => rpc::run(&cli.global, &words).map(|()| 0),
        None if !cli.group.is_empty() => {
            daemon::run(&cli.global, daemon::Arguments::of_group(cli.group))
        }
        None => {
            let _ = <Cli as clap::CommandFactory>::command().print_help();
            return 0;
        }
    };
    done.unwrap_or_else(|error| {
        print::error(&format!("Error: {error}"));
        FAILED
    })
}

fn version_line() -> String {
    let commit = version::COMMIT;
    let commit = if commit.is_empty() { String::new() } else { format!(" ({commit})") };
    format!("pinmesh version {}{commit}", version::VERSION)
}
