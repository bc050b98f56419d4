//! The trickle layout: leaves near the front of the file are near the root.
//!
//! A node takes leaves up to the limit, then subtrees of depth 1, 2, 3 and so on, four of each; a
//! subtree of depth d takes only subtrees shallower than itself.

use super::data::Stat;
use super::import::{CidRule, FileNode, ImportError, Subtree};
use crate::ipld::Block;

/// Subtrees of each depth in one node.
const REPEAT: usize = 4;

/// The nodes from the root to the one that takes the next leaf.
#[derive(Debug)]
pub(super) struct Trickle {
    cid: CidRule,
    links_max: usize,
    spine: Vec<Open>,
}

#[derive(Debug, Default)]
struct Open {
    node: FileNode,
    /// Subtrees so far.
    subtrees: usize,
    /// Subtrees must be shallower than this; the root knows no limit.
    depth: Option<usize>,
}

impl Open {
    /// Depth of the next subtree, or `None` when there is room for none.
    fn next_depth(&self) -> Option<usize> {
        let next = 1 + self.subtrees / REPEAT;
        self.depth.is_none_or(|depth| next < depth).then_some(next)
    }
}

impl Trickle {
    pub(super) fn new(cid: CidRule, links_max: usize) -> Self {
        Self { cid, links_max: links_max.max(1), spine: vec![Open::default()] }
    }

    pub(super) fn push(&mut self, leaf: Subtree, out: &mut Vec<Block>) -> Result<(), ImportError> {
        while let Some(open) = self.spine.last_mut() {
            if open.node.len() < self.links_max {
                open.node.add(leaf);
                return Ok(());
            }
            if let Some(depth) = open.next_depth() {
                self.spine.push(Open { depth: Some(depth), ..Open::default() });
            } else {
                self.close_last(out)?;
            }
        }
        Ok(())
    }

    /// Finishes the innermost node, which is not the root, into the one around it.
    fn close_last(&mut self, out: &mut Vec<Block>) -> Result<(), ImportError> {
        let Some(open) = self.spine.pop() else { return Ok(()) };
        let (block, subtree) = open.node.finish(&self.cid, Stat::default())?;
        out.push(block);
        if let Some(parent) = self.spine.last_mut() {
            parent.node.add(subtree);
            parent.subtrees += 1;
        }
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        stat: Stat,
        out: &mut Vec<Block>,
    ) -> Result<Subtree, ImportError> {
        while self.spine.len() > 1 {
            self.close_last(out)?;
        }
        let root = self.spine.pop().unwrap_or_default();
        let (block, subtree) = root.node.finish(&self.cid, stat)?;
        out.push(block);
        Ok(subtree)
    }
}
