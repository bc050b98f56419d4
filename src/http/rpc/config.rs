//! `config`, `config/*`: kubo core/commands/config.go.
//!
//! Unlike Kubo's, `config/profile/apply` leaves every secret out of its answer, and not the private
//! key alone.

use serde::Serialize;
use serde_json::Value as Json;

use super::go_any::Any;
use super::json_diff;
use super::{Error, Reply, Request, Value};
use crate::config::{parse_json, render_pretty};

/// The largest config that is taken.
const CONFIG_BYTES_MAX: usize = 4 << 20;

/// What begins the path to the secrets of remote pinning services.
const CONCEALED: [&str; 5] = ["Pinning", "RemoteServices", "*", "API", "Key"];

#[derive(Debug, Serialize)]
#[serde(rename = "commands.ConfigField", rename_all = "PascalCase")]
struct Field {
    key: String,
    value: Any,
    /// Whether it was set: then the text is empty.
    #[serde(skip)]
    is_set: bool,
}

impl Value for Field {
    fn text(&self) -> Option<Result<String, Error>> {
        if self.is_set {
            return Some(Ok(String::new()));
        }
        Some(Ok(match &self.value.0 {
            Json::String(text) => format!("{}\n", text.trim_matches('\n')),
            other => format!("{}\n", pretty(other)),
        }))
    }
}

/// A whole config.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Whole(Any);

impl Value for Whole {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{}\n", pretty(&self.0.0))))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "commands.ConfigUpdateOutput")]
struct Update {
    #[serde(rename = "OldCfg")]
    old: Any,
    #[serde(rename = "NewCfg")]
    new: Any,
}

impl Value for Update {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(json_diff::format(&self.old.0, &self.new.0)))
    }
}

fn pretty(json: &Json) -> String {
    let mut sorted = json.clone();
    sorted.sort_all_objects();
    render_pretty(&sorted, "  ")
}

/// `config`.
pub(super) async fn config(request: Request) -> Result<Reply, Error> {
    let options = &request.options;
    let key = request.arg(0).to_owned();
    if matches!(key.to_lowercase().as_str(), "identity" | "identity.privkey") {
        return Err(Error::new("cannot show or change private key through API"));
    }
    let concealed =
        key.split('.').zip(CONCEALED).all(|(k, c)| c == "*" || k.eq_ignore_ascii_case(c));
    if concealed {
        return Err(Error::new("cannot show or change pinning services credentials"));
    }
    let expand = options.bool("expand-auto");
    if request.args.len() != 2 {
        let value = request.node.setting(key.clone(), expand).await?;
        return Ok(Reply::one(Field { key, value: Any(value), is_set: false }));
    }
    if expand {
        return Err(Error::new(
            "--expand-auto can only be used for reading config values, not for setting them",
        ));
    }
    let text = request.arg(1);
    let value = if options.bool("json") {
        match parse_json(text) {
            Ok(value) => value,
            // A peer id is compared before it is parsed.
            Err(_) if key.eq_ignore_ascii_case("identity.peerid") => Json::String(text.to_owned()),
            Err(error) => return Err(Error::new(format!("failed to unmarshal json. {error}"))),
        }
    } else if options.bool("bool") && !key.eq_ignore_ascii_case("identity.peerid") {
        Json::Bool(text == "true")
    } else {
        Json::String(text.to_owned())
    };
    let value = request.node.change_setting(key.clone(), value).await?;
    Ok(Reply::one(Field { key, value: Any(value), is_set: true }))
}

/// `config/show`.
pub(super) async fn show(request: Request) -> Result<Reply, Error> {
    let file = request.options.opt_string("config-file").map(str::to_owned);
    let expand = request.options.bool("expand-auto");
    Ok(Reply::one(Whole(Any(request.node.shown_config(file, expand).await?))))
}

/// `config/replace`.
pub(super) async fn replace(mut request: Request) -> Result<Reply, Error> {
    if request.first_file().await?.is_none() {
        return Err(Error::new("file argument was nil"));
    }
    let json = request.files.read_all(CONFIG_BYTES_MAX, "the config is too large").await?;
    request.node.replace_config(json).await?;
    Ok(Reply::Nothing)
}

/// `config/profile/apply`.
pub(super) async fn apply(request: Request) -> Result<Reply, Error> {
    let dry_run = request.options.bool("dry-run");
    let change = request.node.apply_profile(request.arg(0).to_owned(), dry_run).await?;
    Ok(Reply::one(Update { old: Any(change.old), new: Any(change.new) }))
}
