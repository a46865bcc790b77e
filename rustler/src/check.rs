//! Checks of a store's arrays, made once when it is opened: one pass over each array. Everything
//! that is read later relies on them.

mod records;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;

use crate::meta::Meta;
use crate::store::{Arrays, NO_RANK, NO_ROW, NO_TIME, Records};
use crate::threads::work_on_threads;

/// From this many rows on, several threads check.
const PARALLEL_ROWS: u32 = 1 << 18;
/// Rows that a thread checks at a time.
const RANGE_ROWS: u64 = 256;
/// Rows of tables with more foreign keys than this are searched in sorted copies: a row that
/// references millions of others, which only a made-up store has, must not take quadratic time.
const MANY_PARENTS: usize = 64;

type Checked = Result<(), String>;

/// Checks offsets, indices, orders and values; the lengths are right already.
pub fn arrays(arrays: &Arrays, meta: &Meta) -> Checked {
    times(arrays)?;
    pointers(arrays)?;
    records::dictionaries(arrays, meta)?;
    let rows = meta.num_rows as u32;
    if let Some(place) = position(arrays.parent_row, |row| row >= rows && row != NO_ROW) {
        return Err(format!("parent_row[{place}] names no row"));
    }
    if let Some(place) = position(arrays.child_row, |row| row >= rows) {
        return Err(format!("child_row[{place}] names no row"));
    }
    let found = AtomicU64::new(0);
    in_parallel(rows, |rows| {
        std::iter::zip(&arrays.layout.tables, &meta.tables).try_for_each(|(layout, table)| {
            let part = layout.rows.start.max(rows.start)..layout.rows.end.min(rows.end);
            let count = records::cells(arrays, layout, (table, meta), part)?;
            found.fetch_add(count, Ordering::Relaxed);
            Ok(())
        })
    })?;
    let found = found.into_inner();
    if found != meta.num_cells {
        return Err(format!("{found} cells, expected {}", meta.num_cells));
    }
    let references = position_count(arrays.parent_row, |row| row != NO_ROW);
    if references != meta.num_edges {
        return Err(format!(
            "parent_row has {references} references, expected {}",
            meta.num_edges
        ));
    }
    let wide = wide_rows(arrays);
    in_parallel(rows, |rows| children(arrays, &wide, rows))
}

fn times(arrays: &Arrays) -> Checked {
    let values = arrays.time_value;
    if values.windows(2).any(|pair| pair[0] >= pair[1]) || values.first() == Some(&NO_TIME) {
        return Err("time_value does not rise, or holds the time of rows without one".into());
    }
    match position(arrays.row_rank, |rank| rank as usize > values.len()) {
        Some(row) => Err(format!("row_rank[{row}] names no time")),
        None => Ok(()),
    }
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

/// Checks ranges of rows on several threads if there are many rows; the first range's error counts.
fn in_parallel(rows: u32, check: impl Fn(Range<u32>) -> Checked + Sync) -> Checked {
    if rows < PARALLEL_ROWS {
        return check(0..rows);
    }
    // Small ranges: the rows that have children may be few and stand together.
    let next = AtomicU64::new(0);
    let check = || {
        loop {
            let first = next.fetch_add(RANGE_ROWS, Ordering::Relaxed);
            if first >= u64::from(rows) {
                return vec![];
            }
            let end = u64::from(rows).min(first + RANGE_ROWS);
            if let Err(what) = check(first as u32..end as u32) {
                return vec![(first, what)];
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let found = work_on_threads(threads, &check);
    found
        .into_iter()
        .min()
        .map_or(Ok(()), |(_, what)| Err(what))
}

fn pointers(arrays: &Arrays) -> Checked {
    for table in &arrays.layout.tables {
        let rows = table.rows.len();
        if let Some(first) = table.first_pointer {
            let ptr = &arrays.child_ptr[first..=first + rows];
            let end = table.num_children;
            if ptr[0] != 0 || ptr[rows] != end || ptr.windows(2).any(|pair| pair[0] > pair[1]) {
                return Err(format!(
                    "child_ptr of table {} does not rise from 0 to {end}",
                    table.number
                ));
            }
        }
        if let Records::Packed(first) = table.records {
            let ptr = &arrays.record_ptr[first..=first + rows];
            let end = table.num_bytes as u64;
            // A difference below 0 wraps around to a large one; a record begins with its presence.
            let least = table.presence as u64;
            let bad = |pair: &[u64]| pair[1].wrapping_sub(pair[0]).wrapping_sub(least) > end;
            if ptr[0] != 0 || ptr[rows] != end || ptr.windows(2).any(bad) {
                return Err(format!(
                    "record_ptr of table {} does not rise from 0 to {end}, or a record is too short",
                    table.number
                ));
            }
        }
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

fn position_count(values: &[u32], good: impl Fn(u32) -> bool) -> u64 {
    values.iter().map(|&v| u64::from(good(v))).sum()
}

/// Sorted parents of the rows that have many.
fn wide_rows(arrays: &Arrays) -> HashMap<u32, Vec<u32>> {
    let wide = arrays.layout.tables.iter();
    let wide = wide.filter(|table| table.num_parents > MANY_PARENTS);
    let sorted = |row: u32| {
        let mut parents: Vec<u32> = arrays.parents(row).collect();
        parents.sort_unstable();
        (row, parents)
    };
    wide.flat_map(|table| table.rows.clone().map(sorted))
        .collect()
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
    let table = arrays.layout.table(child);
    if table.num_parents <= MANY_PARENTS {
        let parents = arrays.parent_places(table, child);
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

/// Children are sorted by (time, row), carry their row's rank, and name the row as their parent as
/// often as they are listed. There are as many children as references, so with that each
/// reference has its child.
fn children(arrays: &Arrays, wide: &HashMap<u32, Vec<u32>>, rows: Range<u32>) -> Checked {
    for row in rows {
        let (rows, ranks) = arrays.children(row);
        let mut last = (NO_RANK, 0);
        let mut listed = 0;
        for (&child, &rank) in rows.iter().zip(ranks) {
            if (rank, child) < last {
                return Err(format!(
                    "the children of row {row} are not sorted by time and row"
                ));
            }
            if arrays.row_rank[child as usize] != rank {
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
            last = (rank, child);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
