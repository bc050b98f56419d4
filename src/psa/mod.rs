//! The IPFS Pinning Service API 1.0: what its messages say, a client of it, and what this node is
//! asked as a service.
//!
//! The client knows where a service is and how to be let in; which services there are is the
//! config's business, and which DAG is worth pinning the node's. It keeps no state. Texts of its
//! errors are those of Kubo's client (boxo pinning/remote/client). What others ask this node for is in
//! [`Requests`]; working that off is the node's.

mod client;
mod decode;
pub mod message;
mod requests;

pub use client::{Error, Filter, LIMIT_DEFAULT, NewPin, Page, Service, check_endpoint};
pub use decode::RemotePin;
pub use message::{NewRequest, Query};
pub use requests::{Insert, Outcome, Released, Request, Requests, SCHEMA};

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
