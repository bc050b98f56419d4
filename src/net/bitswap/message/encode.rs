//! Writing messages.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Entry, Message, Presence, Version, WantType};
use crate::ipld::{Cid, Prefix, Version as CidVersion, varint};

/// Blocks from this size on are written from where they are; smaller ones are copied together.
pub(super) const COPY_BYTES_MAX: usize = 16 << 10;

impl Message {
    /// The message as it is written to a stream, its length first, in pieces: large blocks are
    /// not copied. Presences are left out for versions that do not know them.
    #[must_use]
    pub fn encode(&self, version: Version) -> Vec<Bytes> {
        let mut out = Pieces::default();
        varint::write(self.encoded_len(version) as u64, |byte| out.small.put_u8(byte));
        if !self.entries.is_empty() || self.full {
            out.head(1, self.wantlist_len());
            for entry in &self.entries {
                out.entry(entry);
            }
            out.varint(2, u64::from(self.full));
        }
        for block in &self.blocks {
            if version == Version::V1_0 {
                out.data(2, &block.data);
                continue;
            }
            let prefix = prefix_bytes(&block.prefix);
            out.head(3, block_len(&prefix, &block.data));
            out.bytes(1, &prefix);
            out.data(2, &block.data);
        }
        if version.knows_have() {
            for presence in &self.presences {
                out.head(4, presence_len(presence));
                out.cid(1, &presence.cid);
                out.varint(2, u64::from(!presence.has));
            }
        }
        if version != Version::V1_0 {
            out.varint(5, i64::from(self.pending_bytes).cast_unsigned());
        }
        out.finish()
    }

    /// Length of the encoded message, without the length in front of it.
    fn encoded_len(&self, version: Version) -> usize {
        let mut len = 0;
        if !self.entries.is_empty() || self.full {
            len += field_len(self.wantlist_len());
        }
        for block in &self.blocks {
            len += match version {
                Version::V1_0 => field_len(block.data.len()),
                _ => field_len(block_len(&prefix_bytes(&block.prefix), &block.data)),
            };
        }
        if version.knows_have() {
            len += self.presences.iter().map(|p| field_len(presence_len(p))).sum::<usize>();
        }
        if version != Version::V1_0 {
            len += varint_field_len(i64::from(self.pending_bytes).cast_unsigned());
        }
        len
    }

    fn wantlist_len(&self) -> usize {
        let entries: usize = self.entries.iter().map(|entry| field_len(entry_len(entry))).sum();
        entries + varint_field_len(u64::from(self.full))
    }
}

/// Bytes being written: small ones together, large ones by themselves.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    small: BytesMut,
}

impl Pieces {
    fn finish(mut self) -> Vec<Bytes> {
        if !self.small.is_empty() {
            self.pieces.push(self.small.freeze());
        }
        self.pieces
    }

    /// The tag and length of a field of bytes.
    fn head(&mut self, field: u8, len: usize) {
        self.small.put_u8(field << 3 | 2);
        varint::write(len as u64, |byte| self.small.put_u8(byte));
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.head(field, bytes.len());
        self.small.extend_from_slice(bytes);
    }

    fn cid(&mut self, field: u8, cid: &Cid) {
        self.bytes(field, &cid.to_bytes());
    }

    fn data(&mut self, field: u8, data: &Bytes) {
        self.head(field, data.len());
        if data.len() < COPY_BYTES_MAX {
            self.small.extend_from_slice(data);
        } else {
            self.pieces.push(self.small.split().freeze());
            self.pieces.push(data.clone());
        }
    }

    /// A number; zero is the default and not written.
    fn varint(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.small.put_u8(field << 3);
            put_u64(value, &mut self.small);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.head(1, entry_len(entry));
        self.cid(1, &entry.cid);
        self.varint(2, i64::from(entry.priority).cast_unsigned());
        self.varint(3, u64::from(entry.cancel));
        self.varint(4, u64::from(entry.want == WantType::Have));
        self.varint(5, u64::from(entry.send_dont_have));
    }
}

fn put_u64(value: u64, out: &mut BytesMut) {
    varint::write(value, |byte| out.put_u8(byte));
}

/// Length of a field of `len` bytes, with its tag.
fn field_len(len: usize) -> usize {
    1 + varint::len(len as u64) + len
}

fn varint_field_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint::len(value) }
}

fn entry_len(entry: &Entry) -> usize {
    field_len(entry.cid.byte_len())
        + varint_field_len(i64::from(entry.priority).cast_unsigned())
        + varint_field_len(u64::from(entry.cancel))
        + varint_field_len(u64::from(entry.want == WantType::Have))
        + varint_field_len(u64::from(entry.send_dont_have))
}

fn presence_len(presence: &Presence) -> usize {
    field_len(presence.cid.byte_len()) + varint_field_len(u64::from(!presence.has))
}

fn block_len(prefix: &[u8], data: &Bytes) -> usize {
    field_len(prefix.len()) + field_len(data.len())
}

fn prefix_bytes(prefix: &Prefix) -> Vec<u8> {
    let mut out = Vec::with_capacity(8);
    out.push(u8::from(prefix.version == CidVersion::V1));
    varint::append(prefix.codec, &mut out);
    varint::append(prefix.hash, &mut out);
    varint::append(prefix.length.unwrap_or_default() as u64, &mut out);
    out
}
