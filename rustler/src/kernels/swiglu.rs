//! SwiGLU: the gate, and its backward pass.

use super::element::{Element, load_at, store_at};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{chunk_rows, for_each};
use super::{KernelError, check_length};

/// a = silu(g) * u of the two halves g, u of every row of `gates` [N, 2f]; a: [N, f].
pub fn swiglu_forward<T: Element>(
    gates: &[T],
    a: &mut [T],
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

struct SwigluForward<'a, T> {
    gates: &'a [T],
    a: &'a mut [T],
    width: usize,
}

impl<T: Element> Kernel for SwigluForward<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.gates.chunks_exact(2 * self.width);
        for (gates, a) in rows.zip(self.a.chunks_exact_mut(self.width)) {
            let (g, u) = gates.split_at(self.width);
            for at in (0..self.width).step_by(LANES) {
                let (g, u) = (load_at(simd, g, at), load_at(simd, u, at));
                let silu = simd.mul(g, sigmoid(simd, g));
                store_at(simd, simd.mul(silu, u), a, at);
            }
        }
    }
}

/// The backward pass of `swiglu_forward`, in place: `gates` [N, 2f] become their gradients, and
/// `grad_a` [N, f] becomes a itself, which the next product needs.
pub fn swiglu_backward<T: Element>(
    gates: &mut [T],
    grad_a: &mut [T],
    width: usize,
    num_threads: usize,
) -> Result<(), KernelError> {
    let count = num_rows(grad_a.len(), width)?;
    check_length("gates", gates.len(), 2 * grad_a.len())?;
    let rows = chunk_rows(count, num_threads);
    let work = gates
        .chunks_mut(2 * rows * width)
        .zip(grad_a.chunks_mut(rows * width))
        .map(|(gates, grad_a)| SwigluBackward {
            gates,
            grad_a,
            width,
        });
    for_each(work.collect(), num_threads, dispatch)
}

struct SwigluBackward<'a, T> {
    gates: &'a mut [T],
    grad_a: &'a mut [T],
    width: usize,
}

impl<T: Element> Kernel for SwigluBackward<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.gates.chunks_exact_mut(2 * self.width);
        for (gates, a) in rows.zip(self.grad_a.chunks_exact_mut(self.width)) {
            let (g_row, u_row) = gates.split_at_mut(self.width);
            for at in (0..self.width).step_by(LANES) {
                let (g, u) = (load_at(simd, g_row, at), load_at(simd, u_row, at));
                let grad = load_at(simd, a, at);
                let s = sigmoid(simd, g);
                let silu = simd.mul(g, s);
                // the derivative of silu: s + silu (1 - s)
                let slope = simd.fma(silu, simd.sub(simd.splat(1.0), s), s);
                store_at(simd, simd.mul(silu, u), a, at);
                store_at(simd, simd.mul(grad, silu), u_row, at);
                store_at(simd, simd.mul(simd.mul(grad, u), slope), g_row, at);
            }
        }
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
