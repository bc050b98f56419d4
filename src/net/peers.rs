//! The peers: who is connected and how, what they said of themselves, and where others were last.
//!
//! Written by the service as things happen, read by everybody through the handle. Nothing here is
//! on disk. Everything that a peer says is cut to a bounded size before it is kept.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::identify;
use libp2p::swarm::ConnectionId;
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use super::meter::Streams;

/// Peers whose addresses are remembered.
const KNOWN_PEERS_MAX: usize = 4096;

/// How long an address is remembered that somebody has named, and one of a peer that was connected:
/// go-libp2p's `TempAddrTTL` and `RecentlyConnectedAddrTTL`. A member is dialled for ever, at the
/// addresses that were the last.
const HEARD_FOR: Duration = Duration::from_secs(2 * 60);
const CONNECTED_FOR: Duration = Duration::from_secs(15 * 60);

/// Addresses that are remembered of a peer.
const ADDRESSES_PER_PEER_MAX: usize = 32;

/// Protocols that are remembered of a peer, and bytes of its agent's name.
const PROTOCOLS_PER_PEER_MAX: usize = 256;
const AGENT_BYTES_MAX: usize = 256;

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

/// A connection as it is now.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where the peer is, without its id.
    pub address: Multiaddr,
    /// Who opened it.
    pub direction: Direction,
    /// When it was opened.
    pub opened_at: Instant,
    /// What its streams speak, oldest first.
    pub streams: Vec<String>,
    /// How many of them the peer opened.
    pub streams_in: usize,
}

/// What a peer says of itself.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The public key in libp2p's protobuf; its hash is the peer id.
    pub public_key: Vec<u8>,
    /// The program and its version.
    pub agent: String,
    /// The protocols that it accepts, sorted.
    pub protocols: Vec<String>,
    /// Where it listens, as far as it is of use from here.
    pub addresses: Vec<Multiaddr>,
}

/// A peer that is connected.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its id.
    pub id: PeerId,
    /// Its connections, oldest first; never empty.
    pub connections: Vec<Connection>,
    /// How long a packet takes there and back; `None` until one did.
    pub latency: Option<Duration>,
    /// What it said of itself; `None` until it did.
    pub identified: Option<Arc<Identified>>,
}

/// What happens to peers. A consumer that lags reads [`super::Network::peers`] again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEvent {
    /// The first connection with a peer is there.
    Connected(PeerId),
    /// A peer said who it is and what it speaks; again when that changes.
    Identified(PeerId),
    /// The last connection with a peer is gone.
    Disconnected(PeerId),
}

/// A connection that the service tells of.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: ConnectionId,
    pub(super) address: Multiaddr,
    pub(super) direction: Direction,
    pub(super) streams: Option<Arc<Streams>>,
}

#[derive(Debug)]
struct Open {
    opened: Opened,
    at: Instant,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Open>,
    latency: Option<Duration>,
    identified: Option<Arc<Identified>>,
}

#[derive(Debug)]
struct Known {
    places: Vec<Place>,
    seen_at: Instant,
    standing: Standing,
}

/// An address at which a peer may be.
#[derive(Debug)]
struct Place {
    address: Multiaddr,
    /// `None`: as long as the peer is connected.
    until: Option<Instant>,
}

impl Place {
    fn is_current(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Known {
    fn addresses(&self, is_wanted: impl Fn(&Place) -> bool) -> Vec<Multiaddr> {
        let places = self.places.iter().filter(|place| is_wanted(place));
        places.map(|place| place.address.clone()).collect()
    }
}

/// What a peer is to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Somebody of whom an address is known.
    Heard,
    /// A member that was let go, and is not dialled.
    Released,
    /// A member, which is to be connected.
    Member,
}

/// The peers; see the module.
#[derive(Debug, Default)]
pub(super) struct Peers {
    connected: BTreeMap<PeerId, State>,
    known: HashMap<PeerId, Known>,
}

impl Peers {
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.connected.contains_key(peer)
    }

    /// Everybody who is connected, by peer id.
    pub(super) fn all(&self) -> Vec<Peer> {
        self.connected.iter().map(|(id, state)| state.read(*id)).collect()
    }

    /// What a peer that is connected said of itself.
    pub(super) fn identity(&self, peer: &PeerId) -> Option<Arc<Identified>> {
        self.connected.get(peer)?.identified.clone()
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<Peer> {
        self.connected.get(peer).map(|state| state.read(*peer))
    }

    /// A connection is there; whether it is the peer's first.
    pub(super) fn opened(&mut self, peer: PeerId, opened: Opened) -> bool {
        let state = self.connected.entry(peer).or_default();
        state.connections.push(Open { opened, at: Instant::now() });
        state.connections.len() == 1
    }

    /// A connection is gone; whether it was the peer's last.
    pub(super) fn closed(&mut self, peer: &PeerId, id: ConnectionId) -> bool {
        let Some(state) = self.connected.get_mut(peer) else { return false };
        state.connections.retain(|open| open.opened.id != id);
        let is_last = state.connections.is_empty();
        if is_last {
            self.connected.remove(peer);
            let until = Some(Instant::now() + CONNECTED_FOR);
            let places = self.known.get_mut(peer).map(|known| known.places.as_mut_slice());
            let of_connected = places.into_iter().flatten().filter(|place| place.until.is_none());
            of_connected.for_each(|place| place.until = until);
        }
        is_last
    }

    /// The connections of a peer; with an address, those that are at it.
    pub(super) fn connections(
        &self,
        peer: &PeerId,
        address: Option<&Multiaddr>,
    ) -> Vec<ConnectionId> {
        let connections = self.connected.get(peer).map(|state| state.connections.as_slice());
        connections
            .unwrap_or_default()
            .iter()
            .filter(|open| address.is_none_or(|address| open.opened.address == *address))
            .map(|open| open.opened.id)
            .collect()
    }

    /// A packet went there and back.
    pub(super) fn measured(&mut self, peer: &PeerId, round_trip: Duration) {
        let Some(state) = self.connected.get_mut(peer) else { return };
        // The weight of the newest is a tenth, as in go-libp2p's peerstore.
        let smoothed = state.latency.map(|latency| latency.mul_f64(0.9) + round_trip.mul_f64(0.1));
        state.latency = Some(smoothed.unwrap_or(round_trip));
    }

    /// A peer said who it is, over the connection `id`.
    pub(super) fn identified(&mut self, peer: PeerId, id: ConnectionId, said: identify::Info) {
        let Some(state) = self.connected.get_mut(&peer) else { return };
        let over = state.connections.iter().find(|open| open.opened.id == id);
        let remote = over.and_then(|open| ip_of(&open.opened.address));
        let mut agent = said.agent_version;
        agent.truncate(agent.floor_char_boundary(AGENT_BYTES_MAX));
        let mut protocols: Vec<String> =
            said.protocols.iter().take(PROTOCOLS_PER_PEER_MAX).map(ToString::to_string).collect();
        protocols.sort();
        protocols.dedup();
        let addresses = usable(said.listen_addrs, peer, remote);
        state.identified = Some(Arc::new(Identified {
            public_key: said.public_key.encode_protobuf(),
            agent,
            protocols,
            addresses: addresses.clone(),
        }));
        if addresses.is_empty() {
            return;
        }
        // What it says takes the place of what was known; where it was reached holds, too.
        let outbound =
            state.connections.iter().filter(|open| open.opened.direction == Direction::Outbound);
        let reached: Vec<Multiaddr> = outbound.map(|open| open.opened.address.clone()).collect();
        if let Some(known) = self.known.get_mut(&peer) {
            known.places.retain(|place| reached.contains(&place.address));
        }
        self.remember(peer, addresses, None);
    }

    /// Addresses at which a peer may be; the newest are the first.
    pub(super) fn learn(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.remember(peer, addresses, Some(Instant::now() + HEARD_FOR));
    }

    /// The address at which a peer was reached.
    pub(super) fn reached(&mut self, peer: PeerId, address: Multiaddr) {
        self.remember(peer, vec![address], None);
    }

    fn remember(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, until: Option<Instant>) {
        if addresses.is_empty() {
            return;
        }
        if self.known.len() >= KNOWN_PEERS_MAX && !self.known.contains_key(&peer) {
            self.forget_the_oldest();
        }
        let now = Instant::now();
        let known = self.known.entry(peer).or_insert(Known {
            places: Vec::new(),
            seen_at: now,
            standing: Standing::Heard,
        });
        known.seen_at = now;
        let is_kept = known.standing == Standing::Member;
        let mut old = std::mem::take(&mut known.places);
        old.retain(|place| is_kept || place.is_current(now));
        for address in addresses {
            let before = old.iter().position(|place| place.address == address);
            let before = before.map(|index| old.remove(index).until);
            // Whoever names it again shortens nothing.
            let until = match before {
                Some(before) => before.zip(until).map(|(before, until)| before.max(until)),
                None => until,
            };
            if known.places.iter().all(|place| place.address != address) {
                known.places.push(Place { address, until });
            }
        }
        known.places.append(&mut old);
        known.places.truncate(ADDRESSES_PER_PEER_MAX);
    }

    /// Somebody says that a peer is a member: it is to be connected, unless it was let go.
    pub(super) fn introduce(&mut self, peer: &PeerId) {
        if let Some(known) = self.known.get_mut(peer).filter(|k| k.standing == Standing::Heard) {
            known.standing = Standing::Member;
        }
    }

    /// A peer has shown itself to be a member, and is to be connected.
    pub(super) fn admit(&mut self, peer: &PeerId) {
        if let Some(known) = self.known.get_mut(peer) {
            known.standing = Standing::Member;
        }
    }

    /// A peer is let go: it is dialled no more until it shows itself again.
    pub(super) fn release(&mut self, peer: &PeerId) {
        if let Some(known) = self.known.get_mut(peer) {
            known.standing = Standing::Released;
        }
    }

    /// The members, connected or not.
    pub(super) fn members(&self) -> impl Iterator<Item = &PeerId> {
        let known = self.known.iter();
        let members = known.filter(|(_, known)| known.standing == Standing::Member);
        members.map(|(peer, _)| peer)
    }

    /// How many peers are connected.
    pub(super) fn count(&self) -> usize {
        self.connected.len()
    }

    /// Where a peer may be: a member at the addresses that were the last, too.
    pub(super) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let now = Instant::now();
        let Some(known) = self.known.get(peer) else { return Vec::new() };
        known.addresses(|place| known.standing == Standing::Member || place.is_current(now))
    }

    /// Every peer of which an address is known that is not out of date.
    pub(super) fn known(&self) -> impl Iterator<Item = (&PeerId, Vec<Multiaddr>)> {
        let now = Instant::now();
        let known = self.known.iter();
        known
            .map(move |(peer, known)| (peer, known.addresses(|place| place.is_current(now))))
            .filter(|(_, addresses)| !addresses.is_empty())
    }

    /// Forgets the peers of which no address holds any more, members excepted.
    pub(super) fn tidy(&mut self) {
        let now = Instant::now();
        self.known.retain(|peer, known| {
            known.standing != Standing::Heard
                || self.connected.contains_key(peer)
                || known.places.iter().any(|place| place.is_current(now))
        });
    }

    fn forget_the_oldest(&mut self) {
        let gone = self.known.iter().filter(|(peer, _)| !self.connected.contains_key(peer));
        let oldest = gone.min_by_key(|(_, known)| (known.standing, known.seen_at));
        let oldest = oldest.map(|(peer, _)| *peer);
        // With all of them connected, which the limits forbid, any goes.
        let oldest = oldest.or_else(|| self.known.keys().next().copied());
        if let Some(peer) = oldest {
            self.known.remove(&peer);
        }
    }
}

impl State {
    fn read(&self, id: PeerId) -> Peer {
        let connections = self.connections.iter().map(|Open { opened, at }| {
            let streams = opened.streams.as_ref().map(|streams| streams.protocols());
            let (streams, streams_in) = streams.unwrap_or_default();
            Connection {
                address: opened.address.clone(),
                direction: opened.direction,
                opened_at: *at,
                streams,
                streams_in,
            }
        });
        Peer {
            id,
            connections: connections.collect(),
            latency: self.latency,
            identified: self.identified.clone(),
        }
    }
}

/// The addresses that a peer tells, without its id and without those that mean nothing here: as
/// go-libp2p, loopback is believed over loopback only.
pub(super) fn usable(told: Vec<Multiaddr>, peer: PeerId, remote: Option<IpAddr>) -> Vec<Multiaddr> {
    let is_local = remote.is_none_or(|ip| ip.is_loopback());
    let mut addresses = Vec::new();
    for address in told {
        let Some(address) = without_peer(address, peer) else { continue };
        let is_loopback = ip_of(&address).is_some_and(|ip| ip.is_loopback());
        let is_wanted = (is_local || !is_loopback) && !addresses.contains(&address);
        if is_wanted && addresses.len() < ADDRESSES_PER_PEER_MAX {
            addresses.push(address);
        }
    }
    addresses
}

/// The address without the peer's id at its end; none when it is that of another, or nothing.
pub(super) fn without_peer(mut address: Multiaddr, peer: PeerId) -> Option<Multiaddr> {
    if let Some(Protocol::P2p(other)) = address.iter().last() {
        if other != peer {
            return None;
        }
        address.pop();
    }
    (!address.is_empty()).then_some(address)
}

/// The IP address that a multiaddr begins with.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn opened(id: usize) -> Opened {
        Opened {
            id: ConnectionId::new_unchecked(id),
            address: address(&format!("/ip4/10.0.0.1/tcp/{id}")),
            direction: Direction::Inbound,
            streams: None,
        }
    }

    #[test]
    fn a_peer_is_connected_from_its_first_connection_to_its_last() {
        let (mut peers, peer) = (Peers::default(), PeerId::random());
        assert!(peers.opened(peer, opened(1)));
        assert!(!peers.opened(peer, opened(2)));
        assert_eq!(peers.connections(&peer, None).len(), 2);
        let at = address("/ip4/10.0.0.1/tcp/2");
        assert_eq!(peers.connections(&peer, Some(&at)), [ConnectionId::new_unchecked(2)]);
        assert!(!peers.closed(&peer, ConnectionId::new_unchecked(1)));
        assert!(peers.is_connected(&peer));
        assert!(peers.closed(&peer, ConnectionId::new_unchecked(2)));
        assert!(!peers.closed(&peer, ConnectionId::new_unchecked(2)));
        assert!(peers.all().is_empty());
    }

    #[test]
    fn loopback_is_believed_over_loopback_only_and_foreign_ids_never() {
        let peer = PeerId::random();
        let told = vec![
            address("/ip4/127.0.0.1/tcp/1"),
            address(&format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}")),
            address("/ip4/10.0.0.1/tcp/1"),
            address(&format!("/ip4/10.0.0.2/tcp/1/p2p/{}", PeerId::random())),
        ];
        let far = usable(told.clone(), peer, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(far, [address("/ip4/10.0.0.1/tcp/1")]);
        let near = usable(told, peer, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(near, [address("/ip4/127.0.0.1/tcp/1"), address("/ip4/10.0.0.1/tcp/1")]);
    }

    /// Lets time pass for what is known of a peer.
    fn later(peers: &mut Peers, peer: PeerId, by: Duration) {
        for place in &mut peers.known.get_mut(&peer).unwrap().places {
            place.until = place.until.map(|until| until - by);
        }
    }

    #[test]
    fn addresses_are_forgotten_in_time_but_those_of_members() {
        let (mut peers, peer) = (Peers::default(), PeerId::random());
        let (heard, reached) = (address("/ip4/10.0.0.1/tcp/1"), address("/ip4/10.0.0.1/tcp/2"));
        peers.learn(peer, vec![heard.clone()]);
        peers.opened(peer, opened(2));
        peers.reached(peer, reached.clone());
        assert_eq!(peers.addresses(&peer), [reached.clone(), heard.clone()]);
        later(&mut peers, peer, HEARD_FOR);
        assert_eq!(peers.addresses(&peer), std::slice::from_ref(&reached));
        assert_eq!(peers.known().count(), 1);
        // It has gone: its address holds for a while.
        peers.closed(&peer, ConnectionId::new_unchecked(2));
        later(&mut peers, peer, CONNECTED_FOR / 2);
        peers.learn(peer, vec![reached.clone()]);
        later(&mut peers, peer, HEARD_FOR);
        assert_eq!(peers.addresses(&peer), std::slice::from_ref(&reached));
        peers.admit(&peer);
        later(&mut peers, peer, CONNECTED_FOR);
        peers.tidy();
        assert!(peers.known().next().is_none());
        assert!(peers.addresses(&peer).contains(&reached), "a member is dialled there");
        peers.release(&peer);
        assert!(peers.addresses(&peer).is_empty());
    }

    #[test]
    fn what_is_known_of_others_is_bounded() {
        let mut peers = Peers::default();
        let kept = PeerId::random();
        peers.opened(kept, opened(1));
        peers.learn(kept, vec![address("/ip4/10.0.0.1/tcp/1")]);
        for _ in 0..=KNOWN_PEERS_MAX {
            peers.learn(PeerId::random(), vec![address("/ip4/10.0.0.1/tcp/1")]);
        }
        assert_eq!(peers.known.len(), KNOWN_PEERS_MAX);
        for port in 0..100 {
            peers.learn(kept, vec![address(&format!("/ip4/10.0.0.1/tcp/{port}"))]);
        }
        let addresses = peers.addresses(&kept);
        assert_eq!(addresses.len(), ADDRESSES_PER_PEER_MAX);
        assert_eq!(addresses[0], address("/ip4/10.0.0.1/tcp/99"));
    }
}
