//! The files of a request: parts of a multipart body as a tree, read in order.
//!
//! Names, kinds, modes and times follow boxo's `files` package. The tree is never held: an entry
//! is there when its part arrives, its content is read or skipped before the next, and a directory
//! that no part announces comes into being with the first part below it.

use std::fmt;

use bytes::Bytes;

use super::Error;
use super::body::Body;
use super::media_type;
use super::multipart::{Part, Reader};
use super::query;

/// The longest target of a symlink.
const SYMLINK_BYTES_MAX: usize = 64 << 10;
/// The deepest path of an entry. More is an error: nothing below may grow with it.
const DEPTH_MAX: usize = 4096;

/// One entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path from the top, `/` between names, no `.` or `..`. An unnamed file has an empty one.
    pub path: String,
    /// How many directories it is in. A directory is over when an entry comes that is not deeper.
    pub depth: usize,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits; 0 when the part gives none.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970, when the part gives any.
    pub mtime: Option<(i64, i64)>,
    /// The path on the client's disk (`nocopy`); empty when not given.
    pub abs_path: String,
}

impl Entry {
    /// The last name of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file; [`Files::chunk`] reads it.
    File,
    /// A directory; the deeper entries that follow are in it.
    Directory,
    /// A symlink and its target.
    Symlink(String),
}

/// The files of a request.
pub struct Files {
    reader: Option<Reader>,
    /// The next part, already read, with its cleaned absolute name.
    ahead: Option<(Part, String)>,
    /// The directories that are open, outermost first.
    open: Vec<Directory>,
}

struct Directory {
    /// Absolute, clean.
    path: String,
    /// The entry of it that came last.
    current: String,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("present", &self.is_present()).finish_non_exhaustive()
    }
}

impl Files {
    /// No files: the request has no multipart body.
    pub fn none() -> Self {
        Self { reader: None, ahead: None, open: Vec::new() }
    }

    /// The files of a multipart body.
    pub fn new(body: Body, boundary: &str) -> Self {
        let root = Directory { path: "/".to_owned(), current: String::new() };
        Self { reader: Some(Reader::new(body, boundary)), ahead: None, open: vec![root] }
    }

    /// Whether the request has a multipart body, with parts or without.
    pub fn is_present(&self) -> bool {
        self.reader.is_some()
    }

    /// The next entry, directories before what is in them. What is left of the current file is
    /// skipped. `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Entry>, Error> {
        loop {
            let Some(name) = self.peek().await? else { return Ok(None) };
            let depth = self.open.len().saturating_sub(1);
            let Some(directory) = self.open.last_mut() else { return Ok(None) };
            let Some(below) = child_of(&name, &directory.path) else {
                self.open.pop();
                continue;
            };
            let current = join(&directory.path, &directory.current);
            if !directory.current.is_empty() && child_of(&name, &current).is_some() {
                // The current entry is a file: nothing can be in it.
                self.ahead = None;
                continue;
            }
            if let Some((first, _)) = below.split_once('/') {
                directory.current = first.to_owned();
                let path = join(&directory.path, first);
                return self.enter(path, depth, None).map(Some);
            }
            directory.current = below.to_owned();
            let Some((part, name)) = self.ahead.take() else { continue };
            return self.entry(part, name, depth).await.map(Some);
        }
    }

    /// The next entry at the top; what is deeper is skipped.
    pub async fn next_top(&mut self) -> Result<Option<Entry>, Error> {
        while let Some(entry) = self.next().await? {
            if entry.depth == 0 {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The next bytes of the current file, `None` at its end. A body that stops inside of the file
    /// is the error [`super::body::UNEXPECTED_EOF`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.reader {
            Some(reader) => reader.chunk().await,
            None => Ok(None),
        }
    }

    /// All of the current file, up to `limit` bytes; more is the error `too_long`.
    pub async fn read_all(&mut self, limit: usize, too_long: &str) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(Error::new(too_long));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The name of the next part.
    async fn peek(&mut self) -> Result<Option<String>, Error> {
        if self.ahead.is_none() {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            let Some(part) = reader.next_part().await? else { return Ok(None) };
            let name = file_name(&part);
            self.ahead = Some((part, name));
        }
        Ok(self.ahead.as_ref().map(|(_, name)| name.clone()))
    }

    fn enter(&mut self, path: String, depth: usize, part: Option<&Part>) -> Result<Entry, Error> {
        if depth >= DEPTH_MAX {
            return Err(Error::new(format!("directories nest deeper than {DEPTH_MAX}")));
        }
        let (mode, mtime) = part.map(attributes).unwrap_or_default();
        let entry = Entry {
            path: path.trim_start_matches('/').to_owned(),
            depth,
            kind: EntryKind::Directory,
            mode,
            mtime,
            abs_path: String::new(),
        };
        self.open.push(Directory { path, current: String::new() });
        Ok(entry)
    }

    async fn entry(&mut self, part: Part, name: String, depth: usize) -> Result<Entry, Error> {
        let content_type = match part.header("content-type") {
            Some(text) if !text.is_empty() => {
                let (name, parsed) = media_type::parse(text);
                parsed.map_err(|error| Error::new(error.to_string()))?;
                name
            }
            _ => String::new(),
        };
        if matches!(content_type.as_str(), "multipart/form-data" | "application/x-directory") {
            return self.enter(name, depth, Some(&part));
        }
        let (mode, mtime) = attributes(&part);
        let path = name.trim_start_matches('/').to_owned();
        let mut entry =
            Entry { path, depth, kind: EntryKind::File, mode, mtime, abs_path: String::new() };
        if content_type == "application/symlink" {
            let target = self.read_all(SYMLINK_BYTES_MAX, "symlink target too long").await?;
            entry.kind = EntryKind::Symlink(String::from_utf8_lossy(&target).into_owned());
            return Ok(entry);
        }
        entry.abs_path = match part.header("abspath-encoded").filter(|text| !text.is_empty()) {
            Some(text) => query::unescape(text).map_err(Error::new)?,
            None => part.header("abspath").unwrap_or_default().to_owned(),
        };
        Ok(entry)
    }
}

/// The absolute, clean name of a part.
fn file_name(part: &Part) -> String {
    // Without a readable disposition the part has no name at all, which no directory contains.
    let Some(name) = part.file_name() else { return String::new() };
    let name = query::unescape(&name).unwrap_or(name);
    clean(&name)
}

/// Go's `path.Clean("/" + name)`.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The path of `child` below `parent`, both clean; `None` when it is not below.
fn child_of<'a>(child: &'a str, parent: &str) -> Option<&'a str> {
    match parent {
        "/" => child.strip_prefix('/'),
        parent => child.strip_prefix(parent)?.strip_prefix('/'),
    }
}

fn join(directory: &str, name: &str) -> String {
    match directory {
        "/" => format!("/{name}"),
        directory => format!("{directory}/{name}"),
    }
}

/// Mode and mtime: a query in the form name.
fn attributes(part: &Part) -> (u32, Option<(i64, i64)>) {
    let name = part.form_name().unwrap_or_default();
    let Some((_, params)) = name.split_once('?') else { return (0, None) };
    let Ok(params) = query::parse_strict(params) else { return (0, None) };
    let get = |key: &str| params.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let mode = get("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or_default();
    let seconds = match get("mtime").map(str::parse) {
        None => 0,
        Some(Ok(seconds)) => seconds,
        // Go keeps the mode and gives up on the time.
        Some(Err(_)) => return (mode, None),
    };
    let nanos = get("mtime-nsecs").and_then(|nanos| nanos.parse().ok()).unwrap_or_default();
    (mode, Some((seconds, nanos)))
}
