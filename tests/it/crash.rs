//! A process is ended at every named point of the write paths, and by SIGKILL at any moment; what
//! it acknowledged is there when the repo is opened again.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use pinmesh::db::{Db, fail};
use pinmesh::exchange::Exchange;
use pinmesh::gc;
use pinmesh::ipld::Block;
use pinmesh::mfs::{self, Mfs, Naming, Target, WriteOptions};
use pinmesh::pins::{self, Mode, Pins};
use pinmesh::store::{Marks, Options, Store, Verified};
use pinmesh::unixfs::chunk::Chunker;
use pinmesh::unixfs::dir::DirOptions;

use crate::support::blocks::dag;

/// Tells the child where to work.
const DIR_VARIABLE: &str = "PINMESH_CRASH_DIR";
/// What the child says begins with this: the test harness talks, too.
const SAYS: &str = "child: ";
/// Rounds of the child's work; every point is passed often before the last.
const ROUNDS: usize = 40;

async fn open(dir: &Path) -> (Store, Pins, Mfs) {
    let options =
        Options { segment_bytes: 8 << 10, compact_dead_bytes_min: 1, ..Options::default() };
    let store = Store::open(dir, options).unwrap();
    let db = Db::open(&dir.join("state.sqlite"), &[pins::SCHEMA, mfs::SCHEMA]).unwrap();
    let exchange = Exchange::new(store.clone(), None);
    let options = mfs::Options {
        root: Naming::V0,
        directories: DirOptions { threshold: 600, ..DirOptions::default() },
        chunker: Chunker::parse("size-1000").unwrap(),
        unflushed_max: 0,
    };
    let mfs = Mfs::open(db.clone(), exchange, options).await.unwrap();
    (store.clone(), Pins::new(db, store), mfs)
}

/// The file of a round; one directory holds them all, and becomes a HAMT on the way.
fn file(round: usize) -> (String, Vec<u8>) {
    let line = format!("the file of round {round}\n");
    (format!("/files/{round}"), line.repeat(100 + round).into_bytes())
}

/// Writes the file of a round in two writes, of which the first is not flushed.
async fn write_file(mfs: &Mfs, round: usize) {
    let (path, bytes) = file(round);
    let half = bytes.len() / 2;
    for (at, end, flush) in [(0, half, false), (half, bytes.len(), true)] {
        let create = Some(Naming::V0);
        let options = WriteOptions { create, offset: at as u64, flush, ..WriteOptions::default() };
        let piece = Bytes::copy_from_slice(&bytes[at..end]);
        let source = futures_util::stream::iter([Ok::<_, ()>(piece)]);
        mfs.write(&path, options, source).await.unwrap().unwrap();
    }
}

/// Every block below the tree's root is there; the names of its files.
async fn check_tree(store: &Store, mfs: &Mfs, context: &str) -> BTreeSet<usize> {
    let mut walk = store.walk(Marks::default()).complete();
    for root in mfs.roots() {
        walk.root(&root).unwrap();
        while walk.advance().unwrap() {}
    }
    assert!(walk.take_problems().is_empty(), "{context}: a block of the tree is missing");
    let mut rounds = BTreeSet::new();
    for item in mfs.list("/files", false).await.unwrap_or_default() {
        let round = str::from_utf8(&item.name).unwrap().parse().unwrap();
        let (path, bytes) = file(round);
        let Target::File { entry, .. } = mfs.target(&path).await.unwrap() else {
            panic!("{context}: {path}")
        };
        let size = mfs.size(&entry.cid).await.unwrap();
        assert_eq!(size, bytes.len() as u64, "{context}: {path} is not whole");
        rounds.insert(round);
    }
    rounds
}

fn blocks(round: usize) -> Vec<Block> {
    dag(&format!("round {round}"), 6, 400)
}

/// The child: stores and pins DAGs, unpins most of them again, collects now and then, and says
/// what has been acknowledged.
#[test]
#[ignore = "the child process of the other tests"]
fn child() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, pins, mfs) = open(Path::new(&dir)).await;
        let new = mfs::NewFolder { naming: Naming::V0, parents: true };
        mfs.make_folder("/files", new, true).await.unwrap();
        for round in 0..ROUNDS {
            let blocks = blocks(round);
            let root = blocks.last().unwrap().cid.clone();
            let session = store.session();
            session.put_many(blocks).await.unwrap();
            session.flush().await.unwrap();
            println!("{SAYS}stored {round}");
            pins.add(root, Mode::Recursive, format!("round {round}")).await.unwrap();
            println!("{SAYS}pinned {round}");
            drop(session);
            write_file(&mfs, round).await;
            println!("{SAYS}wrote {round}");
            if round % 3 == 0 {
                println!("{SAYS}removing {round}");
                mfs.remove(&file(round).0, false, false).await.unwrap();
                println!("{SAYS}removed {round}");
            }
            if round % 4 != 0 {
                println!("{SAYS}unpinning {round}");
                let root = self::blocks(round).last().unwrap().cid.clone();
                pins.remove(root, true).await.unwrap();
                println!("{SAYS}unpinned {round}");
            }
            if round % 5 == 4 {
                let mut run = {
                    let mfs = mfs.clone();
                    gc::run(&store, &pins, move || mfs.roots())
                };
                while let Some(event) = run.next().await {
                    event.unwrap();
                }
            }
        }
    });
}

fn start(dir: &Path, point: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, dir)
        .env(fail::VARIABLE, point)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a child acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    stored: BTreeSet<usize>,
    pinned: BTreeSet<usize>,
    /// Unpinned, or about to be.
    unpinning: BTreeSet<usize>,
    unpinned: BTreeSet<usize>,
    wrote: BTreeSet<usize>,
    /// Removed from the tree, or about to be.
    removing: BTreeSet<usize>,
    removed: BTreeSet<usize>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) -> bool {
        let Some((_, said)) = line.split_once(SAYS) else { return false };
        let (what, round) = said.split_once(' ').unwrap();
        let round = round.parse().unwrap();
        match what {
            "stored" => self.stored.insert(round),
            "pinned" => self.pinned.insert(round),
            "unpinning" => self.unpinning.insert(round),
            "unpinned" => self.unpinned.insert(round),
            "wrote" => self.wrote.insert(round),
            "removing" => self.removing.insert(round),
            "removed" => self.removed.insert(round),
            other => panic!("{other}"),
        }
    }
}

fn check(dir: &Path, acknowledged: &Acknowledged, context: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (store, pins, mfs) = runtime.block_on(open(dir));
    let files = runtime.block_on(check_tree(&store, &mfs, context));
    for round in acknowledged.wrote.difference(&acknowledged.removing) {
        assert!(files.contains(round), "{context}: file {round} is lost");
    }
    assert!(files.is_disjoint(&acknowledged.removed), "{context}: a removal is lost");
    for round in acknowledged.stored.difference(&acknowledged.unpinning) {
        for block in blocks(*round) {
            let found = store.get(&block.cid).unwrap();
            assert_eq!(found.as_ref(), Some(&block.data), "{context}, round {round}");
        }
    }
    let mut walk = store.walk(Marks::default()).complete();
    let mut pinned = BTreeSet::new();
    for pin in pins.iterate(Mode::Recursive, None) {
        let pin = pin.unwrap();
        pinned.insert(pin.name.strip_prefix("round ").unwrap().parse::<usize>().unwrap());
        walk.root(&pin.cid).unwrap();
        while walk.advance().unwrap() {}
    }
    assert!(walk.take_problems().is_empty(), "{context}: a pinned block is missing");
    for round in acknowledged.pinned.difference(&acknowledged.unpinning) {
        assert!(pinned.contains(round), "{context}: pin {round} is lost");
    }
    assert!(pinned.is_disjoint(&acknowledged.unpinned), "{context}: an unpin is lost");
    let torn = store.verify().find(|verified| !matches!(verified, Ok(Verified::Whole(_))));
    assert!(torn.is_none(), "{context}: {torn:?}");
    let list = |store: &Store| {
        let mut list: Vec<_> = store.iterate().map(Result::unwrap).collect();
        list.sort();
        list
    };
    let before = list(&store);
    assert_eq!(store.stats().unwrap().blocks, before.len() as u64, "{context}");
    drop((store, pins, mfs, walk));
    Store::rebuild_index(dir).unwrap();
    let (store, _, _) = runtime.block_on(open(dir));
    assert_eq!(list(&store), before, "{context}: the packs say something else than the index");
}

#[test]
fn what_was_acknowledged_survives_the_end_of_the_process_at_every_point() {
    for point in fail::POINTS {
        for count in [1, 3] {
            let dir = tempfile::tempdir().unwrap();
            let mut child = start(dir.path(), &format!("{point}:{count}"));
            let mut acknowledged = Acknowledged::default();
            for line in BufReader::new(child.stdout.take().unwrap()).lines() {
                acknowledged.note(&line.unwrap());
            }
            let status = child.wait().unwrap();
            assert!(!status.success(), "{point} was not passed {count} times");
            check(dir.path(), &acknowledged, &format!("{point}:{count}"));
            // Once more, over what the first crash left.
            let mut child = start(dir.path(), "");
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            lines.for_each(|line| drop(line.unwrap()));
            assert!(child.wait().unwrap().success(), "{point}:{count}, second life");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_sigkill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    for lines in [1, 2, 9, 23, 40, 57, 81, 100] {
        let mut child = start(dir.path(), "");
        let mut acknowledged = Acknowledged::default();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            seen += usize::from(acknowledged.note(&line.unwrap()));
            if seen == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        check(dir.path(), &acknowledged, &format!("killed after {lines} lines"));
        // The next child begins anew: what this one had is unpinned and collected there.
        std::fs::remove_dir_all(dir.path()).unwrap();
        std::fs::create_dir(dir.path()).unwrap();
    }
}
