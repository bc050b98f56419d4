//! `filestore/*`: kubo core/commands/filestore.go.
//!
//! Where the feature is off, as it is by default, the answer is Kubo's. A filestore itself is not
//! there yet: where the config asks for one, these commands are not available.

use super::{Error, Reply, Request};

/// What turns it on.
const SWITCHES: [&str; 2] = ["Experimental.FilestoreEnabled", "Experimental.UrlstoreEnabled"];

/// `filestore/dups`, `filestore/ls`, `filestore/verify`.
pub(super) async fn filestore(request: Request) -> Result<Reply, Error> {
    if SWITCHES.iter().any(|switch| request.node.config_flag(switch) == Some(true)) {
        return Err(Error::not_available(request.command.path));
    }
    Err(Error::new("filestore is not enabled, see https://git.io/vNItf"))
}
