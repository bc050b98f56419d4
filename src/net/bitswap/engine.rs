//! What other peers want from this node, and in which order they get it.
//!
//! Pure: told what peers say and what the store has, it says what to send next. A ledger per peer
//! that is connected; all of it is forgotten when the peer goes. Bounded by [`WANTS_MAX`] wants a
//! peer. Each peer is served by a task of its own that asks for one message at a time, so that
//! none waits for another and what is outstanding to a peer is one message.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use libp2p_identity::PeerId;

use super::message::{self, BLOCK_BYTES_MAX, Entry, WantType};
use crate::ipld::Cid;

/// Wants that are kept for a peer, as in Kubo.
pub const WANTS_MAX: usize = 1024;
/// A block up to this size is sent where a HAVE was asked for, as in Kubo.
const HAVE_AS_BLOCK_BYTES_MAX: u64 = 1024;

/// The wants of all peers.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    ledgers: HashMap<PeerId, Ledger>,
}

/// What was exchanged with a peer since it connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Bytes of blocks sent to it.
    pub sent: u64,
    /// Bytes of wanted blocks that came from it.
    pub received: u64,
    /// Number of those blocks, both ways.
    pub exchanged: u64,
}

#[derive(Debug, Default)]
struct Ledger {
    wants: HashMap<Cid, Want>,
    /// What can be answered, best first: higher priority, then what came first.
    queue: BTreeMap<Turn, Cid>,
    queued_bytes: u64,
    turns: u64,
    receipt: Receipt,
}

type Turn = (Reverse<i32>, u64);

#[derive(Debug)]
struct Want {
    priority: i32,
    want: WantType,
    send_dont_have: bool,
    /// Whether the block was in the store when it was last looked for.
    is_here: bool,
    /// Its answer, when it waits to be sent.
    task: Option<(Turn, Answer)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Block(u64),
    Have,
    DontHave,
}

/// What to send in one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Blocks to read and send, and whether their absence is to be told.
    pub(crate) blocks: Vec<(Cid, bool)>,
    pub(crate) haves: Vec<Cid>,
    pub(crate) dont_haves: Vec<Cid>,
    /// Bytes of blocks that wait for their turn after these.
    pub(crate) pending_bytes: u64,
}

impl Engine {
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.ledgers.entry(peer).or_default();
    }

    /// Forgets a peer and all that it wanted.
    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.ledgers.remove(peer);
    }

    /// Takes in the wantlist of a message, each entry with the size of its block when it is in the
    /// store. Whether there is something to send to the peer.
    pub(crate) fn receive(
        &mut self,
        peer: &PeerId,
        full: bool,
        entries: Vec<(Entry, Option<u64>)>,
    ) -> bool {
        let Some(ledger) = self.ledgers.get_mut(peer) else { return false };
        if full {
            ledger.clear();
        }
        // What is taken back goes first: it makes room, and a want in the same message is newer.
        for (entry, _) in entries.iter().filter(|(entry, _)| entry.cancel) {
            ledger.remove(&entry.cid);
        }
        let wants = entries.into_iter().filter(|(entry, _)| !entry.cancel);
        for (entry, size) in wants.take(WANTS_MAX) {
            ledger.want(entry, size);
        }
        !ledger.queue.is_empty()
    }

    /// The wants whose blocks were not in the store.
    pub(crate) fn absent(&self) -> Vec<(PeerId, Vec<Cid>)> {
        let absent = |ledger: &Ledger| -> Vec<Cid> {
            let wants = ledger.wants.iter().filter(|(_, want)| !want.is_here);
            wants.map(|(cid, _)| cid.clone()).collect()
        };
        let ledgers = self.ledgers.iter().map(|(peer, ledger)| (*peer, absent(ledger)));
        ledgers.filter(|(_, cids)| !cids.is_empty()).collect()
    }

    /// Blocks that a peer waits for, with their sizes, are in the store now. Whether there is
    /// something to send to it.
    pub(crate) fn found(&mut self, peer: &PeerId, blocks: Vec<(Cid, u64)>) -> bool {
        let Some(ledger) = self.ledgers.get_mut(peer) else { return false };
        for (cid, size) in blocks {
            if ledger.wants.get(&cid).is_some_and(|want| !want.is_here) {
                ledger.answer(&cid, Some(size));
            }
        }
        !ledger.queue.is_empty()
    }

    /// Takes what is to be sent next to a peer: about `budget` bytes, or one block that is larger.
    pub(crate) fn next(&mut self, peer: &PeerId, budget: usize) -> Option<Batch> {
        let ledger = self.ledgers.get_mut(peer)?;
        let (mut batch, mut bytes) = (Batch::default(), 0_usize);
        while let Some((_, cid)) = ledger.queue.first_key_value() {
            let Some(want) = ledger.wants.get_mut(cid) else {
                ledger.queue.pop_first();
                continue;
            };
            let answer = want.task.map_or(Answer::DontHave, |(_, answer)| answer);
            let weight = match answer {
                Answer::Block(size) => {
                    message::block_weight(usize::try_from(size).unwrap_or(usize::MAX))
                }
                Answer::Have | Answer::DontHave => message::presence_weight(cid),
            };
            if bytes > 0 && bytes.saturating_add(weight) > budget {
                break;
            }
            bytes = bytes.saturating_add(weight);
            want.task = None;
            let send_dont_have = want.send_dont_have;
            let Some((_, cid)) = ledger.queue.pop_first() else { break };
            match answer {
                Answer::Block(size) => {
                    ledger.queued_bytes = ledger.queued_bytes.saturating_sub(size);
                    batch.blocks.push((cid, send_dont_have));
                }
                Answer::Have => {
                    ledger.forget(&cid, WantType::Have);
                    batch.haves.push(cid);
                }
                Answer::DontHave => batch.dont_haves.push(cid),
            }
        }
        batch.pending_bytes = ledger.queued_bytes;
        (bytes > 0).then_some(batch)
    }

    /// Blocks of a batch, with their sizes, go out now: they are wanted no longer.
    pub(crate) fn sent<'a>(&mut self, peer: &PeerId, blocks: impl Iterator<Item = (&'a Cid, u64)>) {
        let Some(ledger) = self.ledgers.get_mut(peer) else { return };
        for (cid, size) in blocks {
            ledger.receipt.sent += size;
            ledger.receipt.exchanged += 1;
            ledger.forget(cid, WantType::Block);
        }
    }

    /// Blocks of a batch were not in the store any more.
    pub(crate) fn vanished<'a>(&mut self, peer: &PeerId, cids: impl Iterator<Item = &'a Cid>) {
        let Some(ledger) = self.ledgers.get_mut(peer) else { return };
        for cid in cids {
            if let Some(want) = ledger.wants.get_mut(cid) {
                want.is_here = false;
            }
        }
    }

    /// A wanted block came from a peer.
    pub(crate) fn received(&mut self, peer: &PeerId, size: u64) {
        if let Some(ledger) = self.ledgers.get_mut(peer) {
            ledger.receipt.received += size;
            ledger.receipt.exchanged += 1;
        }
    }

    /// What was exchanged with a peer.
    pub(crate) fn receipt(&self, peer: &PeerId) -> Receipt {
        self.ledgers.get(peer).map(|ledger| ledger.receipt).unwrap_or_default()
    }

    /// What a peer wants; `None` when it wants nothing.
    pub(crate) fn wantlist(&self, peer: &PeerId) -> Option<Vec<Cid>> {
        let ledger = self.ledgers.get(peer).filter(|ledger| !ledger.wants.is_empty())?;
        Some(ledger.wants.keys().cloned().collect())
    }

    /// The peers that want something.
    pub(crate) fn partners(&self) -> Vec<PeerId> {
        let wanting = self.ledgers.iter().filter(|(_, ledger)| !ledger.wants.is_empty());
        wanting.map(|(peer, _)| *peer).collect()
    }
}

impl Ledger {
    fn clear(&mut self) {
        self.wants.clear();
        self.queue.clear();
        self.queued_bytes = 0;
    }

    fn remove(&mut self, cid: &Cid) {
        self.unqueue(cid);
        self.wants.remove(cid);
    }

    /// Removes a want that was answered, unless a HAVE answers who wants the block.
    fn forget(&mut self, cid: &Cid, answered: WantType) {
        if self.wants.get(cid).is_some_and(|want| want.want <= answered && want.task.is_none()) {
            self.wants.remove(cid);
        }
    }

    fn want(&mut self, entry: Entry, size: Option<u64>) {
        if !self.wants.contains_key(&entry.cid) && !self.make_room(entry.priority) {
            return;
        }
        self.unqueue(&entry.cid);
        let Entry { cid, priority, want, send_dont_have, .. } = entry;
        let want = Want { priority, want, send_dont_have, is_here: false, task: None };
        self.wants.insert(cid.clone(), want);
        self.answer(&cid, size);
    }

    /// Makes room for one more want: at the cost of one whose block is not here, else of one that
    /// is less urgent.
    fn make_room(&mut self, priority: i32) -> bool {
        if self.wants.len() < WANTS_MAX {
            return true;
        }
        let least = self.wants.iter().min_by_key(|(_, want)| (want.is_here, want.priority));
        let Some((cid, want)) = least else { return true };
        if want.is_here && want.priority >= priority {
            return false;
        }
        let cid = cid.clone();
        self.remove(&cid);
        true
    }

    /// Queues the answer to a want, by the size of its block in the store.
    fn answer(&mut self, cid: &Cid, size: Option<u64>) {
        let turn = self.turns;
        let Some(want) = self.wants.get_mut(cid) else { return };
        let answer = match size.filter(|size| *size <= BLOCK_BYTES_MAX as u64) {
            Some(size) if want.want == WantType::Block || size <= HAVE_AS_BLOCK_BYTES_MAX => {
                Answer::Block(size)
            }
            Some(_) => Answer::Have,
            None if want.send_dont_have => Answer::DontHave,
            None => return,
        };
        want.is_here = answer != Answer::DontHave;
        let turn = (Reverse(want.priority), turn);
        want.task = Some((turn, answer));
        self.turns += 1;
        self.queue.insert(turn, cid.clone());
        if let Answer::Block(size) = answer {
            self.queued_bytes += size;
        }
    }

    fn unqueue(&mut self, cid: &Cid) {
        let task = self.wants.get_mut(cid).and_then(|want| want.task.take());
        if let Some((turn, answer)) = task {
            self.queue.remove(&turn);
            if let Answer::Block(size) = answer {
                self.queued_bytes = self.queued_bytes.saturating_sub(size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::{codec, hash};

    const BUDGET: usize = 1 << 20;

    fn cid(n: usize) -> Cid {
        Cid::new_v1(codec::RAW, hash::digest(hash::SHA2_256, &n.to_be_bytes(), None).unwrap())
    }

    fn want(n: usize, priority: i32, want: WantType) -> Entry {
        Entry { cid: cid(n), priority, cancel: false, want, send_dont_have: true }
    }

    fn engine() -> (Engine, PeerId) {
        let (mut engine, peer) = (Engine::default(), PeerId::random());
        engine.connected(peer);
        (engine, peer)
    }

    fn blocks(batch: &Batch) -> Vec<Cid> {
        batch.blocks.iter().map(|(cid, _)| cid.clone()).collect()
    }

    #[test]
    fn each_want_gets_its_answer() {
        let (mut engine, peer) = engine();
        let quiet = Entry { send_dont_have: false, ..want(5, 1, WantType::Block) };
        let entries = vec![
            (want(1, 1, WantType::Block), Some(300_000)),
            (want(2, 1, WantType::Have), Some(300_000)),
            (want(3, 1, WantType::Have), Some(1024)),
            (want(4, 1, WantType::Have), None),
            (quiet, None),
        ];
        assert!(engine.receive(&peer, false, entries));
        let batch = engine.next(&peer, BUDGET).unwrap();
        assert_eq!(blocks(&batch), [cid(1), cid(3)]);
        assert_eq!(batch.haves, [cid(2)]);
        assert_eq!(batch.dont_haves, [cid(4)]);
        assert_eq!(engine.next(&peer, BUDGET), None);
        engine.sent(&peer, [(&cid(1), 300_000), (&cid(3), 1024)].into_iter());
        // What could not be answered is remembered until it can, or is taken back.
        let mut left = engine.wantlist(&peer).unwrap();
        left.sort_by_key(Cid::to_bytes);
        let mut expected = vec![cid(4), cid(5)];
        expected.sort_by_key(Cid::to_bytes);
        assert_eq!(left, expected);
        assert_eq!(engine.receipt(&peer), Receipt { sent: 301_024, received: 0, exchanged: 2 });
    }

    #[test]
    fn a_block_that_comes_later_is_sent_to_who_waits() {
        let (mut engine, peer) = engine();
        let entries = vec![
            (want(1, 1, WantType::Block), None),
            (want(2, 1, WantType::Have), None),
            (want(3, 1, WantType::Block), None),
        ];
        engine.receive(&peer, false, entries);
        engine.next(&peer, BUDGET).unwrap();
        engine.receive(&peer, false, vec![(Entry::cancel(cid(3)), None)]);
        let [(absent_peer, absent)] = &engine.absent()[..] else { panic!() };
        assert_eq!((*absent_peer, absent.len()), (peer, 2));
        let found = vec![(cid(1), 10), (cid(2), 9999), (cid(3), 10)];
        assert!(engine.found(&peer, found));
        let batch = engine.next(&peer, BUDGET).unwrap();
        assert_eq!((blocks(&batch), batch.haves), (vec![cid(1)], vec![cid(2)]));
        assert!(engine.absent().is_empty());
    }

    #[test]
    fn priority_decides_and_messages_are_cut_to_size() {
        let (mut engine, peer) = engine();
        let wants = [(1, 5), (2, 9), (3, 5), (4, -1)];
        let entries = wants.map(|(n, p)| (want(n, p, WantType::Block), Some(400_000)));
        engine.receive(&peer, false, entries.to_vec());
        let first = engine.next(&peer, BUDGET).unwrap();
        assert_eq!(blocks(&first), [cid(2), cid(1)]);
        assert_eq!(first.pending_bytes, 800_000);
        // One block goes out even when it is larger than the budget.
        assert_eq!(blocks(&engine.next(&peer, 10).unwrap()), [cid(3)]);
        engine.receive(&peer, false, vec![(Entry::cancel(cid(4)), None)]);
        assert_eq!(engine.next(&peer, BUDGET), None);
    }

    #[test]
    fn wants_are_bounded_and_the_best_are_kept() {
        let (mut engine, peer) = engine();
        let absent = (0..WANTS_MAX).map(|n| (want(n, 7, WantType::Block), None)).collect();
        engine.receive(&peer, false, absent);
        let here = (WANTS_MAX..2 * WANTS_MAX).map(|n| (want(n, 1, WantType::Block), Some(9)));
        engine.receive(&peer, false, here.collect());
        assert_eq!(engine.wantlist(&peer).unwrap().len(), WANTS_MAX);
        assert!(engine.absent().is_empty());
        // All are here: the less urgent gives way, and the equally urgent does not.
        let more = vec![
            (want(9001, 1, WantType::Block), Some(9)),
            (want(9002, 2, WantType::Block), Some(9)),
        ];
        engine.receive(&peer, false, more);
        let wants = engine.wantlist(&peer).unwrap();
        assert_eq!(wants.len(), WANTS_MAX);
        assert!(!wants.contains(&cid(9001)) && wants.contains(&cid(9002)));
        let flood = (0..5000).map(|n| (want(n, 99, WantType::Have), Some(9999))).collect();
        engine.receive(&peer, false, flood);
        assert_eq!(engine.wantlist(&peer).unwrap().len(), WANTS_MAX);
    }

    #[test]
    fn a_peer_that_goes_is_forgotten_and_a_full_list_replaces() {
        let (mut engine, peer) = engine();
        engine.receive(&peer, false, vec![(want(1, 1, WantType::Block), Some(9))]);
        engine.receive(&peer, true, vec![(want(2, 1, WantType::Block), Some(9))]);
        assert_eq!(engine.wantlist(&peer), Some(vec![cid(2)]));
        assert_eq!(engine.partners(), [peer]);
        engine.received(&peer, 5);
        engine.disconnected(&peer);
        assert_eq!((engine.next(&peer, BUDGET), engine.wantlist(&peer)), (None, None));
        assert_eq!(engine.receipt(&peer), Receipt::default());
        assert!(!engine.receive(&peer, false, vec![(want(3, 1, WantType::Block), Some(9))]));
    }

    #[test]
    fn a_have_does_not_end_a_want_for_the_block_and_what_vanished_is_absent() {
        let (mut engine, peer) = engine();
        engine.receive(&peer, false, vec![(want(1, 1, WantType::Have), Some(9999))]);
        engine.receive(&peer, false, vec![(want(1, 1, WantType::Block), Some(9999))]);
        let batch = engine.next(&peer, BUDGET).unwrap();
        assert_eq!((blocks(&batch), batch.haves.len()), (vec![cid(1)], 0));
        engine.vanished(&peer, [&cid(1)].into_iter());
        assert_eq!(engine.absent(), [(peer, vec![cid(1)])]);
    }
}
