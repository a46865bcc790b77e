//! Numbers as they are stored: f32, or bf16. Arithmetic is in f32 with either.

use half::bf16;

use super::simd::{LANES, Simd};

/// A type that numbers are stored in.
pub trait Element: Copy + Default + Send + Sync {
    const ZERO: Self;
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::V;
    fn store<S: Simd>(simd: S, v: S::V, x: &mut [Self; LANES]);
}

impl Element for f32 {
    const ZERO: f32 = 0.0;
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[f32; LANES]) -> S::V {
        simd.load(x)
    }
    #[inline(always)]
    fn store<S: Simd>(simd: S, v: S::V, x: &mut [f32; LANES]) {
        simd.store(v, x);
    }
}

impl Element for bf16 {
    const ZERO: bf16 = bf16::ZERO;
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[bf16; LANES]) -> S::V {
        simd.load_bf16(x)
    }
    #[inline(always)]
    fn store<S: Simd>(simd: S, v: S::V, x: &mut [bf16; LANES]) {
        simd.store_bf16(v, x);
    }
}

/// The numbers of x from `at` on, with zeros behind its end.
#[inline(always)]
pub fn load_at<S: Simd, T: Element>(simd: S, x: &[T], at: usize) -> S::V {
    let rest = &x[at..];
    match rest.first_chunk() {
        Some(lanes) => T::load(simd, lanes),
        None => {
            let mut lanes = [T::ZERO; LANES];
            lanes[..rest.len()].copy_from_slice(rest);
            T::load(simd, &lanes)
        }
    }
}

/// Writes a vector into x from `at` on; what lies behind its end is dropped.
#[inline(always)]
pub fn store_at<S: Simd, T: Element>(simd: S, v: S::V, x: &mut [T], at: usize) {
    let rest = &mut x[at..];
    match rest.first_chunk_mut() {
        Some(lanes) => T::store(simd, v, lanes),
        None => {
            let mut lanes = [T::ZERO; LANES];
            T::store(simd, v, &mut lanes);
            rest.copy_from_slice(&lanes[..rest.len()]);
        }
    }
}

/// a . b.
#[inline(always)]
pub fn dot<S: Simd, T: Element, U: Element>(simd: S, a: &[T], b: &[U]) -> f32 {
    let mut sum = simd.splat(0.0);
    for at in (0..a.len()).step_by(LANES) {
        sum = simd.fma(load_at(simd, a, at), load_at(simd, b, at), sum);
    }
    simd.sum(sum)
}
