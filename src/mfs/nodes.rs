//! Blocks of directories, decoded, as an edit reads them: from memory or from the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Fail;
use crate::ipld::{Cid, codec};
use crate::store::Store;
use crate::unixfs::read::Node;

/// Links held by one generation of nodes, at about 100 bytes each.
const LINKS_MAX: usize = 1 << 17;

/// Reads nodes, and keeps those of directories.
#[derive(Debug)]
pub(super) struct Nodes {
    store: Store,
    cache: Mutex<Cache>,
}

/// Two generations: what is not used while one fills up is forgotten.
#[derive(Debug, Default)]
struct Cache {
    young: HashMap<Cid, Arc<Node>>,
    old: HashMap<Cid, Arc<Node>>,
    links: usize,
}

impl Cache {
    fn get(&mut self, cid: &Cid) -> Option<Arc<Node>> {
        if let Some(node) = self.young.get(cid) {
            return Some(Arc::clone(node));
        }
        let node = self.old.remove(cid)?;
        self.insert(cid, Arc::clone(&node));
        Some(node)
    }

    fn insert(&mut self, cid: &Cid, node: Arc<Node>) {
        let Node::Pb { data, links } = node.as_ref() else { return };
        if !data.kind.is_directory() {
            return;
        }
        self.links += links.len() + 1;
        self.young.insert(cid.clone(), node);
        if self.links > LINKS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.links = 0;
        }
    }
}

impl Nodes {
    pub(super) fn new(store: Store) -> Self {
        Self { store, cache: Mutex::default() }
    }

    /// The node of a stored block.
    pub(super) fn get(&self, cid: &Cid) -> Result<Arc<Node>, Fail> {
        if let Some(node) = self.cache().get(cid) {
            return Ok(node);
        }
        if !matches!(cid.codec(), codec::DAG_PB | codec::RAW) {
            return Err(super::Error::Codec.into());
        }
        let block = self.store.get(cid)?.ok_or_else(|| Fail::Missing(cid.clone()))?;
        let node = Arc::new(Node::decode(cid, &block)?);
        self.cache().insert(cid, Arc::clone(&node));
        Ok(node)
    }

    /// The size of a stored block.
    pub(super) fn size(&self, cid: &Cid) -> Result<u64, Fail> {
        self.store.size(cid.hash())?.ok_or_else(|| Fail::Missing(cid.clone()))
    }

    /// Keeps the node of a new block.
    pub(super) fn keep(&self, cid: &Cid, node: Node) {
        self.cache().insert(cid, Arc::new(node));
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // No code panics with the lock held.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
