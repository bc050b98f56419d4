//! `multipart/form-data`, read as it arrives.
//!
//! Behaves and fails as Go's `mime/multipart` does. Contents are slices of what the connection
//! received, copied only where a boundary may straddle two reads; memory is bounded by one read
//! and one part header. Knows nothing of files and directories: see [`super::files`].

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use memchr::memmem::Finder;

use super::Error;
use super::body::{Body, UNEXPECTED_EOF};
use super::media_type;
use crate::ipld::quote::quote as quote_bytes;

/// The longest line between parts, as in Go.
const LINE_BYTES_MAX: usize = 5 << 10;
/// The longest header of a part. Go allows ten times as much.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// The most header lines of a part, as in Go.
const HEADER_LINES_MAX: usize = 10_000;

/// The header of a part.
#[derive(Debug, Default)]
pub(super) struct Part {
    headers: Vec<(String, String)>,
}

impl Part {
    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The `filename` of the disposition, whatever its type.
    pub(super) fn file_name(&self) -> Option<String> {
        let (_, parsed) = media_type::parse(self.header("content-disposition")?);
        Some(parsed.ok()?.params.remove("filename").unwrap_or_default())
    }

    /// The `name` of the disposition, when that is `form-data`.
    pub(super) fn form_name(&self) -> Option<String> {
        let (_, parsed) = media_type::parse(self.header("content-disposition")?);
        let mut parsed = parsed.ok()?;
        if parsed.name == "form-data" { parsed.params.remove("name") } else { None }
    }
}

/// The parts of a body, one after the other.
pub(super) struct Reader {
    body: Body,
    /// What has been received and not yet consumed.
    buffer: Bytes,
    /// Why nothing more comes: `None` for a plain end.
    ended: Option<Option<Error>>,
    /// `--boundary`, and the same after a line break, which is LF where the first line ends so.
    dash_boundary: Vec<u8>,
    line_boundary: Finder<'static>,
    line_break: &'static [u8],
    parts_read: u64,
    part: Option<PartState>,
    quoted_printable: bool,
    finished: bool,
}

#[derive(Default)]
struct PartState {
    /// Whether some content has been handed out: before, the boundary needs no line break.
    started: bool,
    ended: bool,
}

/// What [`Reader::scan`] found.
enum Scan {
    /// So many bytes belong to the part.
    Content(usize),
    /// The boundary comes next.
    Boundary,
    /// More input decides.
    More,
}

impl Reader {
    pub(super) fn new(body: Body, boundary: &str) -> Self {
        let dash_boundary = format!("--{boundary}").into_bytes();
        let line_break = b"\r\n";
        let line_boundary = finder(line_break, &dash_boundary);
        Self {
            body,
            buffer: Bytes::new(),
            ended: None,
            dash_boundary,
            line_boundary,
            line_break,
            parts_read: 0,
            part: None,
            quoted_printable: false,
            finished: false,
        }
    }

    /// Receives more. `false` when nothing more comes.
    async fn fill(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let frame = loop {
            match self.body.next().await {
                Some(Ok(frame)) if frame.is_empty() => {}
                Some(Ok(frame)) => break frame,
                Some(Err(error)) => {
                    self.ended = Some(Some(error));
                    return false;
                }
                None => {
                    self.ended = Some(None);
                    return false;
                }
            }
        };
        if self.buffer.is_empty() {
            self.buffer = frame;
        } else {
            let old = std::mem::take(&mut self.buffer);
            let mut joined = old.try_into_mut().unwrap_or_else(|old| {
                let mut joined = BytesMut::with_capacity(old.len() + frame.len());
                joined.extend_from_slice(&old);
                joined
            });
            joined.extend_from_slice(&frame);
            self.buffer = joined.freeze();
        }
        true
    }

    /// The error for a body that ended inside of something.
    fn cut(&self) -> Error {
        match &self.ended {
            Some(Some(error)) => error.clone(),
            _ => Error::new(UNEXPECTED_EOF),
        }
    }

    /// A line with its `\n`, or what is left; `whole` says which.
    async fn line(&mut self, limit: usize, too_long: &str) -> Result<(Bytes, bool), Error> {
        let mut searched = 0;
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(i) = memchr::memchr(b'\n', unseen) {
                let end = searched + i + 1;
                if end > limit {
                    return Err(Error::new(too_long));
                }
                return Ok((self.buffer.split_to(end), true));
            }
            searched = self.buffer.len();
            if searched >= limit {
                return Err(Error::new(too_long));
            }
            if !self.fill().await {
                return Ok((std::mem::take(&mut self.buffer), false));
            }
        }
    }

    /// The next part; what is left of the current one is skipped. `None` after the last.
    pub(super) async fn next_part(&mut self) -> Result<Option<Part>, Error> {
        if self.finished {
            return Ok(None);
        }
        while self.part.is_some() {
            if !matches!(self.raw_chunk().await, Ok(Some(_))) {
                self.part = None;
            }
        }
        if self.dash_boundary == b"--" {
            return Err(Error::new("multipart: boundary is empty"));
        }
        let part = self.find_part().await?;
        if part.is_none() {
            self.finished = true;
            self.reach_end();
        }
        Ok(part)
    }

    async fn find_part(&mut self) -> Result<Option<Part>, Error> {
        let mut expect_part = false;
        loop {
            let too_long = "multipart: NextPart: bufio: buffer full";
            let (line, whole) = self.line(LINE_BYTES_MAX, too_long).await?;
            if !whole {
                let error = self.ended.clone().flatten();
                return match error {
                    None if self.is_final(&line) => Ok(None),
                    None => Err(Error::new("multipart: NextPart: EOF")),
                    Some(error) => Err(Error::new(format!("multipart: NextPart: {error}"))),
                };
            }
            if self.is_delimiter(&line) {
                self.parts_read += 1;
                return self.start_part().await;
            }
            if self.is_final(&line) {
                return Ok(None);
            }
            if expect_part {
                let line = quote_bytes(&line);
                let text = format!("multipart: expecting a new Part; got line {line}");
                return Err(Error::new(text));
            }
            if self.parts_read == 0 {
                continue;
            }
            if line == self.line_break {
                expect_part = true;
                continue;
            }
            let line = quote_bytes(&line);
            return Err(Error::new(format!("multipart: unexpected line in Next(): {line}")));
        }
    }

    async fn start_part(&mut self) -> Result<Option<Part>, Error> {
        let Some(mut part) = self.headers().await? else { return Ok(None) };
        self.quoted_printable = part
            .header("content-transfer-encoding")
            .is_some_and(|encoding| encoding.eq_ignore_ascii_case("quoted-printable"));
        if self.quoted_printable {
            part.headers.retain(|(key, _)| !key.eq_ignore_ascii_case("content-transfer-encoding"));
        }
        self.part = Some(PartState::default());
        Ok(Some(part))
    }

    fn is_final(&self, line: &[u8]) -> bool {
        let rest = line.strip_prefix(self.dash_boundary.as_slice());
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix(b"--")) else { return false };
        let rest = skip_blanks(rest);
        rest.is_empty() || rest == self.line_break
    }

    fn is_delimiter(&mut self, line: &[u8]) -> bool {
        let Some(rest) = line.strip_prefix(self.dash_boundary.as_slice()) else { return false };
        let rest = skip_blanks(rest);
        if self.parts_read == 0 && rest == b"\n" {
            self.line_break = b"\n";
            self.line_boundary = finder(b"\n", &self.dash_boundary);
        }
        rest == self.line_break
    }

    /// The header lines of a part. `None` when the body ends in them: Go takes that for its end.
    async fn headers(&mut self) -> Result<Option<Part>, Error> {
        let mut part = Part::default();
        let mut left = HEADER_BYTES_MAX;
        let starts_blank = !self.buffer.is_empty() || self.fill().await;
        if starts_blank && matches!(self.buffer.first(), Some(b' ' | b'\t')) {
            let (line, _) = self.line(HEADER_BYTES_MAX, "multipart: message too large").await?;
            let line = quote_bytes(trim_line_end(&line));
            return Err(malformed("initial line", &line));
        }
        loop {
            let (line, whole) = self.line(left, "multipart: message too large").await?;
            if !whole && line.is_empty() {
                return match self.ended.clone().flatten() {
                    None => Ok(None),
                    Some(error) => Err(error),
                };
            }
            left = left.saturating_sub(line.len());
            let line = trim_line_end(&line);
            if line.is_empty() {
                return Ok(Some(part));
            }
            if !line.contains(&b':') {
                let line = quote_bytes(line);
                let text = format!("malformed MIME header: missing colon: {line}");
                return Err(Error::new(text));
            }
            let line = self.continued(trim_blanks(line).to_vec(), &mut left).await?;
            if part.headers.len() >= HEADER_LINES_MAX {
                return Err(Error::new("multipart: message too large"));
            }
            part.headers.push(header(&line)?);
        }
    }

    /// A header line with those that continue it.
    async fn continued(&mut self, mut line: Vec<u8>, left: &mut usize) -> Result<Vec<u8>, Error> {
        loop {
            if self.buffer.is_empty() && !self.fill().await {
                return Ok(line);
            }
            if !matches!(self.buffer.first(), Some(b' ' | b'\t')) {
                return Ok(line);
            }
            let (next, _) = self.line(*left, "multipart: message too large").await?;
            *left = left.saturating_sub(next.len());
            line.push(b' ');
            line.extend_from_slice(trim_blanks(trim_line_end(&next)));
        }
    }

    /// The next content of the current part, `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.quoted_printable {
            return self.raw_chunk().await;
        }
        // Rare and small: lines do not span chunks when the part is taken whole.
        let mut all = BytesMut::new();
        while let Some(chunk) = self.raw_chunk().await? {
            if all.len() + chunk.len() > HEADER_BYTES_MAX {
                return Err(Error::new("multipart: message too large"));
            }
            all.extend_from_slice(&chunk);
        }
        self.quoted_printable = false;
        let decoded = unquote_printable(&all)?;
        Ok((!decoded.is_empty()).then(|| decoded.into()))
    }

    async fn raw_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(part) = &self.part else { return Ok(None) };
            if part.ended {
                return Ok(None);
            }
            match self.scan(part.started) {
                Scan::Content(0) => return Err(self.cut()),
                Scan::Content(size) => {
                    if let Some(part) = &mut self.part {
                        part.started = true;
                    }
                    return Ok(Some(self.buffer.split_to(size)));
                }
                Scan::Boundary => {
                    if let Some(part) = &mut self.part {
                        part.ended = true;
                    }
                    return Ok(None);
                }
                Scan::More => {
                    self.fill().await;
                }
            }
        }
    }

    /// How much of the buffer belongs to the part. With the input at its end, all is decided:
    /// [`Scan::Content`] of 0 then says that it ended too early.
    fn scan(&self, started: bool) -> Scan {
        let buffer = &self.buffer[..];
        let ended = self.ended.is_some();
        let undecided = || if ended { Scan::Content(0) } else { Scan::More };
        if !started {
            if buffer.starts_with(&self.dash_boundary) {
                match after_prefix(buffer, self.dash_boundary.len(), ended) {
                    Some(true) => return Scan::Boundary,
                    Some(false) => return Scan::Content(self.dash_boundary.len()),
                    None => return Scan::More,
                }
            }
            if self.dash_boundary.starts_with(buffer) {
                return undecided();
            }
        }
        let delimiter = self.line_boundary.needle();
        if let Some(i) = self.line_boundary.find(buffer) {
            let rest = buffer.get(i..).unwrap_or_default();
            return match after_prefix(rest, delimiter.len(), ended) {
                Some(false) => Scan::Content(i + delimiter.len()),
                Some(true) if i == 0 => Scan::Boundary,
                None if i == 0 => Scan::More,
                Some(true) | None => Scan::Content(i),
            };
        }
        if delimiter.starts_with(buffer) {
            return undecided();
        }
        let break_byte = self.line_break.first().copied().unwrap_or(b'\n');
        match memchr::memrchr(break_byte, buffer) {
            Some(i) if i > 0 && delimiter.starts_with(buffer.get(i..).unwrap_or_default()) => {
                Scan::Content(i)
            }
            _ => Scan::Content(buffer.len()),
        }
    }

    /// Takes notice of the end of the body if it is there already, so that the answer need not
    /// close the connection.
    fn reach_end(&mut self) {
        // What follows the last boundary is of no use; a bound keeps an endless one out.
        for _ in 0..16 {
            match self.body.next().now_or_never() {
                Some(Some(Ok(_))) => {}
                _ => return,
            }
        }
    }
}

fn finder(line_break: &[u8], dash_boundary: &[u8]) -> Finder<'static> {
    Finder::new(&[line_break, dash_boundary].concat()).into_owned()
}

/// Whether a delimiter of length `prefix` at the start of `buffer` is one: white space, `--` or
/// the end of input follow. `None`: more input decides.
fn after_prefix(buffer: &[u8], prefix: usize, ended: bool) -> Option<bool> {
    match buffer.get(prefix) {
        None => ended.then_some(true),
        Some(b' ' | b'\t' | b'\r' | b'\n') => Some(true),
        Some(b'-') => match buffer.get(prefix + 1) {
            None => ended.then_some(false),
            Some(b'-') => Some(true),
            Some(_) => Some(false),
        },
        Some(_) => Some(false),
    }
}

fn malformed(what: &str, line: &str) -> Error {
    Error::new(format!("malformed MIME header {what}: {line}"))
}

/// Splits a header line.
fn header(line: &[u8]) -> Result<(String, String), Error> {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default();
    let is_name_byte = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~ ".contains(b);
    let is_value_byte = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
    if name.is_empty() || !name.iter().all(is_name_byte) || !value.iter().all(is_value_byte) {
        return Err(malformed("line", &quote_bytes(line)));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(name), text(skip_blanks(value))))
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

fn trim_blanks(bytes: &[u8]) -> &[u8] {
    let bytes = skip_blanks(bytes);
    let end = bytes.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |i| i + 1);
    bytes.get(..end).unwrap_or_default()
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Quoted-printable (RFC 2045): `=XX`, and `=` at the end of a line that goes on.
fn unquote_printable(text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|b| *b == b'\n') {
        let ends = line.ends_with(b"\n");
        let content = trim_line_end(line);
        let line_end = line.get(content.len()..).unwrap_or_default();
        let trimmed = content.trim_ascii_end();
        let soft = trimmed.ends_with(b"=");
        let mut bytes = trimmed.strip_suffix(b"=").unwrap_or(trimmed).iter();
        while let Some(&byte) = bytes.next() {
            if byte != b'=' {
                out.push(byte);
                continue;
            }
            let hex: Vec<u8> = bytes.by_ref().take(2).copied().collect();
            let digits = std::str::from_utf8(&hex).ok();
            let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let Some(value) = value.filter(|_| hex.len() == 2) else {
                let text = "quotedprintable: invalid hex byte 0x";
                let bad = hex.first().copied().unwrap_or_default();
                return Err(Error::new(format!("{text}{bad:02x}")));
            };
            out.push(value);
        }
        if ends && !soft {
            out.extend_from_slice(line_end);
        }
    }
    Ok(out)
}
