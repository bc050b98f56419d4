//! Hybrid logical time: which change came after which, on machines whose clocks disagree.
//!
//! Pure: the wall clock enters as an argument. What was claimed must be durable before it is told,
//! which is its owner's business ([`super::core`]).

use std::collections::BTreeMap;

use super::keys::Author;

/// Bits of the counter below the milliseconds.
const COUNTER_BITS: u32 = 16;

/// A record from further ahead does not move the clock: one wrong clock must not infect all.
pub const AHEAD_MS_MAX: u64 = 10 * 60 * 1000;
/// A record from further ahead is malformed.
pub const FUTURE_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// How far the clock may be from the median of the members' clocks.
const SPREAD_MS_MAX: i64 = 2 * 60 * 1000;
/// Members whose clocks must be known before their median counts.
const MEDIAN_OF_MIN: usize = 3;

/// Unix milliseconds in the upper 48 bits, a counter in the lower 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first time of a millisecond.
    #[must_use]
    pub fn at(wall_ms: u64) -> Self {
        Self(wall_ms.min(u64::MAX >> COUNTER_BITS) << COUNTER_BITS)
    }

    /// The milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The next time; a full counter runs over into the milliseconds.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// As long before as `ms` says, or the beginning.
    #[must_use]
    pub fn before(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms << COUNTER_BITS))
    }
}

/// The clock of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// The last time that was given out or taken over.
    last: Hlc,
    /// How far the members' wall clocks are ahead of ours, in milliseconds.
    offsets: BTreeMap<Author, i64>,
}

impl Clock {
    pub(super) fn new(last: Hlc) -> Self {
        Self { last, offsets: BTreeMap::new() }
    }

    pub(super) fn last(&self) -> Hlc {
        self.last
    }

    /// Remembers what a member's wall clock showed.
    pub(super) fn heard(&mut self, member: Author, its_ms: u64, wall_ms: u64) {
        let offset =
            i64::try_from(its_ms).unwrap_or(i64::MAX) - i64::try_from(wall_ms).unwrap_or(i64::MAX);
        self.offsets.insert(member, offset);
    }

    /// How far a member's wall clock was ahead of ours when it was last heard, in milliseconds.
    pub(super) fn offset(&self, member: &Author) -> Option<i64> {
        self.offsets.get(member).copied()
    }

    pub(super) fn forget(&mut self, member: &Author) {
        self.offsets.remove(member);
    }

    /// How far our wall clock is from where it may be, in milliseconds; 0 when it may be believed.
    pub(super) fn correction_ms(&self) -> i64 {
        if self.offsets.len() < MEDIAN_OF_MIN {
            return 0;
        }
        let mut offsets: Vec<i64> = self.offsets.values().copied().collect();
        offsets.sort_unstable();
        let median = offsets.get(offsets.len() / 2).copied().unwrap_or_default();
        match median {
            ahead if ahead > SPREAD_MS_MAX => ahead - SPREAD_MS_MAX,
            behind if behind < -SPREAD_MS_MAX => behind + SPREAD_MS_MAX,
            _ => 0,
        }
    }

    /// The wall clock, kept near the members'.
    pub(super) fn wall_ms(&self, wall_ms: u64) -> u64 {
        wall_ms.saturating_add_signed(self.correction_ms())
    }

    /// Moves to the present; later records will be above what this returns.
    pub(super) fn claim(&mut self, wall_ms: u64) -> Hlc {
        self.last = self.last.max(Hlc::at(self.wall_ms(wall_ms)));
        self.last
    }

    /// The time of a new record that must be above `above`, what its author has seen of the key.
    pub(super) fn stamp(&mut self, wall_ms: u64, above: Hlc) -> Hlc {
        let stamp = self.claim(wall_ms).max(above).next();
        // A record from the far future is answered in kind, but the next key is not.
        self.last = if self.is_far(above, wall_ms) { self.last.next() } else { stamp };
        stamp
    }

    /// Takes over the time of a record that was seen, unless it is from the far future.
    pub(super) fn saw(&mut self, seen: Hlc, wall_ms: u64) {
        if !self.is_far(seen, wall_ms) {
            self.last = self.last.max(seen);
        }
    }

    /// Takes over a time below which our own records are known to lie.
    pub(super) fn lift(&mut self, known: Hlc) {
        self.last = self.last.max(known);
    }

    fn is_far(&self, seen: Hlc, wall_ms: u64) -> bool {
        seen.ms() > self.wall_ms(wall_ms).saturating_add(AHEAD_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrong_clock_is_pulled_to_the_others() {
        let mut clock = Clock::default();
        for member in 0..3 {
            clock.heard(Author([member; 32]), 10_000_000, 1_000_000);
        }
        assert_eq!(clock.wall_ms(1_000_000), 10_000_000 - SPREAD_MS_MAX as u64);
        clock.forget(&Author([0; 32]));
        assert_eq!(clock.wall_ms(1_000_000), 1_000_000);
    }

    #[test]
    fn the_far_future_does_not_spread() {
        let mut clock = Clock::default();
        let far = Hlc::at(1_000_000 + AHEAD_MS_MAX + 1);
        clock.saw(far, 1_000_000);
        assert_eq!(clock.last(), Hlc(0));
        let answer = clock.stamp(1_000_000, far);
        assert_eq!(answer, far.next());
        assert!(clock.stamp(1_000_000, Hlc(0)) < far);
    }

    proptest! {
        #[test]
        fn stamps_rise_whatever_the_wall_clock_does(
            walls in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 42), 1..50),
        ) {
            let mut clock = Clock::default();
            let mut claimed = Hlc(0);
            for (wall, above) in walls {
                let stamp = clock.stamp(wall, Hlc(above));
                prop_assert!(stamp > claimed && stamp > Hlc(above));
                claimed = clock.claim(wall);
            }
        }
    }
}
