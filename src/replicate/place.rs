//! Which members hold a pin: weighted rendezvous hashing.
//!
//! Pure, and the same on every machine: a score is `-weight / ln(hash)`, whose logarithm is taken
//! in whole numbers, since the floating-point ones of two platforms may differ in the last bit. All
//! members that know the same of each other choose the same holders without a word. A member that
//! comes or goes moves its own share and no more.

use crate::sync::Author;
use crate::sync::hash::Key;
use crate::sync::record::Live;

/// The text `pinsync place v1`, filled up with zeros.
const LABEL: [u8; 32] = *b"pinsync place v1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Bits behind the point of a logarithm.
const FRACTION_BITS: u32 = 40;

/// A member of the group, as somebody who may hold content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its binary peer id.
    pub peer: Vec<u8>,
    /// Who it is as an author.
    pub author: Author,
    /// Its share against others'; 0: it takes nothing new.
    pub weight: u32,
    /// What it is fit for: pins with tags go to members with one of them.
    pub tags: Vec<String>,
    /// It has been silent for so long that others take its share.
    pub is_out: bool,
}

/// Who may hold content, as the group knows it now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// The binary peer id of this node.
    pub own: Vec<u8>,
    /// The members, this node among them.
    pub members: Vec<Holder>,
}

impl Roster {
    /// The binary peer id of an author.
    #[must_use]
    pub fn peer_of(&self, author: &Author) -> Option<&[u8]> {
        let member = self.members.iter().find(|member| member.author == *author)?;
        Some(&member.peer)
    }

    /// Whether this node takes nothing new.
    pub(super) fn takes_nothing(&self) -> bool {
        self.members.iter().any(|member| member.peer == self.own && member.weight == 0)
    }
}

/// Who holds a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holders<'a> {
    /// Every member.
    All,
    /// These, first choice first.
    These(Vec<&'a Holder>),
}

impl Holders<'_> {
    /// Whether the member with this binary peer id is among them.
    #[must_use]
    pub fn include(&self, peer: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::These(holders) => holders.iter().any(|holder| holder.peer == peer),
        }
    }
}

/// Who holds the pin of `key`.
///
/// A pin without a number of copies, or with 0, is held by all, or by all who have one of its tags.
/// Otherwise first by those that its user chose, then by those with the highest scores. Members
/// that are out, or take nothing new, are left out. Tags that no member has count for nothing: a
/// pin that nobody held would be lost.
#[must_use]
pub fn holders<'a>(live: &Live, key: &Key, roster: &'a Roster) -> Holders<'a> {
    let has_tag = |holder: &&Holder| holder.tags.iter().any(|tag| live.tags.contains(tag));
    let fit: Vec<&Holder> = match roster.members.iter().any(|holder| has_tag(&holder)) {
        true => roster.members.iter().filter(has_tag).collect(),
        false => roster.members.iter().collect(),
    };
    let Some(most) = live.replication_max.filter(|most| *most > 0) else {
        return match fit.len() == roster.members.len() {
            true => Holders::All,
            false => Holders::These(fit),
        };
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let chosen = |peer: &Vec<u8>| live.members.iter().position(|member| member == peer);
    let ready = fit.into_iter().filter(|holder| holder.weight > 0 && !holder.is_out);
    let mut ranked: Vec<_> =
        ready.map(|holder| (chosen(&holder.peer), Score::of(key, holder), holder)).collect();
    ranked.sort_by(|(chosen_a, score_a, a), (chosen_b, score_b, b)| {
        let place = |chosen: &Option<usize>| chosen.unwrap_or(usize::MAX);
        let by_choice = place(chosen_a).cmp(&place(chosen_b));
        by_choice.then_with(|| score_b.cmp(score_a)).then_with(|| a.peer.cmp(&b.peer))
    });
    Holders::These(ranked.into_iter().take(most).map(|(.., holder)| holder).collect())
}

/// `weight / distance`, kept as a fraction.
#[derive(Debug, Clone, Copy)]
struct Score {
    weight: u32,
    distance: u64,
}

impl Score {
    fn of(key: &Key, holder: &Holder) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&LABEL);
        hasher.update(&key.0).update(&holder.peer);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self { weight: holder.weight, distance: distance(u64::from_le_bytes(first)) }
    }

    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let left = u128::from(self.weight) * u128::from(other.distance);
        let right = u128::from(other.weight) * u128::from(self.distance);
        left.cmp(&right)
    }
}

/// `-log2((hash + 1) / 2⁶⁴)` in units of 2⁻⁴⁰, at least one of them.
fn distance(hash: u64) -> u64 {
    let Some(value) = hash.checked_add(1) else { return 1 };
    let zeros = value.leading_zeros();
    let mut log = u64::from(63 - zeros) << FRACTION_BITS;
    // In [1, 2), with 63 bits behind the point: each squaring gives the next bit.
    let mut mantissa = u128::from(value << zeros);
    for bit in (0..FRACTION_BITS).rev() {
        mantissa = (mantissa * mantissa) >> 63;
        if mantissa >> 64 > 0 {
            log |= 1 << bit;
            mantissa >>= 1;
        }
    }
    ((64_u64 << FRACTION_BITS) - log).max(1)
}

#[cfg(test)]
mod tests;
