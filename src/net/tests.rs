use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use super::*;

/// A node that runs until it is dropped.
pub(super) struct Running {
    pub(super) network: Network,
    pub(super) stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn options(listen: &[&str], swarm_key: Option<[u8; 32]>) -> Options {
    Options {
        keypair: Keypair::generate_ed25519(),
        swarm_key: swarm_key.map(SwarmKey::from_bytes),
        agent: "pinmesh/test".to_owned(),
        listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
        filters: Vec::new(),
        peering: Vec::new(),
        announce: Announce::default(),
        mdns: false,
        gossip: None,
        limits: Limits { descriptors: 100, connections_in: 100 },
        relay: RelayOptions::default(),
    }
}

pub(super) async fn run(swarm_key: Option<[u8; 32]>) -> Running {
    run_with(options(&["/ip4/127.0.0.1/tcp/0"], swarm_key)).await
}

pub(super) async fn run_with(options: Options) -> Running {
    let (network, service) = Network::start(options, None).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(service.run(stop.clone()));
    Running { network, stop }
}

impl Running {
    pub(super) fn id(&self) -> PeerId {
        self.network.peer_id()
    }

    pub(super) async fn connect(&self, other: &Self) -> Result<(), DialFailure> {
        let addresses = other.network.interface_addresses();
        self.network.connect_identified(other.id(), addresses).await
    }
}

#[tokio::test]
async fn both_families_listen_on_one_port() {
    let (four, _four) = Network::start(options(&["/ip4/0.0.0.0/tcp/0"], None), None).await.unwrap();
    let six = four.listening()[0].to_string().replace("/ip4/0.0.0.0", "/ip6/::");
    let (six, _six) = Network::start(options(&[&six], None), None).await.unwrap();
    assert_eq!(six.listening().len(), 1);
}

#[tokio::test]
async fn what_is_listened_on_is_bound_and_what_cannot_be_is_passed_over() {
    let asked = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
    let (network, _service) = Network::start(options(&asked, None), None).await.unwrap();
    let [address] = network.listening() else { panic!("{:?}", network.listening()) };
    assert_ne!(tcp_socket(address).unwrap().port(), 0);
    let taken = Network::start(options(&[&address.to_string()], None), None).await;
    assert!(matches!(taken, Err(Error::Listen { .. })));
}

#[tokio::test]
async fn filters_and_peering_are_kept_once_each() {
    let (network, _service) = Network::start(options(&[], None), None).await.unwrap();
    let mask = Mask::parse("/ip4/10.0.0.0/ipcidr/8").unwrap();
    network.add_filter(mask);
    network.add_filter(mask);
    assert_eq!(network.filters(), [mask]);
    network.remove_filter(mask);
    assert!(network.filters().is_empty());

    let peer = PeerId::random();
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    network.add_peering(peer, vec![]);
    network.add_peering(peer, vec![address.clone(), address.clone()]);
    assert_eq!(network.peering(), [(peer, vec![address])]);
    network.remove_peering(peer);
    assert!(network.peering().is_empty());
}

#[tokio::test]
async fn two_nodes_with_one_key_see_each_other_until_one_lets_go() {
    let (one, two) = (run(Some([7; 32])).await, run(Some([7; 32])).await);
    let mut events = two.network.events();
    one.connect(&two).await.unwrap();
    let seen = one.network.peer(&two.id()).unwrap();
    assert_eq!(seen.connections.len(), 1);
    assert_eq!(seen.connections[0].direction, Direction::Outbound);
    assert_eq!(seen.connections[0].address, two.network.listening()[0]);
    let identified = seen.identified.unwrap();
    assert_eq!(identified.agent, "pinmesh/test");
    assert!(identified.protocols.contains(&"/ipfs/ping/1.0.0".to_owned()));
    assert_eq!(identified.addresses, two.network.listening());

    assert_eq!(events.recv().await, Ok(PeerEvent::Connected(one.id())));
    let peers = two.network.peers();
    assert_eq!(peers[0].connections[0].direction, Direction::Inbound);

    let mut pinger = one.network.pinger(two.id()).await.unwrap();
    pinger.ping().await.unwrap();
    pinger.ping().await.unwrap();
    let streams = &one.network.peer(&two.id()).unwrap().connections[0].streams;
    assert!(streams.contains(&"/ipfs/ping/1.0.0".to_owned()), "{streams:?}");
    let counted = one.network.bandwidth_of_protocol("/ipfs/ping/1.0.0");
    assert!(counted.total_in >= 64 && counted.total_out >= 64, "{counted:?}");
    assert!(one.network.bandwidth_of_peer(&two.id()).total_in >= counted.total_in);
    assert!(one.network.bandwidth().total_in >= counted.total_in);

    assert!(one.network.disconnect(two.id(), None).await);
    assert!(!one.network.is_connected(&two.id()));
    assert!(!one.network.disconnect(two.id(), None).await);
    loop {
        if events.recv().await.unwrap() == PeerEvent::Disconnected(one.id()) {
            break;
        }
    }
    one.connect(&two).await.expect("it can be dialled again");
}

#[tokio::test]
async fn two_that_dial_each_other_at_once_are_connected_and_stay_so() {
    let (one, two) = (run(Some([7; 32])).await, run(Some([7; 32])).await);
    let (there, back) = futures_util::join!(one.connect(&two), two.connect(&one));
    there.and(back).unwrap();
    // Either dial may have been in time, or both: both connections are kept then, as in go-libp2p.
    let connections = one.network.peer(&two.id()).unwrap().connections;
    assert!((1..=2).contains(&connections.len()), "{connections:?}");
    let mut pinger = one.network.pinger(two.id()).await.unwrap();
    pinger.ping().await.unwrap();
    let mut pinger = two.network.pinger(one.id()).await.unwrap();
    pinger.ping().await.unwrap();
}

#[tokio::test]
async fn a_bootstrap_peer_that_is_named_no_longer_leaves_the_known_addresses() {
    let node = run(Some([7; 32])).await;
    let (peer, place) = (PeerId::random(), "/ip4/127.0.0.1/tcp/1".parse::<Multiaddr>().unwrap());
    node.network.set_bootstrap(vec![(peer, vec![place.clone()]), (peer, vec![place.clone()])]);
    assert_eq!(node.network.known_addresses().get(&peer), Some(&vec![place.clone()]));
    assert_eq!(node.network.addresses(&peer), [place]);
    node.network.set_bootstrap(Vec::new());
    assert!(!node.network.known_addresses().contains_key(&peer));
    assert!(node.network.addresses(&peer).is_empty());
}

#[tokio::test]
async fn nodes_with_different_keys_part_at_once() {
    let keys = [(Some([1; 32]), Some([2; 32])), (Some([1; 32]), None), (None, Some([2; 32]))];
    for (ours, theirs) in keys {
        let (one, two) = (run(ours).await, run(theirs).await);
        let connecting = one.connect(&two);
        let failure = tokio::time::timeout(Duration::from_secs(5), connecting)
            .await
            .expect("not a time-out of the handshake")
            .unwrap_err();
        assert!(failure.to_string().contains("possible swarm.key mismatch"), "{failure}");
        assert!(two.network.peers().is_empty());
    }
}

#[tokio::test]
async fn a_filtered_address_is_neither_dialled_nor_accepted() {
    let (one, two) = (run(None).await, run(None).await);
    let mask = Mask::parse("/ip4/127.0.0.0/ipcidr/8").unwrap();
    one.network.add_filter(mask);
    let failure = one.connect(&two).await.unwrap_err().to_string();
    assert!(failure.contains("gater disallows connection"), "{failure}");
    two.connect(&one).await.unwrap_err();
    one.network.remove_filter(mask);
    one.connect(&two).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_says_why() {
    let one = run(None).await;
    let peer = PeerId::random();
    let failure = one.network.connect(peer, vec![]).await.unwrap_err();
    assert_eq!(failure, DialFailure::NoAddresses);
    let closed = bind("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
    let failure = one.network.connect(peer, vec![multiaddr_of(closed)]).await.unwrap_err();
    let expected = format!(
        "failed to dial: failed to dial {peer}: all dials failed\n  * [{}] dial tcp4 {closed}: \
         connect: connection refused",
        multiaddr_of(closed)
    );
    assert_eq!(failure.to_string(), expected);
    let own = one.network.connect(one.id(), vec![]).await;
    assert_eq!(own, Err(DialFailure::OwnPeer));
}

/// Runs the keeper of a node too.
fn keep(node: &Running) {
    let keeper = Keeper::new(node.network.clone(), None);
    tokio::spawn(keeper.run(node.stop.clone()));
}

/// Waits until the node is connected with so many.
async fn wait_for_peers(node: &Running, count: usize) {
    let mut events = node.network.events();
    let waiting = async {
        while node.network.peers().len() != count {
            let _ = events.recv().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.unwrap_or_else(|_| panic!("{} peers, not {count}", node.network.peers().len()));
}

#[tokio::test]
async fn a_node_that_knows_one_member_soon_knows_all() {
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let node = run(Some([9; 32])).await;
        keep(&node);
        nodes.push(node);
    }
    for pair in nodes.windows(2) {
        let places = pair[0].network.announced();
        pair[1].network.set_bootstrap(vec![(pair[0].id(), places)]);
    }
    for node in &nodes {
        wait_for_peers(node, 3).await;
    }
}

#[tokio::test]
async fn a_member_that_was_lost_is_dialled_until_it_is_back() {
    let one = run(Some([9; 32])).await;
    keep(&one);
    let mut lost = options(&["/ip4/127.0.0.1/tcp/0"], Some([9; 32]));
    let (network, service) = Network::start(lost.clone(), None).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));
    one.network.connect(network.peer_id(), network.announced()).await.unwrap();
    wait_for_peers(&one, 1).await;
    let mut events = one.network.events();
    one.network.connect_identified(network.peer_id(), Vec::new()).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    wait_for_peers(&one, 0).await;
    // It comes back at the same place and dials nobody.
    lost.listen = network.listening().to_vec();
    drop(network);
    let (network, service) = Network::start(lost, None).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(service.run(stop.clone()));
    wait_for_peers(&one, 1).await;
    assert!(one.network.is_connected(&network.peer_id()));
    assert!(events.try_recv().is_ok());
    stop.cancel();
}

#[tokio::test]
async fn a_member_that_was_let_go_is_left_alone_by_both_sides() {
    let (one, two) = (run(Some([9; 32])).await, run(Some([9; 32])).await);
    keep(&one);
    keep(&two);
    one.connect(&two).await.unwrap();
    wait_for_peers(&two, 1).await;
    two.network.connect_identified(one.id(), Vec::new()).await.unwrap();
    assert!(one.network.let_go(two.id()).await);
    wait_for_peers(&two, 0).await;
    assert!(one.network.wanted(usize::MAX).is_empty());
    assert!(two.network.wanted(usize::MAX).is_empty());
    // Until somebody asks for it again.
    two.connect(&one).await.unwrap();
    wait_for_peers(&one, 1).await;
}

/// A node with publish and subscribe.
async fn run_gossip() -> Running {
    let seen_ttl = Duration::from_secs(120);
    let mut options = options(&["/ip4/127.0.0.1/tcp/0"], Some([7; 32]));
    options.gossip = Some(GossipOptions { seen_ttl });
    let (network, service) = Network::start(options, None).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(service.run(stop.clone()));
    Running { network, stop }
}

/// Waits until `one` knows that `count` peers listen to a topic.
async fn heard_by(one: &Running, topic: &str, count: usize) {
    let known = async {
        while one.network.topic_peers(Some(topic.to_owned())).await.unwrap().len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), known).await.unwrap();
}

#[tokio::test]
async fn what_many_publish_at_once_reaches_every_subscriber() {
    const EACH: usize = 200;
    let (one, two, three) = (run_gossip().await, run_gossip().await, run_gossip().await);
    // A line: what the first says reaches the last through the one between them.
    one.connect(&two).await.unwrap();
    three.connect(&two).await.unwrap();
    let mut subscriptions = Vec::new();
    for node in [&one, &two, &three] {
        subscriptions.push(node.network.subscribe("t".to_owned()).await.unwrap());
    }
    heard_by(&one, "t", 1).await;
    heard_by(&two, "t", 2).await;
    heard_by(&three, "t", 1).await;
    let said = |node: &Running, what: usize| {
        let network = node.network.clone();
        async move { network.publish("t".to_owned(), what.to_string().into_bytes()).await }
    };
    let all = [&one, &three].into_iter().flat_map(|node| (0..EACH).map(move |i| said(node, i)));
    for done in futures_util::future::join_all(all).await {
        done.unwrap();
    }
    for subscription in &mut subscriptions {
        let mut heard = BTreeSet::new();
        while heard.len() < 2 * EACH {
            let message = subscription.next().await.unwrap();
            let what = String::from_utf8(message.data.clone()).unwrap();
            assert!(heard.insert((message.author, what)), "each comes once");
        }
    }
}

#[tokio::test]
async fn a_topic_is_left_when_its_last_subscription_ends() {
    let (one, two) = (run_gossip().await, run_gossip().await);
    one.connect(&two).await.unwrap();
    let first = two.network.subscribe("t".to_owned()).await.unwrap();
    let second = two.network.subscribe("t".to_owned()).await.unwrap();
    heard_by(&one, "t", 1).await;
    drop(first);
    assert_eq!(two.network.topics().await.unwrap(), ["t"]);
    drop(second);
    assert!(two.network.topics().await.unwrap().is_empty());
    heard_by(&one, "t", 0).await;
    assert_eq!(one.network.topic_peers(None).await.unwrap(), [two.id()]);
}

#[tokio::test]
async fn without_publish_and_subscribe_asking_for_it_is_an_error() {
    let one = run(Some([7; 32])).await;
    assert!(!one.network.has_gossip());
    let asked = one.network.subscribe("t".to_owned()).await;
    assert!(matches!(asked, Err(GossipError::NotRunning)));
}
