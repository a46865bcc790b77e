"""The arrays of a store as rows, cells and edges, for tools and tests.

Training reads stores through `rustler`, which checks every index; here only the sizes are checked.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from plurel.errors import InputError
from rt.files import map_arrays
from rt.keys import NO_ROW, Rows
from rt.meta import NO_TIME, ColumnMeta, TableMeta, open_meta
from rt.records import Bytes, Shape

ARRAYS_FILE = "store.safetensors"


class Unpacked(Mapping[str, NDArray[Any]]):
    """R rows, C cells, E references, each array made when it is first asked for:

    row_time i64[R] (`NO_TIME`: none), row_source u32[R]; cell_ptr u64[R+1], cell_column u32[C],
    cell_value u32[C], columns rising within a row; parent_ptr u64[R+1], parent_row u32[E] in order
    of the foreign keys; child_ptr u64[R+1], child_row u32[E], child_time i64[E] by (time, row).
    Raises InputError if the store is cut short.
    """

    def __init__(self, folder: str | Path) -> None:
        self.meta = open_meta(folder)
        path = Path(folder) / ARRAYS_FILE
        try:
            self._stored = map_arrays(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a complete store ({error}); preprocess again") from None
        self._made: dict[str, NDArray[Any]] = {}
        self._makers: dict[str, Callable[[], dict[str, NDArray[Any]]]] = {
            "row_time": lambda: {"row_time": self._times(self._stored["row_rank"])},
            "row_source": lambda: {"row_source": self._stored["row_source"]},
            **dict.fromkeys(("cell_ptr", "cell_column", "cell_value"), self._cells),
            **dict.fromkeys(("parent_ptr", "parent_row"), self._parents),
            **dict.fromkeys(("child_ptr", "child_row", "child_time"), self._children),
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._made:
            self._made |= self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def _times(self, ranks: Rows) -> NDArray[np.int64]:
        return np.concatenate([[NO_TIME], self._stored["time_value"]])[ranks]

    def _parents(self) -> dict[str, NDArray[Any]]:
        sizes = [_num_rows(table) * table.num_parents for table in self.meta.tables]
        parts = _split(self._stored["parent_row"], sizes)
        degrees, rows = [], []
        for table, part in zip(self.meta.tables, parts, strict=True):
            places = part.reshape(_num_rows(table), table.num_parents)
            degrees.append((places != NO_ROW).sum(axis=1))
            rows.append(places[places != NO_ROW])
        return {"parent_ptr": _pointers(degrees), "parent_row": _joined(rows, np.uint32)}

    def _children(self) -> dict[str, NDArray[Any]]:
        counts = [_num_rows(t) + 1 if t.num_children else 0 for t in self.meta.tables]
        parts = _split(self._stored["child_ptr"], counts)
        degrees = [
            np.diff(part) if len(part) else np.zeros(_num_rows(table), np.uint32)
            for table, part in zip(self.meta.tables, parts, strict=True)
        ]
        return {
            "child_ptr": _pointers(degrees),
            "child_row": self._stored["child_row"],
            "child_time": self._times(self._stored["child_rank"]),
        }

    def _cells(self) -> dict[str, NDArray[Any]]:
        tables, columns = self.meta.tables, self.meta.columns
        records = _split(self._stored["records"], [table.record_bytes for table in tables])
        sizes = [_num_rows(table) + 1 if table.packed else 0 for table in tables]
        pointers = _split(self._stored["record_ptr"], sizes)
        distinct = _split(self._stored["dictionary"], [c.dictionary or 0 for c in columns])
        degrees, numbers, values = [], [], []
        for table, record, ends in zip(tables, records, pointers, strict=True):
            of_table = slice(*table.columns)
            value, there = unpack_records(
                record, ends, columns[of_table], distinct[of_table], _num_rows(table)
            )
            number = np.broadcast_to(np.arange(*table.columns, dtype=np.uint32), there.shape)
            degrees.append(there.sum(axis=1))
            numbers.append(number[there])
            values.append(value[there])
        return {
            "cell_ptr": _pointers(degrees),
            "cell_column": _joined(numbers, np.uint32),
            "cell_value": _joined(values, np.uint32),
        }


def read_arrays(folder: str | Path) -> Unpacked:
    """A store's arrays; see `Unpacked`."""
    return Unpacked(folder)


def unpack_records(
    records: Bytes,
    ends: NDArray[np.uint64],
    columns: tuple[ColumnMeta, ...],
    distinct: list[Rows],
    num_rows: int,
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Values u32 [rows, columns] of a table and where there is one. ends: where records begin, and
    the end, if they are packed; distinct: of each column, empty without a dictionary."""
    shape = Shape(columns)
    packed = len(ends) > 0
    start = ends[:-1].astype(np.int64) if packed else np.arange(num_rows) * shape.stride
    values = np.zeros((num_rows, len(columns)), np.uint32)
    there = np.ones(values.shape, bool)
    for number, byte, bit in shape.bits():
        there[:, number] = records[start + byte] & bit != 0
    at = start + shape.presence
    for number, column in enumerate(columns):
        rows = np.flatnonzero(there[:, number])
        raw = np.zeros(len(rows), np.uint32)
        for byte in range(column.width):
            raw |= records[at[rows] + byte].astype(np.uint32) << np.uint32(8 * byte)
        values[rows, number] = raw if column.dictionary is None else distinct[number][raw]
        at[rows if packed else slice(None)] += column.width
    return values, there


def _num_rows(table: TableMeta) -> int:
    return table.rows[1] - table.rows[0]


def _split(array: NDArray[Any], sizes: list[int]) -> list[NDArray[Any]]:
    ends = list(accumulate(sizes, initial=0))
    return [array[start:end] for start, end in pairwise(ends)]


def _pointers(degrees: list[NDArray[Any]]) -> NDArray[np.uint64]:
    return np.cumsum(np.concatenate([[0], *degrees]), dtype=np.uint64)


def _joined(parts: list[NDArray[Any]], kind: type[np.uint32]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *parts])
