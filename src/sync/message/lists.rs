//! What several messages have: records, names, cells, and where a page ends.

use super::CELLS_MAX;
use crate::sync::cbor::{self, DecodeError, Decoder};
use crate::sync::clock::Hlc;
use crate::sync::hash::{Key, Rid};
use crate::sync::keys::Author;
use crate::sync::record::Record;
use crate::sync::sketch::{CELL_LEN, Cell};
use crate::sync::store::Cursor;

pub(super) fn append_records(records: &[Record], out: &mut Vec<u8>) {
    cbor::list(records.len(), out);
    records.iter().for_each(|record| out.extend_from_slice(record.as_bytes()));
}

pub(super) fn append_rids(rids: &[Rid], out: &mut Vec<u8>) {
    let packed: Vec<u8> = rids.iter().flat_map(|rid| rid.0).collect();
    cbor::bytes(&packed, out);
}

pub(super) fn read_rids(decoder: &mut Decoder<'_>, max: usize) -> Result<Vec<Rid>, DecodeError> {
    let (rids, rest) = decoder.bytes(max * 16)?.as_chunks::<16>();
    if rest.is_empty() {
        Ok(rids.iter().map(|rid| Rid(*rid)).collect())
    } else {
        Err(DecodeError::Malformed("names of records"))
    }
}

pub(super) fn append_cells(cells: &[Cell], out: &mut Vec<u8>) {
    let mut packed = Vec::with_capacity(cells.len() * CELL_LEN);
    cells.iter().for_each(|cell| packed.extend_from_slice(&cell.to_bytes()));
    cbor::bytes(&packed, out);
}

pub(super) fn read_cells(decoder: &mut Decoder<'_>) -> Result<Vec<Cell>, DecodeError> {
    let (cells, rest) = decoder.bytes(CELLS_MAX * CELL_LEN)?.as_chunks::<CELL_LEN>();
    if rest.is_empty() {
        Ok(cells.iter().map(Cell::from_bytes).collect())
    } else {
        Err(DecodeError::Malformed("the cells of a sketch"))
    }
}

pub(super) fn append_cursor(cursor: Option<&Cursor>, out: &mut Vec<u8>) {
    let Some(cursor) = cursor else { return cbor::list(0, out) };
    cbor::list(3, out);
    cbor::bytes(&cursor.author.0, out);
    cbor::uint(cursor.hlc.0, out);
    cbor::bytes(&cursor.key.0, out);
}

pub(super) fn read_cursor(decoder: &mut Decoder<'_>) -> Result<Option<Cursor>, DecodeError> {
    match decoder.list(3)? {
        0 => Ok(None),
        3 => Ok(Some(Cursor {
            author: Author(decoder.array()?),
            hlc: Hlc(decoder.uint()?),
            key: Key(decoder.array()?),
        })),
        _ => Err(DecodeError::Malformed("a cursor")),
    }
}
