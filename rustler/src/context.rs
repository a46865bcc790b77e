//! One context: the parts of a recipe, one after the other.
//!
//! Rows enter one after the other, each once, with their visible cells in order of columns, until
//! the budget of cells is full. The target's own row is first. When a row has more cells than
//! remain, the first ones in order of columns enter, but a part with a budget of its own ends before
//! such a row; in the target's row, and in label rows of others, a place is kept for the target's
//! column. Rows without a cell enter too, at most as many
//! rows in all as the budget has cells, so that chains of rows without cells end.

use crate::breadth::{self, Frontier, Search};
use crate::builder::Builder;
use crate::candidates::Candidates;
use crate::children::Children;
use crate::counts::KeyIndex;
use crate::idmap::IdMap;
use crate::labelled;
use crate::labels::TableIndex;
use crate::nodes::Nodes;
use crate::recipe::{Part, Parts};
use crate::rng::Name;
use crate::store::Store;
use crate::task::Prepared;
use crate::telling::{NOT_SAID, Told};
use crate::walks::Walker;

/// `row_origin` of rows that were not reached from another one.
pub const NO_ORIGIN: i32 = -1;

/// The target and the data around it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub store: &'a Store,
    pub children: &'a Children,
    /// Present if children are counted.
    pub keys: Option<&'a KeyIndex>,
    /// Present for recipes with walks.
    pub nodes: &'a Nodes,
    pub task: &'a Prepared,
    pub index: &'a TableIndex,
    /// What the training labels tell; None if the recipe does not ask.
    pub told: Option<&'a Told>,
    /// Whether the recipe asks which columns tell: then label rows say how alike they are.
    pub asks_columns: bool,
    /// Whether rows are compared by weights that are fitted to the training labels.
    pub fits_weights: bool,
    /// Of a new row: a number that no row of the store has.
    pub row: u32,
    /// Present if the store lacks the target's row.
    pub new: Option<NewRow>,
    pub cutoff: Option<i64>,
    pub name: Name,
}

impl Request<'_> {
    /// Of the target's row.
    pub fn time(&self) -> Option<i64> {
        match self.new {
            Some(new) => new.time,
            None => self.store.arrays().time(self.row),
        }
    }
}

/// A row of a table of labels that is not in the store: whose label, and when.
#[derive(Clone, Copy, Debug)]
pub struct NewRow {
    pub entity: u32,
    pub time: Option<i64>,
    /// Bits of the normalised time.
    pub time_value: Option<u32>,
}

/// Sizes of a context.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub parts: Parts,
    /// Most cells, at least 1.
    pub budget: usize,
    /// Bounds of the share of further targets.
    pub extra_target_share: (f64, f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Position of the row in the context.
    pub row: u32,
    pub column: u32,
    /// Bits of the value or text number; None for a target that is null.
    pub bits: Option<u32>,
    pub is_target: bool,
}

/// A context in the numbers of its store.
#[derive(Default)]
pub struct Context {
    pub rows: Vec<u32>,
    pub depth: Vec<u32>,
    /// A `Part` a row.
    pub part: Vec<u8>,
    /// Position of the row that each was reached from, or `NO_ORIGIN`.
    pub origin: Vec<i32>,
    /// How much each label row is like the target (`Nearest::alike`), and how much the most telling
    /// column tells.
    pub alike: Vec<f32>,
    pub told: f32,
    pub cells: Vec<Cell>,
    /// Place of the context's own target in `cells`.
    pub target_cell: usize,
    /// Positions of the parents of row i: parent[parent_ptr[i]..parent_ptr[i + 1]].
    pub parent_ptr: Vec<u32>,
    pub parent: Vec<u32>,
    /// The foreign keys by which row i has visible children are
    /// count_key[count_ptr[i]..count_ptr[i + 1]], and their numbers stand in `count`. All three are
    /// empty if children are not counted.
    pub count_ptr: Vec<u32>,
    pub count_key: Vec<u32>,
    pub count: Vec<u32>,
}

/// Memory that is used again for the next context of a thread.
#[derive(Default)]
pub struct Scratch {
    /// Positions of the rows that have entered.
    position: IdMap,
    frontier: Frontier,
    candidates: Candidates,
    walker: Walker,
}

/// Builds the context of one target: a pure function of the request and the plan.
pub fn build(request: Request, plan: &Plan, scratch: &mut Scratch) -> Context {
    let Scratch {
        position,
        frontier,
        candidates,
        walker,
    } = scratch;
    let mut builder = Builder::new(request, plan, position);
    fill_parts(&mut builder, &plan.parts, frontier, candidates, walker);
    let (alike, told) = match builder.nearest() {
        Some(nearest) => (nearest.alike(&builder), nearest.told()),
        None => (vec![NOT_SAID; builder.rows().len()], 0.0),
    };
    Context {
        alike,
        told,
        ..builder.finish(plan.extra_target_share)
    }
}

/// The parts of a recipe, in their order.
fn fill_parts(
    builder: &mut Builder,
    parts: &Parts,
    frontier: &mut Frontier,
    candidates: &mut Candidates,
    walker: &mut Walker,
) {
    let around_target = Search {
        root: builder.request.row,
        depth: 0,
        part: Part::Neighbour,
        ancestor_part: Part::Ancestor,
        width: parts.width,
        width_per_table: parts.width_per_table,
        parent_levels: parts.parent_levels,
        recency: parts.recency,
        until: u32::MAX,
    };
    let others = parts.with_labels && parts.other_labels > 0.0;
    let own = parts.with_labels && parts.own_labels > 0.0;
    if own || others {
        let ancestors = Search {
            width: 0,
            ..around_target
        };
        builder.set_limit(parts.ancestors);
        breadth::fill(builder, frontier, &ancestors);
        if own {
            builder.set_limit(parts.own_labels);
            labelled::add_own(builder, parts);
        }
        if others {
            builder.set_limit(parts.other_labels);
            candidates.start(builder, parts, walker);
            labelled::add_others(builder, parts, frontier, candidates);
        }
        builder.set_limit(1.0);
    }
    breadth::fill(builder, frontier, &around_target);
    if others && !builder.is_full() {
        labelled::add_others(builder, parts, frontier, candidates);
    }
}
