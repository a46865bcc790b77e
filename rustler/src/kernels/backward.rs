//! The backward kernel of attention: gradients of queries, keys, values and the norms' weight.

use super::attention::{Block, Head, Input, Keys, Layout, QUERIES, Qkv, pad, put};
use super::element::{Element, dot};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::for_each;
use super::tile::{Row, dots, mix, spread, to_tiles, weights_again};
use super::{KernelError, check_length};

/// What the forward pass returned, and the gradient of its output.
#[derive(Clone, Copy)]
pub struct Saved<'a, T> {
    /// [M, H, D].
    pub out: &'a [T],
    /// [M, H].
    pub lse: &'a [f32],
    /// [M, H, D].
    pub grad_out: &'a [T],
}

/// Gradients of attention: `grad_qkv` as `input.qkv`, and the gradient of `input.weight` [D] (zero
/// without one), added up over the contexts in their order.
pub fn backward<T: Element>(
    input: &Input<T>,
    saved: &Saved<T>,
    grad_qkv: Qkv<&mut [T]>,
    grad_weight: &mut [f32],
    num_threads: usize,
) -> Result<(), KernelError> {
    input.check()?;
    let (queries, width) = (input.groups.num_queries(), input.heads * input.dim);
    check_length("out", saved.out.len(), queries * width)?;
    check_length("lse", saved.lse.len(), queries * input.heads)?;
    check_length("grad_out", saved.grad_out.len(), queries * width)?;
    grad_qkv.shared().check(input.groups, width)?;
    check_length("grad_weight", grad_weight.len(), input.dim)?;
    let contexts = input.groups.num_contexts();
    let mut by_context = vec![0.0; contexts * input.dim];
    let mut weights = by_context.as_mut_slice();
    let mut work = Vec::with_capacity(contexts);
    let (mut rest, mut grad_qkv) = (*saved, grad_qkv);
    for context in 0..contexts {
        let n = input.groups.queries_of(context).len();
        let keys = input.groups.keys_of(context).len();
        work.push(Backward {
            input,
            context,
            saved: rest.split_off(n * width, n * input.heads),
            grad_qkv: grad_qkv.split_off(n, keys, width),
            grad_weight: weights.split_off_mut(..input.dim).unwrap_or_default(),
        });
    }
    for_each(work, num_threads, dispatch)?;
    grad_weight.fill(0.0);
    for context in by_context.chunks_exact(input.dim.max(1)) {
        for (sum, x) in grad_weight.iter_mut().zip(context) {
            *sum += x;
        }
    }
    Ok(())
}

impl<'a, T> Saved<'a, T> {
    fn split_off(&mut self, outputs: usize, sums: usize) -> Saved<'a, T> {
        Saved {
            out: self.out.split_off(..outputs).unwrap_or_default(),
            lse: self.lse.split_off(..sums).unwrap_or_default(),
            grad_out: self.grad_out.split_off(..outputs).unwrap_or_default(),
        }
    }
}

impl<T> Qkv<&mut [T]> {
    fn shared(&self) -> Qkv<&[T]> {
        match self {
            Qkv::Joint(all) => Qkv::Joint(&**all),
            Qkv::Apart(q, kv) => Qkv::Apart(&**q, &**kv),
        }
    }

    /// The first rows of queries and keys; self is left with the others.
    fn split_off(&mut self, queries: usize, keys: usize, width: usize) -> Self {
        let (of_q, of_kv) = self.layouts(width);
        match self {
            Qkv::Joint(all) => Qkv::Joint(split_rows(all, queries * of_q.stride)),
            Qkv::Apart(q, kv) => Qkv::Apart(
                split_rows(q, queries * of_q.stride),
                split_rows(kv, keys * of_kv.stride),
            ),
        }
    }

    /// Rows of queries, to be written.
    fn queries(&mut self, width: usize) -> impl Iterator<Item = &mut [T]> {
        let (layout, _) = self.layouts(width);
        let (Qkv::Joint(data) | Qkv::Apart(data, _)) = self;
        rows_of(data, layout)
    }

    /// Rows of keys, values behind them, to be written.
    fn keys(&mut self, width: usize) -> impl Iterator<Item = &mut [T]> {
        let (_, layout) = self.layouts(width);
        let (Qkv::Joint(data) | Qkv::Apart(_, data)) = self;
        rows_of(data, layout)
    }
}

fn split_rows<'a, T>(data: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    data.split_off_mut(..count).unwrap_or_default()
}

fn rows_of<T>(data: &mut [T], layout: Layout) -> impl Iterator<Item = &mut [T]> {
    let rows = data.chunks_exact_mut(layout.stride.max(1));
    rows.map(move |row| &mut row[layout.first..])
}

/// One context of the backward pass; the slices hold its rows only.
struct Backward<'a, T> {
    input: &'a Input<'a, T>,
    context: usize,
    saved: Saved<'a, T>,
    grad_qkv: Qkv<&'a mut [T]>,
    grad_weight: &'a mut [f32],
}

impl<T: Element> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.input.dim.div_ceil(LANES) {
            ..=1 => self.context::<S, 1>(simd),
            2 => self.context::<S, 2>(simd),
            _ => self.context::<S, 4>(simd),
        }
    }
}

impl<T: Element> Backward<'_, T> {
    #[inline(always)]
    fn context<S: Simd, const E: usize>(mut self, simd: S) {
        let mut head = Head::<E>::new(self.input);
        let (mut keys, mut v_tiles) = (Keys::<E>::default(), Vec::new());
        let (mut grads, mut of_keys) = (Grads::<E>::default(), OfKeys::<E>::default());
        let (mut weights, mut grad_scores) = (Vec::new(), Vec::new());
        for h in 0..self.input.heads {
            head.load(simd, self.input, self.context, h);
            grads.reset(head.q.len(), head.k.len());
            for pack in self.input.groups.packs(self.context) {
                keys.gather(simd, &head, &pack);
                to_tiles(simd, &keys.v, &mut v_tiles);
                of_keys.reset(pack.num_keys());
                for block in Block::all(&pack) {
                    let q = head.queries(simd, &block);
                    let (grad_out, lse, delta) = self.block(simd, &block, h);
                    dots(simd, &q, &keys.k_tiles, &mut weights);
                    dots(simd, &grad_out, &v_tiles, &mut grad_scores);
                    let rest = (&lse, &delta);
                    weights_again(simd, &mut weights, &mut grad_scores, rest, &block.keys);
                    let all = block.all_keys();
                    spread(simd, &weights, &grad_out, &mut of_keys.v, all.clone());
                    spread(simd, &grad_scores, &q, &mut of_keys.k, all.clone());
                    let of_queries = mix(simd, &grad_scores, &keys.k, all);
                    for i in 0..block.used {
                        grads.q[block.query[i]] = of_queries[i];
                    }
                }
                for (key, (k, v)) in pack.keys().zip(of_keys.k.iter().zip(&of_keys.v)) {
                    add(simd, &mut grads.k[key], k);
                    add(simd, &mut grads.v[key], v);
                }
            }
            self.finish(simd, &head, &grads, h);
        }
    }

    /// Of the queries of a block: gradient of the output, log-sum-exp and gradient . output. The
    /// first and the last are 0 beyond the used ones, so that they add nothing to any gradient.
    #[inline(always)]
    fn block<S: Simd, const E: usize>(
        &self,
        simd: S,
        block: &Block,
        head: usize,
    ) -> ([Row<E>; QUERIES], [f32; QUERIES], [f32; QUERIES]) {
        let (heads, dim) = (self.input.heads, self.input.dim);
        let mut grad = [[[0.0; LANES]; E]; QUERIES];
        let (mut lse, mut delta) = ([0.0; QUERIES], [0.0; QUERIES]);
        for i in 0..QUERIES {
            let at = block.query[i] * heads + head;
            lse[i] = self.saved.lse[at];
            if i < block.used {
                let (out, of_out) = (
                    &self.saved.out[at * dim..],
                    &self.saved.grad_out[at * dim..],
                );
                grad[i] = pad(simd, &of_out[..dim]);
                delta[i] = dot(simd, &out[..dim], &of_out[..dim]);
            }
        }
        (grad, lse, delta)
    }

    /// Through the weight and the norms, and out to the arrays.
    #[inline(always)]
    fn finish<S: Simd, const E: usize>(
        &mut self,
        simd: S,
        head: &Head<E>,
        grads: &Grads<E>,
        at: usize,
    ) {
        let (heads, dim) = (self.input.heads, self.input.dim);
        let normalised = self.input.weight.is_some();
        let (width, first) = (heads * dim, at * dim);
        let mut grad_weight = [simd.splat(0.0); E];
        let one = simd.splat(1.0);
        for (i, target) in self.grad_qkv.queries(width).enumerate() {
            let mut q = grads.q[i];
            for e in 0..E {
                let grad = simd.load(&q[e]);
                grad_weight[e] = simd.fma(grad, simd.load(&head.q[i][e]), grad_weight[e]);
                simd.store(simd.mul(grad, simd.load(&head.weight[e])), &mut q[e]);
            }
            if normalised {
                through_norm(simd, &mut q, (&head.q[i], head.q_factor[i]), dim);
            }
            put(simd, &q, one, &mut target[first..][..dim]);
        }
        for (i, target) in self.grad_qkv.keys(width).enumerate() {
            let mut k = grads.k[i];
            if normalised {
                through_norm(simd, &mut k, (&head.k[i], head.k_factor[i]), dim);
            }
            put(simd, &k, one, &mut target[first..][..dim]);
            put(simd, &grads.v[i], one, &mut target[width + first..][..dim]);
        }
        if normalised {
            let mut found = [[0.0; LANES]; E];
            for e in 0..E {
                simd.store(grad_weight[e], &mut found[e]);
            }
            for (sum, x) in self.grad_weight.iter_mut().zip(found.as_flattened()) {
                *sum += x;
            }
        }
    }
}

/// The gradient of x from that of y = x * factor(x), an RMS norm over `dim` channels.
#[inline(always)]
fn through_norm<S: Simd, const E: usize>(
    simd: S,
    grad: &mut Row<E>,
    (y, factor): (&Row<E>, f32),
    dim: usize,
) {
    let mean = simd.splat(-dot(simd, grad.as_flattened(), y.as_flattened()) / dim as f32);
    for e in 0..E {
        let through = simd.fma(mean, simd.load(&y[e]), simd.load(&grad[e]));
        simd.store(simd.mul(simd.splat(factor), through), &mut grad[e]);
    }
}

#[inline(always)]
fn add<S: Simd, const E: usize>(simd: S, sum: &mut Row<E>, x: &Row<E>) {
    for e in 0..E {
        simd.store(simd.add(simd.load(&sum[e]), simd.load(&x[e])), &mut sum[e]);
    }
}

/// Gradients of one head of one context, of what `Head` holds.
#[derive(Default)]
struct Grads<const E: usize> {
    q: Vec<Row<E>>,
    k: Vec<Row<E>>,
    v: Vec<Row<E>>,
}

impl<const E: usize> Grads<E> {
    fn reset(&mut self, queries: usize, keys: usize) {
        let lists = [
            (&mut self.q, queries),
            (&mut self.k, keys),
            (&mut self.v, keys),
        ];
        for (list, rows) in lists {
            list.clear();
            list.resize(rows, [[0.0; LANES]; E]);
        }
    }
}

/// Gradients of the keys and values of one pack.
#[derive(Default)]
struct OfKeys<const E: usize> {
    k: Vec<Row<E>>,
    v: Vec<Row<E>>,
}

impl<const E: usize> OfKeys<E> {
    #[inline(always)]
    fn reset(&mut self, keys: usize) {
        for list in [&mut self.k, &mut self.v] {
            list.clear();
            list.resize(keys, [[0.0; LANES]; E]);
        }
    }
}
