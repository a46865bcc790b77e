"""Strategies that draw small databases, tasks and recipes, so that a case that fails shrinks.

A row is a few bytes that say its time, its parents and its cells. So it is one draw, and a table
loses a row, a key or a column without a change in the others. Numbers that depend on the rest of a
case (a parent's row, a task's column) are bytes too, taken modulo what there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, permutations
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from visibility_oracle import TYPES, TaskSpec, World

examples = partial(settings, deadline=None, derandomize=True)
"""Settings of a test: the same cases in every run, and no limit on the time of one."""

MAX_KEYS = MAX_COLUMNS = 3
NUM_TIMES = 10
NEVER, MOSTLY, ALWAYS = 0, 205, 256
"""A row has a time if its byte is less."""

ROW = st.binary(min_size=1 + MAX_KEYS + MAX_COLUMNS, max_size=1 + MAX_KEYS + MAX_COLUMNS)
TIMED = st.sampled_from((ALWAYS, NEVER, MOSTLY))


# ---------------------------------------------------------------- databases


def make_row(
    digits: bytes, table: dict[str, Any], sizes: dict[str, int], timed: int
) -> dict[str, Any]:
    """sizes: rows by table. About one in ten parents, and one in seven cells, is not there."""
    time, keys, values = digits[0], digits[1 : 1 + MAX_KEYS], digits[1 + MAX_KEYS :]
    return {
        "time": time % NUM_TIMES if time < timed else None,
        "parents": [
            (parent, digit // 10 % sizes[parent]) if digit % 10 and sizes[parent] else None
            for (_, parent), digit in zip(table["foreign_keys"], keys, strict=False)
        ],
        "cells": {
            name: f"text {digit // 7 % 9}" if kind == "text" else float(digit // 7 - 18)
            for (name, kind), digit in zip(table["columns"].items(), values, strict=False)
            if digit % 7
        },
    }


def make_database(
    tables: list[tuple[Sequence[str], bytes, int, list[bytes]]],
    label_tables: list[tuple[Sequence[str], bytes, int, list[bytes]]],
    in_order: bool,
) -> dict[str, Any]:
    """Tables of (types of columns, keys, byte of times, rows); in_order: rows stand in order of
    time, as `rt.store` writes them."""
    sizes = {f"t{number}": len(rows) for number, (*_, rows) in enumerate(tables)}
    made = []
    for number, (types, keys, timed, rows) in enumerate(tables + label_tables):
        is_task = number >= len(tables)
        names = ["when", "label", "extra"] if is_task else [f"c{i}" for i in range(len(types))]
        table: dict[str, Any] = {
            "name": f"task{number - len(tables)}" if is_task else f"t{number}",
            "columns": dict(zip(names, types, strict=False)),
            "foreign_keys": [(f"k{i}", f"t{key % len(tables)}") for i, key in enumerate(keys)],
        }
        if is_task:
            table |= {"kind": "task", "time_column": "when"}
        table["rows"] = [make_row(digits, table, sizes, timed) for digits in rows]
        if in_order:
            table["rows"].sort(key=lambda row: (row["time"] is None, row["time"] or 0))
        made.append(table)
    return {"name": "random", "tables": made}


TABLE = st.tuples(
    st.lists(st.sampled_from(TYPES), max_size=MAX_COLUMNS),
    st.binary(max_size=MAX_KEYS),
    TIMED,
    st.lists(ROW, max_size=6),
)
LABEL_TYPES = [
    ("datetime", label, *more)
    for label in ("number", "text", "boolean")
    for more in ((), ("number",))
]
LABEL_TABLE = st.tuples(
    st.sampled_from(LABEL_TYPES),
    st.binary(min_size=1, max_size=1),
    TIMED,
    st.lists(ROW, min_size=1, max_size=12),
)
DATABASE = st.tuples(
    st.lists(TABLE, min_size=1, max_size=3),
    st.lists(LABEL_TABLE, min_size=1, max_size=2),
    st.booleans(),
)


# ---------------------------------------------------------------- tasks


@dataclass
class Case:
    """A database, tasks each with a cutoff, and the seed of the sampler."""

    world: World
    tasks: list[tuple[TaskSpec, int]]
    seed: int


def make_task(
    world: World,
    column: int,
    ends: bytes,
    order: tuple[int, ...],
    horizon: int | None,
    hidden: bytes,
) -> TaskSpec:
    """ends: of three spans of the table's rows. order: which span is which split; the rows after
    them are in none."""
    columns = [
        c
        for c, (table, name, _) in enumerate(world.columns)
        if name != "when" and world.database["tables"][table]["rows"]
    ]
    column = columns[column % len(columns)]
    table = world.columns[column][0]
    first, end = world.table_range(table)
    cuts = sorted(first + place % (end - first + 1) for place in ends)
    spans = list(pairwise([first, *cuts]))
    return TaskSpec(
        table,
        column,
        [spans[place] for place in order],
        horizon,
        sorted({number % len(world.columns) for number in hidden} - {column}),
    )


TASK = st.tuples(
    st.integers(0, 255),
    st.binary(min_size=3, max_size=3),
    st.sampled_from(list(permutations(range(3)))),
    st.sampled_from((None, 0, 1, 2, 3)),
    st.binary(max_size=4),
)
CUTOFF = st.integers(-1, NUM_TIMES)
TASKS = st.lists(st.tuples(TASK, CUTOFF), min_size=1, max_size=12)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A case that fails is printed by what it holds, not by its bytes."""
    world = World(make_database(*draw(DATABASE)))
    tasks = [(make_task(world, *task), cutoff) for task, cutoff in draw(TASKS)]
    return Case(world, tasks, draw(st.integers(0, 1000)))


# ---------------------------------------------------------------- recipes

ORDERS = ("recency", "walks", "random")
SHARE = st.sampled_from((0.1, 0.3, 0.6, 1.0))


def recipes(**fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Settings of a recipe that has label rows of others; `fixed` ones are given."""
    free: dict[str, st.SearchStrategy[Any]] = {
        "ancestors": st.just(0.0) | SHARE,
        "own_labels": st.just(0.0) | SHARE,
        "other_labels": SHARE,
        "other_order": st.sampled_from(ORDERS),
        "other_cells": st.integers(1, 16),
        "other_width": st.integers(0, 4),
        "walks": st.integers(1, 50),
        "walk_length": st.integers(1, 20),
        "width": st.integers(0, 5),
        "width_per_table": st.booleans(),
        "parent_levels": st.integers(0, 3),
        "recency": st.sampled_from((0.0, 0.5, 1.0)),
    }
    return st.fixed_dictionaries(free | {name: st.just(value) for name, value in fixed.items()})
