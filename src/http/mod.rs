//! The HTTP face of the node: Kubo's RPC under `/api/v0`, and what stands beside it on that port.
//!
//! Translates only: requests into calls of [`crate::node::Node`], results into bytes. Holds no
//! state but the log of commands; a crash leaves nothing behind.

mod metrics;
mod mux;
mod options;
mod psa;
mod reply;
pub mod rpc;
mod server;
mod wire;

pub use options::Options;
pub use server::{Listener, Server, SocketFile};
pub use wire::is_valid_head;
