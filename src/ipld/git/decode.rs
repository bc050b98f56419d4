//! Reading Git objects.

use std::io::Read as _;

use bytes::Bytes;

use super::super::base::decode_base16;
use super::super::cid::Cid;
use super::super::multihash::Multihash;
use super::super::node::{Node, Schema, Typed};
use super::super::quote::quote;
use super::super::{DecodeError, codec, hash};
use super::{BLOB, COMMIT, PERSON, TAG, TREE};

/// A compressed object that is longer than this is refused: no block may be as long.
const OBJECT_LEN_MAX: u64 = 64 << 20;

/// go-ipld-git reads lines through a buffer of this size and cuts longer ones.
const LINE_LEN_MAX: usize = 4096;

/// Bytes of a SHA-1.
const SHA_LEN: usize = 20;

/// Decodes an object as it is in a block.
pub(in super::super) fn decode(block: &Bytes) -> Result<Typed, DecodeError> {
    let mut rest: &[u8] = block;
    let kind = until(&mut rest, b' ').map_err(DecodeError::mid_value)?;
    let (node, name) = match kind {
        b"blob" => (blob(rest)?, BLOB),
        b"commit" => (commit(rest)?, COMMIT),
        b"tag" => (tag(rest)?, TAG),
        b"tree" => (tree(rest)?, TREE),
        other => {
            return Err(DecodeError::new(format!("unrecognized object type: {}", quote(other))));
        }
    };
    // A blob is assigned as bytes and keeps no type.
    let schema = if name == BLOB { Schema::Plain } else { Schema::Git(name) };
    Ok(Typed { node, schema })
}

/// Decodes an object as Git keeps it in a file.
pub(in super::super) fn decode_compressed(file: &Bytes) -> Result<Typed, DecodeError> {
    let mut object = Vec::new();
    let header_ok = matches!(file.as_ref(), [cmf, flags, ..]
        if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flags)).is_multiple_of(31));
    if !header_ok {
        let text = if file.len() < 2 { "unexpected EOF" } else { "zlib: invalid header" };
        return Err(DecodeError::new(text));
    }
    let mut reader = flate2::read::ZlibDecoder::new(file.as_ref()).take(OBJECT_LEN_MAX + 1);
    reader.read_to_end(&mut object).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => DecodeError::unexpected_eof(),
        _ => DecodeError::new("zlib: invalid checksum"),
    })?;
    if object.len() as u64 > OBJECT_LEN_MAX {
        return Err(DecodeError::new("git object is too large"));
    }
    decode(&object.into())
}

/// What comes before `end`; `rest` then begins behind it.
fn until<'a>(rest: &mut &'a [u8], end: u8) -> Result<&'a [u8], DecodeError> {
    let at = memchr::memchr(end, rest).ok_or_else(DecodeError::eof)?;
    let found = rest.get(..at).unwrap_or_default();
    *rest = rest.get(at + 1..).unwrap_or_default();
    Ok(found)
}

/// The length in the header of an object, which only a blob needs.
fn length(rest: &mut &[u8]) -> Result<usize, DecodeError> {
    let digits = until(rest, 0)?;
    let failed = |reason: &str| {
        let text = format!("strconv.Atoi: parsing {}: {reason}", quote(digits));
        DecodeError::new(text)
    };
    let text = std::str::from_utf8(digits).map_err(|_| failed("invalid syntax"))?;
    let number: i64 = text.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        match error.kind() {
            PosOverflow | NegOverflow => failed("value out of range"),
            _ => failed("invalid syntax"),
        }
    })?;
    // Go panics on a length below zero.
    usize::try_from(number).map_err(|_| failed("value out of range"))
}

/// The next line without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let window = rest.get(..LINE_LEN_MAX).unwrap_or(rest);
    let (line, used) = match memchr::memchr(b'\n', window) {
        Some(at) => (window.get(..at).unwrap_or_default(), at + 1),
        None => (window, window.len()),
    };
    let ended = used > line.len();
    *rest = rest.get(used..).unwrap_or_default();
    Some(if ended { line.strip_suffix(b"\r").unwrap_or(line) } else { line })
}

fn blob(mut rest: &[u8]) -> Result<Node, DecodeError> {
    let len = length(&mut rest)?;
    let Some(content) = rest.get(..len) else {
        let is_end = rest.is_empty();
        return Err(if is_end { DecodeError::eof() } else { DecodeError::unexpected_eof() });
    };
    // The header belongs to the bytes, written anew.
    let mut bytes = format!("blob {len}\0").into_bytes();
    bytes.extend_from_slice(content);
    Ok(Node::Bytes(bytes.into()))
}

/// A commit or tag that names nothing: a value that no codec could write.
fn no_link() -> DecodeError {
    DecodeError::new(
        "schemafree link emission only supported by this codec for CID type links; got type <nil>",
    )
}

fn sha_link(sha: &[u8]) -> Node {
    Node::Link(Cid::new_v1(codec::GIT_RAW, Multihash::wrap(hash::SHA1, sha)))
}

fn hex_link(digits: &[u8]) -> Result<Node, DecodeError> {
    let sha = decode_base16(digits).map_err(|error| DecodeError::new(error.to_string()))?;
    Ok(sha_link(&sha))
}

fn text(bytes: &[u8]) -> Node {
    Node::String(Bytes::copy_from_slice(bytes))
}

fn map<const N: usize>(fields: [(&'static str, Node); N]) -> Node {
    Node::Map(fields.into_iter().map(|(key, value)| (Bytes::from(key), value)).collect())
}

fn tree(mut rest: &[u8]) -> Result<Node, DecodeError> {
    length(&mut rest)?;
    let mut entries: Vec<(Bytes, Node)> = Vec::new();
    let mut names = std::collections::HashSet::new();
    // Whatever is cut short before a SHA ends the tree, as Go does not tell it from the end.
    while let (Ok(mode), Ok(name)) = (until(&mut rest, b' '), until(&mut rest, 0)) {
        let Some((sha, after)) = rest.split_at_checked(SHA_LEN) else {
            if rest.is_empty() {
                break;
            }
            return Err(DecodeError::unexpected_eof());
        };
        rest = after;
        if !names.insert(name) {
            return Err(DecodeError::new(format!("cannot repeat map key {}", quote(name))));
        }
        let entry = map([("mode", text(mode)), ("hash", sha_link(sha))]);
        entries.push((Bytes::copy_from_slice(name), entry));
    }
    Ok(Node::Map(entries))
}

/// The fields of a tag, inside a commit or not.
#[derive(Default)]
struct Tag {
    object: Option<Node>,
    kind: Vec<u8>,
    tag: Vec<u8>,
    tagger: Option<Node>,
    message: Vec<u8>,
}

impl Tag {
    fn finish(self) -> Result<Node, DecodeError> {
        Ok(map([
            ("object", self.object.ok_or_else(no_link)?),
            ("type", Node::String(self.kind.into())),
            ("tag", Node::String(self.tag.into())),
            ("tagger", self.tagger.unwrap_or_else(|| person([b"", b"", b"", b""]))),
            ("message", Node::String(self.message.into())),
        ]))
    }
}

fn tag(mut rest: &[u8]) -> Result<Node, DecodeError> {
    until(&mut rest, 0)?;
    let mut tag = Tag::default();
    while let Some(line) = line(&mut rest) {
        if let Some(sha) = line.strip_prefix(b"object ") {
            tag.object = Some(hex_link(sha)?);
        } else if let Some(name) = line.strip_prefix(b"tag ") {
            tag.tag = name.to_vec();
        } else if line.starts_with(b"tagger ") {
            tag.tagger = Some(parse_person(line)?);
        } else if let Some(kind) = line.strip_prefix(b"type ") {
            tag.kind = kind.to_vec();
        } else if line.is_empty() {
            tag.message = rest.to_vec();
            break;
        }
    }
    tag.finish()
}

/// The fields of a commit.
#[derive(Default)]
struct Commit {
    tree: Option<Node>,
    parents: Vec<Node>,
    message: Vec<u8>,
    author: Option<Node>,
    committer: Option<Node>,
    encoding: Option<Node>,
    signature: Option<Node>,
    mergetag: Vec<Node>,
    other: Vec<Node>,
}

fn commit(mut rest: &[u8]) -> Result<Node, DecodeError> {
    length(&mut rest)?;
    let mut commit = Commit::default();
    let mut left_over = None;
    while let Some(line) = left_over.take().or_else(|| line(&mut rest)) {
        left_over = commit.line(line, &mut rest)?;
    }
    let or_absent = |value: Option<Node>| value.unwrap_or(Node::Absent);
    Ok(map([
        ("tree", commit.tree.ok_or_else(no_link)?),
        ("parents", Node::List(commit.parents)),
        ("message", Node::String(commit.message.into())),
        ("author", or_absent(commit.author)),
        ("committer", or_absent(commit.committer)),
        ("encoding", or_absent(commit.encoding)),
        ("signature", or_absent(commit.signature)),
        ("mergetag", Node::List(commit.mergetag)),
        ("other", Node::List(commit.other)),
    ]))
}

impl Commit {
    /// Reads what begins with `line`; returns a line that was read and belongs to the next.
    fn line<'a>(
        &mut self,
        line: &'a [u8],
        rest: &mut &'a [u8],
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        if let Some(sha) = line.strip_prefix(b"tree ") {
            self.tree = Some(hex_link(sha)?);
        } else if let Some(sha) = line.strip_prefix(b"parent ") {
            self.parents.push(hex_link(sha)?);
        } else if line.starts_with(b"author ") {
            self.author = Some(parse_person(line)?);
        } else if line.starts_with(b"committer ") {
            self.committer = Some(parse_person(line)?);
        } else if let Some(name) = line.strip_prefix(b"encoding ") {
            self.encoding = Some(text(name));
        } else if let Some(sha) = line.strip_prefix(b"mergetag object ") {
            let (tag, left_over) = merge_tag(hex_link(sha)?, rest)?;
            self.mergetag.push(tag);
            return Ok(left_over);
        } else if line.starts_with(b"gpgsig ") {
            self.signature = Some(signature(rest)?);
        } else if line.is_empty() {
            self.message = std::mem::take(rest).to_vec();
        } else {
            self.other.push(text(line));
        }
        Ok(None)
    }
}

/// A tag inside a commit: its lines are indented, and so is its message.
fn merge_tag<'a>(
    object: Node,
    rest: &mut &'a [u8],
) -> Result<(Node, Option<&'a [u8]>), DecodeError> {
    let mut tag = Tag { object: Some(object), ..Tag::default() };
    while let Some(found) = line(rest) {
        if let Some(kind) = found.strip_prefix(b" type ") {
            tag.kind = kind.to_vec();
        } else if let Some(name) = found.strip_prefix(b" tag ") {
            tag.tag = name.to_vec();
        } else if let Some(person) = found.strip_prefix(b" ").filter(|l| l.starts_with(b"tagger "))
        {
            tag.tagger = Some(parse_person(person)?);
        } else if found == b" " {
            loop {
                let found = line(rest).ok_or_else(DecodeError::eof)?;
                if !found.starts_with(b" ") {
                    return Ok((tag.finish()?, Some(found)));
                }
                tag.message.extend_from_slice(found);
                tag.message.push(b'\n');
            }
        }
    }
    Ok((tag.finish()?, None))
}

fn signature(rest: &mut &[u8]) -> Result<Node, DecodeError> {
    let mut signature = Vec::new();
    let mut push = |line: &[u8]| {
        signature.extend_from_slice(line);
        signature.push(b'\n');
    };
    let first = line(rest).ok_or_else(DecodeError::eof)?;
    let expected =
        first == b" " || first.starts_with(b" Version: ") || first.starts_with(b" Comment: ");
    if !expected {
        let text = "expected first line of sig to be a single space or version";
        return Err(DecodeError::new(text));
    }
    push(first);
    loop {
        let found = line(rest).ok_or_else(DecodeError::eof)?;
        if found == b" -----END PGP SIGNATURE-----" {
            return Ok(Node::String(signature.into()));
        }
        push(found);
    }
}

/// A line like `author A U Thor <author@example.com> 1700000000 +0100`.
fn parse_person(line: &[u8]) -> Result<Node, DecodeError> {
    let wrong = |what: &str| DecodeError::new(format!("{what}: {}", quote(line)));
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if parts.len() < 3 {
        return Err(wrong("incorrectly formatted person info line"));
    }
    let invalid = || wrong("invalid personInfo");
    let mut parts = parts.into_iter().skip(1).peekable();
    let mut name = Vec::new();
    while let Some(part) = parts.next_if(|part| !part.starts_with(b"<")) {
        if !part.is_empty() || !name.is_empty() {
            name.extend_from_slice(part);
            name.push(b' ');
        }
    }
    name.pop();
    let mut email = Vec::new();
    loop {
        let part = parts.next().ok_or_else(invalid)?;
        let part = part.strip_prefix(b"<").unwrap_or(part);
        if let Some(last) = part.strip_suffix(b">") {
            email.extend_from_slice(last);
            break;
        }
        email.extend_from_slice(part);
        email.push(b' ');
    }
    let date = parts.next().unwrap_or_default();
    let timezone = parts.next().unwrap_or_default();
    Ok(person([date, timezone, &email, &name]))
}

fn person(values: [&[u8]; 4]) -> Node {
    let fields = PERSON.into_iter().zip(values);
    Node::Map(fields.map(|(key, value)| (Bytes::from(key), text(value))).collect())
}
