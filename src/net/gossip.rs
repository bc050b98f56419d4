//! Publish and subscribe: gossipsub as Kubo speaks it.
//!
//! Messages are signed (StrictSign), and known by their author and sequence number, as go-libp2p's
//! are. What a node publishes goes to every subscriber that is connected, and to the subscribers of
//! its own. A subscriber that does not keep up misses messages; everything that waits is bounded.
//! Owns the subscriptions of this node, and which messages it has seen; nothing of that is on disk.
//! Unlike Kubo, whose check of sequence numbers drops what is published at the same time, a message
//! is dropped only if it is an old one again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use indexmap::IndexMap;
use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter,
    MessageAcceptance, MessageAuthenticity, MessageId, PublishError, ValidationMode,
};
use libp2p_identity::{Keypair, PeerId};
use tokio::sync::{mpsc, oneshot};

use super::Network;
use super::service::Command;

/// libp2p's part: mesh, heartbeat, signatures.
pub(super) type Behaviour =
    gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

/// The longest RPC of go-libp2p-pubsub (`DefaultMaxMessageSize`).
const RPC_BYTES_MAX: usize = 1 << 20;
/// What an RPC holds besides the message and its topic: author, number, signature, key, lengths.
/// An RSA key and its signature are the largest.
const RPC_OVERHEAD_BYTES: usize = 2048;
/// The longest control message of go-libp2p-pubsub: an IHAVE of a full cache has many ids.
const CONTROL_BYTES_MAX: usize = 512 << 10;
/// go-libp2p-pubsub's first heartbeat comes early, so that meshes are there when messages are.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(100);
/// Messages that may wait for one peer. They wait seconds at most, then they are dropped.
const PEER_QUEUE_MAX: usize = 512;
/// Topics of one peer that are remembered.
const PEER_TOPICS_MAX: usize = 1024;

/// Messages, and their bytes, that may wait for one subscriber of this node.
const WAITING_MAX: usize = 4096;
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Authors whose last messages are remembered, and how many of each: beyond gossipsub's own cache,
/// which forgets after the time that is set.
const AUTHORS_MAX: usize = 1024;
const SEEN_PER_AUTHOR_MAX: usize = 256;

/// How publish and subscribe is set up.
#[derive(Debug, Clone)]
pub struct GossipOptions {
    /// How long the id of a message is remembered.
    pub seen_ttl: Duration,
}

/// A message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who wrote it; the signature was checked.
    pub author: PeerId,
    /// What it says.
    pub data: Vec<u8>,
    /// Its number among those of its author.
    pub seqno: u64,
    /// The topic.
    pub topic: String,
}

/// Why something about topics failed.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// It is not set up on this node, or the node is ending.
    #[error("publish and subscribe is not running")]
    NotRunning,
    /// A message has to fit into one RPC of every peer.
    #[error("the message has {bytes} bytes; the longest one on this topic has {most}")]
    TooLong {
        /// What was given.
        bytes: usize,
        /// What fits.
        most: usize,
    },
    /// Every peer has too much to take already.
    #[error("none of the {0} subscribers could take the message: try again later")]
    Busy(usize),
    /// It could not be signed.
    #[error("the message could not be published: {0}")]
    Failed(String),
}

/// The messages of a topic, from the subscription on. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    messages: mpsc::Receiver<Arc<Message>>,
    waiting_bytes: Arc<AtomicUsize>,
    commands: mpsc::Sender<Command>,
}

impl Subscription {
    /// The next message; `None` when the node ends.
    pub async fn next(&mut self) -> Option<Arc<Message>> {
        let message = self.messages.recv().await?;
        self.waiting_bytes.fetch_sub(message.data.len(), Ordering::Relaxed);
        Some(message)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.messages.close();
        // When the service has too much to do, its next look does it.
        let _ = self.commands.try_send(Command::Gossip(Ask::Tidy));
    }
}

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Ask {
    Subscribe {
        topic: String,
        commands: mpsc::Sender<Command>,
        reply: oneshot::Sender<Subscription>,
    },
    Publish {
        topic: String,
        data: Vec<u8>,
        reply: oneshot::Sender<Result<(), GossipError>>,
    },
    Topics {
        reply: oneshot::Sender<Vec<String>>,
    },
    Peers {
        topic: Option<String>,
        reply: oneshot::Sender<Vec<PeerId>>,
    },
    Forget {
        author: Option<PeerId>,
        reply: oneshot::Sender<usize>,
    },
    /// Somebody has ended a subscription.
    Tidy,
}

impl Network {
    /// Listens to a topic.
    ///
    /// # Errors
    /// When there is no publish and subscribe.
    pub async fn subscribe(&self, topic: String) -> Result<Subscription, GossipError> {
        let commands = self.commands.clone();
        self.ask_gossip(|reply| Ask::Subscribe { topic, commands, reply }).await
    }

    /// Says something on a topic, to every subscriber that is connected and to those of this node.
    /// That there are none is no error.
    ///
    /// # Errors
    /// When the message is too long, or nobody has room for it.
    pub async fn publish(&self, topic: String, data: Vec<u8>) -> Result<(), GossipError> {
        self.ask_gossip(|reply| Ask::Publish { topic, data, reply }).await?
    }

    /// The topics that this node listens to, sorted.
    ///
    /// # Errors
    /// When there is no publish and subscribe.
    pub async fn topics(&self) -> Result<Vec<String>, GossipError> {
        self.ask_gossip(|reply| Ask::Topics { reply }).await
    }

    /// The peers that listen to `topic`, or those that speak the protocol at all.
    ///
    /// # Errors
    /// When there is no publish and subscribe.
    pub async fn topic_peers(&self, topic: Option<String>) -> Result<Vec<PeerId>, GossipError> {
        self.ask_gossip(|reply| Ask::Peers { topic, reply }).await
    }

    /// Forgets which messages of `author`, or of everybody, have been seen; tells of how many
    /// authors something was known.
    ///
    /// # Errors
    /// When there is no publish and subscribe.
    pub async fn forget_seen(&self, author: Option<PeerId>) -> Result<usize, GossipError> {
        self.ask_gossip(|reply| Ask::Forget { author, reply }).await
    }

    async fn ask_gossip<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, GossipError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Gossip(ask(reply))).await;
        sent.map_err(|_| GossipError::NotRunning)?;
        answer.await.map_err(|_| GossipError::NotRunning)
    }
}

/// This node's part: its subscriptions, and what it has seen.
#[derive(Debug)]
pub(super) struct Gossip {
    own: PeerId,
    /// The number of the message that was published last, from inside the behaviour.
    last_seqno: Arc<AtomicU64>,
    topics: BTreeMap<String, Vec<Subscriber>>,
    /// Peers that are connected and speak none of the protocols.
    deaf: BTreeSet<PeerId>,
    seen: Seen,
    /// On the topics of this program, of which nobody else is told.
    seen_own: Seen,
}

#[derive(Debug)]
struct Subscriber {
    messages: mpsc::Sender<Arc<Message>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Subscriber {
    fn offer(&self, message: &Arc<Message>) {
        let bytes = message.data.len();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = waiting == 0 || waiting + bytes <= WAITING_BYTES_MAX;
        if !has_room || self.messages.try_send(Arc::clone(message)).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            tracing::debug!(topic = message.topic, "a subscriber is too slow: it missed a message");
        }
    }
}

/// Sets publish and subscribe up for a node with this key pair.
pub(super) fn set_up(
    keypair: &Keypair,
    options: &GossipOptions,
) -> Result<(Behaviour, Gossip), String> {
    let own = keypair.public().to_peer_id();
    let last_seqno = Arc::new(AtomicU64::new(0));
    let published = Arc::clone(&last_seqno);
    let config = gossipsub::ConfigBuilder::default()
        .heartbeat_initial_delay(FIRST_HEARTBEAT)
        .max_transmit_size(RPC_BYTES_MAX)
        .max_control_message_size(CONTROL_BYTES_MAX)
        .connection_handler_queue_len(PEER_QUEUE_MAX)
        .duplicate_cache_time(options.seen_ttl)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .support_floodsub()
        .message_id_fn(move |message| {
            let seqno = message.sequence_number.unwrap_or_default();
            if message.source == Some(own) {
                published.store(seqno, Ordering::Relaxed);
            }
            message_id(message.source, seqno)
        })
        .build()
        .map_err(|error| error.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: PEER_TOPICS_MAX,
        max_subscriptions_per_request: PEER_TOPICS_MAX,
    };
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let behaviour =
        Behaviour::new_with_subscription_filter(signed, config, filter).map_err(str::to_owned)?;
    let gossip = Gossip {
        own,
        last_seqno,
        topics: BTreeMap::new(),
        deaf: BTreeSet::new(),
        seen: Seen::default(),
        seen_own: Seen::default(),
    };
    Ok((behaviour, gossip))
}

/// go-libp2p-pubsub's `DefaultMsgIdFn`: the author's bytes, then those of the number. Peers name
/// messages by it, so it has to be theirs.
fn message_id(author: Option<PeerId>, seqno: u64) -> MessageId {
    let mut id = author.map(PeerId::to_bytes).unwrap_or_default();
    id.extend_from_slice(&seqno.to_be_bytes());
    MessageId::from(id)
}

/// The longest message of a topic.
fn bytes_max(topic: &str) -> usize {
    RPC_BYTES_MAX.saturating_sub(RPC_OVERHEAD_BYTES + topic.len())
}

impl Gossip {
    /// Does what the handle asks for. Who asked may have stopped waiting for the reply.
    pub(super) fn ask(&mut self, behaviour: &mut Behaviour, ask: Ask) {
        self.tidy(behaviour);
        match ask {
            Ask::Subscribe { topic, commands, reply } => {
                self.subscribe(behaviour, topic, commands, reply);
            }
            Ask::Publish { topic, data, reply } => {
                let _ = reply.send(self.publish(behaviour, topic, data));
            }
            Ask::Topics { reply } => {
                let _ = reply.send(self.topics.keys().cloned().collect());
            }
            Ask::Peers { topic, reply } => {
                let _ = reply.send(self.peers(behaviour, topic));
            }
            Ask::Forget { author, reply } => {
                let _ = reply.send(self.seen.forget(author));
            }
            Ask::Tidy => {}
        }
    }

    /// Takes in what libp2p tells.
    pub(super) fn event(&mut self, behaviour: &mut Behaviour, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let acceptance = match self.received(message) {
                    true => MessageAcceptance::Accept,
                    false => MessageAcceptance::Ignore,
                };
                behaviour.report_message_validation_result(
                    &message_id,
                    &propagation_source,
                    acceptance,
                );
            }
            gossipsub::Event::GossipsubNotSupported { peer_id } => {
                self.deaf.insert(peer_id);
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "a peer is too slow for what is published");
            }
            _ => {}
        }
    }

    /// Leaves the topics that nobody here listens to any more, and forgets who is gone.
    pub(super) fn tidy(&mut self, behaviour: &mut Behaviour) {
        self.topics.retain(|topic, subscribers| {
            subscribers.retain(|subscriber| !subscriber.messages.is_closed());
            if subscribers.is_empty() {
                behaviour.unsubscribe(&IdentTopic::new(topic));
            }
            !subscribers.is_empty()
        });
        if !self.deaf.is_empty() {
            let connected: BTreeSet<&PeerId> =
                behaviour.all_peers().map(|(peer, _)| peer).collect();
            self.deaf.retain(|peer| connected.contains(peer));
        }
    }

    fn subscribe(
        &mut self,
        behaviour: &mut Behaviour,
        topic: String,
        commands: mpsc::Sender<Command>,
        reply: oneshot::Sender<Subscription>,
    ) {
        if let Err(error) = behaviour.subscribe(&IdentTopic::new(&topic)) {
            // The filter allows every topic.
            tracing::error!(topic, %error, "a topic cannot be subscribed to");
            return;
        }
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let subscriber = Subscriber { messages: sender, waiting_bytes: Arc::clone(&waiting_bytes) };
        self.topics.entry(topic).or_default().push(subscriber);
        let _ = reply.send(Subscription { messages, waiting_bytes, commands });
    }

    fn publish(
        &mut self,
        behaviour: &mut Behaviour,
        topic: String,
        data: Vec<u8>,
    ) -> Result<(), GossipError> {
        let most = bytes_max(&topic);
        if data.len() > most {
            return Err(GossipError::TooLong { bytes: data.len(), most });
        }
        match behaviour.publish(IdentTopic::new(&topic), data.clone()) {
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic) => {}
            Err(PublishError::AllQueuesFull(peers)) => return Err(GossipError::Busy(peers)),
            Err(error) => return Err(GossipError::Failed(error.to_string())),
        }
        // The behaviour asked for the id of this message just now, in this task.
        let seqno = self.last_seqno.load(Ordering::Relaxed);
        self.is_new(&topic, self.own, seqno);
        self.deliver(Message { author: self.own, data, seqno, topic });
        Ok(())
    }

    /// Whether the message is worth passing on.
    fn received(&mut self, message: gossipsub::Message) -> bool {
        let (Some(author), Some(seqno)) = (message.source, message.sequence_number) else {
            return false;
        };
        let topic = message.topic.into_string();
        let is_new = self.is_new(&topic, author, seqno);
        if is_new {
            self.deliver(Message { author, data: message.data, seqno, topic });
        }
        is_new
    }

    /// Remembers a message; whether it was not known.
    fn is_new(&mut self, topic: &str, author: PeerId, seqno: u64) -> bool {
        let is_own = topic.starts_with(super::OWN_PROTOCOLS);
        let seen = if is_own { &mut self.seen_own } else { &mut self.seen };
        seen.is_new(author, seqno)
    }

    fn peers(&self, behaviour: &Behaviour, topic: Option<String>) -> Vec<PeerId> {
        let topic = topic.map(|topic| IdentTopic::new(topic).hash());
        behaviour
            .all_peers()
            .filter(|(peer, topics)| match &topic {
                Some(topic) => topics.contains(&topic),
                None => !self.deaf.contains(peer),
            })
            .map(|(peer, _)| *peer)
            .collect()
    }

    fn deliver(&self, message: Message) {
        let Some(subscribers) = self.topics.get(&message.topic) else { return };
        let message = Arc::new(message);
        subscribers.iter().for_each(|subscriber| subscriber.offer(&message));
    }
}

/// The last messages of each author.
#[derive(Debug, Default)]
struct Seen(IndexMap<PeerId, VecDeque<u64>>);

impl Seen {
    /// Remembers a message; whether it was not known.
    fn is_new(&mut self, author: PeerId, seqno: u64) -> bool {
        if self.0.len() >= AUTHORS_MAX && !self.0.contains_key(&author) {
            self.0.swap_remove_index(0);
        }
        let numbers = self.0.entry(author).or_default();
        if numbers.contains(&seqno) {
            return false;
        }
        if numbers.len() >= SEEN_PER_AUTHOR_MAX {
            numbers.pop_front();
        }
        numbers.push_back(seqno);
        true
    }

    fn forget(&mut self, author: Option<PeerId>) -> usize {
        match author {
            Some(author) => usize::from(self.0.swap_remove(&author).is_some()),
            None => self.0.drain(..).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_as_kubo_names_it() {
        let author: PeerId =
            "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq".parse().unwrap();
        let id = message_id(Some(author), 0x0102);
        assert_eq!(id.0, [author.to_bytes(), vec![0, 0, 0, 0, 0, 0, 1, 2]].concat());
    }

    #[test]
    fn numbers_may_come_in_any_order_and_each_counts_once() {
        let mut seen = Seen::default();
        let (one, two) = (PeerId::random(), PeerId::random());
        for seqno in [5, 3, 9, 4] {
            assert!(seen.is_new(one, seqno), "{seqno}");
            assert!(!seen.is_new(one, seqno), "{seqno}");
        }
        assert!(seen.is_new(two, 5));
        assert_eq!(seen.forget(Some(one)), 1);
        assert_eq!(seen.forget(Some(one)), 0);
        assert!(seen.is_new(one, 5));
        assert_eq!(seen.forget(None), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = Seen::default();
        for seqno in 0..10_000 {
            seen.is_new(PeerId::random(), seqno);
        }
        assert_eq!(seen.0.len(), AUTHORS_MAX);
        let author = PeerId::random();
        (0..10_000).for_each(|seqno| assert!(seen.is_new(author, seqno)));
        assert_eq!(seen.0.get(&author).unwrap().len(), SEEN_PER_AUTHOR_MAX);
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_read_holds_a_bounded_number_of_bytes() {
        let keypair = Keypair::generate_ed25519();
        let options = GossipOptions { seen_ttl: Duration::from_secs(1) };
        let (mut behaviour, mut gossip) = set_up(&keypair, &options).unwrap();
        let (commands, _asked) = mpsc::channel(1);
        let (reply, subscription) = oneshot::channel();
        gossip.ask(&mut behaviour, Ask::Subscribe { topic: "t".to_owned(), commands, reply });
        let mut subscription = subscription.await.unwrap();
        for _ in 0..100 {
            gossip.publish(&mut behaviour, "t".to_owned(), vec![7; bytes_max("t")]).unwrap();
        }
        let waiting = subscription.waiting_bytes.load(Ordering::Relaxed);
        assert!(waiting <= WAITING_BYTES_MAX && waiting > WAITING_BYTES_MAX / 2, "{waiting}");
        let first = subscription.next().await.unwrap();
        let second = subscription.next().await.unwrap();
        assert_eq!((first.author, first.seqno + 1), (gossip.own, second.seqno));
        let too_long = gossip.publish(&mut behaviour, "t".to_owned(), vec![7; bytes_max("t") + 1]);
        assert!(matches!(too_long, Err(GossipError::TooLong { .. })));

        drop(subscription);
        let (reply, topics) = oneshot::channel();
        gossip.ask(&mut behaviour, Ask::Topics { reply });
        assert!(topics.await.unwrap().is_empty());
    }
}
