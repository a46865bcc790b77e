//! SwiGLU: the gate, and its backward pass.

use super::pointwise::{Map, chunk_rows, each};
use super::simd::{Kernel, Simd, dispatch};
use super::threads::for_each;
use super::{KernelError, check_length};

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

fn num_rows(elements: usize, width: usize) -> Result<usize, KernelError> {
    // Rows without elements cannot be told apart, nor cut into pieces.
    if width == 0 {
        return check_length("a row of a", 0, 1).map(|()| 0);
    }
    let rows = elements / width;
    check_length("a", elements, rows * width)?;
    Ok(rows)
}
