//! A process is ended at every named point of the write paths, and by SIGKILL at any moment; what
//! it acknowledged is there when the repo is opened again.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pinmesh::db::{Db, fail};
use pinmesh::gc;
use pinmesh::ipld::Block;
use pinmesh::pins::{self, Mode, Pins};
use pinmesh::store::{Marks, Options, Store, Verified};

use crate::support::blocks::dag;

/// Tells the child where to work.
const DIR_VARIABLE: &str = "PINMESH_CRASH_DIR";
/// What the child says begins with this: the test harness talks, too.
const SAYS: &str = "child: ";
/// Rounds of the child's work; every point is passed often before the last.
const ROUNDS: usize = 40;

fn open(dir: &Path) -> (Store, Pins) {
    let options =
        Options { segment_bytes: 8 << 10, compact_dead_bytes_min: 1, ..Options::default() };
    let store = Store::open(dir, options).unwrap();
    let db = Db::open(&dir.join("state.sqlite"), &[pins::SCHEMA]).unwrap();
    (store.clone(), Pins::new(db, store))
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
        let (store, pins) = open(Path::new(&dir));
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
            if round % 4 != 0 {
                println!("{SAYS}unpinning {round}");
                let root = self::blocks(round).last().unwrap().cid.clone();
                pins.remove(root, true).await.unwrap();
                println!("{SAYS}unpinned {round}");
            }
            if round % 5 == 4 {
                let mut run = gc::run(&store, &pins, Vec::new);
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
            other => panic!("{other}"),
        }
    }
}

fn check(dir: &Path, acknowledged: &Acknowledged, context: &str) {
    let (store, pins) = open(dir);
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
    drop((store, pins, walk));
    Store::rebuild_index(dir).unwrap();
    let (store, _) = open(dir);
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
