//! The first bytes of a connection: whether the other side has the same swarm key.
//!
//! The protector of a private network has no check of its own: with another key, what comes in is
//! noise, and the negotiation above waits for a message that never ends. But every connection
//! begins with the same line in both directions, so that the key can be checked by it; and a peer
//! without a key sends that line in clear, where a nonce is expected.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{AsyncRead, AsyncWrite};

/// What a connection begins with, in both directions: multistream-select's header, behind its
/// length.
const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";

/// Why a connection is given up before anything is negotiated. Every text names the swarm key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    /// What was decrypted is not how a connection begins.
    #[error("possible swarm.key mismatch: the peer has another key, or none")]
    OtherKey,
    /// The connection begins in clear.
    #[error("possible swarm.key mismatch: the peer has none")]
    NoKey,
    /// The other side closed the connection before it said anything that could be read.
    #[error("possible swarm.key mismatch: the peer closed the connection at once")]
    Closed,
    /// This node has no key, and what came in is not how a connection begins.
    #[error("possible swarm.key mismatch: the peer has one and this node has none")]
    KeyUnexpected,
}

impl Mismatch {
    /// The mismatch that `error` comes from, if it does.
    pub(super) fn within(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut error = error;
        loop {
            if let Some(mismatch) = error.downcast_ref::<Self>() {
                return Some(*mismatch);
            }
            // The source of an `io::Error` is that of the error in it, which is passed over.
            let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            error = match (inside, error.source()) {
                (Some(inside), _) => inside,
                (None, Some(source)) => source,
                (None, None) => break,
            };
        }
        // An error that shows another as its own hides an `io::Error`, and what is in it.
        let text = error.to_string();
        let all = [Self::OtherKey, Self::NoKey, Self::Closed, Self::KeyUnexpected];
        all.into_iter().find(|mismatch| text.contains(&mismatch.to_string()))
    }
}

/// What is expected of the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Below the protector: anything but the header.
    Nonce,
    /// Above the protector: the header.
    Decrypted,
    /// On a network without a key: the header.
    Plain,
}

/// A connection whose first bytes are looked at as they are read.
#[derive(Debug)]
pub(super) struct Opening<S> {
    inner: S,
    expect: Expect,
    /// How many bytes of the header have come; `None` when nothing is looked at any more.
    matched: Option<usize>,
}

impl<S> Opening<S> {
    pub(super) fn new(inner: S, expect: Expect) -> Self {
        Self { inner, expect, matched: Some(0) }
    }

    /// Looks at what was read.
    fn check(&mut self, read: &[u8]) -> Result<(), Mismatch> {
        let Some(matched) = self.matched else { return Ok(()) };
        if read.is_empty() {
            self.matched = None;
            return match self.expect {
                Expect::Nonce | Expect::Decrypted => Err(Mismatch::Closed),
                Expect::Plain => Ok(()),
            };
        }
        let expected = HEADER.get(matched..).unwrap_or_default();
        let length = expected.len().min(read.len());
        let is_header = expected.get(..length) == read.get(..length);
        let is_whole = is_header && length == expected.len();
        self.matched = (is_header && !is_whole).then_some(matched + length);
        match self.expect {
            Expect::Nonce if is_whole => Err(Mismatch::NoKey),
            Expect::Decrypted if !is_header => Err(Mismatch::OtherKey),
            Expect::Plain if !is_header => Err(Mismatch::KeyUnexpected),
            _ => Ok(()),
        }
    }

    /// The error in the words of the swarm key, when it ends the opening of a private connection:
    /// a peer with another key resets it.
    fn failed(&self, error: io::Error) -> io::Error {
        let is_opening = self.matched.is_some();
        let is_reset = matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
        );
        if is_opening && is_reset && self.expect != Expect::Plain {
            return io::Error::new(error.kind(), Mismatch::Closed);
        }
        error
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = std::task::ready!(Pin::new(&mut this.inner).poll_read(context, buffer));
        if this.matched.is_none() || buffer.is_empty() {
            return Poll::Ready(read);
        }
        Poll::Ready(match read {
            Err(error) => Err(this.failed(error)),
            Ok(count) => match this.check(buffer.get(..count).unwrap_or_default()) {
                Ok(()) => Ok(count),
                Err(mismatch) => Err(io::Error::new(io::ErrorKind::InvalidData, mismatch)),
            },
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The other side may have found out first: then it is a write that fails.
        let written = Pin::new(&mut self.inner).poll_write(context, buffer);
        written.map_err(|error| self.failed(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context).map_err(|error| self.failed(error))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::AsyncReadExt as _;
    use futures_util::io::Cursor;

    use super::*;

    /// What reading all of `bytes`, `step` at a time, comes to.
    async fn read(bytes: &[u8], step: usize, expect: Expect) -> Result<Vec<u8>, Option<Mismatch>> {
        let mut opening = Opening::new(Cursor::new(bytes.to_vec()), expect);
        let mut got = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            match opening.read(&mut buffer).await {
                Ok(0) => return Ok(got),
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(Mismatch::within(&error)),
            }
        }
    }

    #[tokio::test]
    async fn the_first_bytes_tell_whether_the_keys_agree() {
        let header = [HEADER, b"\x07/noise\n"].concat();
        for step in [1, 7, 1024] {
            let got = read(&header, step, Expect::Decrypted).await;
            assert_eq!(got.as_deref(), Ok(header.as_slice()));
            assert_eq!(read(&header, step, Expect::Plain).await.as_deref(), Ok(&header[..]));
            let got = read(&header, step, Expect::Nonce).await;
            assert_eq!(got, Err(Some(Mismatch::NoKey)));
            let other = [&HEADER[..3], b"nonsense"].concat();
            let got = read(&other, step, Expect::Decrypted).await;
            assert_eq!(got, Err(Some(Mismatch::OtherKey)));
            let got = read(&other, step, Expect::Plain).await;
            assert_eq!(got, Err(Some(Mismatch::KeyUnexpected)));
            assert_eq!(read(&other, step, Expect::Nonce).await.as_deref(), Ok(&other[..]));
            let got = read(&HEADER[..3], step, Expect::Decrypted).await;
            assert_eq!(got, Err(Some(Mismatch::Closed)));
        }
    }

    #[test]
    fn a_mismatch_is_found_under_other_errors() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, Mismatch::OtherKey);
        let outer = io::Error::other(io::Error::other(inner));
        assert_eq!(Mismatch::within(&outer), Some(Mismatch::OtherKey));
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        struct Hiding(io::Error);
        let hidden = Hiding(io::Error::other(Mismatch::Closed));
        assert_eq!(Mismatch::within(&hidden), Some(Mismatch::Closed));
        assert_eq!(Mismatch::within(&io::Error::other("else")), None);
    }
}
