"""Strategies that draw small databases, tasks and recipes, so that a case that fails shrinks.

A row, a table's head and a task are a few bytes each, one draw, so that shrinking takes them away
whole. What depends on the rest of a case (which row is a parent, which column a target) is a byte
taken modulo what there is. A byte of 0 stands for the simplest: no column, no key, no cell.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise, permutations
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from visibility_oracle import TYPES, TaskSpec, World

import rustler

examples = partial(settings, deadline=None, derandomize=True, phases=(Phase.generate, Phase.shrink))
"""Settings of a test: the same cases in every run, no limit on the time of one, and of a failure no
more than a small case, as hypothesis' explanations take longer than all the rest."""

MAX_KEYS = MAX_COLUMNS = 3
NUM_TIMES = 10
ALWAYS, MOSTLY, NEVER = 256, 205, 0
"""A row has a time if its byte is less."""
LABEL_TYPES = ("number", "boolean", "text")
HORIZONS = (None, 0, 1, 2, 3)
ORDERS_OF_SPLITS = list(permutations(range(3)))


def num_bytes(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


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


def make_table(head: bytes, num_tables: int) -> dict[str, Any]:
    """Columns and keys of a table of the database; references go to one of num_tables."""
    types = [TYPES[digit % 5 - 1] for digit in head[1 : 1 + MAX_COLUMNS] if digit % 5]
    parents = [digit // 4 % num_tables for digit in head[1 + MAX_COLUMNS :] if digit % 4]
    return {
        "columns": {f"c{i}": kind for i, kind in enumerate(types)},
        "foreign_keys": [(f"k{i}", f"t{parent}") for i, parent in enumerate(parents)],
    }


def make_label_table(head: bytes, num_tables: int) -> dict[str, Any]:
    """The same of a table of label rows: some have a column more than time and label."""
    label, extra, key = head[1:4]
    return {
        "kind": "task",
        "time_column": "when",
        "columns": {"when": "datetime", "label": LABEL_TYPES[label % 3]}
        | ({"extra": "number"} if extra % 2 else {}),
        "foreign_keys": [("k0", f"t{key % num_tables}")],
    }


def make_database(
    tables: list[tuple[bytes, list[bytes]]],
    label_tables: list[tuple[bytes, list[bytes]]],
    in_order: bool,
) -> dict[str, Any]:
    """Tables of (head, rows); in_order: rows stand in order of time, as `rt.store` writes them."""
    made = [{"name": f"t{i}"} | make_table(head, len(tables)) for i, (head, _) in enumerate(tables)]
    made += [
        {"name": f"task{i}"} | make_label_table(head, len(tables))
        for i, (head, _) in enumerate(label_tables)
    ]
    sizes = {f"t{i}": len(rows) for i, (_, rows) in enumerate(tables)}
    for table, (head, rows) in zip(made, tables + label_tables, strict=True):
        timed = (ALWAYS, MOSTLY, NEVER)[head[0] % 3]
        table["rows"] = [make_row(digits, table, sizes, timed) for digits in rows]
        if in_order:
            table["rows"].sort(key=lambda row: (row["time"] is None, row["time"] or 0))
    return {"name": "random", "tables": made, "time_scale": (2.0, 3.0)}


HEAD = ROW = num_bytes(1 + MAX_KEYS + MAX_COLUMNS)
DATABASE = st.tuples(
    st.lists(st.tuples(HEAD, st.lists(ROW, max_size=6)), min_size=1, max_size=3),
    st.lists(st.tuples(HEAD, st.lists(ROW, min_size=1, max_size=12)), min_size=1, max_size=2),
    st.booleans(),
)


# ---------------------------------------------------------------- tasks


@dataclass
class Case:
    """A database, tasks each with a cutoff, and the seed of the sampler."""

    world: World
    tasks: list[tuple[TaskSpec, int]]
    seed: int


def make_task(world: World, digits: bytes) -> tuple[TaskSpec, int]:
    """A task and a cutoff. Splits come in any order; the rows after them are in none."""
    column, order, horizon, cutoff = digits[:4]
    cuts = digits[4:7]
    columns = [
        c
        for c, (table, name, _) in enumerate(world.columns)
        if name != "when" and world.database["tables"][table]["rows"]
    ]
    column = columns[-1 - column % len(columns)]
    table = world.columns[column][0]
    first, end = world.table_range(table)
    spans = list(pairwise([first, *sorted(first + cut % (end - first + 1) for cut in cuts)]))
    # half of the bytes hide nothing
    count = len(world.columns)
    hidden = {digit % (2 * count) - count for digit in digits[7:10]}
    keys = [
        (number, place)
        for number, of_table in enumerate(world.database["tables"])
        for place in range(len(of_table["foreign_keys"]))
        if of_table.get("kind") != "task"
    ]
    hidden_key = digits[10] % (2 * len(keys)) - len(keys) if keys else -1
    task = TaskSpec(
        table,
        column,
        [spans[place] for place in ORDERS_OF_SPLITS[order % 6]],
        HORIZONS[horizon % 5],
        sorted(number for number in hidden - {column} if number >= 0),
        keys[hidden_key : hidden_key + 1] if hidden_key >= 0 else [],
    )
    # some cutoffs are before all times, and some after them
    return task, cutoff % (NUM_TIMES + 2) - 1


TASK = num_bytes(11)


def to_sampler(task: TaskSpec) -> rustler.Task:
    """The task as the sampler takes it, of its first store."""
    return rustler.Task(
        0,
        task.table,
        task.column,
        task.splits,
        task.horizon,
        task.hidden,
        hidden_keys=task.hidden_keys,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A case that fails is printed by what it holds, not by its bytes."""
    world = World(make_database(*draw(DATABASE)))
    tasks = draw(st.lists(TASK, min_size=1, max_size=12, unique=True))
    return Case(world, [make_task(world, task) for task in tasks], draw(st.integers(0, 1000)))


# ---------------------------------------------------------------- recipes

ALL_COLUMNS = 1_000_000
ORDERS = ("recency", "walks", "random", "telling")
SHARE = st.sampled_from((0.1, 0.3, 0.6, 1.0))


def recipes(**fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Settings of a recipe that has label rows of others; `fixed` ones are given."""
    free: dict[str, st.SearchStrategy[Any]] = {
        "ancestors": st.just(0.0) | SHARE,
        "own_labels": st.just(0.0) | SHARE,
        "own_order": st.sampled_from(("recency", "telling")),
        "own_columns": st.integers(0, 2),
        "other_columns": st.integers(0, 4) | st.just(ALL_COLUMNS),
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
