//! The rules of `docs/sync.md` that can be broken, one at a time, by tests: the simulator must
//! notice each.

/// A rule, and what a node does that breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) enum Mutant {
    /// A record's time takes no notice of the record that it replaces.
    R1,
    /// The record that came last wins.
    R2,
    /// A record that the peer has removed and collected is sent again.
    R3,
    /// A pushed record is taken although its removal was collected.
    R4,
    /// A session vector is raised before the comparison is complete.
    R5,
    /// The floor is our own, whatever the others have seen.
    R6,
    /// Tombstones go by their age.
    R7,
    /// A store that contradicts itself keeps its claims.
    R8,
    /// Mass removals are followed at once.
    R9,
    /// A restored copy makes records at once.
    R10,
}

/// Which rules hold: all, but in tests.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::sync) struct Rules {
    broken: Option<Mutant>,
}

impl Rules {
    #[cfg(test)]
    pub(in crate::sync) fn without(rule: Option<Mutant>) -> Self {
        Self { broken: rule }
    }

    pub(super) fn keeps(self, rule: Mutant) -> bool {
        self.broken != Some(rule)
    }
}
