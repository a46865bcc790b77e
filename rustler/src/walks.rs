//! Random walks from a target over visible rows: how near is a row to it?
//!
//! A walk goes from a row to one of its parents or of its children up to the bound, each with the
//! same chance. A step to a row that the target may not see is not taken. All walks advance
//! together, sorted roughly by row, and what they read next is asked for ahead, so that it lies
//! close together and the waits for memory overlap.

use std::cmp::Reverse;

use crate::builder::Builder;
use crate::idmap::IdMap;
use crate::store::{Arrays, NO_RANK, NO_ROW};

/// Walks whose neighbours are looked up at a time.
const TOGETHER: usize = 128;
/// Ranges of rows by which walks are sorted.
const RANGES: usize = 2048;
/// The visible part of longer lists of children is looked up once.
const LONG: u64 = 64;
/// What is read of stores with more rows is asked for ahead; that of others is near anyway.
const FAR_ROWS: usize = 100_000;

#[derive(Default)]
pub struct Walker {
    /// Where the walks are.
    at: Vec<u32>,
    moves: Vec<Move>,
    sorted: Vec<Move>,
    /// Visits of each row of the target's table; zero between contexts.
    visits: Vec<u32>,
    visited: Vec<u32>,
    /// Visits and row of each visited row.
    keys: Vec<u64>,
    /// Visible children of rows that have many.
    visible: IdMap,
    state: u64,
}

/// The neighbours of one walk's row: its places for parents, of which some may be empty, then its
/// visible children.
#[derive(Clone, Copy, Default)]
struct Around<'a> {
    places: &'a [u32],
    /// None of the places is empty.
    full: bool,
    parents: u64,
    first_child: usize,
    children: u64,
}

/// A step of one walk that may be taken.
#[derive(Clone, Copy, Default)]
struct Move {
    from: u32,
    to: u32,
    is_child: bool,
}

impl Walker {
    /// The rows of the target's table that walks have visited most, at most `count`, the most
    /// visited first; of equal ones the later row.
    pub fn rank(
        &mut self,
        builder: &mut Builder,
        (walks, length): (usize, usize),
        count: usize,
        ranked: &mut Vec<u32>,
    ) {
        self.visible.clear();
        self.state = u64::from(builder.rng.below(u32::MAX)) << 32;
        self.state |= u64::from(builder.rng.below(u32::MAX));
        let table = builder.request.task.rows.clone();
        if self.visits.len() < table.len() {
            self.visits.resize(table.len(), 0);
        }
        // the first step from a new row, which has no children, is to its entity
        let (start, length) = match builder.request.new {
            Some(new) if !builder.sees(new.entity) => (new.entity, 0),
            Some(new) => (new.entity, length.saturating_sub(1)),
            None => (builder.request.row, length),
        };
        self.at.clear();
        self.at.resize(walks, start);
        let far = builder.arrays.row_rank.len() > FAR_ROWS;
        for _ in 0..length {
            match far {
                true => self.propose::<true>(builder),
                false => self.propose::<false>(builder),
            }
            self.sort_moves(builder.arrays.row_rank.len());
            self.take_moves(builder);
        }
        self.most_visited(table.start, count, ranked);
    }

    /// Leaves the counts at zero.
    fn most_visited(&mut self, first: u32, count: usize, ranked: &mut Vec<u32>) {
        self.keys.clear();
        for row in self.visited.drain(..) {
            let visits = std::mem::take(&mut self.visits[(row - first) as usize]);
            self.keys.push(u64::from(visits) << 32 | u64::from(row));
        }
        let keys = &mut self.keys[..];
        let most = match keys.len() > count {
            true => {
                keys.select_nth_unstable_by_key(count, |&key| Reverse(key))
                    .0
            }
            false => keys,
        };
        most.sort_unstable_by_key(|&key| Reverse(key));
        ranked.extend(most.iter().map(|&key| key as u32));
    }

    /// Draws a step of every walk.
    fn propose<const FAR: bool>(&mut self, builder: &Builder) {
        let arrays = builder.arrays;
        let at = std::mem::take(&mut self.at);
        self.moves.clear();
        fetch_neighbours::<FAR>(arrays, &at[..at.len().min(TOGETHER)]);
        for (number, rows) in at.chunks(TOGETHER).enumerate() {
            let next = at.len().min((number + 1) * TOGETHER);
            fetch_neighbours::<FAR>(arrays, &at[next..at.len().min(next + TOGETHER)]);
            let mut around = [Around::default(); TOGETHER];
            let around = &mut around[..rows.len()];
            for (around, &row) in around.iter_mut().zip(rows) {
                let table = arrays.layout.table(row);
                around.places = arrays.parent_places(table, row);
                around.full = table.all_parents;
                let children = arrays.child_places(table, row);
                around.first_child = children.start;
                around.children = children.len() as u64;
                fetch::<FAR, _>(arrays.child_rank, children.end.wrapping_sub(1));
                fetch::<FAR, _>(arrays.child_rank, children.start + children.len() / 2);
            }
            for around in &mut *around {
                let there = || around.places.iter().filter(|&&place| place != NO_ROW);
                around.parents = match around.full {
                    true => around.places.len(),
                    false => there().count(),
                } as u64;
            }
            if builder.target.bound().is_some() {
                let last = builder.last_rank;
                self.drop_later(around, rows, arrays.child_rank, last);
            }
            let mut choices = [0; TOGETHER];
            for (choice, around) in choices.iter_mut().zip(&*around) {
                *choice = self.below(around.parents + around.children);
                let child = choice.wrapping_sub(around.parents);
                fetch::<FAR, _>(
                    arrays.child_row,
                    around.first_child.wrapping_add(child as usize),
                );
            }
            for ((around, &from), choice) in around.iter().zip(rows).zip(choices) {
                let is_child = choice >= around.parents;
                let to = match choice.checked_sub(around.parents) {
                    Some(_) if around.children == 0 => from,
                    Some(child) => arrays.child_row[around.first_child + child as usize],
                    None if around.full => around.places[choice as usize],
                    None => parent(around.places, choice as usize),
                };
                fetch::<FAR, _>(arrays.row_rank, to as usize);
                self.moves.push(Move { from, to, is_child });
            }
        }
        self.at = at;
    }

    /// Sorts the steps by the range of rows that they lead to (counting sort, stable).
    fn sort_moves(&mut self, num_rows: usize) {
        let bits = usize::BITS - num_rows.leading_zeros();
        let shift = bits.saturating_sub(RANGES.ilog2());
        let mut ends = [0; RANGES];
        for step in &self.moves {
            ends[(step.to >> shift) as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        self.sorted.resize(self.moves.len(), Move::default());
        for step in &self.moves {
            let place = &mut ends[(step.to >> shift) as usize];
            self.sorted[*place] = *step;
            *place += 1;
        }
    }

    /// Takes the steps to rows that the target may see, and counts visits.
    fn take_moves(&mut self, builder: &Builder) {
        let task = builder.request.task;
        let table = &task.rows;
        // a database row among the children up to the bound is seen: its time need not be read
        let timed = builder.target.bound().is_some();
        for (at, step) in self.at.iter_mut().zip(&self.sorted) {
            *at = step.from;
            let seen = step.is_child && timed && step.to < task.first_label_row;
            if step.to == step.from || !(seen || builder.sees(step.to)) {
                continue;
            }
            *at = step.to;
            if table.contains(at) {
                let visits = &mut self.visits[(*at - table.start) as usize];
                if *visits == 0 {
                    self.visited.push(*at);
                }
                *visits += 1;
            }
        }
    }

    /// Leaves of each row's children, which stand in order of time, those up to a rank.
    fn drop_later(&mut self, around: &mut [Around], rows: &[u32], ranks: &[u32], last: u32) {
        // all reads first, so that no branch waits for one
        let mut latest = [NO_RANK; TOGETHER];
        for (latest, around) in latest.iter_mut().zip(&*around) {
            let end = around.first_child + around.children as usize;
            *latest = ranks.get(end.wrapping_sub(1)).copied().unwrap_or(NO_RANK);
        }
        for ((around, &row), latest) in around.iter_mut().zip(rows).zip(latest) {
            if latest > last && around.children > 0 {
                around.children = self.up_to(last, ranks, *around, row);
            }
        }
    }

    /// How many of a row's children are not of a later rank.
    fn up_to(&mut self, last: u32, ranks: &[u32], around: Around, row: u32) -> u64 {
        let first = around.first_child;
        let ranks = &ranks[first..first + around.children as usize];
        let find = || ranks.partition_point(|&rank| rank <= last) as u64;
        if around.children <= LONG {
            return find();
        }
        if let Some(found) = self.visible.get(row) {
            return u64::from(found);
        }
        let found = find();
        match u32::try_from(found) {
            Ok(short) => u64::from(self.visible.insert(row, short).0),
            Err(_) => found,
        }
    }

    /// Uniform in 0..n; 0 for n = 0. The bias is n / 2^64. SplitMix64 (Steele, Lea and Flood 2014):
    /// its seed is drawn from the context's stream, and a step costs two multiplications.
    #[inline]
    fn below(&mut self, n: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(n)) >> 64) as u64
    }
}

/// The parent in the place of this number among those that are not empty.
#[inline]
fn parent(places: &[u32], number: usize) -> u32 {
    let mut there = places.iter().filter(|&&place| place != NO_ROW);
    there.nth(number).copied().unwrap_or(NO_ROW)
}

/// Asks for the places of the rows' parents and children.
fn fetch_neighbours<const FAR: bool>(arrays: Arrays, rows: &[u32]) {
    for &row in rows.iter().filter(|_| FAR) {
        let table = arrays.layout.table(row);
        let place = (row - table.rows.start) as usize;
        fetch::<FAR, _>(
            arrays.parent_row,
            table.first_parent + place * table.num_parents,
        );
        if let Some(first) = table.first_pointer {
            fetch::<FAR, _>(arrays.child_ptr, first + place);
        }
    }
}

/// Asks the processor to bring an item of an array near, if there is one at this place and the
/// store is large.
#[inline]
fn fetch<const FAR: bool, T>(array: &[T], place: usize) {
    let Some(item) = array.get(place).filter(|_| FAR) else {
        return;
    };
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is that of an item; a hint reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}
