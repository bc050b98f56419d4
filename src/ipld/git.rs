//! The git-raw codec: Git's blobs, commits, tags and trees.
//!
//! Pure. Fields and texts are those of go-ipld-git. Unlike it, a stored commit can be encoded
//! again, a commit without a tree or a tag without an object is refused when it is read, and a
//! commit without an author where Go panics.

mod decode;
mod encode;

pub(super) use decode::{decode, decode_compressed};
pub(super) use encode::encode;

use super::node::Node;

/// The types of objects, as error texts name them.
const BLOB: &str = "ipldgit.Blob";
const COMMIT: &str = "ipldgit.Commit";
const TAG: &str = "ipldgit.Tag";
pub(super) const TREE: &str = "ipldgit.Tree";

/// Who did something, and when: the fields in the order of their schema.
const PERSON: [&str; 4] = ["date", "timezone", "email", "name"];

fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    node.get(name).filter(|value| **value != Node::Absent)
}
