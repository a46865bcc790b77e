//! Checks of a store's arrays, made once when it is opened: one pass over each array. Everything
//! that is read later relies on them.

use std::collections::HashMap;
use std::ops::Range;

use half::f16;

use crate::meta::{Meta, SemanticType, Table};
use crate::store::Arrays;

/// From this many rows on, several threads check.
const PARALLEL_ROWS: u32 = 1 << 18;
/// Rows with more parents than this are searched in sorted copies: a row that references millions
/// of others, which only a made-up store has, must not take quadratic time.
const MANY_PARENTS: usize = 64;

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
    let wide = wide_rows(arrays, meta.num_rows as u32);
    in_parallel(meta.num_rows as u32, |rows| children(arrays, &wide, rows))
}

/// Python looks up the rows of a table's file by `row_source`: each row of the file exactly once.
pub fn sources(row_source: &[u32], meta: &Meta) -> Checked {
    for table in &meta.tables {
        let rows = table.rows();
        let of_table = &row_source[rows.start as usize..rows.end as usize];
        if of_table.iter().copied().eq(0..rows.len() as u32) {
            continue; // The rows stand as in their file: most do, and need no more.
        }
        let mut seen = vec![0_u64; rows.len().div_ceil(64)];
        for (row, &source) in rows.clone().zip(of_table) {
            let (word, bit) = (source as usize / 64, 1 << (source % 64));
            if source as usize >= rows.len() || seen[word] & bit != 0 {
                return Err(format!(
                    "row_source[{row}] is {source}: not a row of the file of table '{}', or one \
                     that another row has",
                    table.name
                ));
            }
            seen[word] |= bit;
        }
    }
    Ok(())
}

/// One embedding that is not finite would turn a whole model into NaN.
pub fn embeddings(values: &[f16], dim: usize) -> Checked {
    const EXPONENT: u16 = 0x7c00;
    let bad = |v: &f16| v.to_bits() & EXPONENT == EXPONENT;
    // Without a way out inside a piece the scan vectorises.
    let piece = |piece: &[f16]| piece.iter().fold(false, |any, v| any | bad(v));
    if !values.chunks(1 << 14).any(piece) {
        return Ok(());
    }
    let place = values.iter().position(bad).unwrap_or(0);
    Err(format!(
        "the embedding of text {} is not finite",
        place / dim
    ))
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
    // A difference below 0 wraps around to a large one.
    let bad = |pair: &[u64]| pair[1].wrapping_sub(pair[0]) > u64::from(u32::MAX);
    if ptr.windows(2).any(bad) {
        return Err(format!("{name} falls, or gives one row 2^32 entries"));
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

/// Sorted parents of the rows that have many.
fn wide_rows(arrays: &Arrays, rows: u32) -> HashMap<u32, Vec<u32>> {
    let many = |row: &u32| arrays.parents(*row).len() > MANY_PARENTS;
    let sorted = |row: u32| {
        let mut parents = arrays.parents(row).to_vec();
        parents.sort_unstable();
        (row, parents)
    };
    (0..rows).filter(many).map(sorted).collect()
}

/// Does `child` reference `row` at least `times` times?
#[inline]
fn references(
    arrays: &Arrays,
    wide: &HashMap<u32, Vec<u32>>,
    child: u32,
    row: u32,
    times: usize,
) -> bool {
    let parents = arrays.parents(child);
    if parents.len() <= MANY_PARENTS {
        return match times {
            1 => parents.contains(&row),
            _ => parents.iter().filter(|&&p| p == row).count() >= times,
        };
    }
    wide.get(&child).is_some_and(|parents| {
        let first = parents.partition_point(|&p| p < row);
        parents.get(first + times - 1) == Some(&row)
    })
}

/// Children are sorted by (time, row), carry their row's time, and name the row as their parent as
/// often as they are listed. There are as many children as references, so with that each
/// reference has its child.
fn children(arrays: &Arrays, wide: &HashMap<u32, Vec<u32>>, rows: Range<u32>) -> Checked {
    for row in rows {
        let (rows, times) = arrays.children(row);
        let mut last = (i64::MIN, 0);
        let mut listed = 0;
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
            listed = if last.1 == child { listed + 1 } else { 1 };
            if !references(arrays, wide, child, row, listed) {
                return Err(format!(
                    "child {child} of row {row} does not reference it, or not as often as it is \
                     listed"
                ));
            }
            last = (time, child);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
