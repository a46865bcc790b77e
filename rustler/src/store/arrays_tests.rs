//! Cells of records in which absent ones have their place, and of records that leave them out.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::meta::Meta;

/// Of the first table; the second has its columns after it.
const COLUMNS: u32 = 3;
/// Of the second table: more optional ones than a byte has bits.
const NUM_FIELDS: usize = 20;
const DICTIONARY: [u32; 3] = [70, 71, 72];

fn width(number: usize) -> usize {
    [1, 4, 0, 2][number % 4]
}

fn is_optional(number: usize) -> bool {
    number.is_multiple_of(2)
}

fn has_dictionary(number: usize) -> bool {
    number == NUM_FIELDS - 1
}

/// Rows of a table behind one of `COLUMNS` columns without rows.
struct Table {
    layout: Layout,
    records: Vec<u8>,
    record_ptr: Vec<u64>,
}

type Row = Vec<Option<u32>>;

impl Table {
    fn new(rows: &[Row], packed: bool) -> Self {
        let (mut records, mut record_ptr) = (Vec::new(), vec![0]);
        for row in rows {
            let optional: Vec<usize> = (0..NUM_FIELDS).filter(|&n| is_optional(n)).collect();
            for eight in optional.chunks(8) {
                let bits = eight.iter().enumerate();
                let bits = bits.map(|(bit, &n)| u8::from(row[n].is_some()) << bit);
                records.push(bits.sum());
            }
            for (number, cell) in row.iter().enumerate() {
                if cell.is_some() || !packed {
                    let bytes = cell.unwrap_or(0xAAAA_AAAA).to_le_bytes();
                    records.extend(&bytes[..width(number)]);
                }
            }
            record_ptr.push(records.len() as u64);
        }
        let column = |number: usize, table: u32| {
            let dictionary = (table == 1 && has_dictionary(number)).then_some(DICTIONARY.len());
            json!({"name": "c", "table": table, "type": "number", "name_text": 0,
                   "width": width(number), "optional": is_optional(number),
                   "dictionary": dictionary})
        };
        let first = (0..COLUMNS as usize).map(|number| column(number, 0));
        let columns = first.chain((0..NUM_FIELDS).map(|number| column(number, 1)));
        let end = COLUMNS as usize + NUM_FIELDS;
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
            dictionary: &DICTIONARY,
            records: &self.records,
        }
    }
}

fn row() -> impl Strategy<Value = Row> {
    let cells = prop::collection::vec((any::<bool>(), any::<u32>()), NUM_FIELDS);
    cells.prop_map(|cells| {
        let cell = |(number, (there, value)): (usize, (bool, u32))| {
            let value = match (has_dictionary(number), width(number)) {
                (true, _) => value % DICTIONARY.len() as u32,
                (false, 4) => value,
                (false, width) => value & ((1 << (8 * width)) - 1),
            };
            (there || !is_optional(number)).then_some(value)
        };
        cells.into_iter().enumerate().map(cell).collect()
    })
}

proptest! {
    #[test]
    fn wanted_cells_are_those_that_a_walk_over_all_finds(
        rows in prop::collection::vec(row(), 1..6),
        wanted in prop::collection::btree_set(0..COLUMNS + NUM_FIELDS as u32 + 2, 0..9),
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
                if has_dictionary((*column - COLUMNS) as usize) {
                    *bits = DICTIONARY[*bits as usize];
                }
            }
            prop_assert_eq!(arrays.cells(number).collect::<Vec<_>>(), expected.clone());
            for column in 0..COLUMNS + NUM_FIELDS as u32 + 2 {
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
