//! What is predicted: one column of one table, with its splits, checked against its store.

use std::ops::Range;

use crate::error::{Result, argument};
use crate::meta::{Kind, Meta, SemanticType};
use crate::store::{Arrays, NO_ROW};
use crate::visibility::{Split, Target, split_of, window_ended};

/// A task as the caller gives it (see `rustler.pyi`).
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub store: usize,
    pub table: u32,
    pub column: u32,
    pub splits: [Range<u32>; 3],
    pub horizon: Option<i64>,
    pub hidden_columns: Vec<u32>,
    /// Foreign keys that lead nowhere in this task: a table, and the key's place among its own.
    pub hidden_keys: Vec<(u32, u32)>,
    pub weight: f64,
    /// Texts among which a text target is to be found; none for other targets.
    pub classes: Vec<u32>,
}

impl Task {
    pub fn split(&self, split: Split) -> Range<u32> {
        self.splits[split as usize].clone()
    }

    /// "task 3 (store 'rel-f1', column 'position' of 'results')", for messages.
    pub fn describe(&self, number: usize, meta: &Meta) -> String {
        format!(
            "task {number} (store '{}', column '{}' of '{}')",
            meta.name,
            meta.columns[self.column as usize].name,
            meta.tables[self.table as usize].name
        )
    }

    /// Checks the task against its store; `number` is for messages.
    pub fn check(&self, number: usize, meta: &Meta) -> Result<()> {
        let Some(table) = meta.tables.get(self.table as usize) else {
            return argument(format!(
                "task {number}: store '{}' has {} tables, there is no table {}",
                meta.name,
                meta.tables.len(),
                self.table
            ));
        };
        let known = meta.columns.len();
        for column in self.hidden_columns.iter().chain([&self.column]) {
            if *column as usize >= known {
                return argument(format!(
                    "task {number}: store '{}' has {known} columns, there is no column {column}",
                    meta.name
                ));
            }
        }
        if !table.columns().contains(&self.column) {
            return argument(format!(
                "task {number}: column {} is not of table '{}' of store '{}'",
                self.column, table.name, meta.name
            ));
        }
        let who = self.describe(number, meta);
        if self.hidden_columns.contains(&self.column) {
            return argument(format!("{who}: the target cannot be a hidden column too"));
        }
        if self.horizon.is_some_and(|h| h < 0) {
            return argument(format!("{who}: the horizon is negative"));
        }
        if !self.weight.is_finite() || self.weight < 0.0 {
            return argument(format!("{who}: weight {} is not 0 or more", self.weight));
        }
        self.check_keys(&who, meta)?;
        self.check_classes(&who, meta)?;
        self.check_splits(&who, table.rows())
    }

    fn check_keys(&self, who: &str, meta: &Meta) -> Result<()> {
        for &(table, place) in &self.hidden_keys {
            let keys = meta.tables.get(table as usize).map(|t| t.num_parents);
            if keys.is_none_or(|keys| place >= keys) {
                return argument(format!("{who}: table {table} has no foreign key {place}"));
            }
        }
        Ok(())
    }

    fn check_classes(&self, who: &str, meta: &Meta) -> Result<()> {
        let is_text = meta.columns[self.column as usize].semantic_type == SemanticType::Text;
        if !self.classes.is_empty() && !is_text {
            return argument(format!("{who}: only texts have classes"));
        }
        let texts = meta.num_texts;
        match self.classes.iter().find(|&&c| u64::from(c) >= texts) {
            Some(class) => argument(format!("{who}: class {class} is not one of {texts} texts")),
            None => Ok(()),
        }
    }

    fn check_splits(&self, who: &str, rows: Range<u32>) -> Result<()> {
        for (i, a) in self.splits.iter().enumerate() {
            if a.start > a.end || (!a.is_empty() && (a.start < rows.start || a.end > rows.end)) {
                return argument(format!(
                    "{who}: split {a:?} is no range of the table's rows {rows:?}"
                ));
            }
            for b in &self.splits[i + 1..] {
                if a.start.max(b.start) < a.end.min(b.end) {
                    return argument(format!("{who}: splits {a:?} and {b:?} overlap"));
                }
            }
        }
        Ok(())
    }
}

/// How a cell of a column is treated in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Target,
    Hidden,
}

/// A task prepared for sampling.
pub struct Prepared {
    pub task: Task,
    /// Rows of the target's table.
    pub rows: Range<u32>,
    /// The target is a column of a table of label rows.
    pub has_label_table: bool,
    /// Rows from this number on are label rows of some task.
    pub first_label_row: u32,
    /// The column that holds the time of the target's table.
    pub time_column: Option<u32>,
    /// Up to when rows are of the training split.
    train_end: Option<i64>,
    /// Columns that are not simply visible, rising.
    special: Vec<(u32, Role)>,
    /// Rows of a table, and the places of its foreign keys that lead nowhere.
    hidden_keys: Vec<(Range<u32>, Vec<usize>)>,
}

impl Prepared {
    /// `task` must have been checked against `meta`.
    pub fn new(task: Task, meta: &Meta) -> Self {
        let table = &meta.tables[task.table as usize];
        let mut special: Vec<_> = task
            .hidden_columns
            .iter()
            .map(|&c| (c, Role::Hidden))
            .collect();
        special.push((task.column, Role::Target));
        special.sort_unstable_by_key(|&(column, _)| column);
        special.dedup();
        Self {
            rows: table.rows(),
            has_label_table: table.kind == Kind::Task,
            first_label_row: meta.first_label_row(),
            time_column: meta.time_column(task.table as usize),
            train_end: meta.val_timestamp,
            special,
            hidden_keys: hidden_keys(&task, meta),
            task,
        }
    }

    /// The columns in `columns` that are not simply visible.
    pub fn special(&self, columns: Range<u32>) -> &[(u32, Role)] {
        let first = self.special.partition_point(|&(c, _)| c < columns.start);
        let end = self.special.partition_point(|&(c, _)| c < columns.end);
        &self.special[first..end]
    }

    /// Whether every foreign key leads somewhere.
    pub fn has_all_keys(&self) -> bool {
        self.hidden_keys.is_empty()
    }

    /// Places of the foreign keys by which a row has no parents in this task.
    #[inline]
    pub fn hidden_places(&self, row: u32) -> &[usize] {
        let found = self
            .hidden_keys
            .iter()
            .find(|(rows, _)| rows.contains(&row));
        found.map_or(&[], |(_, places)| places)
    }

    /// Of rows one of which references the other: is there a key that is not hidden by which
    /// `child` references `parent`?
    #[inline]
    pub fn links(&self, arrays: &Arrays, child: u32, parent: u32) -> bool {
        let hidden = self.hidden_places(child);
        if hidden.is_empty() {
            return true;
        }
        let places = arrays.parent_places(arrays.layout.table(child), child);
        let mut keys = places.iter().enumerate();
        keys.any(|(place, &row)| row == parent && !hidden.contains(&place))
    }

    /// What a row references by the foreign key of this place, if that leads somewhere.
    pub fn parent(&self, arrays: &Arrays, row: u32, key: usize) -> Option<u32> {
        let places = arrays.parent_places(arrays.layout.table(row), row);
        let there = |parent: &u32| *parent != NO_ROW && !self.hidden_places(row).contains(&key);
        places.get(key).copied().filter(there)
    }

    /// Whether a label of the training split was known at its end: not if its window ends later.
    pub fn is_known_in_training(&self, time: Option<i64>) -> bool {
        let ended = |(time, end)| window_ended(time, self.task.horizon, end);
        time.zip(self.train_end).is_none_or(ended)
    }

    /// The split of a row, None if it is of another table than the target's.
    pub fn split_of(&self, row: u32) -> Option<Split> {
        self.rows
            .contains(&row)
            .then(|| split_of(row, &self.task.splits))
    }

    /// What the target in `row` sees.
    pub fn target(&self, row: u32, time: Option<i64>, cutoff: Option<i64>) -> Target {
        let split = split_of(row, &self.task.splits);
        Target::new(time, cutoff, split, self.task.horizon)
    }

    /// May `row` be in the context of a target?
    pub fn sees(&self, target: &Target, row: u32, time: Option<i64>) -> bool {
        let split = self.split_of(row);
        if row < self.first_label_row {
            return target.sees_row(time, split);
        }
        split.is_some_and(|split| target.sees_label(time, split))
    }
}

fn hidden_keys(task: &Task, meta: &Meta) -> Vec<(Range<u32>, Vec<usize>)> {
    let mut tables: Vec<u32> = task.hidden_keys.iter().map(|&(table, _)| table).collect();
    tables.sort_unstable();
    tables.dedup();
    let keys = |table: u32| {
        let of_table = task.hidden_keys.iter().filter(move |key| key.0 == table);
        of_table.map(|&(_, place)| place as usize).collect()
    };
    tables
        .into_iter()
        .map(|table| (meta.tables[table as usize].rows(), keys(table)))
        .collect()
}
