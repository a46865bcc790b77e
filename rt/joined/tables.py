"""A database as arrays: times, foreign keys as row numbers, and columns as numbers.

A text becomes a number that depends on the text alone, so that no other row decides how a cell is
written. What is decided from data (which texts are categories, which values are frequent, which
columns are constant) is decided by the rows up to the validation timestamp and those without time.
"""

import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Kind = Literal["number", "category", "time"]

NO_TIME = np.iinfo(np.int64).min
"""The time of a row that has none: before every bound."""
MICROSECONDS = 10**6
"""Of a second: times are i64 microseconds since 1970 UTC."""
MAX_CATEGORIES = 200
"""A text column with more different values in the rows that decide is read as its length, and so is
one of whose different texts half occur once: such texts name rows."""
MAX_COUNTED_INTEGERS = 30
"""An integer column with at most so many values is described by their shares too."""
NUM_FREQUENT = 4
"""Values of a column whose shares are features."""


@dataclass(frozen=True)
class Column:
    """A column of N cells, f64[N], NaN for null: a number, a time in microseconds, or a category's
    identity (24 bits of its text's hash). frequent: the values whose shares are features. late: a
    leaking column, whose cells are known only when the label of their row is."""

    name: str
    kind: Kind
    values: Floats
    frequent: tuple[float, ...] = ()
    late: bool = False


@dataclass(frozen=True)
class JoinTable:
    """time: i64[N] microseconds or NO_TIME; keys: per foreign key the table it refers to and the
    row numbers there, -1 for null."""

    name: str
    time: Ints
    keys: dict[str, tuple[str, Ints]]
    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.time)


def read_tables(
    dataset: Any, *, target: tuple[str, str] | None, leaking: Collection[tuple[str, str]]
) -> dict[str, JoinTable]:
    """The tables of a relbench dataset, without the target column and keys as numbers.

    target: (table, column) of an autocomplete task, which its label tables hold. leaking: the
    (table, column) pairs that the task removes; those of tables without a time are left out, and
    a foreign key among them leads nowhere.
    """
    database = dataset.make_db()
    decided_by = int(microseconds(pd.Series([dataset.val_timestamp]))[0])
    tables = {}
    for name, table in database.table_dict.items():
        frame = table.df
        time = np.full(len(frame), NO_TIME)
        if table.time_col is not None:
            time = microseconds(frame[table.time_col], upwards=True)
        keys = {
            column: (parent, _row_numbers(frame[column], len(database.table_dict[parent].df)))
            for column, parent in table.fkey_col_to_pkey_table.items()
            if (name, column) not in leaking
        }
        skipped = {table.pkey_col, table.time_col, *table.fkey_col_to_pkey_table}
        columns = []
        for column in frame.columns:
            late = (name, column) in leaking
            if column in skipped or (late and table.time_col is None):
                continue
            made = make_column(str(column), frame[column], time <= decided_by, late=late)
            if made is not None:
                columns.append(made)
        tables[name] = JoinTable(name, time, keys, tuple(columns))
    return tables if target is None else without_column(tables, *target)


def without_column(tables: dict[str, JoinTable], table: str, column: str) -> dict[str, JoinTable]:
    """The same tables, one of them without one column."""
    kept = tuple(each for each in tables[table].columns if each.name != column)
    return tables | {table: replace(tables[table], columns=kept)}


def make_column(
    name: str, cells: pd.Series, deciding: NDArray[np.bool_], *, late: bool = False
) -> Column | None:
    """A column from its cells; None where its deciding cells are all null or all equal, and for
    types that are not numbers, truth values, times or texts."""
    kind, values = _as_numbers(cells, deciding)
    if kind is None or not values.size:
        return None
    seen = values[deciding & ~np.isnan(values)]
    different, counts = np.unique(seen, return_counts=True)
    if len(different) < (1 if np.isnan(values[deciding]).any() else 2):
        return None
    counted = kind == "category" or (
        kind == "number"
        and 2 < len(different) <= MAX_COUNTED_INTEGERS
        and bool((different == np.floor(different)).all())
    )
    frequent: tuple[float, ...] = ()
    if counted:
        order = np.lexsort((different, -counts))[:NUM_FREQUENT]
        frequent = tuple(float(value) for value in different[order])
    return Column(name, kind, values, frequent, late)


def microseconds(column: pd.Series, *, upwards: bool = False) -> Ints:
    """i64[N]: times in microseconds, NO_TIME for null; finer ones are cut, or, where a row must not
    be seen too early, rounded upwards."""
    times = column.to_numpy()
    if times.dtype == np.dtype("datetime64[ns]"):
        whole = times.astype("datetime64[us]").astype(np.int64)
        if upwards:
            whole += times.astype(np.int64) % 1000 != 0
    else:
        whole = times.astype("datetime64[us]").astype(np.int64)
    return np.where(np.isnat(times), NO_TIME, whole)


def _as_numbers(cells: pd.Series, deciding: NDArray[np.bool_]) -> tuple[Kind | None, Floats]:
    nothing = np.zeros(0)
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        cells = cells.dt.tz_convert(None)
    if pd.api.types.is_datetime64_dtype(cells):
        times = microseconds(cells)
        return "time", np.where(times == NO_TIME, np.nan, times.astype(np.float64))
    if pd.api.types.is_timedelta64_dtype(cells):
        return "number", cells.dt.total_seconds().to_numpy(dtype=np.float64)
    if pd.api.types.is_bool_dtype(cells) or pd.api.types.is_numeric_dtype(cells):
        return "number", _finite(cells)
    kinds = {type(value) for value in cells.dropna()}
    if kinds and kinds <= {bool, np.bool_}:
        return "number", _finite(cells.astype("boolean"))
    if kinds == {str}:
        return _as_category(cells, deciding)
    return None, nothing


def _as_category(cells: pd.Series, deciding: NDArray[np.bool_]) -> tuple[Kind, Floats]:
    counts = cells[deciding].value_counts().to_numpy()
    if len(counts) > MAX_CATEGORIES or (len(counts) and np.median(counts) < 2):
        return "number", np.asarray(cells.str.len(), dtype=np.float64)
    numbers, texts = pd.factorize(cells)
    identity = np.array([zlib.crc32(text.encode()) & 0xFFFFFF for text in texts], dtype=np.float64)
    return "category", np.append(identity, np.nan)[numbers]


def _finite(cells: pd.Series) -> Floats:
    values = cells.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _row_numbers(cells: pd.Series, num_rows: int) -> Ints:
    """Foreign keys as row numbers (RelBench's contract), -1 for null and for keys of no row."""
    rows: Ints = cells.astype("Float64").fillna(-1).to_numpy().astype(np.int64)
    return np.where((rows >= 0) & (rows < num_rows), rows, -1)
