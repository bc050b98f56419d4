//! Lines about peers with another swarm key: one for each, and not one for each of its attempts.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use multiaddr::Multiaddr;

use super::opening::Mismatch;
use super::peers::ip_of;

/// How long nothing more is said of an address.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// Addresses that are remembered; with more, some are told of again.
const ADDRESSES_MAX: usize = 256;

/// Who was complained of, and when.
#[derive(Debug, Default)]
pub(super) struct Complaints(HashMap<String, Instant>);

impl Complaints {
    /// Tells of a dial that failed for another key's sake.
    pub(super) fn of_dial(&mut self, address: &Multiaddr, error: &(dyn Error + 'static)) {
        if let Some(mismatch) = Mismatch::within(error).filter(|_| self.is_new(address.to_string()))
        {
            tracing::error!(%address, "a dial failed: {mismatch}");
        }
    }

    /// Tells of a connection that came in and was refused for another key's sake.
    pub(super) fn of_incoming(&mut self, address: &Multiaddr, error: &(dyn Error + 'static)) {
        let mismatch = match Mismatch::within(error) {
            // Somebody looked whether anybody listens, or got through by another address: with
            // another key it would have said something that could not be read.
            None | Some(Mismatch::Closed) => return,
            Some(mismatch) => mismatch,
        };
        // The port is another one each time.
        let who = ip_of(address).map_or_else(|| address.to_string(), |ip| ip.to_string());
        if self.is_new(who) {
            tracing::error!(%address, "a connection was refused: {mismatch}");
        }
    }

    fn is_new(&mut self, who: String) -> bool {
        let now = Instant::now();
        self.0.retain(|_, at| now.duration_since(*at) < SILENCE);
        if self.0.len() >= ADDRESSES_MAX {
            self.0.clear();
        }
        self.0.insert(who, now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_only_closes_a_connection_is_not_complained_of() {
        let (mut complaints, address) =
            (Complaints::default(), "/ip4/10.0.0.1/tcp/1".parse().unwrap());
        complaints.of_incoming(&address, &std::io::Error::other(Mismatch::Closed));
        assert!(complaints.0.is_empty());
        complaints.of_incoming(&address, &std::io::Error::other(Mismatch::OtherKey));
        assert_eq!(complaints.0.len(), 1);
    }

    #[test]
    fn of_an_address_is_told_once() {
        let mut complaints = Complaints::default();
        assert!(complaints.is_new("one".to_owned()));
        assert!(!complaints.is_new("one".to_owned()));
        assert!(complaints.is_new("two".to_owned()));
        for n in 0..ADDRESSES_MAX * 2 {
            assert!(complaints.is_new(n.to_string()));
        }
        assert!(complaints.0.len() <= ADDRESSES_MAX);
    }
}
