//! The table of hash functions: names, codes, which are allowed for blocks, and their digests.
//!
//! Pure. The facts are those of go-multihash (which functions exist, their texts) and of boxo's
//! `verifcid` (which are safe enough to name blocks). What is known by name but not implemented
//! there is not implemented here either: its blocks could not be read by anyone.

use std::borrow::Cow;

use blake2::digest::{Digest, ExtendableOutput, Update, VariableOutput, XofReader};
use ring::digest as ring_digest;

use super::multihash::Multihash;
use super::murmur3;

/// The multicodec of a hash function.
pub type Code = u64;

/// No hash: the digest is the content.
pub const IDENTITY: Code = 0x00;
/// SHA-1; allowed because Git uses it.
pub const SHA1: Code = 0x11;
/// SHA-256: the default, and the only function of CIDv0.
pub const SHA2_256: Code = 0x12;
/// SHA-512.
pub const SHA2_512: Code = 0x13;
/// BLAKE3.
pub const BLAKE3: Code = 0x1e;

const BLAKE2B_MIN: Code = 0xb201;
const BLAKE2B_MAX: Code = 0xb240;
const BLAKE2S_MIN: Code = 0xb241;
const BLAKE2S_MAX: Code = 0xb260;

/// The shortest digest that may name a block, but for identity.
const DIGEST_LEN_MIN: usize = 20;
/// The longest digest that may name a block, identity included.
pub const DIGEST_LEN_MAX: usize = 128;

/// Every named function but the BLAKE2 families, whose names are regular.
const NAMES: [(&str, Code); 21] = [
    ("identity", IDENTITY),
    ("sha1", SHA1),
    ("sha2-256", SHA2_256),
    ("sha2-512", SHA2_512),
    ("sha3-512", 0x14),
    ("sha3-384", 0x15),
    ("sha3-256", 0x16),
    ("sha3-224", 0x17),
    ("shake-128", 0x18),
    ("shake-256", 0x19),
    ("keccak-224", 0x1a),
    ("keccak-256", 0x1b),
    ("keccak-384", 0x1c),
    ("keccak-512", 0x1d),
    ("blake3", BLAKE3),
    ("murmur3-x64-64", 0x22),
    ("dbl-sha2-256", 0x56),
    ("md5", 0xd5),
    ("sha2-256-trunc254-padded", 0x1012),
    ("x11", 0x1100),
    ("poseidon-bls12_381-a2-fc1", 0xb401),
];

/// Why there is no digest, or why a multihash may not name a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// No implementation for this code.
    #[error("unknown multihash code {0} (0x{0:x}): no such hash registered")]
    Unknown(Code),
    /// More bytes were asked for than the function gives.
    #[error("requested length was too large for digest")]
    LengthTooLarge,
    /// An identity digest cannot be cut.
    #[error(
        "the length of the identity hash ({length}) must be equal to the length of the data ({data})"
    )]
    IdentityLength {
        /// What was asked for.
        length: usize,
        /// Length of the data.
        data: usize,
    },
    /// Not in the allow-list.
    #[error("potentially insecure hash functions not allowed")]
    Insecure,
    /// Cut too short to be safe.
    #[error("digest too small: {} digest got {got} bytes, minimum {DIGEST_LEN_MIN}", name_of(*.code))]
    DigestTooSmall {
        /// The function.
        code: Code,
        /// Length of the digest.
        got: usize,
    },
    /// Longer than any block name may be.
    #[error("digest too large: {} digest got {got} bytes, maximum {DIGEST_LEN_MAX}", name_of(*.code))]
    DigestTooLarge {
        /// The function.
        code: Code,
        /// Length of the digest.
        got: usize,
    },
}

/// The code of the function with this exact name; `sha3` is `sha3-512`.
#[must_use]
pub fn by_name(name: &str) -> Option<Code> {
    if name == "sha3" {
        return Some(0x14);
    }
    if let Some((_, code)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*code);
    }
    let (min, max, bits) = if let Some(bits) = name.strip_prefix("blake2b-") {
        (BLAKE2B_MIN, BLAKE2B_MAX, bits)
    } else {
        (BLAKE2S_MIN, BLAKE2S_MAX, name.strip_prefix("blake2s-")?)
    };
    let number: u64 = bits.parse().ok()?;
    let code = min.checked_add((number / 8).checked_sub(1)?)?;
    // Compared with the name written out, so that "08" or "+8" is no number here.
    let exact = code <= max && number.is_multiple_of(8) && bits == number.to_string();
    exact.then_some(code)
}

/// The name of a function, if it has one.
#[must_use]
pub fn name(code: Code) -> Option<Cow<'static, str>> {
    match code {
        BLAKE2B_MIN..=BLAKE2B_MAX => {
            Some(Cow::Owned(format!("blake2b-{}", (code - BLAKE2B_MIN + 1) * 8)))
        }
        BLAKE2S_MIN..=BLAKE2S_MAX => {
            Some(Cow::Owned(format!("blake2s-{}", (code - BLAKE2S_MIN + 1) * 8)))
        }
        _ => {
            let known = NAMES.iter().find(|(_, own)| *own == code);
            known.map(|(name, _)| Cow::Borrowed(*name))
        }
    }
}

fn name_of(code: Code) -> Cow<'static, str> {
    name(code).unwrap_or_else(|| Cow::Owned(format!("unknown({code})")))
}

/// Every named function, by ascending code.
pub fn all() -> impl Iterator<Item = (Code, Cow<'static, str>)> {
    let mut codes: Vec<Code> = NAMES.iter().map(|(_, code)| *code).collect();
    codes.extend(BLAKE2B_MIN..=BLAKE2S_MAX);
    codes.sort_unstable();
    codes.into_iter().filter_map(|code| Some((code, name(code)?)))
}

/// Whether blocks may be named by this function.
#[must_use]
pub fn is_allowed(code: Code) -> bool {
    match code {
        IDENTITY | SHA1 | SHA2_256 | SHA2_512 | 0x14..=0x17 | 0x19..=BLAKE3 | 0x56 => true,
        BLAKE2B_MIN..=BLAKE2B_MAX => code >= BLAKE2B_MIN + 19,
        BLAKE2S_MIN..=BLAKE2S_MAX => code >= BLAKE2S_MIN + 19,
        _ => false,
    }
}

/// Whether blocks may be named by this multihash: an allowed function, a digest of sane length.
///
/// # Errors
/// When they may not.
pub fn validate(hash: &Multihash) -> Result<(), HashError> {
    let (code, got) = (hash.code(), hash.digest().len());
    if !is_allowed(code) {
        return Err(HashError::Insecure);
    }
    if code != IDENTITY && got < DIGEST_LEN_MIN {
        return Err(HashError::DigestTooSmall { code, got });
    }
    if got > DIGEST_LEN_MAX {
        return Err(HashError::DigestTooLarge { code, got });
    }
    Ok(())
}

/// The multihash of `data`; `length` cuts the digest (for BLAKE3 it may also lengthen it).
///
/// # Errors
/// When the function is not implemented or gives no digest of that length.
pub fn digest(code: Code, data: &[u8], length: Option<usize>) -> Result<Multihash, HashError> {
    if code == IDENTITY {
        return match length {
            Some(length) if length > data.len() => Err(HashError::LengthTooLarge),
            Some(length) if length < data.len() => {
                Err(HashError::IdentityLength { length, data: data.len() })
            }
            _ => Ok(Multihash::wrap(code, data)),
        };
    }
    let mut buffer = [0_u8; DIGEST_LEN_MAX];
    let whole = compute(code, data, length, &mut buffer)?;
    let wanted = length.unwrap_or(whole);
    let digest = buffer.get(..wanted).filter(|_| wanted <= whole);
    Ok(Multihash::wrap(code, digest.ok_or(HashError::LengthTooLarge)?))
}

/// Whether `data` is what `hash` names.
///
/// # Errors
/// When the function is not implemented or never gives a digest of this length.
pub fn verify(hash: &Multihash, data: &[u8]) -> Result<bool, HashError> {
    let (code, digest_bytes) = (hash.code(), hash.digest());
    if code == IDENTITY {
        return Ok(digest_bytes == data);
    }
    Ok(digest(code, data, Some(digest_bytes.len()))? == *hash)
}

/// Writes the digest to the front of `out` and returns its full length.
fn compute(
    code: Code,
    data: &[u8],
    length: Option<usize>,
    out: &mut [u8; DIGEST_LEN_MAX],
) -> Result<usize, HashError> {
    use ring_digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, SHA512_256};
    let put = |digest: &[u8], out: &mut [u8; DIGEST_LEN_MAX]| {
        out.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
        Ok(digest.len())
    };
    let ring = |algorithm| ring_digest::digest(algorithm, data);
    match code {
        SHA2_256 => put(ring(&SHA256).as_ref(), out),
        SHA2_512 => put(ring(&SHA512).as_ref(), out),
        SHA1 => put(ring(&SHA1_FOR_LEGACY_USE_ONLY).as_ref(), out),
        0x14 => put(&sha3::Sha3_512::digest(data), out),
        0x15 => put(&sha3::Sha3_384::digest(data), out),
        0x16 => put(&sha3::Sha3_256::digest(data), out),
        0x17 => put(&sha3::Sha3_224::digest(data), out),
        0x18 => Ok(shake(sha3::Shake128::default(), data, 32, out)),
        0x19 => Ok(shake(sha3::Shake256::default(), data, 64, out)),
        0x1b => put(&sha3::Keccak256::digest(data), out),
        0x1d => put(&sha3::Keccak512::digest(data), out),
        BLAKE3 => blake3_digest(data, length, out),
        0x20 => put(ring(&SHA384).as_ref(), out),
        0x22 => put(&murmur3::x64_64(data).to_be_bytes(), out),
        0x56 => put(ring_digest::digest(&SHA256, ring(&SHA256).as_ref()).as_ref(), out),
        0xd5 => put(&md5::Md5::digest(data), out),
        0x1013 => put(&sha2::Sha224::digest(data), out),
        0x1014 => put(&sha2::Sha512_224::digest(data), out),
        0x1015 => put(ring(&SHA512_256).as_ref(), out),
        BLAKE2B_MIN..=BLAKE2B_MAX => blake2b_digest((code - BLAKE2B_MIN + 1) as usize, data, out)
            .ok_or(HashError::Unknown(code)),
        BLAKE2S_MAX => put(&blake2::Blake2s256::digest(data), out),
        _ => Err(HashError::Unknown(code)),
    }
}

fn shake<H: Update + ExtendableOutput>(
    mut hasher: H,
    data: &[u8],
    len: usize,
    out: &mut [u8; DIGEST_LEN_MAX],
) -> usize {
    hasher.update(data);
    hasher.finalize_xof().read(out);
    len
}

/// BLAKE3 has no natural length: 32 bytes unless told, and never none.
fn blake3_digest(
    data: &[u8],
    length: Option<usize>,
    out: &mut [u8; DIGEST_LEN_MAX],
) -> Result<usize, HashError> {
    let len = length.unwrap_or(32);
    if len == 0 || len > DIGEST_LEN_MAX {
        return Err(HashError::LengthTooLarge);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(data);
    hasher.finalize_xof().fill(out);
    Ok(len)
}

/// `None` when there is no BLAKE2b of that length.
fn blake2b_digest(len: usize, data: &[u8], out: &mut [u8; DIGEST_LEN_MAX]) -> Option<usize> {
    let mut hasher = blake2::Blake2bVar::new(len).ok()?;
    hasher.update(data);
    hasher.finalize_variable(out.get_mut(..len)?).ok()?;
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::Cid;

    /// What Kubo's `add hash=<name>` answered for the first ten bytes of SHA-256(be64(0)).
    const VECTORS: &str = include_str!("testdata/hash-vectors.txt");

    fn content() -> Vec<u8> {
        ring_digest::digest(&ring_digest::SHA256, &[0; 8]).as_ref()[..10].to_vec()
    }

    #[test]
    fn digests_agree_with_kubo() {
        for line in VECTORS.lines() {
            let (name, expected) = line.split_once(' ').unwrap();
            let code = by_name(name).unwrap();
            assert_eq!(super::name(code).as_deref(), Some(name));
            assert!(is_allowed(code), "{name}");
            match digest(code, &content(), None) {
                Ok(hash) => {
                    assert_eq!(Cid::new_v1(0x55, hash.clone()).to_string(), expected, "{name}");
                    assert_eq!(verify(&hash, &content()), Ok(true));
                    assert_eq!(verify(&hash, b"other"), Ok(false));
                }
                Err(error) => {
                    assert_eq!(expected, "unknown", "{name}");
                    assert_eq!(error, HashError::Unknown(code));
                }
            }
        }
    }

    #[test]
    fn digests_of_functions_that_name_no_blocks_agree_with_their_definitions() {
        let cases = [
            (0xd5, "d41d8cd98f00b204e9800998ecf8427e"),
            (0x22, "0000000000000000"),
            (0x1013, "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f"),
            (0x1014, "6ed0dd02806fa89e25de060c19d3ac86cabb87d6a0ddd05c333b84f4"),
            (0x18, "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26"),
        ];
        for (code, expected) in cases {
            let hash = digest(code, b"", None).unwrap();
            let hex: String = hash.digest().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{code:#x}");
        }
    }

    #[test]
    fn lengths_cut_digests() {
        let whole = digest(SHA2_256, b"x", None).unwrap();
        for len in [0, 1, 20, 31, 32] {
            let cut = digest(SHA2_256, b"x", Some(len)).unwrap();
            assert_eq!(cut.digest(), &whole.digest()[..len]);
        }
        let cases = [
            (SHA2_256, 33, HashError::LengthTooLarge),
            (0x19, 65, HashError::LengthTooLarge),
            (BLAKE3, 0, HashError::LengthTooLarge),
            (BLAKE3, 129, HashError::LengthTooLarge),
            (IDENTITY, 2, HashError::LengthTooLarge),
            (IDENTITY, 0, HashError::IdentityLength { length: 0, data: 1 }),
        ];
        for (code, len, error) in cases {
            assert_eq!(digest(code, b"x", Some(len)), Err(error), "{code:#x}/{len}");
        }
        assert_eq!(digest(BLAKE3, b"x", Some(128)).unwrap().digest().len(), 128);
    }

    #[test]
    fn unsafe_names_of_blocks_are_refused_with_the_known_texts() {
        let cases = [
            (Multihash::wrap(0xd5, &[0; 16]), "potentially insecure hash functions not allowed"),
            (
                Multihash::wrap(SHA2_256, &[0; 10]),
                "digest too small: sha2-256 digest got 10 bytes, minimum 20",
            ),
            (
                Multihash::wrap(IDENTITY, &[0; 129]),
                "digest too large: identity digest got 129 bytes, maximum 128",
            ),
        ];
        for (hash, text) in cases {
            assert_eq!(validate(&hash).unwrap_err().to_string(), text);
        }
        for hash in [Multihash::wrap(IDENTITY, &[]), Multihash::wrap(0xb214, &[0; 20])] {
            assert_eq!(validate(&hash), Ok(()));
        }
    }

    #[test]
    fn names_are_exact() {
        for name in ["", "SHA2-256", "sha2-224", "blake2b-08", "blake2b-4", "blake2b-520"] {
            assert_eq!(by_name(name), None, "{name}");
        }
        for name in ["blake2b-+8", "blake2s-264", "blake2s-0", "blake2b-18446744073709551616"] {
            assert_eq!(by_name(name), None, "{name}");
        }
        assert_eq!(by_name("sha3"), Some(0x14));
        assert_eq!(all().count(), 21 + 64 + 32);
    }
}
