//! Answering a peer's questions: each from the present state, with nothing kept between two.

use super::session::short;
use super::{Core, Now, Peer, Sign, Store};
use crate::sync::hash::{Key, Rid};
use crate::sync::message::{
    Answer, Ask, CELLS_MAX, CUT_BITS, Fetch, Message, NAMES_MAX, Part, Proof, REPLY_LEN_MAX,
    REPLY_RECORDS_MAX, Reply,
};
use crate::sync::record::{Kind, Record};
use crate::sync::sketch::{Cell, estimate, peel};
use crate::sync::store::Cursor;
use crate::sync::tree::Prefix;
use crate::sync::vector::Vector;

/// What a reply holds beside records: roots, a cursor, a big vector.
const REPLY_REST_LEN: usize = 16 << 10;
/// Records that are looked at by name for one answer, whatever their size.
const BUSY_MS: u32 = 1_000;

/// Collects records until a reply is full.
struct Page {
    records: Vec<Record>,
    left: usize,
}

impl Page {
    fn new(bytes_max: u32) -> Self {
        let bytes = (bytes_max as usize).min(REPLY_LEN_MAX);
        Self { records: Vec::new(), left: bytes.saturating_sub(REPLY_REST_LEN) }
    }

    /// Takes a record if it fits; the first one always does.
    fn add(&mut self, record: Record) -> bool {
        let len = record.as_bytes().len();
        let fits =
            self.records.is_empty() || (len <= self.left && self.records.len() < REPLY_RECORDS_MAX);
        if fits {
            self.left = self.left.saturating_sub(len);
            self.records.push(record);
        }
        fits
    }
}

impl<K: Sign> Core<K> {
    pub(super) fn serve<S: Store>(
        &mut self,
        store: &S,
        now: Now,
        from: &Peer,
        fetch: Fetch,
    ) -> Result<(), S::Error> {
        let Some(link) = self.links.get_mut(from) else { return Ok(()) };
        let answer = if link.author.is_none() {
            Answer::Refused("say hello first".to_owned())
        } else if !link.may_ask(now) {
            Answer::Busy(BUSY_MS)
        } else {
            self.answer(store, now, &fetch)?
        };
        let reply = Reply { request: fetch.request, roots: self.roots(), answer };
        self.send(from, &Message::Reply(reply));
        Ok(())
    }

    fn answer<S: Store>(&mut self, store: &S, now: Now, fetch: &Fetch) -> Result<Answer, S::Error> {
        let is_same = fetch.roots.same_state(&self.roots());
        match &fetch.ask {
            Ask::Vector { vector, after } => {
                self.page(store, now, (vector, *after), fetch.bytes_max)
            }
            Ask::Sketch { .. } | Ask::Cells { .. } | Ask::Ranges { .. } if is_same => {
                Ok(Answer::Equal(self.coverage(now)))
            }
            Ask::Sketch { cells, count } => {
                self.difference(store, now, (cells, *count), fetch.bytes_max)
            }
            Ask::Cells { from, to } => Ok(self.cells(now, *from as usize, *to as usize)),
            Ask::Ranges { nonce, ranges } => {
                let parts = ranges
                    .iter()
                    .map(|(kind, prefix)| self.part(store, nonce, *kind, prefix))
                    .collect::<Result<_, _>>()?;
                Ok(Answer::Ranges { parts, coverage: self.coverage(now) })
            }
            Ask::Records { rids } => {
                let (records, seen) = named(store, rids, fetch.bytes_max)?;
                Ok(Answer::Records { records, seen: seen as u32 })
            }
            Ask::Proof { key } => Ok(Answer::Proof(self.prove(store, key)?)),
        }
    }

    /// The records that a vector does not cover, author by author.
    fn page<S: Store>(
        &mut self,
        store: &S,
        now: Now,
        (vector, after): (&Vector, Option<Cursor>),
        bytes_max: u32,
    ) -> Result<Answer, S::Error> {
        let coverage = if after.is_none() { Some(self.coverage(now)) } else { None };
        let mut page = Page::new(bytes_max);
        let mut is_full = false;
        let mut author = match after {
            Some(after) => Some(after.author),
            None => store.next_author(None)?,
        };
        while let Some(current) = author {
            let covered = vector.get(&current);
            let covered = Cursor { author: current, hlc: covered, key: Key([0xff; 32]) };
            let from = after
                .filter(|after| after.author == current)
                .map_or(covered, |after| covered.max(after));
            store.authored(&from, &mut |record| {
                is_full = !page.add(record);
                !is_full
            })?;
            if is_full {
                break;
            }
            author = store.next_author(Some(&current))?;
        }
        let next = page.records.last().filter(|_| is_full).map(|last| Cursor {
            author: last.author(),
            hlc: last.hlc(),
            key: last.key(),
        });
        Ok(Answer::Page { records: page.records, next, coverage })
    }

    /// The difference to a set of which the first cells are given; as many cells of ours as it
    /// seems to need when they were too few.
    fn difference<S: Store>(
        &mut self,
        store: &S,
        now: Now,
        (cells, count): (&[Cell], u64),
        bytes_max: u32,
    ) -> Result<Answer, S::Error> {
        let ours = self.sketch.cells(0, cells.len());
        let found = if ours.len() == cells.len() { peel(ours, cells) } else { None };
        let Some(difference) = found else {
            let guess = estimate(ours, self.sketch.count(), cells, count);
            return Ok(self.cells(now, 0, guess.min(CELLS_MAX)));
        };
        let (records, seen) = named(store, &difference.first, bytes_max)?;
        let more = difference.first.get(seen..).unwrap_or_default().to_vec();
        let coverage = self.coverage(now);
        Ok(Answer::Difference { records, more, want: difference.second, coverage })
    }

    fn cells(&mut self, now: Now, from: usize, to: usize) -> Answer {
        let cells = self.sketch.cells(from, to.min(from.saturating_add(CELLS_MAX))).to_vec();
        let count = self.sketch.count();
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        Answer::Cells { from, cells, count, coverage: self.coverage(now) }
    }

    fn part<S: Store>(
        &self,
        store: &S,
        nonce: &[u8; 16],
        kind: Kind,
        prefix: &Prefix,
    ) -> Result<Part, S::Error> {
        let tree = self.tree(kind);
        if tree.summary(store, prefix)?.count as usize > NAMES_MAX {
            let parts = tree.parts(store, prefix, CUT_BITS)?;
            return Ok(Part::Hashes(parts.iter().map(|part| short(nonce, &part.hash)).collect()));
        }
        let mut names = Vec::new();
        let rid_key = &self.group.rid_key;
        store.leaves(kind, prefix, &mut |_, digest| names.push(Rid::of(rid_key, &digest)))?;
        Ok(Part::Names(names))
    }

    /// Shows that a key is in the live tree; `None` if it is not.
    ///
    /// # Errors
    /// When the store fails.
    pub fn prove<S: Store>(&self, store: &S, key: &Key) -> Result<Option<Proof>, S::Error> {
        let Some(record) = store.get(key)?.filter(|record| record.kind() == Kind::Live) else {
            return Ok(None);
        };
        let mut path = Vec::new();
        for bit in (0..256_usize).rev() {
            let other = Prefix::of(key, bit).half(!key.bit(bit));
            let beside = self.live.summary(store, &other)?;
            if beside.count > 0 {
                path.push((bit as u16, beside.hash));
            }
        }
        Ok(Some(Proof { record, path }))
    }
}

/// Records by name, as many as fit, and how many names were looked at.
fn named<S: Store>(
    store: &S,
    rids: &[Rid],
    bytes_max: u32,
) -> Result<(Vec<Record>, usize), S::Error> {
    let mut page = Page::new(bytes_max);
    let mut seen = 0;
    for rid in rids {
        if let Some(record) = store.find(rid)?
            && !page.add(record)
        {
            break;
        }
        seen += 1;
    }
    Ok((page.records, seen))
}
