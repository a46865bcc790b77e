//! Which cells of a label's row, and of the rows that it references, tell most of the label.
//!
//! A context has room for a few whole rows of others, or for the few cells of many that matter.
//! Which these are shows in the training labels: the rows are cut into bins by each column, and
//! what the bins' means explain of the labels, less what chance would, is the column's share
//! (adjusted R2 of a one-way analysis of variance).

use std::collections::HashMap;

use super::facts::{self, Fact, Facts, Now};
use super::{LEAST, Labels, View, order_key};
use crate::meta::SemanticType;
use crate::store::{NO_ROW, TableLayout};

/// Columns that are kept, and facts.
const MOST: usize = 32;
/// Bins of numbers; a missing cell is in one of its own.
const BINS: usize = 8;
/// Texts with a bin of their own, the most common ones.
pub const TEXTS: usize = 15;
/// Levels of references that are followed, and ways along them.
const LEVELS: usize = 3;
const PATHS: usize = 64;

/// The columns of one row that tell something, and the references that lead to more.
#[derive(Debug, Default, PartialEq)]
pub struct Telling {
    /// Places among all columns of the task, the most telling first, and the columns.
    columns: Vec<(usize, u32)>,
    /// By place of a foreign key.
    parents: Vec<(usize, Telling)>,
}

impl Telling {
    pub fn new(found: &[Column]) -> Self {
        let mut telling = Self::default();
        let cells = found.iter().filter_map(|found| match found.what {
            What::Cell(column) => Some((&found.path, column)),
            What::Fact(_) => None,
        });
        for (place, (path, column)) in cells.enumerate() {
            telling.insert(path, place, column);
        }
        telling
    }

    /// Of the `count` most telling columns of all those of this row.
    pub fn columns(&self, count: usize) -> Vec<u32> {
        let among = self.columns.iter().filter(|&&(place, _)| place < count);
        among.map(|&(_, column)| column).collect()
    }

    /// The foreign keys that lead to one of the `count` most telling columns.
    pub fn parents(&self, count: usize) -> impl Iterator<Item = (usize, &Self)> {
        let leads = move |node: &Self| node.leads(count);
        self.parents
            .iter()
            .filter(move |(_, node)| leads(node))
            .map(|(key, node)| (*key, node))
    }

    fn leads(&self, count: usize) -> bool {
        self.columns.iter().any(|&(place, _)| place < count)
            || self.parents.iter().any(|(_, node)| node.leads(count))
    }

    fn insert(&mut self, path: &[usize], place: usize, column: u32) {
        let Some((key, rest)) = path.split_first() else {
            self.columns.push((place, column));
            return;
        };
        let number = match self.parents.iter().position(|(k, _)| k == key) {
            Some(number) => number,
            None => {
                self.parents.push((*key, Self::default()));
                self.parents.len() - 1
            }
        };
        self.parents[number].1.insert(rest, place, column);
    }
}

/// What of a row tells something of labels.
#[derive(Clone, Copy)]
pub enum What {
    /// The cell of this column.
    Cell(u32),
    Fact(Fact),
}

/// The same, and the foreign keys that lead to the row from the label's.
#[derive(Clone)]
pub struct Column {
    pub path: Vec<usize>,
    pub what: What,
    pub share: f64,
}

/// The most telling columns and facts, these first. horizon: of facts.
pub fn found_columns(view: &View, labels: &Labels, horizon: i64) -> Vec<Column> {
    let mut search = Search {
        view,
        horizon,
        labels: Outcomes::new(labels),
        found: Vec::new(),
    };
    let mut level = vec![(Vec::new(), search.labels.rows.clone())];
    let mut paths = 0;
    for depth in 0..=LEVELS {
        let mut next = Vec::new();
        for (path, rows) in level {
            search.look_at(&path, &rows);
            paths += 1;
            if depth < LEVELS && paths + next.len() < PATHS {
                search.add_parents(&path, &rows, &mut next);
            }
        }
        level = next;
    }
    let mut found = search.found;
    // equal ones stay in the order in which they were found
    found.sort_by(|a, b| b.share.total_cmp(&a.share));
    let (mut cells, mut facts) = (0, 0);
    found.retain(|column| {
        let count = match column.what {
            What::Cell(_) => &mut cells,
            What::Fact(_) => &mut facts,
        };
        *count += 1;
        *count <= MOST
    });
    found
}

/// The labels to be explained, as numbers.
struct Outcomes {
    rows: Vec<u32>,
    /// `width` numbers a label: its rank, or for texts which of the common ones it is.
    values: Vec<f64>,
    width: usize,
    texts: bool,
    /// `between` of all in one bin, and the sum of squared distances from the mean.
    whole: f64,
    spread: f64,
}

impl Outcomes {
    /// Of labels, evenly chosen among them.
    fn new(labels: &Labels) -> Self {
        let chosen: Vec<(u32, f64)> = labels.spread().collect();
        let rows = chosen.iter().map(|&(row, _)| row).collect();
        let (values, width) = match labels.texts {
            false => (chosen.iter().map(|&(_, label)| label).collect(), 1),
            true => {
                let texts: Vec<Option<u32>> = chosen.iter().map(|l| Some(l.1 as u32)).collect();
                let class = text_bins(&texts);
                let mut values = vec![0.0; chosen.len() * (TEXTS + 2)];
                for (label, class) in values.chunks_exact_mut(TEXTS + 2).zip(class) {
                    label[class] = 1.0;
                }
                (values, TEXTS + 2)
            }
        };
        let mut found = Self {
            rows,
            values,
            width,
            texts: labels.texts,
            whole: 0.0,
            spread: 0.0,
        };
        let squares: f64 = found.values.iter().map(|value| value * value).sum();
        found.whole = found.between(&vec![0; found.rows.len()], 1).0;
        found.spread = squares - found.whole;
        found
    }

    /// The sum over bins of their size times the square of their mean, and how many there are.
    fn between(&self, bins: &[usize], count: usize) -> (f64, usize) {
        let mut sums = vec![0.0; count * self.width];
        let mut sizes = vec![0.0_f64; count];
        for (label, &bin) in self.values.chunks_exact(self.width).zip(bins) {
            sizes[bin] += 1.0;
            for (sum, value) in sums[bin * self.width..].iter_mut().zip(label) {
                *sum += value;
            }
        }
        let bins = sums.chunks_exact(self.width).zip(&sizes);
        let there = bins.filter(|(_, size)| **size > 0.0);
        let squares = there.map(|(sum, size)| sum.iter().map(|s| s * s).sum::<f64>() / size);
        (squares.sum(), sizes.iter().filter(|s| **s > 0.0).count())
    }

    /// The share of what the labels differ by that the bins explain, less what chance would; 0 if
    /// it may be chance.
    fn share(&self, bins: &[usize], count: usize) -> f64 {
        let rows = self.rows.len() as f64;
        let (total, there) = self.between(bins, count);
        let free = rows - there as f64;
        // equal labels have a spread of rounding errors
        if free < 1.0 || there < 2 || self.spread <= 1e-9 * rows {
            return 0.0;
        }
        let share = 1.0 - (1.0 - (total - self.whole) / self.spread) * (rows - 1.0) / free;
        // four times the deviation of the share of bins that tell nothing
        let chance = 3.0 * (2.0 * (there as f64 - 1.0)).sqrt() / rows;
        match share >= LEAST.max(chance) {
            true => share,
            false => 0.0,
        }
    }
}

struct Search<'a> {
    view: &'a View<'a>,
    horizon: i64,
    labels: Outcomes,
    found: Vec<Column>,
}

impl Search<'_> {
    /// Looks at the columns of the rows that the labels' rows reference along a path (`NO_ROW`:
    /// none).
    fn look_at(&mut self, path: &[usize], rows: &[u32]) {
        let (view, Some(table)) = (self.view, self.table(rows)) else {
            return;
        };
        let columns = table.first_column..table.first_column + table.fields.len() as u32;
        let mut cells = vec![vec![None; rows.len()]; columns.len()];
        for (number, &row) in rows.iter().enumerate() {
            if !table.rows.contains(&row) {
                continue;
            }
            for (column, bits) in view.arrays.cells(row) {
                cells[(column - columns.start) as usize][number] = Some(bits);
            }
        }
        let special = view.task.special(columns.clone());
        let mut times = Vec::new();
        for (column, cells) in columns.zip(&cells) {
            let shown = path.is_empty() && Some(column) == view.task.time_column;
            if shown || special.iter().any(|&(c, _)| c == column) {
                continue;
            }
            let kind = view.types[column as usize];
            let bins = match kind {
                SemanticType::Text => text_bins(cells),
                _ => number_bins(cells),
            };
            if kind == SemanticType::Datetime {
                times.push(column);
            }
            self.note(path, What::Cell(column), self.share(&bins));
        }
        self.add_facts(rows, path, &times);
    }

    /// The table of rows; of several (a key may reference more than one) that of the first.
    fn table(&self, rows: &[u32]) -> Option<&TableLayout> {
        let first = rows.iter().find(|&&row| row != NO_ROW)?;
        Some(self.view.arrays.layout.table(*first))
    }

    /// What rows of a path reference, by each foreign key.
    fn add_parents(&self, path: &[usize], rows: &[u32], next: &mut Vec<(Vec<usize>, Vec<u32>)>) {
        let keys = self.table(rows).map_or(0, |table| table.num_parents);
        for key in 0..keys {
            let parent = |(&row, &label): (&u32, &u32)| {
                let there = (row != NO_ROW).then_some(row)?;
                let parent = self.view.parent(there, key)?;
                Now::of(self.view, label)
                    .comes_with(self.view, parent)
                    .then_some(parent)
            };
            let labels = rows.iter().zip(&self.labels.rows);
            let parents: Vec<u32> = labels.map(|r| parent(r).unwrap_or(NO_ROW)).collect();
            if parents.iter().any(|&row| row != NO_ROW) {
                next.push(([path, &[key]].concat(), parents));
            }
        }
    }

    fn share(&self, bins: &[usize]) -> f64 {
        self.labels.share(bins, BINS.max(TEXTS) + 2)
    }

    /// Notes what tells something.
    fn note(&mut self, path: &[usize], what: What, share: f64) {
        if share > 0.0 {
            self.found.push(Column {
                path: path.to_vec(),
                what,
                share,
            });
        }
    }

    /// What was known of these rows at the labels' times, less the view's age. Of facts that say
    /// nearly the same the one that tells most. times: columns of the rows.
    fn add_facts(&mut self, rows: &[u32], path: &[usize], times: &[u32]) {
        let (view, has_mean) = (self.view, !self.labels.texts);
        let asked = (rows, &self.labels.rows[..]);
        let groups = facts::candidates(view, asked, path.len(), (times, has_mean));
        if groups.is_empty() {
            return;
        }
        let every: Vec<Fact> = groups.concat();
        let facts = Facts::new(view, &every);
        let mut values = vec![Vec::with_capacity(rows.len()); every.len()];
        for (&row, &label) in rows.iter().zip(&self.labels.rows) {
            let found = match row {
                NO_ROW => vec![None; every.len()],
                row => {
                    let now = Now::of(view, label).of_training();
                    facts.about(view, self.horizon, Some(row), &now)
                }
            };
            for (values, value) in values.iter_mut().zip(found) {
                values.push(value.map(f32::to_bits));
            }
        }
        let mut values = values.iter();
        for group in groups {
            let told = group.into_iter().zip(values.by_ref());
            let shares = told.map(|(fact, values)| (fact, self.share(&number_bins(values))));
            // of equal ones the first
            let best = shares.reduce(|best, next| if next.1 > best.1 { next } else { best });
            if let Some((fact, share)) = best {
                self.note(path, What::Fact(fact), share);
            }
        }
    }
}

/// Bins of about the same size, of equal numbers the same; 0 for missing ones.
fn number_bins(cells: &[Option<u32>]) -> Vec<usize> {
    let key = |bits: u32| order_key(f32::from_bits(bits));
    let mut sorted: Vec<i32> = cells.iter().flatten().map(|&bits| key(bits)).collect();
    sorted.sort_unstable();
    let edge = |bin: usize| sorted[bin * sorted.len() / BINS];
    let mut edges: Vec<i32> = match sorted.is_empty() {
        true => Vec::new(),
        false => (1..BINS).map(edge).collect(),
    };
    edges.dedup();
    let bin = |bits: u32| {
        let key = key(bits);
        1 + edges.iter().filter(|&&edge| edge <= key).count()
    };
    cells.iter().map(|cell| cell.map_or(0, bin)).collect()
}

/// A bin for each of the most common texts, one for all others; 0 for missing ones.
pub fn text_bins(cells: &[Option<u32>]) -> Vec<usize> {
    let common = common_texts(cells.iter().flatten().copied(), TEXTS);
    let bin = |text: u32| {
        let place = common.iter().position(|&other| other == text);
        1 + place.unwrap_or(TEXTS)
    };
    cells.iter().map(|cell| cell.map_or(0, bin)).collect()
}

/// The `most` most common texts, of equally common ones the first: their numbers also say what
/// stands elsewhere in the store, and later.
pub fn common_texts(texts: impl Iterator<Item = u32>, most: usize) -> Vec<u32> {
    let mut counts: HashMap<u32, (usize, usize)> = HashMap::new();
    for (place, text) in texts.enumerate() {
        counts.entry(text).or_insert((0, place)).0 += 1;
    }
    let mut common: Vec<(u32, (usize, usize))> = counts.into_iter().collect();
    common.sort_unstable_by_key(|&(_, (count, place))| (std::cmp::Reverse(count), place));
    common.truncate(most);
    common.into_iter().map(|(text, _)| text).collect()
}
