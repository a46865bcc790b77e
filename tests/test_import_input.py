"""Bad input to an import: one clear line each, nothing left behind."""

import itertools
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from plurel.errors import InputError
from rt.importing.messages import key_table
from rt.importing.open import Reading, open_source
from rt.importing.run import Settings, import_database, plan_import
from rt.importing.server import shown
from scripts.import_db import parse_args
from tests.import_fixtures import write_csv

ACCEPT = Settings(accept=0.99)
GOOD = {"a": "id,at 1,2020-01-01 2,2020-01-02 3,2020-01-03", "b": "id,a_id 1,1 2,2"}


def refused(place: Path | str, tmp_path: Path, settings: Settings = ACCEPT, **more: object) -> str:
    """The one line with which an import ends; nothing stands where it should have written."""
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(InputError) as caught:
        import_database(str(place), tmp_path / "out", settings, **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == before
    return str(caught.value)


def test_places_that_hold_no_database(tmp_path: Path) -> None:
    assert "no such file or folder" in refused(tmp_path / "nowhere.db", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no tables; files *.csv" in refused(tmp_path / "empty", tmp_path)
    (tmp_path / "note.txt").write_text("hello, this is no database", encoding="utf-8")
    assert "neither a SQLite nor a DuckDB file" in refused(tmp_path / "note.txt", tmp_path)
    (tmp_path / "none.db").write_bytes(b"")
    assert "holds no tables to import" in refused(tmp_path / "none.db", tmp_path)
    (tmp_path / "broken.duckdb").write_bytes(b"12345678DUCK" + bytes(5000))
    assert "can't be opened as a DuckDB file" in refused(tmp_path / "broken.duckdb", tmp_path)
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert "is it a SQLite file?" in refused(tmp_path / "broken.db", tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert "not a Parquet file" in refused(tmp_path / "broken.parquet", tmp_path)


def test_servers_that_do_not_answer_and_passwords(tmp_path: Path) -> None:
    url = "postgresql://me:s3cret@localhost:1/shop?sslpassword=hidden"
    message = refused(url, tmp_path)
    assert message.startswith("postgresql://me:***@localhost:1/shop: ")
    assert "refused" in message
    assert "s3cret" not in message
    assert "hidden" not in message
    assert shown("mysql://me:p%40ss@host/db?password=x&charset=y") == (
        "mysql://me:***@host/db?charset=y"
    )
    assert "give a URL such as" in refused("nosuch://host/db", tmp_path)
    passwords = (
        "se@cret se/cret@x se?cret se:cret@1 se@/cret %40@cret se@/?cret se/c?r@cret se?x=cret"
    )
    for place, password in itertools.product(["x", "x?application_name=a"], passwords.split()):
        message = refused(f"postgresql://u:{password}@localhost:1/{place}", tmp_path)
        assert message.startswith(f"postgresql://u:***@localhost:1/{place}: ")
        assert "refused" in message
        assert "se" not in message.partition("refused")[0].replace("server", "")
        assert "cret" not in message
    for place in ("localhost:1/x?user=u&password=se@cret", "u@localhost:1/x?PassWord=se@cret"):
        assert "cret" not in refused(f"postgresql://{place}", tmp_path)
    # a letter is no secret where others stand
    assert "No module named 'nothing'" in refused("mysql+pymysql://u:p@h/x", tmp_path).replace(
        "pymysql'", "nothing'"
    )
    assert shown("postgresql://u@host/x?options=a@b") == "postgresql://u@host/x?options=a%40b"


def test_csv_files_that_are_broken(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "csv", ok="id,x 1,2", ragged="id,x 1,2 2,3 3 4,5")
    message = refused(folder, tmp_path)
    assert message.endswith(
        "ragged.csv: line 4: Expected Number of Columns: 2 Found: 1; mend the file"
    )
    write_csv(folder, ragged="id,x,x 1,2,3")
    assert "two columns are called 'x'" in refused(folder, tmp_path)
    (folder / "ragged.csv").write_bytes("id,name\n1,café\n".encode("latin-1"))
    assert "UTF-8" in refused(folder, tmp_path) or "utf-8" in refused(folder, tmp_path)
    (folder / "ragged.csv").write_text("", encoding="utf-8")
    assert "is empty; a CSV file starts with" in refused(folder, tmp_path)
    write_csv(folder, ragged="id,x 1,2")
    (folder / "Ragged.tsv").write_text("id\n1\n", encoding="utf-8")
    assert "are both table" in refused(folder, tmp_path)


def test_keys_that_are_none(tmp_path: Path) -> None:
    lines = "id,at 1,2020-01-01 1,2020-01-02 2,2020-01-03"
    folder = write_csv(tmp_path / "csv", a=f"{lines} ,2020-01-04")
    plan = tmp_path / "plan.yaml"
    head = "val_timestamp: 2020-01-02\ntest_timestamp: 2020-01-03\ntables:\n"

    def told(text: str) -> str:
        plan.write_text(head + text, encoding="utf-8")
        return refused(folder, tmp_path, Settings(), plan=plan)

    assert "primary key id is null in 1 of 4 rows" in told("  a: {primary_key: id}")
    write_csv(folder, a=lines, b="x 1 5")
    assert "primary key id has doubles: 1 stands in 2 rows" in told("  a: {primary_key: id}")
    assert "table a has no column 'ids'; did you mean 'id'?" in told("  a: {primary_key: ids}")
    assert "unknown key 'primary_keys'; did you mean 'primary_key'?" in told(
        "  a: {primary_keys: id}"
    )
    assert "no table 'c' in the source; there are a, b" in told("  c: {}")
    assert "time column id holds int64" in told("  a: {time_column: id}")
    key = "foreign_keys: [{columns: x, references: a"
    assert "references a, which has no primary key" in told(f"  a: {{}}\n  b: {{{key}}}]}}")
    assert "the referenced key id has doubles" in told(f"  a: {{}}\n  b: {{{key}, to: id}}]}}")
    assert "references table 'a', which is not imported" in told(f"  b: {{{key}}}]}}")
    assert "did you mean 'accept'?" in told(f"  b: {{{key}, acept: true}}]}}")
    assert "time_from at is not one of its foreign keys" in told("  a: {time_from: at}")
    assert "time_from at is not one of its foreign keys" in told("  a: {time_from: [[at], [id]]}")
    assert "table a: time_from leads to b, which has no time column" in told(
        "  b: {primary_key: x}\n  a: {time_from: id, foreign_keys: [{columns: id, references: b}]}"
    )
    own = "primary_key: x, foreign_keys: [{columns: x, references: b}]"
    assert "table b: time_from goes in a circle (b)" in told(f"  b: {{{own}, time_from: x}}")
    assert "x is left out" in told("  a: {primary_key: at}\n  b: {primary_key: x, leave_out: x}")
    assert "'tables' must name at least one table" in told("")


def test_keys_of_sqlite_that_point_nowhere(tmp_path: Path) -> None:
    """To a column that is not there: refused; to a table that is not there: told."""
    path = tmp_path / "odd.db"
    script = """CREATE TABLE b (id INTEGER PRIMARY KEY);
        CREATE TABLE a (at DATE, x INTEGER REFERENCES gone (id), y INTEGER REFERENCES b (nocol));
        INSERT INTO b VALUES (1), (2); INSERT INTO a VALUES
        ('2020-01-01', 1, 1), ('2020-01-02', 2, 2), ('2020-01-03', 3, 2);"""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    message = refused(path, tmp_path)
    assert message.startswith("table a: foreign key y references column 'nocol' of b, which is not")
    assert "there are id: name it in a plan's 'to'" in message
    plan = plan_import(str(path), tmp_path / "plan.yaml")
    assert [key.to for key in plan.tables["a"].foreign_keys] == [("nocol",)]
    text = (tmp_path / "plan.yaml").read_text(encoding="utf-8").replace("nocol", "id")
    (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
    done = import_database(str(path), tmp_path / "out", plan=tmp_path / "plan.yaml")
    assert "a.x: references gone, which is not there: an ordinary column" in done.messages


@pytest.mark.parametrize("column", ["id", "word", "price", "nothing"])
def test_times_that_are_none(tmp_path: Path, column: str) -> None:
    """Told before timestamps are proposed from them."""
    lines = "id,at,word,price 1,2020-01-01,x,1.5 2,2020-01-02,y,2.5 3,2020-01-03,z,3.5"
    folder, plan = write_csv(tmp_path / "csv", a=lines), tmp_path / "plan.yaml"
    plan.write_text(f"tables:\n  a: {{time_column: {column}}}\n", encoding="utf-8")
    expected = {"nothing": "table a has no column 'nothing'"}.get(
        column, f"table a: time column {column} holds"
    )
    assert expected in refused(folder, tmp_path, Settings(), plan=plan)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "csv", **GOOD)
    assert "2 keys are proposals: give --accept" in refused(
        folder, tmp_path, Settings(Reading(tables=["a", "b"]))
    ).replace("3 keys", "2 keys")
    assert "no table 'aa' in the source" in refused(
        folder, tmp_path, Settings(Reading(tables=["aa"]))
    )
    assert "files have no schema" in refused(folder, tmp_path, Settings(Reading(schemas=["s"])))
    assert "--accept 2" in refused(folder, tmp_path, Settings(accept=2))
    backwards = Settings(accept=0.9, val_timestamp="2021-01-01", test_timestamp="2020-01-01")
    assert "does not lie before test_timestamp" in refused(folder, tmp_path, backwards)
    assert "is no date" in refused(folder, tmp_path, Settings(accept=0.9, val_timestamp="soon"))
    assert "no table has a time column" in refused(
        folder, tmp_path, Settings(Reading(tables=["b"]), accept=0.99)
    )
    assert "memory 'much'" in refused(folder, tmp_path, Settings(accept=0.9, memory="much"))
    import_database(str(folder), tmp_path / "out", ACCEPT)
    assert "exists already; give --overwrite" in refused(folder, tmp_path)
    assert "is a RelBench folder already" in refused(tmp_path / "out", tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a folder, not a file"):
        plan_import(str(folder), folder)


def test_a_plan_without_times_can_be_edited(tmp_path: Path) -> None:
    """It says why there are none, and which texts may be some."""
    lines = [f"{i},{f'2020-01-{i:02d}' if i % 2 else f'{i:02d}/01/2020'},{i}" for i in range(1, 25)]
    folder = write_csv(tmp_path / "csv", members=" ".join(["id,joined,n", *lines]))
    file, shown = tmp_path / "plan.yaml", list[str]()
    told = "joined looks like dates, but 12 of 24 values are not written as 2020-01-31, such as '0"
    plan_import(str(folder), file, report=lambda *made: shown.append(key_table(*made)))
    assert f"time_column: null  # {told}" in file.read_text(encoding="utf-8")
    assert f"time of members: none ({told}" in shown[0]
    assert "validation and test: no times to part" in shown[0]
    assert "no table has a time column" in refused(folder, tmp_path, Settings(), plan=file)


def test_schemas_of_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "two.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.t (a INT); CREATE TABLE t (b INT)")
    assert "no schema 'x'; there are main, s" in refused(
        path, tmp_path, Settings(Reading(schemas=["x"]))
    )
    source = open_source(str(path), Reading(schemas=["main", "s"]))
    assert [(table.name, table.names) for table in source.tables()] == [
        ("main_t", ["b"]),
        ("s_t", ["a"]),
    ]
    source.close()


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, made DATE); INSERT INTO t VALUES "
            "(1, '2020-01-01'), (2, '2020-01-02'), (3, '2020-01-03'), (4, '2020-01-04')"
        )
    script = Path(__file__).parent.parent / "scripts" / "import_db.py"
    command = [sys.executable, str(script), str(path)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert "+  t.id" in done.stdout
    assert "validation after 2020-01-02 00:00:00, test after 2020-01-03 00:00:00" in done.stdout
    assert done.stdout.endswith("out: 1 table, 4 rows, 0 foreign keys\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: give --out FOLDER to import")


@pytest.mark.parametrize("option", ["--propose", "--accept=0.9", "--tables=t", "--exclude=t"])
def test_what_a_plan_says_is_not_asked_for_beside_it(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    given = ["import_db.py", "shop.db", "--out", "out", "--plan", "plan.yaml", option]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(InputError, match=f"--plan says it all; leave out .*{option[:8]}"):
        parse_args()
