//! From a path, a query and a body to a call: which command, with which options and arguments.
//!
//! The order of the checks, and so which error wins, is go-ipfs-cmds' `http/parse.go`.

use super::Error;
use super::body::Body;
use super::call::Lines;
use super::files::{EntryKind, Files};
use super::media_type;
use super::options::{Options, RawOptions};
use super::query;
use super::table::{Arg, Command, chain, find};

/// A call as far as the request tells it.
#[derive(Debug)]
pub struct Parsed {
    /// The command.
    pub command: &'static Command,
    /// Its arguments, those of the body not included.
    pub args: Vec<String>,
    /// Its options.
    pub options: Options,
    /// Its files.
    pub files: Files,
    pub(super) body_args: Option<Lines>,
}

/// Why a request is no call.
#[derive(Debug)]
pub enum ParseError {
    /// There is no such command.
    NotFound,
    /// The request is wrong.
    Bad(Error),
}

impl From<Error> for ParseError {
    fn from(error: Error) -> Self {
        Self::Bad(error)
    }
}

/// What of a request makes a call.
pub struct Parts<'a> {
    /// The decoded path below `/api/v0`.
    pub path: &'a str,
    /// The query, as sent.
    pub query: &'a str,
    /// The content type, as sent.
    pub content_type: &'a str,
    /// The body.
    pub body: Body,
}

/// Reads a call. Of the body only what stands for a missing argument is read.
pub async fn parse(parts: Parts<'_>) -> Result<Parsed, ParseError> {
    let (command, mut values) = resolve(parts.path).ok_or(ParseError::NotFound)?;
    let mut pairs = Vec::new();
    for (key, value) in query::parse(parts.query) {
        if key == "arg" {
            values.push(value);
        } else {
            pairs.push((key, value));
        }
    }
    let raw = RawOptions::new(command, pairs)?;
    let (args, required_file) = assign(command.args, values);
    let files = files(parts.content_type, parts.body)?;
    if let Some(name) = required_file.filter(|_| !files.is_present()) {
        return Err(Error::client(format!("file argument '{name}' is required")).into());
    }
    let options = raw.convert(command)?;
    let mut parsed = Parsed { command, args, options, files, body_args: None };
    check_arguments(&mut parsed).await?;
    Ok(parsed)
}

/// The command of a path, and the argument that its last segment may be.
fn resolve(path: &str) -> Option<(&'static Command, Vec<String>)> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let exact = find(path);
    let (command, values) = match exact {
        Some(command) => (command, Vec::new()),
        None => {
            let (parent, last) = path.rsplit_once('/')?;
            let command = find(parent).filter(|command| command.is_runnable())?;
            (command, vec![last.to_owned()])
        }
    };
    if chain(command).iter().any(|command| command.cli_only) {
        return None;
    }
    Some((command, values))
}

/// Assigns values to the declared arguments, left to right. What is too much is emptied, not
/// refused. Also the first required file, when the arguments before it are there.
fn assign(declared: &[Arg], values: Vec<String>) -> (Vec<String>, Option<&'static str>) {
    let mut args = vec![String::new(); values.len()];
    let mut required = declared.iter().filter(|arg| arg.required).count();
    let mut slots = args.iter_mut();
    let mut left = values.len();
    let mut values = values.into_iter();
    let mut required_file = None;
    for arg in declared {
        if left <= required && !arg.required {
            continue;
        }
        required -= usize::from(arg.required);
        if arg.file {
            if arg.required && required_file.is_none() {
                required_file = Some(arg.name);
            }
        } else if arg.variadic {
            for (slot, value) in slots.by_ref().zip(values.by_ref()) {
                *slot = value;
            }
            left = 0;
        } else if let Some(value) = values.next() {
            if let Some(slot) = slots.next() {
                *slot = value;
            }
            left -= 1;
        } else {
            break;
        }
    }
    (args, required_file)
}

/// The files of a body that is `multipart/form-data`; any other body is ignored.
fn files(content_type: &str, body: Body) -> Result<Files, Error> {
    let (name, parsed) = media_type::parse(content_type);
    if name != "multipart/form-data" {
        return Ok(Files::none());
    }
    let Ok(parsed) = parsed else {
        return Err(Error::client("request Content-Type isn't multipart/form-data"));
    };
    match parsed.params.get("boundary") {
        Some(boundary) => Ok(Files::new(body, boundary)),
        None => Err(Error::client("no multipart boundary param in Content-Type")),
    }
}

/// Checks that every required argument is there; the first file of the body may hold them.
async fn check_arguments(parsed: &mut Parsed) -> Result<(), Error> {
    let declared = parsed.command.args;
    let from_body = declared.last().is_some_and(|arg| arg.stdin && !arg.file);
    if from_body && parsed.files.is_present() {
        let entry = parsed.files.next().await.map_err(|error| Error::client(error.message()))?;
        if let Some(entry) = entry {
            let mut files = std::mem::replace(&mut parsed.files, Files::none());
            if entry.kind == EntryKind::Directory {
                // A directory has no lines.
                files = Files::none();
            }
            parsed.body_args = Some(Lines::new(files));
        }
    }
    let required = declared.iter().filter(|arg| !arg.file).take_while(|arg| arg.required);
    for (i, arg) in required.enumerate() {
        if i < parsed.args.len() {
            continue;
        }
        if let Some(lines) = parsed.body_args.as_mut().filter(|_| arg.stdin) {
            let line = lines.next().await.map_err(|error| Error::client(error.message()))?;
            if let Some(line) = line {
                parsed.args.push(line);
                continue;
            }
        }
        let name = crate::ipld::quote::quote(arg.name);
        return Err(Error::client(format!("argument {name} is required")));
    }
    Ok(())
}
