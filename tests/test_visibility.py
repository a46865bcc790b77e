"""The sampler against a brute-force oracle, written from the rules about time and leakage alone.

Random small databases (rows without time, ties, null cells, several references to one table,
cycles, self-references), random tasks of every kind and random cutoffs. Nothing forbidden may be in
a context; and where budget and width do not bind, a context holds exactly all rows that can be
reached through visible rows, with exactly their visible cells.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_fixtures import EMBEDDER, write_store

import rustler

TYPES = ("number", "text", "datetime", "boolean")
NUM_DATABASES = 120
CONTEXTS_PER_TASK = 6
UNLIMITED = 400


# ---------------------------------------------------------------- random databases and tasks


def random_database(rng: np.random.Generator) -> dict[str, Any]:
    """A few tables of a few rows, then tables of label rows of two tasks."""
    tables: list[dict[str, Any]] = []
    for number in range(rng.integers(1, 4)):
        names = [f"c{i}" for i in range(rng.integers(0, 4))]
        tables.append(
            {
                "name": f"t{number}",
                "columns": {name: str(rng.choice(TYPES)) for name in names},
                "rows": [{} for _ in range(rng.integers(1, 7))],
            }
        )
    num_database = len(tables)
    for number in range(2):
        columns = {"when": "datetime", "label": str(rng.choice(["number", "boolean", "text"]))}
        rows: list[dict[str, Any]] = [{} for _ in range(rng.integers(1, 9))]
        tables.append({"name": f"task{number}", "kind": "task", "columns": columns, "rows": rows})
    for number, table in enumerate(tables):
        is_task = number >= num_database
        keys = [int(rng.integers(num_database))]
        if not is_task:
            keys = [int(k) for k in rng.integers(num_database, size=rng.integers(0, 4))]
        timed = rng.choice([0.0, 0.8, 1.0], p=[0.3, 0.2, 0.5])
        for row in table["rows"]:
            fill_row(rng, row, table, [tables[k] for k in keys], timed)
    return {"name": "random", "tables": tables}


def fill_row(
    rng: np.random.Generator,
    row: dict[str, Any],
    table: dict[str, Any],
    parents: list[dict[str, Any]],
    timed: float,
) -> None:
    row["time"] = int(rng.integers(0, 10)) if rng.random() < timed else None
    row["parents"] = [
        (p["name"], int(rng.integers(len(p["rows"])))) for p in parents if rng.random() < 0.9
    ]
    row["cells"] = {
        name: f"text {rng.integers(9)}" if kind == "text" else float(rng.integers(-9, 9))
        for name, kind in table["columns"].items()
        if rng.random() < 0.85
    }


@dataclass
class TaskSpec:
    """A task by numbers of tables and columns, as the oracle and the sampler take it."""

    table: int
    column: int
    splits: list[tuple[int, int]]
    horizon: int | None
    hidden: list[int]


def random_tasks(rng: np.random.Generator, world: "World") -> list[TaskSpec]:
    """One task for each column of label or feature values, with random splits of its table."""
    tasks = []
    for column, (table, name, _) in enumerate(world.columns):
        if name == "when" or world.table_range(table)[0] == world.table_range(table)[1]:
            continue
        start, end = world.table_range(table)
        cuts = np.sort(rng.integers(start, end + 1, size=4)).tolist()
        cuts[0] = start if rng.random() < 0.7 else cuts[0]
        others = [c for c in range(len(world.columns)) if c != column]
        hidden = [c for c in others if rng.random() < 0.2]
        horizon = int(rng.integers(1, 4)) if rng.random() < 0.5 else None
        splits = [(cuts[0], cuts[1]), (cuts[1], cuts[2]), (cuts[2], cuts[3])]
        tasks.append(TaskSpec(table, column, splits, horizon, hidden))
    return tasks


# ---------------------------------------------------------------- the oracle


@dataclass
class World:
    """A database with global numbers, read from the same dictionary as the store."""

    database: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    table_of: list[int] = field(default_factory=list)
    start: dict[str, int] = field(default_factory=dict)
    columns: list[tuple[int, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, table in enumerate(self.database["tables"]):
            self.start[table["name"]] = len(self.rows)
            self.rows += table["rows"]
            self.table_of += [number] * len(table["rows"])
            self.columns += [(number, name, kind) for name, kind in table["columns"].items()]

    def table_range(self, table: int) -> tuple[int, int]:
        first = self.start[self.database["tables"][table]["name"]]
        return first, first + len(self.database["tables"][table]["rows"])

    def is_label_table(self, table: int) -> bool:
        return self.database["tables"][table].get("kind") == "task"

    def time(self, row: int) -> int | None:
        return self.rows[row]["time"]

    def parents(self, row: int) -> list[int]:
        return [self.start[name] + place for name, place in self.rows[row]["parents"]]

    def cells(self, row: int) -> dict[int, Any]:
        """Values by column number."""
        table = self.table_of[row]
        values = self.rows[row]["cells"]
        return {
            c: values[name]
            for c, (of, name, _) in enumerate(self.columns)
            if of == table and name in values
        }


@dataclass
class Oracle:
    """What one target may see. `drops` counts why things were not shown."""

    world: World
    task: TaskSpec
    target: int
    cutoff: int | None
    drops: Counter[str]

    def split(self, row: int) -> int:
        """0, 1, 2 for train, val, test; rows in no split count as test."""
        inside = [i for i, (start, end) in enumerate(self.task.splits) if start <= row < end]
        return inside[0] if inside else 2

    def bound(self) -> int | None:
        known = [t for t in (self.world.time(self.target), self.cutoff) if t is not None]
        return min(known) if known else None

    def drop(self, why: str) -> bool:
        self.drops[why] += 1
        return False

    def row_allowed(self, row: int) -> bool:
        if row == self.target:
            return True
        time, bound = self.world.time(row), self.bound()
        if time is not None and bound is not None and time > bound:
            return self.drop("row later than the bound")
        table = self.world.table_of[row]
        if self.world.is_label_table(table) and table != self.task.table:
            return self.drop("label row of another task")
        if table == self.task.table:
            if bound is None and self.split(row) > self.split(self.target):
                return self.drop("row of a later split")
            if self.world.is_label_table(table):
                return self.label_known(row) or self.drop("label row not known")
        return True

    def label_known(self, row: int) -> bool:
        """Is the label in `row` of the target's table known to the target?"""
        mine = self.world.time(self.target)
        if mine is not None:
            return self.window_over(row)
        if self.split(row) != 0 and self.split(row) >= self.split(self.target):
            return self.drop("label of the same or a later split")
        time = self.world.time(row)
        if self.cutoff is None or time is None:
            return True
        return time + (self.task.horizon or 0) <= self.cutoff

    def window_over(self, row: int) -> bool:
        """For a target with a time: would a label of this row's time be known?"""
        time, mine, bound = self.world.time(row), self.world.time(self.target), self.bound()
        if time is None or mine is None or bound is None:
            return self.drop("no time to know a label by")
        if self.task.horizon is not None:
            return time + self.task.horizon <= bound or self.drop("window not over")
        return (time < mine and time <= bound) or self.drop("label not before the target")

    def cell_allowed(self, row: int, column: int) -> bool:
        if column in self.task.hidden:
            return self.window_over(row) or self.drop("hidden column")
        if column == self.task.column and row != self.target:
            return self.label_known(row) or self.drop("target column")
        return True

    def cells(self, row: int) -> dict[int, Any]:
        shown = {c: v for c, v in self.world.cells(row).items() if self.cell_allowed(row, c)}
        if row == self.target:
            shown.setdefault(self.task.column, None)
        return dict(sorted(shown.items()))

    def reachable(self, children: list[list[int]]) -> set[int]:
        """All rows that can be reached from the target through visible rows."""
        found, waiting = {self.target}, [self.target]
        while waiting:
            row = waiting.pop()
            for other in {*self.world.parents(row), *children[row]} - found:
                if self.row_allowed(other):
                    found.add(other)
                    waiting.append(other)
        return found


# ---------------------------------------------------------------- contexts as plain values


def text_numbers(world: World) -> dict[str, int]:
    """Text numbers as the fixture gives them: names of columns, then texts in order of rows."""
    tables = world.database["tables"]
    names = [f"{name} of {tables[table]['name']}" for table, name, _ in world.columns]
    texts = [
        value
        for row in range(len(world.rows))
        for value in world.cells(row).values()
        if isinstance(value, str)
    ]
    return {text: number for number, text in enumerate(dict.fromkeys(names + texts))}


def decode(batch: dict[str, Any], b: int, texts: dict[int, str]) -> dict[str, Any]:
    """Context b: its rows, and per row its cells in the order of the slots."""
    start, end = batch["context_row_ptr"][b : b + 2]
    rows = batch["row_number"][start:end].tolist()
    cells: list[dict[int, Any]] = [{} for _ in rows]
    used = int((~batch["is_padding"][b]).sum())
    assert not batch["is_padding"][b, :used].any()
    assert (np.diff(batch["row"][b, :used]) >= 0).all()
    for slot in range(used):
        column = batch["column_number"][batch["column"][b, slot]].item()
        text = batch["text"][b, slot].item()
        value: Any = batch["value"][b, slot].item()
        if text >= 0:
            assert value == 0
            value = texts[int(batch["text_embedding"][text, 0])]
        row_cells = cells[batch["row"][b, slot]]
        assert column not in row_cells
        row_cells[column] = value
    pointers = batch["parent_ptr"][start : end + 1]
    parents = [[rows[p] for p in batch["parent"][i:j]] for i, j in pairwise(pointers)]
    return {
        "rows": rows,
        "cells": cells,
        "parents": parents,
        "table": batch["row_table"][start:end].tolist(),
        "time": batch["row_time"][start:end].tolist(),
        "depth": batch["row_depth"][start:end].tolist(),
        "size": used,
    }


def check_arrays(context: dict[str, Any], world: World, children: list[list[int]]) -> None:
    """Tables, times, parents, types of what is there, and depths along references."""
    rows = context["rows"]
    assert len(set(rows)) == len(rows)
    assert context["table"] == [world.table_of[row] for row in rows]
    times = [world.time(row) for row in rows]
    assert context["time"] == [rustler.NO_TIME if t is None else t for t in times]
    assert context["parents"] == [[p for p in world.parents(r) if p in rows] for r in rows]
    assert context["depth"][0] == 0
    for place, row in enumerate(rows[1:], start=1):
        near = {*world.parents(row), *children[row]}
        depths = {context["depth"][i] for i in range(place) if rows[i] in near}
        assert context["depth"][place] - 1 in depths


def check_target(batch: dict[str, Any], b: int, oracle: Oracle) -> None:
    """One target, in its place, with its value, and no other."""
    slot = batch["target_slot"][b]
    assert np.flatnonzero(batch["is_target"][b]).tolist() == [slot]
    assert batch["row"][b, slot] == 0
    assert batch["column_number"][batch["column"][b, slot]] == oracle.task.column
    assert batch["target_row"][b] == oracle.target
    kind = TYPES.index(oracle.world.columns[oracle.task.column][2])
    assert batch["semantic_type"][b, slot] == kind
    value = oracle.world.cells(oracle.target).get(oracle.task.column)
    if not isinstance(value, str):
        assert batch["value"][b, slot] == (0 if value is None else value)


def cases(tmp_path: Path, settings: dict[str, Any], count: int) -> Any:
    """Random (batch, b, oracle, world, children, text of number)."""
    for seed in range(count):
        rng = np.random.default_rng([seed, 7])
        world = World(random_database(rng))
        store = write_store(tmp_path / str(seed), world.database)
        children: list[list[int]] = [[] for _ in world.rows]
        for row in range(len(world.rows)):
            for parent in world.parents(row):
                children[parent].append(row)
        specs = random_tasks(rng, world)
        tasks = [rustler.Task(0, s.table, s.column, s.splits, s.horizon, s.hidden) for s in specs]
        sampler = rustler.Sampler([store], tasks, embedder=EMBEDDER, seed=seed, **settings)
        texts = {number: text for text, number in text_numbers(world).items()}
        for number, spec in enumerate(specs):
            rows = rng.integers(*world.table_range(spec.table), size=CONTEXTS_PER_TASK)
            cutoff = int(rng.integers(-1, 11)) if rng.random() < 0.5 else None
            batch = sampler.contexts(number, rows.astype(np.uint32), cutoff=cutoff)
            for b, row in enumerate(rows.tolist()):
                yield batch, b, Oracle(world, spec, row, cutoff, Counter()), children, texts


def with_null_text(cells: dict[int, Any], world: World) -> dict[int, Any]:
    """The oracle's cells as the batch shows them: a null target has the value 0."""
    return {c: 0 if v is None else v for c, v in cells.items()}


REASONS = {
    "row later than the bound",
    "label row of another task",
    "row of a later split",
    "label row not known",
    "label of the same or a later split",
    "no time to know a label by",
    "window not over",
    "label not before the target",
    "hidden column",
    "target column",
}


def test_unlimited_contexts_hold_exactly_what_may_be_seen(tmp_path: Path) -> None:
    settings = {"context_length": UNLIMITED, "max_bfs_width": 1000}
    drops: Counter[str] = Counter()
    contexts = shown = 0
    for batch, b, oracle, children, texts in cases(tmp_path, settings, NUM_DATABASES):
        oracle.drops = drops
        context = decode(batch, b, texts)
        assert context["rows"][0] == oracle.target
        assert set(context["rows"]) == oracle.reachable(children)
        for row, cells in zip(context["rows"], context["cells"], strict=True):
            assert list(cells.items()) == list(
                with_null_text(oracle.cells(row), oracle.world).items()
            )
        check_arrays(context, oracle.world, children)
        check_target(batch, b, oracle)
        contexts += 1
        shown += len(context["rows"])
    # The databases exercise every rule, and most contexts show something.
    assert contexts > 3000
    assert shown > 3 * contexts
    assert min(drops[reason] for reason in REASONS) > 200, drops
    assert set(drops) == REASONS


@pytest.mark.parametrize(("budget", "width"), [(1, 3), (6, 1), (15, 2), (40, 0)])
def test_small_contexts_hold_only_what_may_be_seen(tmp_path: Path, budget: int, width: int) -> None:
    settings = {"context_length": budget, "max_bfs_width": width}
    for batch, b, oracle, children, texts in cases(tmp_path, settings, NUM_DATABASES // 4):
        context = decode(batch, b, texts)
        rows = context["rows"]
        assert context["size"] <= budget
        assert set(rows) <= oracle.reachable(children)
        check_arrays(context, oracle.world, children)
        check_target(batch, b, oracle)
        for place, (row, cells) in enumerate(zip(rows, context["cells"], strict=True)):
            allowed = list(with_null_text(oracle.cells(row), oracle.world).items())
            if row == oracle.target and len(cells) < len(allowed):
                # The target, and the first others.
                others = [c for c in allowed if c[0] != oracle.task.column][: budget - 1]
                assert [c for c in cells.items() if c[0] != oracle.task.column] == others
            elif place == len(rows) - 1 and context["size"] == budget:
                assert list(cells.items()) == allowed[: len(cells)]
            else:
                assert list(cells.items()) == allowed
