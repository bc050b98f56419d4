//! `pin/*`: kubo `core/commands/pin/pin.go`.
//!
//! Translation only: arguments to [`crate::node::pin`], its results to Kubo's values. Differences
//! from Kubo, each on purpose:
//!
//! - `pin/ls` with several arguments pairs each CID with its own type; Kubo pairs by position and
//!   mixes them up when direct and indirect pins are asked for together.
//! - `pin/ls` in text is sorted; Kubo's order is random.
//! - `pin/verify` looks for raw leaves too; Kubo takes them for granted.
//! - A pin is replaced when its DAG is complete; Kubo drops the old one first.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;

use super::call::{CidEncoder, Deadline};
use super::value::{Int, Omit, write_json};
use super::{Error, Reply, Request, Value, group_options};
use crate::ipld::Cid;
use crate::node::list_pins::{Filter, PinsByText, TextOf};
use crate::node::pin::{self, Kind, Kinds, Listed, Progress};
use crate::node::pinset::PinOptions;
use crate::node::produce::produce;
use crate::node::{Node, Reach};

/// The longest name of a pin.
const NAME_BYTES_MAX: usize = 255;
/// How often `pin/add?progress=true` reports.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Events ahead of a slow reader.
const EVENTS_AHEAD: usize = 64;
/// Pieces of a listing ahead of a slow reader.
const PIECES_AHEAD: usize = 2;
/// About how long an entry of the listing is.
const ENTRY_BYTES: usize = 104;

/// `AddPinOutput`.
#[derive(Debug, Default, Serialize)]
#[serde(rename = "AddPinOutput", rename_all = "PascalCase")]
struct Added {
    pins: Omit<Vec<String>>,
    progress: Omit<Int>,
    bytes: Omit<u64>,
    #[serde(skip)]
    recursive: bool,
}

impl Value for Added {
    fn text(&self) -> Option<Result<String, Error>> {
        let how = if self.recursive { "recursively" } else { "directly" };
        Some(Ok(self.pins.0.iter().map(|cid| format!("pinned {cid} {how}\n")).collect()))
    }
}

/// `pin/add`.
pub(super) async fn add(mut request: Request) -> Result<Reply, Error> {
    let name = request.options.string("name").to_owned();
    check_name(&name)?;
    let paths = request.all_args().await?;
    let encoder = request.cid_encoder()?;
    let recursive = request.options.bool("recursive");
    let reach = request.reach();
    let shows_progress = request.options.bool("progress");
    let options = group_options::pin_options(&request.options)?;
    let wait = group_options::wait(&request.options);
    let Request { node, deadline, .. } = request;
    let add = Add { node, deadline, reach, paths, encoder, recursive, name, options, wait };
    if !shows_progress {
        let pins = Omit(add.run(None, "pin: ").await?);
        return Ok(Reply::one(Added { pins, recursive, ..Added::default() }));
    }
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let progress = Progress::default();
        let mut work = std::pin::pin!(add.run(Some(&progress), ""));
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.tick().await;
        let pins = loop {
            tokio::select! {
                done = &mut work => break done?,
                _ = ticks.tick() => events.send(reached(&progress)).await,
            }
        };
        if progress.nodes() != 0 {
            events.send(reached(&progress)).await;
        }
        events.send(Added { pins: Omit(pins), recursive, ..Added::default() }).await;
        Ok(())
    })))
}

struct Add {
    node: Node,
    deadline: Deadline,
    reach: Reach,
    paths: Vec<String>,
    encoder: CidEncoder,
    recursive: bool,
    name: String,
    options: PinOptions,
    /// Members that are to hold it before the call ends.
    wait: u64,
}

impl Add {
    async fn run(&self, progress: Option<&Progress>, deadline: &str) -> Result<Vec<String>, Error> {
        let mut pins = Vec::with_capacity(self.paths.len());
        let mut cids = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            self.deadline.set("");
            let cid = self.node.resolve_text(path).await?.cid;
            self.deadline.set(deadline);
            let options = self.options.clone();
            let (recursive, name) = (self.recursive, self.name.as_str());
            let pin = pin::Add { root: &cid, recursive, name, options };
            let added = self.node.add_pin(pin, self.reach, progress).await;
            added.map_err(|error| Error::new(format!("pin: {error}")))?;
            pins.push(self.encoder.encode(&cid));
            cids.push(cid);
        }
        self.deadline.set("wait: ");
        self.node.wait_held(&cids, self.wait).await?;
        Ok(pins)
    }
}

fn reached(progress: &Progress) -> Added {
    let nodes = progress.nodes().try_into().unwrap_or(i64::MAX);
    let (progress, bytes) = (Omit(Int(nodes)), Omit(progress.bytes()));
    Added { progress, bytes, ..Added::default() }
}

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let len = name.len();
    if len <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(format!("pin name is {len} bytes (max {NAME_BYTES_MAX} bytes)")))
}

/// `PinOutput` of `pin/rm`.
#[derive(Debug, Serialize)]
#[serde(rename = "PinOutput", rename_all = "PascalCase")]
struct Removed {
    pins: Vec<String>,
}

impl Value for Removed {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(self.pins.iter().map(|cid| format!("unpinned {cid}\n")).collect()))
    }
}

/// `pin/rm`.
pub(super) async fn rm(mut request: Request) -> Result<Reply, Error> {
    let paths = request.all_args().await?;
    let encoder = request.cid_encoder()?;
    let recursive = request.options.bool("recursive");
    let mut pins = Vec::with_capacity(paths.len());
    for path in &paths {
        let cid = request.resolve(path).await?.cid;
        request.node.remove_pin(&cid, recursive).await?;
        pins.push(encoder.encode(&cid));
    }
    Ok(Reply::one(Removed { pins }))
}

/// `PinOutput` of `pin/update`.
#[derive(Debug, Serialize)]
#[serde(rename = "PinOutput", rename_all = "PascalCase")]
struct Updated {
    pins: Vec<String>,
}

impl Value for Updated {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("updated {}\n", self.pins.join(" to "))))
    }
}

/// `pin/update`.
pub(super) async fn update(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    // Both are read before either is resolved.
    for path in [request.arg(0), request.arg(1)] {
        crate::ipld::Path::parse(path).map_err(|error| Error::new(error.to_string()))?;
    }
    let from = request.resolve(request.arg(0)).await?.cid;
    let to = request.resolve(request.arg(1)).await?.cid;
    // Names the node that the update waits for.
    let waiting = |what: String| request.deadline.set(what);
    request.node.update_pin(&from, &to, request.options.bool("unpin"), waiting).await?;
    Ok(Reply::one(Updated { pins: vec![encoder.encode(&from), encoder.encode(&to)] }))
}

/// `PinLsType`.
#[derive(Debug, Serialize)]
#[serde(rename = "pin.PinLsType", rename_all = "PascalCase")]
struct LsType {
    r#type: String,
    name: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename = "map[string]pin.PinLsType")]
struct LsKeys(BTreeMap<String, LsType>);

impl super::value::Empty for LsKeys {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `PinLsList`.
#[derive(Debug, Default, Serialize)]
#[serde(rename = "PinLsList", rename_all = "PascalCase")]
struct LsList {
    keys: Omit<LsKeys>,
}

/// `PinLsObject`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename = "PinLsObject", rename_all = "PascalCase")]
struct LsObject {
    cid: Omit<String>,
    name: Omit<String>,
    r#type: Omit<String>,
}

/// `PinLsOutputWrapper`: one of its halves, by the `stream` option.
#[derive(Debug, Default, Serialize)]
#[serde(rename = "PinLsOutputWrapper")]
struct LsOutput {
    #[serde(rename = "")]
    list: LsList,
    #[serde(rename = "")]
    object: LsObject,
    #[serde(skip)]
    quiet: bool,
    #[serde(skip)]
    stream: bool,
}

impl Value for LsOutput {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        let mut text = String::new();
        if self.stream {
            let LsObject { cid, name, r#type } = &self.object;
            self.line(&cid.0, &r#type.0, &name.0, &mut text);
        } else {
            for (cid, LsType { r#type, name }) in &self.list.keys.0.0 {
                self.line(cid, r#type, name, &mut text);
            }
        }
        Some(Ok(text))
    }
}

impl LsOutput {
    fn line(&self, cid: &str, kind: &str, name: &str, out: &mut String) {
        out.push_str(cid);
        if !self.quiet {
            out.extend([" ", kind]);
            if !name.is_empty() {
                out.extend([" ", name]);
            }
        }
        out.push('\n');
    }
}

/// `pin/ls`.
pub(super) async fn ls(request: Request) -> Result<Reply, Error> {
    let filter = request.options.string("name");
    check_name(filter)?;
    let kind = request.options.string("type");
    let kinds = Kinds::parse(kind).ok_or_else(|| {
        let known = "{direct, indirect, recursive, all}";
        Error::new(format!("invalid type '{kind}', must be one of {known}"))
    })?;
    let encoder = request.cid_encoder()?;
    let names = request.options.bool("names") || !filter.is_empty();
    let filter = Filter { kinds, name: filter.to_owned() };
    let (stream, quiet) = (request.options.bool("stream"), request.options.bool("quiet"));
    let is_json = request.options.string("encoding") == "json";
    let Request { node, args, .. } = request;
    let list = List { node, args, encoder, names, filter, stream, quiet, is_json };
    match (stream, list.args.is_empty()) {
        (true, true) => Ok(list.stream_all()),
        (true, false) => Ok(list.stream_some()),
        (false, true) => list.all().await,
        (false, false) => list.some().await,
    }
}

#[expect(clippy::struct_excessive_bools, reason = "the options of the command")]
struct List {
    node: Node,
    args: Vec<String>,
    encoder: CidEncoder,
    names: bool,
    filter: Filter,
    stream: bool,
    quiet: bool,
    is_json: bool,
}

impl List {
    fn output(&self) -> LsOutput {
        LsOutput { quiet: self.quiet, stream: self.stream, ..LsOutput::default() }
    }

    fn object(&self, pin: &Listed) -> LsObject {
        let kind = match &pin.kind {
            Kind::Recursive => "recursive".to_owned(),
            Kind::Direct => "direct".to_owned(),
            Kind::Indirect(None) => "indirect".to_owned(),
            Kind::Indirect(Some(root)) => {
                format!("indirect through {}", self.encoder.encode(root))
            }
        };
        let name = if self.names { pin.name.clone() } else { String::new() };
        LsObject { cid: Omit(self.encoder.encode(&pin.cid)), name: Omit(name), r#type: Omit(kind) }
    }

    fn stream_all(self) -> Reply {
        let mut pins = self.node.list_pins(&self.filter);
        Reply::many(produce(EVENTS_AHEAD, move |events| async move {
            while let Some(page) = pins.next().await? {
                for pin in page {
                    let object = self.object(&pin);
                    events.send(LsOutput { object, ..self.output() }).await;
                }
            }
            Ok(())
        }))
    }

    /// The arguments as they are pinned, up to the first that is not, and its error.
    async fn lookup(&self) -> Result<(Vec<LsObject>, Result<(), Error>), Error> {
        let mut cids = Vec::with_capacity(self.args.len());
        for path in &self.args {
            cids.push(self.node.resolve_text(path).await?.cid);
        }
        let pins = self.node.find_pins(cids, self.filter.kinds).await?;
        let mut objects = Vec::with_capacity(pins.len());
        for (pin, path) in pins.iter().zip(&self.args) {
            let Some(pin) = pin else {
                return Ok((objects, Err(Error::new(format!("path '{path}' is not pinned")))));
            };
            objects.push(self.object(pin));
        }
        Ok((objects, Ok(())))
    }

    fn stream_some(self) -> Reply {
        Reply::many(produce(EVENTS_AHEAD, move |events| async move {
            let (objects, end) = self.lookup().await?;
            for object in objects {
                events.send(LsOutput { object, ..self.output() }).await;
            }
            end
        }))
    }

    async fn some(self) -> Result<Reply, Error> {
        let (objects, end) = self.lookup().await?;
        end?;
        let entry = |LsObject { cid, name, r#type }: LsObject| {
            (cid.0, LsType { r#type: r#type.0, name: name.0 })
        };
        Ok(Reply::one(self.listed(objects.into_iter().map(entry).collect())))
    }

    fn listed(&self, keys: BTreeMap<String, LsType>) -> LsOutput {
        LsOutput { list: LsList { keys: Omit(LsKeys(keys)) }, ..self.output() }
    }

    /// Every pin by its text: as JSON in pieces, in any other encoding at once.
    async fn all(self) -> Result<Reply, Error> {
        let encoder = self.encoder;
        let text = Box::new(move |cid: &Cid| encoder.encode(cid)) as TextOf;
        let text = (!encoder.is_plain()).then_some(text);
        let pins = self.node.list_pins_by_text(&self.filter, text);
        if self.is_json {
            return Ok(Reply::Json(Box::pin(self.pieces(pins))));
        }
        let mut keys = BTreeMap::new();
        let mut pins = pins;
        while let Some(page) = pins.next().await? {
            for (text, pin) in page {
                let LsObject { name, r#type, .. } = self.object(&pin);
                keys.insert(text, LsType { r#type: r#type.0, name: name.0 });
            }
        }
        Ok(Reply::one(self.listed(keys)))
    }

    fn pieces(self, mut pins: PinsByText) -> impl Stream<Item = Result<Bytes, Error>> {
        produce(PIECES_AHEAD, move |pieces| async move {
            let mut open = "{\"Keys\":{";
            while let Some(page) = pins.next().await? {
                let mut piece = Vec::with_capacity(page.len() * ENTRY_BYTES);
                for (text, pin) in page {
                    piece.extend_from_slice(open.as_bytes());
                    open = ",";
                    write_json(&text, &mut piece)?;
                    piece.push(b':');
                    let LsObject { name, r#type, .. } = self.object(&pin);
                    write_json(&LsType { r#type: r#type.0, name: name.0 }, &mut piece)?;
                }
                pieces.send(piece.into()).await;
            }
            let end = if open == "," { "}}\n" } else { "{}\n" };
            pieces.send(Bytes::from_static(end.as_bytes())).await;
            Ok(())
        })
    }
}

/// `BadNode`.
#[derive(Debug, Serialize)]
#[serde(rename = "BadNode", rename_all = "PascalCase")]
struct BadNode {
    cid: String,
    err: String,
}

/// `PinStatus`.
#[derive(Debug, Serialize)]
#[serde(rename = "PinStatus", rename_all = "PascalCase")]
struct PinStatus {
    ok: Omit<bool>,
    bad_nodes: Omit<Vec<BadNode>>,
}

/// `PinVerifyRes`.
#[derive(Debug, Serialize)]
#[serde(rename = "PinVerifyRes", rename_all = "PascalCase")]
struct Verified {
    cid: Omit<String>,
    err: Omit<String>,
    #[serde(rename = "")]
    status: PinStatus,
    #[serde(skip)]
    quiet: bool,
}

impl Value for Verified {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        let cid = &self.cid.0;
        let text = match (self.quiet, self.status.ok.0) {
            (true, true) => String::new(),
            (true, false) => format!("{cid}\n"),
            (false, true) => format!("{cid} ok\n"),
            (false, false) => {
                let mut text = format!("{cid} broken\n");
                for BadNode { cid, err } in &self.status.bad_nodes.0 {
                    text.extend(["  ", cid, ": ", err, "\n"]);
                }
                text
            }
        };
        Some(Ok(text))
    }
}

/// `pin/verify`.
pub(super) async fn verify(request: Request) -> Result<Reply, Error> {
    let (verbose, quiet) = (request.options.bool("verbose"), request.options.bool("quiet"));
    if verbose && quiet {
        let text = "the --verbose and --quiet options can not be used at the same time";
        return Err(Error::new(text));
    }
    let encoder = request.cid_encoder()?;
    let encode = move |cid: &Cid| encoder.encode(cid);
    let mut pins = request.node.verify_pins();
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        while let Some(pin) = pins.next().await? {
            let ok = pin.is_whole();
            if ok && !verbose {
                continue;
            }
            let bad = pin.bad.iter().filter(|_| !quiet);
            let bad = bad.map(|node| BadNode { cid: encode(&node.cid), err: node.error.clone() });
            let status = PinStatus { ok: Omit(ok), bad_nodes: Omit(bad.collect()) };
            let (cid, err) = (Omit(encode(&pin.cid)), Omit(String::new()));
            events.send(Verified { cid, err, status, quiet }).await;
        }
        Ok(())
    })))
}
