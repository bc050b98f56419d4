//! `bitswap/*`, `stats/bitswap`: kubo core/commands/bitswap.go.

use serde::Serialize;

use super::value::Link;
use super::{CidEncoder, Error, Reply, Request, Value};
use crate::config::bytes;
use crate::node::Node;

#[derive(Debug, Serialize)]
#[serde(rename = "bitswap.Stat", rename_all = "PascalCase")]
struct Stat {
    wantlist: Vec<Link>,
    peers: Vec<String>,
    blocks_received: u64,
    data_received: u64,
    dup_blks_received: u64,
    dup_data_received: u64,
    messages_received: u64,
    blocks_sent: u64,
    data_sent: u64,
    #[serde(skip)]
    options: TextOptions,
}

#[derive(Debug)]
struct TextOptions {
    encoder: CidEncoder,
    verbose: bool,
    human: bool,
}

impl Value for Stat {
    fn text(&self) -> Option<Result<String, Error>> {
        let bytes = |n: u64| match self.options.human {
            true => bytes::humanize(n),
            false => n.to_string(),
        };
        let mut text = format!(
            "bitswap status\n\tblocks received: {}\n\tblocks sent: {}\n\tdata received: {}\n\t\
             data sent: {}\n\tdup blocks received: {}\n\tdup data received: {}\n\t\
             wantlist [{} keys]\n",
            self.blocks_received,
            self.blocks_sent,
            bytes(self.data_received),
            bytes(self.data_sent),
            self.dup_blks_received,
            bytes(self.dup_data_received),
            self.wantlist.len(),
        );
        for cid in self.wantlist.iter().filter_map(|link| link.0.as_ref()) {
            text.push_str(&format!("\t\t{}\n", self.options.encoder.encode(cid)));
        }
        text.push_str(&format!("\tpartners [{}]\n", self.peers.len()));
        if self.options.verbose {
            self.peers.iter().for_each(|peer| text.push_str(&format!("\t\t{peer}\n")));
        }
        Some(Ok(text))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "KeyList", rename_all = "PascalCase")]
struct Keys {
    keys: Option<Vec<Link>>,
    #[serde(skip)]
    encoder: CidEncoder,
}

impl Value for Keys {
    fn text(&self) -> Option<Result<String, Error>> {
        let cids = self.keys.iter().flatten().filter_map(|link| link.0.as_ref());
        let mut lines: Vec<String> = cids.map(|cid| self.encoder.encode(cid) + "\n").collect();
        lines.sort();
        Some(Ok(lines.concat()))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "decision.Receipt", rename_all = "PascalCase")]
struct Ledger {
    peer: String,
    value: f64,
    sent: u64,
    recv: u64,
    exchanged: u64,
}

impl Value for Ledger {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!(
            "Ledger for {}\nDebt ratio:\t{:.6}\nExchanges:\t{}\nBytes sent:\t{}\n\
             Bytes received:\t{}\n\n",
            self.peer, self.value, self.exchanged, self.sent, self.recv
        )))
    }
}

/// `bitswap/stat`.
pub(super) async fn stat(request: Request) -> Result<Reply, Error> {
    if !request.node.is_online() {
        let offline = crate::node::Error::CommandOffline;
        return Err(Error::client(format!("unable to run offline: {offline}")));
    }
    let encoder = request.cid_encoder()?;
    let options = TextOptions {
        encoder,
        verbose: request.options.bool("verbose"),
        human: request.options.bool("human"),
    };
    let wantlist = request.node.wantlist().into_iter().map(Link::from).collect();
    let stat = request.node.bitswap_stat()?;
    Ok(Reply::one(Stat {
        wantlist,
        peers: stat.partners,
        blocks_received: stat.blocks_received,
        data_received: stat.data_received,
        dup_blks_received: stat.dup_blocks_received,
        dup_data_received: stat.dup_data_received,
        messages_received: stat.messages_received,
        blocks_sent: stat.blocks_sent,
        data_sent: stat.data_sent,
        options,
    }))
}

/// `bitswap/wantlist`: ours, or what a peer has told us it wants.
pub(super) async fn wantlist(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    let keys = match request.options.opt_string("peer") {
        Some(peer) => {
            let peer = Node::parse_peer_id(peer)?;
            if peer == request.node.peer_id() {
                Some(request.node.wantlist())
            } else {
                request.node.wantlist_of(&peer)?
            }
        }
        None => Some(request.node.wantlist()),
    };
    let keys = keys.map(|cids| cids.into_iter().map(Link::from).collect());
    Ok(Reply::one(Keys { keys, encoder: request.cid_encoder()? }))
}

/// `bitswap/ledger`.
pub(super) async fn ledger(request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    let peer = Node::parse_peer_id(request.arg(0))?;
    let ledger = request.node.bitswap_ledger(&peer)?;
    Ok(Reply::one(Ledger {
        peer,
        value: ledger.debt_ratio,
        sent: ledger.sent,
        recv: ledger.received,
        exchanged: ledger.exchanged,
    }))
}
