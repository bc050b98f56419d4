//! The Merkle trees: one hash for a set of records, and which parts of two sets differ.
//!
//! Pure. A binary radix tree over the keys, path-compressed, so that the hash depends on the set
//! alone:
//!
//! ```text
//! leaf(key, digest) = BLAKE3-keyed("pinsync-v1 leaf", key ‖ digest)
//! node(l, r)        = BLAKE3-keyed("pinsync-v1 node", l ‖ r); the other one if one is empty
//! H(S, i)           = 0 if S is empty; its leaf if |S| = 1;
//!                     else node(H({bit i = 0}, i + 1), H({bit i = 1}, i + 1))
//! ```
//!
//! Memory holds the upper part down to buckets of at most [`BUCKET_MAX`] records; the keys and
//! digests below are the store's. Buckets are in the store too, so that a start reads them and no
//! records. Which buckets there are is not part of the definition.

use super::hash::Digest;
use super::hash::{EMPTY, Hash, Key, label};
use super::record::Kind;
use super::store::Store;

/// Records in a bucket before it is split: a change hashes this many.
pub const BUCKET_MAX: u32 = 16;
/// Two buckets with no more records than this become one.
const MERGE_MAX: u32 = 8;
const KEY_BITS: usize = 256;

const LEAF: [u8; 32] = label("pinsync-v1 leaf");
const NODE: [u8; 32] = label("pinsync-v1 node");

/// The hash of one record.
#[must_use]
pub fn leaf(key: &Key, digest: &Digest) -> Hash {
    keyed(&LEAF, &key.0, &digest.0)
}

/// The hash of two sets that a bit separates.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    match (*left == EMPTY, *right == EMPTY) {
        (true, _) => *right,
        (_, true) => *left,
        _ => keyed(&NODE, left, right),
    }
}

fn keyed(key: &[u8; 32], a: &Hash, b: &Hash) -> Hash {
    let mut block = [0; 64];
    block.iter_mut().zip(a.iter().chain(b)).for_each(|(to, from)| *to = *from);
    *blake3::keyed_hash(key, &block).as_bytes()
}

/// The hash over both trees.
#[must_use]
pub fn state_root(live: &Hash, tomb: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"root").update(live).update(tomb);
    *hasher.finalize().as_bytes()
}

/// Hashes records that come in the order of their keys; memory is bounded by the bits of a key.
#[derive(Debug, Default)]
pub struct Fold {
    /// Sets that are closed on the left, and how many bits each shares with what follows.
    open: Vec<(Hash, usize)>,
    last: Option<(Key, Hash)>,
    count: u64,
}

impl Fold {
    /// Adds the next record.
    pub fn push(&mut self, key: Key, digest: &Digest) {
        self.count += 1;
        let hash = leaf(&key, digest);
        if let Some((before, mut set)) = self.last.replace((key, hash)) {
            let shared = before.shared_bits(&key);
            while let Some((left, _)) = self.open.pop_if(|(_, bits)| *bits > shared) {
                set = node(&left, &set);
            }
            self.open.push((set, shared));
        }
    }

    /// How many records were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash of all.
    #[must_use]
    pub fn finish(self) -> Hash {
        let Some((_, mut set)) = self.last else { return EMPTY };
        for (left, _) in self.open.iter().rev() {
            set = node(left, &set);
        }
        set
    }
}

/// All keys that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The bits, then zeros.
    pub key: Key,
    /// How many bits count, at most 256.
    pub bits: u16,
}

impl Prefix {
    /// Every key.
    pub const ALL: Self = Self { key: Key([0; 32]), bits: 0 };

    /// The first `bits` bits of `key`.
    #[must_use]
    pub fn of(key: &Key, bits: usize) -> Self {
        let bits = bits.min(KEY_BITS);
        Self { key: key.cut(bits), bits: bits as u16 }
    }

    /// The first and the last key of the range.
    #[must_use]
    pub fn range(&self) -> (Key, Key) {
        (self.key, self.key.last_below(self.bits.into()))
    }

    /// Whether `key` begins so.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.key.shared_bits(key) >= self.bits.into()
    }

    /// The half of it where the next bit is `bit`; itself when there is none.
    #[must_use]
    pub fn half(&self, bit: bool) -> Self {
        let bits = usize::from(self.bits);
        if bits >= KEY_BITS {
            return *self;
        }
        let key = if bit { self.key.with_bit(bits) } else { self.key };
        Self { key, bits: self.bits + 1 }
    }
}

/// The hash of a range of keys and the number of records in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The hash, all zeros for none.
    pub hash: Hash,
    /// How many records.
    pub count: u32,
}

impl Summary {
    const NONE: Self = Self { hash: EMPTY, count: 0 };

    fn of(left: Self, right: Self) -> Self {
        let hash = node(&left.hash, &right.hash);
        Self { hash, count: left.count.saturating_add(right.count) }
    }
}

/// Reads and hashes what the store has in a range.
fn read<S: Store>(store: &S, kind: Kind, prefix: &Prefix) -> Result<Summary, S::Error> {
    let mut fold = Fold::default();
    store.leaves(kind, prefix, &mut |key, digest| fold.push(key, &digest))?;
    let count = u32::try_from(fold.count()).unwrap_or(u32::MAX);
    Ok(Summary { hash: fold.finish(), count })
}

/// The upper part of one tree, in memory.
#[derive(Debug, Clone)]
pub struct Tree {
    kind: Kind,
    nodes: Vec<Node>,
    free: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    summary: Summary,
    /// The halves; none for a bucket.
    halves: Option<[Index; 2]>,
}

/// Places start at 1, so that an optional pair of them needs no room of its own.
type Index = std::num::NonZeroU32;

const ROOT: Index = Index::MIN;

const EMPTY_BUCKET: Node = Node { summary: Summary::NONE, halves: None };

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, nodes: vec![EMPTY_BUCKET], free: Vec::new() }
    }

    /// The tree of the buckets in `store`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load<S: Store>(kind: Kind, store: &S) -> Result<Self, S::Error> {
        let mut tree = Self::new(kind);
        store.buckets(kind, &mut |prefix, summary| tree.place(&prefix, summary))?;
        tree.sum_up();
        Ok(tree)
    }

    /// Builds the buckets anew from the records in `store`.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn rebuild<S: Store>(kind: Kind, store: &mut S) -> Result<Self, S::Error> {
        store.clear_buckets(kind)?;
        let mut tree = Self::new(kind);
        tree.refresh_bucket(store, ROOT, Prefix::ALL)?;
        Ok(tree)
    }

    /// The hash of all.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.node(ROOT).summary.hash
    }

    /// How many records.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.node(ROOT).summary.count
    }

    /// Bytes of memory that the tree takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.free.capacity() * 4
    }

    /// Brings the tree up to date with what the store now has under `keys`.
    ///
    /// # Errors
    /// When the store cannot be read or written; the tree is of no use then.
    pub fn refresh<S: Store>(
        &mut self,
        store: &mut S,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<(), S::Error> {
        let mut done: Option<Prefix> = None;
        for key in keys {
            // What is in a bucket was read when the first of its keys was.
            if !done.is_some_and(|done| done.contains(&key)) {
                done = Some(self.refresh_key(store, &key)?);
            }
        }
        Ok(())
    }

    fn refresh_key<S: Store>(&mut self, store: &mut S, key: &Key) -> Result<Prefix, S::Error> {
        let mut path = Vec::with_capacity(32);
        let mut at = ROOT;
        while let Some([left, right]) = self.node(at).halves {
            let bit = key.bit(path.len());
            path.push(at);
            at = if bit { right } else { left };
        }
        let prefix = Prefix::of(key, path.len());
        self.refresh_bucket(store, at, prefix)?;
        while let Some(at) = path.pop() {
            self.sum(at);
            self.merge(store, at, &Prefix::of(key, path.len()))?;
        }
        Ok(prefix)
    }

    /// Reads a bucket, splits it while it is too big, and stores what comes of it.
    fn refresh_bucket<S: Store>(
        &mut self,
        store: &mut S,
        at: Index,
        prefix: Prefix,
    ) -> Result<(), S::Error> {
        let mut todo = vec![(at, prefix)];
        let mut split = Vec::new();
        while let Some((at, prefix)) = todo.pop() {
            let summary = read(store, self.kind, &prefix)?;
            if summary.count <= BUCKET_MAX || usize::from(prefix.bits) >= KEY_BITS {
                self.set(at, Node { summary, halves: None });
                store.set_bucket(self.kind, &prefix, summary)?;
                continue;
            }
            store.set_bucket(self.kind, &prefix, Summary::NONE)?;
            let halves = [self.allocate(), self.allocate()];
            self.set(at, Node { summary, halves: Some(halves) });
            split.push(at);
            let [left, right] = halves;
            todo.push((left, prefix.half(false)));
            todo.push((right, prefix.half(true)));
        }
        // Parents were pushed before their halves.
        split.iter().rev().for_each(|at| self.sum(*at));
        Ok(())
    }

    /// Makes one bucket of two that have become small.
    fn merge<S: Store>(
        &mut self,
        store: &mut S,
        at: Index,
        prefix: &Prefix,
    ) -> Result<(), S::Error> {
        let Node { summary, halves: Some([left, right]) } = self.node(at) else { return Ok(()) };
        let are_buckets = [left, right].iter().all(|half| self.node(*half).halves.is_none());
        if !are_buckets || summary.count > MERGE_MAX {
            return Ok(());
        }
        store.set_bucket(self.kind, &prefix.half(false), Summary::NONE)?;
        store.set_bucket(self.kind, &prefix.half(true), Summary::NONE)?;
        store.set_bucket(self.kind, prefix, summary)?;
        self.free.extend([left.get(), right.get()]);
        self.set(at, Node { summary, halves: None });
        Ok(())
    }

    /// The hash and number of the records in a range.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn summary<S: Store>(&self, store: &S, prefix: &Prefix) -> Result<Summary, S::Error> {
        let mut at = ROOT;
        for bit in 0..usize::from(prefix.bits) {
            match self.node(at).halves {
                Some([left, right]) => at = if prefix.key.bit(bit) { right } else { left },
                // A bucket that is empty has nothing to read.
                None if self.node(at).summary.count == 0 => return Ok(Summary::NONE),
                None => return read(store, self.kind, prefix),
            }
        }
        Ok(self.node(at).summary)
    }

    /// The hashes of the `2^depth` equal parts of a range, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn parts<S: Store>(
        &self,
        store: &S,
        prefix: &Prefix,
        depth: u32,
    ) -> Result<Vec<Summary>, S::Error> {
        let mut parts = vec![*prefix];
        for _ in 0..depth {
            parts = parts.iter().flat_map(|part| [part.half(false), part.half(true)]).collect();
        }
        parts.iter().map(|part| self.summary(store, part)).collect()
    }

    fn node(&self, at: Index) -> Node {
        self.nodes.get(at.get() as usize - 1).copied().unwrap_or(EMPTY_BUCKET)
    }

    fn set(&mut self, at: Index, node: Node) {
        if let Some(slot) = self.nodes.get_mut(at.get() as usize - 1) {
            *slot = node;
        }
    }

    fn allocate(&mut self) -> Index {
        if let Some(free) = self.free.pop().and_then(Index::new) {
            self.set(free, EMPTY_BUCKET);
            return free;
        }
        self.nodes.push(EMPTY_BUCKET);
        Index::new(self.nodes.len() as u32).unwrap_or(Index::MAX)
    }

    fn sum(&mut self, at: Index) {
        if let Node { halves: Some([left, right]), .. } = self.node(at) {
            let summary = Summary::of(self.node(left).summary, self.node(right).summary);
            self.set(at, Node { summary, halves: Some([left, right]) });
        }
    }

    /// Puts a stored bucket where it belongs, without the hashes above it.
    fn place(&mut self, prefix: &Prefix, summary: Summary) {
        let mut at = ROOT;
        for bit in 0..usize::from(prefix.bits) {
            let halves = match self.node(at).halves {
                Some(halves) => halves,
                None => {
                    let halves = [self.allocate(), self.allocate()];
                    self.set(at, Node { summary: Summary::NONE, halves: Some(halves) });
                    halves
                }
            };
            let [left, right] = halves;
            at = if prefix.key.bit(bit) { right } else { left };
        }
        let halves = self.node(at).halves;
        self.set(at, Node { summary, halves });
    }

    /// Computes every hash above the buckets. Halves were allocated after their parents.
    fn sum_up(&mut self) {
        for at in (1..=self.nodes.len() as u32).rev().filter_map(Index::new) {
            self.sum(at);
        }
    }
}

#[cfg(test)]
mod tests;
