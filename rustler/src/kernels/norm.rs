//! RMS norm of the residual stream, and its backward pass.
//!
//! The stream and its gradient are fp32 and updated in place; what goes into matrix products is
//! stored as the products want it. The weight of a norm is multiplied into the matrix that follows
//! it, so the kernels know none.

use super::attention::EPSILON;
use super::element::{Element, dot, load_at, store_at};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{chunk_rows, for_each};
use super::transpose::{Columns, split_columns};
use super::{KernelError, check_length};

/// x += update (if there is one), then y = x * factor, factor = 1 / sqrt(mean of squares +
/// epsilon), row by row. x, update and y: [N, d]; factor: [N].
pub fn norm_forward<T: Element>(
    x: &mut [f32],
    update: Option<&[T]>,
    y: &mut [T],
    factor: &mut [f32],
    num_threads: usize,
) -> Result<(), KernelError> {
    let width = row_width(x.len(), factor.len())?;
    check_length("y", y.len(), x.len())?;
    if let Some(update) = update {
        check_length("update", update.len(), x.len())?;
    }
    let rows = chunk_rows(factor.len(), num_threads);
    let mut update = update;
    let mut work = Vec::new();
    let parts = x.chunks_mut(rows * width).zip(y.chunks_mut(rows * width));
    for ((x, y), factor) in parts.zip(factor.chunks_mut(rows)) {
        let update = update.as_mut().and_then(|u| u.split_off(..x.len()));
        work.push(NormForward {
            x,
            update,
            y,
            factor,
            width,
        });
    }
    for_each(work, num_threads, dispatch)
}

struct NormForward<'a, T> {
    x: &'a mut [f32],
    update: Option<&'a [T]>,
    y: &'a mut [T],
    factor: &'a mut [f32],
    width: usize,
}

impl<T: Element> Kernel for NormForward<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (row, factor) in self.factor.iter_mut().enumerate() {
            let part = row * self.width..(row + 1) * self.width;
            let (x, y) = (&mut self.x[part.clone()], &mut self.y[part.clone()]);
            if let Some(update) = self.update {
                let update = &update[part];
                for at in (0..self.width).step_by(LANES) {
                    let sum = simd.add(load_at(simd, x, at), load_at(simd, update, at));
                    store_at(simd, sum, x, at);
                }
            }
            let mean = dot(simd, x, x) / self.width as f32;
            *factor = 1.0 / (mean + EPSILON).sqrt();
            let factor = simd.splat(*factor);
            for at in (0..self.width).step_by(LANES) {
                store_at(simd, simd.mul(load_at(simd, x, at), factor), y, at);
            }
        }
    }
}

/// What `norm_backward` writes beside the gradient of the stream.
pub struct Copies<'a, T> {
    /// [N, d]: the gradient as products want it.
    pub grad: &'a mut [T],
    /// [d, stride], N columns used: it, and y, transposed: products for the gradients of weights
    /// are much faster with them.
    pub grad_transposed: &'a mut [T],
    pub y_transposed: &'a mut [T],
}

/// grad_x += the gradient through the norm, which had the output y [N, d] and gets the gradient
/// grad_y; and the copies. `factor` [N] as the forward pass gave it.
pub fn norm_backward<T: Element>(
    (y, factor): (&[T], &[f32]),
    grad_y: &[T],
    grad_x: &mut [f32],
    copies: Copies<T>,
    num_threads: usize,
) -> Result<(), KernelError> {
    let width = row_width(y.len(), factor.len())?;
    check_length("grad_y", grad_y.len(), y.len())?;
    check_length("grad_x", grad_x.len(), y.len())?;
    check_length("copies.grad", copies.grad.len(), y.len())?;
    let rows = chunk_rows(factor.len(), num_threads);
    let of_grad = split_columns(copies.grad_transposed, width, rows, factor.len())?;
    let of_y = split_columns(copies.y_transposed, width, rows, factor.len())?;
    let work = y
        .chunks(rows * width)
        .zip(factor.chunks(rows))
        .zip(grad_y.chunks(rows * width))
        .zip(grad_x.chunks_mut(rows * width))
        .zip(copies.grad.chunks_mut(rows * width))
        .zip(of_grad.into_iter().zip(of_y))
        .map(
            |(((((y, factor), grad_y), grad_x), grad), (of_grad, of_y))| NormBackward {
                y,
                factor,
                grad_y,
                grad_x,
                grad,
                transposed: [of_grad, of_y],
                width,
            },
        );
    for_each(work.collect(), num_threads, dispatch)
}

struct NormBackward<'a, T> {
    y: &'a [T],
    factor: &'a [f32],
    grad_y: &'a [T],
    grad_x: &'a mut [f32],
    grad: &'a mut [T],
    transposed: [Columns<'a, T>; 2],
    width: usize,
}

impl<T: Element> Kernel for NormBackward<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let rows = self.factor.len();
        for first in (0..rows).step_by(LANES) {
            let end = rows.min(first + LANES);
            for row in first..end {
                self.row(simd, row);
            }
            let part = first * self.width..end * self.width;
            let [of_grad, of_y] = &mut self.transposed;
            of_grad.write(simd, &self.grad[part.clone()], first);
            of_y.write(simd, &self.y[part], first);
        }
    }
}

impl<T: Element> NormBackward<'_, T> {
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, row: usize) {
        let part = row * self.width..(row + 1) * self.width;
        let (y, grad_y) = (&self.y[part.clone()], &self.grad_y[part.clone()]);
        let (grad_x, grad) = (&mut self.grad_x[part.clone()], &mut self.grad[part]);
        let mean = simd.splat(-dot(simd, y, grad_y) / self.width as f32);
        let factor = simd.splat(self.factor[row]);
        for at in (0..self.width).step_by(LANES) {
            let through = simd.fma(mean, load_at(simd, y, at), load_at(simd, grad_y, at));
            let sum = simd.fma(factor, through, load_at(simd, grad_x, at));
            store_at(simd, sum, grad_x, at);
            store_at(simd, sum, grad, at);
        }
    }
}

fn row_width(elements: usize, rows: usize) -> Result<usize, KernelError> {
    let width = (elements / rows.max(1)).max(1);
    check_length("x", elements, rows * width)?;
    Ok(width)
}
