//! Randomness that is drawn from a seed: nonces and jitter.

/// A stream of numbers, unpredictable to whoever does not know the seed.
#[derive(Debug, Clone)]
pub(super) struct Random {
    seed: [u8; 32],
    drawn: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.drawn += 1;
        let hash = blake3::keyed_hash(&self.seed, &self.drawn.to_be_bytes());
        u64::from_be_bytes(crate::sync::hash::first(hash.as_bytes()))
    }

    /// A number below `end`; 0 for 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or_default()
    }

    pub(super) fn nonce(&mut self) -> [u8; 16] {
        let (a, b) = (self.next(), self.next());
        (u128::from(a) << 64 | u128::from(b)).to_be_bytes()
    }
}
