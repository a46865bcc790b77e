"""Random small databases and tasks, and a brute-force oracle of what a target may see.

The oracle is written from the rules about time and leakage alone (the header of
`rustler/src/visibility.rs` states them); it shares no code with the sampler.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TYPES = ("number", "text", "datetime", "boolean")


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
        table = {"name": f"task{number}", "kind": "task", "columns": columns, "rows": rows}
        tables.append(table | {"time_column": "when"})
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
        horizon = int(rng.integers(0, 4)) if rng.random() < 0.5 else None
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
        known = (parent for parent in self.rows[row]["parents"] if parent is not None)
        return [self.start[name] + place for name, place in known]

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
    blind: bool = False

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
        if self.blind:
            return self.drop("labels are hidden")
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
        if self.blind:
            return self.drop("labels are hidden")
        time, mine, bound = self.world.time(row), self.world.time(self.target), self.bound()
        if time is None or mine is None or bound is None:
            return self.drop("no time to know a label by")
        if time + (self.task.horizon or 0) > bound:
            return self.drop("window not over")
        # a window of no length that ends now has not been seen before now
        return time < mine or self.drop("label not before the target")

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
