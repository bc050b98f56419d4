//! Bitswap 1.2.0, 1.1.0 and 1.0.0: blocks asked of peers, and given to them.
//!
//! Responsible for the protocol: messages ([`message`]), what peers want of this node (`engine`),
//! what this node wants of peers (`client`), and the streams that carry both (`behaviour`,
//! `service` and its tasks `receive`, `tell`, `send`). Not for stores, pins or DAGs: blocks are served through [`Blocks`], and what comes is
//! handed up as [`Arrivals`], hashed and wanted, to be stored by who takes them. All state is in
//! memory; a crash leaves nothing.

mod behaviour;
mod client;
mod engine;
pub mod message;
mod receive;
mod send;
mod service;
mod shared;
mod tell;
mod wire;

#[cfg(test)]
mod tests;

pub use behaviour::{Behaviour, Handler, Versions};
pub use engine::{Receipt, WANTS_MAX};
pub use service::Service;
pub use shared::{Arrivals, Blocks};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libp2p_identity::PeerId;
use tokio::sync::mpsc;

use crate::ipld::{Cid, Multihash};
use client::{Event, SessionId};
use shared::{Channels, Shared};

/// What was exchanged with all peers since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stat {
    /// Peers that want something of this node, sorted by name.
    pub partners: Vec<String>,
    /// Blocks that came, wanted or not.
    pub blocks_received: u64,
    /// Their bytes.
    pub data_received: u64,
    /// Blocks that came and were here already.
    pub dup_blocks_received: u64,
    /// Their bytes.
    pub dup_data_received: u64,
    /// Messages that came.
    pub messages_received: u64,
    /// Blocks sent.
    pub blocks_sent: u64,
    /// Their bytes.
    pub data_sent: u64,
}

/// What comes out of [`new`].
#[derive(Debug)]
pub struct Parts {
    /// To want blocks with.
    pub handle: Handle,
    /// To be part of the swarm.
    pub behaviour: Behaviour,
    /// To be run.
    pub service: Service,
    /// Blocks to be stored.
    pub arrivals: mpsc::Receiver<Arrivals>,
    /// CIDs that no connected peer has: somebody else may be found who provides them.
    pub searches: mpsc::Receiver<Cid>,
}

/// Bitswap over the blocks of this node.
#[must_use]
pub fn new(blocks: Arc<dyn Blocks>) -> Parts {
    let (inbound_sender, inbound) = mpsc::channel(shared::INBOUND_MAX);
    let (arrivals_sender, arrivals) = mpsc::channel(shared::ARRIVALS_MAX);
    let (searches_sender, searches) = mpsc::channel(shared::SEARCHES_MAX);
    let (drops_sender, drops) = mpsc::channel(shared::DROPS_MAX);
    let channels = Channels {
        inbound: inbound_sender,
        arrivals: arrivals_sender,
        searches: searches_sender,
        drops: drops_sender,
    };
    let shared = Arc::new(Shared::new(blocks, channels));
    let behaviour = Behaviour::new(Arc::clone(&shared), drops);
    let service = Service { shared: Arc::clone(&shared), inbound };
    Parts { handle: Handle(shared), behaviour, service, arrivals, searches }
}

/// A handle to Bitswap; cloning it is cheap.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Begins a session: one for each request of a user.
    pub fn session(&self) -> Session {
        let id = self.0.sessions.fetch_add(1, Ordering::Relaxed);
        Session { id, shared: Arc::clone(&self.0) }
    }

    /// How many wants are worth having at the same time, as the sizes of blocks let expect.
    #[must_use]
    pub fn window(&self) -> usize {
        self.0.window()
    }

    /// A wanted block came into the store by another way.
    pub fn stored(&self, hash: &Multihash) {
        self.0.step(Event::Stored(hash.clone()));
    }

    /// What was exchanged with all peers.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let counters = &self.0.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut partners: Vec<String> =
            self.0.engine().partners().iter().map(PeerId::to_string).collect();
        partners.sort();
        Stat {
            partners,
            blocks_received: get(&counters.blocks_received),
            data_received: get(&counters.data_received),
            dup_blocks_received: get(&counters.dup_blocks_received),
            dup_data_received: get(&counters.dup_data_received),
            messages_received: get(&counters.messages_received),
            blocks_sent: get(&counters.blocks_sent),
            data_sent: get(&counters.data_sent),
        }
    }

    /// What was exchanged with a peer since it connected.
    #[must_use]
    pub fn ledger(&self, peer: &PeerId) -> Receipt {
        self.0.engine().receipt(peer)
    }

    /// What a peer wants; `None` when it wants nothing.
    #[must_use]
    pub fn wantlist(&self, peer: &PeerId) -> Option<Vec<Cid>> {
        self.0.engine().wantlist(peer)
    }
}

/// Wants that belong together; dropping it takes them back.
#[must_use = "wants end with their session"]
pub struct Session {
    id: SessionId,
    shared: Arc<Shared>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Session {
    /// Wants a block, which comes among the [`Arrivals`]. Wanting it again changes nothing.
    pub fn want(&self, cid: &Cid) {
        self.shared.step(Event::Want(self.id, cid.clone()));
    }

    /// Wants a block no longer.
    pub fn forget(&self, hash: &Multihash) {
        self.shared.step(Event::Forget(self.id, hash.clone()));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.step(Event::Close(self.id));
    }
}
