//! Vectors as arrays.

use half::bf16;

use super::{Kernel, LANES, Lanes, Simd};

/// What every processor can do.
#[derive(Clone, Copy)]
pub struct Plain(());

pub fn run<K: Kernel>(kernel: K) {
    kernel.run(Plain(()));
}

impl Plain {
    #[inline(always)]
    fn each(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
        let mut out = [0.0; LANES];
        for i in 0..LANES {
            out[i] = f(a[i], b[i]);
        }
        out
    }
}

impl Simd for Plain {
    type V = Lanes;
    const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

    #[inline(always)]
    fn load(self, x: &Lanes) -> Lanes {
        *x
    }
    #[inline(always)]
    fn store(self, v: Lanes, x: &mut Lanes) {
        *x = v;
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> Lanes {
        let mut out = [0.0; LANES];
        for i in 0..LANES {
            out[i] = x[i].to_f32();
        }
        out
    }
    #[inline(always)]
    fn store_bf16(self, v: Lanes, x: &mut [bf16; LANES]) {
        for i in 0..LANES {
            x[i] = bf16::from_f32(v[i]);
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        Self::each(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        Self::each(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        Self::each(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        Self::each(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        // a fused multiply-add in software would be slow
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        Self::each(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn scale(self, p: Lanes, shifted: Lanes) -> Lanes {
        Self::each(p, shifted, |p, shifted| {
            let exponent = (shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits());
            p * f32::from_bits(exponent)
        })
    }
    #[inline(always)]
    fn transpose(self, rows: &[Lanes; LANES], to: &mut [Lanes; LANES]) {
        for row in 0..LANES {
            for column in 0..LANES {
                to[column][row] = rows[row][column];
            }
        }
    }
}
