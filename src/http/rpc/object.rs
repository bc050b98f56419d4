//! `object/diff`, `object/patch/*`: kubo core/commands/object.

use serde::Serialize;

use super::call::CidEncoder;
use super::value::{Int, Link};
use super::{Error, Reply, Request, Value};
use crate::ipld::Cid;
use crate::ipld::quote::quote;
use crate::node::object::{self, ChangeKind, Patch};

#[derive(Debug, Serialize)]
#[serde(rename = "Object", rename_all = "PascalCase")]
struct Object {
    hash: String,
}

impl Value for Object {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{}\n", self.hash)))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "dagutils.Change", rename_all = "PascalCase")]
struct Change {
    #[serde(rename = "Type")]
    kind: Int,
    path: String,
    before: Link,
    after: Link,
}

#[derive(Debug, Serialize)]
#[serde(rename = "Changes", rename_all = "PascalCase")]
struct Changes {
    changes: Vec<Change>,
    #[serde(skip)]
    verbose: bool,
    /// Of the text alone: a CID as such is never written in another base.
    #[serde(skip)]
    encoder: Result<CidEncoder, Error>,
}

/// Boxo's numbers.
const ADDED: Int = Int(0);
const REMOVED: Int = Int(1);
const CHANGED: Int = Int(2);

impl Change {
    fn line(&self, verbose: bool, encoder: CidEncoder) -> String {
        let text = |link: &Link| link.0.as_ref().map(|cid| encoder.encode(cid)).unwrap_or_default();
        let (path, before, after) = (quote(&self.path), text(&self.before), text(&self.after));
        match (self.kind, verbose) {
            (ADDED, true) => format!("Added new link {path} pointing to {after}.\n"),
            (ADDED, false) => format!("+ {after} {path}\n"),
            (REMOVED, true) => format!("Removed link {path} (was {before}).\n"),
            (REMOVED, false) => format!("- {before} {path}\n"),
            (_, true) => format!("Changed {path} from {before} to {after}.\n"),
            (_, false) => format!("~ {before} {after} {path}\n"),
        }
    }
}

impl Value for Changes {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(self.encoder.clone().map(|encoder| {
            self.changes.iter().map(|change| change.line(self.verbose, encoder)).collect()
        }))
    }
}

fn patch(request: &Request) -> Patch {
    Patch {
        root: request.arg(0).to_owned(),
        name: request.arg(1).to_owned(),
        any_node: request.options.bool("allow-non-unixfs"),
        allow_big: request.options.bool("allow-big-block"),
    }
}

fn object(encoder: CidEncoder, cid: &Cid) -> Reply {
    Reply::one(Object { hash: encoder.encode(cid) })
}

/// `object/patch/add-link`.
pub(super) async fn add_link(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let (child, create) = (request.arg(2).to_owned(), request.options.bool("create"));
    let patch = patch(&request);
    let cid = request.node.add_link(&patch, &child, create, request.reach()).await?;
    Ok(object(encoder, &cid))
}

/// `object/patch/rm-link`.
pub(super) async fn remove_link(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let cid = request.node.remove_link(&patch(&request), request.reach()).await?;
    Ok(object(encoder, &cid))
}

/// `object/diff`.
pub(super) async fn diff(request: Request) -> Result<Reply, Error> {
    let found = request.node.diff(request.arg(0), request.arg(1), request.reach()).await?;
    let changes = found.into_iter().map(output).collect();
    let verbose = request.options.bool("verbose");
    Ok(Reply::one(Changes { changes, verbose, encoder: request.cid_encoder() }))
}

fn output(change: object::Change) -> Change {
    let kind = match change.kind {
        ChangeKind::Added => ADDED,
        ChangeKind::Removed => REMOVED,
        ChangeKind::Changed => CHANGED,
    };
    Change { kind, path: change.path, before: Link(change.before), after: Link(change.after) }
}
