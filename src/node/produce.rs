//! A stream made by an async function that sends its items.
//!
//! The function runs as the stream is polled, in the task that polls it: nothing is spawned, a slow
//! reader holds it back, and dropping the stream drops the work.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

/// Where the items go.
#[derive(Debug)]
pub struct Sink<T>(mpsc::Sender<T>);

impl<T> Clone for Sink<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Sink<T> {
    /// Sends an item; waits while the reader is behind. When the reader has gone the item goes
    /// nowhere, as the work itself is about to.
    pub async fn send(&self, item: T) {
        // An error means that nobody is left to tell.
        let _ = self.0.send(item).await;
    }

    /// The same from a thread of the blocking pool; `false` when the reader has gone.
    pub fn send_blocking(&self, item: T) -> bool {
        self.0.blocking_send(item).is_ok()
    }
}

/// The stream of what `work` sends, at most `capacity` items ahead of the reader; an error of
/// `work` comes last.
pub fn produce<T, E, W>(capacity: usize, work: impl FnOnce(Sink<T>) -> W) -> Produce<T, E, W>
where
    W: Future<Output = Result<(), E>>,
{
    let (sender, items) = mpsc::channel(capacity);
    Produce { items, work: Some(Box::pin(work(Sink(sender)))), error: None }
}

/// The stream of [`produce`].
#[derive(Debug)]
pub struct Produce<T, E, W> {
    items: mpsc::Receiver<T>,
    work: Option<Pin<Box<W>>>,
    error: Option<E>,
}

impl<T, E, W> Unpin for Produce<T, E, W> {}

impl<T, E, W> Stream for Produce<T, E, W>
where
    W: Future<Output = Result<(), E>>,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // What is there goes first: `work` gets on while its reader has nothing to read.
        if let Ok(item) = self.items.try_recv() {
            return Poll::Ready(Some(Ok(item)));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(done) = work.as_mut().poll(cx)
        {
            self.work = None;
            self.error = done.err();
        }
        // `None` when every sink is gone, and with them `work`: the error is next.
        match self.items.poll_recv(cx) {
            Poll::Ready(None) => Poll::Ready(self.error.take().map(Err)),
            item => item.map(|item| item.map(Ok)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn items_come_in_order_and_the_error_last() {
        let stream = produce(2, |sink| async move {
            for item in 0..10 {
                sink.send(item).await;
            }
            Err("the end")
        });
        let items: Vec<_> = stream.collect().await;
        let (error, numbers) = items.split_last().unwrap();
        assert_eq!(numbers, (0..10).map(Ok).collect::<Vec<_>>());
        assert_eq!(*error, Err("the end"));
    }

    #[tokio::test]
    async fn a_thread_may_send_too() {
        let stream = produce(1, |sink| async move {
            let sent = tokio::task::spawn_blocking(move || (0..5).all(|n| sink.send_blocking(n)));
            if sent.await.unwrap() { Ok(()) } else { Err("the reader has gone") }
        });
        let items: Vec<_> = stream.collect().await;
        assert_eq!(items, (0..5).map(Ok).collect::<Vec<Result<i32, &str>>>());
    }

    #[tokio::test]
    async fn dropping_the_stream_drops_the_work() {
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let mut stream = produce(1, |sink| async move {
            let _alive = alive;
            sink.send(1).await;
            std::future::pending::<()>().await;
            Ok::<(), ()>(())
        });
        assert_eq!(stream.next().await, Some(Ok(1)));
        drop(stream);
        assert_eq!(gone.recv().await, None);
    }
}
