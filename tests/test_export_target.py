"""Only exports are replaced, and only they go where an export is sent."""

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg
import pytest

from plurel.cli import clean_exit
from plurel.errors import InputError
from plurel.export import export_database
from plurel.export_postgres import _reason
from scripts import export_db
from tests.export_fixtures import folder_of, write_odd_folder
from tests.small_disk import files_up_to


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_odd_folder(tmp_path_factory.mktemp("raw") / "odd")


def test_a_sqlite_file_of_ones_own_stays(odd: Path, tmp_path: Path) -> None:
    target = tmp_path / "own.db"
    with closing(sqlite3.connect(target)) as own:
        own.execute("CREATE TABLE precious (a)")
    before = target.read_bytes()
    with pytest.raises(InputError, match=r"own\.db exists and is no sqlite export"):
        export_database(odd, target, overwrite=True)
    assert target.read_bytes() == before


@pytest.mark.parametrize("beside_an_export", [False, True])
def test_a_duckdb_file_of_ones_own_stays(beside_an_export: bool, odd: Path, tmp_path: Path) -> None:
    target = tmp_path / "own.duckdb"
    if beside_an_export:
        export_database(odd, target)
    with duckdb.connect(target) as own:
        own.execute("CREATE TABLE precious AS SELECT 1 AS a")
    with pytest.raises(InputError, match=r"own\.duckdb exists and is no duckdb export"):
        export_database(odd, target, overwrite=True)
    with duckdb.connect(target) as own:
        assert own.execute("SELECT * FROM precious").fetchall() == [(1,)]


def test_a_duckdb_file_in_use_is_named(odd: Path, tmp_path: Path) -> None:
    export_database(odd, tmp_path / "a.duckdb")
    with (
        duckdb.connect(tmp_path / "a.duckdb"),
        pytest.raises(InputError, match=r"a\.duckdb(\.wal is there| can't be opened)"),
    ):
        export_database(odd, tmp_path / "a.duckdb", overwrite=True)


def test_files_beside_an_export_stay(odd: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "schema.sql").write_text("CREATE TABLE mine (a int);")
    with pytest.raises(InputError, match=r"own exists and holds no plurel-export\.txt"):
        export_database(odd, own, overwrite=True)
    assert (own / "schema.sql").exists()
    export_database(odd, tmp_path / "csv")
    (tmp_path / "csv" / "mine.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"csv/mine\.txt is not of the export; move it away"):
        export_database(odd, tmp_path / "csv", overwrite=True)
    (tmp_path / "csv" / "mine.txt").rename(tmp_path / "mine.txt")
    export_database(odd, tmp_path / "csv", overwrite=True)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("mysql://me@localhost/x", {}, "no server is reached by mysql://; give postgresql://"),
        ("mysql://me:pw@localhost/x", {"to": "csv"}, r"me:\*\*\*@localhost/x is no place for csv"),
        ("a.db", {"schema": "shop"}, "a schema is for a PostgreSQL server, not for sqlite"),
        ("a.sql", {"schema": "shop"}, "a schema is for a PostgreSQL server, not for sql"),
        ("a.db", {"dialect": "duckdb"}, "a dialect is for SQL and CSV, not for sqlite"),
        ("postgresql://localhost/x", {"schema": ""}, "the schema needs a name"),
        ("/proc/nowhere/a.db", {}, r"can't write to /proc/nowhere: .* \(/proc\)"),
        ("/proc/csv", {}, r"can't write to /proc/csv|can't write /proc/csv"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    target: str,
    options: dict[str, str],
    message: str,
    odd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        export_database(odd, target, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.db", "a.duckdb", "a.sql", "csv"])
def test_a_full_disk_names_the_file_and_what_to_do(name: str, tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "raw",
        {"t": {"pkey": "id", "time_col": None, "fkeys": {}}},
        t={"id": list(range(3000)), "text": [str(i) * 100 for i in range(3000)]},
    )
    with files_up_to(600_000), pytest.raises(InputError) as caught:
        export_database(folder, tmp_path / "out" / name)
    line = str(caught.value)
    assert re.fullmatch(rf"can't write {tmp_path}/out/{name}: .*check the rights and the .*", line)
    assert ".partial" not in line
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_server_says_is_said_once() -> None:
    twice = 'FATAL:  password authentication failed for user "me"\n' * 2
    assert _reason(psycopg.OperationalError(twice)) == (
        'FATAL:  password authentication failed for user "me"; put the right one into the '
        "environment variable PGPASSWORD, or into ~/.pgpass"
    )


def test_the_script_names_its_option(
    odd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export_database(odd, tmp_path / "csv")
    arguments = ["export_db.py", str(odd), str(tmp_path / "csv")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit), clean_exit():
        export_db.main()
    assert "csv exists already; give --overwrite or choose another" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*arguments, "--overwrite", "--dialect", "duckdb"])
    export_db.main()
    assert "not declared, since DuckDB can't load it: ring.next" in capsys.readouterr().out
