//! Who signs: author keys, the group's keys, and the seal on gossip.
//!
//! Pure, but for the key pair that [`Signer`] keeps in memory. Randomness (nonces, new keys) comes
//! from the caller.

use std::fmt;

use libp2p_identity::{PeerId, PublicKey, ed25519};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::hash::{first, write_hex};
use super::message::Hello;

/// Bytes that a seal adds: a nonce before the message and a tag after it.
pub const SEAL_LEN: usize = NONCE_LEN + 16;
const NONCE_LEN: usize = 12;

/// Salt of every key that is derived from the group secret.
const SALT: &[u8] = b"pinsync v1";

/// The Ed25519 key that a member signs its records with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author(pub [u8; 32]);

impl Author {
    /// The peer id whose key this is; members with other kinds of keys have another one.
    #[must_use]
    pub fn peer_id(&self) -> Option<PeerId> {
        let key = ed25519::PublicKey::try_from_bytes(&self.0).ok()?;
        Some(PublicKey::from(key).to_peer_id())
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Author(")?;
        write_hex(&first::<4>(&self.0), f)?;
        f.write_str("…)")
    }
}

/// A signature of an [`Author`].
pub type Signature = [u8; 64];

/// Makes the signatures of one author, and checks those of all. The simulator has one that is
/// cheaper than Ed25519; everything else uses [`Signer`].
pub trait Sign {
    /// Whose signatures these are.
    fn author(&self) -> Author;
    /// Signs `message`.
    fn sign(&self, message: &[u8]) -> Signature;
    /// Whether `signature` is `author`'s of `message`.
    fn verify(&self, author: &Author, message: &[u8], signature: &Signature) -> bool;
    /// Whether the author key of a hello belongs to its peer id.
    fn is_bound(&self, hello: &Hello, group_id: &[u8; 32]) -> bool {
        hello.is_bound(group_id)
    }
}

/// Ed25519, as RFC 8032 with the strictness of `verify_strict`: what one node takes, all take.
pub struct Signer {
    keypair: Ed25519KeyPair,
    author: Author,
}

impl Signer {
    /// The key pair of a 32-byte seed, which is an Ed25519 private key.
    ///
    /// # Errors
    /// Never for 32 bytes; `ring` says otherwise.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, ring::error::KeyRejected> {
        let keypair = Ed25519KeyPair::from_seed_unchecked(seed)?;
        let mut author = Author([0; 32]);
        author.0.iter_mut().zip(keypair.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        Ok(Self { keypair, author })
    }
}

/// Without the private key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("author", &self.author).finish_non_exhaustive()
    }
}

impl Sign for Signer {
    fn author(&self) -> Author {
        self.author
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.keypair.sign(message);
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(signature.as_ref()).for_each(|(to, from)| *to = *from);
        bytes
    }

    fn verify(&self, author: &Author, message: &[u8], signature: &Signature) -> bool {
        verify(author, message, signature)
    }
}

/// Whether `signature` is `author`'s of `message`. Refused, beside wrong ones: points of small
/// order, under which one signature fits many messages, and points that are not written in the
/// shortest way.
#[must_use]
pub fn verify(author: &Author, message: &[u8], signature: &Signature) -> bool {
    let Some((r, _)) = signature.split_first_chunk::<32>() else { return false };
    is_proper_point(&author.0)
        && is_proper_point(r)
        && UnparsedPublicKey::new(&ED25519, &author.0).verify(message, signature).is_ok()
}

/// The y coordinates of the points of order 1, 2, 4 and 8, the sign bit cleared.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
];

fn is_proper_point(encoded: &[u8; 32]) -> bool {
    let mut y = *encoded;
    let [first, middle @ .., last] = &mut y;
    *last &= 0x7f;
    // The prime is 2^255 - 19: its bytes are ed ff … ff 7f.
    let below_prime = *last < 0x7f || middle.iter().any(|byte| *byte != 0xff) || *first < 0xed;
    below_prime && !SMALL_ORDER.contains(&y)
}

/// What a group derives from its secret, the 32 bytes of `swarm.key`: by HKDF-SHA256, one label
/// each.
#[derive(Clone)]
pub struct Group {
    /// Names the group in what is signed: a record of one group is none in another.
    pub id: [u8; 32],
    /// The key of [`super::Rid`].
    pub rid_key: [u8; 32],
    seal_key: [u8; 32],
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Group(…)")
    }
}

/// Why a message could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not sealed with the key of this group and epoch, or damaged")]
pub struct SealError;

impl Group {
    /// The keys of the group with this secret.
    #[must_use]
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self {
            id: derive(secret, b"pinsync id"),
            rid_key: derive(secret, b"pinsync rid"),
            seal_key: derive(secret, b"pinsync gossip seal"),
        }
    }

    /// Encrypts a gossip payload with ChaCha20-Poly1305 under `nonce`, 12 random bytes that no
    /// other payload has; `epoch` and `topic` are bound to it.
    ///
    /// # Errors
    /// When the payload is longer than the cipher allows (256 GiB).
    pub fn seal(
        &self,
        epoch: u64,
        topic: &str,
        nonce: [u8; NONCE_LEN],
        payload: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(payload);
        let (_, text) = sealed.split_at_mut(NONCE_LEN);
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound(epoch, topic)),
                text,
            )
            .map_err(|_| SealError)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Decrypts what [`Group::seal`] made with the same key, epoch and topic.
    ///
    /// # Errors
    /// For everything else.
    pub fn open(&self, epoch: u64, topic: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(bound(epoch, topic));
        let len = self.cipher()?.open_in_place(nonce, aad, &mut text).map_err(|_| SealError)?.len();
        text.truncate(len);
        Ok(text)
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.seal_key).map_err(|_| SealError)?;
        Ok(LessSafeKey::new(key))
    }
}

fn bound(epoch: u64, topic: &str) -> Vec<u8> {
    let mut bound = epoch.to_be_bytes().to_vec();
    bound.extend_from_slice(topic.as_bytes());
    bound
}

struct Len32;

impl KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8160 bytes")]
fn derive(secret: &[u8; 32], label: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, SALT)
        .extract(secret)
        .expand(&[label], Len32)
        .and_then(|material| material.fill(&mut key))
        .expect("32 bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_author_and_message() {
        let signer = Signer::from_seed(&[7; 32]).unwrap();
        let signature = signer.sign(b"a pin");
        let author = signer.author();
        assert!(signer.verify(&author, b"a pin", &signature));
        assert!(!signer.verify(&author, b"another", &signature));
        let other = Signer::from_seed(&[8; 32]).unwrap().author();
        assert!(!signer.verify(&other, b"a pin", &signature));
        for bit in 0..512 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!signer.verify(&author, b"a pin", &changed), "bit {bit}");
        }
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // The identity as key and as R, and s = 0, fit every message: B·0 - A·h is the identity.
        let mut one = [0; 32];
        one[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let unguarded = UnparsedPublicKey::new(&ED25519, &one);
        assert!(unguarded.verify(b"anything", &signature).is_ok(), "or the guard is not needed");
        assert!(!verify(&Author(one), b"anything", &signature));
        for mut point in SMALL_ORDER {
            assert!(!is_proper_point(&point));
            point[31] |= 0x80;
            assert!(!is_proper_point(&point));
        }
        let mut above_prime = [0xff; 32];
        above_prime[0] = 0xed;
        assert!(!is_proper_point(&above_prime));
        above_prime[0] = 0xeb;
        assert!(is_proper_point(&above_prime));
    }

    #[test]
    fn only_the_group_opens_what_it_sealed() {
        let group = Group::derive(&[1; 32]);
        let sealed = group.seal(3, "pins", [9; 12], b"payload").unwrap();
        assert_eq!(sealed.len(), 7 + SEAL_LEN);
        assert_eq!(group.open(3, "pins", &sealed).unwrap(), b"payload");
        assert_eq!(group.open(4, "pins", &sealed), Err(SealError));
        assert_eq!(group.open(3, "other", &sealed), Err(SealError));
        assert_eq!(Group::derive(&[2; 32]).open(3, "pins", &sealed), Err(SealError));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(group.open(3, "pins", &changed), Err(SealError), "byte {at}");
            assert_eq!(group.open(3, "pins", &sealed[..at]), Err(SealError));
        }
    }

    #[test]
    fn keys_of_one_secret_differ() {
        let group = Group::derive(&[1; 32]);
        assert!(group.id != group.rid_key && group.rid_key != group.seal_key);
        assert_eq!(group.id, Group::derive(&[1; 32]).id);
    }
}
