//! UnixFS: files and directories as DAGs.
//!
//! Responsible for cutting files into chunks, laying chunks out as DAGs, directories and their
//! HAMT shards, and for the way back: which blocks a byte range or a name needs, and what they
//! say. Pure: bytes in, blocks out. No I/O, no clock, no tasks; the caller stores blocks, fetches
//! them, and hashes leaves on as many threads as it likes.

pub mod chunk;
pub mod data;

mod balanced;
pub mod dir;
pub mod hamt;
pub mod import;
pub mod read;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod tree;
mod trickle;
