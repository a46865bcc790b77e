"""Which source a path or a URL is."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from plurel.errors import InputError
from plurel.manifest import MANIFEST
from rt.importing.duck import DuckSource
from rt.importing.files import SUFFIXES, FileSource, table_name
from rt.importing.server import ServerSource, shown
from rt.importing.sqlite import SqliteSource
from rt.importing.tables import Source

_FILE_URLS = ("sqlite:///", "duckdb:///")


@dataclass(frozen=True)
class Reading:
    """What of a source is read, and how.

    schemas: of PostgreSQL, other servers and DuckDB; the default one if none is named. nulls: texts
    in CSV files that mean null. tables: those that are imported, all but views if none is named;
    exclude: those that are not.
    """

    schemas: Sequence[str] = ()
    nulls: Sequence[str] = ()
    tables: Collection[str] = ()
    exclude: Collection[str] = ()


def open_source(place: str, reading: Reading) -> Source:
    """The source at a path or URL; InputError where there is none, or options don't fit it."""
    for prefix in _FILE_URLS:
        if place.startswith(prefix):
            place = place.removeprefix(prefix)
            break
    else:
        if "://" in place:
            if reading.nulls:
                raise InputError(f"texts for null are for CSV files, not for {shown(place)}")
            return ServerSource(place, reading.schemas)
    path = Path(place).expanduser()
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder; give one, or a URL such as postgresql://user@host/name"
        )
    return _open_path(path, reading)


def _open_path(path: Path, reading: Reading) -> Source:
    if path.is_dir() or table_name(path) is not None:
        if reading.schemas:
            raise InputError(f"{path}: files have no schema; leave --schema out")
        if path.is_dir() and (path / MANIFEST).is_file() and (path / "db").is_dir():
            raise InputError(
                f"{path}: is a RelBench folder already; use it as it is, or make its store by "
                f"python scripts/preprocess.py {shlex.quote(str(path))}"
            )
        return FileSource(path, reading.nulls)
    if reading.nulls:
        raise InputError(f"{path}: texts for null are for CSV files; leave them out")
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    if start[8:12] == b"DUCK":
        return DuckSource(path, reading.schemas)
    if start == b"SQLite format 3\0" or not start:
        if reading.schemas:
            raise InputError(f"{path}: SQLite has no schemas; leave --schema out")
        return SqliteSource(path, reading.tables)
    endings = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
    raise InputError(f"{path}: neither a SQLite nor a DuckDB file, nor one of {endings}")
