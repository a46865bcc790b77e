"""Where an export may go: formats by name, and what stands there already.

Every export bears a mark. Nothing else is ever replaced, nor anything beside it.
"""

import json
from pathlib import Path
from typing import Literal

import duckdb

from plurel.errors import InputError
from plurel.export_files import COMMENT, CSV_FILES, SQL_HEADER, SQLITE_ID
from plurel.export_postgres import SCHEMES

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
# per format what stands where in its files
_SIGNATURES = {
    "sqlite": ((0, b"SQLite format 3\0"), (68, SQLITE_ID.to_bytes(4, "big"))),
    "duckdb": ((8, b"DUCK"),),
    "sql": ((0, SQL_HEADER.encode()),),
}
_SIDE_FILES = {"sqlite": ("-wal", "-journal"), "duckdb": (".wal",), "sql": ()}


def format_of(target: str | Path) -> Format:
    """The format that a target's name asks for; InputError if it asks for none."""
    scheme, is_url, _ = str(target).partition("://")
    if scheme in SCHEMES:
        return "postgresql"
    if is_url:
        raise InputError(
            f"no server is reached by {scheme}://; give postgresql://user@host/name, or a file"
        )
    suffix = Path(target).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{target}: the name doesn't tell the format; give one of {', '.join(FORMATS)}"
        )
    return _SUFFIXES[suffix]


def check_export_file(path: Path, to: Format, overwrite: bool) -> None:
    """InputError if something stands at `path` that is no export or may not be replaced."""
    for suffix in _SIDE_FILES[to]:
        side = path.with_name(path.name + suffix)
        if side.exists():
            raise InputError(f"{side} is there: {path} is open, or was not closed; see to it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file; choose another place")
    if not path.exists():
        return
    with open(path, "rb") as file:
        start = file.read(100)
    marks = (start[at : at + len(mark)] == mark for at, mark in _SIGNATURES[to])
    if not all(marks) or (to == "duckdb" and not _has_comments(path)):
        raise InputError(f"{path} exists and is no {to} export; choose another place")
    if not overwrite:
        raise InputError(f"{path} exists already; give --overwrite or choose another place")


def _has_comments(path: Path) -> bool:
    """Whether every table of a DuckDB file says that an export made it."""
    try:
        with duckdb.connect(path, read_only=True) as connection:
            found = connection.execute("SELECT comment FROM duckdb_tables()").fetchall()
    except duckdb.Error as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} can't be opened ({reason}); choose another place") from None
    return bool(found) and all((text or "").startswith(COMMENT) for (text,) in found)


def check_export_folder(path: Path) -> None:
    """InputError if a folder of CSV files holds one that the export did not write."""
    marker = path / CSV_FILES
    if not marker.is_file():
        return
    written = set(marker.read_text(encoding="utf-8").splitlines()[1:])
    names = sorted({file.name for file in path.iterdir()} - {CSV_FILES})
    others = [name for name in names if json.dumps(name) not in written]
    if others:
        raise InputError(
            f"{path / others[0]} is not of the export; move it away or choose another place"
        )
