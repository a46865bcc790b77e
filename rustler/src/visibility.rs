//! What a target may see: every rule about time and leakage, as pure functions.
//!
//! Times are seconds, None for rows without a time. A target has the time t of its row and may be
//! given a cutoff c; the *bound* is the smaller of those that exist.
//!
//! 1. A row with a time is visible only if its time is at most the bound; without a bound it is
//!    visible. A row without a time is visible. This holds for parents, children and rows reached
//!    in any other way alike.
//! 2. A label is *known* if its row's time plus the horizon is at most the bound and its row's
//!    time is before t; tasks without a horizon have horizon 0. For a target with a time, a row
//!    without a time has no known label. Label rows of the target's own task are visible only if
//!    their label is known; label rows of other tasks never are.
//! 3. For a target without a time, order in time is not enough. Without a bound, rows of the
//!    target's table that are of a later split than the target are invisible (validation and test
//!    rows for training targets, test rows for validation targets). With or without a bound,
//!    labels are shown only from rows of the training split or of a split earlier than the
//!    target's, so a test target never sees test labels. A row in no split counts as test.
//! 4. When the target column is one of a database table, its rows follow rule 1, but the cells of
//!    the target column are visible only where the label is known. Cells of hidden columns are
//!    visible only in rows with a time whose label would be known by rule 2, and never for a
//!    target without a time. In the target's own row the target cell is masked and the hidden
//!    columns are absent.
//! 5. Nothing is reached along a hidden foreign key, from neither end, and it counts no children.

use std::ops::Range;

/// Splits in their order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    Train = 0,
    Val = 1,
    Test = 2,
}

/// The split of a row of the task's table; a row in none counts as test.
pub fn split_of(row: u32, splits: &[Range<u32>; 3]) -> Split {
    if splits[0].contains(&row) {
        Split::Train
    } else if splits[1].contains(&row) {
        Split::Val
    } else {
        Split::Test
    }
}

/// The smaller of the target's time and the cutoff, as far as they exist.
pub fn bound(target: Option<i64>, cutoff: Option<i64>) -> Option<i64> {
    match (target, cutoff) {
        (Some(t), Some(c)) => Some(t.min(c)),
        (t, c) => t.or(c),
    }
}

/// Rule 1.
pub fn in_time(time: Option<i64>, bound: Option<i64>) -> bool {
    match (time, bound) {
        (Some(time), Some(bound)) => time <= bound,
        _ => true,
    }
}

/// Rule 2 for a label row with a time: its window has ended by `bound`.
pub fn window_ended(time: i64, horizon: Option<i64>, bound: i64) -> bool {
    // A window that ends beyond the end of time has not ended.
    time.checked_add(horizon.unwrap_or(0))
        .is_some_and(|end| end <= bound)
}

/// Rule 3 for labels.
pub fn earlier_split(row: Split, target: Split) -> bool {
    row == Split::Train || row < target
}

/// One target: all that decides what it sees.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    time: Option<i64>,
    bound: Option<i64>,
    split: Split,
    horizon: Option<i64>,
    /// No label is shown, known or not.
    blind: bool,
}

impl Target {
    pub fn new(time: Option<i64>, cutoff: Option<i64>, split: Split, horizon: Option<i64>) -> Self {
        Self {
            time,
            bound: bound(time, cutoff),
            split,
            horizon,
            blind: false,
        }
    }

    /// The same target, to which no label is known: contexts of a first row of its kind.
    pub fn without_labels(self) -> Self {
        Self {
            blind: true,
            ..self
        }
    }

    pub fn time(&self) -> Option<i64> {
        self.time
    }

    pub fn bound(&self) -> Option<i64> {
        self.bound
    }

    pub fn split(&self) -> Split {
        self.split
    }

    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// Rules 1 and 3 for a database row; `split` is None outside of the target's table.
    pub fn sees_row(&self, time: Option<i64>, split: Option<Split>) -> bool {
        let later = split.is_some_and(|s| s > self.split);
        in_time(time, self.bound) && !(self.bound.is_none() && later)
    }

    /// Rules 2 and 3: is the label of a row of the target's table known?
    pub fn sees_label(&self, time: Option<i64>, split: Split) -> bool {
        if self.blind {
            return false;
        }
        match (self.time, time) {
            (Some(_), time) => self.sees_hidden(time),
            (None, time) => {
                let ended = match (time, self.bound) {
                    (Some(time), Some(bound)) => window_ended(time, self.horizon, bound),
                    _ => true,
                };
                ended && earlier_split(split, self.split)
            }
        }
    }

    /// Rule 4: may a row of this time show its hidden columns?
    pub fn sees_hidden(&self, time: Option<i64>) -> bool {
        if self.blind {
            return false;
        }
        match (self.time, time, self.bound) {
            (Some(target), Some(time), Some(bound)) => {
                time < target && window_ended(time, self.horizon, bound)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[path = "visibility_tests.rs"]
mod tests;
