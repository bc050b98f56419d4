//! The dag-cbor and cbor codecs.
//!
//! Pure. As strict as go-ipld-prime over refmt, with their texts: no indefinite lengths, no
//! integer longer than needed, no NaN, no key twice, bounded depth and size. Tags other than a
//! link's are dropped unless they stand before bytes, which is how refmt reads them.

use std::borrow::Cow;

use super::DecodeError;
use super::build::{Event, Keys};
use super::cid::Cid;
use super::node::{DEPTH_MAX, Node, NodeError};

mod head;

pub(crate) use head::{Head, Reader};

/// The tag of a link.
const TAG_LINK: u64 = 42;

/// What one block may cost: go-ipld-prime counts a byte for each byte of text, and more for
/// each entry of a list or map.
const BUDGET: i64 = 10 << 20;
const ENTRY_COST_MAP: i64 = 8;
const ENTRY_COST_LIST: i64 = 4;

/// Whether links may be read and written, and whether map keys are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    DagCbor,
    Cbor,
    /// Only written: sorted, and without links.
    DagJose,
}

/// A list or map that is not yet at its end.
struct Open<'a> {
    left: u64,
    /// The keys so far; none for a list.
    keys: Option<Keys<'a>>,
}

struct Parser<'a> {
    items: Reader<'a>,
    budget: i64,
    dialect: Dialect,
    open: Vec<Open<'a>>,
}

/// Decodes `block`, handing each step to `sink`.
pub(super) fn decode<'a>(
    dialect: Dialect,
    block: &'a [u8],
    mut sink: impl FnMut(Event<'a>),
) -> Result<(), DecodeError> {
    let mut parser =
        Parser { items: Reader::strict(block), budget: BUDGET, dialect, open: Vec::new() };
    let head = parser.items.head(None).map_err(DecodeError::mid_value)?;
    parser.value(head, &mut sink)?;
    while let Some(open) = parser.open.last_mut() {
        if open.left == 0 {
            parser.open.pop();
            sink(Event::Close);
            continue;
        }
        open.left -= 1;
        if open.keys.is_some() {
            parser.key(&mut sink)?;
            let head = parser.items.head(None).map_err(DecodeError::mid_value)?;
            parser.value(head, &mut sink)?;
        } else {
            let head = parser.items.head(None)?;
            parser.spend(ENTRY_COST_LIST)?;
            parser.value(head, &mut sink)?;
        }
    }
    if parser.items.is_at_end() {
        Ok(())
    } else {
        Err(DecodeError::new("unexpected content after end of cbor object"))
    }
}

impl<'a> Parser<'a> {
    fn key(&mut self, sink: &mut impl FnMut(Event<'a>)) -> Result<(), DecodeError> {
        let key = match self.items.head(None)? {
            Head::Scalar(Event::String(key)) => key,
            head => {
                let token = head.token();
                let text = format!("unexpected {token} token while expecting map key");
                return Err(DecodeError::new(text));
            }
        };
        self.spend(key.len() as i64 + ENTRY_COST_MAP)?;
        let keys = self.open.last_mut().and_then(|open| open.keys.as_mut());
        if keys.is_some_and(|keys| !keys.insert(key.clone())) {
            let key = super::quote::quote(&key);
            return Err(DecodeError::new(format!("duplicate map key {key}")));
        }
        sink(Event::Key(key));
        Ok(())
    }

    fn value(
        &mut self,
        head: Head<'a>,
        sink: &mut impl FnMut(Event<'a>),
    ) -> Result<(), DecodeError> {
        match head {
            Head::Scalar(event) => {
                self.spend(match &event {
                    Event::Null => 0,
                    Event::String(text) => text.len() as i64,
                    _ => 1,
                })?;
                sink(event);
            }
            Head::Bytes { bytes, tag } => {
                self.spend(bytes.len() as i64)?;
                sink(self.bytes(bytes, tag)?);
            }
            Head::List(len) => {
                self.open(len, None)?;
                sink(Event::OpenList);
            }
            Head::Map(len) => {
                self.open(len, Some(Keys::default()))?;
                sink(Event::OpenMap);
            }
        }
        Ok(())
    }

    fn open(&mut self, len: u64, keys: Option<Keys<'a>>) -> Result<(), DecodeError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(DecodeError::too_deep());
        }
        self.spend(i64::try_from(len).unwrap_or(i64::MAX))?;
        self.open.push(Open { left: len, keys });
        Ok(())
    }

    fn spend(&mut self, cost: i64) -> Result<(), DecodeError> {
        self.budget = self.budget.saturating_sub(cost);
        if self.budget < 0 {
            let text = "message structure demanded too many resources to process";
            return Err(DecodeError::new(text));
        }
        Ok(())
    }

    fn bytes(&self, bytes: &'a [u8], tag: Option<u64>) -> Result<Event<'a>, DecodeError> {
        match (tag, bytes) {
            (None, _) => Ok(Event::Bytes(Cow::Borrowed(bytes))),
            (Some(TAG_LINK), _) if self.dialect != Dialect::DagCbor => Err(unhandled_tag(TAG_LINK)),
            (Some(TAG_LINK), [0, cid @ ..]) => {
                let cid = Cid::from_bytes(cid);
                Ok(Event::Link(cid.map_err(|error| DecodeError::new(error.to_string()))?))
            }
            (Some(TAG_LINK), _) => Err(DecodeError::new("invalid multibase on IPLD link")),
            (Some(tag), _) => Err(unhandled_tag(tag)),
        }
    }
}

fn unhandled_tag(tag: u64) -> DecodeError {
    DecodeError::new(format!("unhandled cbor tag {tag}"))
}

/// Appends the encoded node to `out`. On an error, `out` holds what comes before it.
pub(super) fn encode(dialect: Dialect, node: &Node, out: &mut Vec<u8>) -> Result<(), NodeError> {
    match node {
        Node::Null | Node::Absent => out.push(0xf6),
        Node::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Node::Int(value) if *value < 0 => append_head(0x20, (-1 - *value) as u64, out),
        Node::Int(value) => append_head(0x00, *value as u64, out),
        Node::Float(value) => {
            out.push(0xfb);
            out.extend(value.to_bits().to_be_bytes());
        }
        Node::String(text) => append_string(0x60, text, out),
        Node::Bytes(bytes) => append_string(0x40, bytes, out),
        Node::Link(_) if dialect != Dialect::DagCbor => {
            return Err(NodeError("cannot Marshal ipld links to CBOR".to_owned()));
        }
        Node::Link(cid) => {
            append_head(0xc0, TAG_LINK, out);
            append_head(0x40, cid.byte_len() as u64 + 1, out);
            out.push(0);
            cid.append_to(out);
        }
        Node::List(values) => {
            append_head(0x80, values.len() as u64, out);
            for value in values {
                encode(dialect, value, out)?;
            }
        }
        Node::Map(entries) => {
            append_head(0xa0, entries.len() as u64, out);
            let mut entries: Vec<_> = entries.iter().collect();
            if dialect != Dialect::Cbor {
                entries.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            }
            for (key, value) in entries {
                append_string(0x60, key, out);
                encode(dialect, value, out)?;
            }
        }
    }
    Ok(())
}

fn append_string(major: u8, bytes: &[u8], out: &mut Vec<u8>) {
    append_head(major, bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a head: the major type in the upper three bits of `major`, then `value`, as short as it can be.
pub(crate) fn append_head(major: u8, value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let (descriptor, len) = match value {
        0..=0x17 => return out.push(major | value as u8),
        0x18..=0xff => (0x18, 1),
        0x100..=0xffff => (0x19, 2),
        0x1_0000..=0xffff_ffff => (0x1a, 4),
        _ => (0x1b, 8),
    };
    out.push(major | descriptor);
    out.extend(bytes.iter().skip(8 - len));
}
