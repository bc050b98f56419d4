//! Blocks as values of the data model, by multicodec: the registry of codecs.
//!
//! Pure. The codecs are those that Kubo registers; an unknown one is an error with its text.

use bytes::Bytes;

use super::build::Builder;
use super::cid::Cid;
use super::dag_pb::PbNode;
use super::node::{Node, NodeError, Schema, Typed};
use super::{DecodeError, build::Event, cbor, codec, dag_pb, git, jose, json};

mod pb;

/// Why a codec cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Nothing decodes it.
    #[error("no decoder registered for multicodec code {0} ({0:#x})")]
    NoDecoder(u64),
    /// Nothing encodes it.
    #[error("no encoder registered for multicodec code {0} ({0:#x})")]
    NoEncoder(u64),
}

/// What can be decoded and encoded.
const CODECS: [u64; 8] = [
    codec::CBOR,
    codec::RAW,
    codec::DAG_PB,
    codec::DAG_CBOR,
    codec::GIT_RAW,
    codec::DAG_JOSE,
    codec::DAG_JSON,
    codec::JSON,
];

/// Whether blocks of this codec can be decoded.
///
/// # Errors
/// When they cannot.
pub fn check_decoder(codec: u64) -> Result<(), CodecError> {
    let known = codec == codec::GIT_ZLIB || CODECS.contains(&codec);
    if known { Ok(()) } else { Err(CodecError::NoDecoder(codec)) }
}

/// Whether blocks of this codec can be encoded.
///
/// # Errors
/// When they cannot.
pub fn check_encoder(codec: u64) -> Result<(), CodecError> {
    if CODECS.contains(&codec) { Ok(()) } else { Err(CodecError::NoEncoder(codec)) }
}

/// Decodes a block that is stored, as `dag/get` sees it: dag-pb with its types.
///
/// # Errors
/// With the text of Go's decoder, when `block` is no block of that codec.
pub fn decode_block(codec: u64, block: &Bytes) -> Result<Typed, DecodeError> {
    if codec == codec::DAG_PB {
        return Ok(pb::typed(PbNode::decode(block)?));
    }
    let mut node = decode(codec, block).map_err(|error| match check_decoder(codec) {
        Ok(()) => error,
        Err(error) => DecodeError::new(format!("could not choose a decoder: {error}")),
    })?;
    if node.schema == Schema::Plain {
        node.schema = Schema::Stored;
    }
    Ok(node)
}

/// Decodes input, as `dag/put` does: values without types, but for Git objects.
///
/// # Errors
/// With the text of Go's decoder, when `block` is nothing of that codec.
pub fn decode(codec: u64, block: &Bytes) -> Result<Typed, DecodeError> {
    let mut builder = Builder::new(block);
    let sink = |event: Event<'_>| builder.push(event);
    match codec {
        codec::RAW => return Ok(Typed::plain(Node::Bytes(block.clone()))),
        codec::DAG_PB => return pb::plain(block).map(Typed::plain),
        codec::GIT_RAW => return git::decode(block),
        codec::GIT_ZLIB => return git::decode_compressed(block),
        codec::DAG_JOSE => return jose::decode(block).map(Typed::plain),
        codec::DAG_CBOR => cbor::decode(cbor::Dialect::DagCbor, block, sink)?,
        codec::CBOR => cbor::decode(cbor::Dialect::Cbor, block, sink)?,
        codec::DAG_JSON => json::decode(json::Dialect::DagJson, block, sink)?,
        codec::JSON => json::decode(json::Dialect::Json, block, sink)?,
        _ => return Err(DecodeError::new(CodecError::NoDecoder(codec).to_string())),
    }
    Ok(Typed::plain(builder.finish()))
}

/// Appends the block of a node to `out`. On an error, `out` holds what comes before it, which
/// Kubo has sent by then.
///
/// # Errors
/// With the text of Go's encoder, when the node has no form in that codec.
pub fn encode(codec: u64, node: &Typed, out: &mut Vec<u8>) -> Result<(), NodeError> {
    match codec {
        codec::RAW => match &node.node {
            Node::Bytes(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            other => {
                let name = node.type_name();
                Err(NodeError::wrong_kind("AsBytes", name, other.kind(), "bytes"))
            }
        },
        codec::DAG_PB => pb::encode(node, out),
        codec::GIT_RAW => git::encode(node, out),
        codec::DAG_JOSE => jose::encode(node, out),
        codec::DAG_CBOR => cbor::encode(cbor::Dialect::DagCbor, &node.node, out),
        codec::CBOR => cbor::encode(cbor::Dialect::Cbor, &node.node, out),
        codec::DAG_JSON => json::encode(json::Dialect::DagJson, &node.node, out),
        codec::JSON => json::encode(json::Dialect::Json, &node.node, out),
        _ => Err(NodeError(CodecError::NoEncoder(codec).to_string())),
    }
}

/// The CIDs that a block links to, in the order in which Kubo traverses them, duplicates kept.
///
/// # Errors
/// When `data` is no block of that codec, or the codec is unknown.
pub fn links(codec: u64, data: &[u8]) -> Result<Vec<Cid>, DecodeError> {
    let mut cids = Vec::new();
    let sink = |event: Event<'_>| {
        if let Event::Link(cid) = event {
            cids.push(cid);
        }
    };
    match codec {
        codec::RAW => {}
        codec::DAG_PB => return dag_pb::links(data),
        codec::DAG_CBOR => cbor::decode(cbor::Dialect::DagCbor, data, sink)?,
        codec::CBOR => cbor::decode(cbor::Dialect::Cbor, data, sink)?,
        codec::DAG_JSON => json::decode(json::Dialect::DagJson, data, sink)?,
        codec::JSON => json::decode(json::Dialect::Json, data, sink)?,
        codec::GIT_RAW | codec::GIT_ZLIB | codec::DAG_JOSE => {
            let node = decode(codec, &Bytes::copy_from_slice(data))?.node;
            collect_links(&node, &mut cids);
        }
        _ => {
            let error = CodecError::NoDecoder(codec);
            return Err(DecodeError::new(format!("could not choose a decoder: {error}")));
        }
    }
    Ok(cids)
}

fn collect_links(node: &Node, cids: &mut Vec<Cid>) {
    match node {
        Node::Link(cid) => cids.push(cid.clone()),
        Node::List(values) => values.iter().for_each(|value| collect_links(value, cids)),
        Node::Map(entries) => entries.iter().for_each(|(_, value)| collect_links(value, cids)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
