"""Databases as one SQLite or DuckDB file, as one SQL file, or as a folder of CSV files."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv

from plurel.export_ddl import Dialect, Plan, TableSql
from plurel.export_source import SourceTable, arrow_schema
from plurel.export_text import csv_batch, insert_statements, python_columns

Progress = Callable[[int], object]

SQL_HEADER = "-- made by plurel: "
CSV_SCHEMA = "schema.sql"
CSV_LOAD = "load.sql"
CSV_FILES = "plurel-export.txt"
"""The names of the files of a folder, which it marks as an export."""
SQLITE_ID = int.from_bytes(b"plur", "big")
"""The application_id of SQLite files."""
COMMENT = "made by plurel: "
"""How the comments on tables of DuckDB, and on a schema of PostgreSQL, begin."""


def write_sqlite(plan: Plan, path: Path, progress: Progress) -> None:
    """A new SQLite file. Every connection must switch `PRAGMA foreign_keys` on, as SQLite wants."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")  # the file is thrown away on an error
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA application_id = {SQLITE_ID}")
        connection.execute("BEGIN")
        for _, sql in plan:
            connection.execute(sql.create)
        for table, sql in plan:
            marks = ", ".join("?" * len(table.columns))
            insert = f"INSERT INTO {sql.name} ({sql.columns}) VALUES ({marks})"
            for batch in table.batches():
                rows = zip(*python_columns(batch), strict=True)
                connection.executemany(insert, rows)
                progress(batch.num_rows)
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken:
            raise sqlite3.IntegrityError(f"a foreign key of table '{broken[0]}' is broken")
        connection.execute("COMMIT")


def write_duckdb(plan: Plan, path: Path, progress: Progress) -> None:
    """A new DuckDB file."""
    comment = (COMMENT + plan.source.name).replace("'", "''")
    with duckdb.connect(path) as connection:
        for table, sql in plan:
            connection.execute(sql.create)
            connection.execute(f"COMMENT ON TABLE {sql.name} IS '{comment}'")
            for batch in table.batches(plan.references[table.name].levels):
                connection.register("rows of a batch", batch)
                connection.execute(
                    f'INSERT INTO {sql.name} ({sql.columns}) SELECT * FROM "rows of a batch"'
                )
                connection.unregister("rows of a batch")
                progress(batch.num_rows)


def write_sql(plan: Plan, path: Path, progress: Progress) -> None:
    """One file of statements that a shell or driver of the dialect runs, in one transaction."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(_header(plan))
        if plan.dialect == "sqlite":
            file.write("PRAGMA foreign_keys = OFF;\n")
        file.write("BEGIN;\n")
        file.writelines(f"{sql.create};\n" for _, sql in plan)
        for table, sql in plan:
            levels = plan.references[table.name].levels if plan.dialect == "duckdb" else None
            into = f"{sql.name} ({sql.columns})"
            for batch in table.batches(levels):
                file.writelines(insert_statements(batch, table, into, plan.dialect))
                progress(batch.num_rows)
        file.writelines(f"{key};\n" for _, sql in plan for key in sql.add_keys)
        file.write("COMMIT;\n")
        if plan.dialect == "sqlite":
            file.write("PRAGMA foreign_keys = ON;\n")


def write_csv(plan: Plan, folder: Path, progress: Progress) -> None:
    """Per table a CSV file, in which "" is an empty text and nothing is null; schema.sql makes the
    tables; load.sql fills them from the folder (SQLite can't tell empty from null)."""
    for table, _ in plan:
        _write_csv_table(table, plan.dialect, folder / f"{table.name}.csv", progress)
    creates = [f"{sql.create};\n" for _, sql in plan]
    keys = [f"{key};\n" for _, sql in plan for key in sql.add_keys]
    schema = _header(plan) + "".join(creates + keys)
    (folder / CSV_SCHEMA).write_text(schema, encoding="utf-8")
    if plan.dialect != "sqlite":
        lines = [_load(table, sql, plan.dialect) for table, sql in plan]
        begin = "BEGIN;\n"
        if plan.dialect == "postgresql":
            begin += "SET CONSTRAINTS ALL DEFERRED;\n"
        load = _header(plan) + begin + "".join(lines) + "COMMIT;\n"
        (folder / CSV_LOAD).write_text(load, encoding="utf-8")
    names = sorted(json.dumps(file.name) for file in folder.iterdir())
    (folder / CSV_FILES).write_text(
        "\n".join([COMMENT + _name(plan), *names, ""]), encoding="utf-8"
    )


def _write_csv_table(table: SourceTable, dialect: Dialect, path: Path, progress: Progress) -> None:
    empty = pa.RecordBatch.from_pylist([], arrow_schema(table.columns))
    with pa_csv.CSVWriter(path, csv_batch(empty, table, dialect).schema) as writer:
        for batch in table.batches():
            writer.write_batch(csv_batch(batch, table, dialect))
            progress(batch.num_rows)


def _load(table: SourceTable, sql: TableSql, dialect: Dialect) -> str:
    file = f"{table.name}.csv".replace("'", "''")
    if dialect == "postgresql":
        return f"\\copy {sql.name} ({sql.columns}) FROM '{file}' WITH (FORMAT csv, HEADER)\n"
    return (
        f"COPY {sql.name} ({sql.columns}) FROM '{file}' "
        "(FORMAT csv, HEADER, NULLSTR '', ALLOW_QUOTED_NULLS false);\n"
    )


def _header(plan: Plan) -> str:
    """The first lines of an SQL file: what it is, and which keys are not in it."""
    missing = [f"-- not declared: {_label(name, key.columns)}\n" for name, key in plan.undeclared]
    return f"{SQL_HEADER}{_name(plan)}, for {plan.dialect}\n" + "".join(missing)


def _name(plan: Plan) -> str:
    return " ".join(plan.source.name.split())


def _label(table: str, columns: Sequence[str]) -> str:
    return " ".join(f"{table}.{', '.join(columns)}".split())
