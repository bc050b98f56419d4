//! `ping`: kubo core/commands/ping.go.

use serde::Serialize;

use super::{Error, Reply, Request, Value};

#[derive(Debug, Serialize)]
#[serde(rename = "PingResult", rename_all = "PascalCase")]
struct PingResult {
    success: bool,
    time: i64,
    text: String,
}

impl Value for PingResult {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(match (self.text.is_empty(), self.success) {
            (false, _) => format!("{}\n", self.text),
            #[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
            (true, true) => format!("Pong received: time={:.2} ms\n", self.time as f64 / 1e6),
            (true, false) => "Pong failed\n".to_owned(),
        }))
    }
}

/// `ping`: without peers, a peer is looked up in vain.
pub(super) async fn ping(mut request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    let peer = request.next_arg().await?.unwrap_or_default();
    let target = request.node.ping_target(&peer)?;
    let count = request.options.int("count");
    if count <= 0 {
        return Err(Error::new(format!("ping count must be greater than 0, was {count}")));
    }
    let says = |success, text| PingResult { success, time: 0, text };
    let results = if target.has_address() {
        vec![
            Ok(says(true, format!("PING {}.", target.id()))),
            Ok(says(false, "Ping error: this version of pinmesh speaks no libp2p".to_owned())),
            Err(Error::new("ping failed")),
        ]
    } else {
        vec![
            Ok(says(true, format!("Looking up peer {}", target.id()))),
            Err(Error::new("peer lookup failed: routing: not found")),
        ]
    };
    Ok(Reply::many(futures_util::stream::iter(results)))
}
