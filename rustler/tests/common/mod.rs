//! A writer of small stores for the tests of the crate, its benchmarks and its fuzz targets.

// Each of these is compiled with what it uses, and none uses all.
#![allow(dead_code)]

pub mod damage;
pub mod examples;
pub mod exercise;

use std::collections::HashMap;
use std::path::Path;

use rustler::store::{FORMAT_VERSION, NO_TIME};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;

pub const DIM: usize = 4;
pub const KINDS: [&str; 4] = ["number", "text", "datetime", "boolean"];

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub time: Option<i64>,
    /// Global row numbers.
    pub parents: Vec<u32>,
    /// One value a column, None for null.
    pub cells: Vec<Option<u32>>,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub is_task: bool,
    /// Columns as indices into KINDS.
    pub columns: Vec<usize>,
    pub rows: Vec<Row>,
}

/// A new folder, in memory where the system has a place for that.
pub fn folder_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Writes the tables as a store; text values are taken modulo the number of texts.
pub fn write(folder: &Path, tables: &[Table]) {
    let num_columns: usize = tables.iter().map(|t| t.columns.len()).sum();
    let num_texts = num_columns.max(1) + 5;
    let arrays = Arrays::new(tables, num_texts as u32);
    let (mut row, mut columns, mut described) = (0, Vec::new(), Vec::new());
    for (number, table) in tables.iter().enumerate() {
        let first = columns.len();
        for &kind in &table.columns {
            columns.push(
                json!({"name": format!("c{}", columns.len()), "table": number,
                                "type": KINDS[kind], "name_text": columns.len()}),
            );
        }
        let end = row + table.rows.len();
        described.push(json!({
            "name": format!("t{number}"), "kind": if table.is_task { "task" } else { "database" },
            "rows": [row, end], "columns": [first, columns.len()],
        }));
        row = end;
    }
    let meta = json!({
        "format_version": FORMAT_VERSION, "name": "test", "num_rows": row, "num_texts": num_texts,
        "num_cells": arrays.cell_column.len(), "num_edges": arrays.parent_row.len(),
        "tables": described, "columns": columns,
    });
    std::fs::write(folder.join("meta.json"), meta.to_string()).unwrap();
    arrays.save(&folder.join("store.safetensors"));
    let zeros = vec![0; num_texts * DIM * 2];
    let view = TensorView::new(Dtype::F16, vec![num_texts, DIM], &zeros).unwrap();
    let bytes = serialize([("embedding", view)], None).unwrap();
    std::fs::write(folder.join("text.hash.safetensors"), bytes).unwrap();
}

#[derive(Default)]
struct Arrays {
    row_time: Vec<i64>,
    cell_ptr: Vec<u64>,
    cell_column: Vec<u32>,
    cell_value: Vec<u32>,
    parent_ptr: Vec<u64>,
    parent_row: Vec<u32>,
    child_ptr: Vec<u64>,
    child_row: Vec<u32>,
    child_time: Vec<i64>,
    row_source: Vec<u32>,
}

impl Arrays {
    fn new(tables: &[Table], num_texts: u32) -> Self {
        let mut a = Arrays::default();
        (a.cell_ptr, a.parent_ptr, a.child_ptr) = (vec![0], vec![0], vec![0]);
        let mut first_column = 0;
        for table in tables {
            for (place, row) in table.rows.iter().enumerate() {
                for (i, cell) in row.cells.iter().enumerate() {
                    let Some(value) = cell else { continue };
                    let is_text = KINDS[table.columns[i]] == "text";
                    let float = (*value as f32 / 7.0).to_bits();
                    a.cell_column.push((first_column + i) as u32);
                    a.cell_value
                        .push(if is_text { value % num_texts } else { float });
                }
                a.parent_row.extend(&row.parents);
                a.row_time.push(row.time.unwrap_or(NO_TIME));
                a.row_source.push(place as u32);
                a.cell_ptr.push(a.cell_column.len() as u64);
                a.parent_ptr.push(a.parent_row.len() as u64);
            }
            first_column += table.columns.len();
        }
        a.add_children(tables);
        a
    }

    fn add_children(&mut self, tables: &[Table]) {
        let rows: Vec<&Row> = tables.iter().flat_map(|t| &t.rows).collect();
        let mut children: Vec<Vec<(i64, u32)>> = vec![Vec::new(); rows.len()];
        for (child, row) in rows.iter().enumerate() {
            for &parent in &row.parents {
                children[parent as usize].push((self.row_time[child], child as u32));
            }
        }
        for of_row in &mut children {
            of_row.sort_unstable();
            self.child_row.extend(of_row.iter().map(|c| c.1));
            self.child_time.extend(of_row.iter().map(|c| c.0));
            self.child_ptr.push(self.child_row.len() as u64);
        }
    }

    fn save(&self, path: &Path) {
        fn bytes<const N: usize, T: Copy>(values: &[T], le: fn(T) -> [u8; N]) -> Vec<u8> {
            values.iter().flat_map(|&v| le(v)).collect()
        }
        let arrays = [
            (
                "row_time",
                Dtype::I64,
                bytes(&self.row_time, i64::to_le_bytes),
            ),
            (
                "cell_ptr",
                Dtype::U64,
                bytes(&self.cell_ptr, u64::to_le_bytes),
            ),
            (
                "cell_column",
                Dtype::U32,
                bytes(&self.cell_column, u32::to_le_bytes),
            ),
            (
                "cell_value",
                Dtype::U32,
                bytes(&self.cell_value, u32::to_le_bytes),
            ),
            (
                "parent_ptr",
                Dtype::U64,
                bytes(&self.parent_ptr, u64::to_le_bytes),
            ),
            (
                "parent_row",
                Dtype::U32,
                bytes(&self.parent_row, u32::to_le_bytes),
            ),
            (
                "child_ptr",
                Dtype::U64,
                bytes(&self.child_ptr, u64::to_le_bytes),
            ),
            (
                "child_row",
                Dtype::U32,
                bytes(&self.child_row, u32::to_le_bytes),
            ),
            (
                "child_time",
                Dtype::I64,
                bytes(&self.child_time, i64::to_le_bytes),
            ),
            (
                "row_source",
                Dtype::U32,
                bytes(&self.row_source, u32::to_le_bytes),
            ),
        ];
        let views = arrays.iter().map(|(name, dtype, data)| {
            let shape = vec![data.len() / (dtype.bitsize() / 8)];
            (*name, TensorView::new(*dtype, shape, data).unwrap())
        });
        let version = ("format_version".to_owned(), FORMAT_VERSION.to_string());
        let file = serialize(views, Some(HashMap::from([version]))).unwrap();
        std::fs::write(path, file).unwrap();
    }
}
