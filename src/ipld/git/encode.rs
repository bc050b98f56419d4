//! Writing Git objects.

use super::super::assign::{fields, link, list, missing, no_such_field};
use super::super::assign::{string, wrong_scalar};
use super::super::cid::Cid;
use super::super::node::{Node, NodeError, Schema, Typed};
use super::super::quote::quote;
use super::{COMMIT, PERSON, TAG, TREE, field};

/// Bytes of a SHA-1.
const SHA_LEN: usize = 20;

/// Appends the object to `out`.
pub(in super::super) fn encode(node: &Typed, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let value = &node.node;
    match (node.schema, value) {
        (Schema::Git(COMMIT), _) => commit(value, out),
        (Schema::Git(TAG), _) => tag(value, out),
        (Schema::Git(TREE), _) => tree(value, out),
        (_, Node::Bytes(bytes)) => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        (_, Node::Map(entries)) => match entries.first() {
            None => Err(NodeError("iterator overread".to_owned())),
            Some((key, _)) if is_of_tag(key) => tag(value, out),
            Some(_) => {
                let told = |error: NodeError| {
                    NodeError(format!("not a Commit: {} {error}", go_type(node.schema)))
                };
                check_commit(value).map_err(told)?;
                commit(value, out)
            }
        },
        // Go takes a list for a tree and panics.
        (schema, other) => {
            let name = prototype(schema, other);
            Err(NodeError(format!("unrecognized object type: {name}")))
        }
    }
}

/// The first keys by which go-ipld-git tells a tag from a commit.
fn is_of_tag(key: &[u8]) -> bool {
    matches!(key, b"object" | b"type" | b"tag" | b"tagger" | b"text")
}

/// The Go type of a map, which one error shows.
fn go_type(schema: Schema) -> &'static str {
    match schema {
        Schema::Stored => "*ipldlegacy.LegacyNode",
        Schema::PbNode => "*merkledag.ProtoNode",
        Schema::PbLink => "*dagpb._PBLink",
        _ => "*basicnode.plainMap",
    }
}

/// The Go type of the prototype of a value, which one error shows.
fn prototype(schema: Schema, node: &Node) -> &'static str {
    match (schema, node) {
        (Schema::PbScalar(_), Node::String(_)) => "dagpb._String__Prototype",
        (Schema::PbScalar(_), Node::Int(_)) => "dagpb._Int__Prototype",
        (_, Node::Bool(_)) => "basicnode.Prototype__Bool",
        (_, Node::Int(_)) => "basicnode.Prototype__Int",
        (_, Node::Float(_)) => "basicnode.Prototype__Float",
        (_, Node::String(_)) => "basicnode.Prototype__String",
        (_, Node::Link(_)) => "basicnode.Prototype__Link",
        (_, Node::List(_)) => "basicnode.Prototype__List",
        _ => "datamodel.nullPrototype",
    }
}

/// The SHA-1 of a link: the end of its digest.
fn append_sha(cid: &Cid, out: &mut Vec<u8>) {
    let hash = cid.hash().as_bytes();
    out.extend_from_slice(hash.get(hash.len().saturating_sub(SHA_LEN)..).unwrap_or_default());
}

fn append_hex(cid: &Cid, out: &mut Vec<u8>) {
    let mut sha = Vec::new();
    append_sha(cid, &mut sha);
    sha.iter().for_each(|byte| out.extend_from_slice(format!("{byte:02x}").as_bytes()));
}

fn finish(kind: &str, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{kind} {}\0", body.len()).as_bytes());
    out.extend_from_slice(body);
}

/// The value under a key that must be there.
fn lookup<'n>(node: &'n Node, key: &str) -> Result<&'n Node, NodeError> {
    node.get(key).ok_or_else(|| NodeError(format!("key not found: {}", quote(key))))
}

/// The link under a key that must be there, without a type to give it.
fn link_at<'n>(node: &'n Node, key: &str) -> Result<&'n Cid, NodeError> {
    match lookup(node, key)? {
        Node::Link(cid) => Ok(cid),
        other => Err(wrong_scalar("AsLink", other, "link")),
    }
}

/// The string under a key that must be there, without a type to give it.
fn string_at<'n>(node: &'n Node, key: &str) -> Result<&'n [u8], NodeError> {
    match lookup(node, key)? {
        Node::String(text) => Ok(text),
        other => Err(wrong_scalar("AsString", other, "string")),
    }
}

fn append_line(key: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    out.push(b' ');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn append_link_line(key: &str, node: &Node, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let Node::Link(cid) = node else { return Err(wrong_scalar("AsLink", node, "link")) };
    out.extend_from_slice(key.as_bytes());
    out.push(b' ');
    append_hex(cid, out);
    out.push(b'\n');
    Ok(())
}

fn tree(node: &Node, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let mut body = Vec::new();
    for (name, entry) in fields(node, TREE)? {
        let mode = string_at(entry, "mode")?;
        body.extend_from_slice(mode);
        body.push(b' ');
        body.extend_from_slice(name);
        body.push(0);
        append_sha(link_at(entry, "hash")?, &mut body);
    }
    finish("tree", &body, out);
    Ok(())
}

fn tag(node: &Node, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let object = link_at(node, "object")?;
    let kind = string_at(node, "type")?;
    let tag = string_at(node, "tag")?;
    let message = string_at(node, "message")?;
    let mut body = b"object ".to_vec();
    append_hex(object, &mut body);
    body.push(b'\n');
    append_line("type", kind, &mut body);
    append_line("tag", tag, &mut body);
    if let Some(tagger) = field(node, "tagger").filter(|tagger| **tagger != Node::Null) {
        check_person(tagger)?;
        append_line("tagger", &person_text(tagger), &mut body);
    }
    if !message.is_empty() {
        body.push(b'\n');
        body.extend_from_slice(message);
    }
    finish("tag", &body, out);
    Ok(())
}

fn text_of<'n>(node: &'n Node, name: &str) -> &'n [u8] {
    match node.get(name) {
        Some(Node::String(text)) => text,
        _ => &[],
    }
}

fn person_text(node: &Node) -> Vec<u8> {
    let [date, timezone, email, name] = PERSON.map(|key| text_of(node, key));
    let mut text = [name, b" <", email, b">"].concat();
    for part in [date, timezone].into_iter().filter(|part| !part.is_empty()) {
        text.push(b' ');
        text.extend_from_slice(part);
    }
    text
}

fn values<'n>(node: &'n Node, name: &str) -> &'n [Node] {
    match node.get(name) {
        Some(Node::List(values)) => values,
        _ => &[],
    }
}

/// Writes a commit whose fields have the right types.
fn commit(node: &Node, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let mut body = Vec::new();
    append_link_line("tree", field(node, "tree").unwrap_or(&Node::Absent), &mut body)?;
    for parent in values(node, "parents") {
        append_link_line("parent", parent, &mut body)?;
    }
    for key in ["author", "committer"] {
        let person = field(node, key).ok_or_else(|| missing(key))?;
        append_line(key, &person_text(person), &mut body);
    }
    if field(node, "encoding").is_some() {
        append_line("encoding", text_of(node, "encoding"), &mut body);
    }
    for tag in values(node, "mergetag") {
        append_link_line(
            "mergetag object",
            field(tag, "object").unwrap_or(&Node::Absent),
            &mut body,
        )?;
        append_line(" type", text_of(tag, "type"), &mut body);
        append_line(" tag", text_of(tag, "tag"), &mut body);
        append_line(" tagger", &person_text(tag.get("tagger").unwrap_or(&Node::Null)), &mut body);
        body.extend_from_slice(b" \n");
        body.extend_from_slice(text_of(tag, "message"));
    }
    if field(node, "signature").is_some() {
        body.extend_from_slice(b"gpgsig -----BEGIN PGP SIGNATURE-----\n");
        body.extend_from_slice(text_of(node, "signature"));
        body.extend_from_slice(b" -----END PGP SIGNATURE-----\n");
    }
    for line in values(node, "other") {
        if let Node::String(line) = line {
            body.extend_from_slice(line);
            body.push(b'\n');
        }
    }
    body.push(b'\n');
    body.extend_from_slice(text_of(node, "message"));
    finish("commit", &body, out);
    Ok(())
}

/// Checks that a value can be a commit, field by field in the order in which they come.
fn check_commit(node: &Node) -> Result<(), NodeError> {
    const TYPE: &str = "ipldgit.Commit.Repr";
    for (name, value) in fields(node, TYPE)? {
        match name.as_ref() {
            b"tree" => drop(link(value, "ipldgit.Tree_Link")?),
            b"parents" => {
                for parent in list(value, "ipldgit.Commit_Link_List.Repr")? {
                    link(parent, "ipldgit.Commit_Link")?;
                }
            }
            b"author" | b"committer" => check_person(value)?,
            b"message" | b"encoding" => drop(string(value, "ipldgit.String")?),
            b"signature" => drop(string(value, "ipldgit.GpgSig")?),
            b"mergetag" => {
                let tags = list(value, "ipldgit.Tag_List.Repr")?;
                tags.iter().try_for_each(check_tag)?;
            }
            b"other" => {
                for line in list(value, "ipldgit.String_List.Repr")? {
                    string(line, "ipldgit.String")?;
                }
            }
            _ => return Err(no_such_field(TYPE, name)),
        }
    }
    check_present(node, &["tree", "parents", "message", "mergetag", "other"])
}

fn check_tag(node: &Node) -> Result<(), NodeError> {
    const TYPE: &str = "ipldgit.Tag.Repr";
    for (name, value) in fields(node, TYPE)? {
        match name.as_ref() {
            b"object" => drop(link(value, "ipldgit.Link")?),
            b"type" | b"tag" | b"message" => drop(string(value, "ipldgit.String")?),
            b"tagger" => check_person(value)?,
            _ => return Err(no_such_field(TYPE, name)),
        }
    }
    check_present(node, &["object", "type", "tag", "tagger", "message"])
}

fn check_person(node: &Node) -> Result<(), NodeError> {
    const TYPE: &str = "ipldgit.PersonInfo.Repr";
    for (name, value) in fields(node, TYPE)? {
        if !PERSON.iter().any(|known| name == known.as_bytes()) {
            return Err(no_such_field(TYPE, name));
        }
        string(value, "ipldgit.String")?;
    }
    check_present(node, &PERSON)
}

fn check_present(node: &Node, names: &[&str]) -> Result<(), NodeError> {
    let absent: Vec<&str> = names.iter().copied().filter(|name| node.get(name).is_none()).collect();
    if absent.is_empty() { Ok(()) } else { Err(missing(&absent.join(","))) }
}
