//! Sixteen numbers at a time, with what the processor at hand has for it.
//!
//! A value of a type that implements `Simd` proves that the processor has the instructions, because
//! only `dispatch` makes one, after asking. Kernels are generic over it and inlined into a function
//! that is compiled for these instructions.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

/// Numbers worked on at a time.
pub const LANES: usize = 16;

pub type Lanes = [f32; LANES];

/// A computation on vectors. `run`, and all that it calls on the way to its inner loops, must be
/// `#[inline(always)]`: only what is inlined is compiled with the instructions of the caller.
pub trait Kernel {
    fn run<S: Simd>(self, simd: S);
}

/// Sets of instructions that kernels are compiled for, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    Plain,
    Avx2,
    Avx512,
}

/// The environment variable that asks for a set of instructions, by name.
pub const VARIABLE: &str = "RUSTLER_INSTRUCTIONS";

impl Instructions {
    const ALL: [Instructions; 3] = [Self::Plain, Self::Avx2, Self::Avx512];

    pub fn name(self) -> &'static str {
        ["plain", "avx2", "avx512"][self as usize]
    }

    #[cfg(target_arch = "x86_64")]
    fn available(self) -> bool {
        match self {
            Self::Plain => true,
            Self::Avx2 => avx2::available(),
            Self::Avx512 => avx512::available(),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn available(self) -> bool {
        self == Self::Plain
    }

    /// Those that this processor has.
    pub fn all() -> impl Iterator<Item = Instructions> {
        Self::ALL.into_iter().filter(|one| one.available())
    }

    /// What `VARIABLE` asks for, or else the best. An error is one line for the user.
    fn chosen() -> Result<Self, String> {
        let asked = match std::env::var(VARIABLE) {
            Ok(asked) if !asked.is_empty() => asked,
            _ => return Ok(Self::all().last().unwrap_or(Self::Plain)),
        };
        let found = Self::all().find(|one| one.name() == asked);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::name).collect();
            format!(
                "{VARIABLE} is '{asked}'; this processor has {}",
                names.join(", ")
            )
        })
    }
}

/// The set in use; read once.
pub fn instructions() -> &'static Result<Instructions, String> {
    static CHOICE: OnceLock<Result<Instructions, String>> = OnceLock::new();
    CHOICE.get_or_init(Instructions::chosen)
}

/// Runs a kernel with the instructions in use.
pub fn dispatch<K: Kernel>(kernel: K) {
    let instructions = instructions().as_ref().copied();
    run(kernel, instructions.unwrap_or(Instructions::Plain));
}

fn run<K: Kernel>(kernel: K, instructions: Instructions) {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Instructions::all` gives only what the processor has.
        Instructions::Avx512 => unsafe { avx512::run(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Instructions::Avx2 => unsafe { avx2::run(kernel) },
        _ => plain::run(kernel),
    }
}

/// Runs a kernel with each set of instructions that this processor has.
#[cfg(test)]
pub fn on_all<K: Kernel + Clone>(kernel: K) {
    for instructions in Instructions::all() {
        run(kernel.clone(), instructions);
    }
}

/// Arithmetic on vectors of `LANES` numbers.
pub trait Simd: Copy {
    type V: Copy;
    /// Whether a fused multiply-add is an instruction.
    const FUSED: bool;

    fn load(self, x: &Lanes) -> Self::V;
    fn store(self, v: Self::V, x: &mut Lanes);
    fn splat(self, x: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a if a > b, else b: b where one is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// p * 2^n, where n stands in the low bits of n + 1.5 * 2^23.
    fn scale(self, p: Self::V, shifted: Self::V) -> Self::V;
    /// to[column][row] = rows[row][column].
    fn transpose(self, rows: &[Lanes; LANES], to: &mut [Lanes; LANES]);

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut x = [0.0; LANES];
        self.store(v, &mut x);
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                x[i] += x[i + half];
            }
        }
        x[0]
    }

    /// e^x with a relative error of about 2e-7 for x in [-87, 88]; x below counts as -87, above as
    /// 88, and not a number stays so.
    ///
    /// e^x = 2^n e^f with n the integer next to x / ln 2. Adding 1.5 * 2^23 rounds, and leaves n in
    /// the low bits, from where it is shifted into the exponent.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        const ROUND: f32 = 12_582_912.0;
        const LN2_HIGH: f32 = 0.693_145_75;
        const LN2_LOW: f32 = 1.428_606_8e-6;
        let zero = self.splat(0.0);
        let x = self.max(self.splat(-87.0), x);
        let x = self.sub(zero, self.max(self.splat(-88.0), self.sub(zero, x)));
        let log2_e = self.splat(std::f32::consts::LOG2_E);
        let shifted = self.fma(x, log2_e, self.splat(ROUND));
        let n = self.sub(shifted, self.splat(ROUND));
        let f = self.fma(n, self.splat(-LN2_HIGH), x);
        let f = self.fma(n, self.splat(-LN2_LOW), f);
        // the Taylor polynomial of degree 6: |f| is at most ln 2 / 2
        let mut p = self.splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = self.fma(p, f, self.splat(c));
        }
        self.scale(p, shifted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn exp_is_exact_enough() {
        on_all(CheckExp);
    }

    #[test]
    fn arithmetic() {
        on_all(CheckArithmetic);
    }
}
