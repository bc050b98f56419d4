//! Bytes in the place of others: the leaves that hold them change, and the nodes above those.

use bytes::{Buf as _, Bytes};

use super::node::{FileNode, Inner};
use super::{DEPTH_MAX, Modifier};
use crate::mfs::Error;

/// A node whose children are being gone through.
struct Frame {
    node: Inner,
    /// The next child, and where it begins in this node.
    next: usize,
    at: u64,
    /// Where the next byte goes, in this node.
    offset: u64,
}

impl Modifier<'_> {
    /// Writes as much of `bytes` as there is room for from `offset` on, and takes it out of them.
    pub(super) async fn overwrite(&mut self, offset: u64, bytes: &mut Bytes) -> Result<(), Error> {
        let root = std::mem::replace(&mut self.root, FileNode::Inner(Inner::new(self.naming)));
        let mut stack: Vec<Frame> = Vec::new();
        let mut entered = Some((root, offset));
        loop {
            if let Some((node, offset)) = entered.take() {
                match node {
                    FileNode::Inner(node) if !node.links.is_empty() => {
                        if stack.len() >= DEPTH_MAX {
                            return Err(Error::TooDeep);
                        }
                        stack.push(enter(node, offset, bytes)?);
                    }
                    leaf => {
                        let leaf = overwrite_leaf(leaf, offset, bytes);
                        let Some(above) = stack.last_mut() else {
                            self.root = leaf;
                            return Ok(());
                        };
                        let (block, subtree) = leaf.finish()?;
                        above.set(subtree.cid, bytes.is_empty());
                        self.put(block).await?;
                    }
                }
            }
            let Some(top) = stack.last_mut() else { return Ok(()) };
            if let Some((cid, offset)) = top.next_child()? {
                entered = Some((self.load(&cid).await?, offset));
                continue;
            }
            let Some(done) = stack.pop() else { return Ok(()) };
            let Some(above) = stack.last_mut() else {
                self.root = FileNode::Inner(done.node);
                return Ok(());
            };
            let (block, subtree) = done.node.finish()?;
            above.set(subtree.cid, bytes.is_empty());
            self.put(block).await?;
        }
    }
}

impl Frame {
    /// The next child that has to change, and where in it.
    fn next_child(&mut self) -> Result<Option<(crate::ipld::Cid, u64)>, Error> {
        while let Some(size) = self.node.data.block_sizes.get(self.next) {
            let end = self.at.saturating_add(*size);
            if end > self.offset {
                let corrupt = || self.corrupt();
                let link = self.node.links.get(self.next).ok_or_else(corrupt)?;
                let inside = self.offset.checked_sub(self.at).ok_or_else(corrupt)?;
                return Ok(Some((link.cid.clone(), inside)));
            }
            self.at = end;
            self.next += 1;
        }
        Ok(None)
    }

    /// Links the child that was asked for anew; it is the last one when nothing is left to write.
    fn set(&mut self, cid: crate::ipld::Cid, is_last: bool) {
        if let Some(link) = self.node.links.get_mut(self.next) {
            link.cid = cid;
        }
        if is_last {
            self.next = self.node.links.len().max(self.node.data.block_sizes.len());
            return;
        }
        let size = self.node.data.block_sizes.get(self.next).copied().unwrap_or(0);
        self.at = self.at.saturating_add(size);
        self.offset = self.at;
        self.next += 1;
    }

    fn corrupt(&self) -> Error {
        match self.node.links.first() {
            Some(link) => Error::Corrupt(link.cid.clone()),
            None => Error::TooDeep,
        }
    }
}

/// Begins with a node: bytes of its own come first.
fn enter(mut node: Inner, offset: u64, bytes: &mut Bytes) -> Result<Frame, Error> {
    let own = node.own_len();
    let mut offset = offset;
    if offset < own
        && let Some(data) = &node.data.data
    {
        let (data, written) = patched(data, offset, bytes);
        node.data.data = Some(data);
        offset += written;
    }
    let next = if bytes.is_empty() { node.data.block_sizes.len() } else { 0 };
    Ok(Frame { node, next, at: own, offset: offset.max(own) })
}

fn overwrite_leaf(leaf: FileNode, offset: u64, bytes: &mut Bytes) -> FileNode {
    match leaf {
        FileNode::Raw(naming, data) => FileNode::Raw(naming, patched(&data, offset, bytes).0),
        FileNode::Inner(mut inner) => {
            if let Some(data) = &inner.data.data {
                inner.data.data = Some(patched(data, offset, bytes).0);
            }
            inner.renew_mtime();
            FileNode::Inner(inner)
        }
    }
}

/// `data` with what fits of `bytes` from `offset` on, and how much that was.
fn patched(data: &Bytes, offset: u64, bytes: &mut Bytes) -> (Bytes, u64) {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
    let len = bytes.len().min(data.len() - from);
    let mut patched = data.to_vec();
    for (slot, byte) in patched.iter_mut().skip(from).zip(bytes.iter().take(len)) {
        *slot = *byte;
    }
    bytes.advance(len);
    (patched.into(), len as u64)
}
