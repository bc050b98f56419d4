//! Exporting a DAG as a CAR: every block once, parents first.
//!
//! Blocks are read ahead on the blocking pool, bounded by the channel, and their bytes go out as
//! they were read. Owns nothing.

use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::fetch::Ahead;
use super::produce::{Sink, produce};
use super::walk::{Seen, Step, Walk};
use super::{Error, Node, Reach, blocking};
use crate::ipld::{self, Cid, data, hash, links};
use crate::store::Store;
use crate::{car, exchange};

/// Pieces read ahead of the reader; a piece is a block, or several small ones.
const PIECES_AHEAD: usize = 8;
/// Blocks below this size are sent together.
const SMALL_BYTES: usize = 32 << 10;
/// How much of small blocks is sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// How a DAG is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it; blocks that are not here come from where the reach says.
    Whole(Reach),
    /// What is here; the rest is left out without a word.
    Local,
}

/// Why an export ended early, as go-car tells it.
#[derive(Debug, Clone, thiserror::Error)]
enum ExportError {
    #[error("root blk load failed: {0}")]
    Root(Error),
    #[error(
        "walk failed: error traversing node at \"{at}\": could not load link \"{cid}\": {source}"
    )]
    Link { at: String, cid: Cid, source: Error },
}

impl Node {
    /// The CAR of the DAG under `root`. `waiting` is told what stands before the error of a wait
    /// that is given up.
    pub fn export(
        &self,
        root: Cid,
        scope: Scope,
        waiting: impl Fn(String) + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let node = self.clone();
        produce(PIECES_AHEAD, move |pieces| async move {
            pieces.send(car::header(std::slice::from_ref(&root)).into()).await;
            let reach = if let Scope::Whole(reach) = scope { reach } else { Reach::Local };
            let ahead = Ahead::new(&node, reach);
            let mut export = Export::new(node.store().clone(), root, scope, pieces);
            loop {
                let end;
                (export, end) = blocking(move || Ok(export.run())).await?;
                let (cid, at) = match end {
                    End::Done => return Ok(()),
                    End::Failed(cid, error) => return Err(export.failed(cid, error)),
                    End::Missing(cid) => {
                        let at = export.before_error(&cid);
                        (cid, at)
                    }
                };
                waiting(at);
                if scope == Scope::Local {
                    return Ok(());
                }
                if let Err(error) = ahead.get(&cid, || export.walk.upcoming()).await {
                    return Err(export.failed(cid, error.into()));
                }
            }
        })
    }
}

/// Where a turn on the blocking pool ended.
enum End {
    Done,
    /// This block is not here.
    Missing(Cid),
    /// This block cannot be read.
    Failed(Cid, Error),
}

struct Export {
    store: Store,
    walk: Walk,
    is_local: bool,
    /// Of a local export, what was written, by multihash.
    written: Seen,
    pieces: Sink<Bytes>,
    /// Small blocks that are not sent yet.
    small: BytesMut,
}

impl Export {
    fn new(store: Store, root: Cid, scope: Scope, pieces: Sink<Bytes>) -> Self {
        let is_local = scope == Scope::Local;
        let (walk, written) = (Walk::new(root), Seen::default());
        Self { store, walk, is_local, written, pieces, small: BytesMut::new() }
    }

    /// Writes on, until the end, a block that is not here, or a reader that has gone.
    fn run(mut self) -> (Self, End) {
        let end = loop {
            let mut block = None;
            let mut tried = None;
            let (store, is_local) = (&self.store, self.is_local);
            let step = self.walk.step(|cid| {
                tried = Some(cid.clone());
                let (links, data) = look(store, cid, is_local)?;
                block = data;
                Ok(links)
            });
            match (step, tried) {
                (Ok(Step::Visited(cid)), _) => {
                    if let Some(data) = block
                        && !self.write(&cid, data)
                    {
                        break End::Done;
                    }
                }
                (Ok(Step::Missing(cid)), _) => break End::Missing(cid),
                (Ok(Step::Done), _) | (Err(_), None) => break End::Done,
                (Err(error), Some(cid)) => break End::Failed(cid, error),
            }
        };
        self.send_small();
        (self, end)
    }

    /// Sends a block; `false` when the reader has gone.
    fn write(&mut self, cid: &Cid, data: Bytes) -> bool {
        if self.is_local {
            // As Kubo's writer, which knows blocks by multihash and takes no inline ones.
            let name = Cid::new_v1(ipld::codec::RAW, cid.hash().clone());
            if cid.hash().code() == hash::IDENTITY || !self.written.insert(&name) {
                return true;
            }
        }
        self.small.extend_from_slice(&car::section_head(cid, data.len()));
        if data.len() < SMALL_BYTES {
            self.small.extend_from_slice(&data);
            return self.small.len() < PIECE_BYTES || self.send_small();
        }
        self.send_small() && self.pieces.send_blocking(data)
    }

    fn send_small(&mut self) -> bool {
        self.small.is_empty() || self.pieces.send_blocking(self.small.split().freeze())
    }

    /// The error for a block that is not to be had or read.
    fn failed(&self, cid: Cid, source: Error) -> Error {
        let is_absent = matches!(source, Error::Exchange(exchange::Error::NotFound(_)));
        let text = match self.at() {
            None => ExportError::Root(source).to_string(),
            Some(at) => ExportError::Link { at, cid, source }.to_string(),
        };
        if is_absent { Error::Absent(text) } else { Error::Failed(text) }
    }

    /// What stands before the error of a block.
    fn before_error(&self, cid: &Cid) -> String {
        self.failed(cid.clone(), Error::Failed(String::new())).to_string()
    }

    /// The path from the root to the link where the walk stands; `None` at the root itself.
    fn at(&self) -> Option<String> {
        let mut path = Vec::new();
        let mut is_root = true;
        for (cid, position) in self.walk.trail() {
            is_root = false;
            let block = self.store.get(cid).ok().flatten();
            let node = block.and_then(|block| data::decode_block(cid.codec(), &block).ok());
            let mut left = position;
            if let Some(node) = node {
                find_link(&node.node, &mut left, &mut path);
            }
        }
        (!is_root).then(|| path.join("/"))
    }
}

type Looked = (Option<Vec<Cid>>, Option<Bytes>);

/// The links of a block, and the block; no links when it is absent.
fn look(store: &Store, cid: &Cid, is_local: bool) -> Result<Looked, Error> {
    let found = store.get(cid).map_err(Error::from).and_then(|block| {
        let Some(block) = block else { return Ok(None) };
        let links = links(cid.codec(), &block)?;
        Ok(Some((links, block)))
    });
    match found {
        Ok(Some((links, block))) => Ok((Some(links), Some(block))),
        // What is not here, or cannot be read, is left out with all below it.
        Ok(None) | Err(_) if is_local => Ok((Some(Vec::new()), None)),
        Ok(None) => Ok((None, None)),
        Err(error) => Err(error),
    }
}

/// Appends the way to one of the links of a node, counted in order; whether it was found. The
/// depth of nodes is bounded by their decoders.
fn find_link(node: &ipld::Node, left: &mut usize, path: &mut Vec<String>) -> bool {
    match node {
        ipld::Node::Link(_) if *left == 0 => return true,
        ipld::Node::Link(_) => *left -= 1,
        ipld::Node::List(items) => {
            for (i, item) in items.iter().enumerate() {
                path.push(i.to_string());
                if find_link(item, left, path) {
                    return true;
                }
                path.pop();
            }
        }
        ipld::Node::Map(entries) => {
            for (key, value) in entries {
                path.push(String::from_utf8_lossy(key).into_owned());
                if find_link(value, left, path) {
                    return true;
                }
                path.pop();
            }
        }
        _ => {}
    }
    false
}
