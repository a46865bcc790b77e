"""Rows that reference others: directly, or through one table between."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rt.joined.anchors import Tables, follow
from rt.joined.relation import Relation
from rt.joined.tables import NO_TIME, Column, Ints, JoinTable


@dataclass(frozen=True)
class Child:
    """The rows of `table` by the row that they reference. parent: i64[N], -1 for none; time: i64[N]
    when a row, and the row between, are both seen; key: the foreign key of `table`; far: there is a
    table between; tables: where the parents of the rows are looked up."""

    name: str
    table: JoinTable
    key: str
    parent: Ints
    time: Ints
    tables: Tables
    far: bool = False

    @cached_property
    def relation(self) -> Relation:
        return Relation(self.parent, self.time)

    @property
    def timed(self) -> bool:
        """Whether any row has a time."""
        return bool(len(self.time)) and int(self.time.max()) != NO_TIME

    def columns(self, limit: int, *, late: bool) -> list[Column]:
        """The rows' numbers and categories, then those of their other parents, `limit` at most;
        times are left out. late: the leaking columns only, of the rows themselves."""
        found = [column for column in self.table.columns if column.kind != "time"]
        if late:
            return [column for column in found if column.late][:limit]
        found = [column for column in found if not column.late]
        if not self.far:
            for key in self.table.keys:
                if key != self.key and len(found) < limit:
                    found += self._of_parent(key)
        return found[:limit]

    def _of_parent(self, key: str) -> list[Column]:
        """The columns of the rows' parents by another key; a parent later than its row is as if it
        were not there, so that it is seen wherever the row is."""
        parent = self.tables[self.table.keys[key][0]]
        rows = follow(self.table, key, np.arange(len(self.table)))
        if not len(parent) or not len(rows):
            return []
        there = (rows >= 0) & (parent.time[rows] <= self.time)
        return [
            replace(
                column,
                name=f"{key}.{column.name}",
                values=np.where(there, column.values[rows], np.nan),
            )
            for column in parent.columns
            if column.kind != "time" and not column.late
        ]


def children(tables: Tables, parent: str) -> list[Child]:
    """Every foreign key that refers to the table `parent`, with the rows that hold it."""
    return [
        Child(f"{table.name}.{key}", table, key, rows, table.time, tables)
        for table in tables.values()
        for key, (referred, rows) in table.keys.items()
        if referred == parent
    ]


def grandchildren(tables: Tables, parent: str) -> list[Child]:
    """Rows that reference a child of `parent`, by its parent, seen when both rows are."""
    found = []
    for child in children(tables, parent):
        for grandchild in children(tables, child.table.name):
            if grandchild.table.name in (parent, child.table.name):
                continue
            through = follow(child.table, child.key, grandchild.parent)
            time = grandchild.time
            if len(child.table):
                there = grandchild.parent >= 0
                time = np.where(there, np.maximum(time, child.time[grandchild.parent]), time)
            name = f"{grandchild.name}.{child.key}"
            found.append(
                Child(name, grandchild.table, grandchild.key, through, time, tables, far=True)
            )
    return found
