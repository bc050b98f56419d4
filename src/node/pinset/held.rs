//! Who holds a pin: members ask each other, for what is shown and for those who wait.
//!
//! A question is one line of JSON over a stream of its own: the keys of pins in hexadecimal, and
//! whether the answer is to wait until all of them are held. The answer is one line with a state for
//! each. Only members have the keys of a private network, and all of them may know every pin.

use std::io;
use std::sync::Arc;

use futures_util::io::{AsyncBufReadExt as _, BufReader};
use futures_util::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::changes::spellings;
use crate::db::{Connection, Db};
use crate::ipld::Cid;
use crate::net::{Network, PeerId, Stream, StreamProtocol};
use crate::node::{Error, Node};
use crate::pins;
use crate::replicate;
use crate::sync::hash::Key;
use crate::sync::{Kind, db as tables};

/// What members ask over.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/pinmesh/held/1.0.0");
/// Bytes of a question, or of an answer.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Pins that one question names.
pub(super) const KEYS_MAX: usize = 4096;
/// Questions of all members that are answered at the same time; those that wait among them.
const QUESTIONS_MAX: usize = 1024;
/// After a member could not be asked.
const RETRY_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    keys: Vec<String>,
    #[serde(default)]
    wait: bool,
}

/// The state of a pin on a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// `pinned`, `remote` (others hold it), `unpinned`, or a state of the queue.
    pub state: String,
    /// Why it is not here, when something has failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl Held {
    fn is_here(&self) -> bool {
        self.state == PINNED
    }
}

const PINNED: &str = "pinned";

/// The state of each pin on this node.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn states(c: &Connection, keys: &[Key]) -> Result<Vec<Held>, Error> {
    keys.iter().map(|key| state(c, key)).collect()
}

fn state(c: &Connection, key: &Key) -> Result<Held, Error> {
    let held = |state: &str| Held { state: state.to_owned(), error: String::new() };
    if let Some(row) = replicate::row(c, key)? {
        return Ok(Held { state: row.state.name().to_owned(), error: row.error });
    }
    let Some(record) = tables::get(c, key)? else { return Ok(held("unpinned")) };
    if is_pinned_here(c, record.cid())? {
        return Ok(held(PINNED));
    }
    Ok(held(if record.kind() == Kind::Live { "remote" } else { "unpinned" }))
}

fn is_pinned_here(c: &Connection, cid: &Cid) -> Result<bool, Error> {
    for spelling in spellings(cid) {
        if pins::get(c, &spelling)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Answers the questions of members until `stop`. `holdings` changes when a pin does.
///
/// # Errors
/// When another such task runs in the same network.
pub(in crate::node) async fn serve(
    db: Db,
    network: Network,
    holdings: watch::Receiver<u64>,
    stop: CancellationToken,
) -> Result<(), String> {
    let incoming = network.streams().accept(PROTOCOL);
    let mut incoming = incoming.map_err(|error| format!("{PROTOCOL}: {error}"))?;
    let places = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = answers.join_next() => {}
            stream = incoming.next() => {
                let Some((peer, stream)) = stream else { return Ok(()) };
                // Who finds no place asks again.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (db, holdings) = (db.clone(), holdings.clone());
                answers.spawn(async move {
                    if let Err(error) = answer(&db, holdings, stream).await {
                        tracing::debug!(%peer, %error, "a member's question was not answered");
                    }
                    drop(place);
                });
            }
        }
    }
}

async fn answer(db: &Db, mut holdings: watch::Receiver<u64>, mut stream: Stream) -> io::Result<()> {
    let question: Question = read_line(&mut stream).await?;
    let keys: Option<Vec<Key>> = question.keys.iter().map(|text| parse_key(text)).collect();
    let keys = keys.filter(|keys| keys.len() <= KEYS_MAX);
    let keys = keys.ok_or_else(|| invalid("a question that names no keys"))?;
    let mut nothing = [0; 1];
    let held = loop {
        holdings.borrow_and_update();
        let held = db.read(|c| states(c, &keys)).map_err(io::Error::other)?;
        if !question.wait || held.iter().all(Held::is_here) {
            break held;
        }
        tokio::select! {
            changed = holdings.changed() => changed.map_err(io::Error::other)?,
            // Who asked has gone away.
            _ = stream.read(&mut nothing) => return Ok(()),
        }
    };
    write_line(&mut stream, &held).await?;
    stream.close().await
}

/// Asks a member that is connected.
///
/// # Errors
/// When it cannot be asked, or does not answer.
pub(super) async fn ask(
    network: &Network,
    peer: PeerId,
    keys: &[Key],
    wait: bool,
) -> io::Result<Vec<Held>> {
    let mut stream = network.open_stream(peer, PROTOCOL).await?;
    let question = Question { keys: keys.iter().map(format_key).collect(), wait };
    write_line(&mut stream, &question).await?;
    let held: Vec<Held> = read_line(&mut stream).await?;
    if held.len() == keys.len() { Ok(held) } else { Err(invalid("an answer to something else")) }
}

async fn read_line<T: for<'de> Deserialize<'de>>(stream: &mut Stream) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line).await?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}

async fn write_line(stream: &mut Stream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn format_key(key: &Key) -> String {
    key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_key(text: &str) -> Option<Key> {
    let mut key = [0; 32];
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (text.len() == 64).then_some(Key(key))
}

impl Node {
    /// Waits until `members` members of the group hold all of `cids`, this node among them: it holds
    /// what it has pinned.
    ///
    /// # Errors
    /// When this node has no group, or ends.
    pub async fn wait_held(&self, cids: &[Cid], members: u64) -> Result<(), Error> {
        if members <= 1 || cids.is_empty() {
            return Ok(());
        }
        let network = self.network().filter(|_| self.pinset().ledger().is_some());
        let network = network.ok_or_else(|| {
            Error::InvalidArgument("wait: this node has no group to wait for".to_owned())
        })?;
        let keys: Arc<[Key]> = cids.iter().map(Key::of).collect();
        let mut events = network.events();
        let mut asked = std::collections::BTreeSet::new();
        let mut answers = JoinSet::new();
        let mut held = 1;
        while held < members {
            for peer in network.peers().into_iter().map(|peer| peer.id) {
                if network.speaks(&peer, PROTOCOL.as_ref()) && asked.insert(peer) {
                    let (network, keys) = (network.clone(), Arc::clone(&keys));
                    answers.spawn(async move { (peer, ask_all(&network, peer, &keys).await) });
                }
            }
            tokio::select! {
                Some(answer) = answers.join_next() => match answer {
                    Ok((_, Ok(()))) => held += 1,
                    Ok((peer, Err(error))) => {
                        tracing::debug!(%peer, %error, "a member that was waited for");
                        tokio::time::sleep(RETRY_DELAY).await;
                        asked.remove(&peer);
                    }
                    Err(_) => {}
                },
                event = events.recv() => match event {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(Error::failed("the node has ended")),
                },
            }
        }
        Ok(())
    }

    /// The state of pins on a member that is connected.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask_held(&self, peer: &PeerId, cids: &[Cid]) -> Result<Vec<Held>, Error> {
        let network = self.network().ok_or(Error::ActionOffline)?;
        let keys: Vec<Key> = cids.iter().map(Key::of).collect();
        let mut held = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_MAX) {
            held.extend(ask(network, *peer, keys, false).await.map_err(Error::failed)?);
        }
        Ok(held)
    }

    /// The state of pins on this node.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn held(&self, cids: &[Cid]) -> Result<Vec<Held>, Error> {
        let keys: Vec<Key> = cids.iter().map(Key::of).collect();
        self.db().read(|c| states(c, &keys))
    }
}

/// Asks a member for all keys, and waits until it holds them.
async fn ask_all(network: &Network, peer: PeerId, keys: &[Key]) -> io::Result<()> {
    for keys in keys.chunks(KEYS_MAX) {
        ask(network, peer, keys, true).await?;
    }
    Ok(())
}

impl From<replicate::Error> for Error {
    fn from(error: replicate::Error) -> Self {
        match error {
            replicate::Error::Db(error) => Self::Db(error),
            error => Self::failed(error),
        }
    }
}
