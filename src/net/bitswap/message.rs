//! Bitswap messages: what peers say to each other, in protobuf written and read by hand.
//!
//! Pure. A message is read without copying its blocks, and what it may hold is bounded before
//! anything is kept. Whether blocks are what somebody wants is not looked at here.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::ipld::protobuf::{Fields, Malformed, Value};
use crate::ipld::{Cid, Prefix, Version as CidVersion, codec, hash, varint};

/// The longest message that is read or written, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The largest block that is sent or taken, in bytes.
pub const BLOCK_BYTES_MAX: usize = 2 << 20;
/// The longest CID that may be asked for, as in Kubo: four varints and the longest digest.
pub const CID_BYTES_MAX: usize = 40 + hash::DIGEST_LEN_MAX;
/// Entries, blocks or presences of one message; a message of Kubo's holds a few hundred.
pub const ITEMS_MAX: usize = 16_384;
/// Blocks from this size on are written from where they are; smaller ones are copied together.
const COPY_BYTES_MAX: usize = 16 << 10;

/// The versions of the protocol, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Blocks without a name, all of them sha2-256 and dag-pb. Also spoken without a number.
    V1_0,
    /// Blocks with the prefix of their CID.
    V1_1,
    /// HAVE and DONT_HAVE.
    V1_2,
}

impl Version {
    /// The names of the protocol, the best first.
    pub const PROTOCOLS: [(&'static str, Self); 4] = [
        ("/ipfs/bitswap/1.2.0", Self::V1_2),
        ("/ipfs/bitswap/1.1.0", Self::V1_1),
        ("/ipfs/bitswap/1.0.0", Self::V1_0),
        ("/ipfs/bitswap", Self::V1_0),
    ];

    /// Whether HAVE and DONT_HAVE are understood.
    #[must_use]
    pub fn knows_have(self) -> bool {
        self == Self::V1_2
    }
}

/// What an entry of a wantlist asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantType {
    /// Whether the block is there.
    Have,
    /// The block.
    Block,
}

/// An entry of a wantlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is wanted.
    pub cid: Cid,
    /// Higher comes first.
    pub priority: i32,
    /// Not wanted any longer.
    pub cancel: bool,
    /// The block, or whether it is there.
    pub want: WantType,
    /// Whether to say so when the block is not there.
    pub send_dont_have: bool,
}

impl Entry {
    /// An entry that takes a want back.
    #[must_use]
    pub fn cancel(cid: Cid) -> Self {
        Self { cid, priority: 0, cancel: true, want: WantType::Block, send_dont_have: false }
    }
}

/// A block as it travels: all of its CID but the digest, which its bytes give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What the CID says besides the digest.
    pub prefix: Prefix,
    /// The block.
    pub data: Bytes,
}

/// Whether a peer has a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The block.
    pub cid: Cid,
    /// Whether it has it.
    pub has: bool,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// What is wanted, and what no longer.
    pub entries: Vec<Entry>,
    /// Whether `entries` are all that is wanted, and not changes to what was.
    pub full: bool,
    /// Blocks.
    pub blocks: Vec<Payload>,
    /// Answers to [`WantType::Have`].
    pub presences: Vec<Presence>,
    /// Bytes of blocks that the sender still has for the receiver, about.
    pub pending_bytes: i32,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No protobuf.
    #[error("bitswap message: malformed protobuf")]
    Malformed,
    /// A CID, or the prefix of one, is none.
    #[error("bitswap message: invalid CID")]
    BadCid,
    /// A block is larger than any may be.
    #[error("bitswap message: a block of {0} bytes; the most is {BLOCK_BYTES_MAX}")]
    BlockTooLarge(usize),
    /// More blocks or presences than any message holds.
    #[error("bitswap message: more than {ITEMS_MAX} of a kind")]
    TooMany,
}

impl From<Malformed> for MessageError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Message {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.blocks.is_empty() && self.presences.is_empty()
    }

    /// Reads a message; its blocks share its memory.
    ///
    /// Wants with CIDs that nobody may ask for (too long, or an identity CID, whose block is in
    /// it) are passed over, as in Kubo, and so are those beyond [`ITEMS_MAX`].
    ///
    /// # Errors
    /// When the bytes are none, or hold more than a message may.
    pub fn decode(bytes: &Bytes) -> Result<Self, MessageError> {
        let mut message = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field {
                (1, Value::Bytes(wantlist)) => message.decode_wantlist(wantlist)?,
                (2, Value::Bytes(data)) => {
                    let data = bytes.slice_ref(data);
                    message.add_block(Payload { prefix: PREFIX_V0, data })?;
                }
                (3, Value::Bytes(block)) => message.add_block(decode_block(bytes, block)?)?,
                (4, Value::Bytes(presence)) => {
                    let presence = decode_presence(presence)?;
                    if message.presences.len() >= ITEMS_MAX {
                        return Err(MessageError::TooMany);
                    }
                    message.presences.extend(presence);
                }
                (5, Value::Varint(pending)) => message.pending_bytes = int32(pending),
                _ => {}
            }
        }
        Ok(message)
    }

    fn decode_wantlist(&mut self, wantlist: &[u8]) -> Result<(), MessageError> {
        let mut fields = Fields::new(wantlist);
        while let Some(field) = fields.next_field()? {
            match field {
                (1, Value::Bytes(entry)) => {
                    let entry = decode_entry(entry)?;
                    if self.entries.len() < ITEMS_MAX {
                        self.entries.extend(entry);
                    }
                }
                (2, Value::Varint(full)) => self.full = full != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn add_block(&mut self, block: Payload) -> Result<(), MessageError> {
        if block.data.len() > BLOCK_BYTES_MAX {
            return Err(MessageError::BlockTooLarge(block.data.len()));
        }
        if self.blocks.len() >= ITEMS_MAX {
            return Err(MessageError::TooMany);
        }
        self.blocks.push(block);
        Ok(())
    }

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

/// The prefix of a block of the oldest version.
const PREFIX_V0: Prefix = Prefix {
    version: CidVersion::V0,
    codec: codec::DAG_PB,
    hash: hash::SHA2_256,
    length: Some(32),
};

/// About how many bytes a block adds to a message.
#[must_use]
pub fn block_weight(data_len: usize) -> usize {
    data_len + 32
}

/// About how many bytes a presence of a CID adds to a message.
#[must_use]
pub fn presence_weight(cid: &Cid) -> usize {
    cid.byte_len() + 6
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

/// An `int32`, which is written with 64 bits when it is negative.
#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the lower half")]
fn int32(value: u64) -> i32 {
    (value as u32).cast_signed()
}

/// A CID that peers may talk about; `None` when it is one to be passed over.
fn decode_cid(bytes: &[u8]) -> Result<Option<Cid>, MessageError> {
    let cid = Cid::from_bytes(bytes).map_err(|_| MessageError::BadCid)?;
    let fits = bytes.len() <= CID_BYTES_MAX && cid.hash().code() != hash::IDENTITY;
    Ok(fits.then_some(cid))
}

fn decode_entry(bytes: &[u8]) -> Result<Option<Entry>, MessageError> {
    let mut cid = None;
    let (mut priority, mut cancel, mut send_dont_have) = (0, false, false);
    let mut want = WantType::Block;
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Value::Bytes(bytes)) => cid = Some(decode_cid(bytes)?),
            (2, Value::Varint(value)) => priority = int32(value),
            (3, Value::Varint(value)) => cancel = value != 0,
            (4, Value::Varint(1)) => want = WantType::Have,
            (4, Value::Varint(_)) => want = WantType::Block,
            (5, Value::Varint(value)) => send_dont_have = value != 0,
            _ => {}
        }
    }
    let cid = cid.ok_or(MessageError::BadCid)?;
    Ok(cid.map(|cid| Entry { cid, priority, cancel, want, send_dont_have }))
}

fn decode_presence(bytes: &[u8]) -> Result<Option<Presence>, MessageError> {
    let (mut cid, mut has) = (None, true);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Value::Bytes(bytes)) => cid = Some(decode_cid(bytes)?),
            (2, Value::Varint(value)) => has = value == 0,
            _ => {}
        }
    }
    Ok(cid.ok_or(MessageError::BadCid)?.map(|cid| Presence { cid, has }))
}

fn decode_block(message: &Bytes, bytes: &[u8]) -> Result<Payload, MessageError> {
    let (mut prefix, mut data) = (None, Bytes::new());
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Value::Bytes(bytes)) => prefix = Some(decode_prefix(bytes)?),
            (2, Value::Bytes(bytes)) => data = message.slice_ref(bytes),
            _ => {}
        }
    }
    Ok(Payload { prefix: prefix.ok_or(MessageError::BadCid)?, data })
}

fn decode_prefix(bytes: &[u8]) -> Result<Prefix, MessageError> {
    let bad = |_| MessageError::BadCid;
    let (version, rest) = varint::read(bytes).map_err(bad)?;
    let (codec, rest) = varint::read(rest).map_err(bad)?;
    let (hash, rest) = varint::read(rest).map_err(bad)?;
    let (length, _) = varint::read(rest).map_err(bad)?;
    let version = match version {
        0 => CidVersion::V0,
        1 => CidVersion::V1,
        _ => return Err(MessageError::BadCid),
    };
    let length = usize::try_from(length).map_err(|_| MessageError::BadCid)?;
    if length > hash::DIGEST_LEN_MAX {
        return Err(MessageError::BadCid);
    }
    Ok(Prefix { version, codec, hash, length: Some(length) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipld::Multihash;

    fn raw(data: &[u8]) -> Cid {
        Cid::new_v1(codec::RAW, hash::digest(hash::SHA2_256, data, None).unwrap())
    }

    fn entry(data: &[u8], priority: i32) -> Entry {
        let want = WantType::Block;
        Entry { cid: raw(data), priority, cancel: false, want, send_dont_have: true }
    }

    fn read(pieces: &[Bytes]) -> Message {
        let whole = Bytes::from(pieces.concat());
        let (len, rest) = varint::read(&whole).unwrap();
        assert_eq!(len as usize, rest.len());
        Message::decode(&whole.slice_ref(rest)).unwrap()
    }

    fn sample() -> Message {
        let large = Bytes::from(vec![7; COPY_BYTES_MAX * 2]);
        let payload = |data: Bytes| Payload { prefix: raw(&data).prefix(), data };
        Message {
            entries: vec![
                entry(b"a", i32::MAX),
                Entry { want: WantType::Have, send_dont_have: false, ..entry(b"b", -5) },
                Entry::cancel(raw(b"c")),
            ],
            full: true,
            blocks: vec![payload(Bytes::from_static(b"small")), payload(large)],
            presences: vec![
                Presence { cid: raw(b"d"), has: true },
                Presence { cid: raw(b"e"), has: false },
            ],
            pending_bytes: 1 << 20,
        }
    }

    #[test]
    fn a_message_is_read_back_as_written_and_large_blocks_are_not_copied() {
        let message = sample();
        let pieces = message.encode(Version::V1_2);
        assert!(pieces.iter().any(|piece| piece.as_ptr() == message.blocks[1].data.as_ptr()));
        assert_eq!(read(&pieces), message);
    }

    #[test]
    fn old_versions_get_what_they_know() {
        let message = sample();
        let old = read(&message.encode(Version::V1_1));
        assert_eq!(old, Message { presences: vec![], ..message.clone() });
        let oldest = read(&message.encode(Version::V1_0));
        assert_eq!(oldest.blocks.len(), 2);
        assert!(oldest.blocks.iter().all(|block| block.prefix == PREFIX_V0));
        assert_eq!(oldest.pending_bytes, 0);
    }

    #[test]
    fn the_bytes_are_those_of_kubo() {
        // message.proto by hand: an entry for a want-have with DONT_HAVE, and a DONT_HAVE.
        let cid = raw(b"x").to_bytes();
        let mut bytes = vec![0x0a, 0x2c, 0x0a, 0x2a, 0x0a, 0x24];
        bytes.extend(&cid);
        bytes.extend([0x20, 1, 0x28, 1]);
        bytes.extend([0x22, 0x28, 0x0a, 0x24]);
        bytes.extend(&cid);
        bytes.extend([0x10, 1]);
        let message = Message::decode(&bytes.clone().into()).unwrap();
        let want = WantType::Have;
        let entry = Entry { want, priority: 0, ..entry(b"x", 0) };
        assert_eq!(message.entries, [entry]);
        assert_eq!(message.presences, [Presence { cid: raw(b"x"), has: false }]);
        assert_eq!(message.encode(Version::V1_2).concat()[1..], bytes);
    }

    #[test]
    fn wants_that_nobody_may_have_are_passed_over() {
        let inline = Cid::new_v1(codec::RAW, Multihash::wrap(hash::IDENTITY, b"inline"));
        let long = Cid::new_v1(codec::RAW, Multihash::wrap(hash::SHA2_512, &[1; 200]));
        let entries = [inline, long].map(|cid| Entry { cid, ..entry(b"x", 1) });
        let message =
            Message { entries: [&entries[..], &[entry(b"y", 1)]].concat(), ..Message::default() };
        assert_eq!(read(&message.encode(Version::V1_2)).entries, [entry(b"y", 1)]);
    }

    #[test]
    fn hostile_messages_are_refused_or_cut() {
        let big = Payload { prefix: PREFIX_V0, data: vec![0; BLOCK_BYTES_MAX + 1].into() };
        let message = Message { blocks: vec![big], ..Message::default() };
        let whole = Bytes::from(message.encode(Version::V1_1)[..].concat());
        let decoded = Message::decode(&whole.slice(4..));
        assert_eq!(decoded, Err(MessageError::BlockTooLarge(BLOCK_BYTES_MAX + 1)));
        let none = Bytes::from([0x12, 0].repeat(ITEMS_MAX + 1));
        assert_eq!(Message::decode(&none), Err(MessageError::TooMany));
        let presences = Message {
            presences: vec![Presence { cid: raw(b"p"), has: true }; ITEMS_MAX + 1],
            ..Message::default()
        };
        let whole = Bytes::from(presences.encode(Version::V1_2).concat());
        let (_, body) = varint::read(&whole).unwrap();
        assert_eq!(Message::decode(&whole.slice_ref(body)), Err(MessageError::TooMany));
        for (bytes, error) in [
            (&[0x0a, 5, 1][..], MessageError::Malformed),
            (&[0x0a, 2, 0x0a, 0], MessageError::BadCid),
            (&[0x22, 2, 0x0a, 0], MessageError::BadCid),
            (&[0x1a, 0], MessageError::BadCid),
            (&[0x1a, 6, 0x0a, 4, 2, 0x55, 0x12, 0x20], MessageError::BadCid),
        ] {
            assert_eq!(Message::decode(&Bytes::copy_from_slice(bytes)), Err(error), "{bytes:?}");
        }
        assert_eq!(Message::decode(&Bytes::new()), Ok(Message::default()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
            let _ = Message::decode(&bytes.into());
        }

        #[test]
        fn any_message_survives(
            entries in prop::collection::vec((any::<u8>(), any::<i32>(), any::<[bool; 3]>()), 0..9),
            blocks in prop::collection::vec(any::<Vec<u8>>(), 0..4),
            presences in prop::collection::vec((any::<u8>(), any::<bool>()), 0..4),
            full in any::<bool>(),
            pending_bytes in any::<i32>(),
        ) {
            let entries = entries.into_iter().map(|(name, priority, [cancel, have, send])| Entry {
                cid: raw(&[name]),
                priority,
                cancel,
                want: if have { WantType::Have } else { WantType::Block },
                send_dont_have: send,
            });
            let blocks = blocks.into_iter().map(|data| Payload {
                prefix: raw(&data).prefix(),
                data: data.into(),
            });
            let presences = presences.into_iter();
            let message = Message {
                entries: entries.collect(),
                full,
                blocks: blocks.collect(),
                presences: presences.map(|(n, has)| Presence { cid: raw(&[n]), has }).collect(),
                pending_bytes,
            };
            prop_assert_eq!(read(&message.encode(Version::V1_2)), message);
        }
    }
}
