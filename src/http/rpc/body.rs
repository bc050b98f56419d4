//! The body of a request: a stream of bytes that knows whether it has been read to its end.
//!
//! An answer that begins before the end of the body closes the connection; [`BodyEnd`] is how the
//! emitter learns of it while the command holds the body.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Body as _;

use super::Error;

/// The text of a body that stops before its end.
pub const UNEXPECTED_EOF: &str = "unexpected EOF";

/// Whether the body of a request has been read to its end.
#[derive(Debug, Clone, Default)]
pub struct BodyEnd(Arc<AtomicBool>);

impl BodyEnd {
    /// Whether it has.
    pub fn is_reached(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The body of a request.
pub struct Body {
    source: Source,
    end: BodyEnd,
}

enum Source {
    /// Behind a lock that is never taken: it makes the body `Sync`, which it is not by itself.
    Http(Mutex<axum::body::Body>),
    /// Frames in memory, for tests and for callers that have no connection.
    Memory(std::collections::VecDeque<Result<Bytes, Error>>),
}

impl Body {
    /// The body of a request that comes over a connection.
    pub fn new(incoming: axum::body::Body) -> Self {
        let end = BodyEnd::default();
        if incoming.is_end_stream() {
            end.set();
        }
        Self { source: Source::Http(Mutex::new(incoming)), end }
    }

    /// A body of frames that are there already.
    pub fn from_frames(frames: impl IntoIterator<Item = Result<Bytes, Error>>) -> Self {
        Self { source: Source::Memory(frames.into_iter().collect()), end: BodyEnd::default() }
    }

    /// A watch on its end.
    pub fn end(&self) -> BodyEnd {
        self.end.clone()
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let incoming = match &mut this.source {
            Source::Http(incoming) => {
                incoming.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
            }
            Source::Memory(frames) => {
                let frame = frames.pop_front();
                if frames.is_empty() {
                    this.end.set();
                }
                return Poll::Ready(frame);
            }
        };
        loop {
            let frame = match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                None => {
                    this.end.set();
                    return Poll::Ready(None);
                }
                // Whatever it is called, the body stopped before its end.
                Some(Err(_)) => return Poll::Ready(Some(Err(Error::new(UNEXPECTED_EOF)))),
                Some(Ok(frame)) => frame,
            };
            if incoming.is_end_stream() {
                this.end.set();
            }
            if let Ok(data) = frame.into_data() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }
}
