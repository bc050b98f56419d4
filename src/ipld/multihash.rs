//! Multihashes: the self-describing digests by which blocks are keyed.
//!
//! Pure. Which hash functions exist, and how to compute them, is in [`super::hash`].

use std::fmt;

use smallvec::SmallVec;

use super::varint::{self, VarintError};

/// Bytes of the multihash of a 32-byte digest under a one-byte code: those need no allocation.
const INLINE_LEN: usize = 36;

/// A multihash in its binary form: varint code, varint digest length, digest.
///
/// Always well-formed: the length field agrees with the digest. Ordered by bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Multihash(SmallVec<[u8; INLINE_LEN]>);

/// Why bytes are no multihash. The texts are go-multihash's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MultihashError {
    /// Fewer than two bytes.
    #[error("multihash too short. must be >= 2 bytes")]
    TooShort,
    /// The code or the length is no varint.
    #[error(transparent)]
    BadVarint(#[from] VarintError),
    /// The length field is over 2^31-1.
    #[error("digest too long, supporting only <= 2^31-1")]
    TooLong,
    /// The length field promises more than there is.
    #[error("length greater than remaining number of bytes in buffer")]
    Truncated,
    /// Bytes follow the digest.
    #[error("multihash length inconsistent: expected {digest}; got {whole}")]
    Inconsistent {
        /// Length of the digest.
        digest: usize,
        /// Length of the multihash, without what follows it.
        whole: usize,
    },
}

impl Multihash {
    /// The multihash of `digest` under the multicodec `code`.
    #[must_use]
    pub fn wrap(code: u64, digest: &[u8]) -> Self {
        let mut bytes = SmallVec::new();
        varint::write(code, |byte| bytes.push(byte));
        varint::write(digest.len() as u64, |byte| bytes.push(byte));
        bytes.extend_from_slice(digest);
        Self(bytes)
    }

    /// Parses bytes that hold one multihash and nothing else.
    ///
    /// # Errors
    /// When they do not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MultihashError> {
        let (hash, rest) = Self::read(bytes)?;
        if rest.is_empty() {
            return Ok(hash);
        }
        let (digest, whole) = (hash.digest().len(), hash.as_bytes().len());
        Err(MultihashError::Inconsistent { digest, whole })
    }

    /// Parses the multihash that `bytes` begin with; also returns what follows it.
    ///
    /// # Errors
    /// When they do not begin with one.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), MultihashError> {
        if bytes.len() < 2 {
            return Err(MultihashError::TooShort);
        }
        let (_, rest) = varint::read(bytes)?;
        let (len, rest) = varint::read(rest)?;
        if len > i32::MAX as u64 {
            return Err(MultihashError::TooLong);
        }
        let after = rest.get(len as usize..).ok_or(MultihashError::Truncated)?;
        let own = bytes.get(..bytes.len() - after.len()).ok_or(MultihashError::Truncated)?;
        Ok((Self(SmallVec::from_slice(own)), after))
    }

    /// The binary form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The multicodec of the hash function.
    #[must_use]
    pub fn code(&self) -> u64 {
        varint::read(&self.0).map_or(0, |(code, _)| code)
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        varint::read(&self.0)
            .and_then(|(_, rest)| varint::read(rest))
            .map_or(&[], |(_, digest)| digest)
    }
}

impl fmt::Debug for Multihash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Multihash({:#x}:", self.code())?;
        self.digest().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
