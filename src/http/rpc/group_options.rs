//! What a call that pins says to the group: options that Kubo does not have.
//!
//! `replication-min`, `replication-max`, `expire-in` and one `meta-KEY` for each entry say what the
//! record of the pin holds; `wait` how many members are to hold it before the call ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Error;
use super::options::{OptionValue, Options};
use crate::config;
use crate::ipld::quote::quote;
use crate::node::pinset::PinOptions;

/// What the names of the user's entries begin with.
const META: &str = "meta-";

/// The options of a pin that a call gives.
///
/// # Errors
/// Which one is wrong, and why.
pub(super) fn pin_options(given: &Options) -> Result<PinOptions, Error> {
    let expire_ms = given.opt_string("expire-in").map(expire_ms).transpose()?;
    let meta: Vec<(String, String)> = given
        .iter()
        .filter_map(|(name, value)| match value {
            OptionValue::Str(value) => Some((name.strip_prefix(META)?.to_owned(), value.clone())),
            _ => None,
        })
        .collect();
    let options = PinOptions {
        replication_min: given.opt_int("replication-min"),
        replication_max: given.opt_int("replication-max"),
        expire_ms,
        meta: (!meta.is_empty()).then_some(meta),
        update_from: None,
    };
    options.check().map_err(|error| Error::client(error.to_string()))?;
    Ok(options)
}

/// How many members are to hold what is pinned before the call ends; 0 and 1: this node alone.
pub(super) fn wait(given: &Options) -> u64 {
    given.uint("wait")
}

/// When something ends that is to last for a time in Go's notation; Unix milliseconds.
fn expire_ms(text: &str) -> Result<u64, Error> {
    let bad = || {
        let text = quote(text);
        Error::client(format!("expire-in: {text} is no time above zero, such as 24h or 90m"))
    };
    let nanos = config::parse_duration(text).map_err(|_| bad())?;
    let lasts = Duration::from_nanos(u64::try_from(nanos).map_err(|_| bad())?);
    let lasts_ms = u64::try_from(lasts.as_millis()).map_err(|_| bad())?;
    if lasts_ms == 0 {
        return Err(bad());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(lasts_ms))
}
