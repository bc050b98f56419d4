//! Named keys: made, listed, renamed, removed, imported, and signed with.
//!
//! Joins the keystore with the node's own key, which every use case knows as `self`. Owns no state;
//! files are read and written on the blocking pool.

use libp2p_identity::{KeyType, PublicKey};

use super::{Error, Node, blocking};
use crate::ipld::quote::quote;
use crate::ipld::{Cid, Multihash, codec};
use crate::ipns::Name;
use crate::net::{self, PeerId};
use crate::repo::{Key, KeyError, Keystore, KeystoreError, inlined_public_key};

/// The name of the node's own key.
pub const SELF: &str = "self";
/// What every signed message begins with, so that no signature can be used for anything else.
const MESSAGE_PREFIX: &[u8] = b"libp2p-key signed message:";

/// The format of the keystore's files.
const FORMAT_PROTOBUF: &str = "libp2p-protobuf-cleartext";
/// The format of other programs.
const FORMAT_PEM: &str = "pem-pkcs8-cleartext";

/// A key and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// The name; empty for a key that is known by its peer ID alone.
    pub name: String,
    /// The peer ID: a base58 multihash.
    pub peer_id: String,
    /// The same as the CID of a libp2p key: the name that IPNS knows.
    pub cid: Cid,
}

impl NamedKey {
    pub(super) fn new(name: &str, peer: &PeerId) -> Result<Self, Error> {
        let cid = key_cid(peer)?;
        Ok(Self { name: name.to_owned(), peer_id: peer.to_base58(), cid })
    }
}

/// The CID of the key that a peer id stands for.
pub(super) fn key_cid(peer: &PeerId) -> Result<Cid, Error> {
    let hash = Multihash::from_bytes(&peer.to_bytes()).map_err(Error::failed)?;
    Ok(Cid::new_v1(codec::LIBP2P_KEY, hash))
}

impl Node {
    /// Makes a key of the `algorithm` and keeps it under `name`.
    ///
    /// # Errors
    /// When there is one of that name, or no such algorithm.
    pub async fn generate_key(
        &self,
        name: String,
        algorithm: String,
        bits: Option<i64>,
    ) -> Result<NamedKey, Error> {
        self.with_keystore(move |keys| {
            if name == SELF {
                return Err(Error::failed("cannot create key with name 'self'"));
            }
            check_free(&keys, &name)?;
            let key = Key::generate(&algorithm, bits)?;
            keys.put(&name, &key)?;
            NamedKey::new(&name, &key.peer_id())
        })
        .await
    }

    /// Every key, the node's own first. A file that holds no key is passed over.
    ///
    /// # Errors
    /// When the keystore cannot be read.
    pub async fn keys(&self) -> Result<Vec<NamedKey>, Error> {
        let own = NamedKey::new(SELF, &self.identity().peer_id())?;
        self.with_keystore(move |keys| {
            let mut all = vec![own];
            for name in keys.names()? {
                match keys.get(&name) {
                    Ok(key) => all.push(NamedKey::new(&name, &key.peer_id())?),
                    Err(error) => tracing::error!("cannot get key from keystore: {error}"),
                }
            }
            Ok(all)
        })
        .await
    }

    /// Gives a key another name; also tells whether another key was overwritten, which needs
    /// `force`.
    ///
    /// # Errors
    /// When there is no such key, or the new name is taken.
    pub async fn rename_key(
        &self,
        old: String,
        new: String,
        force: bool,
    ) -> Result<(NamedKey, bool), Error> {
        self.with_keystore(move |keys| {
            if old == SELF {
                return Err(Error::failed("cannot rename key with name 'self'"));
            }
            if new == SELF {
                return Err(Error::failed("cannot overwrite key with name 'self'"));
            }
            let key = named(&keys, &old)?;
            let renamed = NamedKey::new(&new, &key.peer_id())?;
            if old == new {
                return Ok((renamed, false));
            }
            let overwrites = force && keys.has(&new)?;
            keys.rename(&old, &new, force)?;
            Ok((renamed, overwrites))
        })
        .await
    }

    /// Removes a key for good.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn remove_key(&self, name: String) -> Result<NamedKey, Error> {
        self.with_keystore(move |keys| {
            if name == SELF {
                return Err(Error::failed("cannot remove key with name 'self'"));
            }
            let key = named(&keys, &name)?;
            keys.remove(&name)?;
            NamedKey::new(&name, &key.peer_id())
        })
        .await
    }

    /// Keeps the key in `file`, which is in this `format`, under `name`.
    ///
    /// # Errors
    /// When there is none in it, or one of that name already.
    pub async fn import_key(
        &self,
        name: String,
        file: Vec<u8>,
        format: String,
        any_type: bool,
    ) -> Result<NamedKey, Error> {
        self.with_keystore(move |keys| {
            let key = read_key(&file, &format)?;
            if !any_type && !key.is_usual() {
                return Err(Error::failed(
                    "key type *crypto.ECDSAPrivateKey is not allowed to be imported, only RSA, \
                     Ed25519, or Secp256k1; use flag --allow-any-key-type if you are sure of \
                     what you're doing",
                ));
            }
            check_free(&keys, &name)?;
            keys.put(&name, &key)?;
            NamedKey::new(&name, &key.peer_id())
        })
        .await
    }

    /// Signs a message with the key of this name; the node's own when it is empty.
    ///
    /// # Errors
    /// When there is no such key.
    pub async fn sign(&self, name: String, message: Vec<u8>) -> Result<(NamedKey, Vec<u8>), Error> {
        let own = self.identity().key().clone();
        self.with_keystore(move |keys| {
            let (name, key) = match name.as_str() {
                "" | SELF => (SELF, own),
                name => (name, keys.get(name)?),
            };
            let signature = key.keypair().sign(&signed(&message)).map_err(Error::failed)?;
            Ok((NamedKey::new(name, &key.peer_id())?, signature))
        })
        .await
    }

    /// Whether `signature` is that of the message by a key: one that has this name, or whose peer
    /// ID or IPNS name it is; the node's own when it is empty.
    ///
    /// # Errors
    /// When there is no such key, or the signature is not even of its form.
    pub async fn verify(
        &self,
        key: String,
        signature: Vec<u8>,
        message: Vec<u8>,
    ) -> Result<(NamedKey, bool), Error> {
        let own = self.identity().key().clone();
        self.with_keystore(move |keys| {
            let (name, peer, public) = match key.as_str() {
                "" | SELF => (SELF, own.peer_id(), Some(own.keypair().public())),
                text => match keys.get(text) {
                    Ok(found) => (text, found.peer_id(), Some(found.keypair().public())),
                    Err(_) => {
                        let peer = peer_with_key(text)?;
                        ("", peer, Name::of(peer).public_key())
                    }
                },
            };
            let name = NamedKey::new(name, &peer)?;
            // A peer ID may hold what is no point of the curve: nothing is signed with that.
            let Some(public) = public else { return Ok((name, false)) };
            let is_valid = public.verify(&signed(&message), &signature);
            if !is_valid {
                check_form(&public, &signature)?;
            }
            Ok((name, is_valid))
        })
        .await
    }

    /// The private key of this name, or whose peer ID it is.
    ///
    /// # Errors
    /// With Kubo's texts, when there is none.
    pub(super) async fn private_key(&self, name: String) -> Result<Key, Error> {
        let own = self.identity().key().clone();
        self.with_keystore(move |keys| {
            if name == SELF {
                return Ok(own);
            }
            match keys.get(&name) {
                Ok(key) => return Ok(key),
                Err(KeystoreError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
            let Ok(peer) = net::parse_peer_id(&name) else {
                return Err(KeystoreError::NotFound.into());
            };
            if own.peer_id() == peer {
                return Ok(own);
            }
            for name in keys.names()? {
                let key = keys.get(&name)?;
                if key.peer_id() == peer {
                    return Ok(key);
                }
            }
            Err(Error::failed("no key by the given name or PeerID was found"))
        })
        .await
    }

    /// Every key in the keystore; what holds none is passed over.
    pub(super) async fn stored_keys(&self) -> Result<Vec<Key>, Error> {
        self.with_keystore(|keys| {
            let names = keys.names()?;
            Ok(names.iter().filter_map(|name| keys.get(name).ok()).collect())
        })
        .await
    }

    async fn with_keystore<T: Send + 'static>(
        &self,
        work: impl FnOnce(Keystore) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let keys = self.repo().keystore();
        blocking(move || work(keys)).await
    }
}

/// The key in a file of this format.
///
/// # Errors
/// With Kubo's texts, when there is none.
pub fn read_key(file: &[u8], format: &str) -> Result<Key, Error> {
    match format {
        FORMAT_PROTOBUF => Key::decode(file).map_err(|error| {
            if Key::is_pem(file) {
                return Error::failed(format!(
                    "unexpected PEM block for format={FORMAT_PROTOBUF}: try again with \
                     format={FORMAT_PEM}"
                ));
            }
            Error::failed(format!("unable to unmarshall format={FORMAT_PROTOBUF}: {error}"))
        }),
        FORMAT_PEM => Ok(Key::from_pem(file)?),
        other => Err(Error::failed(format!("unrecognized import format: {other}"))),
    }
}

/// A key in this format, and the ending of a file that holds it.
///
/// # Errors
/// When there is no such format.
pub fn write_key(key: &Key, format: &str) -> Result<(Vec<u8>, &'static str), Error> {
    match format {
        FORMAT_PROTOBUF => Ok((key.encoded().to_vec(), "key")),
        FORMAT_PEM => Ok((key.to_pem()?.into_bytes(), "pem")),
        other => Err(Error::failed(format!("unrecognized export format: {other}"))),
    }
}

fn check_free(keys: &Keystore, name: &str) -> Result<(), Error> {
    match keys.get(name) {
        Ok(_) => Err(Error::failed(format!("key with name '{name}' already exists"))),
        Err(_) => Ok(()),
    }
}

fn named(keys: &Keystore, name: &str) -> Result<Key, Error> {
    keys.get(name).map_err(|_| Error::failed(format!("no key named {name} was found")))
}

fn signed(message: &[u8]) -> Vec<u8> {
    [MESSAGE_PREFIX, message].concat()
}

/// A peer ID, also written as IPNS name, that holds a public key and not only its hash.
fn peer_with_key(text: &str) -> Result<PeerId, Error> {
    let name = text.strip_prefix("/ipns/").unwrap_or(text);
    let peer = net::parse_peer_id(name).map_err(|_| {
        let name = quote(text);
        Error::failed(format!("'{name}' is not a known key, an IPNS Name, or a valid PeerID"))
    })?;
    match inlined_public_key(&peer) {
        Some(_) => Ok(peer),
        None => Err(Error::failed("public key is not embedded in peer ID")),
    }
}

/// Go tells a wrong signature of some types from one of another form.
fn check_form(public: &PublicKey, signature: &[u8]) -> Result<(), Error> {
    let length = signature.len();
    match public.key_type() {
        KeyType::RSA => Err(Error::failed("crypto/rsa: verification error")),
        KeyType::Secp256k1 => match signature {
            [] | [_] | [_, ..] if length < 8 => {
                Err(Error::failed(format!("malformed signature: too short: {length} < 8")))
            }
            _ if length > 72 => {
                Err(Error::failed(format!("malformed signature: too long: {length} > 72")))
            }
            [first, ..] if *first != 0x30 => {
                let text = format!("malformed signature: format has wrong type: {first:#x}");
                Err(Error::failed(text))
            }
            [_, rest, ..] if usize::from(*rest) != length - 2 => {
                let want = length - 2;
                Err(Error::failed(format!("malformed signature: bad length: {rest} != {want}")))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

impl From<KeystoreError> for Error {
    fn from(error: KeystoreError) -> Self {
        Self::failed(error)
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::failed(error)
    }
}
