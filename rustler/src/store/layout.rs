//! Where what belongs to a table and its rows stands in the arrays of a store.

use std::ops::Range;

use super::arrays::NO_ROW;
use crate::meta::{Column, Meta, Table};

/// Bytes behind the last record: every value can be read as four bytes.
pub const PADDING: u64 = 4;
/// Most ranges of rows whose first table is noted, to find the table of a row.
const PAGES: u32 = 4096;

/// How the cells of one column stand in records.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub width: usize,
    /// Where it stands in records in which absent cells have their place.
    pub offset: usize,
    /// Of the four bytes at its place, those that are the cell's.
    pub mask: u32,
    /// Among the bits at a record's beginning, the one that says whether the cell is there.
    pub bit: Option<usize>,
    /// Its distinct values in `dictionary`, if cells are places among them.
    pub dictionary: Option<(usize, u32)>,
}

impl Field {
    /// Whether a record, or what begins with it, has the cell.
    #[inline]
    pub fn is_in(&self, record: &[u8]) -> bool {
        self.bit
            .is_none_or(|bit| record[bit / 8] >> (bit % 8) & 1 == 1)
    }

    /// The cell as it stands at this place of a record.
    #[inline]
    pub fn raw(&self, record: &[u8], at: usize) -> u32 {
        // Only a record that has not been checked yet can reach over the end.
        let rest = record.get(at..).and_then(|rest| rest.first_chunk());
        u32::from_le_bytes(*rest.unwrap_or(&[0; 4])) & self.mask
    }

    /// The bits of a cell that stands so in a record.
    #[inline]
    pub fn bits(&self, raw: u32, dictionary: &[u32]) -> u32 {
        match self.dictionary {
            Some((first, _)) => dictionary[first + raw as usize],
            None => raw,
        }
    }
}

/// How long the records of a table are.
#[derive(Clone, Copy, Debug)]
pub enum Records {
    /// All as long; absent cells have their place.
    Even(usize),
    /// Absent cells have none; from this place in `record_ptr` on the rows' ends are found.
    Packed(usize),
}

#[derive(Clone, Debug)]
pub struct TableLayout {
    pub number: usize,
    pub rows: Range<u32>,
    pub first_column: u32,
    pub fields: Vec<Field>,
    /// Bytes at the beginning of each record that say which optional cells are there.
    pub presence: usize,
    /// Cells that every row has.
    pub required: usize,
    pub records: Records,
    pub first_byte: usize,
    pub num_bytes: usize,
    pub num_parents: usize,
    /// No row lacks a parent.
    pub all_parents: bool,
    pub first_parent: usize,
    /// Place in `child_ptr` of the first row; None if no row has children.
    pub first_pointer: Option<usize>,
    pub first_edge: usize,
    pub num_children: u32,
}

/// Numbers of elements of the arrays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    pub parents: u64,
    pub child_pointers: u64,
    pub edges: u64,
    pub record_pointers: u64,
    pub record_bytes: u64,
    pub dictionary: u64,
}

#[derive(Clone, Debug)]
pub struct Layout {
    pub tables: Vec<TableLayout>,
    pub sizes: Sizes,
    /// The table of the first row of each 2^shift rows.
    pages: Vec<u32>,
    shift: u32,
}

impl Layout {
    /// `meta` must have been checked.
    pub fn new(meta: &Meta) -> Result<Self, String> {
        let mut sizes = Sizes::default();
        let tables = meta.tables.iter().enumerate();
        let tables = tables.map(|table| add_table(&mut sizes, table, &meta.columns));
        let tables = tables.collect::<Result<Vec<_>, String>>()?;
        if sizes.edges != meta.num_edges {
            return Err(format!(
                "the tables have {} references, expected {}",
                sizes.edges, meta.num_edges
            ));
        }
        sizes.record_bytes = add(sizes.record_bytes, PADDING)?;
        let rows = meta.num_rows as u32;
        let shift = (u32::BITS - rows.leading_zeros()).saturating_sub(PAGES.ilog2());
        let pages = (0..=rows >> shift).map(|page| meta.table_of(page << shift) as u32);
        Ok(Self {
            pages: pages.collect(),
            tables,
            sizes,
            shift,
        })
    }

    /// The table of this number, which must exist.
    pub fn table_numbered(&self, number: usize) -> &TableLayout {
        &self.tables[number]
    }

    /// Notes which tables have rows without a parent, so that others need not be searched for one.
    pub fn note_parents(&mut self, parent_row: &[u32]) {
        for table in &mut self.tables {
            let count = table.rows.len() * table.num_parents;
            let places = &parent_row[table.first_parent..table.first_parent + count];
            table.all_parents = !places.contains(&NO_ROW);
        }
    }

    /// The table that holds `row`, which must exist.
    #[inline]
    pub fn table(&self, row: u32) -> &TableLayout {
        let mut number = self.pages[(row >> self.shift) as usize] as usize;
        while row >= self.tables[number].rows.end {
            number += 1;
        }
        &self.tables[number]
    }
}

fn add_table(
    sizes: &mut Sizes,
    (number, table): (usize, &Table),
    columns: &[Column],
) -> Result<TableLayout, String> {
    let columns = &columns[table.columns().start as usize..table.columns().end as usize];
    let rows = table.rows();
    let count = rows.len() as u64;
    let mut fields = Vec::with_capacity(columns.len());
    let (mut bits, mut bytes) = (0, 0);
    for column in columns {
        fields.push(field(sizes, column, &mut bits)?);
        bytes += u64::from(column.width);
    }
    let presence = bits.div_ceil(8);
    let mut offset = presence;
    for field in &mut fields {
        field.offset = offset;
        offset += field.width;
    }
    let stride = bytes + presence as u64;
    let records = match table.packed {
        true => Records::Packed(sizes.record_pointers as usize),
        false => Records::Even(stride as usize),
    };
    if !table.packed && stride.checked_mul(count) != Some(table.record_bytes) {
        return Err(format!(
            "table '{}': {count} records of {stride} bytes are not {} bytes",
            table.name, table.record_bytes
        ));
    }
    let found = TableLayout {
        number,
        rows,
        first_column: table.columns().start,
        fields,
        presence,
        required: columns.len() - bits,
        records,
        first_byte: sizes.record_bytes as usize,
        num_bytes: table.record_bytes as usize,
        num_parents: table.num_parents as usize,
        all_parents: false,
        first_parent: sizes.parents as usize,
        first_pointer: (table.num_children > 0).then_some(sizes.child_pointers as usize),
        first_edge: sizes.edges as usize,
        num_children: table.num_children,
    };
    sizes.parents = add(sizes.parents, count * u64::from(table.num_parents))?;
    sizes.edges = add(sizes.edges, u64::from(table.num_children))?;
    sizes.record_bytes = add(sizes.record_bytes, table.record_bytes)?;
    let pointers = count + 1;
    if table.packed {
        sizes.record_pointers += pointers;
    }
    if table.num_children > 0 {
        sizes.child_pointers += pointers;
    }
    Ok(found)
}

fn field(sizes: &mut Sizes, column: &Column, bits: &mut usize) -> Result<Field, String> {
    let mask = match column.width {
        width @ 0..=3 => (1 << (8 * width)) - 1,
        4 => u32::MAX,
        width => {
            return Err(format!(
                "column '{}' has cells of {width} bytes, more than 4",
                column.name
            ));
        }
    };
    let dictionary = column
        .dictionary
        .map(|count| (sizes.dictionary as usize, count));
    sizes.dictionary += u64::from(column.dictionary.unwrap_or(0));
    let bit = column.optional.then_some(*bits);
    *bits += usize::from(column.optional);
    Ok(Field {
        width: column.width.into(),
        offset: 0,
        mask,
        bit,
        dictionary,
    })
}

fn add(sum: u64, more: u64) -> Result<u64, String> {
    sum.checked_add(more)
        .ok_or_else(|| "the tables are larger than any file".into())
}
