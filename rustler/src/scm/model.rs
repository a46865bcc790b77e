//! The structural causal model of one table: propagate its rows (PluRel, arXiv 2602.04029).
//!
//! Nodes without parents are given their values; the others decode noise plus an aggregate of
//! their encoded parents and of the encoded columns of referenced rows. The draws of a function
//! depend on the key and its number, those of noise on the key, the node and the row.

use super::aggregate::{Aggregate, Aggregation};
use super::block::{Lane, ROWS, ZERO};
use super::function::{Encoding, Function, FunctionSpec, largest};
use super::mlp::Work;
use super::noise::{LEVELS, Noise};
use super::random::Key;
use crate::error::{Result, argument};

/// Blocks that go through a node together, so that its functions are read once for all of them.
const BLOCKS: usize = 8;

/// A node, in topological order. parents: nodes and the functions that encode them.
pub struct Node {
    pub aggregation: Aggregation,
    pub parents: Vec<(usize, usize)>,
    /// None for a node whose values are given.
    pub decoder: Option<usize>,
    pub noise: Box<[f32; LEVELS]>,
}

/// A drawn model.
pub struct Model {
    pub dim: usize,
    pub functions: Vec<Function>,
    nodes: Vec<Node>,
    noise: Vec<Option<Noise>>,
    width: usize,
}

/// The aggregates of a parent table's encoded columns, row after row, and the neutral element in
/// one row more; by aggregation.
pub struct Encoded {
    pub num_rows: usize,
    pub dim: usize,
    by_aggregation: [Vec<f32>; 4],
}

/// Which encoded row each row references (-1: none).
pub type Foreign<'a> = (&'a Encoded, &'a [i64]);

impl Model {
    /// Draws the functions. Raises `Argument` if a number of a node or function is out of range.
    pub fn new(key: Key, dim: usize, specs: &[FunctionSpec], nodes: Vec<Node>) -> Result<Self> {
        check(dim, specs, &nodes)?;
        let categories = specs.iter().map(|spec| spec.categories).max();
        let width = dim.max(categories.unwrap_or(0)).max(1);
        let mut work = Work::new(width);
        let draw = |(number, spec)| Function::draw(spec, dim, &key, number, &mut work);
        let functions = specs.iter().enumerate().map(draw).collect();
        let noise = |(number, node): (usize, &Node)| {
            let decodes = node.decoder.is_some();
            decodes.then(|| Noise::new(&node.noise, dim, &key, number))
        };
        let noise = nodes.iter().enumerate().map(noise).collect();
        Ok(Model {
            dim,
            functions,
            nodes,
            noise,
            width,
        })
    }

    pub fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    fn encoding(&self) -> Encoding {
        Encoding {
            mlp: Work::new(self.width),
            found: vec![ZERO; self.dim],
        }
    }

    /// Encodes a parent table's columns with the functions from number `first` on.
    pub fn encode(
        &self,
        first: usize,
        columns: &[&[f32]],
        wanted: &[Aggregation],
    ) -> Result<Encoded> {
        let num_rows = columns.first().map_or(0, |column| column.len());
        if columns.iter().any(|column| column.len() != num_rows) {
            return argument("the columns of a parent table differ in length");
        }
        let encoders = self.functions.get(first..first + columns.len());
        let Some(encoders) = encoders else {
            return argument(format!("no encoders from number {first} on"));
        };
        let dim = self.dim;
        let mut work = self.encoding();
        let mut totals = vec![vec![ZERO; dim]; wanted.len()];
        let mut sums = vec![vec![ZERO; dim]; wanted.len()];
        let mut found: [Vec<f32>; 4] = Default::default();
        for &kind in wanted {
            found[kind as usize] = vec![kind.neutral(); (num_rows + 1) * dim];
        }
        for start in (0..num_rows).step_by(ROWS) {
            let count = ROWS.min(num_rows - start);
            for (number, (encoder, column)) in encoders.iter().zip(columns).enumerate() {
                let mut values = ZERO;
                values[..count].copy_from_slice(&column[start..start + count]);
                let term = encoder.encode(&values, &mut work);
                for (place, &kind) in wanted.iter().enumerate() {
                    let mut aggregate = Aggregate {
                        kind,
                        total: &mut totals[place],
                        sums: &mut sums[place],
                    };
                    if number == 0 {
                        aggregate.start();
                    }
                    let mean = kind == Aggregation::Sum;
                    aggregate.add(
                        term,
                        if mean {
                            1.0 / columns.len() as f32
                        } else {
                            1.0
                        },
                    );
                    if number + 1 == columns.len() {
                        aggregate.finish();
                        let rows = &mut found[kind as usize][start * dim..];
                        scatter(&totals[place], &mut rows[..count * dim]);
                    }
                }
            }
        }
        Ok(Encoded {
            num_rows,
            dim,
            by_aggregation: found,
        })
    }

    /// The values of all nodes for `count` rows from row `first` of the table on, which must be a
    /// multiple of `ROWS`; `values` holds those of given nodes, and gets the others.
    pub fn propagate(
        &self,
        first: usize,
        count: usize,
        values: &mut [Vec<f32>],
        foreign: &[Foreign],
    ) -> Result<()> {
        self.check_rows(first, count, values, foreign)?;
        let mut work = self.encoding();
        let mut noise = vec![ZERO; self.dim];
        let mut gathered = vec![ZERO; self.dim];
        let mut totals = vec![ZERO; self.dim * BLOCKS];
        let mut sums = vec![ZERO; self.dim * BLOCKS];
        for start in (0..count).step_by(ROWS * BLOCKS) {
            let end = count.min(start + ROWS * BLOCKS);
            for (number, node) in self.nodes.iter().enumerate() {
                let (Some(decoder), Some(source)) = (node.decoder, &self.noise[number]) else {
                    continue;
                };
                let aggregates = totals
                    .chunks_exact_mut(self.dim)
                    .zip(sums.chunks_exact_mut(self.dim));
                let blocks = (start..end).step_by(ROWS);
                let mut aggregates: Vec<(usize, Aggregate)> = blocks
                    .zip(aggregates)
                    .map(|(row, (total, sums))| {
                        let kind = node.aggregation;
                        (row, Aggregate { kind, total, sums })
                    })
                    .collect();
                for (_, aggregate) in &mut aggregates {
                    aggregate.start();
                }
                for &(parent, encoder) in &node.parents {
                    for (row, aggregate) in &mut aggregates {
                        let input = lane_at(&values[parent], *row);
                        let term = self.functions[encoder].encode(&input, &mut work);
                        aggregate.add(term, 1.0);
                    }
                }
                let Function::Decoder(mlp, categories) = &self.functions[decoder] else {
                    continue;
                };
                for (row, aggregate) in &mut aggregates {
                    for (encoded, links) in foreign {
                        let end = count.min(*row + ROWS);
                        encoded.gather(node.aggregation, &links[*row..end], &mut gathered);
                        aggregate.join(&gathered);
                    }
                    aggregate.finish();
                    source.fill((first + *row) / ROWS, &mut noise);
                    for (noise, total) in noise.iter_mut().zip(aggregate.total.iter()) {
                        for row in 0..ROWS {
                            noise[row] += total[row];
                        }
                    }
                    let outputs = mlp.evaluate(&noise, &mut work.mlp);
                    let found = if *categories == 0 {
                        outputs[0]
                    } else {
                        largest(outputs)
                    };
                    let to = &mut values[number][*row..count.min(*row + ROWS)];
                    to.copy_from_slice(&found[..to.len()]);
                }
            }
        }
        Ok(())
    }

    fn check_rows(
        &self,
        first: usize,
        count: usize,
        values: &mut [Vec<f32>],
        foreign: &[Foreign],
    ) -> Result<()> {
        if !first.is_multiple_of(ROWS) {
            return argument(format!("the first row, {first}, is no multiple of {ROWS}"));
        }
        if values.len() != self.nodes.len() {
            return argument(format!(
                "values of {} nodes, not {}",
                values.len(),
                self.nodes.len()
            ));
        }
        for (number, (node, values)) in self.nodes.iter().zip(values).enumerate() {
            if node.decoder.is_some() {
                values.resize(count, 0.0);
            } else if values.len() != count {
                return argument(format!(
                    "node {number}: {} values for {count} rows",
                    values.len()
                ));
            }
        }
        for (encoded, links) in foreign {
            let rows = encoded.num_rows as i64;
            if links.len() != count || links.iter().any(|link| !(-1..rows).contains(link)) {
                return argument(format!(
                    "links must be {count} numbers from -1 to {}",
                    rows - 1
                ));
            }
            if encoded.dim != self.dim {
                return argument("rows were encoded for a model of another width");
            }
        }
        Ok(())
    }

    /// Noise of `count` rows from row `first` on, row after row: for tests.
    pub fn noise(&self, node: usize, first: usize, count: usize) -> Result<Vec<f32>> {
        let Some(Some(noise)) = self.noise.get(node) else {
            return argument(format!("node {node} has no noise"));
        };
        let mut lanes = vec![ZERO; self.dim];
        let mut rows = vec![0.0; count * self.dim];
        for start in (0..count).step_by(ROWS) {
            noise.fill((first + start) / ROWS, &mut lanes);
            let end = count.min(start + ROWS);
            scatter(&lanes, &mut rows[start * self.dim..end * self.dim]);
        }
        Ok(rows)
    }
}

fn check(dim: usize, specs: &[FunctionSpec], nodes: &[Node]) -> Result<()> {
    if dim == 0 || specs.iter().any(|spec| spec.layers.is_empty()) {
        return argument("embeddings need a component, and functions a layer");
    }
    let role = |number: usize, decodes: bool| {
        specs
            .get(number)
            .is_some_and(|spec| spec.decodes == decodes)
    };
    for (number, node) in nodes.iter().enumerate() {
        if node.decoder.is_some_and(|decoder| !role(decoder, true)) {
            return argument(format!("node {number}: its decoder is none"));
        }
        for &(parent, encoder) in &node.parents {
            if parent >= number || !role(encoder, false) {
                return argument(format!("node {number}: wrong parent or encoder"));
            }
        }
    }
    Ok(())
}

impl Encoded {
    fn gather(&self, kind: Aggregation, links: &[i64], to: &mut [Lane]) {
        let rows = &self.by_aggregation[kind as usize];
        for (place, &link) in links.iter().enumerate() {
            let row = if link < 0 {
                self.num_rows
            } else {
                link as usize
            };
            let row = &rows[row * self.dim..][..self.dim];
            for (lane, &value) in to.iter_mut().zip(row) {
                lane[place] = value;
            }
        }
    }
}

/// A block's values from row `start` on, zeros beyond the end.
fn lane_at(values: &[f32], start: usize) -> Lane {
    let rest = &values[start..];
    let mut lane = ZERO;
    let count = rest.len().min(ROWS);
    lane[..count].copy_from_slice(&rest[..count]);
    lane
}

/// Lanes -> rows.
fn scatter(lanes: &[Lane], rows: &mut [f32]) {
    for (place, row) in rows.chunks_exact_mut(lanes.len()).enumerate() {
        for (value, lane) in row.iter_mut().zip(lanes) {
            *value = lane[place];
        }
    }
}
