//! The rateless sketch: cells that stand for a set, of which as many are sent as the difference of
//! two sets needs, however big the sets are.
//!
//! Pure. A rateless invertible Bloom lookup table over the short names of records: cell 0 holds
//! every name, and cell `i` about `2 / (i + 2)` of them, at places that the name alone decides.
//! Cells of two sets subtract to the cells of their difference; a cell with one name left gives it
//! up, and taking that name out of its other cells frees more.

use super::hash::{Rid, first, label};

/// Bytes of a cell in a message: names, check, count.
pub const CELL_LEN: usize = 24;

/// Cells of the first question: enough for ten differences in 99 of 100 cases.
pub const FIRST_CELLS: usize = 45;

const CHECK: [u8; 32] = label("pinsync-v1 cell");

/// One cell: the sum of some names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// The names, added without carry.
    rids: u128,
    /// Their checks, added without carry; 40 bits.
    check: u64,
    /// How many, or the difference of two numbers; only the lower 24 bits are sent.
    count: i32,
}

impl Cell {
    /// The cell in a message.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CELL_LEN] {
        let mut bytes = [0; CELL_LEN];
        let parts = self
            .rids
            .to_be_bytes()
            .into_iter()
            .chain(self.check.to_be_bytes().into_iter().skip(3))
            .chain(self.count.to_be_bytes().into_iter().skip(1));
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads a cell: every value is one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; CELL_LEN]) -> Self {
        let be = |from: usize, len: usize| {
            bytes
                .iter()
                .skip(from)
                .take(len)
                .fold(0_u128, |value, byte| (value << 8) | u128::from(*byte))
        };
        Self { rids: be(0, 16), check: be(16, 5) as u64, count: be(21, 3) as i32 }
    }

    /// How many more names it has than another, as far as 24 bits tell.
    fn surplus(&self, other: &Self) -> i32 {
        (self.count.wrapping_sub(other.count) << 8) >> 8
    }

    fn add(&mut self, item: &Item, times: i32) {
        self.rids ^= item.rid;
        self.check ^= item.check;
        self.count = self.count.wrapping_add(times);
    }
}

/// A name and what is derived from it.
#[derive(Debug, Clone, Copy)]
struct Item {
    rid: u128,
    check: u64,
    seed: u64,
}

impl Item {
    fn new(rid: u128) -> Self {
        let hash = blake3::keyed_hash(&CHECK, &rid.to_be_bytes());
        let check = u64::from_be_bytes(first(hash.as_bytes())) >> 24;
        let seed = hash
            .as_bytes()
            .iter()
            .skip(8)
            .take(8)
            .fold(0, |seed, byte| (seed << 8) | u64::from(*byte));
        Self { rid, check, seed }
    }

    fn places(&self) -> Places {
        Places { next: Some(0), state: self.seed }
    }
}

/// The cells that a name is in, ascending.
struct Places {
    next: Option<u32>,
    state: u64,
}

impl Iterator for Places {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let place = self.next?;
        // SplitMix64: the same places on every machine.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The next place j after i comes with P(next > j) = (i+1)(i+2) / ((j+1)(j+2)): the least j
        // with (j+1)(j+2) > (i+1)(i+2) / u for a uniform u in (0, 1]. Each of these operations is
        // exactly defined by IEEE 754, so all machines agree.
        let u = ((z >> 32) + 1) as f64 / 4_294_967_296.0;
        let at = f64::from(place);
        let next = (((at + 1.0) * (at + 2.0) / u + 0.25).sqrt() - 0.5).floor();
        self.next =
            Some((next as u32).max(place.saturating_add(1))).filter(|next| *next < u32::MAX);
        Some(place)
    }
}

/// The first cells of a set, kept up to date.
#[derive(Debug, Clone)]
pub struct Sketch {
    cells: Vec<Cell>,
    count: u64,
}

impl Sketch {
    /// The sketch of the empty set, `len` cells long.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { cells: vec![Cell::default(); len], count: 0 }
    }

    /// Adds a name that is not in the set.
    pub fn insert(&mut self, rid: &Rid) {
        self.count += 1;
        self.add(rid, 1);
    }

    /// Takes out a name that is in the set.
    pub fn remove(&mut self, rid: &Rid) {
        self.count = self.count.saturating_sub(1);
        self.add(rid, -1);
    }

    fn add(&mut self, rid: &Rid, times: i32) {
        let item = Item::new(u128::from_be_bytes(rid.0));
        for place in item.places() {
            let Some(cell) = self.cells.get_mut(place as usize) else { break };
            cell.add(&item, times);
        }
    }

    /// How many names are in the set.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Cells of the sketch; fewer when it ends before.
    #[must_use]
    pub fn cells(&self, from: usize, to: usize) -> &[Cell] {
        let to = to.min(self.cells.len());
        self.cells.get(from.min(to)..to).unwrap_or_default()
    }

    /// How many cells it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// What is in one of two sets only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// In the first set.
    pub first: Vec<Rid>,
    /// In the second.
    pub second: Vec<Rid>,
}

/// The difference of two sets, from as many cells of each; `None` when they are too few, or were
/// made up.
#[must_use]
pub fn peel(first: &[Cell], second: &[Cell]) -> Option<Difference> {
    let mut cells: Vec<Cell> = first
        .iter()
        .zip(second)
        .map(|(a, b)| Cell { rids: a.rids ^ b.rids, check: a.check ^ b.check, count: a.surplus(b) })
        .collect();
    let mut difference = Difference::default();
    let mut todo: Vec<usize> = (0..cells.len()).rev().collect();
    // More names than cells is no difference that these cells can hold: a made up one ends.
    let mut left = cells.len();
    while let Some(at) = todo.pop() {
        let Some(cell) = cells.get(at).copied() else { continue };
        if !matches!(cell.count, 1 | -1) {
            continue;
        }
        let item = Item::new(cell.rids);
        if item.check != cell.check {
            continue;
        }
        left = left.checked_sub(1)?;
        let sign = cell.count;
        for place in item.places() {
            let Some(cell) = cells.get_mut(place as usize) else { break };
            cell.add(&item, -sign);
            todo.push(place as usize);
        }
        let rid = Rid(cell.rids.to_be_bytes());
        if cell.count == 1 { difference.first.push(rid) } else { difference.second.push(rid) }
    }
    cells.iter().all(|cell| *cell == Cell::default()).then_some(difference)
}

/// How many cells a difference seems to need, of which too few cells of both sets, with their
/// numbers of names, are known.
#[must_use]
pub fn estimate(first: &[Cell], first_count: u64, second: &[Cell], second_count: u64) -> usize {
    let net = first_count as f64 - second_count as f64;
    let (mut spread, mut weight) = (0.0, 0.0);
    // Cell 0 has every name and says nothing but the net difference.
    for (index, (a, b)) in first.iter().zip(second).enumerate().skip(1) {
        let density = 2.0 / (index as f64 + 2.0);
        let surplus = f64::from(a.surplus(b)) - density * net;
        spread += surplus * surplus;
        weight += density * (1.0 - density);
    }
    let differing = (spread / f64::max(weight, 0.1)).max(net.abs());
    // 1.35 to 1.6 cells for each name, and the estimate is wrong by a third at times.
    let cells = if differing < 370.0 { 2.1 * differing } else { 1.7 * differing };
    (cells as usize).max(2 * FIRST_CELLS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn rid(number: u64) -> Rid {
        Rid(first(blake3::hash(&number.to_be_bytes()).as_bytes()))
    }

    fn sketch(names: &BTreeSet<u64>, len: usize) -> Sketch {
        let mut sketch = Sketch::new(len);
        names.iter().for_each(|name| sketch.insert(&rid(*name)));
        sketch
    }

    fn only_in(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> BTreeSet<Rid> {
        a.difference(b).map(|name| rid(*name)).collect()
    }

    proptest! {
        #[test]
        fn the_difference_of_two_sets_is_found(
            a in prop::collection::btree_set(0_u64..200, 0..150),
            b in prop::collection::btree_set(0_u64..200, 0..150),
        ) {
            let (first, second) = (sketch(&a, 2048), sketch(&b, 2048));
            let found = peel(first.cells(0, 2048), second.cells(0, 2048)).unwrap();
            prop_assert_eq!(found.first.into_iter().collect::<BTreeSet<_>>(), only_in(&a, &b));
            prop_assert_eq!(found.second.into_iter().collect::<BTreeSet<_>>(), only_in(&b, &a));
        }

        #[test]
        fn what_was_taken_out_leaves_no_trace(
            a in prop::collection::btree_set(0_u64..200, 0..50),
            b in prop::collection::btree_set(200_u64..400, 0..50),
        ) {
            let mut both = sketch(&a.union(&b).copied().collect(), 64);
            b.iter().for_each(|name| both.remove(&rid(*name)));
            let expected = sketch(&a, 64);
            prop_assert_eq!(both.cells(0, 64), expected.cells(0, 64));
        }

        #[test]
        fn made_up_cells_end(bytes in prop::collection::vec(any::<[u8; CELL_LEN]>(), 0..64)) {
            let cells: Vec<Cell> = bytes.iter().map(Cell::from_bytes).collect();
            prop_assert!(cells.iter().zip(&bytes).all(|(cell, bytes)| cell.to_bytes() == *bytes));
            let _ = peel(&cells, &vec![Cell::default(); cells.len()]);
        }
    }

    #[test]
    fn ten_differences_need_few_cells() {
        let mut whole = 0;
        for trial in 0..500_u64 {
            let common = 10_000 * trial;
            let a = (common..common + 105).collect();
            let b = (common + 5..common + 110).collect();
            let (a, b) = (sketch(&a, FIRST_CELLS), sketch(&b, FIRST_CELLS));
            whole += usize::from(peel(a.cells(0, FIRST_CELLS), b.cells(0, FIRST_CELLS)).is_some());
        }
        assert!(whole > 490, "{whole} of 500");
    }
}
