//! What the integration tests share.

pub(crate) mod blocks;
pub(crate) mod daemon;
pub(crate) mod rpc;
pub(crate) mod server;
