//! Tests of the store that need to see inside; the contract is in `tests/it/store_contract.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ipld::{Block, PbLink, PbNode, codec};

fn raw(data: impl Into<Bytes>) -> Block {
    let data = data.into();
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    Block { cid: Cid::new_v1(codec::RAW, hash), data }
}

fn node(children: &[&Cid], text: &str) -> Block {
    let links = children.iter().map(|cid| PbLink::new((*cid).clone(), "x", 1)).collect();
    let data = PbNode { data: Some(text.to_owned().into()), links }.encode();
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    Block { cid: Cid::new_v0(hash).unwrap(), data: data.into() }
}

fn small() -> Options {
    Options { segment_bytes: 4096, compact_dead_bytes_min: 1, ..Options::default() }
}

async fn put_all(store: &Store, blocks: &[Block]) {
    let session = store.session();
    session.put_many(blocks.to_vec()).await.unwrap();
    session.flush().await.unwrap();
}

fn listing(store: &Store) -> Vec<(Multihash, u64)> {
    let mut list: Vec<_> = store.iterate().map(Result::unwrap).collect();
    list.sort();
    list
}

/// Every row as its meaning: name, size, children as CIDs.
fn meaning(store: &Store) -> Vec<(Multihash, u64, Option<Vec<Cid>>)> {
    let cid = |hash: &Multihash| Cid::new_v0(hash.clone()).unwrap();
    let list = listing(store).into_iter();
    list.map(|(hash, size)| {
        let children = store.children(&cid(&hash)).ok().flatten();
        (hash, size, children)
    })
    .collect()
}

#[tokio::test]
async fn a_block_is_readable_before_and_after_the_flush_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let block = raw("hello");
    let session = store.session();
    session.put(block.clone()).await.unwrap();
    assert_eq!(store.get(&block.cid).unwrap(), Some(block.data.clone()));
    session.flush().await.unwrap();
    assert_eq!(store.get(&block.cid).unwrap(), Some(block.data.clone()));
    drop((session, store));
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.get(&block.cid).unwrap(), Some(block.data.clone()));
    assert_eq!(store.stats().unwrap().blocks, 1);
}

#[tokio::test]
async fn children_keep_order_duplicates_and_the_kind_of_each_cid() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let (leaf, inner) = (raw("leaf"), node(&[], "inner"));
    let missing = Cid::new_v1(codec::DAG_CBOR, raw("missing").cid.hash().clone());
    let inner_v1 = inner.cid.to_v1();
    let children = [&leaf.cid, &inner.cid, &inner_v1, &missing, &leaf.cid];
    let root = node(&children, "root");
    put_all(&store, &[leaf.clone(), root.clone(), inner.clone()]).await;
    let expected: Vec<Cid> = children.into_iter().cloned().collect();
    assert_eq!(store.children(&root.cid).unwrap(), Some(expected.clone()));
    assert_eq!(store.children(&root.cid.to_v1()).unwrap(), Some(expected));
    assert_eq!(store.children(&missing).unwrap(), None);
    assert_eq!(store.children(&leaf.cid).unwrap(), Some(vec![]));
    let as_cbor = Cid::new_v1(0x7777, root.cid.hash().clone());
    assert!(matches!(store.children(&as_cbor), Err(Error::Links { .. })));
}

#[tokio::test]
async fn an_inline_block_is_there_without_being_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let cid = Cid::new_v1(codec::RAW, Multihash::wrap(hash::IDENTITY, b"inline"));
    assert_eq!(store.get(&cid).unwrap().unwrap(), "inline");
    assert!(store.has(cid.hash()).unwrap());
    put_all(&store, &[Block { cid: cid.clone(), data: "inline".into() }]).await;
    assert_eq!(store.stats().unwrap().blocks, 0);
    let long = Cid::new_v1(codec::RAW, Multihash::wrap(hash::IDENTITY, &[7; 129]));
    assert!(matches!(store.get(&long), Err(Error::InvalidHash(_))));
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_that_names_the_block_and_putting_it_again_heals() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let blocks = [raw("first block"), raw("second block")];
    put_all(&store, &blocks).await;
    let pack = dir.path().join("blocks/00000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let position = memchr::memmem::find(&bytes, b"first").unwrap();
    bytes[position] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let error = store.get(&blocks[0].cid).unwrap_err();
    assert!(error.to_string().contains(&blocks[0].cid.to_string()), "{error}");
    assert!(matches!(error, Error::Corrupt { .. }));
    assert_eq!(store.get(&blocks[1].cid).unwrap().unwrap(), blocks[1].data);
    let corrupt: Vec<_> =
        store.verify().filter(|v| matches!(v, Ok(Verified::Corrupt { .. }))).collect();
    assert_eq!(corrupt.len(), 1);
    put_all(&store, &blocks).await;
    assert_eq!(store.get(&blocks[0].cid).unwrap().unwrap(), blocks[0].data);
    assert!(store.verify().all(|v| matches!(v, Ok(Verified::Whole(_)))));
}

#[tokio::test]
async fn a_full_disk_loses_nothing_acknowledged_and_the_store_goes_on_with_room() {
    let dir = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicU64::new(1000));
    let options = Options { room: Some(Arc::clone(&room)), ..small() };
    let store = Store::open(dir.path(), options).unwrap();
    let kept = raw(vec![1; 500]);
    put_all(&store, std::slice::from_ref(&kept)).await;
    let refused = raw(vec![2; 700]);
    let session = store.session();
    session.put(refused.clone()).await.unwrap();
    assert!(matches!(session.flush().await, Err(Error::Full)));
    assert!(matches!(session.flush().await, Err(Error::Full)), "it stays failed");
    assert!(!store.has(refused.cid.hash()).unwrap());
    assert_eq!(store.get(&kept.cid).unwrap().unwrap(), kept.data);
    room.store(1 << 20, Ordering::SeqCst);
    put_all(&store, std::slice::from_ref(&refused)).await;
    drop((session, store));
    let store = Store::open(dir.path(), small()).unwrap();
    for block in [&kept, &refused] {
        assert_eq!(store.get(&block.cid).unwrap().as_ref(), Some(&block.data));
    }
    assert!(store.verify().all(|v| matches!(v, Ok(Verified::Whole(_)))));
}

#[tokio::test]
async fn a_disk_too_full_for_the_index_undoes_the_commit_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    put_all(&store, &[raw("kept")]).await;
    let limit = |pages| store.job(move |writer| writer.limit_index(pages)).unwrap();
    limit(1).await.unwrap().unwrap();
    let blocks: Vec<Block> = (0..500).map(|n| raw(format!("refused {n}"))).collect();
    let session = store.session();
    session.put_many(blocks.clone()).await.unwrap();
    assert!(matches!(session.flush().await, Err(Error::Full)));
    assert_eq!(listing(&store).len(), 1);
    limit(u32::MAX - 1).await.unwrap().unwrap();
    put_all(&store, &blocks).await;
    let before = meaning(&store);
    assert_eq!(before.len(), 501);
    drop((session, store));
    Store::rebuild_index(dir.path()).unwrap();
    assert_eq!(meaning(&Store::open(dir.path(), Options::default()).unwrap()), before);
}

#[tokio::test]
async fn an_index_that_a_power_cut_took_back_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..40).map(|n| raw(vec![n; 300])).collect();
    let root = node(&[&blocks[3].cid, &blocks[30].cid], "root");
    let index = dir.path().join("index.sqlite");
    let earlier = dir.path().join("earlier.sqlite");
    for kept in [0, 1, 20] {
        let store = Store::open(dir.path(), small()).unwrap();
        put_all(&store, &blocks[..kept]).await;
        drop(store);
        std::fs::copy(&index, &earlier).unwrap();
        let store = Store::open(dir.path(), small()).unwrap();
        for block in blocks.iter().chain([&root]) {
            put_all(&store, std::slice::from_ref(block)).await;
        }
        let dead: Vec<Multihash> = blocks[..15].iter().map(|b| b.cid.hash().clone()).collect();
        store.delete_many(dead).await.unwrap();
        put_all(&store, &blocks[3..5]).await;
        let before = meaning(&store);
        assert_eq!(before.len(), 1 + 25 + 2);
        drop(store);
        recover::remove_index(&index).unwrap();
        std::fs::copy(&earlier, &index).unwrap();
        let store = Store::open(dir.path(), small()).unwrap();
        assert_eq!(meaning(&store), before);
        assert_eq!(store.stats().unwrap().blocks, before.len() as u64);
        assert!(store.verify().all(|v| matches!(v, Ok(Verified::Whole(_)))));
    }
}

#[tokio::test]
async fn a_damaged_index_is_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let block = raw("block");
    put_all(&store, std::slice::from_ref(&block)).await;
    drop(store);
    std::fs::write(dir.path().join("index.sqlite"), vec![7; 20_000]).unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.get(&block.cid).unwrap(), Some(block.data));
}

#[tokio::test]
async fn blocks_in_a_pack_that_was_cut_or_removed_are_named_and_can_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    let blocks: Vec<Block> = (0..30).map(|n| raw(vec![n; 400])).collect();
    for block in &blocks {
        put_all(&store, std::slice::from_ref(block)).await;
    }
    drop(store);
    let pack = |n: u32| dir.path().join(format!("blocks/{n:08}.pack"));
    std::fs::remove_file(pack(1)).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(pack(4)).unwrap();
    file.set_len(100).unwrap();
    for _ in 0..2 {
        let store = Store::open(dir.path(), small()).unwrap();
        for block in &blocks {
            match store.get(&block.cid) {
                Ok(data) => assert_eq!(data.as_ref(), Some(&block.data)),
                Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
            }
        }
        assert_eq!(store.stats().unwrap().blocks, 30);
    }
    let store = Store::open(dir.path(), small()).unwrap();
    put_all(&store, &blocks).await;
    assert!(store.verify().all(|v| matches!(v, Ok(Verified::Whole(_)))));
    drop(store);
    Store::rebuild_index(dir.path()).unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    assert!(blocks.iter().all(|b| store.get(&b.cid).unwrap().as_ref() == Some(&b.data)));
}

#[tokio::test]
async fn blocks_damaged_in_the_middle_of_a_pack_are_named_when_the_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let blocks: Vec<Block> = (0..9).map(|n| raw(vec![n; 200])).collect();
    put_all(&store, &blocks).await;
    drop(store);
    let pack = dir.path().join("blocks/00000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let frame = bytes.len() / 9;
    bytes[frame * 2 + 100] ^= 1;
    bytes[frame * 4 + 10] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    Store::rebuild_index(dir.path()).unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    for (n, block) in blocks.iter().enumerate() {
        match (n, store.get(&block.cid)) {
            (2, Err(Error::Corrupt { .. })) | (4, Ok(None)) => {}
            (_, got) => assert_eq!(got.unwrap().as_ref(), Some(&block.data), "{n}"),
        }
    }
    put_all(&store, &blocks).await;
    assert!(blocks.iter().all(|b| store.get(&b.cid).unwrap().as_ref() == Some(&b.data)));
}

#[tokio::test]
async fn a_rebuilt_index_equals_the_index_and_deletions_survive_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    let leaves: Vec<Block> = (0..40).map(|n| raw(vec![n; 300])).collect();
    let cids: Vec<&Cid> = leaves.iter().map(|block| &block.cid).collect();
    let root = node(&cids, "root");
    put_all(&store, std::slice::from_ref(&root)).await;
    for leaf in &leaves {
        put_all(&store, std::slice::from_ref(leaf)).await;
    }
    let dead: Vec<Multihash> = leaves[..10].iter().map(|b| b.cid.hash().clone()).collect();
    assert_eq!(store.delete_many(dead.clone()).await.unwrap().len(), 10);
    assert_eq!(store.delete_many(dead).await.unwrap().len(), 0);
    put_all(&store, &leaves[..3]).await;
    let before = meaning(&store);
    assert_eq!(before.len(), 1 + 33);
    drop(store);
    Store::rebuild_index(dir.path()).unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    assert_eq!(meaning(&store), before);
    assert_eq!(store.children(&root.cid).unwrap().unwrap().len(), 40);
}

#[tokio::test]
async fn a_collection_spares_what_is_marked_touched_or_new_and_shrinks_the_packs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    let leaves: Vec<Block> = (0..40).map(|n| raw(vec![n; 300])).collect();
    let cids: Vec<&Cid> = leaves[..10].iter().map(|block| &block.cid).collect();
    let root = node(&cids, "root");
    put_all(&store, &leaves).await;
    put_all(&store, std::slice::from_ref(&root)).await;
    let before = store.stats().unwrap();
    let touching = store.session();
    assert!(touching.touch(leaves[20].cid.hash()).unwrap());
    let collection = store.collection().await.unwrap();
    let new = raw("new");
    put_all(&store, std::slice::from_ref(&new)).await;
    put_all(&store, &leaves[21..22]).await;
    let mut walk = store.walk(Marks::default());
    walk.root(&root.cid).unwrap();
    while walk.advance().unwrap() {}
    assert!(walk.take_problems().is_empty());
    let removed = tokio::task::spawn_blocking(move || {
        let mut removed = 0;
        collection
            .sweep(walk.into_marks(), |slice| {
                removed += slice.len();
                true
            })
            .unwrap();
        let compacted = collection.compact(u64::MAX, || true).unwrap();
        assert!(compacted.segments > 0, "{compacted:?}");
        removed
    })
    .await
    .unwrap();
    assert_eq!(removed, 28);
    let kept = leaves[..10].iter().chain(&leaves[20..22]).chain([&root, &new]);
    for block in kept {
        assert_eq!(store.get(&block.cid).unwrap().as_ref(), Some(&block.data));
    }
    assert_eq!(store.stats().unwrap().blocks, 14);
    assert!(store.segments_bytes() < before.bytes_on_disk / 2);
    let before = meaning(&store);
    drop((touching, store));
    Store::rebuild_index(dir.path()).unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    assert_eq!(meaning(&store), before);
}

#[tokio::test]
async fn a_watched_deletion_spares_what_was_touched_since_by_sessions_that_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let blocks = [raw("touched"), raw("put again"), raw("left alone")];
    put_all(&store, &blocks).await;
    let hashes: Vec<Multihash> = blocks.iter().map(|block| block.cid.hash().clone()).collect();
    let watch = store.watch().await.unwrap();
    assert!(store.session().touch(&hashes[0]).unwrap());
    put_all(&store, &blocks[1..2]).await;
    assert_eq!(watch.delete_many(hashes.clone()).await.unwrap(), hashes[2..]);
    drop(watch);
    assert_eq!(store.delete_many(hashes).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_child_deleted_and_stored_again_is_found_through_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let leaf = raw("leaf");
    let root = node(&[&leaf.cid], "root");
    put_all(&store, &[leaf.clone(), root.clone()]).await;
    store.delete_many(vec![leaf.cid.hash().clone()]).await.unwrap();
    assert_eq!(store.children(&root.cid).unwrap(), Some(vec![leaf.cid.clone()]));
    put_all(&store, std::slice::from_ref(&leaf)).await;
    let mut walk = store.walk(Marks::default());
    walk.root(&root.cid).unwrap();
    while walk.advance().unwrap() {}
    assert!(walk.marks().contains(&store.node(&leaf.cid).unwrap()));
}

#[tokio::test]
async fn a_walk_reports_what_is_missing_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let (leaf, inner) = (raw("leaf"), node(&[], "inner"));
    let root = node(&[&leaf.cid, &inner.cid], "root");
    put_all(&store, std::slice::from_ref(&root)).await;
    let missing = |walk: &mut Walk<'_>| {
        walk.root(&root.cid).unwrap();
        while walk.advance().unwrap() {}
        let problems = walk.take_problems();
        problems.iter().map(|problem| problem.cid().clone()).collect::<Vec<_>>()
    };
    assert_eq!(missing(&mut store.walk(Marks::default())), vec![inner.cid.clone()]);
    let session = store.session();
    let mut walk = store.walk(Marks::default()).complete().protected_by(&session);
    assert_eq!(missing(&mut walk), [leaf.cid.clone(), inner.cid.clone()]);
}

impl Store {
    fn segments_bytes(&self) -> u64 {
        self.inner.shared.segments.bytes().unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the end of the last pack looks like, what was whole before it is readable.
    #[test]
    fn a_damaged_tail_never_costs_more_than_itself(
        cut in 0_usize..600,
        junk in prop::collection::vec(any::<u8>(), 0..300),
        without_index: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), Options::default()).unwrap();
            let blocks: Vec<Block> = (0..8).map(|n| raw(vec![n; 100])).collect();
            for block in &blocks {
                put_all(&store, std::slice::from_ref(block)).await;
            }
            drop(store);
            let pack = dir.path().join("blocks/00000001.pack");
            let mut bytes = std::fs::read(&pack).unwrap();
            let kept = bytes.len() - cut;
            bytes.truncate(kept);
            bytes.extend(&junk);
            std::fs::write(&pack, &bytes).unwrap();
            if without_index {
                recover::remove_index(&dir.path().join("index.sqlite")).unwrap();
            }
            let store = Store::open(dir.path(), Options::default()).unwrap();
            let frame = bytes.len().min(kept) / (frame::HEADER_LEN + 34 + 100);
            for (number, block) in blocks.iter().enumerate() {
                match store.get(&block.cid) {
                    Ok(Some(data)) => assert_eq!(data, block.data),
                    Ok(None) | Err(Error::Corrupt { .. }) => assert!(number >= frame),
                    Err(error) => panic!("{error}"),
                }
            }
            put_all(&store, &blocks).await;
            assert!(blocks.iter().all(|b| store.get(&b.cid).unwrap().as_ref() == Some(&b.data)));
        });
    }

    /// Whatever becomes of a pack: a block comes back whole, as damaged, or not at all, and can
    /// be put again.
    #[test]
    fn no_damage_to_a_pack_gives_wrong_bytes_or_stops_the_store(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..12),
        without_index: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), Options::default()).unwrap();
            let blocks: Vec<Block> = (0..12).map(|n| raw(vec![n; 50])).collect();
            put_all(&store, &blocks).await;
            drop(store);
            let pack = dir.path().join("blocks/00000001.pack");
            let mut bytes = std::fs::read(&pack).unwrap();
            for (at, change) in &flips {
                let at = at.index(bytes.len());
                bytes[at] ^= change;
            }
            std::fs::write(&pack, &bytes).unwrap();
            if without_index {
                Store::rebuild_index(dir.path()).unwrap();
            }
            let store = Store::open(dir.path(), Options::default()).unwrap();
            for block in &blocks {
                match store.get(&block.cid) {
                    Ok(Some(data)) => assert_eq!(data, block.data),
                    Ok(None) => assert!(without_index),
                    Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
                }
            }
            put_all(&store, &blocks).await;
            assert!(blocks.iter().all(|b| store.get(&b.cid).unwrap().as_ref() == Some(&b.data)));
        });
    }
}
