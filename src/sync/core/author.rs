//! Making records: what this node's user pins and unpins.

use super::merge::Batch;
use super::{Action, Authoring, Cause, Core, Hlc, Mutant, Now, Sign, Store};
use crate::ipld::Cid;
use crate::sync::cbor::DecodeError;
use crate::sync::hash::Key;
use crate::sync::message::{Message, UPDATE_LEN_MAX, UPDATE_RECORDS_MAX, Update};
use crate::sync::record::{Body, Live, Record, Tombstone};

/// How long a change waits for others to go in the same message.
const GATHER_MS: u64 = 5;
/// Bytes of records in an update: the rest of it is smaller than this leaves.
const UPDATE_RECORDS_LEN_MAX: usize = UPDATE_LEN_MAX - 1024;
/// Records that wait to be told; more are left to the sessions.
const OUTBOX_MAX: usize = 4096;

/// A change that the user makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Pin, or change the options of a pin.
    Pin(Cid, Box<Live>),
    /// Remove a pin.
    Unpin(Cid, Option<String>),
}

/// Why no record can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The state may be an old copy; a member must be heard first.
    #[error("the repository may be a restored copy: waiting for a member of the group")]
    MustAsk,
    /// Another node runs with the same key.
    #[error("another node runs with this node's key")]
    Cloned,
    /// The change is over a cap.
    #[error("the pin cannot be recorded: {0}")]
    Malformed(DecodeError),
}

impl<K: Sign> Core<K> {
    /// Makes the records of `ops`, in their order and all or none; what changes nothing makes
    /// none. As [`Core::step`]: one transaction, and the actions are for after it.
    ///
    /// # Errors
    /// When the store fails; inside, when no record can be made: then nothing was done.
    pub fn author_all<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        ops: &[Op],
    ) -> Result<Result<Vec<Action>, NotReady>, S::Error> {
        match self.authoring {
            Authoring::Ready => {}
            Authoring::MustAsk => return Ok(Err(NotReady::MustAsk)),
            Authoring::Cloned => return Ok(Err(NotReady::Cloned)),
        }
        // Every body is tried before the first record is kept.
        for op in ops {
            if let Err(error) = self.try_out(op) {
                return Ok(Err(NotReady::Malformed(error)));
            }
        }
        let mut batch = Batch::default();
        for op in ops {
            if let Err(error) = self.author_one(store, now, op, &mut batch)? {
                return Ok(Err(NotReady::Malformed(error)));
            }
        }
        self.settle(store, now, batch)?;
        self.reserve();
        if self.flush_at_ms.is_none() && !self.outbox.is_empty() {
            self.flush_at_ms = Some(now.mono_ms + GATHER_MS);
        }
        self.tick(store, now)?;
        self.save(store)?;
        Ok(Ok(std::mem::take(&mut self.actions)))
    }

    fn try_out(&self, op: &Op) -> Result<(), DecodeError> {
        let (cid, body) = match op {
            Op::Pin(cid, live) => (cid, Body::Live((**live).clone())),
            Op::Unpin(cid, reason) => {
                let observed =
                    super::super::record::Version { hlc: Hlc(0), author: self.keys.author() };
                (cid, Body::Tomb(Tombstone { observed, reason: reason.clone() }))
            }
        };
        // The highest time has the longest encoding.
        Record::sign(&self.keys, &self.group.id, cid, Hlc(u64::MAX), &body).map(|_| ())
    }

    fn author_one<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        op: &Op,
        batch: &mut Batch,
    ) -> Result<Result<(), DecodeError>, S::Error> {
        let (Op::Pin(cid, _) | Op::Unpin(cid, _)) = op;
        let current = store.get(&Key::of(cid))?;
        let body = match (op, current.as_ref().map(|current| (current, current.body()))) {
            (Op::Pin(_, live), Some((_, Body::Live(same)))) if same == live.as_ref() => {
                return Ok(Ok(()));
            }
            (Op::Pin(_, live), _) => Body::Live((**live).clone()),
            (Op::Unpin(..), Some((current, Body::Live(_)))) if !self.has_met => {
                // Nobody else has ever seen it: no trace is needed.
                self.forget(store, &current.key(), Cause::Local, batch)?;
                return Ok(Ok(()));
            }
            (Op::Unpin(_, reason), Some((current, Body::Live(_)))) => {
                Body::Tomb(Tombstone { observed: current.version(), reason: reason.clone() })
            }
            (Op::Unpin(..), _) => return Ok(Ok(())),
        };
        let above = current.as_ref().map_or(Hlc(0), Record::seen);
        let above = if self.rules.keeps(Mutant::R1) { above } else { Hlc(0) };
        let hlc = self.clock.stamp(now.wall_ms, above);
        let record = match Record::sign(&self.keys, &self.group.id, cid, hlc, &body) {
            Ok(record) => record,
            Err(error) => return Ok(Err(error)),
        };
        // Without R1 a record may not outrank what its author has seen; it is lost.
        if current.as_ref().is_none_or(|current| current.rank() < record.rank()) {
            self.replace(store, now, (current, &record), batch)?;
        }
        if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push(record);
        }
        Ok(Ok(()))
    }

    /// Pushes what has been gathered.
    pub(super) fn flush(&mut self, now: Now) {
        self.flush_at_ms = None;
        let records = std::mem::take(&mut self.outbox);
        for records in in_updates(records) {
            let update = self.update(now, records).encode(self.config.epoch);
            self.actions.push(Action::Broadcast(update));
        }
    }

    /// An update with some records, or an announcement with none.
    pub(super) fn update(&mut self, now: Now, records: Vec<Record>) -> Message {
        let node_hlc = self.claim(now);
        let vector_digest = self.vector_digest();
        Message::Update(Update { roots: self.roots(), node_hlc, vector_digest, records })
    }

    /// Of our session vector, this node's own time in it.
    pub(super) fn vector_digest(&self) -> [u8; 8] {
        let mut vector = self.vector.clone();
        if self.is_whole {
            vector.raise(self.keys.author(), self.clock.last());
        }
        vector.digest(self.config.vector_ms)
    }
}

/// Cuts records into lists that each fit one update.
pub(super) fn in_updates(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut updates: Vec<Vec<Record>> = Vec::new();
    let mut len = usize::MAX;
    for record in records {
        let record_len = record.as_bytes().len();
        match updates.last_mut() {
            Some(update)
                if update.len() < UPDATE_RECORDS_MAX
                    && len + record_len <= UPDATE_RECORDS_LEN_MAX =>
            {
                len += record_len;
                update.push(record);
            }
            _ => {
                len = record_len;
                updates.push(vec![record]);
            }
        }
    }
    updates
}
