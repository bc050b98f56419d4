//! What one member's list has and another's has not, CID by CID.
//!
//! A protocol of its own, `/pinmesh/list/1.0.0`, for people who look why two roots differ; sessions
//! of `sync` need none of it. The asker sends its live root, 32 bytes. The answer is one byte: 0
//! when that root is the member's too, 1 before its list, 2 when it has too many such questions. The
//! list comes in pieces behind their lengths, four bytes with the highest first, in the order of the
//! keys; an empty piece ends it. An entry is key and digest, 32 bytes each, then the CID and the name
//! behind their lengths, two bytes. Both lists are read in pages, so that a change that comes
//! meanwhile may be in one of them alone.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{AsyncReadExt as _, AsyncWriteExt as _, Stream as Items, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::status::{Group, MemberState};
use crate::db::Db;
use crate::ipld::Cid;
use crate::net::{Network, PeerId, Stream, StreamProtocol};
use crate::node::produce::{Sink, produce};
use crate::node::{Error, Node, blocking};
use crate::sync::db as tables;
use crate::sync::hash::{Digest, Hash, Key};
use crate::sync::record::Record;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/pinmesh/list/1.0.0");

const EQUAL: u8 = 0;
const LIST: u8 = 1;
const BUSY: u8 = 2;

/// Records in a piece.
const PAGE: usize = 256;
/// Bytes of a piece: a name has at most 255 and a CID fewer than a record.
const PIECE_LEN_MAX: usize = 2 << 20;
/// Members that are answered at a time.
const ANSWERS_MAX: usize = 4;
/// How long a member may take over one piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// Which list has a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// This node's.
    Here,
    /// The other member's.
    There,
    /// Both, with other options or another author.
    Differs,
}

impl Which {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::There => "there",
            Self::Differs => "differs",
        }
    }
}

/// A pin by which two lists differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub cid: Cid,
    /// Its name, here if it is here.
    pub name: String,
    /// Who has it.
    pub which: Which,
}

/// A pin of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: Key,
    digest: Digest,
    cid: Cid,
    name: String,
}

impl From<&Record> for Entry {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key(),
            digest: record.digest(),
            cid: record.cid().clone(),
            name: record.live().map(|live| live.name.clone()).unwrap_or_default(),
        }
    }
}

impl Entry {
    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend(self.key.0);
        out.extend(self.digest.0);
        for part in [self.cid.to_bytes().as_slice(), self.name.as_bytes()] {
            // Both come from a record of at most 4096 bytes.
            out.extend(u16::try_from(part.len()).unwrap_or_default().to_be_bytes());
            out.extend(part);
        }
    }

    fn read_all(mut piece: &[u8]) -> Option<VecDeque<Self>> {
        let mut entries = VecDeque::new();
        while !piece.is_empty() {
            let (key, rest) = piece.split_first_chunk::<32>()?;
            let (digest, rest) = rest.split_first_chunk::<32>()?;
            let (cid, rest) = part(rest)?;
            let (name, rest) = part(rest)?;
            piece = rest;
            let cid = Cid::from_bytes(cid).ok()?;
            let name = String::from_utf8(name.to_vec()).ok()?;
            if Key::of(&cid).0 != *key {
                return None;
            }
            entries.push_back(Self { key: Key(*key), digest: Digest(*digest), cid, name });
        }
        Some(entries)
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

impl Node {
    /// By which pins this node's list and that of a member differ, in the order of their keys.
    /// `member` is a peer id, or enough of its end.
    ///
    /// # Errors
    /// When there is no such member, or it is not connected.
    pub async fn diff_pins(
        &self,
        member: &str,
    ) -> Result<impl Items<Item = Result<Difference, Error>> + use<>, Error> {
        let peer = self.find_member(member).await?;
        let network = self.online()?;
        let root = Group::of(self.ledger()?).await?.roots.live;
        let stream = ask(network, peer, &root)
            .await
            .map_err(|error| Error::failed(format!("{peer} did not tell its pins: {error}")))?;
        let db = self.db().clone();
        Ok(produce(PAGE, move |sink| async move {
            let Some(stream) = stream else { return Ok(()) };
            let theirs = Theirs { stream, ahead: VecDeque::new(), last: None, is_over: false };
            let ours = Ours { db, ahead: VecDeque::new(), last: None, is_over: false };
            merge(ours, theirs, &sink)
                .await
                .map_err(|error| Error::failed(format!("the list of {peer}: {error}")))
        }))
    }

    /// The member that is connected and whose peer id this is, or ends so.
    async fn find_member(&self, text: &str) -> Result<PeerId, Error> {
        let members = self.sync_members().await?;
        let others = members.iter().filter(|member| member.state != MemberState::Own);
        let mut found = others.filter(|member| !text.is_empty() && member.id.ends_with(text));
        let (first, more) = (found.next(), found.next());
        match (first, more) {
            (Some(member), None) if member.state == MemberState::Online => {
                member.id.parse().map_err(Error::failed)
            }
            (Some(member), None) => Err(Error::failed(format!("{} is not connected", member.id))),
            (Some(_), Some(_)) => Err(Error::InvalidArgument(format!(
                "the ids of several members end in {text:?}: give more of it"
            ))),
            (None, _) => Err(Error::InvalidArgument(format!(
                "no member has the id {text:?}: 'sync/peers' lists them"
            ))),
        }
    }
}

/// Asks for a list; `None` when it is the same.
async fn ask(network: &Network, peer: PeerId, root: &Hash) -> io::Result<Option<Stream>> {
    let mut stream = network.open_stream(peer, PROTOCOL).await?;
    let answer = async {
        stream.write_all(root).await?;
        stream.flush().await?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let [answer] = in_time(answer).await?;
    match answer {
        EQUAL => Ok(None),
        LIST => Ok(Some(stream)),
        BUSY => Err(io::Error::other("it answers others: try it again")),
        _ => Err(io::Error::other("an answer that is none")),
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PIECE_TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// This node's list.
struct Ours {
    db: Db,
    ahead: VecDeque<Entry>,
    last: Option<Key>,
    is_over: bool,
}

impl Ours {
    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        if self.ahead.is_empty() && !self.is_over {
            let (db, after) = (self.db.clone(), self.last);
            self.ahead = blocking(move || our_page(&db, after.as_ref())).await?;
            self.is_over = self.ahead.len() < PAGE;
            self.last = self.ahead.back().map(|entry| entry.key);
        }
        Ok(self.ahead.pop_front())
    }
}

fn our_page(db: &Db, after: Option<&Key>) -> Result<VecDeque<Entry>, Error> {
    let page = db.read(|c| tables::live_page(c, after, PAGE))?;
    Ok(page.iter().map(Entry::from).collect())
}

/// The member's list.
struct Theirs {
    stream: Stream,
    ahead: VecDeque<Entry>,
    last: Option<Key>,
    is_over: bool,
}

impl Theirs {
    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        if self.ahead.is_empty() && !self.is_over {
            let piece = in_time(read_piece(&mut self.stream)).await.map_err(Error::failed)?;
            self.ahead = Entry::read_all(&piece).ok_or_else(|| Error::failed("no list"))?;
            self.is_over = self.ahead.is_empty();
        }
        let entry = self.ahead.pop_front();
        if let Some(entry) = &entry
            && self.last.replace(entry.key).is_some_and(|last| last >= entry.key)
        {
            return Err(Error::failed("it is not in order"));
        }
        Ok(entry)
    }
}

async fn read_piece(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > PIECE_LEN_MAX {
        return Err(io::Error::other("a piece that is too long"));
    }
    let mut piece = vec![0; length];
    stream.read_exact(&mut piece).await?;
    Ok(piece)
}

/// Compares two lists in one pass.
async fn merge(mut ours: Ours, mut theirs: Theirs, sink: &Sink<Difference>) -> Result<(), Error> {
    let (mut a, mut b) = (ours.next().await?, theirs.next().await?);
    loop {
        let order = match (&a, &b) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.key.cmp(&b.key),
        };
        let difference = match order {
            Ordering::Less => a.take().map(|entry| (entry, Which::Here)),
            Ordering::Greater => b.take().map(|entry| (entry, Which::There)),
            Ordering::Equal => {
                let (a, b) = (a.take(), b.take());
                let digest = b.map(|entry| entry.digest);
                a.filter(|entry| Some(entry.digest) != digest).map(|entry| (entry, Which::Differs))
            }
        };
        if let Some((entry, which)) = difference {
            sink.send(Difference { cid: entry.cid, name: entry.name, which }).await;
        }
        if a.is_none() {
            a = ours.next().await?;
        }
        if b.is_none() {
            b = theirs.next().await?;
        }
    }
}

/// Tells members this node's list until `stop`.
///
/// # Errors
/// When another such task runs in the same network.
pub(in crate::node) async fn serve(
    network: Network,
    ledger: Ledger,
    db: Db,
    stop: CancellationToken,
) -> Result<(), String> {
    let incoming = network.streams().accept(PROTOCOL);
    let mut incoming = incoming.map_err(|error| format!("{PROTOCOL}: {error}"))?;
    let places = Arc::new(Semaphore::new(ANSWERS_MAX));
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = answers.join_next() => {}
            asked = incoming.next() => {
                let Some((peer, stream)) = asked else { return Ok(()) };
                let place = Arc::clone(&places).try_acquire_owned().ok();
                let (ledger, db) = (ledger.clone(), db.clone());
                answers.spawn(async move {
                    let is_busy = place.is_none();
                    if let Err(error) = answer(stream, &ledger, &db, is_busy).await {
                        tracing::debug!(%peer, %error, "a member did not take the list");
                    }
                    drop(place);
                });
            }
        }
    }
}

async fn answer(mut stream: Stream, ledger: &Ledger, db: &Db, is_busy: bool) -> io::Result<()> {
    let mut root = [0; 32];
    in_time(stream.read_exact(&mut root)).await?;
    let is_same = ledger.glance().borrow().roots.live == root;
    let head = match (is_busy, is_same) {
        (true, _) => BUSY,
        (false, true) => EQUAL,
        (false, false) => LIST,
    };
    in_time(stream.write_all(&[head])).await?;
    if head == LIST {
        tell(&mut stream, db).await?;
    }
    in_time(stream.close()).await
}

/// Sends this node's list, piece by piece.
async fn tell(stream: &mut Stream, db: &Db) -> io::Result<()> {
    let mut list = Ours { db: db.clone(), ahead: VecDeque::new(), last: None, is_over: false };
    loop {
        let mut piece = Vec::new();
        while let Some(entry) = list.next().await.map_err(io::Error::other)? {
            entry.append_to(&mut piece);
            if list.ahead.is_empty() {
                break;
            }
        }
        let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
        in_time(stream.write_all(&[&length.to_be_bytes(), piece.as_slice()].concat())).await?;
        if piece.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, name: &str) -> Entry {
        let cid: Cid = text.parse().unwrap();
        let key = Key::of(&cid);
        Entry { key, digest: Digest([7; 32]), cid, name: name.to_owned() }
    }

    #[test]
    fn entries_are_read_as_they_were_written_and_nothing_else_is() {
        let entries = [
            entry("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", ""),
            entry("bafkqaaa", "an empty one"),
        ];
        let mut piece = Vec::new();
        entries.iter().for_each(|entry| entry.append_to(&mut piece));
        assert_eq!(Entry::read_all(&piece).unwrap(), entries);
        for cut in 1..piece.len() {
            let read = Entry::read_all(&piece[..cut]);
            assert!(read.is_none_or(|read| read.len() == 1), "{cut}");
        }
        // A key that is not the CID's.
        piece[0] ^= 1;
        assert!(Entry::read_all(&piece).is_none());
        assert!(Entry::read_all(&[]).unwrap().is_empty());
    }
}
