//! Telling peers what is wanted.

use std::sync::Arc;
use std::time::Duration;

use libp2p::swarm::Stream;

use super::behaviour::OpenError;
use super::client::Event;
use super::message::{Entry, Message, Version, WantType};
use super::service::IDLE_STREAM;
use super::shared::{Link, Shared, lock};
use super::wire;

/// Wants in one message.
const ENTRIES_MAX: usize = 4096;
/// Between attempts to open a stream.
const REOPEN_DELAY: Duration = Duration::from_millis(500);

/// Tells a peer what is wanted, as long as it is connected.
pub(super) async fn tell_wants(shared: Arc<Shared>, link: Arc<Link>) {
    let tell = async {
        let mut stream: Option<(Stream, Version)> = None;
        loop {
            if lock(&link.outbox).is_empty() {
                let woken = tokio::time::timeout(IDLE_STREAM, link.has_wants.notified());
                if woken.await.is_err() {
                    stream = None;
                    link.has_wants.notified().await;
                }
                continue;
            }
            let (writer, version) = match &mut stream {
                Some(stream) => stream,
                None => match link.open().await {
                    Ok(opened) => {
                        shared.step(Event::Speaks(link.peer, opened.1));
                        stream.insert(opened)
                    }
                    Err(OpenError::Unsupported) => return shared.forget(&link.peer),
                    Err(error) => {
                        tracing::debug!(peer = %link.peer, %error, "bitswap: cannot tell wants");
                        tokio::time::sleep(REOPEN_DELAY).await;
                        continue;
                    }
                },
            };
            let entries = take_entries(&link, *version);
            let message = Message { entries, ..Message::default() };
            if let Err(error) = wire::write(writer, &message.encode(*version)).await {
                tracing::debug!(peer = %link.peer, %error, "bitswap: wants were not taken");
                stream = None;
                put_back(&link, message.entries);
                tokio::time::sleep(REOPEN_DELAY).await;
            }
        }
    };
    tokio::select! {
        () = link.gone.cancelled() => {}
        () = tell => {}
    }
}

fn take_entries(link: &Link, version: Version) -> Vec<Entry> {
    let mut outbox = lock(&link.outbox);
    let count = outbox.len().min(ENTRIES_MAX);
    let mut entries: Vec<Entry> = outbox.drain(..count).map(|(_, entry)| entry).collect();
    drop(outbox);
    if !version.knows_have() {
        for entry in &mut entries {
            entry.want = WantType::Block;
        }
    }
    entries
}

/// Entries that were not sent after all; what has changed since is newer.
fn put_back(link: &Link, entries: Vec<Entry>) {
    let mut outbox = lock(&link.outbox);
    for entry in entries {
        outbox.entry(entry.cid.clone()).or_insert(entry);
    }
}
