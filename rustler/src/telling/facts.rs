//! Facts about a row at a time: what no cell of it holds, and by which label rows are compared.
//!
//! When it is, and how long after the times in its cells; how many rows of each table reference it,
//! for how long none has, how many have of late; the means of their cells, of the cells of what else
//! they reference, and of labels, each over the last few. All but the first two are of what was
//! known at the row's time, or the view's age before it. They are aggregates along foreign keys (deep
//! feature synthesis; Kanter and Veeramachaneni, Deep Feature Synthesis, 2015, section II).

use std::ops::Range;

use super::View;
use crate::meta::SemanticType;
use crate::store::{NO_RANK, NO_ROW};
use crate::visibility::{Split, Target, in_time};

/// Rows of each table that reference a row and are looked at, the latest.
const LOOKED_AT: usize = 64;
/// Rows of any table among which these are looked for, the latest.
const TRIED: usize = 512;
/// Windows whose events are counted, in horizons.
const WINDOWS: [i64; 2] = [1, 8];
/// Rows more references away than this are told nothing of the rows that reference them.
const CHILD_FACT_STEPS: usize = 1;
/// Stores cut normalised values here (`Z_CLIP` of `rt/columns.py`): how long ago such a time is they
/// do not say.
const CUT: f32 = 20.0;
/// Over how many of the latest a mean is.
const MEANS: [usize; 3] = [1, 8, 64];
/// A horizon of tasks without one: this part of the time up to the last training row.
const PARTS: i64 = 64;

/// A fact about a row at a time. That there is a label row which is not known yet counts for
/// nothing: it may say what came after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fact {
    /// When it is.
    When(Clock),
    /// How long before the target's time the one in this column is, in deviations of times.
    Since(u32),
    /// How many rows reference it.
    Referenced,
    /// How many of this table do, of those looked at.
    Children(usize),
    /// Time since the last of them.
    SinceLast(usize),
    /// How many of them are in the last window of this number.
    Recent(usize, usize),
    /// The mean of the last known labels of rows that reference it, `MEANS` of this number.
    Labels(usize),
    /// The mean of a column in the last rows that have it, likewise.
    Mean(Source, usize),
}

/// What of a time is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Time,
    OfYear,
    OfWeek,
    OfDay,
}

impl Clock {
    const ALL: [Self; 4] = [Self::Time, Self::OfYear, Self::OfWeek, Self::OfDay];

    /// In seconds; None of all time.
    pub fn period(self) -> Option<i64> {
        match self {
            Self::Time => None,
            // the mean year of the Gregorian calendar
            Self::OfYear => Some(31_556_952),
            Self::OfWeek => Some(7 * 86_400),
            Self::OfDay => Some(86_400),
        }
    }

    fn of(self, time: i64) -> f32 {
        self.period().map_or(time, |period| time.rem_euclid(period)) as f32
    }
}

/// Where the cells of a mean stand: in the rows of a table that reference the row, or in those that
/// these reference by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    table: usize,
    key: Option<usize>,
    pub column: u32,
}

/// What is known when facts are told.
#[derive(Clone, Copy)]
pub struct Now {
    target: Target,
    /// Of rows that are seen, the last rank.
    last_rank: u32,
    /// A row that does not count: the one that they are told for.
    but: u32,
    /// Of labels, only those of the training split are known.
    training: bool,
}

impl Now {
    /// Of a label row of the store, at the view's age.
    pub fn of(view: &View, label: u32) -> Self {
        let target = target_of(view, label);
        let last_rank = match view.age {
            0 => view.arrays.row_rank[label as usize],
            _ => view
                .arrays
                .last_rank(|time| in_time(Some(time), target.bound())),
        };
        Self::new(target, last_rank, label)
    }

    /// Without a time only rows without one count, so that facts are the same for all targets.
    pub fn new(target: Target, last_rank: u32, but: u32) -> Self {
        let last_rank = match target.has_time() {
            true => last_rank,
            false => NO_RANK,
        };
        Self {
            target,
            last_rank,
            but,
            training: false,
        }
    }

    /// The same for what is a number of the training split.
    pub fn of_training(self) -> Self {
        Self {
            training: true,
            ..self
        }
    }

    /// Up to when, for a target with a time.
    fn bound(&self) -> Option<i64> {
        self.target.bound().filter(|_| self.target.has_time())
    }

    /// Whether the row that does not count is among those that reference `row`.
    fn references(&self, view: &View, row: u32) -> bool {
        let rank = view.arrays.row_rank.get(self.but as usize);
        rank.is_some_and(|&rank| rank <= self.last_rank)
            && self.but < view.task.first_label_row
            && view.arrays.parents(self.but).any(|parent| parent == row)
    }

    /// Whether a row that is no later counts.
    fn counts(&self, view: &View, row: u32) -> bool {
        let in_split = |split| self.target.has_time() && split <= self.target.split();
        row != self.but && view.task.split_of(row).is_none_or(in_split)
    }

    /// Whether a row that the label's row leads to is seen by every target that knows the label: it
    /// is not later; if it is of the label's own table, not of a later split.
    pub fn comes_with(&self, view: &View, row: u32) -> bool {
        let split = view.task.split_of(row);
        view.arrays.row_rank[row as usize] <= self.last_rank
            && (split.is_none() || split <= view.task.split_of(self.but))
    }

    fn sees(&self, view: &View, row: u32) -> bool {
        view.arrays.row_rank[row as usize] <= self.last_rank && self.counts(view, row)
    }
}

/// A label row of the store as a target of the view's age.
pub fn target_of(view: &View, label: u32) -> Target {
    let time = view.arrays.time(label);
    let aged = time.filter(|_| view.age > 0);
    let cutoff = aged.map(|time| time.saturating_sub(view.age));
    view.task.target(label, time, cutoff)
}

/// Facts about the rows that are this many references from rows of labels (`NO_ROW`: none): what
/// may be told of them, in groups that say nearly the same. times: columns of theirs; has_mean:
/// whether labels have one.
pub fn candidates(
    view: &View,
    (rows, labels): (&[u32], &[u32]),
    steps: usize,
    (times, has_mean): (&[u32], bool),
) -> Vec<Vec<Fact>> {
    let mut found: Vec<Vec<Fact>> = Vec::new();
    let own_time = view.task.time_column;
    let shows_time = own_time.is_none_or(|column| is_shown(view, column));
    if view.time_scale.is_some() && shows_time {
        found.extend(times.iter().map(|&column| vec![Fact::Since(column)]));
    }
    if steps == 0 && shows_time {
        found.extend(clocks(view, rows).map(|clock| vec![Fact::When(clock)]));
    }
    if !view.task.has_all_keys() || steps > CHILD_FACT_STEPS {
        return found;
    }
    if has_mean && steps > 0 {
        found.push((0..MEANS.len()).map(Fact::Labels).collect());
    }
    let tables = referencing(view, rows, labels);
    if !tables.is_empty() {
        found.push(vec![Fact::Referenced]);
    }
    for &table in &tables {
        if tables.len() > 1 {
            found.push(vec![Fact::Children(table)]);
        }
        let time_of_theirs = view.meta.time_column(table);
        // they are told as of the row's own time
        if shows_time && time_of_theirs.is_none_or(|column| is_shown(view, column)) {
            found.push(vec![Fact::SinceLast(table)]);
            let windows = 0..WINDOWS.len();
            found.extend(windows.map(|window| vec![Fact::Recent(table, window)]));
        }
        for source in sources(view, table) {
            let means = 0..MEANS.len();
            found.push(means.map(|mean| Fact::Mean(source, mean)).collect());
        }
    }
    found
}

/// Whether cells of a column are shown at any time.
fn is_shown(view: &View, column: u32) -> bool {
    view.task.special(column..column + 1).is_empty()
}

/// What of the rows' times can be compared: their place in a period if they span two of it.
fn clocks(view: &View, rows: &[u32]) -> impl Iterator<Item = Clock> {
    let times = || rows.iter().filter_map(|&row| view.arrays.time(row));
    let span = match (times().min(), times().max()) {
        (Some(first), Some(last)) => last.saturating_sub(first),
        _ => 0,
    };
    let fits = move |clock: &Clock| clock.period().is_none_or(|period| span >= 2 * period);
    Clock::ALL.into_iter().filter(fits)
}

/// Tables of the rows that reference rows, as far as the labels come after them.
fn referencing(view: &View, rows: &[u32], labels: &[u32]) -> Vec<usize> {
    let mut tables = Vec::new();
    for (&row, &label) in rows.iter().zip(labels) {
        if row == NO_ROW {
            continue;
        }
        let (children, ranks) = view.children.of(view.arrays, row);
        let last_rank = Now::of(view, label).last_rank;
        let end = ranks.partition_point(|&rank| rank <= last_rank);
        for &child in children[..end].iter().rev().take(TRIED) {
            let table = view.arrays.layout.table(child);
            if !tables.contains(&table.number) {
                tables.push(table.number);
            }
        }
    }
    tables.sort_unstable();
    tables
}

/// Number and boolean columns of a table and of what its rows reference, as far as they are shown at
/// any time.
fn sources(view: &View, table: usize) -> Vec<Source> {
    let layout = view.arrays.layout;
    let columns = |number: usize| {
        let table = layout.table_numbered(number);
        let columns = table.first_column..table.first_column + table.fields.len() as u32;
        let special = view.task.special(columns.clone());
        columns.filter(move |column| {
            let kind = view.types[*column as usize];
            matches!(kind, SemanticType::Number | SemanticType::Boolean)
                && special.iter().all(|(other, _)| other != column)
        })
    };
    let of_key = |key: Option<usize>, number: usize| {
        columns(number).map(move |column| Source { table, key, column })
    };
    let mut found: Vec<Source> = of_key(None, table).collect();
    let referencing = layout.table_numbered(table);
    for key in 0..referencing.num_parents {
        let step = referencing.rows.len().div_ceil(TRIED).max(1);
        let mut rows = referencing.rows.clone().step_by(step);
        if let Some(parent) = rows.find_map(|row| view.parent(row, key)) {
            found.extend(of_key(Some(key), layout.table(parent).number));
        }
    }
    found
}

/// Some facts, told in one pass over the rows that reference a row.
#[derive(Default)]
pub struct Facts {
    count: usize,
    clocks: Vec<(usize, Clock)>,
    /// Columns, rising, and places.
    since: Vec<(u32, usize)>,
    referenced: Option<usize>,
    /// Places of the means of labels.
    labels: Means,
    tables: Vec<OfTable>,
}

/// Places of the facts that are means over so many, by number.
type Means = [Option<usize>; MEANS.len()];

struct OfTable {
    number: usize,
    rows: Range<u32>,
    counts: Vec<(usize, Fact)>,
    groups: Vec<Group>,
}

/// The means of cells of the table's own rows, or of those that they reference by a key.
struct Group {
    key: Option<usize>,
    /// Rising; each with its number in `means`.
    columns: Vec<(u32, usize)>,
    means: Vec<Means>,
    /// Of all groups.
    number: usize,
    first_tally: usize,
}

impl Facts {
    pub fn new(view: &View, facts: &[Fact]) -> Self {
        let mut made = Self {
            count: facts.len(),
            ..Self::default()
        };
        for (place, &fact) in facts.iter().enumerate() {
            match fact {
                Fact::When(clock) => made.clocks.push((place, clock)),
                Fact::Since(column) => made.since.push((column, place)),
                Fact::Referenced => made.referenced = Some(place),
                Fact::Labels(mean) => made.labels[mean] = Some(place),
                Fact::Children(table) | Fact::SinceLast(table) | Fact::Recent(table, _) => {
                    made.of_table(view, table).counts.push((place, fact));
                }
                Fact::Mean(source, mean) => {
                    let table = made.of_table(view, source.table);
                    table.group(source.key).add(source.column, mean, place);
                }
            }
        }
        made.since.sort_unstable();
        let groups = made.tables.iter_mut().flat_map(|table| &mut table.groups);
        let mut tallies = 0;
        for (number, group) in groups.enumerate() {
            group.number = number;
            group.first_tally = tallies;
            group.columns.sort_unstable();
            tallies += group.columns.len();
        }
        made
    }

    fn of_table(&mut self, view: &View, number: usize) -> &mut OfTable {
        let place = self.tables.iter().position(|table| table.number == number);
        let place = place.unwrap_or_else(|| {
            self.tables.push(OfTable {
                number,
                rows: view.arrays.layout.table_numbered(number).rows.clone(),
                counts: Vec::new(),
                groups: Vec::new(),
            });
            self.tables.len() - 1
        });
        &mut self.tables[place]
    }

    /// The facts about a row, None where there is none; without a row when it is alone. horizon:
    /// see `horizon`.
    pub fn about(
        &self,
        view: &View,
        horizon: i64,
        row: Option<u32>,
        now: &Now,
    ) -> Vec<Option<f32>> {
        let mut found = vec![None; self.count];
        for &(place, clock) in &self.clocks {
            found[place] = now.target.time().map(|time| clock.of(time));
        }
        if let Some(row) = row {
            if let (Some(time), Some(scale)) = (now.target.time(), view.time_scale) {
                let time = scale.normalised(time);
                view.arrays.for_wanted(row, &self.since, |number, bits| {
                    let value = f32::from_bits(bits);
                    if value.abs() < CUT {
                        found[self.since[number].1] = Some((time - f64::from(value)) as f32);
                    }
                });
            }
            if self.labels.iter().any(Option::is_some) {
                self.tell_labels(view, row, now, &mut found);
            }
            if !self.tables.is_empty() || self.referenced.is_some() {
                self.tell_tables(view, horizon, row, now, &mut found);
            }
        }
        found
    }

    /// Labels of the rows that reference `row`, as far as they are known.
    fn tell_labels(&self, view: &View, row: u32, now: &Now, found: &mut [Option<f32>]) {
        if !now.target.has_time() {
            return;
        }
        let arrays = view.arrays;
        let rows = match &view.index.labels {
            Some(labels) => labels.of(row),
            None => view.children.of(arrays, row).0,
        };
        let timed = |row: u32| arrays.row_rank[row as usize] != NO_RANK;
        // rows without a time come first, and have no known label
        let end =
            rows.partition_point(|&row| !timed(row) || now.target.sees_hidden(arrays.time(row)));
        let mut tally = Tally::default();
        let training = view.task.task.split(Split::Train);
        let counts = |row: &u32| {
            view.task.rows.contains(row)
                && *row != now.but
                && timed(*row)
                && (!now.training || training.contains(row))
        };
        let latest = rows[..end]
            .iter()
            .rev()
            .take(TRIED)
            .filter(|row| counts(row));
        for &other in latest.take(LOOKED_AT) {
            if let Some(bits) = arrays.cell(other, view.task.task.column) {
                tally.add(f32::from_bits(bits), &self.labels, found);
            }
        }
        tally.finish(&self.labels, found);
    }

    fn tell_tables(
        &self,
        view: &View,
        horizon: i64,
        row: u32,
        now: &Now,
        found: &mut [Option<f32>],
    ) {
        let arrays = view.arrays;
        let (children, ranks) = view.children.of(arrays, row);
        let end = ranks.partition_point(|&rank| rank <= now.last_rank);
        let bound = now.bound();
        if let Some(place) = self.referenced.filter(|_| bound.is_some()) {
            found[place] = Some((end - usize::from(now.references(view, row))) as f32);
        }
        for (place, fact) in self.tables.iter().flat_map(|table| &table.counts) {
            let there = match fact {
                Fact::Children(_) => true,
                Fact::Recent(..) => bound.is_some(),
                _ => false,
            };
            found[*place] = there.then_some(0.0);
        }
        let groups = self.tables.iter().flat_map(|table| &table.groups);
        // columns of each group whose means are not all known yet
        let mut open: Vec<usize> = groups.map(|group| group.columns.len()).collect();
        let mut tallies = vec![Tally::default(); open.iter().sum()];
        let mut left = vec![LOOKED_AT; self.tables.len()];
        let mut num_left = self.tables.len();
        for (&child, &rank) in children[..end].iter().zip(&ranks[..end]).rev().take(TRIED) {
            if num_left == 0 {
                break;
            }
            let number = self.tables.iter().position(|t| t.rows.contains(&child));
            let Some(number) = number.filter(|&n| left[n] > 0 && now.counts(view, child)) else {
                continue;
            };
            let table = &self.tables[number];
            let ago = bound
                .filter(|_| rank != NO_RANK)
                .map(|bound| bound.saturating_sub(arrays.time_value[rank as usize - 1]));
            for &(place, fact) in &table.counts {
                let fact_found = &mut found[place];
                match (fact, ago) {
                    (Fact::Children(_), _) => *fact_found = fact_found.map(|count| count + 1.0),
                    (Fact::SinceLast(_), Some(ago)) => {
                        *fact_found = fact_found.or(Some(ago as f32));
                    }
                    (Fact::Recent(_, window), Some(ago))
                        if ago < horizon.saturating_mul(WINDOWS[window]) =>
                    {
                        *fact_found = fact_found.map(|count| count + 1.0);
                    }
                    _ => {}
                }
            }
            for group in &table.groups {
                if open[group.number] == 0 {
                    continue;
                }
                let holder = match group.key {
                    None => Some(child),
                    Some(key) => view
                        .parent(child, key)
                        .filter(|&parent| parent != row && now.sees(view, parent)),
                };
                if let Some(holder) = holder {
                    open[group.number] -= group.add_cells(view, holder, &mut tallies, found);
                }
            }
            left[number] -= 1;
            if !table.counts_all() && table.groups.iter().all(|group| open[group.number] == 0) {
                left[number] = 0;
            }
            num_left -= usize::from(left[number] == 0);
        }
        for group in self.tables.iter().flat_map(|table| &table.groups) {
            for (place, (_, means)) in group.columns.iter().enumerate() {
                tallies[group.first_tally + place].finish(&group.means[*means], found);
            }
        }
    }
}

impl OfTable {
    /// Whether a fact is of all rows that are looked at. The time since the last is known with the
    /// first of them: rows without a time come after all others.
    fn counts_all(&self) -> bool {
        let is_count = |fact: &Fact| matches!(fact, Fact::Children(_) | Fact::Recent(..));
        self.counts.iter().any(|(_, fact)| is_count(fact))
    }

    fn group(&mut self, key: Option<usize>) -> &mut Group {
        let place = self.groups.iter().position(|group| group.key == key);
        let place = place.unwrap_or_else(|| {
            self.groups.push(Group {
                key,
                columns: Vec::new(),
                means: Vec::new(),
                number: 0,
                first_tally: 0,
            });
            self.groups.len() - 1
        });
        &mut self.groups[place]
    }
}

impl Group {
    fn add(&mut self, column: u32, mean: usize, place: usize) {
        let known = self.columns.iter().find(|(other, _)| *other == column);
        let number = known.map_or(self.means.len(), |&(_, number)| number);
        if number == self.means.len() {
            self.columns.push((column, number));
            self.means.push(Means::default());
        }
        self.means[number][mean] = Some(place);
    }

    /// Of how many columns all means are known with this.
    fn add_cells(
        &self,
        view: &View,
        holder: u32,
        tallies: &mut [Tally],
        found: &mut [Option<f32>],
    ) -> usize {
        let tallies = &mut tallies[self.first_tally..];
        let mut full = 0;
        view.arrays
            .for_wanted(holder, &self.columns, |place, bits| {
                let means = &self.means[self.columns[place].1];
                let last = tallies[place].add(f32::from_bits(bits), means, found);
                full += usize::from(last);
            });
        full
    }
}

/// The values that have been seen so far, the latest ones first.
#[derive(Clone, Copy, Default)]
struct Tally {
    sum: f32,
    count: usize,
}

impl Tally {
    /// Whether the last of the means is known with this.
    fn add(&mut self, value: f32, means: &Means, found: &mut [Option<f32>]) -> bool {
        self.sum += value;
        self.count += 1;
        let Some(number) = MEANS.iter().position(|&most| most == self.count) else {
            return false;
        };
        let Some(place) = means[number] else {
            return false;
        };
        found[place] = Some(self.sum / self.count as f32);
        means[number + 1..].iter().all(Option::is_none)
    }

    /// The means over more than there are.
    fn finish(&self, means: &Means, found: &mut [Option<f32>]) {
        for (place, most) in means.iter().zip(MEANS) {
            if let Some(place) = place.filter(|_| 0 < self.count && self.count < most) {
                found[place] = Some(self.sum / self.count as f32);
            }
        }
    }
}

/// The time that a task's labels look ahead, or one made up from the times of its training rows.
pub fn horizon(view: &View, rows: &[u32]) -> i64 {
    let last = rows.iter().filter_map(|&row| view.arrays.time(row)).max();
    let span = match (view.arrays.time_value.first(), last) {
        (Some(first), Some(last)) => last.saturating_sub(*first),
        _ => 0,
    };
    let given = view.task.task.horizon.filter(|&horizon| horizon > 0);
    given.unwrap_or(span / PARTS).max(1)
}
