//! What any blockstore must do: one suite, run on the packs and on a map in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use pinmesh::ipld::{Block, Cid, Multihash, codec};
use pinmesh::store::{Options, Store};
use proptest::prelude::*;

use crate::support::blocks::raw;

/// The operations of a blockstore, one after another; blocks are keyed by multihash.
trait Blockstore {
    fn has(&self, hash: &Multihash) -> bool;
    fn get(&self, cid: &Cid) -> Option<Bytes>;
    fn size(&self, hash: &Multihash) -> Option<u64>;
    /// Durable when it returns.
    fn put_many(&mut self, blocks: Vec<Block>);
    /// The blocks that were there.
    fn delete_many(&mut self, hashes: Vec<Multihash>) -> Vec<Multihash>;
    fn iterate(&self) -> Vec<(Multihash, u64)>;
}

#[derive(Default)]
struct Memory(BTreeMap<Multihash, Bytes>);

impl Blockstore for Memory {
    fn has(&self, hash: &Multihash) -> bool {
        self.0.contains_key(hash)
    }

    fn get(&self, cid: &Cid) -> Option<Bytes> {
        self.0.get(cid.hash()).cloned()
    }

    fn size(&self, hash: &Multihash) -> Option<u64> {
        self.0.get(hash).map(|data| data.len() as u64)
    }

    fn put_many(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            self.0.entry(block.cid.hash().clone()).or_insert(block.data);
        }
    }

    fn delete_many(&mut self, hashes: Vec<Multihash>) -> Vec<Multihash> {
        hashes.into_iter().filter(|hash| self.0.remove(hash).is_some()).collect()
    }

    fn iterate(&self) -> Vec<(Multihash, u64)> {
        self.0.iter().map(|(hash, data)| (hash.clone(), data.len() as u64)).collect()
    }
}

struct Packs {
    dir: tempfile::TempDir,
    store: Option<Store>,
    runtime: tokio::runtime::Runtime,
}

impl Packs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Store::open(dir.path(), Self::options()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { dir, store, runtime }
    }

    fn options() -> Options {
        // Small segments: a few blocks fill one.
        Options { segment_bytes: 1000, ..Options::default() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self, rebuild: bool) {
        self.store = None;
        if rebuild {
            Store::rebuild_index(self.dir.path()).unwrap();
        }
        self.store = Some(Store::open(self.dir.path(), Self::options()).unwrap());
    }
}

impl Blockstore for Packs {
    fn has(&self, hash: &Multihash) -> bool {
        self.store().has(hash).unwrap()
    }

    fn get(&self, cid: &Cid) -> Option<Bytes> {
        self.store().get(cid).unwrap()
    }

    fn size(&self, hash: &Multihash) -> Option<u64> {
        self.store().size(hash).unwrap()
    }

    fn put_many(&mut self, blocks: Vec<Block>) {
        self.runtime.block_on(async {
            let session = self.store().session();
            session.put_many(blocks).await.unwrap();
            session.flush().await.unwrap();
        });
    }

    fn delete_many(&mut self, hashes: Vec<Multihash>) -> Vec<Multihash> {
        self.runtime.block_on(self.store().delete_many(hashes)).unwrap()
    }

    fn iterate(&self) -> Vec<(Multihash, u64)> {
        let mut list: Vec<_> = self.store().iterate().map(Result::unwrap).collect();
        list.sort();
        list
    }
}

fn blockstore_contract<B: Blockstore>(make: impl Fn() -> B) {
    an_absent_block_is_absent(&mut make());
    a_block_is_found_under_every_cid_of_its_multihash(&mut make());
    putting_twice_keeps_one(&mut make());
    deleting_removes_what_is_there(&mut make());
    blocks_of_every_size_come_back(&mut make());
}

fn an_absent_block_is_absent(store: &mut impl Blockstore) {
    let block = raw("absent");
    assert!(!store.has(block.cid.hash()));
    assert_eq!(store.get(&block.cid), None);
    assert_eq!(store.size(block.cid.hash()), None);
    assert_eq!(store.delete_many(vec![block.cid.hash().clone()]), []);
    assert_eq!(store.iterate(), []);
    store.put_many(vec![]);
}

fn a_block_is_found_under_every_cid_of_its_multihash(store: &mut impl Blockstore) {
    let block = raw("block");
    store.put_many(vec![block.clone()]);
    let hash = block.cid.hash().clone();
    let names = [
        Cid::new_v0(hash.clone()).unwrap(),
        Cid::new_v1(codec::DAG_PB, hash.clone()),
        Cid::new_v1(codec::DAG_CBOR, hash.clone()),
        block.cid,
    ];
    assert!(names.iter().all(|cid| store.get(cid).as_ref() == Some(&block.data)));
    assert_eq!(store.size(&hash), Some(5));
}

fn putting_twice_keeps_one(store: &mut impl Blockstore) {
    let block = raw("twice");
    store.put_many(vec![block.clone(), block.clone()]);
    store.put_many(vec![block.clone()]);
    assert_eq!(store.iterate(), [(block.cid.hash().clone(), 5)]);
}

fn deleting_removes_what_is_there(store: &mut impl Blockstore) {
    let blocks: Vec<Block> = (0..20).map(|n| raw(format!("block {n}"))).collect();
    store.put_many(blocks.clone());
    let doomed: Vec<Multihash> = blocks[..5].iter().map(|b| b.cid.hash().clone()).collect();
    let mut deleted = store.delete_many([doomed.clone(), doomed.clone()].concat());
    deleted.sort();
    let mut expected = doomed.clone();
    expected.sort();
    assert_eq!(deleted, expected);
    assert_eq!(store.iterate().len(), 15);
    assert!(doomed.iter().all(|hash| !store.has(hash)));
    store.put_many(blocks[..1].to_vec());
    assert_eq!(store.get(&blocks[0].cid).as_ref(), Some(&blocks[0].data));
}

fn blocks_of_every_size_come_back(store: &mut impl Blockstore) {
    let sizes = [0, 1, 127, 128, 4096, 262_144, 262_145, 1 << 20, 3 << 20];
    let blocks: Vec<Block> = sizes.into_iter().map(|size| raw(vec![7; size])).collect();
    store.put_many(blocks.clone());
    assert!(blocks.iter().all(|block| store.get(&block.cid).as_ref() == Some(&block.data)));
}

#[test]
fn packs_fulfil_the_contract() {
    blockstore_contract(Packs::new);
}

#[test]
fn a_map_fulfils_the_contract() {
    blockstore_contract(Memory::default);
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>),
    Delete(Vec<u8>),
    Reopen { rebuild: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(0_u8..24, 1..8);
    prop_oneof![
        4 => some().prop_map(Step::Put),
        2 => some().prop_map(Step::Delete),
        1 => any::<bool>().prop_map(|rebuild| Step::Reopen { rebuild }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn packs_hold_what_a_map_holds_across_restarts_and_rebuilds(
        steps in prop::collection::vec(step(), 1..24)
    ) {
        let block = |n: u8| raw(vec![n; usize::from(n) * 20]);
        let (mut packs, mut memory) = (Packs::new(), Memory::default());
        for step in steps {
            match step {
                Step::Put(some) => {
                    let blocks: Vec<Block> = some.into_iter().map(block).collect();
                    packs.put_many(blocks.clone());
                    memory.put_many(blocks);
                }
                Step::Delete(some) => {
                    let hashes: Vec<Multihash> =
                        some.into_iter().map(|n| block(n).cid.hash().clone()).collect();
                    let (mut a, mut b) =
                        (packs.delete_many(hashes.clone()), memory.delete_many(hashes));
                    a.sort();
                    b.sort();
                    prop_assert_eq!(a, b);
                }
                Step::Reopen { rebuild } => packs.reopen(rebuild),
            }
            prop_assert_eq!(packs.iterate(), memory.iterate());
        }
        for n in 0..24 {
            prop_assert_eq!(packs.get(&block(n).cid), memory.get(&block(n).cid));
        }
        prop_assert_eq!(packs.store().stats().unwrap().blocks, memory.0.len() as u64);
    }
}
