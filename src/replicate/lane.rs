//! Lanes: who is fetched before whom, and when what failed is tried again.
//!
//! Pure.

use crate::sync::record::{Live, Record};

/// A record that is younger is new, in milliseconds.
const FRESH_MS: u64 = 24 * 3600 * 1000;
/// Attempts after which a pin leaves the lane of new ones.
const FRESH_ATTEMPTS_MAX: u32 = 3;
/// Attempts after which it is only probed.
pub(super) const STALLED_ATTEMPTS: u32 = 6;
/// What is at most so large, and known to be, goes first; bytes.
pub(super) const SMALL_BYTES: u64 = 1 << 20;
/// By how much later than they came those go whose size is not known, in milliseconds.
const UNKNOWN_LATER_MS: u64 = 10_000;
/// The same for those that are known to be larger: a second for each 16 MiB, up to five minutes.
const LARGE_BYTES_PER_MS: u64 = 16 * 1024 * 1024 / 1000;
const LARGE_LATER_MS_MAX: u64 = 300_000;
/// A step of priority is worth a second, up to an hour.
const PRIORITY_MS: u64 = 1_000;
const PRIORITY_MS_MAX: u64 = 3_600_000;
/// The first wait after a failure, which doubles, and the longest; milliseconds.
const RETRY_MS: u64 = 30_000;
pub(super) const RETRY_MS_MAX: u64 = 6 * 3600 * 1000;
/// Nothing is tried again sooner.
const RETRY_MS_MIN: u64 = 1_000;

/// A class of pins that wait together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Somebody waits for it: pins with a priority.
    Interactive,
    /// Pins of the last 24 hours.
    Fresh,
    /// Older ones: what a new node takes over, or what moved to this one.
    Bulk,
    /// What could not be had so often that it is only probed.
    Stalled,
}

impl Lane {
    /// All, by rank.
    pub const ALL: [Self; 4] = [Self::Interactive, Self::Fresh, Self::Bulk, Self::Stalled];

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Interactive => 0,
            Self::Fresh => 1,
            Self::Bulk => 2,
            Self::Stalled => 3,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.number() == number)
    }

    /// Where a pin belongs before anything failed.
    pub(super) fn of(record: &Record, live: &Live, now_ms: u64) -> Self {
        if live.priority > 0 {
            Self::Interactive
        } else if record.hlc().ms().saturating_add(FRESH_MS) > now_ms {
            Self::Fresh
        } else {
            Self::Bulk
        }
    }

    /// Where a pin of this lane belongs after so many failures.
    pub(super) fn after(self, attempts: u32) -> Self {
        match attempts {
            STALLED_ATTEMPTS.. => Self::Stalled,
            FRESH_ATTEMPTS_MAX.. => self.max(Self::Bulk),
            _ => self,
        }
    }
}

/// The place of a pin in its lane: as if it had come then, in Unix milliseconds. Small ones go
/// before large ones that came a while earlier, but nothing waits for ever.
pub(super) fn turn_ms(live: &Live, now_ms: u64) -> u64 {
    let later = match live.size_bytes {
        None => UNKNOWN_LATER_MS,
        Some(..=SMALL_BYTES) => 0,
        Some(bytes) => (bytes / LARGE_BYTES_PER_MS).min(LARGE_LATER_MS_MAX),
    };
    let sooner = u64::from(live.priority).saturating_mul(PRIORITY_MS).min(PRIORITY_MS_MAX);
    now_ms.saturating_add(later).saturating_sub(sooner)
}

/// How long to wait after the `attempts`-th failure, in milliseconds: anything up to 30 s that
/// double with each, so that the members of a group do not try in step. `random` is any number.
pub(super) fn retry_ms(attempts: u32, random: u64) -> u64 {
    let doublings = attempts.saturating_sub(1).min(20);
    let most = RETRY_MS.saturating_mul(1 << doublings).min(RETRY_MS_MAX);
    RETRY_MS_MIN + random % (most - RETRY_MS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_six_hours_and_are_spread() {
        for (attempts, most) in [(1, 30_000), (2, 60_000), (5, 480_000), (40, RETRY_MS_MAX)] {
            assert!((0..1000).all(|random| retry_ms(attempts, random * 7919) < most));
            assert_eq!(retry_ms(attempts, most - RETRY_MS_MIN - 1), most - 1);
            assert_eq!(retry_ms(attempts, 0), RETRY_MS_MIN);
        }
    }

    #[test]
    fn small_pins_go_first_and_large_ones_wait_five_minutes_at_most() {
        let turn = |size_bytes, priority| {
            turn_ms(&Live { size_bytes, priority, ..Live::default() }, 1_000_000_000)
        };
        assert!(turn(Some(512), 0) < turn(None, 0));
        assert!(turn(Some(SMALL_BYTES), 0) < turn(Some(1 << 30), 0));
        assert_eq!(turn(Some(u64::MAX), 0), 1_000_300_000);
        assert!(turn(None, 11) < turn(Some(512), 0));
        assert_eq!(turn(Some(512), u32::MAX), 1_000_000_000 - PRIORITY_MS_MAX);
    }

    #[test]
    fn failures_lead_to_the_lane_of_probes() {
        let lanes = |lane: Lane| [0, 2, 3, 5, 6, 99].map(|attempts| lane.after(attempts));
        let (fresh, bulk, stalled) = (Lane::Fresh, Lane::Bulk, Lane::Stalled);
        assert_eq!(lanes(fresh), [fresh, fresh, bulk, bulk, stalled, stalled]);
        assert_eq!(lanes(bulk), [bulk, bulk, bulk, bulk, stalled, stalled]);
        assert_eq!(Lane::Interactive.after(3), bulk);
    }
}
