//! `pinmesh swarm invite`: the line by which another node joins this node's private network.
//!
//! The key comes from the repo and never over the RPC, so whoever can run this could read the key
//! anyway. The line goes to standard output and nowhere else.

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::client::{self, Call};
use super::{Global, print, rpc};
use crate::net::{Invite, Multiaddr, SwarmKey, parse_multiaddr, parse_peer_id, split_peer};
use crate::repo;

/// The arguments of `swarm invite`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the newcomer finds this node: /ip4/10.0.0.11/tcp/4001. Otherwise the running daemon
    /// is asked.
    addresses: Vec<String>,
    /// Secret of the RPC, as `--api-auth` of every other command.
    #[arg(long)]
    api_auth: Option<String>,
}

/// Runs `swarm invite`.
pub(super) fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<()> {
    let path = global.repo_path();
    if !repo::is_initialized(&path) {
        return Err(repo::Error::NotInitialized { path }.into());
    }
    let Some(file) = repo::read_swarm_key(&path)? else {
        let file = path.join("swarm.key");
        bail!("there is no {}: the first start of 'pinmesh daemon' makes it", file.display());
    };
    let key = SwarmKey::parse(&file)
        .map_err(|error| anyhow!("{}: {error}", path.join("swarm.key").display()))?;
    let addresses = if arguments.addresses.is_empty() {
        of_daemon(global, arguments.api_auth.as_deref())?
    } else {
        named(global, &arguments.addresses)?
    };
    print::line(&Invite { key, addresses }.to_line());
    Ok(())
}

/// The addresses that were given, each with this node's peer ID unless it names one.
fn named(global: &Global, texts: &[String]) -> anyhow::Result<Vec<Multiaddr>> {
    let config = repo::read_config(&global.repo_path().join("config"))?;
    let own = config.pointer("/Identity/PeerID").and_then(|id| id.as_str()).unwrap_or_default();
    let own = parse_peer_id(own).context("Identity.PeerID in the config")?;
    let with_peer = |text: &String| -> anyhow::Result<Multiaddr> {
        let address = parse_multiaddr(text)?;
        let has_peer = split_peer(address.clone()).is_ok();
        Ok(if has_peer { address } else { address.with(multiaddr::Protocol::P2p(own)) })
    };
    texts.iter().map(with_peer).collect()
}

/// Where the running daemon says that it is; loopback only when it is nowhere else.
fn of_daemon(global: &Global, api_auth: Option<&str>) -> anyhow::Result<Vec<Multiaddr>> {
    let Some(daemon) = rpc::daemon_address(global)? else {
        bail!(
            "no daemon is running that could say where this node is: start it, or name the \
             addresses: pinmesh swarm invite /ip4/<address>/tcp/4001"
        );
    };
    let mut answer = Vec::new();
    let authorization = api_auth.map(rpc::authorization);
    let call = Call { target: "id?encoding=json".to_owned(), authorization, body: None };
    client::call(&daemon, call, &mut answer)?;
    let id: serde_json::Value = serde_json::from_slice(&answer).context("the answer of id")?;
    let texts = id.get("Addresses").and_then(|list| list.as_array());
    let found: Vec<Multiaddr> = texts
        .into_iter()
        .flatten()
        .filter_map(|text| parse_multiaddr(text.as_str()?).ok())
        .filter(|address| split_peer(address.clone()).is_ok())
        .collect();
    let (local, elsewhere): (Vec<_>, Vec<_>) = found.into_iter().partition(is_loopback);
    let addresses = if elsewhere.is_empty() { local } else { elsewhere };
    if addresses.is_empty() {
        bail!(
            "the daemon listens nowhere, so nobody could join it: see Addresses.Swarm in the \
             config, or name the addresses: pinmesh swarm invite /ip4/<address>/tcp/4001"
        );
    }
    Ok(addresses)
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(multiaddr::Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(multiaddr::Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}
