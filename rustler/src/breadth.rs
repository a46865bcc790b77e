//! The published recipe: breadth-first from the target's row.
//!
//! Rows wait in two places. The stack holds parents and is emptied first, so that all ancestors of
//! a row come at once, each one level deeper. When it is empty, a random row of the shallowest
//! frontier that is not empty is taken; frontiers hold children. Only visible rows wait. Of a row's
//! visible database children at most `max_bfs_width`, drawn at random, wait, and likewise of its
//! label rows of the target's task.
//!
//! Once rows of a frontier are taken, nothing can be added to it any more: what is found then is
//! at least one level deeper. So a row's children are drawn only when their level's turn comes,
//! which for most rows of a full context is never.
//!
//! A row with millions of children costs no more than its width: the children up to the bound are
//! found by binary search in their times, and when there are more than `PROBES` times the width,
//! random places among them are tried, that many at most, until the width is reached. (A list
//! of children mixes all tables, so when nearly all of a row's children are label rows, fewer
//! database children than the width may be found.) Label rows have an index of their own.

use crate::context::Builder;
use crate::idmap::IdMap;

/// Places tried among the children of a row, as a multiple of the width.
const PROBES: usize = 8;

#[derive(Default)]
pub struct Frontier {
    /// Parents as (row, depth).
    stack: Vec<(u32, u32)>,
    /// Rows by depth whose children have not been drawn yet.
    waiting: Vec<Vec<u32>>,
    /// The shallowest frontier, and its depth.
    level: Vec<u32>,
    depth: usize,
    places: Vec<u32>,
    tried: IdMap,
}

impl Frontier {
    fn clear(&mut self) {
        self.stack.clear();
        self.level.clear();
        self.waiting.iter_mut().for_each(Vec::clear);
        self.depth = 0;
    }

    /// Notes a row that has entered: its children are one level deeper.
    fn wait(&mut self, row: u32, depth: usize) {
        if self.waiting.len() <= depth {
            self.waiting.resize_with(depth + 1, Vec::new);
        }
        self.waiting[depth].push(row);
    }
}

/// Fills the context from the target's row outwards.
pub fn fill(builder: &mut Builder, frontier: &mut Frontier, max_bfs_width: usize) {
    frontier.clear();
    let mut next = Some((builder.request.row, 0));
    while let Some((row, depth)) = next {
        if builder.enter(row, depth) {
            frontier.wait(row, depth as usize);
            push_parents(builder, frontier, row, depth + 1);
        }
        if builder.is_full() {
            return;
        }
        next = take(builder, frontier, max_bfs_width);
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

/// The next row and its depth.
fn take(builder: &mut Builder, frontier: &mut Frontier, width: usize) -> Option<(u32, u32)> {
    if let Some(parent) = frontier.stack.pop() {
        return Some(parent);
    }
    while frontier.level.is_empty() {
        let mut rows = std::mem::take(frontier.waiting.get_mut(frontier.depth)?);
        for row in rows.drain(..) {
            draw_children(builder, frontier, row, width);
        }
        frontier.waiting[frontier.depth] = rows;
        frontier.depth += 1;
    }
    let place = builder.rng.below(frontier.level.len() as u32) as usize;
    Some((frontier.level.swap_remove(place), frontier.depth as u32))
}

/// Puts visible children of a row on the frontier.
fn draw_children(builder: &mut Builder, frontier: &mut Frontier, row: u32, width: usize) {
    let (task, target, arrays) = (builder.request.task, builder.target, builder.arrays);
    let (children, times) = arrays.children(row);
    let end = match target.bound() {
        Some(bound) => times.partition_point(|&time| time <= bound),
        None => children.len(),
    };
    // The prefix holds rule 1; what is left is to drop label rows, and rule 3 without a bound.
    let timed = target.bound().is_some();
    choose(builder, frontier, &children[..end], width, |child| {
        child < task.first_label_row && (timed || target.sees_row(None, task.split_of(child)))
    });
    if let Some(labels) = builder.request.labels {
        let rows = labels.of(row);
        let time = |row: &u32| arrays.row_time[*row as usize];
        let end = match target.bound() {
            Some(bound) => rows.partition_point(|row| time(row) <= bound),
            None => rows.len(),
        };
        choose(builder, frontier, &rows[..end], width, |child| {
            task.sees(&target, child, arrays.time(child))
        });
    }
}

/// Puts at most `width` of the rows that `visible` lets pass on the frontier, drawn at random.
fn choose(
    builder: &mut Builder,
    frontier: &mut Frontier,
    rows: &[u32],
    width: usize,
    visible: impl Fn(u32) -> bool,
) {
    let (level, places) = (&mut frontier.level, &mut frontier.places);
    let end = level.len().saturating_add(width);
    if rows.len() <= width {
        level.extend(rows.iter().copied().filter(|&row| visible(row)));
    } else if rows.len() <= width.saturating_mul(PROBES) {
        places.clear();
        places.extend_from_slice(rows);
        let mut first = 0;
        while first < places.len() && level.len() < end {
            let place = first + builder.rng.below((places.len() - first) as u32) as usize;
            places.swap(first, place);
            level.extend(Some(places[first]).filter(|&row| visible(row)));
            first += 1;
        }
    } else {
        frontier.tried.clear();
        for _ in 0..width * PROBES {
            let place = builder.rng.below(rows.len() as u32);
            if frontier.tried.insert(place, 0).1 {
                level.extend(Some(rows[place as usize]).filter(|&row| visible(row)));
            }
            if level.len() == end {
                break;
            }
        }
    }
}
