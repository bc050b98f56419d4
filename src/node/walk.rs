//! Walking a DAG: depth first, children in link order, every CID once.
//!
//! Works on recorded links, so that no block is read where the store knows its children. A walk is
//! plain state without I/O of its own: it is advanced step by step with a function that gives the
//! links of a CID, which runs on the blocking pool, and it stops where a block is absent, so that
//! its owner can fetch the block and go on.
//!
//! Not responsible for fetching, protecting or reading blocks. Owns nothing; a crash leaves nothing.
//! Memory: 16 bytes a CID seen, and the links of the nodes on the way down, which are forgotten
//! and asked for again when they grow over [`HELD_LINKS_MAX`].

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use super::fetch::Upcoming;
use crate::ipld::Cid;

/// Links kept in memory for the nodes between the root and the current one: about 64 MiB.
const HELD_LINKS_MAX: usize = 1 << 20;

/// CIDs that a walk names at a time, to be fetched.
const NAMED_MAX: usize = 1024;

/// What a step of a [`Walk`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A CID seen for the first time; its children come next.
    Visited(Cid),
    /// The links of this CID were not to be had. The next step asks for them again.
    Missing(Cid),
    /// Nothing is left.
    Done,
}

/// A depth-first walk, parents before children.
#[derive(Debug)]
pub(crate) struct Walk {
    seen: Seen,
    next: Option<Cid>,
    stack: Vec<Frame>,
    held: usize,
}

#[derive(Debug)]
struct Frame {
    cid: Cid,
    /// `None`: forgotten to save memory, asked for again on the way back.
    links: Option<Vec<Cid>>,
    position: usize,
}

impl Walk {
    /// A walk from `root`.
    pub(crate) fn new(root: Cid) -> Self {
        Self { seen: Seen::default(), next: Some(root), stack: Vec::new(), held: 0 }
    }

    /// Goes one step on. `links` gives the children of a CID, `None` when its block is absent.
    pub(crate) fn step<E>(
        &mut self,
        mut links: impl FnMut(&Cid) -> Result<Option<Vec<Cid>>, E>,
    ) -> Result<Step, E> {
        loop {
            if let Some(cid) = self.next.take() {
                if self.seen.contains(&cid) {
                    continue;
                }
                let Some(children) = links(&cid)? else {
                    self.next = Some(cid.clone());
                    return Ok(Step::Missing(cid));
                };
                self.seen.insert(&cid);
                self.push(cid.clone(), children);
                return Ok(Step::Visited(cid));
            }
            let Some(top) = self.stack.last_mut() else { return Ok(Step::Done) };
            let Some(children) = &top.links else {
                let Some(children) = links(&top.cid)? else {
                    return Ok(Step::Missing(top.cid.clone()));
                };
                self.held += children.len();
                top.links = Some(children);
                continue;
            };
            if let Some(child) = children.get(top.position) {
                top.position += 1;
                self.next = Some(child.clone());
            } else {
                self.held -= children.len();
                self.stack.pop();
            }
        }
    }

    /// The way to where the walk stands: each node from the root on, and which of its links was
    /// taken. Ends with the parent of the CID that the last step named.
    pub(crate) fn trail(&self) -> impl Iterator<Item = (&Cid, usize)> {
        self.stack.iter().map(|frame| (&frame.cid, frame.position.saturating_sub(1)))
    }

    /// What comes after the CID that the last step named, in order, as far as known.
    pub(crate) fn upcoming(&self) -> Vec<Upcoming> {
        let rest = self.stack.iter().rev().flat_map(|frame| {
            let links = frame.links.as_deref().unwrap_or_default();
            links.get(frame.position..).unwrap_or_default()
        });
        let new = rest.filter(|cid| !self.seen.contains(cid));
        new.take(NAMED_MAX).map(Upcoming::whole).collect()
    }

    fn push(&mut self, cid: Cid, links: Vec<Cid>) {
        self.held += links.len();
        self.stack.push(Frame { cid, links: Some(links), position: 0 });
        if self.held <= HELD_LINKS_MAX {
            return;
        }
        let ancestors = self.stack.len() - 1;
        for frame in self.stack.iter_mut().take(ancestors) {
            if let Some(links) = frame.links.take() {
                self.held -= links.len();
            }
        }
    }
}

/// A set of CIDs at 16 bytes each.
///
/// Holds two keyed hashes of 64 bits of each. The keys are drawn for each set and never shown, so
/// nobody can look for two CIDs that fall together, and chance needs about 2⁶⁴ of them.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    keys: [RandomState; 2],
    set: HashSet<u128, BuildHasherDefault<Low64>>,
}

impl Seen {
    /// Adds a CID; says whether it was new.
    pub(crate) fn insert(&mut self, cid: &Cid) -> bool {
        let key = self.key(cid);
        self.set.insert(key)
    }

    /// Removes a CID.
    pub(crate) fn remove(&mut self, cid: &Cid) {
        let key = self.key(cid);
        self.set.remove(&key);
    }

    /// Whether it has been added.
    pub(crate) fn contains(&self, cid: &Cid) -> bool {
        self.set.contains(&self.key(cid))
    }

    fn key(&self, cid: &Cid) -> u128 {
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(cid)));
        high << 64 | low
    }
}

/// The lower half of a `u128` that is a hash already.
#[derive(Debug, Default)]
struct Low64(u64);

impl Hasher for Low64 {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;
    use crate::ipld::{Multihash, codec};

    fn cid(name: usize) -> Cid {
        Cid::new_v1(codec::DAG_CBOR, Multihash::wrap(0x12, &name.to_be_bytes()))
    }

    type Graph = HashMap<Cid, Vec<Cid>>;

    fn graph(edges: &[(usize, &[usize])]) -> Graph {
        edges
            .iter()
            .map(|(from, to)| (cid(*from), to.iter().map(|to| cid(*to)).collect()))
            .collect()
    }

    fn step(walk: &mut Walk, graph: &Graph) -> Step {
        walk.step(|cid| Ok::<_, Infallible>(graph.get(cid).cloned())).unwrap()
    }

    fn visited(walk: &mut Walk, graph: &Graph) -> Vec<Cid> {
        let mut all = Vec::new();
        while let Step::Visited(cid) = step(walk, graph) {
            all.push(cid);
        }
        all
    }

    #[test]
    fn parents_come_before_children_in_link_order_and_each_once() {
        let graph =
            graph(&[(0, &[1, 2, 1, 3]), (1, &[4]), (2, &[4, 5]), (3, &[]), (4, &[]), (5, &[])]);
        let order = visited(&mut Walk::new(cid(0)), &graph);
        assert_eq!(order, [0, 1, 4, 2, 5, 3].map(cid));
    }

    #[test]
    fn a_walk_stops_at_an_absent_block_and_goes_on_when_it_has_come() {
        let mut graph = graph(&[(0, &[1, 2]), (2, &[])]);
        let mut walk = Walk::new(cid(0));
        assert_eq!(step(&mut walk, &graph), Step::Visited(cid(0)));
        assert_eq!(step(&mut walk, &graph), Step::Missing(cid(1)));
        assert_eq!(step(&mut walk, &graph), Step::Missing(cid(1)));
        assert_eq!(walk.trail().collect::<Vec<_>>(), [(&cid(0), 0)]);
        graph.insert(cid(1), vec![cid(2)]);
        assert_eq!(visited(&mut walk, &graph), [1, 2].map(cid));
    }

    #[test]
    fn a_deep_and_wide_dag_is_walked_with_bounded_links() {
        // A chain of nodes whose other links lead nowhere new.
        let width = HELD_LINKS_MAX / 4;
        let depth = 12;
        let mut walk = Walk::new(cid(0));
        let mut order = Vec::new();
        let mut links = |at: &Cid| {
            let at = (0..=depth).find(|n| cid(*n) == *at);
            let at = at.unwrap_or(depth);
            let mut links = Vec::new();
            if at < depth {
                links.resize(width, cid(depth));
                links[0] = cid(at + 1);
            }
            Ok::<_, Infallible>(Some(links))
        };
        loop {
            match walk.step(&mut links).unwrap() {
                Step::Visited(cid) => order.push(cid),
                Step::Missing(_) => panic!("nothing is missing"),
                Step::Done => break,
            }
            assert!(walk.held <= HELD_LINKS_MAX + width);
        }
        assert_eq!(order, (0..=depth).map(cid).collect::<Vec<_>>());
        assert_eq!(walk.held, 0);
    }

    #[test]
    fn cids_of_one_multihash_are_different_cids() {
        let mut seen = Seen::default();
        let raw = Cid::new_v1(codec::RAW, cid(1).hash().clone());
        assert!(seen.insert(&cid(1)));
        assert!(seen.insert(&raw));
        assert!(!seen.insert(&raw));
    }
}
