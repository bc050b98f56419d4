//! Rows of the command table: `pin/*`.
//!
//! Data only.

use super::super::{pin, pin_remote};
use super::{Class, Command, Default};
use super::{flag, group, int64, later, string, strings, text, uint};

/// The rows, parents before their children.
pub(super) const COMMANDS: &[Command] = &[
    group("pin"),
    later("pin/add", Class::One)
        .args(&[text("ipfs-path").variadic().stdin()])
        .options(&[
            flag(&["recursive", "r"]).or(Default::Bool(true)),
            string(&["name", "n"]),
            flag(&["progress"]),
            flag(&["fast-provide-root"]),
            flag(&["fast-provide-dag"]),
            flag(&["fast-provide-wait"]),
            uint(&["wait"]).ours(),
            int64(&["replication-min"]).ours(),
            int64(&["replication-max"]).ours(),
            string(&["expire-in"]).ours(),
        ])
        .run(|request| Box::pin(pin::add(request))),
    later("pin/ls", Class::One)
        .args(&[text("ipfs-path").optional().variadic()])
        .options(&[
            string(&["type", "t"]).or(Default::Str("all")),
            flag(&["quiet", "q"]),
            string(&["name", "n"]),
            flag(&["stream", "s"]),
            flag(&["names"]),
        ])
        .run(|request| Box::pin(pin::ls(request))),
    group("pin/remote"),
    later("pin/remote/add", Class::Many)
        .args(&[text("ipfs-path")])
        .options(&[
            string(&["service"]),
            string(&["name"]),
            flag(&["background"]).or(Default::Bool(false)),
        ])
        .run(|request| Box::pin(pin_remote::add(request))),
    later("pin/remote/ls", Class::Many)
        .options(&[
            string(&["service"]),
            string(&["name"]),
            strings(&["cid"]),
            strings(&["status"]).or(Default::Strs(&["pinned"])),
        ])
        .run(|request| Box::pin(pin_remote::ls(request))),
    later("pin/remote/rm", Class::Nothing)
        .options(&[
            string(&["service"]),
            string(&["name"]),
            strings(&["cid"]),
            strings(&["status"]).or(Default::Strs(&["pinned"])),
            flag(&["force"]).or(Default::Bool(false)),
        ])
        .run(|request| Box::pin(pin_remote::rm(request))),
    group("pin/remote/service"),
    later("pin/remote/service/add", Class::Nothing)
        .args(&[text("service"), text("endpoint"), text("key")])
        .run(|request| Box::pin(pin_remote::add_service(request))),
    later("pin/remote/service/ls", Class::One)
        .options(&[flag(&["stat"]).or(Default::Bool(false))])
        .run(|request| Box::pin(pin_remote::ls_services(request))),
    later("pin/remote/service/rm", Class::Nothing)
        .args(&[text("service")])
        .run(|request| Box::pin(pin_remote::rm_service(request))),
    later("pin/rm", Class::One)
        .args(&[text("ipfs-path").variadic().stdin()])
        .options(&[flag(&["recursive", "r"]).or(Default::Bool(true))])
        .run(|request| Box::pin(pin::rm(request))),
    later("pin/update", Class::One)
        .args(&[text("from-path"), text("to-path")])
        .options(&[
            flag(&["unpin"]).or(Default::Bool(true)),
            flag(&["fast-provide-root"]),
            flag(&["fast-provide-dag"]),
            flag(&["fast-provide-wait"]),
        ])
        .run(|request| Box::pin(pin::update(request))),
    later("pin/verify", Class::Many)
        .options(&[flag(&["verbose"]), flag(&["quiet", "q"])])
        .run(|request| Box::pin(pin::verify(request))),
];
