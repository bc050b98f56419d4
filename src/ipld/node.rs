//! The data model: what every codec's blocks consist of.
//!
//! Pure. Strings are bytes, because Go's are and blocks exist that are no UTF-8. Maps keep the
//! order of their block; encoders sort. Nesting is bounded by the decoders ([`DEPTH_MAX`]), so
//! that walking and dropping a node by recursion is safe.

use bytes::Bytes;

use super::cid::Cid;
use super::quote::quote;

/// How deep maps and lists may nest: go-ipld-prime's limit.
pub const DEPTH_MAX: usize = 1024;

/// A value of the data model.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// An optional field of a typed node that the block does not have; shown as null.
    Absent,
    /// Yes or no.
    Bool(bool),
    /// An integer, from `i64::MIN` to `u64::MAX`.
    Int(i128),
    /// A finite number.
    Float(f64),
    /// Text, normally.
    String(Bytes),
    /// Bytes.
    Bytes(Bytes),
    /// A list.
    List(Vec<Node>),
    /// A map; no key twice.
    Map(Vec<(Bytes, Node)>),
    /// A link to another block.
    Link(Cid),
}

/// The kind of a node, as error texts name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub(crate) &'static str);

impl Node {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind(match self {
            Self::Null | Self::Absent => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Link(_) => "link",
        })
    }

    /// The value under `key`, when this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => {
                let found = entries.iter().find(|(own, _)| own == key.as_bytes());
                found.map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// What a node cannot do: be looked into, or be encoded. The texts are go-ipld-prime's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NodeError(pub(crate) String);

impl NodeError {
    /// An operation that the kind of the node does not have. `type_name` is what the node is
    /// called: its kind, or the type of its schema.
    pub(crate) fn wrong_kind(method: &str, type_name: &str, kind: Kind, expected: &str) -> Self {
        let method = quote(method);
        Self(format!(
            "func called on wrong kind: {method} called on a {type_name} node (kind: {}), \
             but only makes sense on {expected}",
            kind.0
        ))
    }
}

/// A node and the type that its codec gives it: dag-pb's nodes are more than maps, and error
/// texts say so.
#[derive(Debug, Clone, PartialEq)]
pub struct Typed {
    /// The node.
    pub node: Node,
    /// Its type.
    pub schema: Schema,
}

/// The types that codecs give to their nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// None: the kind says all.
    Plain,
    /// None, at the root of a stored block: Go's value is of another type, which shows in one
    /// error of git-raw.
    Stored,
    /// A Git object; the name of its type.
    Git(&'static str),
    /// The root of a dag-pb block.
    PbNode,
    /// Its `Links`.
    PbLinks,
    /// One of them.
    PbLink,
    /// A scalar in a dag-pb block.
    PbScalar(&'static str),
}

impl Typed {
    /// A node without a type.
    #[must_use]
    pub fn plain(node: Node) -> Self {
        Self { node, schema: Schema::Plain }
    }

    /// How error texts call the node.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self.schema {
            _ if self.node == Node::Absent => "absent",
            Schema::Plain | Schema::Stored => self.node.kind().0,
            Schema::Git(name) => name,
            Schema::PbNode => "dagpb.PBNode",
            Schema::PbLinks => "dagpb.PBLinks",
            Schema::PbLink => "dagpb.PBLink",
            Schema::PbScalar(name) => name,
        }
    }

    /// The value at one segment of a path: a key of a map, or an index of a list.
    ///
    /// # Errors
    /// With go-ipld-prime's text, when there is none.
    pub fn into_segment(self, segment: &str) -> Result<Self, LookupError> {
        let type_name = self.type_name();
        let schema = self.schema.at(segment);
        let missing = |key: &str| NodeError(format!("key not found: {}", quote(key)));
        match self.node {
            Node::Map(entries) => {
                let found = entries.into_iter().find(|(key, _)| key == segment.as_bytes());
                match (found, self.schema) {
                    (Some((_, node)), _) => Ok(Self { node, schema }),
                    (None, schema) if schema.is_struct() => Err(LookupError::NoSuchField),
                    (None, _) => Err(missing(segment).into()),
                }
            }
            Node::List(values) => {
                let index = parse_index(segment, self.schema)?;
                // Go's list forgets which index it was when that is below zero.
                let index = usize::try_from(index).map_err(|_| missing(""))?;
                let node = values.into_iter().nth(index).ok_or_else(|| missing(segment))?;
                Ok(Self { node, schema })
            }
            node => {
                let expected = "map or list";
                let kind = node.kind();
                Err(NodeError::wrong_kind("LookupBySegment", type_name, kind, expected).into())
            }
        }
    }

    /// Follows `segments` as far as this block goes.
    ///
    /// # Errors
    /// When there is nothing at one of them.
    pub fn walk(self, segments: &[String]) -> Result<Walk, WalkError> {
        let mut at = self;
        for (used, segment) in segments.iter().enumerate() {
            let is_last = used + 1 == segments.len();
            at = at.into_segment(segment).map_err(|error| match error {
                LookupError::Node(error) if is_last => WalkError::Lookup(error),
                _ => WalkError::NoLink(segment.clone()),
            })?;
            if let Node::Link(cid) = at.node {
                return Ok(Walk::Link { cid, used: used + 1 });
            }
        }
        Ok(Walk::Node(at))
    }
}

/// Where following a path inside one block leads.
#[derive(Debug, Clone, PartialEq)]
pub enum Walk {
    /// To a value of this block: all segments are used.
    Node(Typed),
    /// To another block.
    Link {
        /// Which.
        cid: Cid,
        /// How many segments led there.
        used: usize,
    },
}

/// Why following a path inside one block leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// Nothing at this segment. Kubo's text also names the block, which this module does not
    /// know: `no link named "x" under <cid>`.
    #[error("no link named {}", quote(.0))]
    NoLink(String),
    /// Nothing at the last segment.
    #[error(transparent)]
    Lookup(NodeError),
}

/// Why there is nothing at one segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The node has a type, and the type no such field.
    #[error("no such field")]
    NoSuchField,
    /// The node has nothing there.
    #[error(transparent)]
    Node(#[from] NodeError),
}

fn parse_index(segment: &str, schema: Schema) -> Result<i64, NodeError> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    segment.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let of_type = if schema == Schema::PbLinks { " of type dagpb.PBLinks" } else { "" };
        let text = quote(segment);
        NodeError(format!(
            "invalid segment for lookup on a list{of_type}: {text}: \
             strconv.ParseInt: parsing {text}: {reason}"
        ))
    })
}

impl Schema {
    /// Whether the type has certain fields and no others.
    fn is_struct(self) -> bool {
        match self {
            Self::PbNode | Self::PbLink => true,
            Self::Git(name) => name != super::git::TREE,
            _ => false,
        }
    }

    /// The type of what lies one segment below.
    fn at(self, segment: &str) -> Self {
        match (self, segment) {
            (Self::PbNode, "Links") => Self::PbLinks,
            (Self::PbNode, "Data") => Self::PbScalar("dagpb.Bytes"),
            (Self::PbLinks, _) => Self::PbLink,
            (Self::PbLink, "Hash") => Self::PbScalar("dagpb.Link"),
            (Self::PbLink, "Name") => Self::PbScalar("dagpb.String"),
            (Self::PbLink, "Tsize") => Self::PbScalar("dagpb.Int"),
            _ => Self::Plain,
        }
    }
}
