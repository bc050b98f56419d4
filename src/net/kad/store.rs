//! What others ask this node to keep: providers of blocks, and records of names.
//!
//! In memory and bounded: of each kind what is oldest goes first. Where a provider is, is known of
//! the peer and not of each of its records, which makes a record a few dozen bytes.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque, hash_map};
use std::time::Instant;

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use smallvec::SmallVec;

use super::REPLICAS;

/// Provider records that are kept.
const PROVIDERS_MAX: usize = 100_000;
/// Providers of whom it is known where they are.
const PEERS_MAX: usize = 1024;
/// Addresses that are known of one.
const ADDRESSES_MAX: usize = 8;
/// Records of names that are kept.
const RECORDS_MAX: usize = 4096;
/// The longest key: Kubo's.
const KEY_BYTES_MAX: usize = 80;

#[derive(Debug, Clone)]
struct Provider {
    peer: PeerId,
    expires: Option<Instant>,
}

/// The store; see the module.
#[derive(Debug, Default)]
pub(in crate::net) struct Store {
    providers: HashMap<RecordKey, SmallVec<[Provider; 1]>>,
    /// Every provider record once, oldest first; one that came again stands here twice until its
    /// first place is reached.
    order: VecDeque<(RecordKey, PeerId, Option<Instant>)>,
    addresses: HashMap<PeerId, Vec<Multiaddr>>,
    records: HashMap<RecordKey, Record>,
    /// The keys of `records`, oldest first.
    records_order: VecDeque<RecordKey>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Makes room for one provider record more, and drops those whose time is over.
    fn make_room(&mut self, now: Instant) {
        while let Some((key, peer, expires)) = self.order.front() {
            let is_over = expires.is_some_and(|at| at <= now);
            if !is_over && self.order.len() < PROVIDERS_MAX {
                return;
            }
            let (key, peer, expires) = (key.clone(), *peer, *expires);
            self.order.pop_front();
            // One that came again since has another time, and another place.
            if let hash_map::Entry::Occupied(mut entry) = self.providers.entry(key) {
                entry.get_mut().retain(|known| known.peer != peer || known.expires != expires);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
    }

    fn learn(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        if addresses.is_empty() {
            return;
        }
        if self.addresses.len() >= PEERS_MAX && !self.addresses.contains_key(&peer) {
            // Any will do: it is told again with the next record.
            let any = self.addresses.keys().next().copied();
            any.and_then(|peer| self.addresses.remove(&peer));
        }
        addresses.truncate(ADDRESSES_MAX);
        self.addresses.insert(peer, addresses);
    }
}

impl RecordStore for Store {
    type RecordsIter<'a> =
        std::iter::Map<hash_map::Values<'a, RecordKey, Record>, fn(&'a Record) -> Cow<'a, Record>>;
    // What this node provides is announced from above.
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.records.get(key).map(Cow::Borrowed)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        if record.value.len() > crate::ipns::RECORD_BYTES_MAX {
            return Err(Error::ValueTooLarge);
        }
        if record.key.as_ref().len() > KEY_BYTES_MAX {
            return Err(Error::MaxRecords);
        }
        if !self.records.contains_key(&record.key) {
            while self.records.len() >= RECORDS_MAX {
                let Some(oldest) = self.records_order.pop_front() else { break };
                self.records.remove(&oldest);
            }
            self.records_order.push_back(record.key.clone());
        }
        self.records.insert(record.key.clone(), record);
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        if self.records.remove(key).is_some() {
            self.records_order.retain(|other| other != key);
        }
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.records.values().map(Cow::Borrowed)
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if !(1..=KEY_BYTES_MAX).contains(&record.key.as_ref().len()) {
            return Err(Error::MaxProvidedKeys);
        }
        self.make_room(Instant::now());
        let ProviderRecord { key, provider: peer, expires, addresses } = record;
        let providers = self.providers.entry(key.clone()).or_default();
        let is_full = providers.len() >= REPLICAS;
        match providers.iter_mut().find(|known| known.peer == peer) {
            Some(known) => known.expires = expires,
            // Those that were first stay: who floods a key drives nobody out.
            None if is_full => return Ok(()),
            None => providers.push(Provider { peer, expires }),
        }
        self.order.push_back((key, peer, expires));
        self.learn(peer, addresses);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let providers = self.providers.get(key).into_iter().flatten();
        providers
            .map(|provider| ProviderRecord {
                key: key.clone(),
                provider: provider.peer,
                expires: provider.expires,
                addresses: self.addresses.get(&provider.peer).cloned().unwrap_or_default(),
            })
            .collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        if let hash_map::Entry::Occupied(mut entry) = self.providers.entry(key.clone()) {
            entry.get_mut().retain(|known| known.peer != *peer);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(key: u32, peer: PeerId, expires: Option<Instant>) -> ProviderRecord {
        let key = RecordKey::new(&key.to_be_bytes());
        let addresses = vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap(); 20];
        ProviderRecord { key, provider: peer, expires, addresses }
    }

    #[test]
    fn the_oldest_provider_record_goes_first_and_one_that_came_again_stays() {
        let (mut store, peer) = (Store::new(), PeerId::random());
        let start = Instant::now() + Duration::from_secs(1000);
        let at = |n: u32| Some(start + Duration::from_millis(n.into()));
        for n in 0..PROVIDERS_MAX as u32 - 1 {
            store.add_provider(record(n, peer, at(n))).unwrap();
        }
        store.add_provider(record(0, peer, at(PROVIDERS_MAX as u32))).unwrap();
        for n in 0..10 {
            store.add_provider(record(u32::MAX - n, peer, at(u32::MAX - n))).unwrap();
        }
        assert!(store.order.len() <= PROVIDERS_MAX);
        assert_eq!(store.providers(&RecordKey::new(&0_u32.to_be_bytes())).len(), 1);
        assert!(store.providers(&RecordKey::new(&1_u32.to_be_bytes())).is_empty());
        let newest = store.providers(&RecordKey::new(&u32::MAX.to_be_bytes()));
        assert_eq!(newest[0].addresses.len(), ADDRESSES_MAX);
    }

    #[test]
    fn what_is_over_is_dropped_and_a_key_has_so_many_providers() {
        let mut store = Store::new();
        let past = Some(Instant::now());
        store.add_provider(record(1, PeerId::random(), past)).unwrap();
        for _ in 0..REPLICAS + 5 {
            store.add_provider(record(2, PeerId::random(), None)).unwrap();
        }
        assert!(store.providers(&RecordKey::new(&1_u32.to_be_bytes())).is_empty());
        assert_eq!(store.providers(&RecordKey::new(&2_u32.to_be_bytes())).len(), REPLICAS);
        let long = ProviderRecord::new(vec![0; 81], PeerId::random(), Vec::new());
        store.add_provider(long).unwrap_err();
    }

    #[test]
    fn records_are_bounded() {
        let mut store = Store::new();
        for n in 0..=RECORDS_MAX as u32 {
            store.put(Record::new(n.to_be_bytes().to_vec(), vec![1])).unwrap();
        }
        assert_eq!(store.records().count(), RECORDS_MAX);
        assert!(store.get(&RecordKey::new(&0_u32.to_be_bytes())).is_none());
        store.put(Record::new(vec![1], vec![0; 20_000])).unwrap_err();
        let last = RecordKey::new(&(RECORDS_MAX as u32).to_be_bytes());
        store.remove(&last);
        assert!(store.get(&last).is_none());
    }
}
