//! How this node comes to hold what the group has pinned: fetching, and room on the disk.
//!
//! What [`crate::replicate`] asks of a node. Owns nothing: blocks that came before a fetch was given
//! up stay, and [`unfinished_roots`] keeps them from the collector.

use std::sync::Arc;

use super::{Error, Node, Reach};
use crate::db::Db;
use crate::exchange;
use crate::ipld::{Cid, links};
use crate::net::{Multiaddr, Network, PeerId, split_peer};
use crate::pins::Mode;
use crate::replicate::{self, Content, Failure, Task};
use crate::store::{self, Session, Store};

/// Of a volume, replicated pins leave a twentieth free, or so many bytes when that is less.
const KEPT_FREE_BYTES: u64 = 10 << 30;
const KEPT_FREE_SHARE: u64 = 20;
/// Unfinished pins read at a time.
const PAGE_ROWS: usize = 1024;

/// The task that fetches what the group has pinned.
pub(super) fn service(node: &Node) -> replicate::Service<Held> {
    let (db, queue) = (node.db().clone(), node.replication().clone());
    replicate::Service::new(db, Held(node.clone()), queue, replicate::Options::default())
}

/// Bytes that may still be fetched; `None` when that is not known.
pub(super) fn room_bytes(node: &Node) -> Option<u64> {
    Held(node.clone()).room_bytes()
}

/// The content of this node.
#[derive(Debug, Clone)]
pub(super) struct Held(Node);

impl Held {
    async fn fetch(&self, task: &Task) -> Result<Arc<Session>, Error> {
        let node = &self.0;
        let session = Arc::new(node.store().session());
        let exchange = node.exchange().session_keeping(Reach::Network, Arc::clone(&session));
        // What is here may be on its way out: it is looked for again until it is kept.
        let root = loop {
            let root = exchange.get(&task.cid).await?;
            if session.touch(task.cid.hash())? {
                break root;
            }
        };
        // A block that is no block of its codec cannot be pinned, not even alone.
        let below = links(task.cid.codec(), &root)?;
        if task.mode == Mode::Recursive && !below.is_empty() {
            node.protect_dag(&task.cid, &session, Some(&task.progress)).await?;
        } else {
            task.progress.count(root.len() as u64);
        }
        // A block that an unfinished put brought must be durable before its pin.
        session.flush().await?;
        Ok(session)
    }
}

impl Content for Held {
    type Guard = Arc<Session>;

    async fn hold(&self, task: Task) -> Result<Self::Guard, Failure> {
        let fetched = tokio::select! {
            fetched = self.fetch(&task) => fetched,
            never = come_near(self.0.network(), &task) => match never {},
        };
        fetched.map_err(failure)
    }

    fn room_bytes(&self) -> Option<u64> {
        let repo = self.0.repo();
        let on_volume = volume_room(repo.path());
        // Without garbage collection it limits nothing, as in Kubo.
        let storage_max = repo.config().storage_max().ok().filter(|_| self.0.enable_gc());
        let used = self.0.store().stats().ok().map(|stats| stats.bytes_on_disk);
        let in_limit = storage_max.zip(used).map(|(most, used)| most.saturating_sub(used));
        [on_volume, in_limit].into_iter().flatten().min()
    }

    fn pinned(&self, cid: &Cid) {
        self.0.announce_root(cid);
    }
}

/// Connects to those who may have it: connected peers are asked for blocks. Goes on for ever.
async fn come_near(network: Option<&Network>, task: &Task) -> std::convert::Infallible {
    if let Some(network) = network {
        let peers = task.peers.iter().filter_map(|peer| PeerId::from_bytes(peer).ok());
        let known = peers.map(|peer| (peer, Vec::new()));
        let origins = task.origins.iter().filter_map(|origin| {
            let address = Multiaddr::try_from(origin.clone()).ok()?;
            let (address, peer) = split_peer(address).ok()?;
            Some((peer, vec![address]))
        });
        let dials = known.chain(origins).filter(|(peer, _)| *peer != network.peer_id());
        let dials = dials.map(|(peer, addresses)| async move {
            if let Err(error) = network.connect(peer, addresses).await {
                tracing::debug!(%peer, cid = %task.cid, %error, "who may have it is not there");
            }
        });
        futures_util::future::join_all(dials).await;
    }
    std::future::pending().await
}

fn failure(error: Error) -> Failure {
    let is_full = matches!(
        error,
        Error::Store(store::Error::Full)
            | Error::Exchange(exchange::Error::Store(store::Error::Full))
    );
    if is_full { Failure::DiskFull } else { Failure::Failed(error.to_string()) }
}

/// Bytes that may be filled of the volume that a path is on; `None` when the system does not say.
/// A twentieth of it stays free for other things, but no more than 10 GiB.
fn volume_room(path: &std::path::Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(path).ok()?;
    let total = volume.f_blocks.saturating_mul(volume.f_frsize);
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    Some(free.saturating_sub((total / KEPT_FREE_SHARE).min(KEPT_FREE_BYTES)))
}

/// The roots of pins that are being fetched, or will be again: what is here of them is not garbage.
///
/// When they cannot be read there are none, which costs fetching again and nothing else.
pub(super) fn unfinished_roots(db: &Db, store: &Store) -> Vec<Cid> {
    let mut roots = Vec::new();
    let mut after = None;
    loop {
        let page = db.read(|c| replicate::unfinished(c, after.as_ref(), PAGE_ROWS));
        let page = page.unwrap_or_else(|error| {
            tracing::error!(%error, "unfinished pins are not kept from the collector");
            Vec::new()
        });
        let Some((last, _)) = page.last() else { return roots };
        after = Some(*last);
        let cids = page.into_iter().map(|(_, cid)| cid);
        // Most have not been begun.
        roots.extend(cids.filter(|cid| store.has(cid.hash()).unwrap_or(true)));
    }
}

#[cfg(test)]
mod tests;
