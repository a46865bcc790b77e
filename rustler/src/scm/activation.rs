//! Activation functions of the random mechanisms, with torch's default parameters.

use super::block::{Lane, ROWS, ZERO};
use super::math::{self, exp, exp_m1, fma, sigmoid, sines, softplus_of_minus_abs, tanh};
use crate::kernels::simd::{Kernel, Simd, dispatch};

const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;
const LEAKY_SLOPE: f32 = 0.01;
/// Mean of rrelu's slope, uniform in [1/8, 1/3]: what torch uses outside of training.
const RRELU_SLOPE: f32 = 11.0 / 48.0;
const SHRINK: f32 = 0.5;
/// What hidden values are clipped to.
const BOUND: f32 = 1e6;

/// The names of the activations, in the order of their codes.
pub const ACTIVATIONS: [&str; 29] = [
    "relu",
    "elu",
    "selu",
    "silu",
    "softsign",
    "tanh",
    "sigmoid",
    "hardswish",
    "mish",
    "leaky_relu",
    "gelu",
    "softplus",
    "hardsigmoid",
    "hardtanh",
    "celu",
    "tanhshrink",
    "rrelu",
    "logsigmoid",
    "softshrink",
    "hardshrink",
    "identity",
    "abs",
    "sin",
    "cos",
    "sign",
    "clip",
    "signed_log1p",
    "bent_identity",
    RANDOM_SINES,
];
/// The activation with parameters of its own.
pub const RANDOM_SINES: &str = "random_sines";

/// amplitude * sin(frequency * x + phase).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sine {
    pub amplitude: f32,
    pub frequency: f32,
    pub phase: f32,
}

/// An activation by its code, followed by a factor and clipping to +-1e6.
#[derive(Clone, Debug)]
pub struct Activation {
    pub code: u8,
    pub scale: f32,
    /// Of `random_sines` alone.
    pub sines: Vec<Sine>,
}

impl Activation {
    /// Applies to all lanes, in place.
    pub fn apply(&self, lanes: &mut [Lane]) {
        dispatch(Apply {
            activation: self,
            lanes,
        });
    }
}

struct Apply<'a> {
    activation: &'a Activation,
    lanes: &'a mut [Lane],
}

impl Kernel for Apply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let scale = self.activation.scale;
        let lanes = self.lanes;
        macro_rules! each {
            (|$x:ident| $f:expr) => {
                for lane in lanes.iter_mut() {
                    for value in lane.iter_mut() {
                        let $x = *value;
                        *value = ($f * scale).clamp(-BOUND, BOUND);
                    }
                }
            };
        }
        let name = ACTIVATIONS[self.activation.code as usize];
        match name {
            "relu" => each!(|x| positive(x)),
            "elu" | "celu" => each!(|x| positive(x) + exp_m1::<S>(negative(x))),
            "selu" => {
                each!(|x| SELU_SCALE * fma::<S>(SELU_ALPHA, exp_m1::<S>(negative(x)), positive(x)))
            }
            "silu" => each!(|x| x * sigmoid::<S>(x)),
            "softsign" => each!(|x| x / (1.0 + x.abs())),
            "tanh" => each!(|x| tanh::<S>(x)),
            "sigmoid" => each!(|x| sigmoid::<S>(x)),
            "hardswish" => each!(|x| x * hard_sigmoid(x)),
            "mish" => each!(|x| mish::<S>(x)),
            "leaky_relu" => each!(|x| larger(x, LEAKY_SLOPE * x)),
            "gelu" => each!(|x| math::gelu::<S>(x)),
            "softplus" => each!(|x| positive(x) + softplus_of_minus_abs::<S>(x)),
            "hardsigmoid" => each!(|x| hard_sigmoid(x)),
            "hardtanh" | "clip" => each!(|x| x.clamp(-1.0, 1.0)),
            "tanhshrink" => each!(|x| x - tanh::<S>(x)),
            "rrelu" => each!(|x| larger(x, RRELU_SLOPE * x)),
            "logsigmoid" => each!(|x| negative(x) - softplus_of_minus_abs::<S>(x)),
            "softshrink" => each!(|x| x - x.clamp(-SHRINK, SHRINK)),
            "hardshrink" => each!(|x| if x.abs() <= SHRINK { 0.0 } else { x }),
            "identity" => each!(|x| x),
            "abs" => each!(|x| x.abs()),
            "sin" | "cos" => {
                let quarters = u32::from(name == "cos");
                lanes.iter_mut().for_each(|lane| sines::<S>(lane, quarters));
                each!(|x| x);
            }
            "sign" => each!(|x| sign(x)),
            "signed_log1p" => each!(|x| math::ln_1p::<S>(x.abs()).copysign(x)),
            "bent_identity" => each!(|x| x + 0.5 * (fma::<S>(x, x, 1.0).sqrt() - 1.0)),
            _ => {
                for lane in lanes.iter_mut() {
                    let x = std::mem::replace(lane, ZERO);
                    for sine in &self.activation.sines {
                        let mut wave = x;
                        for row in 0..ROWS {
                            wave[row] = fma::<S>(x[row], sine.frequency, sine.phase);
                        }
                        sines::<S>(&mut wave, 0);
                        for row in 0..ROWS {
                            lane[row] = fma::<S>(sine.amplitude, wave[row], lane[row]);
                        }
                    }
                }
                each!(|x| x);
            }
        }
    }
}

/// Not a number stays so, here and below.
#[inline(always)]
fn positive(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn negative(x: f32) -> f32 {
    if x > 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

#[inline(always)]
fn sign(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0_f32.copysign(x) }
}

#[inline(always)]
fn hard_sigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)
}

/// x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); x itself in f32 beyond 20.
#[inline(always)]
fn mish<S: Simd>(x: f32) -> f32 {
    let e = exp::<S>(if x > 20.0 { 20.0 } else { x });
    let n = e * (e + 2.0);
    x * (n / (n + 2.0))
}
