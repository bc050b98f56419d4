//! `get`: kubo `core/commands/get.go`.
//!
//! Unlike Kubo, a directory is refused whose entries would not be unpacked where their names say:
//! names that are no single name, and entries in the place of a symbolic link.

use futures_util::StreamExt as _;

use super::{Error, Reply, Request};
use crate::node::get::Packing;
use crate::tar::Format;

/// What Go's gzip takes for its default.
const LEVEL_DEFAULT: u32 = 6;

/// `get`.
pub(super) async fn get(mut request: Request) -> Result<Reply, Error> {
    let gzip = level(&request)?;
    let archive = request.options.bool("archive");
    let tar = match (archive, gzip) {
        (true, _) => Some(Format::Smallest),
        (false, None) => Some(Format::Pax),
        (false, Some(_)) => None,
    };
    let path = request.next_arg().await?.unwrap_or_default();
    let archive = request.node.archive(&path, Packing { tar, gzip }, request.reach()).await?;
    let Some(bytes) = archive.bytes else {
        return Err(Error::new("file is not regular").with_length(archive.length));
    };
    let content_type = if gzip.is_some() { "application/gzip" } else { "application/x-tar" };
    let bytes = bytes.map(|bytes| bytes.map_err(Error::from));
    Ok(Reply::raw(bytes).content_type(content_type).length(archive.length))
}

/// The level of compression, if any is wanted.
fn level(request: &Request) -> Result<Option<u32>, Error> {
    if !request.options.bool("compress") {
        return Ok(None);
    }
    let Some(level) = request.options.opt_int("compression-level") else {
        return Ok(Some(LEVEL_DEFAULT));
    };
    match u32::try_from(level) {
        Ok(level @ 1..=9) => Ok(Some(level)),
        _ => Err(Error::new("compression level must be between 1 and 9")),
    }
}
