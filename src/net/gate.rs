//! Which addresses this node has to do with: `Swarm.AddrFilters`, asked before a dial and before
//! a connection that came in is spoken to.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use super::Mask;

/// The filters in force. Shared by the transport, which asks, and the handle, which changes them.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Held for moments only, never across an await.
    filters: RwLock<Vec<Mask>>,
}

/// An address is filtered.
#[derive(Debug, thiserror::Error)]
#[error("gater disallows connection to {0}")]
pub(super) struct Filtered(pub(super) IpAddr);

impl Gate {
    pub(super) fn new(filters: Vec<Mask>) -> Self {
        Self { filters: RwLock::new(filters) }
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
