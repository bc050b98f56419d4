//! The node's key pair: made by `init`, or found in the config.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libp2p_identity::{KeyType, Keypair, PeerId};

use super::Error;
use super::key::Key;
use crate::config::Config;

/// A key pair and what is derived from it.
#[derive(Debug, Clone)]
pub struct Identity {
    key: Key,
    peer_id: PeerId,
}

impl Identity {
    /// Makes a new key pair of the `algorithm`: `ed25519`, `secp256k1` or `rsa`.
    ///
    /// # Errors
    /// When the algorithm is unknown, or its keys never have `bits` bits.
    pub fn generate(algorithm: &str, bits: Option<i64>) -> Result<Self, Error> {
        let key = Key::generate(algorithm, bits);
        key.map(Self::of).map_err(|error| Error::Identity(error.to_string()))
    }

    /// The key pair of a secp256k1 private key in 64 hexadecimal digits, with `0x` before them or
    /// not: what vocdoni/ipfssync called `nodeKey`.
    ///
    /// # Errors
    /// When it is none; the error does not repeat it.
    pub fn from_secp256k1_hex(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bad = || Error::Identity("not a secp256k1 private key in hexadecimal".to_owned());
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let bytes = multibase::Base::Base16Lower.decode(digits.to_ascii_lowercase());
        let key = Key::from_secp256k1(&bytes.map_err(|_| bad())?).map_err(|_| bad())?;
        Ok(Self::of(key))
    }

    /// The key pair in `config`.
    ///
    /// # Errors
    /// When there is none, or its peer ID is another.
    pub fn from_config(config: &Config) -> Result<Self, Error> {
        if config.peer_id().is_empty() {
            let text = "identity was not set in config (was 'ipfs init' run?)";
            return Err(Error::Identity(text.to_owned()));
        }
        let bad = |error: &dyn std::fmt::Display| {
            Error::Identity(format!("failed to decode private key: {error}"))
        };
        let bytes = STANDARD.decode(config.private_key()).map_err(|e| bad(&e))?;
        let identity = Self::of(Key::decode(&bytes).map_err(|e| bad(&e))?);
        if identity.peer_id.to_base58() != config.peer_id() {
            let text = "private key in config does not match id";
            return Err(Error::Identity(text.to_owned()));
        }
        Ok(identity)
    }

    fn of(key: Key) -> Self {
        let peer_id = key.peer_id();
        Self { key, peer_id }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The key pair.
    #[must_use]
    pub fn keypair(&self) -> &Keypair {
        self.key.keypair()
    }

    /// Whether it is an RSA key: slow, and no longer the default.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        self.keypair().key_type() == KeyType::RSA
    }

    /// The peer ID.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The private key as the config holds it: base64 of libp2p's protobuf.
    #[must_use]
    pub fn private_key_text(&self) -> String {
        STANDARD.encode(self.key.encoded())
    }

    /// The public key as `id` shows it: base64 of libp2p's protobuf.
    #[must_use]
    pub fn public_key_text(&self) -> String {
        STANDARD.encode(self.keypair().public().encode_protobuf())
    }
}

/// The public key that a peer id holds in itself, as [`Identity::public_key_text`] writes it; an
/// id that is the hash of its key holds none.
#[must_use]
pub fn inlined_public_key(peer: &PeerId) -> Option<String> {
    let bytes = peer.to_bytes();
    // An identity multihash, code 0 and length, of a protobuf: key type and data. As Go, whether
    // the data is a point of the curve is not asked.
    match bytes.as_slice() {
        [0, _, key @ ..] => match key {
            [0x08, 0..=3, 0x12, length, data @ ..] if usize::from(*length) == data.len() => {
                Some(STANDARD.encode(key))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_in_hexadecimal_has_the_peer_id_that_it_had_elsewhere() {
        // The generator of the curve is the public key of 1.
        let one = format!("0x{:064x}", 1);
        let identity = Identity::from_secp256k1_hex(&one).unwrap();
        let public = identity.keypair().public().try_into_secp256k1().unwrap().to_bytes();
        assert_eq!(public[..5], [0x02, 0x79, 0xbe, 0x66, 0x7e]);
        assert!(identity.peer_id().to_base58().starts_with("16Uiu2HA"), "the id holds the key");
        for bad in ["", "1", &"0".repeat(64), &"f".repeat(64), &"g".repeat(64), &"1".repeat(65)] {
            let error = Identity::from_secp256k1_hex(bad).unwrap_err();
            assert_eq!(error.to_string(), "not a secp256k1 private key in hexadecimal");
        }
    }

    #[test]
    fn a_generated_identity_is_read_back() {
        for algorithm in ["ed25519", "secp256k1"] {
            let made = Identity::generate(algorithm, Some(256)).unwrap();
            let key = made.private_key_text();
            let config = Config::fresh(&made.peer_id().to_base58(), &key).unwrap();
            let read = Identity::from_config(&config).unwrap();
            assert_eq!(read.peer_id(), made.peer_id());
        }
    }

    #[test]
    fn a_known_key_gives_its_peer_id() {
        let key = "CAESQAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+\
                   vnuSQh7qaRRG0iw=";
        let id = "12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7";
        let identity = Identity::from_config(&Config::fresh(id, key).unwrap()).unwrap();
        assert_eq!(identity.public_key_text(), "CAESIOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs");
        let other = "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";
        let error = Identity::from_config(&Config::fresh(other, key).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "private key in config does not match id");
    }

    #[test]
    fn bad_keys_are_refused() {
        for (algorithm, bits, error) in [
            ("nope", None, "unrecognized key type: nope"),
            ("ed25519", Some(12), "invalid key size 12: ed25519 keys are always 256 bits"),
        ] {
            let got = Identity::generate(algorithm, bits).unwrap_err();
            assert_eq!(got.to_string(), error);
        }
        let config = Config::decode(&json!({})).unwrap();
        assert!(Identity::from_config(&config).is_err());
    }
}
