"""A RelBench folder as the exporters see it: tables in loading order, types, batches of rows.

Arrow's many types become the few that every database has; NaN and NaT become null; a foreign key
takes the type of the key that it references, so that pandas' floats for "integer or nothing" end.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plurel.declared import DECLARED, DeclaredTable, read_declared
from plurel.errors import InputError
from plurel.manifest import MANIFEST, read_tables

_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Column:
    """A column and the Arrow type of its exported values: bool, int64, double, decimal128,
    string, binary, date32, time64[us], timestamp[us] or timestamp[us, UTC]. required: NOT NULL."""

    name: str
    type: pa.DataType
    required: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """`columns` reference `parent_columns` (a primary or unique key) of table `parent`.

    late: the parent's rows come later, since tables reference each other in a circle.
    """

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    late: bool = False


@dataclass(frozen=True)
class SourceTable:
    """One table. `unique`: keys beside the primary key; all keys are tuples of column names."""

    name: str
    path: Path
    num_rows: int
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...]
    unique: tuple[tuple[str, ...], ...] = ()

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def batches(self, levels: NDArray[np.int16] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in bounded pieces; with a level for each row, level after level.

        Raises InputError, naming the column, for values that no database type holds.
        """
        if levels is None:
            yield from self.read(self.columns)
            return
        for level in range(int(levels.max(initial=-1)) + 1):
            start = 0
            for batch in self.read(self.columns):
                chosen = levels[start : start + batch.num_rows] == level
                start += batch.num_rows
                if chosen.any():
                    yield batch.filter(pa.array(chosen))

    def read(self, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows, in the file's order, in bounded pieces."""
        names = [column.name for column in columns]
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_batch_rows(file.metadata), columns=names):
                    arrays = [self._converted(batch.column(c.name), c) for c in columns]
                    yield pa.record_batch(arrays, arrow_schema(columns))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path}: unreadable parquet file ({_line(error)})") from None

    def _converted(self, array: pa.Array, column: Column) -> pa.Array:
        kind = _plain(array.type)
        try:
            if kind != array.type:
                array = array.cast(kind)
            if pa.types.is_nested(kind):
                return pa.array([_json(value) for value in array.to_pylist()], column.type)
            if pa.types.is_floating(kind):
                array = pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
            # finer times than microseconds are cut; everything else must fit
            return array.cast(column.type, safe=not pa.types.is_timestamp(kind))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path}: column '{column.name}' can't become {column.type} ({_line(error)})"
            ) from None


@dataclass(frozen=True)
class Source:
    """A database: its name and its tables, parents before children but for late keys."""

    name: str
    tables: tuple[SourceTable, ...]

    @property
    def num_rows(self) -> int:
        return sum(table.num_rows for table in self.tables)


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The columns as an Arrow schema."""
    return pa.schema([(column.name, column.type) for column in columns])


def open_source(folder: str | Path) -> Source:
    """Open a RelBench folder; InputError names what is missing or has no place in a database."""
    folder = Path(folder)
    manifest, keys = read_tables(folder)
    opened = {}
    for name, table in keys.items():
        path = folder / "db" / f"{name}.parquet"
        schema, num_rows = _footer(path)
        table.check(name, schema.names, folder / MANIFEST, path)
        columns = tuple(Column(field.name, _exported(field, path)) for field in schema)
        own = (table.primary_key,) if table.primary_key else ()
        references = tuple(
            ForeignKey((column,), parent, (keys[parent].primary_key or "",))
            for column, parent in table.foreign_keys.items()
        )
        opened[name] = SourceTable(name, path, num_rows, columns, own, references)
    declared = read_declared(folder, list(opened))
    if declared is not None:
        opened = {name: _as_declared(t, declared[name], folder) for name, t in opened.items()}
    _distinct(opened, folder / MANIFEST)
    tables = [_with_key_types(table, opened) for table in opened.values()]
    return Source(str(manifest.get("name") or folder.name), _in_loading_order(tables))


def _as_declared(table: SourceTable, declared: DeclaredTable, folder: Path) -> SourceTable:
    """The table as SQL declares it, without the columns that stand in for composite keys."""
    names = [column.name for column in table.columns]
    declared.check(names, folder / DECLARED, table.path)
    columns = tuple(
        Column(name, table[name].type if kind is None else kind, name in declared.required)
        for name, kind in declared.types.items()
    )
    keys = tuple(ForeignKey(k.columns, k.parent, k.parent_columns) for k in declared.foreign_keys)
    return replace(
        table,
        columns=columns,
        primary_key=declared.primary_key,
        unique=declared.unique,
        foreign_keys=keys,
    )


def _footer(path: Path) -> tuple[pa.Schema, int]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the manifest names it")
    try:
        with pq.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: unreadable parquet file ({_line(error)})") from None


def _distinct(tables: dict[str, SourceTable], manifest: Path) -> None:
    """SQL names don't tell upper from lower case in SQLite and DuckDB."""
    columns = ((f"{t.path}: columns", [c.name for c in t.columns]) for t in tables.values())
    for where, names in [(f"{manifest}: tables", list(tables)), *columns]:
        seen: dict[str, str] = {}
        for name in names:
            if not name or "\0" in name:
                raise InputError(f"{where}: the name {name!r} can't stand in SQL; rename it")
            other = seen.setdefault(name.lower(), name)
            if other is not name:
                raise InputError(f"{where}: {other!r} and {name!r} are one name in SQL; rename one")


def _exported(field: pa.Field, path: Path) -> pa.DataType:
    """The type in which a column's values leave; InputError if databases have none for it."""
    kind = _plain(field.type)
    given, test = kind, pa.types
    if test.is_integer(kind):
        return pa.int64()
    if test.is_floating(kind):
        return pa.float64()
    if test.is_boolean(kind):
        return pa.bool_()
    if test.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if test.is_date(kind):
        return pa.date32()
    if test.is_time(kind):
        return pa.time64("us")
    if test.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return pa.decimal128(kind.precision, kind.scale)
    if any(t(kind) for t in (test.is_binary, test.is_large_binary, test.is_fixed_size_binary)):
        return pa.large_binary()
    texts = (test.is_string, test.is_large_string, test.is_string_view, test.is_null)
    if any(t(kind) for t in texts) or test.is_nested(kind):
        return pa.large_string()
    raise InputError(f"{path}: column '{field.name}' holds {given}; cast it to numbers or text")


def _with_key_types(table: SourceTable, tables: dict[str, SourceTable]) -> SourceTable:
    """The table with its foreign keys in the types of what they reference, if they can be."""
    types = {column.name: column.type for column in table.columns}
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    for key in table.foreign_keys:
        for name, parent_name in zip(key.columns, key.parent_columns, strict=True):
            wanted = tables[key.parent][parent_name].type
            if wanted == types[name]:
                continue
            alike = all(any(test(kind) for test in numbers) for kind in (wanted, types[name]))
            if not alike and not _is_all_null(table, name):
                raise InputError(
                    f"{table.path}: foreign key '{name}' holds {types[name]}, but the key "
                    f"'{parent_name}' of table '{key.parent}' holds {wanted}; give both one type"
                )
            types[name] = wanted
    columns = tuple(replace(column, type=types[column.name]) for column in table.columns)
    return replace(table, columns=columns)


def _is_all_null(table: SourceTable, name: str) -> bool:
    batches = table.read([table[name]])
    return all(batch.column(0).null_count == batch.num_rows for batch in batches)


def _in_loading_order(tables: list[SourceTable]) -> tuple[SourceTable, ...]:
    """Parents first, otherwise as the manifest has them. Where tables reference each other in a
    circle, the one that waits for the fewest goes first, and its keys to the others are late."""
    waiting = {table.name: table for table in tables}
    ordered = []
    while waiting:
        lacking = {
            name: {key.parent for key in table.foreign_keys} & set(waiting) - {name}
            for name, table in waiting.items()
        }
        name = min(waiting, key=lambda name: len(lacking[name]))
        table = waiting.pop(name)
        keys = tuple(replace(k, late=k.parent in lacking[name]) for k in table.foreign_keys)
        ordered.append(replace(table, foreign_keys=keys))
    return tuple(ordered)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows that take about 16 MiB, so that long texts don't fill the memory."""
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    per_row = max(sum(sizes) // max(metadata.num_rows, 1), 1)
    return min(max(_BATCH_BYTES // per_row, 64), _BATCH_ROWS)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, without extension or dictionary."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
