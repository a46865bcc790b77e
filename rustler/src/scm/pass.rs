//! One pass of rows through a model's nodes.

use std::ops::Range;

use super::aggregate::{Aggregate, Aggregation};
use super::block::{Lane, ROWS, ZERO};
use super::encoded::lane_at;
use super::function::{Encoding, Function, largest};
use super::mlp::Work;
use super::model::{Foreign, Model, Node};

/// Buffers of a pass through a model's nodes.
pub struct Pass<'a> {
    model: &'a Model,
    work: Encoding,
    noise: Vec<Lane>,
    gathered: Vec<Lane>,
    /// Aggregates, `dim` lanes each.
    pub totals: Vec<Lane>,
    sums: Vec<Lane>,
}

impl<'a> Pass<'a> {
    pub fn new(model: &'a Model, aggregates: usize) -> Self {
        let lanes = |count: usize| vec![ZERO; count * model.dim];
        Pass {
            model,
            work: Encoding {
                mlp: Work::new(model.width),
                found: lanes(1),
            },
            noise: lanes(1),
            gathered: lanes(1),
            totals: lanes(aggregates),
            sums: lanes(aggregates),
        }
    }

    /// Leaves in `totals` an aggregate of each wanted kind of one block's encoded columns.
    pub fn encode(
        &mut self,
        encoders: &[Function],
        columns: &[&[f32]],
        wanted: &[Aggregation],
        rows: Range<usize>,
    ) {
        let dim = self.model.dim;
        let share = 1.0 / columns.len() as f32;
        for (number, (encoder, column)) in encoders.iter().zip(columns).enumerate() {
            let values = lane_at(&column[..rows.end], rows.start);
            let term = encoder.encode(&values, &mut self.work);
            let totals = self.totals.chunks_exact_mut(dim);
            let buffers = totals.zip(self.sums.chunks_exact_mut(dim));
            for (&kind, (total, sums)) in wanted.iter().zip(buffers) {
                let mut aggregate = Aggregate { kind, total, sums };
                if number == 0 {
                    aggregate.start();
                }
                let mean = kind == Aggregation::Sum;
                aggregate.add(term, if mean { share } else { 1.0 });
                if number + 1 == columns.len() {
                    aggregate.finish();
                }
            }
        }
    }

    /// The running aggregates of the blocks of `rows`, each with its first row.
    fn aggregates<'b>(
        dim: usize,
        kind: Aggregation,
        rows: Range<usize>,
        totals: &'b mut [Lane],
        sums: &'b mut [Lane],
    ) -> impl Iterator<Item = (usize, Aggregate<'b>)> {
        let buffers = totals.chunks_exact_mut(dim).zip(sums.chunks_exact_mut(dim));
        rows.step_by(ROWS)
            .zip(buffers)
            .map(move |(row, (total, sums))| (row, Aggregate { kind, total, sums }))
    }

    /// Leaves in `totals` and `sums` the running aggregates of a node's parents.
    pub fn add_parents(&mut self, node: &Node, rows: Range<usize>, values: &[Vec<f32>]) {
        let (dim, kind) = (self.model.dim, node.aggregation);
        for (number, &(parent, encoder)) in node.parents.iter().enumerate() {
            let encoder = &self.model.functions[encoder];
            let (totals, sums) = (&mut self.totals, &mut self.sums);
            for (row, mut aggregate) in Self::aggregates(dim, kind, rows.clone(), totals, sums) {
                if number == 0 {
                    aggregate.start();
                }
                let input = lane_at(&values[parent], row);
                aggregate.add(encoder.encode(&input, &mut self.work), 1.0);
            }
        }
    }

    /// Adds what referenced rows give and the noise, and decodes.
    pub fn decode(
        &mut self,
        number: usize,
        rows: Range<usize>,
        first: usize,
        values: &mut [Vec<f32>],
        foreign: &[Foreign],
    ) {
        let (dim, kind) = (self.model.dim, self.model.nodes[number].aggregation);
        let Some((source, decoder)) = &self.model.decoded[number] else {
            return;
        };
        let Function::Decoder(mlp, categories) = &self.model.functions[*decoder] else {
            return;
        };
        let (totals, sums) = (&mut self.totals, &mut self.sums);
        for (row, mut aggregate) in Self::aggregates(dim, kind, rows.clone(), totals, sums) {
            let block = row..rows.end.min(row + ROWS);
            for (encoded, links) in foreign {
                encoded.gather(kind, &links[block.clone()], &mut self.gathered);
                aggregate.join(&self.gathered);
            }
            aggregate.finish();
            source.fill((first + row) / ROWS, &mut self.noise);
            for (noise, total) in self.noise.iter_mut().zip(aggregate.total.iter()) {
                for row in 0..ROWS {
                    noise[row] += total[row];
                }
            }
            let outputs = mlp.evaluate(&self.noise, &mut self.work.mlp);
            let found = match categories {
                0 => outputs[0],
                _ => largest(outputs),
            };
            let to = &mut values[number][block];
            to.copy_from_slice(&found[..to.len()]);
        }
    }
}
