"""Rows that a user asks about, by their keys: which rows of the store they are, or new ones.

A task with a table of labels is asked by entity and time (a customer, today), whether or not there
is a label of both. A task that completes a column is asked by the primary key of rows that are
there, whether or not the column is.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import rustler
from plurel.errors import InputError
from plurel.nearest import nearest
from rt.asked_times import moment_of
from rt.importing.names import KEYS
from rt.keys import NO_ROW, KeyIndex
from rt.meta import StoreMeta
from rt.predictions import NewRows
from rt.raw import read_database
from rt.tasks import Task
from rt.unpack import read_arrays


class RowKeys:
    """The primary keys of rows of a store, or where a table has none their places in its file;
    `original`: the keys that they had before an import numbered them, where these are kept."""

    def __init__(self, raw: Path, store: Path, meta: StoreMeta, *, original: bool = False) -> None:
        self._raw, self._store, self._meta, self._original = raw, store, meta, original
        self._tables = {table.name: table for table in read_database(raw).tables}
        self._keys: dict[int, Sequence[Any]] = {}

    def __call__(self, table: int, row: int) -> Any:
        """The key of a row of a table (its number); of several parts with commas between them."""
        first, end = self._meta.tables[table].rows
        if not first <= row < end:
            return "asked for"
        if table not in self._keys:
            self._keys[table] = self._read(table, first, end)
        return self._keys[table][row - first]

    def _read(self, table: int, first: int, end: int) -> Sequence[Any]:
        source = read_arrays(self._store)["row_source"][first:end]
        name = self._meta.tables[table].name
        raw = self._tables.get(name)
        if self._meta.tables[table].kind != "database" or raw is None or raw.primary_key is None:
            return list(source)
        kept = self._raw / KEYS / f"{name}.parquet"
        if not self._original or not kept.is_file():
            return pd.Series(raw.source.read(raw.primary_key).to_pandas()).iloc[source].tolist()
        keys = source_keys(kept, end - first).take(source).to_pandas()
        if len(keys.columns) == 1:
            return keys.iloc[:, 0].tolist()
        return [",".join(map(str, parts)) for parts in keys.itertuples(index=False)]


SOURCE_KEY = "original"
"""Says, in the place of a column, that rows are named by the keys of the source."""


def source_keys(kept: Path, num_rows: int) -> pa.Table:
    """The keys that the rows of a table had in the source, in the order of its file, a column each
    part; InputError where they are not of so many rows."""
    keys = pq.read_table(kept)
    if keys.num_rows != num_rows:
        raise InputError(
            f"{kept}: {keys.num_rows} keys for {num_rows} rows; import the database again"
        )
    return keys


class Entities:
    """The rows of a database table by their primary key, by another column of unique values, or by
    the keys that they had before an import numbered them (`original`).

    column: None for either of the first and the last, where their types tell which: the source's
    keys are texts and the numbers are numbers.
    """

    def __init__(
        self, raw: Path, store: Path, meta: StoreMeta, table: str, column: str | None = None
    ) -> None:
        self.table = table
        raw_table = next(t for t in read_database(raw).tables if t.name == table)
        names, primary = raw_table.source.schema.names, raw_table.primary_key
        kept = raw / KEYS / f"{table}.parquet"
        original = column == SOURCE_KEY and SOURCE_KEY not in names
        if original and not kept.is_file():
            raise InputError(f"{kept} is missing: name rows of {table} by {primary or 'position'}")
        if column is not None and not original and column not in names:
            hint = nearest(column, [*names, SOURCE_KEY])
            hint = f": did you mean '{hint}'?" if hint else f", only {', '.join(names)}"
            raise InputError(f"{table}: no column '{column}' to name rows by{hint}")
        self.key = primary if column is None or original else column
        first, end = meta.tables[meta.table(table)].rows
        source = read_arrays(store)["row_source"][first:end]
        rows = np.empty(end - first, np.uint32)
        rows[source] = np.arange(first, end, dtype=np.uint32)
        self._original, self._parts = None, ""
        if kept.is_file() and (column is None or original):
            keys = source_keys(kept, len(rows))
            if keys.num_columns == 1:
                self._original = KeyIndex(keys.column(0), rows, str(kept))
            else:  # `rt.parted_keys` finds these
                self._parts = ", ".join(keys.column_names)
        self._only_original = original
        where = f"{raw}: {table}.{self.key or 'position'}"
        if self.key is None:
            keys = pa.chunked_array([np.arange(end - first)])
        else:
            keys = raw_table.source.read(self.key)
            if self.key != primary:
                there = np.asarray(keys.is_valid())
                keys, rows = keys.drop_null(), rows[there]
                _check_names(keys, f"{table}.{self.key}")
        self._index = KeyIndex(keys, rows, where)

    def typed(self, keys: "pd.Series[Any]") -> "pd.Series[Any]":
        """Texts as whole numbers where the table's keys are such: command lines and CSV files don't
        tell them apart. Other keys as they are. InputError for numbers that may be those of the
        import or keys of the source."""
        texts = pd.api.types.infer_dtype(keys, skipna=False) == "string"
        of_source = None if self._original is None else self._original.kind
        if texts and of_source not in (None, "integer"):
            return keys
        kind = of_source if self._only_original else self._index.kind
        if kind == "integer" and texts and keys.str.fullmatch(r"-?[0-9]+").all():
            keys = keys.map(int)
        if of_source == "integer" and not self._only_original and len(keys):
            raise InputError(
                f"{self.table}: {keys.iloc[0]} may be the key of a row in the source or the number "
                f"that the import gave one: say which, key={SOURCE_KEY} or key={self.key} (--key)"
            )
        return keys

    def rows(self, keys: Iterable[Any]) -> NDArray[np.uint32]:
        """The store rows of these keys; InputError that names the first one that is not there."""
        try:
            values = pa.chunked_array([pa.array(list(keys), from_pandas=True)])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise InputError(
                f"{self.table}: keys of several types, or too large ({error})"
            ) from None
        index, called = self._index, self.key or "position"
        texts = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        if self._original is not None and (self._only_original or texts):
            index, called = self._original, f"{called} of the source"
        elif texts and self._parts and index.kind == "integer":
            raise InputError(
                f"{self.table}: {values[0].as_py()!r} is no number that the import gave a row; to "
                f"name rows by {self._parts}, as the source does, say key={SOURCE_KEY}"
            )
        found = index.find(values, f"the keys of {self.table}").rows
        missing = np.flatnonzero(found == NO_ROW)
        if len(missing):
            key = values[int(missing[0])].as_py()
            counted = f" ({len(missing)} of {len(found)} keys are not there)"
            raise InputError(
                f"{self.table}: no row has the {called} {key!r}"
                + (counted if len(found) > 1 else "")
                + (self._as_number(key) if index is self._original else "")
            )
        return found

    def _as_number(self, key: Any) -> str:
        """What to do where a key that the source lacks may be a number that the import gave."""
        number = isinstance(key, str) and key.isdecimal() and self._index.kind == "integer"
        if self._only_original or not number:
            return ""
        return f"; to name rows by the numbers of the import say key={self.key} (--key {self.key})"


def _check_names(keys: pa.ChunkedArray, where: str) -> None:
    """InputError for a column whose values do not tell rows apart."""
    values = pd.Series(keys.to_pandas())
    twice = values[values.duplicated()]
    if len(twice):
        count = int((values == twice.iloc[0]).sum())
        raise InputError(
            f"{where} is not unique: {twice.iloc[0]} stands in {count} rows; name rows by another "
            "column"
        )


def new_rows(
    meta: StoreMeta, task: Task, entity: NDArray[np.uint32], time: NDArray[np.int64]
) -> NewRows:
    """New label rows of a task: entities and times in seconds."""
    name = meta.tables[task.table].time_column
    if name is None:
        none = np.full(len(entity), rustler.NO_TIME)
        return NewRows(entity, none, np.full(len(entity), np.nan, np.float32))
    column = meta.columns[meta.column(task.table, name)]
    value = ((time - column.mean) / column.std).clip(-meta.z_clip, meta.z_clip)
    return NewRows(entity, time, value.astype(np.float32))


def frame_of(
    rows: Any, task: Task, time_column: str | None, at: Any, keys: Sequence[str]
) -> pd.DataFrame:
    """What is asked as a frame of keys and, where the task has times, times. rows: a frame with the
    columns of keys and maybe that of times, or a list of keys; at: the time of all.

    Raises InputError for columns that are missing or say nothing, and for times given twice.
    """
    if not isinstance(rows, pd.DataFrame):
        (key,) = keys
        rows = pd.DataFrame(
            {key: list(rows) if np.iterable(rows) and not isinstance(rows, str) else [rows]}
        )
    for key in keys:
        if key not in rows:
            near = nearest(key, [str(column) for column in rows.columns if column not in keys])
            raise InputError(
                f"task {task.name}: the rows asked for have no column '{key}'"
                + (f": rename '{near}'" if near else f", only {', '.join(map(str, rows.columns))}")
            )
    _check_columns(rows, task, keys, time_column)
    found = rows[list(keys)].reset_index(drop=True)
    if time_column is None:
        return found
    if time_column in keys:
        raise InputError(f"task {task.name}: '{time_column}' is its time and names rows as well")
    if time_column in rows:
        if at is not None:
            raise InputError(
                f"task {task.name}: the rows asked for have times of their own, '{time_column}': "
                "leave out at (--at), or the column"
            )
        found[time_column] = rows[time_column].to_numpy()
    else:
        found[time_column] = moment_of(at, f"task {task.name}: at") if isinstance(at, str) else at
    return found


def _check_columns(
    rows: pd.DataFrame, task: Task, keys: Sequence[str], time_column: str | None
) -> None:
    """InputError for columns that would not be read: a time of another name was left out of
    account."""
    unknown = [f"'{column}'" for column in rows if column not in (*keys, time_column)]
    if unknown:
        named = ", ".join(f"'{key}'" for key in keys)
        times = f", and '{time_column}' if times differ" if time_column else ""
        raise InputError(
            f"task {task.name}: {', '.join(unknown)} of the rows asked for would not be read: "
            f"their columns are {named}{times}; rename or leave out others"
        )
