//! What is known of a file or directory of the tree, or at a content path.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::{Error, Node, Reach, blocking};
use crate::ipld::{self, Cid, Path, PbLink, codec};
use crate::store::Store;
use crate::unixfs::data::{Kind, Mtime};
use crate::unixfs::read;

/// What is known of a file or directory.
#[derive(Debug, Clone)]
pub struct Stat {
    /// Its root.
    pub cid: Cid,
    /// Bytes of the file; 0 for a directory.
    pub size: u64,
    /// Length of all its blocks.
    pub dag_size: u64,
    /// Links of the root.
    pub links: usize,
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: Option<u32>,
    /// Its modification time.
    pub mtime: Option<Mtime>,
}

/// How much of a DAG is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locality {
    /// Whether all of it is.
    pub is_whole: bool,
    /// Length of the blocks that are, each counted as often as it is linked.
    pub bytes: u64,
}

impl Node {
    /// What is known of what a path leads to.
    ///
    /// # Errors
    /// When there is nothing, or nothing of UnixFS.
    pub async fn stat_file(&self, path: &str, reach: Reach) -> Result<Stat, Error> {
        let (cid, reach) = match Path::parse_uri(path) {
            Ok(_) => (self.resolve_text(path).await?.cid, reach),
            Err(_) => (self.mfs().target(path).await?.entry().cid.clone(), Reach::Network),
        };
        let block = self.get_block(&cid, reach).await?;
        if !matches!(cid.codec(), codec::RAW | codec::DAG_PB) {
            ipld::links(cid.codec(), &block)?;
            return Err(Error::failed("not unixfs node (proto or raw)"));
        }
        let node = read::Node::decode(&cid, &block)?;
        if let Kind::Other(number) = node.kind() {
            return Err(Error::Failed(format!("unrecognized node type: {number}")));
        }
        let dag_size = dag_size(&block, &node);
        let stat = node.stat();
        let (size, links) = match &node {
            read::Node::Raw(_) => (dag_size, 0),
            read::Node::Pb { data, links } => {
                (if data.kind.is_directory() { 0 } else { data.size() }, links.len())
            }
        };
        let (mode, mtime) = (stat.mode, stat.mtime);
        Ok(Stat { cid, size, dag_size, links, kind: node.kind(), mode, mtime })
    }

    /// How much of a DAG is here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn locality(&self, root: Cid) -> Result<Locality, Error> {
        let store = self.store().clone();
        blocking(move || locality(&store, root)).await
    }
}

/// Length of all blocks of a DAG, as its root says.
pub(super) fn dag_size(block: &Bytes, node: &read::Node) -> u64 {
    let links = match node {
        read::Node::Raw(_) => &[][..],
        read::Node::Pb { links, .. } => links,
    };
    let below = links.iter().map(PbLink::size);
    below.fold(block.len() as u64, u64::wrapping_add)
}

/// Every block once, though it counts as often as it is linked.
fn locality(store: &Store, root: Cid) -> Result<Locality, Error> {
    let mut known: HashMap<Cid, Locality> = HashMap::new();
    // Nodes whose children are being counted: the next child, and the sum so far.
    let mut stack: Vec<(Cid, Vec<Cid>, Locality)> = Vec::new();
    let mut entered = Some(root);
    loop {
        let done = match entered.take() {
            Some(cid) if known.contains_key(&cid) => Some(cid),
            Some(cid) => match store.size(cid.hash())? {
                None => {
                    known.insert(cid.clone(), Locality { is_whole: false, bytes: 0 });
                    Some(cid)
                }
                Some(bytes) => {
                    let mut children = store.children(&cid)?.unwrap_or_default();
                    children.reverse();
                    stack.push((cid, children, Locality { is_whole: true, bytes }));
                    None
                }
            },
            None => None,
        };
        if let Some(cid) = done {
            let found = known.get(&cid).copied();
            match (stack.last_mut(), found) {
                (Some((_, _, sum)), Some(found)) => {
                    sum.is_whole &= found.is_whole;
                    sum.bytes = sum.bytes.wrapping_add(found.bytes);
                }
                (None, Some(found)) => return Ok(found),
                _ => {}
            }
        }
        let Some((_, children, _)) = stack.last_mut() else {
            return Ok(Locality { is_whole: false, bytes: 0 });
        };
        entered = children.pop();
        if entered.is_none()
            && let Some((cid, _, sum)) = stack.pop()
        {
            known.insert(cid.clone(), sum);
            entered = Some(cid);
        }
    }
}
