//! Local pins and records side by side: what is recorded, when, and what a failure leaves.

use tempfile::TempDir;

use super::ledger::{Basis, Entry};
use super::*;
use crate::config::Config;
use crate::ipld::{Multihash, codec};
use crate::net::SwarmKey;
use crate::node::first_start;
use crate::pins::{self, Mode, Pins};
use crate::replicate::{self, Queue};
use crate::repo::{self, Identity, Repo};
use crate::store::{self, Store};
use crate::sync;

struct Fixture {
    dir: TempDir,
    repo: Repo,
    identity: Identity,
    db: Db,
    store: Store,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::generate("ed25519", None).unwrap();
        Self::of(dir, identity).await
    }

    async fn of(dir: TempDir, identity: Identity) -> Self {
        let peer_id = identity.peer_id().to_base58();
        let config = Config::fresh(&peer_id, &identity.private_key_text()).unwrap();
        repo::init(dir.path(), &config).unwrap();
        let repo = Repo::open(dir.path(), None).unwrap();
        let store = Store::open(dir.path(), store::Options::default()).unwrap();
        let schemas =
            [pins::SCHEMA, first_start::SCHEMA, SCHEMA, sync::db::SCHEMA, replicate::SCHEMA];
        let db = Db::open(&dir.path().join("state.sqlite"), &schemas).unwrap();
        first_start::ensure(&db, &store).await.unwrap();
        Self { dir, repo, identity, db, store }
    }

    fn ledger(&self, key: u8) -> Ledger {
        let key = SwarmKey::from_bytes([key; 32]);
        let basis =
            Basis { repo: &self.repo, identity: &self.identity, key: &key, is_trusted: false };
        Ledger::new(self.db.clone(), basis, Queue::default(), Intervals::default()).unwrap()
    }

    fn pinset(&self, ledger: Option<&Ledger>) -> Pinset {
        Pinset::new(self.db.clone(), ledger.cloned())
    }

    fn pins(&self) -> Pins {
        Pins::new(self.db.clone(), self.store.clone())
    }
}

fn raw(text: &str) -> Cid {
    Cid::new_v1(codec::RAW, Multihash::wrap(0x12, blake3::hash(text.as_bytes()).as_bytes()))
}

fn add(cid: &Cid, name: &str) -> Change {
    Change::recursive(cid.clone(), name.to_owned())
}

async fn record_waiting(ledger: &Ledger) {
    while ledger.write(changes::record_waiting).await.unwrap() {}
}

/// The names under which the group has pins, by CID.
async fn recorded(ledger: &Ledger) -> Vec<(Cid, String)> {
    let page = |entry: &mut Entry<'_>| {
        // Opens the core, as the first event does.
        entry.may_record()?;
        Ok(sync::db::live_page(entry.transaction(), None, 1000)?)
    };
    let records = ledger.write(page).await.unwrap();
    let mut found: Vec<_> = records
        .iter()
        .map(|record| (record.cid().clone(), record.live().unwrap().name.clone()))
        .collect();
    found.sort_by_key(|(cid, _)| cid.to_string());
    found
}

#[tokio::test]
async fn what_was_pinned_without_a_group_is_recorded_when_there_is_one() {
    let fixture = Fixture::new().await;
    let (a, b) = (raw("a"), raw("b"));
    let alone = fixture.pinset(None);
    alone.change(vec![add(&a, "one"), add(&b, "two")]).await.unwrap();
    let ledger = fixture.ledger(1);
    record_waiting(&ledger).await;
    let found = recorded(&ledger).await;
    // The empty directory of a fresh repository is not among them.
    assert_eq!(found.len(), 2);
    assert!(found.contains(&(a.clone(), "one".to_owned())));
    // A removal without a daemon is not forgotten either.
    alone.remove(b, true).await.unwrap();
    record_waiting(&ledger).await;
    assert_eq!(recorded(&ledger).await, [(a, "one".to_owned())]);
}

#[tokio::test]
async fn the_pins_of_a_node_come_with_it_into_another_group() {
    let fixture = Fixture::new().await;
    let a = raw("a");
    let first = fixture.ledger(1);
    fixture.pinset(Some(&first)).change(vec![add(&a, "x")]).await.unwrap();
    let root = first.glance().borrow().roots.live;
    let second = fixture.ledger(2);
    assert_eq!(recorded(&second).await, []);
    record_waiting(&second).await;
    assert_eq!(recorded(&second).await, [(a, "x".to_owned())]);
    assert_ne!(second.glance().borrow().roots.live, root, "signed for another group");
}

#[tokio::test]
async fn a_write_that_fails_leaves_neither_pin_nor_record() {
    let fixture = Fixture::new().await;
    let ledger = fixture.ledger(1);
    let (a, b) = (raw("a"), raw("b"));
    fixture.pinset(Some(&ledger)).change(vec![add(&a, "")]).await.unwrap();
    let before = *ledger.glance().borrow();
    let change = vec![add(&b, "")];
    let failing = ledger.write(move |entry| {
        changes::make(entry, &change)?;
        Err::<(), _>(Error::failed("the write goes wrong after its record"))
    });
    failing.await.unwrap_err();
    assert!(fixture.pins().get(&b).unwrap().is_none());
    assert_eq!(recorded(&ledger).await.len(), 1);
    let after = *ledger.glance().borrow();
    assert_eq!(after.roots, before.roots);
    assert!(after.openings > before.openings, "what was ahead of the tables is opened anew");
    fixture.pinset(Some(&ledger)).change(vec![add(&b, "")]).await.unwrap();
    assert_eq!(recorded(&ledger).await.len(), 2);
}

#[tokio::test]
async fn a_write_that_panics_leaves_neither_pin_nor_record() {
    let fixture = Fixture::new().await;
    let ledger = fixture.ledger(1);
    let change = vec![add(&raw("a"), "")];
    let panicking = ledger.write(move |entry| -> Result<(), Error> {
        changes::make(entry, &change)?;
        panic!("on purpose");
    });
    panicking.await.unwrap_err();
    assert_eq!(recorded(&ledger).await, []);
    fixture.pinset(Some(&ledger)).change(vec![add(&raw("a"), "")]).await.unwrap();
    assert_eq!(recorded(&ledger).await.len(), 1);
}

#[tokio::test]
async fn what_the_group_has_can_be_removed_where_it_is_not_yet() {
    let fixture = Fixture::new().await;
    let ledger = fixture.ledger(1);
    let pinset = fixture.pinset(Some(&ledger));
    let a = raw("a");
    pinset.change(vec![add(&a, "")]).await.unwrap();
    // As when the content has not come yet.
    let cid = a.clone();
    let gone = ledger.write(move |entry| Ok(pins::remove(entry.transaction(), &cid, true)?));
    gone.await.unwrap();
    pinset.remove(a.clone(), true).await.unwrap();
    assert_eq!(recorded(&ledger).await, []);
    let error = pinset.remove(a, true).await.unwrap_err();
    assert_eq!(error.to_string(), "not pinned or pinned indirectly");
}

#[tokio::test]
async fn both_versions_of_a_cid_are_one_pin_of_the_group() {
    let fixture = Fixture::new().await;
    let ledger = fixture.ledger(1);
    let pinset = fixture.pinset(Some(&ledger));
    let v0 = first_start::empty_directory().unwrap();
    let v1 = v0.to_v1();
    pinset.change(vec![add(&v1, "both")]).await.unwrap();
    pinset.remove(v0.clone(), true).await.unwrap();
    assert_eq!(recorded(&ledger).await, [(v1.clone(), "both".to_owned())]);
    assert!(fixture.pins().get(&v1).unwrap().is_some(), "the user pinned it in both versions");
    pinset.remove(v1, true).await.unwrap();
    assert_eq!(recorded(&ledger).await, []);
}

#[tokio::test]
async fn options_stay_when_a_pin_is_made_again_and_its_end_goes() {
    let fixture = Fixture::new().await;
    let ledger = fixture.ledger(1);
    let pinset = fixture.pinset(Some(&ledger));
    let cid = raw("a");
    let options = PinOptions {
        replication_min: Some(2),
        replication_max: Some(3),
        expire_ms: Some(u64::MAX / 2),
        meta: Some(vec![("long".to_owned(), "2".to_owned()), ("k".to_owned(), "1".to_owned())]),
        update_from: None,
    };
    let first =
        Change::Add { cid: cid.clone(), mode: Mode::Recursive, name: "one".into(), options };
    pinset.change(vec![first]).await.unwrap();
    pinset.change(vec![add(&cid, "two")]).await.unwrap();
    let wanted = cid.clone();
    let record = ledger.write(move |entry| entry.record(&wanted)).await.unwrap().unwrap();
    let live = record.live().unwrap();
    assert_eq!((live.replication_min, live.replication_max), (Some(2), Some(3)));
    assert_eq!((live.name.as_str(), live.expire_ms), ("two", None));
    assert_eq!(
        live.meta.first().map(|(key, _)| key.as_str()),
        Some("k"),
        "in the order of records"
    );
}

#[tokio::test]
async fn a_database_from_a_backup_makes_no_records_before_a_member_was_heard() {
    let fixture = Fixture::new().await;
    let ledger = fixture.ledger(1);
    fixture.pinset(Some(&ledger)).change(vec![add(&raw("a"), "")]).await.unwrap();
    ledger.renew_generation().await.unwrap();
    // The database was changed elsewhere: its number is not the one beside it.
    fixture.repo.write_own_file("pinset-generation", b"1\n").unwrap();
    let restored = fixture.ledger(1);
    let pinset = fixture.pinset(Some(&restored));
    pinset.change(vec![add(&raw("b"), "")]).await.unwrap();
    assert!(!restored.glance().borrow().is_ready);
    assert!(fixture.pins().get(&raw("b")).unwrap().is_some(), "the user's pin is there at once");
    assert!(restored.has_unrecorded().unwrap());
    assert_eq!(recorded(&restored).await.len(), 1);
}

#[tokio::test]
async fn a_crash_while_the_generation_changes_is_no_restored_backup() {
    let fixture = Fixture::new().await;
    let ledger = fixture.ledger(1);
    recorded(&ledger).await;
    ledger.renew_generation().await.unwrap();
    let text = fixture.repo.read_own_file("pinset-generation").unwrap().unwrap();
    let both = [b"77\n", text.as_slice()].concat();
    fixture.repo.write_own_file("pinset-generation", &both).unwrap();
    let next = fixture.ledger(1);
    recorded(&next).await;
    assert!(next.glance().borrow().is_ready);
}

#[tokio::test]
async fn an_identity_of_another_kind_has_an_author_key_that_it_vouches_for() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::generate("secp256k1", None).unwrap();
    let fixture = Fixture::of(dir, identity).await;
    let author = fixture.ledger(1).author();
    assert_eq!(fixture.ledger(1).author(), author, "the same after a restart");
    let mode = std::os::unix::fs::MetadataExt::mode(
        &std::fs::metadata(fixture.dir.path().join("pinset-author")).unwrap(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
