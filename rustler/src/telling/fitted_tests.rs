use super::*;
use crate::rng::{Name, Purpose, Stream};

const ROWS: usize = 200;

fn stream() -> Stream {
    Name {
        purpose: Purpose::Telling,
        seed: 5,
        a: 0,
        b: 0,
    }
    .stream()
}

fn near(a: u8, b: u8) -> u8 {
    FAR.saturating_sub(a.abs_diff(b))
}

/// Each row is told by all others.
fn all_queries(codes: &[Vec<u8>]) -> Vec<Query> {
    let query = |row: usize| {
        let other = |other: usize| {
            let mut found = Near::default();
            for (place, near_by) in found.iter_mut().enumerate().take(codes[row].len()) {
                *near_by = near(codes[row][place], codes[other][place]);
            }
            Other {
                row: other,
                near: found,
                stands_for: 0.0,
            }
        };
        Query {
            row,
            others: (0..codes.len()).filter(|&i| i != row).map(other).collect(),
        }
    };
    (0..codes.len()).map(query).collect()
}

/// The mean squared error of labels told by kernel regression.
fn error(queries: &[Query], outcomes: &Outcomes, weights: &[f32; COLUMNS]) -> f64 {
    let of_query = |query: &Query| {
        let kernel: Vec<f64> = query
            .others
            .iter()
            .map(|o| f64::from(alike(&o.near, weights) + o.stands_for).exp())
            .collect();
        let sum: f64 = kernel.iter().sum();
        let of_place = |place: usize| {
            let values = query.others.iter().map(|o| outcomes.of(o.row)[place]);
            let told: f64 = values.zip(&kernel).map(|(v, k)| f64::from(v) * k).sum();
            (told / sum - f64::from(outcomes.of(query.row)[place])).powi(2)
        };
        (0..outcomes.width).map(of_place).sum::<f64>()
    };
    queries.iter().map(of_query).sum::<f64>() / queries.len() as f64
}

fn padded(weights: &[f32]) -> [f32; COLUMNS] {
    let mut found = [0.0; COLUMNS];
    found[..weights.len()].copy_from_slice(weights);
    found
}

/// Labels that the first column decides; five say the same of something that has little to do with
/// them, the last says nothing.
fn redundant() -> (Vec<f32>, Vec<Query>, Outcomes) {
    let mut rng = stream();
    let (mut codes, mut values) = (Vec::new(), Vec::new());
    for _ in 0..ROWS {
        let (tells, hardly, not) = (rng.unit(), rng.unit(), rng.unit());
        let code = |unit: f64| 1 + (254.0 * unit) as u8;
        let mut row = vec![code(tells)];
        row.extend([code(hardly); 5]);
        row.push(code(not));
        codes.push(row);
        values.push((0.9 * tells + 0.1 * hardly) as f32);
    }
    let shares = vec![0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05];
    let outcomes = Outcomes { values, width: 1 };
    (shares, all_queries(&codes), outcomes)
}

#[test]
fn columns_that_say_the_same_lose_weight() {
    let (shares, queries, outcomes) = redundant();
    let fitted = fit(&shares, &queries, &outcomes);
    let sum = |weights: &[f32]| weights.iter().sum::<f32>();
    assert!((sum(&fitted) - sum(&shares)).abs() < 1e-5);
    assert!(fitted[0] > 1.3 * shares[0], "{fitted:?}");
    assert!(sum(&fitted[1..6]) < 0.8 * sum(&shares[1..6]), "{fitted:?}");
    let scaled = |weights: &[f32]| {
        let found: Vec<f32> = weights.iter().map(|w| SUM * w / sum(&shares)).collect();
        error(&queries, &outcomes, &padded(&found))
    };
    assert!(scaled(&fitted) < 0.9 * scaled(&shares));
    assert_eq!(fitted, fit(&shares, &queries, &outcomes));
}

#[test]
fn slopes_are_those_of_the_error() {
    let (shares, queries, outcomes) = redundant();
    let texts: Vec<(u32, f64)> = (0..ROWS as u32).map(|i| (i, f64::from(i % 5))).collect();
    for outcomes in [outcomes, Outcomes::new(&texts, true)] {
        let weights = padded(&shares.iter().map(|s| 12.0 * s).collect::<Vec<_>>());
        for query in &queries[..3] {
            let mut slopes = [0.0; COLUMNS];
            add_slopes(query, &outcomes, &weights, &mut slopes);
            for place in [0, 1, 6] {
                let moved = |by: f32| {
                    let mut weights = weights;
                    weights[place] += by;
                    error(std::slice::from_ref(query), &outcomes, &weights)
                };
                let slope = (moved(0.05) - moved(-0.05)) / 0.1;
                let found = f64::from(slopes[place]);
                assert!((found - slope).abs() < 1e-4 + 0.02 * slope.abs());
            }
        }
    }
}

#[test]
fn labels_that_say_nothing_leave_the_shares() {
    let (shares, queries, outcomes) = redundant();
    let equal = Outcomes {
        values: vec![0.5; ROWS],
        width: 1,
    };
    assert_eq!(fit(&shares, &queries, &equal), shares);
    let few = &queries[..FEWEST_QUERIES - 1];
    assert_eq!(fit(&shares, few, &outcomes), shares);
}

#[test]
fn the_nearest_are_chosen_and_some_of_the_others() {
    let keys: Vec<u64> = (0..1000_u64).map(|i| (i * 37 % 1000) << 32 | i).collect();
    let found = chosen(&keys);
    let nearest: Vec<usize> = found[..NEAREST].iter().map(|&(row, _)| row).collect();
    assert!(nearest.iter().all(|&row| row * 37 % 1000 >= 1000 - NEAREST));
    let others = &found[NEAREST..];
    assert!(others.len() <= OTHERS && others.len() > OTHERS / 2);
    let stand_for: f32 = others.iter().map(|(_, many)| many.exp()).sum();
    assert!((stand_for - 904.0).abs() < 15.0);
    assert_eq!(chosen(&keys[..50]).len(), 50);
    assert!(chosen(&keys[..50]).iter().all(|&(_, many)| many == 0.0));
}
