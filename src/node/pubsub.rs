//! Publish and subscribe, for those who have asked for it.
//!
//! The network does it; what is here decides whether it is set up, and how.

use std::time::Duration;

use super::{Error, Node};
use crate::config::Config;
use crate::ipld::quote::quote;
use crate::net::{GossipOptions, Network, OWN_PROTOCOLS, PeerId};

pub use crate::net::{Message, Subscription};

/// What Kubo says when nobody has (`core/coreapi/pubsub.go`).
const DISABLED: &str = "experimental pubsub feature not enabled, run daemon with \
                        --enable-pubsub-experiment to use";

/// How long go-libp2p-pubsub remembers a message (`TimeCacheDuration`).
const SEEN_TTL: Duration = Duration::from_secs(120);

/// Flags of the daemon that come before the config's words.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// `--enable-pubsub-experiment`, before `Pubsub.Enabled`.
    pub(super) pubsub: Option<bool>,
    /// `--enable-namesys-pubsub`, before `Ipns.UsePubsub`.
    pub(super) ipns: Option<bool>,
}

/// How publish and subscribe is set up; `None` when it is not (kubo `core/node/groups.go`).
///
/// # Errors
/// For a `Pubsub` section that Kubo refuses too.
pub(super) fn options(config: &Config, flags: Flags) -> Result<Option<GossipOptions>, Error> {
    let is_on = |flag: Option<bool>, path| flag.or_else(|| config.flag(path)).unwrap_or(false);
    if !is_on(flags.pubsub, "Pubsub.Enabled") && !is_on(flags.ipns, "Ipns.UsePubsub") {
        return Ok(None);
    }
    match config.text("Pubsub.SeenMessagesStrategy").unwrap_or_default() {
        "" | "last-seen" | "first-seen" => {}
        other => {
            let quoted = quote(other);
            return Err(Error::failed(format!("unsupported Pubsub.SeenMessagesStrategy {quoted}")));
        }
    }
    match config.text("Pubsub.Router").unwrap_or_default() {
        "" | "gossipsub" | "floodsub" => {}
        other => return Err(Error::failed(format!("unknown pubsub router {other}"))),
    }
    if config.flag("Pubsub.DisableSigning") == Some(true) {
        tracing::warn!("Pubsub.DisableSigning has no effect: messages are always signed");
    }
    let ttl = config.nanos("Pubsub.SeenMessagesTTL").and_then(|nanos| u64::try_from(nanos).ok());
    Ok(Some(GossipOptions { seen_ttl: ttl.map_or(SEEN_TTL, Duration::from_nanos) }))
}

/// How it is set up where only members gossip, of their pins.
pub(super) fn of_members() -> GossipOptions {
    GossipOptions { seen_ttl: SEEN_TTL }
}

impl Node {
    fn gossip(&self) -> Result<&Network, Error> {
        let network = self.network().filter(|_| self.0.has_pubsub);
        network.ok_or_else(|| Error::failed(DISABLED))
    }

    /// Listens to a topic.
    ///
    /// # Errors
    /// When publish and subscribe is not enabled.
    pub async fn subscribe(&self, topic: String) -> Result<Subscription, Error> {
        self.gossip()?.subscribe(topic).await.map_err(Error::failed)
    }

    /// Says something on a topic. That nobody listens is no error.
    ///
    /// # Errors
    /// When publish and subscribe is not enabled, or the message cannot be sent.
    pub async fn publish_message(&self, topic: String, data: Vec<u8>) -> Result<(), Error> {
        self.gossip()?.publish(topic, data).await.map_err(Error::failed)
    }

    /// The topics that this node listens to.
    ///
    /// # Errors
    /// When publish and subscribe is not enabled.
    pub async fn topics(&self) -> Result<Vec<String>, Error> {
        let mut topics = self.gossip()?.topics().await.map_err(Error::failed)?;
        topics.retain(|topic| !topic.starts_with(OWN_PROTOCOLS));
        Ok(topics)
    }

    /// The peers that listen to `topic`, or to anything; sorted.
    ///
    /// # Errors
    /// When publish and subscribe is not enabled.
    pub async fn topic_peers(&self, topic: Option<String>) -> Result<Vec<String>, Error> {
        let peers = self.gossip()?.topic_peers(topic).await.map_err(Error::failed)?;
        let mut peers: Vec<String> = peers.iter().map(PeerId::to_string).collect();
        peers.sort();
        Ok(peers)
    }

    /// Forgets which messages of `author`, or of everybody, have been seen; tells of how many
    /// authors something was known: of none where publish and subscribe is not enabled.
    ///
    /// # Errors
    /// When `author` is no peer ID.
    pub async fn forget_messages(&self, author: Option<&str>) -> Result<usize, Error> {
        let author = author.map(crate::net::parse_peer_id).transpose();
        let author = author.map_err(|error| Error::failed(format!("invalid peer ID: {error}")))?;
        match self.gossip() {
            Ok(network) => network.forget_seen(author).await.map_err(Error::failed),
            Err(_) => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(changes: &[(&str, serde_json::Value)]) -> Config {
        Config::fresh("", "").unwrap().with(changes).unwrap()
    }

    fn is_on(config: &Config, flags: Flags) -> bool {
        options(config, flags).unwrap().is_some()
    }

    #[test]
    fn a_flag_comes_before_the_config_and_ipns_needs_it_too() {
        let (off, on) = (with(&[]), with(&[("Pubsub.Enabled", json!(true))]));
        assert!(!is_on(&off, Flags::default()));
        assert!(is_on(&on, Flags::default()));
        assert!(is_on(&off, Flags { pubsub: Some(true), ipns: None }));
        assert!(!is_on(&on, Flags { pubsub: Some(false), ipns: None }));
        assert!(is_on(&off, Flags { pubsub: None, ipns: Some(true) }));
        assert!(is_on(&with(&[("Ipns.UsePubsub", json!(true))]), Flags::default()));
    }

    #[test]
    fn the_section_is_checked_as_kubo_does_when_it_is_used() {
        for (key, value, error) in [
            ("Pubsub.Router", "smokesignals", "unknown pubsub router smokesignals"),
            (
                "Pubsub.SeenMessagesStrategy",
                "never-seen",
                "unsupported Pubsub.SeenMessagesStrategy \"never-seen\"",
            ),
        ] {
            let config = with(&[(key, json!(value))]);
            assert!(!is_on(&config, Flags::default()));
            let used = options(&config, Flags { pubsub: Some(true), ipns: None });
            assert_eq!(used.unwrap_err().to_string(), error);
        }
        let config =
            with(&[("Pubsub.Enabled", json!(true)), ("Pubsub.SeenMessagesTTL", json!("5s"))]);
        let ttl = options(&config, Flags::default()).unwrap().unwrap().seen_ttl;
        assert_eq!(ttl, Duration::from_secs(5));
    }
}
