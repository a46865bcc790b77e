//! Random walks from a target over visible rows: how near is a row to it?
//!
//! A walk goes from a row to one of its parents or of its children up to the bound, each with the
//! same chance. A step to a row that the target may not see is not taken. All walks advance
//! together, sorted roughly by row, and what they read next is asked for ahead, so that it lies
//! close together and the waits for memory overlap.

use std::cmp::Reverse;

use crate::builder::Builder;
use crate::idmap::IdMap;
use crate::nodes::Node;
use crate::store::{Arrays, NO_ROW};

/// Walks whose neighbours are looked up at a time.
const TOGETHER: usize = 128;
/// Ranges of rows by which walks are sorted.
const RANGES: usize = 2048;
/// The visible part of longer lists of children is looked up once.
const LONG: u32 = 64;
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
        let (arrays, nodes) = (builder.arrays, builder.request.nodes);
        let at = std::mem::take(&mut self.at);
        self.moves.clear();
        fetch_nodes::<FAR>(nodes, &at[..at.len().min(TOGETHER)]);
        for (number, rows) in at.chunks(TOGETHER).enumerate() {
            let next = at.len().min((number + 1) * TOGETHER);
            fetch_nodes::<FAR>(nodes, &at[next..at.len().min(next + TOGETHER)]);
            let mut around = [Node::default(); TOGETHER];
            let around = &mut around[..rows.len()];
            for (node, &row) in around.iter_mut().zip(rows) {
                *node = nodes[row as usize];
            }
            if builder.target.bound().is_some() {
                self.drop_later(around, rows, arrays.child_rank, builder.last_rank);
            }
            let mut choices = [0; TOGETHER];
            for (choice, node) in choices.iter_mut().zip(&*around) {
                *choice = self.below(u64::from(node.parents) + u64::from(node.children)) as u32;
                let child = choice.wrapping_sub(node.parents);
                let place = node.first_child.wrapping_add(child) as usize;
                fetch::<FAR, _>(arrays.child_row, place);
            }
            for ((node, &from), choice) in around.iter().zip(rows).zip(choices) {
                let is_child = choice >= node.parents;
                let to = match choice.checked_sub(node.parents) {
                    Some(_) if node.children == 0 => from,
                    Some(child) => arrays.child_row[(node.first_child + child) as usize],
                    None => parent(arrays, node, (from, choice as usize)),
                };
                fetch::<FAR, _>(nodes, to as usize);
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
        let (task, nodes) = (builder.request.task, builder.request.nodes);
        let (table, last, root) = (&task.rows, builder.last_rank, builder.request.row);
        let timed = builder.target.bound().is_some();
        for (at, step) in self.at.iter_mut().zip(&self.sorted) {
            *at = step.from;
            let sees = match timed && step.to < task.first_label_row && step.to != root {
                // children of a later rank have been dropped
                true => step.is_child || nodes[step.to as usize].rank <= last,
                false => builder.sees(step.to),
            };
            if step.to == step.from || !sees {
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
    fn drop_later(&mut self, around: &mut [Node], rows: &[u32], ranks: &[u32], last: u32) {
        for (node, &row) in around.iter_mut().zip(rows) {
            if node.latest > last {
                node.children = self.up_to(last, ranks, node, row);
            }
        }
    }

    /// How many of a row's children are not of a later rank.
    fn up_to(&mut self, last: u32, ranks: &[u32], node: &Node, row: u32) -> u32 {
        let first = node.first_child as usize;
        let ranks = &ranks[first..first + node.children as usize];
        let find = || ranks.partition_point(|&rank| rank <= last) as u32;
        if node.children <= LONG {
            return find();
        }
        match self.visible.get(row) {
            Some(found) => found,
            None => self.visible.insert(row, find()).0,
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

/// The parent of this number among those of a row that are there.
#[inline]
fn parent(arrays: Arrays, node: &Node, (row, number): (u32, usize)) -> u32 {
    match node.parent.get(number) {
        Some(&near) => near,
        None => arrays.parents(row).nth(number).unwrap_or(NO_ROW),
    }
}

/// Asks for the nodes of rows.
fn fetch_nodes<const FAR: bool>(nodes: &[Node], rows: &[u32]) {
    for &row in rows.iter().filter(|_| FAR) {
        fetch::<FAR, _>(nodes, row as usize);
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
