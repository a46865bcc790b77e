//! Vectors of every set of instructions that this processor has, against plain arithmetic.

use half::bf16;

use super::{Kernel, LANES, Lanes, Simd, on_all};

#[derive(Clone)]
struct CheckExp;
impl Kernel for CheckExp {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let exp = |x: f32| {
            let mut out = [0.0; LANES];
            simd.store(simd.exp(simd.splat(x)), &mut out);
            assert!(out.iter().all(|y| y.to_bits() == out[0].to_bits()));
            f64::from(out[0])
        };
        for step in -8_700..=8_800 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            let error = (exp(x) - expected).abs() / expected;
            assert!(error < 4e-7, "exp({x}) has error {error}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
    }
}

#[derive(Clone)]
struct CheckArithmetic;
impl Kernel for CheckArithmetic {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let a: Lanes = std::array::from_fn(|i| i as f32 - 3.0);
        let b: Lanes = std::array::from_fn(|i| 2.0 * i as f32 + 1.0);
        let (x, y) = (simd.load(&a), simd.load(&b));
        let check = |v: S::V, expected: fn(f32, f32) -> f32| {
            let mut out = [0.0; LANES];
            simd.store(v, &mut out);
            for i in 0..LANES {
                assert_eq!(out[i], expected(a[i], b[i]));
            }
        };
        check(simd.add(x, y), |a, b| a + b);
        check(simd.sub(x, y), |a, b| a - b);
        check(simd.mul(x, y), |a, b| a * b);
        check(simd.div(x, y), |a, b| a / b);
        check(simd.fma(x, y, x), |a, b| a * b + a);
        check(simd.max(x, simd.splat(2.0)), |a, _| a.max(2.0));
        assert_eq!(simd.sum(x), a.iter().sum::<f32>());
        let rows: [Lanes; LANES] =
            std::array::from_fn(|r| std::array::from_fn(|c| (100 * r + c) as f32));
        let mut to = [[0.0; LANES]; LANES];
        simd.transpose(&rows, &mut to);
        for r in 0..LANES {
            for c in 0..LANES {
                assert_eq!(to[c][r], rows[r][c]);
            }
        }
    }
}

#[derive(Clone)]
struct CheckBf16;
impl Kernel for CheckBf16 {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let wrong = [0x7fff_ffff, 0xffff_ffff, 0x7f80_0001].map(f32::from_bits);
        let ties = [0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0x3f80_8001].map(f32::from_bits);
        let others = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            1e-40,
            3.3,
        ];
        let mut x = [-7.7; LANES];
        for (to, from) in x
            .iter_mut()
            .zip(wrong.into_iter().chain(ties).chain(others))
        {
            *to = from;
        }
        let mut found = [bf16::ZERO; LANES];
        simd.store_bf16(simd.load(&x), &mut found);
        let mut again = [0.0; LANES];
        simd.store(simd.load_bf16(&found), &mut again);
        for i in 0..LANES {
            let expected = bf16::from_f32(x[i]);
            assert_eq!(found[i].is_nan(), x[i].is_nan());
            assert!(
                x[i].is_nan() || found[i].to_bits() == expected.to_bits(),
                "{}",
                x[i]
            );
            assert!(x[i].is_nan() || again[i].to_bits() == expected.to_f32().to_bits());
        }
    }
}

#[test]
fn bf16_is_rounded_to_the_nearest() {
    on_all(CheckBf16);
}

#[test]
fn exp_is_exact_enough() {
    on_all(CheckExp);
}

#[test]
fn arithmetic() {
    on_all(CheckArithmetic);
}
