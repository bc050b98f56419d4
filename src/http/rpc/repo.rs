//! `repo/*` and `stats/repo`: kubo `core/commands/repo.go`.
//!
//! Translation only. Differences from Kubo, each on purpose:
//!
//! - `repo/gc` stops nothing else while it runs, and spares what is stored or pinned meanwhile.
//! - `repo/verify` reads the blocks one after another: the order of its events is that in which the
//!   blocks came.

use std::time::Duration;

use serde::Serialize;

use super::value::{Int, Link, Omit};
use super::{Error, Reply, Request, Value};
use crate::config::{humanize_bytes, parse_duration};
use crate::node::produce::produce;
use crate::node::repo::{Heal, Outcome};

/// Events ahead of a slow reader.
const EVENTS_AHEAD: usize = 256;

/// `GcResult`.
#[derive(Debug, Serialize)]
#[serde(rename = "GcResult", rename_all = "PascalCase")]
struct GcResult {
    key: Link,
    error: Omit<String>,
    #[serde(skip)]
    quiet: bool,
    #[serde(skip)]
    silent: bool,
}

impl Value for GcResult {
    fn text(&self) -> Option<Result<String, Error>> {
        let text = match &self.key.0 {
            _ if self.silent => String::new(),
            Some(cid) if self.quiet => format!("{cid}\n"),
            Some(cid) => format!("removed {cid}\n"),
            None => format!("Error: {}\n", self.error.0),
        };
        Some(Ok(text))
    }
}

/// `repo/gc`.
pub(super) async fn gc(request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let (quiet, silent) = (options.bool("quiet"), options.bool("silent"));
    let stream_errors = options.bool("stream-errors");
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let mut errors = Vec::new();
        let mut run = request.node.collect_garbage();
        while let Some(removed) = run.next().await {
            let (key, error) = match removed {
                Ok(_) if silent && !stream_errors => continue,
                Ok(cid) => (Link(Some(cid)), String::new()),
                Err(error) if stream_errors => {
                    errors = vec!["encountered errors during gc run".to_owned()];
                    (Link(None), error)
                }
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            events.send(GcResult { key, error: Omit(error), quiet, silent }).await;
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::new(errors.join("; "))) }
    })))
}

/// `SizeStat`.
#[derive(Debug, Serialize)]
#[serde(rename = "SizeStat", rename_all = "PascalCase")]
struct SizeStat {
    repo_size: u64,
    storage_max: u64,
}

/// `Stat`.
#[derive(Debug, Serialize)]
#[serde(rename = "Stat", rename_all = "PascalCase")]
struct Stat {
    #[serde(rename = "")]
    sizes: SizeStat,
    num_objects: u64,
    repo_path: String,
    version: String,
    #[serde(skip)]
    human: bool,
    #[serde(skip)]
    size_only: bool,
}

impl Value for Stat {
    fn text(&self) -> Option<Result<String, Error>> {
        let size = |bytes: u64| match self.human {
            true => humanize_bytes(bytes),
            false => bytes.to_string(),
        };
        let mut rows = vec![
            ("NumObjects:", self.num_objects.to_string()),
            ("RepoSize:", size(self.sizes.repo_size)),
            ("StorageMax:", size(self.sizes.storage_max)),
            ("RepoPath:", self.repo_path.clone()),
            ("Version:", self.version.clone()),
        ];
        if self.size_only {
            rows.retain(|(name, _)| matches!(*name, "RepoSize:" | "StorageMax:"));
        }
        // The names are of one width, so that the values form a column.
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        Some(Ok(rows.iter().map(|(name, value)| format!("{name:width$} {value}\n")).collect()))
    }
}

/// `repo/stat`, `stats/repo`.
pub(super) async fn stat(request: Request) -> Result<Reply, Error> {
    let (human, size_only) = (request.options.bool("human"), request.options.bool("size-only"));
    let stat = request.node.repo_stat().await?;
    let sizes = SizeStat { repo_size: stat.bytes_on_disk, storage_max: stat.storage_max };
    let mut answer = Stat {
        sizes,
        num_objects: stat.blocks,
        repo_path: stat.path.display().to_string(),
        version: format!("fs-repo@{}", stat.version),
        human,
        size_only,
    };
    if size_only {
        answer.num_objects = 0;
        answer.repo_path.clear();
        answer.version.clear();
    }
    Ok(Reply::one(answer))
}

/// `RepoVersion`.
#[derive(Debug, Serialize)]
#[serde(rename = "RepoVersion", rename_all = "PascalCase")]
struct RepoVersion {
    version: String,
    #[serde(skip)]
    quiet: bool,
}

impl Value for RepoVersion {
    fn text(&self) -> Option<Result<String, Error>> {
        let intro = if self.quiet { "" } else { "ipfs repo version " };
        Some(Ok(format!("{intro}fs-repo@{}\n", self.version)))
    }
}

/// `repo/version`.
pub(super) async fn version(request: Request) -> Result<Reply, Error> {
    let quiet = request.options.bool("quiet");
    Ok(Reply::one(RepoVersion { version: crate::node::repo::VERSION.to_string(), quiet }))
}

/// `VerifyProgress`.
#[derive(Debug, Default, Serialize)]
#[serde(rename = "VerifyProgress", rename_all = "PascalCase")]
struct VerifyProgress {
    msg: String,
    progress: Int,
}

impl Value for VerifyProgress {
    fn text(&self) -> Option<Result<String, Error>> {
        let Self { msg, progress } = self;
        let text = match msg.len() {
            0 => format!("{} blocks processed.\r", progress.0),
            // Kubo writes over the progress line by blanks after a short message.
            1..20 if !msg.contains("was corrupt") => format!("{msg}             \n"),
            _ => format!("{msg}\n"),
        };
        Some(Ok(text))
    }
}

/// What `repo/verify` has found.
#[derive(Debug, Default)]
struct Tally {
    corrupt: u64,
    removed: u64,
    remove_failed: u64,
    healed: u64,
    heal_failed: u64,
}

impl Tally {
    /// Counts a block and says what the event about it says; empty for a whole block.
    fn count(&mut self, outcome: &Outcome) -> String {
        let Outcome::Corrupt { cid, reason, removed } = outcome else { return String::new() };
        self.corrupt += 1;
        let mut text = format!("block {cid} was corrupt ({reason})");
        match removed {
            None => {}
            Some(Err(error)) => {
                self.remove_failed += 1;
                text.push_str(&format!(", failed to remove ({error})"));
            }
            Some(Ok(heal)) => {
                self.removed += 1;
                text.push_str(", removed");
                match heal {
                    Heal::No => {}
                    Heal::Healed => {
                        self.healed += 1;
                        text.push_str(", healed");
                    }
                    Heal::Failed(error) => {
                        self.heal_failed += 1;
                        text.push_str(&format!(", failed to heal ({error})"));
                    }
                }
            }
        }
        text
    }

    /// The last event, or the error that stands for it.
    fn summary(&self, drop: bool) -> Result<String, Error> {
        if self.corrupt == 0 {
            return Ok("verify complete, all blocks validated.".to_owned());
        }
        let mut text = format!("verify complete, {} blocks corrupt", self.corrupt);
        for (count, what) in [
            (self.removed, "removed"),
            (self.remove_failed, "failed to remove"),
            (self.healed, "healed"),
            (self.heal_failed, "failed to heal"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        let is_mended = drop && self.remove_failed == 0 && self.heal_failed == 0;
        if is_mended { Ok(text) } else { Err(Error::new(text)) }
    }
}

/// `repo/verify`.
pub(super) async fn verify(request: Request) -> Result<Reply, Error> {
    let heal = request.options.bool("heal");
    let drop = heal || request.options.bool("drop");
    let timeout = parse_duration(request.options.string("heal-timeout"))
        .map_err(|error| Error::new(format!("invalid heal-timeout: {error}")))?;
    let timeout = u64::try_from(timeout).map_err(|_| Error::new("heal-timeout must be >= 0"))?;
    let heal_timeout = heal.then(|| Duration::from_nanos(timeout));
    if heal && !request.node.is_online() {
        let text = "this command must be run in online mode. Try running 'ipfs daemon' first";
        return Err(Error::new(text));
    }
    let mut blocks = request.node.verify_blocks(drop, heal_timeout);
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let mut tally = Tally::default();
        let mut done = 0;
        while let Some(outcome) = blocks.next().await? {
            let msg = tally.count(&outcome);
            if !msg.is_empty() {
                events.send(VerifyProgress { msg, progress: Int(0) }).await;
            }
            done += 1;
            events.send(VerifyProgress { msg: String::new(), progress: Int(done) }).await;
        }
        let msg = tally.summary(drop)?;
        events.send(VerifyProgress { msg, progress: Int(0) }).await;
        Ok(())
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::Cid;

    fn corrupt(removed: Option<Result<Heal, String>>) -> Outcome {
        let cid = Cid::parse("bafkqabdunfxhs").unwrap();
        Outcome::Corrupt { cid, reason: "why".to_owned(), removed }
    }

    #[test]
    fn a_corrupt_block_is_told_with_what_was_done_about_it() {
        let mut tally = Tally::default();
        let cases = [
            (None, ""),
            (Some(Err("x".to_owned())), ", failed to remove (x)"),
            (Some(Ok(Heal::No)), ", removed"),
            (Some(Ok(Heal::Healed)), ", removed, healed"),
            (Some(Ok(Heal::Failed("y".to_owned()))), ", removed, failed to heal (y)"),
        ];
        for (removed, end) in cases {
            let text = tally.count(&corrupt(removed));
            assert_eq!(text, format!("block bafkqabdunfxhs was corrupt (why){end}"));
        }
        assert_eq!(tally.count(&Outcome::Whole), "");
        let text = "verify complete, 5 blocks corrupt, 3 removed, 1 failed to remove, 1 healed, \
                    1 failed to heal";
        assert_eq!(tally.summary(true), Err(Error::new(text)));
    }

    #[test]
    fn verification_succeeds_when_everything_is_whole_or_mended() {
        let mut tally = Tally::default();
        let whole = "verify complete, all blocks validated.";
        assert_eq!(tally.summary(false), Ok(whole.to_owned()));
        tally.count(&corrupt(None));
        let text = "verify complete, 1 blocks corrupt";
        assert_eq!(tally.summary(false), Err(Error::new(text)));
        let mut tally = Tally::default();
        tally.count(&corrupt(Some(Ok(Heal::No))));
        let text = "verify complete, 1 blocks corrupt, 1 removed";
        assert_eq!(tally.summary(true), Ok(text.to_owned()));
    }

    #[test]
    fn sizes_in_text_form_a_column() {
        let sizes = SizeStat { repo_size: 61632, storage_max: 10_000_000_000 };
        let mut stat = Stat {
            sizes,
            num_objects: 11,
            repo_path: "/repo".to_owned(),
            version: "fs-repo@18".to_owned(),
            human: false,
            size_only: false,
        };
        let want = "NumObjects: 11\nRepoSize:   61632\nStorageMax: 10000000000\n\
                    RepoPath:   /repo\nVersion:    fs-repo@18\n";
        assert_eq!(stat.text(), Some(Ok(want.to_owned())));
        (stat.human, stat.size_only) = (true, true);
        let want = "RepoSize:   62 kB\nStorageMax: 10 GB\n";
        assert_eq!(stat.text(), Some(Ok(want.to_owned())));
    }
}
