//! Names that this node has published stay known: their records are signed anew and handed out
//! again before they end, as long as the key is here.
//!
//! Owns no state. A record keeps its sequence number, so a crash in the middle leaves records of
//! which some end later than others.

use std::future::Future;
use std::time::Duration;

use time::OffsetDateTime;

use super::names::LIFETIME_NANOS;
use super::records::Publication;
use super::{Error, Node};
use crate::ipns::Name;
use crate::repo::Key;

/// Kubo's `Ipns.RepublishPeriod`.
const PERIOD: Duration = Duration::from_secs(4 * 3600);
/// After the start, peers come first.
const FIRST_DELAY: Duration = Duration::from_secs(60);
/// When a record could not be made, which a full disk may be the reason of.
const RETRY: Duration = Duration::from_secs(300);

/// The task that publishes again.
#[derive(Debug)]
pub(super) struct Service {
    node: Node,
    period: Duration,
    lifetime: time::Duration,
}

impl Service {
    pub(super) fn new(node: Node) -> Self {
        let config = node.config();
        let period = config.nanos("Ipns.RepublishPeriod").and_then(|nanos| nanos.try_into().ok());
        let lifetime = config.nanos("Ipns.RecordLifetime").filter(|nanos| *nanos > 0);
        Self {
            period: period.filter(|nanos| *nanos > 0).map_or(PERIOD, Duration::from_nanos),
            lifetime: time::Duration::nanoseconds(lifetime.unwrap_or(LIFETIME_NANOS)),
            node,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut delay = self.period.min(FIRST_DELAY);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(delay) => {}
            }
            let round = tokio::select! {
                () = &mut stop => return,
                round = self.publish_all() => round,
            };
            delay = match round {
                Ok(()) => self.period,
                Err(error) => {
                    tracing::warn!("names could not be published again: {error}");
                    self.period.min(RETRY)
                }
            };
        }
    }

    async fn publish_all(&self) -> Result<(), Error> {
        let own = self.node.identity().key().clone();
        let mut keys = vec![own];
        keys.extend(self.node.stored_keys().await?);
        for key in &keys {
            self.publish(key).await?;
        }
        Ok(())
    }

    /// Publishes again what this key has published.
    async fn publish(&self, key: &Key) -> Result<(), Error> {
        let name = Name::of(key.peer_id());
        let Some(last) = self.node.records().published(&name)? else { return Ok(()) };
        let now = OffsetDateTime::now_utc();
        let validity = last.validity().map_err(Error::failed)?.max(now + self.lifetime);
        let publication = Publication {
            key: key.keypair().clone(),
            value: last.value().map_err(Error::failed)?.text().to_owned(),
            validity,
            ttl_nanos: last.ttl_nanos().map_err(Error::failed)?,
            v1: last.signature_type() == crate::ipns::SignatureType::V1V2,
            sequence: None,
        };
        let record = self.node.records().publish(publication, None, now).await?;
        self.node.announce(&name, &record).await;
        Ok(())
    }
}
