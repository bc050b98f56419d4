//! The Rabin chunker: a fingerprint of the last 16 bytes decides where to cut.

use std::sync::LazyLock;

use super::RabinSizes;

/// The irreducible polynomial of every IPFS implementation.
const POLYNOMIAL: u64 = 17_437_180_132_763_653;
/// Its degree.
const DEGREE: u32 = 53;
const WINDOW: usize = 16;

/// What a byte contributes once it has left the window, and what the bits above the degree reduce
/// to: both by byte.
struct Tables {
    out: [u64; 256],
    modulo: [u64; 256],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables { out: [0; 256], modulo: [0; 256] };
    for (byte, out) in (0_u64..).zip(&mut tables.out) {
        *out = (0..WINDOW - 1).fold(reduce(byte), |hash, _| reduce(hash << 8));
    }
    for (byte, modulo) in (0_u64..).zip(&mut tables.modulo) {
        *modulo = reduce(byte << DEGREE) | (byte << DEGREE);
    }
    tables
});

/// The remainder of a polynomial over GF(2) by [`POLYNOMIAL`].
fn reduce(mut value: u64) -> u64 {
    while value >> DEGREE != 0 {
        value ^= POLYNOMIAL << (value.ilog2() - DEGREE);
    }
    value
}

#[derive(Debug)]
pub(super) struct Rabin {
    sizes: RabinSizes,
    mask: u64,
    window: [u8; WINDOW],
    at: usize,
    digest: u64,
}

impl Rabin {
    pub(super) fn new(sizes: RabinSizes) -> Self {
        let mask = (1_u64 << sizes.avg.checked_ilog2().unwrap_or(0)) - 1;
        let mut rabin = Self { sizes, mask, window: [0; WINDOW], at: 0, digest: 0 };
        rabin.reset();
        rabin
    }

    /// Every chunk begins with a window of zeros into which a 1 was slid.
    fn reset(&mut self) {
        self.window = [0; WINDOW];
        self.digest = 1;
        self.at = 1;
        if let Some(first) = self.window.first_mut() {
            *first = 1;
        }
    }

    #[expect(clippy::indexing_slicing, reason = "hot loop; both tables hold every byte value")]
    pub(super) fn scan(&mut self, have: usize, bytes: &[u8]) -> Option<usize> {
        // Below the window the reference waits for 2^64 bytes before it looks at any.
        let skip = self.sizes.min.checked_sub(WINDOW)?.saturating_sub(have);
        let rest = bytes.get(skip..)?;
        let tables = &*TABLES;
        let mut digest = self.digest;
        let mut at = self.at;
        for (seen, byte) in (have + skip + 1..).zip(rest) {
            let slot = &mut self.window[at % WINDOW];
            digest ^= tables.out[usize::from(*slot)];
            *slot = *byte;
            at = at.wrapping_add(1);
            let index = digest >> (DEGREE - 8);
            digest = (digest << 8) | u64::from(*byte);
            digest ^= tables.modulo[(index & 0xff) as usize];
            if seen >= self.sizes.min && (digest & self.mask == 0 || seen >= self.sizes.max) {
                self.reset();
                return Some(seen - have);
            }
        }
        self.digest = digest;
        self.at = at;
        None
    }
}
