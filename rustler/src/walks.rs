//! Random walks from a target over visible rows: how near is a row to it?
//!
//! A walk goes from a row to one of its parents or of its children up to the bound, each with the
//! same chance. A step to a row that the target may not see is not taken. All walks advance
//! together, sorted roughly by row, and what they read next is asked for ahead, so that it lies
//! close together and the waits for memory overlap.

use std::cmp::Reverse;
use std::ops::Range;

use crate::builder::Builder;
use crate::idmap::IdMap;
use crate::nodes::Node;

/// Walks whose neighbours are looked up at a time.
const TOGETHER: usize = 128;
/// Ranges of rows by which walks are sorted.
const RANGES: usize = 2048;
/// The visible part of longer lists of children is looked up once.
const LONG: u32 = 64;
/// Ranks of children in a line of memory.
const LINE: usize = 16;
/// Ranks of a long list of children that are asked for ahead.
const PROBES: usize = 16;
/// How many visits ahead are asked for.
const AHEAD: usize = 24;
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

/// What `Move::to` is before it is looked up: a row, or where in `Nodes` the row stands.
#[derive(Clone, Copy, Default, PartialEq)]
enum Kind {
    #[default]
    Row,
    Child,
    FarParent,
}

/// A step of one walk that may be taken.
#[derive(Clone, Copy, Default)]
struct Move {
    from: u32,
    to: u32,
    kind: Kind,
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
                true => self.step::<true>(builder),
                false => self.step::<false>(builder),
            }
        }
        self.most_visited(table.start, count, ranked);
    }

    /// Leaves the counts at zero.
    fn most_visited(&mut self, first: u32, count: usize, ranked: &mut Vec<u32>) {
        self.keys.clear();
        for (number, &row) in self.visited.iter().enumerate() {
            if let Some(&later) = self.visited.get(number + AHEAD) {
                fetch::<true, _>(self.visits.get((later - first) as usize));
            }
            let visits = std::mem::take(&mut self.visits[(row - first) as usize]);
            self.keys.push(u64::from(visits) << 32 | u64::from(row));
        }
        self.visited.clear();
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

    /// A step of every walk.
    fn step<const FAR: bool>(&mut self, builder: &Builder) {
        self.propose::<FAR>(builder);
        self.sort_moves(builder.arrays.row_rank.len());
        self.take_moves::<FAR>(builder);
    }

    /// Draws a step of every walk, in stages: nodes are asked for; what decides how many children are
    /// seen; the drawn neighbour; and its node, for the next step.
    fn propose<const FAR: bool>(&mut self, builder: &Builder) {
        let nodes = builder.request.nodes;
        let at = std::mem::take(&mut self.at);
        self.moves.clear();
        self.moves.resize(at.len(), Move::default());
        let part = |chunk: usize| {
            let first = at.len().min(chunk * TOGETHER);
            first..at.len().min(first + TOGETHER)
        };
        let chunks = at.len().div_ceil(TOGETHER);
        let mut around = [[Node::default(); TOGETHER]; 2];
        fetch_nodes::<FAR>(nodes, &at[part(0)]);
        fetch_nodes::<FAR>(nodes, &at[part(1)]);
        self.load::<FAR>(builder, &at[part(0)], &mut around[0]);
        for chunk in 0..=chunks {
            fetch_nodes::<FAR>(nodes, &at[part(chunk + 2)]);
            self.load::<FAR>(builder, &at[part(chunk + 1)], &mut around[(chunk + 1) % 2]);
            self.draw::<FAR>(builder, &at, part(chunk), &mut around[chunk % 2]);
            if chunk > 0 {
                self.look_up::<FAR>(builder, part(chunk - 1));
            }
        }
        self.at = at;
    }

    /// Draws where walks go: to a row, or to a place among the children of all rows.
    fn draw<const FAR: bool>(
        &mut self,
        builder: &Builder,
        at: &[u32],
        walks: Range<usize>,
        around: &mut [Node],
    ) {
        let nodes = builder.request.nodes;
        let around = &mut around[..walks.len()];
        if builder.target.bound().is_some() {
            self.drop_later(
                around,
                &at[walks.clone()],
                builder.arrays.child_rank,
                builder.last_rank,
            );
        }
        for (walk, node) in walks.zip(around) {
            let choice = self.below(u64::from(node.parents) + u64::from(node.children)) as u32;
            let child = choice.wrapping_sub(node.parents);
            let from = at[walk];
            self.moves[walk] = if child < node.children {
                let to = node.first_child + child;
                fetch::<FAR, _>(builder.arrays.child_row.get(to as usize));
                Move {
                    from,
                    to,
                    kind: Kind::Child,
                }
            } else if node.parents == 0 {
                Move {
                    from,
                    to: from,
                    kind: Kind::Row,
                }
            } else if let Some(to) = node.near(choice) {
                Move {
                    from,
                    to,
                    kind: Kind::Row,
                }
            } else {
                let to = node.far(choice);
                fetch::<FAR, _>(nodes.far.get(to as usize));
                Move {
                    from,
                    to,
                    kind: Kind::FarParent,
                }
            };
        }
    }

    /// Looks up the rows of what was drawn.
    fn look_up<const FAR: bool>(&mut self, builder: &Builder, walks: Range<usize>) {
        let nodes = builder.request.nodes;
        for step in &mut self.moves[walks] {
            step.to = match step.kind {
                Kind::Row => step.to,
                Kind::Child => builder.arrays.child_row[step.to as usize],
                Kind::FarParent => nodes.far[step.to as usize],
            };
            fetch::<FAR, _>(nodes.get(step.to as usize));
        }
    }

    /// The nodes of rows, with those children that are known to be seen; asks for the ranks by which
    /// others are found.
    fn load<const FAR: bool>(&self, builder: &Builder, rows: &[u32], around: &mut [Node]) {
        let (ranks, last) = (builder.arrays.child_rank, builder.last_rank);
        let bounded = builder.target.bound().is_some();
        for (node, &row) in around.iter_mut().zip(rows) {
            *node = builder.request.nodes[row as usize];
            if !bounded || node.latest <= last {
                continue;
            }
            let known = (node.children > LONG)
                .then(|| self.visible.get(row))
                .flatten();
            if let Some(known) = known {
                (node.children, node.latest) = (known, last);
            } else if FAR {
                let stride = LINE.max(node.children as usize / PROBES);
                for child in (0..node.children).step_by(stride) {
                    fetch::<FAR, _>(ranks.get((node.first_child + child) as usize));
                }
            }
        }
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
    fn take_moves<const FAR: bool>(&mut self, builder: &Builder) {
        let (task, nodes) = (builder.request.task, builder.request.nodes);
        let (table, last, root) = (&task.rows, builder.last_rank, builder.request.row);
        let timed = builder.target.bound().is_some();
        let (first, all_keys) = (table.start, task.has_all_keys());
        for (number, (at, step)) in self.at.iter_mut().zip(&self.sorted).enumerate() {
            if FAR && let Some(later) = self.sorted.get(number + AHEAD) {
                fetch::<FAR, _>(self.visits.get(later.to.wrapping_sub(first) as usize));
            }
            *at = step.from;
            let sees = match timed && step.to < task.first_label_row && step.to != root {
                // children of a later rank have been dropped
                true => step.kind == Kind::Child || nodes[step.to as usize].rank <= last,
                false => builder.sees(step.to),
            };
            if step.to == step.from || !sees || !(all_keys || linked(builder, step)) {
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

/// Whether a step goes along a key that is not hidden.
#[cold]
#[inline(never)]
fn linked(builder: &Builder, step: &Move) -> bool {
    let (task, arrays) = (builder.request.task, &builder.arrays);
    match step.kind {
        Kind::Child => task.links(arrays, step.to, step.from),
        Kind::Row | Kind::FarParent => task.links(arrays, step.from, step.to),
    }
}

/// Asks for the nodes of rows.
fn fetch_nodes<const FAR: bool>(nodes: &[Node], rows: &[u32]) {
    for &row in rows.iter().filter(|_| FAR) {
        fetch::<FAR, _>(nodes.get(row as usize));
    }
}

/// Asks the processor to bring an item near, if there is one and the store is large.
#[inline]
fn fetch<const FAR: bool, T>(item: Option<&T>) {
    let Some(item) = item.filter(|_| FAR) else {
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
