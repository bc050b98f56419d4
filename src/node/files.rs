//! The mutable file system as commands see it: content paths beside its own, and Kubo's texts.
//!
//! Owns no state: the tree is [`crate::mfs`]'s. What was answered to a call that flushes survives a
//! crash.

mod stat;

pub use crate::mfs::{Item, ItemKind, Naming, NewFolder, WriteOptions};
pub use stat::{Locality, Stat};

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;

use super::fetch::Ahead;
use super::file::Opened;
use super::{Error, Node, Reach, blocking};
use crate::config::Config;
use crate::ipld::hash::{self, by_name};
use crate::ipld::quote::quote;
use crate::ipld::{Cid, Path, Version, codec};
use crate::mfs::{self, Target, path};
use crate::store::{Marks, Session};
use crate::unixfs::chunk::Chunker;
use crate::unixfs::data::Mtime;
use crate::unixfs::dir::{
    DirOptions, Entry, FANOUT_DEFAULT, SHARD_THRESHOLD_DEFAULT, SizeEstimation,
};
use crate::unixfs::read;

/// Operations that may wait for a flush unless the config says otherwise.
const UNFLUSHED_MAX_DEFAULT: u64 = 256;

impl From<mfs::Error> for Error {
    fn from(error: mfs::Error) -> Self {
        match error {
            mfs::Error::Exchange(error) => error.into(),
            mfs::Error::Store(error) => error.into(),
            mfs::Error::Db(error) => error.into(),
            error => Self::failed(error),
        }
    }
}

/// How the tree is kept, by the config.
pub(super) fn options(config: &Config) -> Result<mfs::Options, Error> {
    let import = config.import();
    let count = |number: Option<i64>| number.and_then(|number| usize::try_from(number).ok());
    let fanout = import.hamt_fanout.and_then(|fanout| u16::try_from(fanout).ok());
    let chunker = import.chunker.as_deref().unwrap_or_default();
    let unflushed_max = config.integer("Internal.MFSNoFlushLimit");
    Ok(mfs::Options {
        root: naming_of_config(config)?,
        directories: DirOptions {
            links_max: count(import.directory_links_max).unwrap_or(0),
            fanout: fanout.unwrap_or(FANOUT_DEFAULT),
            threshold: import.hamt_threshold.unwrap_or(SHARD_THRESHOLD_DEFAULT),
            estimation: match import.hamt_estimation.as_deref() {
                Some("block") => SizeEstimation::Block,
                Some("disabled") => SizeEstimation::Disabled,
                _ => SizeEstimation::Links,
            },
            ..DirOptions::default()
        },
        chunker: Chunker::parse(chunker).map_err(Error::failed)?,
        unflushed_max: unflushed_max
            .map_or(UNFLUSHED_MAX_DEFAULT, |limit| u64::try_from(limit).unwrap_or_default()),
    })
}

/// A root that cannot be read keeps the node from starting.
pub(super) fn unusable_root(error: mfs::Error) -> Error {
    Error::failed(format!(
        "failed to initialize MFS root: {error}. If corrupted, use 'ipfs files chroot' to reset \
         (see --help)"
    ))
}

/// How new entries are named unless a call says otherwise.
fn naming_of_config(config: &Config) -> Result<Naming, Error> {
    let import = config.import();
    let name = import.hash_function.unwrap_or_else(|| "sha2-256".to_owned());
    let version = match import.cid_version.unwrap_or(0) {
        0 if name != "sha2-256" => 1,
        version => version,
    };
    let unknown = || Error::failed(format!("Import.HashFunction unrecognized: {}", quote(&name)));
    Ok(Naming::new(version_of(version)?, by_name(&name.to_lowercase()).ok_or_else(unknown)?))
}

fn version_of(version: i64) -> Result<Version, Error> {
    match version {
        0 => Ok(Version::V0),
        1 => Ok(Version::V1),
        other => Err(Error::failed(format!("unknown CID version: {other}"))),
    }
}

/// A path in the tree as an argument gives it: absolute, cleaned, a slash at its end kept.
///
/// # Errors
/// When it is empty or relative.
pub fn check_path(argument: &str) -> Result<String, Error> {
    if argument.is_empty() {
        return Err(Error::failed("paths must not be empty"));
    }
    if !argument.starts_with('/') {
        return Err(Error::failed("paths must start with a leading slash"));
    }
    let mut clean = path::clean(argument);
    if argument.ends_with('/') && argument != "/" {
        clean.push('/');
    }
    Ok(clean)
}

/// The same where a content path may stand, too.
///
/// # Errors
/// As [`check_path`].
pub fn check_any_path(argument: &str) -> Result<String, Error> {
    match Path::parse_uri(argument) {
        Ok(path) => Ok(path.text().to_owned()),
        Err(_) => check_path(argument),
    }
}

/// What an entry is named by: a CID version and a hash function, when either is asked for.
///
/// # Errors
/// When there is no such version or function.
pub fn naming(version: Option<i64>, hash: Option<&str>) -> Result<Option<Naming>, Error> {
    if version.is_none() && hash.is_none() {
        return Ok(None);
    }
    let version = match version.unwrap_or(0) {
        0 if hash.is_some() => 1,
        version => version,
    };
    let version = version_of(version)?;
    let Some(name) = hash else { return Ok(Some(Naming::new(version, hash::SHA2_256))) };
    let unknown = || Error::failed(format!("unrecognized hash function: {}", quote(name)));
    let code = by_name(&name.to_lowercase()).ok_or_else(unknown)?;
    Ok(Some(Naming::new(version, code)))
}

/// What a content path or a path in the tree leads to.
struct Source {
    entry: Entry,
    /// Whether it may be outside of the tree.
    is_content: bool,
}

/// How an entry is linked into the tree.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    /// Instead of a file that is there.
    pub force: bool,
    /// Directories around it are made.
    pub parents: bool,
    /// Make it durable.
    pub flush: bool,
    /// How far to go for the root of a content path.
    pub reach: Reach,
}

impl Node {
    /// How new entries are named unless a call says otherwise.
    ///
    /// # Errors
    /// When the config is of no use for that.
    pub fn files_naming(&self) -> Result<Naming, Error> {
        naming_of_config(&self.config())
    }

    /// Counts an operation that does not flush.
    ///
    /// # Errors
    /// When there have been too many.
    pub fn count_unflushed(&self, flush: bool) -> Result<(), Error> {
        self.mfs().count(flush).map_err(|limit| {
            Error::failed(format!(
                "reached limit of {limit} unflushed MFS operations. To resolve: 1) run 'ipfs files \
                 flush' to persist changes, 2) use --flush=true (default), or 3) increase \
                 Internal.MFSNoFlushLimit in config"
            ))
        })
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// When it is there already, or its parent is not.
    pub async fn make_folder(&self, path: &str, new: NewFolder, flush: bool) -> Result<(), Error> {
        Ok(self.mfs().make_folder(path, new, flush).await?)
    }

    /// The entries of a directory, in the order of its links; of a file itself. With `long` each is
    /// looked at.
    ///
    /// # Errors
    /// When there is nothing at the path, or an entry that is looked at cannot be had.
    pub async fn list_files(&self, path: &str, long: bool) -> Result<Listed, Error> {
        match self.mfs().target(path).await? {
            Target::Folder(_) => Ok(Listed::Folder(self.mfs().list(path, long).await?)),
            Target::File { entry, .. } => {
                let name = Bytes::copy_from_slice(path::split(path).1.as_bytes());
                let size = if long { self.mfs().size(&entry.cid).await? } else { 0 };
                let kind = long.then_some(ItemKind::File(size));
                Ok(Listed::File(Item { name, cid: entry.cid, kind }))
            }
        }
    }

    /// Links what a path leads to into the tree, without fetching more than its root.
    ///
    /// # Errors
    /// When there is nothing, or nothing that a tree may hold, or the name is taken.
    pub async fn copy_file(&self, from: &str, to: &str, copy: Copy) -> Result<(), Error> {
        let from = check_any_path(from)?;
        let from = from.trim_end_matches('/');
        let mut to = check_path(to)?;
        if to.ends_with('/') {
            to.push_str(path::base(from));
        }
        let session = self.mfs().session();
        let source = self.copied(from, &session, copy.reach).await?;
        if copy.parents {
            self.mfs().make_parents(&to, self.files_naming()?).await?;
        }
        if copy.force {
            self.mfs().unlink_file(&to).await.map_err(|error| {
                Error::failed(format!("cp: cannot unlink existing file: {error}"))
            })?;
        }
        self.count_unflushed(copy.flush)?;
        self.mfs()
            .put(&to, source.entry.clone(), Arc::clone(&session))
            .await
            .map_err(|error| Error::failed(format!("cp: cannot put node in path {to}: {error}")))?;
        if source.is_content {
            self.keep_copied(source.entry.cid, session).await?;
        }
        if !copy.flush {
            return Ok(());
        }
        self.mfs().flush_path(&to).await.map_err(|error| {
            Error::failed(format!("cp: cannot flush the created file {to}: {error}"))
        })?;
        self.mfs().flush_path(&path::dir(&to)).await.map(drop).map_err(|error| {
            Error::failed(format!(
                "cp: cannot flush the created file's parent folder {to}: {error}"
            ))
        })
    }

    /// What is to be copied, its root here and kept.
    async fn copied(&self, from: &str, session: &Session, reach: Reach) -> Result<Source, Error> {
        let nothing =
            |error: Error| Error::failed(format!("cp: cannot get node from path {from}: {error}"));
        if Path::parse_uri(from).is_err() {
            let target = self.mfs().target(from).await.map_err(|error| nothing(error.into()))?;
            return Ok(Source { entry: target.entry().clone(), is_content: false });
        }
        let cid = self.resolve_text(from).await.map_err(nothing)?.cid;
        let block = loop {
            let block = self.get_block(&cid, reach).await.map_err(nothing)?;
            if session.touch(cid.hash())? {
                break block;
            }
        };
        const INVALID: &str = "cp: source must be a valid UnixFS (dag-pb or raw codec)";
        let dag_size = match cid.codec() {
            codec::RAW => block.len() as u64,
            codec::DAG_PB => match read::Node::decode(&cid, &block) {
                Ok(node) => stat::dag_size(&block, &node),
                Err(read::ReadError::Data(error)) => {
                    return Err(Error::failed(format!("{INVALID}: {error}")));
                }
                Err(error) => return Err(nothing(error.into())),
            },
            _ => return Err(Error::failed(INVALID)),
        };
        Ok(Source { entry: Entry { cid, dag_size }, is_content: true })
    }

    /// Keeps what is here of a DAG that was linked while a collection ran, which may not have known
    /// of it.
    async fn keep_copied(&self, root: Cid, session: Arc<Session>) -> Result<(), Error> {
        if !self.store().is_collecting() {
            return Ok(());
        }
        let store = self.store().clone();
        blocking(move || {
            let mut walk = store.walk(Marks::default()).protected_by(&session);
            walk.root(&root)?;
            while walk.advance()? {
                // What is not here need not be: the tree holds what was fetched so far.
                walk.take_found();
                walk.take_problems();
            }
            Ok(())
        })
        .await
    }

    /// Moves an entry.
    ///
    /// # Errors
    /// When it is not there, or the name that it is to have is taken.
    pub async fn move_file(&self, from: &str, to: &str, flush: bool) -> Result<(), Error> {
        self.count_unflushed(flush)?;
        let (from, to) = (check_path(from)?, check_path(to)?);
        self.mfs().rename(&from, &to).await?;
        if !flush {
            return Ok(());
        }
        let (from_parent, to_parent) = (path::dir(&from), path::dir(&to));
        self.mfs().flush_path(&to_parent).await.map_err(|error| {
            Error::failed(format!(
                "cp: cannot flush the destination file's parent folder {to}: {error}"
            ))
        })?;
        if from_parent != to_parent {
            self.mfs().flush_path(&from_parent).await.map_err(|error| {
                Error::failed(format!(
                    "cp: cannot flush the source's file's parent folder {to}: {error}"
                ))
            })?;
        }
        self.mfs().flush_path("/").await?;
        Ok(())
    }

    /// Removes an entry: see [`mfs::Mfs::remove`].
    ///
    /// # Errors
    /// When it is not there, or a directory.
    pub async fn remove_file(&self, path: &str, recursive: bool, force: bool) -> Result<(), Error> {
        Ok(self.mfs().remove(path, recursive, force).await?)
    }

    /// Makes a path durable; the root of what is there.
    ///
    /// # Errors
    /// When nothing is there.
    pub async fn flush_files(&self, path: &str) -> Result<Cid, Error> {
        let entry = self.mfs().flush_path(path).await?;
        self.count_unflushed(true)?;
        Ok(entry.cid)
    }

    /// Names a directory anew.
    ///
    /// # Errors
    /// When it is none, or the root.
    pub async fn name_folder(
        &self,
        path: &str,
        naming: Option<Naming>,
        flush: bool,
    ) -> Result<(), Error> {
        if let Some(naming) = naming {
            self.mfs().name_folder(path, naming).await?;
        }
        if flush {
            self.mfs().flush_path(path).await?;
            self.mfs().flush_path(&path::dir(path)).await?;
        }
        Ok(())
    }

    /// Sets the permission bits; `is_given` says whether a mode other than 0 was given at all.
    ///
    /// # Errors
    /// When there is nothing at the path.
    pub async fn set_file_mode(
        &self,
        path: &str,
        permissions: u32,
        is_given: bool,
    ) -> Result<(), Error> {
        Ok(self.mfs().set_mode(path, permissions, is_given).await?)
    }

    /// Sets the modification time.
    ///
    /// # Errors
    /// When there is nothing at the path.
    pub async fn set_file_mtime(&self, path: &str, mtime: Mtime) -> Result<(), Error> {
        Ok(self.mfs().set_mtime(path, mtime).await?)
    }

    /// Writes bytes into a file; an error of `source` is given back when all else is done.
    ///
    /// # Errors
    /// When there is no file, or what comes cannot be stored.
    pub async fn write_file<S, E>(
        &self,
        path: &str,
        parents: Option<Naming>,
        options: WriteOptions,
        source: S,
    ) -> Result<Result<(), E>, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Send,
    {
        if let Some(naming) = parents {
            self.mfs().make_parents(path, naming).await?;
        }
        Ok(self.mfs().write(path, options, source).await?)
    }

    /// The bytes of a file, from `offset` on.
    ///
    /// # Errors
    /// When there is no file, or the offset is beyond its end.
    pub async fn read_file(
        &self,
        path: &str,
        offset: i64,
        count: Option<i64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let target = self.mfs().target(path).await;
        let target = target.map_err(|error| Error::failed(format!("{path}: {error}")))?;
        if matches!(target, Target::Folder(_)) {
            return Err(mfs::Error::NotFile(path.to_owned()).into());
        }
        let entry = self.mfs().settle_file(path).await?;
        let Ok(offset) = u64::try_from(offset) else {
            return Err(Error::failed("cannot specify negative offset"));
        };
        let ahead = Ahead::new(self, Reach::Network);
        let Opened::File(file) = self.open(&entry.cid, &ahead, Vec::new).await? else {
            return Err(mfs::Error::NotFile(path.to_owned()).into());
        };
        let size = file.size();
        if offset > size {
            let text = format!("offset was past end of file ({offset} > {size})");
            return Err(Error::failed(text));
        }
        let count = count.map(u64::try_from).transpose();
        let count = count.map_err(|_| Error::failed("cannot specify negative 'count'"))?;
        let end = size.min(offset.saturating_add(count.unwrap_or(u64::MAX)));
        file.read(self, offset..end, &ahead)
    }
}

/// What a listing shows.
#[derive(Debug, Clone)]
pub enum Listed {
    /// The entries of a directory.
    Folder(Vec<Item>),
    /// A file alone.
    File(Item),
}
