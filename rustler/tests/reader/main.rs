//! The reader of stores: what is written comes back, and damage gives an error or a store that can
//! be sampled, never a panic.

#[path = "../common/mod.rs"]
mod common;
mod refused;

use common::damage::Files;
use common::examples;
use common::exercise::exercise;
use common::{KINDS, Row, Table, folder_in_memory, write};
use proptest::prelude::*;
use rustler::store::Store;

/// Up to four tables, the last ones of label rows; tables without rows and rows without anything.
fn tables() -> impl Strategy<Value = Vec<Table>> {
    let row = (
        prop::option::weighted(0.8, -20i64..20),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        prop::collection::vec(prop::option::weighted(0.8, 0u32..100), 4),
    );
    let table = (
        any::<bool>(),
        prop::collection::vec(0usize..KINDS.len(), 0..4),
        prop::collection::vec(row, 0..8),
    );
    prop::collection::vec(table, 0..5).prop_map(|mut drawn| {
        drawn.sort_by_key(|(is_task, ..)| *is_task);
        let rows: usize = drawn.iter().map(|(_, _, rows)| rows.len()).sum();
        let make = |(is_task, columns, drawn): (bool, Vec<usize>, Vec<_>)| Table {
            is_task,
            rows: drawn
                .into_iter()
                .map(
                    |(time, links, cells): (_, Vec<prop::sample::Index>, Vec<_>)| Row {
                        time,
                        parents: links.iter().map(|i| i.index(rows) as u32).collect(),
                        cells: cells[..columns.len()].to_vec(),
                    },
                )
                .collect(),
            columns,
        };
        drawn.into_iter().map(make).collect()
    })
}

/// The rows of an opened store, with cells as the writer was given them.
fn read(store: &Store, tables: &[Table]) -> Vec<Row> {
    let arrays = store.arrays();
    let value = |column: u32, bits: u32| match KINDS[store.types[column as usize] as usize] {
        "text" => bits,
        _ => (f32::from_bits(bits) * 7.0).round() as u32,
    };
    let mut rows = Vec::new();
    for (table, written) in store.meta.tables.iter().zip(tables) {
        assert_eq!(table.rows().len(), written.rows.len());
        for row in table.rows() {
            let cell = |column| arrays.cell(row, column).map(|bits| value(column, bits));
            rows.push(Row {
                time: arrays.time(row),
                parents: arrays.parents(row).collect(),
                cells: table.columns().map(cell).collect(),
            });
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rows_come_back_as_written(tables in tables()) {
        let folder = folder_in_memory();
        write(folder.path(), &tables);
        let store = Store::open(folder.path()).unwrap();
        let texts = store.meta.num_texts as u32;
        let mut written: Vec<Row> = Vec::new();
        for table in &tables {
            for row in &table.rows {
                let mut row = row.clone();
                for (cell, &kind) in row.cells.iter_mut().zip(&table.columns) {
                    *cell = cell.map(|c| if KINDS[kind] == "text" { c % texts } else { c });
                }
                written.push(row);
            }
        }
        prop_assert_eq!(read(&store, &tables), written.clone());
        // Children are the references the other way round, in order of (time, row).
        for parent in 0..written.len() as u32 {
            let mut children: Vec<(Option<i64>, u32)> = Vec::new();
            for (child, row) in written.iter().enumerate() {
                let times = row.parents.iter().filter(|&&p| p == parent).count();
                children.extend(std::iter::repeat_n((row.time, child as u32), times));
            }
            children.sort_unstable();
            let children: Vec<u32> = children.into_iter().map(|(_, child)| child).collect();
            prop_assert_eq!(store.arrays().children(parent).0, children);
        }
        prop_assert!(exercise(folder.path()).is_ok());
    }

    #[test]
    fn damage_gives_an_error_or_a_store_that_can_be_sampled(
        tables in tables(), program in prop::collection::vec(any::<u8>(), 4..24),
    ) {
        let folder = folder_in_memory();
        write(folder.path(), &tables);
        let mut files = Files::read(folder.path());
        files.damage(&program);
        files.write(folder.path());
        let _ = exercise(folder.path());
    }
}

#[test]
fn the_examples_of_the_fuzzer_are_whole() {
    for tables in examples::all() {
        let folder = folder_in_memory();
        write(folder.path(), &tables);
        let batch = exercise(folder.path()).unwrap();
        assert_eq!(batch.is_some(), !tables.is_empty());
    }
}

/// Each array, element by element: set to telling values.
#[test]
fn each_element_of_each_array_may_be_anything() {
    let folder = folder_in_memory();
    write(folder.path(), &examples::all()[1]);
    let whole = Files::read(folder.path());
    let mut noticed = 0;
    for array in 0..10 {
        for place in (0..=255).step_by(51) {
            for value in (0..=255).step_by(7) {
                let mut files = whole.clone();
                files.damage(&[3, array, place, value]);
                files.write(folder.path());
                noticed += usize::from(exercise(folder.path()).is_err());
            }
        }
    }
    assert!(noticed > 1000, "{noticed}");
}
