"""Records: the cells of a row beside each other, each in as few bytes as its column needs.

A record begins with one bit for each optional column of its table (the first column's is the
lowest bit of the first byte), set where the cell is there; then come the cells in order of
columns. A cell is a place in its column's dictionary, where there is one, or a value itself, in
`width` bytes, the lowest first. In an even table absent cells are zeros, so that all records are as
long; in a packed one they are left out, and `record_ptr` says where records begin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rustler
from plurel.spill import release
from rt.cells import Column
from rt.edges import Piece
from rt.meta import ColumnMeta, StoreMeta
from rt.work import Work

Bytes = NDArray[np.uint8]

_BLOCK_CELLS = 1 << 18
_RELEASE_BLOCKS = 64
_INTEGERS: dict[int, list[tuple[int, str]]] = {
    0: [],
    1: [(0, "u1")],
    2: [(0, "<u2")],
    3: [(0, "<u2"), (2, "u1")],
    4: [(0, "<u4")],
}
"""The integers that make up a cell of so many bytes, and where they stand in it."""


@dataclass(frozen=True)
class Shape:
    """The records of one table. columns: what meta.json says of its columns."""

    columns: Sequence[ColumnMeta]

    @cached_property
    def presence(self) -> int:
        """Bytes of the bits for optional columns."""
        return -(-sum(column.optional for column in self.columns) // 8)

    @cached_property
    def offsets(self) -> list[int]:
        """Where cells stand if all are there, and at the end the size of such a record."""
        widths = [self.presence, *(column.width for column in self.columns)]
        return np.cumsum(widths).tolist()

    @property
    def stride(self) -> int:
        return self.offsets[-1]

    def bits(self) -> Iterator[tuple[int, int, np.uint8]]:
        """Each optional column, and the byte and the bit that stand for it."""
        optional = [i for i, column in enumerate(self.columns) if column.optional]
        for bit, column in enumerate(optional):
            yield column, bit // 8, np.uint8(1 << (bit % 8))

    def sizes(self, counts: Sequence[int], num_rows: int) -> tuple[int, bool]:
        """Bytes of all records, and whether they are packed: the shorter way is taken. counts:
        cells of each column."""
        even = num_rows * self.stride
        cells = zip(counts, self.columns, strict=True)
        packed = sum(count * column.width for count, column in cells) + num_rows * self.presence
        is_packed = packed + 8 * (num_rows + 1) < even
        return (packed if is_packed else even), is_packed


def array_sizes(meta: StoreMeta) -> dict[str, int]:
    """Elements of the arrays of a store, but for `time_value`."""
    tables = [(table.rows[1] - table.rows[0], table) for table in meta.tables]
    return {
        "record_ptr": sum(size + 1 for size, table in tables if table.packed),
        "parent_row": sum(size * table.num_parents for size, table in tables),
        "child_ptr": sum(size + 1 for size, table in tables if table.num_children),
        "dictionary": sum(column.dictionary or 0 for column in meta.columns),
        "records": sum(table.record_bytes for _, table in tables) + rustler.RECORD_PADDING,
        **dict.fromkeys(("row_rank", "row_source"), meta.num_rows),
        **dict.fromkeys(("child_row", "child_rank"), meta.num_edges),
    }


def record_pieces(
    table: Sequence[Column], num_rows: int, packed: bool, work: Work
) -> Iterator[Piece]:
    """dictionary, record_ptr and records of one table."""
    for column in table:
        if column.dictionary is not None:
            yield "dictionary", column.dictionary
    end = np.zeros(1, np.uint64)
    if packed:
        yield "record_ptr", end
    size = max(1, _BLOCK_CELLS // max(1, len(table)))  # what fits into the cache
    blocks = (slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size))
    for i, found in enumerate(work.ordered(partial(_records, table, packed), blocks)):
        records, lengths, cells = found
        if lengths is not None:
            ends = np.cumsum(lengths, dtype=np.uint64) + end
            end = ends[-1:]
            yield "record_ptr", ends
        yield "records", records
        work.progress.half(cells)
        if i % _RELEASE_BLOCKS == 0:
            release()


def _records(
    table: Sequence[Column], packed: bool, rows: slice
) -> tuple[Bytes, NDArray[np.uint64] | None, int]:
    """The records of some rows, their lengths if they differ, and the number of their cells."""
    shape = Shape([column.meta for column in table])
    num_rows = rows.stop - rows.start
    records = np.zeros((num_rows, shape.stride), np.uint8)
    cells = num_rows * len(table)
    for column, offset in zip(table, shape.offsets, strict=False):
        _put(records, offset, column.meta.width, _values(column, rows))
    there = np.ones(records.shape if packed else (0, 0), bool)
    for number, byte, bit in shape.bits():
        valid = table[number].valid
        if valid is None:
            raise RuntimeError(f"column {table[number].meta.name} lacks no cell")
        valid = valid[rows]
        cells -= num_rows - int(np.count_nonzero(valid))
        records[:, byte] |= valid * bit
        if packed:
            start, end = shape.offsets[number : number + 2]
            there[:, start:end] = valid[:, None]
    if packed:
        return records[there], there.sum(axis=1, dtype=np.uint64), cells
    return records.reshape(-1), None, cells


def _values(column: Column, rows: slice) -> NDArray[Any]:
    """What stands in the records of some rows; 0 where there is no cell."""
    values = column.values[rows]
    if column.numbers is not None:
        values = column.numbers[values] if len(column.numbers) else np.zeros_like(values)
    return values if column.valid is None else values * column.valid[rows]


def _put(records: Bytes, offset: int, width: int, values: NDArray[Any]) -> None:
    """Write the low `width` bytes of values at a place of each record."""
    for start, kind in _INTEGERS[width]:
        field = np.dtype({"names": ["x"], "formats": [kind], "offsets": [offset + start],
                          "itemsize": records.shape[1]})  # fmt: skip
        records.reshape(-1).view(field)["x"] = values >> (8 * start) if start else values
