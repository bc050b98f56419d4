use std::collections::VecDeque;

use super::*;
use crate::sync::message::Ask;
use crate::sync::record::Live;
use crate::sync::store::Memory;
use crate::sync::testing::{Key as Signer, any_cid};

mod figures;

const START_MS: u64 = 1_700_000_000_000;

struct Node {
    core: Core<Signer>,
    store: Memory,
}

/// What a meeting has cost: questions, and bytes of questions and answers without records.
#[derive(Debug, Default)]
struct Cost {
    questions: Vec<&'static str>,
    /// Of the longest question.
    question_bytes: usize,
    bytes: usize,
    records: usize,
}

fn now(ms: u64) -> Now {
    Now { wall_ms: START_MS + ms, mono_ms: ms }
}

fn peer(number: u8) -> Peer {
    Peer::new(&[number; 32])
}

fn node(number: u8, config: impl Fn(&mut Config)) -> Node {
    let mut store = Memory::default();
    let Ok(core) = Core::open(options(number, config, Start::Trusted), &mut store, now(0));
    Node { core, store }
}

fn options(number: u8, config: impl Fn(&mut Config), start: Start) -> Options<Signer> {
    let mut settings = Config { sketch_cells: 4096, ..Config::new(vec![number; 32]) };
    config(&mut settings);
    Options {
        keys: Signer::new(number),
        group: Group::derive(&[1; 32]),
        config: settings,
        seed: [number; 32],
        start,
    }
}

impl Node {
    fn author(&mut self, ms: u64, ops: &[Op]) -> Vec<Action> {
        let Ok(made) = self.core.author_all(&mut self.store, now(ms), ops);
        made.unwrap()
    }

    fn pin(&mut self, ms: u64, numbers: std::ops::Range<u64>) {
        let ops: Vec<Op> = numbers.map(|n| Op::Pin(any_cid(n), Box::default())).collect();
        self.author(ms, &ops);
    }

    fn step(&mut self, ms: u64, event: Event) -> Vec<Action> {
        let Ok(actions) = self.core.step(&mut self.store, now(ms), event);
        actions
    }
}

fn note(cost: &mut Cost, bytes: &[u8]) {
    match Message::decode(bytes).unwrap().1 {
        Message::Fetch(fetch) => {
            cost.bytes += bytes.len();
            cost.question_bytes = cost.question_bytes.max(bytes.len());
            cost.questions.push(match fetch.ask {
                Ask::Vector { .. } => "vector",
                Ask::Sketch { .. } => "sketch",
                Ask::Cells { .. } => "cells",
                Ask::Ranges { .. } => "ranges",
                Ask::Records { .. } => "records",
                Ask::Proof { .. } => "proof",
            });
        }
        Message::Reply(reply) => {
            cost.bytes += bytes.len();
            let records = match reply.answer {
                crate::sync::message::Answer::Page { records, .. }
                | crate::sync::message::Answer::Difference { records, .. }
                | crate::sync::message::Answer::Records { records, .. } => records,
                _ => Vec::new(),
            };
            cost.records += records.len();
            cost.bytes -= records.iter().map(|record| record.as_bytes().len()).sum::<usize>();
        }
        Message::Hello(_) | Message::Update(_) => {}
    }
}

/// Lets two nodes talk from `ms` on until both are silent for a second.
fn talk(nodes: &mut [Node; 2], ms: u64, connect: bool) -> (u64, Cost) {
    let mut cost = Cost::default();
    let mut under_way = VecDeque::new();
    let mut ms = ms;
    for (me, node) in nodes.iter_mut().enumerate() {
        let event = if connect { Event::Connected(peer(1 - me as u8)) } else { Event::Tick };
        let actions = node.step(ms, event);
        under_way.extend(actions.into_iter().map(|action| (me, action)));
    }
    for _ in 0..6 {
        while let Some((me, action)) = under_way.pop_front() {
            let bytes = match action {
                Action::Send(to, bytes) => {
                    assert_eq!(to, peer(1 - me as u8));
                    bytes
                }
                Action::Broadcast(bytes) => bytes,
                Action::Warn(warning) => panic!("{warning:?}"),
                Action::Changed(_) | Action::InSync(_) => continue,
            };
            note(&mut cost, &bytes);
            let event = Event::Received(peer(me as u8), bytes);
            let actions = nodes[1 - me].step(ms, event);
            under_way.extend(actions.into_iter().map(|action| (1 - me, action)));
        }
        ms += 1_000;
        for (me, node) in nodes.iter_mut().enumerate() {
            let actions = node.step(ms, Event::Tick);
            under_way.extend(actions.into_iter().map(|action| (me, action)));
        }
    }
    (ms, cost)
}

fn equal(nodes: &[Node; 2]) -> bool {
    nodes[0].core.roots().same_state(&nodes[1].core.roots())
}

/// Two nodes with `common` pins, connected and equal.
fn pair(common: u64, config: impl Fn(&mut Config)) -> ([Node; 2], u64) {
    let mut nodes = [node(0, &config), node(1, &config)];
    nodes[0].pin(10, 0..common);
    let (ms, _) = talk(&mut nodes, 100, true);
    assert!(equal(&nodes) && nodes[1].core.roots().live_count == common as u32);
    (nodes, ms)
}

#[test]
fn who_comes_back_asks_once_for_what_it_missed() {
    let (mut nodes, ms) = pair(3_000, |_| {});
    nodes[1].step(ms, Event::Disconnected(peer(0)));
    nodes[0].step(ms, Event::Disconnected(peer(1)));
    nodes[0].pin(ms + 10, 3_000..3_200);
    let (_, cost) = talk(&mut nodes, ms + 5_000, true);
    assert!(equal(&nodes));
    assert_eq!(cost.records, 200);
    assert!(cost.questions.iter().all(|asked| *asked == "vector" || *asked == "sketch"));
    assert!(cost.questions.len() <= 4 && cost.bytes < 6_000, "{cost:?}");
}

/// Lost pushes: the nodes stay connected, and each has `differences` pins that the other lacks.
fn differ(differences: u64, config: impl Fn(&mut Config)) -> Cost {
    differ_among(2_000, [differences, differences], config)
}

/// The same among `common` pins, with so many of each node's own.
fn differ_among(common: u64, own: [u64; 2], config: impl Fn(&mut Config)) -> Cost {
    let (mut nodes, ms) = pair(common, config);
    for (number, node) in nodes.iter_mut().enumerate() {
        let first = common + 10_000_000 * (number as u64 + 1);
        node.pin(ms + 10, first..first + own[number]);
        // The push of it is lost.
        let _ = node.step(ms + 50, Event::Tick);
    }
    let (_, cost) = talk(&mut nodes, ms + 2_100, false);
    assert!(equal(&nodes), "{cost:?}");
    assert_eq!(u64::from(nodes[0].core.roots().live_count), common + own[0] + own[1]);
    cost
}

#[test]
fn few_differences_cost_one_question() {
    for differences in [1, 2, 3, 4] {
        let cost = differ(differences, |_| {});
        assert_eq!(cost.questions, ["sketch"], "{cost:?}");
        assert!(cost.bytes < 1_600, "{cost:?}");
    }
}

#[test]
fn many_differences_cost_two_sketches() {
    let cost = differ(300, |_| {});
    assert_eq!(cost.questions, ["sketch", "records"], "{cost:?}");
}

#[test]
fn trees_find_what_sketches_do_not() {
    for differences in [1, 20, 500] {
        let without = differ(differences, |config| config.sketch_cells = 0);
        assert!(!without.questions.contains(&"sketch"), "{without:?}");
        let too_small = differ(differences, |config| config.sketch_cells = 4);
        assert!(too_small.questions.contains(&"sketch"), "{too_small:?}");
    }
}

#[test]
fn a_new_node_takes_everything_page_by_page() {
    let (nodes, _) = pair(9_000, |_| {});
    assert!(equal(&nodes));
}

#[test]
fn a_node_that_is_alone_leaves_no_tombstones() {
    let mut alone = node(0, |_| {});
    alone.pin(10, 0..5);
    alone.author(20, &[Op::Unpin(any_cid(0), None)]);
    assert_eq!((alone.core.roots().live_count, alone.core.roots().tomb_count), (4, 0));
    alone.step(30, Event::Connected(peer(1)));
    alone.author(40, &[Op::Unpin(any_cid(1), None)]);
    assert_eq!((alone.core.roots().live_count, alone.core.roots().tomb_count), (3, 1));
}

#[test]
fn a_second_life_with_the_same_key_is_noticed() {
    let [mut first, mut second] = [node(0, |_| {}), node(0, |_| {})];
    second.core.boot_nonce ^= 1;
    first.step(5, Event::Connected(peer(0)));
    for ms in [10, 20] {
        let hello = second.core.hello(now(ms)).encode(0);
        first.step(ms, Event::Received(peer(0), hello));
    }
    let Ok(made) = first.core.author_all(&mut first.store, now(30), &[]);
    assert_eq!(made, Err(NotReady::Cloned));
}

#[test]
fn a_proof_gives_the_root() {
    let mut node = node(0, |_| {});
    node.pin(10, 0..300);
    for number in [0, 17, 299] {
        let key = Key::of(&any_cid(number));
        let Ok(proof) = node.core.prove(&node.store, &key);
        let proof = proof.unwrap();
        assert_eq!(proof.root(), node.core.roots().live);
        let bent = crate::sync::message::Proof { path: proof.path[1..].to_vec(), ..proof };
        assert_ne!(bent.root(), node.core.roots().live);
    }
    let Ok(none) = node.core.prove(&node.store, &Key::of(&any_cid(300)));
    assert_eq!(none, None);
}

#[test]
fn what_is_no_pin_changes_nothing() {
    let mut node = node(0, |_| {});
    let good = Op::Pin(any_cid(1), Box::default());
    let name = "x".repeat(300);
    let bad = Op::Pin(any_cid(2), Box::new(Live { name, ..Live::default() }));
    let Ok(made) = node.core.author_all(&mut node.store, now(1), &[good, bad]);
    assert!(matches!(made, Err(NotReady::Malformed(_))));
    assert_eq!(node.core.roots().live_count, 0);
}

#[test]
fn mass_removals_without_records_need_a_second_witness() {
    let config = |config: &mut Config| config.breaker_min = 3;
    let (mut nodes, ms) = pair(50, config);
    // Node 1 says that it has seen all of them, and has none.
    let [mut honest, liar] = nodes;
    let mut empty = node(1, config);
    empty.core.vector = liar.core.vector.clone();
    empty.core.floor = Hlc::at(START_MS + ms);
    let floor = empty.core.floor;
    honest.core.floor = floor;
    empty.core.vector.raise(honest.core.author(), floor);
    honest.step(ms, Event::Disconnected(peer(1)));
    nodes = [honest, empty];
    let mut withheld = false;
    let mut under_way = VecDeque::new();
    for (me, node) in nodes.iter_mut().enumerate() {
        let actions = node.step(ms + 9, Event::Connected(peer(1 - me as u8)));
        under_way.extend(actions.into_iter().map(|action| (me, action)));
    }
    while let Some((me, action)) = under_way.pop_front() {
        match action {
            Action::Send(_, bytes) => {
                let event = Event::Received(peer(me as u8), bytes);
                let actions = nodes[1 - me].step(ms + 9, event);
                under_way.extend(actions.into_iter().map(|action| (1 - me, action)));
            }
            Action::Warn(Warning::Withheld(from, 50)) => {
                assert_eq!((me, from), (0, peer(1)));
                withheld = true;
            }
            _ => {}
        }
    }
    assert!(withheld);
    assert_eq!(nodes[0].core.roots().live_count, 50);
}

/// A node comes back from an old copy, its clock an hour behind, and its user pins at once, or as
/// soon as it may. Returns whether that was refused at first, and whether the pin is there in the
/// end.
fn pin_after_a_restore(rules: Rules) -> (bool, bool) {
    let config = |config: &mut Config| {
        config.vector_ms = 1_000;
        config.hello_ms = 1_000;
        config.announce_ms_max = 2_000;
    };
    let (mut nodes, mut ms) = pair(5, config);
    let mut copy = nodes[0].store.clone();
    // What the copy has reserved of its clock lies in the past before the floor is looked at.
    for _ in 0..4 {
        ms += 100_000;
        (ms, _) = talk(&mut nodes, ms, false);
    }
    assert!(nodes[1].core.floor > Hlc::at(START_MS + 200_000), "{:?}", nodes[1].core.floor);
    nodes[1].step(ms, Event::Disconnected(peer(0)));
    let options = options(0, config, Start::Suspect);
    let behind = |ms| Now { wall_ms: START_MS - 3_600_000 + ms, mono_ms: ms };
    let Ok(core) = Core::open_with(options, rules, &mut copy, behind(ms));
    nodes[0] = Node { core, store: copy };
    let op = Op::Pin(any_cid(77), Box::default());
    let author = |node: &mut Node, ms| {
        let ops = std::slice::from_ref(&op);
        let Ok(made) = node.core.author_all(&mut node.store, behind(ms), ops);
        made.is_ok()
    };
    let was_refused = !author(&mut nodes[0], ms);
    let (mut ms, _) = talk(&mut nodes, ms, true);
    if was_refused {
        assert!(author(&mut nodes[0], ms));
        (ms, _) = talk(&mut nodes, ms, false);
    }
    talk(&mut nodes, ms, false);
    let Ok(found) = nodes[1].store.get(&Key::of(&any_cid(77)));
    (was_refused, found.is_some())
}

#[test]
fn an_old_copy_pins_nothing_before_it_was_told_how_far_it_was() {
    assert_eq!(pin_after_a_restore(Rules::default()), (true, true));
    assert_eq!(pin_after_a_restore(Rules::without(Some(Mutant::R10))), (false, false));
}
