"""Keys checked before anything is written: unique, never null, every reference resolved.

DuckDB joins the key columns alone, in a temporary file, so that memory stays bounded.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plurel.errors import InputError
from plurel.export_source import ForeignKey, Source, SourceTable, arrow_schema

_MAX_LEVELS = 64
_LIMITS: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "512MB"
}  # joins of more go to the disk

Levels = NDArray[np.int16]


@dataclass(frozen=True)
class SelfReferences:
    """A table's keys to itself. levels: an order of rows, parents on lower levels, for those of
    the keys that have one; None if every order does. circular: the keys that have none."""

    levels: Levels | None = None
    circular: tuple[ForeignKey, ...] = ()


def all_circular(table: SourceTable) -> SelfReferences:
    """For rows that come in one statement, in whatever order: none of the keys has a level."""
    own = tuple(key for key in table.foreign_keys if key.parent == table.name)
    return SelfReferences(None, own)


def check_keys(source: Source) -> dict[str, SelfReferences]:
    """What each table's keys to itself look like; InputError for the first key that is broken.

    It names the table, the column and the smallest such value.
    """
    with _key_tables(source) as connection:
        for table in source.tables:
            for key in (table.primary_key, *table.unique):
                if key:
                    _check_unique(connection, table, key, primary=key is table.primary_key)
        for table in source.tables:
            for reference in table.foreign_keys:
                _check_references(connection, table, reference)
        return {table.name: _self_references(connection, table) for table in source.tables}


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _key_tables(source: Source) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of the key columns of all tables."""
    with (
        tempfile.TemporaryDirectory(prefix="plurel-keys-") as folder,
        duckdb.connect(Path(folder) / "keys.duckdb", config=_LIMITS) as connection,
    ):
        for table in source.tables:
            keys = (table.primary_key, *table.unique, *(k.columns for k in table.foreign_keys))
            names = dict.fromkeys(name for key in keys for name in key)
            if not names:
                continue
            columns = [table[name] for name in names]
            _fill(connection, table, arrow_schema(columns).empty_table(), new=True)
            for batch in table.read(columns):
                _fill(connection, table, batch)
        yield connection


def _fill(
    connection: duckdb.DuckDBPyConnection,
    table: SourceTable,
    keys: pa.Table | pa.RecordBatch,
    *,
    new: bool = False,
) -> None:
    connection.register("rows", keys)
    name = _table(table.name)
    columns = ", ".join(f"{quoted(key)} AS {_column(key)}" for key in keys.schema.names)
    into = f"CREATE TABLE {name} AS" if new else f"INSERT INTO {name}"
    connection.execute(f"{into} SELECT {columns} FROM rows")
    connection.unregister("rows")


def _table(name: str) -> str:
    return quoted(f"keys of {name}")


def _column(name: str) -> str:
    """Under another name, since a column may be called rowid, as DuckDB numbers rows."""
    return quoted(f"key {name}")


def _check_unique(
    connection: duckdb.DuckDBPyConnection, table: SourceTable, key: Sequence[str], *, primary: bool
) -> None:
    columns = ", ".join(map(_column, key))
    what = f"{table.path}: {'primary' if primary else 'unique'} key '{', '.join(key)}'"
    name = _table(table.name)
    nulls = " OR ".join(f"{_column(column)} IS NULL" for column in key)
    count = connection.execute(f"SELECT count(*) FROM {name} WHERE {nulls}").fetchall()[0][0]
    if primary and count:
        raise InputError(f"{what} is null in {count} rows; fill or drop them")
    present = " AND ".join(f"{_column(column)} IS NOT NULL" for column in key)
    twice = connection.execute(
        f"SELECT {columns}, count(*) FROM {name} WHERE {present} "
        "GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    ).fetchall()
    if twice:
        *values, times = twice[0]
        raise InputError(f"{what}: {_shown(values)} occurs {times} times; make keys unique")


def _check_references(
    connection: duckdb.DuckDBPyConnection, table: SourceTable, key: ForeignKey
) -> None:
    columns = ", ".join(f"c.{_column(column)}" for column in key.columns)
    present = " AND ".join(f"c.{_column(column)} IS NOT NULL" for column in key.columns)
    dangling = connection.execute(
        f"SELECT {columns}, count(*) FROM {_table(table.name)} c "
        f"ANTI JOIN {_table(key.parent)} p ON {_equal(key)} "
        f"WHERE {present} GROUP BY ALL ORDER BY ALL"
    ).fetchmany(2)
    if dangling:
        *values, rows = dangling[0]
        more = "" if len(dangling) == 1 else " and so do other keys"
        raise InputError(
            f"{table.path}: '{', '.join(key.columns)}' of table '{table.name}' is {_shown(values)} "
            f"in {rows} rows, which '{', '.join(key.parent_columns)}' of table '{key.parent}' "
            f"lacks{more}; drop those rows or set the key to null"
        )


def _self_references(connection: duckdb.DuckDBPyConnection, table: SourceTable) -> SelfReferences:
    """Keys are taken one after the other as long as parents can stand on lower levels."""
    taken: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    levels, circular = None, []
    for key in (key for key in table.foreign_keys if key.parent == table.name):
        name = _table(table.name)
        found = connection.execute(
            f"SELECT c.rowid AS child, p.rowid AS parent FROM {name} c "
            f"JOIN {name} p ON {_equal(key)}"
        ).fetchnumpy()
        edges = (np.asarray(found["child"]), np.asarray(found["parent"]))
        new_levels = _levels([*taken, edges], table.num_rows)
        if new_levels is None:
            circular.append(key)
        else:
            taken.append(edges)
            levels = new_levels
    return SelfReferences(levels, tuple(circular))


def _levels(
    edges: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], num_rows: int
) -> Levels | None:
    """The longest way up from each row; None if it is longer than 64 or goes in a circle."""
    levels = np.zeros(num_rows, np.int16)
    for _ in range(_MAX_LEVELS):
        before = levels.copy()
        for child, parent in edges:  # a row occurs once among the children of a key
            levels[child] = np.maximum(levels[child], levels[parent] + 1)
        if np.array_equal(levels, before):
            return levels
    return None


def _equal(key: ForeignKey) -> str:
    pairs = zip(key.columns, key.parent_columns, strict=True)
    return " AND ".join(f"c.{_column(column)} = p.{_column(parent)}" for column, parent in pairs)


def _shown(values: Sequence[object]) -> str:
    return ", ".join(map(repr, values)) if len(values) != 1 else repr(values[0])
