//! pinmesh: an IPFS node that answers Kubo's HTTP RPC.
//!
//! # Layout
//!
//! Layers are folders; imports point down only (`tests/it/architecture.rs` holds the table).
//!
//! - `cli`: the command line.
//! - `http`: the RPC server; translation only.
//! - `node`: the use cases. `Node` owns every handle.
//! - `gc`: mark, sweep, compact. `mfs`: the mutable file system. `sync`: the replicated pinset.
//!   `replicate`: holding what the pinset says.
//! - `pins`: the local pinset. `exchange`: get a block.
//! - `store`: the blockstore, packs and index. `db`: the state database. `repo`: `$IPFS_PATH`.
//! - `config`: Kubo's JSON config.
//! - `psa`: the Pinning Service API and a client of it. `http_client`: a client of HTTP servers.
//! - `tunnel`: connections of other programs over streams of libp2p.
//! - `net`: addresses, filters, peering; libp2p.
//! - `ipld`, `ipns`, `unixfs`, `car`, `tar`: pure.

pub mod car;
pub mod cli;
pub mod config;
pub mod db;
pub mod exchange;
pub mod gc;
pub mod http;
pub mod http_client;
pub mod ipld;
pub mod ipns;
pub mod mfs;
pub mod net;
pub mod node;
pub mod pins;
pub mod psa;
pub mod replicate;
pub mod repo;
pub mod store;
pub mod sync;
pub mod tar;
pub mod tunnel;
pub mod unixfs;
