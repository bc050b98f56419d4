//! What can be told of the members.

use super::{Author, Authoring, Core, Now, Sign};
use crate::sync::message::{Hello, Roots};

/// A member, as this node knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its author key.
    pub author: Author,
    /// Its last hello; none if only records of it were seen.
    pub hello: Option<Hello>,
    /// When that came, or when it was first heard of: Unix milliseconds of this node's clock.
    pub heard_wall_ms: u64,
    /// How far its clock was ahead of this node's, in milliseconds; none before it said hello in
    /// person since this node was started.
    pub clock_ahead_ms: Option<i64>,
    /// Its trees, as it told them last; none while it is not connected.
    pub roots: Option<Roots>,
    /// It was heard within the lease: what was removed is kept until it has seen it.
    pub is_active: bool,
}

impl<K: Sign> Core<K> {
    /// The members that are known, but for this node.
    pub fn known(&self, now: Now) -> Vec<Known> {
        let active = self.active(now);
        let known = self.members.iter().map(|(author, member)| {
            let link = self.links.values().find(|link| link.author == Some(*author));
            Known {
                author: *author,
                hello: member.hello.clone(),
                heard_wall_ms: member.heard_wall_ms,
                clock_ahead_ms: self.clock.offset(author),
                roots: link.and_then(|link| link.roots),
                is_active: active.binary_search(author).is_ok(),
            }
        });
        known.collect()
    }

    /// Whether another node runs with this node's key; neither makes records then.
    #[must_use]
    pub fn is_cloned(&self) -> bool {
        self.authoring == Authoring::Cloned
    }
}
