//! Weights of the columns by which label rows are compared, fitted to the training labels.
//!
//! A share says how much a column tells by itself: of columns that say nearly the same each counts
//! in full, and one that tells a little but nothing else does counts little. Fitted weights are
//! those by which the labels of like rows come nearest to a row's own: kernel regression whose
//! kernel is exp of the weighted likeness, its squared error lowered by gradient descent from the
//! shares on (Weinberger and Tesauro, Metric Learning for Kernel Regression, AISTATS 2007). Each
//! training label is compared with those that were known at its time, so that no other split plays a
//! part; with those of its own entity too, which are no candidates for a target: without them real
//! tasks are told no better (docs/experiments.md), and few entities happen to share much.

use super::columns::{TEXTS, text_bins};
use super::nearest::{COLUMNS, Coded, FAR, LOOKED_AT, key_of, place_of};
use super::reader::Reader;
use super::{Labels, View, facts};
use crate::visibility::Split;

/// Training labels that are to be told, evenly chosen.
const QUERIES: usize = 2000;
/// Fewer say nothing about weights.
const FEWEST_QUERIES: usize = 30;
const FEWEST_KNOWN: usize = 40;
/// Of the rows that are known, the nearest by shares, and about as many of the others.
const NEAREST: usize = 96;
const OTHERS: usize = 64;
/// The sum of the weights at first: of all columns alike, a row counts e^15 times as much as one
/// that is not like it at all.
const SUM: f32 = 15.0;
/// Of descent (Adam; Kingma and Ba 2015, algorithm 1), in the logarithms of weights.
const STEPS: usize = 80;
const BATCH: usize = 100;
/// At first; it falls to 0.
const RATE: f32 = 0.1;
const DECAY: [f32; 2] = [0.9, 0.99];
/// How much weights are drawn to being a multiple of the shares.
const PULL: f32 = 0.003;
/// Prime and more than there are queries, so that steps of it come past each of them.
const STRIDE: usize = 7919;

/// Likeness to a row in each column, see `Coded::near`; 0 beyond the last column.
type Near = [u8; COLUMNS];

/// A training label, and rows whose labels were known at its time.
struct Query {
    row: usize,
    others: Vec<Other>,
}

struct Other {
    row: usize,
    near: Near,
    /// The logarithm of how many it stands for.
    stands_for: f32,
}

/// What labels are to be told as: `width` numbers each.
struct Outcomes {
    values: Vec<f32>,
    width: usize,
}

impl Outcomes {
    fn new(labels: &[(u32, f64)], texts: bool) -> Self {
        if !texts {
            return Self {
                values: labels.iter().map(|&(_, label)| label as f32).collect(),
                width: 1,
            };
        }
        let numbers: Vec<Option<u32>> = labels.iter().map(|l| Some(l.1 as u32)).collect();
        let width = TEXTS + 2;
        let mut values = vec![0.0; labels.len() * width];
        for (row, class) in text_bins(&numbers).into_iter().enumerate() {
            values[row * width + class] = 1.0;
        }
        Self { values, width }
    }

    fn of(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// The mean squared distance from the mean.
    fn variance(&self) -> f32 {
        let count = (self.values.len() / self.width) as f64;
        let of_place = |place: usize| {
            let values = self.values[place..].iter().step_by(self.width);
            let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), &value| {
                let value = f64::from(value);
                (sum + value, squares + value * value)
            });
            squares / count - (sum / count) * (sum / count)
        };
        (0..self.width).map(of_place).sum::<f64>() as f32
    }
}

/// The weight of each column: the shares, fitted as far as there are labels to fit them to. Their
/// sum is that of the shares.
pub fn weights(view: &View, columns: &[Coded], reader: &Reader) -> Vec<f32> {
    let shares: Vec<f32> = columns.iter().map(|c| c.column.share as f32).collect();
    let labels = Labels::new(view);
    let latest = &labels.found[labels.found.len().saturating_sub(LOOKED_AT)..];
    if columns.len() < 2 || latest.len() < FEWEST_KNOWN {
        return shares;
    }
    let outcomes = Outcomes::new(latest, labels.texts);
    let codes: Vec<Vec<u8>> = latest
        .iter()
        .map(|&(row, _)| {
            let cells = reader.of_training(view, row);
            let columns = columns.iter().zip(cells);
            columns.map(|(column, bits)| column.code(bits)).collect()
        })
        .collect();
    let queries = queries(view, columns, latest, &codes);
    fit(&shares, &queries, &outcomes)
}

/// Labels, in time the later two thirds, each with rows that were known to it.
fn queries(view: &View, columns: &[Coded], labels: &[(u32, f64)], codes: &[Vec<u8>]) -> Vec<Query> {
    let has_time = facts::target_of(view, labels[0].0).has_time();
    let first = if has_time { labels.len() / 3 } else { 0 };
    let step = (labels.len() - first).div_ceil(QUERIES);
    let mut found = Vec::new();
    for row in (first..labels.len()).rev().step_by(step) {
        let target = facts::target_of(view, labels[row].0);
        let known = match has_time {
            // labels stand in order of time
            true => labels.partition_point(|&(other, _)| {
                target.sees_label(view.arrays.time(other), Split::Train)
            }),
            false => labels.len(),
        };
        if known < FEWEST_KNOWN {
            continue;
        }
        let near: Vec<_> = columns
            .iter()
            .zip(&codes[row])
            .map(|(column, &code)| column.near(code))
            .collect();
        let near_of = |other: usize| {
            let mut found = Near::default();
            for ((found, near), &code) in found.iter_mut().zip(&near).zip(&codes[other]) {
                *found = near[usize::from(code)];
            }
            found
        };
        let of_code: Vec<_> = columns
            .iter()
            .zip(&near)
            .map(|(c, near)| near.map(|near| c.column.share as f32 * f32::from(near)))
            .collect();
        let key = |other: usize| {
            let each = codes[other].iter().zip(&of_code);
            let alike: f32 = each.map(|(&code, like)| like[usize::from(code)]).sum();
            key_of(alike, other)
        };
        let keys: Vec<u64> = (0..known).filter(|&other| other != row).map(key).collect();
        let others = chosen(&keys).into_iter().map(|(other, stands_for)| Other {
            row: other,
            near: near_of(other),
            stands_for,
        });
        found.push(Query {
            row,
            others: others.collect(),
        });
    }
    found
}

/// Of rows with their likeness the nearest, and of the others some, each with the logarithm of how
/// many it stands for.
fn chosen(keys: &[u64]) -> Vec<(usize, f32)> {
    let mut sorted = keys.to_vec();
    let nearest = match keys.len() > NEAREST {
        true => {
            *sorted
                .select_nth_unstable_by(NEAREST - 1, |a, b| b.cmp(a))
                .1
        }
        false => 0,
    };
    let others = keys.iter().filter(|&&key| key < nearest);
    let step = keys.len().saturating_sub(NEAREST).div_ceil(OTHERS).max(1);
    let some = others
        .step_by(step)
        .map(|&key| (place_of(key), (step as f32).ln()));
    let near = keys.iter().filter(|&&key| key >= nearest);
    near.map(|&key| (place_of(key), 0.0)).chain(some).collect()
}

/// Weights by descent from the shares on.
fn fit(shares: &[f32], queries: &[Query], outcomes: &Outcomes) -> Vec<f32> {
    let (variance, total) = (outcomes.variance(), shares.iter().sum::<f32>());
    // equal labels differ by rounding errors
    if queries.len() < FEWEST_QUERIES || variance <= 1e-9 {
        return shares.to_vec();
    }
    let start: Vec<f32> = shares.iter().map(|s| (SUM * s / total).ln()).collect();
    let mut logs = start.clone();
    let mut moments = vec![[0.0_f32; 2]; shares.len()];
    let batch = BATCH.min(queries.len());
    for step in 0..STEPS {
        let mut weights = [0.0; COLUMNS];
        for (weight, log) in weights.iter_mut().zip(&logs) {
            *weight = log.exp();
        }
        let moved = logs.iter().zip(&start).map(|(log, start)| log - start);
        let all_moved = moved.sum::<f32>() / logs.len() as f32;
        let rate = RATE * (1.0 - step as f32 / STEPS as f32);
        let mut slopes = [0.0; COLUMNS];
        for number in step * batch..(step + 1) * batch {
            let query = &queries[number * STRIDE % queries.len()];
            add_slopes(query, outcomes, &weights, &mut slopes);
        }
        let power = step as i32 + 1;
        for (column, log) in logs.iter_mut().enumerate() {
            let of_weight = slopes[column] / (batch as f32 * variance);
            let slope = of_weight * weights[column] + PULL * (*log - start[column] - all_moved);
            let moment = &mut moments[column];
            let mut unbiased = [0.0; 2];
            for (i, value) in [slope, slope * slope].into_iter().enumerate() {
                moment[i] = DECAY[i] * moment[i] + (1.0 - DECAY[i]) * value;
                unbiased[i] = moment[i] / (1.0 - DECAY[i].powi(power));
            }
            *log -= rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8);
        }
    }
    let fitted = logs.iter().map(|log| log.exp());
    let sum: f32 = fitted.clone().sum();
    fitted.map(|weight| weight * total / sum).collect()
}

/// Adds, for each weight, the slope of the squared error of the query's label.
fn add_slopes(
    query: &Query,
    outcomes: &Outcomes,
    weights: &[f32; COLUMNS],
    slopes: &mut [f32; COLUMNS],
) {
    let alike = |other: &Other| alike(&other.near, weights) + other.stands_for;
    let mut kernel: Vec<f32> = query.others.iter().map(alike).collect();
    let top = kernel.iter().copied().fold(f32::MIN, f32::max);
    for value in &mut kernel {
        *value = (*value - top).exp();
    }
    let sum: f32 = kernel.iter().sum();
    let mut told = vec![0.0; outcomes.width];
    for (kernel, other) in kernel.iter_mut().zip(&query.others) {
        *kernel /= sum;
        for (told, value) in told.iter_mut().zip(outcomes.of(other.row)) {
            *told += *kernel * value;
        }
    }
    let own = outcomes.of(query.row);
    for (kernel, other) in kernel.iter().zip(&query.others) {
        let each = told.iter().zip(own).zip(outcomes.of(other.row));
        let slope: f32 = each
            .map(|((told, own), value)| (told - own) * (value - told))
            .sum();
        let slope = 2.0 * kernel * slope / f32::from(FAR);
        for (total, &near) in slopes.iter_mut().zip(&other.near) {
            *total += slope * f32::from(near);
        }
    }
}

/// The weighted likeness; summed in lanes, which processors add at once.
fn alike(near: &Near, weights: &[f32; COLUMNS]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (near, weights) in near.chunks_exact(LANES).zip(weights.chunks_exact(LANES)) {
        for ((sum, &near), weight) in sums.iter_mut().zip(near).zip(weights) {
            *sum += f32::from(near) * weight;
        }
    }
    sums.iter().sum::<f32>() / f32::from(FAR)
}

#[cfg(test)]
#[path = "fitted_tests.rs"]
mod tests;
