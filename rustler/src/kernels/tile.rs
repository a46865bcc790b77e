//! The inner loops of attention.
//!
//! A row of a head is E times 16 channels. Keys come in tiles of 16, channel by channel, so that a
//! vector holds one channel of 16 keys. Q queries are worked on together.

use std::ops::Range;

use super::simd::{LANES, Lanes, Simd};

/// The channels of one query, key or value.
pub type Row<const E: usize> = [Lanes; E];

/// 16 keys: for each channel, the keys' numbers.
pub type Tile<const E: usize> = [[Lanes; LANES]; E];

/// One number for each of Q queries and each key of a tile.
pub type Scores<const Q: usize> = [Lanes; Q];

/// Writes rows into tiles; what is left of the last tile is zero.
#[inline(always)]
pub fn to_tiles<S: Simd, const E: usize>(simd: S, rows: &[Row<E>], tiles: &mut Vec<Tile<E>>) {
    tiles.clear();
    for block in rows.chunks(LANES) {
        let mut tile = [[[0.0; LANES]; LANES]; E];
        for e in 0..E {
            let mut square = [[0.0; LANES]; LANES];
            for (to, row) in square.iter_mut().zip(block) {
                *to = row[e];
            }
            simd.transpose(&square, &mut tile[e]);
        }
        tiles.push(tile);
    }
}

/// scores[i][j] = q[i] . key[j].
#[inline(always)]
pub fn dots<S: Simd, const E: usize, const Q: usize>(
    simd: S,
    q: &[Row<E>; Q],
    tiles: &[Tile<E>],
    scores: &mut Vec<Scores<Q>>,
) {
    scores.clear();
    for tile in tiles {
        let mut sum = [simd.splat(0.0); Q];
        for e in 0..E {
            for (channel, keys) in tile[e].iter().enumerate() {
                let keys = simd.load(keys);
                for i in 0..Q {
                    sum[i] = simd.fma(simd.splat(q[i][e][channel]), keys, sum[i]);
                }
            }
        }
        let mut out = [[0.0; LANES]; Q];
        for i in 0..Q {
            simd.store(sum[i], &mut out[i]);
        }
        scores.push(out);
    }
}

/// For each tile that has some of the keys: its number, and which of its lanes.
#[inline(always)]
fn lanes_of(keys: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    (keys.start / LANES..keys.end.div_ceil(LANES)).map(move |tile| {
        let first = tile * LANES;
        let start = keys.start.max(first) - first;
        (tile, start..(keys.end - first).min(LANES))
    })
}

/// out[i] = sum over j in keys of weights[i][j] rows[j].
#[inline(always)]
pub fn mix<S: Simd, const E: usize, const Q: usize>(
    simd: S,
    weights: &[Scores<Q>],
    rows: &[Row<E>],
    keys: Range<usize>,
) -> [Row<E>; Q] {
    let mut out = [[[0.0; LANES]; E]; Q];
    for e in 0..E {
        let mut sum = [simd.splat(0.0); Q];
        for (tile, lanes) in lanes_of(keys.clone()) {
            let weights = &weights[tile];
            for lane in lanes {
                let x = simd.load(&rows[tile * LANES + lane][e]);
                for i in 0..Q {
                    sum[i] = simd.fma(simd.splat(weights[i][lane]), x, sum[i]);
                }
            }
        }
        for i in 0..Q {
            simd.store(sum[i], &mut out[i][e]);
        }
    }
    out
}

/// rows[j] += sum over i of weights[i][j] x[i], for j in keys.
#[inline(always)]
pub fn spread<S: Simd, const E: usize, const Q: usize>(
    simd: S,
    weights: &[Scores<Q>],
    x: &[Row<E>; Q],
    rows: &mut [Row<E>],
    keys: Range<usize>,
) {
    for e in 0..E {
        let mut of_queries = [simd.splat(0.0); Q];
        for i in 0..Q {
            of_queries[i] = simd.load(&x[i][e]);
        }
        for (tile, lanes) in lanes_of(keys.clone()) {
            let weights = &weights[tile];
            for lane in lanes {
                let row = &mut rows[tile * LANES + lane][e];
                let mut sum = simd.load(row);
                for i in 0..Q {
                    sum = simd.fma(simd.splat(weights[i][lane]), of_queries[i], sum);
                }
                simd.store(sum, row);
            }
        }
    }
}

/// Turns scores into exp(score - maximum); the maxima and the sums. Beyond a query's keys they
/// become 0.
#[inline(always)]
pub fn exponentials<S: Simd, const Q: usize>(
    simd: S,
    scores: &mut [Scores<Q>],
    keys: &[Range<usize>; Q],
) -> ([f32; Q], [f32; Q]) {
    let (mut max, mut sum) = ([0.0; Q], [0.0; Q]);
    let Some((last, whole)) = scores.split_last_mut() else {
        return (max, sum);
    };
    for i in 0..Q {
        let bias = bias(simd, whole.len(), &keys[i]);
        let of_last = simd.add(simd.load(&last[i]), bias);
        let mut highest = of_last;
        for tile in whole.iter() {
            highest = simd.max(simd.load(&tile[i]), highest);
        }
        max[i] = highest_lane(simd, highest);
        let shift = simd.splat(max[i]);
        let inside = inside(simd, whole.len(), &keys[i]);
        let mut total = simd.mul(simd.exp(simd.sub(of_last, shift)), inside);
        simd.store(total, &mut last[i]);
        for tile in whole.iter_mut() {
            let weight = simd.exp(simd.sub(simd.load(&tile[i]), shift));
            simd.store(weight, &mut tile[i]);
            total = simd.add(total, weight);
        }
        sum[i] = simd.sum(total);
    }
    (max, sum)
}

#[inline(always)]
fn highest_lane<S: Simd>(simd: S, v: S::V) -> f32 {
    let mut lanes = [0.0; LANES];
    simd.store(v, &mut lanes);
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            let (a, b) = (lanes[lane], lanes[lane + half]);
            lanes[lane] = if a > b { a } else { b };
        }
    }
    lanes[0]
}

/// Turns scores into softmax weights exp(score - lse), and the gradient of the weights into that of
/// the scores: weight * (gradient - delta). Beyond a query's keys both become 0.
#[inline(always)]
pub fn weights_again<S: Simd, const Q: usize>(
    simd: S,
    scores: &mut [Scores<Q>],
    gradient: &mut [Scores<Q>],
    (lse, delta): (&[f32; Q], &[f32; Q]),
    keys: &[Range<usize>; Q],
) {
    let whole = scores.len().saturating_sub(1);
    for (number, (tile, grad)) in scores.iter_mut().zip(gradient.iter_mut()).enumerate() {
        for i in 0..Q {
            let mut score = simd.sub(simd.load(&tile[i]), simd.splat(lse[i]));
            if number == whole {
                score = simd.add(score, bias(simd, whole, &keys[i]));
            }
            let mut weight = simd.exp(score);
            if number == whole {
                weight = simd.mul(weight, inside(simd, whole, &keys[i]));
            }
            let change = simd.sub(simd.load(&grad[i]), simd.splat(delta[i]));
            simd.store(weight, &mut tile[i]);
            simd.store(simd.mul(weight, change), &mut grad[i]);
        }
    }
}

/// What is added to the scores of the last tile, behind `whole` others: nothing where they are of
/// the query's keys, and elsewhere so much that they become the lowest. Keys of a pack with more
/// tiles than one begin with the first.
#[inline(always)]
fn bias<S: Simd>(simd: S, whole: usize, keys: &Range<usize>) -> S::V {
    const LOW: [f32; 3 * LANES] = around(f32::MIN / 4.0, 0.0);
    let (before, behind) = ends(&LOW, whole, keys);
    simd.add(simd.load(before), simd.load(behind))
}

/// 1 for the query's keys in the last tile and 0 elsewhere: not even the least weight of a cell
/// that a query may not see.
#[inline(always)]
fn inside<S: Simd>(simd: S, whole: usize, keys: &Range<usize>) -> S::V {
    const ONES: [f32; 3 * LANES] = around(0.0, 1.0);
    let (before, behind) = ends(&ONES, whole, keys);
    simd.mul(simd.load(before), simd.load(behind))
}

/// 16 numbers between 16 others on each side.
const fn around(other: f32, number: f32) -> [f32; 3 * LANES] {
    let mut numbers = [other; 3 * LANES];
    let mut at = LANES;
    while at < 2 * LANES {
        numbers[at] = number;
        at += 1;
    }
    numbers
}

/// Of `around`, lanes that differ before the query's keys, and lanes that differ behind them.
#[inline(always)]
fn ends<'a>(
    numbers: &'a [f32; 3 * LANES],
    whole: usize,
    keys: &Range<usize>,
) -> (&'a Lanes, &'a Lanes) {
    let (start, end) = (keys.start.min(LANES), keys.end - whole * LANES);
    let before = &numbers[LANES - start..].as_chunks().0[0];
    let behind = &numbers[2 * LANES - end.min(LANES)..].as_chunks().0[0];
    (before, behind)
}
