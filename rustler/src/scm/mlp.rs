//! Multi-layer perceptrons without biases: x W1 -> activation -> ... -> W_last.

use super::activation::{ACTIVATIONS, Activation, RANDOM_SINES, Sine};
use super::block::{Lane, ZERO};
use super::math::fma;
use super::random::Draw;
use super::weights::{Matrix, draw_matrix, mask};
use crate::kernels::simd::{Kernel, Simd, dispatch};

/// How one layer is drawn. The activation is none exactly for the last.
#[derive(Clone, Copy, Debug)]
pub struct LayerSpec {
    pub initializer: u8,
    pub density: f32,
    pub activation: Option<(u8, f32)>,
}

/// A weight that is not zero and the number of its input.
#[derive(Clone, Copy, Debug)]
struct Weight {
    input: u32,
    value: f32,
}

/// A sparse matrix by outputs, and what follows it.
#[derive(Clone, Debug)]
pub struct Layer {
    inputs: usize,
    starts: Vec<u32>,
    weights: Vec<Weight>,
    pub activation: Option<Activation>,
}

#[derive(Clone, Debug)]
pub struct Mlp {
    pub layers: Vec<Layer>,
}

/// Two buffers for the values between layers, as wide as the widest layer.
pub struct Work {
    buffers: [Vec<Lane>; 2],
}

impl Work {
    pub fn new(width: usize) -> Self {
        Work {
            buffers: [vec![ZERO; width], vec![ZERO; width]],
        }
    }
}

impl Layer {
    fn new(matrix: &Matrix, activation: Option<Activation>) -> Self {
        let mut starts = Vec::with_capacity(matrix.outputs + 1);
        let nothing = Weight {
            input: 0,
            value: 0.0,
        };
        let mut weights = vec![nothing; matrix.values.len() + 1];
        let mut end = 0;
        starts.push(0);
        for values in matrix.values.chunks_exact(matrix.inputs) {
            for (input, &value) in values.iter().enumerate() {
                let input = input as u32;
                // written always, kept if not zero: no branch to guess
                weights[end] = Weight { input, value };
                end += usize::from(value != 0.0);
            }
            starts.push(end as u32);
        }
        weights.truncate(end);
        weights.shrink_to_fit();
        Layer {
            inputs: matrix.inputs,
            starts,
            weights,
            activation,
        }
    }

    pub fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    /// The matrix, dense.
    pub fn matrix(&self) -> Matrix {
        let outputs = self.outputs();
        let mut values = vec![0.0; self.inputs * outputs];
        for (range, values) in self
            .starts
            .windows(2)
            .zip(values.chunks_exact_mut(self.inputs))
        {
            for weight in &self.weights[range[0] as usize..range[1] as usize] {
                values[weight.input as usize] = weight.value;
            }
        }
        Matrix {
            inputs: self.inputs,
            outputs,
            values,
        }
    }
}

impl Mlp {
    /// Draws an MLP [inputs] -> [outputs] with hidden layers `hidden` wide; its last matrix is
    /// changed by `finish` (folding an edge's weight or the categories of a decoder into it).
    pub fn draw(
        shape: [usize; 3],
        specs: &[LayerSpec],
        draw: &mut Draw,
        finish: impl FnOnce(Matrix, &mut Draw) -> Matrix,
    ) -> Self {
        let [inputs, hidden, outputs] = shape;
        let mut finish = Some(finish);
        let mut layers = Vec::with_capacity(specs.len());
        for (number, spec) in specs.iter().enumerate() {
            let from = if number == 0 { inputs } else { hidden };
            let last = number + 1 == specs.len();
            let to = if last { outputs } else { hidden };
            let mut matrix = draw_matrix(from, to, spec.initializer, draw);
            mask(&mut matrix, spec.density, draw);
            if last && let Some(finish) = finish.take() {
                matrix = finish(matrix, draw);
            }
            let activation = spec.activation.map(|(code, scale)| Activation {
                code,
                scale,
                sines: draw_sines(code, draw),
            });
            layers.push(Layer::new(&matrix, activation));
        }
        Mlp { layers }
    }

    /// Whether the input makes no difference: a sparse 1 x d matrix is all zero.
    pub fn is_constant(&self) -> bool {
        self.layers[0].weights.is_empty()
    }

    /// The outputs of one block.
    pub fn evaluate<'a>(&self, input: &[Lane], work: &'a mut Work) -> &'a [Lane] {
        let [a, b] = &mut work.buffers;
        let (mut from, mut to) = (&mut a[..], &mut b[..]);
        for (number, layer) in self.layers.iter().enumerate() {
            dispatch(Multiply {
                layer,
                input: if number == 0 { input } else { &*from },
                to: &mut *to,
            });
            if let Some(activation) = &layer.activation {
                activation.apply(&mut to[..layer.outputs()]);
            }
            std::mem::swap(&mut from, &mut to);
        }
        let outputs = self.layers[self.layers.len() - 1].outputs();
        &from[..outputs]
    }
}

/// 3 to 7 sines: amplitudes N(0, 1), frequencies log-uniform in [0.1, 10], phases uniform.
fn draw_sines(code: u8, draw: &mut Draw) -> Vec<Sine> {
    if ACTIVATIONS[code as usize] != RANDOM_SINES {
        return Vec::new();
    }
    let count = 3 + draw.below(5);
    let mut sines = Vec::with_capacity(count);
    for _ in 0..count {
        sines.push(Sine {
            amplitude: draw.normal(),
            frequency: 10.0_f32.powf(2.0 * draw.unit() - 1.0),
            phase: std::f32::consts::TAU * draw.unit(),
        });
    }
    sines
}

struct Multiply<'a> {
    layer: &'a Layer,
    input: &'a [Lane],
    to: &'a mut [Lane],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let input = &self.input[..self.layer.inputs];
        let ranges = self.layer.starts.windows(2);
        for (to, range) in self.to.iter_mut().zip(ranges) {
            let mut sum = ZERO;
            for weight in &self.layer.weights[range[0] as usize..range[1] as usize] {
                let lane = &input[weight.input as usize];
                for row in 0..sum.len() {
                    sum[row] = fma::<S>(weight.value, lane[row], sum[row]);
                }
            }
            *to = sum;
        }
    }
}
