//! The bytes of files: writing at any offset.
//!
//! What a write leaves is what boxo's `DagModifier` leaves: bytes in place of others change their
//! leaves alone, bytes behind the end are appended as the trickle layout does, and a gap before
//! them is filled with leaves of 4 KiB of zeros. New bytes go out two mebibytes at a time, which
//! are cut into leaves each for themselves, as in boxo.

mod append;
mod node;
mod overwrite;
mod truncate;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::error::Fail;
use super::read::{Target, check_file};
use super::tree::{Found, Tree};
use super::{Error, Mfs, Naming, path};
use crate::exchange::Reach;
use crate::ipld::{Block, Cid, PbNode};
use crate::store::Session;
use crate::unixfs::data::{Data, Kind, Mtime};
use crate::unixfs::dir::Entry;
use crate::unixfs::read::Node;
use node::{FileNode, Inner, entry};

/// Levels of a file; no layout makes as many.
const DEPTH_MAX: usize = 64;
/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 2 << 20;
/// Bytes by which the buffer fills up: those that Kubo reads of a request at a time.
const PIECE_BYTES: usize = 4096;
/// Bytes of blocks that go to the store at once.
const PUT_BYTES: usize = 1 << 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    /// Make the file if it is not there, named like this.
    pub create: Option<Naming>,
    /// Where the first byte goes.
    pub offset: u64,
    /// Let go what is there first.
    pub truncate: bool,
    /// Whether new leaves are raw, if not as the file says.
    pub raw_leaves: Option<bool>,
    /// At most so many bytes.
    pub count: Option<u64>,
    /// Make it durable.
    pub flush: bool,
}

/// A file that is open for writing.
struct Opened<'a> {
    path: &'a str,
    entry: Entry,
    node: FileNode,
    raw_leaves: bool,
    /// It is not in the tree yet; its first block.
    new: Option<Block>,
}

impl Mfs {
    /// Writes what comes from `source`. What came before an error is written.
    ///
    /// # Errors
    /// When there is no file and none is to be made, or when `source` fails: then with its text.
    pub async fn write<S, E>(
        &self,
        path: &str,
        options: WriteOptions,
        source: S,
    ) -> Result<Result<(), E>, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Send,
    {
        let _turn = self.0.writers.lock(&path::clean(path)).await;
        let session = self.session();
        let mut opened = self.open_file(path, options).await?;
        let naming = match &opened.node {
            FileNode::Raw(naming, _) => *naming,
            FileNode::Inner(inner) => inner.naming,
        };
        let mut modifier = Modifier {
            mfs: self,
            session: &session,
            root: opened.node.clone(),
            naming,
            raw_leaves: opened.raw_leaves,
            waiting: Vec::new(),
            waiting_bytes: 0,
        };
        let written = self.write_all(options, source, &mut modifier, &mut opened).await?;
        let new = modifier.finish().await?;
        drop(modifier);
        self.link(&opened, new, options.flush, Arc::clone(&session)).await?;
        if options.flush {
            self.target(&path::dir(path)).await?;
        }
        self.flush_if(options.flush).await?;
        Ok(written)
    }

    async fn write_all<S, E>(
        &self,
        options: WriteOptions,
        source: S,
        modifier: &mut Modifier<'_>,
        opened: &mut Opened<'_>,
    ) -> Result<Result<(), E>, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Send,
    {
        if options.truncate && modifier.root.size() > 0 {
            modifier.cut(0).await?;
        }
        let gap = options.offset.saturating_sub(modifier.root.size());
        if gap > 0 {
            modifier.append_zeros(gap).await?;
        }
        let mut at = options.offset;
        let mut left = options.count.unwrap_or(u64::MAX);
        let mut buffer = BytesMut::new();
        let mut source = std::pin::pin!(source);
        let mut result = Ok(());
        while left > 0 {
            let mut bytes = match source.next().await {
                None => break,
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => {
                    result = Err(error);
                    break;
                }
            };
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= bytes.len() as u64;
            while !bytes.is_empty() {
                let room = BUFFER_BYTES + PIECE_BYTES - buffer.len();
                buffer.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
                if buffer.len() > BUFFER_BYTES + PIECE_BYTES - 1 {
                    // A file that takes its time to come is seen while it does.
                    self.link_new(opened, modifier.session).await?;
                    let full = buffer.split().freeze();
                    at = modifier.write(at, full).await?;
                }
            }
        }
        if !buffer.is_empty() {
            modifier.write(at, buffer.freeze()).await?;
        }
        Ok(result)
    }

    /// Finds the file, or makes one.
    async fn open_file<'a>(
        &self,
        path: &'a str,
        options: WriteOptions,
    ) -> Result<Opened<'a>, Error> {
        let target = match self.target(path).await {
            Ok(Target::Folder(_)) => return Err(Error::NotFile(path.to_owned())),
            Ok(Target::File { entry, node }) => Some((entry, node)),
            Err(Error::NotExist) if options.create.is_some() => None,
            Err(error) => return Err(error),
        };
        let Some((entry, node)) = target else {
            return self.new_file(path, options).await;
        };
        if let Some(node) = &node {
            check_file(node)?;
        }
        let naming = Naming::of(&entry.cid);
        let remembered = self.0.live.lock().await.raw_leaves(&path::clean(path));
        let raw_leaves = options.raw_leaves.or(remembered).unwrap_or(!naming.is_v0());
        let node = match node {
            Some(node) => FileNode::new(&entry.cid, Node::clone(&node)),
            None => {
                let bytes = self.0.exchange.get(&entry.cid, Reach::Network).await?;
                FileNode::Raw(naming, bytes)
            }
        };
        Ok(Opened { path, entry, node, raw_leaves, new: None })
    }

    async fn new_file<'a>(
        &self,
        path: &'a str,
        options: WriteOptions,
    ) -> Result<Opened<'a>, Error> {
        match self.target(path::split(path).0).await? {
            Target::Folder(_) => {}
            Target::File { .. } => return Err(Error::ParentNotDirectory),
        }
        let naming = options.create.unwrap_or(Naming::V0);
        let data = Data { file_size: Some(0), ..Data::new(Kind::File) };
        let node = PbNode { links: Vec::new(), data: Some(data.encode().into()) };
        let block = naming.node(&node)?;
        let dag_size = block.data.len() as u64;
        let naming = Naming::of(&block.cid);
        Ok(Opened {
            path,
            entry: Entry { cid: block.cid.clone(), dag_size },
            node: FileNode::Inner(Inner { naming, data, links: Vec::new() }),
            raw_leaves: options.raw_leaves.unwrap_or(!naming.is_v0()),
            new: Some(block),
        })
    }

    /// Links a new file, still empty.
    async fn link_new(&self, opened: &mut Opened<'_>, session: &Arc<Session>) -> Result<(), Error> {
        let Some(block) = opened.new.take() else { return Ok(()) };
        self.edit(Arc::clone(session), |tree| add_new(tree, opened.path, &block, &opened.entry))
            .await
    }

    /// Puts what has been written in the place of what was opened. A file that somebody has removed
    /// or replaced meanwhile stays as it is.
    async fn link(
        &self,
        opened: &Opened<'_>,
        new: Entry,
        flush: bool,
        session: Arc<Session>,
    ) -> Result<(), Error> {
        let Opened { path, raw_leaves, .. } = *opened;
        self.edit(session, |tree| {
            if let Some(block) = &opened.new {
                add_new(tree, path, block, &opened.entry)?;
            }
            // A lookup would read a block that may not be stored yet.
            let (parent, name) = path::split(path.trim_end_matches('/'));
            let id = match tree.lookup(parent) {
                Ok(Found::Folder(id)) => id,
                Ok(Found::File(_)) | Err(Fail::Error(Error::NotExist | Error::Access(_))) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let found = tree.link(id, name.as_bytes())?;
            if found.is_none_or(|link| link.cid != opened.entry.cid) {
                return Ok(());
            }
            tree.set(id, name.as_bytes(), new.clone())?;
            if flush {
                tree.set_again(id, name.as_bytes())?;
                let parent = tree.path(id);
                tree.live.flush(&parent);
            } else {
                tree.live.set_raw_leaves(path::clean(path), raw_leaves);
            }
            Ok(())
        })
        .await
    }

    /// Checks that the file at a path can be opened, and gives it its shortest form: one of nothing
    /// but a raw leaf becomes that.
    ///
    /// # Errors
    /// When there is no file.
    pub async fn settle_file(&self, path: &str) -> Result<Entry, Error> {
        let Target::File { entry, node } = self.target(path).await? else {
            return Err(Error::NotFile(path.to_owned()));
        };
        let Some(node) = node else { return Ok(entry) };
        check_file(&node)?;
        let remembered = self.0.live.lock().await.raw_leaves(&path::clean(path));
        if !remembered.unwrap_or(!Naming::of(&entry.cid).is_v0()) {
            return Ok(entry);
        }
        let FileNode::Inner(inner) = FileNode::new(&entry.cid, Node::clone(&node)) else {
            return Ok(entry);
        };
        let Some(only) = inner.only_raw_leaf() else { return Ok(entry) };
        let Some(dag_size) = self.0.exchange.store().size(only.cid.hash())? else {
            return Ok(entry);
        };
        let new = Entry { cid: only.cid.clone(), dag_size };
        self.edit(self.session(), |tree| match tree.lookup(path)? {
            Found::File(file) if file.entry.cid == entry.cid => {
                tree.set(file.parent, &file.name, new.clone())
            }
            _ => Ok(()),
        })
        .await?;
        Ok(new)
    }
}

/// Adds a new file, still empty.
fn add_new(tree: &mut Tree<'_>, path: &str, block: &Block, entry: &Entry) -> Result<(), Fail> {
    let (parent, name) = path::split(path);
    let Found::Folder(id) = tree.lookup(parent)? else {
        return Err(Error::ParentNotDirectory.into());
    };
    tree.put(block.clone());
    tree.add(id, name.as_bytes(), entry.clone())
}

/// A file being changed.
pub(super) struct Modifier<'a> {
    mfs: &'a Mfs,
    session: &'a Arc<Session>,
    root: FileNode,
    naming: Naming,
    raw_leaves: bool,
    waiting: Vec<Block>,
    waiting_bytes: usize,
}

impl Modifier<'_> {
    /// Writes bytes at an offset that is not beyond the end; where they end.
    async fn write(&mut self, offset: u64, mut bytes: Bytes) -> Result<u64, Error> {
        let end = offset.saturating_add(bytes.len() as u64);
        self.overwrite(offset, &mut bytes).await?;
        if !bytes.is_empty() {
            let chunker = self.mfs.0.options.chunker;
            self.append_bytes(bytes, &chunker).await?;
        }
        Ok(end)
    }

    /// The root, stored.
    async fn finish(&mut self) -> Result<Entry, Error> {
        if self.raw_leaves
            && let FileNode::Inner(inner) = &self.root
            && let Some(only) = inner.only_raw_leaf().map(|link| link.cid.clone())
        {
            self.put_waiting().await?;
            if let Some(dag_size) = self.mfs.0.exchange.store().size(only.hash())? {
                return Ok(Entry { cid: only, dag_size });
            }
        }
        let (block, subtree) = self.root.finish()?;
        self.put(block).await?;
        self.put_waiting().await?;
        Ok(entry(&subtree))
    }

    /// A part of the file.
    async fn load(&mut self, cid: &Cid) -> Result<FileNode, Error> {
        self.put_waiting().await?;
        let block = self.mfs.0.exchange.get(cid, Reach::Network).await?;
        let node = Node::decode(cid, &block)?;
        check_file(&node)?;
        Ok(FileNode::new(cid, node))
    }

    async fn put(&mut self, block: Block) -> Result<(), Error> {
        self.waiting_bytes += block.data.len();
        self.waiting.push(block);
        if self.waiting_bytes >= PUT_BYTES {
            self.put_waiting().await?;
        }
        Ok(())
    }

    async fn put_waiting(&mut self) -> Result<(), Error> {
        self.waiting_bytes = 0;
        if !self.waiting.is_empty() {
            let blocks = std::mem::take(&mut self.waiting);
            self.session.put_many(blocks).await?;
        }
        Ok(())
    }
}

/// The time.
fn now() -> Mtime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Mtime { seconds, nanoseconds: since.subsec_nanos() }
}
