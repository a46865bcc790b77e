"""A RelBench folder as a database: SQLite, DuckDB, PostgreSQL, SQL statements or CSV files.

Primary and foreign keys are declared, so that the database itself keeps them from now on. Every key
is checked before anything is written; a target is there complete or not at all.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import duckdb
from tqdm import tqdm

from plurel.atomic import check_file_place, check_place, check_writable, new_file, new_folder
from plurel.errors import InputError
from plurel.export_ddl import Dialect, Plan, make_plan
from plurel.export_files import (
    CSV_FILES,
    Progress,
    write_csv,
    write_duckdb,
    write_sql,
    write_sqlite,
)
from plurel.export_keys import all_circular, check_keys
from plurel.export_postgres import check_server, without_password, write_postgres
from plurel.export_source import open_source
from plurel.export_target import (
    FORMATS,
    Format,
    check_export_file,
    check_export_folder,
    format_of,
)

__all__ = ["FORMATS", "Exported", "Format", "export_database", "format_of"]


@dataclass(frozen=True)
class Exported:
    """What was written. num_keys: foreign keys declared; undeclared: those, as "table.column", that
    hold but that DuckDB can't declare: keys in a circle of tables or of rows.
    schema: of a server."""

    num_tables: int
    num_rows: int
    num_keys: int
    undeclared: tuple[str, ...]
    schema: str | None = None


def export_database(
    folder: str | Path,
    target: str | Path,
    *,
    to: Format | None = None,
    dialect: Dialect | None = None,
    schema: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the RelBench folder's database to `target`, a file, a folder (CSV) or a server's URL.

    to: by default what the target's name says. dialect: of SQL and CSV's statements, PostgreSQL's
    by default. schema: of a PostgreSQL server, by default the database's name. Shows a progress bar
    on stderr. Raises InputError for keys that are broken, values or names that the format can't
    hold, and a target that is there already (unless `overwrite` is set and it is an export).
    """
    to = to or format_of(target)
    source = open_source(folder)
    _check_options(to, dialect, schema)
    schema = schema or source.name
    _check_target(target, to, schema, overwrite)
    dialect = to if to in ("sqlite", "duckdb", "postgresql") else dialect or "postgresql"
    references = check_keys(source)
    if to == "csv":  # a file is loaded in one statement, whatever the order of its rows
        references = {table.name: all_circular(table) for table in source.tables}
    with tqdm(total=source.num_rows, desc="export", unit="row", unit_scale=True) as bar:
        if to == "postgresql":
            plan = make_plan(source, references, dialect, schema=schema, keys_after=True)
            write_postgres(plan, str(target), schema, overwrite=overwrite, progress=bar.update)
        else:
            plan = make_plan(source, references, dialect, keys_after=to == "sql")
            _write_files(plan, Path(target), to, overwrite, bar.update)
    names = tuple(f"{table}.{', '.join(key.columns)}" for table, key in plan.undeclared)
    num_keys = sum(len(table.foreign_keys) for table in source.tables) - len(names)
    return Exported(
        len(source.tables), source.num_rows, num_keys, names, schema if to == "postgresql" else None
    )


def _check_target(target: str | Path, to: Format, schema: str, overwrite: bool) -> None:
    """InputError if the target is there and may not be replaced; before any long work."""
    if to == "postgresql":
        check_server(str(target), schema, overwrite=overwrite)
        return
    if "://" in str(target):
        raise InputError(f"{without_password(str(target))} is no place for {to}; leave out --to")
    if to == "csv":
        check_writable(Path(target).absolute().parent)
        check_place(Path(target), CSV_FILES, overwrite)
        check_export_folder(Path(target))
    else:
        check_file_place(target)
        check_export_file(Path(target), to, overwrite)


def _check_options(to: Format, dialect: Dialect | None, schema: str | None) -> None:
    if schema is not None and to != "postgresql":
        raise InputError(f"a schema is for a PostgreSQL server, not for {to}; leave it out")
    if schema == "":
        raise InputError("the schema needs a name; leave it out for the database's own")
    if dialect is not None and to not in ("sql", "csv", dialect):
        raise InputError(f"a dialect is for SQL and CSV, not for {to}; leave it out")


def _write_files(plan: Plan, path: Path, to: Format, overwrite: bool, progress: Progress) -> None:
    if to == "csv":
        with new_folder(path, marker=CSV_FILES, overwrite=overwrite) as folder:
            write_csv(plan, folder, progress)
            check_export_folder(path)
        return
    write = {"sqlite": write_sqlite, "duckdb": write_duckdb, "sql": write_sql}[to]
    with new_file(path) as file:
        try:
            write(plan, file, progress)
        except (sqlite3.Error, duckdb.Error) as error:
            reason = " ".join(str(error).replace(str(file), str(path)).split())
            raise InputError(
                f"can't write {path}: {reason}; check the rights and the space there"
            ) from None
        check_export_file(path, to, overwrite)
