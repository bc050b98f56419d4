//! Files and directories opened by their root, and the bytes of files as a stream.
//!
//! A file is read in batches on the blocking pool, straight from the store; one batch is read
//! ahead of the reader and no more, so that a reader that stands still costs two batches. Blocks
//! that are absent are fetched along with those that come after them.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream};
use tokio::task::JoinHandle;

use super::fetch::{Ahead, Upcoming};
use super::{Error, Node};
use crate::ipld::{self, Cid, codec};
use crate::store::Store;
use crate::unixfs::data::{Kind, Stat};
use crate::unixfs::read::{self, FileReader, FileStep, Listing, ReadError};

/// Bytes of one batch: a leaf of the usual size. Handing it to another thread costs a hundredth of
/// reading it, and a reader that stands still costs two.
const BATCH_BYTES: usize = 256 * 1024;

/// What a root is.
#[derive(Debug)]
pub(crate) enum Opened {
    File(File),
    Directory(Directory),
    Symlink { target: Bytes, stat: Stat },
}

/// A file, opened.
#[derive(Debug)]
pub(crate) struct File {
    cid: Cid,
    root: read::Node,
    pub(crate) stat: Stat,
}

/// A directory, opened.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) listing: Listing,
    pub(crate) stat: Stat,
    /// Size of everything below it, as its links say.
    pub(crate) dag_size: u64,
}

/// What a block opens as, when it needs no other.
#[derive(Debug)]
pub(crate) enum Look {
    Opened(Opened),
    /// A metadata node: this is to be opened instead.
    Instead(Cid),
}

/// Opens a block.
pub(crate) fn look(cid: &Cid, block: &Bytes) -> Result<Look, Error> {
    if !matches!(cid.codec(), codec::RAW | codec::DAG_PB) {
        ipld::links(cid.codec(), block)?;
        return Err(Error::failed("unknown node type"));
    }
    let root = read::Node::decode(cid, block)?;
    let stat = root.stat();
    let opened = match root.kind() {
        Kind::Raw | Kind::File => Opened::File(File { cid: cid.clone(), root, stat }),
        Kind::Symlink => {
            Opened::Symlink { target: root.symlink_target().unwrap_or_default(), stat }
        }
        Kind::Directory | Kind::HamtShard => {
            let listing = Listing::new(&root)?;
            let read::Node::Pb { links, .. } = &root else { return Err(ReadError::Codec.into()) };
            let below = links.iter().fold(0_u64, |sum, link| sum.saturating_add(link.size()));
            let dag_size = below.saturating_add(block.len() as u64);
            Opened::Directory(Directory { listing, stat, dag_size })
        }
        Kind::Metadata => match root.metadata_of()? {
            Some(child) if child.codec() == codec::DAG_PB => {
                return Ok(Look::Instead(child.clone()));
            }
            _ => return Err(Error::failed("expected protobuf dag node")),
        },
        Kind::Other(_) => return Err(ReadError::Codec.into()),
    };
    Ok(Look::Opened(opened))
}

impl Node {
    /// Opens what a CID is the root of; `upcoming` is what is needed next.
    pub(crate) async fn open(
        &self,
        cid: &Cid,
        ahead: &Ahead,
        upcoming: impl FnOnce() -> Vec<Upcoming>,
    ) -> Result<Opened, Error> {
        let block = ahead.get(cid, upcoming).await?;
        match look(cid, &block)? {
            Look::Opened(opened) => Ok(opened),
            Look::Instead(child) => {
                let block = ahead.get(&child, Vec::new).await?;
                match look(&child, &block)? {
                    Look::Opened(opened @ Opened::File(_)) => Ok(opened),
                    Look::Opened(Opened::Directory(_)) => Err(ReadError::IsDirectory.into()),
                    Look::Opened(Opened::Symlink { .. }) => Err(ReadError::IsSymlink.into()),
                    // Nobody writes metadata, and nobody metadata of metadata.
                    Look::Instead(_) => Err(Error::failed("unrecognized node type")),
                }
            }
        }
    }
}

impl File {
    /// Its root.
    pub(crate) fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Bytes of the file, as its root says.
    pub(crate) fn size(&self) -> u64 {
        self.root.size()
    }

    /// The bytes of a range, which may end beyond the file.
    pub(crate) fn read(
        &self,
        node: &Node,
        range: Range<u64>,
        ahead: &Ahead,
    ) -> Result<FileBytes, Error> {
        let mut reader = FileReader::new(&self.cid, &self.root, range)?;
        let mut ready = VecDeque::new();
        // The root may be all there is.
        let next = loop {
            match reader.step() {
                FileStep::Bytes(bytes) => ready.push_back(bytes),
                FileStep::Done => break Next::Ended,
                FileStep::Need(_) => break Next::Reading(start_batch(node, reader)),
            }
        };
        Ok(FileBytes { node: node.clone(), ahead: ahead.clone(), ready, failed: None, next })
    }
}

/// The bytes of a file, in pieces as large as its blocks.
pub(crate) struct FileBytes {
    node: Node,
    ahead: Ahead,
    ready: VecDeque<Bytes>,
    /// To be said when `ready` is empty.
    failed: Option<Error>,
    next: Next,
}

/// Where the next bytes come from.
enum Next {
    Reading(JoinHandle<Batch>),
    Fetching(BoxFuture<'static, Result<FileReader, Error>>),
    Ended,
}

/// What one batch has come to.
struct Batch {
    reader: FileReader,
    pieces: VecDeque<Bytes>,
    end: Result<End, Error>,
}

enum End {
    Full,
    Missing(Cid),
    Done,
}

fn start_batch(node: &Node, reader: FileReader) -> JoinHandle<Batch> {
    let store = node.store().clone();
    tokio::task::spawn_blocking(move || read_batch(&store, reader))
}

fn read_batch(store: &Store, mut reader: FileReader) -> Batch {
    let mut pieces = VecDeque::new();
    let mut bytes_read = 0;
    let end = loop {
        match reader.step() {
            FileStep::Done => break Ok(End::Done),
            FileStep::Bytes(bytes) => {
                bytes_read += bytes.len();
                pieces.push_back(bytes);
            }
            FileStep::Need(_) if bytes_read >= BATCH_BYTES => break Ok(End::Full),
            FileStep::Need(cid) => match store.get(&cid) {
                Ok(Some(block)) => {
                    if let Err(error) = reader.supply(&block) {
                        break Err(error.into());
                    }
                }
                Ok(None) => break Ok(End::Missing(cid)),
                Err(error) => break Err(error.into()),
            },
        }
    };
    Batch { reader, pieces, end }
}

/// Subtrees that a file names at a time.
const NAMED_MAX: usize = 1024;

/// Fetches a block below the root of a file.
async fn fetch(ahead: Ahead, mut reader: FileReader, cid: Cid) -> Result<FileReader, Error> {
    let upcoming = || {
        let upcoming = reader.upcoming().take(NAMED_MAX);
        upcoming.map(|(cid, whole)| Upcoming { cid: cid.clone(), whole }).collect()
    };
    let block = ahead.get_below(&cid, upcoming).await?;
    reader.supply(&block)?;
    Ok(reader)
}

impl FileBytes {
    /// Waits until the first bytes are there.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
        match self.failed.take() {
            Some(error) if self.ready.is_empty() => Err(error),
            failed => {
                self.failed = failed;
                Ok(())
            }
        }
    }

    /// Ready when there is something to say.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ready.is_empty() && self.failed.is_none() {
            match &mut self.next {
                Next::Ended => break,
                Next::Reading(batch) => {
                    let batch = ready!(batch.poll_unpin(cx));
                    self.take_batch(batch);
                }
                Next::Fetching(reader) => match ready!(reader.poll_unpin(cx)) {
                    Ok(reader) => self.next = Next::Reading(start_batch(&self.node, reader)),
                    Err(error) => {
                        self.next = Next::Ended;
                        self.failed = Some(error);
                    }
                },
            }
        }
        Poll::Ready(())
    }

    fn take_batch(&mut self, batch: Result<Batch, tokio::task::JoinError>) {
        self.next = Next::Ended;
        let Ok(Batch { reader, pieces, end }) = batch else {
            self.failed = Some(Error::failed("an error occurred"));
            return;
        };
        self.ready = pieces;
        match end {
            Ok(End::Full) => self.next = Next::Reading(start_batch(&self.node, reader)),
            Ok(End::Done) => {}
            Ok(End::Missing(cid)) => {
                let fetch = fetch(self.ahead.clone(), reader, cid);
                self.next = Next::Fetching(Box::pin(fetch));
            }
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Stream for FileBytes {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ready.is_empty() {
            ready!(self.poll_ready(cx));
        }
        match self.ready.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(bytes))),
            None => Poll::Ready(self.failed.take().map(Err)),
        }
    }
}
