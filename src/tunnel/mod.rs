//! Tunnels: connections of other programs, carried over streams of libp2p (`p2p/*`).
//!
//! Responsible for: the listeners of both kinds, the streams of each, copying both ways, and ending
//! them. Not for: whether the config allows any of it, nor for reaching a peer. Nothing is on disk: as
//! in Kubo, listeners last until the daemon ends.
//!
//! A listener that *forwards* takes connections at an address of this machine to a protocol of a
//! peer; one that *serves* takes streams of a protocol, which peers open, to an address that this
//! machine reaches. [`Tunnels`] is the handle, [`Service`] runs what the listeners start.

mod copy;
mod endpoint;
mod listen;

pub use endpoint::Endpoint;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::net::{Multiaddr, Network, PeerId};

/// Tasks that may wait for the service to start them.
const JOBS_MAX: usize = 64;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The protocol, or the address, has a listener; the text is Kubo's.
    #[error("listener already registered")]
    Taken,
    /// An address without a port.
    #[error("address does not contain tcp or udp protocol")]
    NoPort,
    /// An address with more than a host and a port, or less.
    #[error("{0} is not the address of a TCP or UDP port")]
    NoEndpoint(Multiaddr),
    /// A protocol that cannot be asked for.
    #[error("protocol {0:?} cannot be asked of a peer: it does not begin with /")]
    Protocol(String),
    /// An address that only datagrams go to.
    #[error("cannot listen on {0}: a tunnel begins at a TCP port")]
    Datagrams(Multiaddr),
    /// What the system says about an address.
    #[error("listen {address}: {source}")]
    Listen {
        /// Where was to be listened.
        address: Multiaddr,
        /// Why that is not possible.
        source: std::io::Error,
    },
    /// The node is ending.
    #[error("the node is stopping")]
    Stopping,
}

/// A listener, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The protocol of its streams.
    pub protocol: String,
    /// Where it takes connections; this node, for one that serves.
    pub listen: Multiaddr,
    /// Where they go; the peer, for one that forwards.
    pub target: Multiaddr,
}

/// A connection that is carried, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Counted from 0 since the daemon started.
    pub id: u64,
    /// The protocol of its stream.
    pub protocol: String,
    /// Who opened it.
    pub origin: Multiaddr,
    /// Where it goes.
    pub target: Multiaddr,
}

/// A handle to the tunnels of a node. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Tunnels {
    network: Network,
    /// Held for moments only, never across an await.
    state: Arc<Mutex<State>>,
    jobs: mpsc::Sender<BoxFuture<'static, ()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that forward, by their address, before those that serve, by their protocol: unique, and
    /// the order of the list.
    listeners: BTreeMap<(Kind, String), Registered>,
    streams: BTreeMap<u64, (Carried, CancellationToken)>,
    next_stream: u64,
    next_listener: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Forwards,
    Serves,
}

#[derive(Debug)]
struct Registered {
    number: u64,
    listener: Listener,
    closed: CancellationToken,
}

/// A listener that has been made.
#[derive(Debug)]
pub struct Made {
    number: u64,
    closed: CancellationToken,
    tunnels: Tunnels,
}

impl Made {
    /// Resolves when the listener has been closed.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Closes this listener, and none that took its place.
    pub fn close(&self) {
        self.tunnels.close_where(|registered| registered.number == self.number);
    }
}

/// Which listeners to close: those that all of what is given fits.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// The protocol.
    pub protocol: Option<String>,
    /// [`Listener::listen`].
    pub listen: Option<Multiaddr>,
    /// [`Listener::target`].
    pub target: Option<Multiaddr>,
}

impl Match {
    fn fits(&self, listener: &Listener) -> bool {
        let fits = |wanted: &Option<Multiaddr>, found| wanted.as_ref().is_none_or(|w| w == found);
        self.protocol.as_ref().is_none_or(|wanted| *wanted == listener.protocol)
            && fits(&self.listen, &listener.listen)
            && fits(&self.target, &listener.target)
    }
}

/// Runs what goes on in the tunnels.
pub struct Service {
    jobs: mpsc::Receiver<BoxFuture<'static, ()>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Runs until `shutdown`; then listeners and streams are closed.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut running = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                // The node keeps a sender.
                Some(job) = self.jobs.recv() => { running.spawn(job); }
                Some(_) = running.join_next() => {}
            }
        }
        running.shutdown().await;
    }
}

impl Tunnels {
    /// A handle, and the service that it needs.
    #[must_use]
    pub fn new(network: Network) -> (Self, Service) {
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        (Self { network, state: Arc::default(), jobs }, Service { jobs: receiver })
    }

    /// The listeners: those that forward, by address, then those that serve, by protocol.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        let state = self.state();
        state.listeners.values().map(|registered| registered.listener.clone()).collect()
    }

    /// Closes listeners; what they carry goes on. The number of those that were closed.
    #[must_use]
    pub fn close(&self, wanted: &Match) -> usize {
        self.close_where(|registered| wanted.fits(&registered.listener))
    }

    fn close_where(&self, fits: impl Fn(&Registered) -> bool) -> usize {
        let mut state = self.state();
        let closed = state.listeners.extract_if(.., |_, registered| fits(registered));
        let closed: Vec<_> = closed.collect();
        for ((kind, protocol), registered) in &closed {
            if *kind == Kind::Serves {
                self.network.unmount(protocol);
            }
            registered.closed.cancel();
        }
        closed.len()
    }

    /// The connections that are carried, in the order of their ids.
    #[must_use]
    pub fn streams(&self) -> Vec<Carried> {
        self.state().streams.values().map(|(carried, _)| carried.clone()).collect()
    }

    /// Breaks the connection with an id off, if there is one; all of them for `None`.
    pub fn reset(&self, id: Option<u64>) {
        for (carried, reset) in self.state().streams.values() {
            if id.is_none_or(|id| id == carried.id) {
                reset.cancel();
            }
        }
    }

    fn register(&self, kind: Kind, key: String, listener: Listener) -> Result<Made, Error> {
        let mut state = self.state();
        let number = state.next_listener;
        let std::collections::btree_map::Entry::Vacant(place) = state.listeners.entry((kind, key))
        else {
            return Err(Error::Taken);
        };
        let closed = CancellationToken::new();
        place.insert(Registered { number, listener, closed: closed.clone() });
        state.next_listener += 1;
        Ok(Made { number, closed, tunnels: self.clone() })
    }

    /// Runs a task of a listener; with the node's end it is dropped.
    async fn start(&self, job: BoxFuture<'static, ()>) -> Result<(), Error> {
        self.jobs.send(job).await.map_err(|_| Error::Stopping)
    }

    fn carry(&self, protocol: &str, origin: Multiaddr, target: Multiaddr) -> Carrying {
        let mut state = self.state();
        let id = state.next_stream;
        state.next_stream += 1;
        let reset = CancellationToken::new();
        let carried = Carried { id, protocol: protocol.to_owned(), origin, target };
        state.streams.insert(id, (carried, reset.clone()));
        Carrying { id, reset, tunnels: self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics with the lock held; what is in a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection in the list, until it is dropped.
struct Carrying {
    id: u64,
    reset: CancellationToken,
    tunnels: Tunnels,
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.tunnels.state().streams.remove(&self.id);
    }
}

/// `/p2p/<id>`.
fn address_of(peer: PeerId) -> Multiaddr {
    Multiaddr::empty().with_p2p(peer).unwrap_or_else(|address| address)
}
