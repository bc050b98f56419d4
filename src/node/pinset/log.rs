//! The changes of the group's pins as they happen, and the last ones before.
//!
//! In memory alone: a restart forgets them. An entry is there once its change is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::ledger::{Ledger, root_text};
use super::list::author_text;
use super::status::Group;
use crate::ipld::Cid;
use crate::node::produce::{Sink, produce};
use crate::node::{Error, Node};
use crate::sync::core::Change;
use crate::sync::hash::Hash;
use crate::sync::{Author, Kind, Record};
use futures_util::Stream;

/// Changes that are remembered.
const RECENT_MAX: usize = 1000;
/// Changes that a listener may be behind before it reads the remembered ones again.
const BEHIND_MAX: usize = 256;

/// What has become of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It came.
    Pinned,
    /// It went.
    Unpinned,
    /// Its name or its options are others.
    Updated,
}

impl Happened {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Unpinned => "unpinned",
            Self::Updated => "updated",
        }
    }
}

/// A change, for people.
#[derive(Debug, Clone)]
pub struct PinChange {
    /// When this node took it, in Unix milliseconds.
    pub at_ms: u64,
    /// What it was.
    pub happened: Happened,
    /// Of what.
    pub cid: Cid,
    /// Its name.
    pub name: String,
    /// The peer id of who made it. Of one that never said hello: that of the key of its records.
    pub author: String,
    /// The hash of the pins after it, and after what came in the same moment.
    pub live_root: String,
}

/// A change as it is remembered.
#[derive(Debug)]
pub(super) struct Entry {
    /// Counts up.
    number: u64,
    at_ms: u64,
    happened: Happened,
    cid: Cid,
    name: String,
    author: Author,
    live: Hash,
}

/// The changes that are remembered, and who wants to hear of new ones.
#[derive(Debug)]
pub(super) struct Journal {
    /// Of the transaction that is under way.
    pending: Vec<Entry>,
    recent: VecDeque<Arc<Entry>>,
    next_number: u64,
    news: broadcast::Sender<Arc<Entry>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            recent: VecDeque::new(),
            next_number: 0,
            news: broadcast::channel(BEHIND_MAX).0,
        }
    }
}

impl Journal {
    /// How many changes wait for their transaction.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Forgets those after the first `kept` that wait: they were not made.
    pub(super) fn undo(&mut self, kept: usize) {
        self.pending.truncate(kept);
    }

    /// Takes a change, until its transaction ends.
    pub(super) fn note(&mut self, change: &Change, at_ms: u64) {
        let live = |record: &Option<Record>| {
            record.as_ref().is_some_and(|record| record.kind() == Kind::Live)
        };
        let happened = match (live(&change.before), live(&change.after)) {
            (false, true) => Happened::Pinned,
            (true, false) => Happened::Unpinned,
            (true, true) => Happened::Updated,
            (false, false) => return,
        };
        let Some(record) = change.after.as_ref().or(change.before.as_ref()) else { return };
        let named = record.live().or(change.before.as_ref().and_then(Record::live));
        self.pending.push(Entry {
            number: 0,
            at_ms,
            happened,
            cid: record.cid().clone(),
            name: named.map(|live| live.name.clone()).unwrap_or_default(),
            author: record.author(),
            live: Hash::default(),
        });
    }

    /// Tells what was waiting: it is durable, and the trees are these.
    pub(super) fn commit(&mut self, live: &Hash) {
        for entry in self.pending.drain(..) {
            let entry = Arc::new(Entry { number: self.next_number, live: *live, ..entry });
            self.next_number += 1;
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(Arc::clone(&entry));
            // Nobody may be listening.
            let _ = self.news.send(entry);
        }
    }

    /// What is remembered from `number` on, and what comes after it.
    pub(super) fn listen(&self, number: u64) -> (Vec<Arc<Entry>>, broadcast::Receiver<Arc<Entry>>) {
        let recent = self.recent.iter().filter(|entry| entry.number >= number);
        (recent.cloned().collect(), self.news.subscribe())
    }
}

impl Node {
    /// The last changes of the group's pins, oldest first; then, when they are to be followed, those
    /// that come, until the node stops.
    ///
    /// # Errors
    /// On a node that has no group.
    pub fn pin_changes(
        &self,
        follows: bool,
    ) -> Result<impl Stream<Item = Result<PinChange, Error>> + use<>, Error> {
        let (node, ledger) = (self.clone(), self.ledger()?.clone());
        Ok(produce(BEHIND_MAX, move |sink| async move {
            tokio::select! {
                told = node.tell_changes(&ledger, follows, &sink) => told,
                () = node.stopped() => Ok(()),
            }
        }))
    }

    async fn tell_changes(
        &self,
        ledger: &Ledger,
        follows: bool,
        sink: &Sink<PinChange>,
    ) -> Result<(), Error> {
        let (mut known, mut news) = ledger.listen(0);
        let mut next = known.first().map_or(0, |entry| entry.number);
        loop {
            if known.first().is_some_and(|entry| entry.number > next) {
                return Err(Error::failed("the changes came faster than they were read"));
            }
            next = known.last().map_or(next, |entry| entry.number + 1);
            for change in self.describe_changes(ledger, &known).await? {
                sink.send(change).await;
            }
            if !follows {
                return Ok(());
            }
            known = match news.recv().await {
                Ok(entry) if entry.number >= next => vec![entry],
                Ok(_) => Vec::new(),
                Err(RecvError::Closed) => return Ok(()),
                Err(RecvError::Lagged(_)) => {
                    let again = ledger.listen(next);
                    news = again.1;
                    again.0
                }
            };
        }
    }

    async fn describe_changes(
        &self,
        ledger: &Ledger,
        entries: &[Arc<Entry>],
    ) -> Result<Vec<PinChange>, Error> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let authors = self.peers_by_author(&Group::of(ledger).await?, ledger);
        let changes = entries.iter().map(|entry| PinChange {
            at_ms: entry.at_ms,
            happened: entry.happened,
            cid: entry.cid.clone(),
            name: entry.name.clone(),
            author: author_text(&authors, &entry.author),
            live_root: root_text(&entry.live),
        });
        Ok(changes.collect())
    }
}
