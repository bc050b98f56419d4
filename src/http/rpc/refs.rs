//! `refs`, `refs/local` and `repo/ls`: kubo `core/commands/refs.go`.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::call::CidEncoder;
use super::query::lossy;
use super::{Error, Reply, Request, Value};
use crate::node::refs::{Ref, RefEvent, Refs};

/// `RefWrapper`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RefWrapper {
    r#ref: String,
    err: String,
}

impl Value for RefWrapper {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(if self.err.is_empty() {
            Ok(format!("{}\n", self.r#ref))
        } else {
            Err(Error::new(self.err.clone()))
        })
    }
}

impl RefWrapper {
    fn found(r#ref: String) -> Self {
        Self { r#ref, err: String::new() }
    }
}

/// How a link is written.
struct Format {
    text: String,
    encoder: CidEncoder,
}

impl Format {
    fn apply(&self, link: &Ref) -> String {
        if matches!(self.text.as_str(), "" | "<dst>") {
            return self.encoder.encode(&link.to);
        }
        // One after the other, as in Kubo: what a replacement holds may be replaced again.
        let text = self.text.replace("<src>", &self.encoder.encode(&link.from));
        let text = text.replace("<dst>", &self.encoder.encode(&link.to));
        text.replace("<linkname>", &lossy(&link.name))
    }
}

/// `refs`.
pub(super) async fn refs(mut request: Request) -> Result<Reply, Error> {
    let paths = request.all_args().await?;
    let encoder = request.cid_encoder()?;
    let mut text = request.options.string("format").to_owned();
    if request.options.bool("edges") {
        if text != "<dst>" {
            return Err(Error::new("using format argument with edges is not allowed"));
        }
        "<src> -> <dst>".clone_into(&mut text);
    }
    let depth_max = match request.options.bool("recursive") {
        true => u32::try_from(request.options.int("max-depth")).ok(),
        false => Some(1),
    };
    let unique = request.options.bool("unique");
    let refs = Refs { unique, depth_max, names: text.contains("<linkname>") };
    let mut roots = Vec::with_capacity(paths.len());
    for path in &paths {
        roots.push(request.resolve(path).await?.cid);
    }
    // What the deadline cuts off is said in the answer, like every error from here on.
    let due = request.deadline.take_over();
    let format = Format { text, encoder };
    let events = request.node.refs(roots, refs, request.reach(), due);
    let values = events.flat_map(move |event| {
        let values: Vec<RefWrapper> = match event {
            RefEvent::Links(links) => {
                links.iter().map(|link| RefWrapper::found(format.apply(link))).collect()
            }
            RefEvent::Failed(error) => {
                vec![RefWrapper { r#ref: String::new(), err: error.to_string() }]
            }
        };
        stream::iter(values.into_iter().map(Ok))
    });
    Ok(Reply::many(values))
}

/// `refs/local`, and `repo/ls`, which is the same.
pub(super) async fn local(request: Request) -> Result<Reply, Error> {
    let encoder = request.cid_encoder()?;
    let slices = request.node.local_refs();
    let values = slices.flat_map(move |slice| {
        let values: Vec<Result<RefWrapper, Error>> = match slice {
            Ok(cids) => cids.iter().map(|cid| Ok(RefWrapper::found(encoder.encode(cid)))).collect(),
            Err(error) => vec![Err(error.into())],
        };
        stream::iter(values)
    });
    Ok(Reply::many(values))
}
