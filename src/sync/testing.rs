//! What the tests of the core share: cheap signatures, CIDs, records.

use super::clock::Hlc;
use super::keys::{Author, Sign, Signature};
use super::message::Hello;
use super::record::{Body, Live, Record};
use crate::ipld::{Cid, Multihash, codec};

/// The group of the tests.
pub(super) const GROUP: [u8; 32] = [5; 32];

/// A key whose signatures are hashes, some hundred times cheaper than Ed25519. Nobody in a test
/// forges one but on purpose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key(u8);

impl Key {
    pub(super) fn new(number: u8) -> Self {
        Self(number)
    }
}

fn tag(author: &Author, message: &[u8]) -> Signature {
    let mut hasher = blake3::Hasher::new_keyed(&author.0);
    hasher.update(message);
    let mut signature = [0; 64];
    hasher.finalize_xof().fill(&mut signature);
    signature
}

impl Sign for Key {
    fn author(&self) -> Author {
        Author([self.0; 32])
    }

    fn sign(&self, message: &[u8]) -> Signature {
        tag(&self.author(), message)
    }

    fn verify(&self, author: &Author, message: &[u8], signature: &Signature) -> bool {
        tag(author, message) == *signature
    }

    /// The peer ids of the tests are author keys.
    fn is_bound(&self, hello: &Hello, _group_id: &[u8; 32]) -> bool {
        hello.peer == hello.author.0
    }
}

pub(super) fn any_cid(number: u64) -> Cid {
    let digest = blake3::hash(&number.to_be_bytes());
    Cid::new_v1(codec::RAW, Multihash::wrap(0x12, digest.as_bytes()))
}

/// A pin of `cid` at a time of the author's.
pub(super) fn pin(key: &Key, cid: &Cid, hlc: u64) -> Record {
    Record::sign(key, &GROUP, cid, Hlc(hlc), &Body::Live(Live::default())).unwrap()
}
