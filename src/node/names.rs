//! IPNS: publishing under a key, finding out what a name points at, and records as such.
//!
//! Joins the keystore, the records that are kept, and the routing system. A domain has a DNSLink
//! only where there is a DNS to ask; a node of a private network has none.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use super::keys::NamedKey;
use super::records::{Publication, Records};
use super::resolve::{ResolveError, unresolvable};
use super::{Error, Node, Reach};
use crate::ipld::path::{Namespace, Path, Root};
use crate::ipns::{Name, RECORD_BYTES_MAX, Record};
use crate::net;

/// How many names may lead to one another: boxo's limit.
const DEPTH_MAX: usize = 32;
/// Names that are followed at once.
const SUBSCRIPTIONS_MAX: usize = 1024;
/// How long a record is valid when nobody says.
pub const LIFETIME_NANOS: i64 = 48 * 3600 * 1_000_000_000;
/// How long it may be kept without asking again.
pub const TTL_NANOS: i64 = 5 * 60 * 1_000_000_000;
/// Names and paths for tests, as Kubo reads them: `name:path`, separated by commas.
const STATIC_NAMES: &str = "IPFS_NS_MAP";

/// What to publish, and how.
#[derive(Debug, Clone)]
pub struct Publish {
    /// What the name is to point at.
    pub path: String,
    /// The name of the key, or its peer ID.
    pub key: String,
    /// Whether the path must lead somewhere.
    pub resolve: bool,
    /// How long the record is valid, in nanoseconds.
    pub lifetime_nanos: i64,
    /// How long it may be kept without asking again, in nanoseconds.
    pub ttl_nanos: i64,
    /// Whether readers of before 2021 are to understand it.
    pub v1: bool,
    /// Whether it may be kept here alone.
    pub allow_offline: bool,
    /// Whether HTTP publishers will do.
    pub allow_delegated: bool,
    /// Instead of the sequence number that follows.
    pub sequence: Option<u64>,
}

/// A record that somebody else has signed.
#[derive(Debug, Clone)]
pub struct PutRecord {
    /// The name, with or without `/ipns/`.
    pub name: String,
    /// The record.
    pub record: Vec<u8>,
    /// Whether it is handed on whatever it is.
    pub force: bool,
    /// Whether it may be kept here alone.
    pub allow_offline: bool,
    /// Whether HTTP publishers will do.
    pub allow_delegated: bool,
}

/// How far a name is followed, and how long.
#[derive(Debug, Clone)]
pub struct Follow {
    /// Whether a name that points at a name is followed on.
    pub recursive: bool,
    /// How many copies of a record are enough.
    pub records: usize,
    /// How long to collect them; none is for ever.
    pub time_max: Option<Duration>,
}

impl Default for Follow {
    fn default() -> Self {
        Self { recursive: true, records: 16, time_max: Some(Duration::from_secs(60)) }
    }
}

/// What a running node knows of names beside their records.
#[derive(Debug, Default)]
pub struct State {
    /// The names that are followed over pubsub; `None` when none are.
    subscriptions: Option<Mutex<BTreeSet<Name>>>,
}

impl State {
    /// Nothing yet; `pubsub` tells whether names are followed over pubsub.
    #[must_use]
    pub fn new(pubsub: bool) -> Self {
        Self { subscriptions: pubsub.then(Mutex::default) }
    }

    /// The names that are followed. No code panics with the lock held, nor awaits.
    fn subscriptions(&self) -> Option<MutexGuard<'_, BTreeSet<Name>>> {
        let names = self.subscriptions.as_ref()?;
        Some(names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Node {
    /// The names that are followed over pubsub, each as a key without a name; `None` when pubsub is
    /// off for names.
    #[must_use]
    pub fn name_subscriptions(&self) -> Option<Vec<NamedKey>> {
        let names = self.0.names.subscriptions()?;
        Some(names.iter().filter_map(|name| NamedKey::new("", &name.peer()).ok()).collect())
    }

    /// Follows a name no longer; whether it was.
    ///
    /// # Errors
    /// When it is no name.
    pub fn cancel_name_subscription(&self, name: &str) -> Result<bool, Error> {
        let name = parse_name(name)?;
        Ok(self.0.names.subscriptions().is_some_and(|mut names| names.remove(&name)))
    }

    /// Follows a name that was asked for, as Kubo does.
    fn subscribe_name(&self, name: &Name) {
        let Some(mut names) = self.0.names.subscriptions() else { return };
        if names.len() < SUBSCRIPTIONS_MAX {
            names.insert(*name);
        }
    }

    pub(super) fn records(&self) -> Records {
        Records::new(self.db().clone())
    }

    /// Signs a record and gives it to the routing system; gives back the name, and the path as it
    /// stands in the record.
    ///
    /// # Errors
    /// With Kubo's texts, when there is no such key, or the path leads nowhere.
    pub async fn publish(&self, publish: Publish, reach: Reach) -> Result<(String, String), Error> {
        let path = Path::parse(&publish.path).map_err(ResolveError::from)?;
        if publish.resolve {
            let resolved = self.resolve(&path).await?;
            self.get_block(&resolved.cid, reach).await?;
        }
        if publish.allow_delegated {
            self.check_delegated()?;
        } else if !self.is_online() && !publish.allow_offline {
            return Err(Error::failed(
                "can't publish while offline: pass `--allow-offline` to override or \
                 `--allow-delegated` if Ipns.DelegatedPublishers are set up",
            ));
        }
        let key = self.private_key(publish.key).await?;
        let name = Name::of(key.peer_id());
        let known = match self.records().published(&name)? {
            Some(_) => None,
            None => self.look_up(&name, &Follow::default()).await?,
        };
        let now = OffsetDateTime::now_utc();
        let publication = Publication {
            key: key.keypair().clone(),
            value: path.text().to_owned(),
            validity: now + time::Duration::nanoseconds(publish.lifetime_nanos),
            ttl_nanos: publish.ttl_nanos,
            v1: publish.v1,
            sequence: publish.sequence,
        };
        let record = self.records().publish(publication, known, now).await?;
        self.announce(&name, &record).await;
        Ok((name.to_string(), path.text().to_owned()))
    }

    fn check_delegated(&self) -> Result<(), Error> {
        if self.config().texts("Ipns.DelegatedPublishers").is_empty() {
            return Err(Error::failed(
                "no delegated publishers configured: add Ipns.DelegatedPublishers or use \
                 --allow-offline for local-only publishing",
            ));
        }
        Err(Error::failed(
            "pinmesh publishes to its network alone: it has no HTTP publishers, whatever \
             Ipns.DelegatedPublishers says",
        ))
    }

    /// Hands a record to the other nodes. As in Kubo, it is no error when nobody takes it.
    pub(super) async fn announce(&self, name: &Name, record: &Record) {
        let Some(network) = self.network().filter(|network| network.can_look_up()) else {
            return;
        };
        if !network.put_value(name.routing_key(), record.bytes().to_vec()).await {
            tracing::debug!(%name, "nobody took the record");
        }
    }

    /// What a name points at: a path of IPFS, or of IPNS when `follow` says to take one step.
    ///
    /// # Errors
    /// With Kubo's texts, when it is no name or points at nothing.
    pub async fn resolve_name(&self, name: &str, follow: &Follow) -> Result<String, Error> {
        let path = match Path::parse_uri(name) {
            Ok(path) => path,
            Err(error) if name.starts_with('/') => return Err(ResolveError::from(error).into()),
            Err(_) => Path::parse_plain(&format!("/ipns/{name}")).map_err(ResolveError::from)?,
        };
        if path.namespace() != Namespace::Ipns {
            let name = crate::ipld::quote::quote(name);
            return Err(Error::failed(format!("{name} is not an IPNS name")));
        }
        Ok(self.follow(&path, follow).await?.text().to_owned())
    }

    /// The path that cannot change at the end of a path of names; any other is given back as it is.
    pub(super) async fn immutable(&self, path: &Path) -> Result<Path, Error> {
        if path.is_mutable() {
            self.follow(path, &Follow::default()).await
        } else {
            Ok(path.clone())
        }
    }

    async fn follow(&self, path: &Path, follow: &Follow) -> Result<Path, Error> {
        let mut path = path.clone();
        for _ in 0..DEPTH_MAX {
            path = self.step(&path, follow).await?;
            if !path.is_mutable() || !follow.recursive {
                return Ok(path);
            }
        }
        Err(Error::failed("could not resolve name (recursion limit exceeded)"))
    }

    /// One name further.
    async fn step(&self, path: &Path, follow: &Follow) -> Result<Path, Error> {
        let Root::Name(name) = path.root() else { return Ok(path.clone()) };
        let target = match static_target(name) {
            Some(target) => target,
            None => {
                let Ok(peer) = net::parse_peer_id(name) else {
                    return Err(unresolvable(name).into());
                };
                let found = self.look_up(&Name::of(peer), follow).await?;
                let record = found.ok_or(ResolveError::Name)?;
                record.value().map_err(Error::failed)?
            }
        };
        let mut rest = path.segments().to_vec();
        if path.text().ends_with('/') {
            rest.push(String::new());
        }
        Ok(target.join(&rest).map_err(ResolveError::from)?)
    }

    /// The best valid record of a name, here or at other nodes.
    async fn look_up(&self, name: &Name, follow: &Follow) -> Result<Option<Record>, Error> {
        self.subscribe_name(name);
        let network = self.network().filter(|network| network.can_look_up());
        // What this node has published itself is the newest there is.
        if let Some(network) = network
            && self.records().published(name)?.is_none()
        {
            let search = network.find_values(name.routing_key(), follow.records);
            let found = match follow.time_max {
                Some(limit) => tokio::time::timeout(limit, search).await.unwrap_or_default(),
                None => search.await,
            };
            for bytes in found {
                let Ok(record) = Record::decode(&bytes) else { continue };
                // Whoever sends what is not valid, or is older, changes nothing.
                self.records().offer(*name, record, OffsetDateTime::now_utc()).await?;
            }
        }
        self.records().best(name, OffsetDateTime::now_utc())
    }

    /// The record of a routing key: `/ipns/<name>`.
    ///
    /// # Errors
    /// With Kubo's texts, when there is none, or the node is offline.
    pub async fn routing_record(&self, key: &str) -> Result<Bytes, Error> {
        if !self.is_online() {
            return Err(Error::ActionOffline);
        }
        let not_found = || Error::failed("routing: not found");
        match routing_key(key)? {
            Key::Name(name) => {
                let found = self.look_up(&name, &Follow::default()).await?;
                Ok(found.ok_or_else(not_found)?.bytes().clone())
            }
            // Nobody here needs the public keys that Go's nodes keep under their hash.
            Key::PublicKey => Err(not_found()),
        }
    }

    /// Gives a record to the routing system. As in Kubo, a record that the routing system refuses
    /// is no error.
    ///
    /// # Errors
    /// With Kubo's texts, when the key is none, or the node is offline and may not be.
    pub async fn put_routing_record(
        &self,
        key: &str,
        record: Vec<u8>,
        allow_offline: bool,
    ) -> Result<(), Error> {
        if !self.is_online() && !allow_offline {
            return Err(Error::ActionOffline);
        }
        let Key::Name(name) = routing_key(key)? else { return Ok(()) };
        let Ok(record) = Record::decode(&record.into()) else { return Ok(()) };
        let now = OffsetDateTime::now_utc();
        if record.validate(&name, now).is_ok() {
            self.records().offer(name, record.clone(), now).await?;
            self.announce(&name, &record).await;
        }
        Ok(())
    }

    /// The name in a text with or without `/ipns/`, as a key without a name.
    ///
    /// # Errors
    /// When it is none.
    pub fn ipns_name(text: &str) -> Result<NamedKey, Error> {
        NamedKey::new("", &parse_name(text)?.peer())
    }

    /// Takes over a record that was signed elsewhere; gives back the name and what it points at.
    ///
    /// # Errors
    /// With Kubo's texts, when it is not valid, or not newer than what is known.
    pub async fn put_name_record(&self, put: PutRecord) -> Result<(String, String), Error> {
        if put.allow_delegated {
            self.check_delegated()?;
        }
        let text = put.name.strip_prefix("/ipns/").unwrap_or(&put.name);
        let key = format!("/ipns/{text}");
        let name = parse_name(text)
            .map_err(|error| Error::failed(format!("invalid IPNS name: {error}")))?;
        if put.record.is_empty() {
            return Err(Error::failed("record is empty"));
        }
        if !put.force {
            self.check_put(&key, &name, &put.record).await?;
        }
        let bytes = Bytes::from(put.record);
        let record = Record::decode(&bytes);
        self.put_routing_record(&key, bytes.to_vec(), put.allow_offline).await?;
        let value = record.and_then(|record| record.value());
        Ok((name.to_string(), value.map(|path| path.text().to_owned()).unwrap_or_default()))
    }

    async fn check_put(&self, key: &str, name: &Name, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Error::failed(format!(
                "record exceeds maximum size of {RECORD_BYTES_MAX} bytes, use --force to skip size \
                 check"
            )));
        }
        let record = Record::decode(&Bytes::copy_from_slice(bytes))
            .map_err(|error| Error::failed(format!("invalid IPNS record: {error}")))?;
        record
            .validate(name, OffsetDateTime::now_utc())
            .map_err(|error| Error::failed(format!("record validation failed: {error}")))?;
        let Ok(known) = self.routing_record(key).await else { return Ok(()) };
        if known == bytes {
            return Ok(());
        }
        let known = Record::decode(&known).and_then(|known| known.sequence());
        match (known, record.sequence()) {
            (Ok(known), Ok(new)) if known >= new => Err(Error::failed(format!(
                "existing IPNS record has sequence {known} >= new record sequence {new}, use \
                 'ipfs name put --force' to skip this check"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether a record is one of this name, and still valid; gives back the name too.
    ///
    /// # Errors
    /// When `name` is none.
    pub fn verify_record(
        &self,
        record: &Record,
        name: &str,
    ) -> Result<(String, Result<(), String>), Error> {
        let name = parse_name(name)?;
        let valid = record.validate(&name, OffsetDateTime::now_utc());
        Ok((name.to_string(), valid.map_err(|error| error.to_string())))
    }
}

/// A key of the routing system that users may name.
enum Key {
    Name(Name),
    PublicKey,
}

fn routing_key(text: &str) -> Result<Key, Error> {
    let parts: Vec<&str> = text.split('/').collect();
    let &["", kind @ ("ipns" | "pk"), name] = parts.as_slice() else {
        return Err(Error::failed("invalid key"));
    };
    let peer = net::parse_peer_id(name).map_err(Error::failed)?;
    Ok(if kind == "ipns" { Key::Name(Name::of(peer)) } else { Key::PublicKey })
}

fn parse_name(text: &str) -> Result<Name, Error> {
    let name = text.strip_prefix("/ipns/").unwrap_or(text);
    net::parse_peer_id(name).map(Name::of).map_err(Error::failed)
}

/// What `IPFS_NS_MAP` says of a name.
fn static_target(name: &str) -> Option<Path> {
    let map = std::env::var(STATIC_NAMES).ok()?;
    let pair = map.split(',').filter_map(|pair| pair.split_once(':')).find(|(key, _)| *key == name);
    Path::parse_plain(pair?.1).ok()
}
