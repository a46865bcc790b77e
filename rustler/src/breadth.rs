//! Breadth-first search from a row, as published with the Relational Transformer.
//!
//! Rows wait in two places. The stack holds parents and is emptied first, so that all ancestors of
//! a row come at once, each one level deeper. When it is empty, a random row of the shallowest
//! frontier that is not empty is taken; frontiers hold children. Only visible rows wait. Of a row's
//! visible database children at most `width` wait (of all tables together, or of each), drawn at
//! random or latest first, and likewise of its label rows of the target's task. Rows that are in
//! the context already are passed through.
//!
//! Once rows of a frontier are taken, nothing can be added to it any more: what is found then is
//! at least one level deeper. So a row's children are drawn only when their level's turn comes,
//! which for most rows of a full context is never.
//!
//! A row with millions of children costs no more than its width: the children up to the bound are
//! found by binary search in their times, and when there are more than `PROBES` times the width,
//! random places among them are tried, that many at most, until the width is reached. (The list
//! mixes all tables, so with a width for each table less of a rare one may be found.) Label rows
//! have an index of their own.

use crate::builder::Builder;
use crate::idmap::IdMap;
use crate::recipe::{ALL_LEVELS, Part};

/// Places tried among the children of a row, as a multiple of the width.
pub const PROBES: usize = 8;

/// From where and how far a search goes.
#[derive(Clone, Copy)]
pub struct Search {
    pub root: u32,
    /// Depth of the root.
    pub depth: u32,
    /// The part of the rows that enter, but for the root and its ancestors.
    pub part: Part,
    pub ancestor_part: Part,
    pub width: usize,
    pub width_per_table: bool,
    /// Levels of parents that come with a child; all come with the root.
    pub parent_levels: u32,
    /// Share of rows whose children are taken latest first.
    pub recency: f64,
    /// Nothing of a later rank is visited, beside what the target may not see.
    pub until: u32,
}

/// A row on its way in.
#[derive(Clone, Copy)]
struct Step {
    row: u32,
    depth: u32,
    from: u32,
    part: Part,
    /// Levels of its parents that may still come.
    levels: u32,
}

#[derive(Default)]
pub struct Frontier {
    visited: IdMap,
    /// Parents.
    stack: Vec<Step>,
    /// Rows by depth whose children have not been drawn yet.
    waiting: Vec<Vec<u32>>,
    /// The shallowest frontier as (row, from), and its depth.
    level: Vec<(u32, u32)>,
    depth: usize,
    places: Vec<u32>,
    tried: IdMap,
    /// Children taken of each table.
    taken: Vec<(usize, usize)>,
}

impl Frontier {
    fn start(&mut self, depth: u32) {
        self.visited.clear();
        self.stack.clear();
        self.level.clear();
        self.waiting.iter_mut().for_each(Vec::clear);
        self.depth = depth as usize;
    }

    /// Notes a row that has been visited: its children are one level deeper.
    fn wait(&mut self, row: u32, depth: usize) {
        if self.waiting.len() <= depth {
            self.waiting.resize_with(depth + 1, Vec::new);
        }
        self.waiting[depth].push(row);
    }
}

/// Fills the context from a root outwards, until its limit.
pub fn fill(builder: &mut Builder, frontier: &mut Frontier, search: &Search) {
    frontier.start(search.depth);
    let mut next = Some(Step {
        row: search.root,
        depth: search.depth,
        from: search.root,
        part: search.part,
        levels: ALL_LEVELS,
    });
    while let Some(step) = next {
        if frontier.visited.insert(step.row, 0).1 {
            builder.enter(step.row, step.depth, step.from, step.part);
            frontier.wait(step.row, step.depth as usize);
            push_parents(builder, frontier, search, step);
        }
        if builder.is_full() {
            return;
        }
        next = take(builder, frontier, search);
    }
}

fn push_parents(builder: &Builder, frontier: &mut Frontier, search: &Search, child: Step) {
    if child.levels == 0 {
        return;
    }
    let of_root = child.row == search.root || child.part == search.ancestor_part;
    // In reverse, so that the parents of the first key are taken first.
    for parent in builder.parents(child.row).rev() {
        let rank = builder.arrays.row_rank[parent as usize];
        if builder.sees(parent) && rank <= search.until {
            frontier.stack.push(Step {
                row: parent,
                depth: child.depth + 1,
                from: child.row,
                part: if of_root {
                    search.ancestor_part
                } else {
                    search.part
                },
                levels: child.levels - 1,
            });
        }
    }
}

/// The next row.
fn take(builder: &mut Builder, frontier: &mut Frontier, search: &Search) -> Option<Step> {
    if let Some(parent) = frontier.stack.pop() {
        return Some(parent);
    }
    if search.width == 0 {
        return None;
    }
    while frontier.level.is_empty() {
        let mut rows = std::mem::take(frontier.waiting.get_mut(frontier.depth)?);
        for row in rows.drain(..) {
            draw_children(builder, frontier, search, row);
        }
        frontier.waiting[frontier.depth] = rows;
        frontier.depth += 1;
    }
    let place = builder.rng.below(frontier.level.len() as u32) as usize;
    let (row, from) = frontier.level.swap_remove(place);
    Some(Step {
        row,
        depth: frontier.depth as u32,
        from,
        part: search.part,
        levels: search.parent_levels,
    })
}

/// Puts visible children of a row on the frontier.
fn draw_children(builder: &mut Builder, frontier: &mut Frontier, search: &Search, row: u32) {
    if builder.new_row(row).is_some() {
        return;
    }
    let (task, target, arrays) = (builder.request.task, builder.target, builder.arrays);
    let latest = search.recency > 0.0 && builder.rng.unit() < search.recency;
    let last = builder.last_rank.min(search.until);
    let (children, ranks) = builder.request.children.of(&arrays, row);
    let end = ranks.partition_point(|&rank| rank <= last);
    // The prefix holds rule 1; what is left are hidden keys, and rule 3 without a bound.
    let timed = target.bound().is_some();
    let visible = |child| {
        (timed || target.sees_row(None, task.split_of(child))) && task.links(&arrays, child, row)
    };
    let mut choice = Choice {
        from: row,
        width: search.width,
        tables: search.width_per_table.then_some(builder.request.store),
        latest,
    };
    choice.choose(builder, frontier, &children[..end], visible);
    if let Some(labels) = &builder.request.index.labels {
        let rows = labels.of(row);
        let last = last.min(builder.last_known_rank);
        let end = rows.partition_point(|&row| arrays.row_rank[row as usize] <= last);
        choice.tables = None;
        choice.choose(builder, frontier, &rows[..end], |child| {
            task.sees(&target, child, arrays.time(child))
        });
    }
}

/// How many and which children of one row wait.
struct Choice<'a> {
    from: u32,
    width: usize,
    /// Present if the width counts for each table.
    tables: Option<&'a crate::store::Store>,
    latest: bool,
}

impl Choice<'_> {
    /// Whether there is room for a row of its table.
    fn has_room(&self, frontier: &mut Frontier, row: u32) -> bool {
        let Some(store) = self.tables else {
            return true;
        };
        let table = store.meta.table_of(row);
        match frontier.taken.iter_mut().find(|(t, _)| *t == table) {
            Some((_, count)) if *count == self.width => false,
            Some((_, count)) => {
                *count += 1;
                true
            }
            None => {
                frontier.taken.push((table, 1));
                true
            }
        }
    }

    fn add(&self, frontier: &mut Frontier, row: u32, visible: &impl Fn(u32) -> bool) {
        if visible(row) && self.has_room(frontier, row) {
            frontier.level.push((row, self.from));
        }
    }

    /// Puts rows that `visible` lets pass on the frontier, at most the width.
    fn choose(
        &self,
        builder: &mut Builder,
        frontier: &mut Frontier,
        rows: &[u32],
        visible: impl Fn(u32) -> bool,
    ) {
        frontier.taken.clear();
        let most = self.width.saturating_mul(PROBES);
        let end = match self.tables {
            None => frontier.level.len().saturating_add(self.width),
            Some(_) => usize::MAX,
        };
        if rows.len() <= self.width {
            rows.iter()
                .for_each(|&row| self.add(frontier, row, &visible));
        } else if self.latest {
            for &row in rows.iter().rev().take(most) {
                if frontier.level.len() == end {
                    break;
                }
                self.add(frontier, row, &visible);
            }
        } else if rows.len() <= most {
            let mut places = std::mem::take(&mut frontier.places);
            places.clear();
            places.extend_from_slice(rows);
            for first in 0..places.len() {
                if frontier.level.len() == end {
                    break;
                }
                let place = first + builder.rng.below((places.len() - first) as u32) as usize;
                places.swap(first, place);
                self.add(frontier, places[first], &visible);
            }
            frontier.places = places;
        } else {
            frontier.tried.clear();
            for _ in 0..most {
                let place = builder.rng.below(rows.len() as u32);
                if frontier.tried.insert(place, 0).1 {
                    self.add(frontier, rows[place as usize], &visible);
                }
                if frontier.level.len() == end {
                    break;
                }
            }
        }
    }
}
