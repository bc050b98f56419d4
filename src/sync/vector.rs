//! Session vectors: up to which time of each author a node's state is complete.
//!
//! Pure. `V[X] = t` says: every record of X with a time up to t is in my state, or what replaced it
//! is, or it was collected. A vector is only ever raised, and only after a complete comparison.

use std::collections::BTreeMap;

use super::cbor::{self, DecodeError, Decoder};
use super::clock::Hlc;
use super::hash::first;
use super::keys::Author;

/// Authors in a vector.
pub const AUTHORS_MAX: usize = 4096;
/// Bytes of an author and its time in a message.
const ENTRY_LEN: usize = 40;

/// Times by author; an author that is not in it has the time 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vector(BTreeMap<Author, Hlc>);

impl Vector {
    /// Up to which time of `author` everything is there.
    #[must_use]
    pub fn get(&self, author: &Author) -> Hlc {
        self.0.get(author).copied().unwrap_or_default()
    }

    /// Raises one entry; returns whether it was lower. No entry is added to a full vector.
    pub fn raise(&mut self, author: Author, hlc: Hlc) -> bool {
        if hlc <= self.get(&author)
            || (self.0.len() >= AUTHORS_MAX && !self.0.contains_key(&author))
        {
            return false;
        }
        self.0.insert(author, hlc);
        true
    }

    /// Raises every entry to that of `other`; returns whether one was lower.
    pub fn join(&mut self, other: &Self) -> bool {
        other.0.iter().fold(false, |raised, (author, hlc)| self.raise(*author, *hlc) || raised)
    }

    /// Whether a record of this time by `author` is covered.
    #[must_use]
    pub fn covers(&self, author: &Author, hlc: Hlc) -> bool {
        hlc <= self.get(author)
    }

    /// Forgets an author that is no member any more.
    pub fn forget(&mut self, author: &Author) {
        self.0.remove(author);
    }

    /// The entries, by author.
    pub fn iter(&self) -> impl Iterator<Item = (&Author, Hlc)> {
        self.0.iter().map(|(author, hlc)| (author, *hlc))
    }

    /// Equal for vectors whose entries fall into the same periods; the entry of `except` aside.
    #[must_use]
    pub fn digest(&self, period_ms: u64) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new();
        for (author, hlc) in &self.0 {
            hasher.update(&author.0).update(&(hlc.ms() / period_ms.max(1)).to_be_bytes());
        }
        first(hasher.finalize().as_bytes())
    }

    /// Writes the entries in one byte string, by author.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let mut packed = Vec::with_capacity(self.0.len() * ENTRY_LEN);
        for (author, hlc) in &self.0 {
            packed.extend_from_slice(&author.0);
            packed.extend_from_slice(&hlc.0.to_be_bytes());
        }
        cbor::bytes(&packed, out);
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let packed = decoder.bytes(AUTHORS_MAX * ENTRY_LEN)?;
        let (entries, rest) = packed.as_chunks::<ENTRY_LEN>();
        if !rest.is_empty() {
            return Err(DecodeError::Malformed("a session vector"));
        }
        let mut vector = BTreeMap::new();
        for entry in entries {
            let (author, hlc) = entry.split_first_chunk::<32>().ok_or(DecodeError::Truncated)?;
            let hlc = <[u8; 8]>::try_from(hlc).map_err(|_| DecodeError::Truncated)?;
            let (author, hlc) = (Author(*author), Hlc(u64::from_be_bytes(hlc)));
            if hlc == Hlc(0) || vector.last_key_value().is_some_and(|(last, _)| *last >= author) {
                return Err(DecodeError::NotCanonical);
            }
            vector.insert(author, hlc);
        }
        Ok(Self(vector))
    }
}

impl FromIterator<(Author, Hlc)> for Vector {
    fn from_iter<I: IntoIterator<Item = (Author, Hlc)>>(entries: I) -> Self {
        let mut vector = Self::default();
        for (author, hlc) in entries {
            vector.raise(author, hlc);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_vector() -> impl Strategy<Value = Vector> {
        prop::collection::vec((0_u8..6, 0_u64..4), 0..8).prop_map(|entries| {
            entries.into_iter().map(|(author, hlc)| (Author([author; 32]), Hlc(hlc))).collect()
        })
    }

    proptest! {
        #[test]
        fn joining_is_the_least_upper_bound(a in any_vector(), b in any_vector()) {
            let mut ab = a.clone();
            ab.join(&b);
            let mut ba = b.clone();
            prop_assert_eq!(ba.join(&a), ba != b);
            prop_assert_eq!(&ab, &ba);
            prop_assert!(!ab.clone().join(&a) && !ab.clone().join(&b));
        }

        #[test]
        fn what_is_written_is_read(vector in any_vector()) {
            let mut out = Vec::new();
            vector.append_to(&mut out);
            prop_assert_eq!(Vector::read(&mut Decoder::new(&out)), Ok(vector));
        }
    }
}
