//! One context: which rows and cells a target sees.
//!
//! Rows enter one after the other, each once, with their visible cells in order of columns, until
//! the budget of cells is full. The target's own row is first. When a row has more cells than
//! remain, the first ones in order of columns enter; in the target's row a place is kept for the
//! target cell, whatever its column. Rows without a cell enter too, at most as many rows in all
//! as the budget has cells, so that chains of rows without cells end.

use crate::breadth::{self, Frontier};
use crate::idmap::IdMap;
use crate::labels::LabelIndex;
use crate::rng::{Name, Stream};
use crate::store::{Arrays, Store};
use crate::task::{Prepared, Role};
use crate::visibility::Target;

/// How a context is put together. Later recipes have named parts with budgets of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recipe {
    /// The target's row, its ancestors, and its neighbourhood breadth-first, as published with the
    /// Relational Transformer (arXiv 2510.06377): `breadth::fill`.
    Published { max_bfs_width: usize },
}

/// The target and the data around it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub store: &'a Store,
    pub task: &'a Prepared,
    /// Present if the task has a table of label rows.
    pub labels: Option<&'a LabelIndex>,
    pub row: u32,
    pub cutoff: Option<i64>,
    pub name: Name,
}

/// Sizes of a context.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub recipe: Recipe,
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
    pub cells: Vec<Cell>,
    /// Place of the context's own target in `cells`.
    pub target_cell: usize,
    /// Positions of the parents of row i: parent[parent_ptr[i]..parent_ptr[i + 1]].
    pub parent_ptr: Vec<u32>,
    pub parent: Vec<u32>,
}

/// Memory that is used again for the next context of a thread.
#[derive(Default)]
pub struct Scratch {
    /// Positions of the rows that have entered.
    position: IdMap,
    pub frontier: Frontier,
}

/// A context in the making.
pub struct Builder<'a> {
    pub request: Request<'a>,
    pub arrays: Arrays<'a>,
    pub target: Target,
    pub rng: Stream,
    budget: usize,
    position: &'a mut IdMap,
    context: Context,
}

/// Builds the context of one target: a pure function of the request and the plan.
pub fn build(request: Request, plan: &Plan, scratch: &mut Scratch) -> Context {
    scratch.position.clear();
    let arrays = request.store.arrays();
    let mut builder = Builder {
        target: request
            .task
            .target(request.row, arrays.time(request.row), request.cutoff),
        arrays,
        rng: request.name.stream(),
        budget: plan.budget,
        position: &mut scratch.position,
        context: Context {
            cells: Vec::with_capacity(plan.budget.min(1 << 14)),
            ..Context::default()
        },
        request,
    };
    match plan.recipe {
        Recipe::Published { max_bfs_width } => {
            breadth::fill(&mut builder, &mut scratch.frontier, max_bfs_width);
        }
    }
    builder.finish(plan.extra_target_share)
}

impl Builder<'_> {
    pub fn is_full(&self) -> bool {
        self.context.cells.len() >= self.budget || self.context.rows.len() >= self.budget
    }

    /// May this row be in the context? True for the target's own.
    pub fn sees(&self, row: u32) -> bool {
        row == self.request.row
            || self
                .request
                .task
                .sees(&self.target, row, self.arrays.time(row))
    }

    /// Lets a visible row in. False if it was in already.
    pub fn enter(&mut self, row: u32, depth: u32) -> bool {
        let position = self.context.rows.len() as u32;
        if !self.position.insert(row, position).1 {
            return false;
        }
        self.context.rows.push(row);
        self.context.depth.push(depth);
        if row == self.request.row {
            self.add_target_cells();
        } else {
            self.add_cells(row, position);
        }
        true
    }

    fn add_cells(&mut self, row: u32, position: u32) {
        let (columns, values) = self.arrays.cells(row);
        let meta = &self.request.store.meta;
        let special = match columns {
            [] => return,
            [first, ..] => {
                let table = meta.columns[*first as usize].table as usize;
                self.request.task.special(meta.tables[table].columns())
            }
        };
        let room = self.budget - self.context.cells.len();
        let cells = columns.iter().zip(values).map(|(&column, &bits)| Cell {
            row: position,
            column,
            bits: Some(bits),
            is_target: false,
        });
        if special.is_empty() {
            self.context.cells.extend(cells.take(room));
            return;
        }
        let time = self.arrays.time(row);
        let hidden = self.target.sees_hidden(time);
        let split = self.request.task.split_of(row);
        let label = split.is_some_and(|split| self.target.sees_label(time, split));
        let visible = cells.filter(|cell| match role(special, cell.column) {
            None => true,
            Some(Role::Hidden) => hidden,
            Some(Role::Target) => label,
        });
        self.context.cells.extend(visible.take(room));
    }

    /// The target's row: without hidden columns, and with the target even if it is null.
    fn add_target_cells(&mut self) {
        let (row, task) = (self.request.row, self.request.task);
        let (columns, values) = self.arrays.cells(row);
        let special = task.special(0..u32::MAX);
        let cells = &mut self.context.cells;
        let visible = columns
            .iter()
            .zip(values)
            .filter(|(column, _)| role(special, **column).is_none())
            .map(|(&column, &bits)| Cell {
                row: 0,
                column,
                bits: Some(bits),
                is_target: false,
            });
        cells.extend(visible.take(self.budget - 1));
        let place = cells.partition_point(|c| c.column < task.task.column);
        let target = Cell {
            row: 0,
            column: task.task.column,
            bits: self.arrays.cell(row, task.task.column),
            is_target: true,
        };
        cells.insert(place, target);
        self.context.target_cell = place;
    }

    /// Links parents and draws further targets.
    fn finish(mut self, extra_target_share: (f64, f64)) -> Context {
        self.link_parents();
        if extra_target_share.1 > 0.0 {
            self.mark_extra_targets(extra_target_share);
        }
        self.context
    }

    fn link_parents(&mut self) {
        let context = &mut self.context;
        context.parent_ptr.push(0);
        for &row in &context.rows {
            let parents = self.arrays.parents(row).iter();
            context
                .parent
                .extend(parents.filter_map(|&p| self.position.get(p)));
            context.parent_ptr.push(context.parent.len() as u32);
        }
    }

    fn mark_extra_targets(&mut self, (low, high): (f64, f64)) {
        use crate::meta::SemanticType::Text;
        let mut rng = self.request.name.extra_targets();
        let share = low + (high - low) * rng.unit();
        for cell in &mut self.context.cells {
            if self.request.store.types[cell.column as usize] != Text && rng.unit() < share {
                cell.is_target = true;
            }
        }
    }
}

/// The role of a column, if it is a special one. There are few, so they are tried one by one.
fn role(special: &[(u32, Role)], column: u32) -> Option<Role> {
    special
        .iter()
        .find(|(c, _)| *c == column)
        .map(|&(_, role)| role)
}
