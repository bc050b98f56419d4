//! What is durable beside records and buckets: vector, floor and vote, clock, roots, members.

use super::{Author, Core, Hlc, Member, Mutant, Now, Start, Store, Tree, Vector, Warning};
use crate::sync::cbor::Decoder;
use crate::sync::hash::Rid;
use crate::sync::keys::Sign;
use crate::sync::record::Kind;
use crate::sync::tree::{Fold, Prefix};

const VECTOR: &str = "vector";
const FLOOR: &str = "floor";
const VOTED: &str = "voted";
const CLOCK: &str = "clock";
const PARTIAL: &str = "partial";
const MET: &str = "met";
const ROOTS: &str = "roots";
const MEMBER: &str = "member/";

/// What has changed since it was last written.
#[derive(Debug, Clone, Default)]
pub(super) struct Unsaved {
    pub(super) vector: bool,
    pub(super) floor: bool,
    pub(super) voted: bool,
    pub(super) clock: bool,
    pub(super) roots: bool,
    pub(super) whole: bool,
    pub(super) met: bool,
    pub(super) members: std::collections::BTreeSet<Author>,
}

fn number(bytes: Option<Vec<u8>>) -> Option<u64> {
    Some(u64::from_be_bytes(bytes?.try_into().ok()?))
}

/// What a store claims to have seen: its floor, its vector, and whether that holds for its own
/// author too.
#[cfg(test)]
pub(in crate::sync) fn claims<S: Store>(store: &S) -> Result<(Hlc, Vector, bool), S::Error> {
    let floor = Hlc(number(store.value(FLOOR)?).unwrap_or_default());
    let vector = store.value(VECTOR)?.unwrap_or_default();
    let vector = Vector::read(&mut Decoder::new(&vector)).unwrap_or_default();
    Ok((floor, vector, store.value(PARTIAL)?.is_none()))
}

impl<K: Sign> Core<K> {
    pub(super) fn load<S: Store>(&mut self, store: &mut S, now: Now) -> Result<(), S::Error> {
        self.clock_limit = Hlc(number(store.value(CLOCK)?).unwrap_or_default());
        self.clock = super::Clock::new(self.clock_limit);
        self.floor = Hlc(number(store.value(FLOOR)?).unwrap_or_default());
        self.voted = Hlc(number(store.value(VOTED)?).unwrap_or_default());
        if let Some(bytes) = store.value(VECTOR)? {
            self.vector = Vector::read(&mut Decoder::new(&bytes)).unwrap_or_default();
        }
        self.is_whole = store.value(PARTIAL)?.is_none();
        self.has_met = store.value(MET)?.is_some();
        for (name, bytes) in store.values(MEMBER)? {
            if let Some((author, member)) = Member::load(&name, &bytes, now) {
                self.members.insert(author, member);
            }
        }
        let stored = store.value(ROOTS)?.unwrap_or_else(|| vec![0; 64]);
        if stored != self.root_bytes() {
            self.distrust(store)?;
        }
        Ok(())
    }

    /// Builds everything from the records and claims nothing: something was lost or damaged, and
    /// what it was is not known.
    fn distrust<S: Store>(&mut self, store: &mut S) -> Result<(), S::Error> {
        self.live = Tree::rebuild(Kind::Live, store)?;
        self.tomb = Tree::rebuild(Kind::Tomb, store)?;
        if self.rules.keeps(Mutant::R8) {
            self.vector = Vector::default();
            self.voted = Hlc(0);
            self.unsaved.voted = true;
            self.is_whole = false;
            self.unsaved.whole = true;
        }
        self.unsaved.vector = true;
        self.unsaved.roots = true;
        self.warn(Warning::Rebuilt);
        Ok(())
    }

    /// Compares the trees with all records. When they differ, the trees are built anew and nothing
    /// is claimed, as at a start; returns whether they agreed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn scrub<S: Store>(&mut self, store: &mut S) -> Result<bool, S::Error> {
        let mut agree = true;
        for kind in Kind::ALL {
            let mut fold = Fold::default();
            store.leaves(kind, &Prefix::ALL, &mut |key, digest| fold.push(key, &digest))?;
            agree &= fold.finish() == self.tree(kind).root();
        }
        if !agree {
            self.distrust(store)?;
            self.fill_sketch(store)?;
            self.save(store)?;
        }
        Ok(agree)
    }

    pub(super) fn fill_sketch<S: Store>(&mut self, store: &S) -> Result<(), S::Error> {
        if self.config.sketch_cells == 0 {
            return Ok(());
        }
        self.sketch = super::Sketch::new(self.config.sketch_cells);
        let (sketch, rid_key) = (&mut self.sketch, &self.group.rid_key);
        for kind in Kind::ALL {
            store.leaves(kind, &Prefix::ALL, &mut |_, digest| {
                sketch.insert(&Rid::of(rid_key, &digest));
            })?;
        }
        Ok(())
    }

    fn root_bytes(&self) -> Vec<u8> {
        [self.live.root(), self.tomb.root()].concat()
    }

    /// Writes what has changed.
    pub(super) fn save<S: Store>(&mut self, store: &mut S) -> Result<(), S::Error> {
        let unsaved = std::mem::take(&mut self.unsaved);
        if unsaved.vector {
            let mut bytes = Vec::new();
            self.vector.append_to(&mut bytes);
            store.set_value(VECTOR, Some(&bytes))?;
        }
        if unsaved.floor {
            store.set_value(FLOOR, Some(&self.floor.0.to_be_bytes()))?;
        }
        if unsaved.voted {
            store.set_value(VOTED, Some(&self.voted.0.to_be_bytes()))?;
        }
        if unsaved.clock {
            store.set_value(CLOCK, Some(&self.clock_limit.0.to_be_bytes()))?;
        }
        if unsaved.roots {
            store.set_value(ROOTS, Some(&self.root_bytes()))?;
        }
        if unsaved.whole {
            store.set_value(PARTIAL, (!self.is_whole).then_some(&[1]))?;
        }
        if unsaved.met {
            store.set_value(MET, self.has_met.then_some(&[1]))?;
        }
        for author in unsaved.members {
            let bytes = self.members.get(&author).map(Member::save);
            store.set_value(&format!("{MEMBER}{author}"), bytes.as_deref())?;
        }
        Ok(())
    }

    /// Whether a store was written with another generation than the one kept beside it.
    #[must_use]
    pub fn start_of(in_store: Option<u64>, beside_it: Option<u64>) -> Start {
        if in_store == beside_it { Start::Trusted } else { Start::Suspect }
    }
}
