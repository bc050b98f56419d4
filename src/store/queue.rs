//! The queue of the writer thread, and how it is cut into commits.
//!
//! Blocks are bounded by a semaphore of bytes, held until the commit; flushes and jobs by their
//! callers, each of whom waits for its own.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::ipld::Cid;

use super::Error;
use super::frame::Header;
use super::writer::Writer;

/// A block to write.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) header: Header,
    pub(super) data: Bytes,
    /// `None`: the bytes are no block of their codec.
    pub(super) links: Option<Vec<Cid>>,
    /// Room in the queue, free again when this is dropped.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// Something else to do on the writer thread, between two commits.
pub(super) type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// What waits for the writer.
pub(super) enum Item {
    Put(Put),
    Flush(oneshot::Sender<Result<(), Error>>),
    Job(Job),
}

/// What the writer does next.
pub(super) enum Batch {
    Commit { puts: Vec<Put>, flushes: Vec<oneshot::Sender<Result<(), Error>>> },
    Job(Job),
}

/// When a commit is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) linger: Duration,
}

/// The queue; many producers, one writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item.
    pub(super) fn push(&self, item: Item) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.items.push_back(item);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Refuses further items; the writer ends when it has done what is queued.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Refuses further items and forgets what is queued: its callers learn that nobody answers.
    pub(super) fn abandon(&self) {
        let items = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.items)
        };
        drop(items);
    }

    /// The next batch; waits for one. `None` when the queue is closed and empty.
    pub(super) fn next(&self, limits: Limits) -> Option<Batch> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(Item::Job(_)) = state.items.front()
            && let Some(Item::Job(job)) = state.items.pop_front()
        {
            return Some(Batch::Job(job));
        }
        Some(self.gather(state, limits))
    }

    fn gather(&self, mut state: MutexGuard<'_, State>, limits: Limits) -> Batch {
        let deadline = Instant::now() + limits.linger;
        let (mut puts, mut flushes, mut bytes) = (Vec::new(), Vec::new(), 0);
        loop {
            while bytes < limits.bytes
                && let Some(Item::Put(_) | Item::Flush(_)) = state.items.front()
            {
                match state.items.pop_front() {
                    Some(Item::Put(put)) => {
                        bytes += put.data.len();
                        puts.push(put);
                    }
                    Some(Item::Flush(reply)) => flushes.push(reply),
                    _ => {}
                }
            }
            let waiting = deadline.saturating_duration_since(Instant::now());
            // A job at the front ends the batch: order is kept.
            let due = bytes >= limits.bytes || !flushes.is_empty() || !state.items.is_empty();
            if due || state.closed || waiting.is_zero() {
                return Batch::Commit { puts, flushes };
            }
            let woken = self.changed.wait_timeout(state, waiting);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
