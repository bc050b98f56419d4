use std::time::Duration;

use libp2p::StreamProtocol;

use super::*;
use crate::net::tests::{Running, options, run_with};
use crate::net::{Keeper, Mask, PeerEvent};

const KEY: Option<[u8; 32]> = Some([5; 32]);

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kubo's defaults.
const SERVICE: RelayService = RelayService {
    reservations: 128,
    reservation_ttl: Duration::from_secs(3600),
    circuits: 16,
    circuit_time: Duration::from_secs(120),
    circuit_bytes: 1 << 17,
};

/// A node at an address of loopback, with a swarm key, that dials none of `filters`.
async fn node(ip: &str, key: Option<[u8; 32]>, filters: &[&str], relay: RelayOptions) -> Running {
    let mut options = options(&[&format!("/ip4/{ip}/tcp/0")], key);
    let mask = |ip: &&str| Mask::parse(&format!("/ip4/{ip}/ipcidr/32")).unwrap();
    options.filters = filters.iter().map(mask).collect();
    options.relay = relay;
    run_with(options).await
}

fn hidden() -> RelayOptions {
    RelayOptions {
        is_client: true,
        hole_punching: true,
        reachability: Some(Reachability::Private),
        ..RelayOptions::default()
    }
}

/// The address of a node at a relay, once it has one.
async fn relayed_address(node: &Running) -> Multiaddr {
    let waiting = async {
        loop {
            if let Some(address) = node.network.announced().into_iter().find(is_relayed) {
                return address;
            }
            // There is no event for it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("a place at the relay")
}

/// One pings the other over a relayed connection. A stream of it may break while the two find out
/// that there is no direct way: then another one is opened.
async fn talk(from: &Running, to: &Running, place: &Multiaddr) {
    let talking = async {
        loop {
            if let Ok(mut pinger) = from.network.pinger(to.id()).await
                && pinger.ping().await.is_ok()
            {
                return;
            }
            // Where it was the last connection.
            let _ = from.network.connect(to.id(), vec![place.clone()]).await;
        }
    };
    tokio::time::timeout(PATIENCE, talking).await.expect("an answer over the relay");
}

#[tokio::test]
async fn two_that_cannot_dial_each_other_talk_over_a_third() {
    let relay = RelayOptions { service: Some(SERVICE), ..RelayOptions::default() };
    let between = node("127.0.0.3", KEY, &[], relay).await;
    let one = node("127.0.0.2", KEY, &["127.0.0.4"], hidden()).await;
    let two = node("127.0.0.4", KEY, &["127.0.0.2"], hidden()).await;
    two.connect(&one).await.unwrap_err();
    one.connect(&between).await.unwrap();
    let place = relayed_address(&one).await;
    assert!(place.to_string().contains(&format!("/p2p/{}/p2p-circuit", between.id())), "{place}");
    let mut events = two.network.events();
    two.network.connect(one.id(), vec![place.clone()]).await.unwrap();
    let connection = two.network.peer(&one.id()).unwrap().connections.remove(0);
    assert_eq!(connection.address, place);
    talk(&two, &one, &place).await;
    // Streams of any protocol go over it, in both directions.
    let seen = one.network.peer(&two.id()).unwrap().connections.remove(0);
    assert!(is_relayed(&seen.address), "{seen:?}");
    assert_eq!(seen.direction, Direction::Inbound);
    talk(&one, &two, &place).await;
    // What it says of itself names the place at the relay.
    while events.recv().await.unwrap() != PeerEvent::Identified(one.id()) {}
    let said = two.network.peer(&one.id()).unwrap().identified.unwrap();
    assert!(said.addresses.contains(&place), "{said:?}");
    // The relay knows both and has no stream of theirs that it could read.
    let unknown = StreamProtocol::new("/ipfs/ping/1.0.0");
    between.network.open_stream(one.id(), unknown).await.unwrap();
}

#[tokio::test]
async fn a_member_that_cannot_be_dialled_is_introduced_with_its_place_at_a_relay() {
    let relay = RelayOptions { service: Some(SERVICE), ..RelayOptions::default() };
    let between = node("127.0.0.3", KEY, &[], relay).await;
    let one = node("127.0.0.2", KEY, &["127.0.0.4"], hidden()).await;
    let two = node("127.0.0.4", KEY, &["127.0.0.2"], hidden()).await;
    for node in [&between, &one, &two] {
        let keeper = Keeper::new(node.network.clone(), None);
        tokio::spawn(keeper.run(node.stop.clone()));
    }
    one.connect(&between).await.unwrap();
    relayed_address(&one).await;
    // The relay hears of it in time to tell the other.
    let heard = async {
        loop {
            let peer = between.network.peer(&one.id()).and_then(|peer| peer.identified);
            if peer.is_some_and(|said| said.addresses.iter().any(is_relayed)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the place is told");
    let mut events = two.network.events();
    two.connect(&between).await.unwrap();
    let met = async { while events.recv().await.unwrap() != PeerEvent::Connected(one.id()) {} };
    tokio::time::timeout(PATIENCE, met).await.expect("they meet");
}

#[tokio::test]
async fn who_has_another_key_does_not_come_in_over_a_relay() {
    // The relay is public: it relays for both, and reads neither.
    let relay = RelayOptions {
        service: Some(SERVICE),
        reachability: Some(Reachability::Public),
        ..RelayOptions::default()
    };
    let between = node("127.0.0.3", KEY, &[], relay).await;
    let one = node("127.0.0.2", KEY, &[], hidden()).await;
    one.connect(&between).await.unwrap();
    let place = relayed_address(&one).await;
    let stranger = node("127.0.0.4", Some([6; 32]), &["127.0.0.2"], hidden()).await;
    let failure = stranger.network.connect(one.id(), vec![place]).await.unwrap_err();
    assert!(matches!(failure, crate::net::DialFailure::Failed { .. }), "{failure}");
    assert!(one.network.peer(&stranger.id()).is_none());
}

#[tokio::test]
async fn a_relayed_connection_becomes_a_direct_one_where_one_side_can_be_dialled() {
    let relay = RelayOptions { service: Some(SERVICE), ..RelayOptions::default() };
    let between = node("127.0.0.3", KEY, &[], relay).await;
    let one = node("127.0.0.2", KEY, &[], hidden()).await;
    // It cannot dial the other, which can dial it.
    let two = node("127.0.0.4", KEY, &["127.0.0.2"], hidden()).await;
    one.connect(&between).await.unwrap();
    two.connect(&between).await.unwrap();
    let place = relayed_address(&one).await;
    two.network.connect(one.id(), vec![place]).await.unwrap();
    let direct = async {
        loop {
            let peer = one.network.peer(&two.id()).unwrap();
            if peer.connections.iter().any(|open| !is_relayed(&open.address)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, direct).await.expect("a direct connection");
}

#[test]
fn only_peers_that_relay_are_asked_for_a_place() {
    let options = RelayOptions { relays: vec![(PeerId::random(), Vec::new())], ..hidden() };
    let mut reservations = Reservations::new(&options);
    let named = options.relays[0].0;
    assert!(reservations.is_candidate(&named) && !reservations.is_candidate(&PeerId::random()));
    reservations.failed.insert(named, Instant::now());
    assert!(!reservations.is_candidate(&named));
    assert!(!reservations.closed(ListenerId::next()));
}
