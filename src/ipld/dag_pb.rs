//! The dag-pb codec: the protobuf of UnixFS files and directories.
//!
//! Pure. Decoding is as strict as go-codec-dagpb, with its texts, and copies nothing but CIDs.
//! Encoding is canonical: links before data, links sorted by name.

use bytes::Bytes;

use super::cid::Cid;
use super::{DecodeError, varint};

/// A node: its links in the order of the block, and its data when it has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PbNode {
    /// The links.
    pub links: Vec<PbLink>,
    /// The data; absent is not the same block as empty.
    pub data: Option<Bytes>,
}

/// A link of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PbLink {
    /// What it points at.
    pub cid: Cid,
    /// Its name: bytes, because Go's strings are. Absent is not the same block as empty.
    pub name: Option<Bytes>,
    /// Size of everything behind the link, as its maker says.
    pub tsize: Option<u64>,
}

impl PbLink {
    /// A link as UnixFS makes them, with name and size present.
    #[must_use]
    pub fn new(cid: Cid, name: impl Into<Bytes>, tsize: u64) -> Self {
        Self { cid, name: Some(name.into()), tsize: Some(tsize) }
    }

    /// The name; empty when absent.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or_default()
    }

    /// The size; zero when absent.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tsize.unwrap_or_default()
    }

    /// Length of the encoded link, without the header that stands before it in a node.
    fn encoded_len(&self) -> usize {
        let name = self.name.as_ref().map_or(0, |name| bytes_field_len(name.len()));
        let tsize = self.tsize.map_or(0, |tsize| 1 + varint::len(tsize));
        bytes_field_len(self.cid.byte_len()) + name + tsize
    }
}

impl PbNode {
    /// Decodes a block. Names and data share its memory.
    ///
    /// # Errors
    /// With go-codec-dagpb's text, when it is no dag-pb.
    pub fn decode(block: &Bytes) -> Result<Self, DecodeError> {
        let mut node = Self::default();
        parse(block, |field| match field {
            Field::Data(data) => node.data = Some(block.slice_ref(data)),
            Field::Link { cid, name, tsize } => {
                let name = name.map(|name| block.slice_ref(name));
                node.links.push(PbLink { cid, name, tsize });
            }
        })?;
        Ok(node)
    }

    /// The block, with the links sorted by name; equal names keep their order.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let links: usize = self.links.iter().map(|link| bytes_field_len(link.encoded_len())).sum();
        let data = self.data.as_ref().map_or(0, |data| bytes_field_len(data.len()));
        let mut out = Vec::with_capacity(links + data);
        if self.links.is_sorted_by(|a, b| a.name() <= b.name()) {
            self.links.iter().for_each(|link| append_link(link, &mut out));
        } else {
            let mut sorted: Vec<&PbLink> = self.links.iter().collect();
            sorted.sort_by(|a, b| a.name().cmp(b.name()));
            sorted.into_iter().for_each(|link| append_link(link, &mut out));
        }
        if let Some(data) = &self.data {
            append_bytes(0x0a, data, &mut out);
        }
        out
    }
}

/// Length of a field of bytes whose tag is one byte.
fn bytes_field_len(len: usize) -> usize {
    1 + varint::len(len as u64) + len
}

fn append_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    varint::append(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn append_link(link: &PbLink, out: &mut Vec<u8>) {
    out.push(0x12);
    varint::append(link.encoded_len() as u64, out);
    out.push(0x0a);
    varint::append(link.cid.byte_len() as u64, out);
    link.cid.append_to(out);
    if let Some(name) = &link.name {
        append_bytes(0x12, name, out);
    }
    if let Some(tsize) = link.tsize {
        out.push(0x18);
        varint::append(tsize, out);
    }
}

/// What a node is made of, in the order of the block.
enum Field<'a> {
    Data(&'a [u8]),
    Link { cid: Cid, name: Option<&'a [u8]>, tsize: Option<u64> },
}

/// The CIDs that a block links to, in its order, duplicates kept.
///
/// # Errors
/// As [`PbNode::decode`].
pub fn links(block: &[u8]) -> Result<Vec<Cid>, DecodeError> {
    let mut cids = Vec::new();
    parse(block, |field| {
        if let Field::Link { cid, .. } = field {
            cids.push(cid);
        }
    })?;
    Ok(cids)
}

fn parse<'a>(block: &'a [u8], mut found: impl FnMut(Field<'a>)) -> Result<(), DecodeError> {
    let mut rest = block;
    let (mut data_seen, mut links_seen, mut links_closed) = (false, false, false);
    while !rest.is_empty() {
        let (field, wire, after) = read_tag(rest)?;
        if wire != 2 {
            let text = format!("protobuf: (PBNode) invalid wireType, expected 2, got {wire}");
            return Err(DecodeError::new(text));
        }
        let chunk;
        match field {
            1 if data_seen => {
                return Err(DecodeError::new("protobuf: (PBNode) duplicate Data section"));
            }
            1 => {
                (chunk, rest) = read_bytes(after)?;
                found(Field::Data(chunk));
                (data_seen, links_closed) = (true, links_seen);
            }
            2 => {
                (chunk, rest) = read_bytes(after)?;
                if links_closed {
                    return Err(DecodeError::new("protobuf: (PBNode) duplicate Links section"));
                }
                found(parse_link(chunk)?);
                links_seen = true;
            }
            _ => {
                return Err(DecodeError::new(format!(
                    "protobuf: (PBNode) invalid fieldNumber, expected 1 or 2, got {field}"
                )));
            }
        }
    }
    Ok(())
}

fn parse_link(link: &[u8]) -> Result<Field<'_>, DecodeError> {
    let (mut hash, mut name, mut tsize) = (None, None, None);
    let mut rest = link;
    let mut after;
    while !rest.is_empty() {
        let (field, wire);
        (field, wire, after) = read_tag(rest)?;
        let seen = [hash.is_some(), name.is_some(), tsize.is_some()];
        check_link_field(field, wire, seen)?;
        match field {
            1 => {
                let chunk;
                (chunk, rest) = read_bytes(after)?;
                let (cid, _) = Cid::read(chunk).map_err(|error| {
                    let text = format!("invalid Hash field found in link, expected CID ({error})");
                    DecodeError::new(text)
                })?;
                hash = Some(cid);
            }
            2 => {
                let chunk;
                (chunk, rest) = read_bytes(after)?;
                name = Some(chunk);
            }
            _ => {
                let value;
                (value, rest) = read_varint(after)?;
                tsize = Some(value);
            }
        }
    }
    let Some(cid) = hash else {
        return Err(DecodeError::new("invalid Hash field found in link, expected CID"));
    };
    Ok(Field::Link { cid, name, tsize })
}

/// Each field of a link at most once, in ascending order, in its wire type.
fn check_link_field(field: u64, wire: u64, seen: [bool; 3]) -> Result<(), DecodeError> {
    const NAMES: [&str; 3] = ["Hash", "Name", "Tsize"];
    let index = match field {
        1..=3 => field as usize - 1,
        _ => {
            return Err(DecodeError::new(format!(
                "protobuf: (PBLink) invalid fieldNumber, expected 1, 2 or 3, got {field}"
            )));
        }
    };
    let name = NAMES.get(index).copied().unwrap_or_default();
    if seen.get(index) == Some(&true) {
        return Err(DecodeError::new(format!("protobuf: (PBLink) duplicate {name} section")));
    }
    let later = NAMES.iter().zip(seen).skip(index + 1).find(|(_, seen)| *seen);
    if let Some((later, _)) = later {
        return Err(DecodeError::new(format!(
            "protobuf: (PBLink) invalid order, found {later} before {name}"
        )));
    }
    let expected = if field == 3 { 0 } else { 2 };
    if wire != expected {
        return Err(DecodeError::new(format!(
            "protobuf: (PBLink) wrong wireType ({wire}) for {name}"
        )));
    }
    Ok(())
}

/// Field number, wire type, and what follows.
fn read_tag(bytes: &[u8]) -> Result<(u64, u64, &[u8]), DecodeError> {
    let (tag, rest) = read_varint(bytes)?;
    let field = tag >> 3;
    if field == 0 || field > i32::MAX as u64 {
        return Err(DecodeError::new("proto: invalid field number"));
    }
    Ok((field, tag & 7, rest))
}

fn read_bytes(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (len, rest) = read_varint(bytes)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    rest.split_at_checked(len).ok_or_else(DecodeError::unexpected_eof)
}

/// A varint of protobuf: up to 64 bits, not necessarily minimal.
fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        if index == 9 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    if bytes.len() < 10 {
        return Err(DecodeError::unexpected_eof());
    }
    Err(DecodeError::new("proto: variable length integer overflow"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipld::hash;

    fn cid(byte: u8) -> Cid {
        Cid::new_v1(0x55, hash::digest(hash::SHA2_256, &[byte], None).unwrap())
    }

    fn link_with(fields: &[&[u8]]) -> Vec<u8> {
        let body = fields.concat();
        let mut out = vec![0x12, body.len() as u8];
        out.extend(body);
        out
    }

    #[test]
    fn unixfs_nodes_have_the_known_bytes() {
        let data = [&[8, 2, 0x12, 6][..], b"hello\n", &[0x18, 6]].concat();
        let node = PbNode { links: vec![], data: Some(data.into()) };
        let hash = hash::digest(hash::SHA2_256, &node.encode(), None).unwrap();
        let cid = Cid::new_v0(hash).unwrap();
        assert_eq!(cid.to_string(), "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN");
        let empty = PbNode { links: vec![], data: Some(Bytes::from_static(&[8, 1])) };
        assert_eq!(empty.encode(), [0x0a, 2, 8, 1]);
        assert_eq!(PbNode::default().encode(), Vec::<u8>::new());
        let node = PbNode { links: vec![], data: Some(Bytes::new()) };
        assert_eq!(node.encode(), [0x0a, 0]);
    }

    #[test]
    fn links_are_written_first_and_sorted_by_name_keeping_order_among_equals() {
        let links = [("b", 1), ("", 2), ("a", 3), ("", 4)]
            .map(|(name, byte)| PbLink::new(cid(byte), name, u64::from(byte)));
        let node = PbNode { links: links.to_vec(), data: Some(Bytes::from_static(b"d")) };
        let block = Bytes::from(node.encode());
        let decoded = PbNode::decode(&block).unwrap();
        let sizes: Vec<u64> = decoded.links.iter().map(PbLink::size).collect();
        assert_eq!(sizes, [2, 4, 3, 1]);
        assert_eq!(&block[block.len() - 3..], [0x0a, 1, b'd']);
        assert_eq!(
            links_of(&block),
            decoded.links.iter().map(|l| l.cid.clone()).collect::<Vec<_>>()
        );
    }

    fn links_of(block: &[u8]) -> Vec<Cid> {
        super::links(block).unwrap()
    }

    #[test]
    fn malformed_nodes_are_refused_with_the_known_texts() {
        let id = [&[0x0a, 0x24][..], &cid(1).to_bytes()].concat();
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (vec![0x08, 1], "protobuf: (PBNode) invalid wireType, expected 2, got 0"),
            (b"hello world".to_vec(), "protobuf: (PBNode) invalid wireType, expected 2, got 0"),
            (vec![0x0a, 0, 0x0a, 0], "protobuf: (PBNode) duplicate Data section"),
            (vec![0x1a, 0], "protobuf: (PBNode) invalid fieldNumber, expected 1 or 2, got 3"),
            (vec![0x02, 0], "proto: invalid field number"),
            (vec![0x0a, 5, 1], "unexpected EOF"),
            (vec![0x0a], "unexpected EOF"),
            (vec![0xff; 10], "proto: variable length integer overflow"),
            (vec![0x12, 0], "invalid Hash field found in link, expected CID"),
            (
                link_with(&[&[0x0a, 0]]),
                "invalid Hash field found in link, expected CID (invalid cid: varints malformed, \
                 could not reach the end)",
            ),
            (link_with(&[&id, &id]), "protobuf: (PBLink) duplicate Hash section"),
            (
                link_with(&[&[0x12, 0], &id]),
                "protobuf: (PBLink) invalid order, found Name before Hash",
            ),
            (
                link_with(&[&id, &[0x18, 1, 0x12, 0]]),
                "protobuf: (PBLink) invalid order, found Tsize before Name",
            ),
            (link_with(&[&id, &[0x1a, 0]]), "protobuf: (PBLink) wrong wireType (2) for Tsize"),
            (
                link_with(&[&id, &[0x20, 0]]),
                "protobuf: (PBLink) invalid fieldNumber, expected 1, 2 or 3, got 4",
            ),
            (
                [link_with(&[&id]), vec![0x0a, 0], link_with(&[&id])].concat(),
                "protobuf: (PBNode) duplicate Links section",
            ),
        ];
        for (block, text) in cases {
            let error = PbNode::decode(&Bytes::from(block.clone())).unwrap_err();
            assert_eq!(error.to_string(), text, "{block:02x?}");
            assert_eq!(super::links(&block), Err(error));
        }
    }

    #[test]
    fn data_may_stand_before_links() {
        let id = [&[0x0a, 0x24][..], &cid(1).to_bytes()].concat();
        let block = Bytes::from([vec![0x0a, 1, 7], link_with(&[&id])].concat());
        let node = PbNode::decode(&block).unwrap();
        assert_eq!(node.data.as_deref(), Some(&[7_u8][..]));
        assert_eq!(node.links, [PbLink { cid: cid(1), name: None, tsize: None }]);
    }

    proptest! {
        #[test]
        fn sorted_nodes_survive_encoding(
            mut names in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 0..8),
            sizes in prop::collection::vec(prop::option::of(any::<u64>()), 8),
            data in prop::option::of(any::<Vec<u8>>()),
        ) {
            names.sort_by_key(|name| name.clone().unwrap_or_default());
            let links = names.into_iter().zip(sizes).enumerate().map(|(index, (name, tsize))| {
                PbLink { cid: cid(index as u8), name: name.map(Bytes::from), tsize }
            });
            let node = PbNode { links: links.collect(), data: data.map(Bytes::from) };
            prop_assert_eq!(PbNode::decode(&node.encode().into()).unwrap(), node);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(block in any::<Vec<u8>>()) {
            let _ = PbNode::decode(&block.into());
        }
    }
}
