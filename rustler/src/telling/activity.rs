//! What has happened to a row of late: facts that no cell holds, and by which label rows of
//! forecasts are compared.

use crate::store::{Arrays, NO_RANK};
use crate::task::Prepared;

/// Children that are looked at for one fact, the latest.
const LOOKED_AT: usize = 256;
/// Windows whose events are counted, in horizons.
const WINDOWS: [i64; 2] = [1, 8];
/// A horizon of tasks without one: this part of the time that the database spans.
const PARTS: i64 = 64;

/// A fact about a row at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// How many rows reference it, label rows among them.
    Children,
    /// Time since the last row that references it.
    SinceLast,
    /// How many rows reference it in the last window of this number.
    Recent(usize),
}

impl Fact {
    pub fn all() -> impl Iterator<Item = Self> {
        let recent = (0..WINDOWS.len()).map(Self::Recent);
        [Self::Children, Self::SinceLast].into_iter().chain(recent)
    }

    /// The fact about `row` at `now`, of rows up to a rank; None where there is none. Label rows
    /// count for nothing but `Children`; with hidden keys there are no facts.
    pub fn about(
        self,
        arrays: &Arrays,
        task: &Prepared,
        row: u32,
        (last_rank, now): (u32, i64),
    ) -> Option<f32> {
        if !task.has_all_keys() {
            return None;
        }
        let (children, ranks) = arrays.children(row);
        let end = ranks.partition_point(|&rank| rank <= last_rank);
        if self == Self::Children {
            return Some(end as f32);
        }
        let latest = (0..end).rev().take(LOOKED_AT);
        let timed = latest.take_while(|&place| ranks[place] != NO_RANK);
        let mut events = timed
            .filter(|&place| children[place] < task.first_label_row)
            .map(|place| now.saturating_sub(arrays.time_value[ranks[place] as usize - 1]));
        match self {
            Self::Recent(number) => {
                let window = horizon(arrays, task).saturating_mul(WINDOWS[number]);
                Some(events.take_while(|&ago| ago < window).count() as f32)
            }
            _ => events.next().map(|ago| ago as f32),
        }
    }
}

fn horizon(arrays: &Arrays, task: &Prepared) -> i64 {
    let times = arrays.time_value;
    let span = match (times.first(), times.last()) {
        (Some(first), Some(last)) => last.saturating_sub(*first),
        _ => 0,
    };
    let given = task.task.horizon.filter(|&horizon| horizon > 0);
    given.unwrap_or(span / PARTS).max(1)
}
