//! Bitswap between swarms, over TCP on loopback.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use libp2p::swarm::{SwarmEvent, dial_opts::DialOpts};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ipld::{Block, codec, hash};

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks in memory.
struct Memory {
    blocks: Mutex<HashMap<Multihash, Bytes>>,
    changes: watch::Sender<u64>,
    /// What is given for every block, by one that lies.
    lie: Option<Bytes>,
}

impl Memory {
    fn new(blocks: &[Block]) -> Arc<Self> {
        Self::lying(blocks, None)
    }

    fn lying(blocks: &[Block], lie: Option<Bytes>) -> Arc<Self> {
        let memory = Self { blocks: Mutex::default(), changes: watch::Sender::new(0), lie };
        memory.put(blocks);
        Arc::new(memory)
    }

    fn put(&self, blocks: &[Block]) {
        let mut stored = self.blocks.lock().unwrap();
        stored.extend(blocks.iter().map(|b| (b.cid.hash().clone(), b.data.clone())));
        drop(stored);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn len(&self) -> usize {
        self.blocks.lock().unwrap().len()
    }
}

impl Blocks for Memory {
    fn size(&self, cid: &Cid) -> Option<u64> {
        self.blocks.lock().unwrap().get(cid.hash()).map(|data| data.len() as u64)
    }

    fn get(&self, cid: &Cid) -> Option<Bytes> {
        let data = self.blocks.lock().unwrap().get(cid.hash()).cloned();
        data.map(|data| self.lie.clone().unwrap_or(data))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn block(n: usize, size: usize) -> Block {
    let mut data = n.to_be_bytes().to_vec();
    data.resize(size.max(8), 0x5a);
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    Block { cid: Cid::new_v1(codec::RAW, hash), data: data.into() }
}

fn blocks(count: usize, size: usize) -> Vec<Block> {
    (0..count).map(|n| block(n, size)).collect()
}

/// How a test node behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It stores what comes.
    Honest,
    /// It takes connections and streams, and never reads.
    Silent,
    /// It takes nothing that it has asked for.
    Slow,
}

struct Node {
    peer: PeerId,
    address: Multiaddr,
    handle: Handle,
    store: Arc<Memory>,
    dial: mpsc::Sender<Multiaddr>,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Node {
    async fn start(store: Arc<Memory>, manner: Manner) -> Self {
        let Parts { handle, behaviour, service, mut arrivals, .. } =
            new(Arc::clone(&store) as Arc<dyn Blocks>);
        let mut swarm: Swarm<Behaviour> = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
            .build();
        let peer = *swarm.local_peer_id();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        if manner == Manner::Silent {
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.cancelled().await;
                drop(service);
            });
        } else {
            tasks.spawn(service.run(stop.clone()));
        }
        let kept = Arc::clone(&store);
        tasks.spawn(async move {
            if manner == Manner::Slow {
                std::future::pending::<()>().await;
            }
            while let Some(Arrivals { blocks, .. }) = arrivals.recv().await {
                kept.put(&blocks);
            }
        });
        let (dial, mut dials) = mpsc::channel::<Multiaddr>(8);
        let end = stop.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    _ = swarm.select_next_some() => {}
                    Some(address) = dials.recv() => {
                        let options = DialOpts::unknown_peer_id().address(address).build();
                        swarm.dial(options).unwrap();
                    }
                }
            }
        });
        Self { peer, address, handle, store, dial, stop, _tasks: tasks }
    }

    async fn honest(blocks: &[Block]) -> Self {
        Self::start(Memory::new(blocks), Manner::Honest).await
    }

    async fn connect(&self, other: &Self) {
        self.dial.send(other.address.clone()).await.unwrap();
    }

    /// Waits until everything is here.
    async fn has(&self, count: usize) {
        let mut changes = self.store.changes();
        let all = async {
            while self.store.len() < count {
                changes.changed().await.unwrap();
            }
        };
        let done = tokio::time::timeout(PATIENCE, all).await;
        assert!(done.is_ok(), "{} of {count} blocks: {:?}", self.store.len(), self.handle.stat());
    }

    fn want(&self, blocks: &[Block]) -> Session {
        let session = self.handle.session();
        blocks.iter().for_each(|block| session.want(&block.cid));
        session
    }
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_cross_and_both_sides_count_them() {
    let all = [blocks(300, 100), blocks(20, 300_000), vec![block(7, 2 << 20)]].concat();
    let (server, client) = (Node::honest(&all).await, Node::honest(&[]).await);
    client.connect(&server).await;
    let session = client.want(&all);
    client.has(all.len()).await;
    let bytes: u64 = all.iter().map(|block| block.data.len() as u64).sum();
    let stat = client.handle.stat();
    assert_eq!((stat.blocks_received, stat.data_received), (all.len() as u64, bytes));
    assert_eq!((stat.dup_blocks_received, stat.partners), (0, vec![]));
    until(|| server.handle.stat().data_sent == bytes).await;
    let expected = Receipt { sent: bytes, received: 0, exchanged: all.len() as u64 };
    assert_eq!(server.handle.ledger(&client.peer), expected);
    let expected = Receipt { sent: 0, received: bytes, exchanged: all.len() as u64 };
    assert_eq!(client.handle.ledger(&server.peer), expected);
    assert_eq!(server.handle.wantlist(&client.peer), None);
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_comes_later_reaches_who_waits_and_a_want_is_seen_by_the_other_side() {
    let late = block(1, 5000);
    let (server, client) = (Node::honest(&[]).await, Node::honest(&[]).await);
    let session = client.want(std::slice::from_ref(&late));
    client.connect(&server).await;
    until(|| server.handle.wantlist(&client.peer).is_some()).await;
    assert_eq!(server.handle.wantlist(&client.peer), Some(vec![late.cid.clone()]));
    assert_eq!(server.handle.stat().partners, [client.peer.to_string()]);
    server.store.put(std::slice::from_ref(&late));
    client.has(1).await;
    let never = client.want(&[block(2, 5000)]);
    until(|| server.handle.wantlist(&client.peer).is_some()).await;
    drop(never);
    until(|| server.handle.wantlist(&client.peer).is_none()).await;
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_and_more_wants_of_one_peer_are_all_answered() {
    let all = blocks(3000, 600);
    let (server, client) = (Node::honest(&all).await, Node::honest(&[]).await);
    client.connect(&server).await;
    let _session = client.want(&all);
    client.has(all.len()).await;
    assert_eq!(client.handle.stat().dup_blocks_received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_holder_goes_half_way_and_comes_back() {
    let all = blocks(200, 50_000);
    let client = Node::honest(&[]).await;
    let half = Node::honest(&all[..100]).await;
    client.connect(&half).await;
    let _session = client.want(&all);
    client.has(100).await;
    drop(half);
    let whole = Node::honest(&all).await;
    client.connect(&whole).await;
    client.has(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_is_dropped_and_its_blocks_are_not_taken() {
    let all = blocks(20, 5000);
    let lying = Memory::lying(&all, Some(Bytes::from_static(b"not what you asked for")));
    let (liar, client) = (Node::start(lying, Manner::Honest).await, Node::honest(&[]).await);
    client.connect(&liar).await;
    let _session = client.want(&all);
    until(|| client.handle.0.is_banned(&liar.peer)).await;
    assert_eq!(client.store.len(), 0);
    let honest = Node::honest(&all).await;
    client.connect(&honest).await;
    client.has(all.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_holds_nobody_up() {
    let all = blocks(50, 5000);
    let silent = Node::start(Memory::new(&all), Manner::Silent).await;
    let (honest, client) = (Node::honest(&all).await, Node::honest(&[]).await);
    client.connect(&silent).await;
    until(|| client.handle.0.links() == 1).await;
    let _session = client.want(&all);
    client.connect(&honest).await;
    client.has(all.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_sent_no_more_than_it_takes_and_others_do_not_wait() {
    let all = blocks(400, 256 << 10);
    let server = Node::honest(&all).await;
    let slow = Node::start(Memory::new(&[]), Manner::Slow).await;
    slow.connect(&server).await;
    let _slow = slow.want(&all);
    until(|| server.handle.stat().blocks_sent > 0).await;
    let client = Node::honest(&[]).await;
    client.connect(&server).await;
    let _session = client.want(&all);
    client.has(all.len()).await;
    let sent = server.handle.ledger(&slow.peer).sent;
    assert!(sent < 400 * (256 << 10), "{sent} bytes to one that reads none");
}

#[tokio::test(flavor = "multi_thread")]
async fn wants_are_spread_over_the_holders_without_duplicates() {
    // A holder that says too late what it has is not asked: on a busy machine that may happen.
    const ATTEMPTS: usize = 10;
    let all = blocks(3000, 2000);
    for attempt in 1..=ATTEMPTS {
        let (one, two) = (Node::honest(&all).await, Node::honest(&all).await);
        let client = Node::honest(&[]).await;
        client.connect(&one).await;
        client.connect(&two).await;
        until(|| client.handle.0.links() == 2).await;
        let _session = client.want(&all);
        client.has(all.len()).await;
        let stat = client.handle.stat();
        assert!(stat.dup_blocks_received <= 1, "{stat:?}");
        let sent = [&one, &two].map(|holder| holder.handle.stat().blocks_sent);
        if sent.iter().all(|sent| *sent >= 100) {
            return;
        }
        assert!(attempt < ATTEMPTS, "{sent:?}");
    }
}
