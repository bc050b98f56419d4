//! Whether the members of the group have the same pins, who they are, and what is missing here.

use std::collections::HashMap;

use super::changes;
use super::ledger::{Ledger, root_text};
use super::service::PROTOCOL;
use crate::net::{Identified, Multiaddr, Network, PeerId};
use crate::node::{Error, Membership, Node};
use crate::sync::Author;
use crate::sync::core::Known;
use crate::sync::message::{Roots, Status};
use crate::sync::tree::state_root;

/// The state of the group, as this node sees it.
#[derive(Debug, Clone)]
pub struct SyncStatus {
    /// Every member that is connected has the same records, and nothing waits to be recorded or
    /// fetched here.
    pub is_in_sync: bool,
    /// The hash of the pins: `0x` and 64 digits.
    pub live_root: String,
    /// The hash of the pins and of what was removed.
    pub state_root: String,
    /// How many pins the group has.
    pub pins: u64,
    /// How many removals are remembered.
    pub tombstones: u64,
    /// Changes of this node's pins that wait to be recorded.
    pub unrecorded: u64,
    /// Why they wait; empty when there is no reason.
    pub waiting: String,
    /// This node, then the others: who is connected first.
    pub members: Vec<SyncMember>,
    /// What is to be fetched.
    pub queue: SyncQueue,
}

/// Pins that are not whole here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncQueue {
    /// Those that wait for their turn.
    pub queued: u64,
    /// Those that are being fetched.
    pub fetching: u64,
    /// Those that could not be fetched: the last try failed, nobody seems to have them, or the disk
    /// is full.
    pub failing: u64,
}

/// Where a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It is this node.
    Own,
    /// It is connected.
    Online,
    /// It is not.
    Offline,
    /// It was silent for so long that removals no longer wait for it.
    Out,
}

impl MemberState {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Out => "out",
        }
    }
}

/// A member, as it told of itself last.
#[derive(Debug, Clone)]
pub struct SyncMember {
    /// Its peer id. Of a member that has not said hello yet: that of the key of its records.
    pub id: String,
    /// The suffix of its agent (`--agent-version-suffix`); empty when it has none, or is offline.
    pub name: String,
    /// Where it is.
    pub addresses: Vec<String>,
    /// Its agent; empty when it is not known.
    pub version: String,
    /// Where it is.
    pub state: MemberState,
    /// Its trees; none when it has told nothing yet.
    pub roots: Option<Roots>,
    /// Pins that its list has too many or too few, at least, and those that are not whole there.
    pub lag_pins: u64,
    /// What it holds.
    pub status: Status,
    /// When it was heard last, in Unix milliseconds.
    pub heard_ms: u64,
    /// How far its clock was ahead of this node's, in milliseconds, when it is known.
    pub clock_ahead_ms: Option<i64>,
}

impl SyncMember {
    /// The hash of its pins; empty when it is not known.
    #[must_use]
    pub fn live_root(&self) -> String {
        self.roots.map(|roots| root_text(&roots.live)).unwrap_or_default()
    }

    /// The hash of its pins and of what it knows to be removed; empty when it is not known.
    #[must_use]
    pub fn state_root(&self) -> String {
        let text = |roots: Roots| root_text(&state_root(&roots.live, &roots.tomb));
        self.roots.map(text).unwrap_or_default()
    }

    /// How many pins its list has.
    #[must_use]
    pub fn pins(&self) -> u64 {
        self.roots.map_or(0, |roots| roots.live_count.into())
    }

    /// What was removed before, in Unix milliseconds, every member has seen, as far as this one
    /// knows; 0 when it knows of no such time.
    #[must_use]
    pub fn floor_ms(&self) -> u64 {
        self.roots.map_or(0, |roots| roots.floor.ms())
    }
}

/// What is known of the group at one moment.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) roots: Roots,
    pub(super) is_ready: bool,
    is_cloned: bool,
    pub(super) known: Vec<Known>,
}

impl Group {
    pub(super) async fn of(ledger: &Ledger) -> Result<Self, Error> {
        let now = ledger.now();
        let look = ledger.look(move |core| Self {
            roots: core.roots(),
            is_ready: core.is_ready(),
            is_cloned: core.is_cloned(),
            known: core.known(now),
        });
        look.await
    }

    fn waiting(&self) -> &'static str {
        match (self.is_ready, self.is_cloned) {
            (true, _) => "",
            (false, true) => {
                "another node runs with this node's key: neither records its pins until one of \
                 them stops and this one is started again"
            }
            (false, false) => {
                "this repository may be an older copy of itself: what is pinned here is recorded \
                 once a member was heard, or after a start with --trust-repo"
            }
        }
    }
}

impl Node {
    /// The records of the group.
    ///
    /// # Errors
    /// On a node that has no group, and in a command without a daemon.
    pub(super) fn ledger(&self) -> Result<&Ledger, Error> {
        self.pinset().ledger().ok_or_else(|| match self.membership() {
            _ if !self.is_daemon() => Error::CommandOffline,
            Some(Membership::Public) => Error::failed(
                "this node is public: only the members of a private network share their pins",
            ),
            _ => Error::failed(
                "this node has no swarm.key, so it is in no group: its first start with a network \
                 makes one, and 'pinmesh init --join' takes that of others",
            ),
        })
    }

    /// Whether the members of the group have the same pins, and what is missing.
    ///
    /// # Errors
    /// On a node that has no group, and when the database fails.
    pub async fn sync_status(&self) -> Result<SyncStatus, Error> {
        let ledger = self.ledger()?;
        let group = Group::of(ledger).await?;
        let unrecorded = self.db().read(changes::count_unrecorded)?;
        let counts = ledger.counts()?;
        let queue = SyncQueue {
            queued: counts.queued,
            fetching: counts.fetching,
            failing: counts.failing + counts.stalled + counts.disk_full,
        };
        let members = self.members_of(&group, ledger)?;
        let agree = members
            .iter()
            .filter(|member| member.state <= MemberState::Online)
            .all(|member| member.roots.is_some_and(|roots| roots.same_state(&group.roots)));
        let is_idle = unrecorded == 0 && group.is_ready && queue == SyncQueue::default();
        Ok(SyncStatus {
            is_in_sync: agree && is_idle,
            live_root: root_text(&group.roots.live),
            state_root: root_text(&state_root(&group.roots.live, &group.roots.tomb)),
            pins: group.roots.live_count.into(),
            tombstones: group.roots.tomb_count.into(),
            unrecorded,
            waiting: group.waiting().to_owned(),
            members,
            queue,
        })
    }

    /// The members of the group, this node first, then who is connected.
    ///
    /// # Errors
    /// On a node that has no group.
    pub async fn sync_members(&self) -> Result<Vec<SyncMember>, Error> {
        let ledger = self.ledger()?;
        self.members_of(&Group::of(ledger).await?, ledger)
    }

    fn members_of(&self, group: &Group, ledger: &Ledger) -> Result<Vec<SyncMember>, Error> {
        let mut members = vec![self.own_member(group, ledger)?];
        let network = self.network();
        let mut strangers: Vec<PeerId> = network.map(speakers).unwrap_or_default();
        for known in &group.known {
            let id = peer_of(known);
            strangers.retain(|stranger| Some(*stranger) != id);
            members.push(member(known, id, network, group.roots));
        }
        // Connected, and not introduced yet.
        for id in strangers {
            let identified = network.and_then(|network| network.peer(&id)?.identified);
            members.push(SyncMember {
                state: MemberState::Online,
                ..blank(id.to_string(), identified.as_deref())
            });
        }
        members.sort_by(|a, b| (a.state, &a.id).cmp(&(b.state, &b.id)));
        Ok(members)
    }

    fn own_member(&self, group: &Group, ledger: &Ledger) -> Result<SyncMember, Error> {
        let addresses = self.network().map(|network| texts(&network.announced()));
        let counts = ledger.counts()?;
        let status = Status {
            pinned: u64::from(group.roots.live_count).saturating_sub(counts.missing()),
            queued: counts.queued,
            fetching: counts.fetching,
            failing: counts.failing,
            stalled: counts.stalled,
            missing: counts.missing(),
            ..ledger.own_status()
        };
        Ok(SyncMember {
            id: self.peer_id(),
            name: suffix(self.agent()).to_owned(),
            addresses: addresses.unwrap_or_default(),
            version: self.agent().to_owned(),
            state: MemberState::Own,
            roots: Some(group.roots),
            lag_pins: status.missing,
            status,
            heard_ms: ledger.now().wall_ms,
            clock_ahead_ms: Some(0),
        })
    }

    /// Whose peer id an author key belongs to.
    pub(super) fn peers_by_author(
        &self,
        group: &Group,
        ledger: &Ledger,
    ) -> HashMap<Author, String> {
        let known = group.known.iter().filter_map(|known| Some((known.author, peer_of(known)?)));
        let mut peers: HashMap<Author, String> =
            known.map(|(author, id)| (author, id.to_string())).collect();
        peers.insert(ledger.author(), self.peer_id());
        peers
    }
}

/// The peers that are connected and are members.
fn speakers(network: &Network) -> Vec<PeerId> {
    let peers = network.peers().into_iter().map(|peer| peer.id);
    peers.filter(|id| network.speaks(id, PROTOCOL.as_ref())).collect()
}

/// The peer id of a member.
fn peer_of(known: &Known) -> Option<PeerId> {
    match &known.hello {
        Some(hello) => PeerId::from_bytes(&hello.peer).ok(),
        None => known.author.peer_id(),
    }
}

fn member(known: &Known, id: Option<PeerId>, network: Option<&Network>, ours: Roots) -> SyncMember {
    let peer = network.and_then(|network| network.peer(&id?));
    let is_connected = peer.as_ref().is_some_and(|peer| !peer.connections.is_empty());
    let identified = peer.and_then(|peer| peer.identified);
    let roots = known.roots.or(known.hello.as_ref().map(|hello| hello.roots));
    let status = known.hello.as_ref().map(|hello| hello.status).unwrap_or_default();
    let blank = blank(id.map(|id| id.to_string()).unwrap_or_default(), identified.as_deref());
    let addresses = match &known.hello {
        Some(hello) => hello.addresses.iter().filter_map(|bytes| address(bytes)).collect(),
        None => blank.addresses,
    };
    SyncMember {
        addresses,
        state: match (is_connected, known.is_active) {
            (true, _) => MemberState::Online,
            (false, true) => MemberState::Offline,
            (false, false) => MemberState::Out,
        },
        roots,
        lag_pins: roots.map_or(0, |roots| lag(&roots, &ours)) + status.missing,
        status,
        heard_ms: known.heard_wall_ms,
        clock_ahead_ms: known.clock_ahead_ms,
        ..blank
    }
}

/// A member of which nothing is known but what it told the network.
fn blank(id: String, identified: Option<&Identified>) -> SyncMember {
    let agent = identified.map(|said| said.agent.clone()).unwrap_or_default();
    SyncMember {
        id,
        name: suffix(&agent).to_owned(),
        addresses: identified.map(|said| texts(&said.addresses)).unwrap_or_default(),
        version: agent,
        state: MemberState::Offline,
        roots: None,
        lag_pins: 0,
        status: Status::default(),
        heard_ms: 0,
        clock_ahead_ms: None,
    }
}

/// Pins by which two lists differ at least.
fn lag(theirs: &Roots, ours: &Roots) -> u64 {
    match theirs.live == ours.live {
        true => 0,
        false => u64::from(theirs.live_count.abs_diff(ours.live_count)).max(1),
    }
}

/// What follows Kubo's and our version in an agent.
fn suffix(agent: &str) -> &str {
    agent.splitn(4, '/').nth(3).unwrap_or_default()
}

fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(Multiaddr::to_string).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    Some(Multiaddr::try_from(bytes.to_vec()).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_of_an_agent_is_a_name() {
        assert_eq!(suffix("kubo/0.44.0/pinmesh-0.1.0/attic"), "attic");
        assert_eq!(suffix("kubo/0.44.0/pinmesh-0.1.0/a/b"), "a/b");
        assert_eq!(suffix("kubo/0.44.0/pinmesh-0.1.0"), "");
        assert_eq!(suffix(""), "");
    }

    #[test]
    fn equal_lists_are_no_lag_and_different_ones_at_least_one_pin() {
        let of = |live, live_count| Roots { live: [live; 32], live_count, ..Roots::default() };
        assert_eq!(lag(&of(1, 7), &of(1, 7)), 0);
        assert_eq!(lag(&of(2, 7), &of(1, 7)), 1);
        assert_eq!(lag(&of(2, 3), &of(1, 7)), 4);
        assert_eq!(lag(&of(2, 9), &of(1, 7)), 2);
    }
}
