//! `mount`: kubo core/commands/mount_unix.go, on a machine without FUSE.

use super::{Error, Reply, Request};

/// `mount`: there are no mounts, and the answer has the form of Kubo's where FUSE is missing.
pub(super) async fn mount(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    let folder = match request.options.opt_string("ipfs-path") {
        Some(folder) => folder.to_owned(),
        None => request.node.config_text("Mounts.IPFS").unwrap_or_default(),
    };
    Err(Error::new(format!("mounting {folder}: FUSE is not part of pinmesh")))
}
