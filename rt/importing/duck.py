"""DuckDB: a connection with bounded memory, how its types arrive, and its files as a source."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from plurel.errors import InputError
from plurel.export_keys import quoted
from rt.importing.tables import (
    BATCH_ROWS,
    CLOCK,
    LARGE_WHOLE,
    MOMENT,
    Column,
    Reference,
    SourceTable,
)

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_AS_TEXT = ("VARCHAR", "UUID")
_DATES = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")

_SCHEMAS = "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'source'"
_TABLES = """
    SELECT schema_name, table_name, estimated_size, '' FROM duckdb_tables()
    WHERE database_name = 'source'
    UNION ALL SELECT schema_name, view_name, NULL, 'a view' FROM duckdb_views()
    WHERE database_name = 'source' AND NOT internal ORDER BY 1, 2"""
_COLUMNS = """
    SELECT column_name, data_type FROM duckdb_columns()
    WHERE database_name = 'source' AND schema_name = ? AND table_name = ? ORDER BY column_index"""
_CONSTRAINTS = """
    SELECT constraint_type, constraint_column_names, referenced_table, referenced_column_names
    FROM duckdb_constraints()
    WHERE database_name = 'source' AND schema_name = ? AND table_name = ?
    AND constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY') ORDER BY constraint_index"""


def connect(folder: Path | None = None, memory: str = "1GB") -> duckdb.DuckDBPyConnection:
    """A database of its own that takes at most `memory`, then files below `folder`; in UTC."""
    settings: dict[str, Any] = {"memory_limit": memory}
    if folder is not None:
        settings["temp_directory"] = str(folder / "spill")
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        raise InputError(f"memory {memory!r}: {line(error)}; write for instance 1GB") from None
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def line(error: Exception) -> str:
    """The first line of what DuckDB says, without the name of the kind of error."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    _, colon, rest = text.partition("Error: ")
    return rest if colon else text


def text_literal(text: object) -> str:
    """A text as it stands in SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def arriving(name: str, kind: str, column: str) -> tuple[Column, str]:
    """A column of DuckDB type `kind`, and the SQL that makes the values which arrive out of
    `column`, a quoted name."""
    base, _, rest = kind.partition("(")
    if kind == "BOOLEAN":
        return Column(name, pa.bool_()), column
    if kind in _WHOLE:
        return Column(name, pa.int64()), f"CAST({column} AS BIGINT)"
    if kind == "UBIGINT":
        return Column(name, pa.uint64()), column
    if kind in ("HUGEINT", "UHUGEINT"):
        return Column(name, LARGE_WHOLE), f"TRY_CAST({column} AS DECIMAL(38, 0))"
    if base == "DECIMAL":
        return _decimal(name, rest, column)
    if kind in ("FLOAT", "DOUBLE"):
        return Column(name, pa.float32() if kind == "FLOAT" else pa.float64()), column
    if kind in _DATES:
        sql = f"CASE WHEN isfinite({column}) THEN CAST({column} AS TIMESTAMP) END"
        return Column(name, MOMENT), sql
    if kind == "TIMESTAMP WITH TIME ZONE":
        sql = f"CASE WHEN isfinite({column}) THEN {column} AT TIME ZONE 'UTC' END"
        return Column(name, MOMENT), sql
    return _less_common(name, kind, column)


def _decimal(name: str, rest: str, column: str) -> tuple[Column, str]:
    precision, scale = (int(number) for number in rest.rstrip(")").split(","))
    if scale:
        return Column(name, pa.float64()), f"CAST({column} AS DOUBLE)"
    if precision <= 18:
        return Column(name, pa.int64()), f"CAST({column} AS BIGINT)"
    return Column(name, LARGE_WHOLE), f"CAST({column} AS DECIMAL(38, 0))"


def _less_common(name: str, kind: str, column: str) -> tuple[Column, str]:
    if kind.startswith("TIME"):
        return Column(name, CLOCK), f"CAST({column} AS TIME)"
    if kind == "BLOB":
        return Column(name, pa.binary()), column
    if kind == "INTERVAL":
        return Column(name, pa.float64(), "intervals became seconds"), f"epoch({column})"
    if kind in _AS_TEXT or kind.startswith("ENUM"):
        return Column(name, pa.string()), f"CAST({column} AS VARCHAR)"
    note = f"{kind.partition('(')[0]} became text"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return Column(name, pa.string(), note), f"CAST(to_json({column}) AS VARCHAR)"
    return Column(name, pa.string(), note), f"CAST({column} AS VARCHAR)"


def stream(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    """The rows of a query in pieces; raises duckdb.Error."""
    relation = connection.cursor().sql(sql)
    # one name in DuckDB 2, another one before
    read = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    yield from read(BATCH_ROWS)


class DuckSource:
    """A DuckDB file. schemas: those to read, `main` by default."""

    def __init__(self, path: Path, schemas: Sequence[str] = ()) -> None:
        self.label = str(path)
        self._connection = connect()
        self._sql: dict[str, str] = {}
        try:
            self._connection.execute(f"ATTACH {text_literal(path)} AS source (READ_ONLY)")
        except duckdb.Error as error:
            self._connection.close()
            raise InputError(f"{path}: can't be opened as a DuckDB file ({line(error)})") from None
        self._schemas = list(schemas) or ["main"]
        known = {row[0] for row in self._ask(_SCHEMAS)}
        for schema in self._schemas:
            if schema not in known:
                raise InputError(f"{path}: no schema {schema!r}; there are {_join(known)}")

    def tables(self) -> list[SourceTable]:
        rows = [row for row in self._ask(_TABLES) if row[0] in self._schemas]
        names = unique_names([(schema, table) for schema, table, _, _ in rows])
        return [self._table((row[0], row[1]), names, row[2], row[3]) for row in rows]

    def _table(
        self,
        place: tuple[str, str],
        names: dict[tuple[str, str], str],
        num_rows: int | None,
        left_out: str,
    ) -> SourceTable:
        schema, table = place
        described = self._ask(_COLUMNS, place)
        made = [arriving(name, kind, quoted(name)) for name, kind in described]
        expressions = ", ".join(f"{sql} AS c{i}" for i, (_, sql) in enumerate(made))
        self._sql[names[place]] = (
            f"SELECT {expressions} FROM source.{quoted(schema)}.{quoted(table)}"
        )
        primary: tuple[str, ...] = ()
        references = []
        for kind, columns, parent, parent_columns in self._ask(_CONSTRAINTS, place):
            if kind == "PRIMARY KEY":
                primary = tuple(columns)
            elif (schema, parent) in names:
                reference = Reference(tuple(columns), names[schema, parent], tuple(parent_columns))
                references.append(reference)
        return SourceTable(
            names[place],
            tuple(column for column, _ in made),
            primary,
            tuple(references),
            num_rows,
            left_out,
        )

    def _ask(self, sql: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(values)).fetchall()

    def batches(self, table: SourceTable) -> Iterator[pa.RecordBatch]:
        try:
            yield from stream(self._connection, self._sql[table.name])
        except duckdb.Error as error:
            raise InputError(f"{self.label}: table {table.name}: {line(error)}") from None

    def close(self) -> None:
        self._connection.close()


def unique_names(places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(schema, table) -> a name for the table, with its schema where two have the same, and a
    number where that is not enough; names differ without regard to case."""
    tables = [table.lower() for _, table in places]
    names: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for schema, table in places:
        base = table if tables.count(table.lower()) == 1 else f"{schema}_{table}"
        name, number = base, 1
        while name.lower() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.lower())
        names[schema, table] = name
    return names


def _join(names: set[str]) -> str:
    return ", ".join(sorted(names - {"information_schema", "pg_catalog"}))
