//! The label rows that are most like the target in what tells of labels.
//!
//! Each row of the task's table has a code of one byte for each of the most telling columns and
//! facts (`facts`): where a number stands among those of the training labels, or which of their
//! common texts it is.
//! Rows are compared by these, each weighing as much as it tells: nearest neighbours, as far as
//! labels are known, for the model to make its answer of.

use std::collections::BinaryHeap;
use std::sync::OnceLock;

use super::columns::{Column, What, common_texts};
use super::facts::Fact;
use super::fitted;
use super::reader::Reader;
use super::{Labels, View, order_key};
use crate::builder::Builder;
use crate::candidates::RowsInTime;
use crate::idmap::IdMap;
use crate::meta::{Meta, SemanticType};
use crate::recipe::Part;
use crate::task::Prepared;
use crate::visibility::{Split, earlier_split};

/// `Nearest::alike` of rows of which it says nothing.
pub const NOT_SAID: f32 = -1.0;

/// Columns and facts that are compared.
pub const COLUMNS: usize = 32;
/// Rows that are compared with a target, the latest whose labels may be known.
pub const LOOKED_AT: usize = 16_384;
/// Rows whose codes are made at a time, once they are needed.
const BLOCK: usize = 4096;
/// Codes of numbers this far apart are not alike at all.
pub const FAR: u8 = 96;
/// The code of a cell that is not there, or of a text that is none of the common ones; others begin
/// at 1.
const MISSING: u8 = 0;
const CODES: usize = 256;

/// The codes of a task's rows.
#[derive(Default)]
pub struct Nearest {
    columns: Vec<Coded>,
    reader: Reader,
    /// Of each column, once a recipe asks for it (`fitted::weights`).
    fitted: OnceLock<Vec<f32>>,
    /// See `View`.
    age: i64,
    /// By blocks of places in order of time (`RowsInTime`): a code a column for each place.
    blocks: Vec<OnceLock<Vec<u8>>>,
}

/// Rises with how much a row is like another, then with its place. Of numbers that are not negative,
/// larger ones have larger bits.
pub fn key_of(alike: f32, place: usize) -> u64 {
    u64::from(alike.to_bits()) << 32 | place as u64
}

pub fn place_of(key: u64) -> usize {
    (key as u32) as usize
}

/// How much rows are like one target.
#[derive(Default)]
pub struct Likeness {
    /// By column: how much a cell of each code says that a row is like it.
    of_code: Vec<[f32; CODES]>,
    /// How much the target's own cells would say.
    whole: f32,
}

impl Likeness {
    fn of(&self, codes: &[u8]) -> f32 {
        let each = codes.iter().zip(&self.of_code);
        each.map(|(&code, like)| like[usize::from(code)]).sum()
    }

    /// A sum of `of` as a share of the largest.
    fn share(&self, alike: f32) -> f32 {
        match self.whole > 0.0 {
            true => (alike / self.whole).min(1.0),
            false => NOT_SAID,
        }
    }
}

/// A telling column, and how its cells become codes.
pub struct Coded {
    pub column: Column,
    codes: Codes,
}

enum Codes {
    Numbers(Standing),
    /// Of the texts that are common among the rows of training labels.
    Texts(IdMap),
}

impl Codes {
    fn texts(texts: impl Iterator<Item = u32>) -> Self {
        let mut codes = IdMap::default();
        for (text, code) in common_texts(texts, CODES - 1).into_iter().zip(1..) {
            codes.insert(text, code);
        }
        Self::Texts(codes)
    }
}

/// Where a number stands among those of the training labels' rows.
struct Standing {
    /// Their `order_key`s, each once, rising.
    keys: Vec<i32>,
    /// How many numbers are below each key, and at the end how many there are.
    below: Vec<usize>,
}

impl Standing {
    fn new(numbers: impl Iterator<Item = f32>) -> Self {
        let mut all: Vec<i32> = numbers.map(order_key).collect();
        all.sort_unstable();
        let mut made = Self {
            keys: Vec::new(),
            below: Vec::new(),
        };
        for (below, &key) in all.iter().enumerate() {
            if made.keys.last() != Some(&key) {
                made.keys.push(key);
                made.below.push(below);
            }
        }
        made.below.push(all.len());
        made
    }

    fn code(&self, value: f32) -> u8 {
        let key = order_key(value);
        let place = self.keys.partition_point(|&other| other < key);
        let is_one = self.keys.get(place) == Some(&key);
        let below = self.below[place];
        let up_to = self.below[place + usize::from(is_one)];
        let count = self.below[self.keys.len()];
        // the middle of equal ones, so that two values that share all rows are far apart
        (1 + (below + up_to) * (CODES - 2) / (2 * count).max(1)) as u8
    }
}

impl Coded {
    pub fn code(&self, bits: Option<u32>) -> u8 {
        let Some(bits) = bits else {
            return MISSING;
        };
        match &self.codes {
            Codes::Numbers(numbers) => numbers.code(f32::from_bits(bits)),
            Codes::Texts(texts) => texts.get(bits).map_or(MISSING, |code| code as u8),
        }
    }

    /// Whether the largest is next to the smallest.
    fn is_circular(&self) -> bool {
        matches!(self.column.what, What::Fact(Fact::When(clock)) if clock.period().is_some())
    }

    /// How near cells of each code are to one of this code, from 0 to `FAR`.
    pub fn near(&self, code: u8) -> [u8; CODES] {
        let mut found = [0; CODES];
        if code == MISSING {
            return found;
        }
        let is_circular = self.is_circular();
        for (other, near) in (0..=u8::MAX).zip(&mut found).skip(1) {
            let apart = match other.abs_diff(code) {
                apart if is_circular => apart.min(u8::MAX - apart),
                apart => apart,
            };
            *near = match self.codes {
                Codes::Numbers(_) => FAR.saturating_sub(apart),
                Codes::Texts(_) if apart == 0 => FAR,
                Codes::Texts(_) => 0,
            };
        }
        found
    }

    /// How much a cell of each code says that a row is like one of this code, if the column weighs
    /// so much.
    fn likeness(&self, code: u8, weight: f32) -> [f32; CODES] {
        self.near(code)
            .map(|near| weight * (1.0 - f32::from(FAR - near) / f32::from(FAR)))
    }
}

impl Nearest {
    /// columns: the most telling ones first. horizon: of facts.
    pub fn new(view: &View, labels: &Labels, columns: &[Column], horizon: i64) -> Self {
        let columns = &columns[..columns.len().min(COLUMNS)];
        let reader = Reader::new(view, columns, horizon);
        let rows: Vec<_> = labels
            .spread_rows()
            .map(|row| reader.of_training(view, row))
            .collect();
        let coded = |(place, column): (usize, &Column)| {
            let text = match column.what {
                What::Cell(column) => view.types[column as usize] == SemanticType::Text,
                What::Fact(_) => false,
            };
            let cells = rows.iter().filter_map(|cells| cells[place]);
            let codes = match text {
                true => Codes::texts(cells),
                false => Codes::Numbers(Standing::new(cells.map(f32::from_bits))),
            };
            Coded {
                column: column.clone(),
                codes,
            }
        };
        let columns: Vec<Coded> = columns.iter().enumerate().map(coded).collect();
        let blocks = match columns.is_empty() {
            true => 0,
            false => view.task.rows.len().div_ceil(BLOCK),
        };
        Self {
            columns,
            reader,
            fitted: OnceLock::new(),
            age: view.age,
            blocks: (0..blocks).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Known label rows that `wanted` lets pass, of places before `end` for a target with a time;
    /// the most alike the target first, of equally alike ones the later; at most `count`. With how
    /// much they are alike, see `alike`.
    pub fn rank(
        &self,
        builder: &Builder,
        end: usize,
        (count, wanted): (usize, impl Fn(u32) -> bool),
    ) -> Vec<(u32, f32)> {
        let mut ranked = Vec::new();
        if self.columns.is_empty() || count == 0 {
            return ranked;
        }
        let view = View::new(&builder.arrays, &builder.request, self.age);
        let likeness = self.likeness(builder);
        let mut keys: Vec<u64> = Vec::with_capacity(LOOKED_AT);
        let mut look_at = |places: std::ops::Range<usize>| {
            let left = LOOKED_AT - keys.len();
            let mut first = places.start.max(places.end.saturating_sub(left));
            while first < places.end {
                let block = first / BLOCK;
                let last = places.end.min((block + 1) * BLOCK);
                let codes = self.codes(&view, block);
                let width = self.columns.len();
                let from = (first - block * BLOCK) * width;
                let rows = codes[from..].chunks_exact(width).zip(first..last);
                keys.extend(rows.map(|(codes, place)| key_of(likeness.of(codes), place)));
                first = last;
            }
        };
        if builder.target.has_time() {
            look_at(0..end);
        } else if view.index.in_time().is_none() {
            // rows without a time stand in the order of the table, and splits decide
            let known = |split: &&Split| earlier_split(**split, builder.target.split());
            for &split in [Split::Test, Split::Val, Split::Train].iter().filter(known) {
                let rows = view.task.task.split(split);
                let start = view.task.rows.start;
                look_at(
                    (rows.start.max(start) - start) as usize
                        ..(rows.end.max(start) - start) as usize,
                );
            }
        }
        let in_time = RowsInTime::new(view.task, view.index);
        let mut heap = BinaryHeap::from(keys);
        while ranked.len() < count
            && let Some(key) = heap.pop()
        {
            let row = in_time.row(place_of(key));
            if builder.knows_label(row) && wanted(row) {
                let alike = f32::from_bits((key >> 32) as u32);
                ranked.push((row, likeness.share(alike)));
            }
        }
        ranked
    }

    /// How much rows are like the target, made when it is first asked for.
    fn likeness<'b>(&self, builder: &'b Builder) -> &'b Likeness {
        builder.likeness.get_or_init(|| {
            let view = View::new(&builder.arrays, &builder.request, self.age);
            let cells = self.reader.asked(builder, &view);
            let fitted = builder.request.fits_weights.then(|| {
                let fit = || fitted::weights(&view, &self.columns, &self.reader);
                self.fitted.get_or_init(fit)
            });
            let mut made = Likeness::default();
            for (number, (coded, &bits)) in self.columns.iter().zip(&cells).enumerate() {
                let code = coded.code(bits);
                let share = coded.column.share as f32;
                let found = coded.likeness(code, fitted.map_or(share, |weights| weights[number]));
                made.whole += found[usize::from(code)];
                made.of_code.push(found);
            }
            made
        })
    }

    /// For each row of a context how much it is like the target in what the target has, from 0 to
    /// 1, if it is in one of the parts of label rows; `NOT_SAID` of other rows, and where the target
    /// has nothing that tells.
    pub fn alike(&self, builder: &Builder) -> Vec<f32> {
        let view = View::new(&builder.arrays, &builder.request, self.age);
        let likeness = self.likeness(builder);
        let labels = [Part::OwnLabel as u8, Part::OtherLabel as u8];
        let like = |row: u32| {
            builder.alike.get(row).map_or_else(
                || likeness.share(likeness.of(&self.coded(&view, row))),
                f32::from_bits,
            )
        };
        let each = builder.rows().iter().zip(builder.parts());
        each.map(|(&row, part)| match labels.contains(part) {
            true => like(row),
            false => NOT_SAID,
        })
        .collect()
    }

    /// Whether cells of this column, of whatever rows, have a say in how alike rows are. meta: of
    /// the task's store.
    pub fn compares(&self, column: u32, task: &Prepared, meta: &Meta) -> bool {
        let compared = |coded: &Coded| match coded.column.what {
            What::Cell(cell) => cell == column,
            What::Fact(fact) => match fact {
                Fact::Mean(source, _) => source.column == column,
                Fact::Labels(_) => task.task.column == column,
                Fact::When(_) => task.time_column == Some(column),
                Fact::Since(other) => other == column || task.time_column == Some(column),
                Fact::SinceLast(table) | Fact::Recent(table, _) => {
                    meta.time_column(table) == Some(column)
                }
                Fact::Referenced | Fact::Children(_) => false,
            },
        };
        self.columns.iter().any(compared)
    }

    /// The share of what the labels differ by that the most telling column explains, from 0 to 1.
    pub fn told(&self) -> f32 {
        let shares = self.columns.iter().map(|c| c.column.share as f32);
        shares.fold(0.0, f32::max).min(1.0)
    }

    fn codes(&self, view: &View, block: usize) -> &[u8] {
        self.blocks[block].get_or_init(|| {
            let rows = RowsInTime::new(view.task, view.index);
            let places = block * BLOCK..view.task.rows.len().min((block + 1) * BLOCK);
            let mut codes = Vec::with_capacity(places.len() * self.columns.len());
            for place in places {
                codes.extend(self.coded(view, rows.row(place)));
            }
            codes
        })
    }

    /// The codes of a label row of the store.
    fn coded(&self, view: &View, row: u32) -> Vec<u8> {
        let cells = self.reader.stored(view, row);
        let columns = self.columns.iter().zip(cells);
        columns.map(|(column, bits)| column.code(bits)).collect()
    }
}
