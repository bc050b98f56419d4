//! What a command is called with, and what it gives back.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::Error;
use super::commands_log::CommandLog;
use super::files::{EntryKind, Files};
use super::options::Options;
use super::table::Command;
use super::value::{Emit, Value};
use crate::ipld::base::{self, Base};
use crate::ipld::{Cid, Version};
use crate::node::resolve::Resolved;
use crate::node::{Node, Reach};

/// The longest line of a body that stands for an argument.
const ARGUMENT_BYTES_MAX: usize = 1 << 20;

/// A call of a command.
#[derive(Debug)]
pub struct Request {
    /// The node.
    pub node: Node,
    /// The row of the table.
    pub command: &'static Command,
    /// The positional arguments of the request line. Arguments may also come in the body: a
    /// command whose table row says `stdin()` calls [`Request::all_args`] or
    /// [`Request::next_arg`].
    pub args: Vec<String>,
    /// The options.
    pub options: Options,
    /// The files of the body; none for a command whose body holds arguments.
    pub files: Files,
    /// When the time is over, and what the error of that begins with.
    pub deadline: Deadline,
    /// The log of commands, for `diag/cmds`.
    pub log: CommandLog,
    pub(super) body_args: Option<Lines>,
}

impl Request {
    /// The `i`th argument; empty when there are fewer, as Kubo fills them up.
    pub fn arg(&self, i: usize) -> &str {
        self.args.get(i).map_or("", String::as_str)
    }

    /// Every argument, those of the body included.
    pub async fn all_args(&mut self) -> Result<Vec<String>, Error> {
        let mut all = std::mem::take(&mut self.args);
        if let Some(mut lines) = self.body_args.take() {
            while let Some(line) = lines.next().await? {
                all.push(line);
            }
        }
        Ok(all)
    }

    /// The next argument, read from the body only when those of the request line are used up.
    pub async fn next_arg(&mut self) -> Result<Option<String>, Error> {
        if !self.args.is_empty() {
            return Ok(Some(self.args.remove(0)));
        }
        match &mut self.body_args {
            Some(lines) => lines.next().await,
            None => Ok(None),
        }
    }

    /// The first file of the body, made current; `None` when there is none or it is no file.
    pub async fn first_file(&mut self) -> Result<Option<super::files::Entry>, Error> {
        let entry = self.files.next_top().await?;
        Ok(entry.filter(|entry| entry.kind == EntryKind::File))
    }

    /// How CIDs are written in the answer: `cid-base` and `upgrade-cidv0-in-output`.
    pub fn cid_encoder(&self) -> Result<CidEncoder, Error> {
        CidEncoder::new(&self.options, true)
    }

    /// The same where only the base is asked for: `cid-base` alone upgrades nothing.
    pub fn cid_encoder_without_upgrade(&self) -> Result<CidEncoder, Error> {
        CidEncoder::new(&self.options, false)
    }

    /// Whether the request asks for what is here alone (`offline`, or its old name `local`).
    pub fn is_offline(&self) -> bool {
        self.options.bool("offline") || self.options.bool("local")
    }

    /// How far the request may go for a block.
    pub fn reach(&self) -> Reach {
        if self.is_offline() { Reach::Local } else { Reach::Network }
    }

    /// What a path argument points at. The future holds nothing of the request, which other
    /// threads may not share.
    pub fn resolve(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Resolved, Error>> + Send + use<> {
        let (node, path) = (self.node.clone(), path.to_owned());
        async move { Ok(node.resolve_text(&path).await?) }
    }
}

/// How CIDs are written in an answer.
#[derive(Debug, Clone, Copy)]
pub struct CidEncoder {
    base: Option<Base>,
    upgrade: bool,
}

impl CidEncoder {
    fn new(options: &Options, auto_upgrade: bool) -> Result<Self, Error> {
        let mut encoder = Self { base: None, upgrade: false };
        if let Some(name) = options.opt_string("cid-base").filter(|name| !name.is_empty()) {
            let base = base::by_name(name).map_err(|e| Error::new(e.to_string()))?;
            // Base58 is the one base that version 0 has.
            encoder.upgrade = auto_upgrade && base != Base::Base58Btc;
            encoder.base = Some(base);
        }
        if let Some(upgrade) = options.opt_bool("upgrade-cidv0-in-output") {
            encoder.upgrade = upgrade;
        }
        Ok(encoder)
    }

    /// The way in which a path writes its own CID; `None` when it has none.
    pub fn of_path(path: &str) -> Option<Self> {
        let mut segments = path.split('/');
        let cid = match segments.next()? {
            "" => segments.nth(1)?,
            first => first,
        };
        let (cid, base) = Cid::parse_with_base(cid).ok()?;
        Some(match cid.version() {
            Version::V0 => Self { base: None, upgrade: false },
            Version::V1 => Self { base: Some(base), upgrade: true },
        })
    }

    /// Whether CIDs are written as they are.
    pub fn is_plain(&self) -> bool {
        self.base.is_none() && !self.upgrade
    }

    /// The text of a CID.
    pub fn encode(&self, cid: &Cid) -> String {
        if cid.version() == Version::V0 && !self.upgrade {
            return cid.to_string();
        }
        let cid = cid.to_v1();
        match self.base {
            Some(base) => cid.to_text(base),
            None => cid.to_string(),
        }
    }
}

/// The deadline of a request, and what its error begins with: a command that has said
/// `set("pin: ")` fails with `pin: context deadline exceeded`.
#[derive(Debug, Clone, Default)]
pub struct Deadline {
    due: Option<Instant>,
    state: Arc<Mutex<DeadlineState>>,
}

#[derive(Debug, Default)]
struct DeadlineState {
    prefix: String,
    is_taken_over: bool,
}

impl Deadline {
    /// A deadline at `due`; none is never.
    pub(super) fn new(due: Option<Instant>) -> Self {
        Self { due, state: Arc::default() }
    }

    /// Sets the beginning of the text.
    pub fn set(&self, prefix: impl Into<String>) {
        self.state().prefix = prefix.into();
    }

    /// When the time is over. From now on the command itself sees to it: it has more to say than
    /// an error.
    pub fn take_over(&self) -> Option<Instant> {
        self.state().is_taken_over = true;
        self.due
    }

    /// When the time is over, unless the command sees to that.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.state().is_taken_over)
    }

    pub(super) fn error(&self) -> Error {
        Error::deadline(&self.state().prefix)
    }

    fn state(&self) -> MutexGuard<'_, DeadlineState> {
        // No code panics with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of a body file that stands for arguments.
#[derive(Debug)]
pub(super) struct Lines {
    files: Files,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// `files` with the file current.
    pub(super) fn new(files: Files) -> Self {
        Self { files, buffer: Vec::new(), ended: false }
    }

    /// The next line without its end, `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Error> {
        let mut searched = 0;
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(i) = memchr::memchr(b'\n', unseen) {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + i).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            searched = self.buffer.len();
            if searched > ARGUMENT_BYTES_MAX {
                return Err(Error::client("argument in the body is too long"));
            }
            if self.ended {
                let line = std::mem::take(&mut self.buffer);
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok((!text.is_empty()).then_some(text));
            }
            match self.files.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }
}

/// A stream of values.
pub type Values = BoxStream<'static, Result<Box<dyn Emit>, Error>>;
/// A stream of bytes.
pub type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// What a command gives back. An error before the first item is an error answer, but of
/// [`Reply::Live`]; after it, a trailer. Dropping it cancels the work.
pub enum Reply {
    /// One value (class 1).
    One(Box<dyn Emit>),
    /// Values as they come (class N).
    Many(Values),
    /// Values as they come (class N), after a head that does not wait for the first of them.
    Live(Values),
    /// Raw bytes (class R).
    Raw(Raw),
    /// One JSON value, already encoded, in pieces (class 1). For answers that are too large to
    /// hold; only for `encoding=json` ([`Reply::one`] gives the other encodings).
    Json(Chunks),
    /// Nothing (class 0).
    Nothing,
}

/// Raw bytes of an answer.
pub struct Raw {
    /// Instead of what the encoding says.
    pub content_type: Option<&'static str>,
    /// `X-Content-Length`.
    pub length: Option<u64>,
    /// The bytes.
    pub body: Chunks,
    /// Whether Kubo reads them in full buffers: then an error takes the incomplete one with it.
    pub whole_reads: bool,
}

impl Reply {
    /// One value.
    pub fn one(value: impl Value) -> Self {
        Self::One(Box::new(value))
    }

    /// Values as they come.
    pub fn many<T: Value>(values: impl Stream<Item = Result<T, Error>> + Send + 'static) -> Self {
        let values = values.map(|value| value.map(|value| Box::new(value) as Box<dyn Emit>));
        Self::Many(Box::pin(values))
    }

    /// Values as they come, after a head that goes out at once: an error before the first value is
    /// a trailer too.
    pub fn live<T: Value>(values: impl Stream<Item = Result<T, Error>> + Send + 'static) -> Self {
        let values = values.map(|value| value.map(|value| Box::new(value) as Box<dyn Emit>));
        Self::Live(Box::pin(values))
    }

    /// Values that are there already.
    pub fn all<T: Value>(values: impl IntoIterator<Item = T, IntoIter: Send + 'static>) -> Self {
        Self::many(futures_util::stream::iter(values.into_iter().map(Ok)))
    }

    /// Raw bytes, labelled by the encoding.
    pub fn raw(body: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Self {
        let body = Box::pin(body);
        Self::Raw(Raw { content_type: None, length: None, body, whole_reads: false })
    }

    /// Raw bytes that are there already.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::raw(futures_util::stream::once(async move { Ok(bytes) }))
    }

    /// With a content type of its own; of raw bytes only.
    #[must_use]
    pub fn content_type(mut self, content_type: &'static str) -> Self {
        if let Self::Raw(raw) = &mut self {
            raw.content_type = Some(content_type);
        }
        self
    }

    /// With `X-Content-Length`; of raw bytes only.
    #[must_use]
    pub fn length(mut self, length: u64) -> Self {
        if let Self::Raw(raw) = &mut self {
            raw.length = Some(length);
        }
        self
    }
}

impl Reply {
    /// For bytes that Kubo reads in full buffers, as those of a UnixFS file: what stands before an
    /// error ends where its last full buffer did.
    #[must_use]
    pub fn whole_reads(mut self) -> Self {
        if let Self::Raw(raw) = &mut self {
            raw.whole_reads = true;
        }
        self
    }
}

/// The future of a handler.
pub type Answer = Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send>>;
