//! Nodes of a file while it is written.

use bytes::Bytes;

use crate::ipld::{Block, Cid, PbLink, PbNode, codec};
use crate::mfs::{Error, Naming};
use crate::unixfs::data::{Data, Kind};
use crate::unixfs::dir::Entry;
use crate::unixfs::import::Subtree;
use crate::unixfs::read::Node;

/// The root of a file, or a part of it.
#[derive(Debug, Clone)]
pub(super) enum FileNode {
    /// Bytes and nothing else.
    Raw(Naming, Bytes),
    /// A node, with bytes of its own or with links.
    Inner(Inner),
}

/// A dag-pb node of a file.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub(super) naming: Naming,
    pub(super) data: Data,
    pub(super) links: Vec<PbLink>,
}

impl FileNode {
    pub(super) fn new(cid: &Cid, node: Node) -> Self {
        let naming = Naming::of(cid);
        match node {
            Node::Raw(bytes) => Self::Raw(naming, bytes),
            Node::Pb { data, links } => Self::Inner(Inner { naming, data, links }),
        }
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Raw(_, bytes) => bytes.len() as u64,
            Self::Inner(inner) => inner.data.size(),
        }
    }

    /// The block, and what links to it.
    pub(super) fn finish(&self) -> Result<(Block, Subtree), Error> {
        match self {
            Self::Raw(naming, bytes) => {
                let block = naming.file_block(codec::RAW, bytes.clone())?;
                let len = bytes.len() as u64;
                let cid = block.cid.clone();
                Ok((block, Subtree { cid, dag_size: len, file_size: len }))
            }
            Self::Inner(inner) => inner.finish(),
        }
    }
}

impl Inner {
    /// A node without bytes.
    pub(super) fn new(naming: Naming) -> Self {
        let data = Data { file_size: Some(0), ..Data::new(Kind::File) };
        Self { naming, data, links: Vec::new() }
    }

    /// The block, and what links to it.
    pub(super) fn finish(&self) -> Result<(Block, Subtree), Error> {
        let links = self.links.clone();
        let below: u64 = links.iter().fold(0, |sum, link| sum.saturating_add(link.size()));
        let node = PbNode { links, data: Some(self.data.encode().into()) };
        let block = self.naming.file_block(codec::DAG_PB, node.encode().into())?;
        let dag_size = below.saturating_add(block.data.len() as u64);
        let cid = block.cid.clone();
        Ok((block, Subtree { cid, dag_size, file_size: self.data.size() }))
    }

    /// How many bytes of its own come before those of its children. Kubo forgets about them, and
    /// writes in wrong places of such a file; nothing else makes one but appending to a file of one
    /// block.
    pub(super) fn own_len(&self) -> u64 {
        let own = self.data.data.as_ref().map_or(0, |data| data.len() as u64);
        let below: u64 =
            self.data.block_sizes.iter().fold(0, |sum, size| sum.saturating_add(*size));
        if self.data.file_size == below.checked_add(own) { own } else { 0 }
    }

    /// Adds a child behind the others.
    pub(super) fn add(&mut self, child: Subtree) {
        let size = self.data.file_size.unwrap_or(0).saturating_add(child.file_size);
        self.data.file_size = Some(size);
        self.data.block_sizes.push(child.file_size);
        self.links.push(PbLink::new(child.cid, Bytes::new(), child.dag_size));
    }

    /// Takes the last child out.
    pub(super) fn remove_last(&mut self) -> Option<PbLink> {
        let size = self.data.block_sizes.pop()?;
        self.data.file_size = Some(self.data.file_size.unwrap_or(0).saturating_sub(size));
        self.links.pop()
    }

    /// Sets the modification time to now, if there is one.
    pub(super) fn renew_mtime(&mut self) {
        if self.data.mtime.is_some() {
            self.data.mtime = Some(super::now());
        }
    }

    /// The raw leaf that is all of the file, where nothing else is said of it.
    pub(super) fn only_raw_leaf(&self) -> Option<&PbLink> {
        let [only] = self.links.as_slice() else { return None };
        let is_plain = self.data.permissions().is_none() && self.data.mtime.is_none();
        (is_plain && only.cid.codec() == codec::RAW).then_some(only)
    }
}

/// What a directory needs to know of a file.
pub(super) fn entry(subtree: &Subtree) -> Entry {
    Entry { cid: subtree.cid.clone(), dag_size: subtree.dag_size }
}
