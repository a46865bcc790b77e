//! The memory-mapped store. Opening checks everything that later reads rely on.

mod mapped;

use std::path::{Path, PathBuf};

use half::f16;

use crate::check;
use crate::error::{Error, Result};
use crate::meta::{Meta, SemanticType};
use mapped::{Array, Mapped};

/// Version of the store format that this build reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// The value of `row_time` for rows without a time.
pub const NO_TIME: i64 = i64::MIN;

const ARRAYS_FILE: &str = "store.safetensors";
const META_FILE: &str = "meta.json";

/// The arrays of a store, R rows, C cells, E references (see `rt/store.py`).
#[derive(Clone, Copy)]
pub struct Arrays<'a> {
    pub row_time: &'a [i64],
    pub cell_ptr: &'a [u64],
    pub cell_column: &'a [u32],
    pub cell_value: &'a [u32],
    pub parent_ptr: &'a [u64],
    pub parent_row: &'a [u32],
    pub child_ptr: &'a [u64],
    pub child_row: &'a [u32],
    pub child_time: &'a [i64],
}

impl<'a> Arrays<'a> {
    /// Column numbers and values of a row's cells.
    pub fn cells(&self, row: u32) -> (&'a [u32], &'a [u32]) {
        let range = range(self.cell_ptr, row);
        (&self.cell_column[range.clone()], &self.cell_value[range])
    }

    pub fn parents(&self, row: u32) -> &'a [u32] {
        &self.parent_row[range(self.parent_ptr, row)]
    }

    /// Children and their times, sorted by (time, row).
    pub fn children(&self, row: u32) -> (&'a [u32], &'a [i64]) {
        let range = range(self.child_ptr, row);
        (&self.child_row[range.clone()], &self.child_time[range])
    }

    pub fn time(&self, row: u32) -> Option<i64> {
        let time = self.row_time[row as usize];
        (time != NO_TIME).then_some(time)
    }

    /// The bits of the cell of `column` in `row`, if it is not null.
    pub fn cell(&self, row: u32, column: u32) -> Option<u32> {
        let (columns, values) = self.cells(row);
        let place = columns.binary_search(&column).ok()?;
        Some(values[place])
    }
}

fn range(ptr: &[u64], row: u32) -> std::ops::Range<usize> {
    ptr[row as usize] as usize..ptr[row as usize + 1] as usize
}

/// Places of the arrays in the mapped file.
struct Layout {
    row_source: Array<u32>,
    row_time: Array<i64>,
    cell_ptr: Array<u64>,
    cell_column: Array<u32>,
    cell_value: Array<u32>,
    parent_ptr: Array<u64>,
    parent_row: Array<u32>,
    child_ptr: Array<u64>,
    child_row: Array<u32>,
    child_time: Array<i64>,
}

impl Layout {
    fn new(file: &Mapped, meta: &Meta) -> Result<Self> {
        let rows = [Some(meta.num_rows as usize)];
        let bounds = [Some(meta.num_rows as usize + 1)];
        let cells = [Some(meta.num_cells as usize)];
        let edges = [Some(meta.num_edges as usize)];
        Ok(Self {
            row_source: file.array("row_source", &rows)?,
            row_time: file.array("row_time", &rows)?,
            cell_ptr: file.array("cell_ptr", &bounds)?,
            cell_column: file.array("cell_column", &cells)?,
            cell_value: file.array("cell_value", &cells)?,
            parent_ptr: file.array("parent_ptr", &bounds)?,
            parent_row: file.array("parent_row", &edges)?,
            child_ptr: file.array("child_ptr", &bounds)?,
            child_row: file.array("child_row", &edges)?,
            child_time: file.array("child_time", &edges)?,
        })
    }
}

/// A checked store folder.
///
/// What was checked holds as long as nobody writes into the mapped files. Replacing a file (a new
/// one, renamed) is harmless: the map keeps the old one. Changing values in place can give wrong
/// contexts or an error, as every later access is checked by Rust; cutting a file short in place
/// lets the system end the process with SIGBUS when a page behind the new end is read.
pub struct Store {
    pub path: PathBuf,
    pub meta: Meta,
    /// Semantic type of each column.
    pub types: Vec<SemanticType>,
    file: Mapped,
    layout: Layout,
}

impl Store {
    /// Maps and checks the folder at `path`: one pass over the arrays.
    pub fn open(path: &Path) -> Result<Self> {
        for file in [ARRAYS_FILE, META_FILE] {
            if !path.join(file).is_file() {
                return Err(Error::Missing {
                    path: path.to_owned(),
                    file: file.to_owned(),
                });
            }
        }
        let meta = Meta::read(&path.join(META_FILE))?;
        let file = Mapped::open(path.join(ARRAYS_FILE))?;
        check_version(&file)?;
        let layout = Layout::new(&file, &meta)?;
        let store = Self {
            path: path.to_owned(),
            types: meta.columns.iter().map(|c| c.semantic_type).collect(),
            meta,
            file,
            layout,
        };
        check::arrays(&store.arrays(), &store.meta)
            .and_then(|()| check::sources(store.file.slice(store.layout.row_source), &store.meta))
            .map_err(|what| Error::damaged(&store.file.path, what))?;
        Ok(store)
    }

    pub fn arrays(&self) -> Arrays<'_> {
        let (file, at) = (&self.file, &self.layout);
        Arrays {
            row_time: file.slice(at.row_time),
            cell_ptr: file.slice(at.cell_ptr),
            cell_column: file.slice(at.cell_column),
            cell_value: file.slice(at.cell_value),
            parent_ptr: file.slice(at.parent_ptr),
            parent_row: file.slice(at.parent_row),
            child_ptr: file.slice(at.child_ptr),
            child_row: file.slice(at.child_row),
            child_time: file.slice(at.child_time),
        }
    }
}

fn check_version(file: &Mapped) -> Result<()> {
    let notes = file.header.metadata().as_ref();
    let found = notes.and_then(|m| m.get("format_version"));
    if found.is_some_and(|v| *v == FORMAT_VERSION.to_string()) {
        return Ok(());
    }
    let found = found.map_or("none".into(), |v| format!("'{v}'"));
    Err(Error::version(&file.path, found, FORMAT_VERSION))
}

/// The text embeddings of one store by one embedder, f16[T, dim].
pub struct Embeddings {
    pub dim: usize,
    file: Mapped,
    array: Array<f16>,
}

impl Embeddings {
    pub fn open(store: &Store, embedder: &str) -> Result<Self> {
        let path = store.path.join(format!("text.{embedder}.safetensors"));
        if !path.is_file() {
            return Err(Error::Embedder {
                path: store.path.clone(),
                embedder: embedder.to_owned(),
                available: available(&store.path)?,
            });
        }
        let file = Mapped::open(path)?;
        let texts = store.meta.num_texts as usize;
        let array = file.array("embedding", &[Some(texts), None])?;
        let dim = file
            .header
            .info("embedding")
            .map_or(0, |info| info.shape[1]);
        if dim == 0 {
            return Err(Error::damaged(&file.path, "embeddings of width 0"));
        }
        check::embeddings(file.slice(array), dim)
            .map_err(|what| Error::damaged(&file.path, what))?;
        Ok(Self { dim, file, array })
    }

    /// The embedding of one text, f16[dim].
    pub fn text(&self, number: u32) -> &[f16] {
        let first = number as usize * self.dim;
        &self.file.slice(self.array)[first..first + self.dim]
    }
}

/// Names of the embedders whose files are in the folder, for a message.
fn available(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name();
        let name = name.to_string_lossy().into_owned();
        let inner = name
            .strip_prefix("text.")
            .and_then(|n| n.strip_suffix(".safetensors"));
        names.extend(inner.map(str::to_owned));
    }
    names.sort();
    Ok(if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    })
}
