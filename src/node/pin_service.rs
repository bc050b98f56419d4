//! The node as a service of the Pinning Service API: what clients ask of it, and the worker that
//! pins what they asked for.
//!
//! Requests are rows of `state.sqlite`; the worker takes them one by one through the same door as
//! `pin/add`. A request is answered when its row is durable. After a crash the worker begins again
//! what had not come to its end: nothing is done twice that does harm when it is.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::pin::{Add, Progress};
use super::pinset::PinOptions;
use super::{Error, Node, Reach};
use crate::ipld::Cid;
use crate::net;
use crate::pins::{self, Mode};
use crate::psa::{Insert, NewRequest, Outcome, Query, Released, Request, Requests};

/// Requests that are worked on at once. One that waits for blocks gives its place to the next.
const JOBS_MAX: usize = 32;

/// How long an attempt may go on without a block that comes.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long to wait after the first attempt that came to nothing, and after any.
const RETRY_DELAY: Duration = Duration::from_secs(5);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(600);

/// When the database failed, which a full disk may be the reason of.
const DATABASE_RETRY: Duration = Duration::from_secs(30);

/// How many delegates the specification allows.
const DELEGATES_MAX: usize = 20;

/// Tells the worker that there is something to do. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Node {
    fn requests(&self) -> Requests {
        Requests::new(self.db().clone())
    }

    /// Queues a pin for `owner`; with `replaces`, in the place of another. `None` when there is no
    /// such other.
    ///
    /// # Errors
    /// When an origin is no address of a peer, or the database fails.
    pub async fn request_pin(
        &self,
        owner: &str,
        request: NewRequest,
        replaces: Option<&str>,
    ) -> Result<Option<Request>, Error> {
        origins(&request.pin.origins)?;
        let new = Insert {
            owner: owner.to_owned(),
            id: format!("{:032x}", rand::random::<u128>()),
            request,
            replaces: replaces.map(str::to_owned),
            now_ms: now_ms(),
        };
        let queued = self.requests().insert(new).await?;
        self.0.pin_requests.0.notify_one();
        Ok(queued)
    }

    /// A request of `owner`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pin_request(&self, owner: &str, id: &str) -> Result<Option<Request>, Error> {
        Ok(self.requests().get(owner, id)?)
    }

    /// The newest requests of `owner` that are meant, and how many there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pin_requests(&self, owner: &str, query: &Query) -> Result<(u64, Vec<Request>), Error> {
        Ok(self.requests().list(owner, query)?)
    }

    /// Takes a request back, and the pin that came with it unless another request asks for it. Tells
    /// whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_pin_request(&self, owner: &str, id: &str) -> Result<bool, Error> {
        let was_there = self.requests().remove(owner.to_owned(), id.to_owned()).await?;
        self.0.pin_requests.0.notify_one();
        Ok(was_there)
    }

    /// Addresses of who fetches what is to be pinned: this node.
    #[must_use]
    pub fn pin_delegates(&self) -> Vec<String> {
        let id = self.peer_id();
        let addresses = self.announced_addresses().unwrap_or_default();
        let addresses = addresses.into_iter().map(|address| format!("{address}/p2p/{id}"));
        let delegates: Vec<String> = addresses.take(DELEGATES_MAX).collect();
        // There has to be one.
        if delegates.is_empty() { vec![format!("/p2p/{id}")] } else { delegates }
    }
}

/// Works off what is queued.
pub(super) struct Worker {
    node: Node,
    requests: Requests,
    jobs: JoinSet<(String, Option<Outcome>)>,
    /// What is worked on, to be cancelled when it is taken back.
    running: HashMap<String, CancellationToken>,
}

impl Worker {
    pub(super) fn new(node: Node) -> Self {
        let requests = node.requests();
        Self { node, requests, jobs: JoinSet::new(), running: HashMap::new() }
    }

    /// Runs until `stop`; what is not done then is begun again at the next start.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut is_resumed = false;
        loop {
            let round = async {
                if !is_resumed {
                    self.requests.resume().await?;
                    is_resumed = true;
                }
                self.round().await
            };
            let due = match round.await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "requested pins have to wait");
                    Some(DATABASE_RETRY)
                }
            };
            let bell = self.node.0.pin_requests.0.clone();
            tokio::select! {
                () = &mut stop => return,
                () = bell.notified() => {}
                () = sleep(due) => {}
                Some(done) = self.jobs.join_next() => self.ended(done).await,
            }
        }
    }

    /// Looks after what was taken back, and begins what is due. Tells when to look again.
    async fn round(&mut self) -> Result<Option<Duration>, Error> {
        for released in self.requests.released()? {
            match self.running.get(&released.id) {
                // It is looked after when it has ended.
                Some(cancel) => cancel.cancel(),
                None => self.release(released).await?,
            }
        }
        let places = JOBS_MAX.saturating_sub(self.running.len());
        if places == 0 {
            return Ok(None);
        }
        for request in self.requests.take(places, now_ms()).await? {
            let id = request.id.clone();
            if let Err(error) = self.begin(request).await {
                let at = now_ms().saturating_add(millis(DATABASE_RETRY));
                self.requests.settle(id, Outcome::Later(error.to_string(), at)).await?;
            }
        }
        let due = self.requests.next_due()?.filter(|_| self.running.len() < JOBS_MAX);
        Ok(due.map(|at| Duration::from_millis(u64::try_from(at - now_ms()).unwrap_or(0))))
    }

    async fn release(&self, released: Released) -> Result<(), Error> {
        if released.is_last {
            match self.node.remove_pin(&Cid::parse(&released.cid)?, true).await {
                // Somebody has removed it already.
                Ok(()) | Err(Error::Pins(pins::Error::NotPinned)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.requests.forget(released.id).await?)
    }

    async fn begin(&mut self, request: Request) -> Result<(), Error> {
        let cid = Cid::parse(&request.cid)?;
        let is_pinned = self.node.pins().get_mode(&cid, Mode::Recursive)?.is_some();
        // Here and not in the job: no pin is removed meanwhile.
        let holds = self.requests.hold(request.id.clone(), is_pinned).await?;
        let (node, cancel, id) = (self.node.clone(), CancellationToken::new(), request.id.clone());
        self.running.insert(id.clone(), cancel.clone());
        self.jobs.spawn(async move {
            let outcome = tokio::select! {
                () = cancel.cancelled() => None,
                outcome = attempt(&node, &request, &cid, holds) => Some(outcome),
            };
            (id, outcome)
        });
        Ok(())
    }

    async fn ended(&mut self, done: Result<(String, Option<Outcome>), tokio::task::JoinError>) {
        let (id, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "work on a requested pin ended early");
                return;
            }
        };
        self.running.remove(&id);
        if let Some(outcome) = outcome
            && let Err(error) = self.requests.settle(id.clone(), outcome).await
        {
            tracing::warn!(%id, %error, "what came of a requested pin is not noted");
        }
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Pins what is asked for, unless somebody else had pinned it before.
async fn attempt(node: &Node, request: &Request, cid: &Cid, holds: bool) -> Outcome {
    if !holds {
        return Outcome::Pinned;
    }
    let origins = origins(&request.origins).unwrap_or_default();
    let progress = Progress::default();
    let add =
        Add { root: cid, recursive: true, name: &request.name, options: PinOptions::default() };
    let pinned = tokio::select! {
        pinned = node.add_pin(add, Reach::Network, Some(&progress)) => pinned,
        () = stuck(&progress) => Err(Error::NotFound(cid.clone())),
        never = dial(node, origins) => match never {},
    };
    match pinned {
        Ok(()) => Outcome::Pinned,
        Err(error) if is_passing(&error) => {
            let delay = RETRY_DELAY.saturating_mul(2_u32.saturating_pow(request.attempts.min(16)));
            let at = now_ms().saturating_add(millis(delay.min(RETRY_DELAY_MAX)));
            Outcome::Later(error.to_string(), at)
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Resolves when no block has come for a while.
async fn stuck(progress: &Progress) {
    let mut last = progress.nodes();
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let now = progress.nodes();
        if now == last {
            return;
        }
        last = now;
    }
}

/// Connects to those who are said to have the DAG; one who cannot be reached may yet find us. Does
/// not resolve.
async fn dial(node: &Node, origins: Vec<(net::Multiaddr, net::PeerId)>) -> Infallible {
    if let Some(network) = node.network() {
        let dials = origins.into_iter().map(|(place, peer)| async move {
            let places = if place.is_empty() { Vec::new() } else { vec![place] };
            if let Err(error) = network.connect(peer, places).await {
                tracing::info!(%peer, %error, "an origin of a requested pin is not reached");
            }
        });
        futures_util::future::join_all(dials).await;
    }
    std::future::pending().await
}

/// Whether another attempt may have more luck.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::NotFound(_) | Error::Absent(_) | Error::ActionOffline | Error::CommandOffline => {
            true
        }
        Error::Exchange(_) | Error::Store(_) | Error::Db(_) => true,
        Error::Pins(error) => matches!(error, pins::Error::Db(_) | pins::Error::Missing(_)),
        _ => false,
    }
}

/// What the origins of a request name.
fn origins(texts: &[String]) -> Result<Vec<(net::Multiaddr, net::PeerId)>, Error> {
    let parse = |text: &String| net::parse_multiaddr(text).and_then(net::split_peer);
    let wrong = |text: &String, error| Error::InvalidArgument(format!("origins: {text}: {error}"));
    texts.iter().map(|text| parse(text).map_err(|error| wrong(text, error))).collect()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn now_ms() -> i64 {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(now).unwrap_or(i64::MAX)
}
