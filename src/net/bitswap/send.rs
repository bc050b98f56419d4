//! Sending peers the blocks that they want.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::swarm::Stream;

use super::behaviour::OpenError;
use super::engine::Batch;
use super::message::{Message, Payload, Presence, Version};
use super::service::IDLE_STREAM;
use super::shared::{Link, Shared, lock};
use super::wire;
use crate::ipld::Cid;

/// Bytes of blocks in one message: at first, at least, and at most to a peer that is fast.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_BYTES_MIN: usize = 32 << 10;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A message that takes longer to write is followed by a smaller one, and the other way round.
const SLOW_WRITE: Duration = Duration::from_millis(500);
const FAST_WRITE: Duration = Duration::from_millis(100);

/// What is to be written next, and which blocks are in it.
struct Outgoing {
    message: Message,
    blocks: u64,
    bytes: u64,
}

/// Sends a peer what it wants, as long as it is connected.
pub(super) async fn send_blocks(shared: Arc<Shared>, link: Arc<Link>) {
    let send = async {
        let mut stream: Option<(Stream, Version)> = None;
        let mut budget = BATCH_BYTES;
        let mut next = None;
        loop {
            if next.is_none() {
                next = prepare(&shared, &link, budget).await;
            }
            let Some(outgoing) = next.take() else {
                let woken = tokio::time::timeout(IDLE_STREAM, link.has_blocks.notified());
                if woken.await.is_err() {
                    stream = None;
                    link.has_blocks.notified().await;
                }
                continue;
            };
            let began = Instant::now();
            // The next message is read from the store while this one is written.
            let written;
            (written, next) = tokio::join!(
                write_message(&link, &mut stream, &outgoing.message),
                prepare(&shared, &link, budget)
            );
            match written {
                Ok(()) => {
                    let counters = &shared.counters;
                    counters.blocks_sent.fetch_add(outgoing.blocks, Ordering::Relaxed);
                    counters.data_sent.fetch_add(outgoing.bytes, Ordering::Relaxed);
                }
                Err(OpenError::Unsupported) => return,
                Err(error) => {
                    tracing::debug!(peer = %link.peer, %error, "bitswap: blocks were not taken");
                    stream = None;
                }
            }
            budget = match began.elapsed() {
                took if took > SLOW_WRITE => (budget / 2).max(BATCH_BYTES_MIN),
                took if took < FAST_WRITE => (budget * 2).min(BATCH_BYTES_MAX),
                _ => budget,
            };
        }
    };
    tokio::select! {
        () = link.gone.cancelled() => {}
        () = send => {}
    }
}

async fn write_message(
    link: &Link,
    stream: &mut Option<(Stream, Version)>,
    message: &Message,
) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Failed(error.to_string());
    if let Some((writer, version)) = stream {
        let pieces = message.encode(*version);
        if wire::write(writer, &pieces).await.is_ok() {
            return Ok(());
        }
        *stream = None;
    }
    // Once more, on a new stream: the other side may have closed the old one.
    let (writer, version) = stream.insert(link.open().await?);
    wire::write(writer, &message.encode(*version)).await.map_err(failed)
}

/// Reads what a peer is to get next; `None` when there is nothing for it.
async fn prepare(shared: &Shared, link: &Link, budget: usize) -> Option<Outgoing> {
    loop {
        let batch = lock(&shared.engine).next(&link.peer, budget)?;
        let Batch { blocks, haves, mut dont_haves, pending_bytes } = batch;
        let store = Arc::clone(&shared.blocks);
        let read = move || -> Vec<(Cid, bool, Option<Bytes>)> {
            let read = |(cid, tell): (Cid, bool)| {
                let data = store.get(&cid);
                (cid, tell, data)
            };
            blocks.into_iter().map(read).collect()
        };
        // It fails when the runtime goes down.
        let read = tokio::task::spawn_blocking(read).await.ok()?;
        let vanished = read.iter().filter(|(.., data)| data.is_none()).map(|(cid, ..)| cid);
        let here = read.iter().filter_map(|(cid, _, data)| Some((cid, data.as_ref()?)));
        let mut engine = lock(&shared.engine);
        engine.vanished(&link.peer, vanished);
        engine.sent(&link.peer, here.map(|(cid, data)| (cid, data.len() as u64)));
        drop(engine);
        let (mut blocks, mut bytes) = (Vec::with_capacity(read.len()), 0);
        for (cid, tell, data) in read {
            match data {
                Some(data) => {
                    bytes += data.len() as u64;
                    blocks.push(Payload { prefix: cid.prefix(), data });
                }
                None if tell => dont_haves.push(cid),
                None => {}
            }
        }
        let haves = haves.into_iter().map(|cid| Presence { cid, has: true });
        let dont_haves = dont_haves.into_iter().map(|cid| Presence { cid, has: false });
        let presences = haves.chain(dont_haves).collect();
        let pending_bytes = i32::try_from(pending_bytes).unwrap_or(i32::MAX);
        let message = Message { blocks, presences, pending_bytes, ..Message::default() };
        if !message.is_empty() {
            let blocks = message.blocks.len() as u64;
            return Some(Outgoing { message, blocks, bytes });
        }
    }
}
