//! The label rows that are most like the target in what tells of labels.
//!
//! Each row of the task's table has a code of one byte for each of the most telling columns and
//! facts: where a number stands among those of the training labels, or which text it is. Rows are
//! compared by these, each weighing as much as it tells: nearest neighbours, as far as labels are
//! known, for the model to make its answer of.

use std::ops::Range;

use super::Labels;
use super::columns::{Column, What, comes_with, found_columns};
use crate::builder::Builder;
use crate::candidates::RowsInTime;
use crate::labels::TableIndex;
use crate::meta::SemanticType;
use crate::store::{Arrays, NO_ROW};
use crate::task::Prepared;

/// Columns that are compared.
const COLUMNS: usize = 12;
/// Rows that have codes, the latest of the table.
const CODED: usize = 1_000_000;
/// Rows that are compared with a target, the latest ones that may be known.
const LOOKED_AT: usize = 4096;
/// Codes that number as alike as a number this far away is not alike at all.
const FAR: f32 = 48.0;
/// The code of a cell that is not there; others begin at 1.
const MISSING: u8 = 0;
const CODES: usize = 256;

/// The codes of a task's rows.
#[derive(Default)]
pub struct Nearest {
    columns: Vec<Coded>,
    /// Places in order of time (`RowsInTime`) that have codes.
    places: Range<usize>,
    /// A code a column for each of these.
    codes: Vec<u8>,
}

/// A telling column, and how its cells become codes.
struct Coded {
    column: Column,
    /// The numbers of the training labels' rows, rising; None for texts.
    numbers: Option<Vec<f32>>,
}

impl Coded {
    fn code(&self, bits: Option<u32>) -> u8 {
        let Some(bits) = bits else {
            return MISSING;
        };
        let Some(numbers) = &self.numbers else {
            return 1 + (u64::from(bits).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8 % 255;
        };
        let value = f32::from_bits(bits);
        let below = numbers.partition_point(|number| number.total_cmp(&value).is_lt());
        (1 + below * (CODES - 2) / numbers.len().max(1)) as u8
    }

    /// How much a cell of each code says that a row is like one of this code.
    fn likeness(&self, code: u8) -> [f32; CODES] {
        let mut found = [0.0; CODES];
        if code == MISSING {
            return found;
        }
        for (other, like) in found.iter_mut().enumerate().skip(1) {
            let apart = (other as f32 - f32::from(code)).abs();
            let near = match self.numbers {
                Some(_) => (1.0 - apart / FAR).max(0.0),
                None => f32::from(u8::from(apart == 0.0)),
            };
            *like = self.column.share as f32 * near;
        }
        found
    }
}

impl Nearest {
    pub fn new(
        arrays: &Arrays,
        task: &Prepared,
        (types, index): (&[SemanticType], &TableIndex),
        labels: &Labels,
    ) -> Self {
        let mut columns: Vec<Coded> = Vec::new();
        for column in found_columns(arrays, task, types, labels)
            .into_iter()
            .take(COLUMNS)
        {
            let text = match column.what {
                What::Cell(column) => types[column as usize] == SemanticType::Text,
                What::Fact(_) => false,
            };
            let mut cells: Vec<f32> = match text {
                true => Vec::new(),
                false => {
                    let cell = |row: u32| stored_cell(arrays, task, row, &column);
                    let rows = labels.spread_rows();
                    rows.filter_map(cell).map(f32::from_bits).collect()
                }
            };
            cells.sort_unstable_by(f32::total_cmp);
            let numbers = (!text).then_some(cells);
            columns.push(Coded { column, numbers });
        }
        if columns.is_empty() {
            return Self::default();
        }
        let rows = RowsInTime::new(task, index);
        let places = task.rows.len().saturating_sub(CODED)..task.rows.len();
        let mut codes = Vec::with_capacity(places.len() * columns.len());
        for place in places.clone() {
            let row = rows.row(place);
            let code = |coded: &Coded| coded.code(stored_cell(arrays, task, row, &coded.column));
            codes.extend(columns.iter().map(code));
        }
        Self {
            columns,
            places,
            codes,
        }
    }

    /// Rows at places before `end`, the most alike the target first, of equally alike ones the
    /// later; at most `count`.
    pub fn rank(&self, builder: &Builder, end: usize, count: usize, ranked: &mut Vec<u32>) {
        let width = self.columns.len();
        let end = end.min(self.places.end);
        let first = end.saturating_sub(LOOKED_AT).max(self.places.start);
        if width == 0 || first >= end || count == 0 {
            return;
        }
        let likeness: Vec<[f32; CODES]> = (self.columns.iter())
            .map(|coded| coded.likeness(coded.code(target_cell(builder, &coded.column))))
            .collect();
        let codes = &self.codes[(first - self.places.start) * width..];
        let alike = |codes: &[u8]| -> f32 {
            let each = codes.iter().zip(&likeness);
            each.map(|(&code, like)| like[usize::from(code)]).sum()
        };
        let rows = codes.chunks_exact(width).take(end - first);
        // of numbers that are not negative, larger ones have larger bits
        let mut keys: Vec<u64> = rows
            .enumerate()
            .map(|(place, codes)| u64::from(alike(codes).to_bits()) << 32 | place as u64)
            .collect();
        if keys.len() > count {
            let place = keys.len() - count;
            keys.select_nth_unstable(place);
            keys.drain(..place);
        }
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let in_time = RowsInTime::new(builder.request.task, builder.request.index);
        let row = |key: &u64| in_time.row(first + (*key as u32) as usize);
        ranked.extend(keys.iter().map(row));
    }
}

/// The cell of a column that a row of the store leads to, at its own time.
fn stored_cell(arrays: &Arrays, task: &Prepared, row: u32, column: &Column) -> Option<u32> {
    let until = arrays.row_rank[row as usize];
    let mut at = row;
    for &key in &column.path {
        if task.hidden_places(at).contains(&key) {
            return None;
        }
        at = arrays.parent_places(arrays.layout.table(at), at)[key];
        if at == NO_ROW || !comes_with(arrays, task, at, until) {
            return None;
        }
    }
    match column.what {
        What::Cell(column) => arrays.cell(at, column),
        What::Fact(fact) => {
            let until = (until, arrays.time(row)?);
            fact.about(arrays, task, at, until).map(f32::to_bits)
        }
    }
}

/// The same of the target's row, as far as the target sees.
fn target_cell(builder: &Builder, column: &Column) -> Option<u32> {
    let mut at = builder.request.row;
    for &key in &column.path {
        at = match builder.new_row(at) {
            Some(new) => new.entity,
            None => {
                let task = builder.request.task;
                let arrays = builder.arrays;
                if task.hidden_places(at).contains(&key) {
                    return None;
                }
                arrays.parent_places(arrays.layout.table(at), at)[key]
            }
        };
        if at == NO_ROW || !builder.sees(at) {
            return None;
        }
    }
    match (column.what, builder.new_row(at)) {
        (_, Some(_)) => None,
        (What::Cell(column), None) => builder.arrays.cell(at, column),
        (What::Fact(fact), None) => {
            let until = (builder.last_rank, builder.target.bound()?);
            let task = builder.request.task;
            fact.about(&builder.arrays, task, at, until)
                .map(f32::to_bits)
        }
    }
}
