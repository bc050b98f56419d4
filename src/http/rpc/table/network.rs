//! Rows of the command table: the commands about other nodes: `bitswap/*`, `routing/*`, `dht/*`, `provide/*`, `swarm/*`, `ping`,
//! `pubsub/*`, `p2p/*`.
//!
//! Data only.

use super::super::{bitswap, p2p, ping, provide, pubsub, resources, routing, swarm};
use super::{Class, Command, Default, Status};
use super::{file, flag, group, int, later, removed, string, text};

/// The rows, parents before their children.
pub(super) const COMMANDS: &[Command] = &[
    group("bitswap"),
    later("bitswap/ledger", Class::One)
        .args(&[text("peer")])
        .run(|request| Box::pin(bitswap::ledger(request))),
    later("bitswap/reprovide", Class::Nothing)
        .status(Status::Deprecated)
        .run(|request| Box::pin(routing::reprovide(request))),
    later("bitswap/stat", Class::One)
        .options(&[flag(&["verbose", "v"]), flag(&["human"])])
        .run(|request| Box::pin(bitswap::stat(request))),
    later("bitswap/wantlist", Class::One)
        .options(&[string(&["peer", "p"])])
        .run(|request| Box::pin(bitswap::wantlist(request))),
    group("dht").status(Status::Deprecated),
    removed("dht/findpeer", "removed, use 'ipfs routing' instead"),
    removed("dht/findprovs", "removed, use 'ipfs routing' instead"),
    removed("dht/get", "removed, use 'ipfs routing' instead"),
    removed("dht/provide", "removed, use 'ipfs routing' instead"),
    removed("dht/put", "removed, use 'ipfs routing' instead"),
    later("dht/query", Class::Many)
        .status(Status::Deprecated)
        .args(&[text("peerID").variadic()])
        .options(&[flag(&["verbose", "v"])])
        .run(|request| Box::pin(routing::query(request))),
    group("p2p").status(Status::Experimental),
    later("p2p/close", Class::One)
        .status(Status::Experimental)
        .options(&[
            flag(&["all", "a"]),
            string(&["protocol", "p"]),
            string(&["listen-address", "l"]),
            string(&["target-address", "t"]),
        ])
        .run(|request| Box::pin(p2p::close(request))),
    later("p2p/forward", Class::Nothing)
        .status(Status::Experimental)
        .args(&[text("protocol"), text("listen-address"), text("target-address")])
        .options(&[flag(&["allow-custom-protocol"]), flag(&["foreground", "f"])])
        .run(|request| Box::pin(p2p::forward(request))),
    later("p2p/listen", Class::Nothing)
        .status(Status::Experimental)
        .args(&[text("protocol"), text("target-address")])
        .options(&[
            flag(&["allow-custom-protocol"]),
            flag(&["report-peer-id", "r"]),
            flag(&["foreground", "f"]),
        ])
        .run(|request| Box::pin(p2p::listen(request))),
    later("p2p/ls", Class::One)
        .status(Status::Experimental)
        .options(&[flag(&["headers", "v"])])
        .run(|request| Box::pin(p2p::ls(request))),
    group("p2p/stream").status(Status::Experimental),
    later("p2p/stream/close", Class::Nothing)
        .status(Status::Experimental)
        .args(&[text("id").optional()])
        .options(&[flag(&["all", "a"])])
        .run(|request| Box::pin(p2p::stream_close(request))),
    later("p2p/stream/ls", Class::One)
        .status(Status::Experimental)
        .options(&[flag(&["headers", "v"])])
        .run(|request| Box::pin(p2p::stream_ls(request))),
    later("ping", Class::Many)
        .args(&[text("peer ID").variadic().stdin()])
        .options(&[int(&["count", "n"]).or(Default::Int(10))])
        .run(|request| Box::pin(ping::ping(request))),
    group("provide").status(Status::Experimental),
    later("provide/clear", Class::Many)
        .status(Status::Experimental)
        .options(&[flag(&["quiet", "q"])])
        .run(|request| Box::pin(provide::clear(request))),
    later("provide/once", Class::Many)
        .status(Status::Experimental)
        .args(&[text("cid").variadic().stdin()])
        .options(&[flag(&["recursive", "r"])])
        .run(|request| Box::pin(provide::once(request))),
    later("provide/stat", Class::Many)
        .status(Status::Experimental)
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
    group("pubsub").status(Status::Experimental),
    later("pubsub/ls", Class::One)
        .status(Status::Experimental)
        .run(|request| Box::pin(pubsub::ls(request))),
    later("pubsub/peers", Class::One)
        .status(Status::Experimental)
        .args(&[text("topic").optional()])
        .run(|request| Box::pin(pubsub::peers(request))),
    later("pubsub/pub", Class::Nothing)
        .status(Status::Experimental)
        .args(&[text("topic"), file("data").stdin()])
        .run(|request| Box::pin(pubsub::publish(request))),
    later("pubsub/reset", Class::One)
        .status(Status::Experimental)
        .options(&[string(&["peer", "p"])])
        .run(|request| Box::pin(pubsub::reset(request))),
    later("pubsub/sub", Class::Many)
        .status(Status::Experimental)
        .encodings(&["lenpayload", "ndpayload"])
        .args(&[text("topic")])
        .run(|request| Box::pin(pubsub::sub(request))),
    group("routing"),
    later("routing/findpeer", Class::Many)
        .args(&[text("peerID").variadic()])
        .options(&[flag(&["verbose", "v"])])
        .run(|request| Box::pin(routing::find_peer(request))),
    later("routing/findprovs", Class::Many)
        .args(&[text("key").variadic()])
        .options(&[flag(&["verbose", "v"]), int(&["num-providers", "n"]).or(Default::Int(20))])
        .run(|request| Box::pin(routing::find_providers(request))),
    later("routing/get", Class::Many)
        .status(Status::Experimental)
        .args(&[text("key").variadic()])
        .run(|request| Box::pin(routing::get(request))),
    later("routing/provide", Class::Many)
        .status(Status::Deprecated)
        .args(&[text("key").variadic().stdin()])
        .options(&[flag(&["verbose", "v"]), flag(&["recursive", "r"])])
        .run(|request| Box::pin(routing::provide(request))),
    later("routing/put", Class::Many)
        .status(Status::Experimental)
        .args(&[text("key"), file("value-file").stdin()])
        .options(&[flag(&["allow-offline"])])
        .run(|request| Box::pin(routing::put(request))),
    later("routing/reprovide", Class::Nothing)
        .status(Status::Deprecated)
        .run(|request| Box::pin(routing::reprovide(request))),
    group("swarm"),
    later("swarm/addrs", Class::One).run(|request| Box::pin(swarm::addrs(request))),
    later("swarm/addrs/autonat", Class::One).run(|request| Box::pin(swarm::addrs_autonat(request))),
    later("swarm/addrs/listen", Class::One).run(|request| Box::pin(swarm::addrs_listen(request))),
    later("swarm/addrs/local", Class::One)
        .options(&[flag(&["id"])])
        .run(|request| Box::pin(swarm::addrs_local(request))),
    later("swarm/connect", Class::One)
        .args(&[text("address").variadic().stdin()])
        .run(|request| Box::pin(swarm::connect(request))),
    later("swarm/disconnect", Class::One)
        .args(&[text("address").variadic().stdin()])
        .run(|request| Box::pin(swarm::disconnect(request))),
    later("swarm/filters", Class::One).run(|request| Box::pin(swarm::filters(request))),
    later("swarm/filters/add", Class::One)
        .args(&[text("address").variadic().stdin()])
        .run(|request| Box::pin(swarm::filters_add(request))),
    later("swarm/filters/rm", Class::One)
        .args(&[text("address").variadic().stdin()])
        .run(|request| Box::pin(swarm::filters_rm(request))),
    group("swarm/peering"),
    later("swarm/peering/add", Class::Many)
        .args(&[text("address").variadic()])
        .run(|request| Box::pin(swarm::peering_add(request))),
    later("swarm/peering/ls", Class::One).run(|request| Box::pin(swarm::peering_ls(request))),
    later("swarm/peering/rm", Class::Many)
        .args(&[text("ID").variadic()])
        .run(|request| Box::pin(swarm::peering_rm(request))),
    later("swarm/peers", Class::One)
        .options(&[
            flag(&["verbose", "v"]),
            flag(&["streams"]),
            flag(&["latency"]),
            flag(&["direction"]),
            flag(&["identify"]),
        ])
        .run(|request| Box::pin(swarm::peers(request))),
    later("swarm/resources", Class::One)
        .status(Status::Experimental)
        .run(|request| Box::pin(resources::resources(request))),
];
