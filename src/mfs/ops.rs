//! The operations on directories and entries.

use std::sync::Arc;

use bytes::Bytes;

use super::error::Fail;
use super::folder::{Folder, with_permissions};
use super::read::Target;
use super::tree::{FileEntry, Found, Id, ROOT, Tree};
use super::{Error, Mfs, Naming, path};
use crate::ipld::{Block, PbLink, PbNode};
use crate::store::Session;
use crate::unixfs::data::{Data, Kind, Mtime};
use crate::unixfs::dir::Entry;
use crate::unixfs::read::Node;

/// How directories are made.
#[derive(Debug, Clone, Copy)]
pub struct NewFolder {
    /// How they are named.
    pub naming: Naming,
    /// Those around it are made, too, and one that is there already is no error.
    pub parents: bool,
}

/// What is set of a file or directory.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// Permission bits, and whether a raw block gets a mode even when there are none.
    Mode {
        permissions: u32,
        is_given: bool,
    },
    Mtime(Mtime),
}

impl Mfs {
    /// Makes a directory.
    ///
    /// # Errors
    /// When it is there already, or its parent is not.
    pub async fn make_folder(&self, path: &str, new: NewFolder, flush: bool) -> Result<(), Error> {
        self.edit(self.session(), |tree| make_folder(tree, path, new, flush)).await?;
        self.flush_if(flush).await
    }

    /// Makes the directory that a path is in.
    ///
    /// # Errors
    /// When something else is in its place.
    pub async fn make_parents(&self, path: &str, naming: Naming) -> Result<(), Error> {
        let parent = path::dir(path);
        if parent == "/" {
            return Ok(());
        }
        self.make_folder(&parent, NewFolder { naming, parents: true }, false).await
    }

    /// Removes the file at a path, if there is one.
    ///
    /// # Errors
    /// When something else is there.
    pub async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        self.edit(self.session(), |tree| {
            let (parent, name) = path::split(path);
            let id = match tree.lookup(parent) {
                Ok(Found::Folder(id)) => id,
                Ok(Found::File(_)) => {
                    return Err(Error::ParentOfReplaced(parent.to_owned()).into());
                }
                Err(Fail::Error(Error::NotExist)) => return Ok(()),
                Err(error) => return Err(error),
            };
            match tree.child(id, name.as_bytes())? {
                None => Ok(()),
                Some(Found::File(_)) => tree.remove(id, name.as_bytes()),
                Some(Found::Folder(_)) => Err(Error::Unreplaceable(path.to_owned()).into()),
            }
        })
        .await
    }

    /// Links a DAG into the tree. `session` keeps its root from the collector.
    ///
    /// # Errors
    /// When the name is taken, or the directory is not there.
    pub async fn put(&self, path: &str, entry: Entry, session: Arc<Session>) -> Result<(), Error> {
        self.edit(session, |tree| {
            let (parent, name) = path::split(path);
            if name.is_empty() {
                return Err(Error::EmptyName.into());
            }
            let id = tree.lookup_folder(parent)?;
            tree.add(id, name.as_bytes(), entry.clone())
        })
        .await
    }

    /// Moves an entry.
    ///
    /// # Errors
    /// When it is not there, or the name that it is to have is taken.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.edit(self.session(), |tree| rename(tree, from, to)).await
    }

    /// Removes an entry; with `recursive` a directory, too. With `force` whatever it is, and it is
    /// no error when it is not there.
    ///
    /// # Errors
    /// When it is not there, or a directory.
    pub async fn remove(&self, path: &str, recursive: bool, force: bool) -> Result<(), Error> {
        if path == "/" {
            return Err(Error::DeleteRoot);
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        self.edit(self.session(), |tree| {
            let removed = remove(tree, path, recursive, force);
            match removed {
                Err(Fail::Error(Error::NotExist)) if force => Ok(()),
                removed => removed,
            }
        })
        .await?;
        self.flush().await
    }

    /// Names a directory anew.
    ///
    /// # Errors
    /// When it is none.
    pub async fn name_folder(&self, path: &str, naming: Naming) -> Result<(), Error> {
        self.edit(self.session(), |tree| match tree.lookup(path)? {
            Found::Folder(id) => {
                tree.folder(id)?.rename(naming);
                Ok(())
            }
            Found::File(_) => Err(Error::OnlyDirectories.into()),
        })
        .await
    }

    /// Sets the permission bits; `is_given` says whether a mode was given at all.
    ///
    /// # Errors
    /// When there is nothing at the path.
    pub async fn set_mode(
        &self,
        path: &str,
        permissions: u32,
        is_given: bool,
    ) -> Result<(), Error> {
        self.change(path, Change::Mode { permissions, is_given }).await
    }

    /// Sets the modification time.
    ///
    /// # Errors
    /// When there is nothing at the path.
    pub async fn set_mtime(&self, path: &str, mtime: Mtime) -> Result<(), Error> {
        self.change(path, Change::Mtime(mtime)).await
    }

    async fn change(&self, path: &str, change: Change) -> Result<(), Error> {
        let _turn = self.0.writers.lock(&path::clean(path)).await;
        let store = self.0.exchange.store().clone();
        self.edit(self.session(), |tree| {
            let file = match tree.lookup(path)? {
                Found::Folder(id) => {
                    let folder = tree.folder(id)?;
                    match change {
                        Change::Mode { permissions, is_given } => {
                            folder.set_mode(permissions, is_given);
                        }
                        Change::Mtime(mtime) => folder.set_mtime(mtime),
                    }
                    return Ok(());
                }
                Found::File(file) => file,
            };
            let raw = match &file.node {
                Some(_) => None,
                None => {
                    let missing = || Fail::Missing(file.entry.cid.clone());
                    Some(store.get(&file.entry.cid)?.ok_or_else(missing)?)
                }
            };
            let (block, entry) = changed_file(&file, raw, change)?;
            tree.put(block);
            tree.set(file.parent, &file.name, entry)
        })
        .await?;
        self.flush().await
    }

    /// Flushes what is at a path, and gives its entry.
    ///
    /// # Errors
    /// When there is nothing at the path, or a symbolic link.
    pub async fn flush_path(&self, path: &str) -> Result<Entry, Error> {
        let target = self.target(path).await?;
        let entry = match target {
            Target::Folder(entry) => {
                self.edit(self.session(), |tree| {
                    let id = tree.lookup_folder(path)?;
                    let own = tree.path(id);
                    tree.live.flush(&own);
                    Ok(())
                })
                .await?;
                entry
            }
            Target::File { .. } => self.settle_file(path).await?,
        };
        self.flush().await?;
        Ok(entry)
    }
}

fn make_folder(tree: &mut Tree<'_>, path: &str, new: NewFolder, flush: bool) -> Result<(), Fail> {
    let mut names: Vec<&str> = path.split('/').collect();
    if names.first() == Some(&"") {
        names.remove(0);
    }
    if names.last() == Some(&"") {
        names.pop();
    }
    let Some((last, above)) = names.split_last() else {
        return if new.parents { Ok(()) } else { Err(Error::RootExists.into()) };
    };
    let mut id = ROOT;
    for (i, name) in above.iter().enumerate() {
        id = match tree.child(id, name.as_bytes())? {
            Some(Found::Folder(below)) => below,
            Some(Found::File(_)) => {
                let so_far = above.get(..i).unwrap_or_default().join("/");
                return Err(Error::WasNotDirectory(so_far).into());
            }
            None if new.parents => tree.add_folder(id, name.as_bytes(), Folder::new(new.naming))?,
            None => return Err(Error::NotExist.into()),
        };
    }
    match tree.child(id, last.as_bytes())? {
        None => {
            tree.add_folder(id, last.as_bytes(), Folder::new(new.naming))?;
        }
        Some(Found::Folder(_)) if new.parents => {}
        Some(_) => return Err(Error::FileExists.into()),
    }
    if flush {
        tree.set_again(id, last.as_bytes())?;
        let own = format!("{}/{last}", tree.path(id).trim_end_matches('/'));
        tree.live.flush(&own);
    }
    Ok(())
}

fn rename(tree: &mut Tree<'_>, from: &str, to: &str) -> Result<(), Fail> {
    let (from_parent, from_name) = path::split(from);
    let (to_parent, mut to_name) =
        if to.ends_with('/') { (to, from_name) } else { path::split(to) };
    let mut to_id = tree.lookup_folder(to_parent)?;
    let from_id = tree.lookup_folder(from_parent)?;
    let moved = match tree.child(from_id, from_name.as_bytes())?.ok_or(Error::NotExist)? {
        Found::Folder(id) => tree.entry(id)?,
        Found::File(file) => file.entry,
    };
    match tree.child(to_id, to_name.as_bytes())? {
        None => {}
        Some(Found::File(_)) => tree.remove(to_id, to_name.as_bytes())?,
        Some(Found::Folder(id)) => (to_id, to_name) = (id, from_name),
    }
    tree.add(to_id, to_name.as_bytes(), moved)?;
    // Boxo tells directories apart by their names alone: between two of the same name it copies.
    let own_name = |id: Id| tree.path(id).rsplit('/').next().unwrap_or_default().to_owned();
    if own_name(from_id) == own_name(to_id) && from_name == to_name {
        return Ok(());
    }
    tree.remove(from_id, from_name.as_bytes())
}

fn remove(tree: &mut Tree<'_>, path: &str, recursive: bool, force: bool) -> Result<(), Fail> {
    let (parent, name) = path::split(path);
    let Found::Folder(id) = tree.lookup(parent)? else {
        return Err(Error::ParentNotDirectory.into());
    };
    if !force {
        let child = tree.child(id, name.as_bytes())?.ok_or(Error::NotExist)?;
        if matches!(child, Found::Folder(_)) && !recursive {
            return Err(Error::IsDirectory.into());
        }
    }
    tree.remove(id, name.as_bytes())?;
    let own = tree.path(id);
    tree.live.flush(&own);
    Ok(())
}

/// A file with another mode or time. A raw block becomes a node, in boxo one of version 0.
fn changed_file(
    file: &FileEntry,
    raw: Option<Bytes>,
    change: Change,
) -> Result<(Block, Entry), Error> {
    let (naming, mut data, links) = match file.node.as_deref() {
        Some(Node::Pb { data, links }) => {
            (Naming::of(&file.entry.cid), data.clone(), links.clone())
        }
        _ => {
            let bytes = raw.unwrap_or_default();
            let file_size = Some(bytes.len() as u64);
            let data = Data { data: Some(bytes), file_size, ..Data::new(Kind::File) };
            (Naming::V0, data, Vec::new())
        }
    };
    match change {
        Change::Mode { permissions, is_given } if file.node.is_none() => {
            data.mode = is_given.then_some(permissions);
        }
        Change::Mode { permissions, .. } => {
            data.mode = with_permissions(data.mode, permissions);
        }
        Change::Mtime(mtime) => data.mtime = Some(mtime),
    }
    let below: u64 = links.iter().map(PbLink::size).sum();
    let block = naming.node(&PbNode { links, data: Some(data.encode().into()) })?;
    let dag_size = below + block.data.len() as u64;
    let entry = Entry { cid: block.cid.clone(), dag_size };
    Ok((block, entry))
}
