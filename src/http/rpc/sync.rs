//! `sync/*`: the pins of the group, its members, and what is missing where. Commands of this program,
//! which Kubo does not have.
//!
//! Translation only: [`crate::node::pinset`] has what is answered.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::StreamExt as _;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::call::CidEncoder;
use super::{Error, Reply, Request, Value};
use crate::ipld::Cid;
use crate::node::pinset::{GroupPin, PinFilter, PinProof, SyncMember, SyncStatus, parse_state};

/// `sync/status`.
pub(super) async fn status(request: Request) -> Result<Reply, Error> {
    Ok(Reply::one(Status::from(request.node.sync_status().await?)))
}

/// `sync/peers`.
pub(super) async fn peers(request: Request) -> Result<Reply, Error> {
    let members = request.node.sync_members().await?;
    Ok(Reply::one(Peers { peers: members.into_iter().map(Peer::from).collect() }))
}

/// `sync/pins`: one by one, as they are read.
pub(super) async fn pins(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let options = &request.options;
    let states = options.list("state").iter().map(|name| parse_state(name));
    let after = options.opt_string("after").filter(|text| !text.is_empty());
    let after = after.map(str::parse::<Cid>).transpose();
    let filter = PinFilter {
        states: states.collect::<Result<_, _>>()?,
        name: options.string("name").to_owned(),
        limit: options.uint("limit"),
        after: after.map_err(|error| Error::client(format!("after: {error}")))?,
        is_local: request.is_offline(),
    };
    let pins = request.node.group_pins(filter)?;
    Ok(Reply::many(pins.map(move |pin| Ok(Pin::new(pin?, &encoder)))))
}

/// `sync/diff`: by which pins the lists of this node and of a member differ.
pub(super) async fn diff(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let peer = request.options.opt_string("peer").filter(|peer| !peer.is_empty());
    let Some(peer) = peer else {
        return Err(Error::client("peer: which member? 'sync/peers' lists them"));
    };
    let differences = request.node.diff_pins(peer).await?;
    Ok(Reply::many(differences.map(move |difference| {
        let difference = difference?;
        Ok(Difference {
            cid: encoder.encode(&difference.cid),
            name: difference.name,
            r#where: difference.which.name(),
        })
    })))
}

/// `sync/recover`: has what could not be fetched tried again now.
pub(super) async fn recover(request: Request) -> Result<Reply, Error> {
    let cid = request.args.first().filter(|text| !text.is_empty()).map(|text| text.parse::<Cid>());
    let cid = cid.transpose().map_err(|error| Error::client(format!("{error}")))?;
    Ok(Reply::one(Recovered { count: request.node.recover_pins(cid).await? }))
}

/// `sync/prove`.
pub(super) async fn prove(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let cid: Cid = request.arg(0).parse().map_err(|error| Error::client(format!("{error}")))?;
    let proof = request.node.prove_pin(cid).await?;
    Ok(Reply::one(Proof::new(proof, &encoder)))
}

/// `sync/log`: the last changes, and with `follow` those that come.
pub(super) async fn log(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let follows = request.options.bool("follow");
    let changes = request.node.pin_changes(follows)?.map(move |change| {
        let change = change?;
        Ok(Change {
            time: rfc3339(change.at_ms),
            what: change.happened.name(),
            cid: encoder.encode(&change.cid),
            name: change.name,
            author: change.author,
            live_root: change.live_root,
        })
    });
    Ok(if follows { Reply::live(changes) } else { Reply::many(changes) })
}

/// A time as text; empty for none.
fn rfc3339(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    time.and_then(|time| OffsetDateTime::from(time).format(&Rfc3339).ok()).unwrap_or_default()
}

#[derive(Debug, Serialize)]
#[serde(rename = "sync.Status", rename_all = "PascalCase")]
struct Status {
    in_sync: bool,
    live_root: String,
    state_root: String,
    pins: u64,
    tombstones: u64,
    unrecorded: u64,
    waiting: String,
    members: Vec<Member>,
    queue: Queue,
}

impl Value for Status {}

#[derive(Debug, Serialize)]
#[serde(rename = "sync.Member", rename_all = "PascalCase")]
struct Member {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    addrs: Vec<String>,
    version: String,
    state: &'static str,
    live_root: String,
    pins: u64,
    lag_pins: u64,
    free_bytes: u64,
    last_seen: String,
}

#[derive(Debug, Serialize)]
#[serde(rename = "sync.Queue", rename_all = "PascalCase")]
struct Queue {
    queued: u64,
    fetching: u64,
    failing: u64,
}

impl From<SyncStatus> for Status {
    fn from(status: SyncStatus) -> Self {
        let queue = status.queue;
        Self {
            in_sync: status.is_in_sync,
            live_root: status.live_root,
            state_root: status.state_root,
            pins: status.pins,
            tombstones: status.tombstones,
            unrecorded: status.unrecorded,
            waiting: status.waiting,
            members: status.members.into_iter().map(Member::from).collect(),
            queue: Queue { queued: queue.queued, fetching: queue.fetching, failing: queue.failing },
        }
    }
}

impl From<SyncMember> for Member {
    fn from(member: SyncMember) -> Self {
        Self {
            live_root: member.live_root(),
            pins: member.pins(),
            id: member.id,
            name: member.name,
            addrs: member.addresses,
            version: member.version,
            state: member.state.name(),
            lag_pins: member.lag_pins,
            free_bytes: member.status.free_bytes,
            last_seen: rfc3339(member.heard_ms),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "sync.Peers", rename_all = "PascalCase")]
struct Peers {
    peers: Vec<Peer>,
}

impl Value for Peers {}

/// A member with all that is known of it.
#[derive(Debug, Serialize)]
#[serde(rename = "sync.Peer", rename_all = "PascalCase")]
struct Peer {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    addrs: Vec<String>,
    version: String,
    state: &'static str,
    last_seen: String,
    /// Milliseconds by which its clock was ahead of this node's; null when it is not known.
    clock_offset: Option<i64>,
    live_root: String,
    state_root: String,
    pins: u64,
    tombstones: u64,
    lag_pins: u64,
    /// What was removed before has been seen by every member.
    floor: String,
    status: Held,
}

/// What a member holds.
#[derive(Debug, Serialize)]
#[serde(rename = "sync.Held", rename_all = "PascalCase")]
struct Held {
    pinned: u64,
    queued: u64,
    fetching: u64,
    failing: u64,
    stalled: u64,
    missing: u64,
    free_bytes: u64,
    used_bytes: u64,
}

impl From<SyncMember> for Peer {
    fn from(member: SyncMember) -> Self {
        let held = &member.status;
        Self {
            live_root: member.live_root(),
            state_root: member.state_root(),
            pins: member.pins(),
            tombstones: member.roots.map_or(0, |roots| roots.tomb_count.into()),
            floor: rfc3339(member.floor_ms()),
            status: Held {
                pinned: held.pinned,
                queued: held.queued,
                fetching: held.fetching,
                failing: held.failing,
                stalled: held.stalled,
                missing: held.missing,
                free_bytes: held.free_bytes,
                used_bytes: held.used_bytes,
            },
            id: member.id,
            name: member.name,
            addrs: member.addresses,
            version: member.version,
            state: member.state.name(),
            last_seen: rfc3339(member.heard_ms),
            clock_offset: member.clock_ahead_ms,
            lag_pins: member.lag_pins,
        }
    }
}

/// A pin of the group.
#[derive(Debug, Serialize)]
#[serde(rename = "sync.Pin", rename_all = "PascalCase")]
struct Pin {
    cid: String,
    name: String,
    mode: String,
    state: &'static str,
    error: String,
    attempts: u32,
    next_try: String,
    created: String,
    /// The same with what decides between changes of one moment.
    #[serde(rename = "HLC")]
    hlc: u64,
    author: String,
    replication_min: i64,
    replication_max: i64,
    expire_at: String,
    meta: BTreeMap<String, String>,
    /// Bytes of all of it; null when its author did not know.
    size: Option<u64>,
    members: Vec<PinMember>,
}

impl Value for Pin {}

#[derive(Debug, Serialize)]
#[serde(rename = "sync.PinMember", rename_all = "PascalCase")]
struct PinMember {
    #[serde(rename = "ID")]
    id: String,
    state: String,
}

impl Pin {
    fn new(pin: GroupPin, encoder: &CidEncoder) -> Self {
        let members = pin.members.iter();
        Self {
            cid: encoder.encode(&pin.cid),
            mode: pin.mode.clone(),
            state: pin.here.state.name(),
            error: pin.here.error.clone(),
            attempts: pin.here.attempts,
            next_try: rfc3339(pin.here.next_try_ms.unwrap_or_default()),
            created: rfc3339(pin.created_ms()),
            hlc: pin.created,
            author: pin.author.clone(),
            replication_min: pin.replication_min(),
            replication_max: pin.replication_max(),
            expire_at: rfc3339(pin.live.expire_ms.unwrap_or_default()),
            size: pin.live.size_bytes,
            members: members
                .map(|(id, state)| PinMember { id: id.clone(), state: state.clone() })
                .collect(),
            name: pin.live.name,
            meta: pin.live.meta.into_iter().collect(),
        }
    }
}

/// How many pins are tried again.
#[derive(Debug, Serialize)]
#[serde(rename = "sync.Recovered", rename_all = "PascalCase")]
struct Recovered {
    count: u64,
}

impl Value for Recovered {}

/// A pin by which two lists differ.
#[derive(Debug, Serialize)]
#[serde(rename = "sync.Difference", rename_all = "PascalCase")]
struct Difference {
    cid: String,
    name: String,
    /// `here`, `there`, or `differs`: in both, and not the same.
    r#where: &'static str,
}

impl Value for Difference {}

/// A change of the group's pins.
#[derive(Debug, Serialize)]
#[serde(rename = "sync.Change", rename_all = "PascalCase")]
struct Change {
    time: String,
    /// `pinned`, `unpinned` or `updated`.
    what: &'static str,
    cid: String,
    name: String,
    author: String,
    live_root: String,
}

impl Value for Change {}

/// Shows that a CID is pinned, or is not.
#[derive(Debug, Serialize)]
#[serde(rename = "sync.Proof", rename_all = "PascalCase")]
struct Proof {
    cid: String,
    key: String,
    pinned: bool,
    live_root: String,
    leaves: Vec<Leaf>,
}

impl Value for Proof {}

#[derive(Debug, Serialize)]
#[serde(rename = "sync.Leaf", rename_all = "PascalCase")]
struct Leaf {
    cid: String,
    key: String,
    digest: String,
    record: String,
    path: Vec<Step>,
}

#[derive(Debug, Serialize)]
#[serde(rename = "sync.Step", rename_all = "PascalCase")]
struct Step {
    bit: i64,
    /// Where the other side is: `left` or `right`.
    side: &'static str,
    hash: String,
}

impl Proof {
    fn new(proof: PinProof, encoder: &CidEncoder) -> Self {
        let leaves = proof.leaves.into_iter().map(|leaf| Leaf {
            cid: encoder.encode(&leaf.cid),
            key: leaf.key,
            digest: leaf.digest,
            record: leaf.record,
            path: leaf
                .path
                .into_iter()
                .map(|step| Step {
                    bit: step.bit.into(),
                    side: if step.is_left { "left" } else { "right" },
                    hash: step.hash,
                })
                .collect(),
        });
        Self {
            cid: encoder.encode(&proof.cid),
            key: proof.key,
            pinned: proof.is_pinned,
            live_root: proof.live_root,
            leaves: leaves.collect(),
        }
    }
}
