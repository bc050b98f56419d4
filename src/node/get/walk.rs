//! The entries of a tar archive: a directory, then what is in it, depth first in link order.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::super::blocking::blocking;
use super::super::fetch::{Ahead, Upcoming};
use super::super::file::{Directory, File, Look, Opened, look};
use super::super::{Error, Node};
use super::pack::Pack;
use crate::ipld::quote::quote;
use crate::ipld::{Cid, PbLink};
use crate::store::Store;
use crate::tar::{self, Format, Kind};
use crate::unixfs::data::{Mtime, Stat};
use crate::unixfs::read::{ListStep, Listing, ReadError};

/// Entries opened ahead in one go, and the bytes of their roots, about.
const AHEAD_ENTRIES: usize = 64;
const AHEAD_BYTES: usize = 512 * 1024;
/// Directories one inside the other; no file system takes half as many.
const DEPTH_MAX: usize = 4096;
/// Entries that a directory names at a time, to be fetched.
const NAMED_MAX: usize = 1024;
/// Links that the open directories may hold together, and symbolic links seen in them.
const LINKS_MAX: usize = 1 << 20;

/// Why an entry is not written.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("relative UnixFS paths outside the root are not allowed, use CAR instead")]
    OutsideRoot,
    #[error("directory entry {} cannot be unpacked: it is no name of a file", quote(.0))]
    NoName(Bytes),
    #[error("directory entry {} cannot be unpacked: a symbolic link is in its place", quote(.0))]
    BehindSymlink(Bytes),
    #[error("directory too deep: more than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("directories on the way to {} hold too many links", quote(.0))]
    TooWide(Vec<u8>),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::failed(refusal)
    }
}

/// A directory whose entries are being written.
struct Frame {
    /// Length of its path.
    path_len: usize,
    /// `None` while it is being read on another thread.
    listing: Option<Listing>,
    /// Entries that were taken from the listing and not written yet.
    waiting: VecDeque<PbLink>,
    /// Keyed hashes of the names of its symbolic links.
    symlinks: HashSet<u64>,
}

/// An archive being written.
pub(super) struct Walk {
    node: Node,
    format: Format,
    ahead: Ahead,
    /// The path of the entry that is being written.
    path: Vec<u8>,
    root_len: usize,
    frames: Vec<Frame>,
    /// Entries of the innermost directory, opened; one that is not here is `None`.
    opened: VecDeque<(PbLink, Result<Option<Opened>, Error>)>,
    hasher: RandomState,
}

impl Walk {
    /// An archive whose root has this name.
    pub(super) fn new(node: Node, format: Format, ahead: Ahead, name: Vec<u8>) -> Self {
        let (root_len, hasher) = (name.len(), RandomState::new());
        let (frames, opened) = (Vec::new(), VecDeque::new());
        Self { node, format, ahead, path: name, root_len, frames, opened, hasher }
    }

    /// Writes the entries of `root` and everything below it.
    pub(super) async fn run(mut self, root: Opened, pack: &mut Pack) -> Result<(), Error> {
        self.entry(root, pack).await?;
        while let Some(frame) = self.frames.last() {
            self.path.truncate(frame.path_len);
            if self.opened.is_empty() {
                self.open_ahead().await?;
            }
            let Some((link, opened)) = self.opened.pop_front() else {
                self.frames.pop();
                continue;
            };
            let opened = match opened? {
                Some(opened) => opened,
                None => {
                    let ahead = self.ahead.clone();
                    self.node.open(&link.cid, &ahead, || self.upcoming()).await?
                }
            };
            self.enter_name(&link.name.unwrap_or_default(), &opened)?;
            self.entry(opened, pack).await?;
        }
        Ok(())
    }

    /// Appends a name to the path, if it may stand there.
    fn enter_name(&mut self, name: &Bytes, opened: &Opened) -> Result<(), Error> {
        if matches!(&name[..], b"" | b"." | b"..") || name.contains(&b'/') {
            let root = self.path.get(..self.root_len).unwrap_or_default();
            let leaves = !clean_join(&self.path, name).starts_with(root);
            let name = name.clone();
            return Err(if leaves { Refusal::OutsideRoot } else { Refusal::NoName(name) }.into());
        }
        let held: usize = self.frames.iter().map(|frame| frame.symlinks.len()).sum();
        let hash = self.hasher.hash_one(name);
        if let Some(frame) = self.frames.last_mut() {
            if frame.symlinks.contains(&hash) {
                return Err(Refusal::BehindSymlink(name.clone()).into());
            }
            if matches!(opened, Opened::Symlink { .. }) {
                frame.symlinks.insert(hash);
            }
        }
        if held > LINKS_MAX {
            return Err(Refusal::TooWide(self.path.clone()).into());
        }
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        Ok(())
    }

    /// Writes the entry at the current path; a directory is entered.
    async fn entry(&mut self, opened: Opened, pack: &mut Pack) -> Result<(), Error> {
        match opened {
            Opened::File(file) => self.file(file, pack).await,
            Opened::Symlink { target, stat } => {
                self.header(Kind::Symlink { target: &target }, 0o777, stat, pack).await
            }
            Opened::Directory(directory) => {
                let mode = directory.stat.mode.unwrap_or(0o755);
                self.header(Kind::Directory, mode, directory.stat, pack).await?;
                self.enter(directory)
            }
        }
    }

    fn enter(&mut self, Directory { listing, .. }: Directory) -> Result<(), Error> {
        // What is opened ahead belongs to the directory outside: it is opened again later.
        let waiting = std::mem::take(&mut self.opened).into_iter().map(|(link, _)| link);
        if let Some(outer) = self.frames.last_mut() {
            let rest = std::mem::take(&mut outer.waiting);
            outer.waiting = waiting.chain(rest).collect();
        }
        if self.frames.len() >= DEPTH_MAX {
            return Err(Refusal::TooDeep.into());
        }
        let listing = Some(listing);
        let (waiting, symlinks) = (VecDeque::new(), HashSet::new());
        self.frames.push(Frame { path_len: self.path.len(), listing, waiting, symlinks });
        let held =
            |frame: &Frame| frame.waiting.len() + frame.listing.as_ref().map_or(0, Listing::held);
        if self.frames.iter().map(held).sum::<usize>() > LINKS_MAX {
            return Err(Refusal::TooWide(self.path.clone()).into());
        }
        Ok(())
    }

    async fn file(&mut self, file: File, pack: &mut Pack) -> Result<(), Error> {
        let size = file.size();
        let mode = file.stat.mode.unwrap_or(0o644);
        self.header(Kind::File { size }, mode, file.stat, pack).await?;
        let mut bytes = file.read(&self.node, 0..u64::MAX, &self.ahead)?;
        let mut written = 0;
        while let Some(piece) = bytes.next().await {
            let piece = piece?;
            written += piece.len() as u64;
            pack.push(piece).await?;
        }
        if written != size {
            let (cid, announced, actual) = (file.cid().clone(), size, written);
            return Err(ReadError::Size { cid, announced, actual }.into());
        }
        pack.pad(tar::padding(size));
        Ok(())
    }

    async fn header(
        &self,
        kind: Kind<'_>,
        mode: u32,
        stat: Stat,
        pack: &mut Pack,
    ) -> Result<(), Error> {
        let mtime =
            stat.mtime.map_or_else(now, |Mtime { seconds, nanoseconds }| (seconds, nanoseconds));
        let entry = tar::Entry { path: &self.path, mode, mtime, kind };
        pack.append(|out| tar::append_header(&entry, self.format, out)).await
    }

    /// What is written after the current entry, as far as known.
    fn upcoming(&self) -> Vec<Upcoming> {
        let opened = self.opened.iter().map(|(link, _)| &link.cid);
        let frames = self.frames.iter().rev().flat_map(|frame| {
            let waiting = frame.waiting.iter().map(|link| &link.cid);
            waiting.chain(frame.listing.iter().flat_map(Listing::rest))
        });
        opened.chain(frames).take(NAMED_MAX).map(Upcoming::whole).collect()
    }

    /// Opens the next entries of the innermost directory.
    async fn open_ahead(&mut self) -> Result<(), Error> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(()) };
            let Some(mut listing) = frame.listing.take() else { return Ok(()) };
            let waiting = std::mem::take(&mut frame.waiting);
            let store = self.node.store().clone();
            let mut ahead = blocking(move || Ok(open_ahead(&store, listing, waiting))).await?;
            let missing = ahead.missing.take().filter(|_| ahead.opened.is_empty());
            listing = ahead.listing;
            if let Some(shard) = &missing {
                let upcoming = || listing.rest().take(NAMED_MAX).map(Upcoming::whole).collect();
                let block = self.ahead.get(shard, upcoming).await?;
                listing.supply(&block)?;
            }
            if let Some(frame) = self.frames.last_mut() {
                frame.listing = Some(listing);
                frame.waiting = ahead.waiting;
            }
            self.opened = ahead.opened;
            match ahead.failed {
                Some(error) if self.opened.is_empty() => return Err(error),
                _ if missing.is_none() => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Entries that were opened on another thread.
struct OpenedAhead {
    listing: Listing,
    waiting: VecDeque<PbLink>,
    opened: VecDeque<(PbLink, Result<Option<Opened>, Error>)>,
    /// The shard without which the listing does not go on.
    missing: Option<Cid>,
    failed: Option<Error>,
}

fn open_ahead(store: &Store, mut listing: Listing, mut waiting: VecDeque<PbLink>) -> OpenedAhead {
    let mut opened = VecDeque::new();
    let (mut bytes, mut missing, mut failed) = (0, None, None);
    while opened.len() < AHEAD_ENTRIES && bytes < AHEAD_BYTES {
        let link = match waiting.pop_front() {
            Some(link) => link,
            None => match next_link(store, &mut listing) {
                Ok(Next::Link(link)) => link,
                Ok(Next::Done) => break,
                Ok(Next::Missing(shard)) => {
                    missing = Some(shard);
                    break;
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            },
        };
        let found = store.get(&link.cid).map_err(Error::from).and_then(|block| {
            let Some(block) = block else { return Ok(None) };
            bytes += block.len();
            Ok(match look(&link.cid, &block)? {
                Look::Opened(opened) => Some(opened),
                Look::Instead(_) => None,
            })
        });
        opened.push_back((link, found));
    }
    OpenedAhead { listing, waiting, opened, missing, failed }
}

enum Next {
    Link(PbLink),
    Missing(Cid),
    Done,
}

fn next_link(store: &Store, listing: &mut Listing) -> Result<Next, Error> {
    loop {
        match listing.step() {
            ListStep::Entry(link) => return Ok(Next::Link(link)),
            ListStep::Done => return Ok(Next::Done),
            ListStep::Need(shard) => match store.get(&shard)? {
                Some(block) => listing.supply(&block)?,
                None => return Ok(Next::Missing(shard)),
            },
        }
    }
}

/// A path and a name put together as Go's `path.Join` does.
fn clean_join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/').chain(name.split(|byte| *byte == b'/')) {
        match segment {
            b"" | b"." => {}
            b".." if segments.last().is_some_and(|last| *last != b"..") => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    segments.join(&b'/')
}

fn now() -> (i64, u32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_where_go_says() {
        let cases = [
            ("r", "a", "r/a"),
            ("r", "..", ""),
            ("r/s", "..", "r"),
            ("r", "../../x", "../x"),
            ("r", "/x//y/.", "r/x/y"),
            ("r", "", "r"),
        ];
        for (path, name, joined) in cases {
            assert_eq!(clean_join(path.as_bytes(), name.as_bytes()), joined.as_bytes());
        }
    }
}
