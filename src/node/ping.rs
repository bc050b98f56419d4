//! Pinging a peer, once a second.

use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Instant, MissedTickBehavior};

use super::produce::{Sink, produce};
use super::{Error, Node};
use crate::net::{self, Multiaddr, Network, PeerId};

/// Time from one ping to the next.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How long the peer may be looked for.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Events that may wait for the reader.
const EVENTS_AHEAD: usize = 4;

/// What is asked to answer.
#[derive(Debug, Clone)]
pub struct PingTarget {
    peer: PeerId,
    place: Option<Multiaddr>,
}

/// What happens while a peer is pinged, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum PingEvent {
    /// Nobody knows yet where the peer is.
    LookingUp(String),
    /// The pings begin.
    Started(String),
    /// The peer answered, after so long.
    Pong(Duration),
    /// The peer did not answer.
    Failed(String),
    /// The end, when one ping or more was answered: what they took on average.
    Average(Duration),
}

impl Node {
    /// Reads what `ping` is asked to reach.
    ///
    /// # Errors
    /// When it is no peer, or this node.
    pub fn ping_target(&self, text: &str) -> Result<PingTarget, Error> {
        let network = self.online()?;
        let (place, peer) = net::parse_peer(text).map_err(|error| {
            Error::Failed(format!("failed to parse peer address '{text}': {error}"))
        })?;
        if peer == network.peer_id() {
            return Err(Error::Failed("error: can't ping self".to_owned()));
        }
        Ok(PingTarget { peer, place })
    }

    /// Pings a peer `count` times, once a second.
    pub fn ping(
        &self,
        target: PingTarget,
        count: u64,
    ) -> impl Stream<Item = Result<PingEvent, Error>> + use<> {
        let node = self.clone();
        produce(
            EVENTS_AHEAD,
            move |events| async move { node.ping_into(target, count, &events).await },
        )
    }

    async fn ping_into(
        &self,
        PingTarget { peer, place }: PingTarget,
        count: u64,
        events: &Sink<PingEvent>,
    ) -> Result<(), Error> {
        let network = self.online()?;
        if let Some(place) = place {
            network.add_addresses(peer, vec![place]);
        }
        if !network.is_connected(&peer) && !network.known_addresses().contains_key(&peer) {
            events.send(PingEvent::LookingUp(peer.to_string())).await;
            let found = self.look_up_peer(peer, LOOKUP_TIMEOUT).await;
            let found =
                found.map_err(|error| Error::Failed(format!("peer lookup failed: {error}")))?;
            network.add_addresses(peer, found);
        }
        events.send(PingEvent::Started(peer.to_string())).await;
        let (answered, took) = ping_all(network, peer, count, events).await;
        let Some(average) = took.checked_div(answered) else {
            return Err(Error::failed("ping failed"));
        };
        events.send(PingEvent::Average(average)).await;
        Ok(())
    }
}

/// Pings until all are sent or the stream breaks; how many were answered, and what they took.
async fn ping_all(
    network: &Network,
    peer: PeerId,
    count: u64,
    events: &Sink<PingEvent>,
) -> (u32, Duration) {
    let (mut answered, mut took) = (0_u32, Duration::ZERO);
    let opened = async {
        network.connect(peer, Vec::new()).await.map_err(|error| error.to_string())?;
        network.pinger(peer).await.map_err(|error| error.to_string())
    };
    let mut pinger = match opened.await {
        Ok(pinger) => pinger,
        Err(error) => {
            events.send(PingEvent::Failed(error)).await;
            return (answered, took);
        }
    };
    let mut ticks = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..count {
        match pinger.ping().await {
            Ok(round_trip) => {
                answered = answered.saturating_add(1);
                took = took.saturating_add(round_trip);
                events.send(PingEvent::Pong(round_trip)).await;
            }
            Err(error) => {
                events.send(PingEvent::Failed(error.to_string())).await;
                break;
            }
        }
        ticks.tick().await;
    }
    (answered, took)
}
