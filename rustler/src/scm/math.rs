//! Elementary functions of one number, written without branches so that loops over them become
//! vector instructions. Relative errors are a few units in the last place of f32.

use super::block::{Lane, ROWS};
use crate::kernels::simd::Simd;

/// a * b + c, rounded once where the processor has an instruction for it.
#[inline(always)]
pub fn fma<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A polynomial by Horner's rule, highest coefficient first.
#[inline(always)]
pub fn polynomial<S: Simd, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut p = coefficients[0];
    for i in 1..N {
        p = fma::<S>(p, x, coefficients[i]);
    }
    p
}

/// (2^n, e^f) with x = n ln 2 + f; x below -87 counts as -87, above 88 as 88, and not a number
/// gives not a number. `constant` is the polynomial's: 0
/// gives e^f - 1.
#[inline(always)]
fn exp_parts<S: Simd>(x: f32, constant: f32) -> (f32, f32) {
    // adding 1.5 * 2^23 rounds, and leaves the integer in the low bits
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fma::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let f = fma::<S>(n, -LN2_HIGH, x);
    let f = fma::<S>(n, -LN2_LOW, f);
    // the Taylor polynomial: |f| is at most ln 2 / 2
    let p = polynomial::<S, 7>(
        f,
        [
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
            1.0,
            constant,
        ],
    );
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    (power, p)
}

/// e^x; below -87 as at -87, above 88 as at 88; not a number stays so.
#[inline(always)]
pub fn exp<S: Simd>(x: f32) -> f32 {
    let (power, p) = exp_parts::<S>(x, 1.0);
    p * power
}

/// e^x - 1, exact for small x too; bounds as `exp`.
#[inline(always)]
pub fn exp_m1<S: Simd>(x: f32) -> f32 {
    let (power, p) = exp_parts::<S>(x, 0.0);
    fma::<S>(power, p, power - 1.0)
}

/// ln x for positive x that are not subnormal.
#[inline(always)]
pub fn ln<S: Simd>(x: f32) -> f32 {
    // x = m 2^e with m in [2/3, 4/3); ln m = 2 artanh(s) with s = (m - 1) / (m + 1), |s| <= 1/5
    const TWO_THIRDS: u32 = 0x3f2a_aaab;
    let e = (x.to_bits().wrapping_sub(TWO_THIRDS) as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((e as u32) << 23));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = polynomial::<S, 5>(z, [2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0]);
    fma::<S>(e as f32, std::f32::consts::LN_2, s * p)
}

/// ln(1 + x) for x >= 0, exact for small x too: u - 1 is what 1 + x kept of x.
#[inline(always)]
pub fn ln_1p<S: Simd>(x: f32) -> f32 {
    let u = x + 1.0;
    ln::<S>(u) + (x - (u - 1.0)) / u
}

/// ln(1 + e^-|x|) = 2 artanh(e / (2 + e)) with e = e^-|x|, by its series.
#[inline(always)]
pub fn softplus_of_minus_abs<S: Simd>(x: f32) -> f32 {
    let e = exp::<S>(-x.abs());
    let s = e / (2.0 + e);
    let coefficients = [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0].map(|k| 2.0 / k);
    s * polynomial::<S, 7>(s * s, coefficients)
}

/// tanh x = t / (t + 2) with t = e^2x - 1.
#[inline(always)]
pub fn tanh<S: Simd>(x: f32) -> f32 {
    let t = exp_m1::<S>(2.0 * x.abs());
    (t / (t + 2.0)).copysign(x)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid<S: Simd>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<S>(-x))
}

/// Angles up to this size are reduced in f32.
const SMALL_ANGLE: f32 = 8192.0;

/// sin(r + (quadrant) pi/2) for |r| <= pi/4.
#[inline(always)]
fn sine_of_rest<S: Simd>(r: f32, quadrant: u32) -> f32 {
    let z = r * r;
    let sine = r * polynomial::<S, 5>(
        z,
        [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0],
    );
    let cosine = polynomial::<S, 5>(z, [1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0]);
    let value = if quadrant & 1 == 0 { sine } else { cosine };
    f32::from_bits(value.to_bits() ^ ((quadrant & 2) << 30))
}

/// sin(x + quarters pi/2), the argument reduced in f64, so that large x are right too.
#[inline(always)]
fn sine_of_any<S: Simd>(x: f32, quarters: u32) -> f32 {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    const HIGH: f64 = std::f64::consts::FRAC_PI_2;
    const LOW: f64 = 6.123_233_995_736_766e-17;
    let x = f64::from(x);
    let shifted = x * std::f64::consts::FRAC_2_PI + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * HIGH - n * LOW) as f32;
    sine_of_rest::<S>(r, (shifted.to_bits() as u32).wrapping_add(quarters))
}

/// The same for |x| up to 8192, where pi/2 in three parts of f32 will do if products are fused.
#[inline(always)]
fn sine_of_small<S: Simd>(x: f32, quarters: u32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const PARTS: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_8e-15];
    let shifted = fma::<S>(x, std::f32::consts::FRAC_2_PI, ROUND);
    let n = shifted - ROUND;
    let mut r = x;
    for part in PARTS {
        r = fma::<S>(-n, part, r);
    }
    sine_of_rest::<S>(r, shifted.to_bits().wrapping_add(quarters))
}

/// sin x for |x| up to 8192.
#[inline(always)]
pub fn sin<S: Simd>(x: f32) -> f32 {
    if S::FUSED {
        sine_of_small::<S>(x, 0)
    } else {
        sine_of_any::<S>(x, 0)
    }
}

/// cos x for |x| up to 8192.
#[inline(always)]
pub fn cos<S: Simd>(x: f32) -> f32 {
    if S::FUSED {
        sine_of_small::<S>(x, 1)
    } else {
        sine_of_any::<S>(x, 1)
    }
}

/// sin(x + quarters pi/2) of all rows, in place. Which way a row takes depends on its own x alone.
#[inline(always)]
pub fn sines<S: Simd>(lane: &mut Lane, quarters: u32) {
    let x = *lane;
    if S::FUSED {
        for row in 0..ROWS {
            lane[row] = sine_of_small::<S>(x[row], quarters);
        }
        let mut largest = 0.0_f32;
        for row in 0..ROWS {
            largest = largest.max(x[row].abs());
        }
        if largest <= SMALL_ANGLE {
            return;
        }
    }
    for row in 0..ROWS {
        let found = sine_of_any::<S>(x[row], quarters);
        let keep = S::FUSED && x[row].abs() <= SMALL_ANGLE;
        lane[row] = if keep { lane[row] } else { found };
    }
}

/// The standard normal distribution function times x, the error function by Abramowitz and Stegun
/// 7.1.26 (error below 1.5e-7): max(x, 0) - |x| times the smaller tail.
#[inline(always)]
pub fn gelu<S: Simd>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fma::<S>(z, 0.327_591_1, 1.0);
    let p = polynomial::<S, 6>(
        t,
        [
            1.061_405_4,
            -1.453_152,
            1.421_413_7,
            -0.284_496_74,
            0.254_829_6,
            0.0,
        ],
    );
    let tail = 0.5 * p * exp::<S>(-z * z);
    fma::<S>(-x.abs(), tail, if x > 0.0 { x } else { 0.0 })
}
