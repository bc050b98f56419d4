//! `cat`: kubo `core/commands/cat.go`.
//!
//! Unlike Kubo, a block that is not what was stored ends the answer with an error that names it,
//! and a reader that stands still holds one read-ahead of a megabyte and not a pipe of blocks.

use futures_util::StreamExt as _;

use super::{Error, Reply, Request};
use crate::node::cat::Slice;

/// `cat`.
pub(super) async fn cat(mut request: Request) -> Result<Reply, Error> {
    let offset = u64::try_from(request.options.opt_int("offset").unwrap_or(0))
        .map_err(|_| Error::new("cannot specify negative offset"))?;
    let length = request
        .options
        .opt_int("length")
        .map(u64::try_from)
        .transpose()
        .map_err(|_| Error::new("cannot specify negative length"))?;
    let paths = request.all_args().await?;
    let slice = Slice { offset, length };
    let cat = request.node.cat(&paths, slice, request.reach()).await?;
    let bytes = cat.bytes.map(|bytes| bytes.map_err(Error::from));
    Ok(Reply::raw(bytes).length(cat.length).whole_reads())
}
