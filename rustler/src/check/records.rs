//! Checks of records: which cells are there, and that each is a value of its column.

use std::ops::Range;

use super::{Checked, position};
use crate::meta::{Meta, SemanticType, Table};
use crate::store::{Arrays, Records, TableLayout};

/// Texts and numbers of dictionaries.
pub fn dictionaries(arrays: &Arrays, meta: &Meta) -> Checked {
    for (table, described) in std::iter::zip(&arrays.layout.tables, &meta.tables) {
        for (column, field) in std::iter::zip(described.columns(), &table.fields) {
            let Some((first, count)) = field.dictionary else {
                continue;
            };
            let (mask, limit) = value_limit(meta, column);
            let values = &arrays.dictionary[first..first + count as usize];
            if position(values, |value| value & mask >= limit).is_some() {
                return Err(format!(
                    "the dictionary of column {column} of table '{}' holds a value that is no \
                     text's number or not finite",
                    described.name
                ));
            }
        }
    }
    Ok(())
}

/// Checks the records of some rows; the number of their cells.
pub fn cells(
    arrays: &Arrays,
    layout: &TableLayout,
    (table, meta): (&Table, &Meta),
    rows: Range<u32>,
) -> Result<u64, String> {
    if rows.is_empty() {
        return Ok(0);
    }
    let limits = std::iter::zip(table.columns(), &layout.fields).map(|(column, field)| match field
        .dictionary
    {
        Some((_, count)) => (u32::MAX, count),
        None => value_limit(meta, column),
    });
    let limits: Vec<(u32, u32)> = limits.collect();
    let unused = unused_bits(layout);
    let mut found = 0;
    for row in rows {
        let last = arrays.record_start(layout, row) + layout.presence.max(1) - 1;
        if arrays.records[last] & unused != 0 {
            return Err(format!(
                "row {row} of table '{}' has a cell of a column that is not there",
                table.name
            ));
        }
        let mut cells = arrays.raw_cells(layout, row);
        for (number, raw) in cells.by_ref() {
            let (mask, limit) = limits[number];
            if raw & mask >= limit {
                return Err(format!(
                    "row {row} of table '{}', column {}: the value is in no dictionary, no text's \
                     number or not finite",
                    table.name,
                    layout.first_column as usize + number
                ));
            }
            found += 1;
        }
        if let Records::Packed(first) = layout.records {
            let place = first + (row - layout.rows.start) as usize;
            let size = arrays.record_ptr[place + 1] - arrays.record_ptr[place];
            if cells.at as u64 != size {
                return Err(format!(
                    "row {row} of table '{}' has a record of {size} bytes, expected {}",
                    table.name, cells.at
                ));
            }
        }
    }
    Ok(found)
}

/// Bits of the last byte of a record's presence that stand for no cell.
fn unused_bits(layout: &TableLayout) -> u8 {
    let optional = layout.fields.iter().filter(|f| f.bit.is_some()).count();
    match optional % 8 {
        0 => 0,
        used => u8::MAX << used,
    }
}

/// (mask, limit): a value's bits are good if bits & mask < limit. Texts are below the number of
/// texts; floats have an exponent that is not all ones, so they are finite.
fn value_limit(meta: &Meta, column: u32) -> (u32, u32) {
    const EXPONENT: u32 = 0x7f80_0000;
    match meta.columns[column as usize].semantic_type {
        SemanticType::Text => (u32::MAX, u32::try_from(meta.num_texts).unwrap_or(u32::MAX)),
        _ => (EXPONENT, EXPONENT),
    }
}
