//! What must not be deleted: blocks that live sessions touched, and the rules of a collection.
//!
//! Owns one bitmap of ids per session and, for each watch (a collection that runs, or a deletion
//! that first looks at the pins), one of everything touched since it began. Memory only: after a
//! crash no session lives and no collection runs.
//!
//! The writer thread alone deletes. It publishes the ids it is about to delete, commits, and then
//! raises the epoch. Who finds a block in the index and wants to rely on it reads the epoch first
//! and touches the id afterwards; the touch says whether the block was still there in between.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use roaring::RoaringTreemap;

use super::Error;

/// The protections of one store.
#[derive(Debug, Default)]
pub(super) struct Guard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<u64, Protected>,
    sessions_opened: u64,
    watches: HashMap<u64, Watched>,
    watches_opened: u64,
    deleting: RoaringTreemap,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Protected {
    touched: RoaringTreemap,
    /// Something was put since the last successful flush.
    dirty: bool,
    failed: Option<Error>,
}

#[derive(Debug)]
struct Watched {
    /// Ids from here on were assigned after the start: they are live.
    floor: u64,
    /// Touched since the start, also by sessions that have ended.
    touched: RoaringTreemap,
}

/// What became of an id that was found in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It is there and stays as long as the session.
    Protected,
    /// It is being deleted: it counts as absent.
    Deleting,
    /// Something was deleted since the epoch was read: look again.
    Stale,
}

impl Guard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session.
    pub(super) fn open(&self) -> u64 {
        let mut state = self.lock();
        state.sessions_opened += 1;
        let session = state.sessions_opened;
        state.sessions.insert(session, Protected::default());
        session
    }

    /// Ends a session. Running collections spare what it had touched: its root may have been pinned
    /// after the pins were listed.
    pub(super) fn close(&self, session: u64) {
        let mut state = self.lock();
        let Some(protected) = state.sessions.remove(&session) else { return };
        for watched in state.watches.values_mut() {
            watched.touched |= &protected.touched;
        }
    }

    /// How many deletions have been committed.
    pub(super) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Protects an id that was found in the index after `epoch` was read.
    pub(super) fn touch(&self, session: u64, id: u64, epoch: u64) -> Touch {
        let mut state = self.lock();
        if state.deleting.contains(id) {
            return Touch::Deleting;
        }
        if state.epoch != epoch {
            return Touch::Stale;
        }
        if let Some(protected) = state.sessions.get_mut(&session) {
            protected.touched.insert(id);
        }
        Touch::Protected
    }

    /// Protects ids before it is looked whether their blocks are there; returns those that are
    /// being deleted, which count as absent.
    pub(super) fn touch_first(&self, session: u64, ids: &[u64]) -> Vec<u64> {
        let mut state = self.lock();
        let State { sessions, deleting, .. } = &mut *state;
        if let Some(protected) = sessions.get_mut(&session) {
            protected.touched.extend(ids.iter().copied().filter(|id| !deleting.contains(*id)));
        }
        if deleting.is_empty() {
            return Vec::new();
        }
        ids.iter().copied().filter(|id| deleting.contains(*id)).collect()
    }

    /// Protects an id that the writer has just given to a block put by `sessions`.
    pub(super) fn stored(&self, rows: impl Iterator<Item = (u64, Vec<u64>)>) {
        let mut state = self.lock();
        for (id, sessions) in rows {
            for session in sessions {
                if let Some(protected) = state.sessions.get_mut(&session) {
                    protected.touched.insert(id);
                }
            }
            // A ghost that became a block keeps an id below the floor.
            for watched in state.watches.values_mut().filter(|watched| id < watched.floor) {
                watched.touched.insert(id);
            }
        }
    }

    /// Notes that a session depends on the writer.
    pub(super) fn set_dirty(&self, session: u64) {
        if let Some(protected) = self.lock().sessions.get_mut(&session) {
            protected.dirty = true;
        }
    }

    /// Whether a session must wait for the writer before it is durable.
    pub(super) fn is_dirty(&self, session: u64) -> Result<bool, Error> {
        match self.lock().sessions.get(&session) {
            Some(Protected { failed: Some(error), .. }) => Err(error.clone()),
            Some(protected) => Ok(protected.dirty),
            None => Ok(false),
        }
    }

    /// Notes that everything put by a session is durable, unless a commit failed meanwhile.
    pub(super) fn set_clean(&self, session: u64) -> Result<(), Error> {
        match self.lock().sessions.get_mut(&session) {
            Some(Protected { failed: Some(error), .. }) => Err(error.clone()),
            Some(protected) => {
                protected.dirty = false;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Fails every session that waits for the writer: one of its blocks may be among those lost.
    pub(super) fn fail_dirty(&self, error: &Error) {
        for protected in self.lock().sessions.values_mut().filter(|protected| protected.dirty) {
            protected.failed.get_or_insert_with(|| error.clone());
        }
    }

    /// Begins a watch: what is touched from now on is live for it.
    pub(super) fn begin_watch(&self) -> u64 {
        let mut state = self.lock();
        state.watches_opened += 1;
        let watch = state.watches_opened;
        let watched = Watched { floor: u64::MAX, touched: RoaringTreemap::new() };
        state.watches.insert(watch, watched);
        watch
    }

    /// From now on ids from `floor` on are live for the watch, too.
    pub(super) fn set_floor(&self, watch: u64, floor: u64) {
        if let Some(watched) = self.lock().watches.get_mut(&watch) {
            watched.floor = floor;
        }
    }

    /// Ends a watch.
    pub(super) fn end_watch(&self, watch: u64) {
        self.lock().watches.remove(&watch);
    }

    /// Of `ids`, publishes those that nothing protects as being deleted, and returns them.
    pub(super) fn begin_delete(&self, ids: &[u64], watch: Option<u64>) -> RoaringTreemap {
        let mut state = self.lock();
        let watched = watch.and_then(|watch| state.watches.get(&watch));
        let free = |id: &u64| {
            let held = state.sessions.values().any(|protected| protected.touched.contains(*id));
            let spared = watched.is_some_and(|w| *id >= w.floor || w.touched.contains(*id));
            !held && !spared
        };
        let deleting: RoaringTreemap = ids.iter().copied().filter(|id| free(id)).collect();
        state.deleting.clone_from(&deleting);
        deleting
    }

    /// The deletion is committed, or has failed.
    pub(super) fn end_delete(&self) {
        let mut state = self.lock();
        state.deleting.clear();
        state.epoch += 1;
    }
}
