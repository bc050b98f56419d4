//! PKCS #8 in PEM, the format of other programs: `pem-pkcs8-cleartext`.
//!
//! Pure. The DER is written as Go's `crypto/x509` writes it, to the byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::der::{self, Reader};
use super::{Algorithm, Key, KeyError};

/// Object identifiers, as DER holds them.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];

/// Bytes of the secret of a key on an elliptic curve.
const SECRET_BYTES: usize = 32;
const PEM_TYPE: &str = "PRIVATE KEY";
/// Characters of a line of base64.
const PEM_LINE: usize = 64;

impl Key {
    /// The key in a PEM file.
    ///
    /// # Errors
    /// With Kubo's texts, when there is none.
    pub fn from_pem(file: &[u8]) -> Result<Self, KeyError> {
        let Some((kind, der)) = pem_block(file) else {
            let text = format!("PEM block not found in input data:\n{}", go_text(file));
            return Err(KeyError::Der(text));
        };
        if kind != PEM_TYPE.as_bytes() {
            let text = format!("expected {PEM_TYPE} type in PEM block but got: {}", go_text(kind));
            return Err(KeyError::Der(text));
        }
        Self::from_pkcs8(&der).map_err(|error| match error {
            KeyError::Der(text) if text == UNSUPPORTED => {
                KeyError::Der(format!("converting std Go key to libp2p key: {text}"))
            }
            error => KeyError::Der(format!("parsing PKCS8 format: {error}")),
        })
    }

    /// The key as a PEM file: a secret.
    ///
    /// # Errors
    /// When the key is broken, which it was not when it was read.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let text = STANDARD.encode(self.to_pkcs8()?);
        let mut out = format!("-----BEGIN {PEM_TYPE}-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
            out.push_str(line);
            out.push('\n');
            rest = after;
        }
        out.push_str(&format!("-----END {PEM_TYPE}-----\n"));
        Ok(out)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let mut key = Reader::new(Reader::new(der).item(der::SEQUENCE, "pkcs8")?);
        key.item(der::INTEGER, "int")?;
        let mut algorithm = Reader::new(key.item(der::SEQUENCE, "AlgorithmIdentifier")?);
        let name = algorithm.item(der::OBJECT_ID, "ObjectIdentifier")?;
        let private = key.item(der::OCTET_STRING, "")?;
        match name {
            RSA_ENCRYPTION => Self::of_parts(Algorithm::Rsa, private),
            ED25519 if !algorithm.is_at_end() => {
                Err(KeyError::Der("x509: invalid Ed25519 private key parameters".to_owned()))
            }
            ED25519 => {
                let mut seed = Reader::new(private).item(der::OCTET_STRING, "")?.to_vec();
                if seed.len() != SECRET_BYTES {
                    let length = seed.len();
                    let text = format!("x509: invalid Ed25519 private key length: {length}");
                    return Err(KeyError::Der(text));
                }
                let pair = libp2p_identity::Keypair::ed25519_from_bytes(&mut seed);
                Self::of(pair.map_err(|_| KeyError::Invalid("ed25519"))?)
            }
            EC_PUBLIC_KEY => match algorithm.item(der::OBJECT_ID, "ObjectIdentifier")? {
                SECP256K1 => Self::of_parts(Algorithm::Secp256k1, &ec_secret(private)?),
                P256 => {
                    // Go writes the curve and the public half, which the secret gives.
                    let bare = ec_private_key(&ec_secret(private)?, Some(P256), None);
                    let key = Self::of_parts(Algorithm::Ecdsa, &bare)?;
                    let public = key.ec_public()?;
                    let full = ec_private_key(&ec_secret(private)?, Some(P256), Some(&public));
                    Self::of_parts(Algorithm::Ecdsa, &full)
                }
                _ => Err(KeyError::Der("x509: unknown elliptic curve".to_owned())),
            },
            X25519 => Err(KeyError::Der(UNSUPPORTED.to_owned())),
            other => Err(KeyError::Der(format!(
                "x509: PKCS#8 wrapping contained private key with unknown algorithm: {}",
                dotted(other)
            ))),
        }
    }

    fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        let object = |name: &[u8]| der::item(der::OBJECT_ID, name);
        let data = self.data()?;
        let (algorithm, private) = match self.keypair().key_type() {
            libp2p_identity::KeyType::RSA => {
                (vec![object(RSA_ENCRYPTION), der::item(der::NULL, &[])], data.to_vec())
            }
            libp2p_identity::KeyType::Ed25519 => {
                let seed = data.get(..SECRET_BYTES).ok_or(KeyError::Invalid("ed25519"))?;
                (vec![object(ED25519)], der::item(der::OCTET_STRING, seed))
            }
            libp2p_identity::KeyType::Secp256k1 => {
                let public = self.ec_public()?;
                let private = ec_private_key(data, None, Some(&public));
                (vec![object(EC_PUBLIC_KEY), object(SECP256K1)], private)
            }
            libp2p_identity::KeyType::Ecdsa => {
                let public = self.ec_public()?;
                let private = ec_private_key(&ec_secret(data)?, None, Some(&public));
                (vec![object(EC_PUBLIC_KEY), object(P256)], private)
            }
        };
        Ok(der::sequence(&[
            der::item(der::INTEGER, &[0]),
            der::sequence(&algorithm),
            der::item(der::OCTET_STRING, &private),
        ]))
    }

    /// The public key as a point, uncompressed.
    fn ec_public(&self) -> Result<Vec<u8>, KeyError> {
        let public = self.keypair().public();
        if let Ok(key) = public.clone().try_into_secp256k1() {
            return Ok(key.to_bytes_uncompressed().to_vec());
        }
        let key = public.try_into_ecdsa().map_err(|_| KeyError::Invalid("ecdsa"))?;
        Ok(key.to_bytes())
    }
}

/// go-libp2p's `ErrBadKeyType`.
const UNSUPPORTED: &str = "invalid or unsupported key type";

/// The bits of the modulus of an RSA key in PKCS #1.
pub(super) fn rsa_bits(der: &[u8]) -> Result<i64, KeyError> {
    let mut key = Reader::new(Reader::new(der).item(der::SEQUENCE, "pkcs1PrivateKey")?);
    key.item(der::INTEGER, "int")?;
    let modulus = key.item(der::INTEGER, "Int")?;
    let skip = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = modulus.get(skip..).unwrap_or_default();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = (modulus.len() * 8).saturating_sub(unused as usize);
    Ok(i64::try_from(bits).unwrap_or(i64::MAX))
}

/// The secret of an `ECPrivateKey` (RFC 5915), as long as the curve's are.
fn ec_secret(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut key = Reader::new(Reader::new(der).item(der::SEQUENCE, "ecPrivateKey")?);
    if key.item(der::INTEGER, "int")? != [1] {
        return Err(KeyError::Der("x509: unknown EC private key version".to_owned()));
    }
    let secret = key.item(der::OCTET_STRING, "")?;
    // Zeros at the front may be too many or gone, as old programs wrote them.
    let skip = secret.iter().take_while(|byte| **byte == 0).count();
    let secret = secret.get(skip..).unwrap_or_default();
    let Some(missing) = SECRET_BYTES.checked_sub(secret.len()) else {
        return Err(KeyError::Der("x509: invalid private key length".to_owned()));
    };
    while let Some(tag) = key.peek() {
        key.item(if tag == der::CONTEXT_0 { tag } else { der::CONTEXT_1 }, "BitString")?;
    }
    Ok([vec![0; missing], secret.to_vec()].concat())
}

fn ec_private_key(secret: &[u8], curve: Option<&[u8]>, public: Option<&[u8]>) -> Vec<u8> {
    let mut items = vec![der::item(der::INTEGER, &[1]), der::item(der::OCTET_STRING, secret)];
    if let Some(curve) = curve {
        items.push(der::item(der::CONTEXT_0, &der::item(der::OBJECT_ID, curve)));
    }
    if let Some(public) = public {
        // No bits of the last byte are unused.
        let bits = der::item(der::BIT_STRING, &[&[0], public].concat());
        items.push(der::item(der::CONTEXT_1, &bits));
    }
    der::sequence(&items)
}

/// An object identifier as text.
fn dotted(name: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut value = 0_u64;
    for byte in name {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (value / 40).min(2);
                arcs.push(first);
                value -= first * 40;
            }
            arcs.push(std::mem::take(&mut value));
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// Whether there is a PEM block in `file`.
pub(super) fn has_pem_block(file: &[u8]) -> bool {
    pem_block(file).is_some()
}

/// The first PEM block: its type and its bytes. Headers are passed over, as Go does.
fn pem_block(file: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    const DASHES: &[u8] = b"-----";
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for line in file.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if let Some(kind) = line.strip_prefix(BEGIN) {
            open = kind.strip_suffix(DASHES).map(|kind| (kind, Vec::new()));
        } else if let Some(end) = line.strip_prefix(END) {
            let Some((kind, text)) = open.take() else { continue };
            let bytes = STANDARD.decode(&text);
            if let (true, Ok(bytes)) = (end.strip_suffix(DASHES) == Some(kind), bytes) {
                return Some((kind, bytes));
            }
        } else if let Some((_, text)) = &mut open {
            let is_header = text.is_empty() && line.contains(&b':');
            if !is_header {
                text.extend(line.iter().filter(|byte| !matches!(byte, b' ' | b'\t')));
            }
        }
    }
    None
}

/// Bytes as Go's JSON shows them: every byte that is no UTF-8 becomes U+FFFD.
fn go_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}
