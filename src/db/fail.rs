//! Fail points: named places in the write paths at which a test may end the process.
//!
//! The environment variable [`VARIABLE`] holds `name` or `name:count`; the process aborts when the
//! point of that name is passed for the `count`th time (the first, without one). Unset, a point
//! costs one load. `tests/it/crash.rs` runs a child process for every point in [`POINTS`], ends it
//! there, and checks what a restart finds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names the point at which to abort.
pub const VARIABLE: &str = "PINMESH_FAIL_POINT";

/// Every fail point, in the order in which a block, its pin, a collection, and a
/// flush of the mutable file system pass them.
pub const POINTS: &[&str] = &[
    "store-segment-created",
    "store-mid-frame",
    "store-before-sync",
    "store-before-index",
    "store-before-index-commit",
    "store-after-index",
    "store-before-roll",
    "db-before-commit",
    "db-after-commit",
    "gc-after-mark",
    "gc-after-slice",
    "compact-after-copy",
    "compact-before-unlink",
    "compact-after-unlink",
    "mfs-before-root",
    "mfs-after-root",
];

struct Plan {
    name: String,
    remaining: AtomicU64,
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

fn plan() -> Option<&'static Plan> {
    PLAN.get_or_init(|| {
        let value = std::env::var(VARIABLE).ok()?;
        let (name, count) = value.split_once(':').unwrap_or((&value, "1"));
        let remaining = AtomicU64::new(count.parse().unwrap_or(1));
        Some(Plan { name: name.to_owned(), remaining })
    })
    .as_ref()
}

/// Aborts the process if a test asked for it here.
pub fn point(name: &str) {
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    if is_armed(name) {
        std::process::abort();
    }
}

/// Whether this passage of the point is the one at which to abort; counts it.
pub fn is_armed(name: &str) -> bool {
    let Some(plan) = plan() else { return false };
    plan.name == name && plan.remaining.fetch_sub(1, Ordering::Relaxed) == 1
}
