//! The frames of a pack: bytes in, fields out.
//!
//! ```text
//!  0  4  magic "PMF1"
//!  4  1  kind: 1 block, 2 tombstones
//!  5  1  zero
//!  6  2  length of the multihash (0 for tombstones)
//!  8  8  codec under which the block was put
//! 16  4  length of the data
//! 20  4  crc32c of the data
//! 24  4  crc32c of bytes 0..24 and the multihash
//! 28  …  multihash, then the data
//! ```
//!
//! Numbers are little-endian. The header has a checksum of its own, so that a block whose data is
//! damaged is still known by name. The data of a tombstones frame is multihashes, end to end.

use crate::ipld::Multihash;

/// Bytes before the multihash.
pub(super) const HEADER_LEN: usize = 28;
/// The longest multihash: the longest digest that may name a block is 128 bytes, and two varints.
pub(super) const HASH_LEN_MAX: usize = 160;
/// The largest data of a frame.
pub(super) const DATA_LEN_MAX: usize = 256 << 20;
/// What every frame begins with.
pub(super) const MAGIC: [u8; 4] = *b"PMF1";

const KIND_BLOCK: u8 = 1;
const KIND_TOMBSTONES: u8 = 2;

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A block, by its name.
    Block(Multihash),
    /// The names of deleted blocks.
    Tombstones,
}

/// The fields of a frame but its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) codec: u64,
    pub(super) data_len: u32,
    pub(super) data_crc: u32,
}

impl Header {
    /// The header of a block's frame.
    pub(super) fn block(hash: &Multihash, codec: u64, data: &[u8]) -> Self {
        Self {
            kind: Kind::Block(hash.clone()),
            codec,
            data_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            data_crc: crc32c::crc32c(data),
        }
    }

    /// The header of a frame of tombstones.
    pub(super) fn tombstones(data: &[u8]) -> Self {
        Self {
            kind: Kind::Tombstones,
            codec: 0,
            data_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            data_crc: crc32c::crc32c(data),
        }
    }

    fn hash_bytes(&self) -> &[u8] {
        match &self.kind {
            Kind::Block(hash) => hash.as_bytes(),
            Kind::Tombstones => &[],
        }
    }

    /// Bytes before the data.
    pub(super) fn len(&self) -> usize {
        HEADER_LEN + self.hash_bytes().len()
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_len(&self) -> u64 {
        self.len() as u64 + u64::from(self.data_len)
    }

    /// Appends the header, with the multihash, to `out`.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let hash = self.hash_bytes();
        let kind = match self.kind {
            Kind::Block(_) => KIND_BLOCK,
            Kind::Tombstones => KIND_TOMBSTONES,
        };
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[kind, 0]);
        out.extend_from_slice(&u16::try_from(hash.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&self.codec.to_le_bytes());
        out.extend_from_slice(&self.data_len.to_le_bytes());
        out.extend_from_slice(&self.data_crc.to_le_bytes());
        let fields = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc32c::crc32c_append(fields, hash).to_le_bytes());
        out.extend_from_slice(hash);
    }

    /// Reads the header that `bytes` begin with; `None` when they begin with none, or with a part
    /// of one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let hash_len = usize::from(u16::from_le_bytes([fixed[6], fixed[7]]));
        if fixed[..4] != MAGIC || hash_len > HASH_LEN_MAX {
            return None;
        }
        let hash = rest.get(..hash_len)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&fixed[..24]), hash);
        if crc.to_le_bytes() != fixed[24..28] {
            return None;
        }
        let kind = match fixed[4] {
            KIND_BLOCK => Kind::Block(Multihash::from_bytes(hash).ok()?),
            KIND_TOMBSTONES if hash_len == 0 => Kind::Tombstones,
            _ => return None,
        };
        let (_, numbers) = fixed.split_first_chunk::<8>()?;
        let (codec, numbers) = numbers.split_first_chunk::<8>()?;
        let (data_len, numbers) = numbers.split_first_chunk::<4>()?;
        let (data_crc, _) = numbers.split_first_chunk::<4>()?;
        let data_len = u32::from_le_bytes(*data_len);
        if data_len as usize > DATA_LEN_MAX {
            return None;
        }
        let data_crc = u32::from_le_bytes(*data_crc);
        Some(Self { kind, codec: u64::from_le_bytes(*codec), data_len, data_crc })
    }
}

/// Bytes of the frame of a block.
pub(super) fn block_frame_len(hash_len: usize, data_len: u64) -> u64 {
    (HEADER_LEN + hash_len) as u64 + data_len
}

/// The multihashes in the data of a tombstones frame; stops at what is none.
pub(super) fn tombstones(mut data: &[u8]) -> impl Iterator<Item = Multihash> {
    std::iter::from_fn(move || {
        let (hash, rest) = Multihash::read(data).ok()?;
        data = rest;
        Some(hash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_as_written_and_any_flipped_bit_is_noticed() {
        let hash = Multihash::wrap(0x12, &[7; 32]);
        for header in [Header::block(&hash, 0x70, b"data"), Header::tombstones(hash.as_bytes())] {
            let mut bytes = Vec::new();
            header.append_to(&mut bytes);
            assert_eq!(bytes.len(), header.len());
            assert_eq!(Header::parse(&bytes), Some(header));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::parse(&flipped), None, "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..len]), None, "cut to {len}");
            }
        }
    }
}
