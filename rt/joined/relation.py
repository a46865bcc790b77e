"""Rows grouped by the parent that they reference, in order of time; aggregates of those that a
parent has up to a bound.

Running sums start anew with every parent, so that a result is a function of the rows in its span
alone, to the last bit, whatever comes later or belongs to others.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rt.joined.tables import MICROSECONDS, NO_TIME, Floats, Ints

LAST = 10
"""Rows of the mean of the last ones."""


class Relation:
    """N rows that reference parents. parent: i64[N], -1 for none; time: i64[N] when each is
    seen."""

    def __init__(self, parent: Ints, time: Ints) -> None:
        kept = np.flatnonzero(parent >= 0)
        self.order = kept[np.lexsort((kept, time[kept], parent[kept]))]
        self.parent, self.time = parent[self.order], time[self.order]
        self._times = np.unique(self.time)
        self._width = len(self._times) + 1
        self._key = self.parent * self._width + np.searchsorted(self._times, self.time)
        self.start = np.searchsorted(self.parent, self.parent)
        """i64[n]: for each sorted row the position of its parent's first."""

    def position(self, parent: Ints, bound: Ints) -> Ints:
        """i64[Q]: how far the rows of each parent reach up to and including the bound."""
        ranks = np.searchsorted(self._times, bound, "right")
        return np.searchsorted(self._key, parent * self._width + ranks)

    def span(self, parent: Ints, bound: Ints) -> "Span":
        """The rows of each parent with a time up to its bound; none for parent -1."""
        first = np.searchsorted(self._key, parent * self._width)
        end = np.where(parent >= 0, self.position(parent, bound), first)
        return Span(self, parent, bound, first, end)


@dataclass(frozen=True)
class Span:
    """For each of Q queries the sorted rows first <= i < end."""

    relation: Relation
    parent: Ints
    bound: Ints
    first: Ints
    end: Ints

    @property
    def count(self) -> Ints:
        return self.end - self.first

    def since(self, window: int) -> Ints:
        """i64[Q]: the first position with a time after bound - window (microseconds)."""
        return np.minimum(self.relation.position(self.parent, self.bound - window), self.end)

    def last_row(self) -> Ints:
        """i64[Q]: the number of the last row, -1 for none."""
        if not len(self.relation.order):
            return np.full(len(self.end), -1)
        return np.where(self.count > 0, self.relation.order[self.end - 1], -1)

    def times(self, windows: dict[str, int], now: Ints) -> dict[str, Floats]:
        """How many rows, in all and in recent windows (microseconds), and seconds from the last and
        the first until `now`; missing where these have no time."""
        found = {"count": self.count.astype(np.float64)}
        for name, window in windows.items():
            found[f"count in {name}"] = (self.end - self.since(window)).astype(np.float64)
        if len(self.relation.time):
            for name, at in (("last", self.end - 1), ("first", self.first)):
                then = self.relation.time[np.clip(at, 0, len(self.relation.time) - 1)]
                passed = (now - np.where(then == NO_TIME, now, then)) / MICROSECONDS
                known = (self.count > 0) & (then != NO_TIME)
                found[f"time since {name}"] = np.where(known, passed, np.nan)
        return found


class Running:
    """Running figures of one column of numbers over a relation's rows, anew for each parent."""

    def __init__(self, relation: Relation, values: Floats) -> None:
        self.relation = relation
        self._cells = pd.Series(values[relation.order])
        known = self._cells.notna().to_numpy()
        # around the parent's first number: squares of large numbers would leave no digits
        first = self._groups(self._cells).transform("first")
        self.origin = np.nan_to_num(first.to_numpy(dtype=np.float64))
        moved = np.where(known, self._cells.to_numpy() - self.origin, 0.0)
        table = pd.DataFrame({"n": known.astype(np.float64), "s": moved, "q": moved**2})
        self.sums = table.groupby(relation.parent, sort=False).cumsum().to_numpy()

    @cached_property
    def latest(self) -> Floats:
        """f64[n]: the last number up to each sorted row."""
        return self._filled(self._cells)

    @cached_property
    def least(self) -> Floats:
        """f64[n]: the smallest number up to each sorted row."""
        return self._filled(self._groups(self._cells).cummin())

    @cached_property
    def most(self) -> Floats:
        """f64[n]: the largest number up to each sorted row."""
        return self._filled(self._groups(self._cells).cummax())

    def _groups(self, cells: pd.Series) -> Any:
        return cells.groupby(self.relation.parent, sort=False)

    def _filled(self, cells: pd.Series) -> Floats:
        """Nulls as the number before them of the same parent."""
        return np.asarray(self._groups(cells).ffill(), dtype=np.float64)

    def _between(self, first: Ints, end: Ints) -> Floats:
        """f64[Q, 3]: count, sum and sum of squares over first <= i < end within one parent."""
        zeros = np.zeros((len(end), 3))
        if not len(self.sums):
            return zeros
        whole = np.where((end > first)[:, None], self.sums[end - 1], zeros)
        before = np.clip(first, 0, len(self.sums) - 1)
        inside = (end > first) & (first > self.relation.start[before])
        return whole - np.where(inside[:, None], self.sums[first - 1], zeros)

    def mean(self, first: Ints, end: Ints) -> Floats:
        """f64[Q]: the mean over first <= i < end, NaN where there is no number."""
        count, total, _ = self._between(first, end).T
        return np.where(count > 0, total / np.maximum(count, 1) + self._origin(end), np.nan)

    def aggregates(self, span: Span, windows: dict[str, int], *, lean: bool) -> dict[str, Floats]:
        """Mean, last and mean of the last rows; if not lean sum, std (of the population), min, max,
        and means over recent windows too. NaN where there is no number."""
        first, end = span.first, span.end
        found = {
            "mean": self.mean(first, end),
            "last": self._at(self.latest, span),
            f"mean of last {LAST}": self.mean(np.maximum(first, end - LAST), end),
        }
        if lean:
            return found
        count, total, squares = self._between(first, end).T
        n = np.maximum(count, 1)
        deviation = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
        found["sum"] = np.where(count > 0, total + count * self._origin(end), np.nan)
        found["std"] = np.where(count > 0, deviation, np.nan)
        found["min"], found["max"] = self._at(self.least, span), self._at(self.most, span)
        for name, window in windows.items():
            found[f"mean in {name}"] = self.mean(span.since(window), end)
        return found

    def _origin(self, end: Ints) -> Floats:
        return self.origin[end - 1] if len(self.origin) else np.zeros(len(end))

    def _at(self, cells: Floats, span: Span) -> Floats:
        if not len(cells):
            return np.full(len(span.end), np.nan)
        return np.where(span.count > 0, cells[span.end - 1], np.nan)


def latest_category(relation: Relation, values: Floats, span: Span) -> Floats:
    """f64[Q]: the last category that is not null."""
    cells = pd.Series(values[relation.order]).groupby(relation.parent, sort=False).ffill()
    if not len(cells):
        return np.full(len(span.end), np.nan)
    return np.where(span.count > 0, cells.to_numpy()[span.end - 1], np.nan)
