//! Reading what peers send: wants, blocks, and who has which.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libp2p_identity::PeerId;
use tokio::sync::OwnedSemaphorePermit;

use super::behaviour::Inbound;
use super::client::Event;
use super::message::{Entry, Message, Payload, Presence};
use super::shared::{Arrivals, Link, Shared, lock};
use super::wire;
use crate::ipld::{Block, Cid, hash};

/// Wants that are looked up on the calling thread.
const INLINE_LOOKUPS: usize = 16;

/// Reads the messages of a stream.
pub(super) async fn read_stream(shared: Arc<Shared>, inbound: Inbound) {
    let Inbound { peer, mut stream } = inbound;
    let Some(link) = shared.link(&peer).filter(|_| !shared.is_banned(&peer)) else { return };
    let read = async {
        while let Some(len) = wire::read_len(&mut stream).await? {
            let room = u32::try_from(len.max(1)).unwrap_or(u32::MAX);
            let room = Arc::clone(&link.room).acquire_many_owned(room).await;
            let room = room.map_err(io::Error::other)?;
            let body = wire::read_body(&mut stream, len).await?;
            let message = Message::decode(&body).map_err(io::Error::other)?;
            receive(&shared, &link, message, room).await;
        }
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        () = link.gone.cancelled() => {}
        done = read => {
            if let Err(error) = done {
                tracing::debug!(%peer, %error, "bitswap: a stream ends early");
            }
        }
    }
}

/// Takes in a message.
async fn receive(shared: &Shared, link: &Link, message: Message, room: OwnedSemaphorePermit) {
    let Message { entries, full, blocks, presences, .. } = message;
    shared.counters.messages_received.fetch_add(1, Ordering::Relaxed);
    if !entries.is_empty() || full {
        take_wants(shared, link, entries, full).await;
    }
    if blocks.is_empty() && presences.is_empty() {
        return;
    }
    let blocks = take_blocks(shared, link.peer, blocks, presences);
    if !blocks.is_empty() {
        // Fails when the node is going down.
        let _ = shared.channels.arrivals.send(Arrivals { blocks, _room: room }).await;
    }
}

/// Checks the blocks of a message and returns those that are wanted.
fn take_blocks(
    shared: &Shared,
    from: PeerId,
    blocks: Vec<Payload>,
    presences: Vec<Presence>,
) -> Vec<Block> {
    let named: Vec<Block> = blocks.into_iter().filter_map(name).collect();
    let counters = &shared.counters;
    let bytes = |blocks: &[Block]| blocks.iter().map(|block| block.data.len() as u64).sum::<u64>();
    counters.blocks_received.fetch_add(named.len() as u64, Ordering::Relaxed);
    counters.data_received.fetch_add(bytes(&named), Ordering::Relaxed);
    let came: Vec<Cid> = named.iter().map(|block| block.cid.clone()).collect();
    let wanted = shared.step(Event::Message { from, blocks: named, presences });
    if wanted.len() < came.len() {
        // Few, and mostly here already: somebody else was faster.
        let taken: Vec<_> = wanted.iter().map(|block| block.cid.hash()).collect();
        for cid in came.iter().filter(|cid| !taken.contains(&cid.hash())) {
            if let Some(size) = shared.blocks.size(cid) {
                counters.dup_blocks_received.fetch_add(1, Ordering::Relaxed);
                counters.dup_data_received.fetch_add(size, Ordering::Relaxed);
            }
        }
    }
    let mut engine = lock(&shared.engine);
    wanted.iter().for_each(|block| engine.received(&from, block.data.len() as u64));
    drop(engine);
    wanted
}

/// The block with its CID, if there is a CID for it.
fn name(payload: Payload) -> Option<Block> {
    let cid = payload.prefix.sum(&payload.data).ok()?;
    let is_fine = hash::validate(cid.hash()).is_ok() && cid.hash().code() != hash::IDENTITY;
    is_fine.then_some(Block { cid, data: payload.data })
}

/// Takes in what a peer wants.
async fn take_wants(shared: &Shared, link: &Link, entries: Vec<Entry>, full: bool) {
    let changes = shared.blocks.changes();
    let blocks = Arc::clone(&shared.blocks);
    let look = move |entry: Entry| {
        let size = if entry.cancel { None } else { blocks.size(&entry.cid) };
        (entry, size)
    };
    let entries = if entries.len() <= INLINE_LOOKUPS {
        entries.into_iter().map(look).collect()
    } else {
        let looked = tokio::task::spawn_blocking(move || entries.into_iter().map(look).collect());
        // It fails when the runtime goes down.
        let Ok(entries) = looked.await else { return };
        entries
    };
    if lock(&shared.engine).receive(&link.peer, full, entries) {
        link.has_blocks.notify_one();
    }
    if changes.has_changed().unwrap_or_default() {
        // What was looked for may have come between the look and the note.
        shared.recheck.notify_one();
    }
}
