//! Kernels on bf16 give what they give on the same numbers in fp32, rounded once at the end.

use half::bf16;

use super::KernelError;
use super::attention::{Input, Qkv, forward};
use super::backward::{Saved, backward};
use super::groups::Groups;
use super::norm::{Copies, norm_backward, norm_forward};
use super::swiglu::{swiglu_backward, swiglu_forward};
use super::tests::{CELLS, HEADS, arrays, lists, random};

fn narrow(x: &[f32]) -> Vec<bf16> {
    x.iter().map(|&x| bf16::from_f32(x)).collect()
}

fn widen(x: &[bf16]) -> Vec<f32> {
    x.iter().map(|x| x.to_f32()).collect()
}

/// The same numbers as bf16 and as f32.
fn both(seed: u64, count: usize) -> (Vec<bf16>, Vec<f32>) {
    let numbers = narrow(&random(seed, count));
    let wide = widen(&numbers);
    (numbers, wide)
}

fn zeros(count: usize) -> (Vec<bf16>, Vec<f32>) {
    (vec![bf16::ZERO; count], vec![0.0; count])
}

#[test]
fn attention() -> Result<(), KernelError> {
    let groups = &Groups::new(&arrays(&lists()))?;
    for dim in [8, 16, 32, 40] {
        let (heads, outputs) = (HEADS, CELLS * HEADS * dim);
        let (qkv, wide_qkv) = both(1, 3 * outputs);
        let (grad_out, wide_grad_out) = both(2, outputs);
        let scale = random(3, dim);
        let weight = Some(scale.as_slice());
        let (mut out, mut wide_out) = zeros(outputs);
        let (mut lse, mut wide_lse) = (vec![0.0; CELLS * HEADS], vec![0.0; CELLS * HEADS]);
        let input = Input {
            qkv: Qkv::Joint(&qkv),
            weight,
            groups,
            heads,
            dim,
        };
        let wide_input = Input {
            qkv: Qkv::Joint(&wide_qkv),
            weight,
            groups,
            heads,
            dim,
        };
        forward(&input, &mut out, &mut lse, 2)?;
        forward(&wide_input, &mut wide_out, &mut wide_lse, 2)?;
        assert_eq!(out, narrow(&wide_out));
        assert_eq!(lse, wide_lse);
        let wide_out = widen(&out);
        let saved = Saved {
            out: &out,
            lse: &lse,
            grad_out: &grad_out,
        };
        let wide_saved = Saved {
            out: &wide_out,
            lse: &lse,
            grad_out: &wide_grad_out,
        };
        let (mut grad, mut wide_grad) = zeros(qkv.len());
        let (mut grad_weight, mut wide_grad_weight) = (vec![0.0; dim], vec![0.0; dim]);
        backward(&input, &saved, Qkv::Joint(&mut grad), &mut grad_weight, 2)?;
        backward(
            &wide_input,
            &wide_saved,
            Qkv::Joint(&mut wide_grad),
            &mut wide_grad_weight,
            2,
        )?;
        assert_eq!(grad, narrow(&wide_grad));
        assert_eq!(grad_weight, wide_grad_weight);
    }
    Ok(())
}

#[test]
fn norm() -> Result<(), KernelError> {
    let (rows, width) = (70, 24);
    let (update, wide_update) = both(4, rows * width);
    let (mut x, mut wide_x) = (random(5, rows * width), random(5, rows * width));
    let (mut y, mut wide_y) = zeros(rows * width);
    let (mut factor, mut wide_factor) = (vec![0.0; rows], vec![0.0; rows]);
    norm_forward(&mut x, Some(&update), &mut y, &mut factor, 1)?;
    norm_forward(
        &mut wide_x,
        Some(&wide_update),
        &mut wide_y,
        &mut wide_factor,
        1,
    )?;
    assert_eq!((&x, &factor), (&wide_x, &wide_factor));
    assert_eq!(y, narrow(&wide_y));
    let wide_y = widen(&y);
    let (grad_y, wide_grad_y) = both(6, rows * width);
    let (mut copies, mut wide_copies) = (vec![], vec![]);
    for _ in 0..3 {
        let (copy, wide_copy) = zeros(rows * width);
        copies.push(copy);
        wide_copies.push(wide_copy);
    }
    norm_backward((&y, &factor), &grad_y, &mut x, into(&mut copies), 1)?;
    let wide_saved = (wide_y.as_slice(), factor.as_slice());
    norm_backward(
        wide_saved,
        &wide_grad_y,
        &mut wide_x,
        into(&mut wide_copies),
        1,
    )?;
    assert_eq!(x, wide_x);
    for (copy, wide_copy) in copies.iter().zip(&wide_copies) {
        assert_eq!(*copy, narrow(wide_copy));
    }
    Ok(())
}

fn into<T>(copies: &mut [Vec<T>]) -> Copies<'_, T> {
    let [grad, grad_transposed, y_transposed] = copies else {
        panic!("three copies");
    };
    Copies {
        grad,
        grad_transposed,
        y_transposed,
    }
}

#[test]
fn swiglu() -> Result<(), KernelError> {
    let (rows, width) = (70, 24);
    let (mut gates, mut wide_gates) = both(7, rows * 2 * width);
    let (mut a, mut wide_a) = zeros(rows * width);
    swiglu_forward(&gates, &mut a, width, 1)?;
    swiglu_forward(&wide_gates, &mut wide_a, width, 1)?;
    assert_eq!(a, narrow(&wide_a));
    let (mut grad, mut wide_grad) = both(8, rows * width);
    swiglu_backward(&mut gates, &mut grad, width, 1)?;
    swiglu_backward(&mut wide_gates, &mut wide_grad, width, 1)?;
    assert_eq!(grad, narrow(&wide_grad));
    assert_eq!(gates, narrow(&wide_gates));
    Ok(())
}
