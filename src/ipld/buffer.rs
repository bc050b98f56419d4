//! Buffers for the bytes of large blocks, used again.
//!
//! A gigabyte is four thousand buffers of a quarter of a megabyte. Allocated one by one, each is
//! pages that the kernel clears, maps and takes back: a quarter of the CPU time of an `add`. So the
//! last few that were dropped are kept, whole and mapped, up to [`KEPT_BYTES`] in the process.
//! Content is never cleared: a buffer shows only what was written to it since it was taken.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Smaller buffers are left to the allocator, which keeps those mapped by itself.
const KEPT_LEN_MIN: usize = 32 * 1024;
/// Bytes of all buffers that wait to be used again.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Lengths are rounded up to this, so that blocks of about one length share buffers.
const LEN_UNIT: usize = 16 * 1024;

static KEPT: Mutex<Kept> = Mutex::new(Kept { spaces: Vec::new(), bytes: 0 });

#[derive(Debug)]
struct Kept {
    spaces: Vec<Space>,
    bytes: usize,
}

/// Memory that goes back to [`KEPT`] when it is dropped. Its length is its capacity.
#[derive(Debug, Default)]
struct Space(Vec<u8>);

impl Space {
    /// At least `len` bytes, whatever they are.
    fn take(len: usize) -> Self {
        if len < KEPT_LEN_MIN {
            return Self(vec![0; len]);
        }
        let len = len.next_multiple_of(LEN_UNIT);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        // The last ones are most likely still in a cache of the processor.
        let fits = |space: &Space| (len..=2 * len).contains(&space.0.len());
        if let Some(index) = kept.spaces.iter().rposition(fits) {
            let space = kept.spaces.remove(index);
            kept.bytes -= space.0.len();
            return space;
        }
        drop(kept);
        Self(vec![0; len])
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let len = self.0.len();
        if len < KEPT_LEN_MIN {
            return;
        }
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + len <= KEPT_BYTES {
            kept.bytes += len;
            kept.spaces.push(Self(std::mem::take(&mut self.0)));
        }
    }
}

/// Bytes that grow, then become a [`Bytes`] without being copied.
#[derive(Debug, Default)]
pub struct Buffer {
    space: Space,
    len: usize,
}

/// What a [`Bytes`] owns.
struct Filled {
    space: Space,
    len: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.space.0.get(..self.len).unwrap_or_default()
    }
}

impl Buffer {
    /// An empty buffer that holds `room` bytes without being moved.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self { space: Space::take(room), len: 0 }
    }

    /// Adds `bytes` at the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.grow(bytes.len()).copy_from_slice(bytes);
    }

    /// Adds `more` bytes at the end and gives them out to be written: what they are before that
    /// is not said.
    pub fn grow(&mut self, more: usize) -> &mut [u8] {
        let start = self.len;
        let end = start + more;
        if self.space.0.len() < end {
            let mut larger = Space::take(end.max(2 * start));
            if let Some(place) = larger.0.get_mut(..start) {
                place.copy_from_slice(self);
            }
            // The old one is kept for somebody with less to hold.
            self.space = larger;
        }
        self.len = end;
        self.space.0.get_mut(start..end).unwrap_or_default()
    }

    /// The bytes, not to be changed any more. The memory is used again when the last clone drops.
    #[must_use]
    pub fn freeze(mut self) -> Bytes {
        if self.space.0.len() < KEPT_LEN_MIN {
            let mut bytes = std::mem::take(&mut self.space.0);
            bytes.truncate(self.len);
            return Bytes::from(bytes);
        }
        Bytes::from_owner(Filled { space: self.space, len: self.len })
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.space.0.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.space.0.get_mut(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_what_was_written_to_it_however_it_grew() {
        for (room, piece) in [(0, 7), (10, 7), (40_000, 1000), (100_000, 100_001), (300_000, 1)] {
            let mut buffer = Buffer::with_room(room);
            let mut expected = Vec::new();
            for i in 0..50_u8 {
                buffer.extend_from_slice(&vec![i; piece]);
                expected.extend(vec![i; piece]);
            }
            assert_eq!(*buffer, expected);
            assert_eq!(buffer.len(), expected.len());
            assert_eq!(buffer.freeze(), expected);
        }
    }

    #[test]
    fn memory_comes_back_and_shows_nothing_of_before() {
        for _ in 0..100 {
            let mut buffer = Buffer::with_room(200_000);
            assert!(buffer.is_empty());
            buffer.grow(100).fill(7);
            let bytes = buffer.freeze();
            let part = bytes.slice(50..);
            drop(bytes);
            assert_eq!(part, vec![7; 50]);
        }
        assert!(KEPT.lock().unwrap().bytes <= KEPT_BYTES);
    }
}
