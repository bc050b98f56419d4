//! Peer ids and multiaddrs as people write them, with the errors that Kubo's users know.
//!
//! The parsers are libp2p's; what is here finds the text of the error (go-multiaddr `codec.go`,
//! go-libp2p `core/peer/peer.go`) before they are asked.

use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use multibase::Base;

use crate::ipld::{Cid, Multihash, codec, multihash};

/// Why a text is no peer id or no multiaddr; the text is Kubo's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No peer id.
    #[error("failed to parse peer ID: {0}")]
    PeerId(String),
    /// A CID, but not that of a key.
    #[error("can't convert CID of type \"{0}\" to a peer ID")]
    NotAKey(String),
    /// No multiaddr.
    #[error("failed to parse multiaddr {address:?}: {reason}")]
    Multiaddr {
        /// What was given, without slashes at its end.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A multiaddr that does not end in a peer id.
    #[error("invalid p2p multiaddr")]
    NoPeerId,
}

/// What the text of an address component holds.
enum Value {
    None,
    Ip4,
    Ip6,
    Port,
    Peer,
    Text,
    Path,
}

/// Parses a peer id: a base58 multihash, or the CID of a libp2p key.
///
/// # Errors
/// When it is neither.
pub fn parse_peer_id(text: &str) -> Result<PeerId, AddressError> {
    let bytes = if text.starts_with("Qm") || text.starts_with('1') {
        base58_multihash(text).map_err(AddressError::PeerId)?
    } else {
        let cid = Cid::parse(text).map_err(|error| AddressError::PeerId(error.to_string()))?;
        if cid.codec() != codec::LIBP2P_KEY {
            return Err(AddressError::NotAKey(codec_name(cid.codec())));
        }
        cid.hash().as_bytes().to_vec()
    };
    PeerId::from_bytes(&bytes).map_err(|error| AddressError::PeerId(error.to_string()))
}

/// Parses a multiaddr; `ipfs` is understood as `p2p`.
///
/// # Errors
/// When it is none.
pub fn parse_multiaddr(text: &str) -> Result<Multiaddr, AddressError> {
    let text = text.trim_end_matches('/');
    let invalid = |reason: String| AddressError::Multiaddr { address: text.to_owned(), reason };
    let Some(rest) = text.strip_prefix('/') else {
        let reason = if text.is_empty() { "empty multiaddr" } else { "must begin with /" };
        return Err(invalid(reason.to_owned()));
    };
    let mut clean = String::with_capacity(text.len());
    let mut parts = rest.split('/');
    while let Some(name) = parts.next() {
        let value = component(name).ok_or_else(|| invalid(format!("unknown protocol {name}")))?;
        clean.push('/');
        clean.push_str(if name == "ipfs" { "p2p" } else { name });
        if matches!(value, Value::None) {
            continue;
        }
        let Some(mut part) = parts.next().map(str::to_owned) else {
            return Err(invalid("unexpected end of multiaddr".to_owned()));
        };
        if matches!(value, Value::Path) {
            for more in parts.by_ref() {
                part.push('/');
                part.push_str(more);
            }
        }
        let part = canonical(&value, &part).map_err(|error| {
            let name = if name == "ipfs" { "p2p" } else { name };
            invalid(format!("invalid value {part:?} for protocol {name}: {error}"))
        })?;
        clean.push('/');
        clean.push_str(&part);
    }
    clean.parse().map_err(|error: multiaddr::Error| invalid(error.to_string()))
}

/// Splits an address into where the peer is (empty when the address does not say) and who it is.
///
/// # Errors
/// When the last component is no peer id.
pub fn split_peer(mut address: Multiaddr) -> Result<(Multiaddr, PeerId), AddressError> {
    match address.pop() {
        Some(Protocol::P2p(peer)) => Ok((address, peer)),
        _ => Err(AddressError::NoPeerId),
    }
}

/// `address` with `port` as its TCP or UDP port.
#[must_use]
pub fn with_port(address: &Multiaddr, port: u16) -> Multiaddr {
    let changed = address.iter().map(|part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(port),
        Protocol::Udp(_) => Protocol::Udp(port),
        part => part,
    });
    changed.collect()
}

/// Parses what `ping` takes: a peer id, or an address that ends in one.
///
/// # Errors
/// When it is neither.
pub fn parse_peer(text: &str) -> Result<(Option<Multiaddr>, PeerId), AddressError> {
    if !text.starts_with('/') {
        return Ok((None, parse_peer_id(text)?));
    }
    let (address, peer) = split_peer(parse_multiaddr(text)?)?;
    Ok(((!address.is_empty()).then_some(address), peer))
}

fn component(name: &str) -> Option<Value> {
    Some(match name {
        "ip4" => Value::Ip4,
        "ip6" => Value::Ip6,
        "tcp" | "udp" | "dccp" | "sctp" => Value::Port,
        "p2p" | "ipfs" => Value::Peer,
        "unix" => Value::Path,
        "dns" | "dns4" | "dns6" | "dnsaddr" | "ipcidr" | "ip6zone" | "onion" | "onion3"
        | "garlic64" | "garlic32" | "certhash" | "http-path" | "sni" | "memory" => Value::Text,
        "p2p-circuit" | "utp" | "udt" | "quic" | "quic-v1" | "webtransport" | "http" | "https"
        | "p2p-webrtc-direct" | "tls" | "noise" | "plaintextv2" | "ws" | "wss"
        | "webrtc-direct" | "webrtc" => Value::None,
        _ => return None,
    })
}

/// The value as libp2p's parser takes it, or Kubo's reason why it is none.
fn canonical(value: &Value, text: &str) -> Result<String, String> {
    match value {
        Value::Ip4 => text
            .parse::<Ipv4Addr>()
            .map(|address| address.to_string())
            .map_err(|_| format!("failed to parse ip4 addr: {text}")),
        Value::Ip6 => text
            .parse::<Ipv6Addr>()
            .map(|address| address.to_string())
            .map_err(|_| format!("failed to parse ip6 addr: {text}")),
        Value::Port => port(text),
        Value::Peer => peer(text),
        Value::None | Value::Text | Value::Path => Ok(text.to_owned()),
    }
}

/// Go's `strconv.ParseUint(text, 10, 16)`.
fn port(text: &str) -> Result<String, String> {
    let reason = if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        "invalid syntax"
    } else {
        match text.parse::<u16>() {
            Ok(port) => return Ok(port.to_string()),
            Err(_) => "value out of range",
        }
    };
    Err(format!("failed to parse port addr: strconv.ParseUint: parsing {text:?}: {reason}"))
}

fn peer(text: &str) -> Result<String, String> {
    let invalid = |reason: String| format!("failed to parse p2p addr: {text} {reason}");
    let bytes = if text.starts_with("Qm") || text.starts_with('1') {
        base58_multihash(text).map_err(invalid)?
    } else {
        let cid = Cid::parse(text).map_err(|error| invalid(error.to_string()))?;
        if cid.codec() != codec::LIBP2P_KEY {
            return Err(invalid(format!("has the invalid codec {}", cid.codec())));
        }
        cid.hash().as_bytes().to_vec()
    };
    match PeerId::from_bytes(&bytes) {
        Ok(peer) => Ok(peer.to_string()),
        Err(error) => Err(format!("invalid multihash: {error}")),
    }
}

fn base58_multihash(text: &str) -> Result<Vec<u8>, String> {
    let bytes = Base::Base58Btc.decode(text).map_err(|error| error.to_string())?;
    let hash = Multihash::from_bytes(&bytes)
        .map_err(|error: multihash::MultihashError| error.to_string())?;
    Ok(hash.as_bytes().to_vec())
}

/// The multicodec's name, where a peer id was asked for and another CID given.
fn codec_name(code: u64) -> String {
    match code {
        codec::RAW => "raw".to_owned(),
        codec::DAG_PB => "dag-pb".to_owned(),
        codec::DAG_CBOR => "dag-cbor".to_owned(),
        codec::DAG_JSON => "dag-json".to_owned(),
        code => format!("Code({code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";

    #[test]
    fn a_peer_id_is_read_in_each_of_its_forms() {
        let peer = parse_peer_id(PEER).unwrap();
        let cid = Cid::new_v1(codec::LIBP2P_KEY, Multihash::from_bytes(&peer.to_bytes()).unwrap());
        assert_eq!(parse_peer_id(&cid.to_text(Base::Base36Lower)).unwrap(), peer);
        assert_eq!(peer.to_string(), PEER);
    }

    #[test]
    fn what_is_no_multiaddr_says_why() {
        let cases = [
            ("nope", "failed to parse multiaddr \"nope\": must begin with /"),
            ("", "failed to parse multiaddr \"\": empty multiaddr"),
            ("/", "failed to parse multiaddr \"\": empty multiaddr"),
            ("/x", "failed to parse multiaddr \"/x\": unknown protocol x"),
            ("/ip4", "failed to parse multiaddr \"/ip4\": unexpected end of multiaddr"),
            (
                "/ip4/1.2.3/tcp/1",
                "failed to parse multiaddr \"/ip4/1.2.3/tcp/1\": invalid value \"1.2.3\" for \
                 protocol ip4: failed to parse ip4 addr: 1.2.3",
            ),
            (
                "/ip4/1.2.3.4/tcp/65536",
                "failed to parse multiaddr \"/ip4/1.2.3.4/tcp/65536\": invalid value \"65536\" \
                 for protocol tcp: failed to parse port addr: strconv.ParseUint: parsing \
                 \"65536\": value out of range",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(parse_multiaddr(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn an_address_is_split_into_place_and_peer() {
        let (place, peer) = parse_peer(&format!("/ip4/127.0.0.1/tcp/1/ipfs/{PEER}")).unwrap();
        assert_eq!(place.unwrap().to_string(), "/ip4/127.0.0.1/tcp/1");
        assert_eq!(peer.to_string(), PEER);
        assert_eq!(parse_peer(&format!("/p2p/{PEER}")).unwrap().0, None);
        assert_eq!(parse_peer("/ip4/127.0.0.1/tcp/1"), Err(AddressError::NoPeerId));
    }
}
