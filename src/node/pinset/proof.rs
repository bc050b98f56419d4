//! Proof that a CID is pinned, or is not, by whoever knows the live root alone.
//!
//! What is pinned is shown by its leaf and the hashes beside the way from there to the root. What is
//! not is shown by its neighbours, the leaves before and after the place where it would be: one goes
//! left where the other goes right, and between them there is nothing else. `docs/sync.md` says how
//! to check both.

use super::ledger::{Entry, root_text};
use crate::ipld::Cid;
use crate::node::{Error, Node};
use crate::sync::db as tables;
use crate::sync::hash::Key;
use crate::sync::message::{Proof, Roots};

/// A proof that can be checked.
#[derive(Debug, Clone)]
pub struct PinProof {
    /// Of what.
    pub cid: Cid,
    /// Its place: `0x` and 64 digits, as all hashes here.
    pub key: String,
    /// Whether it is pinned.
    pub is_pinned: bool,
    /// The root of the tree.
    pub live_root: String,
    /// Its leaf; or the leaves before and after its place, of which an outermost place has one.
    pub leaves: Vec<ProofLeaf>,
}

/// A leaf and its way to the root.
#[derive(Debug, Clone)]
pub struct ProofLeaf {
    /// What is pinned.
    pub cid: Cid,
    /// Its place.
    pub key: String,
    /// The hash of what its record says.
    pub digest: String,
    /// The record.
    pub record: String,
    /// From the leaf upwards.
    pub path: Vec<ProofStep>,
}

/// A step towards the root.
#[derive(Debug, Clone)]
pub struct ProofStep {
    /// The bit of the key that decides here, counted from the front.
    pub bit: u16,
    /// Whether the other side is the left one.
    pub is_left: bool,
    /// Its hash.
    pub hash: String,
}

impl Node {
    /// Shows that a CID is pinned, or that it is not.
    ///
    /// # Errors
    /// On a node that has no group, and when the database fails.
    pub async fn prove_pin(&self, cid: Cid) -> Result<PinProof, Error> {
        let key = Key::of(&cid);
        let (roots, is_pinned, proofs) =
            self.ledger()?.write(move |entry| prove(entry, &key)).await?;
        Ok(PinProof {
            cid,
            key: root_text(&key.0),
            is_pinned,
            live_root: root_text(&roots.live),
            leaves: proofs.iter().map(leaf).collect(),
        })
    }
}

/// All of one moment.
fn prove(entry: &mut Entry<'_>, key: &Key) -> Result<(Roots, bool, Vec<Proof>), Error> {
    let (roots, proof) = entry.prove(key)?;
    if let Some(proof) = proof {
        return Ok((roots, true, vec![proof]));
    }
    let (before, after) = tables::live_neighbours(entry.transaction(), key)?;
    let mut proofs = Vec::with_capacity(2);
    for neighbour in before.iter().chain(&after) {
        proofs.extend(entry.prove(neighbour)?.1);
    }
    Ok((roots, false, proofs))
}

fn leaf(proof: &Proof) -> ProofLeaf {
    let key = proof.record.key();
    let is_set = |bit: u16| {
        let byte = key.0.get(usize::from(bit / 8)).copied().unwrap_or_default();
        byte & (0x80 >> (bit % 8)) != 0
    };
    let steps = proof.path.iter();
    ProofLeaf {
        cid: proof.record.cid().clone(),
        key: root_text(&key.0),
        digest: root_text(&proof.record.digest().0),
        record: hex(proof.record.as_bytes()),
        path: steps
            .map(|(bit, hash)| ProofStep {
                bit: *bit,
                is_left: is_set(*bit),
                hash: root_text(hash),
            })
            .collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    text
}
