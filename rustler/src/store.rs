//! The memory-mapped store. Opening checks everything that later reads rely on.

mod arrays;
mod layout;
mod mapped;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;

use crate::check;
use crate::error::{Error, Result, argument};
use crate::meta::{Meta, SemanticType, TimeScale};
pub use arrays::{Arrays, NO_RANK, NO_ROW};
use layout::Sizes;
pub use layout::{Layout, PADDING, Records, TableLayout};
use mapped::{Array, Mapped};

/// Version of the store format that this build reads and writes.
pub const FORMAT_VERSION: u32 = 3;
/// In Python, the time of rows without one.
pub const NO_TIME: i64 = i64::MIN;

const ARRAYS_FILE: &str = "store.safetensors";
const META_FILE: &str = "meta.json";

/// Places of the arrays in the mapped file.
struct Places {
    time_value: Array<i64>,
    record_ptr: Array<u64>,
    row_rank: Array<u32>,
    row_source: Array<u32>,
    parent_row: Array<u32>,
    child_ptr: Array<u32>,
    child_row: Array<u32>,
    child_rank: Array<u32>,
    dictionary: Array<u32>,
    records: Array<u8>,
}

impl Places {
    fn new(file: &Mapped, num_rows: u64, sizes: &Sizes) -> Result<Self> {
        let whole = |size: u64| [Some(size as usize)];
        let (rows, edges) = (whole(num_rows), whole(sizes.edges));
        Ok(Self {
            time_value: file.array("time_value", &[None])?,
            record_ptr: file.array("record_ptr", &whole(sizes.record_pointers))?,
            row_rank: file.array("row_rank", &rows)?,
            row_source: file.array("row_source", &rows)?,
            parent_row: file.array("parent_row", &whole(sizes.parents))?,
            child_ptr: file.array("child_ptr", &whole(sizes.child_pointers))?,
            child_row: file.array("child_row", &edges)?,
            child_rank: file.array("child_rank", &edges)?,
            dictionary: file.array("dictionary", &whole(sizes.dictionary))?,
            records: file.array("records", &whole(sizes.record_bytes))?,
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
    pub time_scale: Option<TimeScale>,
    layout: Layout,
    file: Mapped,
    places: Places,
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
        check_meta(&file, &path.join(META_FILE))?;
        let layout =
            Layout::new(&meta).map_err(|what| Error::damaged(&path.join(META_FILE), what))?;
        let places = Places::new(&file, meta.num_rows, &layout.sizes)?;
        let mut store = Self {
            path: path.to_owned(),
            types: meta.columns.iter().map(|c| c.semantic_type).collect(),
            time_scale: meta.time_scale(),
            meta,
            layout,
            file,
            places,
        };
        check::arrays(&store.arrays(), &store.meta)
            .and_then(|()| check::sources(store.file.slice(store.places.row_source), &store.meta))
            .map_err(|what| Error::damaged(&store.file.path, what))?;
        let parent_row = store.file.slice(store.places.parent_row);
        store.layout.note_parents(parent_row);
        Ok(store)
    }

    /// The first `limit` different texts of a column in a range of its table's rows.
    pub fn distinct_texts(&self, column: u32, rows: Range<u32>, limit: usize) -> Result<Vec<u32>> {
        let Some(SemanticType::Text) = self.types.get(column as usize) else {
            return argument(format!("column {column} is no column of texts"));
        };
        let table = &self.meta.tables[self.meta.columns[column as usize].table as usize];
        let all = table.rows();
        if rows.start > rows.end || rows.start < all.start || rows.end > all.end {
            let name = &table.name;
            return argument(format!(
                "{rows:?} is no range of the rows {all:?} of '{name}'"
            ));
        }
        let (arrays, mut seen) = (self.arrays(), HashSet::new());
        let texts = rows.filter_map(|row| arrays.cell(row, column));
        Ok(texts
            .filter(|&text| seen.insert(text))
            .take(limit)
            .collect())
    }

    pub fn arrays(&self) -> Arrays<'_> {
        let (file, at) = (&self.file, &self.places);
        Arrays {
            layout: &self.layout,
            time_value: file.slice(at.time_value),
            row_rank: file.slice(at.row_rank),
            parent_row: file.slice(at.parent_row),
            child_ptr: file.slice(at.child_ptr),
            child_row: file.slice(at.child_row),
            child_rank: file.slice(at.child_rank),
            record_ptr: file.slice(at.record_ptr),
            dictionary: file.slice(at.dictionary),
            records: file.slice(at.records),
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

/// Compares meta.json with the checksum that the arrays' file has of it, if it has one.
fn check_meta(file: &Mapped, path: &Path) -> Result<()> {
    let notes = file.header.metadata().as_ref();
    let Some(noted) = notes.and_then(|m| m.get("meta_crc32")) else {
        return Ok(());
    };
    let found = checksum(path, 0).map_err(|e| Error::io(path, e))?;
    match *noted == format!("{found:08x}") {
        true => Ok(()),
        false => Err(Error::damaged(
            path,
            format!("its checksum is {found:08x}, not {noted}: bytes have changed"),
        )),
    }
}

/// CRC-32 (IEEE) of a file from an offset on.
pub fn checksum(path: &Path, start: u64) -> std::io::Result<u32> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let (mut sum, mut piece) = (crc32fast::Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sum.finalize()),
            count => sum.update(&piece[..count]),
        }
    }
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
