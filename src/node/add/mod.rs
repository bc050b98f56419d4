//! `add`: files and directories become blocks, and their roots are pinned.
//!
//! Responsible for what one call of `add` does, entry by entry, and for the order of its events.
//! Not for how entries reach it: they come from a [`Source`]. All state belongs to the returned
//! stream: dropping it ends the work, and what was stored without being pinned is garbage. A crash
//! leaves every committed pin with all its blocks, and nothing else that matters.

mod hashing;
mod link;
mod options;
mod progress;
mod tree;
mod writer;

#[cfg(test)]
mod tests;

pub use options::Options;

use std::task::Poll;

use bytes::Bytes;
use futures_util::Stream;

use self::hashing::Hashing;
use self::progress::Progress;
use self::tree::Tree;
use self::writer::Writer;
use super::produce::{Sink, produce};
use super::{Error, Node};
use crate::ipld::{Block, Cid, hash};
use crate::unixfs::chunk::Chunks;
use crate::unixfs::data::{Mtime, Stat};
use crate::unixfs::dir::{DirBuilder, Entry as DirEntry};
use crate::unixfs::import::{FileBuilder, ImportError, symlink};
use crate::unixfs::settings::{EntryStat, Settings};

/// Events that may be ahead of the reader.
const EVENTS_AHEAD: usize = 64;

/// What kind of entry it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file; [`Source::chunk`] reads it.
    File,
    /// A directory; the deeper entries that follow are in it.
    Directory,
    /// A symbolic link and its target.
    Symlink(String),
}

/// An entry to be added.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The path from the top, `/` between names. An unnamed file has an empty one.
    pub path: String,
    /// How many directories it is in.
    pub depth: usize,
    /// What it is.
    pub kind: Kind,
    /// What it says of its mode and time.
    pub stat: EntryStat,
    /// Whether the client said where the file is on its disk.
    pub has_disk_path: bool,
}

/// Where entries come from, depth first, directories before what is in them.
pub trait Source: Send {
    /// The next entry. What is left of the current file is skipped.
    fn next(&mut self) -> impl Future<Output = Result<Option<Entry>, Error>> + Send;
    /// The next bytes of the current file, `None` at its end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;
}

/// What has happened to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// The finished DAG and its size; none while the entry is being read.
    pub root: Option<(Cid, u64)>,
    /// Bytes read so far.
    pub bytes: u64,
    /// What the top entry said of its mode, as Go's `os.FileMode`.
    pub mode: u32,
    /// What it said of its time.
    pub mtime: Option<Mtime>,
}

impl Node {
    /// Adds what comes from `source`. Each top entry is stored and pinned on its own; the stream
    /// ends when the last pin is durable.
    pub fn add<S: Source + 'static>(
        &self,
        options: Options,
        source: S,
    ) -> impl Stream<Item = Result<Event, Error>> + Send + use<S> {
        let node = self.clone();
        produce(EVENTS_AHEAD, move |events| async move {
            let writer = Writer::new(&node, &options);
            let mut adder =
                Adder { node, options, source, events, writer, top: Top::default(), linked: 0 };
            let done = adder.run().await;
            // What came before a failure was added all the same.
            let committed = adder.writer.commit().await;
            let linked = adder.flush_links().await;
            done.and(committed).and(linked)?;
            adder.node.wait_held(adder.writer.pinned(), adder.options.wait).await
        })
    }
}

/// The top entry that is being added: what its events have in common.
#[derive(Debug, Default)]
struct Top {
    name: String,
    /// It is no directory: all its events carry its name.
    single: bool,
    stat: EntryStat,
    /// Its root, once finished.
    root: Option<DirEntry>,
}

impl Top {
    fn event(&self, path: &str) -> Event {
        let name = match (self.name.as_str(), path) {
            ("", path) => path.to_owned(),
            (name, _) if self.single => name.to_owned(),
            (name, "") => name.to_owned(),
            (name, path) => format!("{name}/{path}"),
        };
        Event { name, root: None, bytes: 0, mode: self.stat.mode, mtime: self.stat.mtime }
    }
}

struct Adder<S> {
    node: Node,
    options: Options,
    source: S,
    events: Sink<Event>,
    writer: Writer,
    top: Top,
    /// Roots that have been linked into the mutable file system.
    linked: u64,
}

impl<S: Source> Adder<S> {
    async fn run(&mut self) -> Result<(), Error> {
        if self.options.wrap {
            let settings = self.settings()?;
            let first = self.next_entry().await?;
            return self.directory(&settings, first, 0).await.map(|_| ());
        }
        let mut next = self.next_entry().await?;
        if next.is_none() {
            return Err(Error::failed("expected a file argument"));
        }
        let settings = self.settings()?;
        while let Some(entry) = next {
            let single = entry.kind != Kind::Directory;
            self.top = Top { name: entry.path.clone(), single, stat: entry.stat, root: None };
            if single {
                self.single(&settings, entry).await?;
                self.link().await?;
                next = self.next_entry().await?;
            } else {
                let first = self.next_entry().await?;
                next = self.directory(&settings, first, 1).await?;
                self.link().await?;
            }
        }
        Ok(())
    }

    /// What the blocks depend on; an error only once there is something to add.
    fn settings(&self) -> Result<Settings, Error> {
        let settings = self.options.settings(&self.node)?;
        // Where nothing is stored, an empty directory is named before anything is read.
        if self.options.only_hash {
            hash::digest(settings.import.cid.hash, b"", None).map_err(Error::failed)?;
        }
        Ok(settings)
    }

    /// The next entry. While the client takes its time, what is complete is made durable.
    async fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if !self.writer.has_pins() {
            return self.source.next().await;
        }
        let mut next = std::pin::pin!(self.source.next());
        if let Poll::Ready(entry) = futures_util::poll!(&mut next) {
            return entry;
        }
        self.writer.commit().await?;
        next.await
    }

    /// A top entry that is no directory.
    async fn single(&mut self, settings: &Settings, entry: Entry) -> Result<(), Error> {
        let added = self.leaf(settings, &entry, "").await?;
        // The directory in which an unwrapped file passes through Kubo: stored beside it, under the
        // file's CID as its name, and not pinned.
        let mut name = added.cid.to_string();
        if settings.import.cid.hash == hash::IDENTITY && !entry.path.is_empty() {
            name = entry.path;
        }
        let mut dir = DirBuilder::new(settings.dir, Stat::default());
        dir.insert(name.into(), added.clone());
        let mut blocks = Vec::new();
        dir.finish(&mut blocks).map_err(Error::failed)?;
        self.writer.put(&mut blocks).await?;
        self.top.root = Some(added.clone());
        self.writer.pin(added.cid).await
    }

    /// A top directory, or the one around everything: its entries are those at `depth` and deeper.
    /// Returns the first entry that is not.
    async fn directory(
        &mut self,
        settings: &Settings,
        first: Option<Entry>,
        depth: usize,
    ) -> Result<Option<Entry>, Error> {
        let stat = settings.stat(self.top.stat);
        let mut tree = Tree::new(settings, &self.options, stat, self.node.import_fanout());
        let mut next = first;
        while let Some(entry) = next.take_if(|entry| entry.depth >= depth) {
            // The name of the top entry, if it has one, is not part of the paths in it.
            let inside = entry.path.strip_prefix(self.top.name.as_str());
            let path = inside.unwrap_or(&entry.path).trim_start_matches('/').to_owned();
            if entry.kind == Kind::Directory {
                let following = self.next_entry().await?;
                let empty = following.as_ref().is_none_or(|next| next.depth <= entry.depth);
                if !empty || self.options.empty_dirs {
                    tree.make_dir(&path, settings.stat(entry.stat))?;
                }
                next = following;
                continue;
            }
            let added = self.leaf_of_tree(settings, &entry, &path, &mut tree).await?;
            self.file_event(&path, &added).await;
            next = self.next_entry().await?;
        }
        self.finish_directory(tree).await?;
        Ok(next)
    }

    async fn leaf_of_tree(
        &mut self,
        settings: &Settings,
        entry: &Entry,
        path: &str,
        tree: &mut Tree,
    ) -> Result<DirEntry, Error> {
        let added = self.root_of(settings, entry, path).await?;
        let name = if path.is_empty() { added.cid.to_string() } else { path.to_owned() };
        tree.put(name, added.clone())?;
        Ok(added)
    }

    /// A file or symlink at the top, with its event.
    async fn leaf(
        &mut self,
        settings: &Settings,
        entry: &Entry,
        path: &str,
    ) -> Result<DirEntry, Error> {
        let added = self.root_of(settings, entry, path).await?;
        self.file_event(path, &added).await;
        Ok(added)
    }

    async fn file_event(&mut self, path: &str, added: &DirEntry) {
        if self.options.silent {
            return;
        }
        // What has no name goes by its CID.
        let unnamed = if path.is_empty() { added.cid.to_string() } else { path.to_owned() };
        let root = Some((added.cid.clone(), added.dag_size));
        self.events.send(Event { root, ..self.top.event(&unnamed) }).await;
    }

    async fn root_of(
        &mut self,
        settings: &Settings,
        entry: &Entry,
        path: &str,
    ) -> Result<DirEntry, Error> {
        let stat = settings.stat(entry.stat);
        if let Kind::Symlink(target) = &entry.kind {
            let stat = Stat { mode: None, ..stat };
            let target = Bytes::copy_from_slice(target.as_bytes());
            let block = symlink(&settings.import.cid, target, stat).map_err(Error::failed)?;
            let added = DirEntry { cid: block.cid.clone(), dag_size: block.data.len() as u64 };
            self.writer.put(&mut vec![block]).await?;
            return Ok(added);
        }
        let wrong = |error: ImportError| self::leaf_error(error, settings, &self.options);
        settings.chunker.as_ref().map_err(Error::failed)?;
        self.options.check_references(entry.has_disk_path)?;
        let mut chunks = Chunks::new(&settings.import.chunker);
        let mut builder = FileBuilder::new(settings.import);
        let mut hashing = Hashing::new(settings.import);
        let mut progress = Progress::new(&settings.import.chunker);
        let mut blocks: Vec<Block> = Vec::new();
        let mut last = None;
        while let Some(bytes) = self.source.chunk().await? {
            if self.options.progress {
                for at in progress.read(bytes.len() as u64) {
                    self.events.send(Event { bytes: at, ..self.top.event(path) }).await;
                }
            }
            chunks.push(bytes).map_err(Error::failed)?;
            while let Some(chunk) = chunks.next_chunk().map_err(Error::failed)? {
                progress.cut(chunk.len());
                hashing.push(chunk);
                while let Some(leaves) = hashing.next_full().await {
                    last = build(&mut builder, leaves.map_err(wrong)?, &mut blocks)?.or(last);
                    self.writer.put(&mut blocks).await?;
                }
            }
        }
        if let Some(chunk) = chunks.finish() {
            progress.cut(chunk.len());
            hashing.push(chunk);
        }
        if self.options.progress {
            for _ in 0..progress.reports_at_end(&settings.import) {
                self.events.send(Event { bytes: progress.total(), ..self.top.event(path) }).await;
            }
        }
        while let Some(leaves) = hashing.next().await {
            last = build(&mut builder, leaves.map_err(wrong)?, &mut blocks)?.or(last);
            self.writer.put(&mut blocks).await?;
        }
        let root = builder.finish(stat, last.as_ref()).map_err(wrong)?;
        blocks.extend(root.blocks);
        self.writer.put(&mut blocks).await?;
        Ok(DirEntry { cid: root.root.cid, dag_size: root.root.dag_size })
    }

    async fn finish_directory(&mut self, tree: Tree) -> Result<(), Error> {
        let mut finishing = tree.finish();
        let mut blocks = Vec::new();
        while finishing.next_dir(&mut blocks)? {
            self.writer.put(&mut blocks).await?;
        }
        for dir in finishing.into_dirs() {
            let path = String::from_utf8_lossy(&dir.path).into_owned();
            let root = Some((dir.cid.clone(), dir.dag_size));
            self.events.send(Event { root, ..self.top.event(&path) }).await;
            if path.is_empty() {
                let cid = dir.cid.clone();
                self.top.root = Some(DirEntry { cid, dag_size: dir.dag_size });
                self.writer.pin(dir.cid).await?;
            }
        }
        Ok(())
    }
}

/// Adds leaves to the tree of a file; returns the last.
fn build(
    builder: &mut FileBuilder,
    leaves: Vec<crate::unixfs::import::Leaf>,
    blocks: &mut Vec<Block>,
) -> Result<Option<Block>, Error> {
    let mut last = None;
    for leaf in leaves {
        builder.push(leaf.subtree(), blocks).map_err(Error::failed)?;
        last = Some(leaf.block.clone());
        blocks.push(leaf.block);
    }
    Ok(last)
}

/// Kubo wraps the error of a leaf that cannot be named, but for nodes whose hash function it has
/// checked before.
fn leaf_error(error: ImportError, settings: &Settings, options: &Options) -> Error {
    let unknown = matches!(error, ImportError::Hash(hash::HashError::Unknown(_)));
    let unchecked = settings.import.raw_leaves || options.requested.inline;
    if unknown && unchecked && !options.only_hash {
        return Error::failed(format!("invalid cid: {error}"));
    }
    Error::failed(error)
}
