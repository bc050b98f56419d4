use proptest::prelude::*;

use super::*;
use crate::sync::store::Memory;
use crate::sync::testing::{Key as Signer, any_cid, pin};

/// `H` as it is defined.
fn defined(set: &[(Key, Digest)], bit: usize) -> Hash {
    match set {
        [] => EMPTY,
        [(key, digest)] => leaf(key, digest),
        _ => {
            let (right, left): (Vec<_>, Vec<_>) = set.iter().partition(|(key, _)| key.bit(bit));
            node(&defined(&left, bit + 1), &defined(&right, bit + 1))
        }
    }
}

fn leaves(store: &Memory) -> Vec<(Key, Digest)> {
    let mut leaves = Vec::new();
    let visit = &mut |key, digest| leaves.push((key, digest));
    store.leaves(Kind::Live, &Prefix::ALL, visit).unwrap();
    leaves
}

fn check(tree: &Tree, store: &mut Memory) {
    let leaves = leaves(store);
    let root = defined(&leaves, 0);
    assert_eq!(tree.root(), root);
    assert_eq!(tree.count() as usize, leaves.len());
    assert_eq!(read(store, Kind::Live, &Prefix::ALL).unwrap().hash, root, "by folding");
    assert_eq!(Tree::load(Kind::Live, store).unwrap().root(), root, "from the buckets");
    for (key, _) in leaves.iter().take(5) {
        for bits in [0, 1, 3, 4, 9, 256] {
            let prefix = Prefix::of(key, bits);
            let part: Vec<_> =
                leaves.iter().copied().filter(|(key, _)| prefix.contains(key)).collect();
            let summary = tree.summary(store, &prefix).unwrap();
            assert_eq!(summary.hash, defined(&part, bits));
            assert_eq!(summary.count as usize, part.len());
        }
    }
    let rebuilt = Tree::rebuild(Kind::Live, &mut store.clone()).unwrap();
    assert_eq!(rebuilt.root(), root, "built anew");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_root_depends_on_the_set_alone(
        steps in prop::collection::vec(
            prop::collection::vec((0_u64..300, any::<bool>()), 1..40),
            1..30,
        ),
    ) {
        let signer = Signer::new(1);
        let mut store = Memory::default();
        let mut tree = Tree::new(Kind::Live);
        for (time, step) in steps.iter().enumerate() {
            let mut keys = std::collections::BTreeSet::new();
            for (number, add) in step {
                let record = pin(&signer, &any_cid(*number), time as u64 + 1);
                keys.insert(record.key());
                if *add {
                    let rid = crate::sync::hash::Rid::of(&[0; 32], &record.digest());
                    store.put(&record, &rid).unwrap();
                } else {
                    store.remove(&record.key()).unwrap();
                }
            }
            tree.refresh(&mut store, keys).unwrap();
        }
        check(&tree, &mut store);
    }
}

#[test]
fn a_removed_set_leaves_an_empty_tree() {
    let signer = Signer::new(1);
    let mut store = Memory::default();
    let mut tree = Tree::new(Kind::Live);
    let records: Vec<_> = (0..500).map(|n| pin(&signer, &any_cid(n), 1)).collect();
    for record in &records {
        let rid = crate::sync::hash::Rid::of(&[0; 32], &record.digest());
        store.put(record, &rid).unwrap();
        tree.refresh(&mut store, [record.key()]).unwrap();
    }
    check(&tree, &mut store);
    for record in &records {
        store.remove(&record.key()).unwrap();
        tree.refresh(&mut store, [record.key()]).unwrap();
    }
    check(&tree, &mut store);
    assert_eq!(tree.root(), EMPTY);
    assert_eq!(tree.free.len() + 1, tree.nodes.len(), "every node but the root is free again");
}

#[test]
fn keys_that_share_many_bits_cost_one_path() {
    let mut fold = Fold::default();
    let keys: Vec<_> = (0..=40_u8)
        .map(|last| {
            let mut key = [0xaa; 32];
            key[31] = last;
            (Key(key), Digest([last; 32]))
        })
        .collect();
    keys.iter().for_each(|(key, digest)| fold.push(*key, digest));
    assert_eq!(fold.finish(), defined(&keys, 0));
}

/// Prints what a change of one pin costs among many; `cargo test --release … -- --ignored`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_change() {
    let total: u64 = std::env::var("PINS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut keys: Vec<Key> =
        (0..total).map(|n| Key(*blake3::hash(&n.to_be_bytes()).as_bytes())).collect();
    let mut store = Memory::default();
    store.fill_leaves(keys.iter().map(|key| (*key, Digest(key.0))));
    let started = std::time::Instant::now();
    let mut tree = Tree::rebuild(Kind::Live, &mut store).unwrap();
    println!("{total} pins: built in {:?}, {} bytes", started.elapsed(), tree.memory_bytes());
    keys.truncate(100_000);
    let started = std::time::Instant::now();
    for (n, key) in keys.iter().enumerate() {
        store.fill_leaves([(*key, Digest([n as u8; 32]))]);
        tree.refresh(&mut store, [*key]).unwrap();
    }
    println!("a change with its root: {:?}", started.elapsed() / keys.len() as u32);
}
