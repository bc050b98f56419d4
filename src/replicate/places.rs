//! Places: how many pins are fetched at a time, and of which lane.
//!
//! Pure. The lanes share by weight what they compete for; the last one only probes.

use super::lane::{Lane, SMALL_BYTES};

/// What a pin takes of the places of its lane: a place has four parts, and a pin that is known to
/// be small takes one of them, since it costs no more than its round trips.
const WHOLE: u32 = 4;
const PART: u32 = 1;
/// Places that no other lane may take from [`Lane::Interactive`].
const RESERVED: u32 = 4 * WHOLE;
/// Places of the others; together they are what the first lane may take beyond its own.
const SHARED: u32 = (16 + 8 + 2) * WHOLE;

/// Who takes places, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Places {
    lanes: [Account; 4],
}

#[derive(Debug, Default, Clone, Copy)]
struct Account {
    used: u32,
    /// What it has had by its weight: the least comes next.
    had: u64,
}

/// What a pin of this size takes.
pub(super) fn cost(size_bytes: Option<u64>) -> u32 {
    match size_bytes {
        Some(..=SMALL_BYTES) => PART,
        _ => WHOLE,
    }
}

fn weight(lane: Lane) -> u64 {
    match lane {
        Lane::Interactive => 8,
        Lane::Fresh => 4,
        Lane::Bulk => 2,
        Lane::Stalled => 1,
    }
}

fn most(lane: Lane) -> u32 {
    match lane {
        Lane::Interactive => RESERVED + SHARED,
        Lane::Fresh => 16 * WHOLE,
        Lane::Bulk => 8 * WHOLE,
        Lane::Stalled => 2 * WHOLE,
    }
}

impl Places {
    fn account(&self, lane: Lane) -> Account {
        self.lanes.get(usize::from(lane.number())).copied().unwrap_or_default()
    }

    fn account_mut(&mut self, lane: Lane) -> Option<&mut Account> {
        self.lanes.get_mut(usize::from(lane.number()))
    }

    /// What is taken of the places that all share.
    fn shared_used(&self) -> u32 {
        let used = Lane::ALL.map(|lane| match lane {
            Lane::Interactive => self.account(lane).used.saturating_sub(RESERVED),
            _ => self.account(lane).used,
        });
        used.iter().sum()
    }

    /// Whether a pin of this lane can be begun.
    pub(super) fn has_room(&self, lane: Lane, cost: u32) -> bool {
        let used = self.account(lane).used + cost;
        let is_reserved = lane == Lane::Interactive && used <= RESERVED;
        used <= most(lane) && (is_reserved || self.shared_used() + cost <= SHARED)
    }

    /// The lane to take from next, of those whose next pin is of this cost.
    pub(super) fn next(&self, waiting: impl IntoIterator<Item = (Lane, u32)>) -> Option<Lane> {
        let able = waiting.into_iter().filter(|(lane, cost)| self.has_room(*lane, *cost));
        able.map(|(lane, _)| lane).min_by_key(|lane| (self.account(*lane).had, *lane))
    }

    /// A pin was begun.
    pub(super) fn take(&mut self, lane: Lane, cost: u32) {
        // Who had nothing to do does not save it up.
        let least = Lane::ALL.into_iter().map(|lane| self.account(lane));
        let least = least.filter(|account| account.used > 0).map(|account| account.had).min();
        let Some(account) = self.account_mut(lane) else { return };
        if account.used == 0 {
            account.had = account.had.max(least.unwrap_or_default());
        }
        account.used += cost;
        account.had += u64::from(cost) * 8 / weight(lane);
    }

    /// It takes its place again, though there may be none left.
    pub(super) fn take_back(&mut self, lane: Lane, cost: u32) {
        if let Some(account) = self.account_mut(lane) {
            account.used += cost;
        }
    }

    /// A pin gave its place up.
    pub(super) fn give(&mut self, lane: Lane, cost: u32) {
        if let Some(account) = self.account_mut(lane) {
            account.used = account.used.saturating_sub(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins as many as there is room for, and counts them by lane.
    fn fill(places: &mut Places, lanes: &[Lane], cost: u32) -> [u32; 4] {
        let mut begun = [0; 4];
        while let Some(lane) = places.next(lanes.iter().map(|lane| (*lane, cost))) {
            places.take(lane, cost);
            begun[usize::from(lane.number())] += 1;
        }
        begun
    }

    #[test]
    fn each_lane_has_its_places_and_the_first_may_take_what_is_free() {
        let all = Lane::ALL;
        assert_eq!(fill(&mut Places::default(), &all[1..], WHOLE), [0, 16, 8, 2]);
        assert_eq!(fill(&mut Places::default(), &all[1..], PART), [0, 64, 32, 8]);
        assert_eq!(fill(&mut Places::default(), &all[..1], WHOLE), [30, 0, 0, 0]);
        let mut places = Places::default();
        fill(&mut places, &all[1..], WHOLE);
        assert_eq!(fill(&mut places, &all, WHOLE), [4, 0, 0, 0]);
    }

    #[test]
    fn lanes_that_compete_share_by_weight() {
        let mut places = Places::default();
        let mut begun = [0_u32; 4];
        fill(&mut places, &Lane::ALL, WHOLE);
        let mut random = 1_u32;
        for _ in 0..3000 {
            // One of those under way is done, whichever.
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let used = Lane::ALL.map(|lane| places.account(lane).used);
            let mut at = (random >> 8) % used.iter().sum::<u32>();
            let done =
                Lane::ALL.into_iter().zip(used).find(|(_, used)| match at.checked_sub(*used) {
                    Some(rest) => {
                        at = rest;
                        false
                    }
                    None => true,
                });
            places.give(done.unwrap().0, WHOLE);
            let next = places.next(Lane::ALL.map(|lane| (lane, WHOLE))).unwrap();
            places.take(next, WHOLE);
            begun[usize::from(next.number())] += 1;
        }
        let [interactive, fresh, bulk, stalled] = begun.map(f64::from);
        let is_near = |ratio: f64, expected: f64| (ratio / expected - 1.0).abs() < 0.1;
        assert!(is_near(interactive / fresh, 2.0), "{begun:?}");
        assert!(is_near(fresh / bulk, 2.0) && is_near(bulk / stalled, 2.0), "{begun:?}");
    }

    #[test]
    fn a_place_given_up_is_free_and_may_be_taken_back() {
        let mut places = Places::default();
        fill(&mut places, &[Lane::Stalled], WHOLE);
        assert!(!places.has_room(Lane::Stalled, WHOLE));
        places.give(Lane::Stalled, WHOLE);
        places.take(Lane::Stalled, WHOLE);
        places.take_back(Lane::Stalled, WHOLE);
        assert!(!places.has_room(Lane::Stalled, PART));
        places.give(Lane::Stalled, WHOLE);
        assert!(!places.has_room(Lane::Stalled, PART));
        places.give(Lane::Stalled, WHOLE);
        assert!(places.has_room(Lane::Stalled, WHOLE));
    }
}
