//! Sixteen numbers at a time, with what the processor at hand has for it.
//!
//! A value of a type that implements `Simd` proves that the processor has the instructions, because
//! only `dispatch` makes one, after asking. Kernels are generic over it and inlined into a function
//! that is compiled for these instructions.

use std::sync::OnceLock;

use half::bf16;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;
#[cfg(test)]
mod tests;

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

#[cfg(feature = "python")]
/// Whether this processor multiplies bf16 matrices faster than fp32 ones.
pub fn fast_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let fast = is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    let fast = std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let fast = false;
    fast
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
    fn load_bf16(self, x: &[bf16; LANES]) -> Self::V;
    /// Rounds to the nearest, ties to even; what is not a number stays so.
    fn store_bf16(self, v: Self::V, x: &mut [bf16; LANES]);
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
