use std::time::Duration;

use libp2p_identity::Keypair;

use super::*;
use crate::ipld::hash;
use crate::net::tests::{Running, run};

const KEY: Option<[u8; 32]> = Some([3; 32]);

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a node asks the other when it looks for something.
async fn until_routed(node: &Running, other: &Running) {
    let mut events = node.network.events();
    let waiting = async {
        while !node.network.routing_table(Table::Lan).contains(&other.id()) {
            // Either what is told of the peer, or a moment for the table.
            let _ = tokio::time::timeout(Duration::from_millis(20), events.recv()).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the other in the routing table");
}

async fn joined(one: &Running, two: &Running) {
    one.connect(two).await.unwrap();
    until_routed(one, two).await;
    until_routed(two, one).await;
}

/// Asks again until the answer is there: records are on their way.
async fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("an answer")
}

#[tokio::test]
async fn who_provides_is_found_through_another_member() {
    let (provider, between, asking) = (run(KEY).await, run(KEY).await, run(KEY).await);
    joined(&provider, &between).await;
    let hashes: Vec<Multihash> = (0..500_u32)
        .map(|n| hash::digest(hash::SHA2_256, &n.to_be_bytes(), None).unwrap())
        .collect();
    let provided = provider.network.provide(&hashes).await;
    assert_eq!(provided, Provided { peers: 1, failed: 0, records: 500 });
    joined(&asking, &between).await;
    for hash in [&hashes[0], &hashes[499]] {
        let found = eventually(async || asking.network.find_providers(hash).await.recv().await);
        assert_eq!(found.await, provider.id());
    }
    // It is known where the provider is.
    asking.network.connect(provider.id(), Vec::new()).await.unwrap();
    let nobody = hash::digest(hash::SHA2_256, b"nobody has this", None).unwrap();
    assert_eq!(asking.network.find_providers(&nobody).await.recv().await, None);
}

#[tokio::test]
async fn a_member_is_found_by_its_id() {
    let (wanted, between, asking) = (run(KEY).await, run(KEY).await, run(KEY).await);
    joined(&wanted, &between).await;
    joined(&asking, &between).await;
    let found = eventually(async || {
        let closest = asking.network.closest_peers(wanted.id().to_bytes()).await;
        closest.into_iter().find(|(peer, _)| *peer == wanted.id())
    });
    let (_, addresses) = found.await;
    assert_eq!(addresses, wanted.network.listening());
}

/// The steps of a search, to its end.
async fn all(mut steps: mpsc::Receiver<Step>) -> Vec<Step> {
    let mut seen = Vec::new();
    while let Some(step) = steps.recv().await {
        seen.push(step);
    }
    seen
}

#[tokio::test]
async fn a_search_tells_whom_it_asks_and_what_they_say() {
    let (provider, between, asking) = (run(KEY).await, run(KEY).await, run(KEY).await);
    joined(&provider, &between).await;
    joined(&asking, &between).await;
    let hash = hash::digest(hash::SHA2_256, b"provided", None).unwrap();
    provider.network.provide(std::slice::from_ref(&hash)).await;
    let of_provider = (provider.id(), provider.network.listening().to_vec());
    let steps = eventually(async || {
        let mut search = asking.network.search_providers(&hash).await;
        let found = search.providers.recv().await;
        let steps = all(search.steps).await;
        (found == Some(provider.id())).then_some(steps)
    });
    let steps = steps.await;
    assert!(steps.contains(&Step::NobodyToAsk), "the second table is empty: {steps:?}");
    let place = |wanted: &Step| steps.iter().position(|step| step == wanted);
    let asked = place(&Step::Asking(between.id())).expect("whom it knows is asked");
    let answered = place(&Step::Answered(between.id(), vec![of_provider]));
    assert!(Some(asked) < answered, "{steps:?}");
    let dialled = place(&Step::Dialling(provider.id())).expect("whom it is told of is dialled");
    let reached = place(&Step::Asking(provider.id()));
    assert!(answered < Some(dialled) && Some(dialled) < reached, "{steps:?}");

    // Who is asked for itself names itself, too.
    let of_between = (between.id(), between.network.listening().to_vec());
    let approach = asking.network.approach(&between.id().to_bytes(), &[Table::Lan]).await;
    let named = |step: Step| match step {
        Step::Answered(by, closer) => by == between.id() && closer.contains(&of_between),
        _ => false,
    };
    assert!(all(approach.steps).await.into_iter().any(named));

    // One that is gone by now cannot be reached; who knows it still names it.
    let gone = (provider.id(), provider.network.listening()[0].clone());
    drop(provider);
    asking.network.disconnect(gone.0, None).await;
    let network = &asking.network;
    let not_reached = eventually(async || {
        let steps = all(network.approach(&gone.0.to_bytes(), &[Table::Lan]).await.steps).await;
        steps.into_iter().find_map(|step| match step {
            Step::NotReached(peer, why) if peer == gone.0 => Some(why),
            _ => None,
        })
    });
    let why = not_reached.await;
    assert!(why.contains("connection refused") && why.contains(&gone.1.to_string()), "{why}");
}

#[tokio::test]
async fn a_record_is_kept_by_others_when_it_is_valid_and_better() {
    let (one, two) = (run(KEY).await, run(KEY).await);
    joined(&one, &two).await;
    let key = Keypair::generate_ed25519();
    let name = Name::of(key.public().to_peer_id());
    let record = |sequence| {
        let value = format!("/ipfs/bafkqaaa/{sequence}");
        let validity = OffsetDateTime::now_utc() + Duration::from_secs(3600);
        let contents = ipns::Contents { value, sequence, validity, ttl_nanos: 0 };
        ipns::Record::create(&key, &contents, true).unwrap().bytes().to_vec()
    };
    let records: Vec<Vec<u8>> = (0..4).map(record).collect();
    let at_two = async || two.network.find_values(name.routing_key(), 1).await.into_iter().next();
    for (put, kept) in [(2, 2), (1, 2), (3, 3)] {
        one.network.put_value(name.routing_key(), records[put].clone()).await;
        assert_eq!(eventually(at_two).await, records[kept]);
    }
    assert!(one.network.put_value(name.routing_key(), b"nonsense".to_vec()).await);
    assert_eq!(eventually(at_two).await, records[3]);
}

#[test]
fn only_records_that_are_valid_for_their_key_are_wanted() {
    let key = Keypair::generate_ed25519();
    let id = key.public().to_peer_id().to_bytes();
    let public = key.public().encode_protobuf();
    assert!(is_wanted(&[b"/pk/", &id[..]].concat(), &public, None));
    assert!(!is_wanted(&[b"/pk/", &id[..4]].concat(), &public, None));
    assert!(!is_wanted(&[b"/ipns/", &id[..]].concat(), &public, None));
    assert!(!is_wanted(b"/other/key", &public, None));
}

#[tokio::test]
async fn alone_a_node_finds_nothing_and_says_so_at_once() {
    let node = run(KEY).await;
    let hash = hash::digest(hash::SHA2_256, b"x", None).unwrap();
    assert_eq!(node.network.find_providers(&hash).await.recv().await, None);
    assert!(node.network.closest_peers(vec![1]).await.is_empty());
    assert!(node.network.find_values(vec![1], 1).await.is_empty());
    assert_eq!(node.network.provide(&[hash]).await, Provided::default());
}

#[test]
fn only_what_can_be_reached_from_anywhere_is_public() {
    for (ip, public) in [
        ("8.8.8.8", true),
        ("127.0.0.1", false),
        ("10.1.2.3", false),
        ("192.168.1.1", false),
        ("100.64.0.1", false),
        ("169.254.0.1", false),
        ("2606:4700::1", true),
        ("::1", false),
        ("fd00::1", false),
        ("fe80::1", false),
    ] {
        assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
    }
}
