//! Who belongs together: the peers that are to be connected, and what peers tell of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use super::introduction::{self, PROTOCOL};
use super::peers::{ip_of, usable};
use super::{Inner, Network, lock};

impl Inner {
    pub(super) fn add_members(&self, peers: Vec<(PeerId, Vec<Multiaddr>)>) {
        let mut state = self.peers();
        for (peer, addresses) in peers {
            if peer != self.peer_id && !addresses.is_empty() {
                state.learn(peer, addresses);
                state.introduce(&peer);
            }
        }
        drop(state);
        self.wanted.notify_one();
    }
}

impl Network {
    /// Whether the network has a swarm key, so that everybody in it is a member.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.inner.is_private
    }

    /// Keeps to these peers from now on, as `Bootstrap` has them, and no longer to those before.
    pub fn set_bootstrap(&self, peers: Vec<(PeerId, Vec<Multiaddr>)>) {
        let merged = peers.into_iter().fold(BTreeMap::new(), |mut merged, (peer, addresses)| {
            let of_peer: &mut BTreeSet<Multiaddr> = merged.entry(peer).or_default();
            of_peer.extend(addresses);
            merged
        });
        *lock(&self.inner.bootstrap) = merged;
        self.inner.wanted.notify_one();
    }

    /// Peers that somebody tells of are members, unless they were let go.
    pub fn add_members(&self, peers: Vec<(PeerId, Vec<Multiaddr>)>) {
        self.inner.add_members(peers);
    }

    /// Closes the connections with a peer on purpose: neither side dials the other by itself after
    /// that, unless it is told to keep to it. Whether there was a connection.
    pub async fn let_go(&self, peer: PeerId) -> bool {
        if !self.is_connected(&peer) {
            return false;
        }
        self.inner.peers().release(&peer);
        if self.speaks(&peer, PROTOCOL.as_ref()) {
            let farewell = async {
                let stream = self.open_stream(peer, PROTOCOL).await?;
                introduction::say_farewell(stream).await
            };
            // Who does not hear it dials again, and is a member again.
            if let Err(error) = farewell.await {
                tracing::debug!(%peer, %error, "a peer did not hear a farewell");
            }
        }
        self.disconnect(peer, None).await
    }

    /// The same for the connection at an address; whether it was there. The peer itself is let go
    /// when it was the last.
    pub async fn let_go_at(&self, peer: PeerId, place: &Multiaddr) -> bool {
        let connections = self.peer(&peer).map(|peer| peer.connections).unwrap_or_default();
        if connections.iter().all(|connection| connection.address == *place) {
            return self.let_go(peer).await;
        }
        self.disconnect(peer, Some(place)).await
    }

    /// Whether a peer that is connected says that it speaks a protocol.
    #[must_use]
    pub fn speaks(&self, peer: &PeerId, protocol: &str) -> bool {
        let identified = self.inner.peers().identity(peer);
        identified.is_some_and(|said| said.protocols.iter().any(|name| name == protocol))
    }

    /// Whether the config names the peer among those to keep to.
    pub(super) fn is_kept_to(&self, peer: &PeerId) -> bool {
        self.inner.peering().contains_key(peer)
            || lock(&self.inner.bootstrap).contains_key(peer)
            || self.inner.relays_wanted().iter().any(|(relay, _)| relay == peer)
    }

    /// The peers that are to be connected and are not: those to keep to always, members only while
    /// there are fewer than `mesh_max` peers.
    pub(super) fn wanted(&self, mesh_max: usize) -> Vec<PeerId> {
        let mut wanted: Vec<PeerId> = self.inner.peering().keys().copied().collect();
        wanted.extend(lock(&self.inner.bootstrap).keys().copied());
        wanted.extend(self.inner.relays_wanted().iter().map(|(relay, _)| *relay));
        let peers = self.inner.peers();
        if self.inner.is_private && peers.count() < mesh_max {
            wanted.extend(peers.members().copied());
        }
        wanted.retain(|peer| *peer != self.inner.peer_id && !peers.is_connected(peer));
        wanted
    }

    /// What `to` is told of the others that are connected.
    pub(super) fn introductions(&self, to: &PeerId) -> introduction::Peers {
        let peers = self.inner.peers();
        let others = peers.all().into_iter().filter(|peer| peer.id != *to);
        others
            .filter_map(|peer| Some((peer.id, peer.identified?.addresses.clone())))
            .filter(|(_, addresses)| !addresses.is_empty())
            .collect()
    }

    /// What `from` told is believed as far as it can be dialled from here.
    pub(super) fn introduced(&self, from: &PeerId, told: introduction::Peers) {
        let over =
            self.inner.peers().get(from).and_then(|peer| peer.connections.into_iter().next());
        let Some(remote) = over.and_then(|connection| ip_of(&connection.address)) else { return };
        self.add_members(
            told.into_iter()
                .map(|(peer, addresses)| (peer, dialable(addresses, peer, remote)))
                .collect(),
        );
    }
}

/// The addresses, told by a peer at `remote`, that lead somewhere from here.
fn dialable(told: Vec<Multiaddr>, peer: PeerId, remote: IpAddr) -> Vec<Multiaddr> {
    let mut addresses = usable(told, peer, Some(remote));
    addresses.retain(|address| {
        let mut parts = address.iter();
        let is_place = match parts.next() {
            Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
            Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
            Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
            _ => false,
        };
        let is_tcp = is_place && matches!(parts.next(), Some(Protocol::Tcp(1..)));
        let is_whole = match (parts.next(), parts.next()) {
            (None, _) => true,
            // At a relay.
            (Some(Protocol::P2p(_)), Some(Protocol::P2pCircuit)) => parts.next().is_none(),
            _ => false,
        };
        is_tcp && is_whole
    });
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAYED: &str =
        "/ip4/10.0.0.1/tcp/1/p2p/12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq/p2p-circuit";

    #[test]
    fn what_leads_nowhere_is_not_believed() {
        let told = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/10.0.0.1/udp/1/quic-v1",
            "/ip4/10.0.0.1/tcp/0",
            "/ip4/10.0.0.1/tcp/1",
            "/dns4/example.com/tcp/1",
            "/memory/1",
            "/ip4/10.0.0.1/tcp/1/p2p/12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq",
            RELAYED,
        ];
        let told: Vec<Multiaddr> = told.iter().map(|text| text.parse().unwrap()).collect();
        let found = dialable(told, PeerId::random(), "10.0.0.9".parse().unwrap());
        let found: Vec<String> = found.iter().map(Multiaddr::to_string).collect();
        assert_eq!(found, ["/ip4/10.0.0.1/tcp/1", "/dns4/example.com/tcp/1", RELAYED]);
    }
}
