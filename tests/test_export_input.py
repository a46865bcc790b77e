"""Exports that can't be: one line, nothing left behind; and the script."""

import datetime as dt
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plurel.cli import clean_exit
from plurel.errors import InputError
from plurel.export import export_database
from scripts import export_db
from tests.export_fixtures import child_of, folder_of, write_odd_folder

SCRIPT = Path(__file__).parents[1] / "scripts" / "export_db.py"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_odd_folder(tmp_path_factory.mktemp("raw") / "odd")


BROKEN: list[tuple[dict[str, Any], str]] = [
    (
        child_of([1, 2], [1, 7, 7]),
        r"c.parquet: 'p_id' of table 'c' is 7 in 2 rows, which 'id' of table 'p' lacks; drop",
    ),
    (child_of([1, 2], [1.5, None, 2.0]), r"c.parquet: column 'p_id' can't become int64.*1.5"),
    (child_of(["a"], ["a", "b"]), r"'p_id' of table 'c' is 'b' in 1 rows"),
    (child_of([1], ["a"]), r"foreign key 'p_id' holds large_string, but the key 'id' of table 'p'"),
    (child_of([1, 1], [1]), r"p.parquet: primary key 'id': 1 occurs 2 times"),
    (child_of([1, None], [1]), r"p.parquet: primary key 'id' is null in 1 rows"),
    (child_of([1], [1]) | {"c": {"p_id": [1], "P_ID": [1]}}, "'p_id' and 'P_ID' are one name"),
    (child_of(np.array([2**64 - 1], np.uint64), [None]), r"column 'id' can't become int64"),
    (child_of([dt.timedelta(1)], [None]), r"column 'id' holds duration.*cast it"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_broken_input_is_one_line_and_leaves_nothing(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "raw", **content)
    for target in ("out/a.db", "out/a.duckdb", "out/a.sql", "out/csv"):
        with pytest.raises(InputError, match=message):
            export_database(folder, tmp_path / target)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_an_export_that_fails_half_way(odd: Path, tmp_path: Path) -> None:
    content = child_of([1], [1]) | {"c": {"p_id": [1, 1], "text": ["fine", "not\0fine"]}}
    folder = folder_of(tmp_path / "raw", **content)
    for target in ("out/a.sql", "out/csv"):
        with pytest.raises(InputError, match="column 'text' of table 'c' holds the character NUL"):
            export_database(folder, tmp_path / target)
    assert list((tmp_path / "out").iterdir()) == []
    export_database(folder, tmp_path / "a.db")  # which keeps it
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT * FROM c").fetchall()[1] == (1, "not\0fine")


def test_replaced_only_on_request_and_only_exports(odd: Path, tmp_path: Path) -> None:
    for name in ("a.db", "a.duckdb", "a.sql", "csv"):
        target = tmp_path / name
        export_database(odd, target)
        with pytest.raises(InputError, match="exists already"):
            export_database(odd, target)
        export_database(odd, target, overwrite=True)
    for name in ("b.db", "b.duckdb", "b.sql"):
        (tmp_path / name).write_text("years of work")
        with pytest.raises(InputError, match=f"{name} exists and is no"):
            export_database(odd, tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_text() == "years of work"
    (tmp_path / "a.db-wal").write_text("someone's")
    with pytest.raises(InputError, match=r"a.db-wal is there: .*is open"):
        export_database(odd, tmp_path / "a.db", overwrite=True)
    with pytest.raises(InputError, match="name doesn't tell the format; give one of sqlite"):
        export_database(odd, tmp_path / "a.xlsx")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


KILLED = """
import os, signal, sys
from plurel import export
write = export.write_sqlite
export.write_sqlite = lambda plan, path, progress: write(
    plan, path, lambda rows: os.kill(os.getpid(), signal.SIGKILL)
)
export.export_database(sys.argv[1], sys.argv[2])
"""


def test_killed_half_way_and_started_again(odd: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.db"
    command = [sys.executable, "-c", KILLED, str(odd), str(target)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1  # hidden
    export_database(odd, target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_the_script(
    odd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "a.duckdb"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(odd), str(target)])
    export_db.main()
    shown = capsys.readouterr()
    assert f"6 tables, 21 rows, 5 foreign keys declared: {target}" in shown.out
    assert "not declared, since DuckDB can't keep it: Staff.store" in shown.out
    assert "export: 100%" in shown.err
    for arguments, message in [
        ([tmp_path / "none", target], "error: .*no manifest.yaml"),
        ([odd, target], "error: .*exists already"),
        ([odd, tmp_path / "b.db", "--to", "oracle"], "error: .*--to.*oracle"),
    ]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        with pytest.raises(SystemExit) as caught, clean_exit():
            export_db.main()
        assert caught.value.code == 1
        shown_error = capsys.readouterr().err
        assert re.match(message, shown_error)
        assert shown_error.count("\n") == 1
