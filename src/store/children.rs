//! The packed list of a block's children: for each, a dense id and the kind of its CID.
//!
//! ```text
//! entry  = varint(zigzag(id - previous id) << 2 | kind) [varint(codec) when kind is 3]
//! kind   = 0 CIDv0, 1 CIDv1 raw, 2 CIDv1 dag-pb, 3 CIDv1 of another codec
//! ```
//!
//! Leaves written one after another have neighbouring ids: one byte each.

use crate::ipld::{Cid, Multihash, Version, codec, varint};

/// How a CID spells the multihash of a stored block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// CIDv0, which is dag-pb.
    V0,
    /// CIDv1 raw.
    Raw,
    /// CIDv1 dag-pb.
    DagPb,
    /// CIDv1 of another codec.
    Other(u64),
}

impl Format {
    /// The format of `cid`.
    #[must_use]
    pub fn of(cid: &Cid) -> Self {
        match (cid.version(), cid.codec()) {
            (Version::V0, _) => Self::V0,
            (Version::V1, codec::RAW) => Self::Raw,
            (Version::V1, codec::DAG_PB) => Self::DagPb,
            (Version::V1, other) => Self::Other(other),
        }
    }

    /// The codec by which the links are read.
    #[must_use]
    pub fn codec(self) -> u64 {
        match self {
            Self::V0 | Self::DagPb => codec::DAG_PB,
            Self::Raw => codec::RAW,
            Self::Other(codec) => codec,
        }
    }

    /// The CID of this format for `hash`.
    #[must_use]
    pub fn cid(self, hash: Multihash) -> Cid {
        match self {
            // A row that says v0 came from a CIDv0; the other arm is unreachable and harmless.
            Self::V0 => {
                Cid::new_v0(hash.clone()).unwrap_or_else(|| Cid::new_v1(codec::DAG_PB, hash))
            }
            _ => Cid::new_v1(self.codec(), hash),
        }
    }
}

/// A child as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) id: u64,
    pub(super) format: Format,
}

/// Packs `children`.
pub(super) fn pack(children: impl IntoIterator<Item = Child>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut previous = 0_u64;
    for child in children {
        let delta = child.id.wrapping_sub(previous).cast_signed();
        let zigzag = ((delta << 1) ^ (delta >> 63)).cast_unsigned();
        previous = child.id;
        let (kind, codec) = match child.format {
            Format::V0 => (0, None),
            Format::Raw => (1, None),
            Format::DagPb => (2, None),
            Format::Other(codec) => (3, Some(codec)),
        };
        varint::append(zigzag << 2 | kind, &mut out);
        if let Some(codec) = codec {
            varint::append(codec, &mut out);
        }
    }
    out
}

/// Unpacks what [`pack`] made; `None` when it is damaged.
pub(super) fn unpack(mut bytes: &[u8]) -> Option<Vec<Child>> {
    let mut children = Vec::new();
    let mut previous = 0_u64;
    while !bytes.is_empty() {
        let (word, rest) = varint::read(bytes).ok()?;
        bytes = rest;
        let zigzag = word >> 2;
        let delta = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        previous = previous.wrapping_add(delta);
        let format = match word & 3 {
            0 => Format::V0,
            1 => Format::Raw,
            2 => Format::DagPb,
            _ => {
                let (codec, rest) = varint::read(bytes).ok()?;
                bytes = rest;
                Format::Other(codec)
            }
        };
        children.push(Child { id: previous, format });
    }
    Some(children)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format() -> impl Strategy<Value = Format> {
        prop_oneof![
            Just(Format::V0),
            Just(Format::Raw),
            Just(Format::DagPb),
            (0..u64::MAX >> 1).prop_map(Format::Other),
        ]
    }

    proptest! {
        #[test]
        fn children_are_unpacked_as_packed(
            list in prop::collection::vec((0_u64..1 << 58, format()), 0..200)
        ) {
            let list: Vec<Child> =
                list.into_iter().map(|(id, format)| Child { id, format }).collect();
            prop_assert_eq!(unpack(&pack(list.iter().copied())), Some(list));
        }

        #[test]
        fn unpacking_any_bytes_does_not_panic(bytes: Vec<u8>) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn neighbouring_leaves_take_one_byte_each() {
        let leaves = (1000..1100).map(|id| Child { id, format: Format::Raw });
        assert_eq!(pack(leaves).len(), 2 + 99);
    }
}
