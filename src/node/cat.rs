//! The bytes of files, one after the other.
//!
//! The files that follow the first are opened again when their turn comes: what a call with many
//! paths holds meanwhile is their CIDs.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use super::fetch::Ahead;
use super::file::{FileBytes, Opened};
use super::produce::produce;
use super::{Error, Node, Reach};
use crate::ipld::Cid;
use crate::unixfs::read::ReadError;

/// Pieces between the file and the socket; what counts is how far a file reads ahead.
const PIECES_AHEAD: usize = 1;

/// Which bytes of the files are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Bytes to pass over.
    pub offset: u64,
    /// At most so many; all when `None`.
    pub length: Option<u64>,
}

/// A part of a file.
#[derive(Debug)]
struct Part {
    cid: Cid,
    range: Range<u64>,
}

/// The beginning of the bytes, opened already.
enum First {
    Bytes(FileBytes),
    Target(Bytes),
}

/// Bytes of files, and how many there will be.
pub struct Cat<S> {
    /// The number of bytes.
    pub length: u64,
    /// The bytes.
    pub bytes: S,
}

impl Node {
    /// The bytes of the files at `paths`; of a symbolic link its target.
    ///
    /// Paths behind the last byte that is wanted are not looked at.
    ///
    /// # Errors
    /// When something is no file, or cannot be found or read up to the offset.
    pub async fn cat(
        &self,
        paths: &[String],
        slice: Slice,
        reach: Reach,
    ) -> Result<Cat<impl Stream<Item = Result<Bytes, Error>> + Send + use<>>, Error> {
        let mut parts = Vec::new();
        let mut first = None;
        let (mut offset, mut length) = (slice.offset, 0_u64);
        let wanted = slice.length.unwrap_or(u64::MAX);
        let ahead = Ahead::new(self, reach);
        let paths = if wanted == 0 { &[] } else { paths };
        for path in paths {
            let cid = self.resolve_text(path).await?.cid;
            let opened = self.open(&cid, &ahead, Vec::new).await?;
            let size = match &opened {
                Opened::File(file) => file.size(),
                Opened::Symlink { target, .. } => target.len() as u64,
                Opened::Directory(_) => return Err(ReadError::IsDirectory.into()),
            };
            if offset > size {
                offset -= size;
                continue;
            }
            let end = size.min(offset.saturating_add(wanted - length));
            let range = std::mem::take(&mut offset)..end;
            length += end - range.start;
            if first.is_none() {
                first = Some(self.first(opened, range, &ahead).await?);
            } else {
                parts.push(Part { cid, range });
            }
            if length >= wanted {
                break;
            }
        }
        Ok(Cat { length, bytes: self.clone().concatenate(first, parts, ahead) })
    }

    async fn first(
        &self,
        opened: Opened,
        range: Range<u64>,
        ahead: &Ahead,
    ) -> Result<First, Error> {
        let seeks = range.start > 0 && !range.is_empty();
        let mut first = self.part(opened, range, ahead)?;
        if let First::Bytes(bytes) = &mut first
            && seeks
        {
            // What keeps an offset from being reached is an error of the call.
            bytes.begin().await?;
        }
        Ok(first)
    }

    fn part(&self, opened: Opened, range: Range<u64>, ahead: &Ahead) -> Result<First, Error> {
        match opened {
            Opened::File(file) => Ok(First::Bytes(file.read(self, range, ahead)?)),
            Opened::Symlink { target, .. } => {
                let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(target.len());
                Ok(First::Target(target.slice(bound(range.start)..bound(range.end))))
            }
            Opened::Directory(_) => Err(ReadError::IsDirectory.into()),
        }
    }

    fn concatenate(
        self,
        first: Option<First>,
        parts: Vec<Part>,
        ahead: Ahead,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        produce(PIECES_AHEAD, move |sink| async move {
            let mut part = first;
            let mut parts = parts.into_iter();
            loop {
                match part {
                    None => {}
                    Some(First::Target(target)) => sink.send(target).await,
                    Some(First::Bytes(mut bytes)) => {
                        while let Some(piece) = bytes.next().await {
                            sink.send(piece?).await;
                        }
                    }
                }
                let Some(Part { cid, range }) = parts.next() else { return Ok(()) };
                let opened = self.open(&cid, &ahead, Vec::new).await?;
                part = Some(self.part(opened, range, &ahead)?);
            }
        })
    }
}
