"""The rows of an import on disk, and what can be asked about them in bounded memory.

Each table is a Parquet file whose columns are called c0, c1, ... by position, so that no name of
the source stands in a query. DuckDB answers, with a limit to its memory; beyond it, it uses files.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plurel.errors import InputError
from rt.importing.duck import connect, line, text_literal
from rt.importing.pieces import PieceWriter
from rt.importing.tables import BATCH_ROWS, MOMENT, Column, SourceTable
from rt.importing.values import moments

Progress = Callable[[int], object]
_MakeTimes = Callable[[pa.Array], pa.Array | None]


@dataclass(frozen=True)
class Inclusion:
    """How the values of some columns meet those of others. rows: with a value; matching: of these,
    the ones whose value is there; values, found: distinct ones, and those that are there."""

    rows: int
    matching: int
    values: int
    found: int

    @property
    def share(self) -> float:
        """Of the rows with a value, those that match; 1 if there are none."""
        return self.matching / self.rows if self.rows else 1.0


class Staging:
    """Tables below `folder`. Raises InputError where DuckDB runs out of memory or disk."""

    def __init__(self, folder: Path, memory: str = "1GB") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._connection = connect(folder, memory)
        # rows are numbered, and sorted where their order counts: less is kept in memory
        self._connection.execute("SET preserve_insertion_order = false")
        self.tables: dict[str, SourceTable] = {}
        self.num_rows: dict[str, int] = {}
        self._unique: dict[tuple[str, tuple[str, ...]], bool] = {}
        self._facts: dict[str, list[tuple[Any, ...]]] = {}
        self._sets: dict[tuple[str, tuple[str, ...]], str] = {}
        self._files: dict[str, Path] = {}
        self.counts: dict[tuple[str, str], int] = {}
        """Columns whose values counted since 1970, with the microseconds in what they counted."""

    def add(
        self, table: SourceTable, batches: Iterable[pa.RecordBatch], progress: Progress
    ) -> None:
        """Write the rows of a table; `progress` is told how many have come. Columns of texts that
        are dates throughout become times, whatever the source."""
        schema = _schema(table)
        self.tables[table.name] = table
        num_rows, dates = 0, _Dates(table.columns)
        with PieceWriter(self._path(table.name), schema) as writer:
            for batch in batches:
                dates.look(batch)
                writer.write(_without_nan(batch, schema))
                num_rows += batch.num_rows
                progress(batch.num_rows)
        self.num_rows[table.name] = num_rows
        if dates.found:
            self._make_times(table.name, dict.fromkeys(dates.found, moments), "")

    def count_times(self, table: str, columns: Mapping[str, int]) -> None:
        """Make times of whole numbers that count since 1970; columns: each with the microseconds in
        what it counts."""
        made = {
            self.tables[table].position(name): partial(_counted, unit=unit)
            for name, unit in columns.items()
        }
        self._make_times(table, made, "counts since 1970 became times")
        self.counts |= {(table, name): unit for name, unit in columns.items()}
        self._facts.pop(table, None)

    def _make_times(self, table: str, made: Mapping[int, _MakeTimes], note: str) -> None:
        """Write a table again, with times in the columns at the places of `made`."""
        columns = tuple(
            replace(column, type=MOMENT, note=note) if i in made else column
            for i, column in enumerate(self.tables[table].columns)
        )
        self.tables[table] = replace(self.tables[table], columns=columns)
        before, schema = self._path(table), _schema(self.tables[table])
        # another name: DuckDB may remember what was in the file
        self._files[table] = before.with_stem(f"{before.stem}_times")
        with pq.ParquetFile(before) as file, PieceWriter(self._path(table), schema) as writer:
            for batch in file.iter_batches(BATCH_ROWS):
                arrays = [made[i](a) if i in made else a for i, a in enumerate(batch.columns)]
                writer.write(pa.record_batch(arrays, schema))
        before.unlink()

    def _path(self, table: str) -> Path:
        start = self._folder / f"t{list(self.tables).index(table)}.parquet"
        return self._files.get(table, start)

    def relation(self, table: str) -> str:
        """The table in SQL, with its columns and `file_row_number`."""
        return f"read_parquet({text_literal(self._path(table))}, file_row_number = true)"

    def columns(self, table: str, names: Sequence[str]) -> list[str]:
        """The columns of these names as they are called here."""
        return [f"c{self.tables[table].position(name)}" for name in names]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query that has few."""
        try:
            return self._connection.cursor().execute(sql).fetchall()
        except duckdb.Error as error:
            raise self.trouble(error) from None

    @staticmethod
    def trouble(error: Exception) -> InputError:
        """What DuckDB can't do, as bad input."""
        return InputError(f"{line(error)}; give --memory more, or the folder of --out more space")

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        return self._connection

    def facts(self, table: str) -> list[tuple[int, Any, Any]]:
        """Per column: rows with a value, the smallest and the largest value."""
        if table not in self._facts:
            asked = [
                f"count(c{i}), min(c{i}), max(c{i})"
                for i, _ in enumerate(self.tables[table].columns)
            ]
            (row,) = self.ask(f"SELECT {', '.join(asked)} FROM {self.relation(table)}")
            self._facts[table] = [tuple(row[i : i + 3]) for i in range(0, len(row), 3)]
        return self._facts[table]

    def nulls(self, table: str, names: Sequence[str]) -> int:
        """Rows in which any of the columns is null."""
        if len(names) == 1:
            return (
                self.num_rows[table] - self.facts(table)[self.tables[table].position(names[0])][0]
            )
        missing = " OR ".join(f"{column} IS NULL" for column in self.columns(table, names))
        return int(self.ask(f"SELECT count(*) FROM {self.relation(table)} WHERE {missing}")[0][0])

    def is_unique(self, table: str, names: Sequence[str]) -> bool:
        """Whether no two rows have the same values in all of the columns; nulls count as values."""
        key = (table, tuple(names))
        if key not in self._unique:
            columns = ", ".join(self.columns(table, names))
            sql = f"SELECT DISTINCT {columns} FROM {self.relation(table)}"
            (count,) = self.ask(f"SELECT count(*) FROM ({sql})")[0]
            self._unique[key] = count == self.num_rows[table]
        return self._unique[key]

    def is_unique_where_given(self, table: str, names: Sequence[str]) -> bool:
        """Whether no two rows have the same values in all of the columns; nulls are left aside."""
        own = self.inclusion(table, names, table, names)
        return own.rows == own.values

    def is_code(self, table: str, name: str) -> bool:
        """Whether a column holds short texts without blanks: codes, not names or prose."""
        if not pa.types.is_string(self.type(table, name)):
            return False
        (column,) = self.columns(table, [name])
        fits = f"bool_and(regexp_full_match({column}, '[^\\s]{{1,16}}'))"
        return bool(self.ask(f"SELECT {fits} FROM {self.relation(table)}")[0][0])

    def duplicate(self, table: str, names: Sequence[str]) -> tuple[tuple[Any, ...], int]:
        """A value of the columns that stands in several rows, and in how many."""
        places = self.columns(table, names)
        given = " AND ".join(f"{column} IS NOT NULL" for column in places)
        columns = ", ".join(places)
        rows = f"{self.relation(table)} WHERE {given}"
        sql = f"SELECT {columns}, count(*) AS n FROM {rows} GROUP BY ALL"
        row = self.ask(f"SELECT * FROM ({sql}) WHERE n > 1 ORDER BY ALL LIMIT 1")[0]
        return row[:-1], row[-1]

    def inclusion(
        self, table: str, names: Sequence[str], parent: str, parent_names: Sequence[str]
    ) -> Inclusion:
        """How the values of a table's columns stand among those of the parent's."""
        left, right = self._values(table, names), self._values(parent, parent_names)
        compared = self.comparison(
            (table, names),
            (parent, parent_names),
            [(f"v.k{i}", f"p.k{i}") for i in range(len(names))],
        )
        (row,) = self.ask(
            "SELECT coalesce(sum(v.n), 0), coalesce(sum(v.n) FILTER (p.n IS NOT NULL), 0), "
            f"count(*), count(p.n) FROM {left} v LEFT JOIN {right} p ON {compared}"
        )
        return Inclusion(*(int(number) for number in row))

    def comparison(
        self,
        child: tuple[str, Sequence[str]],
        parent: tuple[str, Sequence[str]],
        pairs: Sequence[tuple[str, str]],
    ) -> str:
        """SQL that compares the values of a table's columns with those of a parent's; pairs: how
        each column and its partner are called. Types of two sorts are compared as texts."""
        compared = []
        for (left, right), name, other in zip(pairs, child[1], parent[1], strict=True):
            if sort(self.type(child[0], name)) == sort(self.type(parent[0], other)):
                compared.append(f"{left} = {right}")
            else:
                compared.append(f"CAST({left} AS VARCHAR) = CAST({right} AS VARCHAR)")
        return " AND ".join(compared)

    def type(self, table: str, name: str) -> pa.DataType:
        found = self.tables[table]
        return found.columns[found.position(name)].type

    def _values(self, table: str, names: Sequence[str]) -> str:
        """A temporary table of the distinct values of columns without nulls, as k0, k1, ..., and
        in how many rows each stands, n."""
        key = (table, tuple(names))
        if key not in self._sets:
            columns = self.columns(table, names)
            made = ", ".join(f"{column} AS k{i}" for i, column in enumerate(columns))
            given = " AND ".join(f"{column} IS NOT NULL" for column in columns)
            place = f"values_{len(self._sets)}"
            self.ask(
                f"CREATE TABLE {place} AS SELECT {made}, count(*) AS n "
                f"FROM {self.relation(table)} WHERE {given} GROUP BY {', '.join(columns)}"
            )
            self._sets[key] = place
        return self._sets[key]

    def close(self) -> None:
        """Give memory and connection back; the files go with their folder."""
        self._connection.close()


class _Dates:
    """Which columns of texts hold dates throughout, by the rows that were looked at."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._candidates = {i for i, c in enumerate(columns) if pa.types.is_string(c.type)}
        self._given: set[int] = set()

    def look(self, batch: pa.RecordBatch) -> None:
        """Take more rows into account."""
        self._candidates = {i for i in self._candidates if moments(batch.column(i)) is not None}
        self._given |= {i for i in self._candidates if batch.column(i).null_count < len(batch)}

    @property
    def found(self) -> set[int]:
        """Places of columns with at least one date and nothing else."""
        return self._candidates & self._given


def _schema(table: SourceTable) -> pa.Schema:
    return pa.schema([(f"c{i}", column.type) for i, column in enumerate(table.columns)])


def _counted(values: pa.Array, unit: int) -> pa.Array:
    """Whole numbers that count since 1970 as times."""
    return pc.multiply(values.cast(pa.int64()), unit).cast(MOMENT)


def _without_nan(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The piece with null for NaN. Not left to DuckDB: by a Parquet file's smallest and largest
    values, which NaN is none of, it takes isnan() to be false throughout."""
    arrays = []
    for array, field in zip(batch.columns, schema, strict=True):
        if pa.types.is_floating(field.type):
            array = array.cast(field.type)
            array = pc.if_else(pc.is_nan(array), pa.scalar(None, field.type), array)
        arrays.append(array.cast(field.type))
    return pa.record_batch(arrays, schema)


def sort(kind: pa.DataType) -> str:
    """Types of one sort can be compared: number, text, time, ..."""
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    if any(test(kind) for test in numbers):
        return "number"
    return str(kind)
