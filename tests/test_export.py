"""Exports into files: what comes back is what went in, and the database keeps the keys itself."""

import datetime as dt
import os
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from plurel import export_source
from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.export import export_database
from plurel.export_keys import quoted
from tests.export_fixtures import (
    CIRCLE,
    LATE_KEY,
    ODD,
    expected_rows,
    folder_of,
    foreign_keys,
    in_order,
    key_inserts,
    write_odd_folder,
)

SHARED = Path(os.environ.get("PLUREL_SHARED_DATA", "../shared/data"))
SCRIPT = Path(__file__).parents[1] / "scripts" / "export_db.py"
UNDECLARED = {("ring", "next"), ("Staff", "store")}
SELF_KEY = (ODD, "up")


Database = "Sqlite | Duck"


class Sqlite:
    """A SQLite file, read and changed as users would."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.close = self.connection.close

    broken = sqlite3.IntegrityError

    def execute(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self.execute(f"SELECT * FROM {quoted(table)}")

    def keys(self) -> set[tuple[str, ...]]:
        names = self.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            (name, key[3], key[2], key[4])
            for (name,) in names
            for key in self.execute(f"PRAGMA foreign_key_list({quoted(name)})")
        }

    @staticmethod
    def told(value: Any) -> Any:
        """A value as SQLite has it, which knows no booleans, times and decimals."""
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, Decimal):
            return float(value)
        if isinstance(value, dt.datetime):
            return value.isoformat(sep=" ", timespec="microseconds")
        if isinstance(value, dt.time):
            return value.isoformat(timespec="microseconds")
        return value.isoformat() if isinstance(value, dt.date) else value


class Duck:
    """A DuckDB file."""

    def __init__(self, path: Path) -> None:
        self.connection = duckdb.connect(path)
        self.connection.execute("SET TimeZone = 'UTC'")
        self.close = self.connection.close

    broken = duckdb.ConstraintException

    def execute(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()

    @staticmethod
    def told(value: Any) -> Any:
        return value

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        found = self.connection.sql(f"SELECT * FROM {quoted(table)}").to_arrow_table()
        return [tuple(row.values()) for row in found.to_pylist()]

    def keys(self) -> set[tuple[str, ...]]:
        found = self.execute(
            "SELECT table_name, constraint_column_names[1], referenced_table, "
            "referenced_column_names[1] FROM duckdb_constraints() "
            "WHERE constraint_type = 'FOREIGN KEY'"
        )
        return set(found)


def load_sqlite_dump(folder: Path, place: Path) -> Sqlite:
    export_database(folder, place / "dump.sql", dialect="sqlite")
    database = Sqlite(place / "loaded.db")
    database.connection.executescript((place / "dump.sql").read_bytes().decode())
    return database


def load_duckdb_dump(folder: Path, place: Path) -> Duck:
    export_database(folder, place / "dump.sql", dialect="duckdb")
    database = Duck(place / "loaded.duckdb")
    database.connection.execute((place / "dump.sql").read_bytes().decode())
    return database


def load_csv(folder: Path, place: Path) -> Duck:
    export_database(folder, place / "csv", to="csv", dialect="duckdb")
    database = Duck(place / "loaded.duckdb")
    before = Path.cwd()
    os.chdir(place / "csv")
    try:
        for script in ("schema.sql", "load.sql"):
            database.connection.execute(Path(script).read_text(encoding="utf-8"))
    finally:
        os.chdir(before)
    return database


def export_sqlite(folder: Path, place: Path) -> Sqlite:
    export_database(folder, place / "odd.sqlite")
    return Sqlite(place / "odd.sqlite")


def export_duckdb(folder: Path, place: Path) -> Duck:
    done = export_database(folder, place / "odd.duckdb")
    assert set(done.undeclared) == {LATE_KEY, CIRCLE}
    return Duck(place / "odd.duckdb")


WAYS = [export_sqlite, load_sqlite_dump, export_duckdb, load_duckdb_dump, load_csv]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_odd_folder(tmp_path_factory.mktemp("raw") / "odd")


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.__name__)
def database(
    request: pytest.FixtureRequest, odd: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The odd folder in a database, by each of the ways."""
    made = request.param(odd, tmp_path_factory.mktemp("out"))
    yield made
    made.close()


def declared(way: str) -> set[tuple[str, str, str, str]]:
    """The keys that a way can declare: DuckDB none in circles, nor to itself from CSV."""
    missing: set[tuple[str, str]] = set() if "sqlite" in way else set(UNDECLARED)
    if way == "load_csv":
        missing.add(SELF_KEY)
    return {key for key in foreign_keys() if key[:2] not in missing}


def test_rows_come_back(database: Any) -> None:
    for name, rows in expected_rows().items():
        told = [tuple(database.told(value) for value in row) for row in rows]
        assert in_order(database.rows(name)) == in_order(told)


def test_types_are_declared(database: Any) -> None:
    things = database.execute("SELECT name, type FROM pragma_table_info('things')")
    found = {name: kind.split("(")[0].split(" ")[0] for name, kind in things}
    is_sqlite = isinstance(database, Sqlite)
    text, integer = ("TEXT", "INTEGER") if is_sqlite else ("VARCHAR", "BIGINT")
    assert {found[name] for name in ("id", "n", "u", "low")} == {integer}
    assert {found[name] for name in ("text", "more", "nothing", "list", "order")} == {text}
    assert {found[name] for name in ("x", "y", "f")} == {"DOUBLE"}
    assert [found[name] for name in ("ok", "raw", "day")] == ["BOOLEAN", "BLOB", "DATE"]
    assert [found[name] for name in ("at", "clock")] == ["TIMESTAMP", "TIME"]
    assert found["money"] == ("NUMERIC" if is_sqlite else "DECIMAL")
    lines = database.execute("SELECT name, type FROM pragma_table_info('lines')")
    assert dict(lines)["thing"] == integer  # pandas had made floats of it


def test_the_database_keeps_the_keys(database: Any, request: pytest.FixtureRequest) -> None:
    wanted = declared(request.node.callspec.id)
    assert database.keys() == wanted
    for key in wanted:
        good, bad = key_inserts(database, key)
        with pytest.raises(database.broken):
            database.execute(bad)
        database.execute("BEGIN")
        database.execute(good)
        database.execute("ROLLBACK")


def test_primary_keys_are_kept(database: Any) -> None:
    for value in ("3", "NULL"):
        if value == "NULL" and isinstance(database, Sqlite):
            continue  # SQLite numbers such a row itself
        with pytest.raises(database.broken):
            database.execute(f"INSERT INTO things (id) VALUES ({value})")
    with pytest.raises(database.broken):
        database.execute(f"INSERT INTO {quoted(ODD)} (code) VALUES (NULL)")


def test_a_generated_database(tmp_path: Path) -> None:
    sizes = [
        "database_params.num_tables_choices=4",
        "database_params.num_rows_entity_table_choices=50",
        "database_params.num_rows_activity_table_choices=300",
    ]
    SyntheticDataset(3, Config().overridden(sizes)).save(tmp_path / "raw")
    done = export_database(tmp_path / "raw", tmp_path / "a.db")
    export_database(tmp_path / "raw", tmp_path / "a.duckdb")
    assert done.num_tables == 4
    lite, duck = Sqlite(tmp_path / "a.db"), Duck(tmp_path / "a.duckdb")
    assert len(lite.keys()) == done.num_keys > 0
    assert lite.keys() == duck.keys()
    for file in (tmp_path / "raw" / "db").iterdir():
        frame = pd.read_parquet(file)
        read = lite.connection.execute(f"SELECT * FROM {file.stem}")
        again = pd.DataFrame(read.fetchall(), columns=[item[0] for item in read.description])
        for name, kind in frame.dtypes.items():
            again[name] = again[name].astype(kind)
        pd.testing.assert_frame_equal(again, frame, check_exact=True)
        rows = duck.connection.sql(f"SELECT * FROM {file.stem}").df()
        pd.testing.assert_frame_equal(rows, frame, check_exact=True)
    lite.close()
    duck.close()


@pytest.mark.parametrize("name", ["sakila", "bicycles-meta", "chinook"])
def test_real_databases(name: str, tmp_path: Path) -> None:
    """Circles of tables and of rows, trees of rows."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not there")
    done = export_database(SHARED / name, tmp_path / "a.duckdb")
    duck = Duck(tmp_path / "a.duckdb")
    undeclared = {
        "sakila": ("store.manager_staff_id",),
        "bicycles-meta": ("posts.accepted_answer_id",),
        "chinook": (),
    }
    assert done.undeclared == undeclared[name]
    assert len(duck.keys()) == done.num_keys
    files = list((SHARED / name / "db").iterdir())
    sizes = {f.stem: duck.execute(f"SELECT count(*) FROM {quoted(f.stem)}")[0][0] for f in files}
    assert sizes == {file.stem: pq.read_metadata(file).num_rows for file in files}
    duck.close()


def test_many_batches_and_long_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_source, "_BATCH_BYTES", 4096)
    ids = list(range(1000))
    up = [None if i % 10 == 0 else i - 1 for i in ids]
    folder = folder_of(
        tmp_path / "raw",
        {"t": {"pkey": "id", "time_col": None, "fkeys": {"up": "t"}}},
        t={"id": ids, "up": up, "text": [str(i) * 100 for i in ids]},
    )
    batches = list(export_source.open_source(folder).tables[0].batches())
    assert max(batch.num_rows for batch in batches) <= 64
    duck = export_duckdb_plain(folder, tmp_path)
    assert sorted(duck.rows("t")) == [(i, up[i], str(i) * 100) for i in ids]
    duck.close()


def export_duckdb_plain(folder: Path, place: Path) -> Duck:
    assert export_database(folder, place / "t.duckdb").undeclared == ()
    return Duck(place / "t.duckdb")
