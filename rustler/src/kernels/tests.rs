//! Attention and its gradients against their definition in f64, and the refusal of bad groups.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::KernelError;
use super::attention::{EPSILON, Input, Qkv, forward};
use super::backward::{Saved, backward};
use super::groups::{GroupArrays, Groups};

pub const CELLS: usize = 40;
pub const HEADS: usize = 2;

/// Two contexts of 25 and 15 cells; cell 24 is no query, cells are keys of several groups.
const QUERY_PTR: [i32; 5] = [0, 9, 24, 25, 39];
const KEY_PTR: [i32; 5] = [0, 20, 23, 24, 34];
const GROUP_PTR: [i32; 3] = [0, 2, 4];
const CELL_PTR: [i32; 3] = [0, 25, 40];

pub struct Lists {
    query: Vec<i32>,
    key: Vec<i32>,
}

pub fn lists() -> Lists {
    let query = (0..24).chain(25..40).collect();
    let key = (3..23)
        .chain([0, 24, 5])
        .chain([39])
        .chain(28..38)
        .collect();
    Lists { query, key }
}

pub fn arrays(lists: &Lists) -> GroupArrays<'_> {
    GroupArrays {
        query_ptr: &QUERY_PTR,
        query: &lists.query,
        key_ptr: &KEY_PTR,
        key: &lists.key,
        group_ptr: &GROUP_PTR,
        query_row_ptr: &CELL_PTR,
        key_row_ptr: &CELL_PTR,
    }
}

pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut unit = || f64::from(rng.next_u32()) / f64::from(u32::MAX);
    (0..count).map(|_| (3.0 * unit() - 1.5) as f32).collect()
}

/// Attention by its definition: for each group, query and head on its own.
fn definition(qkv: &[f64], weight: Option<&[f64]>, lists: &Lists, dim: usize) -> Vec<f64> {
    let width = HEADS * dim;
    let row = |cell: usize, which: usize, head: usize| {
        let at = cell * 3 * width + which * width + head * dim;
        qkv[at..at + dim].to_vec()
    };
    let norm = |x: Vec<f64>| {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / dim as f64;
        let factor = 1.0 / (mean + f64::from(EPSILON)).sqrt();
        x.iter().map(|x| x * factor).collect::<Vec<_>>()
    };
    let mut out = vec![0.0; CELLS * width];
    for group in 0..4 {
        let keys = &lists.key[KEY_PTR[group] as usize..KEY_PTR[group + 1] as usize];
        for &query in &lists.query[QUERY_PTR[group] as usize..QUERY_PTR[group + 1] as usize] {
            for head in 0..HEADS {
                let mut q = row(query as usize, 0, head);
                match weight {
                    Some(w) => q = norm(q).iter().zip(w).map(|(q, w)| q * w).collect(),
                    None => q.iter_mut().for_each(|q| *q /= (dim as f64).sqrt()),
                }
                let score = |&key: &i32| {
                    let k = row(key as usize, 1, head);
                    let k = if weight.is_some() { norm(k) } else { k };
                    q.iter().zip(&k).map(|(q, k)| q * k).sum::<f64>().exp()
                };
                let scores: Vec<f64> = keys.iter().map(score).collect();
                let sum: f64 = scores.iter().sum();
                for (key, score) in keys.iter().zip(&scores) {
                    for (d, v) in row(*key as usize, 2, head).iter().enumerate() {
                        out[query as usize * width + head * dim + d] += score / sum * v;
                    }
                }
            }
        }
    }
    out
}

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

pub fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error < tolerance, "{at}: {found} instead of {expected}");
    }
}

/// out, grad_qkv, grad_weight.
type Results = (Vec<f32>, Vec<f32>, Vec<f32>);

/// The output, and the gradients that follow from `grad_out`.
fn run(input: &Input<f32>, grad_out: &[f32], num_threads: usize) -> Result<Results, KernelError> {
    // what was in the arrays before must not matter
    let mut out = vec![f32::NAN; CELLS * HEADS * input.dim];
    let mut lse = vec![f32::NAN; CELLS * HEADS];
    forward(input, &mut out, &mut lse, num_threads)?;
    let mut grad_qkv = vec![f32::NAN; 3 * out.len()];
    let mut grad_weight = vec![f32::NAN; input.dim];
    let saved = Saved {
        out: &out,
        lse: &lse,
        grad_out,
    };
    let grads = Qkv::Joint(grad_qkv.as_mut_slice());
    backward(input, &saved, grads, &mut grad_weight, num_threads)?;
    Ok((out, grad_qkv, grad_weight))
}

#[test]
fn attention_is_its_definition() -> Result<(), KernelError> {
    let lists = lists();
    let groups = &Groups::new(&arrays(&lists))?;
    for (dim, normalised) in [
        (8, true),
        (16, true),
        (20, false),
        (32, true),
        (64, false),
        (40, true),
    ] {
        let qkv = random(1, CELLS * 3 * HEADS * dim);
        let weight = normalised.then(|| random(2, dim));
        let grad_out = random(3, CELLS * HEADS * dim);
        let input = Input {
            qkv: Qkv::Joint(&qkv),
            weight: weight.as_deref(),
            groups,
            heads: HEADS,
            dim,
        };
        let (out, grad_qkv, grad_weight) = run(&input, &grad_out, 1)?;
        let weight64 = weight.as_deref().map(wide);
        close(
            &out,
            &definition(&wide(&qkv), weight64.as_deref(), &lists, dim),
            2e-5,
        );
        let threads = run(&input, &grad_out, 3)?;
        assert_eq!(threads, (out, grad_qkv.clone(), grad_weight.clone()));

        let objective = |qkv: &[f64], weight: Option<&[f64]>| -> f64 {
            let out = definition(qkv, weight, &lists, dim);
            out.iter()
                .zip(&grad_out)
                .map(|(o, g)| o * f64::from(*g))
                .sum()
        };
        let slope = |values: &[f64], at: usize, objective: &dyn Fn(&[f64]) -> f64| {
            let (mut up, mut down) = (values.to_vec(), values.to_vec());
            up[at] += 1e-4;
            down[at] -= 1e-4;
            (objective(&up) - objective(&down)) / 2e-4
        };
        let qkv64 = wide(&qkv);
        for at in (0..qkv.len()).step_by(qkv.len() / 61) {
            let expected = slope(&qkv64, at, &|qkv| objective(qkv, weight64.as_deref()));
            close(&grad_qkv[at..=at], &[expected], 5e-4);
        }
        if let Some(weight) = &weight64 {
            for at in 0..dim {
                let expected = slope(weight, at, &|weight| objective(&qkv64, Some(weight)));
                close(&grad_weight[at..=at], &[expected], 2e-3);
            }
        }
    }
    Ok(())
}

/// Rows of their own for cells that are queries and cells that are keys: the same numbers.
#[test]
fn queries_apart_from_keys() -> Result<(), KernelError> {
    let (all, dim) = (lists(), 20);
    let width = HEADS * dim;
    let qkv = random(6, CELLS * 3 * width);
    let (weight, grad_out) = (random(7, dim), random(8, CELLS * width));
    let joint = Input {
        qkv: Qkv::Joint(&qkv),
        weight: Some(&weight),
        groups: &Groups::new(&arrays(&all))?,
        heads: HEADS,
        dim,
    };
    let (out, grad_qkv, grad_weight) = run(&joint, &grad_out, 1)?;
    // cell 24 is no query; these are no keys
    let queries: Vec<usize> = (0..24).chain(25..40).collect();
    let not_keys = |cell: &usize| [1, 2, 23, 25, 26, 27, 38].contains(cell);
    let keys: Vec<usize> = (0..40).filter(|cell| !not_keys(cell)).collect();
    let place = |rows: &[usize], list: &[i32]| -> Vec<i32> {
        let at = |&cell: &i32| rows.binary_search(&(cell as usize)).unwrap() as i32;
        list.iter().map(at).collect()
    };
    let few = Lists {
        query: place(&queries, &all.query),
        key: place(&keys, &all.key),
    };
    let groups = Groups::new(&GroupArrays {
        query_row_ptr: &[0, 24, 39],
        key_row_ptr: &[0, 22, 33],
        ..arrays(&few)
    })?;
    let pick = |from: &[f32], rows: &[usize], stride: usize, part: std::ops::Range<usize>| {
        let row = |&cell: &usize| from[cell * stride..][part.clone()].to_vec();
        rows.iter().flat_map(row).collect::<Vec<f32>>()
    };
    let q = pick(&qkv, &queries, 3 * width, 0..width);
    let kv = pick(&qkv, &keys, 3 * width, width..3 * width);
    let apart = Input {
        qkv: Qkv::Apart(&q, &kv),
        groups: &groups,
        ..joint
    };
    let mut found = vec![f32::NAN; q.len()];
    let mut lse = vec![f32::NAN; queries.len() * HEADS];
    forward(&apart, &mut found, &mut lse, 2)?;
    assert_eq!(found, pick(&out, &queries, width, 0..width));
    let (mut grad_q, mut grad_kv) = (vec![f32::NAN; q.len()], vec![f32::NAN; kv.len()]);
    let mut found_weight = vec![f32::NAN; dim];
    let saved = Saved {
        out: &found,
        lse: &lse,
        grad_out: &pick(&grad_out, &queries, width, 0..width),
    };
    let grads = Qkv::Apart(grad_q.as_mut_slice(), grad_kv.as_mut_slice());
    backward(&apart, &saved, grads, &mut found_weight, 2)?;
    assert_eq!(grad_q, pick(&grad_qkv, &queries, 3 * width, 0..width));
    assert_eq!(grad_kv, pick(&grad_qkv, &keys, 3 * width, width..3 * width));
    assert_eq!(found_weight, grad_weight);
    let short = Qkv::Apart(&mut grad_q[1..], grad_kv.as_mut_slice());
    assert!(backward(&apart, &saved, short, &mut found_weight, 1).is_err());
    Ok(())
}

#[test]
fn a_query_without_keys_gets_zero_and_gives_none() -> Result<(), KernelError> {
    let (lists, dim) = (lists(), 16);
    let qkv = random(4, CELLS * 3 * HEADS * dim);
    let input = Input {
        qkv: Qkv::Joint(&qkv),
        weight: None,
        groups: &Groups::new(&arrays(&lists))?,
        heads: HEADS,
        dim,
    };
    let (out, grad_qkv, _) = run(&input, &random(5, CELLS * HEADS * dim), 1)?;
    let width = HEADS * dim;
    assert!(out[24 * width..25 * width].iter().all(|&x| x == 0.0));
    assert!(
        grad_qkv[24 * 3 * width..][..width]
            .iter()
            .all(|&x| x == 0.0)
    );
    // but it is a key
    assert!(
        grad_qkv[24 * 3 * width + width..][..width]
            .iter()
            .any(|&x| x != 0.0)
    );
    Ok(())
}

#[test]
fn bad_groups_are_refused() {
    let good = lists();
    let other = |change: &dyn Fn(&mut Lists)| {
        let mut bad = lists();
        change(&mut bad);
        Groups::new(&arrays(&bad)).unwrap_err()
    };
    assert!(Groups::new(&arrays(&good)).is_ok());
    let outside = |name, context| KernelError::Outside { name, context };
    assert_eq!(other(&|l| l.key[2] = 25), outside("key", 0));
    assert_eq!(other(&|l| l.key[2] = -1), outside("key", 0));
    assert_eq!(other(&|l| l.query[30] = 40), outside("query", 1));
    assert_eq!(other(&|l| l.query[30] = 29), KernelError::Twice { row: 29 });
    let short = |l: &mut Lists| l.key.truncate(33);
    assert_eq!(
        other(&short),
        KernelError::Pointers {
            name: "key_ptr",
            end: 33
        }
    );
    let falling = GroupArrays {
        query_ptr: &[0, 9, 8, 25, 39],
        ..arrays(&good)
    };
    assert!(Groups::new(&falling).is_err());
    let none = GroupArrays {
        query_row_ptr: &[],
        ..arrays(&good)
    };
    assert!(Groups::new(&none).is_err());
    let fewer_contexts = GroupArrays {
        key_row_ptr: &[0, 40],
        ..arrays(&good)
    };
    assert!(Groups::new(&fewer_contexts).is_err());
}
