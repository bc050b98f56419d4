//! Packs of any bytes: opening a store over them ends, what it gives out is what was named, and it
//! can be written to and built anew.
//!
//! The input is the changes made to a pack of whole frames, then bytes appended to it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinmesh::ipld::{Block, Cid, codec, hash};
use pinmesh::store::{Error, Options, Store};

/// Bytes of one change: where, what with, and whether to cut there.
const CHANGE_LEN: usize = 4;

fn raw(data: Vec<u8>) -> Block {
    let digest = hash::digest(hash::SHA2_256, &data, None).expect("a known function");
    Block { cid: Cid::new_v1(codec::RAW, digest), data: data.into() }
}

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let (changes, tail) = rest.split_at(rest.len().min(usize::from(*count) % 16 * CHANGE_LEN));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("a folder");
        let blocks: Vec<Block> = (0..12).map(|n| raw(vec![n; 50])).collect();
        let put = async |store: &Store| {
            let session = store.session();
            session.put_many(blocks.clone()).await.expect("room");
            session.flush().await.expect("room");
        };
        let store = Store::open(dir.path(), Options::default()).expect("a new store");
        put(&store).await;
        drop(store);
        let path = dir.path().join("blocks/00000001.pack");
        let mut pack = std::fs::read(&path).expect("a pack");
        for change in changes.chunks_exact(CHANGE_LEN) {
            let at = usize::from(change[0]) << 8 | usize::from(change[1]);
            match (pack.len(), change[3]) {
                (0, _) => {}
                (len, 0) => pack.truncate(at % len),
                (len, _) => pack[at % len] ^= change[2],
            }
        }
        pack.extend(tail);
        std::fs::write(&path, &pack).expect("room");
        if count % 2 == 0 {
            Store::rebuild_index(dir.path()).expect("an index");
        }
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        for block in &blocks {
            match store.get(&block.cid) {
                Ok(Some(data)) => assert_eq!(data, block.data),
                Ok(None) | Err(Error::Corrupt { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        put(&store).await;
        assert!(blocks.iter().all(|b| matches!(store.get(&b.cid), Ok(Some(d)) if d == b.data)));
    });
});
