//! When a reading file is reported.
//!
//! Kubo reports at each read that has made enough of a difference, and at each read that meets the
//! end of the file: how many of those there are depends on how its chunkers read and on how often
//! its layouts ask whether there is more.

use crate::unixfs::chunk::Chunker;
use crate::unixfs::import::{ImportOptions, Layout};

/// Bytes between two reports, at least.
const STEP: u64 = 256 * 1024;
/// What the Rabin and buzhash chunkers read at once.
const READ: u64 = 512 * 1024;
/// Less than this is the last chunk of the buzhash chunker.
const BUZHASH_MIN: u64 = 128 * 1024;
/// Nodes of a trickle tree that are counted; larger files report their end once.
const NODES_MAX: u64 = 1 << 20;

/// Counts the bytes of one file.
#[derive(Debug)]
pub(super) struct Progress {
    total: u64,
    next: u64,
    step: u64,
    /// Where chunks began, those of the last half MiB at least.
    starts: Vec<u64>,
    chunked: u64,
}

impl Progress {
    /// Small chunks are read one by one, so that reports come after whole ones.
    pub(super) fn new(chunker: &Chunker) -> Self {
        let step = match chunker {
            Chunker::Size(size) => {
                let size = (*size).max(1) as u64;
                if size < STEP { STEP.div_ceil(size) * size } else { STEP }
            }
            Chunker::Rabin(_) | Chunker::Buzhash => STEP,
        };
        Self { total: 0, next: step, step, starts: Vec::new(), chunked: 0 }
    }

    /// More bytes were read; returns the counts to report.
    pub(super) fn read(&mut self, len: u64) -> Vec<u64> {
        self.total += len;
        let mut reports = Vec::new();
        while self.next <= self.total {
            reports.push(self.next);
            self.next += self.step;
        }
        reports
    }

    /// A chunk was cut.
    pub(super) fn cut(&mut self, len: usize) {
        self.starts.push(self.chunked);
        self.chunked += len as u64;
        let far = self.chunked.saturating_sub(2 * READ);
        self.starts.retain(|start| *start >= far);
    }

    /// All bytes, which are reported at the end.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How often they are.
    pub(super) fn reports_at_end(&self, options: &ImportOptions) -> u64 {
        match options.chunker {
            // A chunk that is cut short by the end tells the chunker that it is there.
            Chunker::Size(size) if !self.total.is_multiple_of((size as u64).max(1)) => 1,
            Chunker::Size(size) => {
                let chunks = self.total / (size as u64).max(1);
                let links_max = (options.links_max as u64).max(1);
                match options.layout {
                    Layout::Balanced => balanced(chunks, links_max),
                    Layout::Trickle if chunks / links_max > NODES_MAX => 1,
                    Layout::Trickle => trickle(&mut { chunks }, links_max, None),
                }
            }
            Chunker::Rabin(_) => 1 + u64::from(!self.total.is_multiple_of(READ)),
            Chunker::Buzhash => self.buzhash(),
        }
    }

    fn buzhash(&self) -> u64 {
        let mut reports = 0;
        for start in self.starts.iter().copied().chain([self.total]) {
            reports += u64::from(start + READ > self.total);
            if self.total - start.min(self.total) < BUZHASH_MIN {
                break;
            }
        }
        reports
    }
}

/// The last node of each level asks unless it is full; so does what made the levels.
fn balanced(mut chunks: u64, links_max: u64) -> u64 {
    let mut asked = 1;
    while chunks > 1 && links_max > 1 {
        asked += u64::from(!chunks.is_multiple_of(links_max));
        chunks = chunks.div_ceil(links_max);
    }
    asked
}

/// A node asks while it takes leaves, before each depth of subtrees, and before each subtree. It
/// recurses as deep as the tree, which grows with the logarithm of its size.
fn trickle(left: &mut u64, links_max: u64, depth_max: Option<u64>) -> u64 {
    let leaves = links_max.min(*left);
    *left -= leaves;
    let mut asked = u64::from(leaves < links_max);
    for depth in (1..).take_while(|depth| depth_max.is_none_or(|max| *depth < max)) {
        if *left == 0 {
            return asked + 1;
        }
        for _ in 0..4 {
            if *left == 0 {
                asked += 1;
                break;
            }
            asked += trickle(left, links_max, Some(depth));
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_at_whole_chunks() {
        let mut progress = Progress::new(&Chunker::default());
        assert!(progress.read(262_143).is_empty());
        assert_eq!(progress.read(1), [262_144]);
        assert_eq!(progress.read(600_000), [524_288, 786_432]);
        assert_eq!(progress.total(), 862_144);
        assert_eq!(Progress::new(&Chunker::Size(100)).read(300_000), [262_200]);
    }

    #[test]
    fn the_end_is_reported_as_often_as_it_is_met() {
        let of = |layout, links_max, total| {
            let chunker = Chunker::Size(10);
            let options = ImportOptions { chunker, layout, links_max, ..ImportOptions::default() };
            let mut progress = Progress::new(&chunker);
            progress.read(total);
            progress.reports_at_end(&options)
        };
        let balanced = [(0, 1), (5, 1), (10, 1), (20, 2), (40, 1), (45, 1), (50, 3), (80, 2)];
        for (total, expected) in balanced {
            assert_eq!(of(Layout::Balanced, 4, total), expected, "{total}");
        }
        for (total, expected) in [(0, 2), (5, 1), (10, 2), (40, 1), (50, 3)] {
            assert_eq!(of(Layout::Trickle, 4, total), expected, "{total}");
        }
    }
}
