"""The row and its ancestors, by path of foreign keys, as far as they are seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rt.joined.queries import LabelRows, Queries
from rt.joined.tables import NO_TIME, Ints, JoinTable

Tables = dict[str, JoinTable]
DEPTH = 2
"""Foreign keys between a row and its farthest ancestors."""
MAX_ANCHORS = 24


@dataclass(frozen=True)
class Anchor:
    """For each query a row of `table` (i64[Q], -1 where it is not seen), found by a path of foreign
    keys from the queried row; `path` None for rows found in another way."""

    name: str
    table: str
    row: Ints
    path: tuple[str, ...] | None

    @property
    def prefix(self) -> str:
        """What the names of its columns begin with."""
        return f"{self.name}." if self.name else ""


def seen(table: JoinTable, row: Ints, bound: Ints) -> Ints:
    """The rows that are there and have no time beyond the bound; -1 for the others."""
    if not len(table):
        return np.full(len(row), -1)
    return np.where((row >= 0) & (table.time[row] <= bound), row, -1)


def follow(table: JoinTable, key: str, row: Ints) -> Ints:
    """The parents of rows by a foreign key, -1 for none."""
    parents = table.keys[key][1]
    if not len(parents):
        return np.full(len(row), -1)
    return np.where(row >= 0, parents[row], -1)


def row_and_ancestors(
    tables: Tables, entity_table: str, queries: Queries, *, always_seen: bool
) -> list[Anchor]:
    """The queried row, then its parents and theirs, nearest first. always_seen: the queried row is
    the target's own; else it is a database row like others."""
    own = queries.row
    if not always_seen:
        own = seen(tables[entity_table], own, queries.bound)
    found = [Anchor("", entity_table, own, ())]
    nearest = found
    for _ in range(DEPTH):
        nearest = [parent for anchor in nearest for parent in parents(tables, anchor, queries)]
        found += nearest
    return found[:MAX_ANCHORS]


def parents(tables: Tables, anchor: Anchor, queries: Queries) -> Iterator[Anchor]:
    """The parents of an anchor's rows, one anchor for each foreign key."""
    table = tables[anchor.table]
    for key, (parent, _) in table.keys.items():
        row = seen(tables[parent], follow(table, key, anchor.row), queries.bound)
        path = None if anchor.path is None else (*anchor.path, key)
        yield Anchor(f"{anchor.prefix}{key}", parent, row, path)


def labels_by_ancestor(
    tables: Tables, entity_table: str, labels: LabelRows, path: tuple[str, ...]
) -> tuple[Ints, Ints]:
    """(ancestor's row, known since), i64[L] each: which ancestor by this path each label belongs
    to, and when the label and the rows on the way are all seen; the ancestor itself is seen
    wherever it is asked for."""
    row, known = labels.row, labels.known_at
    name = entity_table
    for key in path:
        if len(tables[name]):
            time = np.where(row >= 0, tables[name].time[row], NO_TIME)
            known = np.maximum(known, time)
        row = follow(tables[name], key, row)
        name = tables[name].keys[key][0]
    return row, known
