//! Giving types to values: what go-ipld-prime's schemas check, with its texts.
//!
//! Pure.

use bytes::Bytes;

use super::cid::Cid;
use super::node::{Kind, Node, NodeError};
use super::quote::quote;

/// The entries of a map.
pub(super) type Fields = [(Bytes, Node)];

/// The entries of what must be a map to be assigned to a type.
pub(super) fn fields<'n>(node: &'n Node, type_name: &str) -> Result<&'n Fields, NodeError> {
    match node {
        Node::Map(entries) => Ok(entries),
        _ => Err(not_assignable(node, type_name, "map")),
    }
}

/// A value of another kind than its type. Null has a text of its own, in which go-ipld-prime
/// names the kind of the type where it should name the value's.
pub(super) fn not_assignable(node: &Node, type_name: &str, expected: &'static str) -> NodeError {
    match node {
        Node::Null => {
            // Representations name themselves twice.
            let repr = if type_name.ends_with(".Repr") { ".Repr" } else { "" };
            let type_name = format!("{type_name}{repr}");
            NodeError::wrong_kind("AssignNull", &type_name, Kind(expected), "null")
        }
        _ => NodeError::wrong_kind("AssignNode", type_name, node.kind(), expected),
    }
}

pub(super) fn no_such_field(type_name: &str, name: &[u8]) -> NodeError {
    let name = quote(name);
    NodeError(format!("invalid key for map {type_name}: {name}: no such field"))
}

/// Not every field that a type needs is there.
pub(super) fn missing(fields: &str) -> NodeError {
    NodeError(format!("missing required fields: {fields}"))
}

/// The values of what must be a list to be assigned to a type.
pub(super) fn list<'n>(node: &'n Node, type_name: &str) -> Result<&'n [Node], NodeError> {
    match node {
        Node::List(values) => Ok(values),
        _ => Err(not_assignable(node, type_name, "list")),
    }
}

/// The value of a link of a type.
pub(super) fn link<'n>(node: &'n Node, type_name: &str) -> Result<&'n Cid, NodeError> {
    match node {
        Node::Link(cid) => Ok(cid),
        Node::Null => Err(not_assignable(node, type_name, "link")),
        _ => Err(wrong_scalar("AsLink", node, "link")),
    }
}

/// The value of a string of a type.
pub(super) fn string<'n>(node: &'n Node, type_name: &str) -> Result<&'n Bytes, NodeError> {
    match node {
        Node::String(text) => Ok(text),
        Node::Null => Err(not_assignable(node, type_name, "string")),
        _ => Err(wrong_scalar("AsString", node, "string")),
    }
}

/// The value of bytes of a type.
pub(super) fn bytes<'n>(node: &'n Node, type_name: &str) -> Result<&'n Bytes, NodeError> {
    match node {
        Node::Bytes(bytes) => Ok(bytes),
        Node::Null => Err(not_assignable(node, type_name, "bytes")),
        _ => Err(wrong_scalar("AsBytes", node, "bytes")),
    }
}

/// The value of an integer of a type.
pub(super) fn int(node: &Node, type_name: &str) -> Result<i64, NodeError> {
    let too_large = |_| NodeError("unsigned integer out of range of int64 type".to_owned());
    match node {
        Node::Int(value) => i64::try_from(*value).map_err(too_large),
        Node::Null => Err(not_assignable(node, type_name, "int")),
        _ => Err(wrong_scalar("AsInt", node, "int")),
    }
}

pub(super) fn wrong_scalar(method: &str, node: &Node, expected: &str) -> NodeError {
    let name = if *node == Node::Absent { "absent" } else { node.kind().0 };
    NodeError::wrong_kind(method, name, node.kind(), expected)
}
