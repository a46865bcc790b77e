//! Aggregates of encoded parents: sum, max, product, or the log of the sum of exponentials.
//!
//! All four are associative, so the aggregate of some terms can be a term itself.

use super::block::{Lane, ROWS, ZERO};
use super::math::{exp, fma, ln};
use crate::kernels::simd::{Kernel, Simd, dispatch};

/// The names of the aggregations, in the order of their codes.
pub const AGGREGATIONS: [&str; 4] = ["sum", "max", "product", "logexp"];

/// What weighted terms are clipped to.
const TERM_BOUND: f32 = 1e4;
/// Keeps products of many large terms, and what a matrix makes of them, finite.
const PRODUCT_BOUND: f32 = 1e30;
/// Stands for minus infinity: below every clipped term, without its undefined differences.
const LOWEST: f32 = -1e30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    Sum,
    Max,
    Product,
    LogExp,
}

impl Aggregation {
    pub const ALL: [Aggregation; 4] = [
        Aggregation::Sum,
        Aggregation::Max,
        Aggregation::Product,
        Aggregation::LogExp,
    ];

    /// What changes nothing as a term.
    pub fn neutral(self) -> f32 {
        match self {
            Aggregation::Sum => 0.0,
            Aggregation::Max | Aggregation::LogExp => LOWEST,
            Aggregation::Product => 1.0,
        }
    }
}

/// A term of a block: lanes, or components that are the same in all rows.
#[derive(Clone, Copy)]
pub enum Term<'a> {
    Lanes(&'a [Lane]),
    Constant(&'a [f32]),
}

/// A running aggregate of one block, one lane a component. `sums` serves `LogExp` alone: the sum
/// of exponentials of the terms less the largest term, which is `total`.
pub struct Aggregate<'a> {
    pub kind: Aggregation,
    pub total: &'a mut [Lane],
    pub sums: &'a mut [Lane],
}

impl Aggregate<'_> {
    pub fn start(&mut self) {
        self.total.fill(Lane([self.kind.neutral(); ROWS]));
        self.sums.fill(ZERO);
    }

    /// One more term, times `factor` and clipped to +-1e4.
    pub fn add(&mut self, term: Term, factor: f32) {
        dispatch(Add {
            kind: self.kind,
            total: &mut *self.total,
            sums: &mut *self.sums,
            term,
            factor,
            bound: TERM_BOUND,
        });
    }

    /// One more term that is an aggregate itself.
    pub fn join(&mut self, term: &[Lane]) {
        dispatch(Add {
            kind: self.kind,
            total: &mut *self.total,
            sums: &mut *self.sums,
            term: Term::Lanes(term),
            factor: 1.0,
            bound: f32::INFINITY,
        });
    }

    /// Leaves the result in `total`.
    pub fn finish(&mut self) {
        if self.kind == Aggregation::LogExp {
            dispatch(AddLogarithms {
                total: &mut *self.total,
                sums: &*self.sums,
            });
        }
    }
}

struct Add<'a> {
    kind: Aggregation,
    total: &'a mut [Lane],
    sums: &'a mut [Lane],
    term: Term<'a>,
    factor: f32,
    bound: f32,
}

impl Kernel for Add<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (factor, bound) = (self.factor, self.bound);
        let clipped = |x: f32| (x * factor).clamp(-bound, bound);
        let lanes = self.total.iter_mut().zip(self.sums.iter_mut());
        for (component, (total, sums)) in lanes.enumerate() {
            let term: Lane = match self.term {
                Term::Lanes(lanes) => Lane(lanes[component].map(clipped)),
                Term::Constant(values) => Lane([clipped(values[component]); ROWS]),
            };
            match self.kind {
                Aggregation::Sum => {
                    for row in 0..ROWS {
                        total[row] += term[row];
                    }
                }
                Aggregation::Max => {
                    for row in 0..ROWS {
                        total[row] = total[row].max(term[row]);
                    }
                }
                Aggregation::Product => {
                    for row in 0..ROWS {
                        let product = total[row] * term[row];
                        total[row] = product.clamp(-PRODUCT_BOUND, PRODUCT_BOUND);
                    }
                }
                Aggregation::LogExp => {
                    for row in 0..ROWS {
                        // without a branch that leaves a number as it was: it would become a
                        // masked store, which takes ten times as long
                        let (old, new) = (total[row], term[row]);
                        let smaller = exp::<S>(-(new - old).abs());
                        let grows = new > old;
                        total[row] = old.max(new);
                        let factor = if grows { smaller } else { 1.0 };
                        let more = if grows { 1.0 } else { smaller };
                        sums[row] = fma::<S>(sums[row], factor, more);
                    }
                }
            }
        }
    }
}

struct AddLogarithms<'a> {
    total: &'a mut [Lane],
    sums: &'a [Lane],
}

impl Kernel for AddLogarithms<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (total, sums) in self.total.iter_mut().zip(self.sums) {
            for row in 0..ROWS {
                total[row] += ln::<S>(sums[row]);
            }
        }
    }
}
