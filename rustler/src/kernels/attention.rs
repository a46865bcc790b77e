//! Attention over groups: arguments, the forward kernel, and what the backward one shares.
//!
//! Contexts are independent. Within one, heads come one after another: the head's queries, keys and
//! values are copied into arrays of their own (normalised once a cell, however many groups it is a
//! key of), and the groups then read them from the first-level cache.

use std::ops::Range;

use super::element::{Element, dot, load_at, store_at};
use super::groups::{Groups, Pack};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::for_each;
use super::tile::{Row, Tile, dots, exponentials, mix, to_tiles};
use super::{KernelError, check_length};

/// Most channels of a head.
pub const MAX_DIM: usize = 4 * LANES;

/// Of an RMS norm: the machine epsilon of float32, as in torch.
pub const EPSILON: f32 = f32::EPSILON;

/// Queries worked on together.
pub const QUERIES: usize = 4;

/// Queries, keys and values of cells, or their gradients; H heads, D channels a head.
#[derive(Clone, Copy)]
pub enum Qkv<A> {
    /// [N, 3, H, D]: query, key and value of each cell.
    Joint(A),
    /// [M, H, D]: queries, and [K, 2, H, D]: keys and values, of cells of their own.
    Apart(A, A),
}

/// Where rows stand in an array: numbers from one row to the next, and before a row's first one.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub stride: usize,
    pub first: usize,
}

impl<A> Qkv<A> {
    /// Of queries, and of keys with their values behind them; width: H * D.
    pub(super) fn layouts(&self, width: usize) -> (Layout, Layout) {
        let of = |stride, first| Layout { stride, first };
        match self {
            Qkv::Joint(_) => (of(3 * width, 0), of(3 * width, width)),
            Qkv::Apart(..) => (of(width, 0), of(2 * width, 0)),
        }
    }
}

impl<'a, T> Qkv<&'a [T]> {
    pub(super) fn check(&self, groups: &Groups, width: usize) -> Result<(), KernelError> {
        let (queries, keys) = (groups.num_queries(), groups.num_keys());
        match self {
            Qkv::Joint(all) => {
                check_length("qkv", all.len(), 3 * width * queries)?;
                check_length("qkv", all.len(), 3 * width * keys)
            }
            Qkv::Apart(q, kv) => {
                check_length("q", q.len(), width * queries)?;
                check_length("kv", kv.len(), 2 * width * keys)
            }
        }
    }

    /// The rows of queries, and of keys with their values, of one context.
    pub(super) fn of_context(
        &self,
        groups: &Groups,
        context: usize,
        width: usize,
    ) -> [Rows<'a, T>; 2] {
        let (q, kv) = self.layouts(width);
        let (of_q, of_kv) = match self {
            Qkv::Joint(all) => (*all, *all),
            Qkv::Apart(q, kv) => (*q, *kv),
        };
        let rows = |data: &'a [T], layout: Layout, rows: Range<usize>| Rows {
            data: &data[rows.start * layout.stride..rows.end * layout.stride],
            layout,
        };
        [
            rows(of_q, q, groups.queries_of(context)),
            rows(of_kv, kv, groups.keys_of(context)),
        ]
    }
}

/// Rows of an array.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    data: &'a [T],
    layout: Layout,
}

impl<'a, T> Rows<'a, T> {
    /// Each row, and what stands behind it up to the next.
    fn iter(&self) -> impl ExactSizeIterator<Item = &'a [T]> {
        let Layout { stride, first } = self.layout;
        self.data
            .chunks_exact(stride.max(1))
            .map(move |row| &row[first..])
    }
}

/// What attention reads: queries, keys and values, H heads, D channels a head.
pub struct Input<'a, T> {
    pub qkv: Qkv<&'a [T]>,
    /// [D]: with it, queries and keys are RMS-normalised per head and the queries then multiplied
    /// by it (it includes the scale of the scores); without it, queries are multiplied by
    /// 1 / sqrt(D).
    pub weight: Option<&'a [f32]>,
    pub groups: &'a Groups,
    pub heads: usize,
    pub dim: usize,
}

impl<T> Input<'_, T> {
    pub(super) fn check(&self) -> Result<(), KernelError> {
        if self.dim > MAX_DIM {
            return Err(KernelError::Dim(self.dim));
        }
        self.qkv.check(self.groups, self.heads * self.dim)?;
        self.weight
            .map_or(Ok(()), |w| check_length("weight", w.len(), self.dim))
    }
}

/// Attention of M queries. `out` [M, H, D]: 0 for a query without keys; `lse` [M, H]: the logarithm
/// of the sum of the exponentials of a query's scores, which the backward pass needs.
pub fn forward<T: Element>(
    input: &Input<T>,
    out: &mut [T],
    lse: &mut [f32],
    num_threads: usize,
) -> Result<(), KernelError> {
    input.check()?;
    let (queries, width) = (input.groups.num_queries(), input.heads * input.dim);
    check_length("out", out.len(), queries * width)?;
    check_length("lse", lse.len(), queries * input.heads)?;
    let contexts = input.groups.num_contexts();
    let mut work = Vec::with_capacity(contexts);
    let (mut out, mut lse) = (out, lse);
    for context in 0..contexts {
        let n = input.groups.queries_of(context).len();
        work.push(Forward {
            input,
            context,
            out: out.split_off_mut(..n * width).unwrap_or_default(),
            lse: lse.split_off_mut(..n * input.heads).unwrap_or_default(),
        });
    }
    for_each(work, num_threads, dispatch)
}

/// One context of the forward pass; the slices hold its queries only.
struct Forward<'a, T> {
    input: &'a Input<'a, T>,
    context: usize,
    out: &'a mut [T],
    lse: &'a mut [f32],
}

impl<T: Element> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.input.dim.div_ceil(LANES) {
            ..=1 => self.context::<S, 1>(simd),
            2 => self.context::<S, 2>(simd),
            _ => self.context::<S, 4>(simd),
        }
    }
}

impl<T: Element> Forward<'_, T> {
    #[inline(always)]
    fn context<S: Simd, const E: usize>(self, simd: S) {
        let (heads, dim) = (self.input.heads, self.input.dim);
        self.out.fill(T::ZERO);
        self.lse.fill(0.0);
        let mut head = Head::<E>::new(self.input);
        let mut keys = Keys::<E>::default();
        let mut scores = Vec::new();
        for h in 0..heads {
            head.load(simd, self.input, self.context, h);
            for pack in self.input.groups.packs(self.context) {
                keys.gather(simd, &head, &pack);
                for block in Block::all(&pack) {
                    let q = head.queries(simd, &block);
                    dots(simd, &q, &keys.k_tiles, &mut scores);
                    let (max, sum) = exponentials(simd, &mut scores, &block.keys);
                    let found = mix(simd, &scores, &keys.v, block.all_keys());
                    for i in 0..block.used {
                        let at = block.query[i] * heads + h;
                        self.lse[at] = max[i] + sum[i].ln();
                        let scale = simd.splat(1.0 / sum[i]);
                        let out = &mut self.out[at * dim..(at + 1) * dim];
                        put(simd, &found[i], scale, out);
                    }
                }
            }
        }
    }
}

/// Queries of one pack that are worked on together; beyond `used`, the last one again.
pub(super) struct Block {
    pub query: [usize; QUERIES],
    /// Where the keys of each stand among those of the pack.
    pub keys: [Range<usize>; QUERIES],
    pub used: usize,
}

impl Block {
    #[inline(always)]
    pub fn all(pack: &Pack) -> impl Iterator<Item = Block> {
        let count = pack.num_queries();
        (0..count).step_by(QUERIES).map(move |first| Block {
            query: std::array::from_fn(|i| pack.query((first + i).min(count - 1))),
            keys: std::array::from_fn(|i| pack.keys_of((first + i).min(count - 1))),
            used: QUERIES.min(count - first),
        })
    }

    /// The keys from the first of the first query to the last of the last one.
    #[inline(always)]
    pub fn all_keys(&self) -> Range<usize> {
        self.keys[0].start..self.keys[QUERIES - 1].end
    }
}

/// Queries, keys and values of one head of one context, padded with zeros to E times 16 channels.
pub(super) struct Head<const E: usize> {
    /// Normalised queries and keys, and the factors by which they were multiplied for that.
    pub q: Vec<Row<E>>,
    pub q_factor: Vec<f32>,
    pub k: Vec<Row<E>>,
    pub k_factor: Vec<f32>,
    pub v: Vec<Row<E>>,
    /// What the normalised queries are multiplied by.
    pub weight: Row<E>,
}

impl<const E: usize> Head<E> {
    pub fn new<T>(input: &Input<T>) -> Self {
        let mut weight = [[0.0; LANES]; E];
        let used = &mut weight.as_flattened_mut()[..input.dim];
        match input.weight {
            Some(given) => used.copy_from_slice(given),
            None => used.fill(1.0 / (input.dim as f32).sqrt()),
        }
        Head {
            q: Vec::new(),
            q_factor: Vec::new(),
            k: Vec::new(),
            k_factor: Vec::new(),
            v: Vec::new(),
            weight,
        }
    }

    #[inline(always)]
    pub fn load<S: Simd, T: Element>(
        &mut self,
        simd: S,
        input: &Input<T>,
        context: usize,
        head: usize,
    ) {
        let (width, dim) = (input.heads * input.dim, input.dim);
        let normalise = input.weight.is_some();
        let [queries, keys] = input.qkv.of_context(input.groups, context, width);
        let (queries, keys) = (queries.iter(), keys.iter());
        self.q.resize(queries.len(), [[0.0; LANES]; E]);
        self.q_factor.resize(queries.len(), 0.0);
        self.k.resize(keys.len(), [[0.0; LANES]; E]);
        self.k_factor.resize(keys.len(), 0.0);
        self.v.resize(keys.len(), [[0.0; LANES]; E]);
        for (i, q) in queries.enumerate() {
            (self.q[i], self.q_factor[i]) = row(simd, &q[head * dim..][..dim], normalise);
        }
        for (i, kv) in keys.enumerate() {
            (self.k[i], self.k_factor[i]) = row(simd, &kv[head * dim..][..dim], normalise);
            self.v[i] = pad(simd, &kv[width + head * dim..][..dim]);
        }
    }

    /// The queries of a block, ready for products with keys.
    #[inline(always)]
    pub fn queries<S: Simd>(&self, simd: S, block: &Block) -> [Row<E>; QUERIES] {
        let mut q = [[[0.0; LANES]; E]; QUERIES];
        for i in 0..QUERIES {
            for e in 0..E {
                let normal = simd.load(&self.q[block.query[i]][e]);
                simd.store(simd.mul(normal, simd.load(&self.weight[e])), &mut q[i][e]);
            }
        }
        q
    }
}

/// One row of a head, RMS-normalised if wanted, and the factor that did it.
#[inline(always)]
fn row<S: Simd, T: Element, const E: usize>(
    simd: S,
    source: &[T],
    normalise: bool,
) -> (Row<E>, f32) {
    let mut row = pad(simd, source);
    if !normalise {
        return (row, 1.0);
    }
    let mean = dot(simd, row.as_flattened(), row.as_flattened()) / source.len() as f32;
    let factor = 1.0 / (mean + EPSILON).sqrt();
    for e in 0..E {
        let product = simd.mul(simd.load(&row[e]), simd.splat(factor));
        simd.store(product, &mut row[e]);
    }
    (row, factor)
}

/// A row with zeros behind its channels.
#[inline(always)]
pub(super) fn pad<S: Simd, T: Element, const E: usize>(simd: S, source: &[T]) -> Row<E> {
    let mut row = [[0.0; LANES]; E];
    for (e, to) in row
        .iter_mut()
        .enumerate()
        .take(source.len().div_ceil(LANES))
    {
        simd.store(load_at(simd, source, e * LANES), to);
    }
    row
}

/// The channels of a row, multiplied by `scale`.
#[inline(always)]
pub(super) fn put<S: Simd, T: Element, const E: usize>(
    simd: S,
    row: &Row<E>,
    scale: S::V,
    to: &mut [T],
) {
    for e in 0..to.len().div_ceil(LANES) {
        store_at(simd, simd.mul(simd.load(&row[e]), scale), to, e * LANES);
    }
}

/// Keys and values of one pack, gathered: rows, and tiles for products with queries.
#[derive(Default)]
pub(super) struct Keys<const E: usize> {
    pub k: Vec<Row<E>>,
    pub v: Vec<Row<E>>,
    pub k_tiles: Vec<Tile<E>>,
}

impl<const E: usize> Keys<E> {
    #[inline(always)]
    pub fn gather<S: Simd>(&mut self, simd: S, head: &Head<E>, pack: &Pack) {
        self.k.clear();
        self.v.clear();
        for key in pack.keys() {
            self.k.push(head.k[key]);
            self.v.push(head.v[key]);
        }
        to_tiles(simd, &self.k, &mut self.k_tiles);
    }
}
