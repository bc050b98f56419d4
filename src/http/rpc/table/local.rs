//! Rows of the command table: the commands about this node: `version`, `commands`, `config/*`, `id`, `repo/*`, `stats/*`, `diag/*`,
//! `log/*`, `shutdown`, `bootstrap/*`, and what only the command line has.
//!
//! Data only.

use super::super::{
    bitswap, bootstrap, commands, config, diag, filestore, id, log, mount, provide, refs, repo,
    stats, version,
};
use super::{Class, Command, Default, Status};
use super::{file, flag, group, int, later, string, strings, text};

/// The rows, parents before their children.
pub(super) const COMMANDS: &[Command] = &[
    later("bootstrap", Class::One).run(|request| Box::pin(bootstrap::list(request))),
    later("bootstrap/add", Class::One)
        .args(&[text("peer").optional().variadic().stdin()])
        .run(|request| Box::pin(bootstrap::add(request))),
    later("bootstrap/list", Class::One)
        .options(&[flag(&["expand-auto"])])
        .run(|request| Box::pin(bootstrap::list(request))),
    later("bootstrap/rm", Class::One)
        .args(&[text("peer").optional().variadic().stdin()])
        .options(&[flag(&["all"])])
        .run(|request| Box::pin(bootstrap::rm(request))),
    later("bootstrap/rm/all", Class::One).run(|request| Box::pin(bootstrap::rm_all(request))),
    later("commands", Class::One)
        .options(&[flag(&["flags", "f"])])
        .run(|request| Box::pin(commands::list(request))),
    group("commands/completion").cli_only(),
    later("commands/completion/bash", Class::One).cli_only(),
    later("commands/completion/fish", Class::One).cli_only(),
    later("commands/completion/zsh", Class::One).cli_only(),
    later("config", Class::One)
        .args(&[text("key"), text("value").optional()])
        .options(&[flag(&["bool"]), flag(&["json"]), flag(&["expand-auto"])])
        .run(|request| Box::pin(config::config(request))),
    later("config/edit", Class::One).cli_only(),
    group("config/profile"),
    later("config/profile/apply", Class::One)
        .args(&[text("profile")])
        .options(&[flag(&["dry-run"])])
        .run(|request| Box::pin(config::apply(request))),
    later("config/replace", Class::Nothing)
        .args(&[file("file")])
        .run(|request| Box::pin(config::replace(request))),
    later("config/show", Class::One).run(|request| Box::pin(config::show(request))),
    group("diag"),
    later("diag/cmds", Class::One)
        .options(&[flag(&["verbose", "v"])])
        .run(|request| Box::pin(diag::cmds(request))),
    later("diag/cmds/clear", Class::Nothing).run(|request| Box::pin(diag::clear(request))),
    later("diag/cmds/set-time", Class::Nothing)
        .args(&[text("time")])
        .run(|request| Box::pin(diag::set_time(request))),
    group("diag/datastore").status(Status::Experimental),
    later("diag/datastore/count", Class::One)
        .cli_only()
        .status(Status::Experimental)
        .args(&[text("prefix")]),
    later("diag/datastore/get", Class::One)
        .cli_only()
        .status(Status::Experimental)
        .args(&[text("key")])
        .options(&[flag(&["hex"])]),
    later("diag/datastore/put", Class::One)
        .cli_only()
        .status(Status::Experimental)
        .args(&[text("key"), text("value")]),
    later("diag/healthy", Class::One).run(|request| Box::pin(diag::healthy(request))),
    later("diag/profile", Class::Raw)
        .options(&[
            string(&["output", "o"]),
            strings(&["collectors"]).or(Default::Strs(&[
                "goroutines-stack",
                "goroutines-pprof",
                "version",
                "heap",
                "allocs",
                "bin",
                "cpu",
                "mutex",
                "block",
                "trace",
            ])),
            string(&["profile-time"]).or(Default::Str("30s")),
            int(&["mutex-profile-fraction"]).or(Default::Int(4)),
            string(&["block-profile-rate"]).or(Default::Str("1ms")),
        ])
        .run(|request| Box::pin(diag::profile(request))),
    later("diag/sys", Class::One).run(|request| Box::pin(diag::sys(request))),
    group("filestore"),
    later("filestore/dups", Class::Many).run(|request| Box::pin(filestore::filestore(request))),
    later("filestore/ls", Class::Many)
        .args(&[text("obj").optional().variadic()])
        .options(&[flag(&["file-order"])])
        .run(|request| Box::pin(filestore::filestore(request))),
    later("filestore/verify", Class::Many)
        .args(&[text("obj").optional().variadic()])
        .options(&[flag(&["file-order"]), flag(&["remove-bad-blocks"])])
        .run(|request| Box::pin(filestore::filestore(request))),
    later("id", Class::One)
        .args(&[text("peerid").optional()])
        .options(&[string(&["format", "f"]), string(&["peerid-base"]).or(Default::Str("b58mh"))])
        .run(|request| Box::pin(id::id(request))),
    group("log"),
    later("log/level", Class::One)
        .args(&[text("subsystem").optional(), text("level").optional()])
        .run(|request| Box::pin(log::level(request))),
    later("log/ls", Class::One).run(|request| Box::pin(log::ls(request))),
    later("log/tail", Class::Raw)
        .status(Status::Experimental)
        .options(&[string(&["log-level"]).or(Default::Str(""))])
        .run(|request| Box::pin(log::tail(request))),
    later("mount", Class::One)
        .status(Status::Experimental)
        .options(&[
            string(&["ipfs-path", "f"]),
            string(&["ipns-path", "n"]),
            string(&["mfs-path", "m"]),
        ])
        .run(|request| Box::pin(mount::mount(request))),
    group("repo"),
    later("repo/gc", Class::Many)
        .options(&[flag(&["stream-errors"]), flag(&["quiet", "q"]), flag(&["silent"])])
        .run(|request| Box::pin(repo::gc(request))),
    later("repo/ls", Class::Many).run(|request| Box::pin(refs::local(request))),
    later("repo/migrate", Class::One)
        .cli_only()
        .options(&[int(&["to"]).or(Default::Int(18)), flag(&["allow-downgrade"])]),
    later("repo/stat", Class::One)
        .options(&[flag(&["size-only", "s"]), flag(&["human", "H"])])
        .run(|request| Box::pin(repo::stat(request))),
    later("repo/verify", Class::Many)
        .options(&[
            flag(&["drop"]),
            flag(&["heal"]),
            string(&["heal-timeout"]).or(Default::Str("30s")),
        ])
        .run(|request| Box::pin(repo::verify(request))),
    later("repo/version", Class::One)
        .options(&[flag(&["quiet", "q"])])
        .run(|request| Box::pin(repo::version(request))),
    later("shutdown", Class::Nothing).run(|request| Box::pin(commands::shutdown(request))),
    group("stats"),
    later("stats/bitswap", Class::One)
        .options(&[flag(&["verbose", "v"]), flag(&["human"])])
        .run(|request| Box::pin(bitswap::stat(request))),
    later("stats/bw", Class::Many)
        .options(&[
            string(&["peer", "p"]),
            string(&["proto", "t"]),
            flag(&["poll"]),
            string(&["interval", "i"]).or(Default::Str("1s")),
        ])
        .run(|request| Box::pin(stats::bandwidth(request))),
    later("stats/dht", Class::Many)
        .args(&[text("dht").optional().variadic()])
        .run(|request| Box::pin(stats::dht(request))),
    later("stats/provide", Class::Many)
        .status(Status::Deprecated)
        .options(&[
            flag(&["lan"]),
            flag(&["all", "a"]),
            flag(&["compact"]),
            flag(&["connectivity"]),
            flag(&["network"]),
            flag(&["schedule"]),
            flag(&["timings"]),
            flag(&["workers"]),
            flag(&["operations"]),
            flag(&["queues"]),
        ])
        .run(|request| Box::pin(provide::stat(request))),
    later("stats/repo", Class::One)
        .options(&[flag(&["size-only", "s"]), flag(&["human", "H"])])
        .run(|request| Box::pin(repo::stat(request))),
    later("stats/reprovide", Class::Many)
        .status(Status::Deprecated)
        .options(&[
            flag(&["lan"]),
            flag(&["all", "a"]),
            flag(&["compact"]),
            flag(&["connectivity"]),
            flag(&["network"]),
            flag(&["schedule"]),
            flag(&["timings"]),
            flag(&["workers"]),
            flag(&["operations"]),
            flag(&["queues"]),
        ])
        .run(|request| Box::pin(provide::stat(request))),
    group("update").cli_only().status(Status::Experimental),
    later("update/check", Class::One)
        .cli_only()
        .status(Status::Experimental)
        .options(&[flag(&["pre"])]),
    later("update/clean", Class::One).cli_only().status(Status::Experimental),
    later("update/install", Class::One)
        .cli_only()
        .status(Status::Experimental)
        .args(&[text("version").optional()])
        .options(&[flag(&["pre"]), flag(&["allow-downgrade"])]),
    later("update/revert", Class::One).cli_only().status(Status::Experimental),
    later("update/versions", Class::One)
        .cli_only()
        .status(Status::Experimental)
        .options(&[int(&["count", "n"]).or(Default::Int(30)), flag(&["pre"])]),
    later("version", Class::One)
        .options(&[flag(&["number", "n"]), flag(&["commit"]), flag(&["repo"]), flag(&["all"])])
        .run(|request| Box::pin(version::version(request))),
    later("version/check", Class::One)
        .options(&[int(&["min-percent", "t"]).or(Default::Int(5))])
        .run(|request| Box::pin(version::check(request))),
    later("version/deps", Class::Many).run(|request| Box::pin(version::deps(request))),
];
