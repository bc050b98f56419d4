//! `pinmesh pins`: the pins of the group, and where each of them is.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::table::{Table, age, size};
use super::{Daemon, Global, Lines, Show, list, number, print, text};

/// Rows whose widths are measured before they are printed.
const ROWS_AT_ONCE: usize = 100;

/// The arguments of `pins`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Arguments {
    /// Only those that are not whole here: after failed tries, or for whatever reason.
    #[arg(value_enum)]
    which: Option<Which>,
    #[command(flatten)]
    show: Show,
    /// Only those whose name contains this.
    #[arg(long, short)]
    name: Option<String>,
    /// Only those in this state here: pinned, pin_queued, …
    #[arg(long, short)]
    state: Vec<String>,
    /// At most so many.
    #[arg(long)]
    limit: Option<u64>,
    /// Begin after this CID.
    #[arg(long, value_name = "CID")]
    after: Option<String>,
    /// Tell what is known here, and ask no other member.
    #[arg(long)]
    local: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Those that could not be fetched.
    Errors,
    /// Those that are not whole here yet.
    Pending,
}

impl Which {
    fn states(self) -> &'static [&'static str] {
        match self {
            Self::Errors => &["pin_error", "stalled", "disk_full"],
            Self::Pending => &["pin_queued", "pinning", "pin_error", "stalled", "disk_full"],
        }
    }
}

impl Arguments {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        let named = self.which.map(Which::states).unwrap_or_default();
        let states = named.iter().map(|state| (*state).to_owned()).chain(self.state.clone());
        query.extend(states.map(|state| ("state", state)));
        query.extend(self.name.clone().map(|name| ("name", name)));
        query.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        query.extend(self.after.clone().map(|cid| ("after", cid)));
        query.extend(self.local.then(|| ("local", "true".to_owned())));
        query
    }
}

/// Runs `pins`.
pub(super) fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<()> {
    let daemon = Daemon::find(global, &arguments.show)?;
    let query = arguments.query();
    if arguments.show.json {
        return daemon.stream("sync/pins", &query, &mut std::io::stdout().lock());
    }
    let shows_errors = arguments.which == Some(Which::Errors);
    let mut table = Table::new(if shows_errors { ERROR_HEADS } else { HEADS });
    let mut seen = Seen::default();
    let mut lines = Lines::new(|pin: &Value| {
        seen.add(pin);
        table.push(if shows_errors { error_row(pin) } else { row(pin) });
        if table.len() == ROWS_AT_ONCE {
            print::part(&table.take());
        }
        Ok(())
    });
    daemon.stream("sync/pins", &query, &mut lines)?;
    if table.len() > 0 {
        print::part(&table.take());
    }
    if let Some(last) = seen.last_line(arguments) {
        print::line(&last);
    }
    Ok(())
}

/// What the last line depends on.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    failed: u64,
    last_cid: String,
}

impl Seen {
    fn add(&mut self, pin: &Value) {
        self.count += 1;
        self.failed += u64::from(!text(pin, "Error").is_empty());
        text(pin, "Cid").clone_into(&mut self.last_cid);
    }

    fn last_line(&self, arguments: &Arguments) -> Option<String> {
        if self.count == 0 {
            return Some(
                match arguments.which {
                    Some(_) => "Nothing is missing here.",
                    None => "No pins.",
                }
                .to_owned(),
            );
        }
        if arguments.limit == Some(self.count) {
            return Some(format!("\nNext: pinmesh pins --after={}", self.last_cid));
        }
        let next = match (arguments.which, self.failed) {
            (_, 0) => return None,
            (Some(Which::Errors), _) => "pinmesh sync recover",
            _ => "pinmesh pins errors",
        };
        Some(format!("\nNext: {next}"))
    }
}

const HEADS: &[&str] = &["CID", "STATE", "MODE", "#HELD", "#SIZE", "AGE", "NAME"];

fn row(pin: &Value) -> Vec<String> {
    vec![
        text(pin, "Cid").to_owned(),
        text(pin, "State").to_owned(),
        text(pin, "Mode").to_owned(),
        held(pin),
        pin.get("Size").and_then(Value::as_u64).map(size).unwrap_or_default(),
        age(text(pin, "Created")),
        text(pin, "Name").to_owned(),
    ]
}

/// On how many members it is whole, of those of which it is known.
fn held(pin: &Value) -> String {
    let members = list(pin, "Members");
    let whole = members.iter().filter(|member| text(member, "State") == "pinned").count();
    format!("{whole}/{}", members.len())
}

const ERROR_HEADS: &[&str] = &["CID", "STATE", "#TRIES", "NEXT", "NAME", "ERROR"];

fn error_row(pin: &Value) -> Vec<String> {
    vec![
        text(pin, "Cid").to_owned(),
        text(pin, "State").to_owned(),
        number(pin, "Attempts").to_string(),
        age(text(pin, "NextTry")),
        text(pin, "Name").to_owned(),
        text(pin, "Error").to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(line: &str) -> Arguments {
        let words = std::iter::once("pins").chain(line.split_whitespace());
        Line::parse_from(words).arguments
    }

    fn pin(error: &str) -> Value {
        json!({"Cid": "bafy", "State": "pinned", "Mode": "recursive", "Size": 2048, "Error": error,
               "Name": "a", "Created": "",
               "Members": [{"ID": "x", "State": "pinned"}, {"ID": "y", "State": "pin_queued"}]})
    }

    #[test]
    fn a_row_tells_how_many_hold_it() {
        let row = row(&pin(""));
        assert_eq!(row, ["bafy", "pinned", "recursive", "1/2", "2.0 KiB", "", "a"]);
    }

    #[test]
    fn words_become_states() {
        let query = arguments("errors --name=x --local").query();
        let states: Vec<&str> =
            query.iter().filter(|(key, _)| *key == "state").map(|(_, v)| v.as_str()).collect();
        assert_eq!(states, ["pin_error", "stalled", "disk_full"]);
        assert!(query.contains(&("name", "x".to_owned())));
        assert!(query.contains(&("local", "true".to_owned())));
    }

    #[test]
    fn the_last_line_says_how_it_goes_on() {
        let mut seen = Seen::default();
        assert_eq!(seen.last_line(&arguments("")).unwrap(), "No pins.");
        assert_eq!(seen.last_line(&arguments("pending")).unwrap(), "Nothing is missing here.");
        seen.add(&pin(""));
        assert_eq!(seen.last_line(&arguments("")), None);
        assert!(seen.last_line(&arguments("--limit=1")).unwrap().contains("--after=bafy"));
        seen.add(&pin("nobody has it"));
        assert!(seen.last_line(&arguments("")).unwrap().contains("pinmesh pins errors"));
        assert!(seen.last_line(&arguments("errors")).unwrap().contains("sync recover"));
    }
}
