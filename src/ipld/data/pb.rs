//! dag-pb as values: with its types as it is stored, and plain as it is put in.

use bytes::Bytes;

use super::super::DecodeError;
use super::super::assign::{bytes, fields, int, link, list, missing, no_such_field, string};
use super::super::dag_pb::{PbLink, PbNode};
use super::super::node::{Node, NodeError, Schema, Typed};

fn key(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

/// The typed view of a node: every field is there, absent ones as such.
pub(super) fn typed(node: PbNode) -> Typed {
    let link = |link: PbLink| {
        let name = link.name.map_or(Node::Absent, Node::String);
        let tsize = link.tsize.map_or(Node::Absent, tsize_node);
        Node::Map(vec![
            (key("Hash"), Node::Link(link.cid)),
            (key("Name"), name),
            (key("Tsize"), tsize),
        ])
    };
    let links = node.links.into_iter().map(link).collect();
    let data = node.data.map_or(Node::Absent, Node::Bytes);
    let fields = vec![(key("Links"), Node::List(links)), (key("Data"), data)];
    Typed { node: Node::Map(fields), schema: Schema::PbNode }
}

/// Go reads sizes as signed.
fn tsize_node(tsize: u64) -> Node {
    Node::Int((tsize as i64).into())
}

/// The plain view of a node: the fields that are there, in the order of the block.
pub(super) fn plain(block: &Bytes) -> Result<Node, DecodeError> {
    let node = PbNode::decode(block)?;
    let link = |link: PbLink| {
        let mut fields = vec![(key("Hash"), Node::Link(link.cid))];
        fields.extend(link.name.map(|name| (key("Name"), Node::String(name))));
        fields.extend(link.tsize.map(|tsize| (key("Tsize"), tsize_node(tsize))));
        Node::Map(fields)
    };
    let is_data_first = block.first() == Some(&0x0a) || node.links.is_empty();
    let mut fields = vec![(key("Links"), Node::List(node.links.into_iter().map(link).collect()))];
    fields.extend(node.data.map(|data| (key("Data"), Node::Bytes(data))));
    if is_data_first {
        fields.reverse();
    }
    Ok(Node::Map(fields))
}

pub(super) fn encode(node: &Typed, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let mut links = None;
    let mut data = None;
    for (name, value) in fields(&node.node, "dagpb.PBNode")? {
        match name.as_ref() {
            b"Links" => links = Some(links_of(value)?),
            b"Data" => data = Some(bytes(value, "dagpb.Bytes")?.clone()),
            _ => return Err(no_such_field("dagpb.PBNode", name)),
        }
    }
    let Some(links) = links else {
        return Err(missing("Links"));
    };
    if let Some(negative) = links.iter().find_map(|(_, tsize)| tsize.filter(|size| *size < 0)) {
        return Err(NodeError(format!("Link has negative Tsize value [{negative}]")));
    }
    let links = links.into_iter().map(|(link, _)| link).collect();
    out.extend(PbNode { links, data }.encode());
    Ok(())
}

/// The links, each with its size as it was given, since only later is a negative one refused.
fn links_of(node: &Node) -> Result<Vec<(PbLink, Option<i64>)>, NodeError> {
    list(node, "dagpb.PBLinks")?.iter().map(link_of).collect()
}

fn link_of(node: &Node) -> Result<(PbLink, Option<i64>), NodeError> {
    let (mut cid, mut name, mut tsize) = (None, None, None);
    for (field, value) in fields(node, "dagpb.PBLink")? {
        match (field.as_ref(), value) {
            (b"Name" | b"Tsize", Node::Absent) => {}
            (b"Hash", _) => cid = Some(link(value, "dagpb.Link")?.clone()),
            (b"Name", _) => name = Some(string(value, "dagpb.String")?.clone()),
            (b"Tsize", _) => tsize = Some(int(value, "dagpb.Int")?),
            _ => return Err(no_such_field("dagpb.PBLink", field)),
        }
    }
    let Some(cid) = cid else { return Err(missing("Hash")) };
    let size = tsize.map(|size| u64::try_from(size).unwrap_or_default());
    Ok((PbLink { cid, name, tsize: size }, tsize))
}
