//! `ping`: kubo core/commands/ping.go.

use futures_util::StreamExt as _;
use serde::Serialize;

use super::{Error, Reply, Request, Value};
use crate::node::ping::PingEvent;

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

impl From<PingEvent> for PingResult {
    fn from(event: PingEvent) -> Self {
        let says = |success, text| Self { success, time: 0, text };
        match event {
            PingEvent::LookingUp(peer) => says(true, format!("Looking up peer {peer}")),
            PingEvent::Started(peer) => says(true, format!("PING {peer}.")),
            PingEvent::Pong(took) => {
                let time = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
                Self { success: true, time, text: String::new() }
            }
            PingEvent::Failed(error) => says(false, format!("Ping error: {error}")),
            PingEvent::Average(took) => {
                says(true, format!("Average latency: {:.2}ms", took.as_secs_f64() * 1000.0))
            }
        }
    }
}

/// `ping`.
pub(super) async fn ping(mut request: Request) -> Result<Reply, Error> {
    request.node.require_online()?;
    let peer = request.next_arg().await?.unwrap_or_default();
    let target = request.node.ping_target(&peer)?;
    let count = request.options.int("count");
    let positive = u64::try_from(count).ok().filter(|count| *count > 0);
    let Some(count) = positive else {
        return Err(Error::new(format!("ping count must be greater than 0, was {count}")));
    };
    let results = request.node.ping(target, count);
    Ok(Reply::many(results.map(|event| Ok(PingResult::from(event?)))))
}
