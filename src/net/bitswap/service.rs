//! Bitswap at work: the tasks that read (`receive`) and write (`tell`, `send`) streams, around the
//! state of client and engine (`shared`).
//!
//! Three tasks a peer: one for each stream that it opens, one that tells it what is wanted, one that
//! sends it what it wants. State is behind two locks, held for moments and never across an await;
//! of both at a time, never. Bounded: a peer has `PEER_BYTES` of messages in memory, read or
//! being stored, and two messages being written; the messages to a slow peer are small.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::behaviour::Inbound;
use super::client::{self, Event};
use super::receive::read_stream;
use super::send::send_blocks;
use super::shared::{Shared, lock};
use super::tell::tell_wants;
use crate::ipld::Cid;

/// Of the time, looking for blocks that peers wait for takes a twentieth at most.
const RECHECK_SHARE: u32 = 20;
/// A stream of ours that was not used for so long is closed.
pub(super) const IDLE_STREAM: Duration = Duration::from_secs(60);

/// The tasks of Bitswap.
pub struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) inbound: mpsc::Receiver<Inbound>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Speaks with peers until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(tell_the_time(Arc::clone(&self.shared)));
        tasks.spawn(watch_the_store(Arc::clone(&self.shared)));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(inbound) = self.inbound.recv() => {
                    tasks.spawn(read_stream(Arc::clone(&self.shared), inbound));
                }
                () = self.shared.has_new_links.notified() => {
                    for link in std::mem::take(&mut *lock(&self.shared.new_links)) {
                        tasks.spawn(tell_wants(Arc::clone(&self.shared), Arc::clone(&link)));
                        tasks.spawn(send_blocks(Arc::clone(&self.shared), link));
                    }
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        tasks.shutdown().await;
    }
}

/// Lets the client notice what does not happen, while it wants something.
async fn tell_the_time(shared: Arc<Shared>) {
    loop {
        if lock(&shared.client).is_idle() {
            shared.stirred.notified().await;
        }
        tokio::time::sleep(client::TICK).await;
        shared.step(Event::Tick);
    }
}

/// Looks for blocks that peers wait for, when blocks have come.
async fn watch_the_store(shared: Arc<Shared>) {
    let mut changes = shared.blocks.changes();
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = shared.recheck.notified() => {}
        }
        let absent = lock(&shared.engine).absent();
        if absent.is_empty() {
            continue;
        }
        let began = Instant::now();
        let blocks = Arc::clone(&shared.blocks);
        let found = tokio::task::spawn_blocking(move || {
            let look = |cid: Cid| blocks.size(&cid).map(|size| (cid, size));
            let look_all = |cids: Vec<Cid>| cids.into_iter().filter_map(look).collect::<Vec<_>>();
            absent.into_iter().map(|(peer, cids)| (peer, look_all(cids))).collect::<Vec<_>>()
        });
        // It fails when the runtime goes down.
        let Ok(found) = found.await else { return };
        for (peer, blocks) in found {
            if lock(&shared.engine).found(&peer, blocks)
                && let Some(link) = shared.link(&peer)
            {
                link.has_blocks.notify_one();
            }
        }
        tokio::time::sleep(began.elapsed() * RECHECK_SHARE).await;
    }
}
