//! Cells of a row and of those that it references, and facts about them, read in one pass.

use super::View;
use super::columns::{Column, What};
use super::facts::{Facts, Now};
use crate::builder::Builder;
use crate::store::NO_ROW;

/// What is read of a label's row, and of a target's.
#[derive(Default)]
pub struct Reader {
    ways: Vec<Way>,
    /// Columns that are read, in all.
    width: usize,
    horizon: i64,
}

/// What is read of one row, and the foreign keys that lead to it.
struct Way {
    path: Vec<usize>,
    /// Columns and their places, rising.
    cells: Vec<(u32, usize)>,
    facts: Facts,
    /// Of the facts.
    places: Vec<usize>,
}

impl Reader {
    /// horizon: of facts.
    pub fn new(view: &View, columns: &[Column], horizon: i64) -> Self {
        let mut paths: Vec<&[usize]> = columns.iter().map(|c| &c.path[..]).collect();
        paths.sort_unstable();
        paths.dedup();
        let way = |path: &[usize]| {
            let (mut cells, mut facts, mut places) = (Vec::new(), Vec::new(), Vec::new());
            let of_path = columns.iter().enumerate().filter(|(_, c)| c.path == path);
            for (place, column) in of_path {
                match column.what {
                    What::Cell(cell) => cells.push((cell, place)),
                    What::Fact(fact) => {
                        facts.push(fact);
                        places.push(place);
                    }
                }
            }
            cells.sort_unstable();
            Way {
                path: path.to_vec(),
                cells,
                facts: Facts::new(view, &facts),
                places,
            }
        };
        Self {
            ways: paths.into_iter().map(way).collect(),
            width: columns.len(),
            horizon,
        }
    }

    /// The bits of each column, of a label row of the store, at the view's age.
    pub fn stored(&self, view: &View, row: u32) -> Vec<Option<u32>> {
        self.stored_at(view, row, &Now::of(view, row))
    }

    /// The same from the training split alone.
    pub fn of_training(&self, view: &View, row: u32) -> Vec<Option<u32>> {
        self.stored_at(view, row, &Now::of(view, row).of_training())
    }

    fn stored_at(&self, view: &View, row: u32, now: &Now) -> Vec<Option<u32>> {
        self.read(view, now, |path| {
            let mut at = row;
            for &key in path {
                at = view.parent(at, key)?;
                if !now.comes_with(view, at) {
                    return None;
                }
            }
            Some((at, true))
        })
    }

    /// The same of the target's row, as far as the target sees.
    pub fn asked(&self, builder: &Builder, view: &View) -> Vec<Option<u32>> {
        let row = builder.request.row;
        let now = Now::new(builder.target, builder.last_rank, row);
        self.read(view, &now, |path| {
            let mut at = row;
            for &key in path {
                at = match builder.new_row(at) {
                    Some(new) => new.entity,
                    None => view.parent(at, key)?,
                };
                // a row without a time leads to rows without one, as `Now::comes_with` has it
                let timed = || view.arrays.time(at).is_some() && !builder.target.has_time();
                if at == NO_ROW || !builder.sees(at) || timed() {
                    return None;
                }
            }
            Some((at, builder.new_row(at).is_none()))
        })
    }

    /// walk: the row that a path leads to, and whether it is in the store.
    fn read(
        &self,
        view: &View,
        now: &Now,
        walk: impl Fn(&[usize]) -> Option<(u32, bool)>,
    ) -> Vec<Option<u32>> {
        let mut found = vec![None; self.width];
        for way in &self.ways {
            let Some((row, is_stored)) = walk(&way.path) else {
                continue;
            };
            let row = is_stored.then_some(row);
            if let Some(row) = row.filter(|_| !way.cells.is_empty()) {
                view.arrays.for_wanted(row, &way.cells, |number, bits| {
                    found[way.cells[number].1] = Some(bits);
                });
            }
            let facts = way.facts.about(view, self.horizon, row, now);
            for (&place, fact) in way.places.iter().zip(facts) {
                found[place] = fact.map(f32::to_bits);
            }
        }
        found
    }
}
