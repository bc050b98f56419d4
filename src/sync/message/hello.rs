//! `hello`: who a member is, how far it has come, and what it offers; signed by its author key.

use libp2p_identity::{PeerId, PublicKey};

use super::{FIELDS_MAX, Roots};
use crate::sync::cbor::{self, DecodeError, Decoder};
use crate::sync::clock::Hlc;
use crate::sync::keys::{Author, Sign, Signature};

const PEER_LEN_MAX: usize = 64;
/// Addresses in a `hello`.
pub const ADDRESSES_MAX: usize = 16;
const ADDRESS_LEN_MAX: usize = 256;
const TAGS_MAX: usize = 32;
const TAG_LEN_MAX: usize = 64;
/// An RSA key of 4096 bits, and its signature.
const PUBLIC_KEY_LEN_MAX: usize = 1024;
const BINDING_SIGNATURE_LEN_MAX: usize = 512;

const DOMAIN: &[u8] = b"pinsync/hello/1";
const BINDING_DOMAIN: &[u8] = b"pinsync/author/1";

/// What a member holds, in pins, and its disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Pins that are whole here.
    pub pinned: u64,
    /// Pins that wait to be fetched.
    pub queued: u64,
    /// Pins that are being fetched.
    pub fetching: u64,
    /// Pins whose last try failed.
    pub failing: u64,
    /// Pins that nobody seems to have.
    pub stalled: u64,
    /// Pins of its share that are not whole.
    pub missing: u64,
    /// Bytes that it can still take.
    pub free_bytes: u64,
    /// Bytes that it has.
    pub used_bytes: u64,
    /// The live root at which it had its whole share.
    pub complete_at: Option<[u8; 32]>,
}

/// An author key that is not the key of the peer id, bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The public key of the peer id, in libp2p's protobuf.
    pub public_key: Vec<u8>,
    /// Its signature of the author key.
    pub signature: Vec<u8>,
}

impl Binding {
    /// What the key of the peer id signs.
    #[must_use]
    pub fn message(group_id: &[u8; 32], author: &Author) -> Vec<u8> {
        [BINDING_DOMAIN, group_id, &author.0].concat()
    }
}

/// Who a member is and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its peer id, in binary.
    pub peer: Vec<u8>,
    /// Its addresses: binary multiaddrs.
    pub addresses: Vec<Vec<u8>>,
    /// Bits of what it can do; none are defined yet.
    pub capabilities: u64,
    /// Later records of its own are above this.
    pub node_hlc: Hlc,
    /// Its wall clock, in Unix milliseconds.
    pub wall_ms: u64,
    /// Chosen when it started.
    pub boot_nonce: u64,
    /// Its trees.
    pub roots: Roots,
    /// What it has seen of every active member.
    pub floor_low: Hlc,
    /// Of the members that it knows: floors count among those who know the same.
    pub roster_digest: [u8; 8],
    /// What it holds.
    pub status: Status,
    /// Its share of the content against others', and its tags.
    pub weight: u32,
    /// See `weight`.
    pub tags: Vec<String>,
    /// Its author key.
    pub author: Author,
    /// Where the author key is not the key of the peer id.
    pub binding: Option<Binding>,
    /// The author's, of all above.
    pub signature: Signature,
}

/// The field of the signature, which covers the others.
const SIGNATURE_FIELD: u64 = 15;

impl Hello {
    /// Signs it.
    #[must_use]
    pub fn sign(mut self, signer: &impl Sign, group_id: &[u8; 32]) -> Self {
        self.author = signer.author();
        self.signature = signer.sign(&self.signed(group_id));
        self
    }

    fn signed(&self, group_id: &[u8; 32]) -> Vec<u8> {
        let mut message = [DOMAIN, group_id].concat();
        self.append_fields(0, &mut message);
        message
    }

    /// Whether its author signed it.
    #[must_use]
    pub fn is_signed(&self, keys: &impl Sign, group_id: &[u8; 32]) -> bool {
        keys.verify(&self.author, &self.signed(group_id), &self.signature)
    }

    /// Whether the author key belongs to the peer id: it is its key, or bound to it by it.
    #[must_use]
    pub fn is_bound(&self, group_id: &[u8; 32]) -> bool {
        let Ok(peer) = PeerId::from_bytes(&self.peer) else { return false };
        let Some(binding) = &self.binding else {
            return self.author.peer_id() == Some(peer);
        };
        PublicKey::try_decode_protobuf(&binding.public_key).is_ok_and(|key| {
            key.to_peer_id() == peer
                && key.verify(&Binding::message(group_id, &self.author), &binding.signature)
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_fields(1, &mut out);
        cbor::uint(SIGNATURE_FIELD, &mut out);
        cbor::bytes(&self.signature, &mut out);
        out
    }

    /// Writes the map of all fields but the signature, with room for `more` entries.
    fn append_fields(&self, more: usize, out: &mut Vec<u8>) {
        cbor::map(12 + usize::from(self.binding.is_some()) + more, out);
        cbor::uint(0, out);
        cbor::bytes(&self.peer, out);
        cbor::uint(1, out);
        cbor::list(self.addresses.len(), out);
        self.addresses.iter().for_each(|address| cbor::bytes(address, out));
        cbor::uint(2, out);
        cbor::uint(self.capabilities, out);
        cbor::uint(3, out);
        cbor::uint(self.node_hlc.0, out);
        cbor::uint(4, out);
        cbor::uint(self.wall_ms, out);
        cbor::uint(5, out);
        cbor::uint(self.boot_nonce, out);
        cbor::uint(6, out);
        self.roots.append_to(out);
        cbor::uint(7, out);
        cbor::uint(self.floor_low.0, out);
        cbor::uint(8, out);
        cbor::bytes(&self.roster_digest, out);
        cbor::uint(9, out);
        self.status.append_to(out);
        cbor::uint(10, out);
        cbor::list(1 + self.tags.len(), out);
        cbor::uint(self.weight.into(), out);
        self.tags.iter().for_each(|tag| cbor::text(tag, out));
        cbor::uint(12, out);
        cbor::bytes(&self.author.0, out);
        if let Some(binding) = &self.binding {
            cbor::uint(13, out);
            cbor::list(2, out);
            cbor::bytes(&binding.public_key, out);
            cbor::bytes(&binding.signature, out);
        }
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut hello = Self::blank();
        let mut seen = 0_u64;
        decoder.fields(FIELDS_MAX, |field, decoder| {
            hello.read_field(field, decoder)?;
            seen |= 1 << field.min(63);
            Ok(true)
        })?;
        // 11 is kept for a proof of the secret, where the transport does not ask for one.
        const NEEDED: u64 = 0b1001_0111_1111_1111;
        if seen & NEEDED == NEEDED { Ok(hello) } else { Err(DecodeError::Malformed("a hello")) }
    }

    fn read_field(&mut self, field: u64, decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        match field {
            0 => self.peer = decoder.bytes(PEER_LEN_MAX)?.to_vec(),
            1 => {
                self.addresses = decoder
                    .many(ADDRESSES_MAX, |decoder| Ok(decoder.bytes(ADDRESS_LEN_MAX)?.to_vec()))?;
            }
            2 => self.capabilities = decoder.uint()?,
            3 => self.node_hlc = Hlc(decoder.uint()?),
            4 => self.wall_ms = decoder.uint()?,
            5 => self.boot_nonce = decoder.uint()?,
            6 => self.roots = Roots::read(decoder)?,
            7 => self.floor_low = Hlc(decoder.uint()?),
            8 => self.roster_digest = decoder.array()?,
            9 => self.status = Status::read(decoder)?,
            10 => {
                let len = decoder.list(1 + TAGS_MAX)?;
                self.weight = decoder.uint32()?;
                self.tags = (1..len)
                    .map(|_| Ok(decoder.text(TAG_LEN_MAX)?.to_owned()))
                    .collect::<Result<_, _>>()?;
            }
            12 => self.author = Author(decoder.array()?),
            13 => {
                decoder.tuple(2)?;
                self.binding = Some(Binding {
                    public_key: decoder.bytes(PUBLIC_KEY_LEN_MAX)?.to_vec(),
                    signature: decoder.bytes(BINDING_SIGNATURE_LEN_MAX)?.to_vec(),
                });
            }
            SIGNATURE_FIELD => self.signature = decoder.array()?,
            // A field that is not known is not kept, and its signature would not hold.
            _ => return Err(DecodeError::Malformed("a field of a hello")),
        }
        Ok(())
    }

    /// One with nothing in it yet.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            peer: Vec::new(),
            addresses: Vec::new(),
            capabilities: 0,
            node_hlc: Hlc(0),
            wall_ms: 0,
            boot_nonce: 0,
            roots: Roots::default(),
            floor_low: Hlc(0),
            roster_digest: [0; 8],
            status: Status::default(),
            weight: 1,
            tags: Vec::new(),
            author: Author([0; 32]),
            binding: None,
            signature: [0; 64],
        }
    }
}

impl Status {
    fn append_to(&self, out: &mut Vec<u8>) {
        cbor::list(8 + usize::from(self.complete_at.is_some()), out);
        let numbers = [
            self.pinned,
            self.queued,
            self.fetching,
            self.failing,
            self.stalled,
            self.missing,
            self.free_bytes,
            self.used_bytes,
        ];
        numbers.iter().for_each(|number| cbor::uint(*number, out));
        if let Some(root) = &self.complete_at {
            cbor::bytes(root, out);
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let len = decoder.list(9)?;
        if len < 8 {
            return Err(DecodeError::Malformed("a status"));
        }
        Ok(Self {
            pinned: decoder.uint()?,
            queued: decoder.uint()?,
            fetching: decoder.uint()?,
            failing: decoder.uint()?,
            stalled: decoder.uint()?,
            missing: decoder.uint()?,
            free_bytes: decoder.uint()?,
            used_bytes: decoder.uint()?,
            complete_at: if len == 9 { Some(decoder.array()?) } else { None },
        })
    }
}
