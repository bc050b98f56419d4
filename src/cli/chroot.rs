//! `files chroot`, which Kubo has on the command line alone (kubo core/commands/files.go).

use anyhow::{anyhow, bail};

use super::{Global, print};
use crate::node::chroot::{Chroot, chroot};
use crate::repo::Repo;

/// Makes `cid` the root of the mutable file system, or the empty directory. No daemon may be running.
pub(super) fn run(global: &Global, cid: Option<&str>, is_confirmed: bool) -> anyhow::Result<()> {
    if !is_confirmed {
        bail!("this is a potentially destructive operation; pass --confirm to proceed");
    }
    let repo = Repo::open(&global.repo_path(), global.config_file.as_deref())
        .map_err(|error| anyhow!("opening repo (is the daemon running?): {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Chroot { old, new } = runtime.block_on(chroot(&repo, cid))?;
    match old {
        Some(old) => {
            print::line(&format!("MFS root changed from {old} to {new}"));
            print::line(&format!("The old root {old} will be garbage collected unless pinned."));
        }
        None => print::line(&format!("MFS root set to {new}")),
    }
    Ok(())
}
