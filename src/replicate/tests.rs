//! Tests of what follows from records, and of the queue.

use super::*;
use crate::db::{Connection, Transaction};
use crate::ipld::{Cid, Multihash, codec};
use crate::pins::{Mode, Pin};
use crate::sync::hash::Key;
use crate::sync::record::{self, Body, Live, Record, Tombstone};
use crate::sync::{Hlc, Sign as _, Signer};

pub(super) const NOW_MS: u64 = 1_700_000_000_000;
pub(super) const HOUR_MS: u64 = 3_600_000;
const GROUP: [u8; 32] = [5; 32];

pub(super) fn signer(number: u8) -> Signer {
    Signer::from_seed(&[number; 32]).unwrap()
}

pub(super) fn cid(number: u32) -> Cid {
    let digest = blake3::hash(&number.to_be_bytes());
    Cid::new_v1(codec::DAG_PB, Multihash::wrap(0x12, digest.as_bytes()))
}

pub(super) fn old(cid: &Cid) -> Cid {
    Cid::new_v0(cid.hash().clone()).unwrap()
}

pub(super) fn record(author: u8, cid: &Cid, at_ms: u64, live: Live) -> Record {
    Record::sign(&signer(author), &GROUP, cid, Hlc::at(at_ms), &Body::Live(live)).unwrap()
}

pub(super) fn tombstone(of: &Record, at_ms: u64) -> Record {
    let body = Body::Tomb(Tombstone { observed: of.version(), reason: None });
    Record::sign(&signer(1), &GROUP, of.cid(), Hlc::at(at_ms), &body).unwrap()
}

pub(super) fn peer(number: u8) -> Vec<u8> {
    vec![number; 38]
}

/// Members 1 to `count`; 1 is this node.
pub(super) fn roster(count: u8) -> Roster {
    let members = (1..=count).map(|number| Holder {
        peer: peer(number),
        author: signer(number).author(),
        weight: 1,
        tags: Vec::new(),
        is_out: false,
    });
    Roster { own: peer(1), members: members.collect() }
}

fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for schema in [SCHEMA, crate::pins::SCHEMA] {
        schema.migrations.iter().for_each(|step| connection.execute_batch(step).unwrap());
    }
    connection
}

/// A transaction's worth of calls.
fn within<T>(c: &mut Connection, work: impl FnOnce(&Transaction<'_>) -> T) -> T {
    let tx = c.transaction().unwrap();
    let result = work(&tx);
    tx.commit().unwrap();
    result
}

fn tell_with(c: &mut Connection, record: &Record, roster: &Roster, held: bool, now_ms: u64) {
    let (key, cid) = (record.key(), record.cid().clone());
    let subject = Subject { key: &key, cid: &cid, record: Some(record), held };
    within(c, |tx| follow(tx, &subject, roster, now_ms).unwrap());
}

fn tell(c: &mut Connection, record: &Record) {
    tell_with(c, record, &roster(3), false, NOW_MS);
}

fn pin_here(c: &mut Connection, cid: &Cid, mode: Mode, name: &str) {
    within(c, |tx| crate::pins::add(tx, cid, mode, name).unwrap());
}

fn pinned(c: &Connection, cid: &Cid) -> Vec<(Cid, Mode, String)> {
    let mut found = Vec::new();
    for cid in [cid.clone(), old(cid)] {
        for mode in [Mode::Recursive, Mode::Direct] {
            let pin = crate::pins::find(c, &cid, mode).unwrap();
            found.extend(pin.map(|Pin { cid, mode, name, .. }| (cid, mode, name)));
        }
    }
    found
}

fn state(c: &Connection, cid: &Cid) -> Option<State> {
    row(c, &Key::of(cid)).unwrap().map(|row| row.state)
}

fn named(name: &str) -> Live {
    Live { name: name.to_owned(), ..Live::default() }
}

#[test]
fn a_pin_of_another_member_is_queued_with_what_is_needed_to_fetch_it() {
    let mut c = database();
    let live = Live {
        size_bytes: Some(512),
        origins: vec![vec![4, 127, 0, 0, 1], vec![5; 200]],
        ..named("a name")
    };
    let record = record(2, &old(&cid(1)), NOW_MS - HOUR_MS, live);
    tell(&mut c, &record);
    let row = row(&c, &record.key()).unwrap().unwrap();
    assert_eq!(row.cid, old(&cid(1)));
    assert_eq!((row.mode, row.name.as_str()), (Mode::Recursive, "a name"));
    assert_eq!((row.state, row.lane, row.home), (State::Queued, Lane::Fresh, Lane::Fresh));
    assert_eq!((row.turn_ms, row.since_ms, row.size_bytes), (NOW_MS, NOW_MS, Some(512)));
    assert_eq!((row.attempts, row.next_at_ms, row.error.as_str()), (0, None, ""));
    assert_eq!(row.peers, [peer(2)]);
    assert_eq!(row.origins, [vec![4, 127, 0, 0, 1], vec![5; 200]]);
    assert_eq!(counts(&c).unwrap(), Counts { queued: 1, ..Counts::default() });
    assert_eq!(unfinished(&c, None, 9).unwrap(), [(record.key(), old(&cid(1)))]);
    assert!(pinned(&c, &cid(1)).is_empty());
    // Again is the same.
    tell_with(&mut c, &record, &roster(3), false, NOW_MS + 1);
    assert_eq!(super::row(&c, &record.key()).unwrap().unwrap(), row);
}

#[test]
fn the_lane_is_that_of_age_and_priority() {
    let mut c = database();
    let lanes = [(1, 0, 25), (2, 0, 23), (3, 1, 25)].map(|(number, priority, hours)| {
        let live = Live { priority, ..Live::default() };
        let record = record(2, &cid(number), NOW_MS - hours * HOUR_MS, live);
        tell(&mut c, &record);
        row(&c, &record.key()).unwrap().unwrap().lane
    });
    assert_eq!(lanes, [Lane::Bulk, Lane::Fresh, Lane::Interactive]);
}

#[test]
fn what_is_whole_here_changes_only_its_name() {
    let mut c = database();
    pin_here(&mut c, &cid(1), Mode::Recursive, "old");
    tell(&mut c, &record(2, &cid(1), NOW_MS, named("new")));
    assert_eq!(pinned(&c, &cid(1)), [(cid(1), Mode::Recursive, "new".to_owned())]);
    assert_eq!(state(&c, &cid(1)), None);
}

#[test]
fn both_versions_of_a_cid_are_one_pin_and_the_record_says_which() {
    let mut c = database();
    pin_here(&mut c, &cid(1), Mode::Recursive, "one");
    pin_here(&mut c, &old(&cid(1)), Mode::Direct, "two");
    tell(&mut c, &record(2, &old(&cid(1)), NOW_MS, named("three")));
    assert_eq!(pinned(&c, &cid(1)), [(old(&cid(1)), Mode::Recursive, "three".to_owned())]);
    let record = record(2, &cid(1), NOW_MS + 1, named("three"));
    tell(&mut c, &record);
    assert_eq!(pinned(&c, &cid(1)), [(cid(1), Mode::Recursive, "three".to_owned())]);
    // A removal that names one version removes the other as well.
    pin_here(&mut c, &old(&cid(1)), Mode::Recursive, "");
    tell(&mut c, &tombstone(&record, NOW_MS + 2));
    assert!(pinned(&c, &cid(1)).is_empty());
}

#[test]
fn a_change_of_mode_fetches_only_what_is_missing() {
    let mut c = database();
    let direct = Live { mode: record::Mode::Direct, ..Live::default() };
    pin_here(&mut c, &cid(1), Mode::Direct, "");
    tell(&mut c, &record(2, &cid(1), NOW_MS, Live::default()));
    assert_eq!(state(&c, &cid(1)), Some(State::Queued));
    assert_eq!(pinned(&c, &cid(1)), [(cid(1), Mode::Direct, String::new())]);
    // Back again before it was fetched.
    tell(&mut c, &record(2, &cid(1), NOW_MS + 1, direct.clone()));
    assert_eq!(state(&c, &cid(1)), None);
    pin_here(&mut c, &cid(2), Mode::Recursive, "");
    tell(&mut c, &record(2, &cid(2), NOW_MS, direct));
    assert_eq!(pinned(&c, &cid(2)), [(cid(2), Mode::Direct, String::new())]);
    assert_eq!(state(&c, &cid(2)), None);
    // More than asked for, and not less.
    let depth = Live { mode: record::Mode::Depth(2), ..Live::default() };
    let deep = record(2, &cid(3), NOW_MS, depth);
    tell(&mut c, &deep);
    assert_eq!(row(&c, &deep.key()).unwrap().unwrap().mode, Mode::Recursive);
}

#[test]
fn a_removal_takes_the_pin_and_the_row_at_once() {
    let mut c = database();
    let (whole, queued) = (cid(1), cid(2));
    for cid in [&whole, &queued] {
        if *cid == whole {
            pin_here(&mut c, cid, Mode::Recursive, "");
        }
        let record = record(2, cid, NOW_MS, Live::default());
        tell(&mut c, &record);
        tell(&mut c, &tombstone(&record, NOW_MS + 1));
        assert!(pinned(&c, cid).is_empty());
        assert_eq!(state(&c, cid), None);
    }
}

#[test]
fn what_is_removed_in_a_mass_stays_for_a_day() {
    let mut c = database();
    let (whole, queued) = (cid(1), cid(2));
    pin_here(&mut c, &whole, Mode::Recursive, "name");
    for cid in [&whole, &queued] {
        let record = record(2, cid, NOW_MS, named("name"));
        tell(&mut c, &record);
        tell_with(&mut c, &tombstone(&record, NOW_MS + 1), &roster(3), true, NOW_MS);
    }
    assert_eq!(state(&c, &queued), None);
    assert_eq!(state(&c, &whole), Some(State::UnpinHeld));
    assert_eq!(pinned(&c, &whole), [(whole.clone(), Mode::Recursive, "name".to_owned())]);
    assert_eq!(next_end(&c).unwrap(), Some(NOW_MS + 24 * HOUR_MS));
    // The tombstone is collected: nothing new.
    let key = Key::of(&whole);
    let subject = Subject { key: &key, cid: &whole, record: None, held: false };
    within(&mut c, |tx| follow(tx, &subject, &roster(3), NOW_MS + HOUR_MS).unwrap());
    assert_eq!(state(&c, &whole), Some(State::UnpinHeld));
    let early = within(&mut c, |tx| remove_ended(tx, NOW_MS + 23 * HOUR_MS, 9).unwrap());
    assert_eq!(early, 0);
    assert_eq!(within(&mut c, |tx| remove_ended(tx, NOW_MS + 24 * HOUR_MS, 9).unwrap()), 1);
    assert!(pinned(&c, &whole).is_empty());
    assert_eq!((state(&c, &whole), next_end(&c).unwrap()), (None, None));
}

#[test]
fn what_is_held_comes_back_with_a_pin_and_goes_when_told() {
    let mut c = database();
    for number in [1, 2, 3] {
        pin_here(&mut c, &cid(number), Mode::Recursive, "");
        let record = record(2, &cid(number), NOW_MS, Live::default());
        tell_with(&mut c, &tombstone(&record, NOW_MS + 1), &roster(3), true, NOW_MS);
    }
    tell(&mut c, &record(3, &cid(1), NOW_MS + 2, named("again")));
    assert_eq!(state(&c, &cid(1)), None);
    assert_eq!(pinned(&c, &cid(1)), [(cid(1), Mode::Recursive, "again".to_owned())]);
    assert_eq!(within(&mut c, |tx| release(tx, Some(&Key::of(&cid(2)))).unwrap()), 1);
    assert_eq!(within(&mut c, |tx| release(tx, None).unwrap()), 1);
    assert!(pinned(&c, &cid(2)).is_empty() && pinned(&c, &cid(3)).is_empty());
    assert_eq!(pinned(&c, &cid(1)).len(), 1);
}

#[test]
fn a_pin_ends_when_its_time_comes() {
    let mut c = database();
    let end_ms = NOW_MS + HOUR_MS;
    let ends = Live { expire_ms: Some(end_ms), ..Live::default() };
    let record = record(2, &cid(1), NOW_MS, ends);
    pin_here(&mut c, &cid(1), Mode::Recursive, "");
    tell(&mut c, &record);
    assert_eq!(next_end(&c).unwrap(), Some(end_ms));
    assert_eq!(within(&mut c, |tx| remove_ended(tx, end_ms - 1, 9).unwrap()), 0);
    assert_eq!(within(&mut c, |tx| remove_ended(tx, end_ms, 9).unwrap()), 1);
    assert!(pinned(&c, &cid(1)).is_empty());
    assert_eq!(next_end(&c).unwrap(), None);
    // Told of it later, it is over already.
    tell_with(&mut c, &record, &roster(3), false, end_ms);
    assert_eq!((state(&c, &cid(1)), next_end(&c).unwrap()), (None, None));
}

#[test]
fn content_that_is_to_outlast_its_pin_does() {
    let mut c = database();
    let keep_ms = NOW_MS + 2 * HOUR_MS;
    let live = |ends: Option<u64>| Live {
        expire_ms: ends,
        hold_until_ms: Some(keep_ms),
        ..Live::default()
    };
    pin_here(&mut c, &cid(1), Mode::Recursive, "");
    pin_here(&mut c, &cid(2), Mode::Recursive, "");
    tell(&mut c, &record(2, &cid(1), NOW_MS, live(Some(NOW_MS + HOUR_MS))));
    let removed = record(2, &cid(2), NOW_MS, live(None));
    tell(&mut c, &removed);
    tell(&mut c, &tombstone(&removed, NOW_MS + 1));
    within(&mut c, |tx| remove_ended(tx, NOW_MS + HOUR_MS, 9).unwrap());
    for number in [1, 2] {
        assert_eq!(state(&c, &cid(number)), Some(State::UnpinHeld));
        assert_eq!(pinned(&c, &cid(number)).len(), 1);
    }
    assert_eq!(next_end(&c).unwrap(), Some(keep_ms));
    assert_eq!(within(&mut c, |tx| remove_ended(tx, keep_ms, 9).unwrap()), 2);
    assert!(pinned(&c, &cid(1)).is_empty() && pinned(&c, &cid(2)).is_empty());
}

/// A pin of one copy that another member than this node holds, and one that this node holds.
fn elsewhere_and_here(roster: &Roster) -> (Record, Record) {
    let live = || Live { replication_max: Some(1), ..Live::default() };
    let find = |is_ours| {
        let mut records = (0..).map(|number| record(2, &cid(number), NOW_MS, live()));
        let is_it = |record: &Record| {
            let found = holders(record.live().unwrap(), &record.key(), roster);
            found.include(&roster.own) == is_ours
        };
        records.find(is_it).unwrap()
    };
    (find(false), find(true))
}

#[test]
fn what_others_hold_is_not_queued_and_goes_when_they_have_it() {
    let mut c = database();
    let (theirs, ours) = elsewhere_and_here(&roster(3));
    tell(&mut c, &theirs);
    tell(&mut c, &ours);
    assert_eq!((state(&c, theirs.cid()), state(&c, ours.cid())), (None, Some(State::Queued)));
    // What is here already waits for them.
    pin_here(&mut c, theirs.cid(), Mode::Recursive, "");
    tell(&mut c, &theirs);
    tell_with(&mut c, &theirs, &roster(3), false, NOW_MS + 1);
    let waiting = row(&c, &theirs.key()).unwrap().unwrap();
    assert_eq!((waiting.state, waiting.needed, waiting.since_ms), (State::UnpinQueued, 1, NOW_MS));
    assert_eq!(counts(&c).unwrap().missing(), 1);
    for unsure in [None, Some(0)] {
        assert_eq!(within(&mut c, |tx| hand_off(tx, |_| unsure).unwrap()), 0);
    }
    assert_eq!(pinned(&c, theirs.cid()).len(), 1);
    assert_eq!(within(&mut c, |tx| hand_off(tx, |_| Some(1)).unwrap()), 1);
    assert!(pinned(&c, theirs.cid()).is_empty());
    assert_eq!(state(&c, theirs.cid()), None);
}

#[test]
fn a_node_that_takes_nothing_new_keeps_what_it_has() {
    let mut c = database();
    let (_, ours) = elsewhere_and_here(&roster(3));
    let mut full = roster(3);
    full.members[0].weight = 0;
    tell_with(&mut c, &ours, &full, false, NOW_MS);
    assert_eq!(state(&c, ours.cid()), None);
    pin_here(&mut c, ours.cid(), Mode::Recursive, "");
    tell_with(&mut c, &ours, &full, false, NOW_MS);
    assert_eq!(state(&c, ours.cid()), None);
    assert_eq!(pinned(&c, ours.cid()).len(), 1);
    // What all hold waits for room.
    let all = record(2, &cid(900), NOW_MS, Live::default());
    tell_with(&mut c, &all, &full, false, NOW_MS);
    assert_eq!(state(&c, all.cid()), Some(State::Queued));
}

#[test]
fn a_newer_record_starts_over() {
    let mut c = database();
    let first = record(2, &cid(1), NOW_MS, Live::default());
    tell(&mut c, &first);
    let failed = Row {
        state: State::Stalled,
        lane: Lane::Stalled,
        attempts: 9,
        next_at_ms: Some(NOW_MS + HOUR_MS),
        error: "nobody has it".to_owned(),
        blocks: 3,
        bytes: 30,
        ..row(&c, &first.key()).unwrap().unwrap()
    };
    within(&mut c, |tx| super::row::put(tx, &failed).unwrap());
    let second = record(3, &cid(1), NOW_MS + 1, named("again"));
    tell_with(&mut c, &second, &roster(3), false, NOW_MS + 5);
    let row = row(&c, &first.key()).unwrap().unwrap();
    assert_eq!((row.state, row.lane, row.attempts), (State::Queued, Lane::Fresh, 0));
    assert_eq!((row.next_at_ms, row.error.as_str()), (None, ""));
    assert_eq!((row.blocks, row.bytes, row.since_ms), (3, 30, NOW_MS));
    assert_eq!((row.name.as_str(), row.peers), ("again", vec![peer(3)]));
}

/// Rows 0..`count`, failed so often, that wait for an hour.
fn failed_rows(c: &mut Connection, attempts: &[u32]) {
    for (number, attempts) in (0..).zip(attempts) {
        let record = record(2 + u8::from(number % 2 == 1), &cid(number), NOW_MS, Live::default());
        tell(c, &record);
        let row = row(c, &record.key()).unwrap().unwrap();
        let is_stalled = *attempts >= 6;
        let failed = Row {
            state: if is_stalled { State::Stalled } else { State::Failed },
            lane: row.home.after(*attempts),
            attempts: *attempts,
            next_at_ms: Some(NOW_MS + HOUR_MS),
            ..row
        };
        within(c, |tx| super::row::put(tx, &failed).unwrap());
    }
}

#[test]
fn what_failed_is_tried_again_when_told_or_when_its_peer_comes() {
    let mut c = database();
    failed_rows(&mut c, &[1, 7, 2, 8]);
    assert_eq!(super::row::ready(&c, Lane::Fresh, 9).unwrap(), []);
    // Member 3 has pinned the odd ones.
    assert_eq!(within(&mut c, |tx| wake_failed(tx, &peer(3)).unwrap()), 4);
    let rows = page(&c, &[], None, 9).unwrap();
    assert!(rows.iter().all(|row| row.next_at_ms.is_none()));
    let fresh: Vec<Row> = super::row::ready(&c, Lane::Fresh, 9).unwrap();
    assert_eq!(fresh.len(), 4);
    let find = |number| row(&c, &Key::of(&cid(number))).unwrap().unwrap();
    assert_eq!((find(0).attempts, find(0).state), (1, State::Failed));
    assert_eq!((find(1).attempts, find(1).state), (0, State::Queued));
    let mut c = database();
    failed_rows(&mut c, &[1, 7, 2]);
    assert_eq!(within(&mut c, |tx| recover(tx, Some(&Key::of(&cid(1)))).unwrap()), 1);
    assert_eq!(row(&c, &Key::of(&cid(1))).unwrap().unwrap().lane, Lane::Fresh);
    // Many at once do not stand before what is new.
    tell(&mut c, &record(2, &cid(9), NOW_MS, Live::default()));
    assert_eq!(within(&mut c, |tx| recover(tx, None).unwrap()), 2);
    let fresh = super::row::ready(&c, Lane::Fresh, 9).unwrap();
    let turns: Vec<&Cid> = fresh.iter().map(|row| &row.cid).collect();
    assert!(turns[..2].contains(&&cid(1)) && turns[..2].contains(&&cid(9)));
    assert_eq!(turns.len(), 4);
    assert_eq!(counts(&c).unwrap(), Counts { queued: 4, ..Counts::default() });
}

#[test]
fn waits_end_when_they_should_and_let_new_ones_pass() {
    let mut c = database();
    failed_rows(&mut c, &[1, 1]);
    tell_with(&mut c, &record(2, &cid(9), NOW_MS, Live::default()), &roster(3), false, NOW_MS);
    assert_eq!(super::row::next_due(&c).unwrap(), Some(NOW_MS + HOUR_MS));
    let later = NOW_MS + HOUR_MS;
    assert_eq!(within(&mut c, |tx| super::row::promote(tx, later - 1, 9).unwrap()), 0);
    assert_eq!(within(&mut c, |tx| super::row::promote(tx, later, 9).unwrap()), 2);
    let turns: Vec<Cid> =
        super::row::ready(&c, Lane::Fresh, 9).unwrap().into_iter().map(|row| row.cid).collect();
    assert_eq!((turns.len(), &turns[0]), (3, &cid(9)));
    // They are failures until they have been tried.
    assert_eq!(counts(&c).unwrap(), Counts { queued: 1, failing: 2, ..Counts::default() });
}

#[test]
fn pages_go_on_after_a_key_and_keep_to_the_states() {
    let mut c = database();
    failed_rows(&mut c, &[1, 7, 2, 8, 1]);
    let mut found = Vec::new();
    while let Some(row) = page(&c, &[], found.last(), 2).unwrap().last() {
        found.extend(page(&c, &[], found.last(), 2).unwrap().iter().map(|row| row.key));
        assert_eq!(found.last(), Some(&row.key));
    }
    assert_eq!(found.len(), 5);
    assert!(found.is_sorted());
    let stalled = page(&c, &[State::Stalled], None, 9).unwrap();
    assert_eq!(stalled.len(), 2);
    assert_eq!(page(&c, &[State::Pinned], None, 9).unwrap(), []);
    assert_eq!(page(&c, &[State::Stalled, State::Failed], None, 9).unwrap().len(), 5);
}

#[test]
fn states_have_names_of_their_own() {
    for state in State::ALL {
        assert_eq!(State::parse(state.name()), Some(state));
    }
    assert_eq!(State::parse("nothing"), None);
}
