//! Walks over stored DAGs, in slices on the blocking pool, with a fetch wherever a block is absent.
//!
//! Joins [`super::walk`] with the store and the exchange. Owns nothing; a dropped walk leaves nothing
//! but the blocks it has fetched.

use super::fetch::Ahead;
use super::walk::{Step, Walk};
use super::{Error, Node, Reach, blocking};
use crate::ipld::Cid;
use crate::store::Store;

/// Steps of one slice: some milliseconds of index look-ups.
const SLICE_STEPS: usize = 1024;

/// A node that has been visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) cid: Cid,
    /// The size of its block.
    pub(crate) size: u64,
}

/// Where a slice ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    More,
    Missing(Cid),
    Done,
}

/// A walk in slices.
#[derive(Debug)]
pub(crate) struct Traversal {
    node: Node,
    ahead: Ahead,
    /// `None` while a slice runs, and for ever after if it was dropped then.
    walk: Option<Walk>,
    missing: Option<Cid>,
    failed: Option<Error>,
    done: bool,
}

impl Traversal {
    /// A traversal from `root`.
    pub(crate) fn new(node: &Node, root: Cid, reach: Reach) -> Self {
        let walk = Some(Walk::new(root));
        let (node, ahead) = (node.clone(), Ahead::new(node, reach));
        Self { node, ahead, walk, missing: None, failed: None, done: false }
    }

    /// The next visits, in order; `None` at the end. Fetches what is absent, or fails with its
    /// error, after everything before it has been given.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Visit>>, Error> {
        loop {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if let Some(cid) = self.missing.take() {
                let walk = &self.walk;
                let upcoming = || walk.as_ref().map(Walk::upcoming).unwrap_or_default();
                self.ahead.get(&cid, upcoming).await?;
            }
            let walk = match self.walk.take() {
                Some(walk) if !self.done => walk,
                walk => {
                    self.walk = walk;
                    return Ok(None);
                }
            };
            let store = self.node.store().clone();
            let slice = blocking(move || Ok(slice(&store, walk))).await?;
            self.walk = Some(slice.walk);
            match slice.end {
                Ok(End::More) => {}
                Ok(End::Done) => self.done = true,
                Ok(End::Missing(cid)) => self.missing = Some(cid),
                Err(error) => self.failed = Some(error),
            }
            if !slice.visits.is_empty() {
                return Ok(Some(slice.visits));
            }
        }
    }
}

struct Slice {
    walk: Walk,
    visits: Vec<Visit>,
    end: Result<End, Error>,
}

fn slice(store: &Store, mut walk: Walk) -> Slice {
    let mut visits = Vec::new();
    for _ in 0..SLICE_STEPS {
        let mut size = 0;
        let step = walk.step(|cid| {
            let found = links(store, cid)?;
            size = found.as_ref().map_or(0, |(_, size)| *size);
            Ok(found.map(|(links, _)| links))
        });
        match step {
            Ok(Step::Visited(cid)) => visits.push(Visit { cid, size }),
            Ok(Step::Missing(cid)) => return Slice { walk, visits, end: Ok(End::Missing(cid)) },
            Ok(Step::Done) => return Slice { walk, visits, end: Ok(End::Done) },
            Err(error) => return Slice { walk, visits, end: Err(error) },
        }
    }
    Slice { walk, visits, end: Ok(End::More) }
}

/// The links of a block and its size; `None` when it is absent.
pub(super) fn links(store: &Store, cid: &Cid) -> Result<Option<(Vec<Cid>, u64)>, Error> {
    let Some(size) = store.size(cid.hash())? else { return Ok(None) };
    Ok(store.children(cid)?.map(|links| (links, size)))
}
