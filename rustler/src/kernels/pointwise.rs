//! Functions of vectors, element by element over slices.

use super::simd::{LANES, Lanes, Simd};

/// A function of I numbers with O results, on vectors. A trait instead of closures, because what is
/// not `#[inline(always)]` may stay a call, without the vector instructions.
pub trait Map<S: Simd, const I: usize, const O: usize> {
    fn of(&self, simd: S, x: [S::V; I]) -> [S::V; O];
}

/// outputs = map(inputs), element by element; all slices have one length.
#[inline(always)]
pub fn each<S: Simd, const I: usize, const O: usize>(
    simd: S,
    map: impl Map<S, I, O>,
    inputs: [&[f32]; I],
    outputs: [&mut [f32]; O],
) {
    let length = inputs[0].len();
    let whole = length / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let mut x = [simd.splat(0.0); I];
        for i in 0..I {
            x[i] = simd.load(lanes(&inputs[i][at..]));
        }
        let found = map.of(simd, x);
        for o in 0..O {
            simd.store(found[o], lanes_mut(&mut outputs[o][at..]));
        }
    }
    if whole < length {
        let mut x = [simd.splat(0.0); I];
        for i in 0..I {
            x[i] = simd.load(&padded(&inputs[i][whole..]));
        }
        let found = map.of(simd, x);
        for o in 0..O {
            let mut rest = [0.0; LANES];
            simd.store(found[o], &mut rest);
            outputs[o][whole..].copy_from_slice(&rest[..length - whole]);
        }
    }
}

/// The first 16 of at least 16 numbers.
#[inline(always)]
fn lanes(x: &[f32]) -> &Lanes {
    &x.as_chunks().0[0]
}

#[inline(always)]
fn lanes_mut(x: &mut [f32]) -> &mut Lanes {
    &mut x.as_chunks_mut().0[0]
}

/// Fewer than 16 numbers, with zeros behind them.
#[inline(always)]
pub fn padded(x: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes[..x.len()].copy_from_slice(x);
    lanes
}

/// Rows that one thread takes at a time: a few pieces each, so that none waits long for another.
pub fn chunk_rows(rows: usize, num_threads: usize) -> usize {
    rows.div_ceil(num_threads.max(1).saturating_mul(4)).max(64)
}
