//! Vectors as AVX-512 registers.

use std::arch::x86_64::*;

use half::bf16;

use super::{Kernel, LANES, Lanes, Simd};

/// Proof that the processor has the parts of AVX-512 that `available` asks for.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Whether the processor has what `run` is compiled for.
#[inline(always)]
pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub fn run<K: Kernel>(kernel: K) {
    kernel.run(Avx512(()));
}

impl Simd for Avx512 {
    type V = __m512;
    const FUSED: bool = true;

    #[inline(always)]
    fn load(self, x: &Lanes) -> __m512 {
        // SAFETY: `self` proves AVX-512; x is one vector of 16.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, x: &mut Lanes) {
        // SAFETY: as in `load`.
        unsafe { _mm512_storeu_ps(x.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> __m512 {
        // SAFETY: `self` proves AVX-512; x is one vector of 16 numbers of 16 bits.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    fn store_bf16(self, v: __m512, x: &mut [bf16; LANES]) {
        // SAFETY: as in `load_bf16`.
        unsafe { _mm256_storeu_si256(x.as_mut_ptr().cast(), to_bf16(v)) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512, here and below.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn scale(self, p: __m512, shifted: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
            let one = _mm512_castps_si512(_mm512_set1_ps(1.0));
            let power = _mm512_castsi512_ps(_mm512_add_epi32(exponent, one));
            _mm512_mul_ps(p, power)
        }
    }
    #[inline(always)]
    fn transpose(self, rows: &[Lanes; LANES], to: &mut [Lanes; LANES]) {
        // SAFETY: as above; every vector is one of 16 numbers.
        unsafe {
            let mut square = [_mm512_setzero_ps(); LANES];
            for i in 0..LANES {
                square[i] = _mm512_loadu_ps(rows[i].as_ptr());
            }
            let columns = transpose16(square);
            for i in 0..LANES {
                _mm512_storeu_ps(to[i].as_mut_ptr(), columns[i]);
            }
        }
    }
}

/// Adds just below half of the last place that stays, or half where that place is odd, and cuts.
#[inline]
#[target_feature(enable = "avx512f")]
fn to_bf16(v: __m512) -> __m256i {
    let bits = _mm512_castps_si512(v);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_add_epi32(bits, half);
    // the addition could carry one that is not a number over into zero
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
    let wrong = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
    let chosen = _mm512_mask_mov_epi32(rounded, wrong, quiet);
    _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(chosen))
}

/// Transposes 16 x 16 numbers: within quarters of registers first (pairs, then fours), then the
/// quarters themselves change places, twice.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose16(r: [__m512; LANES]) -> [__m512; LANES] {
    let mut pairs = r;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // fours[i + c] holds column c of rows i..i + 4, quarter q: column 4 q + c
    let mut fours = r;
    for i in [0, 4, 8, 12] {
        fours[i] = _mm512_shuffle_ps::<0b01_00_01_00>(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(pairs[i + 1], pairs[i + 3]);
    }
    let mut out = r;
    for c in 0..4 {
        let low = [
            _mm512_shuffle_f32x4::<0b10_00_10_00>(fours[c], fours[4 + c]),
            _mm512_shuffle_f32x4::<0b10_00_10_00>(fours[8 + c], fours[12 + c]),
        ];
        let high = [
            _mm512_shuffle_f32x4::<0b11_01_11_01>(fours[c], fours[4 + c]),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(fours[8 + c], fours[12 + c]),
        ];
        out[c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low[0], low[1]);
        out[4 + c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(high[0], high[1]);
        out[8 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low[0], low[1]);
        out[12 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(high[0], high[1]);
    }
    out
}
