//! HTTP/1 as it comes off the wire, before hyper sees it.
//!
//! hyper answers trailers only to clients that ask for them, refuses long targets and characters
//! that clients send all the same, and says nothing to a malformed head. Kubo's clients rely on
//! Go's server in all three. So each request head is read, checked as Go's `net/http` checks it,
//! and handed to hyper in a form that it takes; the target goes to the service beside it.
//!
//! State: one connection's. A crash leaves nothing.

mod chunked;
mod connection;
mod head;

pub(super) use connection::{Connection, InFlight, Link};
pub(super) use head::Target;

/// Whether a request with this head is let in. What a server does with it first; for fuzzing.
pub fn is_valid_head(bytes: &[u8]) -> bool {
    head::length(bytes, 0)
        .is_some_and(|length| bytes.get(..length).is_some_and(|head| head::parse(head).is_ok()))
}
