//! The command table: every command of the RPC with its arguments, options and emission class.
//!
//! The one place that says what a command looks like. Parsing, `/api/v0/commands`, the parity test
//! with the API description and the compatibility page are all derived from it. Rows are data; the
//! code that answers a command is the function that its row names.

mod content;
mod local;
mod names;
mod network;
mod pins;
mod sync;

use std::collections::HashMap;
use std::sync::LazyLock;

use futures_util::future::BoxFuture;

use super::{Error, Reply, Request};

/// The function that answers a command.
pub type Handler = fn(Request) -> BoxFuture<'static, Result<Reply, Error>>;

/// The type of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; an empty value is `true`.
    Bool,
    /// 32 bits, signed.
    Int,
    /// 32 bits, unsigned.
    Uint,
    /// 64 bits, signed.
    Int64,
    /// 64 bits, unsigned.
    Uint64,
    /// A floating point number.
    Float,
    /// Text.
    String,
    /// A list of texts: the option may be repeated.
    Strings,
}

impl Kind {
    /// The name of the type in error texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Int64 => "int64",
            Self::Uint64 => "uint64",
            Self::Float => "float64",
            Self::String => "string",
            Self::Strings => "array",
        }
    }
}

/// The value an option has when the request does not name it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// None: the option is unset.
    None,
    /// Of a [`Kind::Bool`].
    Bool(bool),
    /// Of a [`Kind::Int`] or [`Kind::Int64`].
    Int(i64),
    /// Of a [`Kind::Uint`] or [`Kind::Uint64`].
    Uint(u64),
    /// Of a [`Kind::String`].
    Str(&'static str),
    /// Of a [`Kind::Strings`].
    Strs(&'static [&'static str]),
}

/// One option of a command.
#[derive(Debug, Clone, Copy)]
pub struct OptionDef {
    /// The canonical name, then the aliases.
    pub names: &'static [&'static str],
    /// The type of its value.
    pub kind: Kind,
    /// What it is when absent.
    pub default: Default,
    /// Whether Kubo does not have it: `commands` does not name it.
    pub is_ours: bool,
}

impl OptionDef {
    /// The canonical name.
    pub const fn name(&self) -> &'static str {
        match self.names.first() {
            Some(name) => name,
            None => "",
        }
    }

    const fn new(names: &'static [&'static str], kind: Kind) -> Self {
        Self { names, kind, default: Default::None, is_ours: false }
    }

    /// The same option, which Kubo does not have.
    const fn ours(mut self) -> Self {
        self.is_ours = true;
        self
    }

    /// The same option with a default.
    const fn or(mut self, default: Default) -> Self {
        self.default = default;
        self
    }
}

/// One positional argument of a command.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "five independent properties, as Kubo has them")]
pub struct Arg {
    /// Its name in error texts.
    pub name: &'static str,
    /// Whether it is a file in the request body rather than `arg=`.
    pub file: bool,
    /// Whether the command fails without it.
    pub required: bool,
    /// Whether it takes all remaining values.
    pub variadic: bool,
    /// Whether the lines of a body may supply it.
    pub stdin: bool,
    /// Whether the file may be a directory.
    pub recursive: bool,
}

impl Arg {
    const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    const fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    const fn recursive(mut self) -> Self {
        self.recursive = true;
        self
    }
}

/// How a command emits its answer; it decides the response headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// One value, once.
    One,
    /// A stream of values, `X-Chunked-Output: 1`.
    Many,
    /// Raw bytes, `X-Stream-Output: 1`.
    Raw,
    /// No value at all, `X-Chunked-Output: 1`.
    Nothing,
}

/// The standing of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// In normal use.
    Active,
    /// May change.
    Experimental,
    /// Will go.
    Deprecated,
    /// Gone: always answers an error that says so.
    Removed,
}

/// What happens when a command is called.
#[derive(Clone, Copy)]
pub enum Run {
    /// A group: nothing runs, the answer is empty.
    Group,
    /// The function that answers.
    Handler(Handler),
    /// Not available yet: 501, naming the command.
    Later,
    /// Removed: an error with this text.
    Removed(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Command {
    /// The path under `/api/v0/`.
    pub path: &'static str,
    /// The positional arguments, in order.
    pub args: &'static [Arg],
    /// The options of the command itself; those of its groups come on top.
    pub options: &'static [OptionDef],
    /// Encodings that only this command has, beside the general ones.
    pub encodings: &'static [&'static str],
    /// How it emits.
    pub class: Class,
    /// Its standing.
    pub status: Status,
    /// Whether it, and all below it, exists on the command line alone: 404 over HTTP.
    pub cli_only: bool,
    /// Whether it is a command of this program that Kubo does not have.
    pub is_own: bool,
    /// What answers it.
    pub run: Run,
}

impl Command {
    const fn new(path: &'static str, class: Class, run: Run) -> Self {
        Self {
            path,
            args: &[],
            options: &[],
            encodings: &[],
            class,
            status: Status::Active,
            cli_only: false,
            is_own: false,
            run,
        }
    }

    const fn args(mut self, args: &'static [Arg]) -> Self {
        self.args = args;
        self
    }

    const fn options(mut self, options: &'static [OptionDef]) -> Self {
        self.options = options;
        self
    }

    const fn encodings(mut self, encodings: &'static [&'static str]) -> Self {
        self.encodings = encodings;
        self
    }

    const fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    const fn cli_only(mut self) -> Self {
        self.cli_only = true;
        self
    }

    const fn own(mut self) -> Self {
        self.is_own = true;
        self
    }

    /// The row with the function that answers it.
    const fn run(mut self, handler: Handler) -> Self {
        self.run = Run::Handler(handler);
        self
    }

    /// The last segment of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// The path of the group this command is in, `None` at the top.
    pub fn parent(&self) -> Option<&'static str> {
        self.path.rsplit_once('/').map(|(group, _)| group)
    }

    /// Whether calling it runs something.
    pub fn is_runnable(&self) -> bool {
        !matches!(self.run, Run::Group)
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A group without an answer of its own.
const fn group(path: &'static str) -> Command {
    Command::new(path, Class::Nothing, Run::Group)
}

/// A command; it answers 501 until [`Command::run`] names its function.
const fn later(path: &'static str, class: Class) -> Command {
    Command::new(path, class, Run::Later)
}

/// A command that Kubo has removed.
const fn removed(path: &'static str, text: &'static str) -> Command {
    Command::new(path, Class::Nothing, Run::Removed(text)).status(Status::Removed)
}

/// A required argument given as `arg=`.
const fn text(name: &'static str) -> Arg {
    Arg { name, file: false, required: true, variadic: false, stdin: false, recursive: false }
}

/// A required argument given as a part of the body.
const fn file(name: &'static str) -> Arg {
    Arg { name, file: true, required: true, variadic: false, stdin: false, recursive: false }
}

const fn flag(names: &'static [&'static str]) -> OptionDef {
    OptionDef::new(names, Kind::Bool)
}

const fn int(names: &'static [&'static str]) -> OptionDef {
    OptionDef::new(names, Kind::Int)
}

const fn uint(names: &'static [&'static str]) -> OptionDef {
    OptionDef::new(names, Kind::Uint)
}

const fn int64(names: &'static [&'static str]) -> OptionDef {
    OptionDef::new(names, Kind::Int64)
}

const fn uint64(names: &'static [&'static str]) -> OptionDef {
    OptionDef::new(names, Kind::Uint64)
}

const fn string(names: &'static [&'static str]) -> OptionDef {
    OptionDef::new(names, Kind::String)
}

const fn strings(names: &'static [&'static str]) -> OptionDef {
    OptionDef::new(names, Kind::Strings)
}

/// The options that every command has.
pub const GLOBAL_OPTIONS: &[OptionDef] = &[
    string(&["repo-dir"]),
    string(&["config-file"]),
    string(&["config", "c"]),
    flag(&["debug", "D"]),
    flag(&["help"]),
    flag(&["h"]),
    flag(&["local", "L"]),
    flag(&["offline"]),
    string(&["api"]),
    string(&["api-auth"]),
    string(&["cid-base"]),
    flag(&["upgrade-cidv0-in-output"]),
    string(&["encoding", "enc"]).or(Default::Str("text")),
    flag(&["stream-channels"]),
    string(&["timeout"]),
];

/// Every command, by path.
static BY_PATH: LazyLock<HashMap<&'static str, &'static Command>> =
    LazyLock::new(|| table().map(|command| (command.path, command)).collect());

/// Every row of the table, family by family, a group before what is in it.
pub fn table() -> impl Iterator<Item = &'static Command> {
    [
        content::COMMANDS,
        pins::COMMANDS,
        local::COMMANDS,
        network::COMMANDS,
        names::COMMANDS,
        sync::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// The command of this exact path.
pub fn find(path: &str) -> Option<&'static Command> {
    BY_PATH.get(path).copied()
}

/// The groups that a command is in, outermost first, and the command itself.
pub fn chain(command: &'static Command) -> Vec<&'static Command> {
    let mut chain = vec![command];
    let mut path = command.path;
    while let Some((group, _)) = path.rsplit_once('/') {
        chain.extend(find(group));
        path = group;
    }
    chain.reverse();
    chain
}

/// Every option a command accepts: the global ones, those of its groups, its own.
pub fn options_of(command: &'static Command) -> impl Iterator<Item = &'static OptionDef> {
    GLOBAL_OPTIONS.iter().chain(chain(command).into_iter().flat_map(|command| command.options))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_path_is_unique_and_its_group_exists() {
        let mut seen = HashSet::new();
        for command in table() {
            assert!(seen.insert(command.path), "{} twice", command.path);
            if let Some(parent) = command.parent() {
                assert!(seen.contains(parent), "{parent} comes after {}", command.path);
            }
        }
        assert_eq!(seen.len(), 216);
    }

    #[test]
    fn no_option_name_is_used_twice_on_a_path() {
        for command in table() {
            let mut seen = HashSet::new();
            for name in options_of(command).flat_map(|option| option.names) {
                assert!(seen.insert(name), "{} has --{name} twice", command.path);
            }
        }
    }

    #[test]
    fn required_arguments_come_first_and_what_takes_many_comes_last() {
        for command in table() {
            let mut optional = false;
            for (i, arg) in command.args.iter().enumerate() {
                assert!(!(arg.required && optional), "{}", command.path);
                optional |= !arg.required;
                let last = i + 1 == command.args.len();
                assert!(last || !(arg.variadic || arg.stdin), "{}", command.path);
            }
        }
    }

    #[test]
    fn a_default_has_the_type_of_its_option() {
        for option in table().flat_map(options_of) {
            let fits = match option.default {
                Default::None => true,
                Default::Bool(_) => option.kind == Kind::Bool,
                Default::Int(_) => matches!(option.kind, Kind::Int | Kind::Int64),
                Default::Uint(_) => matches!(option.kind, Kind::Uint | Kind::Uint64),
                Default::Str(_) => option.kind == Kind::String,
                Default::Strs(_) => option.kind == Kind::Strings,
            };
            assert!(fits, "{}", option.name());
        }
    }
}
