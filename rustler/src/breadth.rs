//! The published recipe: breadth-first from the target's row.
//!
//! Rows wait in two places. The stack holds parents and is emptied first, so that all ancestors of
//! a row come at once, each one level deeper. When it is empty, a random row of the shallowest
//! frontier that is not empty is taken; frontiers hold children. Only visible rows wait. Of a row's
//! visible database children at most `max_bfs_width`, drawn at random, wait, and likewise of its
//! label rows of the target's task.
//!
//! A row with millions of children costs no more than its width: the children up to the bound are
//! found by binary search in their times, and when there are more than `PROBES` times the width,
//! random places among them are tried, that many at most, until the width is reached. (A list
//! of children mixes all tables, so when nearly all of a row's children are label rows, fewer
//! database children than the width may be found.) Label rows have an index of their own.

use crate::context::Builder;
use crate::idmap::IdMap;
use crate::rng::Stream;

/// Places tried among the children of a row, as a multiple of the width.
const PROBES: usize = 8;

#[derive(Default)]
pub struct Frontier {
    /// Parents as (row, depth).
    stack: Vec<(u32, u32)>,
    /// Children by depth.
    levels: Vec<Vec<u32>>,
    /// All levels below this one are empty.
    shallowest: usize,
    places: Vec<u32>,
    tried: IdMap,
}

impl Frontier {
    fn clear(&mut self) {
        self.stack.clear();
        self.levels.iter_mut().for_each(Vec::clear);
        self.shallowest = 0;
    }

    fn pop(&mut self, rng: &mut Stream) -> Option<(u32, u32)> {
        if let Some(entry) = self.stack.pop() {
            return Some(entry);
        }
        while let Some(level) = self.levels.get_mut(self.shallowest) {
            if !level.is_empty() {
                let row = level.swap_remove(rng.below(level.len() as u32) as usize);
                return Some((row, self.shallowest as u32));
            }
            self.shallowest += 1;
        }
        None
    }
}

/// Fills the context from the target's row outwards.
pub fn fill(builder: &mut Builder, frontier: &mut Frontier, max_bfs_width: usize) {
    frontier.clear();
    let mut next = Some((builder.request.row, 0));
    while let Some((row, depth)) = next {
        if builder.enter(row, depth) && !builder.is_full() {
            push_parents(builder, frontier, row, depth + 1);
            push_children(builder, frontier, row, depth + 1, max_bfs_width);
        }
        if builder.is_full() {
            return;
        }
        next = frontier.pop(&mut builder.rng);
    }
}

fn push_parents(builder: &Builder, frontier: &mut Frontier, row: u32, depth: u32) {
    // In reverse, so that the parents of the first key are taken first.
    for &parent in builder.arrays.parents(row).iter().rev() {
        if builder.sees(parent) {
            frontier.stack.push((parent, depth));
        }
    }
}

fn push_children(
    builder: &mut Builder,
    frontier: &mut Frontier,
    row: u32,
    depth: u32,
    width: usize,
) {
    if frontier.levels.len() <= depth as usize {
        frontier.levels.resize_with(depth as usize + 1, Vec::new);
    }
    let (task, target, arrays) = (builder.request.task, builder.target, builder.arrays);
    let (children, times) = arrays.children(row);
    let end = match target.bound() {
        Some(bound) => times.partition_point(|&time| time <= bound),
        None => children.len(),
    };
    // The prefix holds rule 1; what is left is to drop label rows, and rule 3 without a bound.
    let timed = target.bound().is_some();
    choose(builder, frontier, depth, &children[..end], width, |child| {
        child < task.first_label_row && (timed || target.sees_row(None, task.split_of(child)))
    });
    if let Some(labels) = builder.request.labels {
        let rows = labels.of(row);
        let time = |row: &u32| arrays.row_time[*row as usize];
        let end = match target.bound() {
            Some(bound) => rows.partition_point(|row| time(row) <= bound),
            None => rows.len(),
        };
        choose(builder, frontier, depth, &rows[..end], width, |child| {
            task.sees(&target, child, arrays.time(child))
        });
    }
}

/// Puts at most `width` of the rows that `visible` lets pass on a level, drawn at random.
fn choose(
    builder: &mut Builder,
    frontier: &mut Frontier,
    depth: u32,
    rows: &[u32],
    width: usize,
    visible: impl Fn(u32) -> bool,
) {
    let Frontier {
        levels,
        places,
        tried,
        ..
    } = frontier;
    let level = &mut levels[depth as usize];
    if rows.len() <= width {
        level.extend(rows.iter().copied().filter(|&row| visible(row)));
    } else if rows.len() <= width.saturating_mul(PROBES) {
        places.clear();
        places.extend_from_slice(rows);
        let end = level.len() + width;
        let mut first = 0;
        while first < places.len() && level.len() < end {
            let place = first + builder.rng.below((places.len() - first) as u32) as usize;
            places.swap(first, place);
            level.extend(Some(places[first]).filter(|&row| visible(row)));
            first += 1;
        }
    } else {
        tried.clear();
        let end = level.len() + width;
        for _ in 0..width * PROBES {
            let place = builder.rng.below(rows.len() as u32);
            if tried.insert(place, 0).1 {
                level.extend(Some(rows[place as usize]).filter(|&row| visible(row)));
            }
            if level.len() == end {
                break;
            }
        }
    }
}
