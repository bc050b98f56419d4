//! Looking at the tree.

use std::sync::Arc;

use bytes::Bytes;

use super::error::Fail;
use super::nodes::Nodes;
use super::tree::{FileEntry, Found};
use super::{Error, Mfs};
use crate::ipld::{Cid, PbLink, codec};
use crate::store::Store;
use crate::unixfs::data::Kind;
use crate::unixfs::dir::Entry;
use crate::unixfs::read::{Node, ReadError};

/// Entries of a listing that are looked at in one turn.
const LIST_ENTRIES: usize = 1024;

/// What is at a path.
#[derive(Debug, Clone)]
pub enum Target {
    /// A directory.
    Folder(Entry),
    /// A file, or a symbolic link.
    File {
        /// Its root.
        entry: Entry,
        /// The node of its root; `None` for a raw block.
        node: Option<Arc<Node>>,
    },
}

impl Target {
    /// The root, and the size of all below.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        match self {
            Self::Folder(entry) | Self::File { entry, .. } => entry,
        }
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: Bytes,
    /// Its root.
    pub cid: Cid,
    /// Whether it is a directory, and else the bytes of the file; looked at only when asked for.
    pub kind: Option<ItemKind>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory.
    Folder,
    /// A file of this size.
    File(u64),
}

impl Mfs {
    /// What is at a path.
    ///
    /// # Errors
    /// When nothing is.
    pub async fn target(&self, path: &str) -> Result<Target, Error> {
        self.view(|tree| {
            Ok(match tree.lookup(path)? {
                Found::Folder(id) => Target::Folder(tree.entry(id)?),
                Found::File(FileEntry { entry, node, .. }) => Target::File { entry, node },
            })
        })
        .await
    }

    /// The size of a file.
    ///
    /// # Errors
    /// When its block cannot be had.
    pub async fn size(&self, cid: &Cid) -> Result<u64, Error> {
        loop {
            match look(&self.0.nodes, cid) {
                Ok(ItemKind::File(size)) => return Ok(size),
                Ok(ItemKind::Folder) => return Ok(0),
                Err(Fail::Error(error)) => return Err(error),
                Err(Fail::Missing(cid)) => self.fetch(&cid, None).await?,
            };
        }
    }

    /// The entries of a directory in the order of its links; with `long` each is looked at.
    ///
    /// # Errors
    /// When it is none, or a block cannot be had.
    pub async fn list(&self, path: &str, long: bool) -> Result<Vec<Item>, Error> {
        let mut items = self
            .view(|tree| {
                let id = tree.lookup_folder(path)?;
                let nodes = tree.nodes();
                let mut items = Vec::new();
                tree.folder(id)?.visit(nodes, &mut |link: &PbLink| {
                    let name = link.name.clone().unwrap_or_default();
                    items.push(Item { name, cid: link.cid.clone(), kind: None });
                    true
                })?;
                Ok(items)
            })
            .await?;
        if !long {
            return Ok(items);
        }
        let mut looked = 0;
        while looked < items.len() {
            let (done, missing);
            (items, done, missing) = self.look_at(items, looked).await?;
            looked = done;
            if let Some(cid) = missing {
                self.fetch(&cid, None).await?;
            }
        }
        Ok(items)
    }

    /// Looks at some more entries on the blocking pool; how many have been looked
    /// at, and what is missing for the next one.
    async fn look_at(
        &self,
        mut items: Vec<Item>,
        from: usize,
    ) -> Result<(Vec<Item>, usize, Option<Cid>), Error> {
        let to = items.len().min(from + LIST_ENTRIES);
        let mfs = self.clone();
        let work = move || {
            let store = mfs.0.exchange.store();
            let mut missing = None;
            let mut done = to;
            for (i, item) in items.iter_mut().enumerate().take(to).skip(from) {
                match look_once(store, &mfs.0.nodes, &item.cid) {
                    Ok(kind) => item.kind = Some(kind),
                    Err(Fail::Error(error)) => return Err(error),
                    Err(Fail::Missing(cid)) => {
                        (missing, done) = (Some(cid), i);
                        break;
                    }
                }
            }
            Ok((items, done, missing))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down.
                Err(_) => Err(crate::store::Error::Closed.into()),
            },
        }
    }
}

fn look(nodes: &Nodes, cid: &Cid) -> Result<ItemKind, Fail> {
    if cid.codec() == codec::RAW {
        return Ok(ItemKind::File(nodes.size(cid)?));
    }
    kind_of(nodes.get(cid)?.as_ref())
}

/// The same without keeping what is read: a listing reads everything once.
fn look_once(store: &Store, nodes: &Nodes, cid: &Cid) -> Result<ItemKind, Fail> {
    if cid.codec() != codec::DAG_PB {
        return look(nodes, cid);
    }
    let block = store.get(cid)?.ok_or_else(|| Fail::Missing(cid.clone()))?;
    kind_of(&Node::decode(cid, &block)?)
}

fn kind_of(node: &Node) -> Result<ItemKind, Fail> {
    Ok(match node.kind() {
        Kind::Directory | Kind::HamtShard => ItemKind::Folder,
        Kind::Metadata => return Err(Error::Metadata.into()),
        Kind::Other(_) => return Err(Error::InvalidChild.into()),
        Kind::File | Kind::Raw | Kind::Symlink => ItemKind::File(node.size()),
    })
}

/// Checks that a node has bytes that can be read and written.
pub(super) fn check_file(node: &Node) -> Result<(), Error> {
    match node.kind() {
        Kind::File | Kind::Raw => Ok(()),
        Kind::Symlink => Err(Error::Symlink),
        Kind::Directory | Kind::HamtShard => Err(ReadError::IsDirectory.into()),
        Kind::Metadata | Kind::Other(_) => Err(Error::UnsupportedFile),
    }
}
