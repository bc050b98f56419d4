//! CIDs: content identifiers, versions 0 and 1.
//!
//! Our own type and not the `cid` crate's, because a CID here may hold an identity digest of any
//! length, stays small in memory, and its parse errors are the texts that clients of Kubo know
//! (go-cid `cid.go`). The crate serves the tests as an oracle.

use std::fmt;

use multibase::Base;

use super::codec;
use super::multihash::Multihash;
use super::varint;
use super::{base, hash};

/// Multicodec of sha2-256, the only hash function of CIDv0.
const SHA2_256: u64 = 0x12;

/// Bytes of a CIDv0.
const V0_LEN: usize = 34;

/// Characters of a CIDv0.
const V0_TEXT_LEN: usize = 46;

/// A content identifier: version, multicodec of the content, and multihash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cid {
    version: Version,
    codec: u64,
    hash: Multihash,
}

/// The version of a CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// A bare sha2-256 multihash, in base58btc; always dag-pb.
    V0,
    /// Version, codec and multihash, in any multibase.
    V1,
}

/// Why something is no CID. The texts are go-cid's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidError {
    /// Fewer than two characters, or bytes.
    #[error("invalid cid: cid too short")]
    TooShort,
    /// Anything else; the text says what.
    #[error("invalid cid: {0}")]
    Invalid(String),
}

impl Cid {
    /// The CIDv0 of a dag-pb block, or `None` when `hash` is not a 32-byte sha2-256.
    #[must_use]
    pub fn new_v0(hash: Multihash) -> Option<Self> {
        let fits = hash.code() == SHA2_256 && hash.digest().len() == 32;
        fits.then_some(Self { version: Version::V0, codec: codec::DAG_PB, hash })
    }

    /// A CIDv1.
    #[must_use]
    pub fn new_v1(codec: u64, hash: Multihash) -> Self {
        Self { version: Version::V1, codec, hash }
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The multicodec of the content.
    #[must_use]
    pub fn codec(&self) -> u64 {
        self.codec
    }

    /// The multihash: the key of the block.
    #[must_use]
    pub fn hash(&self) -> &Multihash {
        &self.hash
    }

    /// The same content as CIDv1.
    #[must_use]
    pub fn to_v1(&self) -> Self {
        Self { version: Version::V1, codec: self.codec, hash: self.hash.clone() }
    }

    /// The binary form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.byte_len());
        self.append_to(&mut bytes);
        bytes
    }

    /// Length of the binary form, in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        let prefix = match self.version {
            Version::V0 => 0,
            Version::V1 => 1 + varint::len(self.codec),
        };
        prefix + self.hash.as_bytes().len()
    }

    /// Appends the binary form to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        if self.version == Version::V1 {
            out.push(1);
            varint::append(self.codec, out);
        }
        out.extend_from_slice(self.hash.as_bytes());
    }

    /// Parses bytes that hold one CID and nothing else.
    ///
    /// # Errors
    /// When they do not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        // go-cid's Cast wraps the text once more; clients see it doubled.
        let (cid, rest) = Self::read(bytes).map_err(invalid)?;
        if rest.is_empty() {
            Ok(cid)
        } else {
            Err(CidError::Invalid("trailing bytes in data buffer passed to cid Cast".to_owned()))
        }
    }

    /// Parses the CID that `bytes` begin with; also returns what follows it.
    ///
    /// # Errors
    /// When they do not begin with one.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), CidError> {
        if let [0x12, 0x20, _, ..] = bytes {
            if bytes.len() < V0_LEN {
                return Err(CidError::Invalid("not enough bytes for cid v0".to_owned()));
            }
            let (hash, rest) = Multihash::read(bytes).map_err(invalid)?;
            let cid = Self { version: Version::V0, codec: codec::DAG_PB, hash };
            return Ok((cid, rest));
        }
        let (version, rest) = varint::read(bytes).map_err(invalid)?;
        if version != 1 {
            let text = format!("expected 1 as the cid version number, got: {version}");
            return Err(CidError::Invalid(text));
        }
        let (codec, rest) = varint::read(rest).map_err(invalid)?;
        let (hash, rest) = Multihash::read(rest).map_err(invalid)?;
        Ok((Self { version: Version::V1, codec, hash }, rest))
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// With go-cid's text, when it is none.
    pub fn parse(text: &str) -> Result<Self, CidError> {
        if text.len() < 2 {
            return Err(CidError::TooShort);
        }
        if text.len() == V0_TEXT_LEN && text.starts_with("Qm") {
            let bytes = base::decode_base58(text.as_bytes())
                .map_err(|_| CidError::Invalid("input isn't valid multihash".to_owned()))?;
            let hash = Multihash::from_bytes(&bytes).map_err(invalid)?;
            let (code, len) = (hash.code(), hash.digest().len());
            return Self::new_v0(hash)
                .ok_or_else(|| CidError::Invalid(format!("invalid hash for cidv0 {code}-{len}")));
        }
        let (_, bytes) = base::decode(text.as_bytes()).map_err(invalid)?;
        Self::from_bytes(&bytes)
    }

    /// The multibase in which `text`, a CID, is written.
    ///
    /// # Errors
    /// With go-cid's text, when its first byte is no base.
    pub fn base_of(text: &str) -> Result<Base, CidError> {
        if text.len() == V0_TEXT_LEN && text.starts_with("Qm") {
            return Ok(Base::Base58Btc);
        }
        let first = match text.as_bytes() {
            [first, _, ..] => *first,
            _ => return Err(CidError::TooShort),
        };
        // By byte and not by character, so base256emoji is none here, as in go-cid.
        base::by_code(char::from(first))
            .ok_or_else(|| CidError::Invalid(format!("unsupported multibase encoding: {first}")))
    }

    /// Parses the text form; also returns the multibase in which it was written.
    ///
    /// # Errors
    /// With go-cid's text, when it is none.
    pub fn parse_with_base(text: &str) -> Result<(Self, Base), CidError> {
        let cid = Self::parse(text)?;
        Ok((cid, Self::base_of(text)?))
    }

    /// The text form in `base`; a CIDv0 is always base58btc without prefix.
    #[must_use]
    pub fn to_text(&self, base: Base) -> String {
        match self.version {
            Version::V0 => base::encode_base58(self.hash.as_bytes()),
            Version::V1 => {
                let text = base::encode(base, &self.to_bytes());
                String::from_utf8(text)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        }
    }
}

fn invalid(error: impl fmt::Display) -> CidError {
    CidError::Invalid(error.to_string())
}

/// What a CID says of its content: everything but the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The version.
    pub version: Version,
    /// The multicodec of the content.
    pub codec: u64,
    /// The hash function.
    pub hash: hash::Code,
    /// Length of the digest; `None` is the function's own.
    pub length: Option<usize>,
}

impl Prefix {
    /// The CID of `data`.
    ///
    /// # Errors
    /// With go-cid's text, when the function is not implemented or gives no such digest.
    pub fn sum(&self, data: &[u8]) -> Result<Cid, CidError> {
        let length = self.length.filter(|_| self.hash != hash::IDENTITY);
        match self.version {
            Version::V0 => {
                if self.hash != SHA2_256 || !matches!(length, None | Some(32)) {
                    return Err(CidError::Invalid("invalid v0 prefix".to_owned()));
                }
                let hash = hash::digest(SHA2_256, data, None).map_err(invalid)?;
                Ok(Cid { version: Version::V0, codec: codec::DAG_PB, hash })
            }
            Version::V1 => {
                let hash = hash::digest(self.hash, data, length).map_err(invalid)?;
                Ok(Cid::new_v1(self.codec, hash))
            }
        }
    }
}

impl Cid {
    /// Everything but the digest.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        Prefix {
            version: self.version,
            codec: self.codec,
            hash: self.hash.code(),
            length: Some(self.hash.digest().len()),
        }
    }
}

/// base58btc for version 0, base32 for version 1.
impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.version == Version::V0 {
            return f.write_str(&base::encode_base58(self.hash.as_bytes()));
        }
        let text = format_base32(&self.to_bytes());
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Multibase base32, the form in which nearly every CID is shown: its own function for speed.
fn format_base32(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: [u8; 32] = *b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = Vec::with_capacity(2 + bytes.len().div_ceil(5) * 8);
    text.push(b'b');
    for group in bytes.chunks(5) {
        let mut value = 0_u64;
        for index in 0..5 {
            value = (value << 8) | u64::from(group.get(index).copied().unwrap_or_default());
        }
        for index in 0..(group.len() * 8).div_ceil(5) {
            let digit = (value >> (35 - 5 * index)) as usize & 31;
            text.extend(ALPHABET.get(digit));
        }
    }
    text
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl std::str::FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        Self::parse(text)
    }
}

/// By the bytes of the binary form, as Go sorts them.
impl Ord for Cid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_bytes().cmp(&other.to_bytes())
    }
}

impl PartialOrd for Cid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V0: &str = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN";

    #[test]
    fn what_is_no_cid_is_refused_with_the_known_texts() {
        let cases = [
            ("", "cid too short"),
            ("Q", "cid too short"),
            ("nope", "selected encoding not supported"),
            ("QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXE0", "input isn't valid multihash"),
            ("b", "cid too short"),
            ("ba", "invalid cid: varints malformed, could not reach the end"),
            ("f02", "invalid cid: expected 1 as the cid version number, got: 2"),
            ("f01", "invalid cid: varints malformed, could not reach the end"),
            ("f0155", "invalid cid: multihash too short. must be >= 2 bytes"),
            ("f01551220ff", "invalid cid: length greater than remaining number of bytes in buffer"),
            ("f0155000100ff", "trailing bytes in data buffer passed to cid Cast"),
            ("f122000", "invalid cid: not enough bytes for cid v0"),
            ("f1220", "invalid cid: expected 1 as the cid version number, got: 18"),
            ("z!", "invalid base58 digit ('!')"),
        ];
        for (text, error) in cases {
            let got = Cid::parse(text).unwrap_err().to_string();
            assert_eq!(got, format!("invalid cid: {error}"), "{text}");
        }
    }

    #[test]
    fn both_versions_are_read_in_every_base() {
        let v0 = Cid::parse(V0).unwrap();
        assert_eq!((v0.version(), v0.codec()), (Version::V0, codec::DAG_PB));
        assert_eq!(v0.to_string(), V0);
        let v1 = v0.to_v1();
        for (base, name) in base::all().filter(|(base, _)| *base != Base::Identity) {
            let text = v1.to_text(base);
            assert_eq!(Cid::parse(&text).as_ref(), Ok(&v1), "{name}");
            assert_eq!(v0.to_text(base), V0);
            if base != Base::Base256Emoji {
                assert_eq!(Cid::base_of(&text), Ok(base));
            }
        }
        assert_eq!(Cid::base_of(V0), Ok(Base::Base58Btc));
        let error = Cid::base_of("🚀🚀").unwrap_err().to_string();
        assert_eq!(error, "invalid cid: unsupported multibase encoding: 240");
    }

    #[test]
    fn a_prefix_gives_the_cid_of_other_data() {
        let cid = Cid::parse(V0).unwrap();
        let sum = cid.prefix().sum(b"").unwrap();
        assert_eq!(sum.to_string(), "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n");
        let cut = Prefix { length: Some(33), version: Version::V1, ..cid.prefix() };
        let error = cut.sum(b"").unwrap_err().to_string();
        assert_eq!(error, "invalid cid: requested length was too large for digest");
    }

    proptest! {
        #[test]
        fn cids_agree_with_the_cid_crate(
            codec in 0..u64::from(u32::MAX),
            code in 1..u64::from(u16::MAX),
            digest in prop::collection::vec(any::<u8>(), 0..=64),
        ) {
            let oracle = ::multihash::Multihash::<64>::wrap(code, &digest).unwrap();
            let oracle = ::cid::CidGeneric::<64>::new_v1(codec, oracle);
            let cid = Cid::new_v1(codec, Multihash::wrap(code, &digest));
            prop_assert_eq!(cid.to_bytes(), oracle.to_bytes());
            prop_assert_eq!(cid.byte_len(), oracle.encoded_len());
            prop_assert_eq!(cid.to_string(), oracle.to_string());
            prop_assert_eq!(Cid::from_bytes(&oracle.to_bytes()), Ok(cid.clone()));
            prop_assert_eq!(Cid::parse(&oracle.to_string()), Ok(cid));
        }

        #[test]
        fn no_bytes_or_text_make_the_parser_panic(bytes in any::<Vec<u8>>(), text in ".*") {
            let _ = Cid::from_bytes(&bytes);
            let _ = Cid::parse(&text);
        }
    }
}
