//! A connection between hyper and the socket.
//!
//! Reading, it is in a head, in a body, or at its end. A head is held back until it is whole, then
//! passed on rewritten, its target queued for the service. Writing passes through. It also does
//! what hyper leaves out: a client that has hung up is told to the running command instead of
//! ending the connection under it, a head that stays incomplete times out, and closing waits a
//! moment so that the client can read the answer to what it is still sending.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::chunked::Chunked;
use super::head::{self, Framing, Refusal, Target};

/// The longest request head: what Go's server takes.
const HEAD_BYTES_MAX: usize = (1 << 20) + 4096;
/// How long a head may stay incomplete. Go waits for ever; a minute is enough for any client.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// How long closing waits for a client that is still sending, as Go does.
const LINGER: Duration = Duration::from_millis(500);
/// How much is read at once while in a head or lingering.
const READ_BYTES: usize = 16 << 10;

/// What a connection and the service of its requests share.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Link(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<LinkState>,
    hung_up: CancellationToken,
}

#[derive(Debug, Default)]
struct LinkState {
    /// The targets of heads that hyper has and the service has not.
    targets: VecDeque<Target>,
    /// Requests that hyper has been given and whose answers are not finished.
    in_flight: usize,
    /// The reader, waiting for none to be in flight.
    reader: Option<Waker>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The target of the request that the service has just been called with. The answer is in
    /// flight until the guard drops.
    pub(in crate::http) fn begin(&self) -> (Target, InFlight) {
        let target = self.lock().targets.pop_front().unwrap_or_default();
        (target, InFlight(self.clone()))
    }

    /// Cancelled when the client has closed its side.
    pub(in crate::http) fn hung_up(&self) -> CancellationToken {
        self.0.hung_up.clone()
    }
}

/// An answer that is not finished.
#[derive(Debug)]
pub(in crate::http) struct InFlight(Link);

impl Drop for InFlight {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.0.lock();
            state.in_flight = state.in_flight.saturating_sub(1);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A socket as hyper sees it.
pub(in crate::http) struct Connection<S> {
    socket: S,
    link: Link,
    reading: Reading,
    /// Received, and not yet passed on. In a head, the head so far.
    received: Vec<u8>,
    /// How much of `received` is known to hold no end of a head.
    searched: usize,
    /// Passed on next, from this offset: a rewritten head.
    ready: Vec<u8>,
    ready_from: usize,
    /// When the head must be whole.
    head_due: Option<Pin<Box<Sleep>>>,
    /// An answer of our own, written when hyper closes.
    refusal: Option<Vec<u8>>,
    refused: usize,
    closing: Closing,
}

enum Reading {
    Head,
    Length(u64),
    Chunked(Chunked),
    /// Nothing more is read.
    End,
}

enum Closing {
    No,
    Shut,
    Linger(Pin<Box<Sleep>>),
    Done,
}

impl<S> Connection<S> {
    pub(in crate::http) fn new(socket: S, link: Link) -> Self {
        Self {
            socket,
            link,
            reading: Reading::Head,
            received: Vec::new(),
            searched: 0,
            ready: Vec::new(),
            ready_from: 0,
            head_due: None,
            refusal: None,
            refused: 0,
            closing: Closing::No,
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal.answer().into_bytes());
        self.reading = Reading::End;
        self.head_due = None;
    }

    /// Looks for a whole head in what has been received, and readies it.
    fn take_head(&mut self) {
        if self.searched == 0 {
            // Some clients send an empty line after a body.
            let blank = self.received.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            self.received.drain(..blank);
        }
        let Some(length) = head::length(&self.received, self.searched) else {
            self.searched = self.received.len();
            if self.received.len() > HEAD_BYTES_MAX {
                self.refuse(Refusal::TooLarge);
            } else if self.received.is_empty() {
                self.head_due = None;
            }
            return;
        };
        self.searched = 0;
        self.head_due = None;
        let head = match self.received.get(..length).map(head::parse) {
            Some(Ok(head)) if length <= HEAD_BYTES_MAX => head,
            Some(Err(refusal)) => return self.refuse(refusal),
            _ => return self.refuse(Refusal::TooLarge),
        };
        self.received.drain(..length);
        self.ready = head.rewritten;
        self.ready_from = 0;
        self.reading = match head.framing {
            Framing::Length(0) => Reading::Head,
            Framing::Length(length) => Reading::Length(length),
            Framing::Chunked => Reading::Chunked(Chunked::default()),
        };
        let mut state = self.link.lock();
        state.targets.push_back(head.target);
        state.in_flight += 1;
    }

    /// How many of `bytes` belong to the body that is being read.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        match &mut self.reading {
            Reading::Head | Reading::End => 0,
            Reading::Length(left) => {
                let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                if *left == 0 {
                    self.reading = Reading::Head;
                }
                here
            }
            Reading::Chunked(chunked) => {
                let here = chunked.advance(bytes);
                if chunked.is_done() {
                    self.reading = Reading::Head;
                }
                here
            }
        }
    }

    /// Passes on what is ready, or received for the body. Whether there was something.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let ready = self.ready.get(self.ready_from..).unwrap_or_default();
        if !ready.is_empty() {
            let here = ready.len().min(buf.remaining());
            buf.put_slice(ready.get(..here).unwrap_or_default());
            self.ready_from += here;
            if self.ready_from == self.ready.len() {
                self.ready = Vec::new();
                self.ready_from = 0;
            }
            return true;
        }
        if matches!(self.reading, Reading::Head | Reading::End) || self.received.is_empty() {
            return false;
        }
        let mut received = std::mem::take(&mut self.received);
        let fits = received.len().min(buf.remaining());
        let here = self.advance(received.get(..fits).unwrap_or_default());
        buf.put_slice(received.get(..here).unwrap_or_default());
        received.drain(..here);
        self.received = received;
        here > 0
    }

    /// The end of input: at once when nothing is in flight, else when nothing is any more.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reading = Reading::End;
        let mut state = self.link.lock();
        if state.in_flight == 0 {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let due = self.head_due.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + HEAD_TIME_MAX))
        });
        // An idle connection may stay; only a head that has begun must end.
        if !self.received.is_empty() && due.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let mut space = [0; READ_BYTES];
        let mut buf = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf))?;
        if self.received.is_empty() {
            self.head_due = None;
        }
        self.received.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.give(buf) {
                return Poll::Ready(Ok(()));
            }
            match this.reading {
                Reading::End => return this.end(cx),
                Reading::Head => {
                    this.take_head();
                    if !this.ready.is_empty() || matches!(this.reading, Reading::End) {
                        continue;
                    }
                    if ready!(this.poll_head(cx))? == 0 {
                        this.link.0.hung_up.cancel();
                        return this.end(cx);
                    }
                }
                Reading::Length(_) | Reading::Chunked(_) => {
                    // The body, straight into hyper's buffer. What follows it comes back out.
                    let start = buf.filled().len();
                    ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
                    let fresh = buf.filled().get(start..).unwrap_or_default();
                    if fresh.is_empty() {
                        this.link.0.hung_up.cancel();
                        this.reading = Reading::End;
                        return Poll::Ready(Ok(()));
                    }
                    let here = this.advance(fresh);
                    this.received.extend_from_slice(fresh.get(here..).unwrap_or_default());
                    buf.set_filled(start + here);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::No => {
                    if let Some(answer) = &this.refusal {
                        while let Some(rest) = answer.get(this.refused..).filter(|r| !r.is_empty())
                        {
                            let sent = ready!(Pin::new(&mut this.socket).poll_write(cx, rest))?;
                            if sent == 0 {
                                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                            }
                            this.refused += sent;
                        }
                    }
                    this.closing = Closing::Shut;
                }
                Closing::Shut => {
                    ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
                    // Bytes that nobody reads would reset the connection and take the answer away.
                    let sending = this.refusal.is_some()
                        || matches!(this.reading, Reading::Length(_) | Reading::Chunked(_));
                    this.closing = if sending {
                        Closing::Linger(Box::pin(tokio::time::sleep(LINGER)))
                    } else {
                        Closing::Done
                    };
                }
                Closing::Linger(until) => {
                    if until.as_mut().poll(cx).is_ready() {
                        this.closing = Closing::Done;
                        continue;
                    }
                    let mut space = [0; READ_BYTES];
                    let mut buf = ReadBuf::new(&mut space);
                    match ready!(Pin::new(&mut this.socket).poll_read(cx, &mut buf)) {
                        Ok(()) if !buf.filled().is_empty() => {}
                        _ => this.closing = Closing::Done,
                    }
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }
}
