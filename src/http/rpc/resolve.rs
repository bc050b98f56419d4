//! `resolve`: kubo `core/commands/resolve.go`.

use serde::Serialize;

use super::call::CidEncoder;
use super::name::follow;
use super::{Error, Reply, Request, Value};
use crate::ipld::Path;

/// `ResolvedPath`.
#[derive(Debug, Serialize)]
#[serde(rename = "name.ResolvedPath", rename_all = "PascalCase")]
pub(super) struct ResolvedPath {
    pub(super) path: String,
}

impl Value for ResolvedPath {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{}\n", self.path)))
    }
}

/// `resolve`.
pub(super) async fn resolve(mut request: Request) -> Result<Reply, Error> {
    let name = request.next_arg().await?.unwrap_or_default();
    // A URI is looked at as the path that it stands for.
    let name = Path::parse_uri(&name).map_or(name, |path| path.text().to_owned());
    if name.starts_with("/ipns/") && !request.options.bool("recursive") {
        let path = request.node.resolve_name(&name, &follow(&request)?).await?;
        return Ok(Reply::one(ResolvedPath { path }));
    }
    let is_base_given = !request.options.string("cid-base").is_empty();
    let own_base = match is_base_given || name.starts_with("/ipns/") {
        true => None,
        false => CidEncoder::of_path(&name),
    };
    let encoder = own_base.map_or_else(|| request.cid_encoder(), Ok)?;
    let resolved = request.resolve(&name).await?;
    let mut path = format!("/{}/{}", resolved.namespace.as_str(), encoder.encode(&resolved.cid));
    for segment in &resolved.remainder {
        path.push('/');
        path.push_str(segment);
    }
    Ok(Reply::one(ResolvedPath { path }))
}
