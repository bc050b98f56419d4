//! Bytes behind those that are there, by the rules of the trickle layout.
//!
//! A file that was appended to is not what the layout makes of the same bytes in one go: boxo loses
//! count of its depths where a layer is complete, and that is repeated here, because CIDs depend on
//! it.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::node::{FileNode, Inner};
use super::{DEPTH_MAX, Modifier};
use crate::ipld::{PbNode, codec};
use crate::mfs::{Error, Naming};
use crate::unixfs::chunk::BLOCK_BYTES_MAX;
use crate::unixfs::chunk::{Chunk, Chunker, Chunks};
use crate::unixfs::data::{Data, Kind};
use crate::unixfs::import::{FILE_LINKS_DEFAULT, ImportError, Subtree};

/// Subtrees of one depth in a node.
const REPEAT: i64 = 4;
/// Leaves of a node.
const LINKS_MAX: usize = FILE_LINKS_DEFAULT;
/// Bytes of a leaf between the end of a file and a write behind it.
const ZEROS: usize = 4096;
/// Leaves after which others get their turn.
const TURN_LEAVES: u64 = 4096;

/// The leaves that are to be appended.
pub(super) struct Leaves {
    source: Source,
    naming: Naming,
    raw: bool,
    count: u64,
}

enum Source {
    Zeros { left: u64, full: Option<Subtree> },
    Chunks { chunks: Chunks, next: Option<Chunk>, ended: bool },
}

impl Leaves {
    fn new(source: Source, naming: Naming, raw: bool) -> Self {
        Self { source, naming, raw, count: 0 }
    }

    /// Whether none is left.
    fn done(&mut self) -> Result<bool, Error> {
        match &mut self.source {
            Source::Zeros { left, .. } => Ok(*left == 0),
            Source::Chunks { chunks, next, ended } => {
                if next.is_none() && !*ended {
                    *next = chunks.next_chunk()?;
                    if next.is_none() {
                        *ended = true;
                        *next = chunks.finish();
                    }
                }
                Ok(next.is_none())
            }
        }
    }

    /// The next leaf, stored.
    async fn next(&mut self, modifier: &mut Modifier<'_>) -> Result<Option<Subtree>, Error> {
        if self.done()? {
            return Ok(None);
        }
        self.count += 1;
        if self.count.is_multiple_of(TURN_LEAVES) {
            tokio::task::yield_now().await;
        }
        let bytes = match &mut self.source {
            Source::Zeros { left, full } => {
                let len = (*left).min(ZEROS as u64);
                *left -= len;
                if let Some(full) = full.as_ref().filter(|full| full.file_size == len) {
                    return Ok(Some(full.clone()));
                }
                Bytes::from(vec![0; usize::try_from(len).unwrap_or(ZEROS)])
            }
            Source::Chunks { next, .. } => match next.take() {
                Some(chunk) => chunk.into_bytes(),
                None => return Ok(None),
            },
        };
        let leaf = self.store(bytes, modifier).await?;
        if let Source::Zeros { full, .. } = &mut self.source {
            full.get_or_insert_with(|| leaf.clone());
        }
        Ok(Some(leaf))
    }

    async fn store(&self, bytes: Bytes, modifier: &mut Modifier<'_>) -> Result<Subtree, Error> {
        let file_size = bytes.len() as u64;
        if bytes.len() > BLOCK_BYTES_MAX {
            return Err(ImportError::BlockTooLarge.into());
        }
        let block = if self.raw {
            self.naming.file_block(codec::RAW, bytes)?
        } else {
            let data =
                Data { data: Some(bytes), file_size: Some(file_size), ..Data::new(Kind::Raw) };
            let node = PbNode { links: Vec::new(), data: Some(data.encode().into()) };
            self.naming.file_block(codec::DAG_PB, node.encode().into())?
        };
        let dag_size = block.data.len() as u64;
        let cid = block.cid.clone();
        modifier.put(block).await?;
        Ok(Subtree { cid, dag_size, file_size })
    }
}

impl Modifier<'_> {
    /// Appends zeros.
    pub(super) async fn append_zeros(&mut self, len: u64) -> Result<(), Error> {
        self.append(Source::Zeros { left: len, full: None }).await
    }

    /// Appends bytes, cut by the chunker from their beginning on.
    pub(super) async fn append_bytes(
        &mut self,
        bytes: Bytes,
        chunker: &Chunker,
    ) -> Result<(), Error> {
        let mut chunks = Chunks::new(chunker);
        chunks.push(bytes)?;
        self.append(Source::Chunks { chunks, next: None, ended: false }).await
    }

    async fn append(&mut self, source: Source) -> Result<(), Error> {
        let empty = FileNode::Inner(Inner::new(self.naming));
        let (root, raw) = match std::mem::replace(&mut self.root, empty) {
            FileNode::Inner(inner) => (inner, self.raw_leaves),
            leaf @ FileNode::Raw(..) => {
                let (block, subtree) = leaf.finish()?;
                self.put(block).await?;
                let mut root = Inner::new(self.naming);
                root.add(subtree);
                (root, true)
            }
        };
        let mut leaves = Leaves::new(source, self.naming, raw);
        self.root = FileNode::Inner(self.append_to(root, &mut leaves).await?);
        Ok(())
    }

    async fn append_to(&mut self, mut node: Inner, leaves: &mut Leaves) -> Result<Inner, Error> {
        let (mut depth, repeat) = depth_of(&node);
        if depth == 0 {
            self.fill_layer(&mut node, leaves).await?;
            if leaves.done()? {
                node.renew_mtime();
                return Ok(node);
            }
            depth = 1;
        }
        self.fill_last(&mut node, (depth - 1, repeat), leaves, 0).await?;
        if !leaves.done()? {
            depth += 1;
        }
        while !leaves.done()? {
            self.add_subtrees(&mut node, 0, depth, leaves).await?;
            depth += 1;
        }
        Ok(node)
    }

    /// Adds leaves to a node up to the limit.
    async fn fill_layer(&mut self, node: &mut Inner, leaves: &mut Leaves) -> Result<(), Error> {
        while node.data.block_sizes.len() < LINKS_MAX {
            let Some(leaf) = leaves.next(self).await? else { return Ok(()) };
            node.add(leaf);
        }
        Ok(())
    }

    /// Adds subtrees of one depth, from the `repeat`th of the four on.
    async fn add_subtrees(
        &mut self,
        node: &mut Inner,
        repeat: i64,
        depth: i64,
        leaves: &mut Leaves,
    ) -> Result<(), Error> {
        for _ in repeat..REPEAT {
            if leaves.done()? {
                break;
            }
            let child = self.fill(Inner::new(self.naming), depth, leaves, 0).await?;
            node.add(child);
        }
        Ok(())
    }

    /// Fills a new node, and stores it. Goes as deep as leaves last: by less than one level for
    /// each time that they double.
    fn fill<'b>(
        &'b mut self,
        mut node: Inner,
        depth_max: i64,
        leaves: &'b mut Leaves,
        level: usize,
    ) -> BoxFuture<'b, Result<Subtree, Error>> {
        async move {
            if level >= DEPTH_MAX {
                return Err(Error::TooDeep);
            }
            self.fill_layer(&mut node, leaves).await?;
            let mut depth = 1;
            while depth < depth_max && !leaves.done()? {
                for _ in 0..REPEAT {
                    if leaves.done()? {
                        break;
                    }
                    let child =
                        self.fill(Inner::new(self.naming), depth, leaves, level + 1).await?;
                    node.add(child);
                }
                depth += 1;
            }
            let (block, subtree) = node.finish()?;
            self.put(block).await?;
            Ok(subtree)
        }
        .boxed()
    }

    /// Goes on where the last subtree ends, then with those beside it.
    fn fill_last<'b>(
        &'b mut self,
        node: &'b mut Inner,
        (depth, repeat): (i64, i64),
        leaves: &'b mut Leaves,
        level: usize,
    ) -> BoxFuture<'b, Result<(), Error>> {
        async move {
            if node.data.block_sizes.len() <= LINKS_MAX {
                return Ok(());
            }
            if level >= DEPTH_MAX {
                return Err(Error::TooDeep);
            }
            let Some(last) = node.links.last().map(|link| link.cid.clone()) else {
                return Ok(());
            };
            if node.links.len() != node.data.block_sizes.len() {
                return Err(Error::Corrupt(last));
            }
            let FileNode::Inner(child) = self.load(&last).await? else {
                return Err(Error::Corrupt(last));
            };
            let child = self.append_below(child, depth - 1, leaves, level).await?;
            node.remove_last();
            let (block, subtree) = child.finish()?;
            self.put(block).await?;
            node.add(subtree);
            if repeat != 0 {
                self.add_subtrees(node, repeat, depth, leaves).await?;
            }
            Ok(())
        }
        .boxed()
    }

    async fn append_below(
        &mut self,
        mut node: Inner,
        depth_max: i64,
        leaves: &mut Leaves,
        level: usize,
    ) -> Result<Inner, Error> {
        if depth_max == 0 || leaves.done()? {
            return Ok(node);
        }
        let (mut depth, repeat) = depth_of(&node);
        if depth == 0 {
            self.fill_layer(&mut node, leaves).await?;
            depth = 1;
        }
        if depth == depth_max {
            return Ok(node);
        }
        self.fill_last(&mut node, (depth, repeat), leaves, level + 1).await?;
        if !leaves.done()? {
            depth += 1;
        }
        while depth < depth_max && !leaves.done()? {
            self.add_subtrees(&mut node, 0, depth, leaves).await?;
            depth += 1;
        }
        Ok(node)
    }
}

/// The depth of the subtrees that a node has come to, and how many of them it has; 0 while it has
/// room for leaves.
fn depth_of(node: &Inner) -> (i64, i64) {
    match node.data.block_sizes.len().checked_sub(LINKS_MAX) {
        None => (0, 0),
        Some(subtrees) => {
            let subtrees = i64::try_from(subtrees).unwrap_or(i64::MAX);
            (subtrees / REPEAT + 1, subtrees % REPEAT)
        }
    }
}
