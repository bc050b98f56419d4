//! Rows of the command table: `name/*`, `key/*`, `object/*` and `files/*`.
//!
//! Data only.

use super::super::{key, mfs, name, object};
use super::{Class, Command, Default, Status};
use super::{file, flag, group, int, int64, later, removed, string, text, uint, uint64};

/// The rows, parents before their children.
pub(super) const COMMANDS: &[Command] = &[
    group("files").options(&[flag(&["flush", "f"]).or(Default::Bool(true))]),
    later("files/chcid", Class::Nothing).args(&[text("path")]).options(&[int(&["cid-version", "cid-ver"]), string(&["hash"])]).run(|request| Box::pin(mfs::chcid(request))),
    later("files/chmod", Class::Nothing).status(Status::Experimental).args(&[text("mode"), text("path")]).run(|request| Box::pin(mfs::chmod(request))),
    later("files/chroot", Class::One).cli_only().status(Status::Experimental).args(&[text("cid").optional()]).options(&[flag(&["confirm"])]),
    later("files/cp", Class::Nothing).args(&[text("source"), text("dest")]).options(&[flag(&["force"]), flag(&["parents", "p"])]).run(|request| Box::pin(mfs::cp(request))),
    later("files/flush", Class::One).args(&[text("path").optional()]).run(|request| Box::pin(mfs::flush(request))),
    later("files/ls", Class::One).args(&[text("path").optional()]).options(&[flag(&["long", "l"]), flag(&["U"])]).run(|request| Box::pin(mfs::ls(request))),
    later("files/mkdir", Class::Nothing).args(&[text("path")]).options(&[flag(&["parents", "p"]), int(&["cid-version", "cid-ver"]), string(&["hash"])]).run(|request| Box::pin(mfs::mkdir(request))),
    later("files/mv", Class::Nothing).args(&[text("source"), text("dest")]).run(|request| Box::pin(mfs::mv(request))),
    later("files/read", Class::Raw).args(&[text("path")]).options(&[int64(&["offset", "o"]), int64(&["count", "n"])]).run(|request| Box::pin(mfs::read(request))),
    later("files/rm", Class::Nothing).args(&[text("path").variadic()]).options(&[flag(&["recursive", "r"]), flag(&["force"])]).run(|request| Box::pin(mfs::rm(request))),
    later("files/stat", Class::One).args(&[text("path")]).options(&[string(&["format"]).or(Default::Str("<hash>\nSize: <size>\nCumulativeSize: <cumulsize>\nChildBlocks: <childs>\nType: <type>\nMode: <mode> (<mode-octal>)\nMtime: <mtime>")), flag(&["hash"]), flag(&["size"]), flag(&["with-local"])]).run(|request| Box::pin(mfs::stat(request))),
    later("files/touch", Class::Nothing).status(Status::Experimental).args(&[text("path")]).options(&[int64(&["mtime"]), uint(&["mtime-nsecs"])]).run(|request| Box::pin(mfs::touch(request))),
    later("files/write", Class::Nothing).args(&[text("path"), file("data").stdin()]).options(&[int64(&["offset", "o"]), flag(&["create", "e"]), flag(&["parents", "p"]), flag(&["truncate", "t"]), int64(&["count", "n"]), flag(&["raw-leaves"]), int(&["cid-version", "cid-ver"]), string(&["hash"])]).run(|request| Box::pin(mfs::write(request))),
    group("key"),
    later("key/export", Class::One).cli_only().args(&[text("name").stdin()]).options(&[string(&["output", "o"]), string(&["format", "f"]).or(Default::Str("libp2p-protobuf-cleartext"))]),
    later("key/gen", Class::One).args(&[text("name")]).options(&[string(&["type", "t"]).or(Default::Str("ed25519")), int(&["size", "s"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(key::generate(request))),
    later("key/import", Class::One).args(&[text("name"), file("key")]).options(&[string(&["ipns-base"]).or(Default::Str("base36")), string(&["format", "f"]).or(Default::Str("libp2p-protobuf-cleartext")), flag(&["allow-any-key-type"]).or(Default::Bool(false))]).run(|request| Box::pin(key::import(request))),
    later("key/list", Class::One).status(Status::Deprecated).options(&[flag(&["l"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(key::list(request))),
    later("key/ls", Class::One).options(&[flag(&["l"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(key::list(request))),
    later("key/rename", Class::One).args(&[text("name"), text("newName")]).options(&[flag(&["force", "f"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(key::rename(request))),
    later("key/rm", Class::One).args(&[text("name").variadic().stdin()]).options(&[flag(&["l"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(key::remove(request))),
    later("key/rotate", Class::One).cli_only().options(&[string(&["oldkey", "o"]), string(&["type", "t"]).or(Default::Str("ed25519")), int(&["size", "s"])]),
    later("key/sign", Class::Many).status(Status::Experimental).args(&[file("data").stdin()]).options(&[string(&["key", "k"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(key::sign(request))),
    later("key/verify", Class::Many).status(Status::Experimental).args(&[file("data").stdin()]).options(&[string(&["key", "k"]), string(&["signature", "s"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(key::verify(request))),
    group("name"),
    later("name/get", Class::Raw).status(Status::Experimental).args(&[text("name")]).run(|request| Box::pin(name::get(request))),
    later("name/inspect", Class::One).status(Status::Experimental).args(&[file("record").stdin()]).options(&[string(&["verify"]), flag(&["dump"]).or(Default::Bool(true))]).run(|request| Box::pin(name::inspect(request))),
    later("name/publish", Class::One).args(&[text("ipfs-path").stdin()]).options(&[string(&["key", "k"]).or(Default::Str("self")), flag(&["resolve"]).or(Default::Bool(true)), string(&["lifetime", "t"]), string(&["ttl"]), flag(&["quieter", "Q"]), flag(&["v1compat"]).or(Default::Bool(true)), flag(&["allow-offline"]), flag(&["allow-delegated"]), uint64(&["sequence"]), string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(name::publish(request))),
    group("name/pubsub").status(Status::Experimental),
    later("name/pubsub/cancel", Class::One).status(Status::Experimental).args(&[text("name")]).run(|request| Box::pin(name::pubsub_cancel(request))),
    later("name/pubsub/state", Class::One).status(Status::Experimental).run(|request| Box::pin(name::pubsub_state(request))),
    later("name/pubsub/subs", Class::One).status(Status::Experimental).options(&[string(&["ipns-base"]).or(Default::Str("base36"))]).run(|request| Box::pin(name::pubsub_subscriptions(request))),
    later("name/put", Class::One).status(Status::Experimental).args(&[text("name"), file("record").stdin()]).options(&[flag(&["force", "f"]), flag(&["allow-offline"]), flag(&["allow-delegated"]), flag(&["quiet", "q"])]).run(|request| Box::pin(name::put(request))),
    later("name/resolve", Class::One).args(&[text("name").optional()]).options(&[flag(&["recursive", "r"]).or(Default::Bool(true)), flag(&["nocache", "n"]), uint(&["dht-record-count", "dhtrc"]).or(Default::Uint(16)), string(&["dht-timeout", "dhtt"]).or(Default::Str("1m0s")), flag(&["stream", "s"])]).run(|request| Box::pin(name::resolve(request))),
    group("object").status(Status::Deprecated),
    removed("object/data", "removed, use 'ipfs dag' or 'ipfs files' instead"),
    later("object/diff", Class::One).status(Status::Deprecated).args(&[text("obj_a"), text("obj_b")]).options(&[flag(&["verbose", "v"])]).run(|request| Box::pin(object::diff(request))),
    removed("object/get", "removed, use 'ipfs dag' or 'ipfs files' instead"),
    removed("object/links", "removed, use 'ipfs dag' or 'ipfs files' instead"),
    removed("object/new", "removed, use 'ipfs dag' or 'ipfs files' instead"),
    group("object/patch").status(Status::Deprecated).options(&[flag(&["allow-big-block"]).or(Default::Bool(false))]),
    later("object/patch/add-link", Class::One).status(Status::Deprecated).args(&[text("root"), text("name"), text("ref")]).options(&[flag(&["create", "p"]), flag(&["allow-non-unixfs", ""])]).run(|request| Box::pin(object::add_link(request))),
    removed("object/patch/append-data", "removed, use 'ipfs dag' or 'ipfs files' instead"),
    later("object/patch/rm-link", Class::One).status(Status::Deprecated).args(&[text("root"), text("name")]).options(&[flag(&["allow-non-unixfs", ""])]).run(|request| Box::pin(object::remove_link(request))),
    removed("object/patch/set-data", "removed, use 'ipfs dag' or 'ipfs files' instead"),
    removed("object/put", "removed, use 'ipfs dag' or 'ipfs files' instead"),
    removed("object/stat", "removed, use 'ipfs dag' or 'ipfs files' instead"),
];
