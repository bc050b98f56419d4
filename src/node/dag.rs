//! Nodes of the data model: blocks made from input, and blocks shown in another codec.
//!
//! Owns no state. What is large is decoded on the blocking pool.

use bytes::Bytes;

use super::resolve::Resolved;
use super::{Error, Node, Reach, blocking};
use crate::ipld::{Typed, data};

/// Input below this size is decoded where it is: handing it over takes longer.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Encodes what is in one codec in another.
///
/// # Errors
/// With the texts of Go's codecs. The one that says `EOF` is what Go takes for the end of all
/// input.
pub async fn transcode(input: Bytes, from: u64, to: u64) -> Result<Bytes, Error> {
    if input.len() > INLINE_BYTES_MAX {
        return blocking(move || transcode_now(&input, from, to)).await;
    }
    transcode_now(&input, from, to)
}

fn transcode_now(input: &Bytes, from: u64, to: u64) -> Result<Bytes, Error> {
    let node = data::decode(from, input)?;
    let mut out = Vec::with_capacity(input.len());
    data::encode(to, &node, &mut out).map_err(Error::failed)?;
    Ok(out.into())
}

impl Node {
    /// The node that a path points at.
    ///
    /// # Errors
    /// When its block is not to be had or read, or has nothing there.
    pub async fn dag_node(&self, path: &Resolved, reach: Reach) -> Result<Typed, Error> {
        let block = self.get_block(&path.cid, reach).await?;
        let mut node = data::decode_block(path.cid.codec(), &block)?;
        for segment in &path.remainder {
            node = node.into_segment(segment).map_err(Error::failed)?;
        }
        Ok(node)
    }
}
