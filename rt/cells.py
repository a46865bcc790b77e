"""Columns become cells: normalised, numbered, and interleaved row by row.

Two passes. The first reads column after column and keeps it, 4 bytes a row, in the store's order;
then the numbers of cells and of texts are known. The second interleaves blocks of rows, so that
the cells of no table are in memory as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plurel.spill import release
from rt import columns as col
from rt.edges import Piece
from rt.keys import Rows
from rt.layout import Report, Table, cell_columns, type_of
from rt.meta import ColumnMeta
from rt.numeric import Floats, Mask
from rt.work import Work

_BLOCK_CELLS = 1 << 18
_RELEASE_BLOCKS = 64


@dataclass(frozen=True)
class Column:
    """One column in the store's order. values: bits of normalised numbers, or places in `texts`
    and `numbers`; valid: None if there are no nulls."""

    meta: ColumnMeta
    values: NDArray[np.uint32]
    valid: Mask | None
    count: int
    texts: pa.Array | None = None
    numbers: Rows | None = None
    infinite: int = 0
    unfitted: bool = False


def read_columns(
    tables: Sequence[Table], datetimes: col.Fit, report: Report, work: Work
) -> list[Column]:
    """The columns of all tables; what is odd in them goes into the report."""
    places = [(i, name) for i, table in enumerate(tables) for name in cell_columns(table)]
    columns = []
    for column in work.ordered(partial(_read, tables, datetimes), places):
        name = f"{tables[column.meta.table].raw.name}.{column.meta.name}"
        if column.infinite:
            report.infinite_values[name] = column.infinite
        if column.unfitted:
            report.unfitted_columns.append(name)
        valid = None if column.valid is None else work.spill.keep(column.valid)
        columns.append(replace(column, values=work.spill.keep(column.values), valid=valid))
        work.progress.half(len(column.values))
    return columns


def _read(tables: Sequence[Table], datetimes: col.Fit, place: tuple[int, str]) -> Column:
    number, name = place
    table = tables[number]
    kind = type_of(table, name)
    where = f"table '{table.raw.name}', column '{name}'"
    cells = col.read_column(table.raw.source.read(name), kind, where, table.fitted)
    count = int(np.count_nonzero(cells.valid))
    valid = None if count == len(cells.valid) else _in_order(cells.valid, table.order)
    if isinstance(cells, col.Texts):
        meta = ColumnMeta(name, number, kind, 0.0, 1.0, "", 0, False)
        return Column(meta, _in_order(cells.codes, table.order), valid, count, cells.texts)
    train = _chosen(cells, table.train)
    varies = len(train) > 0 and bool(train.min() < train.max())
    if kind == "datetime":
        fitted, on = datetimes, "datetimes of rows up to val_timestamp"
    else:
        past = train if table.train is table.fitted else _chosen(cells, table.fitted)
        fitted = (col.fit_boolean if kind == "boolean" else col.fit)(past)
        on = table.fitted_on
        del past
    del train
    meta = ColumnMeta(name, number, kind, cells.origin + fitted.mean, fitted.std, on, 0, varies)
    values = _in_order(col.standardise(cells.values, fitted), table.order)
    unfitted = fitted.count == 0 and count > 0
    return Column(meta, values, valid, count, infinite=cells.infinite, unfitted=unfitted)


def _chosen(cells: col.Numbers, rows: Mask) -> Floats:
    mask = cells.valid & rows
    return cells.values if mask.all() else cells.values[mask]


def _in_order(array: NDArray[Any], order: Rows | None) -> NDArray[Any]:
    return array if order is None else array[order]


def number_texts(
    columns: Sequence[Column], table_names: Sequence[str]
) -> tuple[list[Column], pa.Array]:
    """The distinct texts in order of their numbers: column names, then cells. The columns get the
    number of their name and, in place of their texts, the numbers of these."""
    names = [f"{c.meta.name} of {table_names[c.meta.table]}" for c in columns]
    texts = [column.texts for column in columns if column.texts is not None]
    every = pa.chunked_array([pa.array(names, pa.large_string()), *texts])
    del texts
    chunks = every.dictionary_encode().chunks  # all share one dictionary; empty ones are left out
    codes = [np.zeros(0, np.uint32), *(chunk.indices.to_numpy() for chunk in chunks)]
    final = np.concatenate(codes).astype(np.uint32)
    numbered = []
    start = len(names)
    for column, name in zip(columns, final[: len(names)].tolist(), strict=True):
        numbers = None
        if column.texts is not None:
            numbers = final[start : start + len(column.texts)]
            start += len(numbers)
        meta = replace(column.meta, name_text=name)
        numbered.append(replace(column, meta=meta, texts=None, numbers=numbers))
    return numbered, chunks[0].dictionary if chunks else pa.array([], pa.large_string())


@dataclass(frozen=True)
class _Block:
    """Rows of one table on their way into the store: start..end of them, and its columns (their
    numbers from `first`)."""

    columns: Sequence[Column]
    first: int
    start: int
    end: int


def cell_pieces(tables: Sequence[Table], columns: Sequence[Column], work: Work) -> Iterator[Piece]:
    """cell_ptr, cell_column and cell_value, block after block."""
    yield "cell_ptr", np.zeros(1, np.uint64)
    done = 0
    for i, found in enumerate(work.ordered(_interleave, _blocks(tables, columns))):
        counts, column, value = found
        yield "cell_ptr", np.cumsum(counts, dtype=np.uint64) + np.uint64(done)
        yield "cell_column", column
        yield "cell_value", value
        done += len(value)
        if i % _RELEASE_BLOCKS == 0:
            release()


def _blocks(tables: Sequence[Table], columns: Sequence[Column]) -> Iterator[_Block]:
    """Blocks of rows whose cells fit into the cache."""
    first = 0
    for i, table in enumerate(tables):
        end = first + sum(column.meta.table == i for column in columns)
        num_rows, size = table.raw.source.num_rows, max(1, _BLOCK_CELLS // max(1, end - first))
        for start in range(0, num_rows, size):
            yield _Block(columns[first:end], first, start, min(start + size, num_rows))
        first = end


def _interleave(block: _Block) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Cells per row, and the column numbers and values of the cells row by row."""
    rows, shape = slice(block.start, block.end), (block.end - block.start, len(block.columns))
    value, present = np.empty(shape, np.uint32), np.empty(shape, bool)
    for i, column in enumerate(block.columns):
        if column.numbers is None:
            value[:, i] = column.values[rows]
        elif len(column.numbers):  # without texts there are no cells
            value[:, i] = column.numbers[column.values[rows]]
        present[:, i] = True if column.valid is None else column.valid[rows]
    number = np.tile(np.arange(block.first, block.first + shape[1], dtype=np.uint32), shape[0])
    if all(column.valid is None for column in block.columns):
        return np.full(shape[0], shape[1], np.uint32), number, value.reshape(-1)
    return present.sum(axis=1, dtype=np.uint32), number[present.reshape(-1)], value[present]
