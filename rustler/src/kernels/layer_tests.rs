//! Norm and SwiGLU, forward and backward, against their definitions in f64.

use super::KernelError;
use super::attention::EPSILON;
use super::norm::{Copies, norm_backward, norm_forward};
use super::swiglu::{swiglu_backward, swiglu_forward};
use super::tests::{close, random, wide};
use super::transpose::transpose;

#[test]
fn norm_and_swiglu_are_their_definitions() -> Result<(), KernelError> {
    let (rows, width) = (150, 21);
    let x = random(6, rows * width);
    let (mut y, mut factor) = (vec![0.0; x.len()], vec![0.0; rows]);
    let (mut stream, update) = (x.clone(), vec![0.25; x.len()]);
    norm_forward(&mut stream, Some(&update), &mut y, &mut factor, 2)?;
    let x: Vec<f32> = x.iter().map(|x| x + 0.25).collect();
    assert_eq!(stream, x);
    let (grad_y, residual) = (random(7, x.len()), random(8, x.len()));
    let (mut grad_x, mut copy) = (residual.clone(), vec![0.0; x.len()]);
    let stride = rows + 3;
    let mut transposed = [vec![9.0; width * stride], vec![9.0; width * stride]];
    let [of_grad, of_y] = &mut transposed;
    let copies = Copies {
        grad: &mut copy,
        grad_transposed: of_grad,
        y_transposed: of_y,
    };
    norm_backward((&y, &factor), &grad_y, &mut grad_x, copies, 2)?;
    assert_eq!(copy, grad_x);
    for (from, to) in [&grad_x, &y].into_iter().zip(&transposed) {
        for (column, found) in to.chunks_exact(stride).enumerate() {
            let expected = from.iter().skip(column).step_by(width);
            assert!(found[..rows].iter().eq(expected));
            assert_eq!(found[rows..], [9.0; 3]);
        }
    }
    let norm = |x: &[f64]| {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
        x.iter()
            .map(|v| v / (mean + f64::from(EPSILON)).sqrt())
            .collect::<Vec<f64>>()
    };
    for row in (0..rows).step_by(7) {
        let at = row * width..(row + 1) * width;
        let x = wide(&x[at.clone()]);
        close(&y[at.clone()], &norm(&x), 1e-5);
        for d in 0..width {
            let mut slope = f64::from(residual[row * width + d]);
            for sign in [1.0, -1.0] {
                let mut moved = x.clone();
                moved[d] += sign * 1e-5;
                let grads = grad_y[at.clone()].iter();
                let value: f64 = norm(&moved)
                    .iter()
                    .zip(grads)
                    .map(|(y, g)| y * f64::from(*g))
                    .sum();
                slope += sign * value / 2e-5;
            }
            close(&grad_x[row * width + d..][..1], &[slope], 1e-4);
        }
    }
    swiglu(rows, width)
}

fn swiglu(rows: usize, width: usize) -> Result<(), KernelError> {
    let gates = random(9, rows * 2 * width);
    let mut a = vec![0.0; rows * width];
    swiglu_forward(&gates, &mut a, width, 2)?;
    let (mut grad_gates, grad_a) = (gates.clone(), random(10, a.len()));
    let mut again = grad_a.clone();
    swiglu_backward(&mut grad_gates, &mut again, width, 2)?;
    let value = |g: f64, u: f64| g / (1.0 + (-g).exp()) * u;
    for row in 0..rows {
        for d in 0..width {
            let (g, u) = (
                gates[row * 2 * width + d],
                gates[row * 2 * width + width + d],
            );
            let (g, u, grad) = (
                f64::from(g),
                f64::from(u),
                f64::from(grad_a[row * width + d]),
            );
            close(&a[row * width + d..][..1], &[value(g, u)], 1e-5);
            close(&again[row * width + d..][..1], &[value(g, u)], 1e-5);
            let step = 1e-5;
            let of_gate = (value(g + step, u) - value(g - step, u)) / (2.0 * step) * grad;
            let of_up = value(g, 1.0) * grad;
            close(&grad_gates[row * 2 * width + d..][..1], &[of_gate], 1e-4);
            close(
                &grad_gates[row * 2 * width + width + d..][..1],
                &[of_up],
                1e-4,
            );
        }
    }
    Ok(())
}

#[test]
fn rows_without_elements_are_refused() {
    for gates in [vec![], vec![0.0; 4]] {
        let found = swiglu_forward(&gates, &mut [], 0, 1);
        assert!(matches!(found, Err(KernelError::Length { .. })));
        let found = swiglu_backward(&mut gates.clone(), &mut [], 0, 1);
        assert!(matches!(found, Err(KernelError::Length { .. })));
    }
}

#[test]
fn transposed_copies() -> Result<(), KernelError> {
    for (rows, width, stride) in [(150, 21, 153), (64, 16, 64), (0, 5, 3), (7, 40, 7)] {
        let x = random(11, rows * width);
        let mut to = vec![9.0; width * stride];
        transpose(&x, &mut to, width, 2)?;
        for (column, found) in to.chunks_exact(stride).enumerate() {
            assert!(
                found[..rows]
                    .iter()
                    .eq(x.iter().skip(column).step_by(width))
            );
            assert!(found[rows..].iter().all(|&x| x == 9.0));
        }
    }
    assert!(transpose(&[0.0; 12], &mut [0.0; 11], 4, 1).is_err());
    Ok(())
}
