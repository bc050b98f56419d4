//! The collector: deletes the blocks that nothing keeps, while everything else goes on.
//!
//! Responsible for: what is live (pins, and the roots that the caller adds), and for reporting
//! what was removed. Not for: how blocks are deleted and packs rewritten, nor for what is spared
//! because it is new or in use; that is the store's.
//! Owns nothing between two runs. A crash leaves a run that did less.

mod service;

pub use service::{Options, Service};

use tokio::sync::mpsc;

use crate::db::fail;
use crate::ipld::{Cid, Multihash};
use crate::pins::{self, Mode, Pins};
use crate::store::{self, Collection, Marks, Problem, Store, Walk};

/// Slices of removed blocks, or errors, that wait for a slow reader before the run waits too.
const EVENTS_MAX: usize = 16;
/// Bytes copied to free space before the run ends; what takes more goes on behind its back, so
/// that who asked for the collection does not wait for it.
const COPY_BYTES_MAX: u64 = 16 << 20;

/// Why a run did less than it should. The texts are Kubo's.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A pinned block whose links cannot be had: what is below it is not known.
    #[error("could not retrieve links for {}: {}", .0.cid(), reason(.0))]
    Links(Box<Problem>),
    /// Some links could not be had: nothing was deleted.
    #[error("garbage collection aborted: could not retrieve some links")]
    Aborted,
    /// Some deletions failed.
    #[error("garbage collection incomplete: could not delete some blocks")]
    Incomplete,
    /// The pinset could not be read.
    #[error(transparent)]
    Pins(#[from] pins::Error),
    /// The blockstore failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

fn reason(problem: &Problem) -> String {
    match problem {
        Problem::Missing(cid) => {
            format!("block was not found locally (offline): ipld: could not find {cid}")
        }
        Problem::Unreadable(_, store::Error::Links { source, .. }) => source.to_string(),
        Problem::Unreadable(_, error) => error.to_string(),
    }
}

/// A run that is under way; dropping it stops the run before its next slice.
#[derive(Debug)]
pub struct Run {
    events: mpsc::Receiver<Event>,
    ready: std::vec::IntoIter<Multihash>,
}

#[derive(Debug)]
enum Event {
    Removed(Vec<Multihash>),
    Failed(Error),
}

impl Run {
    /// The next removed block, or the next error; `None` at the end. After an error the run may go
    /// on; the last error says what became of it.
    pub async fn next(&mut self) -> Option<Result<Multihash, Error>> {
        loop {
            if let Some(hash) = self.ready.next() {
                return Some(Ok(hash));
            }
            match self.events.recv().await? {
                Event::Removed(hashes) => self.ready = hashes.into_iter(),
                Event::Failed(error) => return Some(Err(error)),
            }
        }
    }
}

/// Collects everything that is not below a recursive pin, a direct pin, or below one of `roots`.
///
/// Waits for a run that is under way. `roots` is asked when this one begins; what is missing below
/// them is no error. What is stored or touched by a session from then on stays, and so does what a
/// live session has touched before. Must be called within a tokio runtime.
pub fn run<R>(store: &Store, pins: &Pins, roots: R) -> Run
where
    R: FnOnce() -> Vec<Cid> + Send + 'static,
{
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let (store, pins) = (store.clone(), pins.clone());
    tokio::spawn(async move {
        let begun = tokio::select! {
            begun = begin(&store, &pins) => begun,
            () = sender.closed() => return,
        };
        match begun {
            Ok(collection) => {
                let work = move || collect(store, pins, roots(), &collection, sender);
                // A panic is logged by the runtime, and ends the stream.
                let _ = tokio::task::spawn_blocking(work).await;
            }
            Err(error) => {
                let _ = sender.send(Event::Failed(error)).await;
            }
        }
    });
    Run { events, ready: Vec::new().into_iter() }
}

/// Waits for its turn, and until the pins of ended sessions can be read: one whose caller went away
/// in the middle of its commit is protected by nothing else.
async fn begin(store: &Store, pins: &Pins) -> Result<Collection, Error> {
    let collection = store.collection().await?;
    pins.settle().await?;
    Ok(collection)
}

/// Marks, sweeps and compacts; errors go to the stream.
fn collect(
    store: Store,
    pins: Pins,
    roots: Vec<Cid>,
    collection: &Collection,
    events: mpsc::Sender<Event>,
) {
    let marking = Marking { store: &store, events: &events, is_whole: true };
    let marks = match marking.mark(&pins, roots) {
        Ok(Some(marks)) => marks,
        Ok(None) => {
            let _ = events.blocking_send(Event::Failed(Error::Aborted));
            return;
        }
        Err(error) => {
            let _ = events.blocking_send(Event::Failed(error));
            return;
        }
    };
    fail::point("gc-after-mark");
    let send = |removed: Vec<Multihash>| {
        removed.is_empty() || events.blocking_send(Event::Removed(removed)).is_ok()
    };
    let go_on = || !events.is_closed();
    let swept = collection.sweep(marks, |removed| send(removed) && go_on());
    let freed = swept.and_then(|()| collection.compact(COPY_BYTES_MAX, go_on));
    if let Err(error) = freed {
        let _ = events.blocking_send(Event::Failed(error.into()));
        let _ = events.blocking_send(Event::Failed(Error::Incomplete));
        return;
    }
    if events.is_closed() {
        return;
    }
    // Ends the stream, and lets the store be closed.
    drop((events, store, pins));
    if let Err(error) = collection.compact(u64::MAX, || !collection.is_alone()) {
        tracing::error!(%error, "segments could not be rewritten");
    }
}

/// The mark phase.
struct Marking<'a> {
    store: &'a Store,
    events: &'a mpsc::Sender<Event>,
    /// No link was missing so far.
    is_whole: bool,
}

impl Marking<'_> {
    /// What is live; `None` when that cannot be known.
    fn mark(mut self, pins: &Pins, roots: Vec<Cid>) -> Result<Option<Marks>, Error> {
        let mut walk = self.store.walk(Marks::default());
        let mut recursive = pins.cids(Mode::Recursive);
        while let Some(cids) = recursive.next().transpose()? {
            walk.roots(&cids)?;
            if !self.finish(&mut walk, false)? {
                return Ok(None);
            }
        }
        for root in roots {
            walk.root(&root)?;
            if !self.finish(&mut walk, true)? {
                return Ok(None);
            }
        }
        let mut marks = walk.into_marks();
        for cids in pins.cids(Mode::Direct) {
            self.store.nodes(&cids?)?.iter().for_each(|node| {
                marks.insert(node);
            });
        }
        Ok(self.is_whole.then_some(marks))
    }

    /// Walks to the end; `false` when nobody listens any more.
    fn finish(&mut self, walk: &mut Walk<'_>, best_effort: bool) -> Result<bool, Error> {
        loop {
            let goes_on = walk.advance()?;
            walk.take_found();
            for problem in walk.take_problems() {
                if best_effort && matches!(problem, Problem::Missing(_)) {
                    continue;
                }
                self.is_whole = false;
                if self
                    .events
                    .blocking_send(Event::Failed(Error::Links(Box::new(problem))))
                    .is_err()
                {
                    return Ok(false);
                }
            }
            if !goes_on {
                return Ok(!self.events.is_closed());
            }
        }
    }
}
