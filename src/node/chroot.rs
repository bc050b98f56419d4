//! Another root for the mutable file system: what helps a node that its old root keeps from starting.
//!
//! Works on a repo that no daemon has open. A crash leaves the old root or the new one.

use bytes::Bytes;

use super::{Error, first_start, start};
use crate::ipld::dag_pb::PbNode;
use crate::ipld::quote::quote;
use crate::ipld::{Cid, codec};
use crate::mfs;
use crate::repo::Repo;
use crate::store::Store;
use crate::unixfs::data::{Data, Kind};

/// What the root was, if there was one that can be read, and is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chroot {
    /// The root before.
    pub old: Option<Cid>,
    /// The root now.
    pub new: Cid,
}

/// Makes `root` the root of the mutable file system; the empty directory for `None`.
///
/// # Errors
/// When it is no CID, not stored here, or no directory; or the repo cannot be written.
pub async fn chroot(repo: &Repo, root: Option<&str>) -> Result<Chroot, Error> {
    let (store, db) = start::open(repo).await?;
    let new = match root {
        Some(text) => named(text)?,
        None => first_start::empty_directory()?,
    };
    if new == first_start::empty_directory()? {
        first_start::put_empty_directory(&store).await?;
    }
    check(&store, &new)?;
    let old = mfs::replace_root(&db, new.clone()).await.map_err(Error::failed)?;
    Ok(Chroot { old, new })
}

/// A CID, or the path of one.
fn named(text: &str) -> Result<Cid, Error> {
    let bare = text.strip_prefix("/ipfs/").unwrap_or(text);
    let parsed = Cid::parse(bare.trim_end_matches('/'));
    parsed.map_err(|error| Error::Failed(format!("invalid CID {}: {error}", quote(text))))
}

fn check(store: &Store, root: &Cid) -> Result<(), Error> {
    let Some(block) = store.get(root)? else {
        return Err(Error::Failed(format!(
            "new root {root} does not exist locally; fetch it first with 'ipfs block get'"
        )));
    };
    let no_node = |error: &dyn std::fmt::Display| {
        Error::Failed(format!("new root is not a valid dag-pb node: {error}"))
    };
    if root.codec() != codec::DAG_PB {
        return Err(no_node(&format!("its codec is {:#x}", root.codec())));
    }
    let node = PbNode::decode(&block).map_err(|error| no_node(&error))?;
    let data = Data::decode(&node.data.unwrap_or_else(Bytes::new))
        .map_err(|error| Error::Failed(format!("new root is not a valid UnixFS node: {error}")))?;
    if data.kind.is_directory() {
        return Ok(());
    }
    let kind = match data.kind {
        Kind::Raw => "Raw".to_owned(),
        Kind::File => "File".to_owned(),
        Kind::Metadata => "Metadata".to_owned(),
        Kind::Symlink => "Symlink".to_owned(),
        kind => format!("{kind:?}"),
    };
    Err(Error::Failed(format!("new root must be a directory, got {kind}")))
}
