//! `id`: kubo core/commands/id.go.

use serde::Serialize;

use super::{Error, Reply, Request, Value};
use crate::config::render_pretty;
use crate::ipld::base;
use crate::node::PeerIdentity;

/// Who a peer is.
#[derive(Debug, Default, Serialize)]
#[serde(rename = "IdOutput", rename_all = "PascalCase")]
pub(super) struct Identity {
    #[serde(rename = "ID")]
    id: String,
    public_key: String,
    addresses: Option<Vec<String>>,
    agent_version: String,
    protocols: Option<Vec<String>>,
    /// The `format` option.
    #[serde(skip)]
    format: Option<String>,
}

impl Identity {
    /// What a connected peer says of itself.
    pub(super) fn of_peer(id: String, said: PeerIdentity) -> Self {
        let list = |list: Vec<String>| (!list.is_empty()).then_some(list);
        Self {
            id,
            public_key: said.public_key,
            addresses: list(said.addresses),
            agent_version: said.agent,
            protocols: list(said.protocols),
            format: None,
        }
    }
}

impl Value for Identity {
    fn text(&self) -> Option<Result<String, Error>> {
        let lines = |list: &Option<Vec<String>>| list.as_deref().unwrap_or_default().join("\n");
        let Some(format) = &self.format else {
            let json = serde_json::to_value(self).unwrap_or_default();
            return Some(Ok(format!("{}\n\n", render_pretty(&json, "\t"))));
        };
        let text = format
            .replace("<id>", &self.id)
            .replace("<aver>", &self.agent_version)
            .replace("<pubkey>", &self.public_key)
            .replace("<addrs>", &lines(&self.addresses))
            .replace("<protocols>", &lines(&self.protocols))
            .replace("\\n", "\n")
            .replace("\\t", "\t");
        Some(Ok(text))
    }
}

/// `id`.
pub(super) async fn id(request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let base = match options.string("peerid-base") {
        "b58mh" | "v0" => None,
        name => Some(base::by_name(name).map_err(|error| Error::new(error.to_string()))?),
    };
    let peer = request.args.first().map(String::as_str);
    let about = request.node.about(peer, options.bool("offline")).await?;
    Ok(Reply::one(Identity {
        id: base.map_or(about.peer_id, |base| about.key.to_text(base)),
        public_key: about.public_key,
        addresses: about.addresses,
        agent_version: about.agent,
        protocols: about.protocols,
        format: options.opt_string("format").map(str::to_owned),
    }))
}
