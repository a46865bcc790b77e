"""Reading a raw (RelBench 3) folder: manifests, checked, and tables whose columns are read singly.

The format is RelBench's (`manifest.yaml`, `db/<table>.parquet`, `tasks/<task>/manifest.yaml`); it
is read here without importing relbench, whose import takes seconds.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plurel.errors import InputError
from plurel.manifest import MANIFEST, TableKeys, read_tables
from rt.work import default_threads

_BLOCK_ROWS = 1 << 16


class Source(Protocol):
    """Rows that are read one column at a time."""

    @property
    def label(self) -> str:
        """The file or table, for messages."""

    @property
    def num_rows(self) -> int: ...
    @property
    def schema(self) -> pa.Schema: ...
    def read(self, column: str) -> pa.ChunkedArray:
        """One column; strings may come dictionary-encoded."""


class ParquetSource:
    """A parquet file; opening checks that it can be read and that its column names differ."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; the manifest names it")
        try:
            schema = pq.read_schema(path)
            texts = [field.name for field in schema if _is_text(field.type)]
            # Repeated strings are kept once from the file to the store.
            with pq.ParquetFile(path, read_dictionary=texts) as file:
                schema, self._metadata = file.schema_arrow, file.metadata
                self._intervals = _interval_columns(file.schema)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{path}: unreadable parquet file ({_line(error)}); write it again"
            ) from None
        self.schema: pa.Schema = pa.schema(
            [
                pa.field(field.name, pa.duration("ms")) if field.name in self._intervals else field
                for field in schema
            ]
        )
        self._texts = texts
        self.num_rows: int = self._metadata.num_rows
        if len(set(self.schema.names)) < len(self.schema.names):
            raise InputError(f"{path}: two columns have the same name; rename one")

    def read(self, column: str) -> pa.ChunkedArray:
        """Several threads may read at a time: each opens the file for itself."""
        try:
            with pq.ParquetFile(
                self.path, metadata=self._metadata, read_dictionary=self._texts
            ) as file:
                array = file.read(columns=[column], use_threads=False).column(column)
            pa.default_memory_pool().release_unused()  # what the last columns were read with
            return _durations(array) if column in self._intervals else array
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{self.path}: column '{column}' is unreadable ({_line(error)}); "
                "write the file again"
            ) from None


class MemorySource:
    """A table in memory (labels that relbench has computed)."""

    def __init__(self, label: str, table: pa.Table) -> None:
        self.label = label
        self.table = table
        self.num_rows: int = table.num_rows
        self.schema: pa.Schema = table.schema

    def read(self, column: str) -> pa.ChunkedArray:
        return self.table.column(column)


@dataclass(frozen=True)
class RawTable:
    """One table of the manifest, its parquet file open."""

    name: str
    source: Source
    primary_key: str | None
    time_column: str | None
    foreign_keys: dict[str, str]

    @property
    def features(self) -> list[str]:
        """The columns that become cells: all but keys, in the file's order."""
        keys = {self.primary_key, *self.foreign_keys}
        return [name for name in self.source.schema.names if name not in keys]


@dataclass(frozen=True)
class RawDatabase:
    """manifest.yaml. Timestamps in seconds since 1970 UTC."""

    folder: Path
    name: str
    val_timestamp: int
    test_timestamp: int
    tables: tuple[RawTable, ...]


def read_database(folder: Path) -> RawDatabase:
    """Open a raw folder; InputError names what is missing or does not fit together."""
    manifest, keys = read_tables(folder)
    path = folder / MANIFEST
    val, test = (timestamp(manifest, key, path) for key in ("val_timestamp", "test_timestamp"))
    name = manifest.get("name")
    if isinstance(name, list | dict):
        raise InputError(f"{path}: name is {name!r}; write one text")
    if val > test:
        raise InputError(f"{path}: val_timestamp lies after test_timestamp; swap them")
    tables = tuple(_read_table(folder, table, of_it, path) for table, of_it in keys.items())
    return RawDatabase(folder, str(name or folder.name), val, test, tables)


def _read_table(folder: Path, name: str, keys: TableKeys, path: Path) -> RawTable:
    source = ParquetSource(folder / "db" / f"{name}.parquet")
    keys.check(name, source.schema.names, path, source.label)
    return RawTable(name, source, keys.primary_key, keys.time_column, keys.foreign_keys)


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """InputErrors inside name the database's folder: that of one database among many."""
    try:
        yield
    except InputError as error:
        if str(folder) in str(error):
            raise
        raise InputError(f"{folder}: {error}") from None


def input_hash(folder: Path) -> str:
    """A hash of the names and the content of all files that are read."""
    patterns = ("manifest.yaml", "db/*.parquet", "tasks/*/manifest.yaml", "tasks/*/*.parquet")
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    digest = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor(default_threads()) as pool:
        for path, content in zip(paths, pool.map(_file_hash, paths), strict=True):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + content)
    return digest.hexdigest()


def _file_hash(path: Path) -> bytes:
    try:
        at = path.stat()
        return _content_hash(path, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)
    except OSError as error:
        raise InputError(f"{path}: unreadable ({error.strerror}); write it again") from None


@cache
def _content_hash(path: Path, *version: int) -> bytes:
    """The hash of a file, read once for each `version` of it: a run trains on a database and scores
    it, and a sweep does so many times."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def timestamp(manifest: dict[str, Any], key: str, path: Path) -> int:
    """A manifest's timestamp in seconds; without a zone it is UTC; fractions are cut off."""
    value = manifest.get(key)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        moment = _as_pandas_reads(value, f"{path}: {key}")
    offset = moment.utcoffset() or timedelta(0)
    try:
        moment = moment.replace(tzinfo=None) - offset
    except OverflowError:
        raise InputError(
            f"{path}: {key} is {str(value)!r}, in UTC outside the years 1 to 9999; write a date "
            "such as 2005-01-31"
        ) from None
    return int(np.datetime64(moment, "s").astype(np.int64))


def _as_pandas_reads(value: Any, where: str) -> datetime:
    """A date in another form than ISO 8601, as RelBench takes it."""
    import pandas as pd  # only here: its import takes a second

    try:
        if not isinstance(value, str) or not any(letter.isdigit() for letter in str(value)):
            raise ValueError("no date")
        return pd.Timestamp(value).to_pydatetime(warn=False)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{where} is {value!r}; write a date such as 2005-01-31") from None


def _interval_columns(schema: pq.ParquetSchema) -> set[str]:
    columns = map(schema.column, range(len(schema)))
    return {column.path for column in columns if column.converted_type == "INTERVAL"}


def _durations(intervals: pa.ChunkedArray) -> pa.ChunkedArray:
    """Parquet's intervals, which Arrow hands out as 12 bytes (months, days, milliseconds). A month
    has 30 days and twelve have 365.25, as in PostgreSQL."""
    chunks = []
    for chunk in (chunk for _, block in blocks(intervals) for chunk in block.chunks):
        size = len(chunk)
        raw = np.frombuffer(chunk.buffers()[1], "<u4")[3 * chunk.offset :][: 3 * size]
        months, days, rest = raw.reshape(size, 3).astype(np.int32).astype(np.int64).T
        years, months = np.divmod(months, 12)
        value = years * 31_557_600_000 + (months * 30 + days) * 86_400_000 + rest
        null = np.asarray(chunk.is_null())
        chunks.append(pa.array(np.where(null, 0, value), pa.duration("ms"), mask=null))
    return pa.chunked_array(chunks, pa.duration("ms"))


def row_blocks(num_rows: int) -> Iterator[slice]:
    """Rows in blocks: what is computed from one stays in the cache."""
    for start in range(0, num_rows, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, num_rows))


def blocks(array: pa.ChunkedArray) -> Iterator[tuple[slice, pa.ChunkedArray]]:
    """The blocks of an array, and where they stand."""
    for rows in row_blocks(len(array)):
        yield rows, array.slice(rows.start, rows.stop - rows.start)


def plain(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """The array without dictionary encoding or extension type."""
    if is_bool8(array.type):
        return array.cast(pa.int8()).cast(pa.bool_())
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.cast(array.type.storage_type)
    if pa.types.is_dictionary(array.type):
        return array.cast(array.type.value_type)
    return array


def is_bool8(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds booleans as bytes."""
    return getattr(kind, "extension_name", None) == "arrow.bool8"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
