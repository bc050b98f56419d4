//! `dag/*`: kubo `core/commands/dag`.
//!
//! Translation only. Differences from Kubo, each on purpose:
//!
//! - `dag/put` sends an event when its block is durable, and pinned if asked for; what came before
//!   a part that fails is stored.
//! - `dag/stat` counts from the index and reads no blocks but the roots.
//! - `dag/import` names roots in the order of the files; Kubo's order is random.

mod import;
mod stat;

pub(super) use import::import;
pub(super) use stat::stat;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::block::read_block;
use super::call::CidEncoder;
use super::files::{EntryKind, Files};
use super::value::Link;
use super::{Error, Reply, Request, Value};
use crate::ipld::{Cid, Prefix, Version, codec, data};
use crate::node::block::{BlockPut, SOFT_BYTES_MAX, TOO_BIG};
use crate::node::dag::transcode;
use crate::node::export::Scope;
use crate::node::produce::{Sink, produce};
use crate::node::{self, Reach};

/// Events ahead of a slow reader.
const EVENTS_AHEAD: usize = 64;

/// `OutputObject`.
#[derive(Debug, Serialize)]
#[serde(rename = "OutputObject", rename_all = "PascalCase")]
struct OutputObject {
    cid: Link,
    #[serde(skip)]
    text: Result<String, Error>,
}

impl Value for OutputObject {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(self.text.clone())
    }
}

/// `dag/put`.
pub(super) async fn put(request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let config = request.node.config();
    let hash = match options.string("hash") {
        "" => config.import().hash_function.unwrap_or("sha2-256".to_owned()),
        name => name.to_owned(),
    };
    let parse = |name: &str| codec::parse(name).map_err(|error| Error::new(error.to_string()));
    let input = parse(options.string("input-codec"))?;
    let store = parse(options.string("store-codec"))?;
    let hash = parse(&hash)?;
    let failed = |error: data::CodecError| Error::new(error.to_string());
    data::check_decoder(input).map_err(failed)?;
    data::check_encoder(store).map_err(failed)?;
    let prefix = Prefix { version: Version::V1, codec: store, hash, length: None };
    let (pin, allow_big) = (options.bool("pin"), options.bool("allow-big-block"));
    let text = request.cid_encoder();
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let Request { node, mut files, .. } = request;
        let codecs = Codecs { input, store, allow_big };
        let put = node.put_blocks(prefix, pin);
        let mut putter = Putter { put, cids: Vec::new(), refused: None, events, text };
        let done = putter.run(&mut files, codecs).await;
        putter.commit().await?;
        done?;
        putter.refused.map_or(Ok(()), Err)
    })))
}

#[derive(Clone, Copy)]
struct Codecs {
    input: u64,
    store: u64,
    allow_big: bool,
}

/// Puts nodes and sends the events of those that are durable.
struct Putter {
    put: BlockPut,
    cids: Vec<Cid>,
    /// Why blocks whose events are sent were not stored; the error comes at the end, as in Kubo.
    refused: Option<Error>,
    events: Sink<OutputObject>,
    text: Result<CidEncoder, Error>,
}

impl Putter {
    async fn run(&mut self, files: &mut Files, codecs: Codecs) -> Result<(), Error> {
        while let Some(entry) = files.next_top().await? {
            let input = match entry.kind {
                EntryKind::Directory => return Err(Error::new("expected a regular file")),
                EntryKind::Symlink(target) => Bytes::from(target),
                EntryKind::File => read_block(files).await?,
            };
            let block = match transcode(input, codecs.input, codecs.store).await {
                Ok(block) => block,
                // Go takes a node that ends too early for the end of all input.
                Err(error) if error.to_string() == "EOF" => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let cid = self.put.name(&block)?;
            if block.len() > SOFT_BYTES_MAX && !codecs.allow_big {
                return Err(Error::new(TOO_BIG));
            }
            if let Err(error) = self.put.push_named(cid.clone(), block) {
                self.refused.get_or_insert(error.into());
            }
            self.cids.push(cid);
            if self.put.is_full() {
                self.commit().await?;
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        if !self.put.is_empty() {
            self.put.commit().await?;
        }
        for cid in self.cids.drain(..) {
            let text = self.text.clone().map(|encoder| format!("{}\n", encoder.encode(&cid)));
            self.events.send(OutputObject { cid: cid.into(), text }).await;
        }
        Ok(())
    }
}

/// `dag/get`.
pub(super) async fn get(mut request: Request) -> Result<Reply, Error> {
    let name = request.options.string("output-codec").to_owned();
    let codec = codec::parse(&name).map_err(|error| Error::new(error.to_string()))?;
    let path = request.next_arg().await?.unwrap_or_default();
    let resolved = request.resolve(&path).await?;
    let (node, reach) = (request.node.clone(), request.reach());
    let found = node.dag_node(&resolved, reach).await?;
    data::check_encoder(codec).map_err(|error| {
        Error::new(format!("invalid encoding: {} - {error}", codec::display_name(codec)))
    })?;
    let mut out = Vec::new();
    let end = data::encode(codec, &found, &mut out).err();
    // What could be encoded has gone out by the time of an error.
    let start = stream::iter((!out.is_empty()).then(|| Ok(Bytes::from(out))));
    let end = stream::iter(end.map(|error| Err(Error::new(error.to_string()))));
    Ok(Reply::raw(start.chain(end)))
}

/// `ResolveOutput`.
#[derive(Debug, Serialize)]
#[serde(rename = "ResolveOutput", rename_all = "PascalCase")]
struct ResolveOutput {
    cid: Link,
    rem_path: String,
    #[serde(skip)]
    text: Result<String, Error>,
}

impl Value for ResolveOutput {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(self.text.clone().map(|cid| cid + &self.rem_path))
    }
}

/// `dag/resolve`.
pub(super) async fn resolve(mut request: Request) -> Result<Reply, Error> {
    let path = request.next_arg().await?.unwrap_or_default();
    let resolved = request.resolve(&path).await?;
    let is_base_given = !request.options.string("cid-base").is_empty();
    let own_base = if is_base_given { None } else { CidEncoder::of_path(&path) };
    let encoder = own_base.map_or_else(|| request.cid_encoder(), Ok);
    let text = encoder.map(|encoder| encoder.encode(&resolved.cid));
    let rem_path = resolved.remainder.iter().map(|segment| format!("/{segment}")).collect();
    Ok(Reply::one(ResolveOutput { cid: resolved.cid.into(), rem_path, text }))
}

/// `dag/export`.
pub(super) async fn export(mut request: Request) -> Result<Reply, Error> {
    let path = request.next_arg().await?.unwrap_or_default();
    crate::ipld::Path::parse(&path).map_err(|error| Error::new(error.to_string()))?;
    let is_local = request.options.bool("local-only");
    if is_local && request.options.opt_bool("offline") == Some(false) {
        return Err(Error::new(
            "--local-only implies --offline and cannot be combined with --offline=false; please \
             drop one of them",
        ));
    }
    let reach = if is_local { Reach::Local } else { request.reach() };
    let root = request.resolve(&path).await?.cid;
    // Fail fast: nothing is sent before the root is here.
    request.node.block_size(&root, reach).await?;
    let advice = if request.options.bool("offline") {
        " (currently offline, perhaps retry without the offline flag)"
    } else if request.node.is_online() {
        ""
    } else {
        " (currently offline, perhaps retry after attaching to the network)"
    };
    let deadline = request.deadline.clone();
    let waiting = move |text: String| deadline.set(text);
    let scope = if is_local { Scope::Local } else { Scope::Whole(reach) };
    let pieces = request.node.export(root, scope, waiting).map_err(move |error| match error {
        node::Error::Absent(text) => Error::new(format!("{text}{advice}")),
        error => error.into(),
    });
    Ok(Reply::raw(pieces).content_type("application/vnd.ipld.car"))
}
