//! The structural causal model of one table: propagate its rows (PluRel, arXiv 2602.04029).
//!
//! Nodes without parents are given their values; the others decode noise plus an aggregate of
//! their encoded parents and of the encoded columns of referenced rows. The draws of a function
//! depend on the key and its number, those of noise on the key, the node and the row.

use super::aggregate::Aggregation;
use super::block::{ROWS, ZERO};
use super::encoded::{Encoded, scatter};
use super::function::{Function, FunctionSpec};
use super::mlp::Work;
use super::noise::{LEVELS, Noise};
use super::pass::Pass;
use super::random::Key;
use crate::error::{Result, argument};

/// Blocks that go through a node together, so that its functions are read once for all of them.
const BLOCKS: usize = 4;

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
    pub nodes: Vec<Node>,
    /// Noise and decoder of each node whose values are not given.
    pub decoded: Vec<Option<(Noise, usize)>>,
    /// Lanes of the widest layer.
    pub width: usize,
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
        let decoded = nodes.iter().enumerate().map(|(number, node)| {
            let decoder = node.decoder?;
            Some((Noise::new(&node.noise, dim, &key, number), decoder))
        });
        Ok(Model {
            dim,
            functions,
            decoded: decoded.collect(),
            nodes,
            width,
        })
    }

    pub fn num_nodes(&self) -> usize {
        self.nodes.len()
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
        let Some(encoders) = self
            .functions
            .get(first..first.saturating_add(columns.len()))
        else {
            return argument(format!("no encoders from number {first} on"));
        };
        if encoders
            .iter()
            .any(|encoder| matches!(encoder, Function::Decoder(..)))
        {
            return argument(format!(
                "not all functions from number {first} on are encoders"
            ));
        }
        let mut found: [Vec<f32>; 4] = Default::default();
        for &kind in wanted {
            found[kind as usize] = vec![kind.neutral(); (num_rows + 1) * self.dim];
        }
        let mut pass = Pass::new(self, wanted.len());
        for start in (0..num_rows).step_by(ROWS) {
            let rows = start..num_rows.min(start + ROWS);
            pass.encode(encoders, columns, wanted, rows.clone());
            for (place, &kind) in wanted.iter().enumerate() {
                let to = &mut found[kind as usize][start * self.dim..rows.end * self.dim];
                scatter(&pass.totals[place * self.dim..][..self.dim], to);
            }
        }
        Ok(Encoded {
            num_rows,
            dim: self.dim,
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
        let mut pass = Pass::new(self, BLOCKS);
        for start in (0..count).step_by(ROWS * BLOCKS) {
            let rows = start..count.min(start + ROWS * BLOCKS);
            for (number, node) in self.nodes.iter().enumerate() {
                pass.add_parents(node, rows.clone(), values);
                pass.decode(number, rows.clone(), first, values, foreign);
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
            let kinds = self.nodes.iter().filter(|node| node.decoder.is_some());
            if kinds
                .clone()
                .any(|node| encoded.rows(node.aggregation).is_empty())
            {
                return argument("rows were not encoded for all aggregations of the nodes");
            }
            if encoded.dim != self.dim {
                return argument("rows were encoded for a model of another width");
            }
        }
        Ok(())
    }

    /// Noise of `count` rows from row `first` on, row after row: for tests.
    pub fn noise(&self, node: usize, first: usize, count: usize) -> Result<Vec<f32>> {
        let Some(Some((noise, _))) = self.decoded.get(node) else {
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
        if node.decoder.is_none() != node.parents.is_empty() {
            return argument(format!("node {number}: parents and a decoder go together"));
        }
        for &(parent, encoder) in &node.parents {
            if parent >= number || !role(encoder, false) {
                return argument(format!("node {number}: wrong parent or encoder"));
            }
        }
    }
    Ok(())
}
