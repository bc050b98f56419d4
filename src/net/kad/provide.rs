//! Telling others what this node provides.
//!
//! Members of a private network are connected to each other, so the peers closest to a key are
//! among those that are connected, and no lookup is needed: a batch of keys goes over one stream to
//! each of them, as Kubo's sweeping provider does. A peer that does not take its batch misses it
//! until the next round.

use std::time::Duration;

use futures_util::AsyncWriteExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use libp2p::StreamProtocol;
use libp2p::kad::KBucketKey;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{REPLICAS, Table, record_key};
use crate::ipld::{Multihash, protobuf, varint};
use crate::net::Network;

/// How long a peer may take for a batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a batch that are written at once.
const WRITE_BYTES: usize = 64 << 10;

/// The number of `ADD_PROVIDER` in the protocol, and of its fields.
const ADD_PROVIDER: u64 = 2;
const FIELD_TYPE: u64 = 1;
const FIELD_KEY: u64 = 2;
const FIELD_PROVIDERS: u64 = 9;
const FIELD_PEER_ID: u64 = 1;
const FIELD_PEER_ADDRESS: u64 = 2;

/// What came of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Provided {
    /// Peers that took all they were given.
    pub peers: usize,
    /// Peers that did not.
    pub failed: usize,
    /// Records that were taken, in all.
    pub records: u64,
}

impl Network {
    /// The connected peers that keep records of a table.
    #[must_use]
    pub fn record_keepers(&self, table: Table) -> Vec<PeerId> {
        let protocol = table.protocol();
        let is_keeper = |peer: &crate::net::Peer| {
            let said = peer.identified.as_ref();
            said.is_some_and(|said| said.protocols.iter().any(|name| name == protocol.as_ref()))
        };
        self.peers().into_iter().filter(is_keeper).map(|peer| peer.id).collect()
    }

    /// Whether any connected peer keeps records.
    #[must_use]
    pub fn has_record_keepers(&self) -> bool {
        Table::ALL.into_iter().any(|table| !self.record_keepers(table).is_empty())
    }

    /// Tells the peers closest to each of the hashes that this node provides its block.
    pub async fn provide(&self, hashes: &[Multihash]) -> Provided {
        let own = own_peer(self.peer_id(), &self.announced());
        let all = Table::ALL.into_iter().flat_map(|table| {
            let batches = batches(&self.record_keepers(table), hashes);
            batches.into_iter().map(move |(peer, keys)| (table, peer, keys))
        });
        let mut sent: FuturesUnordered<_> = all
            .map(|(table, peer, keys)| {
                let own = own.clone();
                async move {
                    let sending = self.send_batch(peer, table.protocol(), &keys, &own);
                    let done = tokio::time::timeout(BATCH_TIMEOUT, sending).await;
                    match done.map_err(std::io::Error::from).and_then(|done| done) {
                        Ok(()) => Ok(keys.len() as u64),
                        Err(error) => {
                            tracing::debug!(%peer, %error, "a peer took no provider records");
                            Err(())
                        }
                    }
                }
            })
            .collect();
        let mut provided = Provided::default();
        while let Some(done) = sent.next().await {
            match done {
                Ok(records) => {
                    provided.peers += 1;
                    provided.records += records;
                }
                Err(()) => provided.failed += 1,
            }
        }
        provided
    }

    async fn send_batch(
        &self,
        peer: PeerId,
        protocol: StreamProtocol,
        keys: &[&Multihash],
        own: &[u8],
    ) -> std::io::Result<()> {
        let mut stream = self.open_stream(peer, protocol).await?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        for key in keys {
            append_message(key, own, &mut buffer);
            if buffer.len() >= WRITE_BYTES {
                stream.write_all(&buffer).await?;
                buffer.clear();
            }
        }
        stream.write_all(&buffer).await?;
        // The end of the stream, which a peer that did not speak the protocol would refuse.
        stream.close().await
    }
}

/// Which peer is given which keys: each key goes to the peers that are closest to it.
fn batches<'a>(peers: &[PeerId], hashes: &'a [Multihash]) -> Vec<(PeerId, Vec<&'a Multihash>)> {
    if peers.len() <= REPLICAS {
        return peers.iter().map(|peer| (*peer, hashes.iter().collect())).collect();
    }
    let mut batches: Vec<(KBucketKey<PeerId>, Vec<&Multihash>)> =
        peers.iter().map(|peer| (KBucketKey::from(*peer), Vec::new())).collect();
    for hash in hashes {
        let key = KBucketKey::new(record_key(hash.as_bytes()));
        batches.sort_by_cached_key(|(peer, _)| peer.distance(&key));
        batches.iter_mut().take(REPLICAS).for_each(|(_, keys)| keys.push(hash));
    }
    batches.retain(|(_, keys)| !keys.is_empty());
    batches.into_iter().map(|(peer, keys)| (*peer.preimage(), keys)).collect()
}

/// This node as a message of the protocol.
fn own_peer(id: PeerId, addresses: &[Multiaddr]) -> Vec<u8> {
    let mut peer = Vec::new();
    protobuf::append_bytes(FIELD_PEER_ID, &id.to_bytes(), &mut peer);
    for address in addresses {
        protobuf::append_bytes(FIELD_PEER_ADDRESS, &address.to_vec(), &mut peer);
    }
    peer
}

/// Appends a message, after its length.
fn append_message(key: &Multihash, own: &[u8], out: &mut Vec<u8>) {
    let mut message = Vec::with_capacity(own.len() + 64);
    protobuf::append_number(FIELD_TYPE, ADD_PROVIDER, &mut message);
    protobuf::append_bytes(FIELD_KEY, key.as_bytes(), &mut message);
    protobuf::append_bytes(FIELD_PROVIDERS, own, &mut message);
    varint::append(message.len() as u64, out);
    out.extend_from_slice(&message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::hash;

    #[test]
    fn each_key_goes_to_the_peers_closest_to_it() {
        let peers: Vec<PeerId> = (0..50).map(|_| PeerId::random()).collect();
        let hashes: Vec<Multihash> =
            (0..100_u8).map(|n| hash::digest(hash::SHA2_256, &[n], None).unwrap()).collect();
        let all = batches(&peers[..REPLICAS], &hashes);
        assert!(all.len() == REPLICAS && all.iter().all(|(_, keys)| keys.len() == 100));
        let some = batches(&peers, &hashes);
        assert_eq!(some.iter().map(|(_, keys)| keys.len()).sum::<usize>(), 100 * REPLICAS);
        let key = KBucketKey::new(record_key(hashes[7].as_bytes()));
        let distance = |peer: &PeerId| KBucketKey::from(*peer).distance(&key);
        let (with, without): (Vec<_>, Vec<_>) = peers.iter().partition(|peer| {
            some.iter().any(|(other, keys)| other == *peer && keys.contains(&&hashes[7]))
        });
        let farthest = with.iter().copied().map(distance).max();
        assert!(without.iter().all(|peer| Some(distance(peer)) > farthest));
    }
}
