//! The pins of the group one by one, and where each stands: here, and on the other members.
//!
//! Reads pages of records, with no lock held between two of them: constant memory at any number of
//! pins.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::join_all;

use super::changes::spellings;
use super::held::Held;
use super::ledger::{Ledger, wall_ms};
use super::status::Group;
use crate::db::Connection;
use crate::ipld::Cid;
use crate::net::PeerId;
use crate::node::produce::{Sink, produce};
use crate::node::{Error, Node, blocking};
use crate::pins::{self, Mode as LocalMode};
use crate::replicate::{self, Queue, Row};
use crate::sync::hash::Key;
use crate::sync::record::{Live, Mode, Record};
use crate::sync::{Author, db as tables};

pub use crate::replicate::State as PinState;

/// Records that are read at a time.
const PAGE: usize = 256;
/// How long a member may take to say where pins stand.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Which pins are listed.
#[derive(Debug, Clone, Default)]
pub struct PinFilter {
    /// Their states here; empty: any.
    pub states: Vec<PinState>,
    /// What their names contain; empty: any.
    pub name: String,
    /// How many at most; 0: all.
    pub limit: u64,
    /// The pin after which the list begins.
    pub after: Option<Cid>,
    /// Do not ask how the pins stand on other members.
    pub is_local: bool,
}

/// Where a pin stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinHere {
    /// The state.
    pub state: PinState,
    /// What the last try failed with; empty when none did.
    pub error: String,
    /// Tries that failed.
    pub attempts: u32,
    /// When it is tried again, in Unix milliseconds; `None`: its turn may come at any time, or it
    /// needs none.
    pub next_try_ms: Option<u64>,
}

/// A pin of the group.
#[derive(Debug, Clone)]
pub struct GroupPin {
    /// What is pinned.
    pub cid: Cid,
    /// `recursive`, `direct`, or `depth-3`.
    pub mode: String,
    /// What its author said.
    pub live: Live,
    /// When: the hybrid time of the record.
    pub created: u64,
    /// The peer id of its author. Of one that never said hello: that of the key of its records.
    pub author: String,
    /// Where it stands here.
    pub here: PinHere,
    /// Where it stands on the members of which it is known: their peer ids, and names of states.
    pub members: Vec<(String, String)>,
}

impl GroupPin {
    /// When its author made it, in Unix milliseconds by the author's clock.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        crate::sync::Hlc(self.created).ms()
    }

    /// The least number of members that are to hold it; -1: all.
    #[must_use]
    pub fn replication_min(&self) -> i64 {
        self.live.replication_min.map_or(-1, i64::from)
    }

    /// The number of members that are to hold it; -1: all.
    #[must_use]
    pub fn replication_max(&self) -> i64 {
        self.live.replication_max.map_or(-1, i64::from)
    }
}

impl Node {
    /// The pins of the group that `filter` names, in an order that is the same on all members.
    ///
    /// # Errors
    /// On a node that has no group.
    pub fn group_pins(
        &self,
        filter: PinFilter,
    ) -> Result<impl Stream<Item = Result<GroupPin, Error>> + use<>, Error> {
        let (node, ledger) = (self.clone(), self.ledger()?.clone());
        Ok(produce(PAGE, move |sink| async move { node.list_into(&ledger, filter, &sink).await }))
    }

    async fn list_into(
        &self,
        ledger: &Ledger,
        filter: PinFilter,
        sink: &Sink<GroupPin>,
    ) -> Result<(), Error> {
        let mut after = filter.after.as_ref().map(Key::of);
        let mut others = (!filter.is_local).then(Others::default);
        let mut left = if filter.limit == 0 { u64::MAX } else { filter.limit };
        loop {
            let (db, records, states) = (self.db().clone(), ledger.clone(), filter.states.clone());
            let read = move || db.read(|c| page(c, records.queue(), &states, after.as_ref()));
            let page = blocking(read).await?;
            let Page { found, last, is_full } = page;
            after = last;
            let wanted = found.into_iter().filter(|found| filter.wants(found));
            let wanted: Vec<Found> =
                wanted.take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
            left = left.saturating_sub(wanted.len() as u64);
            if !wanted.is_empty() {
                for pin in self.describe(ledger, wanted, others.as_mut()).await? {
                    sink.send(pin).await;
                }
            }
            if !is_full || left == 0 {
                return Ok(());
            }
        }
    }

    /// Adds to records what is known of their authors, and of the other members.
    async fn describe(
        &self,
        ledger: &Ledger,
        page: Vec<Found>,
        others: Option<&mut Others>,
    ) -> Result<Vec<GroupPin>, Error> {
        let group = Group::of(ledger).await?;
        let authors = self.peers_by_author(&group, ledger);
        let cids: Vec<Cid> = page.iter().map(|found| found.record.cid().clone()).collect();
        let elsewhere = match others {
            None => vec![Vec::new(); cids.len()],
            Some(others) => others.states(self, &group, &cids).await,
        };
        let described = page.into_iter().zip(elsewhere).map(|(found, others)| {
            let Found { record, live, here } = found;
            let mut members = vec![(self.peer_id(), here.state.name().to_owned())];
            members.extend(others);
            GroupPin {
                cid: record.cid().clone(),
                mode: mode_name(live.mode),
                live,
                created: record.hlc().0,
                author: author_text(&authors, &record.author()),
                here,
                members,
            }
        });
        Ok(described.collect())
    }

    /// Has what could not be fetched tried again at once: one pin, or all. How many there are.
    ///
    /// # Errors
    /// On a node that has no group, and when the database fails.
    pub async fn recover_pins(&self, cid: Option<Cid>) -> Result<u64, Error> {
        let ledger = self.ledger()?;
        let key = cid.as_ref().map(Key::of);
        let work = move |tx: &crate::db::Transaction<'_>| replicate::recover(tx, key.as_ref());
        let count = self.db().write(work).await?;
        ledger.queue().wake();
        Ok(count)
    }
}

/// The state of this name.
///
/// # Errors
/// When there is none; the error names those that there are.
pub fn parse_state(name: &str) -> Result<PinState, Error> {
    PinState::parse(name).ok_or_else(|| {
        let names: Vec<&str> = PinState::ALL.into_iter().map(PinState::name).collect();
        let names = names.join(", ");
        Error::InvalidArgument(format!("{name:?} is no state of a pin: they are {names}"))
    })
}

impl PinFilter {
    fn wants(&self, found: &Found) -> bool {
        (self.states.is_empty() || self.states.contains(&found.here.state))
            && found.live.name.contains(&self.name)
    }
}

/// A pin that was read.
struct Found {
    record: Record,
    live: Live,
    here: PinHere,
}

/// Pins that were read, and where the next page begins.
struct Page {
    found: Vec<Found>,
    last: Option<Key>,
    is_full: bool,
}

/// A page of pins that may be in one of `states` here.
fn page(
    c: &Connection,
    queue: &Queue,
    states: &[PinState],
    after: Option<&Key>,
) -> Result<Page, Error> {
    let simple = [PinState::Pinned, PinState::Remote, PinState::Expired];
    if !states.is_empty() && states.iter().all(|state| !simple.contains(state)) {
        // Few: they have rows of their own.
        let rows = queue.page(c, states, after, PAGE)?;
        let found = rows.iter().filter_map(|row| of_row(c, row).transpose());
        let (last, is_full) = (rows.last().map(|row| row.key), rows.len() == PAGE);
        return Ok(Page { found: found.collect::<Result<_, _>>()?, last, is_full });
    }
    let records = tables::live_page(c, after, PAGE)?;
    let (last, is_full) = (records.last().map(Record::key), records.len() == PAGE);
    let found = records.into_iter().filter_map(|record| {
        let live = record.live()?.clone();
        let here = here(c, queue, &record, &live);
        Some(here.map(|here| Found { record, live, here }))
    });
    Ok(Page { found: found.collect::<Result<_, _>>()?, last, is_full })
}

/// The pin of a row; one that was removed and stays for a time has no live record.
fn of_row(c: &Connection, row: &Row) -> Result<Option<Found>, Error> {
    let Some(record) = tables::get(c, &row.key)? else { return Ok(None) };
    let live = record.live().cloned().unwrap_or_else(|| Live {
        name: row.name.clone(),
        mode: match row.mode {
            LocalMode::Recursive => Mode::Recursive,
            LocalMode::Direct => Mode::Direct,
        },
        size_bytes: row.size_bytes,
        ..Live::default()
    });
    Ok(Some(Found { record, live, here: PinHere::of(row) }))
}

impl PinHere {
    fn of(row: &Row) -> Self {
        Self {
            state: row.state,
            error: row.error.clone(),
            attempts: row.attempts,
            next_try_ms: row.next_at_ms,
        }
    }
}

/// Where a pin stands here.
fn here(c: &Connection, queue: &Queue, record: &Record, live: &Live) -> Result<PinHere, Error> {
    if let Some(row) = queue.row(c, &record.key())? {
        return Ok(PinHere::of(&row));
    }
    let simply = |state| PinHere { state, error: String::new(), attempts: 0, next_try_ms: None };
    for spelling in spellings(record.cid()) {
        if pins::get(c, &spelling)?.is_some() {
            return Ok(simply(PinState::Pinned));
        }
    }
    let is_over = live.expire_ms.is_some_and(|end_ms| end_ms <= wall_ms());
    Ok(simply(if is_over { PinState::Expired } else { PinState::Remote }))
}

/// Members that are asked where pins stand, as long as they answer.
#[derive(Debug, Default)]
struct Others {
    /// Those that did not answer: they are not waited for again.
    silent: BTreeSet<PeerId>,
}

impl Others {
    /// Where pins stand on the other members, for each of `cids`: the members of which it is known.
    ///
    /// Who is connected is asked; who is away had its whole share at the present root, or nothing is
    /// known of it.
    async fn states(
        &mut self,
        node: &Node,
        group: &Group,
        cids: &[Cid],
    ) -> Vec<Vec<(String, String)>> {
        let mut states = vec![Vec::new(); cids.len()];
        let mut asked = Vec::new();
        for known in &group.known {
            let Some(hello) = &known.hello else { continue };
            let Ok(peer) = PeerId::from_bytes(&hello.peer) else { continue };
            let is_silent = known.roots.is_none() || self.silent.contains(&peer);
            if !is_silent {
                asked.push(ask(node, peer, cids));
            } else if hello.status.complete_at == Some(group.roots.live) {
                let pinned = (peer.to_string(), PinState::Pinned.name().to_owned());
                states.iter_mut().for_each(|of_pin| of_pin.push(pinned.clone()));
            }
        }
        for (peer, held) in join_all(asked).await {
            let Some(held) = held else {
                self.silent.insert(peer);
                continue;
            };
            for (of_pin, held) in states.iter_mut().zip(held) {
                of_pin.push((peer.to_string(), held.state));
            }
        }
        states
    }
}

/// Asks a member; nothing when it does not answer in time.
async fn ask(node: &Node, peer: PeerId, cids: &[Cid]) -> (PeerId, Option<Vec<Held>>) {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, node.ask_held(&peer, cids)).await;
    (peer, answer.ok().and_then(Result::ok))
}

fn mode_name(mode: Mode) -> String {
    match mode {
        Mode::Recursive => "recursive".to_owned(),
        Mode::Direct => "direct".to_owned(),
        Mode::Depth(levels) => format!("depth-{levels}"),
    }
}

/// The peer id of an author.
pub(super) fn author_text(authors: &HashMap<Author, String>, author: &Author) -> String {
    authors.get(author).cloned().unwrap_or_else(|| {
        // A member that left, or records of it that came before its hello.
        author.peer_id().map(|id| id.to_string()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_none_is_told_which_there_are() {
        assert_eq!(parse_state("pinned").unwrap(), PinState::Pinned);
        let error = parse_state("Pinned").unwrap_err().to_string();
        assert!(error.contains("\"Pinned\"") && error.contains("pin_queued"), "{error}");
    }
}
