//! Label rows of a context: those of the target's entity, and those of others.
//!
//! A label row is a row of the target's table whose target column is there and known to the
//! target. Rows of the same entity are those that share a parent with the target's row: for a task
//! with label rows of its own, the entity; for a column of a database table, any row that the
//! target's row references.

use crate::breadth::{self, Frontier, PROBES, Search};
use crate::builder::Builder;
use crate::candidates::Candidates;
use crate::idmap::IdMap;
use crate::recipe::{Part, Parts};
use crate::store::NO_RANK;

/// Fewest places looked at for label rows among the children of a parent.
const LEAST_PROBES: usize = 64;

/// Bare label rows of the same entity, latest first; without a bound in time, at random.
pub fn add_own(builder: &mut Builder) {
    let wanted = builder.room();
    if wanted == 0 {
        return;
    }
    let mut found: Vec<(u32, u32)> = Vec::new();
    let arrays = builder.arrays;
    let mut done = IdMap::default();
    for parent in builder.parents(builder.request.row) {
        if !done.insert(parent, 0).1 || !builder.sees(parent) {
            continue;
        }
        let rows = match &builder.request.index.labels {
            Some(labels) => labels.of(parent),
            None => builder.request.children.of(&arrays, parent).0,
        };
        collect(builder, rows, (parent, wanted), &mut found);
    }
    found.sort_unstable();
    found.dedup_by_key(|&mut (row, _)| row);
    if builder.target.bound().is_some() {
        let rank = |row: u32| arrays.row_rank[row as usize];
        found.sort_unstable_by_key(|&(row, _)| std::cmp::Reverse((rank(row), row)));
    } else {
        shuffle(builder, &mut found);
    }
    for (row, parent) in found {
        // a row of two cells shall not lose one
        if builder.room() < 2 || builder.is_full() {
            return;
        }
        builder.enter_label(row, parent, Part::OwnLabel, true);
    }
}

/// The last `wanted` label rows of `rows`, the children of a parent, which stand in order of time,
/// each once and none that is in the context; of many others among them not all are looked at.
/// Without a bound in time, random ones.
fn collect(
    builder: &mut Builder,
    rows: &[u32],
    (parent, wanted): (u32, usize),
    found: &mut Vec<(u32, u32)>,
) {
    let most = wanted.saturating_mul(PROBES).max(LEAST_PROBES);
    let end = found.len() + wanted;
    let arrays = builder.arrays;
    // rows without a time come first; after them, for a target with one, those that are known
    let last = builder.last_rank.min(builder.last_known_rank);
    let prefix = rows.partition_point(|&row| arrays.row_rank[row as usize] <= last);
    let random = builder.target.bound().is_none() && prefix > most;
    let mut drawn = IdMap::default();
    for i in 0..prefix.min(most) {
        let place = if random {
            builder.rng.below(prefix as u32) as usize
        } else {
            prefix - 1 - i
        };
        let row = rows[place];
        let links = builder.request.task.links(&arrays, row, parent);
        if links && !builder.has(row) && builder.knows_label(row) && drawn.insert(row, 0).1 {
            found.push((row, parent));
            if found.len() == end {
                return;
            }
        }
    }
}

fn shuffle<T>(builder: &mut Builder, rows: &mut [T]) {
    for i in (1..rows.len()).rev() {
        rows.swap(i, builder.rng.below(i as u32 + 1) as usize);
    }
}

/// Label rows of others, each with a neighbourhood of its own up to its own time, as long as there
/// is room and there are candidates. May be called again to go on.
pub fn add_others(
    builder: &mut Builder,
    parts: &Parts,
    frontier: &mut Frontier,
    candidates: &mut Candidates,
) {
    while builder.room() >= 2 && !builder.is_full() {
        let Some(row) = candidates.next(builder) else {
            return;
        };
        let search = Search {
            root: row,
            depth: 1,
            part: Part::OtherNeighbour,
            ancestor_part: Part::OtherNeighbour,
            width: parts.other_width,
            width_per_table: parts.width_per_table,
            parent_levels: parts.parent_levels,
            recency: parts.recency,
            until: match builder.arrays.row_rank[row as usize] {
                NO_RANK => u32::MAX,
                rank => rank,
            },
        };
        builder.with_room(parts.other_cells, |builder| {
            builder.enter_label(row, row, Part::OtherLabel, false);
            if !builder.is_full() {
                breadth::fill(builder, frontier, &search);
            }
        });
    }
}
