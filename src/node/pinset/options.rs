//! What a pin says to the group beside its name and mode.

use serde::{Deserialize, Serialize};

use crate::ipld::Cid;
use crate::node::Error;
use crate::pins::{Mode, Pin};
use crate::sync::record::{self, Live};

/// Options of a pin. What is `None` stays as the group has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PinOptions {
    /// The least number of members that are to hold it; -1: all.
    pub replication_min: Option<i64>,
    /// The number of members that are to hold it; -1: all.
    pub replication_max: Option<i64>,
    /// When it ends, in Unix milliseconds. A pin that is made again without this has no end.
    pub expire_ms: Option<u64>,
    /// The user's entries; they replace those that are there.
    pub meta: Option<Vec<(String, String)>>,
    /// The pin that this one replaces, as text.
    pub update_from: Option<String>,
}

impl PinOptions {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what a user gave.
    ///
    /// # Errors
    /// Which option is wrong, and why.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |text: String| Err(Error::InvalidArgument(text));
        let factors =
            [("replication-min", self.replication_min), ("replication-max", self.replication_max)];
        for (name, factor) in factors {
            if let Some(factor) = factor
                && factor != -1
                && !(1..=i64::from(u32::MAX)).contains(&factor)
            {
                return bad(format!("{name}: {factor} is neither -1 (all members) nor 1 or more"));
            }
        }
        match (self.replication_min, self.replication_max) {
            (Some(min), Some(max)) if max != -1 && (min == -1 || min > max) => {
                bad(format!("replication-min ({min}) is more than replication-max ({max})"))
            }
            _ => Ok(()),
        }
    }
}

/// The number of members that a factor stands for; `None`: all.
fn factor(factor: i64) -> Option<u32> {
    u32::try_from(factor).ok()
}

/// What the group is to be told of a local pin, of which it has `current` so far.
pub(super) fn live(current: Option<&Live>, pin: &Pin, options: &PinOptions) -> Live {
    let mut live = current.cloned().unwrap_or_default();
    live.name.clone_from(&pin.name);
    live.mode = match pin.mode {
        Mode::Recursive => record::Mode::Recursive,
        Mode::Direct => record::Mode::Direct,
    };
    live.expire_ms = options.expire_ms;
    if let Some(min) = options.replication_min {
        live.replication_min = factor(min);
    }
    if let Some(max) = options.replication_max {
        live.replication_max = factor(max);
    }
    if let Some(meta) = &options.meta {
        live.meta.clone_from(meta);
        // The one order that records have.
        live.meta.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    }
    live.update_from = options.update_from.as_deref().and_then(|text| text.parse::<Cid>().ok());
    live
}
