//! The config as clients read and change it: `config/*`, `bootstrap/*`.
//!
//! Changes are in the file before they are acknowledged, and in force for whoever asks the node
//! for its config after that; addresses and the like take a restart. File work runs off the async
//! workers, because it waits for the disk.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Error, Node};
use crate::config::{self, AUTO, Config};
use crate::ipld::quote::quote;
use crate::net;

/// What a peer is given as to stand for the peers of the AutoConf service.
const DEFAULT: &str = "default";

/// Why `auto` cannot be added.
const AUTOCONF_OFF: &str = "cannot add default bootstrap peers: AutoConf is disabled \
     (AutoConf.Enabled=false). Enable AutoConf by setting AutoConf.Enabled=true in your config, or \
     add specific peer addresses instead";

/// Why a peer cannot be removed beside `auto`.
const AUTO_IS_MANAGED: &str = "cannot remove individual bootstrap peers when using 'auto' \
     placeholder: the 'auto' value is managed by AutoConf. Either disable AutoConf by setting \
     AutoConf.Enabled=false and replace 'auto' with specific peer addresses, or use 'ipfs \
     bootstrap rm --all' to remove all peers";

/// A config before and after a profile.
#[derive(Debug, Clone)]
pub struct ProfileChange {
    /// Before.
    pub old: Value,
    /// After.
    pub new: Value,
}

impl Node {
    /// Runs `work` where it may wait for the disk.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let node = self.clone();
        tokio::task::spawn_blocking(move || work(&node)).await.map_err(Error::failed)?
    }

    /// The value at `key` of the config file.
    ///
    /// # Errors
    /// With Kubo's text, when there is none.
    pub async fn setting(&self, key: String, expand_auto: bool) -> Result<Value, Error> {
        self.on_disk(move |node| {
            let file = node.repo().config_file()?;
            let value = value_at(&file, &key)?;
            Ok(if expand_auto { expanded(&node.config(), &key, value) } else { value })
        })
        .await
    }

    /// Sets `key` of the config file; gives back what stands there then.
    ///
    /// # Errors
    /// With Kubo's text, when key or value does not fit.
    pub async fn change_setting(&self, key: String, value: Value) -> Result<Value, Error> {
        self.on_disk(move |node| {
            let value = if key.eq_ignore_ascii_case("identity.peerid") {
                node.own_peer_id(&value)?
            } else {
                value
            };
            node.repo().set_config_key(&key, value).map_err(|error| {
                Error::failed(format!("failed to set config value: {error} (maybe use --json?)"))
            })?;
            value_at(&node.repo().config_file()?, &key)
        })
        .await
    }

    /// Checks that `value` is the peer id of this node, in whatever form.
    fn own_peer_id(&self, value: &Value) -> Result<Value, Error> {
        let own = self.repo().identity()?.peer_id();
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match net::parse_peer_id(&text) {
            Ok(id) if id == own => Ok(Value::String(own.to_base58())),
            _ => Err(Error::failed(
                "cannot set Identity.PeerID to a value that does not match the node's private key; \
                 use 'ipfs key rotate' to change the node identity",
            )),
        }
    }

    /// The config file, or the one called `name`, without secrets.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn shown_config(
        &self,
        name: Option<String>,
        expand_auto: bool,
    ) -> Result<Value, Error> {
        self.on_disk(move |node| {
            let mut file = match name.filter(|name| !name.is_empty()) {
                Some(name) => node.repo().config_file_named(&name)?,
                None => node.repo().config_file()?,
            };
            if expand_auto {
                let config = Config::decode(&file)?;
                for key in AUTO_KEYS {
                    if let Ok(value) = config::get_key(&file, key).cloned() {
                        put(&mut file, key, expanded(&config, key, value));
                    }
                }
            }
            Ok(config::scrub(&file))
        })
        .await
    }

    /// Replaces the config; the key pair stays.
    ///
    /// # Errors
    /// With Kubo's text, when `json` is no config, or changes what it must not.
    pub async fn replace_config(&self, json: Vec<u8>) -> Result<(), Error> {
        self.on_disk(move |node| {
            let bad = || Error::failed("failed to decode file as config");
            let mut values = serde_json::Deserializer::from_slice(&json).into_iter::<Value>();
            let value = values.next().and_then(Result::ok).ok_or_else(bad)?;
            let config = Config::decode(&value).map_err(|_| bad())?;
            if !config.private_key().is_empty() {
                return Err(Error::failed("setting private key with API is not supported"));
            }
            let file = node.repo().config_file()?;
            let services = replaced_services(&config, &file)?;
            let identity = node.repo().identity()?;
            let key = value_at(&file, "Identity.PrivKey")?;
            let config = config.with(&[
                ("Identity.PeerID", json!(identity.peer_id().to_base58())),
                ("Identity.PrivKey", key),
                ("Pinning.RemoteServices", services),
            ])?;
            Ok(node.repo().set_config(config)?)
        })
        .await
    }

    /// Changes the config as a profile says; with `dry_run` only says what it would be.
    ///
    /// # Errors
    /// When there is no such profile, or the file cannot be written.
    pub async fn apply_profile(&self, name: String, dry_run: bool) -> Result<ProfileChange, Error> {
        self.on_disk(move |node| {
            let old = node.config();
            let new = old.with_profile(&name)?;
            let change = ProfileChange {
                old: config::scrub_sections(old.as_json()),
                new: config::scrub_sections(new.as_json()),
            };
            if !dry_run {
                node.repo().backup_config(&format!("pre-{name}-"))?;
                node.repo().set_config(new)?;
            }
            Ok(change)
        })
        .await
    }

    /// The bootstrap peers of the config; `None` when there is no list.
    #[must_use]
    pub fn bootstrap(&self, expand_auto: bool) -> Option<Vec<String>> {
        let config = self.config();
        if expand_auto {
            let peers = config.bootstrap().into_iter().filter(|peer| peer != AUTO);
            let peers: Vec<String> = peers.collect();
            return (!peers.is_empty()).then_some(peers);
        }
        (!config.value("Bootstrap").is_null()).then(|| config.bootstrap())
    }

    /// Puts peers before the others of the list; gives back those that were given, once each.
    ///
    /// # Errors
    /// When one is no address of a peer.
    pub async fn add_bootstrap(&self, peers: Vec<String>) -> Result<Vec<String>, Error> {
        if peers.is_empty() {
            return Err(Error::failed("no bootstrap peers to add"));
        }
        let peers: Vec<String> = peers
            .into_iter()
            .map(|peer| if peer == DEFAULT { AUTO.to_owned() } else { peer })
            .collect();
        self.on_disk(move |node| {
            let config = node.config();
            if peers.iter().any(|peer| peer == AUTO) && !config.is_autoconf_enabled() {
                return Err(Error::failed(AUTOCONF_OFF));
            }
            peers.iter().filter(|peer| *peer != AUTO).try_for_each(|peer| check_bootstrap(peer))?;
            let added = unique(peers);
            let all = unique(added.iter().cloned().chain(config.bootstrap()));
            node.set_bootstrap(&config, json!(all))?;
            Ok(added)
        })
        .await
    }

    /// Removes peers, or single addresses of them; gives back what was removed.
    ///
    /// # Errors
    /// When one is no address of a peer, or the list is managed by AutoConf.
    pub async fn remove_bootstrap(&self, peers: Vec<String>) -> Result<Vec<String>, Error> {
        self.on_disk(move |node| {
            let config = node.config();
            let current = config.bootstrap();
            if current.iter().any(|peer| peer == AUTO) && config.is_autoconf_enabled() {
                return Err(Error::failed(AUTO_IS_MANAGED));
            }
            let unwanted = by_peer(&peers)?;
            let mut removed = Vec::new();
            let mut kept = Vec::new();
            for (peer, addresses) in by_peer(&current)? {
                let gone = unwanted.iter().find(|(id, _)| *id == peer).map(|(_, list)| list);
                for address in addresses {
                    let text = format!("{address}/p2p/{peer}");
                    // Without an address the whole peer is meant.
                    match gone {
                        Some(list) if list.is_empty() || list.contains(&address) => {
                            removed.push(text);
                        }
                        _ => kept.push(text),
                    }
                }
            }
            node.set_bootstrap(&config, json!(kept))?;
            Ok(removed)
        })
        .await
    }

    /// Removes every peer; gives back what was removed.
    ///
    /// # Errors
    /// When the list holds what is no address of a peer.
    pub async fn clear_bootstrap(&self) -> Result<Vec<String>, Error> {
        self.on_disk(|node| {
            let config = node.config();
            let current = config.bootstrap();
            let removed = if current.iter().any(|peer| peer == AUTO) {
                current
            } else {
                let peers = by_peer(&current)?.into_iter();
                peers
                    .flat_map(|(id, list)| {
                        list.into_iter().map(move |address| format!("{address}/p2p/{id}"))
                    })
                    .collect()
            };
            node.set_bootstrap(&config, Value::Null)?;
            Ok(removed)
        })
        .await
    }

    fn set_bootstrap(&self, config: &Arc<Config>, peers: Value) -> Result<(), Error> {
        self.repo().set_config(config.with(&[("Bootstrap", peers)])?)?;
        self.follow_bootstrap();
        Ok(())
    }
}

/// The keys in which `auto` may stand.
const AUTO_KEYS: [&str; 4] =
    ["Bootstrap", "DNS.Resolvers", "Routing.DelegatedRouters", "Ipns.DelegatedPublishers"];

fn value_at(file: &Value, key: &str) -> Result<Value, Error> {
    config::get_key(file, key)
        .cloned()
        .map_err(|error| Error::failed(format!("failed to get config value: {}", quote(&error))))
}

/// Sets an existing value.
fn put(file: &mut Value, key: &str, value: Value) {
    let found = file.pointer_mut(&format!("/{}", key.replace('.', "/")));
    found.into_iter().for_each(|at| *at = value.clone());
}

/// `value` with the placeholders of AutoConf left out: nothing is fetched from that service.
fn expanded(config: &Config, key: &str, value: Value) -> Value {
    if !AUTO_KEYS.contains(&key) {
        return value;
    }
    match config.value(key) {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| *value != AUTO);
            Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        _ if key == "DNS.Resolvers" => json!({}),
        _ => config.texts(key).into_iter().filter(|text| text != AUTO).collect(),
    }
}

/// The remote pinning services of `config` with the secrets of `file`, of which none may change.
fn replaced_services(config: &Config, file: &Value) -> Result<Value, Error> {
    let empty = json!({});
    let old = config::get_key(file, "Pinning.RemoteServices").unwrap_or(&empty);
    let old = old.as_object().cloned().unwrap_or_default();
    let value = config.value("Pinning.RemoteServices");
    let mut new = value.as_object().cloned().unwrap_or_default();
    let changed =
        || Error::failed("cannot add or remove remote pinning services with 'config replace'");
    if new.len() != old.len() {
        return Err(changed());
    }
    for (name, service) in &old {
        let replaced = new.get_mut(name).ok_or_else(changed)?;
        let text = |of: &Value, key: &str| {
            let found = of.get("API").and_then(|api| api.get(key)).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let endpoint = text(replaced, "Endpoint");
        let is_moved = !endpoint.is_empty() && endpoint != text(service, "Endpoint");
        if !text(replaced, "Key").is_empty() || is_moved {
            return Err(Error::failed(
                "cannot change remote pinning services api info with `config replace`",
            ));
        }
        if let (Some(replaced), Some(api)) = (replaced.as_object_mut(), service.get("API")) {
            replaced.insert("API".to_owned(), api.clone());
        }
    }
    Ok(if value.is_null() { Value::Null } else { Value::Object(new) })
}

fn check_bootstrap(peer: &str) -> Result<(), Error> {
    let address = net::parse_multiaddr(peer).map_err(Error::failed)?;
    match net::split_peer(address) {
        Err(_) => Err(Error::failed(format!("invalid bootstrap address: {peer}"))),
        Ok((place, _)) if place.is_empty() => {
            Err(Error::failed(format!("bootstrap address without a transport: {peer}")))
        }
        Ok(_) => Ok(()),
    }
}

/// The peers that addresses name, each with its addresses, in the order in which they come.
fn by_peer(texts: &[String]) -> Result<Vec<(String, Vec<String>)>, Error> {
    let mut peers: Vec<(String, Vec<String>)> = Vec::new();
    for text in texts {
        let address = net::parse_multiaddr(text).map_err(Error::failed)?;
        let (place, peer) = net::split_peer(address).map_err(Error::failed)?;
        let peer = peer.to_string();
        let place = (!place.is_empty()).then(|| place.to_string());
        match peers.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, places)) => places.extend(place),
            None => peers.push((peer, place.into_iter().collect())),
        }
    }
    Ok(peers)
}

fn unique(peers: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for peer in peers {
        if !found.contains(&peer) {
            found.push(peer);
        }
    }
    found
}
