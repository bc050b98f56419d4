//! The IPFS Pinning Service API 1.0: what its messages say, and a client of it.
//!
//! The client knows where a service is and how to be let in; which services there are is the
//! config's business, and which DAG is worth pinning the node's. Keeps no state. Texts of errors are
//! those of Kubo's client (boxo pinning/remote/client).

mod client;
mod decode;

pub use client::{Error, Filter, LIMIT_DEFAULT, NewPin, Page, Service, check_endpoint};
pub use decode::RemotePin;

/// How far a service is with a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It waits for its turn.
    Queued,
    /// Its blocks are being fetched.
    Pinning,
    /// It is kept.
    Pinned,
    /// It could not be had.
    Failed,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Pinning, Self::Pinned, Self::Failed];

    /// The name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pinning => "pinning",
            Self::Pinned => "pinned",
            Self::Failed => "failed",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}
