//! A handle to the work: wakes it, and tells what is being fetched now.
//!
//! What runs is in memory alone: a row does not change when its turn comes. After a crash it has
//! its turn again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::Error;
use super::row::{self, Counts, Row, State};
use crate::db::Connection;
use crate::sync::hash::Key;

/// How far a fetch has come. Cloning it is cheap; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    nodes: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// Blocks that are known to be here.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.0.nodes.load(Ordering::Relaxed)
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Counts a block of so many bytes.
    pub fn count(&self, bytes: u64) {
        self.0.nodes.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A handle to the work; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wake: Notify,
    is_full: AtomicBool,
    running: Mutex<HashMap<Key, Progress>>,
    changes: watch::Sender<u64>,
}

impl Queue {
    /// Has rows looked at again: to be called after each commit that changed some. Never waits.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Changes whenever pins became whole here, failed or went.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether nothing is fetched because the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full.load(Ordering::Relaxed)
    }

    /// As [`row::counts`], of what is so now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn counts(&self, c: &Connection) -> Result<Counts, Error> {
        let mut counts = row::counts(c)?;
        for key in self.keys() {
            let Some(row) = row::row(c, &key)? else { continue };
            if !row.state.is_unpin()
                && let Some(count) = counts.of(row.state)
            {
                *count = count.saturating_sub(1);
                counts.fetching += 1;
            }
        }
        if self.is_full() {
            counts.disk_full += std::mem::take(&mut counts.queued);
        }
        Ok(counts)
    }

    /// As [`row::row`], of what is so now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn row(&self, c: &Connection, key: &Key) -> Result<Option<Row>, Error> {
        Ok(row::row(c, key)?.map(|row| self.as_it_is(row)))
    }

    /// As [`row::page`], of what is so now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn page(
        &self,
        c: &Connection,
        states: &[State],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        if states.is_empty() {
            let rows = row::page(c, states, after, limit)?;
            return Ok(rows.into_iter().map(|row| self.as_it_is(row)).collect());
        }
        // What is stored as one state may be in another one now: those rows are looked at, too.
        let mut stored = states.to_vec();
        if self.is_full() && states.contains(&State::DiskFull) {
            stored.push(State::Queued);
        }
        let mut found = Vec::new();
        let mut from = after.copied();
        loop {
            let rows = row::page(c, &stored, from.as_ref(), limit)?;
            let more = rows.len() == limit && limit > 0;
            from = rows.last().map(|row| row.key);
            found.extend(rows.into_iter().map(|row| self.as_it_is(row)));
            found.retain(|row| states.contains(&row.state));
            if !more || found.len() >= limit {
                break;
            }
        }
        if states.contains(&State::Fetching) {
            for key in self.keys() {
                if after.is_none_or(|after| key > *after) && !found.iter().any(|row| row.key == key)
                {
                    let row = self.row(c, &key)?;
                    found.extend(row.filter(|row| row.state == State::Fetching));
                }
            }
            found.sort_unstable_by_key(|row| row.key);
        }
        found.truncate(limit);
        Ok(found)
    }

    fn as_it_is(&self, mut row: Row) -> Row {
        if row.state.is_unpin() {
            return row;
        }
        if let Some(progress) = self.running().get(&row.key) {
            row.state = State::Fetching;
            row.blocks = row.blocks.max(progress.nodes());
            row.bytes = row.bytes.max(progress.bytes());
        } else if row.state == State::Queued && self.is_full() {
            row.state = State::DiskFull;
        }
        row
    }

    fn keys(&self) -> Vec<Key> {
        self.running().keys().copied().collect()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Key, Progress>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    pub(super) fn begin(&self, key: Key, progress: Progress) {
        self.running().insert(key, progress);
    }

    pub(super) fn end(&self, key: &Key) {
        self.running().remove(key);
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.0.is_full.store(is_full, Ordering::Relaxed);
    }

    pub(super) fn changed(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}
