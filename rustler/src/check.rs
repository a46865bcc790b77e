//! Checks of a store's arrays, made once when it is opened: one pass over each array. Everything
//! that is read later relies on them.

use std::ops::Range;

use crate::meta::{Meta, SemanticType, Table};
use crate::store::Arrays;

/// From this many rows on, several threads check.
const PARALLEL_ROWS: u32 = 1 << 18;

type Checked = Result<(), String>;

/// Checks lengths, offsets, indices, orders and values.
pub fn arrays(arrays: &Arrays, meta: &Meta) -> Checked {
    pointers("cell_ptr", arrays.cell_ptr, meta.num_cells)?;
    pointers("parent_ptr", arrays.parent_ptr, meta.num_edges)?;
    pointers("child_ptr", arrays.child_ptr, meta.num_edges)?;
    let limits = value_limits(meta);
    in_parallel(meta.num_rows as u32, |rows| {
        meta.tables.iter().try_for_each(|table| {
            let part = table.rows().start.max(rows.start)..table.rows().end.min(rows.end);
            cells(arrays, table, part, &limits)
        })
    })?;
    if let Some(place) = position(arrays.parent_row, |row| u64::from(row) >= meta.num_rows) {
        return Err(format!("parent_row[{place}] names no row"));
    }
    if let Some(place) = position(arrays.child_row, |row| u64::from(row) >= meta.num_rows) {
        return Err(format!("child_row[{place}] names no row"));
    }
    in_parallel(meta.num_rows as u32, |rows| children(arrays, rows))
}

/// Checks ranges of rows on several threads if there are many; the first range's error counts.
fn in_parallel(rows: u32, check: impl Fn(Range<u32>) -> Checked + Sync) -> Checked {
    if rows < PARALLEL_ROWS {
        return check(0..rows);
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8)) as u32;
    let step = rows.div_ceil(threads);
    let ranges = (0..threads)
        .map(|i| i.saturating_mul(step).min(rows)..(i + 1).saturating_mul(step).min(rows));
    std::thread::scope(|scope| {
        let check = &check;
        let running: Vec<_> = ranges
            .map(|range| scope.spawn(move || check(range)))
            .collect();
        let mut first = Ok(());
        for thread in running {
            let found = thread
                .join()
                .unwrap_or_else(|_| Err("the check failed".into()));
            first = first.and(found);
        }
        first
    })
}

fn pointers(name: &str, ptr: &[u64], end: u64) -> Checked {
    if ptr.first() != Some(&0) || ptr.last() != Some(&end) {
        return Err(format!("{name} does not run from 0 to {end}"));
    }
    if ptr.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(format!("{name} falls somewhere"));
    }
    Ok(())
}

/// The first place where `bad` holds. The scan without a place comes first: it vectorises.
fn position(values: &[u32], bad: impl Fn(u32) -> bool) -> Option<usize> {
    if !values.iter().fold(false, |any, &v| any | bad(v)) {
        return None;
    }
    values.iter().position(|&v| bad(v))
}

/// Per column (mask, limit): a cell's bits are good if bits & mask < limit. Texts are below the
/// number of texts; floats have an exponent that is not all ones, so they are finite.
fn value_limits(meta: &Meta) -> Vec<(u32, u32)> {
    const EXPONENT: u32 = 0x7f80_0000;
    let texts = u32::try_from(meta.num_texts).unwrap_or(u32::MAX);
    let limit = |t| match t {
        SemanticType::Text => (u32::MAX, texts),
        _ => (EXPONENT, EXPONENT),
    };
    meta.columns
        .iter()
        .map(|c| limit(c.semantic_type))
        .collect()
}

fn cells(arrays: &Arrays, table: &Table, rows: Range<u32>, limits: &[(u32, u32)]) -> Checked {
    for row in rows {
        let (columns, values) = arrays.cells(row);
        let mut next = table.columns().start;
        for (&column, &value) in columns.iter().zip(values) {
            if column < next || column >= table.columns().end {
                return Err(format!(
                    "row {row} of table '{}' has a cell of column {column} out of order or of \
                     another table",
                    table.name
                ));
            }
            let (mask, limit) = limits[column as usize];
            if value & mask >= limit {
                return Err(format!(
                    "row {row} of table '{}', column {column}: the value is no text's number or \
                     not finite",
                    table.name
                ));
            }
            next = column + 1;
        }
    }
    Ok(())
}

/// Children are sorted by (time, row), carry their row's time, and name the row as their parent.
fn children(arrays: &Arrays, rows: Range<u32>) -> Checked {
    for row in rows {
        let (rows, times) = arrays.children(row);
        let mut last = (i64::MIN, 0);
        for (&child, &time) in rows.iter().zip(times) {
            if (time, child) < last {
                return Err(format!(
                    "the children of row {row} are not sorted by time and row"
                ));
            }
            if arrays.row_time[child as usize] != time {
                return Err(format!(
                    "child {child} of row {row} has another time than its row"
                ));
            }
            if !arrays.parents(child).contains(&row) {
                return Err(format!("child {child} of row {row} does not reference it"));
            }
            last = (time, child);
        }
    }
    Ok(())
}
