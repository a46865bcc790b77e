//! Random weight matrices [inputs x outputs] and category embeddings.
//!
//! The rules are those of torch.nn.init called on the [in x out] matrix: torch takes the second
//! dimension as fan-in and the first as fan-out.

use super::random::Draw;

/// The names of the rules, in the order of their codes.
pub const INITIALIZERS: [&str; 6] = [
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "trunc_normal",
    "sparse",
];
const TRUNCATED_AT: f32 = 2.0;
const SPARSE_STD: f32 = 0.01;

/// A dense matrix, output after output: what one output takes from the inputs stands together.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub inputs: usize,
    pub outputs: usize,
    pub values: Vec<f32>,
}

impl Matrix {
    /// Followed by the transposed of `other`, whose inputs stand for further outputs.
    pub fn times_transposed(&self, other: &Matrix) -> Matrix {
        let mut values = vec![0.0; self.inputs * other.inputs];
        for (middle, weights) in self.values.chunks_exact(self.inputs).enumerate() {
            for (output, sums) in values.chunks_exact_mut(self.inputs).enumerate() {
                let factor = other.values[middle * other.inputs + output];
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += factor * weight;
                }
            }
        }
        Matrix {
            inputs: self.inputs,
            outputs: other.inputs,
            values,
        }
    }

    pub fn scale(&mut self, factor: f32) {
        for value in &mut self.values {
            *value *= factor;
        }
    }
}

/// A matrix by the rule with code `initializer`.
pub fn draw_matrix(inputs: usize, outputs: usize, initializer: u8, draw: &mut Draw) -> Matrix {
    let mut values = vec![0.0; inputs * outputs];
    let kaiming = (2.0 / outputs as f32).sqrt();
    let xavier = (2.0 / (inputs + outputs) as f32).sqrt();
    match INITIALIZERS[initializer as usize] {
        "kaiming_normal" => normal(&mut values, kaiming, draw),
        "kaiming_uniform" => uniform(&mut values, kaiming, draw),
        "xavier_normal" => normal(&mut values, xavier, draw),
        "xavier_uniform" => uniform(&mut values, xavier, draw),
        "trunc_normal" => truncated(&mut values, draw),
        _ => {
            normal(&mut values, SPARSE_STD, draw);
            zero_half(&mut values, inputs, draw);
        }
    }
    Matrix {
        inputs,
        outputs,
        values,
    }
}

fn normal(values: &mut [f32], deviation: f32, draw: &mut Draw) {
    draw.normals(values);
    for value in values {
        *value *= deviation;
    }
}

fn uniform(values: &mut [f32], deviation: f32, draw: &mut Draw) {
    let width = 12.0_f32.sqrt() * deviation;
    draw.units(values);
    for value in values {
        *value = (*value - 0.5) * width;
    }
}

/// Standard normal; what lies beyond +-2 is drawn again.
fn truncated(values: &mut [f32], draw: &mut Draw) {
    let mut spare = [0.0; 64];
    let mut used = spare.len();
    draw.normals(values);
    for value in values {
        while value.abs() > TRUNCATED_AT {
            if used == spare.len() {
                draw.normals(&mut spare);
                used = 0;
            }
            *value = spare[used];
            used += 1;
        }
    }
}

/// For each output zeroes half of the inputs, rounded up: a matrix of one input is all zero.
fn zero_half(values: &mut [f32], inputs: usize, draw: &mut Draw) {
    let mut order: Vec<usize> = (0..inputs).collect();
    for weights in values.chunks_exact_mut(inputs) {
        for i in 0..inputs.div_ceil(2) {
            order.swap(i, i + draw.below(inputs - i));
            weights[order[i]] = 0.0;
        }
    }
}

/// Keeps each weight with probability `density`, to 16 bits, and divides by it.
pub fn mask(matrix: &mut Matrix, density: f32, draw: &mut Draw) {
    if density >= 1.0 {
        return;
    }
    let kept = (density * 65_536.0) as u32;
    let factor = 1.0 / density;
    let mut bits = [0; 128];
    for part in matrix.values.chunks_mut(64) {
        draw.fill(&mut bits);
        for (value, pair) in part.iter_mut().zip(bits.chunks_exact(2)) {
            let level = u32::from(u16::from_le_bytes([pair[0], pair[1]]));
            *value = if level < kept { *value * factor } else { 0.0 };
        }
    }
}
