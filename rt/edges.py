"""The edges between rows: found by value, then written table by table, from both ends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plurel.errors import InputError
from rt import keys
from rt.keys import Rows
from rt.layout import Report, Table
from rt.work import Work

Piece = tuple[str, NDArray[Any]]

_BLOCK_ROWS = 1 << 18
_MOST_CHILDREN = 2**32 - 1
_RANGE_EDGES = 1 << 20
"""Edges of a range of parents that are sorted at a time, unless a sixteenth of all is more."""


@dataclass(frozen=True)
class Edges:
    """links: for each table and foreign key the parent row of every row (`NO_ROW`: none), in the
    store's order; children: for each table the number of references to its rows."""

    tables: Sequence[Table]
    links: Sequence[Sequence[Rows]]
    children: Sequence[int]

    @property
    def count(self) -> int:
        return sum(self.children)

    def parent_pieces(self) -> Iterator[Piece]:
        """parent_row."""
        for links in self.links:
            for start in range(0, len(links[0]) if links else 0, _BLOCK_ROWS):
                block = slice(start, start + _BLOCK_ROWS)
                yield "parent_row", np.stack([link[block] for link in links], axis=1).reshape(-1)

    def child_pieces(self, work: Work) -> Iterator[Piece]:
        """child_ptr, child_row and child_rank: the edges seen from the parents."""
        for table, count in zip(self.tables, self.children, strict=True):
            if count == 0:
                continue
            ends = self._ends(table)
            yield "child_ptr", np.zeros(1, np.uint32)
            yield "child_ptr", ends
            ranges = _ranges(table, ends, max(_RANGE_EDGES, self.count // 16))
            for child, rank in work.ordered(partial(self._children, table), ranges):
                yield "child_row", child
                yield "child_rank", rank

    def _ends(self, parent: Table) -> Rows:
        """The number of edges to the rows of a table up to each row, itself included."""
        start, end = parent.rows
        degree = np.zeros(end - start, np.uint32)
        for _, links in self._links_to(parent):
            for _, rows in _within(links, start, end):
                np.add.at(degree, rows, np.uint32(1))
        return np.cumsum(degree, out=degree)

    def _links_to(self, parent: Table) -> Iterator[tuple[Table, list[Rows]]]:
        """The tables that reference `parent`, each with the links that do."""
        for table, links in zip(self.tables, self.links, strict=True):
            named = zip(table.raw.foreign_keys.values(), links, strict=True)
            found = [link for name, link in named if name == parent.raw.name]
            if found and parent.kind == "database":
                yield table, found

    def _children(self, parent: Table, rows_range: tuple[int, int]) -> tuple[Rows, Rows]:
        """The children of a range of rows and their ranks: by parent, then by (time, row)."""
        start, end = rows_range
        rows: list[Rows] = []
        children: list[Rows] = []
        ranks: list[Rows] = []
        for table, links in self._links_to(parent):
            for local, row in _within(links, start, end):
                rows.append(row)
                children.append((local + table.rows[0]).astype(np.uint32))
                ranks.append(table.row_rank[local])
        if not rows:
            return np.zeros(0, np.uint32), np.zeros(0, np.uint32)
        row, child, rank = np.concatenate(rows), np.concatenate(children), np.concatenate(ranks)
        del rows, children, ranks
        if not (rank[1:] >= rank[:-1]).all():
            # Tables stand in order of time, so this sort finds a few long runs.
            order = np.argsort(rank, kind="stable")
            row, child, rank = row[order], child[order], rank[order]
            del order
        order = _stable_order(row)
        return child[order], rank[order]


def link_tables(tables: Sequence[Table], report: Report, work: Work) -> Edges:
    """All foreign keys resolved; what they miss goes into the report."""
    found: dict[tuple[str, str, str], keys.Links] = {}
    parents = [table for table in tables if table.kind == "database"]
    for links in work.ordered(partial(_resolve, tables), parents):
        for place, one in links.items():
            found[place] = replace(one, rows=work.spill.keep(one.rows))
    rows: list[list[Rows]] = []
    children = {table.raw.name: 0 for table in parents}
    for table in tables:
        rows.append([])
        for column, parent in table.raw.foreign_keys.items():
            name, one = f"{table.raw.name}.{column}", found[table.kind, table.raw.name, column]
            if one.dangling:
                report.dangling_keys[name] = one.dangling
            if one.nulls:
                report.null_keys[name] = one.nulls
            rows[-1].append(one.rows)
            children[parent] += len(one.rows) - one.nulls - one.dangling
    for name, count in children.items():
        if count > _MOST_CHILDREN:
            raise InputError(
                f"table '{name}': {count} rows reference it; a store holds at most "
                f"{_MOST_CHILDREN} references to a table"
            )
    label_tables = len(tables) - len(parents)
    return Edges(tables, rows, [*children.values(), *[0] * label_tables])


def _resolve(tables: Sequence[Table], parent: Table) -> dict[tuple[str, str, str], keys.Links]:
    """The foreign keys that reference one table, in the store's order, by their places."""
    raw = parent.raw
    if raw.primary_key is None:
        return {}  # read_database checks that referenced tables have keys
    rows = np.arange(*parent.rows, dtype=np.uint32)
    if parent.order is not None:
        rows[parent.order] = rows.copy()
    index = keys.KeyIndex(raw.source.read(raw.primary_key), rows, f"{raw.name}.{raw.primary_key}")
    found = {}
    for table in tables:
        for column, name in table.raw.foreign_keys.items():
            if name == raw.name:
                links = index.find(table.raw.source.read(column), f"{table.raw.name}.{column}")
                if table.order is not None:
                    links = replace(links, rows=links.rows[table.order])
                found[table.kind, table.raw.name, column] = links
    return found


def _within(
    links: Sequence[Rows], start: int, end: int
) -> Iterator[tuple[NDArray[np.int64], Rows]]:
    """Rows that reference a row of `start`..`end`, and that row counted from `start`; by row, then
    by link, block after block."""
    for first in range(0, len(links[0]), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        # what lies below `start` wraps round, and NO_ROW lies above every end
        matrix = np.stack([link[block] for link in links], axis=1) - np.uint32(start)
        inside = matrix < np.uint32(end - start)
        row = np.nonzero(inside)[0] if len(links) > 1 else np.flatnonzero(inside)
        yield row + first, matrix[inside]


def _ranges(parent: Table, ends: Rows, edges: int) -> Iterator[tuple[int, int]]:
    """Ranges of the rows of a table with about so many edges to each."""
    first, last = parent.rows
    start = first
    for bound in range(edges, int(ends[-1]), edges):
        end = first + int(np.searchsorted(ends, bound)) + 1
        if start < end < last:
            yield start, end
            start = end
    yield start, last


def _stable_order(keys: Rows) -> NDArray[np.int64]:
    """argsort, stable: numpy sorts 16 bits by counting, so two passes of 16 bits each."""
    order = np.argsort((keys & 0xFFFF).astype(np.uint16), kind="stable")
    if len(keys) and keys.max() > 0xFFFF:
        high = (keys >> 16).astype(np.uint16)[order]
        order = order[np.argsort(high, kind="stable")]
    return order
