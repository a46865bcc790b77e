//! Random numbers by counter: a stream is named by what it is for, not by what was drawn before.
//!
//! The 32 bytes of a ChaCha8 key are four little-endian words (purpose, seed, a, b), so distinct
//! names give independent streams without any mixing of our own. Bounded draws are done here,
//! not by a library whose way of drawing may change between versions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Purpose {
    /// Target and rows of context i of batch step: (seed, step, i), one purpose a split.
    Train = 1,
    Val = 2,
    Test = 3,
    /// Rows of the context of a given target: (seed, row, 0).
    Given = 4,
    /// The same of a target that the store lacks: (seed, entity, time).
    New = 5,
    /// The order in which rows without a time are looked at: (0, table, column).
    Telling = 6,
}

/// The draw of the target and that of further targets have streams of their own, so that neither
/// changes which rows enter.
const TARGET: u64 = 1 << 32;
const EXTRA_TARGETS: u64 = 2 << 32;
/// Numbers of recipes that hold for a whole batch.
const BATCH: u64 = 3 << 32;

/// The name of a stream.
#[derive(Clone, Copy)]
pub struct Name {
    pub purpose: Purpose,
    pub seed: u64,
    pub a: u64,
    pub b: u64,
}

impl Name {
    pub fn stream(self) -> Stream {
        self.with_purpose(self.purpose as u64)
    }

    pub fn target_stream(self) -> Stream {
        self.with_purpose(self.purpose as u64 | TARGET)
    }

    pub fn extra_targets(self) -> Stream {
        self.with_purpose(self.purpose as u64 | EXTRA_TARGETS)
    }

    /// The stream of a batch's own draws; `b` is 0.
    pub fn batch_stream(self) -> Stream {
        self.with_purpose(self.purpose as u64 | BATCH)
    }

    fn with_purpose(self, purpose: u64) -> Stream {
        let mut key = [0; 32];
        let words = [purpose, self.seed, self.a, self.b];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Stream(ChaCha8Rng::from_seed(key))
    }
}

pub struct Stream(ChaCha8Rng);

impl Stream {
    /// Uniform in 0..n, without bias (Lemire 2019, "Fast random integer generation in an
    /// interval"). n must be positive.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        let mut product = u64::from(self.0.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.0.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// Puts the values in a random order, each with the same chance (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// Uniform in [0, 1), 53 bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(a: u64, b: u64) -> Name {
        Name {
            purpose: Purpose::Train,
            seed: 7,
            a,
            b,
        }
    }

    #[test]
    fn a_stream_depends_on_every_part_of_its_name() {
        let draw = |mut s: Stream| [s.below(u32::MAX), s.below(u32::MAX), s.below(u32::MAX)];
        let base = draw(name(1, 2).stream());
        assert_eq!(base, draw(name(1, 2).stream()));
        assert_ne!(base, draw(name(2, 1).stream()));
        assert_ne!(base, draw(name(1, 2).extra_targets()));
        let other_seed = Name {
            seed: 8,
            ..name(1, 2)
        };
        assert_ne!(base, draw(other_seed.stream()));
        let other_split = Name {
            purpose: Purpose::Val,
            ..name(1, 2)
        };
        assert_ne!(base, draw(other_split.stream()));
    }

    #[test]
    fn bounded_draws_are_uniform() {
        let mut stream = name(0, 0).stream();
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        // Chi-square with 6 degrees of freedom: 22.5 is exceeded with probability 0.001.
        let chi: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4)
            .sum();
        assert!(chi < 22.5, "{counts:?}");
        let mean = (0..10_000).map(|_| stream.unit()).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
