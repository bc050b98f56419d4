//! The dag-jose codec: signed (JWS) and encrypted (JWE) objects, as CBOR in blocks and with
//! base64url strings as values.
//!
//! Pure. Fields and texts are those of go-dag-jose.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::assign::{Fields, fields, missing, no_such_field, wrong_scalar};
use super::base::decode_base64url;
use super::build::{Builder, Event};
use super::cid::Cid;
use super::node::{Kind, Node, NodeError, Typed};
use super::{DecodeError, cbor};

/// A field of a type, in the order of its schema.
#[derive(Clone, Copy)]
enum Field {
    /// Bytes, shown as base64url.
    Text(&'static str),
    /// Any map.
    Any(&'static str),
    /// A list of another type.
    List(&'static str, &'static Type),
    /// A link.
    Link(&'static str),
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Any(name) | Self::List(name, _) | Self::Link(name) => name,
        }
    }
}

/// A type of go-dag-jose, without `Decoded` or `Encoded` before its name.
struct Type {
    name: &'static str,
    fields: &'static [Field],
    required: Option<&'static str>,
}

static JWS: Type = Type {
    name: "JWS",
    fields: &[Field::Link("link"), Field::Text("payload"), Field::List("signatures", &SIGNATURE)],
    required: Some("payload"),
};
static SIGNATURE: Type = Type {
    name: "Signature",
    fields: &[Field::Any("header"), Field::Text("protected"), Field::Text("signature")],
    required: Some("signature"),
};
static JWE: Type = Type {
    name: "JWE",
    fields: &[
        Field::Text("aad"),
        Field::Text("ciphertext"),
        Field::Text("iv"),
        Field::Text("protected"),
        Field::List("recipients", &RECIPIENT),
        Field::Text("tag"),
        Field::Any("unprotected"),
    ],
    required: Some("ciphertext"),
};
static RECIPIENT: Type = Type {
    name: "Recipient",
    fields: &[Field::Any("header"), Field::Text("encrypted_key")],
    required: None,
};

impl Type {
    /// The entries of a map, which are those of this type, in the order of its fields.
    fn convert(
        &self,
        entries: &Fields,
        direction: &Direction,
    ) -> Result<Vec<(Bytes, Node)>, NodeError> {
        let type_name = format!("dagjose.{}{}.Repr", direction.prefix, self.name);
        let mut converted = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let found = self.fields.iter().position(|field| field.name().as_bytes() == name);
            let field = found.and_then(|at| Some((at, *self.fields.get(at)?)));
            let Some((at, field)) = field else { return Err(no_such_field(&type_name, name)) };
            converted.push((at, (name.clone(), direction.value(field, value)?)));
        }
        let is_there = |required: &str| entries.iter().any(|(name, _)| name == required.as_bytes());
        if let Some(required) = self.required.filter(|required| !is_there(required)) {
            return Err(missing(required));
        }
        converted.sort_by_key(|(at, _)| *at);
        Ok(converted.into_iter().map(|(_, entry)| entry).collect())
    }
}

/// From a block, or into one.
struct Direction {
    /// Before the names of types.
    prefix: &'static str,
    text: fn(&Node) -> Result<Node, NodeError>,
}

static FROM_BLOCK: Direction = Direction { prefix: "Decoded", text: text_from_block };
static INTO_BLOCK: Direction = Direction { prefix: "Encoded", text: bytes_into_block };

impl Direction {
    fn value(&self, field: Field, value: &Node) -> Result<Node, NodeError> {
        match (field, value) {
            (Field::Text(_), _) => (self.text)(value),
            (Field::List(_, of), Node::List(values)) => {
                let type_name = format!("dagjose.{}{}.Repr", self.prefix, of.name);
                let convert = |value| {
                    let entries = fields(value, &type_name)?;
                    of.convert(entries, self).map(Node::Map)
                };
                values.iter().map(convert).collect::<Result<_, _>>().map(Node::List)
            }
            (Field::List(_, of), other) => {
                let type_name = format!("dagjose.{}{}s.Repr", self.prefix, of.name);
                Err(wrong_assign(other, &type_name, "list"))
            }
            (Field::Link(_), Node::Link(_)) => Ok(value.clone()),
            (Field::Link(_), other) => Err(wrong_assign(other, "dagjose.Link", "link")),
            (Field::Any(_), _) => {
                check_any(value)?;
                Ok(value.clone())
            }
        }
    }
}

/// A value that a decoder hands to a type of another kind.
fn wrong_assign(value: &Node, type_name: &str, expected: &'static str) -> NodeError {
    let (method, kind) = match value {
        Node::Null | Node::Absent => ("AssignNull", "null"),
        Node::Bool(_) => ("AssignBool", "bool"),
        Node::Int(_) => ("AssignInt", "int"),
        Node::Float(_) => ("AssignFloat", "float"),
        Node::String(_) => ("AssignString", "string"),
        Node::Bytes(_) => ("AssignBytes", "bytes"),
        Node::Link(_) => ("AssignLink", "link"),
        Node::List(_) => ("BeginList", "list"),
        Node::Map(_) => ("BeginMap", "map"),
    };
    NodeError::wrong_kind(method, type_name, Kind(expected), kind)
}

fn text_from_block(value: &Node) -> Result<Node, NodeError> {
    let bytes = match value {
        Node::Bytes(bytes) => bytes.to_vec(),
        Node::String(text) => decode_text(text)?,
        other => return Err(wrong_assign(other, "dagjose.Base64Url", "string")),
    };
    Ok(Node::String(BASE64_URL_SAFE_NO_PAD.encode(bytes).into()))
}

fn bytes_into_block(value: &Node) -> Result<Node, NodeError> {
    match value {
        Node::String(text) => Ok(Node::Bytes(decode_text(text)?.into())),
        Node::Null => Err(wrong_assign(value, "dagjose.Raw", "bytes")),
        other => Err(wrong_scalar("AsBytes", other, "bytes")),
    }
}

fn decode_text(text: &[u8]) -> Result<Vec<u8>, NodeError> {
    decode_base64url(text).map_err(|error| NodeError(error.to_string()))
}

/// The kinds that a header may hold.
fn check_any(value: &Node) -> Result<(), NodeError> {
    let refused = match value {
        Node::Null | Node::Absent => "AssignNull",
        Node::Bool(_) => "AssignBool",
        Node::Link(_) => "AssignLink",
        Node::List(values) => return values.iter().try_for_each(check_any),
        Node::Map(entries) => return entries.iter().try_for_each(|(_, value)| check_any(value)),
        _ => return Ok(()),
    };
    Err(NodeError(format!(
        "cannot match schema: union structure constraints for dagjose.Any.Repr caused rejection: \
         {refused} called but is not valid for any of the kinds that are valid members of this union"
    )))
}

/// Decodes a block: a JWE if it can be one, else a JWS, with the link that its payload is.
pub(super) fn decode(block: &Bytes) -> Result<Node, DecodeError> {
    let mut builder = Builder::new(block);
    let sink = |event: Event<'_>| builder.push(event);
    cbor::decode(cbor::Dialect::DagCbor, block, sink)?;
    let node = builder.finish();
    let told = |error: NodeError| DecodeError::new(error.to_string());
    let Node::Map(entries) = &node else {
        let type_name = match node {
            Node::Null => "dagjose.DecodedJWS.Repr.Repr",
            _ => "dagjose.DecodedJWS.Repr",
        };
        return Err(told(wrong_assign(&node, type_name, "map")));
    };
    if let Ok(jwe) = JWE.convert(entries, &FROM_BLOCK) {
        return Ok(Node::Map(jwe));
    }
    let mut jws = JWS.convert(entries, &FROM_BLOCK).map_err(told)?;
    if node.get("link").is_none() {
        let payload = jws.iter().find(|(name, _)| name == "payload".as_bytes());
        let payload = payload.map_or_else(Vec::new, |(_, text)| match text {
            Node::String(text) => decode_text(text).unwrap_or_default(),
            _ => Vec::new(),
        });
        let cid = Cid::from_bytes(&payload).map_err(|e| DecodeError::new(e.to_string()))?;
        jws.insert(0, (Bytes::from_static(b"link"), Node::Link(cid)));
    }
    Ok(Node::Map(jws))
}

/// Appends the block of an object in general or flattened form.
pub(super) fn encode(node: &Typed, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let value = &node.node;
    if !matches!(value, Node::Map(_)) {
        let name = node.type_name();
        return Err(NodeError::wrong_kind("LookupByString", name, value.kind(), "map"));
    }
    let (of, entries) = if present(value, "ciphertext").is_some() {
        (&JWE, unflatten_jwe(value)?)
    } else if present(value, "payload").is_some() {
        (&JWS, unflatten_jws(value)?)
    } else {
        return Err(NodeError("invalid JOSE object".to_owned()));
    };
    let block = Node::Map(of.convert(&entries, &INTO_BLOCK)?);
    cbor::encode(cbor::Dialect::DagJose, &block, out)
}

fn present<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    node.get(name).filter(|value| **value != Node::Absent)
}

/// The named fields that are there, each checked to be text, or else to be a map.
fn pick(node: &Node, names: &[&'static str]) -> Result<Vec<(Bytes, Node)>, NodeError> {
    let mut picked = Vec::new();
    for name in names {
        let Some(value) = present(node, name) else { continue };
        match (*name, value) {
            ("header" | "unprotected", _) => {
                check_plain(value)?;
                if !matches!(value, Node::Map(_)) {
                    return Err(not_go_map(value, ""));
                }
            }
            (_, Node::String(_)) => {}
            (_, other) => return Err(wrong_scalar("AsString", other, "string")),
        }
        picked.push((Bytes::from_static(name.as_bytes()), value.clone()));
    }
    Ok(picked)
}

/// A list of maps, as Go reads it through JSON.
fn maps(node: &Node) -> Result<&[Node], NodeError> {
    check_plain(node)?;
    let Node::List(values) = node else { return Err(not_go_map(node, "[]")) };
    match values.iter().find(|value| !matches!(value, Node::Map(_))) {
        Some(value) => Err(not_go_map(value, "")),
        None => Ok(values),
    }
}

/// A header goes through JSON, which has no links or bytes here.
fn check_plain(node: &Node) -> Result<(), NodeError> {
    match node {
        Node::Link(_) => Err(NodeError("cannot marshal IPLD links to this codec".to_owned())),
        Node::Bytes(_) => Err(NodeError("cannot marshal IPLD bytes to this codec".to_owned())),
        Node::List(values) => values.iter().try_for_each(check_plain),
        Node::Map(entries) => entries.iter().try_for_each(|(_, value)| check_plain(value)),
        _ => Ok(()),
    }
}

fn not_go_map(node: &Node, of: &str) -> NodeError {
    let json = match node {
        Node::Bool(_) => "bool",
        Node::Int(_) | Node::Float(_) => "number",
        Node::String(_) => "string",
        Node::List(_) => "array",
        _ => "object",
    };
    let go = format!("{of}map[string]interface {{}}");
    NodeError(format!("json: cannot unmarshal {json} into Go value of type {go}"))
}

fn refuse_both(node: &Node, names: &[&str], what: &str) -> Result<(), NodeError> {
    if names.iter().any(|name| present(node, name).is_some()) {
        return Err(NodeError(format!("invalid {what} serialization")));
    }
    Ok(())
}

fn unflatten_jwe(node: &Node) -> Result<Vec<(Bytes, Node)>, NodeError> {
    let recipients = Bytes::from_static(b"recipients");
    let mut entries = pick(node, &["ciphertext"])?;
    let found = match present(node, "recipients") {
        None => {
            let recipient = pick(node, &["encrypted_key", "header"])?;
            vec![Node::Map(recipient)]
        }
        Some(list) => {
            refuse_both(node, &["encrypted_key", "header"], "JWE")?;
            maps(list)?.to_vec()
        }
    };
    // One without any field is no recipient; Go panics where there is not even that.
    let is_empty = found.first().is_none_or(|first| *first == Node::Map(Vec::new()));
    if !is_empty {
        entries.push((recipients, Node::List(found)));
    }
    entries.extend(pick(node, &["aad", "iv", "protected", "tag", "unprotected"])?);
    Ok(entries)
}

fn unflatten_jws(node: &Node) -> Result<Vec<(Bytes, Node)>, NodeError> {
    let mut entries = pick(node, &["payload"])?;
    if let Some((_, Node::String(payload))) = entries.first() {
        let text = format!("u{}", String::from_utf8_lossy(payload));
        Cid::parse(&text)
            .map_err(|error| NodeError(format!("payload is not a valid CID: {error}")))?;
    }
    let signatures = match present(node, "signatures") {
        None => vec![Node::Map(pick(node, &["header", "protected", "signature"])?)],
        Some(list) => {
            refuse_both(node, &["header", "protected", "signature"], "JWS")?;
            maps(list)?.to_vec()
        }
    };
    entries.push((Bytes::from_static(b"signatures"), Node::List(signatures)));
    Ok(entries)
}
