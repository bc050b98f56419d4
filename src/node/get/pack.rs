//! The output of an archive: small pieces joined, all of it compressed if asked for, and the last
//! megabyte held back.

use std::collections::VecDeque;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::Error;
use super::super::blocking::blocking;
use super::super::produce::Sink;

/// What is held back; Kubo's buffer.
const HELD_BYTES: usize = 1 << 20;
/// Pieces below this are copied together.
const SMALL_BYTES: usize = 16 * 1024;
/// Small pieces are passed on when they have come to this.
const JOINED_BYTES: usize = 128 * 1024;

/// Where an archive is written to.
pub(super) struct Pack {
    sink: Sink<Bytes>,
    joined: Vec<u8>,
    /// `None` while it is at work on another thread.
    gzip: Option<GzEncoder<Vec<u8>>>,
    held: VecDeque<Bytes>,
    held_bytes: usize,
}

impl Pack {
    pub(super) fn new(sink: Sink<Bytes>, level: Option<u32>) -> Self {
        let gzip = level.map(|level| GzEncoder::new(Vec::new(), Compression::new(level)));
        Self { sink, joined: Vec::new(), gzip, held: VecDeque::new(), held_bytes: 0 }
    }

    /// Writes bytes that stay where they are.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.len() < SMALL_BYTES {
            return self.copy(&bytes).await;
        }
        self.pass_joined().await?;
        self.pass(bytes).await
    }

    /// Writes a copy of a few bytes.
    pub(super) async fn copy(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.joined.extend_from_slice(bytes);
        if self.joined.len() >= JOINED_BYTES { self.pass_joined().await } else { Ok(()) }
    }

    /// Writes a header with `append`.
    pub(super) async fn append<E>(
        &mut self,
        append: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), Error>
    where
        Error: From<E>,
    {
        append(&mut self.joined)?;
        if self.joined.len() >= JOINED_BYTES { self.pass_joined().await } else { Ok(()) }
    }

    /// Writes zeroes, less than a block of them.
    pub(super) fn pad(&mut self, len: usize) {
        self.joined.resize(self.joined.len() + len, 0);
    }

    /// Lets go of everything.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        self.pass_joined().await?;
        if let Some(gzip) = self.gzip.take() {
            let end = blocking(move || gzip.finish().map_err(Error::failed)).await?;
            self.held.push_back(end.into());
        }
        for bytes in self.held {
            self.sink.send(bytes).await;
        }
        Ok(())
    }

    async fn pass_joined(&mut self) -> Result<(), Error> {
        if self.joined.is_empty() {
            return Ok(());
        }
        let joined = std::mem::take(&mut self.joined);
        self.pass(joined.into()).await
    }

    async fn pass(&mut self, bytes: Bytes) -> Result<(), Error> {
        let Some(mut gzip) = self.gzip.take() else {
            self.hold(bytes).await;
            return Ok(());
        };
        let compress = move || {
            gzip.write_all(&bytes).map_err(Error::failed)?;
            let out = std::mem::take(gzip.get_mut());
            Ok((gzip, out))
        };
        let (gzip, out) = blocking(compress).await?;
        self.gzip = Some(gzip);
        self.hold(out.into()).await;
        Ok(())
    }

    /// Holds bytes, and lets go of whole megabytes that more bytes have followed.
    async fn hold(&mut self, bytes: Bytes) {
        self.held_bytes += bytes.len();
        self.held.push_back(bytes);
        while self.held_bytes > HELD_BYTES {
            let mut rest = HELD_BYTES;
            while rest > 0
                && let Some(mut bytes) = self.held.pop_front()
            {
                if bytes.len() > rest {
                    self.held.push_front(bytes.split_off(rest));
                }
                rest -= bytes.len();
                if !bytes.is_empty() {
                    self.sink.send(bytes).await;
                }
            }
            self.held_bytes -= HELD_BYTES;
        }
    }
}
