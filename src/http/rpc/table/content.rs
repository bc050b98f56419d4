//! Rows of the command table: the commands that read and write content: `add`, `cat`, `get`, `ls`, `refs`, `resolve`, `block/*`,
//! `dag/*`, `cid/*`, `multibase/*`.
//!
//! Data only.

use super::super::{add, block, cat, cid, dag, get, ls, multibase, refs, resolve};
use super::{Class, Command, Default};
use super::{file, flag, group, int, int64, later, string, strings, text, uint};

/// The rows, parents before their children.
pub(super) const COMMANDS: &[Command] = &[
    later("add", Class::Many)
        .args(&[file("path").variadic().stdin().recursive()])
        .options(&[
            flag(&["recursive", "r"]),
            flag(&["dereference-args"]),
            string(&["stdin-name"]),
            flag(&["hidden", "H"]),
            strings(&["ignore"]),
            string(&["ignore-rules-path"]),
            flag(&["empty-dirs", "E"]).or(Default::Bool(true)),
            flag(&["dereference-symlinks"]),
            flag(&["quiet", "q"]),
            flag(&["quieter", "Q"]),
            flag(&["silent"]),
            flag(&["progress", "p"]),
            flag(&["only-hash", "n"]),
            flag(&["wrap-with-directory", "w"]),
            flag(&["pin"]).or(Default::Bool(true)),
            string(&["pin-name"]),
            string(&["to-files"]),
            int(&["cid-version"]),
            string(&["hash"]),
            flag(&["raw-leaves"]),
            string(&["chunker", "s"]),
            flag(&["trickle", "t"]),
            int(&["max-file-links"]),
            int(&["max-directory-links"]),
            int(&["max-hamt-fanout"]),
            flag(&["inline"]),
            int(&["inline-limit"]).or(Default::Int(32)),
            flag(&["nocopy"]),
            flag(&["fscache"]),
            flag(&["preserve-mode"]),
            flag(&["preserve-mtime"]),
            uint(&["mode"]),
            int64(&["mtime"]),
            uint(&["mtime-nsecs"]),
            flag(&["fast-provide-root"]),
            flag(&["fast-provide-dag"]),
            flag(&["fast-provide-wait"]),
            uint(&["wait"]).ours(),
            int64(&["replication-min"]).ours(),
            int64(&["replication-max"]).ours(),
            string(&["expire-in"]).ours(),
        ])
        .run(|request| Box::pin(add::add(request))),
    group("block"),
    later("block/get", Class::Raw)
        .args(&[text("cid").stdin()])
        .run(|request| Box::pin(block::get(request))),
    later("block/put", Class::Many)
        .args(&[file("data").variadic().stdin()])
        .options(&[
            string(&["cid-codec"]).or(Default::Str("raw")),
            string(&["mhtype"]),
            int(&["mhlen"]).or(Default::Int(-1)),
            flag(&["pin"]).or(Default::Bool(false)),
            flag(&["allow-big-block"]).or(Default::Bool(false)),
            string(&["format", "f"]),
        ])
        .run(|request| Box::pin(block::put(request))),
    later("block/rm", Class::Many)
        .args(&[text("cid").variadic()])
        .options(&[flag(&["force", "f"]), flag(&["quiet", "q"])])
        .run(|request| Box::pin(block::rm(request))),
    later("block/stat", Class::One)
        .args(&[text("cid").stdin()])
        .run(|request| Box::pin(block::stat(request))),
    later("cat", Class::Raw)
        .args(&[text("ipfs-path").variadic().stdin()])
        .options(&[int64(&["offset", "o"]), int64(&["length", "l"]), flag(&["progress", "p"])])
        .run(|request| Box::pin(cat::cat(request))),
    group("cid"),
    later("cid/base32", Class::Many)
        .args(&[text("cid").variadic().stdin()])
        .run(|request| Box::pin(cid::base32(request))),
    later("cid/bases", Class::One)
        .options(&[flag(&["prefix"]), flag(&["numeric"])])
        .run(|request| Box::pin(cid::bases(request))),
    later("cid/codecs", Class::One)
        .options(&[flag(&["numeric", "n"]), flag(&["supported", "s"])])
        .run(|request| Box::pin(cid::codecs(request))),
    later("cid/format", Class::Many)
        .args(&[text("cid").variadic().stdin()])
        .options(&[
            string(&["f"]).or(Default::Str("%s")),
            string(&["v"]),
            string(&["mc"]),
            string(&["b"]),
        ])
        .run(|request| Box::pin(cid::format(request))),
    later("cid/hashes", Class::One)
        .options(&[flag(&["numeric", "n"]), flag(&["supported", "s"])])
        .run(|request| Box::pin(cid::hashes(request))),
    later("cid/inspect", Class::One)
        .args(&[text("cid").stdin()])
        .run(|request| Box::pin(cid::inspect(request))),
    group("dag"),
    later("dag/export", Class::Raw)
        .args(&[text("root").stdin()])
        .options(&[flag(&["progress", "p"]), flag(&["local-only"])])
        .run(|request| Box::pin(dag::export(request))),
    later("dag/get", Class::Raw)
        .args(&[text("ref").stdin()])
        .options(&[string(&["output-codec"]).or(Default::Str("dag-json"))])
        .run(|request| Box::pin(dag::get(request))),
    later("dag/import", Class::Many)
        .args(&[file("path").variadic().stdin()])
        .options(&[
            flag(&["pin-roots"]),
            flag(&["local-only"]),
            flag(&["silent"]),
            flag(&["stats"]),
            flag(&["fast-provide-root"]),
            flag(&["fast-provide-dag"]),
            flag(&["fast-provide-wait"]),
            flag(&["allow-big-block"]).or(Default::Bool(false)),
        ])
        .run(|request| Box::pin(dag::import(request))),
    later("dag/put", Class::Many)
        .args(&[file("object data").variadic().stdin()])
        .options(&[
            string(&["store-codec"]).or(Default::Str("dag-cbor")),
            string(&["input-codec"]).or(Default::Str("dag-json")),
            flag(&["pin"]),
            string(&["hash"]),
            flag(&["allow-big-block"]).or(Default::Bool(false)),
        ])
        .run(|request| Box::pin(dag::put(request))),
    later("dag/resolve", Class::One)
        .args(&[text("ref").stdin()])
        .run(|request| Box::pin(dag::resolve(request))),
    later("dag/stat", Class::Many)
        .args(&[text("root").variadic().stdin()])
        .options(&[flag(&["progress", "p"])])
        .run(|request| Box::pin(dag::stat(request))),
    later("get", Class::Raw)
        .args(&[text("ipfs-path").stdin()])
        .options(&[
            string(&["output", "o"]),
            flag(&["archive", "a"]),
            flag(&["compress", "C"]),
            int(&["compression-level", "l"]),
            flag(&["progress", "p"]),
        ])
        .run(|request| Box::pin(get::get(request))),
    later("ls", Class::One)
        .args(&[text("ipfs-path").variadic().stdin()])
        .options(&[
            flag(&["headers", "v"]),
            flag(&["resolve-type"]).or(Default::Bool(true)),
            flag(&["size"]).or(Default::Bool(true)),
            flag(&["stream", "s"]),
            flag(&["long", "l"]),
        ])
        .run(|request| Box::pin(ls::ls(request))),
    group("multibase"),
    later("multibase/decode", Class::Raw)
        .args(&[file("encoded_file").stdin()])
        .run(|request| Box::pin(multibase::decode(request))),
    later("multibase/encode", Class::Raw)
        .args(&[file("file").stdin()])
        .options(&[string(&["b"]).or(Default::Str("base64url"))])
        .run(|request| Box::pin(multibase::encode(request))),
    later("multibase/list", Class::One)
        .options(&[flag(&["prefix"]), flag(&["numeric"])])
        .run(|request| Box::pin(cid::bases(request))),
    later("multibase/transcode", Class::Raw)
        .args(&[file("encoded_file").stdin()])
        .options(&[string(&["b"]).or(Default::Str("base64url"))])
        .run(|request| Box::pin(multibase::transcode(request))),
    later("refs", Class::Many)
        .args(&[text("ipfs-path").variadic().stdin()])
        .options(&[
            string(&["format"]).or(Default::Str("<dst>")),
            flag(&["edges", "e"]),
            flag(&["unique", "u"]),
            flag(&["recursive", "r"]),
            int(&["max-depth"]).or(Default::Int(-1)),
        ])
        .run(|request| Box::pin(refs::refs(request))),
    later("refs/local", Class::Many).run(|request| Box::pin(refs::local(request))),
    later("resolve", Class::One)
        .args(&[text("name").stdin()])
        .options(&[
            flag(&["recursive", "r"]).or(Default::Bool(true)),
            int(&["dht-record-count", "dhtrc"]),
            string(&["dht-timeout", "dhtt"]),
        ])
        .run(|request| Box::pin(resolve::resolve(request))),
];
