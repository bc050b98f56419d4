//! The balanced layout: every leaf at the same depth, nodes filled from the left.

use super::data::Stat;
use super::import::{CidRule, FileNode, ImportError, Subtree};
use crate::ipld::Block;

/// One unfinished node a level; level 0 is just above the leaves.
#[derive(Debug)]
pub(super) struct Balanced {
    cid: CidRule,
    links_max: usize,
    /// The first leaf waits here: alone it is the root itself.
    first: Option<Subtree>,
    levels: Vec<FileNode>,
}

impl Balanced {
    pub(super) fn new(cid: CidRule, links_max: usize) -> Self {
        Self { cid, links_max, first: None, levels: Vec::new() }
    }

    pub(super) fn is_one_leaf(&self) -> bool {
        self.first.is_some()
    }

    pub(super) fn push(&mut self, leaf: Subtree, out: &mut Vec<Block>) -> Result<(), ImportError> {
        if self.levels.is_empty() {
            let Some(first) = self.first.take() else {
                self.first = Some(leaf);
                return Ok(());
            };
            if self.links_max < 2 {
                return Err(ImportError::LinksTooFew);
            }
            let mut node = FileNode::default();
            node.add(first);
            self.levels.push(node);
        }
        self.add(0, leaf, out)
    }

    /// Adds a subtree at a level. A full node moves up only then: until more comes it may be the
    /// root.
    fn add(
        &mut self,
        mut level: usize,
        mut subtree: Subtree,
        out: &mut Vec<Block>,
    ) -> Result<(), ImportError> {
        loop {
            let Some(node) = self.levels.get_mut(level) else {
                let mut node = FileNode::default();
                node.add(subtree);
                self.levels.push(node);
                return Ok(());
            };
            if node.len() < self.links_max {
                node.add(subtree);
                return Ok(());
            }
            let full = std::mem::take(node);
            node.add(subtree);
            let block;
            (block, subtree) = full.finish(&self.cid, Stat::default())?;
            out.push(block);
            level += 1;
        }
    }

    /// The root, or `None` when there was no leaf.
    pub(super) fn finish(
        mut self,
        stat: Stat,
        out: &mut Vec<Block>,
    ) -> Result<Option<Subtree>, ImportError> {
        let mut level = 0;
        while let Some(node) = self.levels.get_mut(level) {
            let node = std::mem::take(node);
            level += 1;
            let is_root = level == self.levels.len();
            let stat = if is_root { stat } else { Stat::default() };
            let (block, subtree) = node.finish(&self.cid, stat)?;
            out.push(block);
            if is_root {
                return Ok(Some(subtree));
            }
            self.add(level, subtree, out)?;
        }
        Ok(self.first)
    }
}
