//! The rows of the database that reference a row.
//!
//! A store's lists of children mix them with the label rows of all tasks, of which there may be
//! thousands to a handful of others. Tables that label rows reference have lists without them here,
//! made when a store is opened: 8 bytes a reference and 4 bytes a row. The other tables need none.

use crate::meta::Meta;
use crate::store::{Arrays, Store};

/// Lists of children without label rows, by table; none where the store's own hold no label row.
pub struct Children {
    of_table: Vec<Option<Lists>>,
}

/// The children of the table's row i are rows[ptr[i]..ptr[i + 1]], by (rank, row).
struct Lists {
    first: u32,
    ptr: Vec<u32>,
    rows: Vec<u32>,
    ranks: Vec<u32>,
}

impl Children {
    pub fn new(store: &Store) -> Self {
        let (arrays, meta) = (store.arrays(), &store.meta);
        let tables = 0..meta.tables.len();
        Self {
            of_table: tables
                .map(|number| Lists::of(&arrays, meta, number))
                .collect(),
        }
    }

    /// Database rows that reference a row, and the ranks of their times, by (time, row).
    pub fn of<'a>(&'a self, arrays: &Arrays<'a>, row: u32) -> (&'a [u32], &'a [u32]) {
        match &self.of_table[arrays.layout.table(row).number] {
            None => arrays.children(row),
            Some(lists) => {
                let place = (row - lists.first) as usize;
                let range = lists.ptr[place] as usize..lists.ptr[place + 1] as usize;
                (&lists.rows[range.clone()], &lists.ranks[range])
            }
        }
    }
}

impl Lists {
    /// None if no label row references the table.
    fn of(arrays: &Arrays, meta: &Meta, number: usize) -> Option<Self> {
        let first_label = meta.first_label_row();
        let table = arrays.layout.table_numbered(number);
        let edges = table.first_edge..table.first_edge + table.num_children as usize;
        let labels = arrays.child_row[edges.clone()]
            .iter()
            .filter(|&&child| child >= first_label)
            .count();
        if labels == 0 {
            return None;
        }
        let kept = edges.len() - labels;
        let mut lists = Self {
            first: table.rows.start,
            ptr: Vec::with_capacity(table.rows.len() + 1),
            rows: Vec::with_capacity(kept),
            ranks: Vec::with_capacity(kept),
        };
        lists.ptr.push(0);
        for row in table.rows.clone() {
            let (rows, ranks) = arrays.children(row);
            for (&child, &rank) in rows.iter().zip(ranks) {
                if child < first_label {
                    lists.rows.push(child);
                    lists.ranks.push(rank);
                }
            }
            lists.ptr.push(lists.rows.len() as u32);
        }
        Some(lists)
    }
}
