//! Label rows by entity: which rows of a task's table reference a row, in order of time.
//!
//! A row's list of children mixes the rows of all tables, so the few label rows of one task can
//! be anywhere among millions. This index, 12 bytes a label row, is made once for each task table.

use std::ops::Range;

use crate::store::Arrays;

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
            pairs.extend(arrays.parents(row).iter().map(|&parent| (parent, row)));
        }
        pairs.sort_unstable_by_key(|&(parent, row)| (parent, arrays.row_time[row as usize], row));
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
