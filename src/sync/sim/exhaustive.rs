//! Every order of events, to a depth, for three nodes and two pins.
//!
//! An event is a change that nobody hears of, a push of a node's last change to one other, or a
//! meeting of two. States that differ in nothing but how far apart their times are count as one.
//! After each new state everybody meets everybody, and all must have the highest record of each
//! pin.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::oracle::History;
use super::{Rules, config, number};
use crate::sync::core::{Action, Core, Event, Now, Op, Options, Peer, Start};
use crate::sync::keys::Group;
use crate::sync::message::Message;
use crate::sync::record::{Body, Kind, Live};
use crate::sync::store::{Memory, Store};
use crate::sync::testing::{Key as Signer, any_cid};

const NODES: usize = 3;
const PINS: u64 = 2;
const START_MS: u64 = 1_700_000_000_000;
/// Between two events: every hello and announcement is due again.
const STEP_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy)]
enum Move {
    Pin(usize, u64),
    Unpin(usize, u64),
    Push(usize, usize),
    Meet(usize, usize),
}

fn moves() -> Vec<Move> {
    let mut moves = Vec::new();
    for node in 0..NODES {
        for pin in 0..PINS {
            moves.push(Move::Pin(node, pin));
            moves.push(Move::Unpin(node, pin));
        }
        for other in 0..NODES {
            if other != node {
                moves.push(Move::Push(node, other));
            }
            if other > node {
                moves.push(Move::Meet(node, other));
            }
        }
    }
    moves
}

#[derive(Clone)]
struct Node {
    core: Core<Signer>,
    disk: Memory,
    /// Its last push.
    pushed: Option<Vec<u8>>,
}

#[derive(Clone)]
struct State {
    nodes: Vec<Node>,
    history: History,
    now_ms: u64,
    names: u64,
}

impl State {
    fn new() -> Self {
        let nodes = (0..NODES).map(|node| {
            let mut disk = Memory::default();
            let config = crate::sync::core::Config {
                // Only the order of times counts, not what lies between them.
                keep_ms: 0,
                vector_ms: 1,
                lease_ms: u64::MAX,
                ..config(node as u8, 0)
            };
            let options = Options {
                keys: Signer::new(node as u8),
                group: Group::derive(&[1; 32]),
                config,
                seed: [node as u8; 32],
                start: Start::Trusted,
            };
            let now = Now { wall_ms: START_MS, mono_ms: 0 };
            let Ok(core) = Core::open_with(options, Rules::default(), &mut disk, now);
            Node { core, disk, pushed: None }
        });
        let nodes = nodes.collect();
        let mut state = Self { nodes, history: History::new(NODES), now_ms: 0, names: 0 };
        // All know each other: who is new is a matter of the simulator.
        state.meet_all();
        state
    }

    fn now(&self) -> Now {
        Now { wall_ms: START_MS + self.now_ms, mono_ms: self.now_ms }
    }

    fn step(&mut self, node: usize, event: Event) -> Vec<(usize, Vec<u8>)> {
        let now = self.now();
        let this = &mut self.nodes[node];
        let Ok(actions) = this.core.step(&mut this.disk, now, event);
        self.act(node, actions)
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) -> Vec<(usize, Vec<u8>)> {
        let mut sent = Vec::new();
        for action in actions {
            match action {
                Action::Send(to, bytes) => sent.push((usize::from(to.as_bytes()[0]), bytes)),
                Action::Broadcast(bytes) => {
                    if let Ok((_, Message::Update(_))) = Message::decode(&bytes) {
                        self.nodes[node].pushed = Some(bytes);
                    }
                }
                Action::Changed(change) => {
                    self.history.note(node, &change, self.now_ms).unwrap();
                }
                Action::InSync(_) | Action::Warn(_) => {}
            }
        }
        sent
    }

    fn apply(&mut self, next: Move) {
        self.now_ms += STEP_MS;
        match next {
            Move::Pin(node, pin) => {
                self.names += 1;
                let live = Live { name: self.names.to_string(), ..Live::default() };
                self.author(node, &Op::Pin(any_cid(pin), Box::new(live)));
            }
            Move::Unpin(node, pin) => self.author(node, &Op::Unpin(any_cid(pin), None)),
            Move::Push(from, to) => {
                if let Some(bytes) = self.nodes[from].pushed.clone() {
                    self.step(to, Event::Received(Peer::new(&[from as u8; 32]), bytes));
                }
            }
            Move::Meet(a, b) => self.meet(a, b),
        }
    }

    fn author(&mut self, node: usize, op: &Op) {
        let now = self.now();
        let this = &mut self.nodes[node];
        let Ok(made) = this.core.author_all(&mut this.disk, now, std::slice::from_ref(op));
        let actions = made.unwrap();
        self.act(node, actions);
        self.history.check_own_write(&self.nodes[node].disk, op).unwrap();
        // The push is gathered for some milliseconds.
        self.now_ms += 10;
        self.step(node, Event::Tick);
    }

    /// Connects two nodes until neither has anything more to say.
    fn meet(&mut self, a: usize, b: usize) {
        let peer = |node: usize| Peer::new(&[node as u8; 32]);
        let mut under_way = std::collections::VecDeque::new();
        for (me, other) in [(a, b), (b, a)] {
            let sent = self.step(me, Event::Connected(peer(other)));
            under_way.extend(sent.into_iter().map(|(to, bytes)| (me, to, bytes)));
        }
        for _ in 0..4 {
            while let Some((from, to, bytes)) = under_way.pop_front() {
                let sent = self.step(to, Event::Received(peer(from), bytes));
                under_way.extend(sent.into_iter().map(|(next, bytes)| (to, next, bytes)));
            }
            self.now_ms += STEP_MS;
            for node in [a, b] {
                let sent = self.step(node, Event::Tick);
                under_way.extend(sent.into_iter().map(|(to, bytes)| (node, to, bytes)));
            }
        }
        for (me, other) in [(a, b), (b, a)] {
            self.step(me, Event::Disconnected(peer(other)));
        }
    }

    fn meet_all(&mut self) {
        for _ in 0..2 {
            for (a, b) in [(0, 1), (1, 2), (0, 2)] {
                self.meet(a, b);
            }
        }
    }

    fn check(&self, path: &[Move]) {
        let mut end = self.clone();
        end.meet_all();
        end.meet_all();
        let roots: Vec<_> = end.nodes.iter().map(|node| node.core.roots()).collect();
        assert!(roots.iter().all(|roots2| roots2.same_state(&roots[0])), "{path:?}: {roots:?}");
        for node in &end.nodes {
            if let Err(fault) = end.history.check_list(&node.disk) {
                panic!("{path:?}: {fault}");
            }
        }
    }

    /// The same for two states that differ only in how far apart their times are.
    fn fingerprint(&self) -> [u8; 32] {
        let mut times = BTreeSet::new();
        for node in &self.nodes {
            for record in node.disk.records() {
                times.insert(record.hlc());
                if let Body::Tomb(tombstone) = record.body() {
                    times.insert(tombstone.observed.hlc);
                }
            }
            times.extend(node.core.vector().iter().map(|(_, hlc)| hlc));
            times.insert(node.core.roots().floor);
        }
        let index: BTreeMap<_, _> = times.into_iter().zip(0_u64..).collect();
        let mut hasher = blake3::Hasher::new();
        for node in &self.nodes {
            for record in node.disk.records() {
                hasher.update(&record.key().0);
                hasher.update(&[record.kind().number(), record.author().0[0]]);
                hasher.update(&index[&record.hlc()].to_be_bytes());
                if let Body::Tomb(tombstone) = record.body() {
                    hasher.update(&index[&tombstone.observed.hlc].to_be_bytes());
                    hasher.update(&[tombstone.observed.author.0[0]]);
                }
            }
            for (author, hlc) in node.core.vector().iter() {
                hasher.update(&[author.0[0]]).update(&index[&hlc].to_be_bytes());
            }
            hasher.update(&index[&node.core.roots().floor].to_be_bytes());
            hasher.update(&self.pushed_rank(node, &index));
        }
        *hasher.finalize().as_bytes()
    }

    /// What a push would still bring, in the same terms.
    fn pushed_rank(&self, node: &Node, index: &BTreeMap<crate::sync::Hlc, u64>) -> Vec<u8> {
        let Some(Ok((_, Message::Update(update)))) = node.pushed.as_deref().map(Message::decode)
        else {
            return Vec::new();
        };
        let mut bytes = vec![update.records.len() as u8];
        for record in &update.records {
            bytes.extend(record.key().0);
            bytes.push(record.kind().number());
            // A record that no node has any more still counts by where it stands.
            let place = index.range(..record.hlc()).count() as u64;
            bytes.extend(place.to_be_bytes());
            let is_held = self.nodes.iter().any(|node| {
                let Ok(held) = node.disk.get(&record.key());
                held.is_some_and(|held| held.digest() == record.digest())
            });
            bytes.push(u8::from(is_held));
        }
        bytes
    }
}

#[test]
fn every_order_of_events_ends_in_agreement() {
    let depth = number("SIM_DEPTH", 3);
    let mut seen = HashSet::new();
    let mut states = vec![(State::new(), Vec::new())];
    let mut checked = 0_u64;
    let mut tombs = 0_u64;
    for _ in 0..depth {
        let mut next_states = Vec::new();
        for (state, path) in &states {
            for next in moves() {
                let mut state: State = State::clone(state);
                state.apply(next);
                if !seen.insert(state.fingerprint()) {
                    continue;
                }
                let mut path: Vec<Move> = Vec::clone(path);
                path.push(next);
                state.check(&path);
                checked += 1;
                let records = state.nodes.iter().flat_map(|node| node.disk.records());
                tombs += records.filter(|record| record.kind() == Kind::Tomb).count() as u64;
                next_states.push((state, path));
            }
        }
        states = next_states;
    }
    println!("{checked} states to depth {depth}, {tombs} tombstones in them");
    assert!(checked > 100 && tombs > 0);
}
