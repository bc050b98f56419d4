//! The header of version 1, which is also the first thing in a version 2 file.
//!
//! Anyone may have written it, so numbers may be longer than needed, what follows the map is
//! ignored, and so are tags; unknown keys are errors, as for go-ipld-cbor.

use crate::ipld::Cid;
use crate::ipld::build::Event;
use crate::ipld::cbor::{Head, Reader};
use crate::ipld::quote::quote;

use super::Error;

/// What a header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) roots: Vec<Cid>,
    pub(super) version: u64,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Items(Reader::relaxed(bytes)).header().map_err(Error::Header)
    }
}

struct Items<'a>(Reader<'a>);

impl<'a> Items<'a> {
    fn next(&mut self) -> Result<Head<'a>, String> {
        self.0.head(None).map_err(|error| error.to_string())
    }

    fn header(mut self) -> Result<Header, String> {
        let mut header = Header::default();
        let len = match self.next()? {
            Head::Map(len) => len,
            Head::Scalar(Event::Null) => return Ok(header),
            other => return Err(misplaced(&other, "start of map")),
        };
        for _ in 0..len {
            let key = match self.next()? {
                Head::Scalar(Event::String(key)) => key,
                other => return Err(misplaced(&other, "map key")),
            };
            match key.as_ref() {
                b"version" => header.version = self.version()?,
                b"roots" => header.roots = self.roots()?,
                key => {
                    return Err(format!(
                        "unmarshal error: stream contains key {}, but there's no such field in \
                         structs of type carv1.CarHeader",
                        quote(key)
                    ));
                }
            }
        }
        Ok(header)
    }

    fn version(&mut self) -> Result<u64, String> {
        match self.next()? {
            Head::Scalar(Event::Int(version)) if version >= 0 => Ok(version as u64),
            other => Err(self.not_assignable(&other, "uint64")),
        }
    }

    fn roots(&mut self) -> Result<Vec<Cid>, String> {
        let len = match self.next()? {
            Head::Scalar(Event::Null) => 0,
            Head::List(len) => len,
            other => return Err(misplaced(&other, "start of array")),
        };
        let mut roots = Vec::new();
        for _ in 0..len {
            roots.push(match self.next()? {
                Head::Scalar(Event::Null) => root(&[])?,
                Head::Bytes { bytes, .. } => root(bytes)?,
                other => return Err(self.not_assignable(&other, "slice")),
            });
        }
        Ok(roots)
    }

    fn not_assignable(&self, item: &Head<'_>, field: &str) -> String {
        let tag = self.0.tag().map_or_else(String::new, |tag| format!("_{tag}:"));
        format!("unmarshal error: cannot assign {tag}{} to {field} field", describe(item))
    }
}

fn root(link: &[u8]) -> Result<Cid, String> {
    match link {
        [] => Err("link value was empty".to_owned()),
        [0, cid @ ..] => {
            Cid::from_bytes(cid).map_err(|_| "link value should have been bytes".to_owned())
        }
        _ => Err("invalid multibase on IPLD link".to_owned()),
    }
}

fn misplaced(item: &Head<'_>, expected: &str) -> String {
    format!("malformed stream: invalid appearance of {} token; expected {expected}", item.token())
}

/// An item as refmt shows tokens.
fn describe(item: &Head<'_>) -> String {
    match item {
        Head::Scalar(Event::Bool(value)) => format!("<b:{value}>"),
        Head::Scalar(Event::Int(value)) if *value < 0 => format!("<i:{value}>"),
        Head::Scalar(Event::Int(value)) => format!("<u:{value}>"),
        Head::Scalar(Event::Float(value)) => format!("<f:{value}>"),
        Head::Scalar(Event::String(text)) => format!("<s:{}>", quote(text)),
        Head::Scalar(_) => "<0>".to_owned(),
        Head::Bytes { bytes, .. } => {
            let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
            format!("<x:[{}]>", bytes.join(" "))
        }
        Head::List(len) => format!("<[:{len}>"),
        Head::Map(len) => format!("<{{:{len}>"),
    }
}
