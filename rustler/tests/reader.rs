//! The reader of stores: what is written comes back, and damage gives an error or a store that can
//! be sampled, never a panic.

mod common;

use std::path::Path;

use common::damage::Files;
use common::examples;
use common::exercise::exercise;
use common::{KINDS, Row, Table, folder_in_memory, write};
use proptest::prelude::*;
use rustler::error::Error;
use rustler::store::{Embeddings, Store};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

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
                parents: arrays.parents(row).to_vec(),
                cells: table.columns().map(cell).collect(),
            });
        }
    }
    rows
}

fn open_damaged(folder: &Path) -> String {
    let message = match Store::open(folder) {
        Ok(_) => panic!("a damaged store was opened"),
        Err(error) => error.to_string(),
    };
    assert!(
        message.starts_with(&folder.display().to_string()),
        "{message}"
    );
    assert!(!message.contains('\n') && message.len() < 1500, "{message}");
    message
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
        for place in (0..=255).step_by(23) {
            for value in (0..=255).step_by(5) {
                let mut files = whole.clone();
                files.damage(&[3, array, place, value]);
                files.write(folder.path());
                noticed += usize::from(exercise(folder.path()).is_err());
            }
        }
    }
    assert!(noticed > 3000, "{noticed}");
}

// ---------------------------------------------------------------- headers that deceive

/// Writes a file with this header and so many bytes of data.
fn write_raw(folder: &Path, header: &Value, data: usize) {
    let mut text = header.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let size = (text.len() as u64).to_le_bytes();
    let bytes = [&size[..], &text, &vec![0; data]].concat();
    std::fs::write(folder.join("store.safetensors"), bytes).unwrap();
}

fn empty_store() -> tempfile::TempDir {
    let folder = folder_in_memory();
    write(folder.path(), &[]);
    folder
}

#[test]
fn sizes_that_wrap_around_are_noticed() {
    let folder = empty_store();
    // Arrays of nearly 2^64 bytes together: an end that, computed modulo 2^64, is the file's own.
    let size = 1_u64 << 60;
    let mut header = json!({"__metadata__": {"format_version": "1"}});
    for i in 0..15 {
        header[format!("a{i}")] =
            json!({"dtype": "U8", "shape": [size], "data_offsets": [i * size, (i + 1) * size]});
    }
    for pad in 0..2000_u64 {
        let end = u64::MAX - pad;
        header["last"] = json!({"dtype": "U8", "shape": [end - 15 * size],
                                "data_offsets": [15 * size, end]});
        write_raw(folder.path(), &header, 64);
        assert!(open_damaged(folder.path()).contains("cut short"));
    }
}

#[test]
fn headers_longer_than_the_file_or_than_any_are_noticed() {
    let folder = empty_store();
    let file = folder.path().join("store.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for size in [0, 1, 1 << 20, 100_000_001, u64::MAX - 7, u64::MAX] {
        let bytes = [&u64::to_le_bytes(size)[..], &whole[8..]].concat();
        std::fs::write(&file, bytes).unwrap();
        assert!(open_damaged(folder.path()).contains("cut short or not safetensors"));
    }
}

#[test]
fn arrays_that_overlap_leave_gaps_or_are_not_aligned_are_noticed() {
    let folder = empty_store();
    let entry = |dtype: &str, len: usize, from: usize, to: usize| json!({"dtype": dtype, "shape": [len], "data_offsets": [from, to]});
    let with = |first: Value, second: Value| {
        let version = json!({"format_version": "1"});
        json!({"__metadata__": version, "row_time": first, "cell_ptr": second})
    };
    let pointers = entry("U64", 1, 8, 16);
    for first in [
        entry("I64", 2, 0, 16),
        entry("I64", 1, 4, 12),
        entry("I64", 0, 0, 0),
        entry("I64", 1, 8, 0),
    ] {
        write_raw(folder.path(), &with(first, pointers.clone()), 16);
        open_damaged(folder.path());
    }
    let odd = json!({"__metadata__": {"format_version": "1"}, "odd": entry("U8", 4, 0, 4),
                     "row_source": entry("U32", 0, 4, 4), "row_time": entry("I64", 0, 4, 4)});
    write_raw(folder.path(), &odd, 4);
    assert!(open_damaged(folder.path()).contains("'row_time' is not aligned"));
}

// ---------------------------------------------------------------- names, embeddings, sources

fn change_meta(folder: &Path, change: impl Fn(&mut Value)) {
    let path = folder.join("meta.json");
    let mut meta: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut meta);
    std::fs::write(path, meta.to_string()).unwrap();
}

fn shop() -> tempfile::TempDir {
    let folder = folder_in_memory();
    write(folder.path(), &examples::all()[0]);
    folder
}

#[test]
fn messages_stay_one_line_whatever_names_are() {
    let folder = shop();
    change_meta(folder.path(), |meta| {
        meta["tables"][1]["name"] = json!("or\nders\u{2028}");
        meta["tables"][1]["rows"] = json!([3, 2]);
    });
    assert!(open_damaged(folder.path()).contains(r"table 'or\nders\u{2028}' has rows"));
    change_meta(folder.path(), |meta| {
        meta["tables"][1]["name"] = json!("x".repeat(100_000));
    });
    open_damaged(folder.path());
}

#[test]
fn names_are_unique() {
    let folder = shop();
    change_meta(folder.path(), |meta| {
        meta["tables"][1]["name"] = json!("t0")
    });
    assert!(open_damaged(folder.path()).contains("two tables are named 't0'"));
    let folder = shop();
    change_meta(folder.path(), |meta| {
        meta["tables"][2]["name"] = json!("t0")
    });
    assert!(
        Store::open(folder.path()).is_ok(),
        "a task may be named like a table"
    );
    change_meta(folder.path(), |meta| {
        meta["columns"][1]["name"] = json!("c0")
    });
    assert!(open_damaged(folder.path()).contains("two columns of table 0 are named 'c0'"));
}

#[test]
fn every_row_of_a_file_has_one_row_of_the_store() {
    let folder = shop();
    let whole = Files::read(folder.path());
    // The first row's source becomes 1, which the second row has, and a row that is none.
    for value in [0b0000_1000, 0b0001_1000] {
        let mut files = whole.clone();
        files.damage(&[3, 9, 0, value]);
        files.write(folder.path());
        assert!(open_damaged(folder.path()).contains("row_source["));
    }
}

#[test]
fn embeddings_are_finite() {
    let folder = shop();
    let store = Store::open(folder.path()).unwrap();
    let texts = store.meta.num_texts as usize;
    let mut bytes = vec![0; texts * 4 * 2];
    let save = |bytes: &[u8]| {
        let view = TensorView::new(Dtype::F16, vec![texts, 4], bytes).unwrap();
        let file = serialize([("embedding", view)], None).unwrap();
        std::fs::write(folder.path().join("text.hash.safetensors"), file).unwrap();
    };
    save(&bytes);
    assert!(Embeddings::open(&store, "hash").is_ok());
    bytes[2 * 4 * 2 + 3] = 0x7c;
    save(&bytes);
    let Err(Error::Damaged { what, .. }) = Embeddings::open(&store, "hash") else {
        panic!("an infinite embedding was accepted");
    };
    assert_eq!(what, "the embedding of text 2 is not finite");
}
