//! Integration tests, one binary. `cfg(test)` tells clippy that helpers beside tests are tests too.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod bitswap;
#[cfg(test)]
mod config;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod gc;
#[cfg(test)]
mod group;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod mfs;
#[cfg(test)]
mod names;
#[cfg(test)]
mod net_members;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod psa;
#[cfg(test)]
mod rpc_block;
#[cfg(test)]
mod rpc_dag;
#[cfg(test)]
mod rpc_pin;
#[cfg(test)]
mod rpc_read;
#[cfg(test)]
mod rpc_repo;
#[cfg(test)]
mod rpc_routing;
#[cfg(test)]
mod rpc_transport;
#[cfg(test)]
mod store_contract;
#[cfg(test)]
mod support;
#[cfg(test)]
mod sync_view;
#[cfg(test)]
mod tunnels;
