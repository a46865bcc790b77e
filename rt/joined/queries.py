"""Which rows are described, and what each may know."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rt.joined.tables import MICROSECONDS, Floats, Ints


@dataclass(frozen=True)
class Queries:
    """Q rows of the entity table to describe, i64[Q] each: row: its number; time: t; bound:
    database rows after it are not seen; label_bound: labels that become known after it are not
    seen. Times in microseconds."""

    row: Ints
    time: Ints
    bound: Ints
    label_bound: Ints

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: Ints | slice) -> "Queries":
        """Some of the rows."""
        return Queries(
            self.row[chosen], self.time[chosen], self.bound[chosen], self.label_bound[chosen]
        )


def make_queries(
    row: Ints, time: Ints, *, horizon: int | None, cutoff: int | Ints | None = None
) -> Queries:
    """Rows with their times; horizon: seconds from a row's time until its label is known, None and
    0: known right after it; cutoff: microseconds beyond which nothing is known, None: the time."""
    bound = time if cutoff is None else np.minimum(time, cutoff)
    # "time + horizon <= bound and time < t" for a label at `time`, written for time + horizon
    label_bound = np.minimum(bound, time - 1 + (horizon or 0) * MICROSECONDS)
    return Queries(row, time, bound, label_bound)


def joined(parts: Sequence[Queries]) -> Queries:
    """Queries one below the other."""
    return Queries(
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.bound for part in parts]),
        np.concatenate([part.label_bound for part in parts]),
    )


@dataclass(frozen=True)
class LabelRows:
    """All labels of a task, of every split: row: i64[L] of the entity table; time: i64[L] the time
    of the label row; known_at: i64[L] its time plus the horizon; value: f64[L]."""

    row: Ints
    time: Ints
    known_at: Ints
    value: Floats


def make_labels(row: Ints, time: Ints, value: Floats, *, horizon: int | None) -> LabelRows:
    """Labels, known `horizon` seconds after their times."""
    return LabelRows(row, time, time + (horizon or 0) * MICROSECONDS, value)
