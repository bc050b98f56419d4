//! Keeping the network together: peers that are to be connected are dialled until they are, and
//! peers introduce each other.
//!
//! To be connected are the peers of `Peering.Peers` and of `Bootstrap`, and, on a private network,
//! every member: who was connected before, was found by mDNS, or was introduced by another. A peer
//! that cannot be reached is tried again for ever, ever more rarely, but once a minute. A member
//! that was let go on purpose is left alone until it comes back by itself.
//!
//! When there are more peers than `Swarm.ConnMgr.HighWater`, the least needed are let go until there
//! are `LowWater`.
//!
//! One task; it owns the schedule. Who is a member is part of the peers' state and is remembered
//! over a restart by the layer above.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use libp2p::Stream;
use libp2p_identity::PeerId;
use libp2p_stream::IncomingStreams;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::introduction::{self, PROTOCOL, Question};
use super::{DialFailure, Network, PeerEvent};

/// Dials at once.
const DIALS_MAX: usize = 8;

/// Introductions that are asked for or given at once.
const TALKS_MAX: usize = 32;

/// Members that are dialled only while there are fewer peers than this: in a larger network not
/// everybody has to be connected with everybody.
const MESH_PEERS_MAX: usize = 64;

/// How long until a peer is dialled for the first time, at most.
const FIRST_DELAY: Duration = Duration::from_millis(200);

/// How long until a peer that was lost, or could not be reached once, is dialled again. It doubles
/// with every failure.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The longest time between two dials.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);

/// Different reasons that are counted.
const REASONS_MAX: usize = 64;

/// How often every peer is asked again for introductions.
const ASK_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long a node that is to be connected may be alone before it says so.
const ALONE_AFTER: Duration = Duration::from_secs(30);

/// How often it is looked whether there are too many peers, and which addresses are out of date.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// `Swarm.ConnMgr`: how many peers may be connected.
#[derive(Debug, Clone, Copy)]
pub struct Watermarks {
    /// With more, some are let go.
    pub high: usize,
    /// As many are left then.
    pub low: usize,
    /// Who has been connected for less is not let go.
    pub grace: Duration,
}

/// The task.
#[derive(Debug)]
pub struct Keeper {
    network: Network,
    watermarks: Option<Watermarks>,
    dials_nobody: bool,
    schedule: HashMap<PeerId, Attempt>,
    dials: JoinSet<(PeerId, Result<(), DialFailure>)>,
    talks: JoinSet<Talk>,
    /// Why addresses could not be reached, and how often.
    reasons: BTreeMap<String, u32>,
}

#[derive(Debug)]
struct Attempt {
    failures: u32,
    at: Instant,
    is_dialling: bool,
}

/// What came of a talk.
#[derive(Debug)]
enum Talk {
    /// A peer introduced others.
    Introduced(PeerId, introduction::Peers),
    /// A peer wants to be let go.
    Farewell(PeerId),
    /// Nothing to do.
    Over,
}

impl Keeper {
    /// A keeper for the network; without watermarks nobody is let go.
    #[must_use]
    pub fn new(network: Network, watermarks: Option<Watermarks>) -> Self {
        Self {
            network,
            watermarks,
            dials_nobody: false,
            schedule: HashMap::new(),
            dials: JoinSet::new(),
            talks: JoinSet::new(),
            reasons: BTreeMap::new(),
        }
    }

    /// Leaves it to others to dial.
    #[must_use]
    pub fn dials_nobody(mut self, dials_nobody: bool) -> Self {
        self.dials_nobody = dials_nobody;
        self
    }

    /// Keeps the network together until `shutdown`.
    ///
    /// # Errors
    /// When another keeper runs for the same network.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), String> {
        let mut events = self.network.events();
        let mut incoming = self.accept()?;
        let mut ask_again = tokio::time::interval_at(Instant::now() + ASK_EVERY, ASK_EVERY);
        let mut trim = tokio::time::interval(TRIM_EVERY);
        let mut alone = Box::pin(tokio::time::sleep(ALONE_AFTER)).fuse();
        loop {
            let next = self.dial_those_due();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.network.inner.wanted.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                _ = ask_again.tick() => self.ask_everybody(),
                _ = trim.tick() => {
                    self.network.inner.peers().tidy();
                    self.trim().await;
                }
                () = &mut alone => self.complain(),
                Some(done) = self.dials.join_next() => self.dialled(done),
                Some(done) = self.talks.join_next() => self.talked(done),
                Some((peer, stream)) = next_stream(&mut incoming) => self.serve(peer, stream),
                event = events.recv() => match event {
                    Ok(PeerEvent::Identified(peer)) => self.ask(peer),
                    Ok(PeerEvent::Disconnected(peer)) => self.lost(peer),
                    Ok(PeerEvent::Connected(_)) => {}
                    Err(RecvError::Lagged(_)) => self.ask_everybody(),
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }

    /// Accepts questions, on a private network.
    fn accept(&self) -> Result<Option<IncomingStreams>, String> {
        if !self.network.is_private() {
            return Ok(None);
        }
        let accepted = self.network.streams().accept(PROTOCOL);
        accepted.map(Some).map_err(|error| format!("{PROTOCOL}: {error}"))
    }

    /// Dials who is wanted, not connected and due; when to look again.
    fn dial_those_due(&mut self) -> Instant {
        let now = Instant::now();
        let mut wanted: HashSet<PeerId> = self.network.wanted(MESH_PEERS_MAX).into_iter().collect();
        if self.dials_nobody {
            wanted.clear();
        }
        self.schedule.retain(|peer, attempt| attempt.is_dialling || wanted.contains(peer));
        let mut next = now + RETRY_DELAY_MAX;
        for peer in wanted {
            let attempt = self.schedule.entry(peer).or_insert_with(|| Attempt {
                failures: 0,
                at: now + FIRST_DELAY.mul_f64(rand::random::<f64>()),
                is_dialling: false,
            });
            if attempt.is_dialling {
                continue;
            }
            if attempt.at > now {
                next = next.min(attempt.at);
            } else if self.dials.len() < DIALS_MAX {
                attempt.is_dialling = true;
                let network = self.network.clone();
                self.dials.spawn(async move { (peer, network.connect(peer, Vec::new()).await) });
            }
            // One that is due and has to wait for another dial to end is dialled when it has.
        }
        next
    }

    fn dialled(&mut self, done: Result<(PeerId, Result<(), DialFailure>), JoinError>) {
        let Ok((peer, connected)) = done else { return };
        if let Err(failure) = &connected {
            self.note(failure);
        }
        let Some(attempt) = self.schedule.get_mut(&peer) else { return };
        attempt.is_dialling = false;
        attempt.failures = if connected.is_ok() { 0 } else { attempt.failures.saturating_add(1) };
        attempt.at = Instant::now() + delay_after(attempt.failures);
    }

    /// Remembers why a dial failed.
    fn note(&mut self, failure: &DialFailure) {
        for reason in failure.reasons() {
            if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&reason) {
                let count = self.reasons.entry(reason).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// Says once that nobody could be reached.
    fn complain(&mut self) {
        let reasons = std::mem::take(&mut self.reasons);
        let wanted = self.network.wanted(MESH_PEERS_MAX).len();
        if self.network.peers().is_empty()
            && let Some(line) = alone(wanted, self.dials_nobody, &reasons)
        {
            tracing::warn!("{line}");
        }
    }

    /// Lets peers go when there are too many.
    async fn trim(&self) {
        let Some(watermarks) = self.watermarks else { return };
        let peers = self.network.peers();
        if peers.len() <= watermarks.high {
            return;
        }
        let surplus = peers.len().saturating_sub(watermarks.low);
        let mut spare: Vec<_> = peers
            .into_iter()
            .filter(|peer| !self.network.is_kept_to(&peer.id))
            .filter_map(|peer| {
                let newest = peer.connections.iter().map(|open| open.opened_at).max()?;
                let busy: usize = peer.connections.iter().map(|open| open.streams.len()).sum();
                (newest.elapsed() >= watermarks.grace).then_some((busy, newest, peer.id))
            })
            .collect();
        // First those with the least going on, of those the newest.
        spare.sort_by_key(|(busy, newest, _)| (*busy, std::cmp::Reverse(*newest)));
        for (_, _, peer) in spare.into_iter().take(surplus) {
            self.network.let_go(peer).await;
        }
    }

    fn lost(&mut self, peer: PeerId) {
        let at = Instant::now() + delay_after(0);
        let attempt = Attempt { failures: 0, at, is_dialling: false };
        self.schedule.entry(peer).or_insert(attempt);
    }

    fn ask_everybody(&mut self) {
        for peer in self.network.peers() {
            self.ask(peer.id);
        }
    }

    /// Asks a peer for introductions, when it gives any.
    fn ask(&mut self, peer: PeerId) {
        let speaks = self.network.speaks(&peer, PROTOCOL.as_ref());
        if !self.network.is_private() || !speaks || self.talks.len() >= TALKS_MAX {
            return;
        }
        let network = self.network.clone();
        self.talks.spawn(async move {
            let asked = async {
                let stream = network.open_stream(peer, PROTOCOL).await?;
                introduction::ask(stream).await
            };
            match asked.await {
                Ok(peers) => Talk::Introduced(peer, peers),
                Err(error) => {
                    tracing::debug!(%peer, %error, "a peer introduced nobody");
                    Talk::Over
                }
            }
        });
    }

    /// Answers a question. When there are too many it is dropped: the peer asks again.
    fn serve(&mut self, peer: PeerId, mut stream: Stream) {
        if self.talks.len() >= TALKS_MAX {
            return;
        }
        let network = self.network.clone();
        self.talks.spawn(async move {
            let served = async {
                let question = introduction::question(&mut stream).await?;
                if question == Question::Farewell {
                    return Ok(Talk::Farewell(peer));
                }
                introduction::answer(stream, &network.introductions(&peer)).await?;
                Ok::<_, io::Error>(Talk::Over)
            };
            served.await.unwrap_or(Talk::Over)
        });
    }

    fn talked(&mut self, done: Result<Talk, JoinError>) {
        match done {
            Ok(Talk::Introduced(from, peers)) => self.network.introduced(&from, peers),
            Ok(Talk::Farewell(peer)) => self.network.inner.peers().release(&peer),
            Ok(Talk::Over) | Err(_) => {}
        }
    }
}

async fn next_stream(incoming: &mut Option<IncomingStreams>) -> Option<(PeerId, Stream)> {
    incoming.as_mut()?.next().await
}

/// What is said of a node without peers after a while: nothing, when it knows of nobody.
fn alone(wanted: usize, dials_nobody: bool, reasons: &BTreeMap<String, u32>) -> Option<String> {
    if wanted == 0 {
        return None;
    }
    let most_seen = reasons.iter().max_by_key(|(_, count)| **count);
    let why = match (dials_nobody, most_seen) {
        (true, _) => "this node dials nobody, and nobody has dialled it".to_owned(),
        (false, None) => format!("none of {wanted} has answered a dial"),
        (false, Some((reason, count))) => {
            format!("{wanted} are dialled; what failed most often, {count} times: {reason}")
        }
    };
    Some(format!("no peers yet: {why}"))
}

/// How long to wait after so many failures: longer each time, and never quite the same for two
/// nodes, which would otherwise dial each other at the same moment again and again.
fn delay_after(failures: u32) -> Duration {
    let doubled = RETRY_DELAY.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    doubled.min(RETRY_DELAY_MAX).mul_f64(0.75 + rand::random::<f64>() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_stays_alone_says_why_when_it_knows_of_anybody() {
        let failed = |causes: &str| DialFailure::Failed {
            peer: PeerId::random(),
            summary: "all dials failed",
            causes: causes.to_owned(),
        };
        let mut reasons = BTreeMap::new();
        for failure in [
            failed("\n  * [/ip4/10.0.0.1/tcp/1] dial tcp4 10.0.0.1:1: connect: connection refused"),
            failed(
                "\n  * [/ip4/10.0.0.2/tcp/1] dial tcp4 10.0.0.2:1: i/o timeout\n  * \
                 [/ip4/10.0.0.3/tcp/1] dial tcp4 10.0.0.3:1: connect: connection refused",
            ),
            DialFailure::NoAddresses,
        ] {
            failure
                .reasons()
                .into_iter()
                .for_each(|reason| *reasons.entry(reason).or_default() += 1);
        }
        let line = alone(3, false, &reasons).unwrap();
        assert!(line.starts_with("no peers yet: 3 are dialled"), "{line}");
        assert!(line.ends_with("2 times: connect: connection refused"), "{line}");
        assert!(alone(0, false, &reasons).is_none());
        assert!(alone(1, true, &reasons).unwrap().contains("dials nobody"));
    }

    #[test]
    fn a_peer_is_tried_more_and_more_rarely_but_once_a_minute() {
        for failures in 0..40 {
            let delay = delay_after(failures);
            assert!(delay >= RETRY_DELAY.mul_f64(0.75) && delay <= RETRY_DELAY_MAX, "{delay:?}");
        }
        assert!(delay_after(20) >= RETRY_DELAY_MAX.mul_f64(0.75));
    }
}
