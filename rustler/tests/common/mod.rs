//! A writer of small stores for the tests of the crate, its benchmarks and its fuzz targets.

// Each of these is compiled with what it uses, and none uses all.
#![allow(dead_code)]

pub mod damage;
pub mod examples;
pub mod exercise;

use std::collections::HashMap;
use std::path::Path;

use rustler::store::{FORMAT_VERSION, NO_ROW, PADDING};
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
///
/// Tables with an odd number are packed, columns with an odd number have a dictionary, and rows
/// with an odd number leave their first places for parents empty where they have fewer than others.
pub fn write(folder: &Path, tables: &[Table]) {
    let num_columns: usize = tables.iter().map(|t| t.columns.len()).sum();
    let num_texts = num_columns.max(1) + 5;
    let mut arrays = Arrays::new(tables);
    let (mut row, mut columns, mut described) = (0, Vec::new(), Vec::new());
    for (number, table) in tables.iter().enumerate() {
        let first = columns.len();
        let fields = fields(table, first, num_texts as u32);
        for (field, &kind) in fields.iter().zip(&table.columns) {
            columns.push(json!({
                "name": format!("c{}", columns.len()), "table": number, "type": KINDS[kind],
                "name_text": columns.len(), "width": field.width, "optional": field.optional,
                "dictionary": field.dictionary.as_ref().map(Vec::len),
            }));
        }
        let end = row + table.rows.len();
        let packed = number % 2 == 1;
        described.push(json!({
            "name": format!("t{number}"), "kind": if table.is_task { "task" } else { "database" },
            "rows": [row, end], "columns": [first, columns.len()],
            "num_parents": num_parents(table), "packed": packed,
            "record_bytes": arrays.add_records(&fields, table.rows.len(), packed),
            "num_children": arrays.add_children(row as u32..end as u32),
        }));
        row = end;
    }
    let cells = tables.iter().flat_map(|t| &t.rows).flat_map(|r| &r.cells);
    let meta = json!({
        "format_version": FORMAT_VERSION, "name": "test", "num_rows": row, "num_texts": num_texts,
        "num_cells": cells.flatten().count(), "num_edges": arrays.child_row.len(),
        "tables": described, "columns": columns,
    });
    std::fs::write(folder.join("meta.json"), meta.to_string()).unwrap();
    arrays.save(&folder.join("store.safetensors"));
    let zeros = vec![0; num_texts * DIM * 2];
    let view = TensorView::new(Dtype::F16, vec![num_texts, DIM], &zeros).unwrap();
    let bytes = serialize([("embedding", view)], None).unwrap();
    std::fs::write(folder.join("text.hash.safetensors"), bytes).unwrap();
}

fn num_parents(table: &Table) -> usize {
    table
        .rows
        .iter()
        .map(|r| r.parents.len())
        .max()
        .unwrap_or(0)
}

/// A column as it is stored: for each row the bits or the place in the dictionary.
struct Field {
    values: Vec<Option<u32>>,
    width: usize,
    optional: bool,
    dictionary: Option<Vec<u32>>,
}

fn fields(table: &Table, first: usize, num_texts: u32) -> Vec<Field> {
    let field = |(i, &kind): (usize, &usize)| {
        let bits = |value: u32| match KINDS[kind] {
            "text" => value % num_texts,
            _ => (value as f32 / 7.0).to_bits(),
        };
        let cells = table.rows.iter().map(|row| row.cells[i].map(bits));
        let mut values: Vec<Option<u32>> = cells.collect();
        let optional = values.contains(&None) || i == 2;
        if (first + i).is_multiple_of(2) {
            let width = if KINDS[kind] == "text" { 3 } else { 4 };
            return Field {
                values,
                width,
                optional,
                dictionary: None,
            };
        }
        let mut found: Vec<u32> = values.iter().copied().flatten().collect();
        found.sort_unstable();
        found.dedup();
        for value in values.iter_mut().flatten() {
            *value = found.binary_search(value).unwrap() as u32;
        }
        let width = usize::from(found.len() > 1);
        Field {
            values,
            width,
            optional,
            dictionary: Some(found),
        }
    };
    table.columns.iter().enumerate().map(field).collect()
}

#[derive(Default)]
struct Arrays {
    time_value: Vec<i64>,
    record_ptr: Vec<u64>,
    row_rank: Vec<u32>,
    row_source: Vec<u32>,
    parent_row: Vec<u32>,
    child_ptr: Vec<u32>,
    child_row: Vec<u32>,
    child_rank: Vec<u32>,
    dictionary: Vec<u32>,
    records: Vec<u8>,
    /// For each row what references it.
    children: Vec<Vec<(u32, u32)>>,
}

impl Arrays {
    /// Times and parents of all rows.
    fn new(tables: &[Table]) -> Self {
        let mut a = Arrays::default();
        let rows = tables.iter().flat_map(|t| &t.rows);
        a.time_value = rows.clone().filter_map(|row| row.time).collect();
        a.time_value.sort_unstable();
        a.time_value.dedup();
        a.children = rows.clone().map(|_| Vec::new()).collect();
        for (table, place, row) in tables
            .iter()
            .flat_map(|t| t.rows.iter().enumerate().map(move |(i, row)| (t, i, row)))
        {
            let child = a.row_rank.len() as u32;
            let rank = row
                .time
                .map_or(0, |time| a.time_value.binary_search(&time).unwrap() + 1);
            a.row_rank.push(rank as u32);
            a.row_source.push(place as u32);
            let mut places = row.parents.clone();
            let (last, size) = (places.len(), num_parents(table));
            let end = if place % 2 == 1 { 0 } else { last };
            places.splice(end..end, std::iter::repeat_n(NO_ROW, size - last));
            a.parent_row.extend(places);
            for &parent in &row.parents {
                a.children[parent as usize].push((rank as u32, child));
            }
        }
        a
    }

    /// The number of children of these rows.
    fn add_children(&mut self, rows: std::ops::Range<u32>) -> usize {
        let first = self.child_row.len();
        let mut ends = vec![0];
        for row in rows {
            let mut children = std::mem::take(&mut self.children[row as usize]);
            children.sort_unstable();
            self.child_rank.extend(children.iter().map(|c| c.0));
            self.child_row.extend(children.iter().map(|c| c.1));
            ends.push((self.child_row.len() - first) as u32);
        }
        let count = self.child_row.len() - first;
        if count > 0 {
            self.child_ptr.extend(ends);
        }
        count
    }

    /// The bytes of the records of a table.
    fn add_records(&mut self, fields: &[Field], rows: usize, packed: bool) -> usize {
        let first = self.records.len();
        let presence = fields.iter().filter(|f| f.optional).count().div_ceil(8);
        let mut pointers = vec![0];
        for row in 0..rows {
            let start = self.records.len();
            self.records.resize(start + presence, 0);
            let mut bit = 0;
            for field in fields {
                let value = field.values[row];
                if field.optional {
                    self.records[start + bit / 8] |= u8::from(value.is_some()) << (bit % 8);
                    bit += 1;
                }
                if value.is_some() || !packed {
                    let bytes = value.unwrap_or(0).to_le_bytes();
                    self.records.extend(&bytes[..field.width]);
                }
            }
            pointers.push((self.records.len() - first) as u64);
        }
        if packed {
            self.record_ptr.extend(pointers);
        }
        for dictionary in fields.iter().filter_map(|f| f.dictionary.as_ref()) {
            self.dictionary.extend(dictionary);
        }
        self.records.len() - first
    }

    fn save(mut self, path: &Path) {
        fn bytes<const N: usize, T: Copy>(values: &[T], le: fn(T) -> [u8; N]) -> Vec<u8> {
            values.iter().flat_map(|&v| le(v)).collect()
        }
        let padding = self.records.len() + PADDING as usize;
        self.records.resize(padding, 0);
        let small = [
            ("row_rank", &self.row_rank),
            ("row_source", &self.row_source),
            ("parent_row", &self.parent_row),
            ("child_ptr", &self.child_ptr),
            ("child_row", &self.child_row),
            ("child_rank", &self.child_rank),
            ("dictionary", &self.dictionary),
        ];
        let mut arrays = vec![
            (
                "time_value",
                Dtype::I64,
                bytes(&self.time_value, i64::to_le_bytes),
            ),
            (
                "record_ptr",
                Dtype::U64,
                bytes(&self.record_ptr, u64::to_le_bytes),
            ),
        ];
        arrays.extend(small.map(|(name, v)| (name, Dtype::U32, bytes(v, u32::to_le_bytes))));
        arrays.push(("records", Dtype::U8, self.records.clone()));
        let views = arrays.iter().map(|(name, dtype, data)| {
            let shape = vec![data.len() / (dtype.bitsize() / 8)];
            (*name, TensorView::new(*dtype, shape, data).unwrap())
        });
        let version = ("format_version".to_owned(), FORMAT_VERSION.to_string());
        let file = serialize(views, Some(HashMap::from([version]))).unwrap();
        std::fs::write(path, file).unwrap();
    }
}
