//! Records: what a member says of one pin, signed; their canonical encoding and their order.
//!
//! Pure. A record is a list of seven: format, kind, CID, time, author, body, signature. Its digest
//! and its signature cover the list of the first six. For each key the record of the highest rank
//! is the state; `docs/sync.md` says why that converges.

use std::fmt;
use std::sync::Arc;

use super::cbor::{self, DecodeError, Decoder};
use super::clock::Hlc;
use super::hash::{Digest, Key};
use super::keys::{Author, Sign, Signature};
use crate::ipld::Cid;

mod body;

pub use body::{Body, Live, Mode, Tombstone};

/// Bytes of an encoded record.
pub const RECORD_LEN_MAX: usize = 4096;
/// Bytes of a CID in a record: an identity CID may hold a small block.
const CID_LEN_MAX: usize = 512;
const FORMAT: u64 = 1;
/// The head and the bytes of a signature, which are the last of a record.
const SIGNATURE_LEN: usize = 2 + 64;
const DOMAIN: &[u8] = b"pinsync/rec/1";

/// When, and by whom: unique for each record of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When, by the author's clock.
    pub hlc: Hlc,
    /// By whom.
    pub author: Author,
}

/// Which tree a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The CID is pinned.
    Live,
    /// It is not any more.
    Tomb,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Live, Self::Tomb];

    /// Its number in messages and tables.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::Tomb => 1,
        }
    }

    /// The kind of a number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| u64::from(kind.number()) == number)
    }
}

/// The order of two records of a key; the higher one is the state. A tombstone stands where the
/// version stood that it removed, and so removes only what its author had seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    place: Version,
    kind: Kind,
    version: Version,
    digest: Digest,
}

/// A record whose encoding is canonical and inside the caps. Cloning it is cheap.
#[derive(Clone)]
pub struct Record(Arc<Inner>);

struct Inner {
    bytes: Box<[u8]>,
    cid: Cid,
    key: Key,
    digest: Digest,
    version: Version,
    body: Body,
}

impl Record {
    /// Makes and signs a record of the group `group_id`.
    ///
    /// # Errors
    /// When the body or the CID is over a cap, or a tombstone is not above what it removes.
    pub fn sign(
        signer: &impl Sign,
        group_id: &[u8; 32],
        cid: &Cid,
        hlc: Hlc,
        body: &Body,
    ) -> Result<Self, DecodeError> {
        let mut bytes = Vec::with_capacity(256);
        cbor::list(7, &mut bytes);
        cbor::uint(FORMAT, &mut bytes);
        cbor::uint(body.kind().number().into(), &mut bytes);
        cbor::bytes(&cid.to_bytes(), &mut bytes);
        cbor::uint(hlc.0, &mut bytes);
        cbor::bytes(&signer.author().0, &mut bytes);
        body.append_to(&mut bytes);
        let said = bytes.get(1..).unwrap_or_default();
        let signature = signer.sign(&signed(group_id, said));
        cbor::bytes(&signature, &mut bytes);
        // What is sent is what others will accept: the same checks.
        Self::decode(&bytes)
    }

    /// Reads a record; its signature is not checked.
    ///
    /// # Errors
    /// When the bytes are no canonical record, or over a cap.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let record = Self::read(&mut decoder)?;
        decoder.end()?;
        Ok(record)
    }

    /// Reads the record that follows.
    pub(super) fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let before = decoder.clone();
        decoder.tuple(7)?;
        if decoder.uint()? != FORMAT {
            return Err(DecodeError::Malformed("the format of a record"));
        }
        let kind = Kind::from_number(decoder.uint()?)
            .ok_or(DecodeError::Malformed("the kind of a record"))?;
        let cid = read_cid(decoder)?;
        let hlc = Hlc(decoder.uint()?);
        let author = Author(decoder.array()?);
        let body = Body::read(kind, decoder)?;
        if let Body::Tomb(tombstone) = &body
            && tombstone.observed.hlc >= hlc
        {
            // The collection of tombstones rests on this.
            return Err(DecodeError::Malformed("a removal of what came later"));
        }
        decoder.array::<64>()?;
        let bytes: Box<[u8]> = decoder.since(&before).into();
        if bytes.len() > RECORD_LEN_MAX {
            return Err(DecodeError::TooLong("a record"));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[SIX]).update(said(&bytes));
        let digest = Digest(*hasher.finalize().as_bytes());
        let key = Key::of(&cid);
        let version = Version { hlc, author };
        Ok(Self(Arc::new(Inner { bytes, cid, key, digest, version, body })))
    }

    /// Whether the author has signed it, for this group.
    #[must_use]
    pub fn is_signed(&self, keys: &impl Sign, group_id: &[u8; 32]) -> bool {
        let Some(signature) = self.0.bytes.last_chunk::<64>() else { return false };
        keys.verify(&self.version().author, &signed(group_id, said(&self.0.bytes)), signature)
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> Option<&Signature> {
        self.0.bytes.last_chunk::<64>()
    }

    /// The encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// What is pinned or not, as its author wrote it.
    #[must_use]
    pub fn cid(&self) -> &Cid {
        &self.0.cid
    }

    /// Its place in the trees.
    #[must_use]
    pub fn key(&self) -> Key {
        self.0.key
    }

    /// The hash of what it says.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// When, and by whom.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// When.
    #[must_use]
    pub fn hlc(&self) -> Hlc {
        self.0.version.hlc
    }

    /// By whom.
    #[must_use]
    pub fn author(&self) -> Author {
        self.0.version.author
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// Which tree it is in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.body.kind()
    }

    /// The pin, unless it is a tombstone.
    #[must_use]
    pub fn live(&self) -> Option<&Live> {
        match &self.0.body {
            Body::Live(live) => Some(live),
            Body::Tomb(_) => None,
        }
    }

    /// The highest time that it speaks of.
    pub(super) fn seen(&self) -> Hlc {
        match &self.0.body {
            Body::Live(_) => self.hlc(),
            Body::Tomb(tombstone) => self.hlc().max(tombstone.observed.hlc),
        }
    }

    /// Its place among the records of its key.
    #[must_use]
    pub fn rank(&self) -> Rank {
        let version = self.version();
        let place = match &self.0.body {
            Body::Live(_) => version,
            Body::Tomb(tombstone) => tombstone.observed,
        };
        Rank { place, kind: self.kind(), version, digest: self.digest() }
    }
}

/// The head of a list of six.
const SIX: u8 = 0x86;

/// The six values that are signed, without the head of their list.
fn said(bytes: &[u8]) -> &[u8] {
    bytes.get(1..bytes.len().saturating_sub(SIGNATURE_LEN)).unwrap_or_default()
}

fn signed(group_id: &[u8; 32], said: &[u8]) -> Vec<u8> {
    [DOMAIN, group_id, &[SIX], said].concat()
}

/// Reads a CID in its one binary form.
pub(super) fn read_cid(decoder: &mut Decoder<'_>) -> Result<Cid, DecodeError> {
    let bytes = decoder.bytes(CID_LEN_MAX)?;
    let cid = Cid::from_bytes(bytes).map_err(|_| DecodeError::Malformed("a CID"))?;
    if cid.to_bytes() == bytes { Ok(cid) } else { Err(DecodeError::NotCanonical) }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("cid", &self.0.cid)
            .field("version", &self.0.version)
            .field("body", &self.0.body)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
