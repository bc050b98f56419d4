//! Blocks of a DAG that are not here, fetched many at a time.
//!
//! Whoever walks a DAG stops at a block that is absent and asks [`Ahead`] for it, naming what its
//! walk comes to next. The blocks named are wanted along with the one that is needed, and what
//! they link to after them, so that the walk finds them in the store. Work is done only while the
//! walk waits: a reader that stands still has one window of blocks under way, which are stored and
//! not held. Owns nothing that outlives it; dropping it takes the wants back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use indexmap::IndexSet;
use tokio::sync::Mutex;

use super::walk::Seen;
use super::{Error, Node, Reach};
use crate::exchange::{self, Session};
use crate::ipld::{Cid, codec, links};
use crate::store;

/// Blocks whose turn has not come: beyond this the farthest are forgotten, to be named again.
const FRONTIER_MAX: usize = 1 << 18;
/// Blocks that are looked for in the store before those under way are looked at again.
const LOOKS_MAX: usize = 256;
/// What a walk names at a time is at least this.
const NAMED_MIN: usize = 64;

/// A block that will be needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upcoming {
    pub(crate) cid: Cid,
    /// Whether all that is below it will be needed, too.
    pub(crate) whole: bool,
}

impl Upcoming {
    /// A block and all that is below it.
    pub(crate) fn whole(cid: &Cid) -> Self {
        Self { cid: cid.clone(), whole: true }
    }

    /// A block alone.
    pub(crate) fn alone(cid: &Cid) -> Self {
        Self { cid: cid.clone(), whole: false }
    }
}

/// What became of a block that was to be fetched.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// It has come, and is stored.
    Came(Cid, Bytes),
    /// It was here already; nobody has looked below it.
    Here(Cid),
    /// It is not to be had.
    Failed(exchange::Error),
}

type Fetching = BoxFuture<'static, (Upcoming, Result<Bytes, exchange::Error>)>;

/// Blocks being fetched.
pub(crate) struct Fetcher {
    session: Session,
    store: store::Store,
    /// Next last.
    frontier: Vec<Upcoming>,
    /// What has been begun, or was here.
    seen: Seen,
    under_way: FuturesUnordered<Fetching>,
    /// Whether to look below what is here. Else it is reported.
    passes_here: bool,
    /// Some of the frontier were forgotten.
    has_forgotten: bool,
}

impl Fetcher {
    /// Fetches everything below what it is told, keeping it from the collector by `kept`, and
    /// reports what is here.
    pub(crate) fn keeping(node: &Node, kept: Arc<store::Session>) -> Self {
        Self::new(node, node.exchange().session_keeping(Reach::Network, kept), false)
    }

    fn new(node: &Node, session: Session, passes_here: bool) -> Self {
        Self {
            session,
            store: node.store().clone(),
            frontier: Vec::new(),
            seen: Seen::default(),
            under_way: FuturesUnordered::new(),
            passes_here,
            has_forgotten: false,
        }
    }

    /// Names blocks that come next, before those that were named earlier.
    pub(crate) fn come_next(&mut self, upcoming: impl IntoIterator<Item = Upcoming>) {
        let from = self.frontier.len();
        self.frontier.extend(upcoming);
        if let Some(new) = self.frontier.get_mut(from..) {
            new.reverse();
        }
        if self.frontier.len() > FRONTIER_MAX {
            let surplus = self.frontier.len() - FRONTIER_MAX / 2;
            self.frontier.drain(..surplus);
            self.has_forgotten = true;
        }
    }

    /// Names blocks with all that is below them, also those that were named before.
    pub(crate) fn come_again(&mut self, cids: &IndexSet<Cid>) {
        cids.iter().for_each(|cid| self.seen.remove(cid));
        self.come_next(cids.iter().map(Upcoming::whole));
    }

    /// Whether blocks were named and then forgotten, since there were too many.
    pub(crate) fn take_forgotten(&mut self) -> bool {
        std::mem::take(&mut self.has_forgotten)
    }

    /// The next of the named blocks, or of those below them, that is settled; `None` when all are.
    pub(crate) async fn next(&mut self) -> Option<Fetched> {
        loop {
            if let Some(fetched) = self.begin_more() {
                return Some(fetched);
            }
            match self.under_way.next().await {
                Some((upcoming, result)) => return Some(self.settled(upcoming, result)),
                // More may have to be looked at than was in one go.
                None if self.frontier.is_empty() => return None,
                None => tokio::task::yield_now().await,
            }
        }
    }

    fn settled(&mut self, upcoming: Upcoming, result: Result<Bytes, exchange::Error>) -> Fetched {
        let Upcoming { cid, whole } = upcoming;
        match result {
            Ok(data) => {
                if whole && cid.codec() != codec::RAW {
                    // What has no links that can be read is an error of who reads it.
                    let below = links(cid.codec(), &data).unwrap_or_default();
                    self.come_next(below.iter().map(Upcoming::whole));
                }
                Fetched::Came(cid, data)
            }
            Err(error) => Fetched::Failed(error),
        }
    }

    /// Begins to fetch as many blocks as are worth being under way. Returns one that is here, if
    /// those are asked for.
    fn begin_more(&mut self) -> Option<Fetched> {
        let window = self.session.window();
        let mut looks = 0;
        while self.under_way.len() < window && looks < LOOKS_MAX {
            let upcoming = self.frontier.pop()?;
            if !self.seen.insert(&upcoming.cid) {
                continue;
            }
            looks += 1;
            match self.store.has(upcoming.cid.hash()) {
                Ok(false) => self.begin(upcoming),
                Ok(true) if !self.passes_here => return Some(Fetched::Here(upcoming.cid)),
                Ok(true) if upcoming.whole && upcoming.cid.codec() != codec::RAW => {
                    // What cannot be read is an error of who reads it.
                    let below = self.store.children(&upcoming.cid).ok().flatten();
                    self.come_next(below.iter().flatten().map(Upcoming::whole));
                }
                Ok(true) => {}
                Err(error) => return Some(Fetched::Failed(error.into())),
            }
        }
        None
    }

    fn begin(&mut self, upcoming: Upcoming) {
        let session = self.session.clone();
        let fetch = async move {
            let result = session.fetch(&upcoming.cid).await;
            (upcoming, result)
        };
        self.under_way.push(fetch.boxed());
    }

    /// Whether a walk should name what comes next.
    fn is_hungry(&self) -> bool {
        self.frontier.len() + self.under_way.len() < (self.session.window() / 2).max(NAMED_MIN)
    }

    /// The block of `cid`, and meanwhile others.
    async fn get(&mut self, cid: &Cid) -> Result<Bytes, exchange::Error> {
        let session = self.session.clone();
        let needed = session.get(cid);
        tokio::pin!(needed);
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                block = &mut needed => return block,
                // What it fails with is an error of who needs that block.
                fetched = self.next(), if !is_over => is_over = fetched.is_none(),
            }
        }
    }
}

/// The blocks that a walk needs, and those that come after them. Cloning it is cheap; all clones
/// fetch together.
#[derive(Clone)]
pub(crate) struct Ahead {
    node: Node,
    reach: Reach,
    /// Made when the first block is absent.
    fetcher: Arc<Mutex<Option<Fetcher>>>,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Ahead {
    /// For one request.
    pub(crate) fn new(node: &Node, reach: Reach) -> Self {
        Self { node: node.clone(), reach, fetcher: Arc::default() }
    }

    /// The block of `cid`; `upcoming` is asked what the walk needs next, in order.
    pub(crate) async fn get(
        &self,
        cid: &Cid,
        upcoming: impl FnOnce() -> Vec<Upcoming>,
    ) -> Result<Bytes, exchange::Error> {
        if let Some(data) = self.node.store().get(cid)? {
            return Ok(data);
        }
        if self.reach == Reach::Local || !self.node.is_online() {
            return Err(exchange::Error::NotFound(cid.clone()));
        }
        let mut fetcher = self.fetcher.lock().await;
        let fetcher = fetcher.get_or_insert_with(|| {
            Fetcher::new(&self.node, self.node.exchange().session(Reach::Network), true)
        });
        if fetcher.is_hungry() {
            fetcher.come_next(upcoming());
        }
        fetcher.get(cid).await
    }

    /// The same for a block below another one; that nobody has it is said in Kubo's words for
    /// those.
    pub(crate) async fn get_below(
        &self,
        cid: &Cid,
        upcoming: impl FnOnce() -> Vec<Upcoming>,
    ) -> Result<Bytes, Error> {
        self.get(cid, upcoming).await.map_err(|error| match error {
            exchange::Error::NotFound(_) => Error::failed(FETCH_ALL),
            error => error.into(),
        })
    }
}

/// What Kubo says of an absent block that is not the root of what was asked for.
pub(crate) const FETCH_ALL: &str = "failed to fetch all nodes";
