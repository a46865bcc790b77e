//! Encoders and decoders: what an edge and a node of a structural causal model compute.

use super::aggregate::Term;
use super::block::{Lane, ROWS, ZERO};
use super::mlp::{LayerSpec, Mlp, Work};
use super::random::{Draw, Key, Purpose};
use super::weights::{Matrix, draw_matrix};

/// How one function is drawn. categories: 0 for numbers.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    pub decodes: bool,
    pub categories: usize,
    /// Factor of an encoder's output: the weight of its edge.
    pub weight: f32,
    /// Rule of a function's category embeddings.
    pub embedding: u8,
    pub layers: Vec<LayerSpec>,
}

/// A drawn function of a table whose embeddings have d components.
pub enum Function {
    /// Numbers -> embeddings.
    Encoder(Mlp),
    /// Embeddings that don't depend on the number.
    Constant(Vec<f32>),
    /// The embeddings of the categories, looked up.
    Table(Table),
    /// Embeddings -> numbers, or the first of the categories with the largest output.
    Decoder(Mlp, usize),
}

/// Embeddings of categories: values[component * stride + category], stride a power of two.
pub struct Table {
    pub categories: usize,
    pub stride: usize,
    pub values: Vec<f32>,
}

/// Categories of most tables fit in.
const SMALL: usize = 16;

impl Function {
    pub fn draw(
        spec: &FunctionSpec,
        dim: usize,
        key: &Key,
        number: usize,
        work: &mut Work,
    ) -> Self {
        let mut draw = Draw::new(key, Purpose::Function, number);
        let categories = spec.categories;
        // a row a category, so that categories are its inputs
        let embeddings = |draw: &mut Draw| draw_matrix(categories, dim, spec.embedding, draw);
        if spec.decodes {
            let outputs = if categories == 0 { 1 } else { dim };
            let shape = [dim, dim, outputs];
            let mlp = Mlp::draw(shape, &spec.layers, &mut draw, |last, draw| {
                if categories == 0 {
                    last
                } else {
                    last.times_transposed(&embeddings(draw))
                }
            });
            return Function::Decoder(mlp, categories);
        }
        let inputs = if categories == 0 { 1 } else { dim };
        let mlp = Mlp::draw(
            [inputs, dim, dim],
            &spec.layers,
            &mut draw,
            |mut last, _| {
                last.scale(spec.weight);
                last
            },
        );
        if categories > 0 {
            let embeddings = embeddings(&mut draw);
            return Function::Table(Table::new(&mlp, &embeddings, work));
        }
        if mlp.is_constant() {
            let outputs = mlp.evaluate(&[ZERO], work);
            return Function::Constant(outputs.iter().map(|lane| lane[0]).collect());
        }
        Function::Encoder(mlp)
    }

    /// The embeddings of a block's values; numbers and codes alike are f32.
    pub fn encode<'a>(&'a self, values: &Lane, work: &'a mut Encoding) -> Term<'a> {
        match self {
            Function::Encoder(mlp) | Function::Decoder(mlp, _) => {
                Term::Lanes(mlp.evaluate(std::slice::from_ref(values), &mut work.mlp))
            }
            Function::Constant(components) => Term::Constant(components),
            Function::Table(table) => {
                table.look_up(values, &mut work.found);
                Term::Lanes(&work.found)
            }
        }
    }
}

/// Buffers of an encoder.
pub struct Encoding {
    pub mlp: Work,
    pub found: Vec<Lane>,
}

impl Table {
    fn new(mlp: &Mlp, embeddings: &Matrix, work: &mut Work) -> Self {
        let categories = embeddings.inputs;
        let stride = categories.next_power_of_two().max(SMALL);
        let dim = embeddings.outputs;
        let mut values = vec![0.0; dim * stride];
        let mut input = vec![ZERO; dim];
        for first in (0..categories).step_by(ROWS) {
            let count = ROWS.min(categories - first);
            for (lane, codes) in input
                .iter_mut()
                .zip(embeddings.values.chunks_exact(categories))
            {
                lane[..count].copy_from_slice(&codes[first..first + count]);
            }
            for (component, lane) in mlp.evaluate(&input, work).iter().enumerate() {
                values[component * stride + first..][..count].copy_from_slice(&lane[..count]);
            }
        }
        Table {
            categories,
            stride,
            values,
        }
    }

    fn look_up(&self, codes: &Lane, to: &mut [Lane]) {
        let last = self.categories - 1;
        let codes = codes.map(|code| (code as usize).min(last));
        let tables = self.values.chunks_exact(self.stride);
        for (lane, table) in to.iter_mut().zip(tables) {
            if let Ok(table) = <&[f32; SMALL]>::try_from(table) {
                for row in 0..ROWS {
                    lane[row] = table[codes[row] & (SMALL - 1)];
                }
            } else {
                for row in 0..ROWS {
                    lane[row] = table[codes[row]];
                }
            }
        }
    }
}

/// The number of the first lane with the largest value, row by row.
pub fn largest(lanes: &[Lane]) -> Lane {
    let mut best = lanes[0];
    let mut codes = ZERO;
    for (category, lane) in lanes.iter().enumerate().skip(1) {
        for row in 0..ROWS {
            if lane[row] > best[row] {
                best[row] = lane[row];
                codes[row] = category as f32;
            }
        }
    }
    codes
}
