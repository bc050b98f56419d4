//! Names: the multihash of a public key.

use std::fmt;

use libp2p_identity::{PeerId, PublicKey};

use crate::ipld::base::Base;
use crate::ipld::{Cid, Multihash, codec, hash};

/// What the routing key of a name begins with.
const PREFIX: &[u8] = b"/ipns/";

/// A name: the peer ID of the key that signs its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(PeerId);

impl Name {
    /// The name of the key with this peer ID.
    #[must_use]
    pub fn of(peer: PeerId) -> Self {
        Self(peer)
    }

    /// The name in a routing key; `None` when it is that of something else.
    #[must_use]
    pub fn from_routing_key(key: &[u8]) -> Option<Self> {
        PeerId::from_bytes(key.strip_prefix(PREFIX)?).ok().map(Self)
    }

    /// The key under which the routing system keeps the record.
    #[must_use]
    pub fn routing_key(&self) -> Vec<u8> {
        [PREFIX, &self.0.to_bytes()].concat()
    }

    /// The peer ID.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.0
    }

    /// The public key, when the name holds it: a name of an RSA or ECDSA key is its hash.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        let hash = self.multihash()?;
        let is_identity = hash.code() == hash::IDENTITY;
        is_identity.then(|| PublicKey::try_decode_protobuf(hash.digest()).ok()).flatten()
    }

    fn multihash(&self) -> Option<Multihash> {
        Multihash::from_bytes(&self.0.to_bytes()).ok()
    }
}

/// Base36 of the CID of the key, as it stands in a path.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.multihash() {
            Some(hash) => {
                let cid = Cid::new_v1(codec::LIBP2P_KEY, hash);
                f.write_str(&cid.to_text(Base::Base36Lower))
            }
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}
