use bytes::Bytes;

use super::*;
use crate::ipld::{codec, hash};

fn block(n: usize) -> Block {
    let data = Bytes::from(n.to_string());
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    Block { cid: Cid::new_v1(codec::RAW, hash), data }
}

fn cid(n: usize) -> Cid {
    block(n).cid
}

/// A client and a clock.
struct Scene {
    client: Client,
    now: Instant,
}

/// What a client does, without CIDs spelt out.
#[derive(Debug, Default)]
struct Done(Vec<Action>);

impl Done {
    /// The wants that a peer is told of: which, and of which type.
    fn told(&self, peer: PeerId) -> Vec<(Cid, WantType)> {
        self.entries(peer).filter(|e| !e.cancel).map(|e| (e.cid.clone(), e.want)).collect()
    }

    fn cancelled(&self, peer: PeerId) -> Vec<Cid> {
        self.entries(peer).filter(|e| e.cancel).map(|e| e.cid.clone()).collect()
    }

    fn entries(&self, peer: PeerId) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter_map(move |action| match action {
            Action::Send(to, entry) if *to == peer => Some(entry),
            _ => None,
        })
    }

    fn delivered(&self) -> Vec<Block> {
        let deliver = |action: &Action| match action {
            Action::Deliver(block) => Some(block.clone()),
            _ => None,
        };
        self.0.iter().filter_map(deliver).collect()
    }
}

impl Scene {
    fn new<const N: usize>() -> (Self, [PeerId; N]) {
        let mut scene = Self { client: Client::default(), now: Instant::now() };
        let peers = [(); N].map(|()| PeerId::random());
        for peer in peers {
            scene.step(Event::Connected(peer));
        }
        (scene, peers)
    }

    fn step(&mut self, event: Event) -> Done {
        let done = Done(self.client.step(self.now, event));
        let busy = self.client.wants.values().filter(|want| want.is_busy()).count();
        assert_eq!(self.client.busy, busy);
        for (id, peer) in &self.client.peers {
            let wants = self.client.wants.values();
            let asks: Vec<WantType> = wants
                .flat_map(|want| want.asked.iter().filter(|ask| ask.peer == *id))
                .map(|ask| ask.want)
                .collect();
            let blocks = asks.iter().filter(|want| **want == WantType::Block).count();
            assert_eq!(peer.blocks_asked, blocks);
        }
        done
    }

    fn want(&mut self, session: SessionId, n: usize) -> Done {
        self.step(Event::Want(session, cid(n)))
    }

    fn says(&mut self, from: PeerId, n: usize, has: bool) -> Done {
        let presences = vec![Presence { cid: cid(n), has }];
        self.step(Event::Message { from, blocks: vec![], presences })
    }

    fn sends(&mut self, from: PeerId, n: usize) -> Done {
        let blocks = vec![block(n)];
        self.step(Event::Message { from, blocks, presences: vec![] })
    }

    fn pass(&mut self, time: Duration) -> Done {
        self.now += time;
        self.step(Event::Tick)
    }
}

#[test]
fn a_want_is_asked_around_then_fetched_from_who_has_it() {
    let (mut scene, [a, b]) = Scene::new();
    let done = scene.want(1, 1);
    assert_eq!(done.told(a), [(cid(1), WantType::Have)]);
    assert_eq!(done.told(b), [(cid(1), WantType::Have)]);
    let done = scene.says(a, 1, false);
    assert!(done.0.is_empty());
    let done = scene.says(b, 1, true);
    assert_eq!(done.told(b), [(cid(1), WantType::Block)]);
    let done = scene.sends(b, 1);
    assert_eq!(done.delivered(), [block(1)]);
    assert_eq!(done.cancelled(a), [cid(1)], "it remembers the want");
    assert!(done.cancelled(b).is_empty());
    assert!(scene.client.is_idle());
}

#[test]
fn what_follows_is_asked_of_the_sources_and_spread_over_them() {
    let (mut scene, [a, b]) = Scene::new();
    scene.want(1, 0);
    scene.says(a, 0, true);
    scene.says(b, 0, true);
    scene.sends(a, 0);
    let mut asked = HashMap::from([(a, 0), (b, 0)]);
    for n in 1..=40 {
        let done = scene.want(1, n);
        let sent: Vec<_> = done.told(a).into_iter().chain(done.told(b)).collect();
        assert_eq!(sent, [(cid(n), WantType::Block)], "one peer is asked, at once");
        *asked.get_mut(if done.told(a).is_empty() { &b } else { &a }).unwrap() += 1;
    }
    assert_eq!(asked, HashMap::from([(a, 20), (b, 20)]));
}

#[test]
fn other_peers_are_tried_once_a_session_and_become_sources() {
    let (mut scene, [a, b]) = Scene::new();
    scene.want(1, 0);
    scene.says(b, 0, false);
    scene.says(a, 0, true);
    scene.sends(a, 0);
    let done = scene.want(1, 1);
    assert_eq!(done.told(a), [(cid(1), WantType::Block)]);
    assert_eq!(done.told(b), [(cid(1), WantType::Have)]);
    assert!(scene.want(1, 2).told(b).is_empty());
    let done = scene.says(b, 1, true);
    assert!(done.0.is_empty(), "somebody owes the block already");
    assert_eq!(scene.want(1, 3).told(b), [(cid(3), WantType::Block)]);
}

#[test]
fn the_first_wave_is_small_and_the_rest_follows() {
    let (mut scene, peers) = Scene::new::<5>();
    let done = scene.want(1, 1);
    let told = |done: &Done| peers.iter().filter(|peer| !done.told(**peer).is_empty()).count();
    assert_eq!(told(&done), FIRST_WAVE);
    assert_eq!(told(&scene.pass(WAVE_DELAY)), peers.len() - FIRST_WAVE);
    let (mut scene, peers) = Scene::new::<5>();
    let done = scene.want(1, 1);
    let first = *peers.iter().find(|peer| !done.told(**peer).is_empty()).unwrap();
    let done = scene.says(first, 1, false);
    let told = peers.iter().filter(|peer| !done.told(**peer).is_empty()).count();
    assert_eq!(told, peers.len() - FIRST_WAVE, "a DONT_HAVE makes the others be asked at once");
}

#[test]
fn a_dont_have_from_a_source_moves_the_want_on() {
    let (mut scene, [a, b]) = Scene::new();
    scene.want(1, 0);
    scene.says(a, 0, true);
    scene.sends(a, 0);
    scene.want(1, 1);
    scene.want(1, 2);
    let done = scene.says(a, 2, false);
    assert_eq!(done.told(b), [(cid(2), WantType::Have)]);
    let done = scene.says(b, 2, true);
    assert_eq!(done.told(b), [(cid(2), WantType::Block)]);
    assert_eq!(scene.sends(b, 2).cancelled(a), [cid(2)]);
}

#[test]
fn silence_moves_wants_to_another_peer_and_a_late_answer_is_taken() {
    let (mut scene, [a, b]) = Scene::new();
    scene.want(1, 0);
    scene.says(a, 0, true);
    scene.says(b, 0, true);
    scene.sends(a, 0);
    let done = scene.want(1, 1);
    let (slow, other) = if done.told(a).is_empty() { (b, a) } else { (a, b) };
    assert!(scene.pass(PATIENCE).0.is_empty());
    let done = scene.pass(TICK);
    assert_eq!(done.told(other), [(cid(1), WantType::Have)]);
    assert_eq!(scene.says(other, 1, true).told(other), [(cid(1), WantType::Block)]);
    // The silent one is asked for nothing new, and heard when it speaks after all.
    assert_eq!(scene.want(1, 2).told(other), [(cid(2), WantType::Block)]);
    let done = scene.sends(slow, 1);
    assert_eq!(done.delivered(), [block(1)]);
    assert_eq!(done.cancelled(other), [cid(1)]);
    assert!(scene.sends(other, 1).0.is_empty(), "a duplicate, which is nobody's fault");
    assert_eq!(scene.want(1, 3).told(slow), [(cid(3), WantType::Block)]);
}

#[test]
fn a_want_that_is_passed_over_is_asked_of_another() {
    let (mut scene, [a, b]) = Scene::new();
    scene.want(1, 0);
    scene.says(b, 0, false);
    scene.says(a, 0, true);
    scene.sends(a, 0);
    scene.want(1, 1);
    scene.says(b, 1, false);
    let mut asked_again = false;
    for n in 2..10 {
        let done = scene.pass(Duration::from_secs(2));
        asked_again |= done.told(b) == [(cid(1), WantType::Have)];
        scene.want(1, n);
        scene.sends(a, n);
    }
    assert!(asked_again);
    let done = scene.says(b, 1, true);
    assert_eq!(done.told(b), [(cid(1), WantType::Block)]);
}

#[test]
fn wants_of_a_lost_peer_are_asked_of_others_and_again_when_it_comes_back() {
    let (mut scene, [a]) = Scene::new();
    scene.want(1, 0);
    scene.says(a, 0, true);
    scene.sends(a, 0);
    scene.want(1, 1);
    scene.want(1, 2);
    assert!(scene.step(Event::Disconnected(a)).0.is_empty());
    let done = scene.step(Event::Connected(a));
    let mut told = done.told(a);
    told.sort_by_key(|(cid, _)| cid.to_bytes());
    let mut expected = [(cid(1), WantType::Block), (cid(2), WantType::Block)];
    expected.sort_by_key(|(cid, _)| cid.to_bytes());
    assert_eq!(told, expected, "it had what the session is about");
    assert_eq!(scene.sends(a, 1).delivered(), [block(1)]);
}

#[test]
fn late_joiners_are_asked_for_what_nobody_has() {
    let (mut scene, [a]) = Scene::new();
    scene.want(1, 1);
    scene.says(a, 1, false);
    let b = PeerId::random();
    assert_eq!(scene.step(Event::Connected(b)).told(b), [(cid(1), WantType::Have)]);
}

#[test]
fn providers_are_searched_for_what_nobody_has_less_and_less_often() {
    let (mut scene, [a]) = Scene::new();
    scene.want(1, 1);
    scene.want(1, 2);
    scene.says(a, 1, false);
    scene.says(a, 2, false);
    let mut searches = Vec::new();
    for second in 0..300 {
        for action in scene.pass(Duration::from_secs(1)).0 {
            if let Action::FindProviders(what) = action {
                assert_eq!(what, cid(1), "one want stands for its session");
                searches.push(second);
            }
        }
        scene.says(a, 1, false);
        scene.says(a, 2, false);
    }
    assert!((7..=12).contains(&searches.len()), "{searches:?}");
    let mut alone = Scene::new::<0>().0;
    alone.want(1, 1);
    let done = alone.pass(TICK);
    assert_eq!(done.0, [Action::FindProviders(cid(1))], "at once, where nobody can be asked");
}

#[test]
fn who_sends_what_nobody_asked_for_is_left_and_dropped() {
    let (mut scene, [a, b]) = Scene::new();
    scene.want(1, 0);
    scene.says(a, 0, true);
    scene.says(b, 0, true);
    scene.sends(a, 0);
    let done = scene.want(1, 1);
    let (liar, honest) = if done.told(a).is_empty() { (b, a) } else { (a, b) };
    let done = scene.sends(liar, 1001);
    assert!(done.delivered().is_empty(), "it is not handed up");
    assert_eq!(done.told(honest), [(cid(1), WantType::Have)], "others are asked at once");
    scene.sends(liar, 1002);
    let done = scene.sends(liar, 1003);
    assert!(done.0.contains(&Action::Drop(liar)));
    scene.says(honest, 1, true);
    assert_eq!(scene.sends(honest, 1).delivered(), [block(1)]);
}

#[test]
fn what_is_taken_back_is_cancelled_unless_somebody_else_wants_it() {
    let (mut scene, [a]) = Scene::new();
    scene.want(1, 1);
    scene.want(2, 1);
    scene.want(2, 2);
    assert!(scene.step(Event::Forget(1, cid(1).hash().clone())).0.is_empty());
    let done = scene.step(Event::Close(2));
    let mut cancelled = done.cancelled(a);
    cancelled.sort_by_key(Cid::to_bytes);
    let mut expected = [cid(1), cid(2)];
    expected.sort_by_key(Cid::to_bytes);
    assert_eq!(cancelled, expected);
    assert!(scene.client.is_idle() && scene.client.sessions.len() == 1);
    scene.step(Event::Close(1));
    assert!(scene.client.sessions.is_empty() && scene.client.turns.is_empty());
}

#[test]
fn a_block_that_comes_another_way_ends_the_want() {
    let (mut scene, [a]) = Scene::new();
    scene.want(1, 1);
    let done = scene.step(Event::Stored(cid(1).hash().clone()));
    assert_eq!(done.cancelled(a), [cid(1)]);
    assert!(scene.client.is_idle());
    assert!(scene.sends(a, 1).0.is_empty(), "it was asked for: no strike");
    assert!(!scene.client.peers[&a].is_stalled);
}

#[test]
fn what_is_under_way_is_bounded_and_sessions_take_turns() {
    let (mut scene, [a]) = Scene::new();
    scene.want(1, 0);
    scene.sends(a, 0);
    scene.client.block_bytes = WINDOW_BYTES / 20;
    assert_eq!(scene.client.window(), 20);
    for n in 100..200 {
        scene.want(1, n);
    }
    assert_eq!(scene.client.busy, 20);
    scene.want(2, 1);
    scene.client.block_bytes = WINDOW_BYTES / 22;
    let done = scene.sends(a, 100);
    assert_eq!(scene.client.busy, scene.client.window());
    assert!(done.told(a).contains(&(cid(1), WantType::Have)), "the other session has its turn");
    scene.client.block_bytes = 1;
    for n in 1000..3000 {
        scene.want(1, n);
    }
    assert!(scene.client.peers[&a].blocks_asked <= BLOCKS_ASKED_MAX);
    assert!(scene.client.busy <= WINDOW_MAX);
}

#[test]
fn peers_of_old_versions_are_asked_for_blocks_one_at_a_time() {
    let (mut scene, [a, b]) = Scene::new();
    for peer in [a, b] {
        scene.step(Event::Speaks(peer, Version::V1_1));
    }
    let done = scene.want(1, 1);
    let told = [done.told(a), done.told(b)].concat();
    assert_eq!(told, [(cid(1), WantType::Block)]);
    let (asked, other) = if done.told(a).is_empty() { (b, a) } else { (a, b) };
    let done = scene.pass(PATIENCE + TICK);
    assert_eq!(done.told(other), [(cid(1), WantType::Block)], "it never says that it has not");
    assert!(done.told(asked).is_empty());
}
