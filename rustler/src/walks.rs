//! Random walks from a target over visible rows: how near is a row to it?
//!
//! A walk goes from a row to one of its parents or of its children up to the bound, each with the
//! same chance. A step to a row that the target may not see is not taken. Walks advance together,
//! one kind of read after the other for all of them, so that their waits for memory overlap.

use std::cmp::Reverse;

use crate::context::Builder;
use crate::idmap::IdMap;

/// Walks that advance together.
const TOGETHER: usize = 128;
/// The visible part of longer lists of children is looked up once.
const LONG: u64 = 64;

#[derive(Default)]
pub struct Walker {
    /// Visits of each row of the target's table; zero between contexts.
    visits: Vec<u32>,
    visited: Vec<u32>,
    /// Visible children of rows that have many.
    visible: IdMap,
    state: u64,
}

/// The neighbours of one walk's row: its parents, then its visible children.
#[derive(Clone, Copy, Default)]
struct Around {
    first_parent: u64,
    parents: u64,
    first_child: u64,
    children: u64,
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
        let mut rows = [0; TOGETHER];
        let mut left = walks;
        while left > 0 {
            let now = left.min(TOGETHER);
            rows[..now].fill(builder.request.row);
            for _ in 0..length {
                self.step(builder, &mut rows[..now]);
            }
            left -= now;
        }
        let visits = &self.visits;
        let key = |&row: &u32| Reverse((visits[(row - table.start) as usize], row));
        let most = if self.visited.len() > count {
            self.visited.select_nth_unstable_by_key(count, key).0
        } else {
            &mut self.visited[..]
        };
        most.sort_unstable_by_key(key);
        ranked.extend_from_slice(most);
        for row in self.visited.drain(..) {
            self.visits[(row - table.start) as usize] = 0;
        }
    }

    /// One step of every walk.
    fn step(&mut self, builder: &Builder, rows: &mut [u32]) {
        let arrays = builder.arrays;
        let mut around = [Around::default(); TOGETHER];
        for (around, &row) in around.iter_mut().zip(rows.iter()) {
            let row = row as usize;
            around.first_parent = arrays.parent_ptr[row];
            around.parents = arrays.parent_ptr[row + 1] - around.first_parent;
            around.first_child = arrays.child_ptr[row];
            around.children = arrays.child_ptr[row + 1] - around.first_child;
        }
        if let Some(bound) = builder.target.bound() {
            for (around, &row) in around.iter_mut().zip(rows.iter()) {
                around.children = self.visible_children(arrays.child_time, *around, row, bound);
            }
        }
        let (mut next, mut is_child) = ([0; TOGETHER], [false; TOGETHER]);
        for (i, (around, &row)) in around.iter().zip(rows.iter()).enumerate() {
            let choice = self.below(around.parents + around.children);
            is_child[i] = choice >= around.parents;
            next[i] = if choice < around.parents {
                arrays.parent_row[(around.first_parent + choice) as usize]
            } else if around.children > 0 {
                arrays.child_row[(around.first_child + choice - around.parents) as usize]
            } else {
                row
            };
        }
        let task = builder.request.task;
        let table = &task.rows;
        // a database row among the children up to the bound is seen: its time need not be read
        let timed = builder.target.bound().is_some();
        for ((row, next), child) in rows.iter_mut().zip(next).zip(is_child) {
            let seen = child && timed && next < task.first_label_row;
            if *row == next || !(seen || builder.sees(next)) {
                continue;
            }
            *row = next;
            if table.contains(&next) {
                let visits = &mut self.visits[(next - table.start) as usize];
                if *visits == 0 {
                    self.visited.push(next);
                }
                *visits += 1;
            }
        }
    }

    /// How many of a row's children, which stand in order of time, are not later than the bound.
    fn visible_children(&mut self, times: &[i64], around: Around, row: u32, bound: i64) -> u64 {
        if around.children == 0 {
            return 0;
        }
        let first = around.first_child as usize;
        let times = &times[first..first + around.children as usize];
        if times[times.len() - 1] <= bound {
            return around.children;
        }
        let find = || times.partition_point(|&time| time <= bound) as u64;
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
