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

/// What a collection keeps besides the pins, with all that is below.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roots {
    /// What is missing below them is no error.
    pub kept: Vec<Cid>,
    /// The same, nor is what cannot be read: others chose these, and they may be anything.
    pub partial: Vec<Cid>,
}

impl From<Vec<Cid>> for Roots {
    fn from(kept: Vec<Cid>) -> Self {
        Self { kept, partial: Vec::new() }
    }
}

/// How much of what is below a root has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    All,
    WhatIsHere,
    WhatCanBeRead,
}

impl Need {
    fn forgives(self, problem: &Problem) -> bool {
        match self {
            Self::All => false,
            Self::WhatIsHere => matches!(problem, Problem::Missing(_)),
            Self::WhatCanBeRead => true,
        }
    }
}

/// Collects everything that is not below a recursive pin, a direct pin, or below one of `roots`.
///
/// Waits for a run that is under way. `roots` is asked when this one begins. What is stored or
/// touched by a session from then on stays, and so does what a live session has touched before.
/// Must be called within a tokio runtime.
pub fn run<R, T>(store: &Store, pins: &Pins, roots: R) -> Run
where
    R: FnOnce() -> T + Send + 'static,
    T: Into<Roots>,
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
                let work = move || collect(store, pins, roots().into(), &collection, sender);
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
    roots: Roots,
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
    fn mark(mut self, pins: &Pins, roots: Roots) -> Result<Option<Marks>, Error> {
        let mut walk = self.store.walk(Marks::default());
        let mut recursive = pins.cids(Mode::Recursive);
        while let Some(cids) = recursive.next().transpose()? {
            walk.roots(&cids)?;
            if !self.finish(&mut walk, Need::All)? {
                return Ok(None);
            }
        }
        let kept = roots.kept.iter().map(|root| (root, Need::WhatIsHere));
        let partial = roots.partial.iter().map(|root| (root, Need::WhatCanBeRead));
        for (root, need) in kept.chain(partial) {
            walk.root(root)?;
            if !self.finish(&mut walk, need)? {
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
    fn finish(&mut self, walk: &mut Walk<'_>, need: Need) -> Result<bool, Error> {
        loop {
            let goes_on = walk.advance()?;
            walk.take_found();
            for problem in walk.take_problems() {
                if need.forgives(&problem) {
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
