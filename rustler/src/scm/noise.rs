//! Noise of a node: Beta(a, b) / d per component, by the inverse of its distribution function.
//!
//! A node draws d numbers a row, a thousand a row over a table, so a draw has to cost no more than
//! a table look-up: 12 random bits pick one of 4,096 equally likely quantiles.

use std::f32::consts::FRAC_PI_2;

use super::block::{Lane, ROWS};
use super::math::{exp, ln, sin};
use super::random::{Draw, Key, Purpose};
use crate::kernels::simd::{Kernel, Simd, dispatch};

const BITS: u32 = 12;
pub const LEVELS: usize = 1 << BITS;
const CELLS: usize = 512;

/// Quantiles of one node and the name of its stream of bits.
pub struct Noise {
    quantiles: Box<[f32; LEVELS]>,
    key: Key,
    node: usize,
}

impl Noise {
    /// quantiles: of the noise, all equally likely, before they are divided by `dim`.
    pub fn new(quantiles: &[f32; LEVELS], dim: usize, key: &Key, node: usize) -> Self {
        Noise {
            quantiles: Box::new(quantiles.map(|quantile| quantile / dim as f32)),
            key: *key,
            node,
        }
    }

    /// The noise of block number `block` of the table, one lane a component.
    pub fn fill(&self, block: usize, lanes: &mut [Lane]) {
        let mut draw = Draw::new(&self.key, Purpose::Noise, self.node);
        draw.seek((block * lanes.len() * ROWS / 2) as u128);
        let mut bits = [0; 2 * ROWS];
        for lane in lanes {
            draw.fill(&mut bits);
            for (value, pair) in lane.iter_mut().zip(bits.chunks_exact(2)) {
                let level = u16::from_le_bytes([pair[0], pair[1]]) >> (16 - BITS);
                *value = self.quantiles[level as usize];
            }
        }
    }
}

/// The quantiles (i + 1/2) / 4096 of Beta(a, b), for a and b of at least 1/2.
///
/// In t with x = sin^2(pi t / 2) the density is sin^(2a-1) cos^(2b-1), which is bounded, so the
/// midpoint rule gives the distribution function at 513 places, and lines between them its inverse.
pub fn beta_quantiles(a: f32, b: f32) -> [f32; LEVELS] {
    let mut density = [0.0; CELLS];
    dispatch(Density {
        powers: [2.0 * a - 1.0, 2.0 * b - 1.0],
        to: &mut density,
    });
    let mut cumulative = [0.0_f64; CELLS + 1];
    for (cell, density) in density.iter().enumerate() {
        cumulative[cell + 1] = cumulative[cell] + f64::from(*density);
    }
    let mut quantiles = [0.0; LEVELS];
    let mut cell = 0;
    for (level, quantile) in quantiles.iter_mut().enumerate() {
        let wanted = cumulative[CELLS] * (level as f64 + 0.5) / LEVELS as f64;
        while cell + 1 < CELLS && cumulative[cell + 1] < wanted {
            cell += 1;
        }
        let share = (wanted - cumulative[cell]) / (cumulative[cell + 1] - cumulative[cell]);
        *quantile = ((cell as f64 + share) / CELLS as f64) as f32;
    }
    dispatch(SquaredSines(&mut quantiles));
    quantiles
}

struct Density<'a> {
    powers: [f32; 2],
    to: &'a mut [f32; CELLS],
}

impl Kernel for Density<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (cell, density) in self.to.iter_mut().enumerate() {
            let t = FRAC_PI_2 * (cell as f32 + 0.5) / CELLS as f32;
            let rising = self.powers[0] * ln::<S>(sin::<S>(t));
            // the cosine, from the other end
            let falling = self.powers[1] * ln::<S>(sin::<S>(FRAC_PI_2 - t));
            *density = exp::<S>(rising + falling);
        }
    }
}

struct SquaredSines<'a>(&'a mut [f32; LEVELS]);

impl Kernel for SquaredSines<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for value in self.0.iter_mut() {
            let sine = sin::<S>(FRAC_PI_2 * *value);
            *value = sine * sine;
        }
    }
}
