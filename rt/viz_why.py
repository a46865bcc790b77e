"""Why each row of a context is in it, and what is not in it, in words.

The rules are those of `rustler/src/visibility.rs`; what is counted here is counted for people only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rustler
from rt.meta import NO_TIME, StoreMeta
from rt.tasks import Task
from rt.unpack import Unpacked

TARGET, ANCESTOR, OWN_LABEL, OTHER_LABEL, OTHER_NEIGHBOUR, NEIGHBOUR = range(len(rustler.PARTS))
"""The numbers of `rustler.PARTS`."""
ORDERS = {
    "recency": "by recency",
    "walks": "by walks",
    "random": "at random",
    "telling": "by likeness",
    "fitted": "by likeness, fitted",
}
UNITS = (
    (31_557_600, "years"),
    (2_629_800, "months"),
    (86_400, "days"),
    (3_600, "hours"),
    (60, "minutes"),
)


@dataclass(frozen=True)
class Rows:
    """The rows of one context, as in the arrays `row_*` of a batch."""

    number: NDArray[np.uint32]
    time: NDArray[np.int64]
    part: NDArray[np.uint8]
    origin: NDArray[np.int32]


@dataclass(frozen=True)
class Graph:
    """Tables and references of a store."""

    meta: StoreMeta
    arrays: Unpacked

    def table(self, row: int) -> int:
        return next(i for i, t in enumerate(self.meta.tables) if t.rows[0] <= row < t.rows[1])

    def table_name(self, row: int) -> str:
        return self.meta.tables[self.table(row)].name

    def parents(self, row: int) -> list[int]:
        return [parent for parent in self.arrays.parents_of(row) if parent is not None]

    def children(self, row: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Rows and times, in order of time."""
        return self.arrays.children_of(row)

    def key(self, child: int, parent: int) -> str:
        """ "<table>.<column>" of the foreign key by which one row references another; of several
        that do, all are named."""
        table = self.meta.tables[self.table(child)]
        keys = zip(table.foreign_keys, self.arrays.parents_of(child), strict=True)
        return f"{table.name}.{' and '.join(key.column for key, found in keys if found == parent)}"


def reasons(rows: Rows, graph: Graph, task: Task, order: str | None) -> list[str]:
    """For each row why it is there. order: in which label rows of others came."""
    told, root = [], -1
    for i, part in enumerate(rows.part):
        if part == TARGET:
            told.append("target")
        elif part == OWN_LABEL:
            told.append(_own_label(rows, graph, task, i))
        elif part == OTHER_LABEL:
            # what is around such a row comes directly after it
            root = i
            told.append(_other_label(rows, graph, task, (i, order)))
        elif part == OTHER_NEIGHBOUR:
            told.append(f"around row {root}: {_step(rows, graph, i)}")
        else:
            told.append(_step(rows, graph, i))
    return told


def ago(seconds: int) -> str:
    """ "2 months earlier": how long before the target something was."""
    if seconds == 0:
        return "at the same time"
    word = "earlier" if seconds > 0 else "later"
    for size, unit in UNITS:
        if abs(seconds) >= 2 * size:
            return f"{round(abs(seconds) / size)} {unit} {word}"
    return f"{abs(seconds)} second{'s' * (abs(seconds) != 1)} {word}"


def _step(rows: Rows, graph: Graph, i: int) -> str:
    """From which row, and by which key, a search came to row i."""
    origin = int(rows.origin[i])
    if origin < 0:
        return "in the neighbourhood of the target"
    row, source = int(rows.number[i]), int(rows.number[origin])
    if row in graph.parents(source):
        return f"parent of row {origin} (by {graph.key(source, row)})"
    return f"child of row {origin} (by {graph.key(row, source)})"


def _own_label(rows: Rows, graph: Graph, task: Task, i: int) -> str:
    origin = int(rows.origin[i])
    if not _has_labels(graph, task):
        told = _sibling(rows, graph, i)
    else:
        told = "label of the same entity"
        if origin >= 0:
            told += f" ({graph.table_name(int(rows.number[origin]))}, row {origin})"
    return told + _earlier(rows, i)


def _sibling(rows: Rows, graph: Graph, i: int) -> str:
    """Which parent row i, of the target's own table, has in common with the target."""
    row, origin = int(rows.number[i]), int(rows.origin[i])
    own = graph.parents(int(rows.number[0]))
    shared = [parent for parent in graph.parents(row) if parent in own]
    if origin >= 0:
        shared = [int(rows.number[origin])]
    for parent in shared:
        for place in np.flatnonzero(rows.number == parent):
            return f"label of another child of row {place} (by {graph.key(row, parent)})"
    keys = dict.fromkeys(graph.key(row, parent) for parent in shared)
    return "label of a row with the same parent" + (f" (by {', '.join(keys)})" if keys else "")


def _other_label(rows: Rows, graph: Graph, task: Task, which: tuple[int, str | None]) -> str:
    i, order = which
    told = "label of another row"
    if _has_labels(graph, task):
        told = "label of another entity"
        places = [
            place
            for parent in graph.parents(int(rows.number[i]))
            for place in np.flatnonzero(rows.number == parent)
        ]
        if places:
            told += f" ({graph.table_name(int(rows.number[places[0]]))}, row {places[0]})"
    if order == "recency" and rows.time[0] == NO_TIME:
        order = "random"  # there is no later and earlier
    return f"{told}, {ORDERS[order or 'random']}{_earlier(rows, i)}"


def _earlier(rows: Rows, i: int) -> str:
    if NO_TIME in (rows.time[0], rows.time[i]):
        return ""
    return f", {ago(int(rows.time[0] - rows.time[i]))}"


def _has_labels(graph: Graph, task: Task) -> bool:
    """Whether the task has label rows of its own, not a column of a database table."""
    return graph.meta.tables[task.table].kind == "task"


def absent(
    rows: Rows, graph: Graph, task: Task, cutoff: int | None, *, labels: bool = True
) -> tuple[str, ...]:
    """What the context does not show, and why, as far as it is quickly said. labels: False where
    the recipe hides all labels."""
    return tuple(_absent(rows, graph, task, cutoff, labels))


def _absent(
    rows: Rows, graph: Graph, task: Task, cutoff: int | None, labels: bool
) -> Iterator[str]:
    bounds = [int(t) for t in (rows.time[0], cutoff) if t is not None and t != NO_TIME]
    bound = min(bounds) if bounds else None
    if labels:
        yield from _unknown_labels(rows, graph, task, bound)
    else:
        yield "all labels: the recipe hides them"
    if bound is not None:
        yield from _later_rows(rows, graph, bound)
    table = graph.meta.tables[task.table].name
    if task.hidden_columns:
        names = [graph.meta.columns[number] for number in task.hidden_columns]
        told = ", ".join(f"{graph.meta.tables[c.table].name}.{c.name}" for c in names)
        yield (
            f"{told}: they leak the label, so they are hidden in the target's row and wherever "
            "the label is not known"
        )
    if task.hidden_keys:
        tables = [(graph.meta.tables[table], place) for table, place in task.hidden_keys]
        told = ", ".join(f"{t.name}.{t.foreign_keys[place].column}" for t, place in tables)
        yield f"{told}: leaks the label, so nothing is reached by it"
    others = [t.name for t in graph.meta.tables if t.kind == "task" and t.name != table]
    if others:
        yield f"label rows of other tasks ({', '.join(others)}): never shown"


def _later_rows(rows: Rows, graph: Graph, bound: int) -> Iterator[str]:
    """Rows that reference the target's parents and lie in the future."""
    first = min((t.rows[0] for t in graph.meta.tables if t.kind == "task"), default=None)
    for parent in dict.fromkeys(graph.parents(int(rows.number[0]))):
        place = np.flatnonzero(rows.number == parent)
        children, times = graph.children(parent)
        kept = np.ones(len(children), bool) if first is None else children < first
        later = int((kept & (times > bound)).sum())
        if len(place) and later:
            yield (
                f"{later} of {int(kept.sum())} rows that reference row {place[0]} "
                f"({graph.table_name(parent)}): they lie after the bound"
            )


def _unknown_labels(rows: Rows, graph: Graph, task: Task, bound: int | None) -> Iterator[str]:
    """Labels of the entity, or of the whole table for a column of it, that are not known."""
    target = int(rows.number[0])
    if _has_labels(graph, task):
        found = [graph.children(parent)[0] for parent in graph.parents(target)]
        others = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
        start, end = graph.meta.tables[task.table].rows
        others = others[(others >= start) & (others < end) & (others != target)]
        what = "other label rows of the entity"
    else:
        others = np.arange(*graph.meta.tables[task.table].rows)
        others = others[others != target]
        what = f"other rows of {graph.meta.tables[task.table].name}"
    known = _known(others, rows, (graph, task), bound)
    why = "their label is not known by then"
    if rows.time[0] == NO_TIME:
        why = "their split is not earlier than the target's"
    elif task.horizon:
        span = ago(task.horizon).removesuffix(" earlier")
        why = f"their label is known only {span} after their time, which is too late"
    hidden = int((~known).sum())
    if hidden:
        what_of_them = what if _has_labels(graph, task) else f"labels of {what}"
        yield f"{hidden} of {len(others)} {what_of_them}: {why}"
    left = int((~np.isin(others[known], rows.number)).sum())
    if left and _has_labels(graph, task):
        yield f"{left} of {len(others)} {what}: known, but not taken"


def _known(
    others: NDArray[Any], rows: Rows, where: tuple[Graph, Task], bound: int | None
) -> NDArray[np.bool_]:
    """Rules 2 and 3 of visibility.rs for rows of the target's table."""
    graph, task = where
    times = graph.arrays["row_time"][others]
    ended = np.ones(len(others), bool)
    if bound is not None:
        ended = (times == NO_TIME) | (times <= bound - (task.horizon or 0))
    if rows.time[0] != NO_TIME:
        return ended & (times != NO_TIME) & (times < rows.time[0])
    splits = [task.splits[name] for name in ("train", "val", "test")]

    def split_of(numbers: NDArray[Any]) -> NDArray[np.int64]:
        inside = [(numbers >= start) & (numbers < end) for start, end in splits[:2]]
        return np.select(inside, [0, 1], default=2)

    split, own = split_of(others), split_of(rows.number[:1])
    return ended & ((split == 0) | (split < own))
