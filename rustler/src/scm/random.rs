//! Random numbers of a table's model: ChaCha8 with one key a table, one stream an object.
//!
//! What an object draws depends on the key and its number alone. Normal draws are computed here,
//! not by a library whose way of drawing may change between versions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::math::{cos, ln, sin};
use crate::kernels::simd::{Kernel, Simd, dispatch};

pub type Key = [u8; 32];

/// The stream of an object; the low bits are its number.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Purpose {
    Function = 0,
    Noise = 1 << 40,
}

pub struct Draw(ChaCha8Rng);

impl Draw {
    pub fn new(key: &Key, purpose: Purpose, number: usize) -> Self {
        let mut rng = ChaCha8Rng::from_seed(*key);
        rng.set_stream(purpose as u64 | number as u64);
        Draw(rng)
    }

    /// Continues at 32-bit word `word` of the stream.
    pub fn seek(&mut self, word: u128) {
        self.0.set_word_pos(word);
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn unit(&mut self) -> f32 {
        unit_of(self.0.next_u32())
    }

    /// Uniform in 0..n for small n; the bias is n / 2^32.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    pub fn normal(&mut self) -> f32 {
        let mut one = [0.0];
        self.normals(&mut one);
        one[0]
    }

    /// Uniform in [0, 1).
    pub fn units(&mut self, to: &mut [f32]) {
        let mut bits = [0; 4 * WORDS];
        for part in to.chunks_mut(WORDS) {
            let bits = &mut bits[..4 * part.len()];
            self.0.fill_bytes(bits);
            for (x, word) in part.iter_mut().zip(words(bits)) {
                *x = unit_of(word);
            }
        }
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normals(&mut self, to: &mut [f32]) {
        let mut units = [0.0; WORDS];
        for part in to.chunks_mut(WORDS) {
            let pairs = part.len().div_ceil(2);
            self.units(&mut units[..pairs]);
            self.units(&mut units[WORDS / 2..][..pairs]);
            dispatch(BoxMuller(&mut units));
            part[..pairs].copy_from_slice(&units[..pairs]);
            let rest = part.len() - pairs;
            part[pairs..].copy_from_slice(&units[WORDS / 2..][..rest]);
        }
    }
}

/// Numbers drawn at a time.
const WORDS: usize = 64;

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let word = |four: &[u8]| u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    bytes.chunks_exact(4).map(word)
}

#[inline(always)]
fn unit_of(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// From uniform numbers, those of the first half with those of the second, to normal ones.
struct BoxMuller<'a>(&'a mut [f32; WORDS]);

impl Kernel for BoxMuller<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (first, second) = self.0.split_at_mut(WORDS / 2);
        for (first, second) in first.iter_mut().zip(second) {
            // in (0, 1], so that the logarithm is finite
            let u = *first + 1.0 / (1 << 24) as f32;
            let angle = std::f32::consts::TAU * *second;
            let radius = (-2.0 * ln::<S>(u)).sqrt();
            *first = radius * cos::<S>(angle);
            *second = radius * sin::<S>(angle);
        }
    }
}
