//! Import: chunks become leaves, leaves become the DAG of a file.
//!
//! Responsible for the blocks of one file. [`leaf`] frames and hashes one chunk and may run on
//! any thread; [`FileBuilder`] takes the leaves in order, gives out the nodes above them as they
//! fill up, and holds no more than one unfinished node a level. Pure.

use bytes::Bytes;

use super::balanced::Balanced;
use super::chunk::{BLOCK_BYTES_MAX, Chunk, ChunkError, Chunker, HEADROOM, Repr};
use super::data::{Data, Kind, Stat, frame_leaf};
use super::trickle::Trickle;
use crate::ipld::hash::{self, HashError};
use crate::ipld::{Block, Cid, PbLink, PbNode, Version, codec, varint};

/// Links of a file node unless told otherwise.
pub const FILE_LINKS_DEFAULT: usize = 174;

/// How the CIDs of new blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CidRule {
    /// Version of the CIDs of dag-pb blocks; everything else is version 1 anyway.
    pub version: Version,
    /// The hash function.
    pub hash: hash::Code,
    /// Blocks up to this length become part of their CIDs.
    pub inline_limit: Option<usize>,
}

impl Default for CidRule {
    fn default() -> Self {
        Self { version: Version::V0, hash: hash::SHA2_256, inline_limit: None }
    }
}

impl CidRule {
    /// Names a block.
    ///
    /// # Errors
    /// When there is no such hash function, or its digest may not name a block.
    pub fn block(&self, codec: u64, data: Bytes) -> Result<Block, ImportError> {
        let inline = self.inline_limit.is_some_and(|limit| data.len() <= limit);
        let code = if inline { hash::IDENTITY } else { self.hash };
        if code == hash::IDENTITY && data.len() > hash::DIGEST_LEN_MAX {
            return Err(HashError::DigestTooLarge { code, got: data.len() }.into());
        }
        let digest = hash::digest(code, &data, None)?;
        hash::validate(&digest)?;
        let cid = if self.version == Version::V0 && codec == codec::DAG_PB && !inline {
            let short = digest.clone();
            Cid::new_v0(short).unwrap_or_else(|| Cid::new_v1(codec, digest))
        } else {
            Cid::new_v1(codec, digest)
        };
        Ok(Block { cid, data })
    }

    /// Encodes and names a node.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub fn node(&self, node: &PbNode) -> Result<Block, ImportError> {
        self.block(codec::DAG_PB, node.encode().into())
    }
}

/// The shape of a file's DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Every leaf at the same depth.
    #[default]
    Balanced,
    /// Leaves near the front are near the root.
    Trickle,
}

/// What the CID of a file depends on besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportOptions {
    /// How blocks are named.
    pub cid: CidRule,
    /// Where the bytes are cut.
    pub chunker: Chunker,
    /// Leaves are the bytes alone, without a UnixFS node around them.
    pub raw_leaves: bool,
    /// The shape.
    pub layout: Layout,
    /// Most links of one node.
    pub links_max: usize,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            cid: CidRule::default(),
            chunker: Chunker::default(),
            raw_leaves: false,
            layout: Layout::default(),
            links_max: FILE_LINKS_DEFAULT,
        }
    }
}

/// Why there is no DAG.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A block cannot be named.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The bytes cannot be cut.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A balanced tree of nodes with one child each never holds a second chunk.
    #[error("max-file-links must be at least 2 for a file of more than one chunk")]
    LinksTooFew,
    /// The node's block would be longer than other nodes accept.
    #[error("object size limit exceeded")]
    BlockTooLarge,
    /// Two names agree in all the bits of their hashes that a shard can use.
    #[error("sharded directory too deep")]
    ShardTooDeep,
}

/// A finished subtree, as the node above it needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtree {
    /// Its root.
    pub cid: Cid,
    /// Length of all its blocks, each counted as often as it is linked.
    pub dag_size: u64,
    /// Bytes of the file in it.
    pub file_size: u64,
}

/// A leaf: its block, and what the tree needs to know of it.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The block, to be stored.
    pub block: Block,
    /// Bytes of the file in it.
    pub file_size: u64,
}

impl Leaf {
    /// What to push into the [`FileBuilder`].
    #[must_use]
    pub fn subtree(&self) -> Subtree {
        Subtree {
            cid: self.block.cid.clone(),
            dag_size: self.block.data.len() as u64,
            file_size: self.file_size,
        }
    }
}

/// Frames and hashes one chunk.
///
/// # Errors
/// When the block cannot be named.
pub fn leaf(options: &ImportOptions, chunk: Chunk) -> Result<Leaf, ImportError> {
    let len = chunk.len();
    if len > BLOCK_BYTES_MAX {
        return Err(ImportError::BlockTooLarge);
    }
    let block = if options.raw_leaves {
        options.cid.block(codec::RAW, chunk.into_bytes())?
    } else {
        let kind = match options.layout {
            Layout::Balanced => Kind::File,
            Layout::Trickle => Kind::Raw,
        };
        options.cid.block(codec::DAG_PB, frame(kind, chunk))?
    };
    Ok(Leaf { block, file_size: len as u64 })
}

/// The dag-pb block around a chunk. A chunk that owns its buffer is not moved.
fn frame(kind: Kind, chunk: Chunk) -> Bytes {
    let len = chunk.len();
    let (inner_head, tail) = frame_leaf(kind, len);
    let mut head = Vec::with_capacity(HEADROOM);
    head.push(0x0a);
    varint::append((inner_head.len() + len + tail.len()) as u64, &mut head);
    head.extend_from_slice(&inner_head);
    match chunk.0 {
        Repr::Owned(mut buffer) if head.len() <= HEADROOM => {
            let start = HEADROOM - head.len();
            for (slot, byte) in buffer.iter_mut().skip(start).zip(&head) {
                *slot = *byte;
            }
            buffer.extend_from_slice(&tail);
            buffer.freeze().split_off(start)
        }
        repr => {
            let bytes = Chunk(repr).into_bytes();
            head.reserve_exact(len + tail.len());
            head.extend_from_slice(&bytes);
            head.extend_from_slice(&tail);
            head.into()
        }
    }
}

/// An internal file node while it fills up.
#[derive(Debug, Default)]
pub(super) struct FileNode {
    links: Vec<PbLink>,
    block_sizes: Vec<u64>,
    file_size: u64,
    children_size: u64,
}

impl FileNode {
    pub(super) fn add(&mut self, child: Subtree) {
        self.file_size += child.file_size;
        self.children_size += child.dag_size;
        self.block_sizes.push(child.file_size);
        self.links.push(PbLink::new(child.cid, Bytes::new(), child.dag_size));
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// The node as a block.
    pub(super) fn finish(self, cid: &CidRule, stat: Stat) -> Result<(Block, Subtree), ImportError> {
        let data = Data {
            file_size: Some(self.file_size),
            block_sizes: self.block_sizes,
            ..Data::new(Kind::File).with_stat(stat)
        };
        let node = PbNode { links: self.links, data: Some(data.encode().into()) };
        let block = cid.node(&node)?;
        let dag_size = block.data.len() as u64 + self.children_size;
        let subtree = Subtree { cid: block.cid.clone(), dag_size, file_size: self.file_size };
        Ok((block, subtree))
    }
}

/// The tree above the leaves of one file.
#[derive(Debug)]
pub struct FileBuilder {
    options: ImportOptions,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Balanced(Balanced),
    Trickle(Trickle),
}

/// The root of a finished file.
#[derive(Debug)]
pub struct FileRoot {
    /// What a directory entry needs to know.
    pub root: Subtree,
    /// Blocks that were not given out before, children before parents; the root, if it is here,
    /// is the last.
    pub blocks: Vec<Block>,
}

impl FileBuilder {
    /// A file without bytes.
    #[must_use]
    pub fn new(options: ImportOptions) -> Self {
        let shape = match options.layout {
            Layout::Balanced => Shape::Balanced(Balanced::new(options.cid, options.links_max)),
            Layout::Trickle => Shape::Trickle(Trickle::new(options.cid, options.links_max)),
        };
        Self { options, shape }
    }

    /// Adds the next leaf; blocks of nodes that are complete with it are appended to `out`.
    ///
    /// # Errors
    /// When a block cannot be named, or the layout allows no second leaf.
    pub fn push(&mut self, leaf: Subtree, out: &mut Vec<Block>) -> Result<(), ImportError> {
        match &mut self.shape {
            Shape::Balanced(tree) => tree.push(leaf, out),
            Shape::Trickle(tree) => tree.push(leaf, out),
        }
    }

    /// Whether the root is the only leaf, and `stat` will make a new block of it: the caller must
    /// then hand that block to [`Self::finish`].
    #[must_use]
    pub fn wants_only_leaf(&self, stat: Stat) -> bool {
        !stat.is_empty()
            && !self.options.raw_leaves
            && matches!(&self.shape, Shape::Balanced(tree) if tree.is_one_leaf())
    }

    /// Ends the file. Mode and modification time go into the root node; a raw root has no place
    /// for them.
    ///
    /// # Errors
    /// When a block cannot be named.
    pub fn finish(self, stat: Stat, only_leaf: Option<&Block>) -> Result<FileRoot, ImportError> {
        // A mode of no bits sets no field here, unlike in a directory.
        let stat = Stat { mode: stat.mode.filter(|mode| *mode != 0), ..stat };
        let mut blocks = Vec::new();
        let cid = self.options.cid;
        let root = match self.shape {
            Shape::Trickle(tree) => tree.finish(stat, &mut blocks)?,
            Shape::Balanced(tree) => match tree.finish(stat, &mut blocks)? {
                Some(root) => root,
                None => {
                    let leaf = leaf(&self.options, Chunk::from(Bytes::new()))?;
                    let root = leaf.subtree();
                    blocks.push(leaf.block);
                    root
                }
            },
        };
        let only = match blocks.as_slice() {
            [] => only_leaf,
            [only] if root.file_size == 0 && self.options.layout == Layout::Balanced => Some(only),
            _ => None,
        };
        let restat = only.filter(|only| !stat.is_empty() && only.cid.codec() == codec::DAG_PB);
        if let Some(only) = restat
            && let Some(block) = with_stat(&cid, &only.data, stat)?
        {
            let root = Subtree {
                cid: block.cid.clone(),
                dag_size: block.data.len() as u64,
                file_size: root.file_size,
            };
            return Ok(FileRoot { root, blocks: vec![block] });
        }
        Ok(FileRoot { root, blocks })
    }
}

/// A leaf node again, with mode and modification time; `None` if it is no UnixFS node.
fn with_stat(cid: &CidRule, leaf: &Bytes, stat: Stat) -> Result<Option<Block>, ImportError> {
    let Ok(mut node) = PbNode::decode(leaf) else { return Ok(None) };
    let data = node.data.as_ref().and_then(|data| Data::decode(data).ok());
    let Some(data) = data else { return Ok(None) };
    node.data = Some(data.with_stat(stat).encode().into());
    cid.node(&node).map(Some)
}

/// The node of a symbolic link.
///
/// # Errors
/// When its block cannot be named.
pub fn symlink(cid: &CidRule, target: Bytes, stat: Stat) -> Result<Block, ImportError> {
    let data = Data { data: Some(target), ..Data::new(Kind::Symlink) }.with_stat(stat);
    cid.node(&PbNode { links: Vec::new(), data: Some(data.encode().into()) })
}
