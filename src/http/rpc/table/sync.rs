//! Rows of the command table: `sync/*`, the commands about the pins of the group. Kubo has none of
//! them.
//!
//! Data only.

use super::super::sync;
use super::{Class, Command};
use super::{flag, group, later, string, strings, text, uint64};

/// The rows, parents before their children.
pub(super) const COMMANDS: &[Command] = &[
    group("sync").own(),
    later("sync/diff", Class::Many)
        .own()
        .options(&[string(&["peer", "p"])])
        .run(|request| Box::pin(sync::diff(request))),
    later("sync/log", Class::Many)
        .own()
        .options(&[flag(&["follow", "f"])])
        .run(|request| Box::pin(sync::log(request))),
    later("sync/peers", Class::One).own().run(|request| Box::pin(sync::peers(request))),
    later("sync/pins", Class::Many)
        .own()
        .options(&[
            strings(&["state", "s"]),
            string(&["name", "n"]),
            uint64(&["limit"]),
            string(&["after"]),
        ])
        .run(|request| Box::pin(sync::pins(request))),
    later("sync/prove", Class::One)
        .own()
        .args(&[text("cid")])
        .run(|request| Box::pin(sync::prove(request))),
    later("sync/recover", Class::One)
        .own()
        .args(&[text("cid").optional()])
        .run(|request| Box::pin(sync::recover(request))),
    later("sync/status", Class::One).own().run(|request| Box::pin(sync::status(request))),
];
