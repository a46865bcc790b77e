//! Cases that no small file can hold, or that only show in the arrays themselves.

use serde_json::json;

use super::*;
use crate::store::Layout;

#[test]
fn embeddings_that_are_not_finite_are_found_wherever_they_stand() {
    let mut values = vec![f16::MAX; (1 << 14) + 30];
    assert_eq!(embeddings(&values, 2), Ok(()));
    assert_eq!(embeddings(&[], 2), Ok(()));
    for bad in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
        for place in [0, 1 << 14, values.len() - 1] {
            values[place] = bad;
            let message = format!("the embedding of text {} is not finite", place / 2);
            assert_eq!(embeddings(&values, 2), Err(message));
            values[place] = f16::ZERO;
        }
    }
}

/// Row 0 references rows 1 to `parents`, some of them twice; each has it as a child as often. Rows
/// are tables of their own, so that they differ in their number of parents.
fn wide(parents: u32) -> Wide {
    let mut parent_row: Vec<u32> = (1..=parents).rev().chain([parents, 3]).collect();
    parent_row.rotate_left(parents as usize / 2);
    let times = |row| parent_row.iter().filter(|&&p| p == row).count();
    let degrees: Vec<u32> = (1..=parents).map(|row| times(row) as u32).collect();
    Wide::new(parent_row, &degrees)
}

struct Wide {
    layout: Layout,
    parent_row: Vec<u32>,
    child_ptr: Vec<u32>,
    child_row: Vec<u32>,
}

impl Wide {
    /// Row 0 has these parents; degrees: children of rows 1, 2, ...
    fn new(parent_row: Vec<u32>, degrees: &[u32]) -> Self {
        let edges: u32 = degrees.iter().sum();
        let table = |rows: [usize; 2], num_parents: usize, num_children: u32| {
            json!({"name": format!("t{}", rows[0]), "kind": "database", "rows": rows,
                   "columns": [0, 0], "num_parents": num_parents, "num_children": num_children,
                   "record_bytes": 0, "packed": false})
        };
        let rows = degrees.len() + 1;
        let meta = json!({"name": "wide", "num_rows": rows, "num_cells": 0, "num_edges": edges,
            "num_texts": 0, "columns": [],
            "tables": [table([0, 1], parent_row.len(), 0), table([1, rows], 0, edges)]});
        let meta: Meta = serde_json::from_value(meta).unwrap();
        let mut child_ptr = vec![0];
        child_ptr.extend(degrees.iter().scan(0, |sum, degree| {
            *sum += degree;
            Some(*sum)
        }));
        Self {
            layout: Layout::new(&meta).unwrap(),
            parent_row,
            child_ptr,
            child_row: vec![0; edges as usize],
        }
    }

    fn check(&self) -> Checked {
        let rows = self.child_ptr.len() as u32;
        let ranks = vec![NO_RANK; self.child_row.len().max(rows as usize)];
        let arrays = Arrays {
            layout: &self.layout,
            time_value: &[],
            row_rank: &ranks[..rows as usize],
            parent_row: &self.parent_row,
            child_ptr: &self.child_ptr,
            child_row: &self.child_row,
            child_rank: &ranks[..self.child_row.len()],
            record_ptr: &[],
            dictionary: &[],
            records: &[0; 4],
        };
        pointers(&arrays)?;
        children(&arrays, &wide_rows(&arrays), 0..rows)
    }
}

#[test]
fn every_reference_has_its_child_and_as_often() {
    // Searched in order, and in a sorted copy.
    for parents in [5, 62, 63, 150] {
        assert_eq!(wide(parents).check(), Ok(()));
        for place in 0..parents as usize + 2 {
            // One reference goes to another row, which does not have the child that often.
            let mut moved = wide(parents);
            moved.parent_row[place] = moved.parent_row[place] % parents + 1;
            let found = moved.check().unwrap_err();
            assert!(found.contains("does not reference it"), "{found}");
        }
    }
}

/// Scanned one by one this is 2e11 comparisons: the test would take minutes.
#[test]
fn a_row_that_references_very_many_is_checked_in_a_moment() {
    let parents: u32 = 600_000;
    let wide = Wide::new((1..=parents).collect(), &vec![1; parents as usize]);
    assert_eq!(wide.check(), Ok(()));
}

#[test]
fn pointers_that_fall_are_noticed() {
    let mut wide = wide(5);
    wide.child_ptr.swap(2, 3);
    let found = wide.check().unwrap_err();
    assert!(
        found.contains("child_ptr of table 1 does not rise"),
        "{found}"
    );
}
