//! The answer of a command: status, headers, body and trailer.
//!
//! The status is decided by the first thing that a command gives: an error is an error answer,
//! anything else is 200, and an error after that ends the body with the trailer `X-Stream-Error`.
//! A deadline, a client that has gone, and a panic in the command all end it the same way.
//! Backpressure is hyper's: the command is asked for more when there is room for it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::body::BodyEnd;
use super::call::{Answer, Chunks, Deadline, Raw, Reply, Values};
use super::commands_log::Running;
use super::value::Encoding;
use crate::http::reply::{self, Body};

/// How much of many small values goes out at once.
const BATCH_BYTES: usize = 64 << 10;
/// How much Kubo reads at once from what it copies out.
const READ_BYTES: usize = 4096;
/// How long a command may go on after its client has closed its side: it may have closed only for
/// sending, and most commands are done by then.
const HANG_UP_GRACE: Duration = Duration::from_millis(500);
/// The headers that scripts of a page may read.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("X-Stream-Output, X-Chunked-Output, X-Content-Length");
const STREAM_ERROR: HeaderName = HeaderName::from_static("x-stream-error");
const CHUNKED_OUTPUT: HeaderName = HeaderName::from_static("x-chunked-output");
const STREAM_OUTPUT: HeaderName = HeaderName::from_static("x-stream-output");
const CONTENT_LENGTH: HeaderName = HeaderName::from_static("x-content-length");
const YES: HeaderValue = HeaderValue::from_static("1");

/// What ends a command from outside.
pub(super) struct Limits {
    deadline: Deadline,
    due: Option<Pin<Box<Sleep>>>,
    hung_up: BoxFuture<'static, ()>,
    gone: CancellationToken,
}

impl Limits {
    /// `hung_up` is cancelled when the client has closed its side.
    pub(super) fn new(deadline: Deadline, hung_up: CancellationToken) -> Self {
        let due = deadline.due().map(|due| Box::pin(tokio::time::sleep_until(due)));
        let gone = hung_up.clone();
        let hung_up = async move {
            hung_up.cancelled().await;
            tokio::time::sleep(HANG_UP_GRACE).await;
        };
        Self { deadline, due, hung_up: hung_up.boxed(), gone }
    }

    /// The same for a command that would go on for ever: it ends when its client hangs up.
    fn without_grace(mut self) -> Self {
        self.hung_up = self.gone.clone().cancelled_owned().boxed();
        self
    }

    /// Why the command must end, when it must.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if let Some(due) = &mut self.due
            && due.as_mut().poll(cx).is_ready()
            && self.deadline.due().is_some()
        {
            return Poll::Ready(self.deadline.error());
        }
        self.hung_up.as_mut().poll(cx).map(|()| Error::new("context canceled"))
    }

    /// What `work` gives, or why it must end; a panic is an error like any other.
    async fn apply<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let work = AssertUnwindSafe(work).catch_unwind();
        // First the work: what is done at the deadline is done.
        tokio::select! {
            biased;
            done = work => done.unwrap_or_else(|_| Err(Error::panicked())),
            error = std::future::poll_fn(|cx| self.poll(cx)) => Err(error),
        }
    }
}

/// Everything about an answer but what the command gives.
pub(super) struct Framing {
    /// The headers so far: CORS and the configured ones.
    pub(super) headers: HeaderMap,
    pub(super) encoding: Encoding,
    pub(super) limits: Limits,
    pub(super) body_end: BodyEnd,
    pub(super) running: Running,
}

impl Framing {
    /// Runs a command and answers with what it gives.
    pub(super) async fn run(mut self, command: Answer) -> Response<Body> {
        let reply = match self.limits.apply(command).await {
            Ok(reply) => reply,
            Err(error) => return self.error(&error),
        };
        match reply {
            Reply::Nothing => self.nothing(),
            Reply::One(value) => {
                let mut bytes = Vec::new();
                let end = value.encode(self.encoding, &mut bytes).err();
                let content_type = self.encoding.content_type();
                self.stream(None, content_type, Output::new(Source::None, bytes, end))
            }
            Reply::Many(values) => self.many(values).await,
            Reply::Live(values) => {
                self.limits = self.limits.without_grace();
                let content_type = self.encoding.content_type();
                let source = Source::Values(values, self.encoding);
                self.stream(
                    Some(CHUNKED_OUTPUT),
                    content_type,
                    Output::new(source, Bytes::new(), None),
                )
            }
            Reply::Json(mut chunks) => {
                let first = self.limits.apply(chunks.next().map(Option::transpose)).await;
                match first {
                    Err(error) => self.error(&error),
                    Ok(first) => {
                        let first = first.unwrap_or_default();
                        let output = Output::new(Source::Chunks(chunks), first, None);
                        self.stream(None, "application/json", output)
                    }
                }
            }
            Reply::Raw(raw) => self.raw(raw),
        }
    }

    async fn many(mut self, mut values: Values) -> Response<Body> {
        let first = self.limits.apply(values.next().map(Option::transpose)).await;
        let first = match first {
            Err(error) => return self.error(&error),
            Ok(None) => return self.nothing(),
            Ok(Some(first)) => first,
        };
        let mut bytes = Vec::new();
        let end = first.encode(self.encoding, &mut bytes).err();
        let source =
            if end.is_some() { Source::None } else { Source::Values(values, self.encoding) };
        let content_type = self.encoding.content_type();
        self.stream(Some(CHUNKED_OUTPUT), content_type, Output::new(source, bytes, end))
    }

    fn raw(mut self, raw: Raw) -> Response<Body> {
        if let Some(length) = raw.length {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        // Text, so that no browser takes it for a page of this origin.
        let content_type = raw.content_type.unwrap_or(match self.encoding {
            Encoding::Json => "text/plain",
            encoding => encoding.content_type(),
        });
        let mut output = Output::new(Source::Chunks(raw.body), Bytes::new(), None);
        output.tail = raw.whole_reads.then(Tail::default);
        self.stream(Some(STREAM_OUTPUT), content_type, output)
    }

    /// The answer of a command that gives no value.
    pub(super) fn nothing(self) -> Response<Body> {
        let content_type = self.encoding.content_type();
        self.stream(
            Some(CHUNKED_OUTPUT),
            content_type,
            Output::new(Source::None, Bytes::new(), None),
        )
    }

    /// The answer of a command that failed before it gave anything.
    pub(super) fn error(mut self, error: &Error) -> Response<Body> {
        if let Some(length) = error.length() {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let (body, content_type) = error.encode(self.encoding);
        let mut response = self.stream(None, content_type, Output::new(Source::None, body, None));
        *response.status_mut() = error.status();
        response
    }

    fn stream(
        mut self,
        class: Option<HeaderName>,
        content_type: &'static str,
        mut output: Output,
    ) -> Response<Body> {
        let headers = &mut self.headers;
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, EXPOSED);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.insert(header::TRAILER, HeaderValue::from_static("X-Stream-Error"));
        if let Some(class) = class {
            headers.insert(class, YES);
        }
        if !self.body_end.is_reached() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        output.limits = Some(self.limits);
        output.running = Some(self.running);
        let mut response = reply::empty(hyper::StatusCode::OK, self.headers);
        *response.body_mut() = output.boxed_unsync();
        response
    }
}

/// Where the rest of an answer comes from.
enum Source {
    None,
    Values(Values, Encoding),
    Chunks(Chunks),
}

/// What has been read since the last full buffer of Kubo's. It is sent when more has been read, or
/// at the end, and not before an error.
#[derive(Default)]
struct Tail(Bytes);

impl Tail {
    /// Takes a chunk in; gives what fills buffers, in two pieces.
    fn push(&mut self, mut chunk: Bytes) -> (Bytes, Bytes) {
        let rest = (self.0.len() + chunk.len()) % READ_BYTES;
        if self.0.len() + chunk.len() < READ_BYTES {
            self.0 = [&self.0[..], &chunk[..]].concat().into();
            return (Bytes::new(), Bytes::new());
        }
        let tail = chunk.split_off(chunk.len() - rest);
        (std::mem::replace(&mut self.0, tail), chunk)
    }
}

/// The body of an answer.
struct Output {
    source: Source,
    /// Encoded, and not yet sent.
    buffer: Vec<u8>,
    /// A chunk that is sent as it is, after the buffer.
    chunk: Bytes,
    tail: Option<Tail>,
    /// Set when the source is at its end: the error that goes into the trailer.
    end: Option<Option<Error>>,
    limits: Option<Limits>,
    running: Option<Running>,
}

impl Output {
    fn new(source: Source, first: impl Into<Bytes>, error: Option<Error>) -> Self {
        let end = (error.is_some() || matches!(source, Source::None)).then_some(error);
        let (buffer, chunk) = (Vec::new(), first.into());
        Self { source, buffer, chunk, tail: None, end, limits: None, running: None }
    }

    fn finish(&mut self, error: Option<Error>) {
        // Dropping the source ends the work.
        self.source = Source::None;
        self.end = Some(error);
    }

    /// Takes one item from the source. `Pending` when it has none.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| match &mut self.source {
            Source::None => Poll::Ready(Ok(None)),
            Source::Values(values, encoding) => values.poll_next_unpin(cx).map(|value| {
                let Some(value) = value.transpose()? else { return Ok(None) };
                value.encode(*encoding, &mut self.buffer)?;
                Ok(Some(Bytes::new()))
            }),
            Source::Chunks(chunks) => chunks.poll_next_unpin(cx).map(Option::transpose),
        }));
        match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(Some(chunk)))) => match &mut self.tail {
                None => self.chunk = chunk,
                Some(tail) => {
                    let (first, rest) = tail.push(chunk);
                    self.buffer.extend_from_slice(&first);
                    self.chunk = rest;
                }
            },
            Ok(Poll::Ready(Ok(None))) => {
                if let Some(Tail(tail)) = self.tail.take() {
                    self.chunk = tail;
                }
                self.finish(None);
            }
            Ok(Poll::Ready(Err(error))) => self.finish(Some(error)),
            Err(_) => self.finish(Some(Error::panicked())),
        }
        Poll::Ready(())
    }

    /// What can be sent.
    fn take(&mut self) -> Option<Bytes> {
        if !self.buffer.is_empty() {
            let capacity = self.buffer.len().min(BATCH_BYTES);
            let buffer = std::mem::replace(&mut self.buffer, Vec::with_capacity(capacity));
            return Some(buffer.into());
        }
        Some(std::mem::take(&mut self.chunk)).filter(|chunk| !chunk.is_empty())
    }
}

impl hyper::body::Body for Output {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            let full = this.buffer.len() >= BATCH_BYTES || !this.chunk.is_empty();
            if (full || this.end.is_some())
                && let Some(data) = this.take()
            {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if let Some(end) = &mut this.end {
                let error = end.take();
                return Poll::Ready(error.map(|error| Ok(Frame::trailers(trailer(&error)))));
            }
            if let Some(limits) = &mut this.limits
                && let Poll::Ready(error) = limits.poll(cx)
            {
                this.finish(Some(error));
                continue;
            }
            if this.poll_source(cx).is_pending() {
                return match this.take() {
                    Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                    None => Poll::Pending,
                };
            }
        }
    }
}

/// The trailer of an error. Line ends become spaces, as in Go; so does what no header may hold.
fn trailer(error: &Error) -> HeaderMap {
    let text: Vec<u8> = error
        .message()
        .bytes()
        .map(|byte| if byte == 0x7f || (byte < b' ' && byte != b'\t') { b' ' } else { byte })
        .collect();
    let mut trailers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(text.trim_ascii()) {
        trailers.insert(STREAM_ERROR, value);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_held_back_until_its_buffer_is_full() {
        for sizes in [vec![100_000, 50_000, 7], vec![1; 9000], vec![4096, 4096, 4095, 1, 0, 3]] {
            let mut tail = Tail::default();
            let mut sent = 0;
            let mut read = 0;
            for size in sizes {
                read += size;
                let (first, rest) = tail.push(vec![0; size].into());
                sent += first.len() + rest.len();
                assert_eq!(sent, read / READ_BYTES * READ_BYTES);
            }
            assert_eq!(tail.0.len(), read % READ_BYTES);
        }
    }
}
