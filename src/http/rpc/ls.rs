//! `ls`: kubo `core/commands/ls.go`.

mod text;

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::call::CidEncoder;
use super::query::lossy;
use super::value::Forms;
use super::{Error, Reply, Request, Value};
use crate::node::ls::{Entry, EntryKind};
use crate::node::{Node, Reach};
use text::Table;
pub(super) use text::{FileMode, Time};

/// `LsOutput`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LsOutput {
    objects: Vec<LsObject>,
    #[serde(skip)]
    table: Table,
}

/// `LsObject`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LsObject {
    hash: String,
    links: Vec<LsLink>,
}

/// `LsLink`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LsLink {
    name: String,
    hash: String,
    size: u64,
    r#type: Forms<i32, i32>,
    target: String,
    mode: Forms<u32, u32>,
    mod_time: Forms<Time, Time>,
    #[serde(skip)]
    is_directory: bool,
    #[serde(skip)]
    file_mode: FileMode,
    #[serde(skip)]
    time: Time,
}

impl Value for LsOutput {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(self.table.draw(&self.objects)))
    }
}

/// What a call asks for.
#[derive(Clone, Copy)]
struct Call {
    encoder: CidEncoder,
    /// Whether the roots of entries are read.
    look: bool,
    reach: Reach,
    table: Table,
}

/// `ls`.
pub(super) async fn ls(mut request: Request) -> Result<Reply, Error> {
    let paths = request.all_args().await?;
    let options = &request.options;
    let call = Call {
        encoder: request.cid_encoder()?,
        look: options.bool("resolve-type") || options.bool("size"),
        reach: request.reach(),
        table: Table {
            headers: options.bool("headers"),
            size: options.bool("size"),
            long: options.bool("long"),
            stream: options.bool("stream"),
            several: paths.len() > 1,
        },
    };
    if call.table.stream {
        return Ok(Reply::many(links(request.node.clone(), paths, call)));
    }
    let mut objects = Vec::with_capacity(paths.len());
    for path in paths {
        let entries = request.node.list(&path, call.look, call.reach).await?;
        let mut entries: Vec<Entry> = entries.try_concat().await?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let links = entries.iter().map(|entry| link(entry, call)).collect();
        objects.push(LsObject { hash: path, links });
    }
    Ok(Reply::one(LsOutput { objects, table: call.table }))
}

/// One value for each entry, path by path.
fn links(
    node: Node,
    paths: Vec<String>,
    call: Call,
) -> impl Stream<Item = Result<LsOutput, Error>> + Send {
    stream::iter(paths)
        .then(move |path| {
            let node = node.clone();
            async move {
                let path: Arc<str> = path.into();
                let entries = node.list(&path, call.look, call.reach).await?;
                Ok::<_, Error>(entries.map_err(Error::from).map_ok(move |entries| {
                    let path = Arc::clone(&path);
                    let values = entries.into_iter().map(move |entry| {
                        let links = vec![link(&entry, call)];
                        let objects = vec![LsObject { hash: path.to_string(), links }];
                        Ok(LsOutput { objects, table: call.table })
                    });
                    stream::iter(values)
                }))
            }
        })
        .try_flatten()
        .try_flatten()
}

fn link(entry: &Entry, call: Call) -> LsLink {
    let (number, name) = match entry.kind {
        EntryKind::Unknown => (0, "Raw"),
        EntryKind::Directory => (1, "Directory"),
        EntryKind::File => (2, "File"),
        EntryKind::Symlink => (4, "Symlink"),
    };
    let file_mode = FileMode::of_permissions(entry.stat.mode.unwrap_or(0));
    let time = Time::of(entry.stat.mtime);
    LsLink {
        name: lossy(&entry.name),
        hash: call.encoder.encode(&entry.cid),
        size: entry.size,
        r#type: Forms { json: number, xml: number, go: name.to_owned() },
        target: lossy(&entry.target),
        mode: Forms { json: file_mode.0, xml: file_mode.0, go: file_mode.to_string() },
        mod_time: Forms { json: time, xml: time, go: time.to_string() },
        is_directory: entry.kind == EntryKind::Directory,
        file_mode,
        time,
    }
}
