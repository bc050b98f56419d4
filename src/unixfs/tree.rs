//! A tree of directories while it is imported: paths in, directory blocks out.
//!
//! Responsible for what the paths of one import mean: which directories they imply, which names
//! collide, what each directory looks like in the end, and in which order directories are
//! reported. Not for files: their roots are put in. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::data::Stat;
use super::dir::{DirBuilder, DirOptions, Entry};
use super::import::ImportError;
use crate::ipld::{Block, Cid};

/// Directories above one entry: no file system allows as many.
const DEPTH_MAX: usize = 4096;

/// Why a path cannot be put into the tree. The texts are Kubo's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The name is taken.
    #[error("directory already has entry by that name")]
    Exists,
    /// A file has the name of a directory to be made.
    #[error("file already exists")]
    FileExists,
    /// A file has the name of a directory on the way.
    #[error("{0} was not a directory")]
    NotDirectory(String),
    /// A directory without a name.
    #[error("no path given to Mkdir")]
    NoPath,
    /// No name.
    #[error("cannot create file with empty name")]
    EmptyName,
    /// More directories than any file system allows.
    #[error("path too deep: more than {DEPTH_MAX} directories")]
    TooDeep,
}

#[derive(Debug)]
struct Dir {
    builder: DirBuilder,
    /// Directories in it, by name.
    children: BTreeMap<Bytes, usize>,
    /// The directory that it is in, and its name there.
    parent: Option<(usize, Bytes)>,
    /// Its root, once finished.
    entry: Option<Entry>,
    /// The directories in it in the order of its links, once finished.
    order: Vec<(Bytes, usize)>,
}

impl Dir {
    fn new(options: DirOptions, stat: Stat, parent: Option<(usize, Bytes)>) -> Self {
        Self {
            builder: DirBuilder::new(options, stat),
            children: BTreeMap::new(),
            parent,
            entry: None,
            order: Vec::new(),
        }
    }
}

/// The tree. Directory 0 is its root; a directory comes after the one that it is in.
#[derive(Debug)]
pub struct DirTree {
    options: DirOptions,
    dirs: Vec<Dir>,
    /// The directory of the last path: most paths follow one from the same directory.
    last: (Bytes, usize),
}

impl DirTree {
    /// A tree with an empty root. The root may have limits of its own.
    #[must_use]
    pub fn new(root: DirOptions, options: DirOptions, stat: Stat) -> Self {
        Self { options, dirs: vec![Dir::new(root, stat, None)], last: (Bytes::new(), 0) }
    }

    /// Makes a directory, and those on the way without mode and time. One that is there stays as
    /// it is.
    ///
    /// # Errors
    /// When a file is in the way, or it has no name.
    pub fn make_dir(&mut self, path: &Bytes, stat: Stat) -> Result<(), TreeError> {
        if path.is_empty() {
            return Err(TreeError::NoPath);
        }
        self.dir_at(path, stat).map(|_| ())
    }

    /// Puts a file or symlink at a path.
    ///
    /// # Errors
    /// When the name is taken, or a file is in the way.
    pub fn put(&mut self, path: &Bytes, entry: Entry) -> Result<(), TreeError> {
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (dir, name) = match split {
            Some(at) => (path.slice(..at), path.slice(at + 1..)),
            None => (Bytes::new(), path.clone()),
        };
        if name.is_empty() {
            return Err(TreeError::EmptyName);
        }
        let index = if dir == self.last.0 { self.last.1 } else { self.dir_on_the_way(&dir)? };
        self.last = (dir, index);
        let Some(dir) = self.dirs.get_mut(index) else { return Err(TreeError::EmptyName) };
        if dir.children.contains_key(&name) || dir.builder.get(&name).is_some() {
            return Err(TreeError::Exists);
        }
        dir.builder.insert(name, entry);
        Ok(())
    }

    fn dir_on_the_way(&mut self, path: &Bytes) -> Result<usize, TreeError> {
        self.dir_at(path, Stat::default())
    }

    fn dir_at(&mut self, path: &Bytes, stat: Stat) -> Result<usize, TreeError> {
        let mut index = 0;
        let mut start = 0;
        let mut depth = 0;
        while start < path.len() {
            let rest = path.slice(start..);
            let len = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let end = start + len;
            let is_last = end >= path.len();
            let name = rest.slice(..len);
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(TreeError::TooDeep);
            }
            let stat = if is_last { stat } else { Stat::default() };
            index = self.child_dir(index, name, stat).ok_or_else(|| {
                if is_last {
                    return TreeError::FileExists;
                }
                // Kubo names the path before the file, not the file.
                let before = path.slice(..start.saturating_sub(1));
                TreeError::NotDirectory(String::from_utf8_lossy(&before).into_owned())
            })?;
            start = end + 1;
        }
        Ok(index)
    }

    /// The directory of this name in another, made if need be; `None` if a file has the name.
    fn child_dir(&mut self, parent: usize, name: Bytes, stat: Stat) -> Option<usize> {
        let made = self.dirs.len();
        let dir = self.dirs.get_mut(parent)?;
        if let Some(child) = dir.children.get(&name) {
            return Some(*child);
        }
        if dir.builder.get(&name).is_some() {
            return None;
        }
        dir.children.insert(name.clone(), made);
        self.dirs.push(Dir::new(self.options, stat, Some((parent, name))));
        Some(made)
    }

    /// Ends the tree. Blocks come from [`Finishing::next_dir`].
    #[must_use]
    pub fn finish(self) -> Finishing {
        let left = self.dirs.len();
        Finishing { dirs: self.dirs, left }
    }
}

/// A tree whose directories become blocks, innermost first.
#[derive(Debug)]
pub struct Finishing {
    dirs: Vec<Dir>,
    left: usize,
}

impl Finishing {
    /// Makes the blocks of the next directory; `false` when there is none left.
    ///
    /// # Errors
    /// When a block cannot be made.
    pub fn next_dir(&mut self, out: &mut Vec<Block>) -> Result<bool, ImportError> {
        let Some(index) = self.left.checked_sub(1) else { return Ok(false) };
        self.left = index;
        let options = DirOptions::default();
        let Some(dir) = self.dirs.get_mut(index) else { return Ok(false) };
        let builder = DirBuilder::new(options, Stat::default());
        let builder = std::mem::replace(&mut dir.builder, builder);
        let mut order: Vec<(Bytes, usize)> =
            std::mem::take(&mut dir.children).into_iter().collect();
        if builder.is_sharded() {
            order.sort_by_cached_key(|(name, _)| super::hamt::hash(name));
        }
        dir.order = order;
        let entry = builder.finish(out)?;
        dir.entry = Some(entry.clone());
        if let Some((parent, name)) = dir.parent.clone()
            && let Some(parent) = self.dirs.get_mut(parent)
        {
            parent.builder.insert(name, entry);
        }
        Ok(true)
    }

    /// The first entry of the root in the order of its links. Only before the root is finished.
    #[must_use]
    pub fn first_entry(&self) -> Option<Entry> {
        let root = self.dirs.first()?;
        let names = root.builder.names_in_link_order();
        root.builder.get(names.first()?).cloned()
    }

    /// Whether the root is all that is left to be made.
    #[must_use]
    pub fn only_root_left(&self) -> bool {
        self.left == 1
    }

    /// The root, once finished.
    #[must_use]
    pub fn root(&self) -> Option<&Entry> {
        self.dirs.first()?.entry.as_ref()
    }

    /// The finished directories, those inside before the one around them, the root last.
    #[must_use]
    pub fn into_dirs(self) -> Dirs {
        Dirs { dirs: self.dirs, path: Vec::new(), open: Vec::new(), begun: false }
    }
}

/// A directory as it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedDir {
    /// Below the root, which has the empty path.
    pub path: Bytes,
    /// Its root.
    pub cid: Cid,
    /// Length of all its blocks.
    pub dag_size: u64,
}

/// Iterator over the finished directories of a tree.
#[derive(Debug)]
pub struct Dirs {
    dirs: Vec<Dir>,
    path: Vec<u8>,
    /// Open directories: index, how many children were visited, length of the path around it.
    open: Vec<(usize, usize, usize)>,
    begun: bool,
}

impl Iterator for Dirs {
    type Item = FinishedDir;

    fn next(&mut self) -> Option<FinishedDir> {
        if !self.begun {
            self.begun = true;
            self.open.push((0, 0, 0));
        }
        loop {
            let (index, visited, around) = self.open.last_mut()?;
            let dir = self.dirs.get(*index)?;
            if let Some((name, child)) = dir.order.get(*visited) {
                *visited += 1;
                let len = self.path.len();
                if len > 0 {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name);
                self.open.push((*child, 0, len));
                continue;
            }
            let path = Bytes::copy_from_slice(&self.path);
            self.path.truncate(*around);
            self.open.pop();
            let Entry { cid, dag_size } = dir.entry.clone()?;
            return Some(FinishedDir { path, cid, dag_size });
        }
    }
}
