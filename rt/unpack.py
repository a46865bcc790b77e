"""The arrays of a store as rows, cells and edges, for tools and tests.

Training reads stores through `rustler`, which checks every index; here the sizes are checked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
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
from rt.records import Bytes, Shape, array_sizes

ARRAYS_FILE = "store.safetensors"


class Unpacked(Mapping[str, NDArray[Any]]):
    """R rows, C cells, E references, each array made when it is first asked for:

    row_time i64[R] (`NO_TIME`: none), row_source u32[R]; cell_ptr u64[R+1], cell_column u32[C],
    cell_value u32[C], columns rising within a row; parent_ptr u64[R+1], parent_row u32[E] in order
    of the foreign keys; child_ptr u64[R+1], child_row u32[E], child_time i64[E] by (time, row).
    What belongs to a single row is found without that. Raises InputError if the store is cut short.
    """

    def __init__(self, folder: str | Path) -> None:
        self.meta = open_meta(folder)
        path = Path(folder) / ARRAYS_FILE
        try:
            self._stored = map_arrays(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a complete store ({error}); preprocess again") from None
        for name, size in array_sizes(self.meta).items():
            if name not in self._stored or len(self._stored[name]) != size:
                raise InputError(f"{path}: array '{name}' does not fit; preprocess again")
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

    def times_of(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """The times of some rows, without those of all."""
        return self._times(self._stored["row_rank"][rows])

    def parents_of(self, row: int) -> list[int | None]:
        """For each foreign key of the row's table the row that it references, None for none."""
        place, number = self._place(row)
        table = self.meta.tables[number]
        part = self._parent_parts[number][place * table.num_parents :][: table.num_parents]
        return [None if parent == NO_ROW else parent for parent in part.tolist()]

    def children_of(self, row: int) -> tuple[Rows, NDArray[np.int64]]:
        """Rows that reference it and their times, by (time, row)."""
        place, number = self._place(row)
        if not self.meta.tables[number].num_children:
            return np.zeros(0, np.uint32), np.zeros(0, np.int64)
        before = sum(table.num_children for table in self.meta.tables[:number])
        start, end = (before + int(p) for p in self._pointer_parts[number][place : place + 2])
        return self._stored["child_row"][start:end], self._times(
            self._stored["child_rank"][start:end]
        )

    def cells_of(self, row: int) -> dict[int, int]:
        """The values of a row's cells by column number."""
        place, number = self._place(row)
        first = self.meta.tables[number].columns[0]
        value, there = self._table_cells(number, slice(place, place + 1))
        return {first + int(i): int(value[0, i]) for i in np.flatnonzero(there[0])}

    def _place(self, row: int) -> tuple[int, int]:
        """A row's place in its table, and the table's number."""
        for number, table in enumerate(self.meta.tables):
            if table.rows[0] <= row < table.rows[1]:
                return row - table.rows[0], number
        raise InputError(f"row {row} is not below the store's {self.meta.num_rows} rows")

    @cached_property
    def _parent_parts(self) -> list[Rows]:
        sizes = [_num_rows(table) * table.num_parents for table in self.meta.tables]
        return _split(self._stored["parent_row"], sizes)

    @cached_property
    def _pointer_parts(self) -> list[Rows]:
        counts = [_num_rows(t) + 1 if t.num_children else 0 for t in self.meta.tables]
        return _split(self._stored["child_ptr"], counts)

    @cached_property
    def _record_parts(self) -> list[tuple[Bytes, NDArray[np.uint64]]]:
        tables = self.meta.tables
        records = _split(self._stored["records"], [table.record_bytes for table in tables])
        sizes = [_num_rows(table) + 1 if table.packed else 0 for table in tables]
        return list(zip(records, _split(self._stored["record_ptr"], sizes), strict=True))

    @cached_property
    def _distinct(self) -> list[Rows]:
        return _split(self._stored["dictionary"], [c.dictionary or 0 for c in self.meta.columns])

    def _parents(self) -> dict[str, NDArray[Any]]:
        degrees, rows = [], []
        for table, part in zip(self.meta.tables, self._parent_parts, strict=True):
            places = part.reshape(_num_rows(table), table.num_parents)
            degrees.append((places != NO_ROW).sum(axis=1))
            rows.append(places[places != NO_ROW])
        return {"parent_ptr": _pointers(degrees), "parent_row": _joined(rows, np.uint32)}

    def _children(self) -> dict[str, NDArray[Any]]:
        degrees = [
            np.diff(part) if len(part) else np.zeros(_num_rows(table), np.uint32)
            for table, part in zip(self.meta.tables, self._pointer_parts, strict=True)
        ]
        return {
            "child_ptr": _pointers(degrees),
            "child_row": self._stored["child_row"],
            "child_time": self._times(self._stored["child_rank"]),
        }

    def _table_cells(
        self, number: int, rows: slice
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        table = self.meta.tables[number]
        of_table = slice(*table.columns)
        return unpack_records(
            self._record_parts[number],
            self.meta.columns[of_table],
            self._distinct[of_table],
            rows,
        )

    def _cells(self) -> dict[str, NDArray[Any]]:
        degrees, numbers, values = [], [], []
        for i, table in enumerate(self.meta.tables):
            value, there = self._table_cells(i, slice(0, _num_rows(table)))
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
    stored: tuple[Bytes, NDArray[np.uint64]],
    columns: Sequence[ColumnMeta],
    distinct: Sequence[Rows],
    rows: slice,
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Values u32 [rows, columns] of some rows of a table, and where there is one. stored: its
    records and, if they are packed, where they begin and end; distinct: of each column, empty
    without a dictionary."""
    records, ends = stored
    shape = Shape(columns)
    packed, num_rows = len(ends) > 0, rows.stop - rows.start
    if packed:
        start = ends[rows].astype(np.int64)
    else:
        start = np.arange(rows.start, rows.stop) * shape.stride
    values = np.zeros((num_rows, len(columns)), np.uint32)
    there = np.ones(values.shape, bool)
    for number, byte, bit in shape.bits():
        there[:, number] = records[start + byte] & bit != 0
    at = start + shape.presence
    for number, column in enumerate(columns):
        found = np.flatnonzero(there[:, number])
        raw = np.zeros(len(found), np.uint32)
        for byte in range(column.width):
            raw |= records[at[found] + byte].astype(np.uint32) << np.uint32(8 * byte)
        values[found, number] = raw if column.dictionary is None else distinct[number][raw]
        at[found if packed else slice(None)] += column.width
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
