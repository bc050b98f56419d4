//! Blocks that come: from peers, to be stored; and into the store, to be given to who waits.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Error, Exchange};
use crate::ipld::Block;
use crate::net::bitswap::Arrivals;
use crate::store;

/// Batches that are stored together when they wait already.
const BATCHES_MAX: usize = 8;
/// Of the time, looking for blocks that others have stored takes a twentieth at most.
const LOOK_SHARE: u32 = 20;

/// Stores what comes from peers.
#[derive(Debug)]
pub struct Service {
    exchange: Exchange,
    arrivals: mpsc::Receiver<Arrivals>,
}

impl Service {
    pub(super) fn new(exchange: Exchange, arrivals: mpsc::Receiver<Arrivals>) -> Self {
        Self { exchange, arrivals }
    }

    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { exchange, arrivals } = self;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = store_all(&exchange, arrivals) => {}
            () = look_for_stored(&exchange) => {}
        }
    }
}

async fn store_all(exchange: &Exchange, mut arrivals: mpsc::Receiver<Arrivals>) {
    let mut batches = Vec::with_capacity(BATCHES_MAX);
    while arrivals.recv_many(&mut batches, BATCHES_MAX).await > 0 {
        store_batches(exchange, &mut batches).await;
        // Only now is there room for more.
        batches.clear();
    }
}

async fn store_batches(exchange: &Exchange, batches: &mut [Arrivals]) {
    let mut groups: Vec<(Arc<store::Session>, Vec<Block>)> = Vec::new();
    for block in batches.iter_mut().flat_map(|batch| std::mem::take(&mut batch.blocks)) {
        // What nobody waits for any more is not stored.
        let Some(kept) = exchange.inner.wants.keeper(block.cid.hash()) else { continue };
        match groups.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &kept)) {
            Some((_, blocks)) => blocks.push(block),
            None => groups.push((kept, vec![block])),
        }
    }
    for (kept, blocks) in groups {
        let stored = kept.put_many(blocks.clone()).await;
        if let Err(error) = &stored {
            tracing::warn!(%error, "blocks that came from a peer cannot be stored");
        }
        for block in blocks {
            answer(exchange, &kept, block, stored.clone());
        }
    }
}

/// Gives a block to all who wait for it.
fn answer(
    exchange: &Exchange,
    kept: &Arc<store::Session>,
    block: Block,
    stored: Result<(), store::Error>,
) {
    for waiter in exchange.inner.wants.take(block.cid.hash()) {
        let protected = if Arc::ptr_eq(&waiter.kept, kept) {
            Ok(true)
        } else {
            waiter.kept.touch(block.cid.hash())
        };
        let given = stored.clone().and(protected).map(|_| block.data.clone());
        // Who waited may have gone.
        let _ = waiter.reply.send(given.map_err(Error::from));
    }
}

/// Answers waiters with blocks that came into the store by another way.
async fn look_for_stored(exchange: &Exchange) {
    let mut commits = exchange.inner.store.commits();
    while commits.changed().await.is_ok() {
        let wanted = exchange.inner.wants.wanted();
        if wanted.is_empty() {
            continue;
        }
        let began = Instant::now();
        let store = exchange.inner.store.clone();
        let look = move || {
            let found = wanted.into_iter().filter_map(|cid| {
                // A block that cannot be read is waited for: a peer may have it whole.
                let data = store.get(&cid).ok()??;
                Some(Block { cid, data })
            });
            found.collect::<Vec<_>>()
        };
        // It fails when the runtime goes down.
        let Ok(found) = tokio::task::spawn_blocking(look).await else { return };
        for block in found {
            let hash = block.cid.hash().clone();
            let Some(kept) = exchange.inner.wants.keeper(&hash) else { continue };
            let touched = kept.touch(&hash);
            answer(exchange, &kept, block, touched.map(drop));
            if let Some(bitswap) = exchange.bitswap() {
                bitswap.stored(&hash);
            }
        }
        tokio::time::sleep(began.elapsed() * LOOK_SHARE).await;
    }
}
