//! Messages to peers and from them, in their order: one stream each way, kept open.
//!
//! Each message goes behind its length, four bytes with the highest first. What waits for a peer is
//! bounded; what is over the bound is dropped, and whoever sends lives with that. A peer whose
//! messages are not taken is not read from. Nothing here is on disk.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{Stream, StreamProtocol};
use libp2p_identity::PeerId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Network;

/// Bytes that may wait for one peer.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Messages that may wait for one peer.
const WAITING_MAX: usize = 8192;
/// Streams of one peer that are read: an old one may not be known to be broken yet.
const STREAMS_PER_PEER_MAX: usize = 4;
/// Messages of all peers that are read and not taken.
const INBOX_MAX: usize = 64;
/// How long a peer may take over one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// The messages of one protocol with all peers.
pub struct Channels {
    network: Network,
    protocol: StreamProtocol,
    message_bytes_max: usize,
    incoming: libp2p_stream::IncomingStreams,
    writers: HashMap<PeerId, Writer>,
    readers: HashMap<PeerId, Arc<()>>,
    tasks: JoinSet<()>,
    inbox: mpsc::Receiver<(PeerId, Vec<u8>)>,
    inbox_sender: mpsc::Sender<(PeerId, Vec<u8>)>,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Writer {
    messages: mpsc::Sender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Channels {
    /// Begins to accept messages of `protocol`, each with at most `message_bytes_max` bytes.
    ///
    /// # Errors
    /// When the protocol is spoken already.
    pub fn new(
        network: Network,
        protocol: StreamProtocol,
        message_bytes_max: usize,
    ) -> Result<Self, String> {
        let incoming = network.streams().accept(protocol.clone());
        let incoming = incoming.map_err(|error| format!("{protocol}: {error}"))?;
        let (inbox_sender, inbox) = mpsc::channel(INBOX_MAX);
        Ok(Self {
            network,
            protocol,
            message_bytes_max,
            incoming,
            writers: HashMap::new(),
            readers: HashMap::new(),
            tasks: JoinSet::new(),
            inbox,
            inbox_sender,
        })
    }

    /// The next message, and the messages that are there already after it, at most `most`.
    /// Cancelling it loses nothing.
    pub async fn next(&mut self, most: usize) -> Vec<(PeerId, Vec<u8>)> {
        loop {
            tokio::select! {
                biased;
                Some(message) = self.inbox.recv() => {
                    let mut messages = vec![message];
                    while messages.len() < most
                        && let Ok(message) = self.inbox.try_recv()
                    {
                        messages.push(message);
                    }
                    return messages;
                }
                Some((peer, stream)) = self.incoming.next() => self.read(peer, stream),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Sends a message to a peer that is connected. It is dropped when too much waits for the peer,
    /// or when it cannot be reached.
    pub fn send(&mut self, peer: PeerId, message: Vec<u8>) {
        let writer = match self.writers.entry(peer) {
            std::collections::hash_map::Entry::Occupied(found)
                if !found.get().messages.is_closed() =>
            {
                found.into_mut()
            }
            entry => {
                let writer = begin_to_write(&mut self.tasks, &self.network, &self.protocol, peer);
                entry.insert_entry(writer).into_mut()
            }
        };
        let bytes = message.len();
        let waiting = writer.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = waiting + bytes <= WAITING_BYTES_MAX;
        if !has_room || writer.messages.try_send(message).is_err() {
            writer.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            tracing::debug!(%peer, "too much waits for a peer: a message was dropped");
        }
    }

    /// Forgets what waits for a peer that is gone.
    pub fn close(&mut self, peer: &PeerId) {
        self.writers.remove(peer);
    }

    fn read(&mut self, peer: PeerId, stream: Stream) {
        self.readers.retain(|_, reader| Arc::strong_count(reader) > 1);
        let reader = Arc::clone(self.readers.entry(peer).or_default());
        if Arc::strong_count(&reader) > STREAMS_PER_PEER_MAX + 1 {
            return;
        }
        let (inbox, most) = (self.inbox_sender.clone(), self.message_bytes_max);
        self.tasks.spawn(async move {
            let ended = read_messages(peer, stream, &inbox, most).await;
            drop(reader);
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "messages of a peer ended");
            }
        });
    }
}

/// Starts the task that writes to `peer`; it ends when the stream breaks or nobody sends any more.
fn begin_to_write(
    tasks: &mut JoinSet<()>,
    network: &Network,
    protocol: &StreamProtocol,
    peer: PeerId,
) -> Writer {
    let (messages, mut queue) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let (network, protocol) = (network.clone(), protocol.clone());
    let waiting = Arc::clone(&waiting_bytes);
    tasks.spawn(async move {
        let written = async {
            let mut stream = network.open_stream(peer, protocol).await?;
            while let Some(first) = queue.recv().await {
                let writing = write_waiting(&mut stream, first, &mut queue, &waiting);
                tokio::time::timeout(WRITE_TIMEOUT, writing)
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            }
            stream.close().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%peer, %error, "messages to a peer ended");
        }
    });
    Writer { messages, waiting_bytes }
}

/// Writes a message and what waits after it, up to some bytes.
async fn write_waiting(
    stream: &mut Stream,
    first: Vec<u8>,
    queue: &mut mpsc::Receiver<Vec<u8>>,
    waiting_bytes: &AtomicUsize,
) -> io::Result<()> {
    const PIECE_BYTES: usize = 64 << 10;
    let mut next = Some(first);
    let mut piece = Vec::new();
    while let Some(message) = next.take() {
        waiting_bytes.fetch_sub(message.len(), Ordering::Relaxed);
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        piece.extend_from_slice(&length.to_be_bytes());
        piece.extend_from_slice(&message);
        if piece.len() < PIECE_BYTES {
            next = queue.try_recv().ok();
        }
    }
    stream.write_all(&piece).await?;
    stream.flush().await
}

async fn read_messages(
    peer: PeerId,
    mut stream: Stream,
    inbox: &mpsc::Sender<(PeerId, Vec<u8>)>,
    message_bytes_max: usize,
) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        match stream.read_exact(&mut length).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        };
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if length > message_bytes_max {
            let text = format!("a message of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut message = Vec::new();
        // Grows with what comes, and not with what was announced.
        (&mut stream).take(length as u64).read_to_end(&mut message).await?;
        if message.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if inbox.send((peer, message)).await.is_err() {
            return Ok(());
        }
    }
}
