//! Roots that are linked into the mutable file system (`to-files`).

use super::{Adder, Error, Source};
use crate::ipld::quote::quote;
use crate::mfs::{Target, path};
use crate::node::files::check_path;

impl<S: Source> Adder<S> {
    /// Links the root of the top entry that is complete, if that was asked for. It is durable, and
    /// pinned if it is to be, before.
    pub(super) async fn link(&mut self) -> Result<(), Error> {
        let Some(destination) = self.options.to_files.clone() else { return Ok(()) };
        let Some(root) = self.top.root.take() else { return Ok(()) };
        self.writer.commit().await?;
        let failed = |text: String| Error::failed(format!("to-files: {text}"));
        if self.top.name.is_empty() {
            return Err(failed("cannot add unnamed files to MFS".to_owned()));
        }
        let destination = if destination.is_empty() { "/" } else { destination.as_str() };
        let mut to = check_path(destination).map_err(|error| failed(error.to_string()))?;
        let is_directory = to.ends_with('/');
        let mfs = self.node.mfs();
        if is_directory {
            let target = mfs.target(&to).await.map_err(|error| {
                let to = quote(&to);
                failed(format!("MFS destination directory {to} does not exist: {error}"))
            })?;
            if matches!(target, Target::File { .. }) {
                let text = format!("MFS destination {} is not a directory", quote(&to));
                return Err(failed(text));
            }
            to.push_str(path::base(&self.top.name));
        }
        if self.linked > 0 && !is_directory {
            let to = quote(&to);
            return Err(failed(format!(
                "MFS destination is a file: only one entry can be copied to {to}"
            )));
        }
        let parent = path::dir(&to);
        mfs.target(&parent).await.map_err(|error| {
            let (to, parent) = (quote(&to), quote(&parent));
            failed(format!("MFS destination parent {to} {parent} does not exist: {error}"))
        })?;
        let session = mfs.session();
        session.touch(root.cid.hash())?;
        mfs.put(&to, root, session)
            .await
            .map_err(|error| failed(format!("cannot put node in path {}: {error}", quote(&to))))?;
        self.linked += 1;
        Ok(())
    }

    /// Makes the links durable.
    pub(super) async fn flush_links(&mut self) -> Result<(), Error> {
        if self.linked > 0 {
            self.node.mfs().flush().await?;
        }
        Ok(())
    }
}
