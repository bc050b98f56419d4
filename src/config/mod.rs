//! The config: Kubo's JSON file, read as Kubo reads it.
//!
//! Responsible for which keys there are, their types and defaults, profiles, and the edits that
//! `config`, `bootstrap` and `init` make. Not for the file itself: `repo` reads and writes it and
//! keeps the keys that nobody knows. Pure.

pub mod bytes;
mod defaults;
pub mod duration;
mod edit;
mod fields;
mod json;
mod profiles;
mod render;
mod schema;
mod validate;
mod view;

use serde_json::Value;

pub use bytes::{humanize as humanize_bytes, parse as parse_bytes};
pub use defaults::AUTO;
pub use duration::{format as format_duration, parse as parse_duration};
pub use edit::{get_key, merge, scrub, scrub_sections};
pub use json::parse as parse_json;
pub use profiles::names as profile_names;
pub use render::{compact as render_compact, pretty as render_pretty};
pub use validate::Context;
pub use view::{Authorization, Import, PeerAddresses, parse_file};

/// Why a config is refused; the text is Kubo's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

/// A config that Kubo would accept, with every key it knows and no other.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    typed: Value,
}

impl Config {
    /// The config of a fresh repo.
    ///
    /// # Errors
    /// Never, unless the defaults do not fit their own types.
    pub fn fresh(peer_id: &str, private_key: &str) -> Result<Self, Error> {
        Self::decode(&defaults::fresh(peer_id, private_key))
    }

    /// Reads the JSON of a config.
    ///
    /// # Errors
    /// When a value has the wrong type.
    pub fn decode(json: &Value) -> Result<Self, Error> {
        let typed = schema::decode(&fields::CONFIG, json)
            .map_err(|error| Error(format!("failure to decode config: {error}")))?;
        Ok(Self { typed })
    }

    /// The config as JSON, keys in Kubo's order.
    #[must_use]
    pub fn as_json(&self) -> &Value {
        &self.typed
    }

    /// The text of a config file that holds this config and nothing else.
    #[must_use]
    pub fn to_file_text(&self) -> String {
        render::pretty(&self.typed, "  ")
    }

    /// This config after the profile `name`.
    ///
    /// # Errors
    /// When there is no such profile; when no port is free for `randomports`.
    pub fn with_profile(&self, name: &str) -> Result<Self, Error> {
        let mut changed = self.typed.clone();
        profiles::apply(name, &mut changed)?;
        Self::decode(&changed)
    }

    /// This config with the values at dotted `path`s replaced.
    ///
    /// # Errors
    /// When a value has the wrong type.
    pub fn with(&self, changes: &[(&str, Value)]) -> Result<Self, Error> {
        let mut changed = self.typed.clone();
        for (path, value) in changes {
            edit::put(&mut changed, path, value.clone());
        }
        Self::decode(&changed)
    }
}

/// Sets `key` of the config `file` to `value`; the private key stays as it is.
///
/// # Errors
/// When there is no such key, or the result is no config. `file` is then unchanged.
pub fn set_key(file: &Value, key: &str, value: Value) -> Result<(Value, Config), Error> {
    schema::check_key(&fields::CONFIG, key).map_err(Error)?;
    let private_key = get_key(file, "Identity.PrivKey").map_err(Error)?.clone();
    let mut changed = file.clone();
    edit::set_key(&mut changed, key, value).map_err(Error)?;
    edit::put(&mut changed, "Identity.PrivKey", private_key);
    let changed = defaults::sorted(changed);
    let config = Config::decode(&changed)?;
    Ok((changed, config))
}

#[cfg(test)]
mod tests;
