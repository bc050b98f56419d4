//! Tests of who holds what.

use proptest::prelude::*;

use super::*;

fn holder(number: u8, weight: u32) -> Holder {
    Holder {
        peer: vec![number; 38],
        author: Author([number; 32]),
        weight,
        tags: Vec::new(),
        is_out: false,
    }
}

fn roster(weights: &[u32]) -> Roster {
    let members = (0..).zip(weights).map(|(number, weight)| holder(number, *weight)).collect();
    Roster { own: vec![0; 38], members }
}

fn key(number: u32) -> Key {
    Key(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

fn copies(most: u32) -> Live {
    Live { replication_max: Some(most), ..Live::default() }
}

/// The first bytes of the peer ids of the holders, in their order.
fn chosen(live: &Live, key: &Key, roster: &Roster) -> Vec<u8> {
    match holders(live, key, roster) {
        Holders::All => panic!("all hold it"),
        Holders::These(holders) => holders.iter().map(|holder| holder.peer[0]).collect(),
    }
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "compared with some tolerance")]
fn the_logarithm_is_right_to_eight_digits() {
    let unit = (1_u64 << FRACTION_BITS) as f64;
    for hash in [0, 1, 2, 3, 1000, 1 << 40, (1 << 63) - 1, 1 << 63, u64::MAX - (1 << 40)] {
        let exact = 64.0 - ((hash as f64) + 1.0).log2();
        let ours = distance(hash) as f64 / unit;
        assert!((ours - exact).abs() <= exact * 1e-8 + 2.0 / unit, "{hash}: {ours}, {exact}");
    }
    assert_eq!(distance(0), 64 << FRACTION_BITS);
    assert_eq!(distance((1 << 63) - 1), 1 << FRACTION_BITS);
    assert_eq!(distance(u64::MAX), 1);
}

#[test]
fn all_machines_choose_the_same() {
    let roster = roster(&[1, 1, 2, 4, 1, 1, 1]);
    let found = [0, 1, 2, 3].map(|number| chosen(&copies(3), &key(number), &roster));
    assert_eq!(found, EXPECTED);
}

/// What this program chose when the rule was written: it must never choose anything else.
const EXPECTED: [[u8; 3]; 4] = [[4, 3, 2], [0, 5, 3], [3, 2, 6], [0, 1, 3]];

#[test]
fn without_a_number_all_hold_it() {
    let roster = roster(&[0, 1]);
    assert_eq!(holders(&Live::default(), &key(1), &roster), Holders::All);
    assert_eq!(holders(&copies(0), &key(1), &roster), Holders::All);
    assert!(Holders::All.include(b"anybody"));
}

#[test]
fn those_that_are_out_or_take_nothing_are_left_out() {
    let mut roster = roster(&[1, 0, 1, 1]);
    roster.members[2].is_out = true;
    for number in 0..20 {
        let mut found = chosen(&copies(3), &key(number), &roster);
        found.sort_unstable();
        assert_eq!(found, [0, 3]);
    }
}

#[test]
fn what_the_user_chose_comes_first_in_that_order() {
    let roster = roster(&[1; 6]);
    let chosen_members = vec![vec![4; 38], vec![2; 38], vec![99; 38]];
    for number in 0..20 {
        let live = Live { members: chosen_members.clone(), ..copies(3) };
        let found = chosen(&live, &key(number), &roster);
        assert_eq!(found[..2], [4, 2]);
        assert!(found.len() == 3 && ![2, 4, 99].contains(&found[2]));
        let one = Live { members: chosen_members.clone(), ..copies(1) };
        assert_eq!(chosen(&one, &key(number), &roster), [4]);
    }
}

#[test]
fn tags_leave_those_without_them_out_unless_nobody_has_them() {
    let mut roster = roster(&[1; 4]);
    roster.members[1].tags = vec!["ssd".into(), "eu".into()];
    roster.members[3].tags = vec!["eu".into()];
    let tagged = |tag: &str, live: Live| Live { tags: vec![tag.into()], ..live };
    assert_eq!(chosen(&tagged("eu", Live::default()), &key(1), &roster), [1, 3]);
    assert_eq!(chosen(&tagged("ssd", copies(2)), &key(1), &roster), [1]);
    assert_eq!(holders(&tagged("none", Live::default()), &key(1), &roster), Holders::All);
}

#[test]
fn shares_are_as_the_weights() {
    let weights = [1, 1, 2, 2, 4];
    let roster = roster(&weights);
    let mut counts = [0_u32; 5];
    const KEYS: u32 = 20_000;
    for number in 0..KEYS {
        counts[usize::from(chosen(&copies(1), &key(number), &roster)[0])] += 1;
    }
    for (count, weight) in counts.iter().zip(weights) {
        let ideal = f64::from(KEYS * weight) / 10.0;
        let off = (f64::from(*count) - ideal).abs() / ideal;
        assert!(off < 0.08, "{counts:?}");
    }
}

proptest! {
    #[test]
    fn a_member_that_comes_moves_only_what_it_takes(
        weights in prop::collection::vec(1..5_u32, 2..12),
        new in 1..5_u32,
        most in 1..5_u32,
        number in any::<u32>(),
    ) {
        let before = roster(&weights);
        let mut after = before.clone();
        after.members.push(holder(200, new));
        let (live, key) = (copies(most), key(number));
        let (old, mut found) = (chosen(&live, &key, &before), chosen(&live, &key, &after));
        // The same backwards: a member that goes leaves the others where they were.
        if found.contains(&200) {
            found.retain(|member| *member != 200);
            prop_assert_eq!(&old[..found.len()], &found[..]);
            prop_assert!(old.len() <= found.len() + 1);
        } else {
            prop_assert_eq!(old, found);
        }
    }

    #[test]
    fn the_order_of_the_roster_does_not_matter(
        weights in prop::collection::vec(0..5_u32, 1..12),
        number in any::<u32>(),
    ) {
        let before = roster(&weights);
        let mut after = before.clone();
        after.members.reverse();
        let (live, key) = (copies(3), key(number));
        prop_assert_eq!(chosen(&live, &key, &before), chosen(&live, &key, &after));
    }

    #[test]
    fn nearer_hashes_have_higher_scores(low in any::<u64>(), high in any::<u64>()) {
        prop_assume!(low < high);
        prop_assert!(distance(low) >= distance(high));
    }
}
