//! The entries of directories, and what their roots say of them.
//!
//! Entries come in batches; the roots of a few batches are read side by side on the blocking pool,
//! and nothing below them.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use super::blocking::blocking;
use super::fetch::{Ahead, Upcoming};
use super::{Error, Node, Reach};
use crate::ipld::{self, Cid, PbLink, codec};
use crate::store::Store;
use crate::unixfs::data::{Kind, Stat};
use crate::unixfs::read::{self, ListStep, Listing, ReadError};

/// Entries of one batch.
const BATCH_ENTRIES: usize = 256;
/// Batches under way.
const BATCHES_AHEAD: usize = 3;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Nobody has looked, or it is nothing of UnixFS.
    Unknown,
    /// A file, or a chunk of one.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// An entry of a directory, or a chunk of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; empty for a chunk.
    pub name: Bytes,
    /// Its root.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of the file.
    pub size: u64,
    /// Where the symbolic link points.
    pub target: Bytes,
    /// Mode and modification time.
    pub stat: Stat,
}

/// Where entries come from.
enum Source {
    Directory(Listing),
    /// The links of something else.
    Links(std::vec::IntoIter<PbLink>),
}

/// What one look at the source gave.
struct Batch {
    source: Source,
    links: Vec<PbLink>,
    end: End,
}

enum End {
    Full,
    Missing(Cid),
    Failed(Error),
    Done,
}

impl Node {
    /// What is in the directory at a path, or the links of what else is there. With `look`, the
    /// roots of the entries are read.
    ///
    /// # Errors
    /// When nothing is there.
    pub async fn list(
        &self,
        path: &str,
        look: bool,
        reach: Reach,
    ) -> Result<impl Stream<Item = Result<Vec<Entry>, Error>> + Send + use<>, Error> {
        let cid = self.resolve_text(path).await?.cid;
        let ahead = Ahead::new(self, reach);
        let block = ahead.get(&cid, Vec::new).await?;
        let source = source(&cid, &block)?;
        let (node, shards) = (self.clone(), ahead.clone());
        let batches = stream::unfold(Some(source), move |source| {
            let (node, ahead) = (node.clone(), shards.clone());
            async move { node.next_batch(source?, &ahead).await }
        });
        let node = self.clone();
        let entries = batches.map(move |links| {
            let (node, ahead) = (node.clone(), ahead.clone());
            async move { node.entries(links?, look, &ahead).await }
        });
        Ok(entries.buffered(BATCHES_AHEAD))
    }

    async fn next_batch(
        &self,
        mut source: Source,
        ahead: &Ahead,
    ) -> Option<(Result<Vec<PbLink>, Error>, Option<Source>)> {
        loop {
            let store = self.store().clone();
            let batch = match blocking(move || Ok(next_links(&store, source))).await {
                Ok(batch) => batch,
                Err(error) => return Some((Err(error), None)),
            };
            source = batch.source;
            match batch.end {
                End::Failed(error) if batch.links.is_empty() => return Some((Err(error), None)),
                End::Done if batch.links.is_empty() => return None,
                End::Done => return Some((Ok(batch.links), None)),
                End::Missing(shard) if batch.links.is_empty() => {
                    let Source::Directory(listing) = &mut source else { return None };
                    let upcoming = || {
                        let shards = listing.upcoming().take(BATCH_ENTRIES);
                        shards.map(Upcoming::alone).collect()
                    };
                    let block = ahead.get_below(&shard, upcoming).await;
                    let supplied =
                        block.and_then(|block| listing.supply(&block).map_err(Error::from));
                    if let Err(error) = supplied {
                        return Some((Err(error), None));
                    }
                }
                End::Full | End::Failed(_) | End::Missing(_) => {
                    return Some((Ok(batch.links), Some(source)));
                }
            }
        }
    }

    async fn entries(
        &self,
        links: Vec<PbLink>,
        look: bool,
        ahead: &Ahead,
    ) -> Result<Vec<Entry>, Error> {
        if !look {
            return Ok(links.into_iter().map(|link| unseen(link).0).collect());
        }
        let store = self.store().clone();
        let (mut entries, missing, failed) = blocking(move || Ok(see(&store, links))).await?;
        let wanted = missing.iter().filter_map(|at| entries.get(*at));
        let mut named: Vec<Upcoming> = wanted.map(|entry| Upcoming::alone(&entry.cid)).collect();
        for at in missing {
            let Some(entry) = entries.get_mut(at) else { continue };
            let block = ahead.get(&entry.cid, || std::mem::take(&mut named)).await?;
            describe(entry, &block)?;
        }
        failed.map_or(Ok(entries), Err)
    }
}

/// What a root lists.
fn source(cid: &Cid, block: &Bytes) -> Result<Source, Error> {
    if cid.codec() != codec::DAG_PB {
        let links = ipld::links(cid.codec(), block)?;
        let links = links.into_iter().map(|cid| PbLink { cid, name: None, tsize: None });
        return Ok(Source::Links(links.collect::<Vec<_>>().into_iter()));
    }
    let root = read::Node::decode(cid, block)?;
    match Listing::new(&root) {
        Ok(listing) => Ok(Source::Directory(listing)),
        Err(ReadError::NotDirectory) => match root {
            read::Node::Pb { links, .. } => Ok(Source::Links(links.into_iter())),
            read::Node::Raw(_) => Ok(Source::Links(Vec::new().into_iter())),
        },
        Err(error) => Err(error.into()),
    }
}

fn next_links(store: &Store, mut source: Source) -> Batch {
    let mut links = Vec::with_capacity(BATCH_ENTRIES);
    let end = loop {
        if links.len() >= BATCH_ENTRIES {
            break End::Full;
        }
        match &mut source {
            Source::Links(rest) => match rest.next() {
                Some(link) => links.push(link),
                None => break End::Done,
            },
            Source::Directory(listing) => match listing.step() {
                ListStep::Entry(link) => links.push(link),
                ListStep::Done => break End::Done,
                ListStep::Need(shard) => {
                    let supplied = match store.get(&shard) {
                        Ok(Some(block)) => listing.supply(&block).map_err(Error::from),
                        Ok(None) => break End::Missing(shard),
                        Err(error) => Err(error.into()),
                    };
                    if let Err(error) = supplied {
                        break End::Failed(error);
                    }
                }
            },
        }
    };
    Batch { source, links, end }
}

/// An entry of which only the link has been seen, and whether its root says more.
fn unseen(link: PbLink) -> (Entry, bool) {
    let is_raw = link.cid.codec() == codec::RAW;
    let (kind, size) =
        if is_raw { (EntryKind::File, link.size()) } else { (EntryKind::Unknown, 0) };
    let is_more = link.cid.codec() == codec::DAG_PB;
    let (name, target) = (link.name.unwrap_or_default(), Bytes::new());
    (Entry { name, cid: link.cid, kind, size, target, stat: Stat::default() }, is_more)
}

/// The entries up to the first that fails, which of them are not here, and that failure.
fn see(store: &Store, links: Vec<PbLink>) -> (Vec<Entry>, Vec<usize>, Option<Error>) {
    let (mut entries, mut missing) = (Vec::with_capacity(links.len()), Vec::new());
    for link in links {
        let (mut entry, is_more) = unseen(link);
        if is_more {
            let described = match store.get(&entry.cid) {
                Ok(Some(block)) => describe(&mut entry, &block),
                Ok(None) => {
                    missing.push(entries.len());
                    Ok(())
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = described {
                return (entries, missing, Some(error));
            }
        }
        entries.push(entry);
    }
    (entries, missing, None)
}

fn describe(entry: &mut Entry, block: &Bytes) -> Result<(), Error> {
    let root = read::Node::decode(&entry.cid, block)?;
    entry.kind = match root.kind() {
        Kind::Raw | Kind::File => EntryKind::File,
        Kind::Directory | Kind::HamtShard | Kind::Metadata => EntryKind::Directory,
        Kind::Symlink => EntryKind::Symlink,
        Kind::Other(_) => EntryKind::Unknown,
    };
    entry.size = root.size();
    entry.target = root.symlink_target().unwrap_or_default();
    entry.stat = root.stat();
    Ok(())
}
