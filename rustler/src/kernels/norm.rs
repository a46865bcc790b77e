//! RMS norm, and its backward pass with the residual gradient.
//!
//! The weight of a norm is multiplied into the matrix that follows it, so the kernels know none.

use super::attention::EPSILON;
use super::pointwise::{Map, chunk_rows, each, padded};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::for_each;
use super::{KernelError, check_length};

/// y = x * factor, factor = 1 / sqrt(mean of squares + epsilon), row by row.
/// x and y: [N, d]; factor: [N].
pub fn norm_forward(
    x: &[f32],
    y: &mut [f32],
    factor: &mut [f32],
    num_threads: usize,
) -> Result<(), KernelError> {
    let width = row_width(x.len(), factor.len())?;
    check_length("y", y.len(), x.len())?;
    let rows = chunk_rows(factor.len(), num_threads);
    let work = x
        .chunks(rows * width)
        .zip(y.chunks_mut(rows * width))
        .zip(factor.chunks_mut(rows))
        .map(|((x, y), factor)| NormForward {
            x,
            y,
            factor,
            width,
        });
    for_each(work.collect(), num_threads, dispatch)
}

struct NormForward<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    factor: &'a mut [f32],
    width: usize,
}

impl Kernel for NormForward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.x.chunks_exact(self.width);
        let targets = self.y.chunks_exact_mut(self.width);
        for ((x, y), factor) in rows.zip(targets).zip(self.factor) {
            let mean = dot(simd, x, x) / self.width as f32;
            *factor = 1.0 / (mean + EPSILON).sqrt();
            each(simd, Scale(simd.splat(*factor)), [x], [y]);
        }
    }
}

/// grad_x = grad_residual + the gradient through the norm, which had the output y [N, d] and gets
/// the gradient grad_y. `factor` [N] as the forward pass gave it.
pub fn norm_backward(
    (y, factor): (&[f32], &[f32]),
    grad_y: &[f32],
    grad_residual: &[f32],
    grad_x: &mut [f32],
    num_threads: usize,
) -> Result<(), KernelError> {
    let width = row_width(y.len(), factor.len())?;
    check_length("grad_y", grad_y.len(), y.len())?;
    check_length("grad_residual", grad_residual.len(), y.len())?;
    check_length("grad_x", grad_x.len(), y.len())?;
    let rows = chunk_rows(factor.len(), num_threads);
    let work = y
        .chunks(rows * width)
        .zip(factor.chunks(rows))
        .zip(grad_y.chunks(rows * width))
        .zip(grad_residual.chunks(rows * width))
        .zip(grad_x.chunks_mut(rows * width))
        .map(
            |((((y, factor), grad_y), grad_residual), grad_x)| NormBackward {
                y,
                factor,
                grad_y,
                grad_residual,
                grad_x,
                width,
            },
        );
    for_each(work.collect(), num_threads, dispatch)
}

struct NormBackward<'a> {
    y: &'a [f32],
    factor: &'a [f32],
    grad_y: &'a [f32],
    grad_residual: &'a [f32],
    grad_x: &'a mut [f32],
    width: usize,
}

impl Kernel for NormBackward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (row, factor) in self.factor.iter().enumerate() {
            let at = row * self.width..(row + 1) * self.width;
            let (y, grad_y) = (&self.y[at.clone()], &self.grad_y[at.clone()]);
            let grad_residual = &self.grad_residual[at.clone()];
            let mean = simd.splat(-dot(simd, y, grad_y) / self.width as f32);
            let factor = simd.splat(*factor);
            let inputs = [y, grad_y, grad_residual];
            each(
                simd,
                ThroughNorm { mean, factor },
                inputs,
                [&mut self.grad_x[at]],
            );
        }
    }
}

/// x * factor.
struct Scale<V>(V);

impl<S: Simd> Map<S, 1, 1> for Scale<S::V> {
    #[inline(always)]
    fn of(&self, simd: S, [x]: [S::V; 1]) -> [S::V; 1] {
        [simd.mul(x, self.0)]
    }
}

/// y, its gradient and the residual's to the gradient of x: factor (grad + mean y) + residual.
struct ThroughNorm<V> {
    mean: V,
    factor: V,
}

impl<S: Simd> Map<S, 3, 1> for ThroughNorm<S::V> {
    #[inline(always)]
    fn of(&self, simd: S, [y, grad_y, residual]: [S::V; 3]) -> [S::V; 1] {
        let through = simd.fma(self.mean, y, grad_y);
        [simd.fma(self.factor, through, residual)]
    }
}

/// a . b.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sum = simd.mul(simd.load(&padded(a_rest)), simd.load(&padded(b_rest)));
    for (a, b) in a.iter().zip(b) {
        sum = simd.fma(simd.load(a), simd.load(b), sum);
    }
    simd.sum(sum)
}

fn row_width(elements: usize, rows: usize) -> Result<usize, KernelError> {
    let width = (elements / rows.max(1)).max(1);
    check_length("x", elements, rows * width)?;
    Ok(width)
}
