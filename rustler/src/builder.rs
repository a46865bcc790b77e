//! A context in the making: which rows have entered, and which of their cells.

use std::cell::OnceCell;

use crate::context::{Cell, Context, NO_ORIGIN, NewRow, Plan, Request};
use crate::counts::Viewer;
use crate::idmap::IdMap;
use crate::recipe::Part;
use crate::rng::Stream;
use crate::store::{Arrays, NO_ROW};
use crate::task::Role;
use crate::telling::{Likeness, Nearest};
use crate::visibility::{Target, in_time};

/// Which visible cells of a row enter.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    All,
    /// All of a label row, with a place kept for the label.
    Label,
    /// Of a label row the label, the time and these columns.
    LabelWith(&'a [u32]),
    /// These columns; if there are none, one cell, which what is seen beyond the row can pass.
    Only(&'a [u32]),
}

/// A context in the making.
pub struct Builder<'a> {
    pub request: Request<'a>,
    pub arrays: Arrays<'a>,
    pub target: Target,
    /// Rule 1 for database rows: the last rank of a row that is not later than the bound.
    pub last_rank: u32,
    /// Rule 2: the last rank of a row whose label may be known.
    pub last_known_rank: u32,
    pub rng: Stream,
    /// How much label rows are like the target, and those of which it is known, as bits.
    pub likeness: OnceCell<Likeness>,
    pub alike: IdMap,
    budget: usize,
    /// Cells up to which the part at hand may fill the context; at most the budget.
    limit: usize,
    position: &'a mut IdMap,
    context: Context,
}

impl<'a> Builder<'a> {
    /// An empty context; `position` is memory to use.
    pub fn new(request: Request<'a>, plan: &Plan, position: &'a mut IdMap) -> Self {
        position.clear();
        let arrays = request.store.arrays();
        let target = request
            .task
            .target(request.row, request.time(), request.cutoff);
        Builder {
            last_rank: arrays.last_rank(|time| in_time(Some(time), target.bound())),
            last_known_rank: match target.has_time() {
                true => arrays.last_rank(|time| target.sees_hidden(Some(time))),
                false => u32::MAX,
            },
            target: if plan.parts.with_labels {
                target
            } else {
                target.without_labels()
            },
            arrays,
            rng: request.name.stream(),
            likeness: OnceCell::new(),
            alike: IdMap::default(),
            budget: plan.budget,
            limit: plan.budget,
            position,
            context: Context {
                cells: Vec::with_capacity(plan.budget.min(1 << 14)),
                ..Context::default()
            },
            request,
        }
    }

    /// Whether the part at hand has no room.
    pub fn is_full(&self) -> bool {
        self.context.cells.len() >= self.limit || self.context.rows.len() >= self.budget
    }

    /// Cells that the part at hand may still add.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.context.cells.len())
    }

    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Lets the next part fill a share of the context, from what is there now.
    pub fn set_limit(&mut self, share: f64) {
        let more = (share * self.budget as f64).round() as usize;
        self.limit = self.budget.min(self.context.cells.len() + more);
    }

    /// Calls `work` with room for at most `cells` more cells.
    pub fn with_room(&mut self, cells: usize, work: impl FnOnce(&mut Self)) {
        let limit = self.limit;
        self.limit = limit.min(self.context.cells.len() + cells);
        work(self);
        self.limit = limit;
    }

    /// May this row be in the context? True for the target's own.
    pub fn sees(&self, row: u32) -> bool {
        let task = self.request.task;
        if row == self.request.row {
            return true;
        }
        if row < task.first_label_row && self.target.bound().is_some() {
            return self.arrays.row_rank[row as usize] <= self.last_rank;
        }
        task.sees(&self.target, row, self.arrays.time(row))
    }

    /// The row that is not in the store, if it is this one.
    pub fn new_row(&self, row: u32) -> Option<NewRow> {
        self.request.new.filter(|_| row == self.request.row)
    }

    /// The parents of a row of the store, or of the target's, by the keys that are not hidden.
    pub fn parents(&self, row: u32) -> impl DoubleEndedIterator<Item = u32> + use<'a> {
        let new = self.new_row(row);
        let stored = match new {
            Some(_) => None,
            None => {
                let hidden = self.request.task.hidden_places(row);
                let table = self.arrays.layout.table(row);
                let places = self.arrays.parent_places(table, row).iter().enumerate();
                let there =
                    move |&(place, &row): &(usize, &u32)| row != NO_ROW && !hidden.contains(&place);
                Some(places.filter(there).map(|(_, &row)| row))
            }
        };
        let entity = new.map(|new| new.entity);
        stored.into_iter().flatten().chain(entity)
    }

    /// Is the label of this row of the target's table there and known, and not the target itself?
    pub fn knows_label(&self, row: u32) -> bool {
        if row == self.request.row {
            return false;
        }
        let task = self.request.task;
        let time = self.arrays.time(row);
        task.sees(&self.target, row, time)
            && task
                .split_of(row)
                .is_some_and(|split| self.target.sees_label(time, split))
            && self.arrays.cell(row, task.task.column).is_some()
    }

    pub fn has(&self, row: u32) -> bool {
        self.position.get(row).is_some()
    }

    /// Lets a visible row in, reached from `from`, unless it is in already. A row that was reached
    /// from none is given itself, and its depth.
    ///
    /// A row that has more cells than a part may still fill ends the part; at the end of the
    /// context its first cells come.
    pub fn enter(&mut self, row: u32, depth: u32, from: u32, part: Part) {
        let may_end = self.limit < self.budget && row != self.request.row;
        if may_end && self.shown_cells(row) > self.room() {
            if !self.has(row) {
                self.limit = self.context.cells.len();
            }
            return;
        }
        let Some(position) = self.place(row, depth, from, part) else {
            return;
        };
        if row == self.request.row {
            self.add_target_cells();
        } else {
            self.add_cells(row, position, Shown::All);
        }
    }

    /// Lets a visible row in that is not the target's, with some of its cells, as far as there is
    /// room.
    pub fn enter_some(&mut self, row: u32, from: u32, part: Part, shown: Shown) {
        if let Some(position) = self.place(row, 1, from, part) {
            self.add_cells(row, position, shown);
        }
    }

    /// How many cells of a row are shown: what is hidden does not decide what fits.
    fn shown_cells(&self, row: u32) -> usize {
        match self.is_shown(row) {
            None => self.arrays.num_cells(row),
            Some(is_shown) => {
                let cells = self.arrays.cells(row);
                cells.filter(|&(column, _)| is_shown(column)).count()
            }
        }
    }

    /// Which columns of a row are shown, None for all.
    fn is_shown(&self, row: u32) -> Option<impl Fn(u32) -> bool + use<'a>> {
        let task = self.request.task;
        let table = self.arrays.layout.table(row);
        let columns = table.first_column..table.first_column + table.fields.len() as u32;
        let special = task.special(columns);
        if special.is_empty() {
            return None;
        }
        let time = self.arrays.time(row);
        let hidden = self.target.sees_hidden(time);
        let split = task.split_of(row);
        let sees_label = split.is_some_and(|split| self.target.sees_label(time, split));
        Some(move |column| match role(special, column) {
            None => true,
            Some(Role::Hidden) => hidden,
            Some(Role::Target) => sees_label,
        })
    }

    fn place(&mut self, row: u32, depth: u32, from: u32, part: Part) -> Option<u32> {
        let position = self.context.rows.len() as u32;
        let (origin, depth) = match self.position.get(from) {
            Some(origin) if from != row => (origin as i32, self.context.depth[origin as usize] + 1),
            _ => (NO_ORIGIN, depth),
        };
        if !self.position.insert(row, position).1 {
            return None;
        }
        let is_target = row == self.request.row;
        let part = if is_target { Part::Target } else { part };
        self.context.rows.push(row);
        self.context.depth.push(depth);
        self.context.part.push(part as u8);
        self.context.origin.push(origin);
        Some(position)
    }

    /// Adds visible cells of a row.
    fn add_cells(&mut self, row: u32, position: u32, shown: Shown) {
        let task = self.request.task;
        let mut room = self.room();
        if let Shown::Only([]) = shown {
            room = room.min(1);
        }
        let cells = self.arrays.cells(row).map(|(column, bits)| Cell {
            row: position,
            column,
            bits: Some(bits),
            is_target: false,
        });
        let asked = |cell: &Cell| match shown {
            Shown::Only(columns) => columns.is_empty() || columns.contains(&cell.column),
            _ => true,
        };
        let cells = cells.filter(asked);
        let Some(is_shown) = self.is_shown(row) else {
            self.context.cells.extend(cells.take(room));
            return;
        };
        let visible = cells.filter(|cell| is_shown(cell.column));
        let some = match shown {
            Shown::All | Shown::Only(_) => {
                self.context.cells.extend(visible.take(room));
                return;
            }
            Shown::Label => None,
            Shown::LabelWith(columns) => Some(columns),
        };
        let target = task.task.column;
        let mut others = room.saturating_sub(1);
        self.context.cells.extend(visible.filter(|cell| {
            if cell.column == target {
                return room > 0;
            }
            let asked = some.is_none_or(|columns| {
                Some(cell.column) == task.time_column || columns.contains(&cell.column)
            });
            let wanted = others > 0 && asked;
            others -= usize::from(wanted);
            wanted
        }));
    }

    /// The target's row: without hidden columns, and with the target even if it is null.
    fn add_target_cells(&mut self) {
        let (row, task) = (self.request.row, self.request.task);
        let special = task.special(0..u32::MAX);
        let new = self.new_row(row);
        let cells = &mut self.context.cells;
        let stored = match new {
            Some(_) => None,
            None => Some(self.arrays.cells(row)),
        };
        let time = new.and_then(|new| task.time_column.zip(new.time_value));
        let visible = stored
            .into_iter()
            .flatten()
            .chain(time)
            .filter(|&(column, _)| role(special, column).is_none())
            .map(|(column, bits)| Cell {
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
            bits: match new {
                Some(_) => None,
                None => self.arrays.cell(row, task.task.column),
            },
            is_target: true,
        };
        cells.insert(place, target);
        self.context.target_cell = place;
    }

    /// What rows are compared by; None if the recipe does not ask.
    pub fn nearest(&self) -> Option<&'a Nearest> {
        let told = self.request.told.filter(|_| self.request.asks_columns);
        told.map(|told| &told.nearest)
    }

    /// The rows that have entered, and the `Part` of each.
    pub fn rows(&self) -> &[u32] {
        &self.context.rows
    }

    pub fn parts(&self) -> &[u8] {
        &self.context.part
    }

    /// Links parents and draws further targets.
    pub fn finish(mut self, extra_target_share: (f64, f64)) -> Context {
        self.link_parents();
        self.count_children();
        if extra_target_share.1 > 0.0 {
            self.mark_extra_targets(extra_target_share);
        }
        self.context
    }

    fn link_parents(&mut self) {
        self.context.parent_ptr.push(0);
        for place in 0..self.context.rows.len() {
            let parents = self.parents(self.context.rows[place]);
            let context = &mut self.context;
            context
                .parent
                .extend(parents.filter_map(|p| self.position.get(p)));
            context.parent_ptr.push(context.parent.len() as u32);
        }
    }

    fn count_children(&mut self) {
        let Some(keys) = self.request.keys else {
            return;
        };
        let viewer = Viewer {
            task: self.request.task,
            target: self.target,
            row: self.request.row,
            last_rank: self.last_rank,
        };
        let context = &mut self.context;
        context.count_ptr.push(0);
        for &row in &context.rows {
            let stored = self.request.new.is_none() || row != self.request.row;
            if stored {
                keys.count(&self.arrays, row, &viewer, |key, count| {
                    context.count_key.push(key);
                    context.count.push(count);
                });
            }
            context.count_ptr.push(context.count.len() as u32);
        }
    }

    fn mark_extra_targets(&mut self, (low, high): (f64, f64)) {
        use crate::meta::SemanticType::Text;
        let mut rng = self.request.name.extra_targets();
        let share = low + (high - low) * rng.unit();
        // by which rows were chosen, and how alike they are, would give such a cell away
        let nearest = self.nearest();
        let (task, meta) = (self.request.task, &self.request.store.meta);
        let told = |column: u32| nearest.is_some_and(|n| n.compares(column, task, meta));
        for cell in &mut self.context.cells {
            let text = self.request.store.types[cell.column as usize] == Text;
            if !text && rng.unit() < share && !told(cell.column) {
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
