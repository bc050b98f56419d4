//! Private keys: made, and read and written in the two formats that Kubo knows.
//!
//! Pure but for randomness. Signing is libp2p's; what is here are the bytes: libp2p's protobuf,
//! which the config and the keystore hold, and PKCS #8 in PEM (`pkcs8`). Texts of errors are those
//! of go-libp2p `core/crypto`, which users see.
//!
//! Unlike Kubo, a key whose public half is not that of its private half is refused, and of RSA
//! keys only those of 2048, 3072 and 4096 bits are taken: `ring` signs with no others.

mod der;
mod pkcs8;

use std::fmt;
use std::sync::Arc;

use libp2p_identity::{KeyType, Keypair, PeerId};

use crate::ipld::protobuf::{self, Fields, Value};

/// Bits of the keys whose size is fixed.
const FIXED_BITS: i64 = 256;
/// Bits of an RSA key when none are asked for.
pub const RSA_BITS_DEFAULT: i64 = 2048;
/// Bits of the RSA keys that can sign.
const RSA_BITS: [i64; 3] = [2048, 3072, 4096];
/// What go-libp2p takes.
const RSA_BITS_MIN: i64 = 2048;
const RSA_BITS_MAX: i64 = 8192;
/// Bytes of an ed25519 key: the secret and the public half.
const ED25519_BYTES: usize = 64;
/// The same with the public half once more, as old versions wrote it.
const ED25519_BYTES_OLD: usize = 96;
const SECP256K1_BYTES: usize = 32;

/// Why bytes are no key, or a key cannot be made. The texts are Go's where Kubo has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No such algorithm.
    #[error("unrecognized key type: {0}")]
    UnknownAlgorithm(String),
    /// A size that keys of the algorithm do not have.
    #[error("invalid key size {bits}: {algorithm} keys are always {FIXED_BITS} bits")]
    FixedSize {
        /// The algorithm.
        algorithm: &'static str,
        /// The size that was asked for.
        bits: i64,
    },
    /// An RSA key that is too short.
    #[error("rsa keys must be >= {RSA_BITS_MIN} bits to be useful")]
    RsaTooSmall,
    /// An RSA key that is too long.
    #[error("rsa keys must be <= {RSA_BITS_MAX} bits")]
    RsaTooBig,
    /// An RSA key that Kubo takes and we do not.
    #[error("rsa keys of {0} bits are not supported: use 2048, 3072 or 4096")]
    RsaSize(i64),
    /// No protobuf.
    #[error(transparent)]
    Malformed(#[from] protobuf::Malformed),
    /// A field of the protobuf is missing.
    #[error("proto: required field crypto.pb.PrivateKey.{0} not set")]
    Missing(&'static str),
    /// Too many or too few bytes.
    #[error("expected {what}{}", .got.map(|got| format!(", got {got}")).unwrap_or_default())]
    Length {
        /// What was expected.
        what: &'static str,
        /// How many there were, where Go says so.
        got: Option<usize>,
    },
    /// The two public halves of an old key differ.
    #[error("expected redundant ed25519 public key to be redundant")]
    Redundant,
    /// Bytes of the right length that are no key.
    #[error("not a valid {0} private key")]
    Invalid(&'static str),
    /// No DER, or not what it should be.
    #[error("{0}")]
    Der(String),
}

/// The algorithm of a key; the number is that of libp2p's protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rsa = 0,
    Ed25519 = 1,
    Secp256k1 = 2,
    Ecdsa = 3,
}

/// A key pair, and its private half as libp2p's protobuf. A clone is a handle to the same key.
#[derive(Clone)]
pub struct Key {
    keypair: Keypair,
    encoded: Arc<[u8]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets reach no log.
        f.debug_struct("Key").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}

impl Key {
    /// Makes a new key of the `algorithm`: `ed25519`, `secp256k1` or `rsa`. An RSA key takes
    /// seconds of computation.
    ///
    /// # Errors
    /// When the algorithm is unknown, or its keys never have `bits` bits.
    pub fn generate(algorithm: &str, bits: Option<i64>) -> Result<Self, KeyError> {
        // Go's default is -1, which a user may say too.
        let bits = bits.filter(|bits| *bits != -1);
        let fixed = |algorithm| match bits {
            None | Some(FIXED_BITS) => Ok(()),
            Some(bits) => Err(KeyError::FixedSize { algorithm, bits }),
        };
        match algorithm {
            "ed25519" => {
                fixed("ed25519")?;
                Self::of(Keypair::generate_ed25519())
            }
            "secp256k1" => {
                fixed("secp256k1")?;
                Self::of(Keypair::generate_secp256k1())
            }
            "rsa" => Self::generate_rsa(bits.unwrap_or(RSA_BITS_DEFAULT)),
            other => Err(KeyError::UnknownAlgorithm(other.to_owned())),
        }
    }

    fn generate_rsa(bits: i64) -> Result<Self, KeyError> {
        use rsa::pkcs1::EncodeRsaPrivateKey as _;
        check_rsa_bits(bits)?;
        let bits = usize::try_from(bits).unwrap_or_default();
        let failed = |_| KeyError::Invalid("rsa");
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).map_err(failed)?;
        let der = key.to_pkcs1_der().map_err(|_| KeyError::Invalid("rsa"))?;
        Self::of_parts(Algorithm::Rsa, der.as_bytes())
    }

    /// The key in `bytes`: libp2p's protobuf.
    ///
    /// # Errors
    /// When there is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let (mut algorithm, mut data) = (None, None);
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next_field()? {
            match (number, value) {
                // A closed enumeration: what it does not list is an unknown field.
                (1, Value::Varint(number)) => algorithm = algorithm_of(number).or(algorithm),
                (2, Value::Bytes(bytes)) => data = Some(bytes),
                _ => {}
            }
        }
        let algorithm = algorithm.ok_or(KeyError::Missing("Type"))?;
        Self::of_parts(algorithm, data.ok_or(KeyError::Missing("Data"))?)
    }

    /// The secp256k1 key whose number `bytes` are, big-endian.
    ///
    /// # Errors
    /// When there are not 32, or they are no key.
    pub fn from_secp256k1(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::of_parts(Algorithm::Secp256k1, bytes)
    }

    /// A key of its raw bytes, checked.
    fn of_parts(algorithm: Algorithm, data: &[u8]) -> Result<Self, KeyError> {
        let (name, data) = match algorithm {
            Algorithm::Ed25519 => ("ed25519", ed25519_bytes(data)?),
            Algorithm::Secp256k1 if data.len() != SECP256K1_BYTES => {
                let what = "secp256k1 data size to be 32";
                return Err(KeyError::Length { what, got: None });
            }
            Algorithm::Secp256k1 => ("secp256k1", data),
            Algorithm::Rsa => {
                check_rsa_bits(pkcs8::rsa_bits(data)?)?;
                ("rsa", data)
            }
            Algorithm::Ecdsa => ("ecdsa", data),
        };
        let encoded = encode(algorithm, data);
        let keypair = Keypair::from_protobuf_encoding(&encoded);
        let keypair = keypair.map_err(|_| KeyError::Invalid(name))?;
        Ok(Self { keypair, encoded: encoded.into() })
    }

    /// A key pair that was just made; not for RSA, whose private half libp2p does not give back.
    fn of(keypair: Keypair) -> Result<Self, KeyError> {
        let encoded = keypair.to_protobuf_encoding().map_err(|_| KeyError::Invalid("new"))?;
        Ok(Self { keypair, encoded: encoded.into() })
    }

    /// The private key as libp2p's protobuf: a secret.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The key pair.
    #[must_use]
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// The peer ID that the public key gives.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// Whether Kubo makes keys of this type: RSA, Ed25519 or Secp256k1.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.keypair.key_type() != KeyType::Ecdsa
    }

    /// Whether there is a PEM block in `file`.
    #[must_use]
    pub fn is_pem(file: &[u8]) -> bool {
        pkcs8::has_pem_block(file)
    }

    /// The bytes within the protobuf.
    fn data(&self) -> Result<&[u8], KeyError> {
        let mut fields = Fields::new(&self.encoded);
        while let Some((_, value)) = fields.next_field()? {
            if let Value::Bytes(data) = value {
                return Ok(data);
            }
        }
        Err(KeyError::Missing("Data"))
    }
}

fn algorithm_of(number: u64) -> Option<Algorithm> {
    let all = [Algorithm::Rsa, Algorithm::Ed25519, Algorithm::Secp256k1, Algorithm::Ecdsa];
    all.into_iter().find(|algorithm| *algorithm as u64 == number & 0xffff_ffff)
}

fn encode(algorithm: Algorithm, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 8);
    protobuf::append_number(1, algorithm as u64, &mut out);
    protobuf::append_bytes(2, data, &mut out);
    out
}

/// An ed25519 key without the second copy of its public half.
fn ed25519_bytes(data: &[u8]) -> Result<&[u8], KeyError> {
    match data.len() {
        ED25519_BYTES => Ok(data),
        ED25519_BYTES_OLD => {
            let (key, again) = data.split_at(ED25519_BYTES);
            if key.ends_with(again) { Ok(key) } else { Err(KeyError::Redundant) }
        }
        length => {
            let what = "ed25519 data size to be 64 or 96";
            Err(KeyError::Length { what, got: Some(length) })
        }
    }
}

fn check_rsa_bits(bits: i64) -> Result<(), KeyError> {
    match bits {
        ..RSA_BITS_MIN => Err(KeyError::RsaTooSmall),
        bits if bits > RSA_BITS_MAX => Err(KeyError::RsaTooBig),
        bits if !RSA_BITS.contains(&bits) => Err(KeyError::RsaSize(bits)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
