//! How much labels of rows with the same parent tell of a row's label, for each foreign key.
//!
//! A row with several foreign keys has several kinds of relatives: other lines of the customer, of
//! the product, of the seller. Whose labels are like its own differs from task to task, and shows
//! in the training labels: each is predicted from the last ones of the same parent that were known
//! to it (`key_shares`); and which cells of it and its parents tell most (`columns`). Like the mean
//! by which a column is normalised, the result is a number of the training split, the same for all
//! targets that are as far beyond their cutoff (`View::age`); labels of other splits play no part.

mod columns;
mod facts;
mod fitted;
mod nearest;
mod reader;

use std::cmp::Ordering;

use crate::candidates::RowsInTime;
use crate::children::Children;
use crate::context::Request;
use crate::idmap::IdMap;
use crate::labels::TableIndex;
use crate::meta::{Meta, SemanticType, TimeScale};
use crate::rng::{Name, Purpose};
use crate::store::{Arrays, NO_ROW};
use crate::task::Prepared;
use crate::visibility::Split;
pub use columns::Telling;
pub use nearest::{Likeness, NOT_SAID, Nearest};

/// Training labels that are looked at, the latest ones.
const SAMPLE: usize = 100_000;
/// Of these, rows whose cells are looked at.
const ROWS: usize = 500;
/// Labels of a parent that count, and of all rows.
const LAST: f64 = 8.0;
const LAST_OF_ALL: f64 = 64.0;
/// Smaller shares are chance, and count as none.
const LEAST: f64 = 0.01;

/// A task in its store.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub arrays: &'a Arrays<'a>,
    pub children: &'a Children,
    pub task: &'a Prepared,
    pub index: &'a TableIndex,
    pub meta: &'a Meta,
    /// Of each column.
    pub types: &'a [SemanticType],
    pub time_scale: Option<TimeScale>,
    /// Label rows are described by what was known so long before their time, in seconds: as long as
    /// a target's time is beyond its cutoff.
    pub age: i64,
}

impl<'a> View<'a> {
    /// Of the request's task; arrays: of its store.
    pub fn new(arrays: &'a Arrays<'a>, request: &Request<'a>, age: i64) -> Self {
        Self {
            arrays,
            children: request.children,
            task: request.task,
            index: request.index,
            meta: &request.store.meta,
            types: &request.store.types,
            time_scale: request.store.time_scale,
            age,
        }
    }

    /// `Prepared::parent` of a row of the store.
    fn parent(&self, row: u32, key: usize) -> Option<u32> {
        self.task.parent(self.arrays, row, key)
    }
}

/// Rises as `f32::total_cmp` orders numbers; integers are compared and sorted in less time.
fn order_key(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    // of negative numbers larger bits are further below
    bits ^ (bits >> 31 & i32::MAX)
}

/// Ages are told apart by half powers of 2.
const PER_OCTAVE: f64 = 2.0;

/// Ages that are told apart: the last is beyond all time.
pub const AGES: usize = 128;

/// Which of the ages is nearest to this many seconds; None if half a horizon is more: then hardly a
/// fact differs, and to find out what tells takes long.
pub fn nearest_age(seconds: i64, horizon: i64) -> Option<usize> {
    let number = || (PER_OCTAVE * (seconds as f64).log2()).round() as usize;
    (seconds > 0 && seconds >= horizon / 2).then(|| number().min(AGES - 1))
}

/// The age of this number, in seconds.
pub fn age_numbered(number: usize) -> i64 {
    (number as f64 / PER_OCTAVE).exp2().round() as i64
}

/// All that the training labels tell.
pub struct Told {
    /// See `key_shares`; empty for tables with less than two foreign keys, of which there is
    /// nothing to choose.
    pub shares: Vec<f64>,
    /// See `facts::horizon`.
    pub horizon: i64,
    pub telling: Telling,
    pub nearest: Nearest,
}

impl Told {
    /// columns: whether columns are asked for, or keys alone.
    pub fn new(view: &View, columns: bool) -> Self {
        let labels = Labels::new(view);
        let rows: Vec<u32> = labels.found.iter().map(|&(row, _)| row).collect();
        let horizon = facts::horizon(view, &rows);
        let mut told = Self {
            shares: key_shares(view, &labels),
            horizon,
            telling: Telling::default(),
            nearest: Nearest::default(),
        };
        if columns {
            let found = columns::found_columns(view, &labels, horizon);
            told.telling = Telling::new(&found);
            told.nearest = Nearest::new(view, &labels, &found, horizon);
        }
        told
    }
}

/// By place of the foreign keys of the task's table: the share of what the training labels differ
/// by that the last labels of the same parent explain. Labels are compared by their ranks, texts by
/// whether they are the same. 0 for a key that leads nowhere in this task.
fn key_shares(view: &View, labels: &Labels) -> Vec<f64> {
    let (arrays, task) = (view.arrays, view.task);
    if task.rows.is_empty() {
        return Vec::new();
    }
    let table = arrays.layout.table(task.rows.start);
    if table.num_parents < 2 {
        return Vec::new();
    }
    let hidden = task.hidden_places(task.rows.start);
    let (labels, texts) = (&labels.found, labels.texts);
    let mut all = Known::default();
    let mut keys: Vec<Relatives> = Vec::new();
    keys.resize_with(table.num_parents, Relatives::default);
    let (mut base, mut known) = (0.0, 0);
    for (number, &(row, label)) in labels.iter().enumerate() {
        let target = facts::target_of(view, row);
        let knows = |other: u32| target.sees_label(arrays.time(other), Split::Train);
        while known < number && knows(labels[known].0) {
            let (row, label) = labels[known];
            all.add(label, LAST_OF_ALL);
            let parents = arrays.parent_places(table, row);
            for (key, &parent) in keys.iter_mut().zip(parents) {
                key.add(parent, label);
            }
            known += 1;
        }
        if known == 0 {
            continue;
        }
        base += all.error(&all, label, texts);
        let parents = arrays.parent_places(table, row);
        for (key, &parent) in keys.iter_mut().zip(parents) {
            key.error += key.of(parent).unwrap_or(&all).error(&all, label, texts);
        }
    }
    // equal labels differ by rounding errors
    let differ = base > 1e-9 * labels.len() as f64;
    let share = |(place, key): (usize, &Relatives)| {
        let share = 1.0 - key.error / base;
        let tells = differ && share >= LEAST && !hidden.contains(&place);
        if tells { share } else { 0.0 }
    };
    keys.iter().enumerate().map(share).collect()
}

/// Labels of the training split that are known at its end: of rows with a time, in its order; if
/// more have none, of these in any order.
pub struct Labels {
    /// Rows and labels, each from 0 to 1 by its rank; of texts the number.
    found: Vec<(u32, f64)>,
    texts: bool,
}

impl Labels {
    /// The latest labels of a task.
    fn new(view: &View) -> Self {
        let (arrays, task) = (view.arrays, view.task);
        let column = task.task.column;
        let texts = view.types[column as usize] == SemanticType::Text;
        let label = |row: u32| {
            if !task.is_known_in_training(arrays.time(row)) {
                return None;
            }
            let bits = arrays.cell(row, column)?;
            Some(match texts {
                true => (row, f64::from(bits)),
                false => (row, f64::from(f32::from_bits(bits))),
            })
        };
        let train = task.task.split(Split::Train);
        let timed = |row: &u32| arrays.time(*row).is_some();
        let mut untimed: Vec<u32> = train.clone().filter(|row| !timed(row)).collect();
        let mut found = match 2 * untimed.len() > train.len() {
            true => {
                let name = Name {
                    purpose: Purpose::Telling,
                    seed: 0,
                    a: u64::from(task.task.table),
                    b: u64::from(column),
                };
                name.stream().shuffle(&mut untimed);
                latest(untimed.into_iter(), &train, label)
            }
            false => {
                let rows = RowsInTime::new(task, view.index);
                let in_time = (0..task.rows.len()).map(|place| rows.row(place));
                latest(in_time.filter(timed), &train, label)
            }
        };
        if !texts {
            rank(&mut found);
        }
        Self { found, texts }
    }

    /// At most `ROWS` of them, evenly chosen, the latest first.
    fn spread(&self) -> impl Iterator<Item = (u32, f64)> {
        let step = self.found.len().div_ceil(ROWS).max(1);
        self.found.iter().rev().step_by(step).copied()
    }

    fn spread_rows(&self) -> impl Iterator<Item = u32> {
        self.spread().map(|(row, _)| row)
    }
}

/// The last rows that are of `train` and have a label, in their order.
fn latest(
    rows: impl DoubleEndedIterator<Item = u32>,
    train: &std::ops::Range<u32>,
    label: impl Fn(u32) -> Option<(u32, f64)>,
) -> Vec<(u32, f64)> {
    let of_train = rows.rev().filter(|row| train.contains(row));
    let mut found: Vec<_> = of_train.filter_map(label).take(SAMPLE).collect();
    found.reverse();
    found
}

/// Puts the rank in the place of each label, from 0 to 1; equal ones have the rank of their middle.
/// So an outlier counts no more than any other label.
fn rank(labels: &mut [(u32, f64)]) {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_unstable_by(|&a, &b| labels[a].1.total_cmp(&labels[b].1));
    let mut sorted = &order[..];
    let mut before = 0;
    while let Some(&first) = sorted.first() {
        let value = labels[first].1;
        let same = sorted.partition_point(|&i| labels[i].1.total_cmp(&value) == Ordering::Equal);
        let middle = before as f64 + (same as f64 - 1.0) / 2.0;
        for &i in &sorted[..same] {
            labels[i].1 = middle / order.len() as f64;
        }
        before += same;
        sorted = &sorted[same..];
    }
}

/// What is known of some labels.
#[derive(Clone, Copy, Default)]
struct Known {
    mean: f64,
    count: f64,
    last: f64,
}

impl Known {
    /// The mean of the first `most` labels; each later one counts as much as one of these.
    fn add(&mut self, label: f64, most: f64) {
        self.count = (self.count + 1.0).min(most);
        self.mean += (label - self.mean) / self.count;
        self.last = label;
    }

    /// How far off the label is from what these make of it; few are drawn to the mean of all.
    fn error(&self, all: &Self, label: f64, texts: bool) -> f64 {
        if texts {
            return f64::from(u8::from(self.last != label));
        }
        let mean = (self.count * self.mean + all.mean) / (self.count + 1.0);
        (label - mean) * (label - mean)
    }
}

/// The labels of each parent by one foreign key.
#[derive(Default)]
struct Relatives {
    place: IdMap,
    known: Vec<Known>,
    error: f64,
}

impl Relatives {
    fn add(&mut self, parent: u32, label: f64) {
        if parent == NO_ROW {
            return;
        }
        let (place, new) = self.place.insert(parent, self.known.len() as u32);
        if new {
            self.known.push(Known::default());
        }
        self.known[place as usize].add(label, LAST);
    }

    fn of(&self, parent: u32) -> Option<&Known> {
        let place = self.place.get(parent)?;
        Some(&self.known[place as usize])
    }
}
