//! Encoded rows of parent tables, and blocks <-> rows.

use super::aggregate::Aggregation;
use super::block::{Lane, ROWS, ZERO};

/// The aggregates of a parent table's encoded columns, row after row, and the neutral element in
/// one row more; by aggregation.
pub struct Encoded {
    pub num_rows: usize,
    pub dim: usize,
    pub by_aggregation: [Vec<f32>; 4],
}

impl Encoded {
    /// All rows of one aggregation, and the neutral element.
    pub fn rows(&self, kind: Aggregation) -> &[f32] {
        &self.by_aggregation[kind as usize]
    }

    pub fn gather(&self, kind: Aggregation, links: &[i64], to: &mut [Lane]) {
        let rows = self.rows(kind);
        for (place, &link) in links.iter().enumerate() {
            let row = if link < 0 {
                self.num_rows
            } else {
                link as usize
            };
            let row = &rows[row * self.dim..][..self.dim];
            for (lane, &value) in to.iter_mut().zip(row) {
                lane[place] = value;
            }
        }
    }
}

/// A block's values from row `start` on, zeros beyond the end.
pub fn lane_at(values: &[f32], start: usize) -> Lane {
    let rest = &values[start..];
    let mut lane = ZERO;
    let count = rest.len().min(ROWS);
    lane[..count].copy_from_slice(&rest[..count]);
    lane
}

/// Lanes -> rows.
pub fn scatter(lanes: &[Lane], rows: &mut [f32]) {
    for (place, row) in rows.chunks_exact_mut(lanes.len()).enumerate() {
        for (value, lane) in row.iter_mut().zip(lanes) {
            *value = lane[place];
        }
    }
}
