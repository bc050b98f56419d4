use super::*;
use crate::db::Db;
use crate::sync::core::{Config, Core, Event, Now, Op, Options, Peer, Start};
use crate::sync::hash::EMPTY;
use crate::sync::keys::{Group, Sign, Signer};
use crate::sync::record::Live;
use crate::sync::store::Memory;
use crate::sync::testing::any_cid;

fn open(path: &std::path::Path) -> Db {
    Db::open(&path.join("state.sqlite"), &[SCHEMA]).unwrap()
}

fn now(ms: u64) -> Now {
    Now { wall_ms: 1_700_000_000_000 + ms, mono_ms: ms }
}

fn options(number: u8) -> Options<Signer> {
    let keys = Signer::from_seed(&[number; 32]).unwrap();
    let public = libp2p_identity::ed25519::PublicKey::try_from_bytes(&keys.author().0).unwrap();
    let peer = libp2p_identity::PublicKey::from(public).to_peer_id().to_bytes();
    Options {
        keys,
        group: Group::derive(&[1; 32]),
        config: Config::new(peer),
        seed: [number; 32],
        start: Start::Trusted,
    }
}

fn op(number: u64) -> Op {
    let cid = any_cid(number % 40);
    if number % 3 == 2 {
        return Op::Unpin(cid, None);
    }
    let expire_ms = number.is_multiple_of(5).then_some(number + 5);
    Op::Pin(cid, Box::new(Live { name: number.to_string(), expire_ms, ..Live::default() }))
}

/// What a store says to each question.
fn all<S: Store>(store: &S) -> Vec<String>
where
    S::Error: std::fmt::Debug,
{
    let mut said = Vec::new();
    for kind in Kind::ALL {
        let mut leaves = Vec::new();
        store.leaves(kind, &Prefix::ALL, &mut |key, digest| leaves.push((key, digest))).unwrap();
        for (key, _) in &leaves {
            let record = store.get(key).unwrap().unwrap();
            let rid = Rid::of(&Group::derive(&[1; 32]).rid_key, &record.digest());
            assert_eq!(store.find(&rid).unwrap().as_ref(), Some(&record));
            said.push(format!("{record:?}"));
            let after = Cursor { author: record.author(), hlc: record.hlc(), key: *key };
            let mut later = Vec::new();
            store
                .authored(&after, &mut |record| {
                    later.push(record.key());
                    later.len() < 3
                })
                .unwrap();
            said.push(format!("{later:?}"));
        }
        said.push(format!("{leaves:?}"));
        store.buckets(kind, &mut |prefix, sum| said.push(format!("{prefix:?} {sum:?}"))).unwrap();
    }
    let mut author = store.next_author(None).unwrap();
    while let Some(next) = author {
        said.push(format!("{next:?}"));
        author = store.next_author(Some(&next)).unwrap();
    }
    for limit in [3, 100] {
        let mut keys = store.collectable(Hlc(u64::MAX), 60, limit).unwrap();
        said.push(keys.len().to_string());
        if limit == 100 {
            keys.sort_unstable();
            said.push(format!("{keys:?}"));
        }
    }
    said.push(format!("{:?}", store.collectable(Hlc(0), 0, 9).unwrap()));
    said.push(format!("{:?}", store.values("").unwrap()));
    said
}

#[tokio::test]
async fn the_tables_say_what_the_memory_says() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let answers = db
        .write(|tx| {
            let mut tables = Tables::new(tx);
            let mut memory = Memory::default();
            let mut a = Core::open(options(1), &mut tables, now(0))?;
            let Ok(mut b) = Core::open(options(1), &mut memory, now(0));
            let peer = Peer::new(&[3; 4]);
            a.step(&mut tables, now(1), Event::Connected(peer.clone()))?;
            let Ok(_) = b.step(&mut memory, now(1), Event::Connected(peer));
            for number in 0..200 {
                let made = a.author_all(&mut tables, now(number), &[op(number)])?;
                let Ok(also) = b.author_all(&mut memory, now(number), &[op(number)]);
                assert_eq!(made.unwrap(), also.unwrap());
            }
            assert_eq!(a.roots(), b.roots());
            assert_eq!(tables.next_author(None)?, Some(a.author()));
            Ok::<_, Error>((all(&tables), all(&memory)))
        })
        .await
        .unwrap();
    assert_eq!(answers.0, answers.1);
}

#[tokio::test]
async fn a_node_that_starts_again_has_its_roots_and_claims() {
    let dir = tempfile::tempdir().unwrap();
    let roots = {
        let db = open(dir.path());
        db.write(|tx| {
            let mut tables = Tables::new(tx);
            let mut core = Core::open(options(1), &mut tables, now(0))?;
            for number in 0..50 {
                core.author_all(&mut tables, now(number), &[op(number)])?.unwrap();
            }
            Ok::<_, Error>(core.roots())
        })
        .await
        .unwrap()
    };
    assert_ne!(roots.live, EMPTY);
    let db = open(dir.path());
    db.write(move |tx| {
        let mut tables = Tables::new(tx);
        let mut core = Core::open(options(1), &mut tables, now(9))?;
        assert_eq!(core.roots(), roots);
        assert!(core.scrub(&mut tables)?);
        // A row that went missing is found by the scrub, and the trees are those of the rest.
        tx.execute("DELETE FROM sync_leaf WHERE key = (SELECT min(key) FROM sync_leaf)", [])?;
        assert!(!core.scrub(&mut tables)?);
        assert_eq!(core.roots().live_count, roots.live_count - 1);
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_failed_write_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let failed = db
        .write(|tx| {
            let mut tables = Tables::new(tx);
            let mut core = Core::open(options(1), &mut tables, now(0))?;
            core.author_all(&mut tables, now(1), &[op(1)])?.unwrap();
            Err::<(), _>(Error::Damaged("a test"))
        })
        .await;
    assert!(failed.is_err());
    let values = db.write(|tx| Tables::new(tx).values("")).await.unwrap();
    assert!(values.is_empty());
}

/// Prints what changes and a start cost; `cargo test --release … -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_durable_changes() {
    let total: u64 = std::env::var("PINS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    db.write(move |tx| {
        let mut tables = Tables::new(tx);
        let mut core = Core::open(options(1), &mut tables, now(0))?;
        let started = std::time::Instant::now();
        for number in 0..total {
            let op = Op::Pin(any_cid(number), Box::default());
            core.author_all(&mut tables, now(number / 100), &[op])?.unwrap();
        }
        println!("{total} pins, each with its root: {:?} each", started.elapsed() / total as u32);
        println!("{} bytes in memory", core.memory_bytes());
        let started = std::time::Instant::now();
        let again = Core::open(options(1), &mut tables, now(total))?;
        println!("opened again in {:?}", started.elapsed());
        assert_eq!(again.roots().live, core.roots().live);
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
}
