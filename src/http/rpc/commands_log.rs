//! The log of commands: what runs, and what has run within the time that finished calls are kept.
//!
//! State in memory only; a crash loses it. Bounded: finished calls beyond [`FINISHED_MAX`] go,
//! oldest first, whatever the time says. What runs is bounded by the connections.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::options::Options;

/// The most finished calls that are kept.
const FINISHED_MAX: usize = 10_000;

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// A number, rising with each call.
    pub id: u64,
    /// The path of the command.
    pub command: String,
    /// Its options.
    pub options: Options,
    /// Its arguments.
    pub args: Vec<String>,
    /// When it began.
    pub start: SystemTime,
    /// When it ended; `None` while it runs.
    pub end: Option<SystemTime>,
}

/// A handle to the log. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct CommandLog(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    /// By rising id.
    calls: VecDeque<Call>,
    next_id: u64,
    keep: Duration,
}

impl CommandLog {
    // A std Mutex: nothing is awaited under it, and a holder that panicked left a whole log.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call in the log, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.iter().cloned().collect()
    }

    /// Forgets what has finished.
    pub fn clear_finished(&self) {
        self.lock().calls.retain(|call| call.end.is_none());
    }

    /// How long finished calls are kept from now on.
    pub fn set_keep(&self, keep: Duration) {
        self.lock().keep = keep;
    }

    /// Notes that a call has begun. It runs until the guard is dropped.
    pub(super) fn begin(&self, command: &str, options: Options, args: Vec<String>) -> Running {
        let mut log = self.lock();
        let id = log.next_id;
        log.next_id += 1;
        let start = SystemTime::now();
        let command = command.to_owned();
        log.calls.push_back(Call { id, command, options, args, start, end: None });
        Running { log: self.clone(), id }
    }
}

/// A call that runs; dropping it ends the call.
#[derive(Debug)]
pub(super) struct Running {
    log: CommandLog,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut log = self.log.lock();
        let now = SystemTime::now();
        if let Some(call) = log.calls.iter_mut().rev().find(|call| call.id == self.id) {
            call.end = Some(now);
        }
        // As Kubo: every so often, so that a busy node does not walk the log at each call.
        if log.calls.len().is_multiple_of(10) {
            let keep = log.keep;
            log.calls.retain(|call| call.end.is_none_or(|end| end + keep > now));
        }
        if log.calls.len() > FINISHED_MAX
            && let Some(oldest) = log.calls.iter().position(|call| call.end.is_some())
        {
            log.calls.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_active_until_its_guard_drops_and_cleared_after() {
        let log = CommandLog::default();
        let first = log.begin("version", Options::default(), Vec::new());
        let second = log.begin("cat", Options::default(), vec!["x".to_owned()]);
        drop(first);
        let calls = log.calls();
        assert_eq!(calls.len(), 2);
        assert!(calls[0].end.is_some() && calls[1].end.is_none());
        log.clear_finished();
        assert_eq!(log.calls().len(), 1);
        drop(second);
    }

    #[test]
    fn every_tenth_call_sweeps_what_is_too_old() {
        let log = CommandLog::default();
        for _ in 0..10 {
            drop(log.begin("version", Options::default(), Vec::new()));
        }
        assert!(log.calls().is_empty());
        log.set_keep(Duration::from_secs(60));
        for _ in 0..30 {
            drop(log.begin("version", Options::default(), Vec::new()));
        }
        assert_eq!(log.calls().len(), 30);
    }
}
