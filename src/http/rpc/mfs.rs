//! `files/*`: kubo `core/commands/files.go`.
//!
//! Translation only. Unlike Kubo, `rm`, `chmod` and `touch` answer when what they did is durable, a
//! reader does not wait for a writer of the same file, and a write whose client goes away leaves
//! the file as it was.

mod stat;

pub(super) use stat::stat;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::files::Files;
use super::query::lossy;
use super::value::{Forms, Int};
use super::{CidEncoder, Error, Reply, Request, Value};
use crate::ipld::quote::quote;
use crate::node::files::{
    self, Copy, Item, ItemKind, Listed, Naming, NewFolder, WriteOptions, check_path,
};
use crate::unixfs::data::Mtime;
use crate::unixfs::settings::permissions;

/// `files/mkdir`.
pub(super) async fn mkdir(request: Request) -> Result<Reply, Error> {
    let path = check_path(request.arg(0))?;
    let flush = request.options.bool("flush");
    request.node.count_unflushed(flush)?;
    let naming = new_naming(&request)?;
    let new = NewFolder { naming, parents: request.options.bool("parents") };
    request.node.make_folder(&path, new, flush).await?;
    Ok(Reply::Nothing)
}

/// What the options say about the names of new blocks, or else the config.
fn new_naming(request: &Request) -> Result<Naming, Error> {
    match naming(request)? {
        Some(naming) => Ok(naming),
        None => Ok(request.node.files_naming()?),
    }
}

fn naming(request: &Request) -> Result<Option<Naming>, Error> {
    let options = &request.options;
    Ok(files::naming(options.opt_int("cid-version"), options.opt_string("hash"))?)
}

/// `files/cp`.
pub(super) async fn cp(request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let copy = Copy {
        force: options.bool("force"),
        parents: options.bool("parents"),
        flush: options.bool("flush"),
        reach: request.reach(),
    };
    let (from, to) = (request.arg(0), request.arg(1));
    let shown = files::check_any_path(from)?;
    request
        .deadline
        .set(format!("cp: cannot get node from path {}: ", shown.trim_end_matches('/')));
    request.node.copy_file(from, to, copy).await?;
    Ok(Reply::Nothing)
}

/// `files/mv`.
pub(super) async fn mv(request: Request) -> Result<Reply, Error> {
    let flush = request.options.bool("flush");
    request.node.move_file(request.arg(0), request.arg(1), flush).await?;
    Ok(Reply::Nothing)
}

/// `files/rm`.
pub(super) async fn rm(mut request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    if !options.bool("flush") {
        return Err(Error::new(
            "files rm always flushes for safety. The --flush flag cannot be set to false for this \
             command",
        ));
    }
    let (recursive, force) = (options.bool("recursive"), options.bool("force"));
    let mut failed = Vec::new();
    for argument in request.all_args().await? {
        let path = match check_path(&argument) {
            Ok(path) => path,
            Err(error) => {
                failed.push(format!("{argument} is not a valid path: {error}"));
                continue;
            }
        };
        if let Err(error) = request.node.remove_file(&path, recursive, force).await {
            failed.push(format!("{path}: {error}"));
        }
    }
    if failed.is_empty() {
        return Ok(Reply::Nothing);
    }
    let failed = stream::iter(failed.into_iter().map(Ok));
    let end = stream::iter([Err(Error::new("can't remove some files"))]);
    Ok(Reply::many(failed.chain(end)))
}

/// `filesLsOutput`.
#[derive(Debug, Serialize)]
#[serde(rename = "filesLsOutput", rename_all = "PascalCase")]
struct LsOutput {
    entries: Entries,
    #[serde(skip)]
    long: bool,
    #[serde(skip)]
    unsorted: bool,
}

/// A slice that is `nil` when it is empty.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entries {
    Nil(Forms<Option<()>, Vec<NodeListing>>),
    Some(Vec<NodeListing>),
}

impl Entries {
    fn new(entries: Vec<NodeListing>) -> Self {
        if entries.is_empty() {
            return Self::Nil(Forms { json: None, xml: entries, go: "[]".to_owned() });
        }
        Self::Some(entries)
    }

    fn as_slice(&self) -> &[NodeListing] {
        match self {
            Self::Nil(_) => &[],
            Self::Some(entries) => entries,
        }
    }
}

/// `mfs.NodeListing`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename = "mfs.NodeListing", rename_all = "PascalCase")]
struct NodeListing {
    name: String,
    r#type: Int,
    size: i64,
    hash: String,
}

impl NodeListing {
    fn new(item: &Item, long: bool, encode: impl Fn(&crate::ipld::Cid) -> String) -> Self {
        let (kind, size) = match item.kind {
            Some(ItemKind::Folder) => (1, 0),
            Some(ItemKind::File(size)) => (0, i64::try_from(size).unwrap_or(i64::MAX)),
            None => (0, 0),
        };
        let hash = if long { encode(&item.cid) } else { String::new() };
        Self { name: lossy(&item.name), r#type: Int(kind), size, hash }
    }
}

impl Value for LsOutput {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut entries: Vec<&NodeListing> = self.entries.as_slice().iter().collect();
        if !self.unsorted {
            entries.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let line = |entry: &NodeListing| {
            let NodeListing { name, size, hash, .. } = entry;
            match (self.long, entry.r#type.0) {
                (false, _) => format!("{name}\n"),
                (true, 1) => format!("{name}/\t{hash}\t{size}\n"),
                (true, _) => format!("{name}\t{hash}\t{size}\n"),
            }
        };
        Some(Ok(entries.into_iter().map(line).collect()))
    }
}

/// `files/ls`.
pub(super) async fn ls(request: Request) -> Result<Reply, Error> {
    let argument = if request.args.is_empty() { "/" } else { request.arg(0) };
    let path = check_path(argument)?;
    let options = &request.options;
    let (long, unsorted) = (options.bool("long"), options.bool("U"));
    let encoder: CidEncoder;
    let entries = match request.node.list_files(&path, long).await? {
        Listed::Folder(items) => {
            request.cid_encoder()?;
            // In a directory Kubo shows CIDs as they are, whatever the options say.
            let plain = |cid: &crate::ipld::Cid| cid.to_string();
            items.iter().map(|item| NodeListing::new(item, long, plain)).collect()
        }
        Listed::File(item) => {
            encoder = request.cid_encoder()?;
            vec![NodeListing::new(&item, long, |cid| encoder.encode(cid))]
        }
    };
    Ok(Reply::one(LsOutput { entries: Entries::new(entries), long, unsorted }))
}

/// `flushRes`.
#[derive(Debug, Serialize)]
#[serde(rename = "flushRes", rename_all = "PascalCase")]
struct FlushRes {
    cid: String,
}

impl Value for FlushRes {}

/// `files/flush`.
pub(super) async fn flush(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let path = if request.args.is_empty() { "/" } else { request.arg(0) };
    let cid = request.node.flush_files(path).await?;
    Ok(Reply::one(FlushRes { cid: encoder.encode(&cid) }))
}

/// `files/chcid`.
pub(super) async fn chcid(request: Request) -> Result<Reply, Error> {
    let path = request.arg(0);
    if path == "/" {
        return Err(Error::new(
            "cannot change CID format of the MFS root; use 'ipfs config Import.CidVersion' and \
             'ipfs config Import.HashFunction' instead",
        ));
    }
    let flush = request.options.bool("flush");
    request.node.name_folder(path, naming(&request)?, flush).await?;
    Ok(Reply::Nothing)
}

/// `files/chmod`.
pub(super) async fn chmod(request: Request) -> Result<Reply, Error> {
    let path = check_path(request.arg(1))?;
    let mode = parse_octal(request.arg(0)).map_err(Error::new)?;
    let is_given = mode != 0;
    request.node.set_file_mode(&path, permissions(mode.cast_unsigned()), is_given).await?;
    Ok(Reply::Nothing)
}

/// Go's `strconv.ParseInt(text, 8, 32)`.
fn parse_octal(text: &str) -> Result<i32, String> {
    let error = |what: &str| format!("strconv.ParseInt: parsing {}: {what}", quote(text));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')) {
        return Err(error("invalid syntax"));
    }
    i32::from_str_radix(text, 8).map_err(|_| error("value out of range"))
}

/// `files/touch`.
pub(super) async fn touch(request: Request) -> Result<Reply, Error> {
    let path = check_path(request.arg(0))?;
    let seconds = request.options.int("mtime");
    let nanoseconds = request.options.uint("mtime-nsecs").cast_signed();
    let mtime = if seconds == 0 { now() } else { mtime(seconds, nanoseconds) };
    request.node.set_file_mtime(&path, mtime).await?;
    Ok(Reply::Nothing)
}

/// Go's `time.Unix`: nanoseconds beyond a second, or before it, are carried over.
fn mtime(seconds: i64, nanoseconds: i64) -> Mtime {
    const SECOND: i64 = 1_000_000_000;
    let nanos = u32::try_from(nanoseconds.rem_euclid(SECOND)).unwrap_or_default();
    Mtime { seconds: seconds.wrapping_add(nanoseconds.div_euclid(SECOND)), nanoseconds: nanos }
}

fn now() -> Mtime {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Mtime { seconds, nanoseconds: since.subsec_nanos() }
}

/// `files/read`.
pub(super) async fn read(request: Request) -> Result<Reply, Error> {
    let path = check_path(request.arg(0))?;
    let (offset, count) = (request.options.int("offset"), request.options.opt_int("count"));
    let bytes = request.node.read_file(&path, offset, count).await?;
    Ok(Reply::raw(bytes.map(|bytes| bytes.map_err(Error::from))).whole_reads())
}

/// `files/write`.
pub(super) async fn write(mut request: Request) -> Result<Reply, Error> {
    let path = check_path(request.arg(0))?;
    let options = &request.options;
    let flush = options.bool("flush");
    request.node.count_unflushed(flush)?;
    let raw_leaves = options.opt_bool("raw-leaves").or(request.node.config().import().raw_leaves);
    let naming = new_naming(&request)?;
    let offset = u64::try_from(options.int("offset"));
    let offset = offset.map_err(|_| Error::new("cannot have negative write offset"))?;
    let count = options.opt_int("count");
    let bad_count = count.is_some_and(|count| count < 0);
    let write = WriteOptions {
        create: options.bool("create").then_some(naming),
        // Kubo finds a wrong count after it has cut the file, and before it goes to the offset.
        offset: if bad_count { 0 } else { offset },
        truncate: options.bool("truncate"),
        raw_leaves,
        count: count.and_then(|count| u64::try_from(count).ok()),
        flush,
    };
    let parents = options.bool("parents").then_some(naming);
    let node = request.node.clone();
    let source = stream::unfold(Body::Unopened(&mut request, bad_count), next_piece);
    node.write_file(&path, parents, write, source).await??;
    Ok(Reply::Nothing)
}

/// The file of a request, opened when its first bytes are asked for.
enum Body<'a> {
    Unopened(&'a mut Request, bool),
    Open(&'a mut Files),
    Ended,
}

async fn next_piece(body: Body<'_>) -> Option<(Result<Bytes, Error>, Body<'_>)> {
    let files = match body {
        Body::Ended => return None,
        Body::Open(files) => files,
        Body::Unopened(_, true) => {
            return Some((Err(Error::new("cannot have negative byte count")), Body::Ended));
        }
        Body::Unopened(request, false) => match request.first_file().await {
            Ok(Some(_)) => &mut request.files,
            Ok(None) => return Some((Err(Error::new("file argument was nil")), Body::Ended)),
            Err(error) => return Some((Err(error), Body::Ended)),
        },
    };
    match files.chunk().await {
        Ok(Some(bytes)) => Some((Ok(bytes), Body::Open(files))),
        Ok(None) => None,
        Err(error) => Some((Err(error), Body::Ended)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_parsed_as_go_does() {
        assert_eq!(parse_octal("0644"), Ok(0o644));
        assert_eq!(parse_octal("-1"), Ok(-1));
        assert_eq!(parse_octal("+7"), Ok(7));
        let error =
            |text: &str, what: &str| Err(format!("strconv.ParseInt: parsing \"{text}\": {what}"));
        for text in ["", "-", "8", "0o7", "x", "+-1", "0_7"] {
            assert_eq!(parse_octal(text), error(text, "invalid syntax"));
        }
        assert_eq!(parse_octal("20000000000"), error("20000000000", "value out of range"));
    }

    #[test]
    fn times_are_carried_over_as_go_does() {
        assert_eq!(mtime(5, 1_000_000_001), Mtime { seconds: 6, nanoseconds: 1 });
        assert_eq!(mtime(-5, -1), Mtime { seconds: -6, nanoseconds: 999_999_999 });
    }
}
