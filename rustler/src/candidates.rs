//! Label rows of other entities, one after the other in the order that a recipe asks for.

use std::ops::Range;

use crate::builder::Builder;
use crate::idmap::IdMap;
use crate::labels::TableIndex;
use crate::recipe::{Order, Parts};
use crate::task::Prepared;
use crate::walks::Walker;

/// Rows tried for each cell of the budget before a context goes without more label rows.
const TRIES_A_CELL: usize = 4;
/// Rows that walks rank for each cell of the budget.
const RANKED_A_CELL: usize = 2;
/// Blocks up to this size are shuffled; in larger ones places are tried at random.
const SHUFFLED: usize = 4096;

/// The rows of a task's table in order of time, rows without a time last.
pub struct RowsInTime<'a> {
    first: u32,
    /// Absent if they stand so in the table.
    order: Option<&'a [u32]>,
}

impl<'a> RowsInTime<'a> {
    pub fn new(task: &Prepared, index: &'a TableIndex) -> Self {
        Self {
            first: task.rows.start,
            order: index.in_time(),
        }
    }

    pub fn row(&self, place: usize) -> u32 {
        match self.order {
            Some(order) => order[place],
            None => self.first + place as u32,
        }
    }
}

/// What is still to come. Places are of `RowsInTime`.
#[derive(Default)]
pub struct Candidates {
    /// Visible parents of the target's row.
    entities: IdMap,
    ranked: Vec<u32>,
    next_ranked: usize,
    /// Places before the current block.
    rest: usize,
    block: Range<usize>,
    by_blocks: bool,
    shuffled: Vec<u32>,
    tried: IdMap,
    tries_left: usize,
}

impl Candidates {
    /// Makes ready for the label rows of one target.
    pub fn start(&mut self, builder: &mut Builder, parts: &Parts, walker: &mut Walker) {
        self.entities.clear();
        for parent in builder.parents(builder.request.row) {
            if builder.sees(parent) {
                self.entities.insert(parent, 0);
            }
        }
        self.ranked.clear();
        self.next_ranked = 0;
        self.shuffled.clear();
        self.tried.clear();
        self.tries_left = TRIES_A_CELL * builder.budget();
        if parts.other_order == Order::Walks {
            let walks = (parts.walks, parts.walk_length);
            walker.rank(
                builder,
                walks,
                RANKED_A_CELL * builder.budget(),
                &mut self.ranked,
            );
        }
        let end = known_end(builder);
        if let (true, Some(told)) = (parts.other_order.is_by_likeness(), builder.request.told) {
            let wanted = |row: u32| !builder.has(row) && !self.is_own(builder, row);
            let ranked = told.nearest.rank(builder, end, (builder.budget(), wanted));
            for (row, alike) in ranked {
                self.ranked.push(row);
                builder.alike.insert(row, alike.to_bits());
            }
        }
        // For a target without a time the latest rows are no better than others.
        let latest = parts.other_order == Order::Recency || parts.other_order.is_by_likeness();
        self.by_blocks = latest && builder.target.has_time();
        (self.rest, self.block) = match self.by_blocks {
            true => (end, end..end),
            false => (0, 0..end),
        };
        self.fill_block(builder);
    }

    /// The next label row that is not in the context; None when there is none, or none was found
    /// among as many as are tried.
    pub fn next(&mut self, builder: &mut Builder) -> Option<u32> {
        while let Some(row) = self.next_row(builder) {
            if !builder.has(row) && builder.knows_label(row) && !self.is_own(builder, row) {
                return Some(row);
            }
        }
        None
    }

    /// Whether a label row has the target's entity. In a database table all rows count as others:
    /// there nearly all may share some parent.
    fn is_own(&self, builder: &Builder, row: u32) -> bool {
        let mut parents = builder.arrays.parents(row);
        builder.request.task.has_label_table
            && parents.any(|parent| self.entities.get(parent).is_some())
    }

    fn next_row(&mut self, builder: &mut Builder) -> Option<u32> {
        if let Some(&row) = self.ranked.get(self.next_ranked) {
            self.next_ranked += 1;
            return Some(row);
        }
        while self.tries_left > 0 {
            self.tries_left -= 1;
            if self.block.len() > SHUFFLED {
                let place = builder.rng.below(self.block.len() as u32);
                if self.tried.insert(place, 0).1 {
                    return Some(rows_in_time(builder).row(self.block.start + place as usize));
                }
                continue;
            }
            if let Some(place) = self.draw_shuffled(builder) {
                return Some(rows_in_time(builder).row(place));
            }
            if !self.by_blocks || self.rest == 0 {
                return None;
            }
            self.fill_block(builder);
        }
        None
    }

    fn draw_shuffled(&mut self, builder: &mut Builder) -> Option<usize> {
        let left = self.shuffled.len();
        if left == 0 {
            return None;
        }
        let place = builder.rng.below(left as u32) as usize;
        Some(self.shuffled.swap_remove(place) as usize)
    }

    /// The next block: the rows of the latest time that is left.
    fn fill_block(&mut self, builder: &Builder) {
        if self.by_blocks {
            let (rows, arrays) = (rows_in_time(builder), builder.arrays);
            let time = |place: usize| arrays.order_in_time(rows.row(place));
            let end = self.rest;
            let start = match end {
                0 => 0,
                _ => {
                    let last = time(end - 1);
                    partition_point(end, |place| time(place) < last)
                }
            };
            (self.rest, self.block) = (start, start..end);
            self.tried.clear();
        }
        self.shuffled.clear();
        if self.block.len() <= SHUFFLED {
            self.shuffled
                .extend(self.block.clone().map(|place| place as u32));
        }
    }
}

fn rows_in_time<'a>(builder: &Builder<'a>) -> RowsInTime<'a> {
    RowsInTime::new(builder.request.task, builder.request.index)
}

/// Places before this one may hold known labels: those whose window has ended, for a target with a
/// time; all, for one without.
fn known_end(builder: &Builder) -> usize {
    let count = builder.request.task.rows.len();
    if !builder.target.has_time() {
        return count;
    }
    let (rows, arrays) = (rows_in_time(builder), builder.arrays);
    partition_point(count, |place| {
        arrays.order_in_time(rows.row(place)) < builder.last_known_rank
    })
}

/// The first place of 0..count where `holds` fails; it must hold before and fail after.
fn partition_point(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
