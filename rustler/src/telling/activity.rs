//! What has happened to a row of late: facts that no cell holds, and by which label rows of
//! forecasts are compared.

use super::View;
use crate::store::NO_RANK;

/// Children that are looked at for one fact, the latest.
const LOOKED_AT: usize = 256;
/// Windows whose events are counted, in horizons.
const WINDOWS: [i64; 2] = [1, 8];
/// A horizon of tasks without one: this part of the time up to the last training row.
const PARTS: i64 = 64;

/// A fact about a row at a time. Label rows count for nothing: that there is one may say what came
/// after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// How many rows reference it.
    Children,
    /// Time since the last row that references it.
    SinceLast,
    /// How many rows reference it in the last window of this number.
    Recent(usize),
}

/// Up to when facts are told.
#[derive(Clone, Copy)]
pub struct Now {
    pub last_rank: u32,
    pub time: i64,
    /// A row that does not count: the one that they are told for.
    pub but: u32,
}

impl Now {
    /// Of a label row of the store; None for one without a time.
    pub fn of(view: &View, label: u32) -> Option<Self> {
        Some(Self {
            last_rank: view.arrays.row_rank[label as usize],
            time: view.arrays.time(label)?,
            but: label,
        })
    }
}

impl Fact {
    pub fn all() -> impl Iterator<Item = Self> {
        let recent = (0..WINDOWS.len()).map(Self::Recent);
        [Self::Children, Self::SinceLast].into_iter().chain(recent)
    }

    /// The fact about `row`; None where there is none, and in tasks with hidden keys. horizon: see
    /// `horizon`.
    pub fn about(self, view: &View, horizon: i64, row: u32, now: Now) -> Option<f32> {
        if !view.task.has_all_keys() {
            return None;
        }
        let (children, ranks) = view.children.of(view.arrays, row);
        let end = ranks.partition_point(|&rank| rank <= now.last_rank);
        let ago = |place: usize| {
            let time = view.arrays.time_value[ranks[place] as usize - 1];
            now.time.saturating_sub(time)
        };
        let latest = (0..end).rev().take(LOOKED_AT);
        let mut events = latest
            .take_while(|&place| ranks[place] != NO_RANK)
            .filter(|&place| children[place] != now.but)
            .map(ago);
        match self {
            Self::Children => {
                let there = view.arrays.row_rank.get(now.but as usize);
                let references = there.is_some_and(|&rank| rank <= now.last_rank)
                    && now.but < view.task.first_label_row
                    && view.arrays.parents(now.but).any(|parent| parent == row);
                Some((end - usize::from(references)) as f32)
            }
            Self::SinceLast => events.next().map(|ago| ago as f32),
            Self::Recent(number) => {
                let window = horizon.saturating_mul(WINDOWS[number]);
                Some(events.take_while(|&ago| ago < window).count() as f32)
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
