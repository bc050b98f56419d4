//! Dialling: who waits for which connection, and why a peer could not be reached.

use std::collections::HashMap;

use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, Swarm};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use tokio::sync::oneshot;

use super::behaviour::Behaviour;
use super::gate::Filtered;
use super::opening::Mismatch;

/// Why a peer could not be reached; the texts are go-libp2p's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    /// Nobody knows where the peer is.
    #[error("failed to find any peer in table")]
    NoAddresses,
    /// The peer is this node.
    #[error("failed to dial: dial to self attempted")]
    OwnPeer,
    /// No address led to the peer.
    #[error("failed to dial: failed to dial {peer}: {summary}{causes}")]
    Failed {
        /// The peer.
        peer: PeerId,
        /// What they have in common.
        summary: &'static str,
        /// A line for each address.
        causes: String,
    },
    /// The network is ending.
    #[error("the node is shutting down")]
    Stopped,
}

impl DialFailure {
    /// What went wrong with each address, without the address.
    pub(super) fn reasons(&self) -> Vec<String> {
        let Self::Failed { causes, .. } = self else { return vec![self.to_string()] };
        let lines = causes.lines().map(|line| line.split_once("] ").map_or(line, |(_, why)| why));
        let whys = lines.map(|why| match why.strip_prefix("dial ") {
            Some(dialled) => dialled.split_once(": ").map_or(why, |(_, why)| why),
            None => why.trim_start_matches(": "),
        });
        whys.filter(|why| !why.is_empty()).map(str::to_owned).collect()
    }
}

type Waiting = oneshot::Sender<Result<(), DialFailure>>;

#[derive(Debug)]
struct Dial {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    waiting: Vec<Waiting>,
}

/// The dials that somebody waits for. As many as the connection limits let be pending.
#[derive(Debug, Default)]
pub(super) struct Dials(HashMap<ConnectionId, Dial>);

impl Dials {
    /// Dials a peer, unless it is connected or the same is going on.
    pub(super) fn connect(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        reply: Waiting,
    ) {
        if swarm.is_connected(&peer) {
            let _ = reply.send(Ok(()));
            return;
        }
        if peer == *swarm.local_peer_id() {
            let _ = reply.send(Err(DialFailure::OwnPeer));
            return;
        }
        let same = self.0.values_mut().find(|dial| {
            dial.peer == peer && addresses.iter().all(|address| dial.addresses.contains(address))
        });
        if let Some(dial) = same {
            dial.waiting.push(reply);
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Disconnected)
            .addresses(addresses.clone())
            .extend_addresses_through_behaviour()
            .build();
        let id = options.connection_id();
        let waiting = vec![reply];
        self.0.insert(id, Dial { peer, addresses, waiting });
        if let Err(error) = swarm.dial(options) {
            self.failed(id, &error);
        }
    }

    /// A peer is connected, over whichever connection.
    pub(super) fn connected(&mut self, peer: &PeerId) {
        self.0.retain(|_, dial| {
            if dial.peer != *peer {
                return true;
            }
            for waiting in dial.waiting.drain(..) {
                let _ = waiting.send(Ok(()));
            }
            false
        });
    }

    /// A dial came to nothing.
    pub(super) fn failed(&mut self, id: ConnectionId, error: &DialError) {
        let Some(dial) = self.0.remove(&id) else { return };
        let failure = failure(dial.peer, &dial.addresses, error);
        for waiting in dial.waiting {
            let _ = waiting.send(Err(failure.clone()));
        }
    }
}

/// Why a peer could not be reached that was dialled at these addresses.
pub(super) fn failure(peer: PeerId, addresses: &[Multiaddr], error: &DialError) -> DialFailure {
    match error {
        DialError::NoAddresses if addresses.is_empty() => DialFailure::NoAddresses,
        error => {
            let (summary, causes) = causes(peer, addresses, error);
            DialFailure::Failed { peer, summary, causes }
        }
    }
}

/// Why an address was not even tried.
const NO_TRANSPORT: &str = "no transport for protocol";
const OWN_ADDRESS: &str = "dial to self attempted";
const FILTERED: &str = "gater disallows connection to peer";

/// What the causes have in common, and a line for each address.
fn causes(peer: PeerId, addresses: &[Multiaddr], error: &DialError) -> (&'static str, String) {
    let causes: Vec<(&Multiaddr, String)> = match error {
        DialError::Transport(tried) => tried
            .iter()
            .map(|(address, error)| (address, transport_cause(address, error)))
            .collect(),
        DialError::WrongPeerId { obtained, address } => {
            let cause = format!(
                "failed to negotiate security protocol: peer id mismatch: expected {peer}, but \
                 remote key matches {obtained}"
            );
            vec![(address, cause)]
        }
        DialError::LocalPeerId { address } => vec![(address, OWN_ADDRESS.to_owned())],
        // What was given was taken out of the list: this node listens there.
        DialError::NoAddresses => {
            addresses.iter().map(|address| (address, OWN_ADDRESS.to_owned())).collect()
        }
        other => return ("all dials failed", format!(": {}", deepest(other))),
    };
    let untried = [NO_TRANSPORT, OWN_ADDRESS, FILTERED];
    let is_untried = causes.iter().all(|(_, cause)| untried.contains(&cause.as_str()));
    let summary = if is_untried { "no good addresses" } else { "all dials failed" };
    let lines = causes.iter().map(|(address, cause)| format!("\n  * [{}] {cause}", place(address)));
    (summary, lines.collect())
}

fn transport_cause(address: &Multiaddr, error: &TransportError<std::io::Error>) -> String {
    let error = match error {
        TransportError::MultiaddrNotSupported(_) => return NO_TRANSPORT.to_owned(),
        TransportError::Other(error) => error,
    };
    if let Some(mismatch) = Mismatch::within(error) {
        return mismatch.to_string();
    }
    let cause = deepest(error);
    match super::tcp::tcp_socket(address) {
        Some(_) if cause == FILTERED => cause,
        // What libp2p says when no transport takes the address that a name stands for.
        None if cause.contains("Unsupported resolved address") => NO_TRANSPORT.to_owned(),
        Some(socket) => {
            let family = if socket.is_ipv4() { "tcp4" } else { "tcp6" };
            format!("dial {family} {socket}: {cause}")
        }
        None => cause,
    }
}

/// What the system said, under the errors that only pass it on.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    loop {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<Filtered>() {
            return error.to_string();
        }
        error = match (inside, error.source()) {
            (Some(inside), _) => inside,
            (None, Some(source)) => source,
            (None, None) => break,
        };
    }
    match error.downcast_ref::<std::io::Error>() {
        Some(io) => system_text(io),
        None => error.to_string(),
    }
}

/// The system's error as Go words it, for those that a dial meets every day.
fn system_text(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// The address without who is there.
fn place(address: &Multiaddr) -> Multiaddr {
    let mut place = address.clone();
    if matches!(place.iter().last(), Some(Protocol::P2p(_))) {
        place.pop();
    }
    place
}
