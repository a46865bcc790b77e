//! Cases that no small file can hold, or that only show in the arrays themselves.

use super::*;

#[test]
fn no_row_has_more_entries_than_a_place_among_them_can_name() {
    let most = u64::from(u32::MAX);
    assert_eq!(pointers("child_ptr", &[0, most], most), Ok(()));
    let found = pointers("child_ptr", &[0, most + 1], most + 1);
    assert!(found.unwrap_err().contains("gives one row 2^32 entries"));
    assert!(pointers("child_ptr", &[0, 5, 4, 6], 6).is_err());
}

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

/// Row 0 references rows 1 to `parents`, some of them twice; each has it as a child as often.
struct Wide {
    row_time: Vec<i64>,
    parent_ptr: Vec<u64>,
    parent_row: Vec<u32>,
    child_ptr: Vec<u64>,
    child_row: Vec<u32>,
}

impl Wide {
    fn new(parents: u32) -> Self {
        let mut parent_row: Vec<u32> = (1..=parents).rev().chain([parents, 3]).collect();
        parent_row.rotate_left(parents as usize / 2);
        let (mut child_ptr, mut child_row) = (vec![0, 0], Vec::new());
        for row in 1..=parents {
            let times = parent_row.iter().filter(|&&p| p == row).count();
            child_row.extend(std::iter::repeat_n(0, times));
            child_ptr.push(child_row.len() as u64);
        }
        let mut parent_ptr = vec![parent_row.len() as u64; parents as usize + 2];
        parent_ptr[0] = 0;
        Self {
            row_time: vec![0; parents as usize + 1],
            parent_ptr,
            parent_row,
            child_ptr,
            child_row,
        }
    }

    fn check(&self) -> Checked {
        let child_time = vec![0; self.child_row.len()];
        let rows = self.row_time.len() as u32;
        let arrays = Arrays {
            row_time: &self.row_time,
            cell_ptr: &[],
            cell_column: &[],
            cell_value: &[],
            parent_ptr: &self.parent_ptr,
            parent_row: &self.parent_row,
            child_ptr: &self.child_ptr,
            child_row: &self.child_row,
            child_time: &child_time,
        };
        children(&arrays, &wide_rows(&arrays, rows), 0..rows)
    }
}

#[test]
fn every_reference_has_its_child_and_as_often() {
    // Searched in order, and in a sorted copy.
    for parents in [5, 62, 63, 150] {
        let wide = Wide::new(parents);
        assert_eq!(wide.check(), Ok(()));
        for place in 0..wide.parent_row.len() {
            // One reference goes to another row, which does not have the child that often.
            let mut moved = Wide::new(parents);
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
    let rows = parents + 1;
    let wide = Wide {
        row_time: vec![0; rows as usize],
        parent_ptr: [0]
            .into_iter()
            .chain((0..rows).map(|_| u64::from(parents)))
            .collect(),
        parent_row: (1..=parents).collect(),
        child_ptr: [0].into_iter().chain((0..rows).map(u64::from)).collect(),
        child_row: vec![0; parents as usize],
    };
    assert_eq!(wide.check(), Ok(()));
}
