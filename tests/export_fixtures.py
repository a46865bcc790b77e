"""A RelBench folder with everything that trips an export, and a PostgreSQL server to export to."""

import datetime as dt
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from plurel.export_keys import quoted

ODD = 'Pä"ge 100%.x'
MOMENT = dt.datetime(1897, 2, 3, 4, 5, 6, 789)
LATE = dt.datetime(2202, 1, 1)
UTC = dt.UTC
BIG = 2**63 - 1

# per column its Arrow type, what the file holds and what a database gives back
THINGS: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {
    "id": (pa.int64(), [3, -1, 2**62, 0], [3, -1, 2**62, 0]),
    "ok": (pa.bool_(), [True, None, False, True], [True, None, False, True]),
    "x": (pa.float64(), [0.1, np.nan, np.inf, -np.inf], [0.1, None, np.inf, -np.inf]),
    "y": (pa.float64(), [1e300, None, 5e-324, 1 / 3], [1e300, None, 5e-324, 1 / 3]),
    "f": (pa.float32(), [0.5, np.nan, -2.0, None], [0.5, None, -2.0, None]),
    "n": (pa.int16(), [1, None, -5, 7], [1, None, -5, 7]),
    "u": (pa.uint64(), [1, BIG, None, 0], [1, BIG, None, 0]),
    "low": (pa.int64(), [-BIG - 1, BIG, None, 0], [-BIG - 1, BIG, None, 0]),
    "text": (
        pa.string(),
        ['it\'s "so"; --', "", "a\\b\t\\N\r\nc\\.", "NULL"],
        ['it\'s "so"; --', "", "a\\b\t\\N\r\nc\\.", "NULL"],
    ),
    "more": (pa.large_string(), ["Öç 好 🎉", None, "NA", " , "], ["Öç 好 🎉", None, "NA", " , "]),
    "nothing": (pa.null(), [None] * 4, [None] * 4),
    "at": (pa.timestamp("ns"), [MOMENT, None, LATE, MOMENT], [MOMENT, None, LATE, MOMENT]),
    "zone": (
        pa.timestamp("ms", "Europe/Paris"),
        [LATE, None, LATE, LATE],
        [LATE.replace(tzinfo=UTC), None, LATE.replace(tzinfo=UTC), LATE.replace(tzinfo=UTC)],
    ),
    "day": (pa.date32(), [MOMENT.date(), None] * 2, [MOMENT.date(), None] * 2),
    "clock": (pa.time32("s"), [dt.time(1, 2, 3), None] * 2, [dt.time(1, 2, 3), None] * 2),
    "money": (
        pa.decimal128(9, 2),
        [Decimal("-12.50"), None, Decimal("0.07"), Decimal("1.00")],
        [Decimal("-12.50"), None, Decimal("0.07"), Decimal("1.00")],
    ),
    "raw": (pa.binary(), [b"\x00\xff'", None, b"", b"\\x"], [b"\x00\xff'", None, b"", b"\\x"]),
    "list": (
        pa.list_(pa.string()),
        [["a", 'b"'], None, [], ["c"]],
        ['["a", "b\\""]', None, "[]", '["c"]'],
    ),
    "order": (
        pa.dictionary(pa.int32(), pa.string()),
        ["up", "down", None, "up"],
        ["up", "down", None, "up"],
    ),
}

# the other tables: columns, and per foreign key its parent; children stand before their parents
OTHERS: dict[str, tuple[str | None, dict[str, list[Any]], dict[str, str]]] = {
    "lines": (
        None,
        {
            "thing": [3.0, np.nan, 2.0**62, 3.0, 0.0],
            ODD: ["b", None, "a", "b", ""],
            "rowid": [1] * 5,
        },
        {"thing": "things", ODD: ODD},
    ),
    ODD: ("code", {"code": ["a", "b", "", "c d"], "up": ["c d", "a", "a", None]}, {"up": ODD}),
    "Staff": ("id", {"id": [1, 2, 3], "store": [8, 9, None]}, {"store": "store"}),
    "store": (
        "id",
        {"id": [8, 9], "boss": [2, 1], "empty": [np.nan] * 2},
        {"boss": "Staff", "empty": ODD},
    ),
    "ring": ("id", {"id": [1, 2, 3], "next": [2, 1, 3]}, {"next": "ring"}),
}
LATE_KEY, CIRCLE = "Staff.store", "ring.next"


def write_odd_folder(folder: Path) -> Path:
    """All of the above as a RelBench folder."""
    (folder / "db").mkdir(parents=True)
    specs = {}
    for name, (pkey, columns, fkeys) in OTHERS.items():
        pq.write_table(pa.table({c: pa.array(v) for c, v in columns.items()}), _file(folder, name))
        specs[name] = {"pkey": pkey, "time_col": None, "fkeys": fkeys}
    things = pa.table({name: pa.array(v, kind) for name, (kind, v, _) in THINGS.items()})
    pq.write_table(things, _file(folder, "things"), row_group_size=2)
    specs["things"] = {"pkey": "id", "time_col": "at", "fkeys": {}}
    write_manifest(folder, specs)
    return folder


def write_manifest(folder: Path, specs: dict[str, Any]) -> None:
    """manifest.yaml of a folder, its tables as given."""
    manifest = {"name": "odd 'one'", "val_timestamp": "2000-01-01", "test_timestamp": "2001-01-01"}
    text = yaml.safe_dump(manifest | {"tables": specs}, sort_keys=False, allow_unicode=True)
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")


def expected_rows() -> dict[str, list[tuple[Any, ...]]]:
    """Per table its rows as a database gives them back, sorted."""
    rows = {"things": list(zip(*(given for _, _, given in THINGS.values()), strict=True))}
    for name, (_, columns, _) in OTHERS.items():
        values = [[None if v != v else v for v in column] for column in columns.values()]
        rows[name] = list(zip(*values, strict=True))
    return {name: in_order(table) for name, table in rows.items()}


def in_order(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sorted, whatever the types."""
    return sorted(rows, key=repr)


def foreign_keys() -> set[tuple[str, str, str, str]]:
    """Table, column, parent, parent's column of every foreign key."""
    pkeys = {name: spec[0] for name, spec in OTHERS.items()} | {"things": "id"}
    return {
        (name, column, parent, str(pkeys[parent]))
        for name, (_, _, keys) in OTHERS.items()
        for column, parent in keys.items()
    }


def key_inserts(database: Any, key: tuple[str, str, str, str]) -> tuple[str, str]:
    """Two INSERTs that differ in the foreign key alone: one references a row, one nothing."""
    table, column, parent, parent_column = key
    ((known,),) = database.execute(f"SELECT max({quoted(parent_column)}) FROM {quoted(parent)}")
    own = OTHERS[table][0]
    more_columns, more_values = ("", "") if own is None else (f", {quoted(own)}", ", '-77'")
    good, bad = (
        f"INSERT INTO {quoted(table)} ({quoted(column)}{more_columns}) VALUES ('{v}'{more_values})"
        for v in (known, 777)
    )
    return good, bad


def folder_of(place: Path, specs: dict[str, Any], **tables: dict[str, list[Any]]) -> Path:
    (place / "db").mkdir(parents=True)
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), place / "db" / f"{name}.parquet")
    write_manifest(place, specs)
    return place


def child_of(parent: Any, child: list[Any]) -> dict[str, Any]:
    specs = {
        "p": {"pkey": "id", "time_col": None, "fkeys": {}},
        "c": {"pkey": None, "time_col": None, "fkeys": {"p_id": "p"}},
    }
    return {"specs": specs, "p": {"id": parent}, "c": {"p_id": child}}


def _file(folder: Path, table: str) -> Path:
    return folder / "db" / f"{table}.parquet"


def server_programs() -> Path | None:
    """The newest PostgreSQL server of Debian's package, if it is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgres_server(programs: Path) -> Iterator[str]:
    """The URL of a fresh server behind a unix socket. As root it runs as the user postgres, since
    it refuses to run as root."""
    root = os.getuid() == 0
    user = pwd.getpwnam("postgres") if root else pwd.getpwuid(os.getuid())
    place = Path(tempfile.mkdtemp(prefix="plurel-pg-"))
    who: dict[str, Any] = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if root else {}
    )
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def call(program: str, *options: str) -> None:
        command = [str(programs / program), *options]
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False, **who
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    try:
        os.chown(place, user.pw_uid, user.pw_gid)
        data = ("-D", "data")
        call("initdb", *data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = f"-c listen_addresses= -c unix_socket_directories={place} -F"
        call("pg_ctl", *data, "-w", "-l", "log", "-o", settings, "start")
        try:
            yield f"postgresql://test@/postgres?host={place}"
        finally:
            call("pg_ctl", *data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place)
