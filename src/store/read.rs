//! Reads: one look in the index, one read of the pack.

use std::io;
use std::sync::PoisonError;

use bytes::Bytes;
use rusqlite::Connection;

use crate::ipld::{self, Cid, Multihash, hash};

use super::children::{self, Child};
use super::frame::{Header, Kind};
use super::index::{self, Location, Recorded};
use super::queue::Item;
use super::{Error, Shared, segments};

/// A segment may be rewritten between the look in the index and the read; the second look finds
/// the new place. More than one rewrite in between takes a reader that slept for minutes.
const LOOKS_MAX: usize = 5;

/// What is wrong with the bytes of a block.
const FRAME_DAMAGED: &str = "its frame in the pack is damaged";
const DATA_DAMAGED: &str = "checksum mismatch";
const CUT_OFF: &str = "the pack ends before it does";
const UNREADABLE: &str = "its pack cannot be read";
const PACK_GONE: &str = "its pack is missing";

impl Shared {
    /// The bytes of a block.
    pub(super) fn get(&self, cid: &Cid) -> Result<Option<Bytes>, Error> {
        let hash = cid.hash();
        if hash.code() == hash::IDENTITY {
            return identity(hash).map(Some);
        }
        if let Some(data) = self.pending.get(hash) {
            return Ok(Some(data));
        }
        let reader = self.pool.get()?;
        self.read_stored(&reader, cid)
    }

    /// The bytes of a block that the index knows.
    pub(super) fn read_stored(&self, c: &Connection, cid: &Cid) -> Result<Option<Bytes>, Error> {
        let mut looked_at = None;
        for _ in 0..LOOKS_MAX {
            let entry = index::find(c, cid.hash())?;
            let Some(location) = entry.and_then(|entry| entry.location) else { return Ok(None) };
            if let Some(data) = self.read_at(cid, location)? {
                return Ok(Some(data));
            }
            if looked_at == Some(location) {
                break;
            }
            looked_at = Some(location);
        }
        Err(Error::Corrupt { cid: cid.clone(), reason: PACK_GONE })
    }

    /// The bytes of a block at a place; `None` when the segment is not there (any more).
    fn read_at(&self, cid: &Cid, location: Location) -> Result<Option<Bytes>, Error> {
        let path = || self.segments.path(location.segment);
        let file = match self.segments.get(location.segment) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path(), error)),
        };
        let hash = cid.hash();
        let head_len = super::frame::HEADER_LEN + hash.as_bytes().len();
        let len = head_len + location.length as usize;
        let frame = match segments::read_at(&file, location.offset, len) {
            Ok(frame) => frame,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.corrupt(cid, location, CUT_OFF));
            }
            Err(error) => {
                tracing::error!(%error, path = %path().display(), "cannot read a pack");
                return Err(self.corrupt(cid, location, UNREADABLE));
            }
        };
        let header = Header::parse(&frame).filter(|header| {
            matches!(&header.kind, Kind::Block(name) if name == hash)
                && header.data_len == location.length
        });
        let Some(header) = header else {
            return Err(self.corrupt(cid, location, FRAME_DAMAGED));
        };
        let data = frame.freeze().slice(head_len..);
        if crc32c::crc32c(&data) != header.data_crc {
            return Err(self.corrupt(cid, location, DATA_DAMAGED));
        }
        Ok(Some(data))
    }

    /// The error for damaged bytes; also notes it in the index, so that the block can be put again.
    fn corrupt(&self, cid: &Cid, location: Location, reason: &'static str) -> Error {
        tracing::error!(%cid, segment = location.segment, offset = location.offset, reason,
            "a stored block is damaged");
        let hash = cid.hash().clone();
        self.found_damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(hash.clone());
        let mark = move |writer: &mut super::writer::Writer| {
            if let Err(error) = writer.mark_damaged(&hash, location) {
                tracing::warn!(%error, "cannot record that a block is damaged");
            }
        };
        // A closed queue means that the store is being closed: the next read will note it.
        let _ = self.queue.push(Item::Job(Box::new(mark)));
        Error::Corrupt { cid: cid.clone(), reason }
    }

    /// The children of a block, in link order.
    pub(super) fn children(&self, cid: &Cid) -> Result<Option<Vec<Cid>>, Error> {
        let hash = cid.hash();
        if hash.code() == hash::IDENTITY {
            return decode(cid, &identity(hash)?).map(Some);
        }
        if let Some(data) = self.pending.get(hash) {
            return decode(cid, &data).map(Some);
        }
        let reader = self.pool.get()?;
        let Some(recorded) = index::recorded_by_hash(&reader, hash)? else { return Ok(None) };
        if cid.codec() == ipld::codec::RAW {
            return Ok(Some(Vec::new()));
        }
        if let Some(children) = known(&recorded, cid.codec())
            && let Some(cids) = cids_of(&reader, &children)?
        {
            return Ok(Some(cids));
        }
        let data = self.read_stored(&reader, cid)?;
        data.map(|data| decode(cid, &data)).transpose()
    }
}

/// The content of an identity multihash.
pub(super) fn identity(hash: &Multihash) -> Result<Bytes, Error> {
    hash::validate(hash).map_err(Error::InvalidHash)?;
    Ok(Bytes::copy_from_slice(hash.digest()))
}

/// The links in the bytes of a block.
pub(super) fn decode(cid: &Cid, data: &[u8]) -> Result<Vec<Cid>, Error> {
    ipld::links(cid.codec(), data).map_err(|source| Error::Links { cid: cid.clone(), source })
}

/// The recorded children, if they are those under `codec`.
pub(super) fn known(recorded: &Recorded, codec: u64) -> Option<Vec<Child>> {
    let packed = recorded.children.as_deref().filter(|_| recorded.codec == codec)?;
    children::unpack(packed)
}

/// The CIDs of recorded children; `None` when the row of one is gone.
fn cids_of(c: &Connection, children: &[Child]) -> Result<Option<Vec<Cid>>, Error> {
    let mut cids = Vec::with_capacity(children.len());
    for child in children {
        let Some(hash) = index::hash_of(c, child.id)? else { return Ok(None) };
        cids.push(child.format.cid(hash));
    }
    Ok(Some(cids))
}
