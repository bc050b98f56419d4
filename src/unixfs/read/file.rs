//! Byte ranges of files.

use std::ops::Range;

use bytes::Bytes;

use super::{DEPTH_MAX, Node, ReadError, WAITING_MAX};
use crate::ipld::{Cid, PbLink};
use crate::unixfs::data::{Data, Kind};

/// What to do next for the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStep {
    /// The next bytes.
    Bytes(Bytes),
    /// Fetch this block and hand it to [`FileReader::supply`].
    Need(Cid),
    /// That was all.
    Done,
}

/// A subtree that was not entered yet.
#[derive(Debug)]
struct Waiting {
    cid: Cid,
    /// Where its bytes begin in the file, and how many there are, when the parent says so.
    at: u64,
    size: Option<u64>,
}

/// A byte range of a file, being read.
#[derive(Debug)]
pub struct FileReader {
    range: Range<u64>,
    /// Next subtree last: the children of each open node, reversed.
    waiting: Vec<Waiting>,
    /// How many were waiting when each open node was entered.
    open: Vec<usize>,
    /// Bytes to give out before anything else.
    ready: Option<Bytes>,
    /// What was asked for.
    asked: Option<Waiting>,
    /// Bytes of the file that were passed, when sizes are not known beforehand.
    passed: u64,
}

impl FileReader {
    /// The bytes of `range`, which may end beyond the file, of the file whose root this is.
    ///
    /// # Errors
    /// When it is no file, or its sizes contradict each other.
    pub fn new(cid: &Cid, root: &Node, range: Range<u64>) -> Result<Self, ReadError> {
        match root.kind() {
            Kind::Directory | Kind::HamtShard => return Err(ReadError::IsDirectory),
            Kind::Symlink => return Err(ReadError::IsSymlink),
            Kind::Metadata | Kind::Other(_) => return Err(ReadError::Codec),
            Kind::Raw | Kind::File => {}
        }
        let mut reader = Self {
            range,
            waiting: Vec::new(),
            open: Vec::new(),
            ready: None,
            asked: None,
            passed: 0,
        };
        reader.enter(&Waiting { cid: cid.clone(), at: 0, size: None }, root)?;
        Ok(reader)
    }

    /// What to do next.
    pub fn step(&mut self) -> FileStep {
        if let Some(bytes) = self.ready.take() {
            return FileStep::Bytes(bytes);
        }
        if let Some(asked) = &self.asked {
            return FileStep::Need(asked.cid.clone());
        }
        let end = self.range.end;
        let begins = |next: &Waiting, passed| next.size.map_or(passed, |_| next.at);
        match self.waiting.pop().filter(|next| begins(next, self.passed) < end) {
            Some(next) => {
                let cid = next.cid.clone();
                self.asked = Some(next);
                FileStep::Need(cid)
            }
            None => {
                self.waiting.clear();
                FileStep::Done
            }
        }
    }

    /// The blocks that will be needed after the one asked for, in order, as far as known, and
    /// whether all that is below each is sure to be needed, too.
    pub fn upcoming(&self) -> impl Iterator<Item = (&Cid, bool)> {
        let Range { start, end } = self.range;
        let waiting = self.waiting.iter().rev();
        waiting.take_while(move |next| next.size.is_none() || next.at < end).map(move |next| {
            let last = next.size.map_or(u64::MAX, |size| next.at.saturating_add(size));
            (&next.cid, next.at >= start && last <= end)
        })
    }

    /// Takes the block that was asked for.
    ///
    /// # Errors
    /// When it is no part of a file, or sizes contradict each other.
    pub fn supply(&mut self, block: &Bytes) -> Result<(), ReadError> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        let node = Node::decode(&asked.cid, block)?;
        self.enter(&asked, &node)
    }

    fn enter(&mut self, place: &Waiting, node: &Node) -> Result<(), ReadError> {
        let at = place.size.map_or(self.passed, |_| place.at);
        let (data, links) = match node {
            Node::Raw(bytes) => {
                self.check_size(place, bytes.len() as u64)?;
                self.give(at, bytes);
                return Ok(());
            }
            Node::Pb { data, links } => (data, links),
        };
        if !matches!(data.kind, Kind::File | Kind::Raw) {
            return Err(ReadError::Misplaced(data.kind));
        }
        let own = data.data.clone().unwrap_or_default();
        if links.is_empty() {
            let announced = data.file_size.unwrap_or(own.len() as u64);
            self.check_against(&place.cid, announced, own.len() as u64)?;
            self.check_size(place, own.len() as u64)?;
            self.give(at, &own);
            return Ok(());
        }
        self.enter_children(place, at, (data, links))
    }

    fn enter_children(
        &mut self,
        place: &Waiting,
        at: u64,
        (data, links): (&Data, &[PbLink]),
    ) -> Result<(), ReadError> {
        while self.open.last().is_some_and(|waiting| self.waiting.len() < *waiting) {
            self.open.pop();
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(ReadError::TooDeep);
        }
        if self.waiting.len() + links.len() > WAITING_MAX {
            return Err(ReadError::TooWide);
        }
        let from = self.waiting.len();
        if data.block_sizes.len() == links.len() {
            // Bytes of an inner node count only if its own size says that they do.
            let overflow = || ReadError::SizeOverflow { cid: place.cid.clone() };
            let below = data.block_sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size));
            let below = below.ok_or_else(overflow)?;
            let own = data.data.clone().unwrap_or_default();
            let with_own = below.checked_add(own.len() as u64).ok_or_else(overflow)?;
            let counts = data.file_size == Some(with_own);
            let total = if counts { with_own } else { below };
            self.check_against(&place.cid, data.file_size.unwrap_or(total), total)?;
            self.check_size(place, total)?;
            let mut next = at;
            if counts && !own.is_empty() {
                self.give(at, &own);
                next = at.saturating_add(own.len() as u64);
            }
            for (link, size) in links.iter().zip(&data.block_sizes) {
                let end = next.checked_add(*size).ok_or_else(overflow)?;
                if end > self.range.start && next < self.range.end && *size > 0 {
                    let (cid, size) = (link.cid.clone(), Some(*size));
                    self.waiting.push(Waiting { cid, at: next, size });
                }
                next = end;
            }
        } else {
            if self.range.start > 0 {
                return Err(ReadError::NotSeekable);
            }
            self.passed = at;
            let children = links.iter();
            self.waiting.extend(children.map(|link| Waiting {
                cid: link.cid.clone(),
                at: 0,
                size: None,
            }));
        }
        if let Some(children) = self.waiting.get_mut(from..) {
            children.reverse();
        }
        self.open.push(from);
        Ok(())
    }

    fn check_size(&self, place: &Waiting, actual: u64) -> Result<(), ReadError> {
        self.check_against(&place.cid, place.size.unwrap_or(actual), actual)
    }

    fn check_against(&self, cid: &Cid, announced: u64, actual: u64) -> Result<(), ReadError> {
        if announced == actual {
            return Ok(());
        }
        Err(ReadError::Size { cid: cid.clone(), announced, actual })
    }

    /// Gives out what of these bytes, which begin at `at`, is in the range.
    fn give(&mut self, at: u64, bytes: &Bytes) {
        let end = at.saturating_add(bytes.len() as u64);
        self.passed = end;
        let from = self.range.start.clamp(at, end) - at;
        let to = self.range.end.clamp(at, end) - at;
        if let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to))
            && from < to
        {
            self.ready = Some(bytes.slice(from..to));
        }
    }
}
