//! The tree while one operation edits it: directories are read as paths lead to them, and those
//! that have changed are written at the end, up to a new root.
//!
//! Nothing of an edit is seen before it is whole: one that stops is dropped and leaves nothing.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::error::Fail;
use super::folder::{Folder, Place};
use super::live::Live;
use super::nodes::Nodes;
use super::{Error, path};
use crate::ipld::{Block, PbLink, codec};
use crate::unixfs::data::Kind;
use crate::unixfs::dir::{DirOptions, Entry};
use crate::unixfs::read::Node;

/// A directory that is open in a [`Tree`].
pub(super) type Id = usize;

/// The root.
pub(super) const ROOT: Id = 0;

/// An edit that is under way.
pub(super) struct Tree<'a> {
    nodes: &'a Nodes,
    options: &'a DirOptions,
    pub(super) live: &'a mut Live,
    open: Vec<Open>,
    /// Blocks that the new root needs besides those of directories.
    blocks: Vec<Block>,
}

struct Open {
    folder: Folder,
    /// The directory that it is in, and its name there; none for the root and for what has been
    /// removed.
    parent: Option<(Id, Bytes)>,
    below: HashMap<Bytes, Id>,
    entry: Entry,
}

/// What a path leads to.
pub(super) enum Found {
    Folder(Id),
    File(FileEntry),
}

/// A file, as the directory around it has it.
#[derive(Debug, Clone)]
pub(super) struct FileEntry {
    pub(super) parent: Id,
    pub(super) name: Bytes,
    pub(super) entry: Entry,
    /// `None` for a raw block, which is not read.
    pub(super) node: Option<Arc<Node>>,
}

/// What an edit has come to.
pub(super) struct Written {
    pub(super) root: Entry,
    /// Children before parents.
    pub(super) blocks: Vec<Block>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(
        nodes: &'a Nodes,
        options: &'a DirOptions,
        live: &'a mut Live,
        root: &Entry,
    ) -> Result<Self, Fail> {
        let folder = Folder::read(&root.cid, nodes.get(&root.cid)?.as_ref(), live.balance("/"))?;
        let open = Open { folder, parent: None, below: HashMap::new(), entry: root.clone() };
        Ok(Self { nodes, options, live, open: vec![open], blocks: Vec::new() })
    }

    fn place(&self) -> Place<'a> {
        Place { nodes: self.nodes, options: self.options }
    }

    pub(super) fn nodes(&self) -> &'a Nodes {
        self.nodes
    }

    fn at(&mut self, id: Id) -> Result<&mut Open, Fail> {
        self.open.get_mut(id).ok_or(Fail::Error(Error::NotExist))
    }

    pub(super) fn folder(&mut self, id: Id) -> Result<&mut Folder, Fail> {
        Ok(&mut self.at(id)?.folder)
    }

    /// The clean path of an open directory.
    pub(super) fn path(&self, id: Id) -> String {
        let mut names = Vec::new();
        let mut at = self.open.get(id);
        while let Some(Open { parent: Some((parent, name)), .. }) = at {
            names.push(String::from_utf8_lossy(name));
            at = self.open.get(*parent);
        }
        names.reverse();
        format!("/{}", names.join("/"))
    }

    /// The link of an entry; none when there is none.
    pub(super) fn link(&mut self, id: Id, name: &[u8]) -> Result<Option<PbLink>, Fail> {
        let nodes = self.nodes;
        self.folder(id)?.find(nodes, name)
    }

    /// What an entry is.
    pub(super) fn child(&mut self, id: Id, name: &[u8]) -> Result<Option<Found>, Fail> {
        if let Some(below) = self.at(id)?.below.get(name) {
            return Ok(Some(Found::Folder(*below)));
        }
        let Some(link) = self.link(id, name)? else { return Ok(None) };
        let name = Bytes::copy_from_slice(name);
        let entry = Entry { cid: link.cid.clone(), dag_size: link.size() };
        if link.cid.codec() == codec::RAW {
            return Ok(Some(Found::File(FileEntry { parent: id, name, entry, node: None })));
        }
        let node = self.nodes.get(&link.cid)?;
        match node.kind() {
            Kind::Directory | Kind::HamtShard => {
                let mut own = self.path(id);
                own = format!("{}/{}", own.trim_end_matches('/'), String::from_utf8_lossy(&name));
                let folder = Folder::read(&link.cid, &node, self.live.balance(&own))?;
                Ok(Some(Found::Folder(self.add_open(id, name, folder, entry)?)))
            }
            Kind::Metadata => Err(Error::Metadata.into()),
            Kind::Other(_) => Err(Error::InvalidChild.into()),
            Kind::File | Kind::Raw | Kind::Symlink => {
                Ok(Some(Found::File(FileEntry { parent: id, name, entry, node: Some(node) })))
            }
        }
    }

    fn add_open(
        &mut self,
        parent: Id,
        name: Bytes,
        folder: Folder,
        entry: Entry,
    ) -> Result<Id, Fail> {
        let id = self.open.len();
        self.at(parent)?.below.insert(name.clone(), id);
        let parent = Some((parent, name));
        self.open.push(Open { folder, parent, below: HashMap::new(), entry });
        Ok(id)
    }

    /// What a path leads to.
    pub(super) fn lookup(&mut self, path: &str) -> Result<Found, Fail> {
        let names = path::names(path);
        let mut at = Found::Folder(ROOT);
        for (i, name) in names.iter().enumerate() {
            let Found::Folder(id) = at else {
                let so_far = names.get(..=i).unwrap_or_default().join("/");
                return Err(Error::Access(so_far).into());
            };
            at = self.child(id, name.as_bytes())?.ok_or(Error::NotExist)?;
        }
        Ok(at)
    }

    /// The directory that a path leads to.
    pub(super) fn lookup_folder(&mut self, path: &str) -> Result<Id, Fail> {
        match self.lookup(path)? {
            Found::Folder(id) => Ok(id),
            Found::File(_) => Err(Error::NotDirectory(path.to_owned()).into()),
        }
    }

    /// Sets an entry, in place of one of the same name.
    pub(super) fn set(&mut self, id: Id, name: &[u8], entry: Entry) -> Result<(), Fail> {
        let place = self.place();
        let open = self.at(id)?;
        open.folder.set(&place, name, entry)?;
        if let Some(below) = open.below.remove(name)
            && let Some(below) = self.open.get_mut(below)
        {
            below.parent = None;
        }
        Ok(())
    }

    /// Adds an entry under a name that is free.
    pub(super) fn add(&mut self, id: Id, name: &[u8], entry: Entry) -> Result<(), Fail> {
        if self.link(id, name)?.is_some() {
            return Err(Error::Exists.into());
        }
        self.set(id, name, entry)
    }

    /// Adds an empty directory under a name that is free.
    pub(super) fn add_folder(&mut self, id: Id, name: &[u8], folder: Folder) -> Result<Id, Fail> {
        let mut written = Vec::new();
        let mut empty = Folder::new(folder.naming());
        let entry = empty.write(self.nodes, &mut written)?;
        self.set(id, name, entry.clone())?;
        self.add_open(id, Bytes::copy_from_slice(name), folder, entry)
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, id: Id, name: &[u8]) -> Result<(), Fail> {
        let place = self.place();
        let path =
            format!("{}/{}", self.path(id).trim_end_matches('/'), String::from_utf8_lossy(name));
        let open = self.at(id)?;
        if !open.folder.remove(&place, name)? {
            return Err(Error::NotExist.into());
        }
        if let Some(below) = open.below.remove(name)
            && let Some(below) = self.open.get_mut(below)
        {
            below.parent = None;
        }
        self.live.remove(&path);
        Ok(())
    }

    /// Sets an entry again to what it is, as boxo does when it flushes: it counts in a HAMT.
    pub(super) fn set_again(&mut self, id: Id, name: &[u8]) -> Result<(), Fail> {
        if !self.folder(id)?.is_sharded() {
            return Ok(());
        }
        let Some(link) = self.link(id, name)? else { return Ok(()) };
        let place = self.place();
        let entry = Entry { cid: link.cid.clone(), dag_size: link.size() };
        self.folder(id)?.set(&place, name, entry)
    }

    /// Adds a block that the new root needs.
    pub(super) fn put(&mut self, block: Block) {
        self.blocks.push(block);
    }

    /// Writes everything that has changed, children before parents.
    pub(super) fn write(mut self) -> Result<Written, Fail> {
        let mut blocks = std::mem::take(&mut self.blocks);
        let linked = self.linked();
        // Children were opened after their parents.
        for id in (0..self.open.len()).rev() {
            let is_changed = self.open.get(id).is_some_and(|open| open.folder.changed);
            if !is_changed || linked.get(id) != Some(&true) {
                continue;
            }
            let nodes = self.nodes;
            let open = self.at(id)?;
            let balance = open.folder.balance;
            let entry = open.folder.write(nodes, &mut blocks)?;
            open.entry = entry.clone();
            let parent = open.parent.clone();
            if balance != 0 || self.live.has_balances() {
                let path = self.path(id);
                self.live.set_balance(path, balance);
            }
            if let Some((parent, name)) = parent {
                let place = self.place();
                self.folder(parent)?.set(&place, &name, entry)?;
            }
        }
        let root = self.at(ROOT)?.entry.clone();
        Ok(Written { root, blocks })
    }

    /// Which of the open directories are still in the tree.
    fn linked(&self) -> Vec<bool> {
        let mut linked: Vec<bool> = Vec::with_capacity(self.open.len());
        for (id, open) in self.open.iter().enumerate() {
            let above = open.parent.as_ref().and_then(|(parent, _)| linked.get(*parent).copied());
            linked.push(above.unwrap_or(id == ROOT));
        }
        linked
    }

    /// The root of an open directory in which nothing has changed.
    pub(super) fn entry(&mut self, id: Id) -> Result<Entry, Fail> {
        Ok(self.at(id)?.entry.clone())
    }
}
