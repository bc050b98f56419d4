//! Whether there may be a connection: not with an address of `Swarm.AddrFilters`, and not with more
//! sockets than there may be. Asked before a dial and before a connection that came in is spoken to.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Mask;

/// The filters in force. Shared by the transport, which asks, and the handle, which changes them.
#[derive(Debug)]
pub(super) struct Gate {
    /// Held for moments only, never across an await.
    filters: RwLock<Vec<Mask>>,
    sockets: AtomicU32,
    sockets_max: u32,
}

/// The right to have a socket; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot(Arc<Gate>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

/// There are as many sockets as there may be.
#[derive(Debug, thiserror::Error)]
#[error("resource limit exceeded: the network has {0} sockets, as many as it may")]
pub(super) struct Full(u32);

/// An address is filtered.
#[derive(Debug, thiserror::Error)]
#[error("gater disallows connection to peer")]
pub(super) struct Filtered;

impl Gate {
    pub(super) fn new(filters: Vec<Mask>, sockets_max: u32) -> Self {
        Self { filters: RwLock::new(filters), sockets: AtomicU32::new(0), sockets_max }
    }

    /// Room for one more socket.
    pub(super) fn slot(self: &Arc<Self>) -> Result<Slot, Full> {
        let more = |sockets: u32| (sockets < self.sockets_max).then(|| sockets + 1);
        match self.sockets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Slot(Arc::clone(self))),
            Err(_) => Err(Full(self.sockets_max)),
        }
    }

    /// How many sockets there are.
    pub(super) fn sockets(&self) -> u64 {
        u64::from(self.sockets.load(Ordering::Relaxed))
    }

    /// Whether no filter holds the address.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        // A v4 address may come in as a v6 one; the filter on the former means both.
        let address = address.to_canonical();
        !self.read().iter().any(|mask| mask.contains(address))
    }

    pub(super) fn filters(&self) -> Vec<Mask> {
        self.read().clone()
    }

    /// Adds a filter; one that is there is there once.
    pub(super) fn add(&self, mask: Mask) {
        let mut filters = self.filters.write().unwrap_or_else(PoisonError::into_inner);
        if !filters.contains(&mask) {
            filters.push(mask);
        }
    }

    pub(super) fn retain(&self, keep: impl Fn(&Mask) -> bool) {
        self.filters.write().unwrap_or_else(PoisonError::into_inner).retain(keep);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Mask>> {
        // No code panics with the lock held; a poisoned list is a whole one.
        self.filters.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_sockets_than_there_may_be() {
        let gate = Arc::new(Gate::new(Vec::new(), 2));
        let (one, _two) = (gate.slot().unwrap(), gate.slot().unwrap());
        assert!(gate.slot().unwrap_err().to_string().contains("resource limit exceeded"));
        assert_eq!(gate.sockets(), 2);
        drop(one);
        assert!(gate.slot().is_ok());
    }
}
