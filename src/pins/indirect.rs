//! What is pinned indirectly: reachable from a recursive pin, by the recorded children.

use std::collections::HashMap;
use std::vec;

use crate::ipld::base::{self, Base};
use crate::ipld::{Cid, codec};
use crate::store::{Marks, Node, Problem, Walk};

use super::{Error, Mode, Pin, Pins};

/// Pins that are sorted in memory, a megabyte or two of them.
const SORTED_PINS_MAX: u64 = 8192;

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Missing(cid) => Self::Missing(cid),
            Problem::Unreadable(_, error) => Self::Store(error),
        }
    }
}

impl Pins {
    /// For each CID the recursive pin, the first in the order of Kubo's index, below which it is.
    /// Says nothing of whether the CID is itself pinned. Reads no blocks; blocks the thread.
    ///
    /// # Errors
    /// When the database or the index cannot be read, or a block on the way is missing.
    pub fn through(&self, cids: &[Cid]) -> Result<Vec<Option<Cid>>, Error> {
        let mut wanted: HashMap<Node, Vec<usize>> = HashMap::new();
        for (position, node) in self.store.nodes(cids)?.into_iter().enumerate() {
            wanted.entry(node).or_default().push(position);
        }
        let mut through = vec![None; cids.len()];
        let mut walk = self.store.walk(Marks::default());
        for pin in self.in_index_order()? {
            if wanted.is_empty() {
                break;
            }
            let root = pin?.cid;
            walk.root(&root)?;
            loop {
                let goes_on = walk.advance()?;
                for node in walk.take_found() {
                    for position in wanted.remove(&node).unwrap_or_default() {
                        if let Some(slot) = through.get_mut(position) {
                            *slot = Some(root.clone());
                        }
                    }
                }
                if wanted.is_empty() {
                    break;
                }
                if let Some(problem) = walk.take_problems().into_iter().next() {
                    return Err(problem.into());
                }
                if !goes_on {
                    break;
                }
            }
        }
        Ok(through)
    }

    /// The recursive pins in the order in which Kubo looks at them, which decides what it names:
    /// that of the keys of its index, base64url of the CIDs as bytes. Many pins come in their own
    /// order instead, so that memory is bounded.
    fn in_index_order(&self) -> Result<Box<dyn Iterator<Item = Result<Pin, Error>>>, Error> {
        let pins = self.iterate(Mode::Recursive, None);
        if self.count(Mode::Recursive)? > SORTED_PINS_MAX {
            return Ok(Box::new(pins));
        }
        let mut pins = pins.collect::<Result<Vec<_>, _>>()?;
        pins.sort_by_cached_key(|pin| base::encode(Base::Base64Url, &pin.cid.to_bytes()));
        Ok(Box::new(pins.into_iter().map(Ok)))
    }

    /// Every CID below a recursive pin that is not itself pinned, each once, in the order of a
    /// walk. Reads no blocks; a call of `next` blocks the thread while it looks for one.
    pub fn indirect(&self) -> Indirect {
        Indirect {
            pins: self.clone(),
            pinned: None,
            roots: Box::new(self.iterate(Mode::Recursive, None)),
            walk: self.store.walk(Marks::default()),
            problems: Vec::new(),
            ready: Vec::new().into_iter(),
            is_walking: false,
            is_over: false,
        }
    }

    /// The nodes of all pins.
    fn pinned(&self) -> Result<Marks, Error> {
        let mut marks = Marks::default();
        for cids in self.cids(Mode::Recursive).chain(self.cids(Mode::Direct)) {
            self.store.nodes(&cids?)?.iter().for_each(|node| {
                marks.insert(node);
            });
        }
        Ok(marks)
    }
}

/// The CIDs that are pinned indirectly: see [`Pins::indirect`].
pub struct Indirect {
    pins: Pins,
    /// What is pinned itself, and therefore not listed.
    pinned: Option<Marks>,
    roots: Box<dyn Iterator<Item = Result<Pin, Error>> + Send>,
    walk: Walk<'static>,
    problems: Vec<Problem>,
    ready: vec::IntoIter<Cid>,
    is_walking: bool,
    is_over: bool,
}

impl Indirect {
    /// Goes on after [`Error::Missing`] with the links of the block that was missing.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn resume(&mut self, links: &[Cid]) -> Result<(), Error> {
        let mut found = Vec::new();
        for cid in links {
            let node = self.pins.store.node(cid)?;
            let is_pinned = self.pinned.as_ref().is_some_and(|pinned| pinned.contains(&node));
            if self.walk.root(cid)? && !is_pinned {
                found.push(cid.clone());
            }
        }
        let ready: Vec<Cid> = std::mem::take(&mut self.ready).chain(found).collect();
        self.ready = ready.into_iter();
        (self.is_walking, self.is_over) = (true, false);
        Ok(())
    }

    /// Goes on until there is something to list; `false` when there is nothing more.
    fn refill(&mut self) -> Result<bool, Error> {
        loop {
            // After what was found beside it.
            if let Some(problem) = self.problems.pop() {
                return Err(problem.into());
            }
            if !self.is_walking {
                let Some(root) = self.roots.next().transpose()? else { return Ok(false) };
                // Nothing is below a raw block.
                if root.cid.codec() == codec::RAW {
                    continue;
                }
                self.walk.root(&root.cid)?;
            }
            self.is_walking = self.walk.advance()?;
            self.problems = self.walk.take_problems();
            let mut found = self.walk.take_found();
            if found.is_empty() {
                continue;
            }
            let pinned = match &self.pinned {
                Some(pinned) => pinned,
                None => self.pinned.insert(self.pins.pinned()?),
            };
            found.retain(|node| !pinned.contains(node));
            if !found.is_empty() {
                let cids = self.pins.store.cids(&found)?;
                self.ready = cids.into_iter().flatten().collect::<Vec<_>>().into_iter();
                return Ok(true);
            }
        }
    }
}

impl Iterator for Indirect {
    type Item = Result<Cid, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(cid) = self.ready.next() {
                return Some(Ok(cid));
            }
            if self.is_over {
                return None;
            }
            match self.refill() {
                Ok(true) => {}
                Ok(false) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl std::fmt::Debug for Indirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indirect").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
