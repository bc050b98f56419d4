//! What is hashed, under which label: keys of pins, digests and short ids of records.
//!
//! Pure. A label is the key of a keyed BLAKE3: its text, filled up with zeros to 32 bytes.

use std::fmt;

use crate::ipld::Cid;

/// A BLAKE3 hash; the empty set's is all zeros.
pub type Hash = [u8; 32];

/// The hash of an empty set.
pub const EMPTY: Hash = [0; 32];

const KEY: [u8; 32] = label("pinsync key v1");

/// The key that a label stands for.
pub(super) const fn label(text: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let (filled, _) = key.split_at_mut(text.len());
    filled.copy_from_slice(text.as_bytes());
    key
}

/// The place of a pin in the trees: the hash of its CID as version 1, so that both versions of a
/// dag-pb CID are one pin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Hash);

impl Key {
    /// The key of a CID.
    #[must_use]
    pub fn of(cid: &Cid) -> Self {
        Self(*blake3::keyed_hash(&KEY, &cid.to_v1().to_bytes()).as_bytes())
    }

    /// Bit `index` from the front; bits after the end are 0.
    pub(super) fn bit(&self, index: usize) -> bool {
        let byte = self.0.get(index / 8).copied().unwrap_or_default();
        byte & (0x80 >> (index % 8)) != 0
    }

    /// How many bits from the front two keys share, at most 256.
    pub(super) fn shared_bits(&self, other: &Self) -> usize {
        let mut bits = 0;
        for (a, b) in self.0.iter().zip(&other.0) {
            if a != b {
                return bits + (a ^ b).leading_zeros() as usize;
            }
            bits += 8;
        }
        bits
    }

    /// The first `bits` bits of the key, then zeros.
    pub(super) fn cut(&self, bits: usize) -> Self {
        let mut cut = *self;
        for (index, byte) in cut.0.iter_mut().enumerate() {
            *byte &= match bits.saturating_sub(index * 8) {
                0 => 0,
                kept @ 1..8 => 0xff << (8 - kept),
                _ => 0xff,
            };
        }
        cut
    }

    /// The same key with bit `index` set.
    pub(super) fn with_bit(&self, index: usize) -> Self {
        let mut key = *self;
        if let Some(byte) = key.0.get_mut(index / 8) {
            *byte |= 0x80 >> (index % 8);
        }
        key
    }

    /// The last key that begins with the first `bits` bits of this one.
    pub(super) fn last_below(&self, bits: usize) -> Self {
        let mut last = self.cut(bits);
        for (index, byte) in last.0.iter_mut().enumerate() {
            *byte |= match bits.saturating_sub(index * 8) {
                0 => 0xff,
                kept @ 1..8 => 0xff >> kept,
                _ => 0,
            };
        }
        last
    }
}

/// The hash of what a record says; its signature is evidence and not part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub Hash);

/// A record's short name in messages, under a key of the group: nobody outside can make two
/// records with one name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rid(pub [u8; 16]);

impl Rid {
    /// The short name of a record.
    #[must_use]
    pub fn of(rid_key: &[u8; 32], digest: &Digest) -> Self {
        Self(first(blake3::keyed_hash(rid_key, &digest.0).as_bytes()))
    }
}

/// The first `N` of 32 bytes.
pub(super) fn first<const N: usize>(hash: &Hash) -> [u8; N] {
    const { assert!(N <= 32) };
    let mut cut = [0; N];
    cut.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    cut
}

/// Writes bytes as hexadecimal digits.
pub(super) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        // A string takes whatever is written.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        write_hex(&first::<4>(&self.0), f)?;
        f.write_str("…)")
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(")?;
        write_hex(&first::<4>(&self.0), f)?;
        f.write_str("…)")
    }
}

impl fmt::Debug for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rid(")?;
        write_hex(&self.0, f)?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_a_cid_have_one_key() {
        let cid = Cid::parse("QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN").unwrap();
        assert_eq!(Key::of(&cid), Key::of(&cid.to_v1()));
    }

    #[test]
    fn bits_are_counted_from_the_front() {
        let mut key = Key([0; 32]);
        key.0[1] = 0b0010_0000;
        assert!(key.bit(10) && !key.bit(9) && !key.bit(256));
        assert_eq!(key.shared_bits(&Key([0; 32])), 10);
        assert_eq!(key.shared_bits(&key), 256);
        assert_eq!(Key([0xff; 32]).cut(11).0[..3], [0xff, 0xe0, 0]);
        assert_eq!(Key([0; 32]).with_bit(10), key);
        assert_eq!(Key([0; 32]).last_below(12).0[..3], [0, 0x0f, 0xff]);
        assert_eq!(Key([7; 32]).last_below(256), Key([7; 32]));
    }
}
