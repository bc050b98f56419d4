//! The directories of one top entry, with what Kubo does differently when nothing is stored.

use bytes::Bytes;

use super::{Error, Options};
use crate::ipld::Block;
use crate::unixfs::data::Stat;
use crate::unixfs::dir::{DirBuilder, DirOptions, Entry};
use crate::unixfs::settings::Settings;
use crate::unixfs::tree::{DirTree, Dirs, Finishing};

pub(super) struct Tree {
    tree: DirTree,
    /// The root cannot be finished when it has entries: see [`Tree::new`].
    unreadable: bool,
    /// How directories are named, until it is known that they can be.
    unchecked: Option<DirOptions>,
}

impl Tree {
    /// An empty tree.
    ///
    /// With `only-hash` Kubo knows no limits for the root directory; and a root with mode or time
    /// is kept where nothing can be read back, so that its first entry is not found.
    pub(super) fn new(settings: &Settings, options: &Options, stat: Stat, fanout: u16) -> Self {
        let unreadable = options.only_hash && !stat.is_empty();
        let root = if options.only_hash && !unreadable {
            DirOptions { links_max: 0, fanout, ..settings.dir }
        } else {
            settings.dir
        };
        let unchecked = Some(settings.dir);
        Self { tree: DirTree::new(root, settings.dir, stat), unreadable, unchecked }
    }

    pub(super) fn make_dir(&mut self, path: &str, stat: Stat) -> Result<(), Error> {
        // A directory begins as an empty one, which must have a CID before anything is in it.
        if let Some(options) = self.unchecked.take() {
            let empty = DirBuilder::new(options, stat);
            empty.finish(&mut Vec::new()).map_err(Error::failed)?;
        }
        let path = Bytes::copy_from_slice(path.as_bytes());
        self.tree.make_dir(&path, stat).map_err(Error::failed)
    }

    pub(super) fn put(&mut self, path: String, entry: Entry) -> Result<(), Error> {
        self.tree.put(&path.into(), entry).map_err(Error::failed)
    }

    pub(super) fn finish(self) -> FinishingTree {
        FinishingTree { finishing: self.tree.finish(), unreadable: self.unreadable }
    }
}

pub(super) struct FinishingTree {
    finishing: Finishing,
    unreadable: bool,
}

impl FinishingTree {
    /// Makes the blocks of the next directory; `false` when there is none left.
    pub(super) fn next_dir(&mut self, blocks: &mut Vec<Block>) -> Result<bool, Error> {
        if self.unreadable
            && self.finishing.only_root_left()
            && let Some(first) = self.finishing.first_entry()
        {
            return Err(Error::NotFound(first.cid));
        }
        self.finishing.next_dir(blocks).map_err(Error::failed)
    }

    /// The finished directories, the root last.
    pub(super) fn into_dirs(self) -> Dirs {
        self.finishing.into_dirs()
    }
}
