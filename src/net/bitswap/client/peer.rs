//! A connected peer, as far as it is asked for blocks.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::message::WantType;
use super::{BLOCKS_ASKED_MAX, TOLD_MAX};
use crate::ipld::Multihash;

/// Ended wants that are remembered: their blocks may still be on the way.
const ENDED_MAX: usize = 4096;
/// Blocks that nobody asked for, after which a peer is dropped.
const STRIKES_MAX: u32 = 3;
/// Useful blocks that make up for one that was not.
const BLOCKS_PER_STRIKE: u64 = 256;
/// An answer to a question that is so much younger says that the older one was passed over.
const OVERTAKEN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) knows_have: bool,
    /// It gives no answers, or wrong ones: it is not relied on until it gives a right one.
    pub(super) is_stalled: bool,
    /// Useful blocks that came from it.
    pub(super) blocks: u64,
    /// Blocks that it owes.
    pub(super) blocks_asked: usize,
    /// Answers that it owes.
    asked: usize,
    told: HashSet<Multihash>,
    ended: VecDeque<Multihash>,
    ended_set: HashSet<Multihash>,
    /// Its last answer, or the first question after it had answered everything.
    heard_at: Instant,
    /// When the youngest question was asked that it has answered.
    answered_through: Option<Instant>,
    strikes: u32,
    forgiven: u64,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            knows_have: true,
            is_stalled: false,
            blocks: 0,
            blocks_asked: 0,
            asked: 0,
            told: HashSet::new(),
            ended: VecDeque::new(),
            ended_set: HashSet::new(),
            heard_at: now,
            answered_through: None,
            strikes: 0,
            forgiven: 0,
        }
    }

    /// Whether it owes as many blocks as it should.
    pub(super) fn is_full(&self) -> bool {
        self.blocks_asked >= BLOCKS_ASKED_MAX || self.told.len() >= TOLD_MAX
    }

    /// Notes a question; `false` when it has been told enough.
    pub(super) fn tell(&mut self, now: Instant, hash: &Multihash, want: WantType) -> bool {
        if !self.told.contains(hash) {
            if self.told.len() >= TOLD_MAX {
                return false;
            }
            self.told.insert(hash.clone());
        }
        if self.asked == 0 {
            self.heard_at = now;
        }
        self.asked += 1;
        self.blocks_asked += usize::from(want == WantType::Block);
        true
    }

    /// A question needs no answer any more.
    pub(super) fn unasked(&mut self, want: WantType) {
        self.asked -= 1;
        self.blocks_asked -= usize::from(want == WantType::Block);
    }

    /// A want that it was told of has ended.
    pub(super) fn ended(&mut self, hash: &Multihash) {
        self.told.remove(hash);
        if self.ended_set.insert(hash.clone()) {
            self.ended.push_back(hash.clone());
        }
        if self.ended.len() > ENDED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ended_set.remove(&oldest);
        }
    }

    /// Whether it was told of a want that has ended since.
    pub(super) fn knew(&self, hash: &Multihash) -> bool {
        self.ended_set.contains(hash)
    }

    pub(super) fn told(&self) -> impl Iterator<Item = &Multihash> {
        self.told.iter()
    }

    /// It has answered a question that was asked at a time.
    pub(super) fn answered(&mut self, now: Instant, asked_at: Option<Instant>) {
        self.heard_at = now;
        self.is_stalled = false;
        self.answered_through = self.answered_through.max(asked_at);
    }

    /// It has sent a block that was wanted.
    pub(super) fn useful(&mut self, now: Instant, asked_at: Option<Instant>) {
        self.answered(now, asked_at);
        self.blocks += 1;
        if self.strikes > 0 && self.blocks >= self.forgiven + BLOCKS_PER_STRIKE {
            self.forgiven = self.blocks;
            self.strikes -= 1;
        }
    }

    /// It has sent a block that nobody asked for; whether that was once too often.
    pub(super) fn struck(&mut self) -> bool {
        self.strikes += 1;
        self.forgiven = self.blocks;
        self.strikes == STRIKES_MAX
    }

    /// Whether it owes answers and has given none for long.
    pub(super) fn is_silent(&self, now: Instant, patience: Duration) -> bool {
        !self.is_stalled && self.asked > 0 && now - self.heard_at > patience
    }

    /// Whether it has answered what was asked well after `asked_at`.
    pub(super) fn has_passed_over(&self, asked_at: Instant) -> bool {
        self.answered_through.is_some_and(|through| through > asked_at + OVERTAKEN)
    }
}
