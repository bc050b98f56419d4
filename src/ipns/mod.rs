//! IPNS: names that are keys, and the signed records that say what they point at.
//!
//! Pure: no clock, no storage, no network. What a record's bytes are (V1 and V2, as Kubo reads and
//! writes them), whether one is valid for a name at a given time, and which of two is the better.
//! Rules and texts are those of boxo's `ipns` and of <https://specs.ipfs.tech/ipns/ipns-record/>.

mod name;
mod record;

pub use name::Name;
pub use record::{Contents, Record, RecordError, SignatureType, is_better};

/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 10 << 10;

#[cfg(test)]
mod tests;
