//! Figures of the blockstore: `cargo bench --bench store [-- DIR [ONLY]]`. Needs 3 GiB in DIR.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement ends at the first error"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pinmesh::db::Db;
use pinmesh::gc;
use pinmesh::ipld::{Block, Cid, PbLink, PbNode, codec, hash};
use pinmesh::pins::{self, Mode, Pins};
use pinmesh::store::{Options, Store};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let only = arguments.next();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("large") {
            large_blocks(&dir).await;
        }
        if wanted("small") {
            small_blocks(&dir).await;
        }
        if wanted("commits") {
            small_commits(&dir, 1).await;
            small_commits(&dir, 8).await;
        }
        if wanted("reads") {
            reads(&dir).await;
        }
        if wanted("pins") {
            pin_listing(&dir).await;
        }
        if wanted("collect") {
            collection(&dir).await;
        }
    });
}

fn open(dir: &Path) -> (tempfile::TempDir, Store, Pins) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let db = Db::open(&dir.path().join("state.sqlite"), &[pins::SCHEMA]).unwrap();
    let pins = Pins::new(db, store.clone());
    (dir, store, pins)
}

/// A block with the multihash that a number would have: hashing is not measured here.
fn raw(number: u64, data: Bytes) -> Block {
    let digest = hash::digest(hash::SHA2_256, &number.to_le_bytes(), None).unwrap();
    Block { cid: Cid::new_v1(codec::RAW, digest), data }
}

fn report(what: &str, count: u64, bytes: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    let (rate, speed) = (count as f64 / seconds, bytes as f64 / seconds / 1e6);
    println!("{what:44} {seconds:8.3} s {rate:12.0} /s {speed:9.1} MB/s");
}

async fn large_blocks(dir: &Path) {
    let (_dir, store, _) = open(dir);
    let data = Bytes::from(vec![7; 256 << 10]);
    let blocks: Vec<Block> = (0..4096).map(|n| raw(n, data.clone())).collect();
    let start = Instant::now();
    let session = store.session();
    for some in blocks.chunks(16) {
        session.put_many(some.to_vec()).await.unwrap();
    }
    session.flush().await.unwrap();
    report("put 1 GiB of 256 KiB blocks, synced", 4096, 1 << 30, start.elapsed());
    let start = Instant::now();
    for block in &blocks {
        assert_eq!(store.get(&block.cid).unwrap().unwrap().len(), 256 << 10);
    }
    report("get them", 4096, 1 << 30, start.elapsed());
    let start = Instant::now();
    session.put_many(blocks).await.unwrap();
    session.flush().await.unwrap();
    report("put them again", 4096, 1 << 30, start.elapsed());
}

async fn small_blocks(dir: &Path) {
    let (_dir, store, _) = open(dir);
    let data = Bytes::from(vec![7; 1 << 10]);
    let blocks: Vec<Block> = (0..200_000).map(|n| raw(n, data.clone())).collect();
    let start = Instant::now();
    let session = store.session();
    for some in blocks.chunks(256) {
        session.put_many(some.to_vec()).await.unwrap();
    }
    session.flush().await.unwrap();
    report("put 200,000 blocks of 1 KiB, synced", 200_000, 200_000 << 10, start.elapsed());
}

async fn small_commits(dir: &Path, clients: u64) {
    let (_dir, store, pins) = open(dir);
    let data = Bytes::from(vec![7; 1 << 10]);
    let start = Instant::now();
    let each = 400;
    let tasks = (0..clients).map(|client| {
        let (store, pins, data) = (store.clone(), pins.clone(), data.clone());
        tokio::spawn(async move {
            for n in 0..each {
                let block = raw(client * each + n, data.clone());
                let cid = block.cid.clone();
                let session = store.session();
                session.put(block).await.unwrap();
                session.flush().await.unwrap();
                pins.add(cid, Mode::Recursive, String::new()).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let what = format!("put, flush and pin 1 KiB, {clients} at a time");
    report(&what, clients * each, (clients * each) << 10, start.elapsed());
}

async fn reads(dir: &Path) {
    let (_dir, store, _) = open(dir);
    let leaves: Vec<Block> = (0..100_000).map(|n| raw(n, Bytes::from_static(b"x"))).collect();
    let node = |cids: &[Block]| {
        let links = cids.iter().map(|b| PbLink::new(b.cid.clone(), "x", 1)).collect();
        let data = PbNode { data: None, links }.encode();
        let digest = hash::digest(hash::SHA2_256, &data, None).unwrap();
        Block { cid: Cid::new_v0(digest).unwrap(), data: data.into() }
    };
    let nodes: Vec<Block> = leaves.chunks(174).map(node).collect();
    let session = store.session();
    session.put_many(leaves.clone()).await.unwrap();
    session.put_many(nodes.clone()).await.unwrap();
    session.flush().await.unwrap();
    let leaves = Arc::new(leaves);
    for threads in [1, 2] {
        let start = Instant::now();
        let tasks = (0..threads).map(|_| {
            let (store, leaves) = (store.clone(), Arc::clone(&leaves));
            std::thread::spawn(move || {
                assert!(leaves.iter().all(|block| store.has(block.cid.hash()).unwrap()));
            })
        });
        tasks.collect::<Vec<_>>().into_iter().for_each(|task| task.join().unwrap());
        let what = format!("has() of 100,000, in each of {threads} threads");
        report(&what, 100_000 * threads, 0, start.elapsed());
    }
    let start = Instant::now();
    let children: usize =
        nodes.iter().map(|n| store.children(&n.cid).unwrap().unwrap().len()).sum();
    report("children() of 575 nodes, per child", children as u64, 0, start.elapsed());
}

async fn pin_listing(dir: &Path) {
    let (_dir, _store, pins) = open(dir);
    let some = |n: u64| (raw(n, Bytes::new()).cid, Mode::Recursive, String::new());
    let start = Instant::now();
    pins.add_many((0..20_000).map(some).collect()).await.unwrap();
    report("pin 20,000 at once", 20_000, 0, start.elapsed());
    let start = Instant::now();
    let count = pins.iterate(Mode::Recursive, None).map(Result::unwrap).count();
    report("list them", count as u64, 0, start.elapsed());
}

async fn collection(dir: &Path) {
    for (keep, what) in [(2, "collect 20,000 of 40,000 blocks"), (5, "collect 32,000 of 40,000")] {
        let (_dir, store, pins) = open(dir);
        let data = Bytes::from(vec![7; 4 << 10]);
        let blocks: Vec<Block> = (0..40_000).map(|n| raw(n, data.clone())).collect();
        let session = store.session();
        session.put_many(blocks.clone()).await.unwrap();
        session.flush().await.unwrap();
        drop(session);
        let kept = blocks.iter().step_by(keep);
        let pinned = kept.map(|block| (block.cid.clone(), Mode::Recursive, String::new()));
        pins.add_many(pinned.collect()).await.unwrap();
        let removed = collect(&store, &pins, what).await;
        assert_eq!(removed, 40_000 - 40_000 / keep as u64);
    }
    let (_dir, store, pins) = open(dir);
    let blocks: Vec<Block> = (0..80_000).map(|n| raw(n, Bytes::from(vec![7; 4 << 10]))).collect();
    let session = store.session();
    session.put_many(blocks).await.unwrap();
    session.flush().await.unwrap();
    drop(session);
    let stop = Arc::new(AtomicBool::new(false));
    let adder = tokio::spawn(stalls(store.clone(), Arc::clone(&stop)));
    collect(&store, &pins, "the same beside adds").await;
    // What is rewritten behind the run counts, too.
    drop(store.collection().await.unwrap());
    stop.store(true, Ordering::SeqCst);
    println!("{:44} {:8.1} ms", "longest stall of an add meanwhile", adder.await.unwrap());
}

async fn collect(store: &Store, pins: &Pins, what: &str) -> u64 {
    let start = Instant::now();
    let mut run = gc::run(store, pins, Vec::new);
    let mut removed = 0;
    while let Some(event) = run.next().await {
        event.unwrap();
        removed += 1;
    }
    report(what, removed, 0, start.elapsed());
    removed
}

/// Adds small blocks until told to stop; the longest that one took, in milliseconds.
async fn stalls(store: Store, stop: Arc<AtomicBool>) -> f64 {
    let mut longest = Duration::ZERO;
    let mut number = 1 << 40;
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        let session = store.session();
        session.put(raw(number, Bytes::from_static(b"small"))).await.unwrap();
        session.flush().await.unwrap();
        longest = longest.max(start.elapsed());
        number += 1;
    }
    longest.as_secs_f64() * 1e3
}
