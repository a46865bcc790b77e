"""Columns become cells: normalised, numbered, and interleaved row by row."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rt import columns as col
from rt import keys
from rt.layout import Report, Table, cell_columns, type_of
from rt.meta import ColumnMeta

_BLOCK_CELLS = 1 << 18


class CellBuilder:
    """Collects the cells of table after table."""

    def __init__(self, datetimes: col.Fit, report: Report) -> None:
        self.datetimes = datetimes
        self.report = report
        self.columns: list[ColumnMeta] = []
        self.counts: list[NDArray[np.uint32]] = []
        self.cell_column: list[NDArray[np.uint32]] = []
        self.cell_value: list[NDArray[np.uint32]] = []
        self._texts: list[pa.Array] = []
        self._num_texts = 0

    def add(self, number: int, table: Table) -> None:
        """The cells of one table; text cells hold provisional numbers until `finish_texts`."""
        first = len(self.columns)
        blocks = [self._column(number, table, name) for name in cell_columns(table)]
        counts, columns, values = interleave(blocks, first, table.raw.source.num_rows, table.order)
        self.counts.append(counts)
        self.cell_column.append(columns)
        self.cell_value.append(values)

    def _column(
        self, number: int, table: Table, name: str
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        kind = type_of(table, name)
        where = f"table '{table.raw.name}', column '{name}'"
        cells = col.read_column(table.raw.source.read(name), kind, where, table.fitted)
        if isinstance(cells, col.Texts):
            self.columns.append(ColumnMeta(name, number, kind, 0.0, 1.0, "", 0, False))
            values = cells.codes + np.uint32(self._num_texts)
            self._texts.append(cells.texts)
            self._num_texts += len(cells.texts)
            return values, cells.valid
        if cells.infinite:
            self.report.infinite_values[f"{table.raw.name}.{name}"] = cells.infinite
        known = cells.values[cells.valid & table.train]
        varies = len(known) > 0 and bool(known.min() < known.max())
        fitted, on = self._fit(cells, kind, table)
        if fitted.count == 0 and cells.valid.any():
            self.report.unfitted_columns.append(f"{table.raw.name}.{name}")
        mean = cells.origin + fitted.mean
        self.columns.append(ColumnMeta(name, number, kind, mean, fitted.std, on, 0, varies))
        return col.standardise(cells.values, fitted), cells.valid

    def _fit(self, cells: col.Numbers, kind: str, table: Table) -> tuple[col.Fit, str]:
        if kind == "datetime":
            return self.datetimes, "datetimes of rows up to val_timestamp"
        past = cells.values[cells.valid & table.fitted]
        return (col.fit_boolean if kind == "boolean" else col.fit)(past), table.fitted_on

    def finish_texts(self, table_names: Sequence[str]) -> pa.ChunkedArray:
        """The distinct texts in order of their final numbers: column names, then cells."""
        names = [f"{column.name} of {table_names[column.table]}" for column in self.columns]
        every = pa.chunked_array([pa.array(names, pa.large_string()), *self._texts])
        encoded = every.dictionary_encode().unify_dictionaries().combine_chunks()
        final = encoded.indices.to_numpy().astype(np.uint32)
        self.columns = [
            replace(column, name_text=int(final[number]))
            for number, column in enumerate(self.columns)
        ]
        final = final[len(names) :]
        is_text = np.array([column.type == "text" for column in self.columns], bool)
        for columns, values in zip(self.cell_column, self.cell_value, strict=True):
            for start in range(0, len(columns), _BLOCK_CELLS):
                block = slice(start, start + _BLOCK_CELLS)
                chosen = is_text[columns[block]]
                values[block][chosen] = final[values[block][chosen]]
        return pa.chunked_array([encoded.dictionary])


def interleave(
    blocks: Sequence[tuple[NDArray[np.uint32], NDArray[np.bool_]]],
    first: int,
    num_rows: int,
    order: keys.Rows | None,
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Columns of values and of masks as cells row by row: (cells per row, column numbers from
    `first`, values), rows in the order `order`."""
    total = sum(int(np.count_nonzero(valid)) for _, valid in blocks)
    counts = np.zeros(num_rows, np.uint32)
    columns, values = np.empty(total, np.uint32), np.empty(total, np.uint32)
    numbers = np.arange(first, first + len(blocks), dtype=np.uint32)
    filled = 0
    for start, rows in _row_blocks(num_rows, len(blocks), order):
        size = min(num_rows - start, _block_rows(len(blocks)))
        matrix, present = (
            np.empty((size, len(blocks)), np.uint32),
            np.empty((size, len(blocks)), bool),
        )
        for i, (column, valid) in enumerate(blocks):
            matrix[:, i], present[:, i] = column[rows], valid[rows]
        counts[start : start + size] = present.sum(axis=1, dtype=np.uint32)
        chosen = matrix[present]
        values[filled : filled + len(chosen)] = chosen
        columns[filled : filled + len(chosen)] = np.broadcast_to(numbers, present.shape)[present]
        filled += len(chosen)
    return counts, columns, values


def _block_rows(num_columns: int) -> int:
    return max(1, _BLOCK_CELLS // max(1, num_columns))


def _row_blocks(
    num_rows: int, num_columns: int, order: keys.Rows | None
) -> Iterator[tuple[int, slice | keys.Rows]]:
    """Blocks of rows whose cells fit into the cache."""
    size = _block_rows(num_columns)
    for start in range(0, num_rows, size):
        block = slice(start, min(start + size, num_rows))
        yield start, block if order is None else order[block]
