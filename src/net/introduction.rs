//! Introductions: who is asked tells whom it is connected to, so that a node that knows one member
//! soon knows all.
//!
//! A protocol between nodes of this program, on private networks only: everybody who can ask holds
//! the swarm key and may know every address. The asking side sends one byte. To [`ASK`] the other
//! answers with a list: the number of peers, and for each its id and the number of its addresses
//! and the addresses; each number is a varint, each id and address goes behind its length.
//! [`FAREWELL`] says that a connection is about to be closed on purpose, and has no answer.

use std::io;
use std::time::Duration;

use futures_util::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{Stream, StreamProtocol};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// The protocol.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/pinmesh/peers/1.0.0");

/// How long a question and its answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer; peers of one, and addresses of each.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
const PEERS_MAX: usize = 256;
const ADDRESSES_MAX: usize = 16;

/// Bytes of a peer id or an address.
const FIELD_BYTES_MAX: usize = 512;

const ASK: u8 = 0;
const FAREWELL: u8 = 1;

/// Peers and where they are.
pub(super) type Peers = Vec<(PeerId, Vec<Multiaddr>)>;

/// What the other side wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// To be told of others.
    Who,
    /// To be let go.
    Farewell,
}

/// Asks over a fresh stream.
///
/// # Errors
/// When the stream breaks, or the answer is none.
pub(super) async fn ask(mut stream: Stream) -> io::Result<Peers> {
    let asking = async {
        stream.write_all(&[ASK]).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        decode(&answer).ok_or_else(|| invalid("an introduction that cannot be read"))
    };
    in_time(asking).await
}

/// Says farewell over a fresh stream.
///
/// # Errors
/// When the stream breaks.
pub(super) async fn say_farewell(mut stream: Stream) -> io::Result<()> {
    in_time(async {
        stream.write_all(&[FAREWELL]).await?;
        stream.close().await?;
        // The other side closes when it has understood.
        let mut nothing = [0; 1];
        stream.read(&mut nothing).await.map(drop)
    })
    .await
}

/// Reads what is wanted over a stream that came in.
///
/// # Errors
/// When the stream breaks, or nobody has asked anything that is known.
pub(super) async fn question(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Question> {
    in_time(async {
        let mut kind = [0; 1];
        stream.read_exact(&mut kind).await?;
        match kind {
            [ASK] => Ok(Question::Who),
            [FAREWELL] => Ok(Question::Farewell),
            _ => Err(invalid("a question that is not known")),
        }
    })
    .await
}

/// Answers [`Question::Who`].
///
/// # Errors
/// When the stream breaks.
pub(super) async fn answer(mut stream: Stream, peers: &Peers) -> io::Result<()> {
    let bytes = encode(peers);
    in_time(async {
        stream.write_all(&bytes).await?;
        stream.close().await
    })
    .await
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(TIMEOUT, work).await.map_err(timed_out)?
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn encode(peers: &Peers) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, peers.len().min(PEERS_MAX));
    for (peer, addresses) in peers.iter().take(PEERS_MAX) {
        put_field(&mut bytes, &peer.to_bytes());
        let addresses: Vec<_> = addresses
            .iter()
            .filter(|address| address.as_ref().len() <= FIELD_BYTES_MAX)
            .take(ADDRESSES_MAX)
            .collect();
        put(&mut bytes, addresses.len());
        addresses.into_iter().for_each(|address| put_field(&mut bytes, address.as_ref()));
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(unsigned_varint::encode::usize(
        number,
        &mut unsigned_varint::encode::usize_buffer(),
    ));
}

fn put_field(bytes: &mut Vec<u8>, field: &[u8]) {
    put(bytes, field.len());
    bytes.extend_from_slice(field);
}

/// Reads an answer; none when it is not whole, too long, or holds more than it should.
fn decode(bytes: &[u8]) -> Option<Peers> {
    let (count, mut rest) = number(bytes, PEERS_MAX)?;
    let mut peers = Vec::new();
    for _ in 0..count {
        let (peer, after) = field(rest)?;
        let peer = PeerId::from_bytes(peer).ok()?;
        let (count, after) = number(after, ADDRESSES_MAX)?;
        rest = after;
        let mut addresses = Vec::new();
        for _ in 0..count {
            let (address, after) = field(rest)?;
            rest = after;
            // One of a kind that this version does not know is passed over.
            addresses.extend(Multiaddr::try_from(address.to_vec()));
        }
        peers.push((peer, addresses));
    }
    rest.is_empty().then_some(peers)
}

fn number(bytes: &[u8], max: usize) -> Option<(usize, &[u8])> {
    let (number, rest) = unsigned_varint::decode::usize(bytes).ok()?;
    (number <= max).then_some((number, rest))
}

fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes, FIELD_BYTES_MAX)?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let peers: Peers = vec![
            (PeerId::random(), vec!["/ip4/10.0.0.1/tcp/4001".parse().unwrap()]),
            (PeerId::random(), Vec::new()),
        ];
        assert_eq!(decode(&encode(&peers)), Some(peers.clone()));
        let bytes = encode(&peers);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(decode(&[bytes, vec![0]].concat()), None);
    }

    #[test]
    fn a_list_is_as_long_as_may_be_and_no_longer() {
        let address: Multiaddr = "/ip4/10.0.0.1/tcp/4001".parse().unwrap();
        let peers = vec![(PeerId::random(), vec![address; ADDRESSES_MAX + 1]); PEERS_MAX + 1];
        let bytes = encode(&peers);
        assert!(bytes.len() < usize::try_from(ANSWER_BYTES_MAX).unwrap());
        let told = decode(&bytes).unwrap();
        assert_eq!((told.len(), told[0].1.len()), (PEERS_MAX, ADDRESSES_MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(peers) = decode(&bytes) {
                prop_assert!(peers.len() <= PEERS_MAX);
            }
        }
    }
}
