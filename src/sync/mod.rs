//! The replicated pinset: records, their order, the trees over them.
//!
//! Pure but for [`db`]: no tasks, no I/O, no clock and no randomness of its own; all of that enters
//! as arguments. [`db`] owns the tables and keeps a core's state in `state.sqlite`.
//!
//! Not responsible for connections, for fetching content, nor for the local pins: a service around
//! [`core::Core`] does that. `docs/sync.md` is the way in: what converges and why, the messages,
//! and what the service must do.

mod cbor;
pub mod clock;
pub mod core;
pub mod db;
pub mod hash;
pub mod keys;
pub mod message;
pub mod record;
pub mod sketch;
pub mod store;
pub mod tree;
pub mod vector;

pub use cbor::DecodeError;
pub use clock::Hlc;
pub use keys::{Author, Group, Sign, Signer};
pub use record::{Kind, Record};
pub use vector::Vector;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod testing;
