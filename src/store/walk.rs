//! Walks over the recorded children: what is reachable from a root, without reading blocks.
//!
//! One source of truth for the collector's marks, for indirect pins, and for the protection of a
//! DAG that is about to be pinned. Iterative; memory is one bit per block and the way back.

use std::collections::HashSet;
use std::sync::Arc;

use roaring::RoaringTreemap;
use rusqlite::Connection;

use crate::ipld::{Cid, codec, hash};

use super::children::{self, Child, Format};
use super::index::{self, Recorded};
use super::{Error, Inner, Session, Store, read};

/// Children looked at in one [`Walk::advance`].
const STEP_CHILDREN: usize = 1024;

/// A CID that was met: by the dense id of its multihash, or by name when the index has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A multihash that the index knows; its block may be stored or not.
    Known {
        /// The dense id.
        id: u64,
        /// How the CID spells it.
        format: Format,
    },
    /// A CID of which the index knows nothing.
    Named(Box<Cid>),
}

impl Node {
    fn codec(&self) -> u64 {
        match self {
            Self::Known { format, .. } => format.codec(),
            Self::Named(cid) => cid.codec(),
        }
    }
}

/// A set of nodes.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    v0: RoaringTreemap,
    raw: RoaringTreemap,
    dag_pb: RoaringTreemap,
    other: HashSet<(u64, u64)>,
    named: HashSet<Cid>,
}

impl Marks {
    /// Adds a node; `false` when it was there.
    pub fn insert(&mut self, node: &Node) -> bool {
        match node {
            Node::Known { id, format: Format::V0 } => self.v0.insert(*id),
            Node::Known { id, format: Format::Raw } => self.raw.insert(*id),
            Node::Known { id, format: Format::DagPb } => self.dag_pb.insert(*id),
            Node::Known { id, format: Format::Other(codec) } => self.other.insert((*id, *codec)),
            Node::Named(cid) => self.named.insert(Cid::clone(cid)),
        }
    }

    /// Whether the node is in the set.
    #[must_use]
    pub fn contains(&self, node: &Node) -> bool {
        match node {
            Node::Known { id, format: Format::V0 } => self.v0.contains(*id),
            Node::Known { id, format: Format::Raw } => self.raw.contains(*id),
            Node::Known { id, format: Format::DagPb } => self.dag_pb.contains(*id),
            Node::Known { id, format: Format::Other(codec) } => self.other.contains(&(*id, *codec)),
            Node::Named(cid) => self.named.contains(cid.as_ref()),
        }
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> u64 {
        let named = (self.other.len() + self.named.len()) as u64;
        self.v0.len() + self.raw.len() + self.dag_pb.len() + named
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of the set, whatever the format.
    pub(super) fn ids(self) -> RoaringTreemap {
        let mut ids = self.v0 | self.raw;
        ids |= self.dag_pb;
        ids.extend(self.other.into_iter().map(|(id, _)| id));
        ids
    }
}

/// Why a walk could not go on below a node.
#[derive(Debug, Clone)]
pub enum Problem {
    /// The block is not stored.
    Missing(Cid),
    /// Its links cannot be read.
    Unreadable(Cid, Error),
}

impl Problem {
    /// The block.
    #[must_use]
    pub fn cid(&self) -> &Cid {
        match self {
            Self::Missing(cid) | Self::Unreadable(cid, _) => cid,
        }
    }
}

/// A walk over everything reachable from some roots, each node once.
///
/// Raw blocks have no links: whether they are stored is looked at only by a [`Walk::complete`].
#[derive(Debug)]
pub struct Walk<'a> {
    store: Arc<Inner>,
    session: Option<&'a Session>,
    leaves_too: bool,
    marks: Marks,
    stack: Vec<(Node, Links)>,
    found: Vec<Node>,
    problems: Vec<Problem>,
}

/// Where the links of a node on the stack are.
#[derive(Debug)]
enum Links {
    Packed(Vec<Child>),
    /// Not recorded under this codec: the block must be decoded.
    Unknown,
}

impl Store {
    /// A walk that begins with `marks` as visited.
    #[must_use]
    pub fn walk(&self, marks: Marks) -> Walk<'static> {
        Walk {
            store: Arc::clone(&self.inner),
            session: None,
            leaves_too: false,
            marks,
            stack: Vec::new(),
            found: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The node of a CID.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn node(&self, cid: &Cid) -> Result<Node, Error> {
        self.inner.shared.pool.with(|c| node_of(c, cid))
    }

    /// As [`Store::node`], for many.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn nodes(&self, cids: &[Cid]) -> Result<Vec<Node>, Error> {
        self.inner.shared.pool.with(|c| nodes_of(c, cids))
    }

    /// The CIDs of nodes, in their order; `None` for a block deleted since.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn cids(&self, nodes: &[Node]) -> Result<Vec<Option<Cid>>, Error> {
        self.inner
            .shared
            .pool
            .with(|c| index::snapshot(c, |c| nodes.iter().map(|node| cid_of(c, node)).collect()))
    }
}

fn node_of(c: &Connection, cid: &Cid) -> Result<Node, Error> {
    Ok(match index::find(c, cid.hash())? {
        Some(entry) => Node::Known { id: entry.id, format: Format::of(cid) },
        None => Node::Named(Box::new(cid.clone())),
    })
}

fn nodes_of(c: &Connection, cids: &[Cid]) -> Result<Vec<Node>, Error> {
    index::snapshot(c, |c| cids.iter().map(|cid| node_of(c, cid)).collect())
}

fn cid_of(c: &Connection, node: &Node) -> Result<Option<Cid>, Error> {
    match node {
        Node::Named(cid) => Ok(Some(Cid::clone(cid))),
        Node::Known { id, format } => Ok(index::hash_of(c, *id)?.map(|hash| format.cid(hash))),
    }
}

impl<'a> Walk<'a> {
    /// Protects every node through `session` before its row is looked at.
    #[must_use]
    pub fn protected_by<'b>(self, session: &'b Session) -> Walk<'b> {
        let Walk { store, leaves_too, marks, stack, found, problems, .. } = self;
        Walk { store, session: Some(session), leaves_too, marks, stack, found, problems }
    }

    /// Reports raw blocks that are not stored, too.
    #[must_use]
    pub fn complete(mut self) -> Self {
        self.leaves_too = true;
        self
    }

    /// Adds a root, which is marked but not among the nodes found; `false` when it was met before.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn root(&mut self, cid: &Cid) -> Result<bool, Error> {
        Ok(self.roots(std::slice::from_ref(cid))? == 1)
    }

    /// As [`Walk::root`], for many; how many had not been met before.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn roots(&mut self, cids: &[Cid]) -> Result<usize, Error> {
        let store = Arc::clone(&self.store);
        let reader = store.shared.pool.get()?;
        let mut nodes = nodes_of(&reader, cids)?;
        nodes.retain(|node| !self.marks.contains(node));
        let found = self.found.len();
        let new = nodes.len();
        self.visit_all(&reader, nodes)?;
        self.found.truncate(found);
        Ok(new)
    }

    /// Goes on a while; `false` when there is nowhere left to go.
    ///
    /// # Errors
    /// When the index cannot be read. What cannot be read of single blocks is a [`Problem`].
    pub fn advance(&mut self) -> Result<bool, Error> {
        let store = Arc::clone(&self.store);
        let reader = store.shared.pool.get()?;
        let mut seen = 0;
        while seen < STEP_CHILDREN {
            let Some((node, links)) = self.stack.pop() else { return Ok(false) };
            seen += 1;
            match links {
                Links::Packed(children) => {
                    seen += children.len();
                    if !self.visit_recorded(&reader, &children)? {
                        self.visit_decoded(&reader, &node)?;
                    }
                }
                Links::Unknown => self.visit_decoded(&reader, &node)?,
            }
        }
        Ok(!self.stack.is_empty())
    }

    /// Takes the nodes found since the last call.
    pub fn take_found(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.found)
    }

    /// Takes the problems met since the last call.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// What has been visited.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Ends the walk and returns what has been visited.
    #[must_use]
    pub fn into_marks(self) -> Marks {
        self.marks
    }

    /// Visits recorded children; `false` when one of them has no row any more.
    fn visit_recorded(&mut self, c: &Connection, children: &[Child]) -> Result<bool, Error> {
        let nodes = children.iter().map(|child| Node::Known { id: child.id, format: child.format });
        let nodes: Vec<Node> = nodes.filter(|node| !self.marks.contains(node)).collect();
        self.visit_all(c, nodes)
    }

    /// Visits the links in the bytes of a block.
    fn visit_decoded(&mut self, c: &Connection, node: &Node) -> Result<(), Error> {
        let Some(cid) = cid_of(c, node)? else { return Ok(()) };
        let store = Arc::clone(&self.store);
        let data = match store.shared.pending.get(cid.hash()) {
            Some(data) => Ok(Some(data)),
            None if cid.hash().code() == hash::IDENTITY => read::identity(cid.hash()).map(Some),
            None => store.shared.read_stored(c, &cid),
        };
        let links = match data {
            Ok(Some(data)) => read::decode(&cid, &data),
            Ok(None) => {
                self.problems.push(Problem::Missing(cid));
                return Ok(());
            }
            Err(error) => Err(error),
        };
        match links {
            Ok(links) => {
                let nodes = nodes_of(c, &links)?;
                self.visit_all(c, nodes).map(|_| ())
            }
            Err(error @ (Error::Links { .. } | Error::Corrupt { .. } | Error::InvalidHash(_))) => {
                self.problems.push(Problem::Unreadable(cid, error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Marks nodes and puts those that have links on the stack; `false` when one has no row.
    fn visit_all(&mut self, c: &Connection, nodes: Vec<Node>) -> Result<bool, Error> {
        let mut deleting = Vec::new();
        if let Some(session) = self.session {
            let ids = nodes.iter().filter_map(|node| match node {
                Node::Known { id, .. } => Some(*id),
                Node::Named(_) => None,
            });
            deleting = session.touch_first(&ids.collect::<Vec<_>>());
        }
        let mut is_whole = true;
        let mut absent = Vec::new();
        index::snapshot(c, |c| {
            for node in nodes {
                let recorded = match &node {
                    Node::Known { id, .. } if deleting.contains(id) => Some(None),
                    Node::Known { id, .. } => index::recorded(c, *id)?,
                    Node::Named(_) => Some(None),
                };
                is_whole &= recorded.is_some();
                let Some(recorded) = recorded.filter(|_| self.marks.insert(&node)) else {
                    continue;
                };
                self.found.push(node.clone());
                match recorded {
                    Some(recorded) => self.open(node, recorded),
                    None => absent.push(node),
                }
            }
            Ok(())
        })?;
        absent.into_iter().try_for_each(|node| self.open_absent(c, node))?;
        Ok(is_whole)
    }

    /// Puts a node on the stack if it has links.
    fn open(&mut self, node: Node, recorded: Recorded) {
        let codec = node.codec();
        if codec == codec::RAW {
            return;
        }
        let known = recorded.children.filter(|_| recorded.codec == codec);
        match known.and_then(|packed| children::unpack(&packed)) {
            Some(children) if children.is_empty() => {}
            Some(children) => self.stack.push((node, Links::Packed(children))),
            None => self.stack.push((node, Links::Unknown)),
        }
    }

    /// A node whose block the index does not have: inline, on its way to the writer, or missing.
    fn open_absent(&mut self, c: &Connection, node: Node) -> Result<(), Error> {
        let is_raw = node.codec() == codec::RAW;
        if is_raw && !self.leaves_too {
            return Ok(());
        }
        let Some(cid) = cid_of(c, &node)? else { return Ok(()) };
        // Looked up again: it may have been written since.
        let is_here = match self.session {
            _ if cid.hash().code() == hash::IDENTITY => true,
            Some(session) => session.touch_with(c, cid.hash())?,
            None if self.store.shared.pending.get(cid.hash()).is_some() => true,
            None => index::find(c, cid.hash())?.is_some_and(|entry| entry.location.is_some()),
        };
        if !is_here {
            self.problems.push(Problem::Missing(cid));
        } else if !is_raw {
            self.stack.push((node, Links::Unknown));
        }
        Ok(())
    }
}
