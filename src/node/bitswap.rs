//! The exchange of blocks with peers: its tasks, and what the RPC shows of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::network::Tasks;
use super::{Error, Node};
use crate::exchange::{Exchange, Served};
use crate::ipld::Cid;
use crate::net::bitswap::{self, Behaviour, Handle};
use crate::net::{Network, PeerId, parse_peer_id};
use crate::store::Store;

/// Searches for providers at the same time, how long one takes at most, and how many providers it
/// dials, as in Kubo.
const SEARCHES_MAX: usize = 4;
const SEARCH_TIMEOUT: Duration = Duration::from_secs(30);
const PROVIDERS_MAX: usize = 10;

/// What becomes part of the swarm.
pub(super) struct Swarming {
    pub(super) behaviour: Behaviour,
    /// CIDs that no connected peer has.
    pub(super) searches: mpsc::Receiver<Cid>,
}

/// What was exchanged with one peer since it connected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BitswapLedger {
    /// How much more it got than gave.
    pub debt_ratio: f64,
    /// Bytes of blocks sent to it.
    pub sent: u64,
    /// Bytes of wanted blocks that came from it.
    pub received: u64,
    /// Number of those blocks.
    pub exchanged: u64,
}

/// Starts the exchange over a store, and what is to be part of the swarm where the node is online.
pub(super) fn start(
    store: Store,
    is_online: bool,
    tasks: &mut Tasks,
    shutdown: &CancellationToken,
) -> (Exchange, Option<Swarming>) {
    if !is_online {
        return (Exchange::new(store, None), None);
    }
    let parts = bitswap::new(Arc::new(Served(store.clone())));
    let exchange = Exchange::new(store, Some(parts.handle));
    let (service, stop) = (parts.service, shutdown.clone());
    tasks.spawn(async move {
        service.run(stop).await;
        ("bitswap", Ok(()))
    });
    let (service, stop) = (exchange.service(parts.arrivals), shutdown.clone());
    tasks.spawn(async move {
        service.run(stop).await;
        ("exchange", Ok(()))
    });
    (exchange, Some(Swarming { behaviour: parts.behaviour, searches: parts.searches }))
}

/// Dials who provides what no connected peer has; they are asked when they are connected.
pub(super) async fn search(
    network: Network,
    mut searches: mpsc::Receiver<Cid>,
    shutdown: CancellationToken,
) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(()) = running.next() => {}
            Some(cid) = searches.recv(), if running.len() < SEARCHES_MAX => {
                let network = network.clone();
                running.push(async move {
                    // What takes longer is searched for again later.
                    let searched = dial_providers(&network, &cid);
                    let _ = tokio::time::timeout(SEARCH_TIMEOUT, searched).await;
                });
            }
        }
    }
}

async fn dial_providers(network: &Network, cid: &Cid) {
    let mut providers = network.find_providers(cid.hash()).await;
    let mut dialled = 0;
    while let Some(peer) = providers.recv().await {
        if peer == network.peer_id() || network.is_connected(&peer) {
            continue;
        }
        if let Err(error) = network.connect(peer, Vec::new()).await {
            tracing::debug!(%cid, %peer, %error, "a provider cannot be dialled");
        }
        dialled += 1;
        if dialled == PROVIDERS_MAX {
            return;
        }
    }
}

fn peer_id(text: &str) -> Result<PeerId, Error> {
    parse_peer_id(text).map_err(Error::failed)
}

impl Node {
    fn bitswap(&self) -> Result<&Handle, Error> {
        self.exchange().bitswap().ok_or(Error::CommandOffline)
    }

    /// What was exchanged with all peers.
    ///
    /// # Errors
    /// [`Error::CommandOffline`].
    pub fn bitswap_stat(&self) -> Result<bitswap::Stat, Error> {
        Ok(self.bitswap()?.stat())
    }

    /// What was exchanged with a peer.
    ///
    /// # Errors
    /// [`Error::CommandOffline`], and when that is no peer.
    #[expect(clippy::cast_precision_loss, reason = "Kubo's ratio is of this precision")]
    pub fn bitswap_ledger(&self, peer: &str) -> Result<BitswapLedger, Error> {
        let receipt = self.bitswap()?.ledger(&peer_id(peer)?);
        let debt_ratio = receipt.sent as f64 / receipt.received.saturating_add(1) as f64;
        let (sent, received) = (receipt.sent, receipt.received);
        Ok(BitswapLedger { debt_ratio, sent, received, exchanged: receipt.exchanged })
    }

    /// What a peer has told this node that it wants, in the order of the bytes; `None` when it
    /// wants nothing.
    ///
    /// # Errors
    /// As [`Node::bitswap_ledger`].
    pub fn wantlist_of(&self, peer: &str) -> Result<Option<Vec<Cid>>, Error> {
        let mut wants = self.bitswap()?.wantlist(&peer_id(peer)?);
        if let Some(wants) = &mut wants {
            wants.sort();
        }
        Ok(wants)
    }
}
