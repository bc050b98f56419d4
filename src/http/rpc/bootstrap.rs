//! `bootstrap/*`: kubo core/commands/bootstrap.go.

use serde::Serialize;

use super::{Error, Reply, Request, Value};

#[derive(Debug, Serialize)]
#[serde(rename = "BootstrapOutput", rename_all = "PascalCase")]
struct Peers {
    peers: Option<Vec<String>>,
    /// What each line of text begins with.
    #[serde(skip)]
    prefix: &'static str,
}

impl Value for Peers {
    fn text(&self) -> Option<Result<String, Error>> {
        let mut peers: Vec<&String> = self.peers.iter().flatten().collect();
        peers.sort();
        Some(Ok(peers.into_iter().map(|peer| format!("{}{peer}\n", self.prefix)).collect()))
    }
}

/// `bootstrap`, `bootstrap/list`.
pub(super) async fn list(request: Request) -> Result<Reply, Error> {
    let peers = request.node.bootstrap(request.options.bool("expand-auto"));
    Ok(Reply::one(Peers { peers, prefix: "" }))
}

/// `bootstrap/add`.
pub(super) async fn add(mut request: Request) -> Result<Reply, Error> {
    let peers = request.all_args().await?;
    let peers = request.node.add_bootstrap(peers).await?;
    Ok(Reply::one(Peers { peers: Some(peers), prefix: "added " }))
}

/// `bootstrap/rm`.
pub(super) async fn rm(mut request: Request) -> Result<Reply, Error> {
    if request.options.bool("all") {
        return rm_all(request).await;
    }
    let peers = request.all_args().await?;
    let peers = request.node.remove_bootstrap(peers).await?;
    Ok(Reply::one(Peers { peers: Some(peers), prefix: "removed " }))
}

/// `bootstrap/rm/all`.
pub(super) async fn rm_all(request: Request) -> Result<Reply, Error> {
    let peers = request.node.clear_bootstrap().await?;
    Ok(Reply::one(Peers { peers: Some(peers), prefix: "removed " }))
}
