//! Changes to the index, in the transaction of the caller: a block stored, moved, deleted.
//!
//! Used by the writer and by recovery, so that a replayed frame does what the first writing did.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::ipld::{Cid, Multihash};

use super::Error;
use super::children::{self, Child, Format};
use super::frame;
use super::index::{self, Entry, Location};

/// Remembered ids of recent multihashes: the children of a node were mostly just written.
const IDS_MAX: usize = 16_384;

/// What the writer remembers between transactions, and collects during one.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) next_id: u64,
    ids: HashMap<Multihash, u64>,
    /// Changes to the live blocks and bytes of segments, written at the end.
    live: HashMap<u32, (i64, i64)>,
}

/// A block whose frame is in a pack.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) hash: &'a Multihash,
    pub(super) codec: u64,
    pub(super) location: Location,
    /// `None`: not known.
    pub(super) links: Option<&'a [Cid]>,
    pub(super) damaged: bool,
}

impl Rows {
    pub(super) fn new(next_id: u64) -> Self {
        Self { next_id, ids: HashMap::new(), live: HashMap::new() }
    }

    /// Forgets what a failed transaction did, or what a deletion made wrong.
    pub(super) fn reset(&mut self, next_id: u64) {
        self.next_id = next_id;
        self.ids.clear();
        self.live.clear();
    }

    /// Records a stored block; returns its id.
    pub(super) fn store(&mut self, c: &Connection, block: &Stored<'_>) -> Result<u64, Error> {
        let children = block.links.map(|links| self.pack_links(c, links)).transpose()?;
        let Location { segment, offset, length } = block.location;
        let inserted = c
            .prepare_cached(
                "INSERT INTO blocks (id, hash, segment, offset, length, codec, damaged, children)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (hash) DO NOTHING",
            )?
            .execute(rusqlite::params![
                self.next_id.cast_signed(),
                block.hash.as_bytes(),
                segment,
                offset.cast_signed(),
                length,
                block.codec.cast_signed(),
                block.damaged,
                children,
            ])?;
        self.count(block.location, block.hash, 1);
        let id = if inserted == 1 {
            self.next_id += 1;
            self.next_id - 1
        } else {
            self.replace(c, block, children.as_deref())?
        };
        self.remember(block.hash, id);
        Ok(id)
    }

    /// A ghost becomes a block, or a block is where its newest frame is.
    fn replace(
        &mut self,
        c: &Connection,
        block: &Stored<'_>,
        children: Option<&[u8]>,
    ) -> Result<u64, Error> {
        let Some(old) = index::find(c, block.hash)? else {
            return Err(rusqlite::Error::QueryReturnedNoRows.into());
        };
        if let Some(location) = old.location {
            self.count(location, block.hash, -1);
        }
        let Location { segment, offset, length } = block.location;
        c.prepare_cached(
            "UPDATE blocks SET segment = ?2, offset = ?3, length = ?4, codec = ?5, damaged = ?6,
             children = ?7 WHERE id = ?1",
        )?
        .execute(rusqlite::params![
            old.id.cast_signed(),
            segment,
            offset.cast_signed(),
            length,
            block.codec.cast_signed(),
            block.damaged,
            children,
        ])?;
        Ok(old.id)
    }

    fn pack_links(&mut self, c: &Connection, links: &[Cid]) -> Result<Vec<u8>, Error> {
        let children = links
            .iter()
            .map(|cid| Ok(Child { id: self.id_of(c, cid.hash())?, format: Format::of(cid) }))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(children::pack(children))
    }

    /// The id of a multihash; a new ghost when there is none.
    fn id_of(&mut self, c: &Connection, hash: &Multihash) -> Result<u64, Error> {
        if let Some(id) = self.ids.get(hash) {
            return Ok(*id);
        }
        let id = match index::find(c, hash)? {
            Some(entry) => entry.id,
            None => {
                c.prepare_cached("INSERT INTO blocks (id, hash) VALUES (?1, ?2)")?
                    .execute((self.next_id.cast_signed(), hash.as_bytes()))?;
                self.next_id += 1;
                self.next_id - 1
            }
        };
        self.remember(hash, id);
        Ok(id)
    }

    fn remember(&mut self, hash: &Multihash, id: u64) {
        if self.ids.len() >= IDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(hash.clone(), id);
    }

    /// Deletes the row of a block or ghost.
    pub(super) fn delete(
        &mut self,
        c: &Connection,
        hash: &Multihash,
        id: u64,
        location: Option<Location>,
    ) -> Result<(), Error> {
        c.prepare_cached("DELETE FROM blocks WHERE id = ?1")?.execute([id.cast_signed()])?;
        if let Some(location) = location {
            self.count(location, hash, -1);
        }
        self.ids.remove(hash);
        Ok(())
    }

    /// Points the row of a block to the copy of its frame.
    pub(super) fn relocate(
        &mut self,
        c: &Connection,
        hash: &Multihash,
        entry: Entry,
        to: Location,
    ) -> Result<(), Error> {
        c.prepare_cached("UPDATE blocks SET segment = ?2, offset = ?3 WHERE id = ?1")?
            .execute((entry.id.cast_signed(), to.segment, to.offset.cast_signed()))?;
        if let Some(location) = entry.location {
            self.count(location, hash, -1);
        }
        self.count(to, hash, 1);
        Ok(())
    }

    fn count(&mut self, location: Location, hash: &Multihash, blocks: i64) {
        let len = frame::block_frame_len(hash.as_bytes().len(), u64::from(location.length));
        let live = self.live.entry(location.segment).or_default();
        live.0 += blocks;
        live.1 += blocks * len.cast_signed();
    }

    /// Writes the counts; the last thing before the progress is recorded.
    pub(super) fn finish(&mut self, c: &Connection) -> Result<(), Error> {
        self.live
            .drain()
            .filter(|(_, change)| *change != (0, 0))
            .try_for_each(|(segment, (blocks, bytes))| index::add_live(c, segment, blocks, bytes))
    }
}
