//! The links of DAGs, one by one, and every block that is here.
//!
//! Links are those recorded in the store; blocks are read only where the names of links are
//! wanted. The work is done in slices on the blocking pool. What is held is the links on the way
//! down, which are forgotten and asked for again when they grow many, and with `unique` sixteen
//! bytes and a depth for each CID seen.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use tokio::time::Instant;

use super::blocking::blocking;
use super::fetch::{Ahead, Upcoming};
use super::produce::{Sink, produce};
use super::{Error, Node, Reach};
use crate::ipld::{Cid, PbNode, codec};
use crate::store::Store;

/// Links looked at in one slice: some milliseconds.
const SLICE_LINKS: usize = 1024;
/// Links held for the nodes on the way down: about 64 MiB.
const HELD_LINKS_MAX: usize = 1 << 20;
/// Links that a walk names at a time, to be fetched.
const NAMED_MAX: usize = 1024;
/// Slices ahead of a slow reader.
const SLICES_AHEAD: usize = 1;

/// Which links are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refs {
    /// Each CID once.
    pub unique: bool,
    /// Links of the root are at depth 1; `None` for no limit.
    pub depth_max: Option<u32>,
    /// Whether the names of links are wanted.
    pub names: bool,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// The node that has it.
    pub from: Cid,
    /// What it points at.
    pub to: Cid,
    /// Its name, if wanted.
    pub name: Bytes,
}

/// What a listing gives.
#[derive(Debug, Clone)]
pub enum RefEvent {
    /// The next links.
    Links(Vec<Ref>),
    /// The walk from one root ends here; the next root follows.
    Failed(Error),
}

impl Node {
    /// The links below `roots`, depth first; a CID that was seen below one root is not listed
    /// again below the next, if each is wanted once. What has not been listed when it is `due`
    /// fails.
    pub fn refs(
        &self,
        roots: Vec<Cid>,
        refs: Refs,
        reach: Reach,
        due: Option<Instant>,
    ) -> impl Stream<Item = RefEvent> + Send + use<> {
        let node = self.clone();
        let events = produce(SLICES_AHEAD, move |sink| async move {
            let mut walk = Walk::new(refs);
            let ahead = Ahead::new(&node, reach);
            for root in roots {
                let listed = node.refs_of(&mut walk, root, &ahead, &sink);
                let done = match due {
                    None => listed.await,
                    Some(due) if due <= Instant::now() => Err(late()),
                    Some(due) => match tokio::time::timeout_at(due, listed).await {
                        Ok(done) => done,
                        Err(_) => Err(late()),
                    },
                };
                if let Err(error) = done {
                    sink.send(RefEvent::Failed(error)).await;
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        events.filter_map(|event| std::future::ready(event.ok()))
    }

    async fn refs_of(
        &self,
        walk: &mut Walk,
        root: Cid,
        ahead: &Ahead,
        sink: &Sink<RefEvent>,
    ) -> Result<(), Error> {
        // The root is an error of its own, in the words for a block that was asked for.
        ahead.get(&root, Vec::new).await?;
        walk.begin(root);
        loop {
            let (store, mut own) = (self.store().clone(), std::mem::take(walk));
            let (own, slice) = blocking(move || {
                let slice = own.slice(&store);
                Ok((own, slice))
            })
            .await?;
            *walk = own;
            if !slice.refs.is_empty() {
                sink.send(RefEvent::Links(slice.refs)).await;
            }
            match slice.end {
                End::More => {}
                End::Done => return Ok(()),
                End::Missing(cid) => drop(ahead.get_below(&cid, || walk.upcoming()).await?),
                End::Failed(error) => return Err(error),
            }
        }
    }

    /// The CIDs of all blocks that are here, as raw ones, in slices.
    pub fn local_refs(&self) -> impl Stream<Item = Result<Vec<Cid>, Error>> + Send + use<> {
        let blocks = Box::new(self.store().iterate());
        futures_util::stream::try_unfold(blocks, |mut blocks| {
            blocking(move || {
                let slice: Result<Vec<Cid>, _> = blocks
                    .by_ref()
                    .take(SLICE_LINKS)
                    .map(|block| block.map(|(hash, _)| Cid::new_v1(codec::RAW, hash)))
                    .collect();
                let slice = slice?;
                Ok((!slice.is_empty()).then_some((slice, blocks)))
            })
        })
    }
}

fn late() -> Error {
    Error::failed("context deadline exceeded")
}

/// A node on the way down.
#[derive(Debug)]
struct Frame {
    cid: Cid,
    /// `None`: not asked for yet, or forgotten to save memory.
    links: Option<Vec<(Cid, Bytes)>>,
    position: usize,
}

/// A depth-first walk over links.
#[derive(Debug, Default)]
struct Walk {
    refs: Option<Refs>,
    stack: Vec<Frame>,
    held: usize,
    seen: Seen,
}

/// The depths at which CIDs were seen, by two keyed hashes of 64 bits: nobody can look for two
/// CIDs that fall together, and chance needs about 2⁶⁴ of them.
#[derive(Debug, Default)]
struct Seen {
    keys: [RandomState; 2],
    depths: HashMap<u128, u32>,
}

struct Slice {
    refs: Vec<Ref>,
    end: End,
}

enum End {
    More,
    Missing(Cid),
    Failed(Error),
    Done,
}

impl Walk {
    fn new(refs: Refs) -> Self {
        Self { refs: Some(refs), ..Self::default() }
    }

    fn begin(&mut self, root: Cid) {
        self.stack.clear();
        self.held = 0;
        self.stack.push(Frame { cid: root, links: None, position: 0 });
    }

    /// Goes on for a while.
    fn slice(&mut self, store: &Store) -> Slice {
        let mut refs = Vec::new();
        for _ in 0..SLICE_LINKS {
            match self.step(store, &mut refs) {
                Ok(None) => {}
                Ok(Some(end)) => return Slice { refs, end },
                Err(error) => return Slice { refs, end: End::Failed(error) },
            }
        }
        Slice { refs, end: End::More }
    }

    /// Looks at one link.
    fn step(&mut self, store: &Store, refs: &mut Vec<Ref>) -> Result<Option<End>, Error> {
        let Some(options) = self.refs else { return Ok(Some(End::Done)) };
        let depth = u32::try_from(self.stack.len()).unwrap_or(u32::MAX);
        let Some(top) = self.stack.last_mut() else { return Ok(Some(End::Done)) };
        let Some(links) = &top.links else {
            let Some(links) = links_of(store, &top.cid, options.names)? else {
                return Ok(Some(End::Missing(top.cid.clone())));
            };
            self.hold(links);
            return Ok(None);
        };
        let Some((to, name)) = links.get(top.position) else {
            self.held -= links.len();
            self.stack.pop();
            return Ok(None);
        };
        let (goes_deeper, is_listed) = self.seen.look(options, to, depth);
        if !goes_deeper && !is_listed {
            top.position += 1;
            return Ok(None);
        }
        let (from, to, name) = (top.cid.clone(), to.clone(), name.clone());
        let below = if goes_deeper && to.codec() != codec::RAW {
            let Some(links) = links_of(store, &to, options.names)? else {
                return Ok(Some(End::Missing(to)));
            };
            Some(links)
        } else if is_inline(&to) || store.has(to.hash())? {
            None
        } else {
            return Ok(Some(End::Missing(to)));
        };
        top.position += 1;
        if options.unique {
            self.seen.note(&to, depth);
        }
        if let Some(links) = below.filter(|links| !links.is_empty()) {
            self.stack.push(Frame { cid: to.clone(), links: None, position: 0 });
            self.hold(links);
        }
        if is_listed {
            refs.push(Ref { from, to, name });
        }
        Ok(None)
    }

    /// What comes after the link where the walk stands, as far as known. Blocks at the greatest
    /// depth are needed, too: a link is listed when its block is there.
    fn upcoming(&self) -> Vec<Upcoming> {
        let is_deep = self.refs.is_some_and(|refs| refs.depth_max.is_none());
        let rest = self.stack.iter().rev().flat_map(|frame| {
            let links = frame.links.as_deref().unwrap_or_default();
            links.get(frame.position..).unwrap_or_default()
        });
        let named = rest.take(NAMED_MAX);
        named.map(|(cid, _)| Upcoming { cid: cid.clone(), whole: is_deep }).collect()
    }

    fn hold(&mut self, links: Vec<(Cid, Bytes)>) {
        self.held += links.len();
        if let Some(top) = self.stack.last_mut() {
            top.links = Some(links);
        }
        let ancestors = self.stack.len().saturating_sub(1);
        if self.held > HELD_LINKS_MAX {
            for frame in self.stack.iter_mut().take(ancestors) {
                self.held -= frame.links.take().map_or(0, |links| links.len());
            }
        }
    }
}

impl Seen {
    /// Whether the walk goes on below a CID at this depth, and whether it is listed.
    fn look(&self, refs: Refs, cid: &Cid, depth: u32) -> (bool, bool) {
        let Some(depth_max) = refs.depth_max else {
            let is_new = !refs.unique || !self.depths.contains_key(&self.key(cid));
            return (is_new, is_new);
        };
        if depth > depth_max {
            return (false, false);
        }
        let seen = if refs.unique { self.depths.get(&self.key(cid)) } else { None };
        match seen {
            Some(seen) if *seen <= depth => (false, false),
            Some(_) => (depth < depth_max, false),
            None => (depth < depth_max, true),
        }
    }

    fn note(&mut self, cid: &Cid, depth: u32) {
        let key = self.key(cid);
        self.depths.insert(key, depth);
    }

    fn key(&self, cid: &Cid) -> u128 {
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(cid)));
        high << 64 | low
    }
}

/// The links of a node with their names, if wanted; `None` when it is not here.
fn links_of(store: &Store, cid: &Cid, names: bool) -> Result<Option<Vec<(Cid, Bytes)>>, Error> {
    if names && cid.codec() == codec::DAG_PB {
        let Some(block) = store.get(cid)? else { return Ok(None) };
        let links = PbNode::decode(&block)?.links.into_iter();
        return Ok(Some(links.map(|link| (link.cid, link.name.unwrap_or_default())).collect()));
    }
    let children = store.children(cid)?;
    Ok(children.map(|cids| cids.into_iter().map(|cid| (cid, Bytes::new())).collect()))
}

/// Whether a CID is its own block.
fn is_inline(cid: &Cid) -> bool {
    cid.hash().code() == crate::ipld::hash::IDENTITY
}
