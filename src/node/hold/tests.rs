//! Tests of holding what others pin: two nodes in this process.

use super::*;

use std::time::Duration;

use crate::config::Config;
use crate::ipld::{Block, PbLink, PbNode, codec, hash};
use crate::node::start;
use crate::replicate::{Holder, Progress, Roster, Subject};
use crate::repo::{self, Identity, Repo};
use crate::sync::record::{Body, Live, Tombstone};
use crate::sync::{Hlc, Record, Sign as _, Signer};

/// A node on loopback, in the network of `key`.
async fn start_node(key: Option<&str>) -> (start::Running, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::generate("ed25519", None).unwrap();
    let private_key = identity.private_key_text();
    let config = Config::fresh(&identity.peer_id().to_string(), &private_key).unwrap();
    let config = config.with_profile("test").unwrap();
    repo::init(dir.path(), &config).unwrap();
    if let Some(key) = key {
        repo::write_swarm_key(dir.path(), key).unwrap();
    }
    let repo = Repo::open(dir.path(), None).unwrap();
    let options = start::Options { is_daemon: true, ..start::Options::default() };
    (start::start(repo, options).await.unwrap(), dir)
}

/// A node and another one of its network, which are connected.
async fn two() -> [(start::Running, tempfile::TempDir); 2] {
    let one = start_node(None).await;
    let key = std::fs::read_to_string(one.1.path().join("swarm.key")).unwrap();
    let two = start_node(Some(&key)).await;
    let network = one.0.node().network().unwrap();
    let addresses = network.listening().to_vec();
    let connected = two.0.node().network().unwrap().connect(network.peer_id(), addresses);
    connected.await.unwrap();
    [one, two]
}

/// What a member says of a pin, at some time.
fn say(cid: &Cid, at: u64, body: &Body) -> Record {
    let signer = Signer::from_seed(&[7; 32]).unwrap();
    Record::sign(&signer, &[0; 32], cid, Hlc::at(at), body).unwrap()
}

/// A node follows what was said.
async fn follow(node: &Node, records: Vec<Record>) {
    let author = Signer::from_seed(&[7; 32]).unwrap().author();
    let member = Holder { peer: vec![7; 38], author, weight: 1, tags: Vec::new(), is_out: false };
    let roster = Roster { own: vec![8; 38], members: vec![member] };
    let write = move |tx: &crate::db::Transaction<'_>| {
        records.iter().try_for_each(|record| {
            let (key, cid) = (record.key(), record.cid().clone());
            let subject = Subject { key: &key, cid: &cid, record: Some(record), held: false };
            replicate::follow(tx, &subject, &roster, 1_700_000_000_000)
        })
    };
    node.db().write(write).await.unwrap();
}

async fn collect(node: &Node) {
    let mut collecting = node.collect_garbage();
    while let Some(removed) = collecting.next().await {
        removed.unwrap();
    }
}

async fn put(node: &Node, blocks: Vec<Block>) {
    let session = node.store().session();
    session.put_many(blocks).await.unwrap();
    session.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_small_pins_are_taken_over() {
    let [(giver, _giver_dir), (taker, _taker_dir)] = two().await;
    let blocks: Vec<Block> = (0..1000_u32)
        .map(|number| {
            let data = number.to_be_bytes().repeat(128);
            let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
            Block { cid: Cid::new_v1(codec::RAW, hash), data: data.into() }
        })
        .collect();
    put(giver.node(), blocks.clone()).await;
    let live = |name: &str| Body::Live(Live { name: name.to_owned(), ..Live::default() });
    let pins = blocks.iter().map(|block| say(&block.cid, 1_700_000_000_000, &live("small")));
    let node = taker.node();
    let mut changes = node.replication().changes();
    let began = std::time::Instant::now();
    follow(node, pins.collect()).await;
    node.replication().wake();
    while node.db().read(|c| node.replication().counts(c)).unwrap().missing() > 0 {
        changes.changed().await.unwrap();
    }
    println!("a thousand pins of 512 bytes: {:?}", began.elapsed());
    assert_eq!(node.pins().count(Mode::Recursive).unwrap(), 1001);
    assert_eq!(node.pins().get(&blocks[999].cid).unwrap().unwrap().name, "small");
    collect(node).await;
    assert!(blocks.iter().all(|block| node.store().has(block.cid.hash()).unwrap()));
    end(taker).await;
    end(giver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_of_an_unfinished_pin_is_not_garbage() {
    let [(giver, _giver_dir), (taker, _taker_dir)] = two().await;
    let blocks = dag();
    // The second leaf is nowhere.
    put(giver.node(), vec![blocks[0].clone(), blocks[2].clone()]).await;
    let (node, root) = (taker.node(), &blocks[2].cid);
    let pin = say(root, 1_700_000_000_000, &Body::Live(Live::default()));
    follow(node, vec![pin.clone()]).await;
    let progress = Progress::default();
    let task = Task {
        cid: root.clone(),
        mode: Mode::Recursive,
        peers: Vec::new(),
        origins: Vec::new(),
        progress: progress.clone(),
    };
    let held = Held(node.clone());
    let come = async {
        while progress.nodes() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        held = held.hold(task) => panic!("{:?}", held.map(drop)),
        () = come => {}
    }
    collect(node).await;
    let is_here = |at: usize| node.store().has(blocks[at].cid.hash()).unwrap();
    assert!(is_here(0) && is_here(2) && !is_here(1));
    let removed = Tombstone { observed: pin.version(), reason: None };
    follow(node, vec![say(root, 1_700_000_000_001, &Body::Tomb(removed))]).await;
    // The node itself may have begun to fetch it, too.
    node.replication().wake();
    let gone = async {
        while is_here(0) || is_here(2) {
            collect(node).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    end(taker).await;
    end(giver).await;
}

async fn end(running: start::Running) {
    running.node().shutdown();
    running.wait(Some(Duration::from_secs(10))).await.unwrap();
}

/// Two leaves, and a node over them.
fn dag() -> Vec<Block> {
    let leaf = |text: &'static str| {
        let hash = hash::digest(hash::SHA2_256, text.as_bytes(), None).unwrap();
        Block { cid: Cid::new_v1(codec::RAW, hash), data: text.into() }
    };
    let mut blocks = vec![leaf("one"), leaf("two")];
    let links = blocks.iter().map(|block| PbLink::new(block.cid.clone(), "x", 1)).collect();
    let data = PbNode { data: None, links }.encode();
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    blocks.push(Block { cid: Cid::new_v0(hash).unwrap(), data: data.into() });
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_is_fetched_from_where_it_was_first() {
    let (giver, giver_dir) = start_node(None).await;
    let key = std::fs::read_to_string(giver_dir.path().join("swarm.key")).unwrap();
    let (taker, _taker_dir) = start_node(Some(&key)).await;
    let blocks = dag();
    put(giver.node(), blocks.clone()).await;
    let root = &blocks[2].cid;
    let network = giver.node().network().unwrap();
    let address = network.listening()[0].clone();
    let origin = address.with_p2p(network.peer_id()).unwrap();
    let task = |cid: &Cid, mode| Task {
        cid: cid.clone(),
        mode,
        peers: vec![network.peer_id().to_bytes()],
        origins: vec![origin.to_vec()],
        progress: Progress::default(),
    };
    let (held, store) = (Held(taker.node().clone()), taker.node().store().clone());
    let direct = task(root, Mode::Direct);
    drop(held.hold(direct.clone()).await.unwrap());
    assert_eq!(
        (direct.progress.nodes(), direct.progress.bytes()),
        (1, blocks[2].data.len() as u64)
    );
    assert!(!store.has(blocks[0].cid.hash()).unwrap());
    let whole = task(root, Mode::Recursive);
    let guard = held.hold(whole.clone()).await.unwrap();
    assert_eq!(whole.progress.nodes(), 3);
    collect(taker.node()).await;
    assert!(blocks.iter().all(|block| store.has(block.cid.hash()).unwrap()));
    drop(guard);
    // Only what is whole can be pinned, and only what is a node of its codec.
    let data = b"no node";
    let hash = hash::digest(hash::SHA2_256, data, None).unwrap();
    let broken = Block { cid: Cid::new_v0(hash).unwrap(), data: data[..].into() };
    put(giver.node(), vec![broken.clone()]).await;
    let failed = held.hold(task(&broken.cid, Mode::Recursive)).await.unwrap_err();
    assert!(matches!(failed, Failure::Failed(_)), "{failed}");
    end(taker).await;
    end(giver).await;
}

#[test]
fn a_volume_has_room_but_not_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let volume = rustix::fs::statvfs(dir.path()).unwrap();
    let room = volume_room(dir.path()).unwrap();
    assert!(room < volume.f_blocks * volume.f_frsize);
    assert_eq!(volume_room(&dir.path().join("absent")), None);
}

#[test]
fn a_full_disk_is_told_from_other_failures() {
    let full = exchange::Error::Store(store::Error::Full);
    assert_eq!(failure(full.into()), Failure::DiskFull);
    assert_eq!(failure(Error::Store(store::Error::Full)), Failure::DiskFull);
    assert_eq!(failure(Error::failed("no")), Failure::Failed("no".to_owned()));
}
