"""The edges between rows: found by value, then written table by table, from both ends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt import keys
from rt.keys import NO_ROW, Rows
from rt.layout import Report, Table
from rt.work import Work

Piece = tuple[str, NDArray[Any]]

_BLOCK_ROWS = 1 << 18
_RANGE_EDGES = 1 << 20
"""Edges of a range of parents that are sorted at a time, unless a sixteenth of all is more."""


@dataclass(frozen=True)
class Edges:
    """links: for each table and foreign key the parent row of every row (`NO_ROW`: none), in the
    store's order."""

    tables: Sequence[Table]
    links: Sequence[Sequence[Rows]]
    count: int

    def parent_pieces(self) -> Iterator[Piece]:
        """parent_ptr and parent_row."""
        yield "parent_ptr", np.zeros(1, np.uint64)
        done = 0
        for table, links in zip(self.tables, self.links, strict=True):
            for start in range(0, table.raw.source.num_rows, _BLOCK_ROWS):
                block = slice(start, min(start + _BLOCK_ROWS, table.raw.source.num_rows))
                degree, rows = parents([link[block] for link in links], block.stop - start)
                yield "parent_ptr", np.cumsum(degree, dtype=np.uint64) + np.uint64(done)
                yield "parent_row", rows
                done += len(rows)

    def child_pieces(self, work: Work) -> Iterator[Piece]:
        """child_ptr, child_row and child_time: the edges seen from the parents."""
        yield "child_ptr", np.zeros(1, np.uint64)
        done = 0
        for table in self.tables:
            if table.raw.source.num_rows == 0:
                continue
            ends = self._ends(table)
            yield "child_ptr", ends + np.uint64(done)
            done += int(ends[-1])
            ranges = _ranges(table, ends, max(_RANGE_EDGES, self.count // 16))
            for child, time in work.ordered(partial(self._children, table), ranges):
                yield "child_row", child
                yield "child_time", time

    def _ends(self, parent: Table) -> NDArray[np.uint64]:
        """The number of edges to the rows of a table up to each row, itself included."""
        start, end = parent.rows
        degree = np.zeros(end - start, np.uint64)
        for _, links in self._links_to(parent):
            for _, rows in _within(links, start, end):
                np.add.at(degree, rows, np.uint64(1))
        return np.cumsum(degree, out=degree)

    def _links_to(self, parent: Table) -> Iterator[tuple[Table, list[Rows]]]:
        """The tables that reference `parent`, each with the links that do."""
        for table, links in zip(self.tables, self.links, strict=True):
            named = zip(table.raw.foreign_keys.values(), links, strict=True)
            found = [link for name, link in named if name == parent.raw.name]
            if found and parent.kind == "database":
                yield table, found

    def _children(
        self, parent: Table, rows_range: tuple[int, int]
    ) -> tuple[Rows, NDArray[np.int64]]:
        """The children of a range of rows and their times: by parent, then by (time, row)."""
        start, end = rows_range
        rows: list[Rows] = []
        children: list[Rows] = []
        times: list[NDArray[np.int64]] = []
        for table, links in self._links_to(parent):
            for local, row in _within(links, start, end):
                rows.append(row)
                children.append((local + table.rows[0]).astype(np.uint32))
                times.append(table.row_time[local])
        if not rows:
            return np.zeros(0, np.uint32), np.zeros(0, np.int64)
        row, child, time = np.concatenate(rows), np.concatenate(children), np.concatenate(times)
        del rows, children, times
        if not (time[1:] >= time[:-1]).all():
            # Tables stand in order of time, so this sort finds a few long runs.
            order = np.argsort(time, kind="stable")
            row, child, time = row[order], child[order], time[order]
            del order
        order = _stable_order(row)
        return child[order], time[order]


def link_tables(tables: Sequence[Table], report: Report, work: Work) -> Edges:
    """All foreign keys resolved; what they miss goes into the report."""
    found: dict[tuple[str, str, str], keys.Links] = {}
    parents = [table for table in tables if table.kind == "database"]
    for links in work.ordered(partial(_resolve, tables), parents):
        for place, one in links.items():
            found[place] = replace(one, rows=work.spill.keep(one.rows))
    rows: list[list[Rows]] = []
    count = 0
    for table in tables:
        rows.append([])
        for column in table.raw.foreign_keys:
            name, one = f"{table.raw.name}.{column}", found[table.kind, table.raw.name, column]
            if one.dangling:
                report.dangling_keys[name] = one.dangling
            if one.nulls:
                report.null_keys[name] = one.nulls
            rows[-1].append(one.rows)
            count += len(one.rows) - one.nulls - one.dangling
    return Edges(tables, rows, count)


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


def parents(links: Sequence[Rows], num_rows: int) -> tuple[NDArray[np.uint32], Rows]:
    """References per row and, row after row, the parent rows in the order of the foreign keys."""
    if not links:
        return np.zeros(num_rows, np.uint32), np.zeros(0, np.uint32)
    matrix = np.stack(links, axis=1)
    present = matrix != NO_ROW
    return present.sum(axis=1, dtype=np.uint32), matrix[present]


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


def _ranges(parent: Table, ends: NDArray[np.uint64], edges: int) -> Iterator[tuple[int, int]]:
    """Ranges of the rows of a table with about so many edges to each."""
    first, last = parent.rows
    start = first
    for bound in range(edges, int(ends[-1]), edges):
        end = first + int(np.searchsorted(ends, np.uint64(bound))) + 1
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
