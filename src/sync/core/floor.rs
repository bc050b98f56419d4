//! The certified floor, and what may be forgotten below it.
//!
//! Every member signs in its hello up to where it has seen everything of every active member. The
//! least of these is a time below which every active member has seen every tombstone: these may go
//! a day later. The floor only rises.

use super::merge::Batch;
use super::{Author, Cause, Core, Hlc, Mutant, Now, Sign, Store};
use crate::sync::hash::first;

/// Records that are collected in one step.
const COLLECT_MAX: usize = 1024;

impl<K: Sign> Core<K> {
    /// Members, but for this node, that were heard within the lease.
    pub(in crate::sync) fn active(&self, now: Now) -> Vec<Author> {
        let lease_ms = self.config.lease_ms;
        self.members
            .iter()
            .filter(|(_, member)| now.mono_ms.saturating_sub(member.heard_at_ms) <= lease_ms)
            .map(|(author, _)| *author)
            .collect()
    }

    /// Of the authors of all members, this one among them.
    pub(super) fn roster_digest(&self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new();
        let me = self.keys.author();
        self.members.range(..me).for_each(|(author, _)| {
            hasher.update(&author.0);
        });
        hasher.update(&me.0);
        self.members.range(me..).for_each(|(author, _)| {
            hasher.update(&author.0);
        });
        first(hasher.finalize().as_bytes())
    }

    /// Raises the floor if all active members have come further.
    pub(super) fn raise_floor(&mut self, now: Now) {
        if self.members.is_empty() {
            // Nobody to wait for, and nobody whose clock a floor of ours could be ahead of.
            return;
        }
        let mut low = self.floor_low(now);
        let active = self.active(now);
        let is_majority = (active.len() + 1) * 2 > self.members.len() + 1;
        if self.rules.keeps(Mutant::R6) {
            if !is_majority {
                return;
            }
            let roster = self.roster_digest();
            for author in active {
                let hello = self.members.get(&author).and_then(|member| member.hello.as_ref());
                // Who knows other members may not have waited for one that we wait for.
                let vote = hello.filter(|hello| hello.roster_digest == roster);
                low = low.min(vote.map_or(Hlc(0), |hello| hello.floor_low));
            }
        }
        let grain = self.config.vector_ms.max(1);
        let floor = Hlc::at(low.ms() / grain * grain);
        if floor > self.floor {
            self.floor = floor;
            self.unsaved.floor = true;
        }
    }

    /// The highest floor that more than half of the members have signed. A vote falls when a member
    /// returns that it did not wait for; what counts here is what was signed once, as far as it is
    /// known: our own votes, and the floors of others, which they sign too.
    pub(super) fn certified(&mut self, now: Now) -> Hlc {
        let mut votes: Vec<Hlc> = self
            .members
            .values()
            .map(|member| {
                let hello = member.hello.as_ref();
                hello.map_or(Hlc(0), |hello| hello.floor_low.max(hello.roots.floor))
            })
            .collect();
        votes.push(self.floor_low(now).max(self.voted));
        votes.sort_unstable_by(|a, b| b.cmp(a));
        let certified = votes.get(votes.len() / 2).copied().unwrap_or_default();
        certified.max(self.floor)
    }

    /// Takes over the floor of a peer that lacks nothing of ours that it has seen, as far as members
    /// have certified it: what this session has dropped, others may still have, and would bring
    /// back to whoever has not come as far.
    pub(super) fn adopt_floor(&mut self, floor: Hlc, now: Now) {
        if floor <= self.floor {
            return;
        }
        let floor = floor.min(self.certified(now));
        if floor > self.floor {
            self.floor = floor;
            self.unsaved.floor = true;
            self.clock.lift(floor);
            self.reserve();
            self.floor_at_ms = now.mono_ms;
        }
    }

    /// Up to where tombstones may go.
    pub(super) fn tombs_end(&self, now: Now) -> Hlc {
        if self.rules.keeps(Mutant::R7) {
            self.floor.before(self.config.keep_ms)
        } else {
            Hlc::at(self.clock.wall_ms(now.wall_ms)).before(self.config.keep_ms)
        }
    }

    /// Before which the expiry of pins lies whose records may go, in milliseconds.
    pub(super) fn expiry_end_ms(&self) -> u64 {
        self.floor.ms().saturating_sub(self.config.keep_ms)
    }

    /// Forgets what is far enough below the floor; returns whether there is more.
    pub(super) fn collect<S: Store>(&mut self, store: &mut S, now: Now) -> Result<bool, S::Error> {
        let (tombs, expired) = (self.tombs_end(now), self.expiry_end_ms());
        let keys = store.collectable(tombs, expired, COLLECT_MAX)?;
        let more = keys.len() == COLLECT_MAX;
        let mut batch = Batch::default();
        for key in keys {
            self.forget(store, &key, Cause::Collected, &mut batch)?;
        }
        self.settle(store, now, batch)?;
        Ok(more)
    }
}
