//! What stands between the matrix products: RMS norm with the residual gradient, and SwiGLU.
//!
//! The weight of a norm is multiplied into the matrix that follows it, so the kernels know none.

use super::attention::EPSILON;
use super::simd::{Kernel, LANES, Lanes, Simd, dispatch};
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

/// a = silu(g) * u of the two halves g, u of every row of `gates` [N, 2f]; a: [N, f].
pub fn swiglu_forward(
    gates: &[f32],
    a: &mut [f32],
    width: usize,
    num_threads: usize,
) -> Result<(), KernelError> {
    let count = num_rows(a.len(), width)?;
    check_length("gates", gates.len(), 2 * a.len())?;
    let rows = chunk_rows(count, num_threads);
    let work = gates
        .chunks(2 * rows * width)
        .zip(a.chunks_mut(rows * width))
        .map(|(gates, a)| SwigluForward { gates, a, width });
    for_each(work.collect(), num_threads, dispatch)
}

struct SwigluForward<'a> {
    gates: &'a [f32],
    a: &'a mut [f32],
    width: usize,
}

impl Kernel for SwigluForward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.gates.chunks_exact(2 * self.width);
        for (gates, a) in rows.zip(self.a.chunks_exact_mut(self.width)) {
            let (g, u) = gates.split_at(self.width);
            each(simd, Swiglu, [g, u], [a]);
        }
    }
}

/// The backward pass of `swiglu_forward`: `grad_a` [N, f] becomes a itself, which the next product
/// needs, and `grad_gates` [N, 2f] is filled.
pub fn swiglu_backward(
    gates: &[f32],
    grad_a: &mut [f32],
    grad_gates: &mut [f32],
    width: usize,
    num_threads: usize,
) -> Result<(), KernelError> {
    let count = num_rows(grad_a.len(), width)?;
    check_length("gates", gates.len(), 2 * grad_a.len())?;
    check_length("grad_gates", grad_gates.len(), gates.len())?;
    let rows = chunk_rows(count, num_threads);
    let work = gates
        .chunks(2 * rows * width)
        .zip(grad_gates.chunks_mut(2 * rows * width))
        .zip(grad_a.chunks_mut(rows * width))
        .map(|((gates, grad_gates), grad_a)| SwigluBackward {
            gates,
            grad_gates,
            grad_a,
            width,
        });
    for_each(work.collect(), num_threads, dispatch)
}

struct SwigluBackward<'a> {
    gates: &'a [f32],
    grad_gates: &'a mut [f32],
    grad_a: &'a mut [f32],
    width: usize,
}

impl Kernel for SwigluBackward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.gates.chunks_exact(2 * self.width);
        let outputs = self.grad_gates.chunks_exact_mut(2 * self.width);
        let grads = self.grad_a.chunks_exact_mut(self.width);
        for ((gates, grad_gates), a) in rows.zip(outputs).zip(grads) {
            let (g, u) = gates.split_at(self.width);
            let (grad_g, grad_u) = grad_gates.split_at_mut(self.width);
            each(simd, GradSwiglu, [g, u, a], [grad_g, grad_u]);
            each(simd, Swiglu, [g, u], [a]);
        }
    }
}

/// A function of I numbers with O results, on vectors. A trait instead of closures, because what is
/// not `#[inline(always)]` may stay a call, without the vector instructions.
trait Map<S: Simd, const I: usize, const O: usize> {
    fn of(&self, simd: S, x: [S::V; I]) -> [S::V; O];
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

/// silu(g) * u.
struct Swiglu;

impl<S: Simd> Map<S, 2, 1> for Swiglu {
    #[inline(always)]
    fn of(&self, simd: S, [g, u]: [S::V; 2]) -> [S::V; 1] {
        [simd.mul(simd.mul(g, sigmoid(simd, g)), u)]
    }
}

/// g, u and the gradient of silu(g) * u to the gradients of g and u.
struct GradSwiglu;

impl<S: Simd> Map<S, 3, 2> for GradSwiglu {
    #[inline(always)]
    fn of(&self, simd: S, [g, u, grad]: [S::V; 3]) -> [S::V; 2] {
        let s = sigmoid(simd, g);
        let silu = simd.mul(g, s);
        // the derivative of silu: s + silu (1 - s)
        let slope = simd.fma(silu, simd.sub(simd.splat(1.0), s), s);
        [simd.mul(simd.mul(grad, u), slope), simd.mul(grad, silu)]
    }
}

#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(1.0);
    let e = simd.exp(simd.sub(simd.splat(0.0), x));
    simd.div(one, simd.add(one, e))
}

/// outputs = map(inputs), element by element; all slices have one length.
#[inline(always)]
fn each<S: Simd, const I: usize, const O: usize>(
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
fn padded(x: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes[..x.len()].copy_from_slice(x);
    lanes
}

/// Rows that one thread takes at a time: a few pieces each, so that none waits long for another.
fn chunk_rows(rows: usize, num_threads: usize) -> usize {
    rows.div_ceil(4 * num_threads.max(1)).max(64)
}

fn row_width(elements: usize, rows: usize) -> Result<usize, KernelError> {
    let width = (elements / rows.max(1)).max(1);
    check_length("x", elements, rows * width)?;
    Ok(width)
}

fn num_rows(elements: usize, width: usize) -> Result<usize, KernelError> {
    let rows = elements / width.max(1);
    check_length("a", elements, rows * width)?;
    Ok(rows)
}
