//! What goes over the streams: bytes in and out of the node, by peer and by protocol, and which
//! streams are open. Kubo counts the same: the bytes of streams, not those of frames and keys.
//!
//! The counters wrap the multiplexer, below everything that speaks a protocol, so that no protocol
//! can forget to count. Which protocol a stream speaks is read from its negotiation as it passes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};

use futures_util::{AsyncRead, AsyncWrite};
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerEvent;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::limits::{Count, streams_max};
use super::lock;

/// How much of a stream's negotiation is read for the protocol's name.
const NEGOTIATION_BYTES_MAX: usize = 1024;

/// Peers whose counters are kept after they have gone.
const PEERS_MAX: usize = 1024;

/// How much of the last second's rate is in the rate that is shown: as Kubo smooths it.
const SMOOTHING: f64 = 0.632_120_558_828_557_7;

/// Bytes, and bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bandwidth {
    /// Bytes received.
    pub total_in: u64,
    /// Bytes sent.
    pub total_out: u64,
    /// Bytes received a second, lately.
    pub rate_in: f64,
    /// Bytes sent a second, lately.
    pub rate_out: f64,
}

#[derive(Debug, Default)]
struct Counter {
    received: AtomicU64,
    sent: AtomicU64,
    /// Streams that are open; counted for protocols only.
    inbound: AtomicU32,
    outbound: AtomicU32,
    /// Held for moments only, never across an await.
    rates: Mutex<Rates>,
}

#[derive(Debug, Default)]
struct Rates {
    received: u64,
    sent: u64,
    rate_in: f64,
    rate_out: f64,
}

impl Counter {
    /// The streams that the answering side is on.
    fn streams(&self, answers: Side) -> &AtomicU32 {
        match answers {
            Side::Sent => &self.inbound,
            Side::Received => &self.outbound,
        }
    }

    fn add(&self, received: u64, sent: u64) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Works out the rates, `seconds` after the last time.
    fn tick(&self, seconds: f64) {
        let (received, sent) =
            (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
        let mut rates = lock(&self.rates);
        let smooth = |rate: f64, more: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = rate + SMOOTHING * (more as f64 / seconds - rate);
            // Below a byte a minute nothing has gone for long.
            if rate < 0.01 { 0.0 } else { rate }
        };
        rates.rate_in = smooth(rates.rate_in, received.wrapping_sub(rates.received));
        rates.rate_out = smooth(rates.rate_out, sent.wrapping_sub(rates.sent));
        rates.received = received;
        rates.sent = sent;
    }

    fn read(&self) -> Bandwidth {
        let rates = lock(&self.rates);
        Bandwidth {
            total_in: self.received.load(Ordering::Relaxed),
            total_out: self.sent.load(Ordering::Relaxed),
            rate_in: rates.rate_in,
            rate_out: rates.rate_out,
        }
    }
}

/// All counters of a node; a handle to shared state.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    total: Counter,
    peers: Mutex<HashMap<PeerId, Arc<Counter>>>,
    /// Bounded: a stream speaks what one of both sides offered and this node knows.
    protocols: Mutex<HashMap<String, Arc<Counter>>>,
    /// Connections that the swarm has not told of yet.
    fresh: Mutex<Vec<Fresh>>,
}

#[derive(Debug)]
struct Fresh {
    peer: PeerId,
    address: Multiaddr,
    streams: Weak<Streams>,
}

/// The open streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    next: AtomicU64,
    /// By number.
    open: Mutex<BTreeMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    /// Empty while it is negotiated.
    protocol: String,
    is_inbound: bool,
}

impl Streams {
    /// The protocols of the streams that have one, oldest first, and how many of them the peer
    /// opened.
    pub(super) fn protocols(&self) -> (Vec<String>, usize) {
        let open = lock(&self.open);
        let spoken = || open.values().filter(|open| !open.protocol.is_empty());
        let inbound = spoken().filter(|open| open.is_inbound).count();
        (spoken().map(|open| open.protocol.clone()).collect(), inbound)
    }
}

impl Meter {
    /// Wraps a connection's multiplexer.
    pub(super) fn measure<M>(&self, peer: PeerId, address: &Multiaddr, muxer: M) -> Metered<M> {
        let streams = Arc::new(Streams::default());
        let mut fresh = lock(&self.0.fresh);
        fresh.retain(|fresh| fresh.streams.strong_count() > 0);
        let weak = Arc::downgrade(&streams);
        fresh.push(Fresh { peer, address: address.clone(), streams: weak });
        Metered { muxer, meter: self.clone(), peer: self.peer(peer), streams }
    }

    /// The streams of a connection that is new to the swarm.
    pub(super) fn take(&self, peer: PeerId, address: &Multiaddr) -> Option<Arc<Streams>> {
        let mut fresh = lock(&self.0.fresh);
        let same_peer = |fresh: &Fresh| fresh.peer == peer;
        let index = fresh
            .iter()
            .position(|fresh| same_peer(fresh) && fresh.address == *address)
            .or_else(|| fresh.iter().position(same_peer))?;
        fresh.swap_remove(index).streams.upgrade()
    }

    fn peer(&self, peer: PeerId) -> Arc<Counter> {
        let mut peers = lock(&self.0.peers);
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, counter| Arc::strong_count(counter) > 1);
        }
        Arc::clone(peers.entry(peer).or_default())
    }

    fn protocol(&self, name: &str) -> Arc<Counter> {
        Arc::clone(lock(&self.0.protocols).entry(name.to_owned()).or_default())
    }

    /// How many streams of a protocol are open.
    pub(super) fn streams_of(&self, name: &str) -> Count {
        let counter = lock(&self.0.protocols).get(name).cloned();
        let open = |answers| {
            counter
                .as_ref()
                .map_or(0, |counter| u64::from(counter.streams(answers).load(Ordering::Relaxed)))
        };
        Count { inbound: open(Side::Sent), outbound: open(Side::Received) }
    }

    /// Works out all rates, `seconds` after the last time.
    pub(super) fn tick(&self, seconds: f64) {
        self.0.total.tick(seconds);
        let peers: Vec<_> = lock(&self.0.peers).values().cloned().collect();
        let protocols: Vec<_> = lock(&self.0.protocols).values().cloned().collect();
        peers.iter().chain(&protocols).for_each(|counter| counter.tick(seconds));
    }

    pub(super) fn total(&self) -> Bandwidth {
        self.0.total.read()
    }

    pub(super) fn of_peer(&self, peer: &PeerId) -> Bandwidth {
        lock(&self.0.peers).get(peer).map(|counter| counter.read()).unwrap_or_default()
    }

    pub(super) fn of_protocol(&self, name: &str) -> Bandwidth {
        lock(&self.0.protocols).get(name).map(|counter| counter.read()).unwrap_or_default()
    }
}

/// A multiplexer whose streams are counted.
#[derive(Debug)]
pub(super) struct Metered<M> {
    muxer: M,
    meter: Meter,
    peer: Arc<Counter>,
    streams: Arc<Streams>,
}

impl<M> Metered<M> {
    fn stream<S>(&self, inner: S, side: Side) -> MeteredStream<S> {
        let number = self.streams.next.fetch_add(1, Ordering::Relaxed);
        let open = Open { protocol: String::new(), is_inbound: side == Side::Sent };
        lock(&self.streams.open).insert(number, open);
        MeteredStream {
            inner,
            meter: self.meter.clone(),
            peer: Arc::clone(&self.peer),
            streams: Arc::clone(&self.streams),
            number,
            answers: side,
            protocol: None,
            is_refused: false,
            negotiation: Some(Negotiation::new(side)),
        }
    }
}

impl<M> StreamMuxer for Metered<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = MeteredStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let inner = ready!(Pin::new(&mut self.muxer).poll_inbound(context))?;
        Poll::Ready(Ok(self.stream(inner, Side::Sent)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let inner = ready!(Pin::new(&mut self.muxer).poll_outbound(context))?;
        Poll::Ready(Ok(self.stream(inner, Side::Received)))
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.muxer).poll_close(context)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.muxer).poll(context)
    }
}

/// A direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Received,
    Sent,
}

/// Finds the protocol in what the answering side of a stream says: multistream-select's header, a
/// `na` for each protocol that it does not speak, and the name of the one that it does.
#[derive(Debug)]
struct Negotiation {
    /// In which direction the answers go.
    answers: Side,
    seen: Vec<u8>,
    /// Bytes that belong to a protocol whose name is not known yet.
    received: u64,
    sent: u64,
}

enum Found {
    NotYet,
    Protocol(String),
    Nothing,
}

impl Negotiation {
    fn new(answers: Side) -> Self {
        Self { answers, seen: Vec::new(), received: 0, sent: 0 }
    }

    fn look(&mut self, side: Side, bytes: &[u8]) -> Found {
        if side != self.answers {
            return Found::NotYet;
        }
        let room = NEGOTIATION_BYTES_MAX.saturating_sub(self.seen.len());
        self.seen.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let mut rest = self.seen.as_slice();
        while let Ok((length, message)) = unsigned_varint::decode::usize(rest) {
            let Some(line) = message.get(..length) else { break };
            rest = message.get(length..).unwrap_or_default();
            match line.strip_suffix(b"\n") {
                Some(b"/multistream/1.0.0" | b"na") => {}
                Some(name) => {
                    return Found::Protocol(String::from_utf8_lossy(name).into_owned());
                }
                None => return Found::Nothing,
            }
        }
        if self.seen.len() >= NEGOTIATION_BYTES_MAX { Found::Nothing } else { Found::NotYet }
    }
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub(super) struct MeteredStream<S> {
    inner: S,
    meter: Meter,
    peer: Arc<Counter>,
    streams: Arc<Streams>,
    number: u64,
    answers: Side,
    protocol: Option<Arc<Counter>>,
    /// Whether there were as many streams of the protocol as there may be.
    is_refused: bool,
    /// `None` once it is over.
    negotiation: Option<Negotiation>,
}

impl<S> MeteredStream<S> {
    fn count(&mut self, side: Side, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let (received, sent) = match side {
            Side::Received => (length, 0),
            Side::Sent => (0, length),
        };
        self.meter.0.total.add(received, sent);
        self.peer.add(received, sent);
        if let Some(protocol) = &self.protocol {
            protocol.add(received, sent);
        }
        let Some(negotiation) = &mut self.negotiation else { return };
        negotiation.received += received;
        negotiation.sent += sent;
        match negotiation.look(side, bytes) {
            Found::NotYet => {}
            Found::Nothing => self.negotiation = None,
            Found::Protocol(name) => {
                let counter = self.meter.protocol(&name);
                counter.add(negotiation.received, negotiation.sent);
                let before = counter.streams(self.answers).fetch_add(1, Ordering::Relaxed);
                self.is_refused = streams_max(&name).is_some_and(|most| before >= most);
                self.protocol = Some(counter);
                self.negotiation = None;
                if let Some(open) = lock(&self.streams.open).get_mut(&self.number) {
                    open.protocol = name;
                }
            }
        }
    }
}

impl<S> MeteredStream<S> {
    /// Fails when the stream is one too many.
    fn check(&self) -> io::Result<()> {
        if self.is_refused {
            return Err(io::Error::other(
                "resource limit exceeded: too many streams of a protocol",
            ));
        }
        Ok(())
    }
}

impl<S> Drop for MeteredStream<S> {
    fn drop(&mut self) {
        if let Some(protocol) = &self.protocol {
            protocol.streams(self.answers).fetch_sub(1, Ordering::Relaxed);
        }
        lock(&self.streams.open).remove(&self.number);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let count = ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.count(Side::Received, buffer.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let count = ready!(Pin::new(&mut self.inner).poll_write(context, buffer))?;
        self.count(Side::Sent, buffer.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_what_the_answering_side_settles_on() {
        let mut answers = b"\x13/multistream/1.0.0\n\x03na\n".to_vec();
        let name = "/ipfs/bitswap/1.1.0\n";
        answers.push(u8::try_from(name.len()).unwrap());
        answers.extend_from_slice(name.as_bytes());
        answers.extend_from_slice(b"data");
        for step in [1, 5, 200] {
            let mut negotiation = Negotiation::new(Side::Received);
            let proposal = b"\x13/multistream/1.0.0\n\x14/ipfs/bitswap/1.2.0\n";
            assert!(matches!(negotiation.look(Side::Sent, proposal), Found::NotYet));
            let found = answers.chunks(step).find_map(|chunk| {
                match negotiation.look(Side::Received, chunk) {
                    Found::Protocol(name) => Some(name),
                    _ => None,
                }
            });
            assert_eq!(found.as_deref(), Some("/ipfs/bitswap/1.1.0"));
        }
    }

    #[test]
    fn what_is_no_negotiation_is_given_up() {
        let mut negotiation = Negotiation::new(Side::Sent);
        assert!(matches!(negotiation.look(Side::Sent, b"\x02xy"), Found::Nothing));
        let mut negotiation = Negotiation::new(Side::Sent);
        assert!(matches!(negotiation.look(Side::Sent, &[0xff; 2000]), Found::Nothing));
    }

    #[test]
    fn a_rate_rises_and_falls_to_nothing() {
        let counter = Counter::default();
        counter.add(1000, 0);
        counter.tick(1.0);
        let rate = counter.read().rate_in;
        assert!((600.0..700.0).contains(&rate), "{rate}");
        (0..40).for_each(|_| counter.tick(1.0));
        let read = counter.read();
        assert_eq!((read.total_in, read.total_out), (1000, 0));
        assert!(read.rate_in.abs() < f64::EPSILON);
    }
}
