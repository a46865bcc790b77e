//! Label rows of a context: those of the target's entity, and those of others.
//!
//! A label row is a row of the target's table whose target column is there and known to the
//! target. Rows of the same entity are those that share a parent with the target's row: for a task
//! with label rows of its own, the entity; for a column of a database table, any row that the
//! target's row references.

use crate::breadth::{self, Frontier, PROBES, Search};
use crate::builder::{Builder, Shown};
use crate::candidates::Candidates;
use crate::idmap::IdMap;
use crate::recipe::{OwnOrder, Part, Parts};
use crate::store::{Arrays, NO_RANK, NO_ROW};
use crate::telling::Telling;

/// Fewest places looked at for label rows among the children of a parent.
const LEAST_PROBES: usize = 64;
/// Own label rows that share less than this part of what the nearest one shares stay out: the
/// model can't tell them from it. In a database table they may still come as rows of others.
const NEAR: f64 = 0.5;

/// Bare label rows of the same entity, latest first; without a bound in time, at random. If the
/// recipe asks for it, first those that share the parents whose labels tell most.
pub fn add_own(builder: &mut Builder, parts: &Parts) {
    let wanted = builder.room();
    if wanted == 0 {
        return;
    }
    let mut found: Vec<(u32, u32)> = Vec::new();
    let arrays = builder.arrays;
    let mut done = IdMap::default();
    let relation = Relation::new(builder, parts.own_order);
    for parent in builder.parents(builder.request.row) {
        if !done.insert(parent, 0).1 || !builder.sees(parent) {
            continue;
        }
        let rows = match &builder.request.index.labels {
            Some(labels) => labels.of(parent),
            None => builder.request.children.of(&arrays, parent).0,
        };
        collect(
            builder,
            rows,
            (parent, wanted, relation.tells()),
            &mut found,
        );
    }
    found.sort_unstable();
    found.dedup_by_key(|&mut (row, _)| row);
    if builder.target.bound().is_some() {
        let rank = |row: u32| arrays.row_rank[row as usize];
        found.sort_unstable_by_key(|&(row, _)| std::cmp::Reverse((rank(row), row)));
    } else {
        builder.rng.shuffle(&mut found);
    }
    if relation.tells() {
        let with_share = |&(row, parent): &(u32, u32)| (relation.share(row), (row, parent));
        let mut shared: Vec<_> = found.iter().map(with_share).collect();
        shared.sort_by(|a, b| b.0.total_cmp(&a.0));
        let least = NEAR * shared.first().map_or(0.0, |&(share, _)| share);
        let near = shared.into_iter().take_while(|&(share, _)| share >= least);
        found = near.map(|(_, row)| row).collect();
    }
    let told = builder.request.told;
    let columns = told.map_or(Vec::new(), |told| told.telling.columns(parts.own_columns));
    let shown = Shown::LabelWith(&columns);
    for (row, parent) in found {
        // a row of two cells shall not lose one
        if builder.room() < 2 || builder.is_full() {
            return;
        }
        let parent = relation.nearest(row).unwrap_or(parent);
        builder.enter_some(row, parent, Part::OwnLabel, shown);
    }
}

/// What other rows of the target's table have in common with the target's.
struct Relation<'a> {
    arrays: Arrays<'a>,
    shares: &'a [f64],
    /// By foreign key; `NO_ROW` where the target has none, or one that it does not see.
    parents: Vec<u32>,
}

impl<'a> Relation<'a> {
    fn new(builder: &Builder<'a>, order: OwnOrder) -> Self {
        let arrays = builder.arrays;
        let shares = match (order, builder.request.told, builder.request.new) {
            (OwnOrder::Telling, Some(told), None) => &told.shares[..],
            _ => &[],
        };
        let seen = |&parent: &u32| match parent != NO_ROW && builder.sees(parent) {
            true => parent,
            false => NO_ROW,
        };
        let parents = match shares.is_empty() {
            true => Vec::new(),
            false => {
                let places = parent_places(&arrays, builder.request.row);
                places.iter().map(seen).collect()
            }
        };
        Self {
            arrays,
            shares,
            parents,
        }
    }

    /// Whether one parent's labels tell more than another's.
    fn tells(&self) -> bool {
        self.shares.iter().any(|&share| share > 0.0)
    }

    /// Places of the foreign keys by which `row` has the target's parent.
    fn common(&self, row: u32) -> impl Iterator<Item = usize> {
        let theirs = match self.parents.is_empty() {
            true => &[],
            false => parent_places(&self.arrays, row),
        };
        let same = |place: &usize| {
            self.parents[*place] != NO_ROW && self.parents[*place] == theirs[*place]
        };
        (0..theirs.len()).filter(same)
    }

    /// How much the parents that `row` shares tell, together.
    fn share(&self, row: u32) -> f64 {
        self.common(row).map(|place| self.shares[place]).sum()
    }

    /// Of these parents the one that tells most, if any tells something.
    fn nearest(&self, row: u32) -> Option<u32> {
        let telling = self.common(row).filter(|&place| self.shares[place] > 0.0);
        let most = telling.max_by(|&a, &b| self.shares[a].total_cmp(&self.shares[b]));
        most.map(|place| self.parents[place])
    }
}

fn parent_places<'a>(arrays: &Arrays<'a>, row: u32) -> &'a [u32] {
    arrays.parent_places(arrays.layout.table(row), row)
}

/// The last `wanted` label rows of `rows`, the children of a parent, which stand in order of time,
/// each once and none that is in the context; of many others among them not all are looked at.
/// Without a bound in time, random ones. all: all that are found among those looked at, to be put
/// in another order than that of time.
fn collect(
    builder: &mut Builder,
    rows: &[u32],
    (parent, wanted, all): (u32, usize, bool),
    found: &mut Vec<(u32, u32)>,
) {
    let most = wanted.saturating_mul(PROBES).max(LEAST_PROBES);
    let end = found.len() + if all { most } else { wanted };
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
        // what comes of an entity is told by its rows, of which no column knows
        let around = parts.other_columns.is_none() || builder.request.task.has_label_table;
        builder.with_room(parts.other_cells, |builder| {
            match parts.other_columns {
                Some(count) => add_telling(builder, (count, search.until), row),
                None => builder.enter_some(row, row, Part::OtherLabel, Shown::Label),
            }
            if around && !builder.is_full() {
                breadth::fill(builder, frontier, &search);
            }
        });
    }
}

/// A label row of another with the `count` most telling cells of it and its ancestors.
fn add_telling(builder: &mut Builder, (count, until): (usize, u32), row: u32) {
    let told = builder.request.told;
    let columns = told.map_or(Vec::new(), |told| told.telling.columns(count));
    builder.enter_some(row, row, Part::OtherLabel, Shown::LabelWith(&columns));
    if let Some(told) = told {
        add_telling_parents(builder, &told.telling, (count, until), row);
    }
}

/// The ancestors of a row that have telling cells, or lead to some, up to a rank.
fn add_telling_parents(
    builder: &mut Builder,
    telling: &Telling,
    (count, until): (usize, u32),
    row: u32,
) {
    for (key, node) in telling.parents(count) {
        if builder.is_full() {
            return;
        }
        let Some(parent) = builder.request.task.parent(&builder.arrays, row, key) else {
            continue;
        };
        // the target's own parents come whole, if not yet then later
        let own = builder
            .parents(builder.request.row)
            .any(|row| row == parent);
        let late = builder.arrays.row_rank[parent as usize] > until;
        if own || late || !builder.sees(parent) {
            continue;
        }
        let columns = node.columns(count);
        let shown = Shown::Only(&columns);
        builder.enter_some(parent, row, Part::OtherNeighbour, shown);
        add_telling_parents(builder, node, (count, until), parent);
    }
}
