//! Reading messages.

use bytes::Bytes;

use super::{
    BLOCK_BYTES_MAX, CID_BYTES_MAX, Entry, ITEMS_MAX, Message, MessageError, Payload, Presence,
    WantType,
};
use crate::ipld::protobuf::{Fields, Malformed, Value};
use crate::ipld::{Cid, Prefix, Version as CidVersion, codec, hash, varint};

impl From<Malformed> for MessageError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The prefix of a block of the oldest version.
pub(super) const PREFIX_V0: Prefix = Prefix {
    version: CidVersion::V0,
    codec: codec::DAG_PB,
    hash: hash::SHA2_256,
    length: Some(32),
};

impl Message {
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
