//! Finding what differs: from a sketch, or from the parts of the trees.

use std::collections::BTreeSet;

use super::super::{Core, Now, Peer, Sign, Store};
use super::{SKETCHES_MAX, Stage, TODO_MAX};
use crate::sync::hash::{Hash, Rid, first};
use crate::sync::message::{Ask, CELLS_MAX, CUT_BITS, Part};
use crate::sync::record::{Kind, Record};
use crate::sync::sketch::{Cell, Difference, peel};
use crate::sync::tree::Prefix;

impl<K: Sign> Core<K> {
    /// Remembers what is to be asked for and what the peer lacks, by names.
    pub(super) fn note_difference<S: Store>(
        &mut self,
        store: &S,
        peer: &Peer,
        difference: Difference,
    ) -> Result<(), S::Error> {
        let mut ours = Vec::new();
        for rid in difference.first.iter().take(TODO_MAX) {
            ours.extend(store.find(rid)?.map(|record| (record.key(), record.digest())));
        }
        if let Some(session) = self.session(peer) {
            session.is_partial |=
                difference.second.len() > TODO_MAX || difference.first.len() > TODO_MAX;
            session.needed.extend(difference.second.into_iter().take(TODO_MAX));
            session.ours.extend(ours);
        }
        Ok(())
    }

    pub(super) fn heard_cells<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        peer: &Peer,
        (at, cells): (u32, Vec<Cell>),
    ) -> Result<(), S::Error> {
        let len_max = self.sketch.len();
        let Some(session) = self.links.get_mut(peer).and_then(|link| link.session.as_mut()) else {
            return Ok(());
        };
        session.sketches += 1;
        if at as usize == session.cells.len() {
            session.cells.extend(cells);
            session.cells.truncate(len_max);
        }
        let have = session.cells.len();
        if let Some(difference) = peel(self.sketch.cells(0, have), &session.cells) {
            session.cells = Vec::new();
            self.note_difference(store, peer, difference)?;
            return self.go_on(store, now, peer);
        }
        let to = (have * 2).min(have + CELLS_MAX).min(len_max);
        if session.sketches < SKETCHES_MAX && to > have && have > 0 {
            let (from, to) = (have as u32, to as u32);
            self.ask(peer, Stage::Cells, Ask::Cells { from, to }, now);
        } else {
            session.cells = Vec::new();
            self.ask_ranges_from_the_root(peer, now);
        }
        Ok(())
    }

    /// Compares what a peer says of a range with what we have in it.
    pub(super) fn compare<S: Store>(
        &mut self,
        store: &S,
        peer: &Peer,
        (kind, prefix): (Kind, &Prefix),
        part: Part,
    ) -> Result<(), S::Error> {
        match part {
            Part::Hashes(theirs) => {
                let ours = self.tree(kind).parts(store, prefix, CUT_BITS)?;
                let Some(session) = self.session(peer) else { return Ok(()) };
                let mut parts = vec![*prefix];
                for _ in 0..CUT_BITS {
                    parts = parts.iter().flat_map(|p| [p.half(false), p.half(true)]).collect();
                }
                for ((part, ours), theirs) in parts.into_iter().zip(ours).zip(theirs) {
                    if short(&session.nonce, &ours.hash) != theirs && part != *prefix {
                        if session.ranges.len() < TODO_MAX {
                            session.ranges.push((kind, part));
                        } else {
                            session.is_partial = true;
                        }
                    }
                }
            }
            Part::Names(theirs) => {
                let theirs: BTreeSet<Rid> = theirs.into_iter().collect();
                let rid_key = self.group.rid_key;
                let Some(session) = self.session(peer) else { return Ok(()) };
                let mut ours = BTreeSet::new();
                let mut is_full = false;
                let lacking = &mut session.ours;
                store.leaves(kind, prefix, &mut |key, digest| {
                    let rid = Rid::of(&rid_key, &digest);
                    if theirs.contains(&rid) {
                        ours.insert(rid);
                    } else if lacking.len() < TODO_MAX {
                        lacking.push((key, digest));
                    } else {
                        is_full = true;
                    }
                })?;
                session.is_partial |= is_full;
                session.needed.extend(theirs.difference(&ours));
            }
        }
        Ok(())
    }

    pub(super) fn heard_records<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        peer: &Peer,
        (asked, records, seen): (&[Rid], Vec<Record>, u32),
    ) -> Result<(), S::Error> {
        let seen = seen as usize;
        if seen == 0 || seen > asked.len() {
            self.end_session(peer, now, true);
            return Ok(());
        }
        let found: BTreeSet<Rid> = records.iter().map(|record| self.rid(record)).collect();
        if let Some(session) = self.session(peer) {
            let (answered, left) = asked.split_at(seen);
            // What is gone was replaced, by a record that this session may not see.
            session.is_partial |= answered.iter().any(|rid| !found.contains(rid));
            session.needed.extend(left);
        }
        self.take(store, now, peer, records)?;
        self.go_on(store, now, peer)
    }
}

/// A short hash that nobody can prepare who does not know the nonce.
pub(in crate::sync::core) fn short(nonce: &[u8; 16], hash: &Hash) -> [u8; 8] {
    let mut key = [0; 32];
    key.iter_mut().zip(nonce).for_each(|(to, from)| *to = *from);
    first(blake3::keyed_hash(&key, hash).as_bytes())
}
