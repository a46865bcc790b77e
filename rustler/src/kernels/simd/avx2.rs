//! Vectors as pairs of AVX2 registers.

use std::arch::x86_64::*;

use half::bf16;

use super::{Kernel, LANES, Lanes, Simd};

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Whether the processor has what `run` is compiled for.
#[inline(always)]
pub fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[target_feature(enable = "avx2,fma")]
pub fn run<K: Kernel>(kernel: K) {
    kernel.run(Avx2(()));
}

/// An intrinsic on both halves. A macro, because a function that is passed on may stay a call.
macro_rules! halves {
    ($intrinsic:ident, $a:expr, $b:expr) => {
        // SAFETY: the intrinsics used here need AVX2 at most, which a value of `Avx2` proves.
        unsafe { [$intrinsic($a[0], $b[0]), $intrinsic($a[1], $b[1])] }
    };
}

impl Simd for Avx2 {
    type V = [__m256; 2];
    const FUSED: bool = true;

    #[inline(always)]
    fn load(self, x: &Lanes) -> Self::V {
        // SAFETY: `self` proves AVX2; the 16 numbers of x are two vectors of 8.
        unsafe {
            [
                _mm256_loadu_ps(x.as_ptr()),
                _mm256_loadu_ps(x.as_ptr().add(8)),
            ]
        }
    }
    #[inline(always)]
    fn store(self, v: Self::V, x: &mut Lanes) {
        // SAFETY: as in `load`.
        unsafe {
            _mm256_storeu_ps(x.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(x.as_mut_ptr().add(8), v[1]);
        }
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> Self::V {
        // SAFETY: `self` proves AVX2; the 16 numbers of x are two vectors of 8 times 16 bits.
        unsafe {
            [
                from_bf16(_mm_loadu_si128(x.as_ptr().cast())),
                from_bf16(_mm_loadu_si128(x.as_ptr().add(8).cast())),
            ]
        }
    }
    #[inline(always)]
    fn store_bf16(self, v: Self::V, x: &mut [bf16; LANES]) {
        // SAFETY: as in `load_bf16`.
        unsafe {
            // packing works within halves of registers: the middle quarters change places
            let packed = _mm256_packus_epi32(to_bf16(v[0]), to_bf16(v[1]));
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            _mm256_storeu_si256(x.as_mut_ptr().cast(), ordered);
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: `self` proves AVX2.
        [unsafe { _mm256_set1_ps(x) }; 2]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        halves!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        halves!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        halves!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        halves!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: `self` proves FMA.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        halves!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn scale(self, p: Self::V, shifted: Self::V) -> Self::V {
        let mut power = shifted;
        for half in &mut power {
            // SAFETY: `self` proves AVX2.
            *half = unsafe {
                let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(*half));
                let one = _mm256_castps_si256(_mm256_set1_ps(1.0));
                _mm256_castsi256_ps(_mm256_add_epi32(exponent, one))
            };
        }
        self.mul(p, power)
    }
    #[inline(always)]
    fn transpose(self, rows: &[Lanes; LANES], to: &mut [Lanes; LANES]) {
        for (row, column) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            // SAFETY: `self` proves AVX2; row + 7 and column + 7 are below 16.
            unsafe {
                let mut square = [_mm256_setzero_ps(); 8];
                for i in 0..8 {
                    square[i] = _mm256_loadu_ps(rows[row + i].as_ptr().add(column));
                }
                let columns = transpose8(square);
                for i in 0..8 {
                    _mm256_storeu_ps(to[column + i].as_mut_ptr().add(row), columns[i]);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn from_bf16(bits: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
}

/// Adds just below half of the last place that stays, or half where that place is odd, and cuts:
/// bf16 in the lower halves of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn to_bf16(v: __m256) -> __m256i {
    let bits = _mm256_castps_si256(v);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let rounded = _mm256_add_epi32(bits, half);
    // the addition could carry one that is not a number over into zero
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
    let wrong = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
    _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, wrong))
}

/// Transposes 8 x 8 numbers: pairs, then fours, then halves change places.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    let mut pairs = r;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let mut fours = r;
    for i in [0, 4] {
        fours[i] = _mm256_shuffle_ps::<0b01_00_01_00>(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(pairs[i + 1], pairs[i + 3]);
    }
    let mut out = r;
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        out[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
    out
}
