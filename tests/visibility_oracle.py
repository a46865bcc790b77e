"""A brute-force oracle of what a target may see in a small database.

The oracle is written from the rules about time and leakage alone (the header of
`rustler/src/visibility.rs` states them); it shares no code with the sampler.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

TYPES = ("number", "text", "datetime", "boolean")


@dataclass
class TaskSpec:
    """A task by numbers of tables and columns, as the oracle and the sampler take it."""

    table: int
    column: int
    splits: list[tuple[int, int]]
    horizon: int | None
    hidden: list[int]
    hidden_keys: list[tuple[int, int]] = field(default_factory=list)
    """Tables and places of foreign keys in them."""


@dataclass
class World:
    """A database with global numbers, read from the same dictionary as the store."""

    database: dict[str, Any]
    rows: list[dict[str, Any]] = field(init=False, repr=False)
    table_of: list[int] = field(init=False, repr=False)
    start: dict[str, int] = field(init=False, repr=False)
    columns: list[tuple[int, str, str]] = field(init=False, repr=False)
    links: list[list[tuple[int, int]]] = field(init=False, repr=False)
    """Per row (place of the foreign key, parent)."""
    parents: list[list[int]] = field(init=False, repr=False)
    children: list[list[int]] = field(init=False, repr=False)
    cells: list[dict[int, Any]] = field(init=False, repr=False)
    """Values by column number."""
    texts: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.rows, self.table_of, self.start, self.columns = [], [], {}, []
        self.cells = []
        names = []
        for number, table in enumerate(self.database["tables"]):
            self.start[table["name"]] = len(self.rows)
            self.rows += table["rows"]
            self.table_of += [number] * len(table["rows"])
            numbers = {name: len(self.columns) + i for i, name in enumerate(table["columns"])}
            self.columns += [(number, name, kind) for name, kind in table["columns"].items()]
            for row in table["rows"]:
                self.cells.append(
                    {c: row["cells"][n] for n, c in numbers.items() if n in row["cells"]}
                )
            keys = [key for key, _ in table["foreign_keys"]]
            names += [f"{name} of {table['name']}" for name in [*numbers, *keys]]
        self.links = [
            [
                (place, self.start[parent[0]] + parent[1])
                for place, parent in enumerate(row["parents"])
                if parent is not None
            ]
            for row in self.rows
        ]
        self.parents = [[parent for _, parent in links] for links in self.links]
        self.children = [[] for _ in self.rows]
        for child, parents in enumerate(self.parents):
            for parent in parents:
                self.children[parent].append(child)
        values = [value for row in self.cells for value in row.values()]
        self.texts = list(dict.fromkeys(names + [v for v in values if isinstance(v, str)]))

    def table_range(self, table: int) -> tuple[int, int]:
        first = self.start[self.database["tables"][table]["name"]]
        return first, first + len(self.database["tables"][table]["rows"])

    def is_label_table(self, table: int) -> bool:
        return self.database["tables"][table].get("kind") == "task"

    def time(self, row: int) -> int | None:
        return self.rows[row]["time"]


@dataclass
class Oracle:
    """What one target may see. `drops` counts why things were not shown."""

    world: World
    task: TaskSpec
    target: int
    cutoff: int | None
    drops: Counter[str] = field(default_factory=Counter)
    blind: bool = False

    def split(self, row: int) -> int:
        """0, 1, 2 for train, val, test; rows in no split count as test."""
        inside = [i for i, (start, end) in enumerate(self.task.splits) if start <= row < end]
        return inside[0] if inside else 2

    def bound(self) -> int | None:
        time = self.world.time(self.target)
        if time is None or self.cutoff is None:
            return self.cutoff if time is None else time
        return min(time, self.cutoff)

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

    def parents(self, row: int) -> list[int]:
        """The parents of a row by keys that are not hidden."""
        table, found = self.world.table_of[row], []
        for place, parent in self.world.links[row]:
            if (table, place) in self.task.hidden_keys:
                self.drop("hidden key")
            else:
                found.append(parent)
        return found

    def children(self, row: int) -> list[int]:
        """The rows that reference a row by a key that is not hidden."""
        return [child for child in self.world.children[row] if row in self.parents(child)]

    def cells(self, row: int) -> dict[int, Any]:
        shown = {c: v for c, v in self.world.cells[row].items() if self.cell_allowed(row, c)}
        if row == self.target:
            shown.setdefault(self.task.column, None)
        return dict(sorted(shown.items()))

    def reachable(self) -> set[int]:
        """All rows that can be reached from the target through visible rows."""
        found, waiting = {self.target}, [self.target]
        while waiting:
            row = waiting.pop()
            for other in {*self.parents(row), *self.children(row)} - found:
                if self.row_allowed(other):
                    found.add(other)
                    waiting.append(other)
        return found
