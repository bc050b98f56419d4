//! `log/*`: kubo core/commands/log.go.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::swarm::Strings;
use super::value::Omit;
use super::{Error, Reply, Request, Value};
use crate::node::{LogLevel, Logs};

/// The word for the level of what has none of its own.
const DEFAULT: &str = "default";

#[derive(Debug, Serialize)]
#[serde(rename = "commands.logLevelOutput", rename_all = "PascalCase")]
struct Level {
    levels: Omit<BTreeMap<String, String>>,
    message: Omit<String>,
}

impl Value for Level {
    fn text(&self) -> Option<Result<String, Error>> {
        if !self.message.0.is_empty() {
            return Some(Ok(self.message.0.clone()));
        }
        let levels = &self.levels.0;
        let mut lines: Vec<String> =
            levels
                .iter()
                .map(|(name, level)| {
                    if levels.len() > 1 {
                        format!("{name}: {level}\n")
                    } else {
                        format!("{level}\n")
                    }
                })
                .collect();
        lines.sort();
        Some(Ok(lines.concat()))
    }
}

impl Level {
    fn of(levels: impl IntoIterator<Item = (String, LogLevel)>) -> Self {
        let levels = levels.into_iter().map(|(name, level)| (name, level.name().to_owned()));
        Self { levels: Omit(levels.collect()), message: Omit::default() }
    }
}

/// `log/level`.
pub(super) async fn level(request: Request) -> Result<Reply, Error> {
    let logs = Logs::of_process();
    let subsystem = match request.arg(0) {
        "all" | "*" => "*",
        subsystem => subsystem,
    };
    let mut level = request.arg(1);
    if !level.is_empty() {
        let default = logs.default_level();
        if level == DEFAULT {
            level = default.name();
        }
        logs.set_level(subsystem, LogLevel::parse(level).map_err(Error::new)?);
        let message = format!("Changed log level of '{subsystem}' to '{level}'\n");
        tracing::info!("{}", message.trim_end());
        let message = Omit(message);
        return Ok(Reply::one(Level { levels: Omit::default(), message }));
    }
    let levels = match subsystem {
        "" => Level::of([(String::new(), logs.default_level())]),
        "*" => {
            let default = [("(default)".to_owned(), logs.default_level())];
            Level::of(logs.levels().into_iter().chain(default))
        }
        subsystem => match logs.level(subsystem) {
            Some(level) => Level::of([(subsystem.to_owned(), level)]),
            None => return Err(Error::new("error: No such logger")),
        },
    };
    Ok(Reply::one(levels))
}

/// `log/ls`.
pub(super) async fn ls(_: Request) -> Result<Reply, Error> {
    Ok(Reply::one(Strings::new(Logs::of_process().levels().into_keys().collect())))
}

/// `log/tail`: lines until the client leaves or the node stops.
pub(super) async fn tail(request: Request) -> Result<Reply, Error> {
    let least = match request.options.string("log-level") {
        "" => LogLevel::Debug,
        name => LogLevel::parse(name)
            .map_err(|error| Error::new(format!("setting log level {name}: {error}")))?,
    };
    let node = request.node;
    let lines = Logs::of_process().subscribe();
    let lines = futures_util::stream::unfold((node, lines), move |(node, mut lines)| async move {
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                () = node.stopped() => return None,
            };
            match line {
                Ok(line) if line.level >= least => {
                    let bytes = Bytes::copy_from_slice(line.json.as_bytes());
                    return Some((Ok(bytes), (node, lines)));
                }
                // A reader that is too slow misses lines.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Ok(Reply::raw(lines))
}
