"""Distinct tuples: moving rows until no two agree in all columns of a unique set.

Two ways. Columns that are drawn, references and categories, are moved a little where a tuple has
occurred before (`separate`); positions in an ordered range are spread within each group of rows
that agree in everything else (`spread`), which never fails while there is room.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

I64 = NDArray[np.int64]
_ROUNDS = 60
_RADIX_LIMIT = 2**62


@dataclass
class Member:
    """Part of a unique set: a row's state 0 .. size - 1; -1: null, then the row is distinct.

    code: per state what has to be distinct; None: the state itself. group: per state a group that
    moves don't leave; None: one group. movable: False for what must stay as it is.
    """

    states: I64
    size: int
    code: I64 | None = None
    group: I64 | None = None
    movable: bool = True

    def codes(self) -> I64:
        """Per row what has to be distinct, -1 for null."""
        if self.code is None:
            return self.states
        return np.where(self.states < 0, -1, self.code[self.states])

    def move(self, rows: I64, offsets: I64) -> None:
        """Move rows on by offsets, within their groups, around the end."""
        if self.group is None:
            self.states[rows] = (self.states[rows] + offsets) % self.size
            return
        order = np.argsort(self.group, kind="stable")
        place = np.empty(self.size, np.int64)
        place[order] = np.arange(self.size)
        starts = np.searchsorted(self.group[order], self.group)
        sizes = np.bincount(self.group)[self.group]
        at = self.states[rows]
        self.states[rows] = order[starts[at] + (place[at] - starts[at] + offsets) % sizes[at]]


def combined(columns: Sequence[I64]) -> tuple[I64, NDArray[np.bool_]]:
    """One number per tuple of non-negative codes, equal for equal tuples; and where none is -1."""
    total = columns[0].astype(np.int64)
    present = total >= 0
    for column in columns[1:]:
        width = int(column.max(initial=0)) + 1
        if (int(total.max(initial=0)) + 1) * width > _RADIX_LIMIT:
            total = pd.factorize(total)[0].astype(np.int64)
        present &= column >= 0
        total = total * width + np.maximum(column, 0)
    return total, present


def repeated(columns: Sequence[I64]) -> I64:
    """The rows whose tuple occurs in an earlier row; tuples with a null never do."""
    codes, present = combined(columns)
    rows = np.flatnonzero(present)
    return rows[pd.Series(codes[rows]).duplicated().to_numpy()]


def separate(sets: Sequence[Sequence[Member]], rng: np.random.Generator) -> bool:
    """Move members until every set's tuples are distinct; False if that was not reached.

    Rows that repeat an earlier tuple move to a near state, farther in each round. The few that are
    left over in a crowded set take tuples that nobody has.
    """
    for attempt in range(_ROUNDS):
        done = True
        for members in sets:
            rows = repeated([member.codes() for member in members])
            movable = [member for member in members if member.movable]
            if len(rows) == 0:
                continue
            done = False
            if not movable:
                return False
            # the widest has most room; the others join in when it alone did not do
            widest = sorted(movable, key=lambda member: -member.size)
            member = widest[attempt // 8 % len(widest)]
            reach = min(2 ** min(attempt + 1, 40), max(member.size, 2))
            member.move(rows, rng.integers(1, reach, size=len(rows), endpoint=True))
        if done:
            return True
    if len(sets) == 1 and all(_is_free(member) for member in sets[0]):
        _fill(sets[0], rng)
    return not any(len(repeated([member.codes() for member in members])) for members in sets)


def _is_free(member: Member) -> bool:
    return member.movable and member.group is None and member.code is None


def _fill(members: Sequence[Member], rng: np.random.Generator) -> None:
    """Give the rows that repeat a tuple random tuples that nobody has."""
    rows = repeated([member.states for member in members])
    sizes = [member.size for member in members]
    room = int(np.prod([float(size) for size in sizes]))
    if room > 64 * len(members[0].states):
        return
    taken = np.ravel_multi_index([np.maximum(m.states, 0) for m in members], sizes)
    free = np.setdiff1d(np.arange(room), taken)
    if len(free) < len(rows):
        return
    chosen = np.unravel_index(rng.permutation(free)[: len(rows)], sizes)
    for member, states in zip(members, chosen, strict=True):
        member.states[rows] = states


def spread(groups: I64, wanted: I64, count: int) -> I64 | None:
    """Positions in 0 .. count - 1, distinct within each group and near to the wanted ones.

    In a group, sorted by what is wanted, a position is at least one more than the one before, and
    at most what leaves room for those after it. None if a group has more than `count` rows.
    """
    order = np.lexsort((wanted, groups))
    sorted_groups = groups[order]
    starts = np.flatnonzero(np.append(True, sorted_groups[1:] != sorted_groups[:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    if len(order) == 0 or sizes.max() > count:
        return wanted.copy() if len(order) == 0 else None
    number = np.repeat(np.arange(len(starts)), sizes)
    place = np.arange(len(order)) - starts[number]
    room = count - sizes[number]
    # at most `room` above the place: then positions increase strictly and end before `count`
    excess = np.minimum(np.maximum(wanted[order] - place, 0), room)
    # the largest so far within each group: ranks are small enough to put groups one above another
    distinct, ranks = np.unique(excess, return_inverse=True)
    lifted = number * len(distinct) + ranks
    excess = distinct[np.maximum.accumulate(lifted) - number * len(distinct)]
    positions = np.empty(len(order), np.int64)
    positions[order] = excess + place
    return positions
