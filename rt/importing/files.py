"""A folder of CSV and Parquet files, or one such file: a table each, without declared keys.

A CSV file has a header; its delimiter (comma, semicolon, tab or bar) is read off it, its types off
all of its rows. An empty field is null. Codes with leading zeros stay text.
"""

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from plurel.errors import InputError
from rt.importing.duck import arriving, connect, line, stream, text_literal
from rt.importing.tables import SourceTable

_CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_PARQUET = (".parquet", ".pq")
SUFFIXES = (*_CSV, *_PARQUET)


def table_name(path: Path) -> str | None:
    """The table that a file holds by its name; None for other files."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and not path.name.startswith("."):
            return path.name[: -len(suffix)] or None
    return None


class FileSource:
    """The files of a folder. nulls: texts in CSV files that mean null, beside nothing at all."""

    def __init__(self, path: Path, nulls: Sequence[str] = ()) -> None:
        self.label = str(path)
        self._nulls = ["", *nulls]
        self._files = self._found(path)
        self._connection = connect()
        self._sql: dict[str, str] = {}

    @staticmethod
    def _found(path: Path) -> dict[str, Path]:
        files: dict[str, Path] = {}
        seen: dict[str, Path] = {}
        for file in [path] if path.is_file() else sorted(path.iterdir()):
            name = table_name(file) if file.is_file() else None
            if name is None:
                continue
            other = seen.setdefault(name.lower(), file)
            if other != file:
                raise InputError(
                    f"{other} and {file.name} are both table {name!r}; rename or move away one"
                )
            files[name] = file
        if not files:
            endings = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
            raise InputError(f"{path}: holds no tables; files {endings} are read")
        return files

    def tables(self) -> list[SourceTable]:
        return [
            self._parquet(name, path) if path.suffix.lower() in _PARQUET else self._csv(name, path)
            for name, path in self._files.items()
        ]

    def _parquet(self, name: str, path: Path) -> SourceTable:
        try:
            with pq.ParquetFile(path) as file:
                names, num_rows = file.schema_arrow.names, file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{path}: not a Parquet file ({line(error)}); write it again"
            ) from None
        return self._table(name, path, names, f"read_parquet({text_literal(path)})", num_rows)

    def _csv(self, name: str, path: Path) -> SourceTable:
        names, delimiter = _header(path)
        nulls = ", ".join(text_literal(null) for null in self._nulls)
        options = (
            f"{text_literal(path)}, delim = {text_literal(delimiter)}, header = true, skip = 0, "
            f"""quote = '"', escape = '"', comment = '', nullstr = [{nulls}], """
            "null_padding = false, strict_mode = true"
        )
        reader = f"read_csv({options}, sample_size = -1)"
        try:
            table = self._table(name, path, names, reader, None)
        except duckdb.Error as error:
            # read as texts, the file says in which line it goes wrong
            texts = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names)))
            self._count(f"read_csv({options}, auto_detect = false, columns = {{{texts}}})", path)
            raise _broken(path, error) from None
        return replace(table, num_rows=self._count(reader, path))

    def _count(self, reader: str, path: Path) -> int:
        """The rows of a file, all of which are looked at."""
        try:
            return int(self._connection.execute(f"SELECT count(*) FROM {reader}").fetchall()[0][0])
        except duckdb.Error as error:
            raise _broken(path, error) from None

    def _table(
        self, name: str, path: Path, names: list[str], reader: str, num_rows: int | None
    ) -> SourceTable:
        """The columns go by position: names may differ by case alone, which SQL does not tell."""
        if len(set(names)) < len(names):
            twice = next(column for column in names if names.count(column) > 1)
            raise InputError(f"{path}: two columns are called {twice!r}; rename one")
        aliases = ", ".join(f"c{i}" for i in range(len(names)))
        rows = f"{reader} AS rows({aliases})"
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()
        if len(described) != len(names):
            raise InputError(
                f"{path}: the header names {len(names)} columns, the rows have {len(described)}"
            )
        made = [
            arriving(column, row[1], f"c{i}")
            for i, (column, row) in enumerate(zip(names, described, strict=True))
        ]
        expressions = ", ".join(f"{sql} AS c{i}" for i, (_, sql) in enumerate(made))
        self._sql[name] = f"SELECT {expressions} FROM {rows}"
        return SourceTable(name, tuple(column for column, _ in made), num_rows=num_rows)

    def batches(self, table: SourceTable) -> Iterator[pa.RecordBatch]:
        try:
            yield from stream(self._connection, self._sql[table.name])
        except (duckdb.Error, pa.ArrowException) as error:
            raise _broken(self._files[table.name], error) from None

    def close(self) -> None:
        self._connection.close()


def _header(path: Path) -> tuple[list[str], str]:
    """The column names of a CSV file and its delimiter."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            start = file.readline()
            while start.count('"') % 2 and len(start) < 1 << 20:  # a name that holds a line break
                following = file.readline()
                if not following:
                    break
                start += following
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8; write it again in that encoding") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from None
    if not start.strip():
        raise InputError(f"{path}: is empty; a CSV file starts with a line of column names")
    delimiter = max(",;\t|", key=lambda mark: (len(next(csv.reader([start], delimiter=mark))),))
    names = next(csv.reader([start], delimiter=delimiter))
    return [name.strip() or f"column{i}" for i, name in enumerate(names)], delimiter


def _broken(path: Path, error: Exception) -> InputError:
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    where = next((x.partition(":")[2].strip() for x in lines if "Error on Line" in x), "")
    what = next((x for x in lines if x.startswith(("Expected", "Invalid unicode", "Value"))), "")
    if "Error on Line" in lines[0]:
        where = lines[0].rpartition(":")[2].strip()
    reason = f"line {where}: {what or 'is broken'}" if where else line(error)
    return InputError(f"{path}: {reason}; mend the file")
