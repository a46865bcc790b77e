"""Where the tables of a database stand in its store: row ranges, order, splits, what is fitted."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from plurel.errors import InputError
from plurel.spill import Spill, release
from rt import columns as col
from rt import keys
from rt.labels import LABEL_TYPES, SPLITS, RawTask
from rt.meta import NO_TIME, Range
from rt.raw import RawDatabase, RawTable
from rt.work import Work

_BLOCK_ROWS = 1 << 18
_UNRANKED = np.zeros(0, np.uint32)


@dataclass
class Table:
    """A table on its way into the store. `order`: file positions in the store's order, None when
    they are the same; `fitted`, `train`: masks over the file's positions; `row_rank`: of each row
    the rank of its time among all times of the database, from 1, and 0 without a time."""

    raw: RawTable
    kind: str
    rows: Range
    order: keys.Rows | None
    row_rank: keys.Rows
    splits: dict[str, Range]
    fitted: NDArray[np.bool_]
    train: NDArray[np.bool_]
    fitted_on: str
    types: dict[str, str] = field(default_factory=dict)


@dataclass
class Report:
    dangling_keys: dict[str, int] = field(default_factory=dict)
    null_keys: dict[str, int] = field(default_factory=dict)
    infinite_values: dict[str, int] = field(default_factory=dict)
    unfitted_columns: list[str] = field(default_factory=list)
    skipped_tasks: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


def lay_out(
    database: RawDatabase, tasks: Sequence[RawTask], work: Work
) -> tuple[list[Table], NDArray[np.int64]]:
    """Row ranges, row order and splits of every table, database tables before label tables; and
    the distinct times of all rows, rising."""
    labels = [task for task in tasks if task.source is not None]
    sources = [raw.source for raw in database.tables] + [task.source for task in labels]
    ends = list(accumulate(source.num_rows for source in sources if source is not None))
    if ends[-1] >= keys.NO_ROW:
        raise InputError(
            f"{database.folder}: {ends[-1]} rows; a store holds fewer than {keys.NO_ROW}"
        )

    def make(item: tuple[RawTable | RawTask, int]) -> tuple[Table, NDArray[np.int64]]:
        part, start = item
        if isinstance(part, RawTask):
            return _label_table(part, start)
        return _database_table(part, start, database)

    found: list[RawTable | RawTask] = [*database.tables, *labels]
    parts = zip(found, [0, *ends[:-1]], strict=True)
    made = [
        (_keep(table, work.spill), work.spill.keep(times))
        for table, times in work.ordered(make, parts)
    ]
    return rank_times([table for table, _ in made], [times for _, times in made], work)


def rank_times(
    tables: Sequence[Table], times: Sequence[NDArray[np.int64]], work: Work
) -> tuple[list[Table], NDArray[np.int64]]:
    """The tables with the ranks of their rows' times, and the distinct times."""
    parts = [part for part in map(_distinct, times) if len(part)]
    every = (
        parts[0] if len(parts) == 1 else np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
    )
    every = work.spill.keep(every)
    del parts
    ranked = []
    for table, of_table in zip(tables, times, strict=True):
        ranks = work.spill.empty(len(of_table), np.uint32)
        for start in range(0, len(of_table), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            # NO_TIME is below every time
            ranks[block] = np.searchsorted(every, of_table[block], side="right")
        ranked.append(replace(table, row_rank=ranks))
    release()
    return ranked, every


def _distinct(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct times of rows that have one, rising."""
    given = times[times != NO_TIME]
    if not (given[1:] >= given[:-1]).all():
        return np.unique(given)
    new = np.ones(len(given), bool)
    np.not_equal(given[1:], given[:-1], out=new[1:])
    return given[new]


def _keep(table: Table, spill: Spill) -> Table:
    """What the table holds in arrays goes to files where it is large."""
    order = None if table.order is None else spill.keep(table.order)
    fitted = spill.keep(table.fitted)
    train = fitted if table.train is table.fitted else spill.keep(table.train)
    return replace(table, order=order, fitted=fitted, train=train)


def _database_table(
    raw: RawTable, start: int, database: RawDatabase
) -> tuple[Table, NDArray[np.int64]]:
    """The table, its ranks still missing, and its rows' times in the store's order."""
    size = raw.source.num_rows
    end = start + size
    if raw.time_column is None:
        time, valid = np.zeros(size, np.int64), np.zeros(size, bool)
        cut = [start, start + size * 8 // 10, start + size * 9 // 10, end]
        fitted, fitted_on = np.ones(size, bool), "all rows"
        train = np.arange(size) < cut[1] - start
    else:
        where = f"table '{raw.name}', column '{raw.time_column}'"
        time, valid = col.seconds(raw.source.read(raw.time_column), where)
        bounds = (database.val_timestamp, database.test_timestamp)
        counts = [int(np.count_nonzero(valid & (time <= bound))) for bound in bounds]
        cut = [start, start + counts[0], start + counts[1], start + int(valid.sum())]
        train, fitted_on = valid & (time <= bounds[0]), "rows up to val_timestamp"
        fitted = train if valid.all() else ~valid | (time <= bounds[0])
    order = keys.order_by_time(time, valid)
    splits = {name: (cut[i], cut[i + 1]) for i, name in enumerate(SPLITS)}
    row_time = keys.times(time, valid, order)
    rows = (start, end)
    return Table(
        raw, "database", rows, order, _UNRANKED, splits, fitted, train, fitted_on
    ), row_time


def _label_table(task: RawTask, start: int) -> tuple[Table, NDArray[np.int64]]:
    assert task.source is not None
    assert task.split_sizes is not None
    size = task.source.num_rows
    raw = RawTable(
        task.name, task.source, None, task.time_column, {str(task.entity_column): task.entity_table}
    )
    if task.time_column is None:
        row_time = keys.times(np.zeros(size, np.int64), np.zeros(size, bool), None)
    else:
        where = f"task '{task.name}', column '{task.time_column}'"
        row_time = keys.times(*col.seconds(task.source.read(task.time_column), where), None)
    cut = [start, *(start + np.cumsum(task.split_sizes)).tolist()]
    splits = {name: (cut[i], cut[i + 1]) for i, name in enumerate(SPLITS)}
    train = np.arange(size) < task.split_sizes[0]
    types = {task.target: LABEL_TYPES[task.task_type]}
    rows = (start, start + size)
    table = Table(raw, "task", rows, None, _UNRANKED, splits, train, train, "train split", types)
    return table, row_time


def force_target_types(tables: Sequence[Table], tasks: list[RawTask], report: Report) -> None:
    """The target column of an autocomplete task gets the type of its labels; a task that wants
    another type of a column than an earlier task is skipped."""
    report.skipped_tasks |= (skipped := of_another_type(tasks))
    tasks[:] = [task for task in tasks if task.name not in skipped]
    by_name = {table.raw.name: table for table in tables if table.kind == "database"}
    for task in tasks:
        if task.kind == "autocomplete":
            by_name[task.entity_table].types[task.target] = LABEL_TYPES[task.task_type]


def of_another_type(tasks: Sequence[RawTask]) -> dict[str, str]:
    """The tasks that complete a column of which an earlier task takes the values as another type,
    with the reason why they are skipped: a store holds a column once."""
    first: dict[tuple[str, str], RawTask] = {}
    found = {}
    for task in tasks:
        if task.kind == "autocomplete":
            other = first.setdefault((task.entity_table, task.target), task)
            if LABEL_TYPES[other.task_type] != LABEL_TYPES[task.task_type]:
                found[task.name] = f"task '{other.name}' takes '{task.target}' as another type"
    return found


def type_of(table: Table, name: str) -> str:
    found = table.raw.source.schema.field(name).type
    return table.types.get(name) or col.semantic_type(found)


def cell_columns(table: Table) -> list[str]:
    """The columns that become cells: all features of a database table, time and label of a task."""
    if table.kind == "database":
        return table.raw.features
    wanted = [table.raw.time_column, *table.types]
    return [name for name in dict.fromkeys(wanted) if name is not None]
