//! `meta.json`: names, types and ranges of a store's tables and columns.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::store::FORMAT_VERSION;

/// Semantic types by their code.
pub const SEMANTIC_TYPES: [&str; 4] = ["number", "text", "datetime", "boolean"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum SemanticType {
    Number = 0,
    Text = 1,
    Datetime = 2,
    Boolean = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Database,
    /// Label rows of one task.
    Task,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    pub name: String,
    pub kind: Kind,
    #[serde(default)]
    time_column: Option<String>,
    rows: (u32, u32),
    columns: (u32, u32),
    /// Places for parents that each row has in `parent_row`.
    pub num_parents: u32,
    /// References to the table's rows.
    pub num_children: u32,
    /// Bytes that the table's records take.
    pub record_bytes: u64,
    /// Records leave out absent cells, so they differ in length and have pointers.
    pub packed: bool,
    /// One for each place of parents.
    #[serde(default)]
    pub foreign_keys: Vec<ForeignKey>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ForeignKey {
    pub column: String,
    /// The table that it references.
    pub parent: u32,
    /// The text "<column> of <table>"; absent in older stores.
    #[serde(default)]
    pub name_text: Option<u32>,
}

impl Table {
    /// Global row numbers.
    pub fn rows(&self) -> Range<u32> {
        self.rows.0..self.rows.1
    }

    /// Column numbers.
    pub fn columns(&self) -> Range<u32> {
        self.columns.0..self.columns.1
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct Column {
    pub name: String,
    pub table: u32,
    #[serde(rename = "type")]
    pub semantic_type: SemanticType,
    pub name_text: u32,
    /// Mean and deviation by which its values were normalised, of times in seconds.
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    std: Option<f64>,
    /// Bytes of a cell in its record, 0 to 4.
    pub width: u8,
    /// Whether rows may lack a cell.
    pub optional: bool,
    /// Distinct values if cells are places among these; otherwise cells are values themselves.
    #[serde(deserialize_with = "Option::deserialize")] // null, but not left out
    pub dictionary: Option<u32>,
}

/// What the sampler needs of `meta.json`; further keys are for others.
#[derive(Clone, Debug, Deserialize)]
pub struct Meta {
    pub name: String,
    /// Up to when rows are of the training split, in seconds.
    #[serde(default)]
    pub val_timestamp: Option<i64>,
    pub num_rows: u64,
    pub num_cells: u64,
    pub num_edges: u64,
    pub num_texts: u64,
    pub tables: Vec<Table>,
    pub columns: Vec<Column>,
}

/// The one key that has to be read before the rest can be trusted to have today's shape.
#[derive(Deserialize)]
struct Version {
    format_version: serde_json::Value,
}

/// Longest `meta.json` that is read: a file of any size must not fill the memory.
const MAX_BYTES: u64 = 1 << 30;

fn read_text(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > MAX_BYTES => Err(Error::damaged(
            path,
            format!("longer than {MAX_BYTES} bytes"),
        )),
        Ok(_) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            Err(Error::damaged(path, format!("not readable: {e}")))
        }
        Err(e) => Err(Error::io(path, e)),
    }
}

/// How times were normalised: their mean and deviation in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeScale {
    mean: f64,
    std: f64,
}

impl TimeScale {
    fn of(column: &Column) -> Option<Self> {
        let (mean, std) = (column.mean?, column.std?);
        (std > 0.0).then_some(Self { mean, std })
    }

    pub fn normalised(&self, time: i64) -> f64 {
        (time as f64 - self.mean) / self.std
    }
}

impl Meta {
    /// None if the store has no times, or does not say of all of them that it is the same.
    pub fn time_scale(&self) -> Option<TimeScale> {
        let is_time = |column: &&Column| column.semantic_type == SemanticType::Datetime;
        let mut scales = self.columns.iter().filter(is_time).map(TimeScale::of);
        let first = scales.next()??;
        scales.all(|scale| scale == Some(first)).then_some(first)
    }

    /// Reads and checks `meta.json`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let bad = |e: serde_json::Error| Error::damaged(path, format!("not readable: {e}"));
        let version: Version = serde_json::from_str(&text).map_err(bad)?;
        if version.format_version.as_u64() != Some(u64::from(FORMAT_VERSION)) {
            let found = version.format_version.to_string();
            return Err(Error::version(path, found, FORMAT_VERSION));
        }
        let meta: Meta = serde_json::from_str(&text).map_err(bad)?;
        meta.check().map_err(|what| Error::damaged(path, what))?;
        Ok(meta)
    }

    /// Rows of database tables come before this number, label rows from it on.
    pub fn first_label_row(&self) -> u32 {
        let database = self.tables.iter().filter(|t| t.kind == Kind::Database);
        database.map(|t| t.rows.1).max().unwrap_or(0)
    }

    /// The number of the table that holds `row`, which must exist.
    pub fn table_of(&self, row: u32) -> usize {
        self.tables.partition_point(|t| t.rows.1 <= row)
    }

    /// The rows of the entities that a table of labels is about, if each of its rows has one.
    pub fn label_entities(&self, table: usize) -> Option<Range<u32>> {
        let table = &self.tables[table];
        let parent = match (&table.kind, &table.foreign_keys[..]) {
            (Kind::Task, [key]) => self.tables.get(key.parent as usize)?,
            _ => return None,
        };
        Some(parent.rows())
    }

    /// The column that holds the times of a table's rows, if there is one.
    pub fn time_column(&self, table: usize) -> Option<u32> {
        let table = &self.tables[table];
        let name = table.time_column.as_ref()?;
        let mut columns = table.columns();
        columns.find(|&column| self.columns[column as usize].name == *name)
    }

    fn check(&self) -> std::result::Result<(), String> {
        self.check_tables()?;
        self.check_names()?;
        for (number, column) in self.columns.iter().enumerate() {
            let table = self.tables.get(column.table as usize);
            if !table.is_some_and(|t| t.columns().contains(&(number as u32))) {
                return Err(format!(
                    "column {number} ('{}') is not among the columns of its table {}",
                    column.name, column.table
                ));
            }
            if u64::from(column.name_text) >= self.num_texts {
                return Err(format!(
                    "column '{}' names text {} of {}",
                    column.name, column.name_text, self.num_texts
                ));
            }
        }
        Ok(())
    }

    /// Names are looked up: of two that are alike one would never be found.
    fn check_names(&self) -> std::result::Result<(), String> {
        let mut tables = HashSet::new();
        if let Some(table) = self
            .tables
            .iter()
            .find(|t| !tables.insert((t.kind, &t.name)))
        {
            return Err(format!("two tables are named '{}'", table.name));
        }
        let mut columns = HashSet::new();
        match self
            .columns
            .iter()
            .find(|c| !columns.insert((c.table, &c.name)))
        {
            Some(column) => Err(format!(
                "two columns of table {} are named '{}'",
                column.table, column.name
            )),
            None => Ok(()),
        }
    }

    fn check_tables(&self) -> std::result::Result<(), String> {
        let (mut row, mut column, mut labels) = (0, 0, false);
        for table in &self.tables {
            let (rows, columns) = (table.rows, table.columns);
            if rows.0 != row || columns.0 != column || rows.1 < row || columns.1 < column {
                return Err(format!(
                    "table '{}' has rows {rows:?} and columns {columns:?} where rows should start \
                     at {row} and columns at {column}",
                    table.name
                ));
            }
            if labels && table.kind == Kind::Database {
                return Err(format!(
                    "database table '{}' stands after a task's",
                    table.name
                ));
            }
            (row, column, labels) = (rows.1, columns.1, table.kind == Kind::Task);
        }
        // Row and column numbers have to fit i32 arrays in a batch.
        if u64::from(row) != self.num_rows || column as usize != self.columns.len() {
            return Err(format!(
                "the tables cover {row} rows and {column} columns, but there are {} and {}",
                self.num_rows,
                self.columns.len()
            ));
        }
        if column > i32::MAX as u32 || self.tables.len() > i32::MAX as usize {
            return Err("too many columns or tables".into());
        }
        Ok(())
    }
}
