//! `object/patch` and `object/diff`: single links of dag-pb nodes, and what differs between two.
//!
//! Owns no state. What a patch makes is stored, durable when it returns, and pinned by nobody.
//! The rules are those of boxo's `ipld/merkledag/dagutils`: a node that is changed is written anew
//! with a name and a size on every link.

use bytes::Bytes;

use super::block::{SOFT_BYTES_MAX, TOO_BIG};
use super::{Error, Node, Reach};
use crate::ipld::path::{Path, join_clean};
use crate::ipld::{Block, Cid, PbLink, PbNode, Prefix, Version, codec, data, hash};
use crate::unixfs::data::{Data, Kind};

const NO_LINK: &str = "no link by that name";
const NOT_PROTOBUF: &str = "expected protobuf dag node";

/// What to change in a node.
#[derive(Debug, Clone)]
pub struct Patch {
    /// The path of the node.
    pub root: String,
    /// The name of the link; slashes lead into the nodes below.
    pub name: String,
    /// Whether nodes that are no directory may be changed, too.
    pub any_node: bool,
    /// Whether the result may be larger than what other nodes take.
    pub allow_big: bool,
}

/// How a link differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// In both, pointing elsewhere.
    Changed,
}

/// A difference between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// The names that lead there.
    pub path: String,
    /// What the first has there.
    pub before: Option<Cid>,
    /// What the second has there.
    pub after: Option<Cid>,
}

/// What is done to the last node on the way.
enum Edit<'a> {
    Add { child: &'a Found, create: bool },
    Remove,
}

/// A block that was fetched.
struct Found {
    cid: Cid,
    block: Bytes,
    /// Its links and data, when it is dag-pb.
    node: Option<PbNode>,
}

impl Found {
    /// The size of all that hangs below, as a link says it.
    fn cumulative_size(&self) -> u64 {
        let links = self.node.iter().flat_map(|node| &node.links);
        links.fold(self.block.len() as u64, |sum, link| sum.saturating_add(link.size()))
    }
}

impl Node {
    /// The node with one link more, or with that link pointing elsewhere; `create` makes the
    /// directories on the way.
    ///
    /// # Errors
    /// With Kubo's texts, when a path leads nowhere or the node should not be changed like this.
    pub async fn add_link(
        &self,
        patch: &Patch,
        child: &str,
        create: bool,
        reach: Reach,
    ) -> Result<Cid, Error> {
        let (root, child) = (parse(&patch.root)?, parse(child)?);
        let root = self.node_at(&root, reach).await?;
        let child = self.node_at(&child, reach).await?;
        let node = checked(&root, patch.any_node, &Wording::ADD)?;
        let edit = Edit::Add { child: &child, create };
        self.patched((root.cid.prefix(), node), patch, edit, reach).await
    }

    /// The node without a link.
    ///
    /// # Errors
    /// As [`Node::add_link`].
    pub async fn remove_link(&self, patch: &Patch, reach: Reach) -> Result<Cid, Error> {
        let root = self.node_at(&parse(&patch.root)?, reach).await?;
        let node = checked(&root, patch.any_node, &Wording::REMOVE)?;
        self.patched((root.cid.prefix(), node), patch, Edit::Remove, reach).await
    }

    async fn patched(
        &self,
        root: (Prefix, PbNode),
        patch: &Patch,
        edit: Edit<'_>,
        reach: Reach,
    ) -> Result<Cid, Error> {
        let mut names: Vec<&str> = patch.name.split('/').collect();
        let last = names.pop().unwrap_or_default();
        // The nodes from the root down to the one that has the link.
        let mut way = vec![root];
        for name in &names {
            let Some((_, node)) = way.last() else { break };
            let link = node.links.iter().find(|link| link.name() == name.as_bytes());
            let next = match (link, &edit) {
                (Some(link), _) => {
                    let found = self.fetch(link.cid.clone(), reach).await?;
                    (found.cid.prefix(), found.node.ok_or_else(|| Error::failed(NOT_PROTOBUF))?)
                }
                (None, Edit::Add { create: true, .. }) => (plain_prefix(), empty_directory()),
                (None, _) => return Err(Error::failed(NO_LINK)),
            };
            way.push(next);
        }
        let Some((_, lowest)) = way.last_mut() else { return Err(Error::failed(NO_LINK)) };
        match edit {
            Edit::Add { .. } if last.is_empty() => {
                return Err(Error::failed("cannot create link with no name"));
            }
            Edit::Add { child, .. } => {
                let size = child.cumulative_size();
                set_link(lowest, last, child.cid.clone(), size);
            }
            Edit::Remove => {
                let before = lowest.links.len();
                lowest.links.retain(|link| link.name() != last.as_bytes());
                if lowest.links.len() == before {
                    return Err(Error::failed(NO_LINK));
                }
            }
        }
        let written = written(way, &names)?;
        let session = self.store().session();
        session.put_many(written.blocks).await?;
        session.flush().await?;
        // As Kubo, what is weighed is the node and all below it; and it is stored all the same.
        if written.size > SOFT_BYTES_MAX as u64 && !patch.allow_big {
            return Err(Error::failed(TOO_BIG));
        }
        Ok(written.root)
    }

    /// What differs between two nodes: the links of directories, one by one and as deep as both
    /// have links; anything else as a whole.
    ///
    /// # Errors
    /// When a path leads nowhere, or a block is not to be had.
    pub async fn diff(&self, a: &str, b: &str, reach: Reach) -> Result<Vec<Change>, Error> {
        let (a, b) = (parse(a)?, parse(b)?);
        let a = self.node_at(&a, reach).await?;
        let b = self.node_at(&b, reach).await?;
        let mut changes = Vec::new();
        let mut open: Vec<Comparison> = Vec::new();
        open.extend(compare(String::new(), a, b, &mut changes));
        while let Some(top) = open.last_mut() {
            match top.next_pair() {
                Some((path, a, b)) => {
                    let a = self.fetch(a, reach).await?;
                    let b = self.fetch(b, reach).await?;
                    open.extend(compare(path, a, b, &mut changes));
                }
                None => {
                    if let Some(done) = open.pop() {
                        done.finish(&mut changes);
                    }
                }
            }
        }
        Ok(changes)
    }

    /// The block that a path points at; what of the path leads on within it is passed over.
    async fn node_at(&self, path: &Path, reach: Reach) -> Result<Found, Error> {
        let cid = self.resolve(path).await?.cid;
        self.fetch(cid, reach).await
    }

    async fn fetch(&self, cid: Cid, reach: Reach) -> Result<Found, Error> {
        let block = self.get_block(&cid, reach).await?;
        let node = match cid.codec() {
            codec::DAG_PB => Some(PbNode::decode(&block)?),
            codec::RAW => None,
            // Kubo decodes what it will not look into.
            other => {
                data::decode_block(other, &block)?;
                None
            }
        };
        Ok(Found { cid, block, node })
    }
}

fn parse(text: &str) -> Result<Path, Error> {
    Path::parse(text).map_err(Error::failed)
}

/// How refusals are worded.
struct Wording {
    named: &'static str,
    plain: &'static str,
    done: &'static str,
    command: &'static str,
}

impl Wording {
    const ADD: Self = Self {
        named: "add named links to",
        plain: "add links to",
        done: "link addition",
        command: "'ipfs files' commands instead",
    };
    const REMOVE: Self = Self {
        named: "remove links from",
        plain: "remove links from",
        done: "link removal",
        command: "'ipfs files rm' instead",
    };
}

/// The node, when it is one whose links may be changed: a plain directory.
fn checked(found: &Found, any_node: bool, wording: &Wording) -> Result<PbNode, Error> {
    let node = found.node.clone().ok_or_else(|| Error::failed(NOT_PROTOBUF))?;
    if any_node {
        return Ok(node);
    }
    let Wording { named, plain, done, command } = wording;
    let Ok(data) = Data::decode(&node.data.clone().unwrap_or_default()) else {
        return Err(Error::failed(format!(
            "cannot {named} a non-UnixFS dag-pb node; pass --allow-non-unixfs to skip validation"
        )));
    };
    let number;
    let name = match data.kind {
        Kind::Directory => return Ok(node),
        Kind::HamtShard => {
            return Err(Error::failed(format!(
                "cannot {plain} a HAMTShard at the dag-pb level (would corrupt the HAMT \
                 bitfield); use {command}, or pass --allow-non-unixfs to override"
            )));
        }
        Kind::Raw => "Raw",
        Kind::File => "File",
        Kind::Metadata => "Metadata",
        Kind::Symlink => "Symlink",
        Kind::Other(other) => {
            number = other.to_string();
            &number
        }
    };
    Err(Error::failed(format!(
        "cannot {named} a UnixFS {name} node, only Directory nodes support {done} at the dag-pb \
         level (see https://specs.ipfs.tech/unixfs/)"
    )))
}

fn plain_prefix() -> Prefix {
    Prefix { version: Version::V0, codec: codec::DAG_PB, hash: hash::SHA2_256, length: None }
}

fn empty_directory() -> PbNode {
    PbNode { links: Vec::new(), data: Some(Data::new(Kind::Directory).encode().into()) }
}

/// Replaces every link of this name with one.
fn set_link(node: &mut PbNode, name: &str, cid: Cid, size: u64) {
    node.links.retain(|link| link.name() != name.as_bytes());
    node.links.push(PbLink::new(cid, name.as_bytes().to_vec(), size));
}

/// Changed nodes as blocks.
struct Written {
    blocks: Vec<Block>,
    root: Cid,
    /// Of the root and all below it.
    size: u64,
}

/// The nodes as blocks, each linked from the one above it by its name.
fn written(mut way: Vec<(Prefix, PbNode)>, names: &[&str]) -> Result<Written, Error> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut names = names.iter().rev();
    let mut below: Option<(Cid, u64)> = None;
    while let Some((prefix, mut node)) = way.pop() {
        if let Some((cid, size)) = below.take() {
            set_link(&mut node, names.next().copied().unwrap_or_default(), cid, size);
        }
        for link in &mut node.links {
            link.name.get_or_insert_default();
            link.tsize.get_or_insert_default();
        }
        let data = Bytes::from(node.encode());
        let cid = prefix.sum(&data)?;
        let found = Found { cid: cid.clone(), block: data.clone(), node: Some(node) };
        below = Some((cid.clone(), found.cumulative_size()));
        blocks.push(Block { cid, data });
    }
    let (root, size) = below.ok_or_else(|| Error::failed(NO_LINK))?;
    Ok(Written { blocks, root, size })
}

/// Two nodes whose links are being compared.
struct Comparison {
    path: String,
    a: Vec<PbLink>,
    b: Vec<PbLink>,
    /// The next link of `a`.
    at: usize,
    /// What no link of the other has the name of.
    only_a: Vec<PbLink>,
    only_b: Vec<PbLink>,
}

/// Compares two nodes: at once, or link by link.
fn compare(path: String, a: Found, b: Found, changes: &mut Vec<Change>) -> Option<Comparison> {
    if a.cid == b.cid {
        return None;
    }
    match (a.node, b.node) {
        (Some(a), Some(b)) if !(a.links.is_empty() && b.links.is_empty()) => Some(Comparison {
            path,
            only_a: a.links.clone(),
            only_b: b.links.clone(),
            a: a.links,
            b: b.links,
            at: 0,
        }),
        _ => {
            let (before, after) = (Some(a.cid), Some(b.cid));
            changes.push(Change { kind: ChangeKind::Changed, path, before, after });
            None
        }
    }
}

impl Comparison {
    /// The next two blocks that stand under one name and differ.
    fn next_pair(&mut self) -> Option<(String, Cid, Cid)> {
        while let Some(a) = self.a.get(self.at) {
            self.at += 1;
            let Some(b) = self.b.iter().find(|link| link.name() == a.name()) else { continue };
            self.only_a.retain(|link| link.name() != a.name());
            self.only_b.retain(|link| link.name() != a.name());
            if a.cid != b.cid {
                return Some((self.below(a), a.cid.clone(), b.cid.clone()));
            }
        }
        None
    }

    fn below(&self, link: &PbLink) -> String {
        join_clean(&self.path, &String::from_utf8_lossy(link.name()))
    }

    /// What is left when every pair has been looked at.
    fn finish(self, changes: &mut Vec<Change>) {
        for link in &self.only_a {
            let (path, before) = (self.name_of(link), Some(link.cid.clone()));
            changes.push(Change { kind: ChangeKind::Removed, path, before, after: None });
        }
        for link in &self.only_b {
            let (path, after) = (self.name_of(link), Some(link.cid.clone()));
            changes.push(Change { kind: ChangeKind::Added, path, before: None, after });
        }
    }

    /// At the top Go takes a name as it is; further down it cleans the path.
    fn name_of(&self, link: &PbLink) -> String {
        if self.path.is_empty() {
            return String::from_utf8_lossy(link.name()).into_owned();
        }
        self.below(link)
    }
}
