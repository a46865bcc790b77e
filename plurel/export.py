"""A RelBench folder as a database: SQLite, DuckDB, PostgreSQL, SQL statements or CSV files.

Primary and foreign keys are declared, so that the database itself keeps them from now on. Every key
is checked before anything is written; a target is there complete or not at all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from plurel.atomic import check_place, new_file, new_folder
from plurel.errors import InputError
from plurel.export_ddl import Dialect, Plan, make_plan
from plurel.export_files import (
    CSV_SCHEMA,
    SQL_HEADER,
    Progress,
    write_csv,
    write_duckdb,
    write_sql,
    write_sqlite,
)
from plurel.export_keys import all_circular, check_keys
from plurel.export_postgres import SCHEMES, check_server, write_postgres
from plurel.export_source import open_source

Format = Literal["sqlite", "duckdb", "postgresql", "sql", "csv"]
FORMATS: tuple[Format, ...] = ("sqlite", "duckdb", "postgresql", "sql", "csv")

_SUFFIXES: dict[str, Format] = {
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".duckdb": "duckdb",
    ".sql": "sql",
    "": "csv",
}
# per format where and how its files begin, so that no other file is ever replaced
_SIGNATURES = {
    "sqlite": (0, b"SQLite format 3\0"),
    "duckdb": (8, b"DUCK"),
    "sql": (0, SQL_HEADER.encode()),
}
_SIDE_FILES = {"sqlite": ("-wal", "-journal"), "duckdb": (".wal",), "sql": ()}


@dataclass(frozen=True)
class Exported:
    """What was written. num_keys: foreign keys declared; undeclared: those, as "table.column", that
    hold but that DuckDB can't declare: keys in a circle of tables or of rows."""

    num_tables: int
    num_rows: int
    num_keys: int
    undeclared: tuple[str, ...]


def export_database(
    folder: str | Path,
    target: str | Path,
    *,
    to: Format | None = None,
    dialect: Dialect = "postgresql",
    schema: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the RelBench folder's database to `target`, a file, a folder (CSV) or a server's URL.

    to: by default what the target's name says. dialect: of SQL and CSV's statements. schema: of a
    PostgreSQL server, by default the database's name. Shows a progress bar on stderr. Raises
    InputError for keys that are broken, values or names that the format can't hold, and a target
    that is there already (unless `overwrite` is set and it is an export).
    """
    to = to or format_of(target)
    source = open_source(folder)
    schema = schema or source.name
    _check_target(target, to, schema, overwrite)
    dialect = to if to in ("sqlite", "duckdb", "postgresql") else dialect
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
    return Exported(len(source.tables), source.num_rows, num_keys, names)


def format_of(target: str | Path) -> Format:
    """The format that a target's name asks for; InputError if it asks for none."""
    if str(target).partition("://")[0] in SCHEMES:
        return "postgresql"
    suffix = Path(target).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{target}: the name doesn't tell the format; give one of {', '.join(FORMATS)}"
        )
    return _SUFFIXES[suffix]


def _check_target(target: str | Path, to: Format, schema: str, overwrite: bool) -> None:
    """InputError if the target is there and may not be replaced; before any long work."""
    if to == "postgresql":
        check_server(str(target), schema, overwrite=overwrite)
    elif to == "csv":
        check_place(Path(target), CSV_SCHEMA, overwrite)
    else:
        _check_file(Path(target), to, overwrite)


def _check_file(path: Path, to: Format, overwrite: bool) -> None:
    for suffix in _SIDE_FILES[to]:
        side = path.with_name(path.name + suffix)
        if side.exists():
            raise InputError(f"{side} is there: {path} is open, or was not closed; see to it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file; choose another place")
    if not path.exists():
        return
    start, signature = _SIGNATURES[to]
    with open(path, "rb") as file:
        if file.read(start + len(signature))[start:] != signature:
            raise InputError(f"{path} exists and is no {to} export; choose another place")
    if not overwrite:
        raise InputError(f"{path} exists already; ask for overwriting or choose another place")


def _write_files(plan: Plan, path: Path, to: Format, overwrite: bool, progress: Progress) -> None:
    if to == "csv":
        with new_folder(path, marker=CSV_SCHEMA, overwrite=overwrite) as folder:
            write_csv(plan, folder, progress)
        return
    write = {"sqlite": write_sqlite, "duckdb": write_duckdb, "sql": write_sql}[to]
    with new_file(path) as file:
        write(plan, file, progress)
        _check_file(path, to, overwrite)
