//! The UnixFS `Data` message: what the data field of a dag-pb node of UnixFS holds.
//!
//! Pure. Written by hand because every byte is part of a CID: fields in number order, each only
//! when set. Reading takes what a proto2 reader takes: any order, unknown fields, the last of
//! several, packed or unpacked sizes.

use bytes::Bytes;
use unsigned_varint::encode;

use crate::ipld::protobuf::{self, Fields, Value, read_varint};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a file; the leaves of old and of trickle files.
    Raw,
    /// A directory whose entries are its links.
    Directory,
    /// A file, or a part of one.
    File,
    /// Metadata of its one child; nobody writes these.
    Metadata,
    /// A symbolic link; the data is its target.
    Symlink,
    /// A directory, or a part of one, spread over a hash trie.
    HamtShard,
    /// A number that UnixFS has not given out: a node with links, and nothing else that is known.
    Other(i32),
}

impl Kind {
    fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Raw,
            1 => Self::Directory,
            2 => Self::File,
            3 => Self::Metadata,
            4 => Self::Symlink,
            5 => Self::HamtShard,
            number => Self::Other(number),
        }
    }

    /// The number in the message.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Raw => 0,
            Self::Directory => 1,
            Self::File => 2,
            Self::Metadata => 3,
            Self::Symlink => 4,
            Self::HamtShard => 5,
            Self::Other(number) => number,
        }
    }

    /// Whether it is a directory of either form.
    #[must_use]
    pub fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::HamtShard)
    }
}

/// When a file was last modified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Since 1970-01-01T00:00:00Z; may be negative.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanoseconds: u32,
}

/// Mode and modification time, of which either may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// Twelve permission bits.
    pub mode: Option<u32>,
    /// Last modification.
    pub mtime: Option<Mtime>,
}

impl Stat {
    /// Whether neither is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mode.is_none() && self.mtime.is_none()
    }
}

/// The message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// What the node is.
    pub kind: Kind,
    /// Bytes of a leaf, target of a symlink, bit field of a shard.
    pub data: Option<Bytes>,
    /// Bytes of the file below this node.
    pub file_size: Option<u64>,
    /// The same for each child.
    pub block_sizes: Vec<u64>,
    /// The hash function of a shard.
    pub hash_type: Option<u64>,
    /// Slots of a shard.
    pub fanout: Option<u64>,
    /// Mode as written: twelve permission bits, and twenty that nobody uses.
    pub mode: Option<u32>,
    /// Last modification.
    pub mtime: Option<Mtime>,
}

/// Why bytes are no message. The texts are those of Go's protobuf library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// No protobuf.
    #[error("proto: cannot parse invalid wire-format data")]
    Malformed,
    /// The type is missing.
    #[error("proto: required field ipfs.boxo.ipld.unixfs.pb.Data.Type not set")]
    NoType,
}

impl From<protobuf::Malformed> for DataError {
    fn from(_: protobuf::Malformed) -> Self {
        Self::Malformed
    }
}

impl Data {
    /// An empty message of this kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            data: None,
            file_size: None,
            block_sizes: Vec::new(),
            hash_type: None,
            fanout: None,
            mode: None,
            mtime: None,
        }
    }

    /// Sets mode and modification time.
    #[must_use]
    pub fn with_stat(mut self, stat: Stat) -> Self {
        self.mode = stat.mode;
        self.mtime = stat.mtime;
        self
    }

    /// Bytes of a file below this node: what it says, or the bytes it has when it says nothing.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::Symlink => self.data.as_ref().map_or(0, |data| data.len() as u64),
            Kind::Other(_) => 0,
            _ => self.file_size.unwrap_or(0),
        }
    }

    /// The twelve permission bits, when any is set.
    #[must_use]
    pub fn permissions(&self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o7777).filter(|mode| *mode != 0)
    }

    /// The message in the one form that everybody writes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let data_len = self.data.as_ref().map_or(0, Bytes::len);
        let mut out = Vec::with_capacity(data_len + 4 * self.block_sizes.len() + 48);
        // Go writes a negative enumeration value as a number of 64 bits.
        put_varint(&mut out, 0x08, i64::from(self.kind.number()).cast_unsigned());
        if let Some(data) = &self.data {
            put_varint(&mut out, 0x12, data.len() as u64);
            out.extend_from_slice(data);
        }
        if let Some(size) = self.file_size {
            put_varint(&mut out, 0x18, size);
        }
        for size in &self.block_sizes {
            put_varint(&mut out, 0x20, *size);
        }
        if let Some(hash_type) = self.hash_type {
            put_varint(&mut out, 0x28, hash_type);
        }
        if let Some(fanout) = self.fanout {
            put_varint(&mut out, 0x30, fanout);
        }
        if let Some(mode) = self.mode {
            put_varint(&mut out, 0x38, u64::from(mode));
        }
        if let Some(mtime) = self.mtime {
            let mut inner = Vec::with_capacity(16);
            put_varint(&mut inner, 0x08, mtime.seconds.cast_unsigned());
            if mtime.nanoseconds > 0 {
                inner.push(0x15);
                inner.extend_from_slice(&mtime.nanoseconds.to_le_bytes());
            }
            put_varint(&mut out, 0x42, inner.len() as u64);
            out.extend_from_slice(&inner);
        }
        out
    }

    /// Reads a message; what it holds of `bytes` is shared, not copied.
    ///
    /// # Errors
    /// When `bytes` are none.
    pub fn decode(bytes: &Bytes) -> Result<Self, DataError> {
        let mut kind = None;
        let mut message = Self::new(Kind::Raw);
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next_field()? {
            match (number, value) {
                // Go's library takes numbers that the enumeration does not list.
                (1, Value::Varint(value)) => kind = Some(Kind::from_number(low_int32(value))),
                (2, Value::Bytes(data)) => message.data = Some(bytes.slice_ref(data)),
                (3, Value::Varint(value)) => message.file_size = Some(value),
                (4, Value::Varint(value)) => message.block_sizes.push(value),
                (4, Value::Bytes(packed)) => read_packed(packed, &mut message.block_sizes)?,
                (5, Value::Varint(value)) => message.hash_type = Some(value),
                (6, Value::Varint(value)) => message.fanout = Some(value),
                (7, Value::Varint(value)) => {
                    message.mode = u32::try_from(low_32(value)).ok();
                }
                (8, Value::Bytes(inner)) => message.mtime = decode_mtime(inner)?,
                _ => {}
            }
        }
        message.kind = kind.ok_or(DataError::NoType)?;
        Ok(message)
    }
}

/// A leaf's message around `len` bytes: what comes before them, and what comes after.
///
/// A chunk of no bytes has no data field.
pub(super) fn frame_leaf(kind: Kind, len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut head = Vec::with_capacity(12);
    put_varint(&mut head, 0x08, i64::from(kind.number()).cast_unsigned());
    if len > 0 {
        put_varint(&mut head, 0x12, len as u64);
    }
    let mut tail = Vec::with_capacity(11);
    put_varint(&mut tail, 0x18, len as u64);
    (head, tail)
}

pub(super) fn put_varint(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    out.extend_from_slice(encode::u64(value, &mut encode::u64_buffer()));
}

fn low_32(value: u64) -> u64 {
    value & 0xffff_ffff
}

#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is meant")]
fn low_int32(value: u64) -> i32 {
    (value as u32).cast_signed()
}

fn read_packed(mut packed: &[u8], out: &mut Vec<u64>) -> Result<(), DataError> {
    while !packed.is_empty() {
        let (value, rest) = read_varint(packed)?;
        out.push(value);
        packed = rest;
    }
    Ok(())
}

/// Nanoseconds out of range make the time unknown, as they do in Kubo.
fn decode_mtime(bytes: &[u8]) -> Result<Option<Mtime>, DataError> {
    let mut seconds = None;
    let mut nanoseconds = None;
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, Value::Varint(value)) => seconds = Some(value.cast_signed()),
            (2, Value::Fixed32(value)) => nanoseconds = Some(value),
            _ => {}
        }
    }
    Ok(match (seconds, nanoseconds) {
        (Some(seconds), None) => Some(Mtime { seconds, nanoseconds: 0 }),
        (Some(seconds), Some(nanoseconds @ 1..=999_999_999)) => {
            Some(Mtime { seconds, nanoseconds })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn messages_are_written_as_everybody_writes_them() {
        let mtime = |seconds, nanoseconds| Some(Mtime { seconds, nanoseconds });
        let file = Data { file_size: Some(0), ..Data::new(Kind::File) };
        let cases = [
            (Data::new(Kind::Directory), "0801"),
            (file.clone(), "08021800"),
            (
                Data {
                    data: Some(Bytes::from_static(b"hello\n")),
                    file_size: Some(6),
                    ..file.clone()
                },
                "0802120668656c6c6f0a1806",
            ),
            (
                Data { file_size: Some(300), block_sizes: vec![256, 44], ..file.clone() },
                "080218ac02208002202c",
            ),
            (Data { mode: Some(0o640), ..file.clone() }, "0802180038a003"),
            (Data { mtime: mtime(5, 0), ..file.clone() }, "0802180042020805"),
            (Data { mtime: mtime(-1, 1), ..file }, "08021800421008ffffffffffffffffff011501000000"),
            (
                Data {
                    data: Some(Bytes::from_static(&[1])),
                    hash_type: Some(0x22),
                    fanout: Some(256),
                    ..Data::new(Kind::HamtShard)
                },
                "08051201012822308002",
            ),
            (Data { data: Some(Bytes::new()), ..Data::new(Kind::Symlink) }, "08041200"),
        ];
        for (message, expected) in cases {
            let bytes = message.encode();
            assert_eq!(hex(&bytes), expected);
            assert_eq!(Data::decode(&bytes.into()), Ok(message));
        }
    }

    #[test]
    fn readers_take_what_protobuf_allows() {
        let cases: [(&[u8], Result<Data, DataError>); 10] = [
            (&[], Err(DataError::NoType)),
            (&[0x08, 0x09], Ok(Data::new(Kind::Other(9)))),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                Ok(Data::new(Kind::Other(-1))),
            ),
            (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x10], Ok(Data::new(Kind::Raw))),
            (&[0x08], Err(DataError::Malformed)),
            (&[0x12, 0x05, 0x00], Err(DataError::Malformed)),
            (&[0x0b, 0x0c], Err(DataError::Malformed)),
            // Unknown fields of every wire type, the type last, and not minimal.
            (
                &[
                    0x79, 0, 0, 0, 0, 0, 0, 0, 0, 0x7d, 0, 0, 0, 0, 0x7a, 0, 0x78, 0, 0x08, 0x82,
                    0x00,
                ],
                Ok(Data::new(Kind::File)),
            ),
            // Packed sizes beside an unpacked one.
            (
                &[0x08, 0x02, 0x22, 0x02, 0x01, 0x02, 0x20, 0x03],
                Ok(Data { block_sizes: vec![1, 2, 3], ..Data::new(Kind::File) }),
            ),
            // Nanoseconds that are none.
            (
                &[0x08, 0x01, 0x42, 0x07, 0x08, 0x01, 0x15, 0, 0, 0, 0],
                Ok(Data::new(Kind::Directory)),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Data::decode(&Bytes::copy_from_slice(bytes)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn permissions_are_twelve_bits() {
        let of = |mode| Data { mode, ..Data::new(Kind::File) }.permissions();
        assert_eq!(of(Some(0o107_777)), Some(0o7777));
        assert_eq!(of(Some(0o100_000)), None);
        assert_eq!(of(None), None);
    }
}
