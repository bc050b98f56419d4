//! Tests of the pinset.

use super::*;
use crate::ipld::{Block, PbLink, PbNode, codec, hash};
use crate::store::Options;

struct Fixture {
    _dir: tempfile::TempDir,
    store: Store,
    pins: Pins,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let db = Db::open(&dir.path().join("state.sqlite"), &[SCHEMA]).unwrap();
    Fixture { pins: Pins::new(db, store.clone()), store, _dir: dir }
}

fn raw(text: &str) -> Block {
    let hash = hash::digest(hash::SHA2_256, text.as_bytes(), None).unwrap();
    Block { cid: Cid::new_v1(codec::RAW, hash), data: text.to_owned().into() }
}

fn node(children: &[&Cid]) -> Block {
    let links = children.iter().map(|cid| PbLink::new((*cid).clone(), "x", 1)).collect();
    let data = PbNode { data: None, links }.encode();
    let hash = hash::digest(hash::SHA2_256, &data, None).unwrap();
    Block { cid: Cid::new_v0(hash).unwrap(), data: data.into() }
}

async fn put(store: &Store, blocks: &[&Block]) {
    let session = store.session();
    session.put_many(blocks.iter().copied().cloned().collect()).await.unwrap();
    session.flush().await.unwrap();
}

#[tokio::test]
async fn recursive_replaces_direct_and_names_are_replaced() {
    let Fixture { pins, _dir, .. } = fixture();
    let cid = raw("a").cid;
    pins.add(cid.clone(), Mode::Direct, "one".into()).await.unwrap();
    pins.add(cid.clone(), Mode::Direct, "two".into()).await.unwrap();
    assert_eq!(pins.get(&cid).unwrap().unwrap().name, "two");
    pins.add(cid.clone(), Mode::Recursive, String::new()).await.unwrap();
    assert_eq!(pins.count(Mode::Direct).unwrap(), 0);
    assert_eq!(pins.get(&cid).unwrap().unwrap().name, "");
    let refused = pins.add(cid.clone(), Mode::Direct, String::new()).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("{cid} already pinned recursively"));
    let refused = pins.remove(cid.clone(), false).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("{cid} is pinned recursively"));
    pins.remove(cid.clone(), true).await.unwrap();
    let refused = pins.remove(cid, true).await.unwrap_err();
    assert_eq!(refused.to_string(), "not pinned or pinned indirectly");
}

#[tokio::test]
async fn add_many_pins_all_or_none() {
    let Fixture { pins, _dir, .. } = fixture();
    let (a, b) = (raw("a").cid, raw("b").cid);
    pins.add(b.clone(), Mode::Recursive, String::new()).await.unwrap();
    let both = vec![(a.clone(), Mode::Direct, "x".into()), (b, Mode::Direct, "x".into())];
    pins.add_many(both).await.unwrap_err();
    assert_eq!(pins.get(&a).unwrap(), None);
}

#[tokio::test]
async fn an_update_keeps_the_name_and_leaves_a_direct_pin_of_the_target() {
    let Fixture { pins, _dir, .. } = fixture();
    let (a, b) = (raw("a").cid, raw("b").cid);
    assert!(matches!(pins.check_update(&a, &a), Err(Error::FromNotPinned)));
    pins.add(a.clone(), Mode::Recursive, "keep".into()).await.unwrap();
    pins.add(b.clone(), Mode::Direct, String::new()).await.unwrap();
    assert_eq!(pins.check_update(&a, &a).unwrap(), Update::Nothing);
    pins.update(a.clone(), a.clone(), true).await.unwrap();
    pins.update(a.clone(), b.clone(), false).await.unwrap();
    assert!(matches!(pins.check_update(&a, &b), Err(Error::ToAlreadyPinned)));
    assert_eq!(pins.get(&b).unwrap().unwrap().name, "keep");
    assert_eq!(pins.count(Mode::Direct).unwrap(), 1);
    assert_eq!(pins.iterate_all(None).count(), 2);
    pins.remove(b.clone(), true).await.unwrap();
    pins.update(a, b, true).await.unwrap();
    assert_eq!(pins.count(Mode::Recursive).unwrap(), 1);
}

#[tokio::test]
async fn pins_are_listed_by_the_text_of_their_cids_over_many_pages() {
    let Fixture { pins, _dir, .. } = fixture();
    let cids: Vec<Cid> = (0..1000).map(|n| raw(&n.to_string()).cid).collect();
    let list: Vec<_> = cids
        .iter()
        .enumerate()
        .map(|(n, cid)| {
            let mode = if n % 3 == 0 { Mode::Direct } else { Mode::Recursive };
            (cid.clone(), mode, format!("pin {}", n % 10))
        })
        .collect();
    pins.add_many(list).await.unwrap();
    let mut expected: Vec<String> = cids.iter().map(Cid::to_string).collect();
    expected.sort();
    let listed: Vec<Pin> = pins.iterate_all(None).map(Result::unwrap).collect();
    assert_eq!(listed.iter().map(|pin| pin.text.clone()).collect::<Vec<_>>(), expected);
    assert!(listed.iter().all(|pin| pin.cid.to_string() == pin.text));
    assert_eq!(pins.iterate(Mode::Direct, None).count(), 334);
    assert_eq!(pins.iterate_all(Some("n 7".into())).count(), 100);
    assert_eq!(pins.iterate_all(Some("N 7".into())).count(), 0);
}

#[tokio::test]
async fn indirect_pins_are_what_is_below_and_not_itself_pinned() {
    let Fixture { store, pins, _dir } = fixture();
    let (a, b, c) = (raw("a"), raw("b"), raw("c"));
    let inner = node(&[&a.cid, &b.cid]);
    let root = node(&[&inner.cid, &c.cid, &a.cid]);
    put(&store, &[&a, &b, &c, &inner, &root]).await;
    pins.add(root.cid.clone(), Mode::Recursive, String::new()).await.unwrap();
    pins.add(c.cid.clone(), Mode::Direct, String::new()).await.unwrap();
    let mut indirect: Vec<Cid> = pins.indirect().map(Result::unwrap).collect();
    indirect.sort();
    let mut expected = vec![a.cid.clone(), b.cid.clone(), inner.cid.clone()];
    expected.sort();
    assert_eq!(indirect, expected);
    let asked = [b.cid.clone(), raw("x").cid, inner.cid.to_v1(), c.cid.clone()];
    let through = pins.through(&asked).unwrap();
    assert_eq!(through, [Some(root.cid.clone()), None, None, Some(root.cid)]);
}

#[tokio::test]
async fn a_missing_block_below_a_pin_is_named() {
    let Fixture { store, pins, _dir } = fixture();
    let inner = node(&[&raw("a").cid]);
    let root = node(&[&inner.cid]);
    put(&store, &[&root]).await;
    pins.add(root.cid, Mode::Recursive, String::new()).await.unwrap();
    let error = pins.indirect().find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), format!("ipld: could not find {}", inner.cid));
}
