//! `block/*`: kubo `core/commands/block.go`.
//!
//! Translation only. Differences from Kubo, each on purpose:
//!
//! - `block/put` commits many parts at once; an event is sent when its block, and its pin, is
//!   durable. When a part fails, the parts before it are committed and answered first.
//! - A block of more than [`BLOCK_BYTES_MAX`] is refused; Kubo reads any length into memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::call::CidEncoder;
use super::files::{EntryKind, Files};
use super::options::Options;
use super::value::Int;
use super::{Error, Reply, Request, Value};
use crate::ipld::{Prefix, Version, codec, hash};
use crate::node::block::{BlockPut, SOFT_BYTES_MAX, TOO_BIG};
use crate::node::produce::{Sink, produce};

/// The largest block that is read into memory.
pub(super) const BLOCK_BYTES_MAX: usize = 32 << 20;
/// How long a batch waits for the next part before it is committed as it is.
const PART_WAIT: Duration = Duration::from_millis(2);
/// How old a batch grows while parts trickle in.
const BATCH_AGE_MAX: Duration = Duration::from_millis(20);
/// Events ahead of a slow reader.
const EVENTS_AHEAD: usize = 64;

/// `BlockStat`.
#[derive(Debug, Serialize)]
#[serde(rename = "BlockStat", rename_all = "PascalCase")]
struct BlockStat {
    key: String,
    size: Int,
    /// `block/put` prints the key alone.
    #[serde(skip)]
    put: bool,
}

impl Value for BlockStat {
    fn text(&self) -> Option<Result<String, Error>> {
        let text = if self.put { format!("{}\n", self.key) } else { self.display()? };
        Some(Ok(text))
    }

    fn display(&self) -> Option<String> {
        Some(format!("Key: {}\nSize: {}\n", self.key, self.size.0))
    }
}

fn int(size: u64) -> Int {
    Int(size.try_into().unwrap_or(i64::MAX))
}

/// `block/stat`.
pub(super) async fn stat(mut request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let path = request.next_arg().await?.unwrap_or_default();
    let cid = request.resolve(&path).await?.cid;
    let size = request.node.block_size(&cid, request.reach()).await?;
    Ok(Reply::one(BlockStat { key: encoder.encode(&cid), size: int(size), put: false }))
}

/// `block/get`.
pub(super) async fn get(mut request: Request) -> Result<Reply, Error> {
    let path = request.next_arg().await?.unwrap_or_default();
    let cid = request.resolve(&path).await?.cid;
    let block = request.node.get_block(&cid, request.reach()).await?;
    Ok(Reply::bytes(block).content_type("application/vnd.ipld.raw"))
}

/// `block/put`.
pub(super) async fn put(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let format = request.options.string("format");
    let codec = request.options.string("cid-codec");
    let mhtype = match request.options.string("mhtype") {
        "" => request.node.config().import().hash_function.unwrap_or("sha2-256".to_owned()),
        name => name.to_owned(),
    };
    let hash = hash::by_name(&mhtype)
        .ok_or_else(|| Error::new(format!("unrecognized multihash function: {mhtype}")))?;
    if !format.is_empty() && !matches!(codec, "" | "raw") {
        return Err(Error::new(
            "unable to use \"format\" (deprecated) and a custom \"cid-codec\" at the same time",
        ));
    }
    // Go reads it when the first part is there: a request without parts is never wrong.
    let prefix = prefix(&request.options, hash);
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let Request { node, options, files, .. } = request;
        let parts = Parts { files, allow_big: options.bool("allow-big-block") };
        let queue = VecDeque::new();
        let mut put = Putter { put: None, queue, encoder, events, since: Instant::now() };
        let prefix = || Ok(node.put_blocks(prefix.clone()?, options.bool("pin")));
        let done = put.run(parts, prefix).await;
        put.commit().await?;
        done
    })))
}

/// What names the blocks, by the options.
fn prefix(options: &Options, hash: hash::Code) -> Result<Prefix, Error> {
    let mhlen = options.int("mhlen");
    let length = usize::try_from(mhlen).ok();
    let multicodec =
        |name: &str| crate::ipld::codec::parse(name).map_err(|e| Error::new(e.to_string()));
    let mut prefix = Prefix { version: Version::V1, codec: codec::RAW, hash, length };
    match options.string("format") {
        "" => {
            let name = options.string("cid-codec");
            if !name.is_empty() {
                prefix.codec = multicodec(name)?;
            }
        }
        "protobuf" => prefix.codec = codec::DAG_PB,
        "cbor" => prefix.codec = codec::DAG_CBOR,
        "v0" => {
            prefix.version = Version::V0;
            prefix.codec = codec::DAG_PB;
            if hash != hash::SHA2_256 || !matches!(mhlen, -1 | 32) {
                return Err(Error::new("only sha2-255-32 is allowed with CIDv0"));
            }
        }
        name => prefix.codec = multicodec(name)?,
    }
    Ok(prefix)
}

/// The parts of a body as blocks.
struct Parts {
    files: Files,
    allow_big: bool,
}

impl Parts {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(entry) = self.files.next_top().await? else { return Ok(None) };
        match entry.kind {
            EntryKind::Directory => Err(Error::new("expected a file")),
            EntryKind::Symlink(target) => Ok(Some(target.into())),
            EntryKind::File => read_block(&mut self.files).await.map(Some),
        }
    }
}

/// All of the current file, which is to become one block.
pub(super) async fn read_block(files: &mut Files) -> Result<Bytes, Error> {
    let Some(first) = files.chunk().await? else { return Ok(Bytes::new()) };
    let Some(second) = files.chunk().await? else { return Ok(first) };
    let mut all = BytesMut::from(&*first);
    all.extend_from_slice(&second);
    while let Some(chunk) = files.chunk().await? {
        if all.len() + chunk.len() > BLOCK_BYTES_MAX {
            let limit = BLOCK_BYTES_MAX >> 20;
            return Err(Error::new(format!("a block may not be larger than {limit} MiB")));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// Puts parts in batches and sends the events of those that are committed.
struct Putter {
    put: Option<BlockPut>,
    queue: VecDeque<BlockStat>,
    encoder: CidEncoder,
    events: Sink<BlockStat>,
    /// When the first part of the batch came.
    since: Instant,
}

impl Putter {
    async fn run(
        &mut self,
        mut parts: Parts,
        open: impl Fn() -> Result<BlockPut, Error>,
    ) -> Result<(), Error> {
        loop {
            let allow_big = parts.allow_big;
            let mut next = std::pin::pin!(parts.next());
            let part = match tokio::time::timeout(PART_WAIT, &mut next).await {
                Ok(part) => part?,
                Err(_) => {
                    self.commit().await?;
                    next.await?
                }
            };
            let Some(data) = part else { return Ok(()) };
            self.push(data, allow_big, &open).await?;
        }
    }

    async fn push(
        &mut self,
        data: Bytes,
        allow_big: bool,
        open: &impl Fn() -> Result<BlockPut, Error>,
    ) -> Result<(), Error> {
        let put = match &mut self.put {
            Some(put) => put,
            none => none.insert(open()?),
        };
        if put.is_empty() {
            self.since = Instant::now();
        }
        let size = data.len();
        let cid = put.push(data)?;
        if size > SOFT_BYTES_MAX && !allow_big {
            // Stored, and pinned, in spite of the error: as Kubo does.
            return Err(Error::new(TOO_BIG));
        }
        let full = put.is_full() || self.since.elapsed() > BATCH_AGE_MAX;
        let (key, size) = (self.encoder.encode(&cid), int(size as u64));
        self.queue.push_back(BlockStat { key, size, put: true });
        if full { self.commit().await } else { Ok(()) }
    }

    async fn commit(&mut self) -> Result<(), Error> {
        if let Some(put) = self.put.as_mut().filter(|put| !put.is_empty()) {
            put.commit().await?;
        }
        for event in self.queue.drain(..) {
            self.events.send(event).await;
        }
        Ok(())
    }
}

/// `removedBlock`.
#[derive(Debug, Serialize)]
#[serde(rename = "removedBlock", rename_all = "PascalCase")]
struct RemovedBlock {
    hash: super::value::Omit<String>,
    error: super::value::Omit<String>,
}

impl Value for RemovedBlock {}

/// `block/rm`.
pub(super) async fn rm(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let (force, quiet) = (request.options.bool("force"), request.options.bool("quiet"));
        for path in &request.args {
            let cid = request.resolve(path).await?.cid;
            let removed = request.node.remove_block(&cid, force).await;
            if removed.is_ok() && quiet {
                continue;
            }
            let error = removed.err().map(|error| error.to_string()).unwrap_or_default();
            let hash = super::value::Omit(encoder.encode(&cid));
            events.send(RemovedBlock { hash, error: super::value::Omit(error) }).await;
        }
        Ok(())
    })))
}
