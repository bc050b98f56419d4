//! The mutable file system: a tree of UnixFS directories and files that is edited by path.
//!
//! Responsible for: Kubo's rules of editing (which node each operation leaves, when a directory
//! becomes a HAMT and when no longer), and for the root. Not for: arguments and their texts, nor
//! for paths outside of the tree (`node::files`).
//!
//! The state is one root: in memory the newest, in the table `mfs_root` the last one that was
//! flushed. An edit reads the newest root, writes the blocks that differ, and sets the root; edits
//! take turns, and each lasts for moments, because nothing is waited for in one: a block that is
//! not here is fetched outside and the edit begins again. The bytes of files are written before,
//! by as many writers as there are files; those of one path take turns ([`writers`]).
//!
//! What is not flushed is kept from the collector by the sessions that put it, and by [`Mfs::roots`].
//! A flush makes the blocks of every edit so far durable, then the root that names them: a crash
//! leaves the old root or the new one, each whole.

mod error;
mod file;
mod folder;
mod live;
mod naming;
mod nodes;
mod ops;
pub mod path;
mod read;
mod shard;
mod tree;
mod writers;

pub use error::Error;
pub use file::WriteOptions;
pub use naming::Naming;
pub use ops::NewFolder;
pub use read::{Item, ItemKind, Target};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::OptionalExtension as _;

use crate::db::{self, Db, Schema, Transaction, fail};
use crate::exchange::{Exchange, Reach};
use crate::ipld::{Cid, PbLink};
use crate::store::{Session, Store};
use crate::unixfs::chunk::Chunker;
use crate::unixfs::dir::{DirOptions, Entry};
use crate::unixfs::read::{Node, ReadError};
use error::Fail;
use folder::Folder;
use live::Live;
use nodes::Nodes;
use tree::Tree;
use writers::Writers;

/// The table of this module: one row, the root as bytes of its CID.
pub const SCHEMA: Schema = Schema {
    owner: "mfs",
    migrations: &["CREATE TABLE mfs_root (
       id INTEGER NOT NULL PRIMARY KEY CHECK (id = 0),
       cid BLOB NOT NULL
     )"],
};

/// How long an edit waits for a block of a directory, as in Kubo.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Edits after which a flush is due whether it is asked for or not: it bounds what is held.
const UNFLUSHED_MAX: usize = 1024;

/// How the tree is kept; see `Import` in the config.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the root is named.
    pub root: Naming,
    /// When directories change their form. How they are named is not taken from here.
    pub directories: DirOptions,
    /// Where new bytes of files are cut.
    pub chunker: Chunker,
    /// Operations that may wait for a flush; zero: no limit.
    pub unflushed_max: u64,
}

/// A handle to the tree; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Mfs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    exchange: Exchange,
    options: Options,
    nodes: Nodes,
    current: Mutex<Current>,
    /// Held for an edit.
    live: tokio::sync::Mutex<Live>,
    /// Held for a flush; the version that the last one has made durable.
    flushed: tokio::sync::Mutex<u64>,
    writers: Writers,
    unflushed: AtomicU64,
}

/// The newest root, and what is to be kept for it.
#[derive(Debug)]
struct Current {
    root: Entry,
    version: u64,
    /// The root in the table.
    flushed: Entry,
    /// What a flush is about to put there.
    flushing: Option<Cid>,
    /// What put the blocks of edits since, with the versions that need them.
    sessions: Vec<(u64, Arc<Session>)>,
}

impl Mfs {
    /// The tree in `db`, which was opened with [`SCHEMA`]; an empty one when there is none yet.
    ///
    /// # Errors
    /// When the root cannot be read, or is no directory.
    pub async fn open(db: Db, exchange: Exchange, options: Options) -> Result<Self, Error> {
        let stored = stored_root(&db)?;
        let store = exchange.store().clone();
        let nodes = Nodes::new(store.clone());
        let session = Arc::new(store.session());
        let root = match stored {
            Some(cid) => Cid::from_bytes(&cid)?,
            None => {
                let mut blocks = Vec::new();
                let entry = Folder::new(Naming::V0).write(&nodes, &mut blocks)?;
                session.put_many(blocks).await?;
                session.flush().await?;
                entry.cid
            }
        };
        let root = root_entry(&store, root)?;
        let current = Current {
            root: root.clone(),
            version: 1,
            flushed: root,
            flushing: None,
            sessions: vec![(1, session)],
        };
        let naming = options.root;
        let mfs = Self(Arc::new(Inner {
            db,
            exchange,
            options,
            nodes,
            current: Mutex::new(current),
            live: tokio::sync::Mutex::default(),
            flushed: tokio::sync::Mutex::new(1),
            writers: Writers::default(),
            unflushed: AtomicU64::new(0),
        }));
        // The config names the root, whatever names it had.
        let session = mfs.session();
        mfs.edit(session, |tree| {
            tree.folder(tree::ROOT)?.rename(naming);
            Ok(())
        })
        .await?;
        Ok(mfs)
    }

    /// What a collection must keep besides the pins: the newest root, and those that a restart may
    /// find.
    #[must_use]
    pub fn roots(&self) -> Vec<Cid> {
        let current = self.current();
        let mut roots = vec![current.root.cid.clone(), current.flushed.cid.clone()];
        roots.extend(current.flushing.clone());
        roots
    }

    /// Makes everything so far durable.
    ///
    /// # Errors
    /// When blocks or the root cannot be written. What cannot be written any more is undone.
    pub async fn flush(&self) -> Result<(), Error> {
        let wanted = self.current().version;
        let mut flushed = self.0.flushed.lock().await;
        if *flushed >= wanted {
            return Ok(());
        }
        let (root, version, sessions) = {
            let mut current = self.current();
            current.flushing = Some(current.root.cid.clone());
            let sessions: Vec<_> =
                current.sessions.iter().map(|(_, session)| Arc::clone(session)).collect();
            (current.root.clone(), current.version, sessions)
        };
        for session in &sessions {
            if let Err(error) = session.flush().await {
                self.undo().await;
                return Err(error.into());
            }
        }
        fail::point("mfs-before-root");
        let bytes = root.cid.to_bytes();
        self.0.db.write(move |tx| put_root(tx, &bytes)).await?;
        fail::point("mfs-after-root");
        *flushed = version;
        let mut current = self.current();
        current.flushed = root;
        current.flushing = None;
        current.sessions.retain(|(needed, _)| *needed > version);
        Ok(())
    }

    /// Goes back to the last flushed root: blocks of what came after are lost.
    async fn undo(&self) {
        let _no_edit = self.0.live.lock().await;
        let mut current = self.current();
        tracing::error!(
            "changes of the mutable file system since its last flush could not be written"
        );
        current.root = current.flushed.clone();
        current.version += 1;
        current.flushing = None;
        current.sessions.clear();
    }

    /// Counts an operation that does not flush, or forgets them all with one that does.
    ///
    /// # Errors
    /// With the limit, when there have been too many.
    pub fn count(&self, flush: bool) -> Result<(), u64> {
        let Inner { unflushed, options, .. } = self.0.as_ref();
        if flush {
            unflushed.store(0, Ordering::Relaxed);
            return Ok(());
        }
        let limit = options.unflushed_max;
        let counted = unflushed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (limit == 0 || count < limit).then(|| count.saturating_add(1))
        });
        counted.map(|_| ()).map_err(|_| limit)
    }

    /// A session for the blocks of an operation.
    #[must_use]
    pub fn session(&self) -> Arc<Session> {
        Arc::new(self.0.exchange.store().session())
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // No code panics with the lock held.
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Edits the tree. `work` runs again when it needs a block that has to be fetched.
    async fn edit<T>(
        &self,
        session: Arc<Session>,
        mut work: impl FnMut(&mut Tree<'_>) -> Result<T, Fail>,
    ) -> Result<T, Error> {
        loop {
            let missing = {
                let mut live = self.0.live.lock().await;
                let root = self.current().root.clone();
                match self.attempt(&mut live, &root, &mut work) {
                    Ok((value, written)) => {
                        if written.root.cid != root.cid {
                            session.put_many(written.blocks).await?;
                            let mut current = self.current();
                            current.version += 1;
                            current.root = written.root;
                            let version = current.version;
                            current.sessions.push((version, session));
                        }
                        return Ok(value);
                    }
                    Err(Fail::Error(error)) => return Err(error),
                    Err(Fail::Missing(cid)) => cid,
                }
            };
            self.fetch(&missing, Some(&session)).await?;
        }
    }

    fn attempt<T>(
        &self,
        live: &mut Live,
        root: &Entry,
        work: &mut impl FnMut(&mut Tree<'_>) -> Result<T, Fail>,
    ) -> Result<(T, tree::Written), Fail> {
        let Inner { nodes, options, .. } = self.0.as_ref();
        let mut tree = Tree::new(nodes, &options.directories, live, root)?;
        let value = work(&mut tree)?;
        Ok((value, tree.write()?))
    }

    /// Looks at the tree as it is now.
    async fn view<T>(
        &self,
        mut work: impl FnMut(&mut Tree<'_>) -> Result<T, Fail>,
    ) -> Result<T, Error> {
        let root = self.current().root.clone();
        loop {
            let missing = {
                let Inner { nodes, options, .. } = self.0.as_ref();
                let mut live = Live::default();
                let tree = Tree::new(nodes, &options.directories, &mut live, &root);
                match tree.and_then(|mut tree| work(&mut tree)) {
                    Ok(value) => return Ok(value),
                    Err(Fail::Error(error)) => return Err(error),
                    Err(Fail::Missing(cid)) => cid,
                }
            };
            self.fetch(&missing, None).await?;
        }
    }

    /// Gets a block that is not here, within a limit, and keeps it as long as the session.
    async fn fetch(&self, cid: &Cid, session: Option<&Session>) -> Result<Bytes, Error> {
        let get = self.0.exchange.get(cid, Reach::Network);
        let block = tokio::time::timeout(FETCH_TIMEOUT, get).await;
        let block = block.map_err(|_| Error::TimedOut)??;
        if let Some(session) = session {
            session.touch(cid.hash())?;
        }
        Ok(block)
    }

    /// Flushes when asked for, or when too much waits.
    async fn flush_if(&self, asked: bool) -> Result<(), Error> {
        if asked || self.current().sessions.len() >= UNFLUSHED_MAX {
            return self.flush().await;
        }
        Ok(())
    }
}

/// The entry of a stored root.
/// Makes `root` the root of the tree in `db`, which nobody has open, whatever it was before: that is
/// given back, when it can be read. Who calls has seen that it is a directory, and durable.
///
/// # Errors
/// When the database fails.
pub async fn replace_root(db: &Db, root: Cid) -> Result<Option<Cid>, Error> {
    let old = stored_root(db)?;
    let bytes = root.to_bytes();
    db.write(move |tx| put_root(tx, &bytes)).await?;
    Ok(old.and_then(|old| Cid::from_bytes(&old).ok()))
}

/// The bytes of the CID of the root that the table names.
fn stored_root(db: &Db) -> Result<Option<Vec<u8>>, Error> {
    db.read(|connection| {
        let row = connection.query_row("SELECT cid FROM mfs_root", [], |row| row.get(0));
        Ok(row.optional().map_err(db::Error::from)?)
    })
}

fn put_root(tx: &Transaction<'_>, root: &[u8]) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO mfs_root (id, cid) VALUES (0, ?1)
         ON CONFLICT (id) DO UPDATE SET cid = excluded.cid",
        [root],
    )?;
    Ok(())
}

fn root_entry(store: &Store, cid: Cid) -> Result<Entry, Error> {
    let not_found = || crate::exchange::Error::NotFound(cid.clone());
    let block = store.get(&cid)?.ok_or_else(not_found)?;
    match Node::decode(&cid, &block)? {
        Node::Pb { data, links } if data.kind.is_directory() => {
            let dag_size = block.len() as u64 + links.iter().map(PbLink::size).sum::<u64>();
            Ok(Entry { cid, dag_size })
        }
        Node::Pb { .. } => Err(Error::RootIsFile),
        Node::Raw(_) => Err(ReadError::NotDirectory.into()),
    }
}
