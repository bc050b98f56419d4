//! `pinmesh sync diff`, `recover`, `log` and `prove`.

use clap::Args;
use serde_json::Value;

use super::table::{Table, clean, several, short};
use super::{Daemon, Global, Lines, Show, list, number, print, text};

/// Rows whose widths are measured before they are printed.
const ROWS_AT_ONCE: usize = 100;

/// The arguments of `sync diff`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Diff {
    /// The member: its peer id, or the end of it as 'pinmesh status' shows it.
    member: String,
    #[command(flatten)]
    show: Show,
}

/// The arguments of `sync log`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Log {
    /// Stay, and print what comes.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    show: Show,
}

/// The arguments of `sync prove`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Prove {
    /// What is pinned, or is not.
    cid: String,
    #[command(flatten)]
    show: Show,
}

/// Runs `sync diff`.
pub(super) fn diff(global: &Global, arguments: &Diff) -> anyhow::Result<()> {
    let daemon = Daemon::find(global, &arguments.show)?;
    let query = [("peer", arguments.member.clone())];
    if arguments.show.json {
        return daemon.stream("sync/diff", &query, &mut std::io::stdout().lock());
    }
    let mut table = Table::new(&["CID", "WHERE", "NAME"]);
    let mut count = 0_u64;
    let mut lines = Lines::new(|difference: &Value| {
        count += 1;
        table.push(vec![
            text(difference, "Cid").to_owned(),
            where_text(text(difference, "Where")).to_owned(),
            text(difference, "Name").to_owned(),
        ]);
        if table.len() == ROWS_AT_ONCE {
            print::part(&table.take());
        }
        Ok(())
    });
    daemon.stream("sync/diff", &query, &mut lines)?;
    if table.len() > 0 {
        print::part(&table.take());
    }
    print::line(&match count {
        0 => "Both have the same pins.".to_owned(),
        _ => format!(
            "\n{}; members settle them by themselves.\nNext: pinmesh status --watch",
            several(count, "difference")
        ),
    });
    Ok(())
}

fn where_text(which: &str) -> &str {
    match which {
        "here" => "only here",
        "there" => "only there",
        _ => "both, not the same",
    }
}

/// The arguments of `sync recover`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Recover {
    /// Only this pin.
    cid: Option<String>,
    #[command(flatten)]
    show: Show,
}

/// Runs `sync recover`.
pub(super) fn recover(global: &Global, arguments: &Recover) -> anyhow::Result<()> {
    let daemon = Daemon::find(global, &arguments.show)?;
    let query: Vec<_> = arguments.cid.iter().map(|cid| ("arg", cid.clone())).collect();
    let answer = daemon.ask("sync/recover", &query)?;
    if arguments.show.json {
        print::line(&answer.to_string());
        return Ok(());
    }
    print::line(&match number(&answer, "Count") {
        0 => "Nothing has failed.".to_owned(),
        count => {
            format!("Trying {} again.\n\nNext: pinmesh pins pending", several(count, "pin"))
        }
    });
    Ok(())
}

/// Runs `sync log`.
pub(super) fn log(global: &Global, arguments: &Log) -> anyhow::Result<()> {
    let daemon = Daemon::find(global, &arguments.show)?;
    let query = [("follow", arguments.follow.to_string())];
    if arguments.show.json {
        return daemon.stream("sync/log", &query, &mut std::io::stdout().lock());
    }
    let mut lines = Lines::new(|change: &Value| {
        print::line(&log_line(change));
        Ok(())
    });
    daemon.stream("sync/log", &query, &mut lines)
}

/// One line, as wide as the one before: times and kinds have one width.
fn log_line(change: &Value) -> String {
    let time = text(change, "Time");
    // To the second.
    let time = time.get(..19).unwrap_or(time).replace('T', " ");
    let root: String = text(change, "LiveRoot").chars().take(10).collect();
    let line = format!(
        "{time}  {:<8}  {}  by {}  root {root}…  {}",
        text(change, "What"),
        text(change, "Cid"),
        short(text(change, "Author")),
        text(change, "Name"),
    );
    clean(line.trim_end())
}

/// Runs `sync prove`.
pub(super) fn prove(global: &Global, arguments: &Prove) -> anyhow::Result<()> {
    let daemon = Daemon::find(global, &arguments.show)?;
    let proof = daemon.ask("sync/prove", &[("arg", arguments.cid.clone())])?;
    match arguments.show.json {
        true => print::line(&proof.to_string()),
        false => print::part(&render_proof(&proof)),
    }
    Ok(())
}

fn render_proof(proof: &Value) -> String {
    let is_pinned = proof.get("Pinned").and_then(Value::as_bool) == Some(true);
    let leaves = list(proof, "Leaves");
    let is_text = match (is_pinned, leaves.len()) {
        (true, _) => "is pinned. Its leaf, and what is beside the way to the root:",
        (false, 0) => "is not pinned: nothing is.",
        (false, 1) => "is not pinned: it would be beyond the outermost leaf.",
        (false, _) => "is not pinned. The leaves between which it would be:",
    };
    let mut out = format!("{} {is_text}\n", clean(text(proof, "Cid")));
    out.push_str(&format!("  root  {}\n", clean(text(proof, "LiveRoot"))));
    out.push_str(&format!("  key   {}\n", clean(text(proof, "Key"))));
    for leaf in leaves {
        out.push_str(&format!("\n  leaf    {}\n", clean(text(leaf, "Cid"))));
        out.push_str(&format!("  key     {}\n", clean(text(leaf, "Key"))));
        out.push_str(&format!("  digest  {}\n", clean(text(leaf, "Digest"))));
        for step in list(leaf, "Path") {
            let line = format!("  {:<6}  {}", text(step, "Side"), text(step, "Hash"));
            out.push_str(&format!("{}\n", clean(&line)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_of_the_log_has_one_change() {
        let change = json!({"Time": "2026-01-02T03:04:05.678Z", "What": "pinned", "Cid": "bafy",
                            "Name": "a\nb", "Author": "12D3KooWaaaaaaaa", "LiveRoot": "0x0123456789"});
        assert_eq!(
            log_line(&change),
            "2026-01-02 03:04:05  pinned    bafy  by aaaaaaaa  root 0x01234567…  a\u{FFFD}b"
        );
    }

    #[test]
    fn a_proof_shows_both_neighbours_of_what_is_not_there() {
        let leaf = |cid: &str| {
            json!({"Cid": cid, "Key": "0x1", "Digest": "0x2",
                   "Path": [{"Bit": 0, "Side": "left", "Hash": "0x3"}]})
        };
        let proof = json!({"Cid": "bafy", "Key": "0x0", "Pinned": false, "LiveRoot": "0x9",
                           "Leaves": [leaf("one"), leaf("two")]});
        let text = render_proof(&proof);
        assert!(text.starts_with("bafy is not pinned. The leaves between"), "{text}");
        assert!(text.contains("leaf    one\n") && text.contains("leaf    two\n"), "{text}");
        assert!(text.contains("  left    0x3\n"), "{text}");
    }
}
