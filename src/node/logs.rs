//! Logging: the level of each subsystem, and the lines for whoever listens.
//!
//! One subscriber for the process. It asks [`Logs`] whether an event is wanted, writes it to
//! standard error, and hands it to the listeners of `log/tail` over a bounded channel: a slow one
//! loses lines and delays nobody. State in memory only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::subsystems::{OURS, SUBSYSTEMS};
use crate::ipld::quote::quote;

/// Lines that a listener may be behind.
const TAIL_LINES_MAX: usize = 1024;

/// A level, by Kubo's names, least severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What is worth knowing.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
    /// As `Error`: Go's loggers panic at it while being developed.
    Dpanic,
    /// Nothing is logged at it here.
    Panic,
    /// Nothing is logged at it here.
    Fatal,
}

impl LogLevel {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Warn, "warn"),
        (Self::Error, "error"),
        (Self::Dpanic, "dpanic"),
        (Self::Panic, "panic"),
        (Self::Fatal, "fatal"),
    ];

    /// The level of this name, in lower or upper case.
    ///
    /// # Errors
    /// With go-log's text, when there is none.
    pub fn parse(name: &str) -> Result<Self, String> {
        let upper = |known: &str| known.to_uppercase();
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name || upper(known) == name)
            .map(|(level, _)| *level)
            // The zero value of zap's level has the empty name.
            .or_else(|| name.is_empty().then_some(Self::Info))
            .ok_or_else(|| format!("unrecognized level: {}", quote(name)))
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(level, _)| *level == self).map_or("error", |(_, name)| name)
    }

    fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// One log line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its level.
    pub level: LogLevel,
    /// The line as JSON, with a newline.
    pub json: Arc<str>,
}

/// The levels and the listeners. There is one for the process.
#[derive(Debug)]
pub struct Logs {
    levels: RwLock<Levels>,
    lines: broadcast::Sender<Line>,
}

#[derive(Debug)]
struct Levels {
    default: LogLevel,
    by_subsystem: BTreeMap<String, LogLevel>,
}

static LOGS: LazyLock<Arc<Logs>> = LazyLock::new(|| Arc::new(Logs::from_env()));

impl Logs {
    /// The logs of this process.
    #[must_use]
    pub fn of_process() -> Arc<Self> {
        Arc::clone(&LOGS)
    }

    /// Starts to write logs to standard error; does nothing when that was done before.
    pub fn install() {
        let logs = Self::of_process();
        let json = std::env::var("GOLOG_LOG_FMT").is_ok_and(|format| format == "json");
        let to_stderr = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::env::var("GOLOG_LOG_FMT").is_ok_and(|format| format == "color"));
        let to_stderr =
            if json { to_stderr.json().boxed() } else { to_stderr.with_target(true).boxed() };
        let filtered = to_stderr.and_then(Tail(Arc::clone(&logs))).with_filter(Wanted(logs));
        // An error says that a subscriber is there, which is what is wanted.
        let _ = tracing_subscriber::registry().with(filtered).try_init();
    }

    /// Reads `GOLOG_LOG_LEVEL`: `error`, or `error,dht=debug`.
    fn from_env() -> Self {
        let text = ["GOLOG_LOG_LEVEL", "IPFS_LOGGING"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
            .unwrap_or_default();
        let mut levels = Levels { default: LogLevel::Error, by_subsystem: BTreeMap::new() };
        let mut own = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (subsystem, level) = part.split_once('=').unwrap_or(("", part));
            match (subsystem, LogLevel::parse(level)) {
                ("", Ok(level)) => levels.default = level,
                (subsystem, Ok(level)) => own.push((subsystem.to_owned(), level)),
                // As go-log: a level that nobody knows is left out.
                (_, Err(_)) => {}
            }
        }
        let all = SUBSYSTEMS.iter().chain(OURS.iter().map(|(name, _)| name));
        levels.by_subsystem = all.map(|name| ((*name).to_owned(), levels.default)).collect();
        levels.by_subsystem.extend(own);
        Self { levels: RwLock::new(levels), lines: broadcast::channel(TAIL_LINES_MAX).0 }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Levels> {
        self.levels.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level of what has none of its own.
    #[must_use]
    pub fn default_level(&self) -> LogLevel {
        self.read().default
    }

    /// The level of a subsystem.
    #[must_use]
    pub fn level(&self, subsystem: &str) -> Option<LogLevel> {
        self.read().by_subsystem.get(subsystem).copied()
    }

    /// Every subsystem and its level.
    #[must_use]
    pub fn levels(&self) -> BTreeMap<String, LogLevel> {
        self.read().by_subsystem.clone()
    }

    /// Sets the level of a subsystem, known or not; `*` is all of them and the default.
    pub fn set_level(&self, subsystem: &str, level: LogLevel) {
        let mut levels = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        if subsystem == "*" {
            levels.default = level;
            levels.by_subsystem.values_mut().for_each(|own| *own = level);
        } else {
            levels.by_subsystem.insert(subsystem.to_owned(), level);
        }
        drop(levels);
        tracing::callsite::rebuild_interest_cache();
    }

    /// The lines from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Line> {
        self.lines.subscribe()
    }

    fn is_wanted(&self, target: &str, level: LogLevel) -> bool {
        let levels = self.read();
        let own = levels.by_subsystem.get(subsystem_of(target)).copied();
        level >= own.unwrap_or(levels.default)
    }
}

/// The subsystem of a tracing target: that of the module, else the target itself.
fn subsystem_of(target: &str) -> &str {
    OURS.iter()
        .find(|(_, module)| target.strip_prefix(module).is_some_and(is_module_end))
        .map_or(target, |(name, _)| name)
}

fn is_module_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with("::")
}

/// Lets through what the levels ask for.
struct Wanted(Arc<Logs>);

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.0.is_wanted(metadata.target(), LogLevel::of(*metadata.level()))
    }
}

/// Hands lines to the listeners.
struct Tail(Arc<Logs>);

impl<S: Subscriber> Layer<S> for Tail {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.0.lines.receiver_count() == 0 {
            return;
        }
        let metadata = event.metadata();
        let level = LogLevel::of(*metadata.level());
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = time::OffsetDateTime::now_utc();
        let at = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let caller = match (metadata.file(), metadata.line()) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            _ => String::new(),
        };
        let mut line = serde_json::json!({
            "level": level.name(),
            "ts": at,
            "logger": subsystem_of(metadata.target()),
            "caller": caller,
            "msg": fields.message,
        });
        if let Some(map) = line.as_object_mut() {
            map.extend(fields.others);
        }
        // An error says that the last listener has just left.
        let _ = self.0.lines.send(Line { level, json: format!("{line}\n").into() });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, serde_json::Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String cannot fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.others.push((field.name().to_owned(), format!("{value:?}").into()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.others.push((field.name().to_owned(), value.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_go_logs_names() {
        assert_eq!(LogLevel::parse("debug"), Ok(LogLevel::Debug));
        assert_eq!(LogLevel::parse("ERROR"), Ok(LogLevel::Error));
        let unknown = LogLevel::parse("nope");
        assert_eq!(unknown, Err("unrecognized level: \"nope\"".to_owned()));
    }

    #[test]
    fn a_level_is_set_for_one_subsystem_or_for_all() {
        let logs = Logs::from_env();
        assert!(!logs.is_wanted("pinmesh::gc::mark", LogLevel::Info));
        logs.set_level("gc", LogLevel::Debug);
        assert!(logs.is_wanted("pinmesh::gc::mark", LogLevel::Info));
        assert_eq!(logs.level("nope"), None);
        logs.set_level("nope", LogLevel::Warn);
        assert_eq!(logs.level("nope"), Some(LogLevel::Warn));
        logs.set_level("*", LogLevel::Fatal);
        assert_eq!(logs.level("gc"), Some(LogLevel::Fatal));
        assert_eq!(logs.default_level(), LogLevel::Fatal);
    }
}
