//! `add`: kubo core/commands/add.go.
//!
//! Unlike Kubo: with `max-file-links=1` a file of more than one chunk is an error and no endless
//! loop; `nocopy` is refused, as there is no filestore.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use super::body::UNEXPECTED_EOF;
use super::files::{self, EntryKind, Files};
use super::value::{Int, Omit};
use super::{CidEncoder, Error, Reply, Request, Value, group_options};
use crate::node;
use crate::node::add::{Entry, Event, Kind, Options, Source};
use crate::unixfs::data::Mtime;
use crate::unixfs::settings::{EntryStat, Requested};

/// `os.ModeSymlink | 0777`: what Go says of every symlink.
const SYMLINK_MODE: u32 = 0x0800_0000 | 0o777;
/// The second at which Go's zero time is; it counts as no time.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;

/// `add`
pub(super) async fn add(request: Request) -> Result<Reply, Error> {
    let mut options = options(&request).with_config(&request.node.repo().config());
    options.group = group_options::pin_options(&request.options)?;
    options.wait = group_options::wait(&request.options);
    options.check()?;
    let encoder = request.cid_encoder()?;
    options.check_mtime()?;
    let events = request.node.add(options, Parts(request.files));
    Ok(Reply::many(events.map(move |event| Ok(AddEvent::new(event?, &encoder)))))
}

fn options(request: &Request) -> Options {
    let given = &request.options;
    let requested = Requested {
        cid_version: given.opt_int("cid-version"),
        hash: given.string("hash").to_owned(),
        raw_leaves: given.opt_bool("raw-leaves"),
        chunker: given.string("chunker").to_owned(),
        file_links_max: given.opt_int("max-file-links"),
        directory_links_max: given.opt_int("max-directory-links"),
        fanout: given.opt_int("max-hamt-fanout"),
        inline: given.bool("inline"),
        inline_limit: given.int("inline-limit"),
        preserve_mode: given.bool("preserve-mode"),
        preserve_mtime: given.bool("preserve-mtime"),
        mode: given.uint("mode"),
        mtime: given.int("mtime"),
        mtime_nanoseconds: given.uint("mtime-nsecs"),
        no_copy: given.bool("nocopy"),
        ..Requested::default()
    };
    Options {
        requested,
        trickle: given.opt_bool("trickle"),
        pin: given.bool("pin"),
        pin_name: given.opt_string("pin-name").map(str::to_owned),
        to_files: given.opt_string("to-files").map(str::to_owned),
        only_hash: given.bool("only-hash"),
        wrap: given.bool("wrap-with-directory"),
        progress: given.bool("progress"),
        silent: given.bool("silent"),
        empty_dirs: given.bool("empty-dirs"),
        ..Options::default()
    }
}

/// The files of a request as what `add` reads.
struct Parts(Files);

impl Source for Parts {
    async fn next(&mut self) -> Result<Option<Entry>, node::Error> {
        Ok(self.0.next().await.map_err(node::Error::failed)?.map(entry))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, node::Error> {
        match self.0.chunk().await {
            // Kubo's chunkers take a body that stops for the end of the file; the next entry then
            // fails.
            Err(error) if error.message() == UNEXPECTED_EOF => Ok(None),
            chunk => chunk.map_err(node::Error::failed),
        }
    }
}

fn entry(entry: files::Entry) -> Entry {
    let (kind, mode) = match entry.kind {
        EntryKind::File => (Kind::File, entry.mode),
        EntryKind::Directory => (Kind::Directory, entry.mode),
        EntryKind::Symlink(target) => (Kind::Symlink(target), SYMLINK_MODE),
    };
    Entry {
        path: entry.path,
        depth: entry.depth,
        kind,
        stat: EntryStat { mode, mtime: entry.mtime.and_then(mtime) },
        has_disk_path: !entry.abs_path.is_empty(),
    }
}

/// Go's `time.Unix`: nanoseconds beyond a second, or before it, are carried over.
fn mtime((seconds, nanoseconds): (i64, i64)) -> Option<Mtime> {
    let second = i64::try_from(Duration::from_secs(1).as_nanos()).ok()?;
    let seconds = seconds.wrapping_add(nanoseconds.div_euclid(second));
    let nanoseconds = u32::try_from(nanoseconds.rem_euclid(second)).ok()?;
    let is_zero = seconds == ZERO_TIME_SECONDS && nanoseconds == 0;
    (!is_zero).then_some(Mtime { seconds, nanoseconds })
}

#[derive(Serialize)]
#[serde(rename = "commands.AddEvent", rename_all = "PascalCase")]
struct AddEvent {
    name: String,
    hash: Omit<String>,
    bytes: Omit<i64>,
    size: Omit<String>,
    mode: Omit<String>,
    mtime: Omit<i64>,
    mtime_nsecs: Omit<Int>,
}

impl Value for AddEvent {}

impl AddEvent {
    fn new(event: Event, encoder: &CidEncoder) -> Self {
        let (hash, size) = match &event.root {
            Some((cid, size)) => (encoder.encode(cid), size.to_string()),
            None => (String::new(), String::new()),
        };
        let mode = event.mode;
        let mtime = event.mtime.unwrap_or(Mtime { seconds: 0, nanoseconds: 0 });
        Self {
            name: event.name,
            hash: Omit(hash),
            bytes: Omit(i64::try_from(event.bytes).unwrap_or(i64::MAX)),
            size: Omit(size),
            mode: Omit(if mode == 0 { String::new() } else { format!("0{mode:o}") }),
            mtime: Omit(mtime.seconds),
            mtime_nsecs: Omit(Int(i64::from(mtime.nanoseconds))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_carried_over_as_go_does() {
        let time = |seconds, nanoseconds| Some(Mtime { seconds, nanoseconds });
        assert_eq!(mtime((5, 7)), time(5, 7));
        assert_eq!(mtime((5, 1_000_000_001)), time(6, 1));
        assert_eq!(mtime((5, -1)), time(4, 999_999_999));
        assert_eq!(mtime((0, 0)), time(0, 0));
        assert_eq!(mtime((ZERO_TIME_SECONDS, 0)), None);
    }
}
