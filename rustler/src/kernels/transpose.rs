//! Transposed copies, written 16 rows at a time while these are in the cache.

use super::element::{Element, load_at, store_at};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{chunk_rows, for_each};
use super::{KernelError, check_length};

/// Writes x [R, d] transposed: to [d, stride], R columns used.
pub fn transpose<T: Element>(
    x: &[T],
    to: &mut [T],
    width: usize,
    num_threads: usize,
) -> Result<(), KernelError> {
    let count = x.len() / width.max(1);
    check_length("x", x.len(), count * width)?;
    let rows = chunk_rows(count, num_threads);
    let pieces = split_columns(to, width, rows, count)?;
    let parts = x.chunks((rows * width).max(1)).zip(pieces);
    let work = parts.map(|(x, columns)| Transpose { x, columns, width });
    for_each(work.collect(), num_threads, dispatch)
}

struct Transpose<'a, T> {
    x: &'a [T],
    columns: Columns<'a, T>,
    width: usize,
}

impl<T: Element> Kernel for Transpose<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for (block, rows) in self.x.chunks(LANES * self.width).enumerate() {
            self.columns.write(simd, rows, block * LANES);
        }
    }
}

/// A piece of a transposed matrix: for each of its rows, the columns that one thread writes.
pub struct Columns<'a, T>(Vec<&'a mut [T]>);

/// Pieces of `columns` columns of a matrix of `height` rows, of which `used` columns count. What
/// lies behind them in each row is left alone.
pub fn split_columns<T>(
    matrix: &mut [T],
    height: usize,
    columns: usize,
    used: usize,
) -> Result<Vec<Columns<'_, T>>, KernelError> {
    let stride = matrix.len() / height.max(1);
    if stride < used {
        check_length("a transposed copy", matrix.len(), height * used)?;
    }
    let pieces = used.div_ceil(columns.max(1));
    let mut found: Vec<_> = (0..pieces)
        .map(|_| Columns(Vec::with_capacity(height)))
        .collect();
    for row in matrix.chunks_exact_mut(stride.max(1)) {
        for (piece, part) in found.iter_mut().zip(row[..used].chunks_mut(columns)) {
            piece.0.push(part);
        }
    }
    Ok(found)
}

impl<T: Element> Columns<'_, T> {
    /// Writes up to 16 rows into the columns from `first` on.
    #[inline(always)]
    pub fn write<S: Simd>(&mut self, simd: S, rows: &[T], first: usize) {
        let width = self.0.len();
        for at in (0..width).step_by(LANES) {
            let (mut square, mut turned) = ([[0.0; LANES]; LANES], [[0.0; LANES]; LANES]);
            for (to, row) in square.iter_mut().zip(rows.chunks_exact(width)) {
                simd.store(load_at(simd, row, at), to);
            }
            simd.transpose(&square, &mut turned);
            for (column, to) in turned.iter().zip(&mut self.0[at..]) {
                store_at(simd, simd.load(column), to, first);
            }
        }
    }
}
