//! Files and directories as archives.
//!
//! An archive is written while it is read: what is held is the directories on the way down, the
//! entries of one of them that are opened ahead, and a megabyte of output. That megabyte is lost
//! when the archive fails, as in Kubo: a client is not to take a broken archive for a small one.
//!
//! A directory made by an attacker must not make whoever unpacks the archive write elsewhere: a
//! name that is no single name is refused, and so is an entry in the place of a symbolic link that
//! the archive holds already.

mod pack;
mod walk;

use futures_util::{Stream, StreamExt as _};

use bytes::Bytes;

use super::fetch::Ahead;
use super::file::Opened;
use super::produce::produce;
use super::{Error, Node, Reach};
use crate::ipld::path::Path;
use crate::tar;
use pack::Pack;
use walk::Walk;

/// Pieces between the archive and the socket.
const PIECES_AHEAD: usize = 4;

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// A tar archive in one of these formats; the bare content of a file when `None`.
    pub tar: Option<tar::Format>,
    /// Compressed at this level.
    pub gzip: Option<u32>,
}

/// An archive that is about to be written.
pub struct Archive<S> {
    /// Size of what it holds, as its root says.
    pub length: u64,
    /// Its bytes; `None` when its form cannot hold a directory.
    pub bytes: Option<S>,
}

impl Node {
    /// An archive of what is at a path.
    ///
    /// # Errors
    /// When there is nothing, or nothing that an archive holds.
    pub async fn archive(
        &self,
        path: &str,
        packing: Packing,
        reach: Reach,
    ) -> Result<Archive<impl Stream<Item = Result<Bytes, Error>> + Send + use<>>, Error> {
        let path = Path::parse(path).map_err(super::resolve::ResolveError::from)?;
        let name = path.text().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = name.as_bytes().to_vec();
        let cid = self.resolve(&path).await?.cid;
        let ahead = Ahead::new(self, reach);
        let opened = self.open(&cid, &ahead, Vec::new).await?;
        let length = match &opened {
            Opened::File(file) => file.size(),
            Opened::Directory(directory) => directory.dag_size,
            Opened::Symlink { target, .. } => target.len() as u64,
        };
        if packing.tar.is_none() && matches!(opened, Opened::Directory(_)) {
            return Ok(Archive { length, bytes: None });
        }
        let node = self.clone();
        let bytes = produce(PIECES_AHEAD, move |sink| async move {
            let mut pack = Pack::new(sink, packing.gzip);
            match packing.tar {
                Some(format) => {
                    Walk::new(node, format, ahead, name).run(opened, &mut pack).await?;
                    pack.copy(&tar::END).await?;
                }
                None => content(&node, opened, &ahead, &mut pack).await?,
            }
            pack.finish().await
        });
        Ok(Archive { length, bytes: Some(bytes) })
    }
}

/// The bare content of a file, or the target of a symbolic link.
async fn content(node: &Node, opened: Opened, ahead: &Ahead, pack: &mut Pack) -> Result<(), Error> {
    match opened {
        Opened::File(file) => {
            let mut bytes = file.read(node, 0..u64::MAX, ahead)?;
            while let Some(piece) = bytes.next().await {
                pack.push(piece?).await?;
            }
            Ok(())
        }
        Opened::Symlink { target, .. } => pack.push(target).await,
        Opened::Directory(_) => Ok(()),
    }
}
