//! Indices of a task's table: its rows in order of time, and its label rows by entity.
//!
//! A row's list of children mixes the rows of all tables, so the few label rows of one task can
//! be anywhere among millions. This index, at most 16 bytes a label row, is made once for each task
//! table.

use std::ops::Range;

use crate::store::Arrays;
use crate::task::Prepared;

/// What is looked up in the table of a task.
pub struct TableIndex {
    /// Present if the table holds label rows.
    pub labels: Option<LabelIndex>,
    /// All rows by (time, row), those without a time last; None: they stand so.
    in_time: Option<Vec<u32>>,
}

impl TableIndex {
    pub fn new(arrays: &Arrays, task: &Prepared) -> Self {
        let rows = task.rows.clone();
        Self {
            labels: task
                .has_label_table
                .then(|| LabelIndex::new(arrays, rows.clone())),
            in_time: in_time(arrays, rows),
        }
    }

    /// The table's rows in order of time, those without a time last; None if they stand so.
    pub fn in_time(&self) -> Option<&[u32]> {
        self.in_time.as_deref()
    }
}

/// Which rows of a table reference a row, in order of time.
pub struct LabelIndex {
    /// Rows that are referenced, rising.
    entity: Vec<u32>,
    /// The label rows of entity i are rows[ptr[i]..ptr[i + 1]], by (time, row), each once.
    ptr: Vec<u32>,
    rows: Vec<u32>,
}

impl LabelIndex {
    pub fn new(arrays: &Arrays, table: Range<u32>) -> Self {
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(table.len());
        for row in table {
            pairs.extend(arrays.parents(row).map(|parent| (parent, row)));
        }
        pairs.sort_unstable_by_key(|&(parent, row)| (parent, arrays.row_rank[row as usize], row));
        pairs.dedup();
        let (mut entity, mut ptr) = (Vec::new(), Vec::new());
        for (place, pair) in pairs.iter().enumerate() {
            if entity.last() != Some(&pair.0) {
                entity.push(pair.0);
                ptr.push(place as u32);
            }
        }
        ptr.push(pairs.len() as u32);
        Self {
            entity,
            ptr,
            rows: pairs.into_iter().map(|(_, row)| row).collect(),
        }
    }

    /// Label rows that reference `row`, by (time, row); those without a time first.
    pub fn of(&self, row: u32) -> &[u32] {
        match self.entity.binary_search(&row) {
            Ok(i) => &self.rows[self.ptr[i] as usize..self.ptr[i + 1] as usize],
            Err(_) => &[],
        }
    }
}

fn in_time(arrays: &Arrays, table: Range<u32>) -> Option<Vec<u32>> {
    let key = |row: u32| arrays.order_in_time(row);
    if table.clone().is_sorted_by_key(key) {
        return None;
    }
    let mut rows: Vec<u32> = table.collect();
    rows.sort_by_key(|&row| key(row));
    Some(rows)
}
