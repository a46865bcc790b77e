//! Cells of records in which absent ones have their place, and of records that leave them out.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::meta::Meta;

/// Of the first table; the second has its columns after it.
const COLUMNS: u32 = 3;
const WIDTHS: [u8; 4] = [1, 4, 0, 2];

/// Rows of a table with columns of these widths, the even ones optional, of which the last has a
/// dictionary, behind a table of `COLUMNS` columns without rows.
struct Table {
    layout: Layout,
    records: Vec<u8>,
    record_ptr: Vec<u64>,
    dictionary: Vec<u32>,
}

type Row = [Option<u32>; WIDTHS.len()];

impl Table {
    fn new(rows: &[Row], packed: bool) -> Self {
        let dictionary = vec![70, 71, 72];
        let optional = |number: usize| number.is_multiple_of(2);
        let (mut records, mut record_ptr) = (Vec::new(), vec![0]);
        for row in rows {
            let there = (0..row.len()).filter(|&n| optional(n)).enumerate();
            let bits = there.map(|(bit, n)| u8::from(row[n].is_some()) << bit);
            records.push(bits.sum());
            for (cell, width) in row.iter().zip(WIDTHS) {
                if cell.is_some() || !packed {
                    let bytes = cell.unwrap_or(0xAAAA_AAAA).to_le_bytes();
                    records.extend(&bytes[..usize::from(width)]);
                }
            }
            record_ptr.push(records.len() as u64);
        }
        let column = |number: usize, table: u32| {
            let dictionary = (table == 1 && number == 3).then_some(3);
            json!({"name": "c", "table": table, "type": "number", "name_text": 0,
                   "width": WIDTHS[number], "optional": optional(number),
                   "dictionary": dictionary})
        };
        let first = (0..COLUMNS as usize).map(|number| column(number, 0));
        let columns = first.chain((0..WIDTHS.len()).map(|number| column(number, 1)));
        let end = COLUMNS as usize + WIDTHS.len();
        let table = |name: &str, rows: [usize; 2], columns: [usize; 2], bytes: usize| {
            json!({"name": name, "kind": "database", "rows": rows, "columns": columns,
                   "num_parents": 0, "num_children": 0, "record_bytes": bytes,
                   "packed": packed && bytes > 0})
        };
        let meta = json!({"name": "records", "num_rows": rows.len(), "num_cells": 0,
            "num_edges": 0, "num_texts": 0, "columns": columns.collect::<Vec<_>>(),
            "tables": [table("none", [0, 0], [0, COLUMNS as usize], 0),
                       table("some", [0, rows.len()], [COLUMNS as usize, end], records.len())]});
        let meta: Meta = serde_json::from_value(meta).unwrap();
        let layout = Layout::new(&meta).unwrap();
        records.extend([0; 4]);
        Self {
            layout,
            records,
            record_ptr,
            dictionary,
        }
    }

    fn arrays(&self) -> Arrays<'_> {
        Arrays {
            layout: &self.layout,
            time_value: &[],
            row_rank: &[],
            parent_row: &[],
            child_ptr: &[],
            child_row: &[],
            child_rank: &[],
            record_ptr: &self.record_ptr,
            dictionary: &self.dictionary,
            records: &self.records,
        }
    }
}

fn row() -> impl Strategy<Value = Row> {
    let cell = |most: u32| prop::option::of(0..=most);
    (cell(0xFF), any::<u32>(), prop::bool::ANY, 0..3_u32).prop_map(
        |(first, second, third, fourth)| [first, Some(second), third.then_some(0), Some(fourth)],
    )
}

proptest! {
    #[test]
    fn wanted_cells_are_those_that_a_walk_over_all_finds(
        rows in prop::collection::vec(row(), 1..6),
        wanted in prop::collection::btree_set(0..COLUMNS + WIDTHS.len() as u32 + 2, 0..9),
        packed: bool,
    ) {
        let table = Table::new(&rows, packed);
        let arrays = table.arrays();
        let wanted: Vec<(u32, ())> = wanted.into_iter().map(|column| (column, ())).collect();
        for (number, row) in rows.iter().enumerate() {
            let number = number as u32;
            let mut expected: Vec<(u32, u32)> = (COLUMNS..)
                .zip(row)
                .filter_map(|(column, cell)| Some((column, (*cell)?)))
                .collect();
            for (column, bits) in &mut expected {
                if *column == COLUMNS + 3 {
                    *bits = table.dictionary[*bits as usize];
                }
            }
            prop_assert_eq!(arrays.cells(number).collect::<Vec<_>>(), expected.clone());
            for column in 0..COLUMNS + WIDTHS.len() as u32 + 2 {
                let cell = expected.iter().find(|(other, _)| *other == column);
                prop_assert_eq!(arrays.cell(number, column), cell.map(|&(_, bits)| bits));
            }
            let mut found = Vec::new();
            arrays.for_wanted(number, &wanted, |place, bits| found.push((wanted[place].0, bits)));
            expected.retain(|(column, _)| wanted.contains(&(*column, ())));
            prop_assert_eq!(found, expected);
        }
    }
}
