//! The end of a file moves to the front: the leaf around it is cut, what follows is let go.

use bytes::Bytes;

use super::node::{FileNode, Inner};
use super::{DEPTH_MAX, Modifier};
use crate::mfs::{Error, Naming};

impl Modifier<'_> {
    /// Cuts the file; it must be longer than `size`.
    pub(super) async fn cut(&mut self, size: u64) -> Result<(), Error> {
        let mut node = std::mem::replace(&mut self.root, FileNode::Inner(Inner::new(self.naming)));
        let mut left = size;
        let mut above: Vec<Inner> = Vec::new();
        let mut cut = loop {
            let mut inner = match node {
                FileNode::Inner(inner) if !inner.links.is_empty() => inner,
                leaf => break cut_leaf(leaf, left),
            };
            if above.len() >= DEPTH_MAX {
                return Err(Error::TooDeep);
            }
            let own = inner.own_len();
            if left < own {
                inner.links.clear();
                inner.data.block_sizes.clear();
                inner.data.file_size = Some(own);
                break cut_leaf(FileNode::Inner(inner), left);
            }
            left -= own;
            let (at, inside) = position(&inner, left)?;
            let link = inner.links.get(at).map(|link| link.cid.clone());
            let Some(cid) = link else { return Err(Error::TooDeep) };
            node = self.load(&cid).await?;
            // What is cut is let go; the child in which the end is comes back when it is cut, too.
            inner.links.truncate(at);
            inner.data.block_sizes.truncate(at);
            let own = inner.data.data.as_ref().map_or(0, |data| data.len() as u64);
            let kept: u64 = inner.data.block_sizes.iter().sum();
            inner.data.file_size = Some(own.saturating_add(kept));
            left = inside;
            above.push(inner);
        };
        let mut end = left;
        while let Some(mut inner) = above.pop() {
            let (block, mut subtree) = cut.finish()?;
            self.put(block).await?;
            subtree.file_size = end;
            let kept: u64 = inner.data.block_sizes.iter().sum();
            end = end.saturating_add(kept).saturating_add(inner.own_len_of(kept));
            inner.add(subtree);
            cut = FileNode::Inner(inner);
        }
        self.root = cut;
        Ok(())
    }
}

impl Inner {
    /// Bytes of its own that count beside `kept` bytes of children.
    fn own_len_of(&self, kept: u64) -> u64 {
        let own = self.data.data.as_ref().map_or(0, |data| data.len() as u64);
        if self.data.file_size == kept.checked_add(own) { own } else { 0 }
    }
}

/// The child in which the end is, and where in it.
fn position(inner: &Inner, size: u64) -> Result<(usize, u64), Error> {
    let mut at = 0_u64;
    for (i, (block_size, link)) in inner.data.block_sizes.iter().zip(&inner.links).enumerate() {
        let corrupt = || Error::Corrupt(link.cid.clone());
        let end = at.checked_add(*block_size).ok_or_else(corrupt)?;
        if size < end {
            return Ok((i, size - at));
        }
        at = end;
    }
    match inner.links.first() {
        Some(link) => Err(Error::Corrupt(link.cid.clone())),
        None => Err(Error::TooDeep),
    }
}

/// In Kubo a leaf that is a node goes by a CIDv0 when it is cut, and one cut to nothing keeps an
/// empty field for its bytes.
fn cut_leaf(leaf: FileNode, size: u64) -> FileNode {
    let bound = |data: &Bytes| usize::try_from(size).unwrap_or(usize::MAX).min(data.len());
    match leaf {
        FileNode::Raw(naming, data) => FileNode::Raw(naming, data.slice(..bound(&data))),
        FileNode::Inner(mut inner) => {
            inner.naming = Naming::V0;
            if let Some(data) = &inner.data.data {
                let cut = data.slice(..bound(data));
                let gone = (data.len() - cut.len()) as u64;
                inner.data.file_size = Some(inner.data.file_size.unwrap_or(0).saturating_sub(gone));
                inner.data.data = Some(cut);
            }
            inner.renew_mtime();
            FileNode::Inner(inner)
        }
    }
}
