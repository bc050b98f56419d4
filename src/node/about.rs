//! What the node says about itself: identity, version, the machine, health.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::keys::key_cid;
use super::{Error, Node, Reach, first_start, version};
use crate::ipld::Cid;
use crate::net::{self, Multiaddr};

/// What a libp2p host of this node speaks, by Kubo's names; the network serves them as it grows.
pub(super) const PROTOCOLS: [&str; 13] = [
    "/ipfs/bitswap",
    "/ipfs/bitswap/1.0.0",
    "/ipfs/bitswap/1.1.0",
    "/ipfs/bitswap/1.2.0",
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/lan/kad/1.0.0",
    "/ipfs/ping/1.0.0",
    "/libp2p/autonat/1.0.0",
    "/libp2p/autonat/2/dial-back",
    "/libp2p/autonat/2/dial-request",
    "/libp2p/circuit/relay/0.2.0/stop",
    "/x/",
];

/// Why a peer that is not known cannot be described.
const UNKNOWN_PEER: &str = "'ipfs id' cannot query information on remote peers without a running \
     daemon; if you only want to convert --peerid-base, pass --offline option";

/// Who a peer is.
#[derive(Debug, Clone)]
pub struct About {
    /// The peer ID: a base58 multihash.
    pub peer_id: String,
    /// The same as the CID of a libp2p key.
    pub key: Cid,
    /// The public key: base64 of libp2p's protobuf; empty when it is not known.
    pub public_key: String,
    /// Where it is, with its id; `None` on a node without a network.
    pub addresses: Option<Vec<String>>,
    /// Its agent; empty when it is not known.
    pub agent: String,
    /// What it speaks.
    pub protocols: Option<Vec<String>>,
}

impl Node {
    /// Who a peer is; this node, when none is named.
    ///
    /// # Errors
    /// When `peer` is no peer id, or cannot be reached.
    pub async fn about(&self, peer: Option<&str>, offline: bool) -> Result<About, Error> {
        let own = self.identity().peer_id();
        let peer = match peer {
            None => own,
            Some(text) => net::parse_peer_id(text).map_err(|_| Error::failed("invalid peer id"))?,
        };
        let key = key_cid(&peer)?;
        if peer == own {
            let id = own.to_base58();
            let addresses = self.announced_addresses().map(|addresses| {
                addresses.into_iter().map(|address| format!("{address}/p2p/{id}")).collect()
            });
            let protocols = PROTOCOLS.iter().map(|&name| name.to_owned()).collect();
            return Ok(About {
                key,
                public_key: self.identity().public_key_text(),
                protocols: self.is_online().then_some(protocols),
                addresses,
                agent: self.agent().to_owned(),
                peer_id: id,
            });
        }
        if !offline {
            // What it says now, and not what it said once.
            let network = self.network().ok_or_else(|| Error::failed(UNKNOWN_PEER))?;
            network.connect_identified(peer, Vec::new()).await.map_err(
                |failure| match failure {
                    net::DialFailure::NoAddresses => Error::failed(UNKNOWN_PEER),
                    failure => Error::failed(failure),
                },
            )?;
        }
        let known = self.network().and_then(|network| network.peer(&peer));
        let identity =
            self.peer_identity(&peer, known.and_then(|known| known.identified).as_deref());
        Ok(About {
            peer_id: peer.to_base58(),
            key,
            public_key: identity.public_key,
            addresses: Some(identity.addresses),
            agent: identity.agent,
            protocols: (!identity.protocols.is_empty()).then_some(identity.protocols),
        })
    }

    /// The addresses that others are told, sorted: `Addresses.Announce` or those of the interfaces,
    /// and `AppendAnnounce`, without `NoAnnounce`.
    pub(super) fn announced_addresses(&self) -> Option<Vec<String>> {
        let announced = self.network()?.announced();
        Some(announced.iter().map(Multiaddr::to_string).collect())
    }

    /// Whether the node can do its work: not stopping, its store and state readable.
    ///
    /// # Errors
    /// With what is wrong.
    pub async fn check_health(&self) -> Result<(), Error> {
        if self.is_stopping() {
            return Err(Error::failed("daemon is shutting down"));
        }
        let root = first_start::empty_directory()?;
        self.db()
            .read(|connection| connection.query_row("SELECT 1", [], |_| Ok(())).map_err(Into::into))
            .map_err(|error: crate::db::Error| Error::failed(format!("probe resolve: {error}")))?;
        match self.exchange().get(&root, Reach::Local).await {
            // Somebody has unpinned and collected it, which is their right.
            Ok(_) | Err(crate::exchange::Error::NotFound(_)) => Ok(()),
            Err(error) => Err(Error::failed(format!("probe fetch: {error}"))),
        }
    }

    /// How long the node has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        SystemTime::now().duration_since(self.started_at()).unwrap_or_default()
    }

    /// The machine and the process, as `diag/sys` shows them.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn system_facts(&self) -> Result<Value, Error> {
        let disk = rustix::fs::statfs(self.repo().path())
            .map_err(|error| Error::failed(format!("statfs: {error}")))?;
        let block = u64::try_from(disk.f_bsize).unwrap_or_default();
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let mut addresses: Vec<String> = interfaces
            .iter()
            .map(|interface| match interface.ip() {
                IpAddr::V4(ip) => format!("/ip4/{ip}"),
                IpAddr::V6(ip) => format!("/ip6/{ip}"),
            })
            .collect();
        addresses.sort();
        let env = |name: &str| std::env::var(name).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let tasks = tokio::runtime::Handle::try_current()
            .map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        Ok(json!({
            "diskinfo": {
                "fstype": disk.f_type.to_string(),
                "total_space": disk.f_blocks.saturating_mul(block),
                "free_space": disk.f_bfree.saturating_mul(block),
            },
            "environment": {"GOPATH": env("GOPATH"), "IPFS_PATH": env("IPFS_PATH")},
            "ipfs_commit": version::COMMIT,
            "ipfs_version": version::KUBO_VERSION,
            "memory": {"swap": memory("VmSwap:"), "virt": memory("VmSize:")},
            "net": {"interface_addresses": addresses, "online": self.is_online()},
            "runtime": {
                "arch": version::architecture(),
                "compiler": "rustc",
                "gomaxprocs": cores,
                "numcpu": cores,
                "numgoroutines": tasks,
                "os": std::env::consts::OS,
                "version": format!("pinmesh-{}", version::VERSION),
            },
        }))
    }
}

/// A line of `/proc/self/status`, in bytes; 0 on systems that have none.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}
