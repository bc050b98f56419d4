//! How large DAGs are: blocks and bytes, counted from the index without reading blocks.

use super::traverse::{Traversal, Visit};
use super::walk::Seen;
use super::{Error, Node, Reach};
use crate::ipld::{Cid, links};

/// Counts the blocks of one DAG after another.
#[derive(Debug)]
pub struct DagStat {
    node: Node,
    reach: Reach,
    /// What was met under earlier roots. `None` while there is one root: no block is met twice.
    seen: Option<Seen>,
    traversal: Option<Traversal>,
    visits: std::vec::IntoIter<Visit>,
}

/// A block of the DAG that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Its size.
    pub size: u64,
    /// Whether it is the first time, all DAGs taken together.
    pub is_new: bool,
}

impl Node {
    /// A count of DAGs; of several when `many`.
    #[must_use]
    pub fn dag_stat(&self, many: bool, reach: Reach) -> DagStat {
        let seen = many.then(Seen::default);
        let visits = Vec::new().into_iter();
        DagStat { node: self.clone(), reach, seen, traversal: None, visits }
    }
}

impl DagStat {
    /// Begins with a root.
    ///
    /// # Errors
    /// When its block is not to be had or read.
    pub async fn begin(&mut self, root: &Cid) -> Result<(), Error> {
        let block = self.node.get_block(root, self.reach).await?;
        links(root.codec(), &block)?;
        self.visits = Vec::new().into_iter();
        self.traversal = Some(Traversal::new(&self.node, root.clone(), self.reach));
        Ok(())
    }

    /// The next block, parents before children; `None` after the last.
    ///
    /// # Errors
    /// When a block is not to be had or read.
    pub async fn next(&mut self) -> Result<Option<Counted>, Error> {
        loop {
            if let Some(Visit { cid, size }) = self.visits.next() {
                let is_new = self.seen.as_mut().is_none_or(|seen| seen.insert(&cid));
                return Ok(Some(Counted { size, is_new }));
            }
            let Some(traversal) = &mut self.traversal else { return Ok(None) };
            let Some(visits) = traversal.next().await? else { return Ok(None) };
            self.visits = visits.into_iter();
        }
    }
}
