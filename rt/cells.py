"""Columns become cells: normalised and numbered, column after column, in the store's order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import rustler
from rt import columns as col
from rt.keys import Rows
from rt.layout import Report, Table, cell_columns, type_of
from rt.meta import ColumnMeta
from rt.numeric import Floats, Mask
from rt.work import Work

_MOST_DISTINCT = 1 << 16
"""Distinct values of a dictionary: places among them have two bytes."""


@dataclass(frozen=True)
class Column:
    """One column in the store's order. values: bits of normalised numbers, or places in
    `dictionary`, `texts` or the texts' `numbers`, of as few bits as suffice; valid: None if there
    are no nulls; count: the cells."""

    meta: ColumnMeta
    values: NDArray[Any]
    valid: Mask | None
    count: int
    texts: pa.Array | None = None
    dictionary: NDArray[np.uint32] | None = None
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
    # of a table without time all rows are past, but a target's labels are those of its splits
    is_label = name in table.types and table.raw.time_column is None
    fit_rows, on = (table.train, "train split") if is_label else (table.fitted, table.fitted_on)
    cells = col.read_column(table.raw.source.read(name), kind, where, fit_rows)
    count = int(np.count_nonzero(cells.valid))
    valid = None if count == len(cells.valid) else _in_order(cells.valid, table.order)
    if isinstance(cells, col.Texts):
        meta = ColumnMeta(name, number, kind, 0.0, 1.0, "", 0, False, 4, valid is not None, None)
        codes = _in_order(cells.codes, table.order).astype(_place_type(len(cells.texts)))
        return Column(meta, codes, valid, count, cells.texts)
    train = _chosen(cells, table.train)
    varies = len(train) > 0 and bool(train.min() < train.max())
    if kind == "datetime":
        fitted, on = datetimes, "datetimes of rows up to val_timestamp"
    else:
        past = train if fit_rows is table.train else _chosen(cells, fit_rows)
        fitted = (col.fit_boolean if kind == "boolean" else col.fit)(past)
        del past
    del train
    mean, optional = cells.origin + fitted.mean, valid is not None
    meta = ColumnMeta(name, number, kind, mean, fitted.std, on, 0, varies, 4, optional, None)
    values = _in_order(col.standardise(cells.values, fitted), table.order)
    unfitted = fitted.count == 0 and count > 0
    column = Column(meta, values, valid, count, infinite=cells.infinite, unfitted=unfitted)
    del cells, values
    return _with_dictionary(column)


def _with_dictionary(column: Column) -> Column:
    """The column with its distinct values apart, if that takes less space."""
    # with d distinct values of n: n + 4 d bytes, or 2 n + 4 d, instead of 4 n
    limit = max(column.count // 2, min(256, column.count * 3 // 4))
    found = rustler.encode_distinct(column.values, column.valid, limit)
    if found is None:
        return column
    distinct, places = found
    places = places.astype(_place_type(len(distinct)), copy=False)
    return replace(column, values=places, dictionary=distinct)


def _place_type(size: int) -> type[np.unsignedinteger[Any]]:
    """Of places in a list of this size."""
    if size <= 1 << 8:
        return np.uint8
    return np.uint16 if size <= _MOST_DISTINCT else np.uint32


def _chosen(cells: col.Numbers, rows: Mask) -> Floats:
    mask = cells.valid & rows
    return cells.values if mask.all() else cells.values[mask]


def _in_order(array: NDArray[Any], order: Rows | None) -> NDArray[Any]:
    return array if order is None else array[order]


def number_texts(
    columns: Sequence[Column], table_names: Sequence[str], further: Sequence[str]
) -> tuple[list[Column], pa.Array, list[int]]:
    """The distinct texts in order of their numbers: column names, cells, `further` ones; and the
    numbers of the latter. The columns get the number of their name and, in place of their texts,
    the numbers of these."""
    names = [f"{c.meta.name} of {table_names[c.meta.table]}" for c in columns]
    texts = [column.texts for column in columns if column.texts is not None]
    every = pa.chunked_array(
        [pa.array(names, pa.large_string()), *texts, pa.array(further, pa.large_string())]
    )
    del texts
    chunks = every.dictionary_encode().chunks  # all share one dictionary; empty ones are left out
    codes = [np.zeros(0, np.uint32), *(chunk.indices.to_numpy() for chunk in chunks)]
    final = np.concatenate(codes).astype(np.uint32)
    distinct = chunks[0].dictionary if chunks else pa.array([], pa.large_string())
    numbered = []
    start = len(names)
    for column, name in zip(columns, final[: len(names)].tolist(), strict=True):
        numbers = None
        if column.texts is not None:
            numbers = final[start : start + len(column.texts)]
            start += len(numbers)
        named = replace(column, meta=replace(column.meta, name_text=name))
        numbered.append(_sized(named, numbers, len(distinct)))
    return numbered, distinct, final[start:].tolist()


def _sized(column: Column, numbers: Rows | None, num_texts: int) -> Column:
    """The column with the numbers of its texts if it has any, and what its cells take."""
    width, dictionary = 4, column.dictionary
    if numbers is not None:
        width = bytes_for(num_texts)
        size = bytes_for(len(numbers)) * column.count + 4 * len(numbers)
        if len(numbers) <= _MOST_DISTINCT and size <= width * column.count:
            dictionary, numbers = numbers, None
    if dictionary is not None:
        width = bytes_for(len(dictionary))
    size_of = None if dictionary is None else len(dictionary)
    meta = replace(column.meta, width=width, dictionary=size_of)
    return replace(column, meta=meta, texts=None, dictionary=dictionary, numbers=numbers)


def bytes_for(size: int) -> int:
    """Bytes that name one of so many things."""
    return next(width for width in range(5) if size <= 1 << (8 * width))
