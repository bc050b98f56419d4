//! `commands` and `shutdown`: kubo core/commands/commands.go and shutdown.go.

use serde::Serialize;

use super::table::{self, GLOBAL_OPTIONS, OptionDef};
use super::{Error, Reply, Request, Value};

#[derive(Debug, Serialize)]
#[serde(rename = "commands.Command", rename_all = "PascalCase")]
struct Commands {
    name: &'static str,
    subcommands: Vec<Self>,
    options: Vec<Names>,
    #[serde(rename = ">showOpts")]
    with_options: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename = "commands.Option", rename_all = "PascalCase")]
struct Names {
    names: &'static [&'static str],
}

/// `commands`: every command that Kubo has, as the table has them.
pub(super) async fn list(request: Request) -> Result<Reply, Error> {
    let mut root = tree(None, "ipfs", GLOBAL_OPTIONS);
    root.with_options = request.options.bool("flags");
    Ok(Reply::one(root))
}

/// `shutdown`: the answer goes out before the node ends.
pub(super) async fn shutdown(request: Request) -> Result<Reply, Error> {
    request.node.shutdown();
    Ok(Reply::Nothing)
}

/// A command with all that is in its group. As deep as the table, which is ours.
fn tree(path: Option<&str>, name: &'static str, options: &'static [OptionDef]) -> Commands {
    let below = table::table().filter(|command| command.parent() == path && !command.is_own);
    Commands {
        name,
        subcommands: below
            .map(|command| tree(Some(command.path), command.name(), command.options))
            .collect(),
        options: options
            .iter()
            .filter(|option| !option.is_ours)
            .map(|option| Names { names: option.names })
            .collect(),
        with_options: false,
    }
}

impl Value for Commands {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut lines = Vec::new();
        self.lines("", self.with_options, &mut lines);
        lines.sort_unstable();
        Some(Ok(lines.into_iter().map(|line| line + "\n").collect()))
    }
}

impl Commands {
    fn lines(&self, prefix: &str, with_options: bool, lines: &mut Vec<String>) {
        let path = format!("{prefix}{}", self.name);
        if with_options && !prefix.is_empty() {
            for option in &self.options {
                let flags: Vec<String> = option
                    .names
                    .iter()
                    .map(|name| {
                        let dashes = if name.chars().count() == 1 { "-" } else { "--" };
                        format!("{path} {dashes}{name}")
                    })
                    .collect();
                lines.push(flags.join(" / "));
            }
        }
        let below = format!("{path} ");
        lines.push(path);
        for command in &self.subcommands {
            command.lines(&below, with_options, lines);
        }
    }
}
